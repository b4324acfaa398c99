"""What one worker may spend of one budget's window before it has to ask again.

`free` is what was leased and nobody has taken. Everything here is synchronous arithmetic: what a request takes it has,
and cancellation cannot fall between. Who leases is `engine.budgets.lender`'s business.
"""

from enum import Enum

from msgspec import Struct

from engine.budgets.periods import Period, end
from store.rows import Grant

SLICE_MIN = 8
"""How many times what is needed a lease asks for at least; the store decides what it may have."""

SLICE_MAX = 1 << 62
"""Beyond all that a store can hold: what doubles again and again would never end."""

HURRY_SECONDS = 2.0
"""A slice that lasted for less than this was too small."""


class Unit(Enum):
    """What is counted. Money is settled through the ledger; of the others what is taken is used, or given back."""

    MONEY = "money"
    REQUESTS = "requests"
    TOKENS = "tokens"
    PLACES = "places"


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
        *("_asked", "_need", "_recalled", "_slice"),
        *("budget", "ends", "free", "in_use", "last", "low", "owed", "touched", "window"),
    )

    def __init__(self, budget: Budget, window: int) -> None:
        self.budget = budget
        self.window = window
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
        self.touched = 0.0
        """When something was taken last, or a standing made to draw on it."""
        self._recalled = 0
        self._need = 0
        self._slice = 0
        self._asked = 0.0

    def __repr__(self) -> str:
        return f"<Allowance {self.budget.id}@{self.window} free={self.free}>"

    @property
    def remaining(self) -> int:
        """What is left of the window, as far as this worker knows."""
        return self.free + (self.last.available if self.last is not None else 0)

    def slice_for(self, need: int, now: float) -> int:
        """Return how much to ask for when `need` is lacking, or nothing is yet (0): twice as much in a hurry."""
        self._need = need or self._need
        hurried = now - self._asked < HURRY_SECONDS
        self._slice = min(max(self._slice * 2 if hurried else self._slice // 2, self._need * SLICE_MIN), SLICE_MAX)
        self._asked = now
        return self._slice

    def take_in(self, grant: Grant) -> None:
        """Add what the store granted. Nothing: it is not asked again before something is lacking."""
        self.last = grant
        self.free += grant.granted
        self.low = grant.granted // 2
        if not grant.granted:
            # What was asked for in vain says nothing about what the next request needs.
            self._need = self._slice = 0

    def give_up(self) -> int:
        """Hand back what is free or owed; return how much it was."""
        amount = self.free + self.owed
        self.free = self.owed = self.low = 0
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
