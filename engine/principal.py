"""Principals: on whose behalf a request is served, what they may use, and which budgets they draw on.

Made of a key of the configuration, which may do everything and pays nothing, or of one of the store with its account,
its team and its group. A principal never changes: a change of any of its rows makes another one. It knows no request.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

from adapters.errors import ClientError, Failure, Kind
from adapters.prices.price import fraction
from engine.budgets.allowance import Budget, Unit
from engine.budgets.periods import Period
from engine.config import Config, Group, Rates
from engine.ephemeral import Ephemeral
from store.rows import DAY, MONTH, Account, Key, Team, cap_budget, wallet_of

EVERYTHING = "*"
USABLE_MAX = 256
"""How many model names a principal remembers the answer for; names come from clients."""

PPM = 1_000_000

EPHEMERAL_SURFACE = "realtime"
"""What an ephemeral key is good for."""


class Scoped(Protocol):
    """What may have rates: a key of the store, or a row of [rates]."""

    @property
    def requests_per_minute(self) -> int | None: ...  # noqa: D102
    @property
    def tokens_per_minute(self) -> int | None: ...  # noqa: D102
    @property
    def in_flight_max(self) -> int | None: ...  # noqa: D102


class Principal:
    """Who asks. `id` is the key's, None without any; `account` is there when somebody pays."""

    __slots__ = (
        "_networks",
        "_patterns",
        "_usable",
        "account",
        "budgets",
        "ephemeral",
        "group",
        "id",
        "key",
        "ratio",
        "ratios",
        "team",
    )

    def __init__(
        self,
        id: str | None,  # noqa: A002 - what it is everywhere else
        *,
        key: Key | None = None,
        account: Account | None = None,
        team: Team | None = None,
        group: Group | None = None,
        markup_ppm: int = 0,
        ephemeral: Ephemeral | None = None,
    ) -> None:
        self.id = id
        self.ephemeral = ephemeral
        """What it is narrowed to when it asks with an ephemeral key."""
        self.key = key
        self.account = account
        self.team = team
        self.group = group
        self.budgets = budgets_of(key, account, team) if key is not None and account is not None else ()
        self.ratios = (PPM + markup_ppm, group.price_ratio_ppm if group is not None else PPM)
        """What a cost is multiplied with to make a charge, in ppm: one plus the tier's markup, and the group's
        ratio.
        """
        self.ratio = fraction(*self.ratios)
        """The same as one fraction."""
        self._networks = tuple(map(ip_network, key.addresses)) if key is not None else ()
        self._patterns = tuple(
            compiled(patterns)
            for patterns in (
                (key.models if key is not None else ()) or (EVERYTHING,),
                (EVERYTHING,) if group is None else group.models,
            )
            if EVERYTHING not in patterns
        )
        self._usable: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"<Principal {self.id} of {self.account.id if self.account is not None else 'nobody'}>"

    def check(self, address: str, now: float) -> None:
        """Raise `ClientError` when the key is not in force (401), or may not be used from this address (403)."""
        key, account = self.key, self.account
        if key is None or account is None:
            return
        if key.disabled or account.disabled:
            raise refusal(401, Kind.AUTHENTICATION, "this API key is disabled", "disabled_api_key")
        if key.expires is not None and now >= key.expires:
            raise refusal(401, Kind.AUTHENTICATION, "this API key has expired", "expired_api_key")
        if self._networks and not is_within(address, self._networks):
            raise refusal(403, Kind.PERMISSION, "this API key may not be used from this address", "address_not_allowed")

    def check_surface(self, surface: str) -> None:
        """Raise `ClientError` 403 when the key may not be used for a surface."""
        if self.ephemeral is not None and surface != EPHEMERAL_SURFACE:
            raise refusal(
                403, Kind.PERMISSION, f"a client secret is good for {EPHEMERAL_SURFACE}", "surface_not_allowed"
            )
        if self.key is not None and self.key.surfaces and surface not in self.key.surfaces:
            raise refusal(403, Kind.PERMISSION, f"this API key may not be used for {surface}", "surface_not_allowed")

    def may_use(self, model: str) -> bool:
        """Whether a model exists for this principal: its key and its group both name it."""
        if self.ephemeral is not None and model != self.ephemeral.model:
            return False
        if not self._patterns:
            return True
        usable = self._usable.get(model)
        if usable is None:
            if len(self._usable) >= USABLE_MAX:
                self._usable.clear()
            usable = self._usable[model] = all(pattern.match(model) for pattern in self._patterns)
        return usable


def budgets_of(key: Key, account: Account, team: Team | None) -> tuple[Budget, ...]:
    """Return every budget that a request of the key draws on: the wallet first, then caps, then rates."""
    found = [Budget(wallet_of(account.id), Unit.MONEY, Period.ALWAYS, None, "balance")]
    rows: list[tuple[str, Key | Account | Team]] = [("key", key), ("account", account)]
    if team is not None:
        rows.append(("team", team))
    for scope, row in rows:
        if row.cap_day_nanos is not None:
            name = cap_budget(DAY, scope, row.id)
            found.append(Budget(name, Unit.MONEY, Period.DAY, row.cap_day_nanos, f"daily cap of the {scope}"))
        if row.cap_month_nanos is not None:
            name = cap_budget(MONTH, scope, row.id)
            found.append(Budget(name, Unit.MONEY, Period.MONTH, row.cap_month_nanos, f"monthly cap of the {scope}"))
    return (*found, *rates_of(f"key:{key.id}", "this key", key))


def rates_of(scope: str, called: str, rates: Scoped) -> tuple[Budget, ...]:
    """Return the budgets of requests, tokens and answers at a time that `rates` names."""
    found = []
    if rates.requests_per_minute is not None:
        limit = rates.requests_per_minute
        found.append(Budget(f"rpm:{scope}", Unit.REQUESTS, Period.MINUTE, limit, f"requests per minute of {called}"))
    if rates.tokens_per_minute is not None:
        limit = rates.tokens_per_minute
        found.append(Budget(f"tpm:{scope}", Unit.TOKENS, Period.MINUTE, limit, f"tokens per minute of {called}"))
    if rates.in_flight_max is not None:
        limit = rates.in_flight_max
        found.append(Budget(f"places:{scope}", Unit.PLACES, Period.ALWAYS, limit, f"requests at a time of {called}"))
    return tuple(found)


def rates_of_models(config: Config) -> dict[str, tuple[Budget, ...]]:
    """Return the budgets of each model that [rates] names, those of all models together under `EVERYTHING`."""

    def called(name: str) -> str:
        return "this gateway" if name == EVERYTHING else f"the model {name}"

    rates: dict[str, Rates] = dict(config.rates)
    return {name: rates_of(f"model:{name}", called(name), row) for name, row in rates.items()}


def compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return what matches any of the patterns, in which `*` stands for anything, and nothing where there is none."""
    texts = []
    for pattern in patterns:
        first, *rest = map(re.escape, pattern.split(EVERYTHING))
        # Between two stars the first place that fits is as good as any: without going back, many stars cost no more.
        between = "".join(f"(?>.*?{part})" for part in rest[:-1])
        texts.append(first + between + (f".*{rest[-1]}" if rest else ""))
    return re.compile("(?:" + "|".join(texts) + r")\Z" if texts else "(?!)", re.DOTALL)


def is_within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """Whether an address is in one of the networks; what is no address (a Unix socket's peer) is in none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if parsed.version == 6 else None
    return any((mapped or parsed) in network for network in networks)


def refusal(status: int, kind: Kind, message: str, code: str) -> ClientError:
    """Return the error of a request that is refused for who asks it."""
    return ClientError(Failure(status, kind, message, code=code))


NOBODY = Principal(None)
"""Whoever asks a gateway without keys."""
