"""What one worker may spend of one budget's window before it has to ask again.

`free` is what was leased and nobody has taken. Everything here is synchronous arithmetic: what a request takes it has,
and cancellation cannot fall between. Who leases is `engine.budgets.lender`'s business; how much is decided here: what
lasts for some seconds at the pace it is used, so that a request waits for a lease at the beginning of a load and not
again, however long a lease takes.
"""

from enum import Enum

from msgspec import Struct

from engine.budgets.periods import Period, end
from store.rows import Grant

SLICE_MIN = 8
"""How many times what is needed a lease asks for at least; the store decides what it may have."""

SLICE_MAX = 1 << 62
"""Beyond all that a store can hold: what doubles again and again would never end."""

SLICE_FIRST = 128
"""The same of the first lease of money, when nothing is known of its use: what a client that begins with a thousand
requests a second needs while a slow disk takes half a second to lease more.
"""

HURRY_SECONDS = 2.0
"""A slice that lasted for less than this was too small."""

PACE_SECONDS = 4
"""A slice is to last for so long at the pace of the one before; half of it is left when the next is asked for."""

PACE_FACTOR_MAX = 16
"""A burst says little about what follows: no slice is more than so many times the one before."""

PACE_MICROSECONDS_MIN = 50_000
"""Requests that come in the same moment have no pace."""

SHARE_OF_LIMIT = 30
"""Of a rate a slice is this part of the limit at least: what two seconds of a minute are."""

SHARE_OF_REST = 256
"""Of money a slice is this part of what is left at least: nobody misses it, and it is given back when somebody does."""


class Unit(Enum):
    """What is counted. Money is settled through the ledger; of the others what is taken is used, or given back."""

    MONEY = "money"
    REQUESTS = "requests"
    TOKENS = "tokens"
    PLACES = "places"


_MONEY = Unit.MONEY

COUNTED = frozenset({Unit.REQUESTS, Unit.TOKENS})
"""What is taken of these and not returned is used; nobody settles it."""


class Budget(Struct, frozen=True):
    """One limit: its name in the store, what it counts and when it starts anew. `limit` None: the wallet's balance.

    `called` is how errors name it: "the daily cap of the key".
    """

    id: str
    unit: Unit
    period: Period
    limit: int | None
    called: str


class Allowance:
    """A budget's window as one worker sees it. Not concurrent: touched from the worker's loop only."""

    __slots__ = (
        *("_asked", "_granted", "_granted_free", "_need", "_pace", "_recalled", "_slice"),
        *("available", "begins", "budget", "ends", "free", "in_use", "last", "low", "owed", "touched", "window"),
    )

    def __init__(self, budget: Budget, window: int) -> None:
        self.budget = budget
        self.window = window
        self.begins = end(budget.period, window - 1)
        self.ends = end(budget.period, window)
        self.free = 0
        self.in_use = 0
        """Places that are taken; not counted of anything else."""
        self.owed = 0
        """Places that came back after the limit was lowered: the store's, and nobody's to take."""
        self.low = 0
        """Below this more is leased in the background."""
        self.last: Grant | None = None
        """What the store said last: how much is left there, and with whom."""
        self.available = 0
        """How much is left at the store, as far as this worker knows."""
        self.touched = 0.0
        """When something was taken last, to the second, or a standing made to draw on it; 0: it was leased ahead."""
        self._recalled = 0
        self._need = 0
        self._slice = 0
        self._asked = 0.0
        self._granted = 0.0
        """When the last grant came, and what was free then."""
        self._granted_free = 0
        self._pace = 0
        """What `PACE_SECONDS` take at the pace since then."""

    def __repr__(self) -> str:
        return f"<Allowance {self.budget.id}@{self.window} free={self.free}>"

    @property
    def remaining(self) -> int:
        """What is left of the window, as far as this worker knows."""
        return self.free + self.available

    def follow(self, before: "Allowance") -> None:
        """Go on with the slices of the window before this one."""
        self._need, self._slice = before._need, before._slice

    def see_pace(self, need: int, now: float) -> None:
        """Take notice of how quickly the last grant was used, now that `need` is lacking or little is left (0).

        To be called when that becomes known: a moment later nothing is there to be used.
        """
        used = self._granted_free - self.free + need
        if self._granted and used > 0:
            microseconds = max(int((now - self._granted) * 1_000_000), PACE_MICROSECONDS_MIN)
            self._pace = used * PACE_SECONDS * 1_000_000 // microseconds

    def slice_for(self, need: int, now: float) -> int:
        """Return how much to ask for when `need` is lacking, or nothing is yet (0): twice as much in a hurry, and at
        once as much as the pace asks for.
        """
        self._need = need or self._need
        size = max(self._need * SLICE_MIN, self._share())
        if self._asked:
            size = max(size, self._slice * 2 if now - self._asked < HURRY_SECONDS else self._slice // 2)
        elif self._slice:
            size = max(size, self._slice)
        elif self.budget.unit is _MONEY:
            size = self._need * SLICE_FIRST
        size = max(size, min(self._pace, size * PACE_FACTOR_MAX))
        self._slice = min(size, SLICE_MAX)
        self._asked = now
        self._pace = 0
        return self._slice

    def _share(self) -> int:
        budget = self.budget
        if budget.unit is _MONEY:
            return self.available // SHARE_OF_REST
        return (budget.limit or 0) // SHARE_OF_LIMIT if budget.unit in COUNTED else 0

    def take_in(self, grant: Grant, now: float = 0.0) -> None:
        """Add what the store granted at `now`. Nothing: it is not asked again before something is lacking."""
        self.last = grant
        self.available = grant.available
        self.free += grant.granted
        self.low = grant.granted // 2
        self._granted, self._granted_free = now, self.free
        if not grant.granted:
            # What was asked for in vain says nothing about what the next request needs.
            self._need = self._slice = self._pace = 0

    def give_up(self) -> int:
        """Hand back what is free or owed; return how much it was."""
        amount = self.free + self.owed
        self.free = self.owed = self.low = 0
        self._granted = 0.0  # what was given back was not used
        return amount

    def limit_by(self, budget: Budget) -> bool:
        """Let `budget` be the one from now on; whether its limit is lower, so that what is leased may be too much.

        Places come back to be taken again, and would be for ever: those in use now are owed to the store as they end.
        """
        before, self.budget = self.budget, budget
        if before.limit is None or budget.limit is None or budget.limit >= before.limit:
            return False
        self._recalled = self.in_use
        return True

    def leave_place(self) -> None:
        """Take a place back."""
        self.in_use -= 1
        if self._recalled:
            self._recalled -= 1
            self.owed += 1
        else:
            self.free += 1
