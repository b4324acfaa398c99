"""Options: every key of the configuration file with its type, bounds, default and meaning, as declared data.

This is the literal shape of the TOML document. `shape` reads a file by these declarations, the README's option table
is `option_rows()`, and a test holds the two together: an option exists when it stands here, or, if it is about money,
in `money_options`. Units stand last in names; a bound's reason stands beside it. What the values mean together
(addresses, secrets, references) is `build`'s business.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import NODEFAULT, Meta
from msgspec.structs import FieldInfo

from engine.config.declaring import Section, about
from engine.config.money_options import (
    AccountsOptions,
    BillingOptions,
    GroupOptions,
    PriceOptions,
    Rates,
    StoreOptions,
    TierOptions,
)
from engine.config.realtime_options import RealtimeOptions

SECONDS_MAX = 31_536_000
"""A year: beyond it a number of seconds is a number of something else."""

BYTES_MAX = 1 << 40
COUNT_MAX = 10_000_000
WEIGHT_MAX = 1_000_000

Seconds = Annotated[float, Meta(gt=0, le=SECONDS_MAX)]
SecondsOrZero = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]
Bytes = Annotated[int, Meta(ge=1, le=BYTES_MAX)]
BytesFrom64 = Annotated[int, Meta(ge=64, le=BYTES_MAX)]
BytesFrom1024 = Annotated[int, Meta(ge=1024, le=BYTES_MAX)]
"""Where less would refuse what every client or upstream sends."""

Attempts = Annotated[int, Meta(ge=1, le=100)]
Milliseconds = Annotated[int, Meta(ge=0, le=SECONDS_MAX * 1000)]
Share = Annotated[float, Meta(ge=0, le=10)]
CountOrZero = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Count = Annotated[int, Meta(ge=1, le=COUNT_MAX)]


class Limits(Section, frozen=True, kw_only=True):
    """Every bound of the data plane. All are per worker process; a refused request gets the named status."""

    head_bytes_max: Annotated[BytesFrom1024, about("request line and headers together; over it 431")] = 32_768
    headers_max: Annotated[Count, about("header fields of a request; over it 431")] = 100
    target_bytes_max: Annotated[BytesFrom64, about("request target (path and query); over it 414")] = 8_192
    body_bytes_max: Annotated[Bytes, about("request body; over it 413")] = 32 * 1024 * 1024
    head_seconds_max: Annotated[
        Seconds, about("from the first byte of a request to the end of its head; over it 408")
    ] = 10
    body_seconds_max: Annotated[Seconds, about("from the end of the head to the end of the body; over it 408")] = 60
    idle_seconds_max: Annotated[Seconds, about("a kept-alive client connection without a request; then closed")] = 75
    send_seconds_max: Annotated[Seconds, about("a client that takes no byte for so long is gone")] = 60
    connections_max: Annotated[Count, about("client connections of one worker; over it 503")] = 16_384
    requests_in_flight_max: Annotated[Count, about("requests being served by one worker; over it 503")] = 12_288
    answer_bytes_max: Annotated[Bytes, about("a unary answer of an upstream; over it 502")] = 64 * 1024 * 1024
    event_bytes_max: Annotated[BytesFrom1024, about("one event of a stream; over it the stream fails")] = (
        64 * 1024 * 1024
    )
    upstream_connections_per_origin_max: Annotated[Count, about("connections to one upstream address; over it 503")] = (
        12_288
    )
    upstream_idle_per_origin_max: Annotated[CountOrZero, about("of those, how many are kept open unused")] = 256
    upstream_head_bytes_max: Annotated[BytesFrom1024, about("status line and headers of an upstream; over it 502")] = (
        65_536
    )
    # Below the 60 s after which common load balancers drop an idle connection, so that we are the first to close it.
    upstream_idle_seconds_max: Annotated[Seconds, about("an unused upstream connection is closed after this")] = 55
    upstream_lifetime_seconds_max: Annotated[
        Seconds, about("an upstream connection is not used again after this, so that DNS changes are seen")
    ] = 3_600


class Timeouts(Section, frozen=True, kw_only=True):
    """How long an upstream may take. A provider overrides what it names, a model what it names after that."""

    connect_seconds: Annotated[Seconds, about("name look-up, connection and TLS handshake")] = 10
    first_content_seconds: Annotated[Seconds, about("from a request to the first content of its stream")] = 120
    idle_seconds: Annotated[Seconds, about("between two reads of a stream that has begun")] = 300
    unary_seconds: Annotated[Seconds, about("the whole of an answer that is not streamed")] = 600
    total_seconds: Annotated[Seconds, about("the whole of a stream")] = 3_600


class TimeoutOverrides(Section, frozen=True, kw_only=True):
    """The same, each only where it differs from the level above."""

    connect_seconds: Annotated[Seconds | None, about("as timeouts.connect_seconds")] = None
    first_content_seconds: Annotated[Seconds | None, about("as timeouts.first_content_seconds")] = None
    idle_seconds: Annotated[Seconds | None, about("as timeouts.idle_seconds")] = None
    unary_seconds: Annotated[Seconds | None, about("as timeouts.unary_seconds")] = None
    total_seconds: Annotated[Seconds | None, about("as timeouts.total_seconds")] = None


class RaceOptions(Section, frozen=True, kw_only=True):
    """When more than one attempt is made at one answer. A model overrides what it names."""

    attempts_max: Annotated[Attempts, about("attempts at one answer, the first one included")] = 3
    attempt_seconds: Annotated[
        Seconds, about("a stream without content for so long is replaced, if another candidate can be asked")
    ] = 30
    unary_attempt_seconds: Annotated[Seconds, about("the same of an answer that is not streamed: the whole of it")] = (
        300
    )
    hedge: Annotated[
        str,
        about(
            'after which time without content a second candidate is asked beside the first: `"800ms"`, `"1.5s"`, '
            '`"p95"` of the candidate\'s own recent times, or `"off"`'
        ),
    ] = "off"
    hedge_floor_ms: Annotated[Milliseconds, about("the least time that a percentile can give")] = 200
    hedge_share: Annotated[Share, about("hedges per request, on average at most")] = 0.1
    retry_share: Annotated[Share, about("attempts after a failed one per request, on average at most")] = 0.2
    hedge_side_effects: Annotated[
        bool, about("hedge also requests that a provider stores, or whose tools it runs itself")
    ] = False


class RaceOverrides(Section, frozen=True, kw_only=True):
    """The same, each only where it differs from [race]."""

    attempts_max: Annotated[Attempts | None, about("as race.attempts_max")] = None
    attempt_seconds: Annotated[Seconds | None, about("as race.attempt_seconds")] = None
    unary_attempt_seconds: Annotated[Seconds | None, about("as race.unary_attempt_seconds")] = None
    hedge: Annotated[str | None, about("as race.hedge")] = None
    hedge_floor_ms: Annotated[Milliseconds | None, about("as race.hedge_floor_ms")] = None
    hedge_share: Annotated[Share | None, about("as race.hedge_share")] = None
    retry_share: Annotated[Share | None, about("as race.retry_share")] = None
    hedge_side_effects: Annotated[bool | None, about("as race.hedge_side_effects")] = None


LogLevel = Literal["debug", "info", "warning", "error"]

OnLoss = Literal["strict", "warn", "silent"]
"""The values of `adapters.losses.Policy`, as they are written."""


class ServerBase(Section, frozen=True, kw_only=True):
    """The options of [server] that are used as they are written."""

    workers: Annotated[int, Meta(ge=1, le=256), about("worker processes; `--workers` overrides it")] = 1
    drain_seconds: Annotated[SecondsOrZero, about("how long open streams may run on after SIGTERM")] = 600
    keepalive_comment_seconds: Annotated[
        SecondsOrZero,
        about("a streaming client gets a comment when its upstream was silent for so long; 0: never"),
    ] = 15
    default_provider: Annotated[
        str | None, about("who serves a model name that nobody lists; default: the only provider, if there is one")
    ] = None
    on_loss: Annotated[
        OnLoss, about("what of a request cannot be translated: `strict` refuses it, `warn` names it, `silent` drops it")
    ] = "warn"
    environment_providers: Annotated[
        bool, about("register providers whose key stands in the environment, and use their variables as defaults")
    ] = True
    cors_origins: Annotated[
        tuple[str, ...], about('origins whose pages may call the gateway, `"https://host"`, or `"*"` for any')
    ] = ()
    log_level: Annotated[LogLevel, about("`debug`, `info`, `warning` or `error`")] = "info"
    console: Annotated[bool, about("serve the pages, /metrics and /api/status")] = True


class ServerOptions(ServerBase, frozen=True, kw_only=True):
    """[server]."""

    listen: Annotated[
        tuple[str, ...],
        about(
            '`"127.0.0.1:8080"`, `"[::1]:8080"`, `"unix:/path"`; other than loopback needs keys, or accounts.required'
        ),
    ] = ("127.0.0.1:8080",)
    tls_cert: Annotated[str | None, about("path of the certificate chain (PEM); TLS on every TCP address")] = None
    tls_key: Annotated[str | None, about("path of its private key (PEM, not encrypted)")] = None
    access_log: Annotated[str, about('`"stdout"`, `"none"`, or the path of a file')] = "stdout"


class KeyOptions(Section, frozen=True, kw_only=True):
    """[keys.NAME]: one client key. Exactly one of the two."""

    hash: Annotated[str | None, about("`sha256:` and the hexadecimal SHA-256 of the key")] = None
    value: Annotated[str | None, about("the key: `env:NAME`, `file:PATH`, or itself (`check` warns)")] = None


class ProviderOptions(Section, frozen=True, kw_only=True):
    """[providers.NAME]."""

    kind: Annotated[
        str | None, about("a known provider; default: NAME if that is one, else any OpenAI-compatible server")
    ] = None
    base_url: Annotated[
        str | None, about("`https://host/v1`, `http://...`, `unix:/path` or `unix:/path:/v1`; default: the kind's")
    ] = None
    key: Annotated[
        str | None, about("`env:NAME`, `file:PATH`, or itself; default: the kind's variable if base_url is not given")
    ] = None
    keys: Annotated[
        tuple[str, ...] | None,
        about("instead of key: several credentials, each as key, among which requests are spread"),
    ] = None
    dialects: Annotated[
        tuple[str, ...] | None, about("what the server speaks, the preferred one first; default: the kind's")
    ] = None
    sessions: Annotated[
        tuple[str, ...] | None, about("WebSocket sessions the server has, `realtime`, `responses`; default: the kind's")
    ] = None
    models: Annotated[tuple[str, ...], about("upstream model names served as bare names")] = ()
    restrict: Annotated[bool, about("serve only the models listed")] = False
    discover: Annotated[bool, about("ask the provider for its model list, unless models gives it")] = True
    headers: Annotated[dict[str, str], about("sent with every request; values may be `env:NAME` or `file:PATH`")] = (
        msgspec.field(default_factory=dict)
    )
    timeouts: Annotated[TimeoutOverrides, about("where it differs from [timeouts]")] = TimeoutOverrides()
    on_loss: Annotated[OnLoss | None, about("where it differs from server.on_loss")] = None
    ca_file: Annotated[str | None, about("certificates (PEM) trusted instead of the system's")] = None
    proxy: Annotated[
        str, about('`"env"` (HTTPS_PROXY, NO_PROXY ...), `"none"`, or `http://[user:password@]host:port`')
    ] = "env"


class CandidateOptions(Section, frozen=True, kw_only=True):
    """[[models.ALIAS.candidates]]: one of several that may serve it."""

    provider: Annotated[str | None, about("who it is (required)")] = None
    model: Annotated[str | None, about("its name for the model; default: ALIAS")] = None
    weight: Annotated[float, Meta(gt=0, le=WEIGHT_MAX), about("its share of the requests among those of its tier")] = 1
    tier: Annotated[
        int, Meta(ge=1, le=100), about("a later tier is asked when nobody of the earlier ones can be asked")
    ] = 1
    in_flight_max: Annotated[CountOrZero, about("attempts at a time, per worker and credential; 0: no bound")] = 0


class AliasOptions(Section, frozen=True, kw_only=True):
    """[models.ALIAS]."""

    provider: Annotated[str | None, about("who serves it (required without candidates)")] = None
    model: Annotated[str | None, about("the upstream's name for it; default: ALIAS")] = None
    candidates: Annotated[
        tuple[CandidateOptions, ...] | None, about("instead of provider and model: all who may serve it")
    ] = None
    race: Annotated[RaceOverrides, about("where it differs from [race]")] = RaceOverrides()
    timeouts: Annotated[TimeoutOverrides, about("where it differs from the provider's")] = TimeoutOverrides()
    on_loss: Annotated[OnLoss | None, about("where it differs from the provider's")] = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    server: ServerOptions = ServerOptions()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    race: RaceOptions = RaceOptions()
    keys: dict[str, KeyOptions] = {}
    providers: dict[str, ProviderOptions] = {}
    models: dict[str, AliasOptions] = {}
    store: StoreOptions = StoreOptions()
    accounts: AccountsOptions = AccountsOptions()
    billing: BillingOptions = BillingOptions()
    groups: dict[str, GroupOptions] = {}
    prices: dict[str, PriceOptions] = {}
    rates: dict[str, Rates] = {}
    realtime: RealtimeOptions = RealtimeOptions()


SECTIONS: tuple[tuple[str, type[Section]], ...] = (
    ("server", ServerOptions),
    ("limits", Limits),
    ("timeouts", Timeouts),
    ("race", RaceOptions),
    ("keys.NAME", KeyOptions),
    ("providers.NAME", ProviderOptions),
    ("models.ALIAS", AliasOptions),
    ("store", StoreOptions),
    ("accounts", AccountsOptions),
    ("billing", BillingOptions),
    ("groups.NAME", GroupOptions),
    ("prices.NAME", PriceOptions),
    ("rates.NAME", Rates),
    ("realtime", RealtimeOptions),
)
"""The sections of the file."""

TABLES: tuple[tuple[str, type[Section]], ...] = (
    *SECTIONS,
    ("models.ALIAS.candidates", CandidateOptions),
    ("billing.tiers", TierOptions),
)
"""And the tables inside of them that have options of their own."""


class OptionRow(NamedTuple):
    """One option as documentation shows it."""

    path: str
    default: str
    unit: str
    meaning: str


def option_rows() -> Iterator[OptionRow]:
    """Yield every option in the order of declaration, the sections in the order of the file."""
    for section, struct in TABLES:
        for field in msgspec.structs.fields(struct):
            yield OptionRow(f"{section}.{field.name}", _default_shown(field), _unit(field), _description(field))


def _default_shown(field: FieldInfo) -> str:
    default = field.default if field.default is not NODEFAULT else field.default_factory()
    if default is None or default in ((), {}) or isinstance(default, Section):
        return "-"
    if isinstance(default, tuple):
        return "[" + ", ".join(f'"{item}"' for item in default) + "]"
    if isinstance(default, bool):
        return str(default).lower()
    return f'"{default}"' if isinstance(default, str) else f"{default}"


def _unit(field: FieldInfo) -> str:
    name = field.name
    if "_seconds" in name:
        return "s"
    if name.endswith("_ms"):
        return "ms"
    return "bytes" if "_bytes" in name else next(meta.extra["unit"] for meta in _described(field) if meta.extra)


def _description(field: FieldInfo) -> str:
    return next(meta.description for meta in _described(field) if meta.description)


def _described(field: FieldInfo) -> Iterator[Meta]:
    metadata: tuple[Meta, ...] = field.type.__metadata__
    return reversed(metadata)
