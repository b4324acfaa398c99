"""Whether there is room: the bound on exchanges in flight in one worker.

Refused at once and never queued: a client that is told 503 can go elsewhere, one that waits cannot. Rates and
concurrency per key are budgets and stand elsewhere.
"""

from adapters.errors import ClientError, Failure, Kind

RETRY_AFTER_SECONDS = 1


class Admission:
    """Counts exchanges in flight. `enter` and `leave` are sync: a count cannot be lost to cancellation."""

    __slots__ = ("in_flight", "in_flight_max")

    def __init__(self, in_flight_max: int) -> None:
        self.in_flight_max = in_flight_max
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<Admission {self.in_flight}/{self.in_flight_max}>"

    def enter(self) -> None:
        """Take a place. Raises `ClientError` 503 with Retry-After when all are taken."""
        if self.in_flight >= self.in_flight_max:
            message = "the gateway is at its limit of requests in flight"
            headers = ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),)
            raise ClientError(Failure(503, Kind.OVERLOADED, message, code="gateway_overloaded", headers=headers))
        self.in_flight += 1

    def leave(self) -> None:
        """Give the place back."""
        assert self.in_flight > 0
        self.in_flight -= 1
