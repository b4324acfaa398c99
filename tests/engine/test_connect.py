"""Connecting: the race of addresses in virtual time, then real sockets with and without TLS and proxies."""

import dataclasses
import errno
import os
import socket
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from engine import net
from engine.connect import ConnectError, Proxy, Target, connect, connect_tcp, interleaved, is_itself, open_socket
from engine.net import Broken, Origin, Stream, accept_tls, client_tls_context, server_tls_context

NAME = "api.example.test"


class FixedResolver(trio.abc.HostnameResolver):
    """Answers every name with the same addresses, at once."""

    def __init__(self, addresses: Sequence[str] | OSError) -> None:
        self.addresses = addresses

    async def getaddrinfo(  # type: ignore[override]
        self,
        host: bytes,
        port: bytes,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
        await trio.lowlevel.checkpoint()
        if isinstance(self.addresses, OSError):
            raise self.addresses
        return [
            (socket.AF_INET6, type, 6, "", (ip, int(port), 0, 0))
            if ":" in ip
            else (socket.AF_INET, type, 6, "", (ip, int(port)))
            for ip in self.addresses
        ]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


def resolve_to(*addresses: str) -> None:
    """Let every name have these addresses, in the running trio loop only."""
    trio.socket.set_custom_hostname_resolver(FixedResolver(addresses))


class Row(NamedTuple):
    """What happens to a connection attempt to `ip`: after `delay` seconds it is made, or refused."""

    ip: str
    delay: float
    connects: bool


class Scenario:
    """Plays its rows, and notes when each attempt began and which sockets are left."""

    def __init__(self, *rows: Row) -> None:
        self.rows = {row.ip: row for row in rows}
        self.began = trio.current_time()
        self.connect_times: dict[str, float] = {}
        self.sockets: dict[str, socket.socket] = {}
        resolve_to(*self.rows)

    async def attempt(self, target: Target) -> socket.socket:
        ip = str(target.address[0])
        row = self.rows[ip]
        assert target.family == (socket.AF_INET6 if ":" in ip else socket.AF_INET)
        self.connect_times[ip] = trio.current_time() - self.began
        await trio.sleep(row.delay)
        if not row.connects:
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        self.sockets[ip] = socket.socket()
        return self.sockets[ip]

    async def run(self) -> str:
        """Connect; return the winner's address after checking that no other socket is open."""
        winner = await connect_tcp(NAME, 80, stagger_seconds=0.25, attempt=self.attempt)
        for ip, sock in self.sockets.items():
            assert (sock is winner) == (sock.fileno() >= 0), ip
        winner.close()
        return next(ip for ip, sock in self.sockets.items() if sock is winner)

    def took(self) -> float:
        return trio.current_time() - self.began


async def test_the_first_address_wins_when_it_answers(autojump_clock: MockClock) -> None:
    scenario = Scenario(Row("1.1.1.1", 0.1, True), Row("2.2.2.2", 0.1, True))
    assert await scenario.run() == "1.1.1.1"
    assert scenario.took() == pytest.approx(0.1)
    assert scenario.connect_times == {"1.1.1.1": 0}


async def test_a_silent_address_costs_one_stagger(autojump_clock: MockClock) -> None:
    scenario = Scenario(Row("1.1.1.1", 60, True), Row("2.2.2.2", 0.1, True), Row("3.3.3.3", 0.1, True))
    assert await scenario.run() == "2.2.2.2"
    assert scenario.took() == pytest.approx(0.35)
    assert scenario.connect_times == {"1.1.1.1": 0, "2.2.2.2": 0.25}


async def test_a_refusal_starts_the_next_at_once(autojump_clock: MockClock) -> None:
    scenario = Scenario(Row("1.1.1.1", 0, False), Row("2.2.2.2", 0.1, False), Row("3.3.3.3", 0.2, True))
    assert await scenario.run() == "3.3.3.3"
    assert scenario.took() == pytest.approx(0.3)
    assert scenario.connect_times == pytest.approx({"1.1.1.1": 0, "2.2.2.2": 0, "3.3.3.3": 0.1})


async def test_a_late_refusal_of_an_earlier_attempt_starts_nothing_early(autojump_clock: MockClock) -> None:
    scenario = Scenario(Row("1.1.1.1", 0.3, False), Row("2.2.2.2", 60, True), Row("3.3.3.3", 0.1, True))
    assert await scenario.run() == "3.3.3.3"
    assert scenario.connect_times == pytest.approx({"1.1.1.1": 0, "2.2.2.2": 0.25, "3.3.3.3": 0.5})


async def test_a_slow_first_address_may_still_win(autojump_clock: MockClock) -> None:
    scenario = Scenario(Row("1.1.1.1", 0.4, True), Row("2.2.2.2", 0.4, True))
    assert await scenario.run() == "1.1.1.1"
    assert scenario.took() == pytest.approx(0.4)


async def test_families_take_turns(autojump_clock: MockClock) -> None:
    rows = [Row(ip, 60, True) for ip in ("::1", "::2", "::3", "1.1.1.1", "2.2.2.2")]
    scenario = Scenario(*rows, Row("3.3.3.3", 0, True))
    assert await scenario.run() == "3.3.3.3"
    order = ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3", "3.3.3.3"]
    assert scenario.connect_times == {ip: 0.25 * number for number, ip in enumerate(order)}


async def test_all_fail(autojump_clock: MockClock) -> None:
    scenario = Scenario(Row("1.1.1.1", 0.1, False), Row("2.2.2.2", 0.1, False))
    with pytest.raises(ConnectError) as caught:
        await scenario.run()
    assert caught.value.phase == "connect"
    assert str(caught.value) == f"{NAME}:80: connection refused"
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2
    assert scenario.took() == pytest.approx(0.2)


async def test_the_only_address_fails(autojump_clock: MockClock) -> None:
    scenario = Scenario(Row("1.1.1.1", 0.1, False))
    with pytest.raises(ConnectError) as caught:
        await scenario.run()
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_two_winners_in_one_turn_leave_one_socket(autojump_clock: MockClock) -> None:
    resolve_to("1.1.1.1", "2.2.2.2")
    both = trio.Event()
    sockets: list[socket.socket] = []

    async def attempt(_: Target) -> socket.socket:
        await both.wait()
        sockets.append(socket.socket())
        return sockets[-1]

    async def let_both_connect() -> None:
        await trio.sleep(0.3)
        both.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_both_connect)
        winner = await connect_tcp(NAME, 80, attempt=attempt)
    assert [sock.fileno() >= 0 for sock in sockets] == [True, False]
    assert winner is sockets[0]
    winner.close()


@pytest.mark.parametrize("seconds", [0.1, 0.25, 0.3, 0.45])
async def test_cancelled_it_leaves_nothing_open(autojump_clock: MockClock, seconds: float) -> None:
    scenario = Scenario(Row("1.1.1.1", 60, True), Row("2.2.2.2", 60, True))
    with trio.move_on_after(seconds) as scope:
        await scenario.run()
    assert scope.cancelled_caught
    assert scenario.took() == pytest.approx(seconds)
    assert not scenario.sockets


async def test_cancelled_in_the_moment_of_success_it_leaves_nothing_open() -> None:
    resolve_to("1.1.1.1", "2.2.2.2")
    sock = socket.socket()
    with trio.CancelScope() as scope:

        async def attempt(_: Target) -> socket.socket:
            scope.cancel()
            return sock

        with sock:
            winner = await connect_tcp(NAME, 80, attempt=attempt)
            winner.close()
    assert sock.fileno() == -1


async def test_a_name_that_does_not_resolve() -> None:
    trio.socket.set_custom_hostname_resolver(FixedResolver(socket.gaierror(socket.EAI_NONAME, "Name not known")))
    with pytest.raises(ConnectError) as caught:
        await connect(Origin("http", NAME, 80))
    assert caught.value.phase == "dns"
    assert str(caught.value) == f"{NAME}: name not known"


@pytest.mark.parametrize("host", ["", "a..b", "a b", "a\r\nhost: evil", "a" * 64 + ".test", "x\0y", "::1\r\n", "ä b"])
@pytest.mark.parametrize("proxy", [None, Proxy("127.0.0.1", 1)])
async def test_a_host_that_is_no_name_is_not_asked_for(host: str, proxy: Proxy | None) -> None:
    resolve_to("127.0.0.1")
    with pytest.raises(ConnectError, match="is not a host name") as caught:
        await connect(Origin("http", host, 1), proxy=proxy)
    assert caught.value.phase == "dns"


targets = st.builds(
    Target,
    family=st.sampled_from([socket.AF_INET, socket.AF_INET6]),
    kind=st.just(socket.SOCK_STREAM),
    proto=st.just(6),
    address=st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.just(80)),
)


@given(st.lists(targets))
def test_interleaving_keeps_each_familys_order_and_starts_with_the_first(found: list[Target]) -> None:
    ordered = interleaved(found)
    assert Counter(ordered) == Counter(set(found))
    assert ordered[:1] == found[:1]
    for family in (socket.AF_INET, socket.AF_INET6):
        assert [t for t in ordered if t.family == family] == [t for t in dict.fromkeys(found) if t.family == family]
    shorter = min(Counter(t.family for t in ordered).values(), default=0)
    if len({t.family for t in ordered}) == 2:
        assert all(a.family != b.family for a, b in pairwise(ordered[: 2 * shorter]))


# -- real sockets ------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with net.listen("127.0.0.1", 0) as sock:
        yield sock


def origin_of(listener: socket.socket, scheme: str = "http") -> Origin:
    return Origin(scheme, *listener.getsockname())


async def test_a_real_connection(listener: socket.socket) -> None:
    client = await connect(origin_of(listener))
    server = Stream(await net.accept(listener))
    await client.send(b"question")
    assert await server.receive() == b"question"
    client.close()
    server.close()


async def test_a_real_refusal(listener: socket.socket) -> None:
    origin = origin_of(listener)
    listener.close()
    with pytest.raises(ConnectError) as caught:
        await connect(origin)
    assert caught.value.phase == "connect"
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_a_socket_connected_to_itself_is_a_refusal() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        assert is_itself(sock)


async def test_a_pending_connection_is_closed_when_cancelled() -> None:
    # A full queue that nobody empties: the kernel drops what comes, so the connection neither fails nor succeeds.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        descriptors = set(os.listdir("/dev/fd"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_socket, Target(socket.AF_INET, socket.SOCK_STREAM, 0, full.getsockname()))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert set(os.listdir("/dev/fd")) == descriptors
        for sock in waiting:
            sock.close()


async def test_unix_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "model.sock")
    with pytest.raises(ConnectError) as caught:
        await connect(Origin("unix", path, 0))
    assert (caught.value.phase, str(caught.value)) == ("connect", f"unix:{path}: no such file or directory")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        client = await connect(Origin("unix", path, 0), proxy=Proxy("proxy.invalid", 3128))
        client.close()


async def test_a_unix_socket_whose_queue_is_full_is_a_failure_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "busy.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(path)
        with waiting, pytest.raises(ConnectError) as caught:
            await connect(Origin("unix", path, 0))
        assert caught.value.phase == "connect"


# -- TLS ---------------------------------------------------------------------------------------------------------------


class Upstream:
    """A TLS server that accepts one connection after another and notes the names it was asked for."""

    def __init__(self, directory: Path, *names: str) -> None:
        authority = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        chain, key = directory / "chain.pem", directory / "key.pem"
        issued = authority.issue_cert(*names)
        issued.private_key_pem.write_to_path(str(key))
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(str(chain), append=number > 0)
        self.server = server_tls_context(chain, key)
        self.server.sni_callback = self._note_name
        self.client = client_tls_context(self.ca_file)
        self.names: list[str | None] = []

    def _note_name(self, _: ssl.SSLSocket | ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)

    async def serve_one(self, listener: socket.socket) -> None:
        try:
            stream = await accept_tls(await net.accept(listener), self.server)
            await stream.send(await stream.receive())
            stream.close()
        except Broken:
            return


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path, NAME, "127.0.0.1")


async def echo_through(stream: Stream) -> None:
    await stream.send(b"ping")
    assert await stream.receive() == b"ping"
    stream.close()


@pytest.mark.parametrize(("host", "sni"), [(NAME, NAME), (f"{NAME}.", NAME), ("127.0.0.1", None)])
async def test_tls_checks_names_and_addresses(
    upstream: Upstream, listener: socket.socket, host: str, sni: str | None
) -> None:
    resolve_to("127.0.0.1")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstream.serve_one, listener)
            origin = Origin("https", host, listener.getsockname()[1])
            await echo_through(await connect(origin, tls=upstream.client))
    assert upstream.names == [sni]


@pytest.mark.parametrize("host", ["other.example.test", "example.test", f"x.{NAME}", "127.0.0.1"])
async def test_another_name_is_a_failure_of_tls(tmp_path: Path, listener: socket.socket, host: str) -> None:
    upstream = Upstream(tmp_path, NAME)
    resolve_to("127.0.0.1")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstream.serve_one, listener)
            with pytest.raises(ConnectError) as caught:
                await connect(Origin("https", host, listener.getsockname()[1]), tls=upstream.client)
    assert caught.value.phase == "tls"
    assert isinstance(caught.value.__cause__, Broken)
    assert caught.value.__cause__.reason == "certificate"


async def test_an_authority_that_is_not_trusted_is_a_failure_of_tls(
    upstream: Upstream, listener: socket.socket
) -> None:
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstream.serve_one, listener)
            with pytest.raises(ConnectError) as caught:
                await connect(origin_of(listener, "https"), tls=client_tls_context())
    assert caught.value.phase == "tls"


async def test_https_without_a_context_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="needs a TLS context"):
        await connect(Origin("https", NAME, 443))


async def test_a_server_that_is_silent_in_the_handshake_is_the_callers_deadline(
    upstream: Upstream, listener: socket.socket, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(10) as scope:
        await connect(origin_of(listener, "https"), tls=upstream.client)
    assert scope.cancelled_caught
    server = Stream(await net.accept(listener))
    hello = await server.receive()
    assert hello.startswith(b"\x16\x03\x01")
    assert await server.receive() == b""
    server.close()


# -- proxies -----------------------------------------------------------------------------------------------------------

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
HEAD = f"CONNECT {NAME}:443 HTTP/1.1\r\nhost: {NAME}:443\r\n\r\n".encode()


class ProxyServer:
    """Accepts one connection, reads the head of the request, and answers as told."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.proxy = Proxy(*listener.getsockname())
        self.head = b""

    async def serve_one(self, *pieces: bytes) -> Stream:
        stream = Stream(await net.accept(self.listener))
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += await stream.receive(1)
        for piece in pieces:
            await stream.send(piece)
            await wait_all_tasks_blocked()
        return stream

    async def answer_and_close(self, *pieces: bytes) -> None:
        (await self.serve_one(*pieces)).close()


@pytest.fixture
def proxy_server(listener: socket.socket) -> ProxyServer:
    return ProxyServer(listener)


async def refused(proxy_server: ProxyServer, upstream: Upstream, *pieces: bytes) -> ConnectError:
    """Connect through a proxy that answers `pieces` and closes; return the error."""
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy_server.answer_and_close, *pieces)
            with pytest.raises(ConnectError) as caught:
                await connect(Origin("https", NAME, 443), tls=upstream.client, proxy=proxy_server.proxy)
    assert caught.value.phase == "proxy"
    return caught.value


INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (ESTABLISHED,),
        tuple(ESTABLISHED[i : i + 1] for i in range(len(ESTABLISHED))),
        (INTERIM + ESTABLISHED,),
        (b"HTTP/1.0 200 OK\r\nproxy-agent: x\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",),
        (b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",),
    ],
)
async def test_a_tunnel_and_tls_inside_it(
    upstream: Upstream, proxy_server: ProxyServer, pieces: tuple[bytes, ...]
) -> None:
    async def serve() -> None:
        stream = await proxy_server.serve_one(*pieces)
        inner = await accept_tls(stream.detach(), upstream.server)
        await inner.send(await inner.receive())
        inner.close()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            stream = await connect(Origin("https", NAME, 443), tls=upstream.client, proxy=proxy_server.proxy)
            await echo_through(stream)
    assert proxy_server.head == HEAD
    assert upstream.names == [NAME]


async def test_plain_origins_are_tunnelled_too_and_ipv6_is_in_brackets(proxy_server: ProxyServer) -> None:
    async def serve() -> None:
        stream = await proxy_server.serve_one(ESTABLISHED)
        await stream.send(await stream.receive())
        stream.close()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await echo_through(await connect(Origin("http", "2001:db8::1", 8080), proxy=proxy_server.proxy))
    assert proxy_server.head.startswith(b"CONNECT [2001:db8::1]:8080 HTTP/1.1\r\nhost: [2001:db8::1]:8080\r\n")


async def test_the_password_reaches_the_proxy_and_nothing_else(upstream: Upstream, proxy_server: ProxyServer) -> None:
    proxy_server.proxy = dataclasses.replace(proxy_server.proxy, authorization=b"Basic c2VjcmV0")
    error = await refused(proxy_server, upstream, b"HTTP/1.1 407 Nope\r\ncontent-length: 0\r\n\r\n")
    assert b"\r\nproxy-authorization: Basic c2VjcmV0\r\n" in proxy_server.head
    assert error.status == 407
    assert str(error) == f"proxy {proxy_server.proxy} answered 407 for https://{NAME}:443"
    shown = f"{error!r} {error} {error.__cause__!r} {proxy_server.proxy!r} {proxy_server.proxy}"
    assert "c2VjcmV0" not in shown


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (b"HTTP/1.1 503 Busy\r\n\r\n<html>", 503, "answered 503"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://login/\r\n\r\n", 302, "answered 302"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", 101, "answered 101"),
        (ESTABLISHED + b"early", 200, "sent 5 bytes behind its answer"),
        (INTERIM + ESTABLISHED + b"!", 200, "sent 1 bytes behind its answer"),
        (b"", None, "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n", None, "closed without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", None, "does not speak HTTP/1.1"),
        (b"\r\n\r\n", None, "does not speak HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 17_000 + b"\r\n\r\n", None, "longer than 16384 bytes"),
        (INTERIM * 1000, None, "longer than 16384 bytes"),
        (b"HTTP/1.1 200 OK\nx: y\n\n", None, "closed without an answer"),
    ],
)
async def test_answers_that_are_no_tunnel(
    upstream: Upstream, proxy_server: ProxyServer, answer: bytes, status: int | None, message: str
) -> None:
    error = await refused(proxy_server, upstream, answer)
    assert error.status == status
    assert message in str(error)


async def test_a_proxy_that_cannot_be_reached(upstream: Upstream, listener: socket.socket) -> None:
    address = listener.getsockname()
    listener.close()
    with pytest.raises(ConnectError) as caught:
        await connect(Origin("https", NAME, 443), tls=upstream.client, proxy=Proxy(*address))
    assert caught.value.phase == "proxy"
    assert str(caught.value) == f"proxy 127.0.0.1:{address[1]}: connection refused"


async def test_a_proxy_that_resets(upstream: Upstream, proxy_server: ProxyServer) -> None:
    async def serve() -> None:
        (await proxy_server.serve_one()).abort()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(ConnectError) as caught:
            await connect(Origin("https", NAME, 443), tls=upstream.client, proxy=proxy_server.proxy)
    assert caught.value.phase == "proxy"


async def test_cancelled_while_the_proxy_is_silent_it_closes(proxy_server: ProxyServer) -> None:
    async with trio.open_nursery() as nursery:

        async def open_and_wait() -> None:
            await connect(Origin("http", NAME, 80), proxy=proxy_server.proxy)

        nursery.start_soon(open_and_wait)
        stream = await proxy_server.serve_one()
        nursery.cancel_scope.cancel()
    assert await stream.receive() == b""
    stream.close()
