"""The race: several attempts at one answer, started one after the other, of which the first with content wins.

Happy eyeballs (RFC 8305) for models. The next attempt starts when one fails, when the hedge delay has passed without
content, or when an attempt has had its time; never more than the policy allows, and never beyond the budgets. A failure
that is the request's own ends the race, since nobody else would judge it otherwise. What content is, the taps say.

    start       begins with the first attempt
    next_at     when the caller should call `start_next`, unless content comes first
    wait        returns when there is a winner; raises what the client is to be told when there can be none
    close       closes every attempt that has not won; before the winner's first byte goes out it is called

All state lies in the race itself, so a `wait` that was cancelled (a keep-alive comment was due, the next start is) may
be called again and loses nothing. With one attempt running there is no nursery and no scope: the common case pays for
a few comparisons. Until when to wait is the caller's to say.
"""

from collections.abc import Callable
from math import inf
from typing import Generic, NamedTuple, Protocol, TypeVar

import trio

from adapters.errors import ClientError, Failure, GatewayError, Kind, UpstreamError
from engine.alarms import Due
from engine.ungrouped import ungrouped


class Runnable(Protocol):
    """One attempt in the race."""

    @property
    def started(self) -> float:
        """When it began."""
        ...

    @property
    def hedge_seconds(self) -> float:
        """How long it runs alone; infinite where slowness is to start nothing."""
        ...

    async def wait(self, until: float = inf) -> None:
        """Return at the first content. Raises `UpstreamError`, `ClientError`, `Due` at `until`; resumable."""
        ...

    def lose(self, error: UpstreamError | None = None) -> None:
        """Close it: another one won, or `error` says why it is given up. Synchronous, any number of times."""
        ...

    def close(self) -> None:
        """Close it, for no reason that lies in it: nobody waits any more. Synchronous, any number of times."""
        ...


E = TypeVar("E", bound=Runnable)


class Budget:
    """A token bucket that fills by requests, not by time: so many extra attempts per hundred, and a few to begin with.

    In an outage every request wants an extra attempt; the bucket is what keeps that from doubling the load.
    """

    __slots__ = ("share", "tokens", "tokens_max")

    def __init__(self, share: float, *, tokens_max: float) -> None:
        self.share = share
        self.tokens_max = tokens_max
        self.tokens = tokens_max if share else 0.0

    def __repr__(self) -> str:
        return f"<Budget {self.tokens:.1f} of {self.tokens_max:g}, {self.share:g} a request>"

    def deposit(self) -> None:
        """Count one request."""
        tokens = self.tokens + self.share
        self.tokens = tokens if tokens < self.tokens_max else self.tokens_max

    def withdraw(self) -> bool:
        """Take one extra attempt, if there is one."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


HEDGE_AGAIN_SECONDS = 0.05
"""The least pause before a budget that was empty is asked again."""


class Policy(NamedTuple):
    """How a route races. An attempt without content after `attempt_seconds` makes room for another, if there is one."""

    attempts_max: int
    attempt_seconds: float
    hedge_budget: Budget
    retry_budget: Budget


class Runner(Generic[E]):
    """One started attempt and the time at which it gets company."""

    __slots__ = ("entrant", "gives_up_at", "hedge_at")

    def __init__(self, entrant: E, attempt_seconds: float) -> None:
        started = entrant.started
        self.entrant = entrant
        self.hedge_at = started + entrant.hedge_seconds
        self.gives_up_at = started + attempt_seconds

    def wait_on(self, now: float, *, again: bool) -> None:
        """Go on after its hedge was due: once is enough, but one that the budget refused is asked for `again`."""
        self.hedge_at = now + max(self.entrant.hedge_seconds, HEDGE_AGAIN_SECONDS) if again else inf


class Race(Generic[E]):
    """One request's race. `enter` opens the next attempt and returns None when there is nobody left to ask.

    Not concurrent: one task calls `start`, then `start_next` and `wait` in turn, and `close` in a `finally`. `winner`
    is set when `wait` has returned; it belongs to the caller, every other entrant is closed by then. `hedged`: two ran
    at once.
    """

    __slots__ = ("_enter", "_errors", "_nobody", "_now", "_policy", "_running", "_told", "hedged", "started", "winner")

    def __init__(
        self,
        enter: Callable[[], E | None],
        policy: Policy,
        now: Callable[[], float],
        *,
        nobody: Callable[[], UpstreamError],
    ) -> None:
        """`nobody` makes the error of a race that nobody can begin."""
        self._enter: Callable[[], E | None] | None = enter
        self._policy = policy
        self._now = now
        self._nobody = nobody
        self._running: list[Runner[E]] = []
        self._errors: list[GatewayError] = []
        self._told: list[tuple[Runner[E], GatewayError | None]] = []
        """What became of some that waited, not yet acted upon; None is content."""
        self.started = 0
        self.hedged = False
        self.winner: E | None = None
        policy.hedge_budget.deposit()
        policy.retry_budget.deposit()

    def __repr__(self) -> str:
        return f"<Race {self.started} started, {len(self._running)} running, winner {self.winner!r}>"

    @property
    def next_at(self) -> float:
        """When the running attempts have had the time they get alone; infinite when nobody could join them."""
        if self._enter is None or not self._running:
            return inf
        next_at = inf
        for runner in self._running:
            next_at = min(next_at, runner.hedge_at, runner.gives_up_at)
        return next_at

    def start(self) -> None:
        """Start the first attempt. Raises `UpstreamError` when there is nobody to ask."""
        if not self._start(None):
            raise self._nobody()

    def start_next(self) -> None:
        """Start what is due at `next_at`: beside the slow one, or in the place of one that has had its time.

        Not when one of them has said something in the same tick: `wait` decides about that first.
        """
        if self._told:
            return
        now = self._now()
        for runner in self._running[:]:
            if now >= runner.gives_up_at:
                self._replace(runner, now)
        slow = [each for each in self._running if now >= each.hedge_at]
        if slow:
            started = self._start(self._policy.hedge_budget)
            self.hedged = self.hedged or started
            for each in slow:
                each.wait_on(now, again=not started)

    async def wait(self, until: float = inf) -> None:
        """Wait for a winner. Raises `ClientError`, or the `UpstreamError` that says most, when there is none.

        Raises `Due` at `until`. Then, and cancelled: nothing is lost, and it may be called again.
        """
        while self.winner is None:
            if self._told:
                self._take_told()
            elif len(self._running) == 1:
                runner = self._running[0]
                try:
                    await runner.entrant.wait(until)
                except GatewayError as exc:
                    self._failed(runner, exc)
                else:
                    self._win(runner)
            else:
                await self._wait_for_any(until)

    def give_up(self, error: UpstreamError) -> None:
        """Close all that run because of `error`: the time of the whole request is over."""
        for runner in self._running[:]:
            self._drop(runner, error)
        self._enter = None

    def close(self) -> None:
        """Close all that run, but the winner; without one nobody has lost."""
        running, self._running, self._enter = self._running, [], None
        for runner in running:
            if self.winner is not None:
                runner.entrant.lose()
            else:
                runner.entrant.close()

    async def _wait_for_any(self, until: float) -> None:
        """Let all of them wait side by side until one has something to say; it stands in `_told`, also if cancelled."""

        async def one(runner: Runner[E]) -> None:
            try:
                await runner.entrant.wait()
            except GatewayError as exc:
                self._told.append((runner, exc))
            else:
                self._told.append((runner, None))
            nursery.cancel_scope.cancel()

        with trio.move_on_at(until):
            async with ungrouped(), trio.open_nursery() as nursery:
                for runner in self._running:
                    nursery.start_soon(one, runner)
        if not self._told:
            raise Due

    def _take_told(self) -> None:
        told, self._told = self._told, []
        winners = [runner for runner, error in told if error is None]
        if winners:
            # Of two in one tick the one that was started first wins.
            self._win(min(winners, key=self._running.index))
            return
        for runner, error in told:
            assert error is not None
            self._failed(runner, error)

    def _replace(self, runner: Runner[E], now: float) -> None:
        """Give up on one that has had its time, if another one can be asked instead; else it may go on."""
        if self._start(self._policy.retry_budget):
            message = f"no content for {now - runner.entrant.started:g} s"
            failure = Failure(504, Kind.TIMEOUT, message, code="upstream_timeout")
            self._drop(runner, UpstreamError(failure, cause="timeout", retryable=True))
        else:
            runner.gives_up_at = inf

    def _start(self, budget: Budget | None) -> bool:
        """Start one more attempt, if policy, budget and candidates have one."""
        if self._enter is None:
            return False
        if budget is not None and budget.tokens < 1:
            return False
        entrant = self._enter()
        if entrant is None:
            self._enter = None
            return False
        if budget is not None:
            budget.withdraw()
        self.started += 1
        if self.started >= self._policy.attempts_max:
            # Known now, it spares the caller a deadline: a race of one has none.
            self._enter = None
        self._running.append(Runner(entrant, self._policy.attempt_seconds))
        return True

    def _failed(self, runner: Runner[E], error: GatewayError) -> None:
        """Take a failure: end the race, or start the next at once and go on with who is left. Raises the verdict.

        A model that one candidate does not know may well be known to the next.
        """
        if isinstance(error, ClientError) and error.failure.kind is not Kind.NOT_FOUND:
            self._running.remove(runner)
            runner.entrant.lose()
            self.close()
            raise error
        self._drop(runner, error)
        if isinstance(error, ClientError) or (isinstance(error, UpstreamError) and error.retryable):
            self._start(self._policy.retry_budget)
        if not self._running:
            raise self._verdict() from (ExceptionGroup("attempts", self._errors) if len(self._errors) > 1 else None)

    def _drop(self, runner: Runner[E], error: GatewayError) -> None:
        self._running = [each for each in self._running if each is not runner]
        self._errors.append(error)
        runner.entrant.lose(error if isinstance(error, UpstreamError) else None)

    def _win(self, runner: Runner[E]) -> None:
        self.winner = runner.entrant
        self._running.remove(runner)
        self.close()

    def _verdict(self) -> GatewayError:
        """Return what the client is told: the last failure that says when to come back, else the last there is.

        That somebody does not know the model says nothing about those who do.
        """
        failures = [error for error in self._errors if isinstance(error, UpstreamError)]
        waits = [error for error in failures if error.failure.status in {429, 503, 529}]
        return (waits or failures or self._errors)[-1]
