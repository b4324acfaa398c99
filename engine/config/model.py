"""Model: the configuration as the engine uses it. Frozen values; everything is resolved, parsed and checked.

`load` builds these and nothing else does. References have become `Secret`s, addresses are parsed, paths are absolute,
and the timeouts of a provider or a candidate are whole, as is the race of an alias. A reload builds another `Config`;
equal parts compare equal.
"""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType

import msgspec

from adapters.losses import Policy
from adapters.prices import Price
from adapters.providers import Provider
from engine.config.addresses import BaseUrl, Listen, TcpListen
from engine.config.findings import Problem
from engine.config.money_options import BillingBase, Rates, StoreBase
from engine.config.options import Limits, ServerBase, Timeouts
from engine.config.realtime_options import RealtimeOptions
from engine.keys import Key
from engine.money import NANOS
from engine.secrets import Secret


class Tls(msgspec.Struct, frozen=True):
    """The certificate chain and its private key, both PEM; they load and belong together."""

    cert: Path
    key: Path


class AccessLog(Enum):
    """Where access-log lines go when it is not a file."""

    STDOUT = "stdout"
    NONE = "none"


class ProxyMode(Enum):
    """Which proxy a provider is reached through when it is not one of its own."""

    ENVIRONMENT = "env"
    NONE = "none"


class Server(ServerBase, frozen=True, kw_only=True):
    """[server]: the listeners and what belongs to the process as a whole.

    `keepalive_comment_seconds` is infinite where the file says 0: never.
    """

    listen: tuple[Listen, ...] = (TcpListen("127.0.0.1", 8080),)
    tls: Tls | None = None
    access_log: AccessLog | Path = AccessLog.STDOUT


class Race(msgspec.Struct, frozen=True):
    """When more than one attempt is made at one answer.

    `hedge_percentile` is a share (0.95), `hedge_delay_seconds` a fixed time; at most one of them is there, and without
    either slowness starts nothing.
    """

    attempts_max: int = 3
    attempt_seconds: float = 30.0
    unary_attempt_seconds: float = 300.0
    hedge_percentile: float | None = None
    hedge_delay_seconds: float | None = None
    hedge_floor_seconds: float = 0.2
    hedge_share: float = 0.1
    retry_share: float = 0.2
    hedge_side_effects: bool = False


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One configured provider: `name` is the operator's, `provider` describes its kind.

    `keys` are its credentials, none where it needs none. `dialects` are what it is asked in, each with the path below
    the base URL, the preferred one first; `sessions` are the WebSocket sessions it has, in the same form.
    `headers` are lower-cased names with their values, sent with every request. `proxy` as a `Secret` is a proxy's URL,
    which may hold a password. `ca_digest` is of the file's content, so that certificates replaced under the same path
    make another value, and a reload takes them.
    """

    name: str
    provider: Provider
    base_url: BaseUrl
    dialects: tuple[tuple[str, str], ...]
    sessions: tuple[tuple[str, str], ...] = ()
    keys: tuple[Secret, ...] = ()
    models: tuple[str, ...] = ()
    restrict: bool = False
    discover: bool = True
    headers: tuple[tuple[str, Secret], ...] = ()
    timeouts: Timeouts = Timeouts()
    on_loss: Policy = Policy.WARN
    ca_file: Path | None = None
    ca_digest: bytes = b""
    proxy: ProxyMode | Secret = ProxyMode.ENVIRONMENT
    from_environment: bool = False


class AliasCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """Who may serve an alias, under which upstream name, with which patience, and which share of it."""

    provider: str
    model: str
    timeouts: Timeouts
    on_loss: Policy = Policy.WARN
    weight: float = 1.0
    tier: int = 1
    in_flight_max: int = 0


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """One name of the operator's and all who may serve it, at least one, in the order of the file."""

    name: str
    candidates: tuple[AliasCandidate, ...]
    race: Race = Race()


class Store(StoreBase, frozen=True, kw_only=True):
    """[store]: what is kept, and where. Without a `directory` it is in the platform's place.

    That it exists or can be made is not known yet.
    """

    directory: Path | None = None


class Accounts(msgspec.Struct, frozen=True):
    """[accounts]: whether a key is asked for even while there is none, and what a new account is granted."""

    required: bool = False
    sign_up_nanos: int = 0


class Tier(msgspec.Struct, frozen=True):
    """What is added to the cost for accounts that spent `spend_nanos` or more in 30 days."""

    spend_nanos: int
    markup_ppm: int


PPM = 1_000_000
"""A ratio of one in parts per million."""

TIERS = (
    Tier(0, 400_000),
    Tier(50 * NANOS, 300_000),
    Tier(200 * NANOS, 220_000),
    Tier(1_000 * NANOS, 150_000),
    Tier(5_000 * NANOS, 100_000),
)
"""Where the file names no tiers."""


class Billing(BillingBase, frozen=True, kw_only=True):
    """[billing]: what is charged for, and how much above its cost. The first of the `tiers`, of which there is at least
    one, begins at 0; they ascend.
    """

    tiers: tuple[Tier, ...] = TIERS


class Group(msgspec.Struct, frozen=True):
    """What the accounts and keys of a group may use (`*` in a pattern stands for any characters) and how its charges
    compare with everybody's.
    """

    name: str
    models: tuple[str, ...] = ("*",)
    price_ratio_ppm: int = PPM


DEFAULT_GROUP = Group("default")
"""The group of whoever has no other. The file may give the name another meaning."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything. `providers` and `models` are by name: the file's in its order, then the environment's.

    `groups` always hold "default". `prices` are by `MODEL` or `PROVIDER/MODEL`, `rates` by the model's name as clients
    write it, or `*` for all models together.
    """

    server: Server = Server()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    race: Race = Race()
    keys: tuple[Key, ...] = ()
    providers: Mapping[str, ProviderConfig] = {}
    models: Mapping[str, Alias] = {}
    store: Store = Store()
    accounts: Accounts = Accounts()
    billing: Billing = Billing()
    groups: Mapping[str, Group] = MappingProxyType({DEFAULT_GROUP.name: DEFAULT_GROUP})
    prices: Mapping[str, Price] = {}
    rates: Mapping[str, Rates] = {}
    realtime: RealtimeOptions = RealtimeOptions()
    path: Path | None = None
    warnings: tuple[Problem, ...] = ()
