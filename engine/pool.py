"""Upstream connections between requests: who may reuse one, and when it is closed.

Per origin a deque of idle connections, newest on the right. A lease takes the newest, so that a falling load lets the
oldest run out; expiry takes from the left and stops at the first that is young enough. Leasing, releasing and
expiring one connection are O(1) and synchronous; the only wait is opening a new one. What the counters say is what is
there:

    opening --> leased <--> idle --> closed        (leased and opening --> closed, too)

An idle connection must be silent. Before it is leased it is asked whether anything has come: an end, an error, or bytes
nobody asked for (a 408 before closing, or the rest of an answer that must not become somebody else's) mean that it is
closed and the next newest is tried. That leaves the moment in which a request and the upstream's FIN cross; who
leased decides whether to try again, on a fresh connection from `open`.

Over a limit the answer is `PoolFull`, at once: a queue would hide an overload until it is a timeout. The pool knows
neither HTTP nor how a connection is made, and runs no task: somebody calls `expire` now and then.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from engine.net import Origin, Stream

if TYPE_CHECKING:
    from engine.http1 import ResponseParser


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Connections now, and since the start: opened, leased again, found dead when wanted, closed for their age."""

    idle: int
    leased: int
    connecting: int
    opened_total: int
    reused_total: int
    dead_idle_total: int
    expired_total: int


class PoolFull(Exception):  # noqa: N818 - a refusal
    """The origin has all the connections it may have."""

    def __init__(self, origin: Origin, connections_max: int) -> None:
        super().__init__(f"{origin} has {connections_max} connections in use")
        self.origin = origin


class Connection:
    """An open connection and what outlives a lease. Private to the pool."""

    __slots__ = ("idle_since", "opened_at", "parser", "stream")

    def __init__(self, stream: Stream, now: float) -> None:
        self.stream = stream
        self.opened_at = now
        self.idle_since = now
        self.parser: ResponseParser | None = None


class Place:
    """The connections of one origin. Private to the pool."""

    __slots__ = ("connecting", "idle", "leased", "origin")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.idle: deque[Connection] = deque()
        self.leased = 0
        self.connecting = 0

    def __repr__(self) -> str:
        return f"{self.origin} idle={len(self.idle)} leased={self.leased} connecting={self.connecting}"

    def count(self) -> int:
        """Return how many connections count against the limit."""
        return len(self.idle) + self.leased + self.connecting


class Lease:
    """The right to use one connection, given back exactly once: `release()` or `close()`; both do nothing afterwards.

    Both are synchronous, so a `finally` gives it back whatever happens. Using `stream` after that is a bug.
    """

    __slots__ = ("_connection", "_place", "_pool", "reused", "stream")

    def __init__(self, pool: "Pool", place: Place, connection: Connection, *, reused: bool) -> None:
        self._pool: Pool | None = pool
        self._place = place
        self._connection = connection
        self.stream = connection.stream
        self.reused = reused

    def __repr__(self) -> str:
        state = "returned" if self._pool is None else "reused" if self.reused else "fresh"
        return f"<Lease {self._place.origin} {state}>"

    @property
    def parser(self) -> "ResponseParser | None":
        """A slot for whoever leases: stays with the connection from lease to lease, None on a fresh one."""
        return self._connection.parser

    @parser.setter
    def parser(self, parser: "ResponseParser") -> None:
        self._connection.parser = parser

    def release(self, *, reusable: bool = True, now: float | None = None) -> None:
        """Give the connection back; it is closed unless `reusable`: its answer is complete and both sides go on.

        `now` is for a caller who has just read the pool's clock.
        """
        pool = self._pool
        if pool is not None:
            self._pool = None
            pool._take_back(self._place, self._connection, reusable, now)

    def close(self) -> None:
        """Give the connection back closed."""
        self.release(reusable=False)


class Pool:
    """Leases connections by origin, under limits that hold for each origin.

    `connections_per_origin_max` counts idle, leased and opening ones together. A connection idles at most
    `idle_seconds_max`, and is not leased or kept any more `lifetime_seconds_max` after it was opened, so that changes
    of DNS are seen. `idle_per_origin_max` 0 means: no reuse. Used from one trio loop; needs no lock there.
    """

    __slots__ = (
        "_clock",
        "_closed",
        "_connect",
        "_dead_idle_total",
        "_expired_total",
        "_opened_total",
        "_places",
        "_reused_total",
        "connections_per_origin_max",
        "idle_per_origin_max",
        "idle_seconds_max",
        "lifetime_seconds_max",
    )

    def __init__(
        self,
        connect: Callable[[Origin], Awaitable[Stream]],
        *,
        connections_per_origin_max: int,
        idle_per_origin_max: int,
        idle_seconds_max: float,
        lifetime_seconds_max: float,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """`connect` opens a connection or raises; failing or cancelled it must leave nothing open."""
        self._connect = connect
        self._clock = clock
        self.connections_per_origin_max = connections_per_origin_max
        self.idle_per_origin_max = idle_per_origin_max
        self.idle_seconds_max = idle_seconds_max
        self.lifetime_seconds_max = lifetime_seconds_max
        self._places: dict[Origin, Place] = {}
        self._closed = False
        self._opened_total = 0
        self._reused_total = 0
        self._dead_idle_total = 0
        self._expired_total = 0

    def __repr__(self) -> str:
        return f"<Pool{' closed' if self._closed else ''} [{', '.join(map(repr, self._places.values()))}]>"

    def lease_nowait(self, origin: Origin, now: float | None = None) -> Lease | None:
        """Lease the newest idle connection that is alive; None when there is none.

        `now` is for a caller who has just read the pool's clock.
        """
        place = self._places.get(origin)
        if place is None:
            return None
        if now is None:
            now = self._clock()
        while place.idle:
            connection = place.idle[-1]
            if now - connection.idle_since > self.idle_seconds_max:
                self._expire(place, now)  # it is the newest, so this empties the place
                break
            place.idle.pop()
            if now - connection.opened_at > self.lifetime_seconds_max:
                self._expired_total += 1
            elif connection.stream.is_silent():
                place.leased += 1
                self._reused_total += 1
                return Lease(self, place, connection, reused=True)
            else:
                self._dead_idle_total += 1
            connection.stream.close()
        self._forget_if_empty(place)
        return None

    async def lease(self, origin: Origin) -> Lease:
        """Lease an idle connection, which is no checkpoint, or else a fresh one; raises as `open`."""
        return self.lease_nowait(origin) or await self.open(origin)

    async def open(self, origin: Origin) -> Lease:
        """Lease a fresh connection, also when others are idle; at the limit the oldest idle one makes room.

        Raises `PoolFull` before anything is tried, and what `connect` raises. Failed or cancelled: nothing stays
        open, and nothing stays counted.
        """
        place = self._places.get(origin)
        if place is None:
            place = self._places[origin] = Place(origin)
        if place.count() >= self.connections_per_origin_max:
            if not place.idle:
                raise PoolFull(origin, self.connections_per_origin_max)
            place.idle.popleft().stream.close()
        place.connecting += 1
        stream: Stream | None = None
        try:
            stream = await self._connect(origin)
        finally:
            place.connecting -= 1
            if stream is None:
                self._forget_if_empty(place)
        place.leased += 1
        self._opened_total += 1
        return Lease(self, place, Connection(stream, self._clock()), reused=False)

    def expire(self) -> int:
        """Close what has idled too long, and return how many that were; call it every few seconds."""
        now = self._clock()
        return sum(self._expire(place, now) for place in list(self._places.values()))

    def statistics(self) -> PoolStatistics:
        """Return counters as of now, over all origins."""
        places = self._places.values()
        return PoolStatistics(
            idle=sum(len(place.idle) for place in places),
            leased=sum(place.leased for place in places),
            connecting=sum(place.connecting for place in places),
            opened_total=self._opened_total,
            reused_total=self._reused_total,
            dead_idle_total=self._dead_idle_total,
            expired_total=self._expired_total,
        )

    def close(self) -> None:
        """Close what is idle, and from here on whatever comes back. Idempotent.

        Whoever still holds the pool may open connections all the same: an exchange that began before a change of
        configuration ends as it began.
        """
        self._closed = True
        for place in list(self._places.values()):
            while place.idle:
                place.idle.pop().stream.close()
            self._forget_if_empty(place)

    def _take_back(self, place: Place, connection: Connection, reusable: bool, now: float | None) -> None:
        place.leased -= 1
        if now is None:
            now = self._clock()
        if reusable and not self._closed and now - connection.opened_at <= self.lifetime_seconds_max:
            connection.idle_since = now
            place.idle.append(connection)
            if len(place.idle) <= self.idle_per_origin_max:
                return
            connection = place.idle.popleft()  # of all, the one that was of no use for longest
        elif reusable and not self._closed:
            self._expired_total += 1
        connection.stream.close()
        self._forget_if_empty(place)

    def _expire(self, place: Place, now: float) -> int:
        expired = 0
        while place.idle and now - place.idle[0].idle_since > self.idle_seconds_max:
            place.idle.popleft().stream.close()
            expired += 1
        self._expired_total += expired
        self._forget_if_empty(place)
        return expired

    def _forget_if_empty(self, place: Place) -> None:
        if not place.count():
            self._places.pop(place.origin, None)
