"""Where the holder of a key stands: what is in the wallet, and what is left of every cap.

Asked of the store at one moment for one answer. Leases count as neither used nor gone: they are what workers hold for
answers under way, and most of it comes back. So a cap's remainder may be more than the next request is granted.
"""

from itertools import product

from msgspec import Struct

from engine.budgets.periods import Period, end, window
from engine.console.account_roster import Holder
from store.interface import Store
from store.rows import Account, Balance, Key, Team, cap_budget

CAP_PERIODS = (Period.DAY, Period.MONTH)
KEY, ACCOUNT, TEAM = "key", "account", "team"


class Cap(Struct, frozen=True, kw_only=True):
    """The spend of a key, an account or a team (`scope`) in the present window, and its limit if there is one."""

    scope: str
    period: Period
    limit_nanos: int | None
    used_nanos: int
    resets_at: int

    @property
    def remaining_nanos(self) -> int | None:
        """What is left; 0 where a limit was lowered below what had been spent, None without a limit."""
        return None if self.limit_nanos is None else max(0, self.limit_nanos - self.used_nanos)


class Standing(Struct, frozen=True):
    """A holder's wallet and caps, the latter with and without limits, those of the key first."""

    holder: Holder
    balance: Balance
    caps: tuple[Cap, ...]

    def available_nanos(self) -> int:
        """Return what the key can spend at this moment: the wallet, or the narrowest of the caps."""
        left = [cap.remaining_nanos for cap in self.caps]
        return min([self.balance.balance_nanos, *(nanos for nanos in left if nanos is not None)])


async def standing_of(store: Store, holder: Holder, now: float) -> Standing:
    """Ask the store where `holder` stands. Raises as the store does."""
    capped: list[tuple[str, Key | Account | Team]] = [(KEY, holder.key), (ACCOUNT, holder.account)]
    if holder.team is not None:
        capped.append((TEAM, holder.team))
    asked = [(scope, row, period, window(period, now)) for (scope, row), period in product(capped, CAP_PERIODS)]
    balance = await store.balance(holder.account.id)
    used = await store.used([(cap_budget(period.value, scope, row.id), number) for scope, row, period, number in asked])
    caps = (
        Cap(
            scope=scope,
            period=period,
            limit_nanos=row.cap_day_nanos if period is Period.DAY else row.cap_month_nanos,
            used_nanos=nanos,
            resets_at=end(period, number),
        )
        for (scope, row, period, number), nanos in zip(asked, used, strict=True)
    )
    return Standing(holder, balance, tuple(caps))


async def spent_nanos(store: Store, scope: str, id: str, created: int, now: float) -> int:  # noqa: A002 - as in the rows
    """Return what a key or an account has spent since it was made, less what it was given back."""
    budget = cap_budget(Period.MONTH.value, scope, id)
    first, last = window(Period.MONTH, created), window(Period.MONTH, now)
    return sum(await store.used([(budget, month) for month in range(first, last + 1)]))
