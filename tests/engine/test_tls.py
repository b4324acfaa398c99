"""Streams inside TLS over real sockets: the same verbs, and what TLS adds to ends and failures."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from engine import net
from engine.net import Broken, TlsStream, accept_tls, client_tls_context, connect_tls, server_tls_context
from engine.tls import RECORD_BYTES

NAME = "api.example.test"
PATTERN = bytes(range(251)) * 4180  # 1 MB whose pieces are told apart

Ends = tuple[TlsStream, TlsStream]


class Certificates:
    """A private authority and what it signed."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        self.chain = str(directory / "chain.pem")
        self.key = str(directory / "key.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        server = authority.issue_cert(NAME, "127.0.0.1")
        server.private_key_pem.write_to_path(self.key)
        for number, part in enumerate(server.cert_chain_pems):
            part.write_to_path(self.chain, append=number > 0)
        self.server = server_tls_context(self.chain, self.key)
        self.client = client_tls_context(self.ca_file)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def shake_hands(certificates: Certificates, ends: tuple[socket.socket, socket.socket]) -> Ends:
    """Return client and server of a TLS connection over two connected sockets."""
    streams: dict[str, TlsStream] = {}

    async def accept() -> None:
        streams["server"] = await accept_tls(ends[1], certificates.server)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            streams["client"] = await connect_tls(ends[0], certificates.client, NAME)
    return streams["client"], streams["server"]


@pytest.fixture
async def tls(certificates: Certificates) -> AsyncIterator[Ends]:
    """Client and server over kernel buffers that are smaller than a record."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client, server = await shake_hands(certificates, ends)
    yield client, server
    client.close()
    server.close()


async def read_all(stream: TlsStream) -> bytes:
    pieces = []
    while data := await stream.receive():
        pieces.append(data)
    return b"".join(pieces)


def fill(stream: TlsStream) -> int:
    """Send until the kernel is full in the middle of a record; return how much was taken."""
    taken = 0
    while more := stream.send_nowait(memoryview(PATTERN)[taken : taken + 1000]):
        taken += more
    return taken


async def test_bytes_arrive_and_close_notify_is_the_end(tls: Ends) -> None:
    client, server = tls
    await client.send(b"question")
    assert await server.receive() == b"question"
    await server.send(b"answer")
    assert await client.receive() == b"answer"
    server.close()
    assert await client.receive() == b""
    assert await client.receive() == b""
    assert client.receive_nowait() == b""
    with pytest.raises(Broken):
        await client.send(PATTERN)


async def test_what_was_agreed_on(tls: Ends) -> None:
    client, server = tls
    assert (client.alpn, server.alpn) == ("http/1.1", "http/1.1")
    assert repr(client) == f"<TlsStream unix fd={client.fileno()}>"


def test_contexts_are_strict(certificates: Certificates) -> None:
    for context in (certificates.client, certificates.server, client_tls_context()):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert not context.options & ssl.OP_IGNORE_UNEXPECTED_EOF
    assert certificates.client.verify_mode is ssl.CERT_REQUIRED
    assert certificates.client.check_hostname
    assert len(certificates.client.get_ca_certs()) == 1
    with pytest.raises(OSError, match="No such file"):
        client_tls_context("/nonexistent/ca.pem")


async def test_tls_1_2_has_the_same_ends(certificates: Certificates) -> None:
    old = Certificates.__new__(Certificates)
    old.server = server_tls_context(certificates.chain, certificates.key)
    old.client = client_tls_context(certificates.ca_file)
    old.client.maximum_version = ssl.TLSVersion.TLSv1_2
    client, server = await shake_hands(old, socket.socketpair())
    await client.send(b"question")
    assert await server.receive() == b"question"
    client.close()
    assert await server.receive() == b""
    server.close()


async def test_receive_is_always_a_checkpoint_also_for_decrypted_bytes(tls: Ends) -> None:
    client, server = tls
    with assert_no_checkpoints():
        await client.send(b"abcdef")
    received = b""
    for _ in range(3):
        with assert_checkpoints(), trio.fail_after(5):
            received += await server.receive(2)
    assert received == b"abcdef"
    with pytest.raises(trio.WouldBlock):
        server.receive_nowait()


async def test_silence_is_about_what_tls_carries(tls: Ends) -> None:
    client, server = tls
    assert client.is_silent(), "the tickets in the kernel are no bytes of an answer"
    await server.send(b"a")
    assert await client.receive() == b"a"
    assert client.is_silent()
    await server.send(b"bc")
    assert await client.receive(1) == b"b"
    assert not client.is_silent(), "the kernel is empty, the record is not"
    server.close()
    await trio.lowlevel.wait_readable(client.fileno())
    assert not client.is_silent(), "the peer ended it"
    client.close()
    assert not client.is_silent(), "closed here"


async def test_session_tickets_are_nothing_to_read(tls: Ends) -> None:
    client, server = tls
    # The server's tickets came with its handshake; they are in the kernel, and not one byte of an answer.
    with pytest.raises(trio.WouldBlock):
        client.receive_nowait()
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            assert await client.receive() == b"answer"

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await server.send(b"answer")


async def test_large_payloads_both_ways_through_tiny_buffers(tls: Ends) -> None:
    received = []

    async def send(stream: TlsStream) -> None:
        await stream.send(PATTERN)

    async def receive(stream: TlsStream) -> None:
        data = bytearray()
        while len(data) < len(PATTERN):
            data += await stream.receive()
        received.append(bytes(data))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for stream in tls:
                nursery.start_soon(send, stream)
                nursery.start_soon(receive, stream)
    assert received == [PATTERN, PATTERN]


class SlowWire:
    """A TLS server without a socket, so that a test can deliver its records piece by piece."""

    def __init__(self, certificates: Certificates) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = certificates.server.wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def shake_hands(self, sock: trio.socket.SocketType) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await sock.send(self.outgoing.read())
                self.incoming.write(await sock.recv(65536))
            else:
                await sock.send(self.outgoing.read())
                return


async def test_a_record_split_anywhere_arrives_whole_through_cancellations(certificates: Certificates) -> None:
    ends = socket.socketpair()
    wire = SlowWire(certificates)
    sock = trio.socket.from_stdlib_socket(ends[1])
    with sock, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.shake_hands, sock)
            client = await connect_tls(ends[0], certificates.client, NAME)
        wire.tls.write(b"one record")
        record = wire.outgoing.read()
        received = bytearray()

        async def receive() -> None:
            received.extend(await client.receive())

        for position in range(len(record)):
            assert not received
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await wait_all_tasks_blocked()
                await sock.send(record[position : position + 1])
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert received == b"one record"
    client.close()


async def test_an_end_without_close_notify_is_broken(certificates: Certificates) -> None:
    client, server = await shake_hands(certificates, socket.socketpair())
    await server.send(b"half an answer")
    assert await client.receive() == b"half an answer"
    server.detach().close()
    with pytest.raises(Broken) as caught:
        await client.receive()
    assert caught.value.reason == "truncated"
    with pytest.raises(Broken):
        client.receive_nowait()
    client.close()


async def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with net.listen("127.0.0.1", 0) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, await net.accept(listener)


async def test_a_reset_is_broken(certificates: Certificates) -> None:
    client, server = await shake_hands(certificates, await tcp_pair())
    server.abort()
    with pytest.raises(Broken) as caught:
        await client.receive()
    # CPython reports a reset inside TLS as an unexpected end up to 3.11.8 and 3.12.2 (python/cpython#115627).
    assert caught.value.reason in {"reset", "truncated"}
    client.close()


async def test_bytes_that_are_no_tls_are_broken(certificates: Certificates) -> None:
    client, server = await shake_hands(certificates, socket.socketpair())
    with server.detach() as sock:
        bare = socket.socket(fileno=sock.detach())
    with bare:
        bare.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with pytest.raises(Broken) as caught:
            await client.receive()
    assert caught.value.reason == "tls"
    client.close()


async def test_what_was_refused_is_offered_again_and_arrives_once(tls: Ends) -> None:
    client, server = tls
    received = bytearray()

    async def receive() -> None:
        while len(received) < len(PATTERN):
            received.extend(await server.receive())
            await wait_all_tasks_blocked()  # so that the sender is refused in the middle of many records

    refusals = 0
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            taken = 0
            while taken < len(PATTERN):
                # A growing buffer, as of a caller that appends what came meanwhile.
                taken += client.send_nowait(memoryview(PATTERN)[taken : taken + 20_000 + taken // 7])
                if taken < len(PATTERN):
                    refusals += 1
                    await client.wait_writable()
    assert refusals > 10
    assert received == PATTERN


async def test_a_refused_message_that_is_dropped_arrives_whole_and_in_front(tls: Ends) -> None:
    client, server = tls
    taken = fill(client)
    assert client.send_nowait(PATTERN[taken : taken + 1000]) == 0
    received = bytearray()
    with trio.fail_after(10):
        while len(received) < taken:
            received += await server.receive()
        await client.wait_writable()
        await client.send(b"something else")
        while not received.endswith(b"something else"):
            received += await server.receive()
    assert received == PATTERN[: taken + 1000] + b"something else"


async def test_refused_bytes_must_come_back_together(tls: Ends) -> None:
    client, server = tls
    taken = fill(client)
    with pytest.raises(ValueError, match="1000 bytes were refused"):
        client.send_nowait(PATTERN[taken : taken + 999])
    assert client.send_nowait(b"") == 0
    received = bytearray()
    with trio.fail_after(10):
        while len(received) < taken:
            received += await server.receive()
        await client.send(PATTERN[taken : taken + 1000])
        while len(received) < taken + 1000:
            received += await server.receive()
    assert received == PATTERN[: taken + 1000]


async def test_closing_waits_for_nobody_and_wakes_those_who_do(tls: Ends) -> None:
    client, _ = tls
    fill(client)

    async def expect_closed(wait: Callable[[], object]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await wait()  # type: ignore[misc]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, client.receive)
        nursery.start_soon(expect_closed, client.wait_writable)
        await wait_all_tasks_blocked()
        with assert_no_checkpoints():
            client.close()
            client.close()
    for verb in (client.receive_nowait, lambda: client.send_nowait(b"x" * 2000), client.send_eof):
        with pytest.raises(trio.ClosedResourceError):
            verb()


async def test_aborting_does_not_pretend_that_it_is_the_end(tls: Ends) -> None:
    client, server = tls
    await server.send(b"half an answer")
    server.abort()
    assert await client.receive() == b"half an answer"
    with pytest.raises(Broken):
        await client.receive()


async def test_either_side_may_say_that_nothing_follows(tls: Ends) -> None:
    client, server = tls
    client.send_eof()
    assert await server.receive() == b""
    await server.send(b"answer")
    assert await client.receive() == b"answer"
    server.send_eof()  # both have: the socket is no TLS socket from here
    with pytest.raises(Broken):
        await server.send(b"not in the clear")
    assert await client.receive() == b""
    assert await server.receive() == b""
    assert server.receive_nowait() == b""


async def test_a_client_without_tls_is_refused_and_its_socket_closed(certificates: Certificates) -> None:
    client, server = socket.socketpair()
    with client:
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        with pytest.raises(Broken) as caught:
            await accept_tls(server, certificates.server)
        assert caught.value.reason == "tls"
        assert str(caught.value) == "TLS failed: http request"
        client.settimeout(5)
        with suppress(ConnectionResetError):
            while client.recv(100):  # the alert, then the end
                pass


async def test_a_client_that_leaves_in_the_handshake_is_broken(certificates: Certificates) -> None:
    client, server = socket.socketpair()
    client.close()
    with pytest.raises(Broken):
        await accept_tls(server, certificates.server)
    assert server.fileno() == -1


@pytest.mark.parametrize("server_side", [True, False])
async def test_a_cancelled_handshake_closes_its_socket(certificates: Certificates, server_side: bool) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        async with trio.open_nursery() as nursery:
            if server_side:
                nursery.start_soon(accept_tls, ours, certificates.server)
            else:
                nursery.start_soon(connect_tls, ours, certificates.client, NAME)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        theirs.settimeout(5)
        while theirs.recv(65536):
            pass


async def test_a_handshake_that_cannot_begin_closes_its_socket(certificates: Certificates) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with pytest.raises(ValueError, match="server_hostname"):
            await connect_tls(ours, certificates.client, "")
        theirs.settimeout(5)
        assert theirs.recv(100) == b""


def test_records_are_as_large_as_the_standard_allows() -> None:
    assert RECORD_BYTES == 2**14
