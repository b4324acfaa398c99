"""The leases of the store in memory: who holds how much of which budget's window, and who is short of what others hold.

Nothing waits here: `memory` calls it between two checkpoints. A call that raises has changed nothing. It knows no
clock: the time is what `grant` was last told. What is spent of a budget, and what is in a wallet, the caller says.
"""

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from store.interface import ConflictError
from store.rows import WALLET, Grant, Lease, Want

RECALL_SECONDS = 5
"""How long it is remembered that somebody is short of what others hold."""

RATE_KEPT_SECONDS = 3_600
"""How long after its window what is leased and used of a rate is kept."""

Slot = tuple[str, int]
"""A budget and its window."""


class MemoryLeases:
    """Leases by holder, budget and window; and what of rates is used because its holder left."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str, int], Lease] = {}
        self.used: Counter[Slot] = Counter()
        self._ends: dict[Slot, int] = {}
        self._short_until: dict[tuple[str, str, int], int] = {}
        self._now = 0

    def take(self, holder: str, parts: Iterable[tuple[str, int, int]]) -> None:
        """Take (budget, window, amount) from what `holder` holds, all or nothing.

        Raises `ConflictError` when it holds less.
        """
        held = dict(self.held)
        for budget, window, amount in parts:
            lease = held.pop((holder, budget, window), None)
            left = (lease.amount if lease else 0) - amount
            if left < 0 or amount < 0:
                raise ConflictError(f"{holder} holds {left + amount} of {budget} in window {window}, not {amount}.")
            if lease and left:
                held[holder, budget, window] = replace(lease, amount=left)
        self.held = held

    def grant(self, holder: str, want: Want, *, limit: int, spent: int, now: int) -> Grant:
        """Grant a want, or remember that it could not be granted; `spent` is what is counted elsewhere than here."""
        self._now = max(self._now, now)
        slot = (want.budget, want.window)
        held = {lease.holder: lease.amount for lease in self.held.values() if (lease.budget, lease.window) == slot}
        own = held.pop(holder, 0)
        elsewhere = sum(held.values())
        used = spent + self.used[slot]
        available = limit - used - own - elsewhere
        granted = 0
        if available >= want.need:
            granted = max(want.need, min(want.want, available // 2))
        if granted:
            self.held[holder, *slot] = Lease(
                holder=holder,
                budget=want.budget,
                window=want.window,
                amount=own + granted,
                ends=want.ends,
                counted=want.counted,
            )
            self._short_until.pop((holder, *slot), None)
        elif available < want.need <= available + elsewhere:
            self._short_until[holder, *slot] = now + RECALL_SECONDS
        return Grant(want.budget, want.window, granted, max(0, available - granted), elsewhere, used)

    def recalled_of(self, holder: str | None) -> tuple[Slot, ...]:
        """Return what `holder` holds and somebody else is short of."""
        short = {
            (budget, window)
            for (other, budget, window), until in self._short_until.items()
            if other != holder and until > self._now
        }
        mine = ((budget, window) for other, budget, window in self.held if other == holder)
        return tuple(sorted(slot for slot in mine if slot in short))

    def leave(self, holder: str) -> int:
        """Free what `holder` holds, but count its rates as used; return what came back to wallets.

        What came back to caps is the same money, and places are none.
        """
        money = 0
        for lease in [lease for lease in self.held.values() if lease.holder == holder]:
            if lease.counted:
                self.used[lease.budget, lease.window] += lease.amount
                self._ends[lease.budget, lease.window] = lease.ends
            elif lease.budget.startswith(f"{WALLET}:"):
                money += lease.amount
        self.held = {key: lease for key, lease in self.held.items() if key[0] != holder}
        self._short_until = {key: until for key, until in self._short_until.items() if key[0] != holder}
        return money

    def forget(self, before: float) -> None:
        """Drop what is leased and used of rates whose window was over then."""
        over = {slot for slot, ends in self._ends.items() if 0 < ends <= before}
        for slot in over:
            del self.used[slot], self._ends[slot]
        self.held = {key: lease for key, lease in self.held.items() if not (lease.counted and 0 < lease.ends <= before)}
