"""The breaker of one candidate: when it is left alone for a while, and how it comes back.

    CLOSED --(too many failures)--> OPEN --(its time is over)--> PROBING --success--> CLOSED
                                      ^----------------failure-------'

Failures are too many when `FAILURES_MAX` came in a row, or when over the last window at least half of `REQUESTS_MIN` or
more failed. Open it refuses at once; how long doubles with every failed probe. While PROBING one request is let
through and all others are refused; one that is neither success nor failure (the client left, another candidate won)
gives its place back. Only what says something about the candidate is told: a request at fault is a success of the
candidate that refused it.

Pure and synchronous: the clock's readings are handed in, nothing waits.
"""

from enum import Enum
from typing import NamedTuple

FAILURES_MAX = 5
WINDOW_SECONDS = 10.0
REQUESTS_MIN = 20
FAILURE_SHARE_MAX = 0.5
OPEN_SECONDS = 5.0
OPEN_SECONDS_MAX = 60.0


class State(Enum):
    """What the breaker does with the next request."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


# Bound once: on Python 3.11 a look-up of a member in its class takes ten times as long as one in the module.
_CLOSED, _OPEN, _PROBING = State

TRANSITIONS: dict[State, frozenset[State]] = {
    State.CLOSED: frozenset({State.OPEN}),
    State.OPEN: frozenset({State.PROBING, State.CLOSED, State.OPEN}),
    State.PROBING: frozenset({State.CLOSED, State.OPEN}),
}


class BreakerStatistics(NamedTuple):
    """What is shown of a breaker: its state, seconds until it lets one through, and how often it opened."""

    state: str
    retry_seconds: float
    opened_total: int


class Breaker:
    """One candidate's. `admit` before an attempt, then exactly one of `succeed`, `fail`, `abandon`."""

    __slots__ = (
        "_failures",
        "_failures_before",
        "_in_a_row",
        "_open_seconds",
        "_probes",
        "_requests",
        "_requests_before",
        "_since",
        "opened_total",
        "reopens_at",
        "state",
    )

    def __init__(self, now: float) -> None:
        self.state = _CLOSED
        self.opened_total = 0
        self.reopens_at = now
        """When an open breaker lets a probe through."""
        self._open_seconds = OPEN_SECONDS
        self._in_a_row = 0
        self._probes = 0
        self._since = now
        self._requests = self._requests_before = 0
        self._failures = self._failures_before = 0

    def __repr__(self) -> str:
        return f"<Breaker {self.state.value} {self._in_a_row} failures in a row>"

    def statistics(self, now: float) -> BreakerStatistics:
        """Return its state as of now."""
        waits = self.state is _OPEN
        return BreakerStatistics(self.state.value, max(self.reopens_at - now, 0.0) if waits else 0.0, self.opened_total)

    def would_admit(self, now: float) -> bool:
        """Whether `admit` would let a request through now; changes nothing."""
        if self.state is _CLOSED:
            return True
        return now >= self.reopens_at if self.state is _OPEN else not self._probes

    def admit(self, now: float) -> bool:
        """Whether a request may be sent now; the first one after the open time is the probe."""
        if self.state is _CLOSED:
            return True
        if self.state is _OPEN and now >= self.reopens_at:
            self._become(_PROBING)
        if self.state is _PROBING and not self._probes:
            self._probes = 1
            return True
        return False

    def succeed(self, now: float) -> None:
        """Note an answer."""
        self._count(now, failed=False)
        self._in_a_row = 0
        if self.state is not _CLOSED:
            self._open_seconds = OPEN_SECONDS
            self._probes = self._requests = self._requests_before = self._failures = self._failures_before = 0
            self._become(_CLOSED)

    def fail(self, now: float) -> None:
        """Note a failure of the candidate."""
        self._count(now, failed=True)
        self._in_a_row += 1
        if self.state is _PROBING:
            self._open_seconds = min(2 * self._open_seconds, OPEN_SECONDS_MAX)
            self.open_for(self._open_seconds, now)
        elif self.state is _CLOSED and self._has_failed_too_often():
            self.open_for(self._open_seconds, now)

    def abandon(self) -> None:
        """Note that nothing was learnt."""
        self._probes = 0

    def open_for(self, seconds: float, now: float) -> None:
        """Open now, whatever was counted: the candidate itself said that it is of no use for so long."""
        if self.state is not _OPEN:
            self.opened_total += 1
        self._probes = 0
        self.reopens_at = max(now + seconds, self.reopens_at)
        self._become(_OPEN)

    def _has_failed_too_often(self) -> bool:
        requests, failures = self._requests + self._requests_before, self._failures + self._failures_before
        return self._in_a_row >= FAILURES_MAX or (requests >= REQUESTS_MIN and failures >= FAILURE_SHARE_MAX * requests)

    def _count(self, now: float, *, failed: bool) -> None:
        passed = now - self._since
        if passed >= WINDOW_SECONDS:
            recent = passed < 2 * WINDOW_SECONDS
            self._requests_before = self._requests if recent else 0
            self._failures_before = self._failures if recent else 0
            self._requests = self._failures = 0
            self._since = now
        self._requests += 1
        self._failures += failed

    def _become(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"
        self.state = state
