"""An open WebSocket: against wsproto under the autojump clock, against the `websockets` package over loopback."""

import contextlib
import gc
import socket as sockets
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as websockets_connect
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as websockets_serve
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from engine import net
from engine.config import Limits
from engine.connect import connect_tcp
from engine.http1 import RequestParser
from engine.net import Broken, Stream
from engine.websocket import Closed, Socket, Terms, accept, connect
from engine.websocket_socket import CLOSE_SECONDS_MAX
from tests.engine.test_tls import Certificates, shake_hands
from tests.engine.websocket_peer import Peer, opened, pair, request

ROLES = pytest.mark.parametrize("role", ["server", "client"])
CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
MEGABYTE = 1 << 20


async def ending(socket: Socket) -> Closed:
    """Receive to the end and return it."""
    try:
        while True:
            await socket.receive()
    except Closed as closed:
        return closed


@ROLES
async def test_messages_stay_what_they_are(role: str) -> None:
    async with opened(role) as (socket, peer):
        await peer.send(TextMessage(data="grüße"), BytesMessage(data=b"\x00\xff"), TextMessage(data=""))
        await peer.send(TextMessage(data="a", message_finished=False), Ping(b"between"))
        await peer.send(TextMessage(data="b"))
        got = [await socket.receive() for _ in range(4)]
        assert got == ["grüße", b"\x00\xff", "", "ab"]
        for frame in ("grüße", b"\x00\xff", "", b""):
            await socket.send(frame)
        assert [await peer.next() for _ in range(4)] == ["grüße", b"\x00\xff", "", b""]
        assert peer.pongs == [b"between"]
        assert socket.statistics() == (4, 4, 11, 9, 0)
        peer.stream.close()


@ROLES
@pytest.mark.parametrize("code", CODES)
async def test_the_peer_closes(role: str, code: int) -> None:
    async with opened(role) as (socket, peer):
        await peer.send(TextMessage(data="last"), CloseConnection(code=code, reason="why"))
        assert await socket.receive() == "last"
        end = await ending(socket)
        assert (end.code, end.reason) == (code, "why")
        with pytest.raises(Closed):
            await socket.send("too late")
        reply = await peer.next()
        assert isinstance(reply, CloseConnection)
        assert (reply.code, reply.reason) == (code, "why")
        assert await peer.next() is None


@ROLES
async def test_the_peer_closes_without_a_code(role: str) -> None:
    async with opened(role) as (socket, peer):
        await peer.stream.send(b"\x88\x80\x00\x00\x00\x00" if role == "server" else b"\x88\x00")
        assert (await ending(socket)).code == 1005
        reply = await peer.next()
        assert isinstance(reply, CloseConnection)
        assert reply.code == 1005


@ROLES
@pytest.mark.parametrize(
    ("code", "sent"),
    [*((code, code) for code in CODES), (1005, 1000), (1006, 1011), (1015, 1011), (1004, 1011), (0, 1011)],
)
async def test_this_side_closes(role: str, code: int, sent: int) -> None:
    async with opened(role) as (socket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(socket.close, code, "é" * 100)
        end = await ending(socket)
        assert (end.code, end.reason) == (sent, "é" * 61)
        close = await peer.answer_close()
        assert (close.code, close.reason) == (sent, "é" * 61)


@ROLES
@pytest.mark.parametrize("how", ["end", "reset", "middle"])
async def test_a_connection_that_just_ends_is_1006(role: str, how: str) -> None:
    async with opened(role) as (socket, peer):
        if how == "middle":
            await peer.stream.send(peer.protocol.send(TextMessage(data="never whole"))[:-1])
        (peer.stream.abort if how == "reset" else peer.stream.close)()
        assert (await ending(socket)).code == 1006
        with pytest.raises(Closed) as caught:
            await socket.send("anybody?")
        assert caught.value.code == 1006


@ROLES
async def test_both_close_at_once(role: str) -> None:
    async with opened(role) as (socket, peer), trio.open_nursery() as nursery:
        await peer.send(CloseConnection(code=4001))
        nursery.start_soon(socket.close, 4002)
        assert (await ending(socket)).code in {4001, 4002}
        assert isinstance(await peer.next(), CloseConnection)


@ROLES
async def test_a_megabyte(role: str) -> None:
    text, binary = "ä" * (MEGABYTE // 2), bytes(range(256)) * (MEGABYTE // 256)
    async with opened(role) as (socket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, TextMessage(data=text), BytesMessage(data=binary))
        assert await socket.receive() == text
        assert await socket.receive() == binary
        nursery.start_soon(socket.send, text)
        nursery.start_soon(socket.send, binary)
        assert {await peer.next(), await peer.next()} == {text, binary}
        peer.stream.close()


@ROLES
async def test_sixteen_megabytes_and_not_a_byte_more(role: str) -> None:
    async with opened(role) as (socket, peer), trio.open_nursery() as nursery:

        async def send() -> None:
            # A text of three bytes a character, and in two fragments: the limit counts neither characters nor frames.
            whole = "€" * (16 * MEGABYTE // 3) + "x"
            assert len(whole.encode()) == 16 * MEGABYTE
            await peer.send(TextMessage(data=whole))
            await peer.send(TextMessage(data=whole[:1000], message_finished=False))
            with contextlib.suppress(Broken):
                await peer.send(TextMessage(data=whole[1000:] + "y"))

        nursery.start_soon(send)
        assert len(await socket.receive()) == 16 * MEGABYTE // 3 + 1
        end = await ending(socket)
        assert end.code == 1009
        close = await peer.next()
        assert isinstance(close, CloseConnection)
        assert close.code == 1009


@ROLES
async def test_a_fault_is_told_to_a_peer_that_goes_on_sending(
    role: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Without reading on, the reset would overtake the Close frame."""
    async with opened(role) as (socket, peer):
        await peer.stream.send(b"\xff\xff" + bytes(100_000))
        end = await ending(socket)
        assert end.code == 1002
        assert end.reason
        await peer.stream.send(bytes(10_000))
        close = await peer.next()
        assert isinstance(close, CloseConnection)
        assert (close.code, close.reason) == (1002, end.reason)
        peer.stream.close()


def test_whatever_a_peer_sends_it_ends_clean() -> None:
    async def main(role: str, data: bytes) -> None:
        async with opened(role, terms=Terms(frame_bytes_max=200)) as (socket, peer):
            await peer.stream.send(data)
            peer.stream.send_eof()
            end = await ending(socket)
            close = await peer.next()
            assert end.code == (close.code if isinstance(close, CloseConnection) else 1006)

    @settings(max_examples=60)
    @given(role=st.sampled_from(["server", "client"]), data=st.binary(max_size=400))
    def run(role: str, data: bytes) -> None:
        trio.run(main, role, data, clock=trio.testing.MockClock(autojump_threshold=0))

    run()


# -- peers that are dead, slow, or only held up --------------------------------------------------------------------


@ROLES
async def test_a_half_open_connection_is_cut(role: str, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(role) as (socket, peer):
        began = trio.current_time()
        end = await ending(socket)
        assert end.code == 1006
        assert "ping" in end.reason
        assert trio.current_time() - began == pytest.approx(60)
        assert socket.statistics().pings_sent == 2
        assert await peer.next() is None
        assert peer.pings == 2


@ROLES
@pytest.mark.parametrize("sign", ["pong", "message"])
async def test_any_sign_of_life_is_enough(role: str, sign: str, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(role) as (socket, peer), trio.open_nursery() as nursery:

        async def live() -> None:
            for _ in range(20):
                await trio.sleep(55)
                await peer.send(Pong() if sign == "pong" else TextMessage(data="here"))
            await peer.send(CloseConnection(code=1000))

        nursery.start_soon(live)
        assert (await ending(socket)).code == 1000
        assert trio.current_time() >= 1100
        assert socket.statistics().pings_sent >= 20


@ROLES
async def test_a_peer_that_answers_every_ping_at_once_lives(role: str, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(role) as (socket, peer), trio.open_nursery() as nursery:
        peer.answers_pings = True
        nursery.start_soon(peer.next)

        async def leave() -> None:
            await trio.sleep(1010)
            await peer.send(CloseConnection(code=1000))

        nursery.start_soon(leave)
        assert (await ending(socket)).code == 1000
        assert peer.pings >= 40


@ROLES
async def test_a_socket_that_ended_needs_no_collection(role: str, autojump_clock: trio.testing.MockClock) -> None:
    gc.collect()
    gc.disable()
    try:
        async with opened(role) as (socket, peer):
            left = weakref.ref(socket)
            await peer.send(CloseConnection(code=1000))
            await ending(socket)
        del socket
        await trio.lowlevel.checkpoint()
        assert left() is None
    finally:
        gc.enable()


@ROLES
async def test_a_peer_that_talks_is_not_pinged(role: str, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(role) as (socket, peer), trio.open_nursery() as nursery:

        async def talk() -> None:
            for _ in range(50):
                await trio.sleep(19)
                await peer.send(TextMessage(data="audio"))
            await peer.send(CloseConnection(code=1000))

        nursery.start_soon(talk)
        assert (await ending(socket)).code == 1000
        assert socket.statistics().pings_sent == 0


async def test_a_peer_is_not_dead_while_nobody_listens(autojump_clock: trio.testing.MockClock) -> None:
    """Its messages have nowhere to go, so its pongs are not read either."""
    async with opened("server") as (socket, peer), trio.open_nursery() as nursery:

        async def chatter() -> None:
            for number in range(5):
                await peer.send(TextMessage(data=str(number)))

        nursery.start_soon(chatter)
        await trio.sleep(600)
        assert [await socket.receive() for _ in range(5)] == list("01234")
        await trio.sleep(30)
        peer.stream.close()
        assert (await ending(socket)).reason == "the connection ended without a Close frame"


async def test_a_peer_that_takes_nothing_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    async with opened("server", buffer_bytes=4096) as (socket, peer), trio.open_nursery() as nursery:

        async def talk() -> None:
            with contextlib.suppress(Broken):
                while True:
                    await peer.send(TextMessage(data="I only talk"))
                    await trio.sleep(5)

        nursery.start_soon(talk)
        nursery.start_soon(ending, socket)
        began = trio.current_time()
        with pytest.raises(Closed) as caught:
            await socket.send("x" * MEGABYTE)
        assert (caught.value.code, caught.value.reason) == (1006, "the peer takes nothing")
        assert 60 <= trio.current_time() - began <= 81


async def test_a_peer_that_takes_little_lives(autojump_clock: trio.testing.MockClock) -> None:
    async with opened("server", buffer_bytes=4096) as (socket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(socket.send, "x" * 300_000)
        for _ in range(20):
            await trio.sleep(25)
            peer.protocol.receive_data(await peer.stream.receive(8000))
        assert await peer.next() == "x" * 300_000
        peer.stream.close()


@ROLES
async def test_a_slow_consumer_holds_up_the_sender(role: str) -> None:
    """Whatever is offered, a few messages and what one read and the kernel take is accepted, and all of it arrives."""
    data = bytes(10_000)
    async with opened(role, buffer_bytes=4096) as (socket, peer):
        wire = memoryview(b"".join(peer.protocol.send(BytesMessage(data=data)) for _ in range(200)))
        accepted = 0
        for _ in range(1000):
            sent = peer.stream.send_nowait(wire[accepted:])
            accepted += sent
            await trio.testing.wait_all_tasks_blocked()
            if not sent:
                break
        assert 2 * len(data) < accepted < 65536 + 5 * len(data), "one read, two messages and the kernel's buffer"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.stream.send, wire[accepted:])
            for _ in range(200):
                assert await socket.receive() == data
        peer.stream.close()


async def test_a_full_send_does_not_stop_the_reading() -> None:
    """Pings are not answered inside the reader: two peers that send much and ping would wait for each other."""
    async with opened("server", buffer_bytes=4096) as (socket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(socket.send, "x" * 300_000)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(100):
            await peer.send(Ping(b"%d" % number), TextMessage(data=str(number)))
            assert await socket.receive() == str(number)
        assert await peer.next() == "x" * 300_000
        nursery.start_soon(peer.next)
        with trio.fail_after(5):
            while not peer.pongs:
                await trio.testing.wait_all_tasks_blocked()
        assert len(peer.pongs) <= 3, "the latest answers for those before it"
        nursery.cancel_scope.cancel()
        peer.stream.close()


async def test_senders_do_not_mix_their_frames() -> None:
    async with opened("client", buffer_bytes=4096) as (socket, peer), trio.open_nursery() as nursery:
        sent = [character * 30_000 for character in "abcdefgh"]
        for frame in sent:
            nursery.start_soon(socket.send, frame)
        assert sorted([str(await peer.next()) for _ in sent]) == sent
        peer.stream.close()


# -- the end ---------------------------------------------------------------------------------------------------------


@ROLES
async def test_a_peer_that_never_answers_our_close_is_cut(role: str, autojump_clock: trio.testing.MockClock) -> None:
    async with opened(role) as (socket, peer):
        began = trio.current_time()
        await socket.close(1001)
        assert trio.current_time() - began == pytest.approx(CLOSE_SECONDS_MAX)
        assert isinstance(await peer.next(), CloseConnection)
        assert await peer.next() is None
        assert (await ending(socket)).code == 1001


async def test_a_close_waits_for_no_sender(autojump_clock: trio.testing.MockClock) -> None:
    """The peer closes and takes no answer, which waits behind a message."""
    async with opened("server", buffer_bytes=4096) as (socket, peer):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_assert_not_sent, socket, 4000, "x" * MEGABYTE)
            await trio.testing.wait_all_tasks_blocked()
            await peer.send(CloseConnection(code=4000))
            await trio.testing.wait_all_tasks_blocked()
            await socket.close()
        assert trio.current_time() - began == pytest.approx(CLOSE_SECONDS_MAX)


async def test_a_close_waits_for_no_consumer(autojump_clock: trio.testing.MockClock) -> None:
    async with opened("server") as (socket, peer), trio.open_nursery() as nursery:
        await peer.send(*(TextMessage(data=str(number)) for number in range(50)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(socket.close, 1012)
        assert (await peer.answer_close()).code == 1012
    assert trio.current_time() < CLOSE_SECONDS_MAX


async def test_a_ping_behind_our_close_is_harmless() -> None:
    async with opened("server") as (socket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(socket.close)
        close = await peer.next()
        assert isinstance(close, CloseConnection)
        late = peer.protocol._proto.ping(b"late") + peer.protocol._proto.send_data("late")
        await peer.stream.send(late)
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(close.response())


@ROLES
async def test_what_the_peer_said_last_is_not_lost_to_a_failed_send(role: str) -> None:
    async with opened(role) as (socket, peer):
        await peer.send(
            TextMessage(data="response.done"), TextMessage(data="really"), CloseConnection(code=4000, reason="bye")
        )
        peer.stream.close()
        # The kernel knows of the end; the reader does not, as long as its second message has nowhere to go.
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_assert_not_sent, socket, 4000)
            await trio.testing.wait_all_tasks_blocked()
            frames = [await socket.receive(), await socket.receive()]
            assert (await ending(socket)).code == 4000
        assert frames == ["response.done", "really"]


async def _assert_not_sent(socket: Socket, code: int, frame: str = "audio") -> None:
    with pytest.raises(Closed) as caught:
        await socket.send(frame)
    assert caught.value.code == code


async def test_a_send_given_up_in_the_middle_cuts_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with opened("server", buffer_bytes=4096) as (socket, peer):
        with trio.move_on_after(1) as scope:
            await socket.send("x" * MEGABYTE)
        assert scope.cancelled_caught
        with pytest.raises(Closed) as caught:
            await socket.send("y")
        assert caught.value.code == 1006
        assert (await ending(socket)).reason == "a frame was given up half sent"
        assert await peer.next() is None


async def test_a_cancelled_receive_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with opened("server") as (socket, peer):
        for number in range(10):
            with trio.move_on_after(1):
                await socket.receive()
            await peer.send(TextMessage(data=str(number)))
            assert await socket.receive() == str(number)
        peer.stream.close()


async def test_an_error_of_the_body_passes_as_it_is() -> None:
    ours, theirs = pair()
    peer = Peer(theirs, ConnectionType.CLIENT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(_assert_closed_with, peer, 1011))
        with pytest.raises(KeyError, match="body"):
            async with accept(ours, request()):
                raise KeyError("body")
    assert ours.fileno() == -1


async def _assert_closed_with(peer: Peer, code: int) -> None:
    await peer.head()
    assert (await peer.answer_close()).code == code


async def test_the_end_of_the_body_closes_normally() -> None:
    ours, theirs = pair()
    peer = Peer(theirs, ConnectionType.CLIENT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(_assert_closed_with, peer, 1000))
        async with accept(ours, request()):
            pass
    assert ours.fileno() == -1


@ROLES
async def test_a_cancelled_body_ends_at_once(role: str, autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    with trio.move_on_after(3) as scope:
        async with opened(role) as (socket, _):
            await socket.receive()
    assert scope.cancelled_caught
    assert trio.current_time() - began == pytest.approx(3)


async def test_nothing_is_left_behind() -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    for role in ("server", "client"):
        async with opened(role) as (socket, peer):
            await peer.send(CloseConnection(code=1000))
            await ending(socket)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    gc.collect()  # filterwarnings=error turns an unclosed socket into a failure


async def test_over_tls_with_buffers_smaller_than_a_record(tmp_path: Path) -> None:
    near, far = sockets.socketpair()
    for end in (near, far):
        end.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    client, server = await shake_hands(Certificates(tmp_path), (near, far))
    frames: list[str | bytes] = ["x" * MEGABYTE, bytes(70_000), "response.done"]

    async def upstream() -> None:
        parser = RequestParser(Limits())
        while (asked := parser.pop()) is None:
            parser.feed(await server.receive())
        async with accept(server, asked, parser.leftover) as socket:
            for frame in frames:
                await socket.send(frame)
                assert await socket.receive() == frame
            await socket.close(4005, "done")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream)
        async with connect(client, host="h", resource="/") as downstream:
            for frame in frames:
                await downstream.send(frame)
                assert await downstream.receive() == frame
            closed = await ending(downstream)
            assert (closed.code, closed.reason) == (4005, "done")


# -- the websockets package, over loopback ---------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def served(handle: Callable[[Socket], "trio.abc.AsyncResource | object"]) -> AsyncIterator[int]:
    """Accept one connection on a port of loopback and run `handle` with its socket."""
    with net.listen("127.0.0.1", 0) as listener:

        async def serve() -> None:
            stream = Stream(await net.accept(listener))
            parser = RequestParser(Limits())
            while (asked := parser.pop()) is None:
                parser.feed(await stream.receive())
            async with accept(stream, asked, parser.leftover) as socket:
                await handle(socket)  # type: ignore[misc]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield listener.getsockname()[1]


async def echo(socket: Socket) -> None:
    with contextlib.suppress(Closed):
        while True:
            await socket.send(await socket.receive())


async def in_a_thread(port: int, talk: Callable[[ClientConnection], None]) -> None:
    def run() -> None:
        with websockets_connect(f"ws://127.0.0.1:{port}/", max_size=None, proxy=None) as client:
            talk(client)

    await trio.to_thread.run_sync(run)


async def test_websockets_as_the_client() -> None:
    def talk(client: ClientConnection) -> None:
        # It offers permessage-deflate, which is not granted.
        assert client.protocol.extensions == []
        for frame in ("grüße", b"\x00\xff", "", "x" * MEGABYTE, bytes(MEGABYTE)):
            client.send(frame)
            assert client.recv() == frame
        client.send(["in ", "three ", "fragments"])
        assert client.recv() == "in three fragments"
        assert client.ping().wait(5)
        client.close(4002, "enough")
        assert client.protocol.close_code == 4002

    async with served(echo) as port:
        await in_a_thread(port, talk)


async def test_websockets_is_told_that_its_message_is_too_big() -> None:
    def talk(client: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            client.send(bytes(16 * MEGABYTE + 1))
        with pytest.raises(ConnectionClosed) as caught:
            client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009

    async with served(ending) as port:
        await in_a_thread(port, talk)


@pytest.mark.parametrize("code", [1001, 1012, 4000])
async def test_websockets_hears_why_we_close(code: int) -> None:
    def talk(client: ClientConnection) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            client.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, "leaving")

    async def leave(socket: Socket) -> None:
        await socket.close(code, "leaving")

    async with served(leave) as port:
        await in_a_thread(port, talk)


async def test_websockets_as_the_server() -> None:
    def handle(server: ServerConnection) -> None:
        assert server.subprotocol == "realtime"
        for frame in server:
            server.send(frame)

    with websockets_serve(handle, "127.0.0.1", 0, subprotocols=["realtime"], max_size=None) as server:  # type: ignore[list-item]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            host, port = server.socket.getsockname()
            stream = Stream(await connect_tcp(host, port))
            async with connect(stream, host=f"{host}:{port}", resource="/", subprotocols=["realtime"]) as socket:
                assert socket.subprotocol == "realtime"
                for frame in ("grüße", b"\x00\xff", "", "x" * MEGABYTE, bytes(MEGABYTE)):
                    await socket.send(frame)
                    assert await socket.receive() == frame
                await socket.close(4003, "done")
                assert (await ending(socket)).code == 4003
        finally:
            server.shutdown()
            await trio.to_thread.run_sync(thread.join)
