"""The health of one candidate: how it is doing, how it has done lately, and whether it may be asked.

One `Health` belongs to one (provider, credential, upstream model) and outlives every request and every reload that
keeps the three. An attempt takes it with `begin` and gives it back with `end`; between the two it says what became of
it, `answered`, `judged`, `failed`, `outrun` or `abandoned`. All are synchronous, so no cancellation can lose one. What
is counted as the candidate's failure is decided here, by cause.
"""

from typing import NamedTuple

from adapters.errors import Kind, UpstreamError
from engine.breaker import Breaker, State
from engine.latency import Latency

CREDENTIAL_SECONDS = 60.0
"""How long a refused credential is not used: keys are replaced by people."""

USUAL_SHARE = 0.95
"""The share of its answers that are as fast as usual."""

# Looked at here before the breaker is asked, which is closed nearly always: that saves an attempt 2,500 instructions.
_CLOSED = State.CLOSED

COOLING_SECONDS = 1.0
COOLING_SECONDS_MAX = 60.0
"""How long a candidate that is at its rate limit comes last, when it did not say and at most."""


class HealthStatistics(NamedTuple):
    """What is shown of a candidate."""

    in_flight: int
    breaker: str
    retry_seconds: float
    opened_total: int
    ttft_seconds: float | None


class Health:
    """One candidate's; `in_flight_max` bounds its attempts, 0 for no bound."""

    __slots__ = ("breaker", "cooling_until", "in_flight", "in_flight_max", "latency", "unary_latency")

    def __init__(self, now: float, *, in_flight_max: int = 0) -> None:
        self.breaker = Breaker(now)
        self.latency = Latency(now)
        """Of streams: to the first content."""
        self.unary_latency = Latency(now)
        """Of unary answers: to the end."""
        self.in_flight = 0
        self.in_flight_max = in_flight_max
        self.cooling_until = now
        """Until then others are preferred: it is at its rate limit."""

    def __repr__(self) -> str:
        return f"<Health {self.in_flight} in flight {self.breaker!r} {self.latency!r}>"

    def statistics(self, now: float) -> HealthStatistics:
        """Return its state as of now."""
        state, retry_seconds, opened_total = self.breaker.statistics(now)
        return HealthStatistics(self.in_flight, state, retry_seconds, opened_total, self.latency.average)

    def is_available(self, now: float) -> bool:
        """Whether it may be asked now; changes nothing."""
        if self.in_flight_max and not self.has_room:
            return False
        breaker = self.breaker
        return breaker.state is _CLOSED or breaker.would_admit(now)

    @property
    def has_room(self) -> bool:
        """Whether it has fewer attempts in flight than it may."""
        return not self.in_flight_max or self.in_flight < self.in_flight_max

    def is_cooling(self, now: float) -> bool:
        """Whether it said lately that it is asked too often."""
        return now < self.cooling_until

    def score(self) -> float:
        """Return how long one more request may take there: the smaller, the better. Unknown ones are tried first."""
        return (self.in_flight + 1) * (self.latency.average or self.unary_latency.average or 0.0)

    def latency_of(self, *, stream: bool) -> Latency:
        """Return the times that the next answer of a kind is to be compared with."""
        return self.latency if stream else self.unary_latency

    def begin(self, now: float) -> bool:
        """Take it for one attempt, if it may be asked."""
        breaker = self.breaker
        if not self.has_room or (breaker.state is not _CLOSED and not breaker.admit(now)):
            return False
        self.in_flight += 1
        return True

    def answered(self, seconds: float, now: float, *, stream: bool = True) -> None:
        """Note that its first content came after `seconds`; of a unary answer that is the whole."""
        self.latency_of(stream=stream).record(seconds, now)
        self.breaker.succeed(now)

    def judged(self, now: float) -> None:
        """Note that it refused the request itself, which is an answer, but not one that says how fast it is."""
        self.breaker.succeed(now)

    def failed(self, error: UpstreamError, now: float, *, retry_after_seconds: float | None = None) -> None:
        """Note that it failed, also in the middle. A rate limit makes it cool, a refused credential opens it."""
        if error.failure.kind in {Kind.RATE_LIMIT, Kind.QUOTA}:
            seconds = COOLING_SECONDS if retry_after_seconds is None else retry_after_seconds
            self.cooling_until = now + min(seconds, COOLING_SECONDS_MAX)
            self.breaker.abandon()
        elif error.failure.code == "upstream_credentials_refused":
            self.breaker.open_for(CREDENTIAL_SECONDS, now)
        elif error.cause == "pool_full":
            self.breaker.abandon()
        else:
            self.breaker.fail(now)

    def abandoned(self) -> None:
        """Note that nobody waits for it any more, which says nothing about it."""
        self.breaker.abandon()

    def outrun(self, seconds: float, now: float, *, after_seconds: float, stream: bool = True) -> None:
        """Note that it had said nothing after `seconds`, when another one won that was asked after `after_seconds`.

        It counts as slow as that delay, not as slow as the winner: or each loss would lengthen the next delay. It is a
        failure if it was slower than nearly all its own answers: a candidate that stalls never fails otherwise, since
        somebody always wins before. One that is merely slower than others is not at fault.
        """
        latency = self.latency_of(stream=stream)
        usual = latency.percentile(USUAL_SHARE, now)
        latency.record(min(seconds, after_seconds), now)
        if usual is not None and seconds > usual:
            self.breaker.fail(now)
        else:
            self.breaker.abandon()

    def end(self) -> None:
        """Give it back."""
        assert self.in_flight > 0
        self.in_flight -= 1
