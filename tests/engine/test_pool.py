"""The pool: cases on fakes, a stateful search for a broken counter, and stale connections on real sockets."""

import contextlib
from collections.abc import AsyncIterator, Coroutine, Generator
from dataclasses import astuple, dataclass, field
from typing import Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from trio.testing import assert_no_checkpoints, wait_all_tasks_blocked

from engine import net
from engine.connect import ConnectError, connect
from engine.net import Broken, Origin, Stream
from engine.pool import Lease, Pool, PoolFull, PoolStatistics

ORIGINS = [Origin("https", "a.test", 443), Origin("https", "b.test", 443), Origin("unix", "/run/c.sock", 0)]
A, B, _ = ORIGINS


class FakeStream(Stream):
    """A connection of which the pool sees only silence, bytes, or an end."""

    __slots__ = ("closed", "idle_since", "number", "opened_at", "says")

    def __init__(self, number: int = 0, opened_at: float = 0.0) -> None:
        self.number = number
        self.opened_at = opened_at
        self.idle_since = 0.0
        self.closed = False
        self.says: bytes | Broken | None = None

    def __repr__(self) -> str:
        return f"<FakeStream {self.number}>"

    def is_silent(self) -> bool:
        return not self.closed and self.says is None

    def close(self) -> None:
        self.closed = True


@dataclass
class World:
    """A pool on a clock that is set by hand, whose connections come at once."""

    now: float = 1000.0
    streams: list[FakeStream] = field(default_factory=list)
    fails: ConnectError | None = None

    def pool(self, **limits: float) -> Pool:
        return Pool(
            self.connect,
            connections_per_origin_max=int(limits.get("connections", 100)),
            idle_per_origin_max=int(limits.get("idle", 100)),
            idle_seconds_max=limits.get("idle_seconds", 60),
            lifetime_seconds_max=limits.get("lifetime_seconds", 1000),
            clock=lambda: self.now,
        )

    async def connect(self, origin: Origin) -> Stream:
        if self.fails is not None:
            raise self.fails
        self.streams.append(FakeStream(len(self.streams)))
        return self.streams[-1]


@pytest.fixture
def world() -> World:
    return World()


def must(lease: Lease | None) -> Lease:
    assert lease is not None
    return lease


async def lease_many(pool: Pool, count: int, origin: Origin = A) -> list[Lease]:
    return [await pool.lease(origin) for _ in range(count)]


async def test_a_released_connection_is_leased_again_newest_first(world: World) -> None:
    pool = world.pool()
    for lease in await lease_many(pool, 3):
        assert not lease.reused
        lease.release()
    again = await lease_many(pool, 4)
    assert [lease.stream for lease in again] == [world.streams[n] for n in (2, 1, 0, 3)]
    assert [lease.reused for lease in again] == [True, True, True, False]
    assert pool.statistics() == PoolStatistics(
        idle=0, leased=4, connecting=0, opened_total=4, reused_total=3, dead_idle_total=0, expired_total=0
    )


async def test_origins_do_not_share(world: World) -> None:
    pool = world.pool()
    (await pool.lease(A)).release()
    assert pool.lease_nowait(B) is None
    assert pool.lease_nowait(A) is not None


async def test_the_parser_stays_with_the_connection(world: World) -> None:
    from engine.http1 import ResponseParser

    pool = world.pool()
    first, second = await lease_many(pool, 2)
    assert first.parser is None
    parser = ResponseParser(head_bytes_max=1000)
    first.parser = parser
    second.release()
    first.release()
    again = await lease_many(pool, 2)
    assert [lease.parser for lease in again] == [parser, None]


async def test_a_lease_comes_back_once(world: World) -> None:
    pool = world.pool()
    lease, other = await lease_many(pool, 2)
    lease.release()
    lease.release()
    lease.close()
    assert not world.streams[0].closed
    assert astuple(pool.statistics())[:2] == (1, 1)
    other.close()
    other.release()
    assert world.streams[1].closed
    assert astuple(pool.statistics())[:2] == (1, 0)
    third = must(pool.lease_nowait(A))
    lease.close()
    assert not world.streams[0].closed, "an old lease has no say over the next one's connection"
    third.close()
    assert repr(pool) == "<Pool []>"


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n", Broken("reset", "connection reset")])
async def test_what_is_not_silent_is_not_leased(world: World, says: bytes | Broken) -> None:
    pool = world.pool()
    for lease in await lease_many(pool, 3):
        lease.release()
    world.streams[2].says = says
    world.streams[1].says = says
    lease = must(pool.lease_nowait(A))
    assert lease.stream is world.streams[0]
    assert [stream.closed for stream in world.streams] == [False, True, True]
    assert pool.statistics().dead_idle_total == 2


async def test_a_stream_that_its_user_closed_is_not_leased(world: World) -> None:
    pool = world.pool()
    lease = await pool.lease(A)
    lease.stream.close()
    lease.release()
    assert pool.lease_nowait(A) is None


async def test_idle_ones_expire_oldest_first(world: World) -> None:
    pool = world.pool(idle_seconds=60)
    leases = await lease_many(pool, 3)
    for lease in leases:
        lease.release()
        world.now += 10
    world.now += 30  # 60, 50 and 40 seconds idle
    assert pool.expire() == 0
    world.now += 10
    assert pool.expire() == 1
    assert [stream.closed for stream in world.streams] == [True, False, False]
    world.now += 11
    assert pool.lease_nowait(A) is None, "expired between two sweeps"
    assert all(stream.closed for stream in world.streams)
    assert pool.statistics().expired_total == 3
    assert repr(pool) == "<Pool []>"


async def test_a_lifetime_ends_on_either_side_of_a_lease(world: World) -> None:
    pool = world.pool(lifetime_seconds=100)
    old, older = await lease_many(pool, 2)
    world.now += 90
    old.release()
    world.now += 20
    older.release()
    assert [stream.closed for stream in world.streams] == [False, True]
    assert pool.lease_nowait(A) is None
    assert world.streams[0].closed
    assert pool.statistics().expired_total == 2


async def test_more_idle_than_allowed_closes_the_oldest(world: World) -> None:
    pool = world.pool(idle=2)
    for lease in await lease_many(pool, 3):
        lease.release()
    assert [stream.closed for stream in world.streams] == [True, False, False]
    assert pool.statistics().idle == 2


async def test_no_idle_allowed_means_no_reuse(world: World) -> None:
    pool = world.pool(idle=0)
    (await pool.lease(A)).release()
    assert world.streams[0].closed
    assert astuple(pool.statistics()) == (0, 0, 0, 1, 0, 0, 0)
    assert repr(pool) == "<Pool []>"


async def test_a_full_origin_refuses_at_once_and_says_who(world: World) -> None:
    pool = world.pool(connections=2)
    first, _ = await lease_many(pool, 2)
    with pytest.raises(PoolFull, match=r"https://a.test:443 has 2 connections in use") as caught:
        await pool.lease(A)
    assert caught.value.origin == A
    assert len(world.streams) == 2
    await pool.lease(B)
    first.release()
    assert (await pool.lease(A)).reused


async def test_a_fresh_one_leaves_the_idle_alone_until_the_limit(world: World) -> None:
    pool = world.pool(connections=3)
    for lease in await lease_many(pool, 2):
        lease.release()
    assert not (await pool.open(A)).reused
    assert not any(stream.closed for stream in world.streams)
    assert not (await pool.open(A)).reused
    assert [stream.closed for stream in world.streams] == [True, False, False, False]
    await pool.open(A)
    with pytest.raises(PoolFull):
        await pool.open(A)


async def test_a_failed_connection_counts_for_nothing(world: World) -> None:
    pool = world.pool()
    world.fails = ConnectError("dns", "a.test: name not known")
    with pytest.raises(ConnectError):
        await pool.lease(A)
    assert astuple(pool.statistics()) == (0,) * 7
    assert repr(pool) == "<Pool []>"


async def test_a_cancelled_connection_counts_for_nothing() -> None:
    async def connect_never(_: Origin) -> Stream:
        await trio.sleep_forever()
        raise AssertionError

    pool = Pool(
        connect_never,
        connections_per_origin_max=1,
        idle_per_origin_max=1,
        idle_seconds_max=60,
        lifetime_seconds_max=60,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.lease, A)
        await wait_all_tasks_blocked()
        assert pool.statistics().connecting == 1
        assert repr(pool) == "<Pool [https://a.test:443 idle=0 leased=0 connecting=1]>"
        with pytest.raises(PoolFull):
            await pool.lease(A)
        nursery.cancel_scope.cancel()
    assert astuple(pool.statistics()) == (0,) * 7


async def test_a_closed_pool_keeps_nothing_and_still_serves_those_who_hold_it(world: World) -> None:
    pool = world.pool()
    idle, out = await lease_many(pool, 2)
    idle.release()
    pool.close()
    pool.close()
    assert world.streams[0].closed
    assert not world.streams[1].closed
    late = await pool.lease(A)
    assert not late.reused
    assert repr(pool) == "<Pool closed [https://a.test:443 idle=0 leased=2 connecting=0]>"
    out.release()
    late.release()
    assert all(stream.closed for stream in world.streams)
    assert pool.statistics().expired_total == 0
    assert repr(pool) == "<Pool closed []>"


async def test_reprs_show_what_is_there(world: World) -> None:
    pool = world.pool()
    first, second = await lease_many(pool, 2)
    await pool.lease(B)
    assert repr(first) == "<Lease https://a.test:443 fresh>"
    second.release()
    assert repr(second) == "<Lease https://a.test:443 returned>"
    assert repr(must(pool.lease_nowait(A))) == "<Lease https://a.test:443 reused>"
    first.release()
    assert repr(pool) == (
        "<Pool [https://a.test:443 idle=1 leased=1 connecting=0, https://b.test:443 idle=0 leased=1 connecting=0]>"
    )


# -- the stateful search -----------------------------------------------------------------------------------------------

CONNECTIONS_MAX, IDLE_MAX, IDLE_SECONDS, LIFETIME_SECONDS = 4, 2, 10.0, 30.0


class Cancelled(BaseException):
    """Stands for trio.Cancelled, which nobody but trio can make."""


class Pending:
    """A lease under way: the pool's coroutine, stopped inside `connect`."""

    def __init__(self, origin: Origin, coroutine: Coroutine[Any, Any, Lease]) -> None:
        self.origin = origin
        self.coroutine = coroutine


class Suspend:
    """Gives control back to the state machine until it says how the connection went."""

    def __await__(self) -> Generator[None, FakeStream, FakeStream]:
        return (yield)


class PoolMachine(RuleBasedStateMachine):
    """Any calls, connections that end anyhow, time passing: the counters are the truth, and no lease is bad.

    The machine drives the pool's coroutines itself, so that connections stay under way for as long as it likes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pool = Pool(
            self.connect,
            connections_per_origin_max=CONNECTIONS_MAX,
            idle_per_origin_max=IDLE_MAX,
            idle_seconds_max=IDLE_SECONDS,
            lifetime_seconds_max=LIFETIME_SECONDS,
            clock=lambda: self.now,
        )
        self.pool_closed = False
        self.streams: list[FakeStream] = []
        self.origin_of: dict[FakeStream, Origin] = {}
        self.out: list[Lease] = []
        self.returned: list[Lease] = []
        self.pending: list[Pending] = []
        self.opened = self.reused = 0

    async def connect(self, origin: Origin) -> Stream:
        stream = await Suspend()
        self.streams.append(stream)
        self.origin_of[stream] = origin
        return stream

    def leased(self) -> set[Stream]:
        return {lease.stream for lease in self.out}

    def idle(self, origin: Origin) -> list[FakeStream]:
        leased = self.leased()
        return [s for s in self.streams if self.origin_of[s] == origin and not s.closed and s not in leased]

    def in_use(self, origin: Origin) -> int:
        out = [lease for lease in self.out if self.origin_of[lease.stream] == origin]  # type: ignore[index]
        return len(out) + sum(pending.origin == origin for pending in self.pending)

    def usable(self, origin: Origin) -> list[FakeStream]:
        """Return who may be leased, newest last."""
        fresh = [
            stream
            for stream in self.idle(origin)
            if stream.says is None
            and self.now - stream.idle_since <= IDLE_SECONDS
            and self.now - stream.opened_at <= LIFETIME_SECONDS
        ]
        return sorted(fresh, key=lambda stream: stream.idle_since)

    def take(self, lease: Lease, *, reused: bool) -> None:
        assert lease.reused is reused
        self.out.append(lease)

    @rule(origin=st.sampled_from(ORIGINS), fresh=st.booleans())
    def lease(self, origin: Origin, fresh: bool) -> None:
        usable, in_use = self.usable(origin), self.in_use(origin)
        coroutine = self.pool.open(origin) if fresh else self.pool.lease(origin)
        try:
            coroutine.send(None)
        except StopIteration as stop:
            assert not fresh
            lease: Lease = stop.value
            assert lease.stream in usable
            assert lease.stream.idle_since == usable[-1].idle_since, "the newest"
            self.reused += 1
            self.take(lease, reused=True)
        except PoolFull:
            assert in_use == CONNECTIONS_MAX
        else:
            assert fresh or not usable
            self.pending.append(Pending(origin, coroutine))

    @rule(origin=st.sampled_from(ORIGINS))
    def lease_nowait(self, origin: Origin) -> None:
        usable = self.usable(origin)
        lease = self.pool.lease_nowait(origin)
        assert (lease is None) == (not usable)
        if lease is not None:
            assert lease.stream in usable
            self.reused += 1
            self.take(lease, reused=True)

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), end=st.sampled_from(["opens", "fails", "is cancelled"]))
    def finish_connecting(self, data: st.DataObject, end: str) -> None:
        pending = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        if end == "opens":
            with pytest.raises(StopIteration) as caught:
                pending.coroutine.send(FakeStream(len(self.streams), self.now))
            self.opened += 1
            self.take(caught.value.value, reused=False)
        else:
            error = ConnectError("connect", "refused") if end == "fails" else Cancelled()
            with pytest.raises(type(error)):
                pending.coroutine.throw(error)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["release", "not reusable", "close"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        lease = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        stream = lease.stream
        assert isinstance(stream, FakeStream)
        stream.idle_since = self.now
        if how == "close":
            lease.close()
        else:
            lease.release(reusable=how == "release")
        kept = how == "release" and not self.pool_closed and self.now - stream.opened_at <= LIFETIME_SECONDS
        assert stream.closed is not kept
        self.returned.append(lease)

    @precondition(lambda self: self.returned)
    @rule(data=st.data(), close=st.booleans())
    def give_back_again(self, data: st.DataObject, close: bool) -> None:
        lease = data.draw(st.sampled_from(self.returned))
        lease.close() if close else lease.release()

    @precondition(lambda self: any(not stream.closed for stream in self.streams))
    @rule(data=st.data(), says=st.sampled_from([b"", b"bytes", Broken("reset", "reset")]))
    def peer_speaks(self, data: st.DataObject, says: bytes | Broken) -> None:
        leased = self.leased()
        idle = [stream for stream in self.streams if not stream.closed and stream not in leased]
        if idle:
            data.draw(st.sampled_from(idle)).says = says

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        self.pool.expire()
        for origin in ORIGINS:
            assert all(self.now - stream.idle_since <= IDLE_SECONDS for stream in self.idle(origin))

    @precondition(lambda self: len(self.streams) > 4)
    @rule()
    def close(self) -> None:
        self.pool.close()
        self.pool_closed = True

    @invariant()
    def counters_are_the_truth(self) -> None:
        statistics = self.pool.statistics()
        assert statistics.leased == len(self.out)
        assert statistics.connecting == len(self.pending)
        assert statistics.idle == sum(len(self.idle(origin)) for origin in ORIGINS)
        assert statistics.opened_total == self.opened == len(self.streams)
        assert statistics.reused_total == self.reused
        assert not any(lease.stream.closed for lease in self.out)  # type: ignore[attr-defined]
        assert len(self.leased()) == len(self.out), "one connection, one lease"

    @invariant()
    def limits_hold(self) -> None:
        for origin in ORIGINS:
            assert self.in_use(origin) + len(self.idle(origin)) <= CONNECTIONS_MAX
            assert len(self.idle(origin)) <= (0 if self.pool_closed else IDLE_MAX)

    @invariant()
    def only_origins_in_use_are_remembered(self) -> None:
        for origin in ORIGINS:
            assert (str(origin) in repr(self.pool)) == bool(self.in_use(origin) + len(self.idle(origin)))

    def teardown(self) -> None:
        for pending in self.pending:
            pending.coroutine.close()
        for lease in self.out:
            lease.release()
        self.pool.close()
        assert all(stream.closed for stream in self.streams)
        assert repr(self.pool) == "<Pool closed []>"


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# -- real sockets ------------------------------------------------------------------------------------------------------


class Server:
    """A listener whose accepted connections the test plays with."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.socket = net.listen("127.0.0.1", 0)
        self.origin = Origin("http", *self.socket.getsockname())
        self.accepted: list[Stream] = []
        self.pool = Pool(
            connect, connections_per_origin_max=9, idle_per_origin_max=9, idle_seconds_max=9, lifetime_seconds_max=9
        )

    async def lease_and_release(self, count: int) -> list[Stream]:
        leases = [await self.pool.lease(self.origin) for _ in range(count)]
        for lease in leases:
            self.accepted.append(Stream(await net.accept(self.socket)))
            lease.release()
        return [lease.stream for lease in leases]


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncIterator[Server]:
    server = Server(nursery)
    yield server
    server.pool.close()
    for stream in server.accepted:
        stream.close()
    server.socket.close()


async def test_connections_that_died_while_idle_are_not_leased(server: Server) -> None:
    streams = await server.lease_and_release(5)
    server.accepted[4].close()
    server.accepted[3].abort()
    await server.accepted[2].send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    lease = must(server.pool.lease_nowait(server.origin))
    assert lease.stream is streams[1]
    assert server.pool.statistics().dead_idle_total == 3
    await lease.stream.send(b"still alive")
    assert await server.accepted[1].receive() == b"still alive"
    lease.release()


async def test_a_lease_of_an_idle_connection_does_not_wait(server: Server) -> None:
    await server.lease_and_release(1)
    with assert_no_checkpoints():
        lease = await server.pool.lease(server.origin)
    lease.close()
    assert await server.accepted[0].receive() == b""


async def test_a_server_that_went_away_is_a_connect_error_after_all_idle_ones(server: Server) -> None:
    await server.lease_and_release(2)
    for stream in server.accepted:
        stream.close()
    server.socket.close()
    with pytest.raises(ConnectError):
        await server.pool.lease(server.origin)
    assert astuple(server.pool.statistics()) == (0, 0, 0, 2, 0, 2, 0)


async def test_an_exchange_that_is_cancelled_gives_its_connection_back(server: Server) -> None:
    async def exchange() -> None:
        with contextlib.closing(await server.pool.lease(server.origin)) as lease:
            await lease.stream.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange)
        server.accepted.append(Stream(await net.accept(server.socket)))
        await wait_all_tasks_blocked()
        assert server.pool.statistics().leased == 1
        nursery.cancel_scope.cancel()
    assert server.pool.statistics().leased == 0
    assert await server.accepted[0].receive() == b""
