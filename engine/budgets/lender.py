"""Who goes to the store for leases: in the background before they run out, and for requests that lack something.

One exchange with the store at a time; what is asked meanwhile goes into the next one together, so that a thousand
requests of a new minute make one transaction. A request that lacks something waits for the exchange it is part of. Is
nothing left at the store, but with other workers, they are asked for what they do not use (the store tells them, see
`Store.news`), and the request waits for a moment; is nothing left anywhere, it is refused at once.

What comes next is leased ahead: more of what runs low, and of windows that are about to end the next ones, as far as
the present ones are in use. So a slow disk is felt by the first request of a key at a worker, which waits for its own
commit and the one under way, and by those that come while it does; then by nobody until the key has paused for minutes,
or budgets are nearly used up and workers have to ask each other.

The store away, requests live on what is leased, and those that lack something get `UnavailableError`.
"""

import logging
import time
from collections.abc import Callable, Iterable
from math import inf

import trio
from msgspec import Struct

from engine.budgets.allowance import COUNTED, Allowance, Budget
from engine.budgets.periods import Period, window
from engine.budgets.reservation import Lack, Standing
from store.interface import ConflictError, Store, StoreError, UnavailableError
from store.rows import Return, Want

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 0.8
"""How long a request waits for what other workers hold and do not use: they hear of it within 0.2 s."""

AGAIN_SECONDS = 0.1
TIDY_SECONDS = 1.0
IDLE_SECONDS = 300.0
"""A lease that nobody took of for so long goes back: who pauses for less does not wait again. What somebody else is
short of goes back at once.
"""

AHEAD_SECONDS = 10.0
"""How long before a window ends the next one is leased: longer than a slow disk takes for some transactions."""

IN_USE_SECONDS = 60.0
"""Of a window that nobody took of for so long the next one is not leased ahead."""

ENDED_SECONDS = 2 * 3600
"""How long a window that is over is remembered for money that comes back: longer than an answer can take."""

WANTS_MAX = 500
"""Of one transaction; and so many windows are leased ahead in a second, for a request may have to wait meanwhile."""


class ShortageError(Exception):
    """There is not enough left of a budget, with nobody."""

    def __init__(self, lack: Lack) -> None:
        super().__init__(lack.allowance.budget.id)
        self.lack = lack


class LenderStatistics(Struct, frozen=True):
    """Allowances known, exchanges with the store, those that failed, requests that had to wait for one."""

    allowances: int
    exchanges_total: int
    failed_total: int
    waited_total: int


class _Exchange:
    """What will be asked of the store together, and its end."""

    __slots__ = ("asks", "done", "error")

    def __init__(self) -> None:
        self.asks: dict[Allowance, tuple[int, int]] = {}
        """The least that somebody lacks, and what all lack together."""
        self.done = trio.Event()
        self.error: StoreError | None = None


class Lender:
    """The allowances of one worker and their supply. `run` for as long as the worker lives."""

    def __init__(self, store: Store, holder: str, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._allowances: dict[tuple[str, int], Allowance] = {}
        self._next = _Exchange()
        self._under_way: _Exchange | None = None
        self._wake = trio.Event()
        self._returns: dict[Allowance, None] = {}
        self._exchanges = self._failed = self._waited = 0

    def __repr__(self) -> str:
        return f"<Lender {self._holder}: {len(self._allowances)} allowances>"

    def statistics(self) -> LenderStatistics:
        """Return what happened so far."""
        return LenderStatistics(len(self._allowances), self._exchanges, self._failed, self._waited)

    def allowance(self, budget: Budget, now: float) -> Allowance:
        """Return this worker's allowance of the budget's window at `now` (unix seconds)."""
        key = budget.id, window(budget.period, now)
        allowance = self._allowances.get(key)
        if allowance is None:
            allowance = self._open(budget, key[1])
        elif allowance.budget is not budget and allowance.limit_by(budget):
            self._give_back(allowance)
        # Whoever asks will draw on it for a while: it must not be forgotten before.
        allowance.touched = max(allowance.touched, now)
        return allowance

    def _open(self, budget: Budget, number: int) -> Allowance:
        allowance = self._allowances[budget.id, number] = Allowance(budget, number)
        before = self._allowances.get((budget.id, number - 1))
        if before is not None:
            allowance.follow(before)
        return allowance

    def top_up(self, standing: Standing) -> None:
        """Ask in the background for more of what is running low."""
        if standing.is_low:
            standing.is_low = False
            for allowances in standing.parts:
                for allowance in allowances:
                    if allowance.free < allowance.low:
                        allowance.low = 0
                        self._ask(allowance, 0)

    async def replenish(self, lacks: Iterable[Lack]) -> None:
        """Return when what lacks may be there, or a window that it lacks in is over.

        Raises `ShortageError` and `UnavailableError`. Cancelled: leases stay.
        """
        self._waited += 1
        deadline = inf
        lacking = list(lacks)
        foreseen = self._foreseen(lacking)
        while True:
            exchange = foreseen
            if exchange is None:
                for allowance, amount in lacking:
                    self._ask(allowance, amount - allowance.free)
                exchange = self._next
            await exchange.done.wait()
            now = self._clock()
            lacking = [lack for lack in lacking if lack.allowance.free < lack.amount]
            if not lacking or any(0 < lack.allowance.ends <= now for lack in lacking):
                return
            if exchange.error is not None:
                raise UnavailableError(str(exchange.error)) from exchange.error
            if foreseen is not None:
                foreseen = None
                continue  # it may have been asked before there was more: only what is asked from now on tells
            short = [lack for lack in lacking if _is_short(lack)]
            if not short:
                continue  # others were faster with what was granted; there is enough for another time
            deadline = min(deadline, trio.current_time() + PATIENCE_SECONDS)
            if trio.current_time() >= deadline:
                raise ShortageError(short[0])
            await trio.sleep(AGAIN_SECONDS)

    def recall(self, budget: str, number: int) -> None:
        """Give back what is free of a budget's window: somebody else is short of it."""
        allowance = self._allowances.get((budget, number))
        if allowance is not None and allowance.free:
            self._give_back(allowance)

    async def run(self) -> None:
        """Lend until cancelled. What the store has not answered by then it may have done; leaving it settles that."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tidy_now_and_then)
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while self._next.asks or self._returns:
                    await self._exchange()

    def _foreseen(self, lacks: Iterable[Lack]) -> _Exchange | None:
        """Return the exchange under way when more of all that lacks is asked for in it: most likely that is enough."""
        exchange = self._under_way
        if exchange is None or not all(lack.allowance in exchange.asks for lack in lacks):
            return None
        return exchange

    def _ask(self, allowance: Allowance, need: int) -> None:
        asked = self._next.asks.get(allowance)
        if asked is None:
            allowance.see_pace(need, self._clock())
        least, together = asked or (0, 0)
        if need > 0:
            # 0 is nobody's need: that it runs low must not take the place of what somebody lacks.
            least, together = min(least or need, need), together + need
        self._next.asks[allowance] = least, together
        self._wake.set()

    def _give_back(self, allowance: Allowance) -> None:
        self._returns[allowance] = None
        self._wake.set()

    async def _exchange(self) -> None:
        exchange, self._next = self._next, _Exchange()
        self._under_way = exchange
        given = [(allowance, allowance.owed, allowance.give_up()) for allowance in self._returns]
        self._returns.clear()
        asked = list(exchange.asks.items())
        self._exchanges += 1
        try:
            for first in range(0, max(len(asked), 1), WANTS_MAX):
                await self._lease(asked[first : first + WANTS_MAX], given)
                given = []
        except ConflictError:
            raise  # we hold something else than the store says: only a worker that begins anew puts that right
        except StoreError as exc:
            self._failed += 1
            exchange.error = exc
            for allowance, owed, amount in given:
                # Meanwhile it may have been forgotten, and another one have taken its place.
                back = self._allowances.setdefault((allowance.budget.id, allowance.window), allowance)
                back.owed += owed
                back.free += amount - owed
        self._under_way = None
        exchange.done.set()

    async def _lease(
        self, asked: list[tuple[Allowance, tuple[int, int]]], given: list[tuple[Allowance, int, int]]
    ) -> None:
        now = self._clock()
        wants = [
            Want(
                allowance.budget.id,
                allowance.window,
                allowance.budget.limit,
                least,
                max(allowance.slice_for(together, now), least),
                allowance.ends,
                allowance.budget.unit in COUNTED,
            )
            for allowance, (least, together) in asked
        ]
        returns = [Return(allowance.budget.id, allowance.window, amount) for allowance, _, amount in given if amount]
        grants = await self._store.lease(self._holder, wants, returns, int(now))
        for (allowance, _), grant in zip(asked, grants, strict=True):
            allowance.take_in(grant, self._clock())

    async def _tidy_now_and_then(self) -> None:
        while True:
            await trio.sleep(TIDY_SECONDS)
            self.tidy()

    def tidy(self) -> None:
        """Give back what nobody uses and what is left of windows that are over; forget what is past. Lease what is
        about to begin.
        """
        now = self._clock()
        ahead = 0
        for key, allowance in list(self._allowances.items()):
            over = 0 < allowance.ends <= now
            if over and allowance.budget.period is Period.MINUTE:
                del self._allowances[key]
            elif allowance.owed or (allowance.free and (over or _idle_seconds(allowance, now) > IDLE_SECONDS)):
                self._give_back(allowance)
            elif (
                not allowance.free
                and not allowance.in_use
                and now - max(allowance.touched, allowance.ends) > ENDED_SECONDS
            ):
                del self._allowances[key]
            if not over and ahead < WANTS_MAX and _is_ending(allowance, now):
                following = key[0], key[1] + 1
                if following not in self._allowances:
                    ahead += 1
                    self._ask(self._open(allowance.budget, following[1]), 0)


def _idle_seconds(allowance: Allowance, now: float) -> float:
    # What was leased ahead is not idle before its time.
    return now - max(allowance.touched, allowance.begins)


def _is_ending(allowance: Allowance, now: float) -> bool:
    """Whether an allowance is in use and its window is nearly over."""
    return 0 < allowance.ends <= now + AHEAD_SECONDS and now - allowance.touched < IN_USE_SECONDS


def _is_short(lack: Lack) -> bool:
    """Whether the store has not enough of it. Raises `ShortageError` when nobody has."""
    grant = lack.allowance.last
    assert grant is not None
    beyond = lack.amount - lack.allowance.free - grant.available
    if beyond > grant.elsewhere:
        raise ShortageError(lack)
    return beyond > 0
