"""Rows: the values that go into a store and come out of it.

Amounts are whole nano-dollars (`_nanos`), times unix seconds, ratios parts per million (`_ppm`). A limit of None is no
limit, an empty tuple of a scope allows everything. `version` rises with every change of a row, over all tables
together: who has seen version N asks for what is newer.
"""

from enum import StrEnum

from msgspec import Struct

WALLET = "wallet"
DAY, MONTH = "day", "month"

NO_WINDOW = 0
"""The window of a budget that has none: a wallet, a number of places."""

DAY_SECONDS = 86_400


class Role(StrEnum):
    """Who may do what: a user sees the own account, an admin every one."""

    USER = "user"
    ADMIN = "admin"


class Team(Struct, frozen=True, kw_only=True):
    """Accounts that share caps."""

    id: str
    name: str
    cap_day_nanos: int | None = None
    cap_month_nanos: int | None = None
    created: int = 0
    version: int = 0


class Account(Struct, frozen=True, kw_only=True):
    """Who pays. `markup_ppm` is set by its tier, None before the first count; `rolling_nanos` is what it spent in 30
    days.
    """

    id: str
    name: str
    role: Role = Role.USER
    team: str | None = None
    group: str = "default"
    disabled: bool = False
    cap_day_nanos: int | None = None
    cap_month_nanos: int | None = None
    markup_ppm: int | None = None
    rolling_nanos: int = 0
    created: int = 0
    version: int = 0


class Key(Struct, frozen=True, kw_only=True):
    """One key of an account. Of the key itself only the digest is kept, and its last characters (`shown`) for people.

    `surfaces` and `models` are what it may be used for (model names may hold `*`), `addresses` from where (networks in
    CIDR form), `group` stands in for the account's when there is one.
    """

    id: str
    account: str
    name: str
    digest: bytes
    shown: str = ""
    surfaces: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    group: str | None = None
    expires: int | None = None
    disabled: bool = False
    cap_day_nanos: int | None = None
    cap_month_nanos: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    in_flight_max: int | None = None
    created: int = 0
    version: int = 0

    def __repr__(self) -> str:
        return f"Key(id={self.id!r}, account={self.account!r})"


class Want(Struct, frozen=True):
    """A slice asked of a budget's window: at least `need` (0: whatever there is), at best `want`.

    `limit` bounds what the window may hold; None for a wallet, whose limit is its balance. `ends` is when the window is
    over (0: never). `counted` tells rates from money: what of a rate's lease is not returned counts as used.
    """

    budget: str
    window: int
    limit: int | None
    need: int
    want: int
    ends: int = 0
    counted: bool = False


class Grant(Struct, frozen=True):
    """What became of a `Want`: at least its need, or nothing.

    `available` is what nobody holds now, `elsewhere` what other holders hold, `used` what is spent for good (of a
    wallet: 0).
    """

    budget: str
    window: int
    granted: int
    available: int
    elsewhere: int
    used: int


class Return(Struct, frozen=True):
    """A part of a lease that is given back unspent."""

    budget: str
    window: int
    amount: int


class Settlement(Struct, frozen=True, array_like=True, gc=False):
    """One exchange that is paid for, as the journal holds it. `id` is made by the gateway and never used twice.

    `amount_nanos` is what the account is charged, taken from the leases on its wallet and on each of `leases` (budget,
    window); `cost_nanos` is what the upstream asks, `uncollected_nanos` what the charge should have been beyond the
    amount. `day` and `month` are the windows it counts in (of the reservation). `detail` is JSON for people: model,
    tokens.
    """

    id: str
    time: int
    account: str
    key: str
    team: str | None
    day: int
    month: int
    amount_nanos: int
    cost_nanos: int
    uncollected_nanos: int
    leases: tuple[tuple[str, int], ...]
    detail: str


class Transfer(Struct, frozen=True, kw_only=True):
    """One row of the ledger: `amount_nanos` from the ledger account `debit` to `credit`. Never changed, never deleted.

    `kind` is one of `TransferKind`; `reference` is what a refund gives back, or the operator's own id of a top-up.
    """

    id: str
    time: int
    kind: str
    debit: str
    credit: str
    amount_nanos: int
    account: str
    key: str | None = None
    team: str | None = None
    day: int = 0
    month: int = 0
    cost_nanos: int = 0
    uncollected_nanos: int = 0
    reference: str | None = None
    note: str = ""
    detail: str = ""


class TransferKind(StrEnum):
    """Why money moves. Top-ups come from `cash`, grants from `grants`, both go to a wallet; a settlement goes from a
    wallet to `revenue`, a refund back.
    """

    TOP_UP = "top_up"
    GRANT = "grant"
    SETTLEMENT = "settlement"
    REFUND = "refund"


CASH, GRANTS, REVENUE = "cash", "grants", "revenue"
"""The ledger accounts that are not wallets; a wallet is `wallet:ACCOUNT`."""


class Position(Struct, frozen=True, gc=False):
    """Up to where a holder's journal is in the ledger: the number of its file and the offset in it."""

    file: int = 0
    offset: int = 0


class News(Struct, frozen=True, kw_only=True):
    """What changed since a version, which of the asker's leases somebody is short of, and what of it is `booked`."""

    version: int
    teams: tuple[Team, ...] = ()
    accounts: tuple[Account, ...] = ()
    keys: tuple[Key, ...] = ()
    recalled: tuple[tuple[str, int], ...] = ()
    booked: Position = Position()


class LogRow(Struct, frozen=True, array_like=True, gc=False):
    """One request, as people look it up. `id` is the settlement's where there is one."""

    id: str
    time: float
    request_id: str
    account: str | None
    key: str | None
    surface: str
    model: str | None
    provider: str | None
    upstream_model: str | None
    dialect: str
    upstream_dialect: str | None
    stream: bool
    status: int
    outcome: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_tokens: int
    estimated: bool
    cost_nanos: int | None
    amount_nanos: int
    waste_nanos: int
    attempts: int
    hedged: bool
    ttft_ms: float | None
    duration_ms: float
    address: str


class LogFilter(Struct, frozen=True, kw_only=True):
    """Which rows of the log: all that are given must hold; `since` and `until` are unix seconds, until not included."""

    account: str | None = None
    key: str | None = None
    model: str | None = None
    since: float | None = None
    until: float | None = None


class UsageRow(Struct, frozen=True, kw_only=True):
    """The requests of one value of what was grouped by."""

    name: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_nanos: int
    amount_nanos: int


class Balance(Struct, frozen=True, kw_only=True):
    """A wallet: what is in it, and how much of that workers hold for answers under way."""

    balance_nanos: int
    leased_nanos: int


class Lease(Struct, frozen=True, kw_only=True):
    """What one holder holds of one budget's window."""

    holder: str
    budget: str
    window: int
    amount: int
    ends: int
    counted: bool


class Holder(Struct, frozen=True, kw_only=True):
    """One worker's incarnation, for as long as it may hold leases or its journal holds what the ledger does not."""

    id: str
    since: int
    position: Position


class Finding(Struct, frozen=True):
    """Something that does not add up: where, and how."""

    where: str
    message: str


def wallet_of(account: str) -> str:
    """Return the ledger account, and the budget, that an account pays from."""
    return f"{WALLET}:{account}"


def day_of(time: float) -> int:
    """Return the number of the UTC day since 1970."""
    return int(time) // DAY_SECONDS


def cap_budget(period: str, scope: str, id: str) -> str:  # noqa: A002 - what it is everywhere else
    """Return the budget of what a key, an account or a team (`scope`) spends in a `DAY` or a `MONTH`."""
    return f"{period}:{scope}:{id}"
