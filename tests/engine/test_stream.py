"""Plain streams over real loopback sockets."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from engine import net
from engine.connect import connect_tcp
from engine.net import Broken, Stream

PATTERN = bytes(range(251)) * 8360  # 2 MB whose pieces are told apart


def pair(buffer_bytes: int | None = None) -> tuple[Stream, Stream]:
    """Return two connected streams, with kernel buffers of about `buffer_bytes`."""
    ends = socket.socketpair()
    for end in ends:
        if buffer_bytes is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    return Stream(ends[0]), Stream(ends[1])


@pytest.fixture
async def tcp() -> AsyncIterator[tuple[Stream, Stream]]:
    """Return client and server of one TCP connection."""
    with net.listen("127.0.0.1", 0) as listener:
        client = Stream(await connect_tcp(*listener.getsockname()))
        server = Stream(await net.accept(listener))
    yield client, server
    client.close()
    server.close()


async def read_all(stream: Stream, bytes_max: int = 65536) -> bytes:
    pieces = []
    while data := await stream.receive(bytes_max):
        pieces.append(data)
    return b"".join(pieces)


async def test_bytes_arrive_and_the_end_is_empty() -> None:
    a, b = pair()
    await a.send(b"hello")
    a.close()
    assert await b.receive() == b"hello"
    assert await b.receive() == b""
    assert await b.receive() == b""
    assert b.receive_nowait() == b""
    b.close()


async def test_receive_returns_at_most_what_was_asked_for() -> None:
    a, b = pair()
    await a.send(b"abcdef")
    assert await b.receive(4) == b"abcd"
    assert b.receive_nowait(1) == b"e"
    assert b.receive_nowait() == b"f"
    with pytest.raises(trio.WouldBlock):
        b.receive_nowait()
    a.close()
    b.close()


async def test_only_an_open_stream_with_nothing_to_receive_is_silent(tcp: tuple[Stream, Stream]) -> None:
    client, server = tcp
    assert client.is_silent()
    await server.send(b"a")
    await trio.lowlevel.wait_readable(client.fileno())
    assert not client.is_silent()
    assert client.receive_nowait() == b"a"
    assert client.is_silent()
    server.close()
    await trio.lowlevel.wait_readable(client.fileno())
    assert not client.is_silent(), "the peer ended it"
    client.close()
    assert not client.is_silent(), "closed here"


async def test_a_reset_stream_is_not_silent(tcp: tuple[Stream, Stream]) -> None:
    client, server = tcp
    assert client.is_silent()
    server.abort()
    await trio.lowlevel.wait_readable(client.fileno())
    assert not client.is_silent()


async def test_receive_is_always_a_checkpoint_and_a_send_that_fits_never() -> None:
    a, b = pair()
    with assert_no_checkpoints():
        await a.send(b"x")
    with assert_checkpoints():
        assert await b.receive() == b"x"
    a.close()
    b.close()


async def test_large_payloads_both_ways_through_tiny_buffers() -> None:
    a, b = pair(buffer_bytes=2048)

    async def send(stream: Stream) -> None:
        await stream.send(PATTERN)
        stream.send_eof()

    received = []

    async def receive(stream: Stream) -> None:
        received.append(await read_all(stream))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for stream in (a, b):
                nursery.start_soon(send, stream)
                nursery.start_soon(receive, stream)
    assert received == [PATTERN, PATTERN]
    a.close()
    b.close()


async def test_send_nowait_tells_what_was_taken() -> None:
    a, b = pair(buffer_bytes=2048)
    taken = a.send_nowait(PATTERN)
    assert 0 < taken < len(PATTERN)
    assert a.send_nowait(PATTERN[taken:]) == 0
    received = bytearray()
    with trio.fail_after(10):
        while taken < len(PATTERN):
            while len(received) < taken:
                received += await b.receive()
            await a.wait_writable()
            taken += a.send_nowait(memoryview(PATTERN)[taken:])
        while len(received) < taken:
            received += await b.receive()
    assert received == PATTERN
    a.close()
    b.close()


async def test_a_cancelled_send_has_sent_a_prefix() -> None:
    a, b = pair(buffer_bytes=2048)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.send, PATTERN)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    a.close()
    received = await read_all(b)
    assert 0 < len(received) < len(PATTERN)
    assert PATTERN.startswith(received)
    b.close()


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_at_any_turn_of_the_loop_loses_no_byte(turns: int) -> None:
    a, b = pair()
    received = bytearray()

    async def receive() -> None:
        received.extend(await b.receive())

    for number in range(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            await a.send(bytes([number]))
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    a.close()
    received += await read_all(b)
    assert received == bytes(range(50))
    b.close()


@pytest.mark.parametrize("waits", ["receive", "wait_writable", "send"])
async def test_closing_wakes_whoever_waits(waits: str) -> None:
    a, b = pair(buffer_bytes=2048)
    a.send_nowait(PATTERN)

    async def wait() -> None:
        verbs: dict[str, Callable[[], Awaitable[object]]] = {
            "receive": a.receive,
            "wait_writable": a.wait_writable,
            "send": partial(a.send, PATTERN),
        }
        with pytest.raises(trio.ClosedResourceError):
            await verbs[waits]()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            a.close()
    b.close()


async def test_a_task_woken_in_the_turn_of_the_close_sees_the_close() -> None:
    seen: list[str] = []

    async def wait(stream: Stream) -> None:
        try:
            seen.append((await stream.receive()).decode())
        except trio.ClosedResourceError:
            seen.append("closed")

    for turns in range(4):
        a, b = pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, a)
            await wait_all_tasks_blocked()
            await b.send(b"data")
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            a.close()
        b.close()
    assert set(seen) == {"closed", "data"}


async def test_a_closed_stream_says_so_and_closing_is_idempotent() -> None:
    a, b = pair()
    a.close()
    a.close()
    a.abort()
    assert a.fileno() == -1
    for verb in (a.receive_nowait, a.send_eof, lambda: a.send_nowait(b"x")):
        with pytest.raises(trio.ClosedResourceError):
            verb()
    with pytest.raises(trio.ClosedResourceError):
        await a.receive()
    with pytest.raises(trio.ClosedResourceError):
        await a.send(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await a.wait_writable()
    b.close()


async def test_a_reset_is_broken_not_an_end(tcp: tuple[Stream, Stream]) -> None:
    client, server = tcp
    await client.send(b"half of an ans")
    assert await server.receive(4) == b"half"
    client.abort()
    with trio.fail_after(5), pytest.raises(Broken) as caught:
        await read_all(server)
    assert caught.value.reason == "reset"
    assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_sending_to_a_peer_that_closed_is_broken(tcp: tuple[Stream, Stream]) -> None:
    client, server = tcp
    server.close()
    await client.send(b"fetches the reset")
    with trio.fail_after(5), pytest.raises(Broken) as caught:
        await client.send(PATTERN * 10)
    assert caught.value.reason in {"closed", "reset"}


async def test_a_half_closed_stream_still_receives(tcp: tuple[Stream, Stream]) -> None:
    client, server = tcp
    client.send_eof()
    assert await server.receive() == b""
    await server.send(b"answer")
    assert await client.receive() == b"answer"
    with pytest.raises(Broken):
        await client.send(b"more")


async def test_a_detached_socket_is_the_callers() -> None:
    a, b = pair()
    with a.detach() as sock:
        a.close()
        sock.send(b"x")
        assert await b.receive() == b"x"
    b.close()


async def test_peers_and_repr(tcp: tuple[Stream, Stream]) -> None:
    client, server = tcp
    number = server.fileno()
    port = int(client.peer.rpartition(":")[2])
    assert client.peer == f"127.0.0.1:{port}"
    assert client.peer_host == "127.0.0.1"
    assert repr(client) == f"<Stream 127.0.0.1:{port} fd={client.fileno()}>"
    server.close()
    assert repr(server).endswith(" closed>")
    assert number >= 0
    a, b = pair()
    assert (a.peer, a.peer_host) == ("unix", "")
    a.close()
    b.close()
