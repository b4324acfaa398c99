"""Reads with a time limit: what a cancel scope does, by the alarms' task and without it, on real sockets."""

import socket
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.alarms import AGAIN_SECONDS, ENTRIES_MIN, Alarms, Due
from engine.net import Stream
from tests.engine.live import document, running


@asynccontextmanager
async def alarms_of(*, running: bool) -> AsyncIterator[Alarms]:
    """Give alarms whose task runs, or does not."""
    alarms = Alarms()
    async with trio.open_nursery() as nursery:
        if running:
            nursery.start_soon(alarms.run)
            await trio.testing.wait_all_tasks_blocked()
        yield alarms
        nursery.cancel_scope.cancel()


@contextmanager
def pair(kind: type[Stream] = Stream) -> Iterator[tuple[Stream, socket.socket]]:
    mine, theirs = socket.socketpair()
    stream = kind(mine)
    with theirs:
        yield stream, theirs
        stream.close()


async def later(seconds: float, peer: socket.socket, data: bytes) -> None:
    await trio.sleep(seconds)
    peer.send(data)


both = pytest.mark.parametrize("running", [True, False])


@both
async def test_what_comes_in_time_is_returned(autojump_clock: MockClock, running: bool) -> None:
    async with alarms_of(running=running) as alarms, trio.open_nursery() as nursery:
        with pair() as (stream, peer):
            nursery.start_soon(later, 1, peer, b"in time")
            assert await alarms.receive(stream, trio.current_time() + 2) == b"in time"
            nursery.start_soon(later, 5, peer, b"without a limit, long after")
            assert await stream.receive() == b"without a limit, long after"


@both
async def test_at_its_time_a_read_is_given_up_and_may_be_made_again(autojump_clock: MockClock, running: bool) -> None:
    async with alarms_of(running=running) as alarms, trio.open_nursery() as nursery:
        with pair() as (stream, peer):
            began = trio.current_time()
            for number in (1, 2, 3):
                with pytest.raises(Due):
                    await alarms.receive(stream, began + number)
                assert trio.current_time() == began + number
            nursery.start_soon(later, 0.5, peer, b"late")
            assert await alarms.receive(stream, began + 4) == b"late"
            assert trio.current_time() == began + 3.5
            with pytest.raises(Due):
                await alarms.receive(stream, began)


@both
async def test_an_earlier_limit_than_the_last_one_holds(autojump_clock: MockClock, running: bool) -> None:
    async with alarms_of(running=running) as alarms:
        with pair() as (stream, peer):
            began = trio.current_time()
            peer.send(b"x")
            assert await alarms.receive(stream, began + 60) == b"x"
            with pytest.raises(Due):
                await alarms.receive(stream, began + 1)
            assert trio.current_time() == began + 1
            with pytest.raises(Due):
                await alarms.receive(stream, began + 90)
            assert trio.current_time() == began + 90


@both
async def test_the_limit_of_a_cancelled_read_wakes_nobody(autojump_clock: MockClock, running: bool) -> None:
    async with alarms_of(running=running) as alarms, trio.open_nursery() as nursery:
        with pair() as (stream, peer):
            began = trio.current_time()
            with trio.move_on_after(1) as scope:
                await alarms.receive(stream, began + 2)
            assert scope.cancelled_caught
            nursery.start_soon(later, 4, peer, b"after the limit")
            assert await stream.receive() == b"after the limit"


@both
async def test_a_stream_that_is_closed_meanwhile_is_not_due(autojump_clock: MockClock, running: bool) -> None:
    async with alarms_of(running=running) as alarms, trio.open_nursery() as nursery:
        with pair() as (stream, _):

            async def close() -> None:
                await trio.sleep(1)
                stream.close()

            nursery.start_soon(close)
            with pytest.raises(trio.ClosedResourceError):
                await alarms.receive(stream, trio.current_time() + 2)
            nursery.start_soon(close)
            with pytest.raises(trio.ClosedResourceError), alarms.until(stream, trio.current_time() + 2):
                await stream.receive()


class Counted(Stream):
    """A stream of which one can tell whether anybody still has it."""

    __slots__ = ("__weakref__",)


async def test_streams_that_were_closed_before_their_limit_are_not_kept_until_it(autojump_clock: MockClock) -> None:
    async with alarms_of(running=True) as alarms:
        closed = weakref.WeakSet[Counted]()
        with pair() as (open_one, peer):
            for _ in range(3 * ENTRIES_MIN):
                with pair(Counted) as (stream, peer_of_it):
                    closed.add(cast(Counted, stream))
                    peer_of_it.send(b"x")
                    assert await alarms.receive(stream, trio.current_time() + 3600) == b"x"
                if len(closed) == 1:
                    peer.send(b"x")
                    assert await alarms.receive(open_one, trio.current_time() + 1800) == b"x"
            del stream
            assert len(closed) <= ENTRIES_MIN + 1
            began = trio.current_time()
            with pytest.raises(Due):
                await alarms.receive(open_one, began + 1900)
            assert trio.current_time() == began + 1900


@both
async def test_a_block_of_reads_is_left_at_its_time(autojump_clock: MockClock, running: bool) -> None:
    async with alarms_of(running=running) as alarms, trio.open_nursery() as nursery:
        with pair() as (stream, peer):
            began, got = trio.current_time(), b""
            for number in (1, 2, 3):
                nursery.start_soon(later, number, peer, b"%d" % number)
            with alarms.until(stream, began + 2.5):
                while trio.current_time() < began + 100:
                    got += await stream.receive()
            assert (got, trio.current_time()) == (b"12", began + 2.5)
            with alarms.until(stream, began + 10):
                got += await stream.receive()
            assert (got, trio.current_time()) == (b"123", began + 3)
            await trio.sleep(20)
            with pytest.raises(KeyError), alarms.until(stream, began + 90):
                raise KeyError
            with pytest.raises(trio.ClosedResourceError), alarms.until(stream, began + 90):
                raise trio.ClosedResourceError


@both
async def test_a_stream_that_is_closed_at_the_very_time(autojump_clock: MockClock, running: bool) -> None:
    async with alarms_of(running=running) as alarms, trio.open_nursery() as nursery:
        for _ in range(20):
            with pair() as (stream, _peer):

                async def close(stream: Stream = stream) -> None:
                    await trio.sleep(1)
                    stream.close()

                nursery.start_soon(close)
                with pytest.raises((Due, trio.ClosedResourceError)):
                    await alarms.receive(stream, trio.current_time() + 1)
        with pair() as (stream, peer):
            peer.send(b"x")
            assert await alarms.receive(stream, trio.current_time() + 1) == b"x"


async def test_one_entry_serves_many_reads_of_a_stream(autojump_clock: MockClock) -> None:
    async with alarms_of(running=True) as alarms:
        with pair() as (stream, peer):
            for _ in range(100):
                peer.send(b"x")
                await alarms.receive(stream, trio.current_time() + 60)
                await trio.sleep(0.1)
            assert repr(alarms).startswith("<Alarms 0 waiting, 1 entries")
            await trio.sleep(60)
            assert repr(alarms) == "<Alarms 0 waiting, 0 entries, next at inf>"


async def test_who_does_not_notice_is_woken_again(autojump_clock: MockClock) -> None:
    class Absent(Stream):
        """Waits anew when it is woken the first time, as one does that was not waiting just then."""

        async def receive(self, bytes_max: int = 65536) -> bytes:
            try:
                return await super().receive(bytes_max)
            except trio.ClosedResourceError:
                return await super().receive(bytes_max)

    async with alarms_of(running=True) as alarms:
        with pair(Absent) as (stream, _):
            began = trio.current_time()
            with pytest.raises(Due):
                await alarms.receive(stream, began + 1)
            assert trio.current_time() == pytest.approx(began + 1 + AGAIN_SECONDS)


Reads = list[tuple[float, float]]
"""Of one stream: how long each is waited for, and when the next byte comes after it began."""


def played(streams: Sequence[Reads], *, running: bool) -> list[list[tuple[float, bytes | None]]]:
    """Read from several streams at once; return when each read ended, and with what."""
    ended: list[list[tuple[float, bytes | None]]] = [[] for _ in streams]

    async def read(alarms: Alarms, stream: Stream, peer: socket.socket, number: int) -> None:
        for patience, delay in streams[number]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(later, delay, peer, b"x")
                try:
                    data: bytes | None = await alarms.receive(stream, trio.current_time() + patience)
                except Due:
                    data = None
                ended[number].append((trio.current_time(), data))

    async def main() -> None:
        async with alarms_of(running=running) as alarms, trio.open_nursery() as nursery:
            with pair() as first, pair() as second, pair() as third:
                for number, (ends, _) in enumerate(zip((first, second, third), streams, strict=False)):
                    nursery.start_soon(read, alarms, *ends, number)
                await trio.sleep(1000)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return ended


SECONDS = st.integers(1, 40).map(lambda tenths: tenths / 8)


@given(
    st.lists(
        st.lists(st.tuples(SECONDS, SECONDS).filter(lambda times: times[0] != times[1]), max_size=6),
        min_size=1,
        max_size=3,
    )
)
def test_they_do_as_scopes_do(streams: list[Reads]) -> None:
    found, expected = played(streams, running=True), played(streams, running=False)
    for mine, theirs in zip(found, expected, strict=True):
        assert [data for _, data in mine] == [data for _, data in theirs]
        assert [at for at, _ in mine] == [at for at, _ in theirs]


BODY = b'{"id":"c","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
ASKED = b'{"model":"raced","messages":[{"role":"user","content":"hi"}]}'


async def answer_so_many(answers_max: int, stream: trio.SocketStream) -> None:
    """Answer the first requests of a connection, and then hear but say nothing."""
    async for _ in stream:
        if answers_max:
            answers_max -= 1
            await stream.send_all(ANSWER)


async def test_a_gateway_hedges_a_read_of_a_kept_connection() -> None:
    with trio.fail_after(20):
        await hedge_a_kept_connection()


async def hedge_a_kept_connection() -> None:
    async with trio.open_nursery() as nursery:
        urls = []
        for answers_max in (2, 100):
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, partial(answer_so_many, answers_max), [listener])
            urls.append(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1")
        first, second = ({"kind": "compatible", "base_url": url, "models": ["m"]} for url in urls)
        tiers = [{"provider": "first", "model": "m", "tier": 1}, {"provider": "second", "model": "m", "tier": 2}]
        raced = {"candidates": tiers, "race": {"hedge": "30ms"}}
        configuration = document(urls[0], providers={"first": first, "second": second}, models={"raced": raced})
        async with running(configuration) as live, await live.connect() as client:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %b\r\n" % live.key.encode()
            said = []
            for _ in range(3):
                await client.send_all(head + b"Content-Length: %d\r\n\r\n%b" % (len(ASKED), ASKED))
                answer = b""
                while not answer.endswith(BODY):
                    answer += await client.receive_some()
                said.append(next(line for line in answer.splitlines() if line.startswith(b"x-hedgerow-provider")))
        assert said == [b"x-hedgerow-provider: first"] * 2 + [b"x-hedgerow-provider: second"]
        nursery.cancel_scope.cancel()
