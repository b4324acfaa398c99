"""Listening, accepting, and the values that name peers."""

import errno
import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from engine import net
from engine.connect import connect_tcp
from engine.net import Origin, Stream


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


async def test_accept_waits_and_disables_nagle() -> None:
    with net.listen("127.0.0.1", 0) as listener:
        accepted: list[socket.socket] = []

        async def accept() -> None:
            accepted.append(await net.accept(listener))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await wait_all_tasks_blocked()
            assert not accepted
            client = await connect_tcp(*listener.getsockname())
    with client, accepted[0] as server:
        for sock in (client, server):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not sock.getblocking()


class ScriptedListener(socket.socket):
    """A listener whose next accepts fail as scripted before they work."""

    failures: list[OSError]

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            raise self.failures.pop(0)
        return super().accept()


@pytest.fixture
def listener() -> ScriptedListener:
    sock = ScriptedListener(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    sock.setblocking(False)
    sock.failures = []
    return sock


async def test_accept_passes_over_connections_that_died_in_the_queue(listener: ScriptedListener) -> None:
    listener.failures = [OSError(errno.ECONNABORTED, "aborted"), BlockingIOError(), OSError(errno.EPROTO, "protocol")]
    with listener, await connect_tcp(*listener.getsockname()), await net.accept(listener) as server:
        assert server.fileno() >= 0
    assert not listener.failures


async def test_accept_reports_that_descriptors_ran_out_and_the_connection_stays(listener: ScriptedListener) -> None:
    listener.failures = [OSError(errno.EMFILE, "too many open files")]
    with listener, await connect_tcp(*listener.getsockname()):
        with pytest.raises(OSError, match="too many open files"):
            await net.accept(listener)
        (await net.accept(listener)).close()


def test_a_port_in_use_is_an_error_and_shared_only_when_asked_for() -> None:
    with net.listen("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        net.listen(*first.getsockname())
    with net.listen("127.0.0.1", 0, reuse_port=True) as first:
        net.listen(*first.getsockname(), reuse_port=True).close()


@needs_ipv6
async def test_the_wildcard_of_ipv6_takes_ipv4_clients_and_shows_them_as_such() -> None:
    with net.listen("::", 0) as listener:
        port = listener.getsockname()[1]
        client = Stream(await connect_tcp("127.0.0.1", port))
        server = Stream(await net.accept(listener))
        assert server.peer_host == "127.0.0.1"
        client.close()
        server.close()
        client = Stream(await connect_tcp("::1", port))
        server = Stream(await net.accept(listener))
        assert (client.peer, server.peer_host) == (f"[::1]:{port}", "::1")
        client.close()
        server.close()


def test_an_origin_reads_as_a_url() -> None:
    assert str(Origin("https", "api.example.com", 443)) == "https://api.example.com:443"
    assert str(Origin("http", "::1", 80)) == "http://[::1]:80"
    assert str(Origin("unix", "/run/model.sock", 0)) == "unix:/run/model.sock"
