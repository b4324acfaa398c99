"""Hang-ups of real sockets, on the platform's selector and on the kqueue branch over a fake."""

import importlib.util
import os
import select
import socket
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import engine.hangup
from engine import net
from engine.hangup import EVENTS_PER_WAKE_MAX, HangupMonitor


class Kevent(NamedTuple):
    ident: int
    filter: int
    flags: int


class FakeKqueue:
    """As much of kqueue as the monitor uses, over epoll: EVFILT_READ with EV_CLEAR, EV_EOF on the peer's FIN or RST."""

    ADD, DELETE, CLEAR, EOF, READ = 0x1, 0x2, 0x20, 0x8000, -1
    HANG_UP = select.EPOLLRDHUP | select.EPOLLHUP if sys.platform == "linux" else 0

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.fileno = self._epoll.fileno
        self.close = self._epoll.close

    def control(self, changes: list[Kevent] | None, events_max: int, timeout: float | None = None) -> list[Kevent]:
        for change in changes or []:
            assert change.filter == self.READ
            if change.flags & self.DELETE:
                self._epoll.unregister(change.ident)
                continue
            assert change.flags == self.ADD | self.CLEAR
            mask = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
            try:
                self._epoll.register(change.ident, mask)
            except FileExistsError:
                self._epoll.modify(change.ident, mask)
        if not events_max:
            return []
        assert timeout == 0
        events = self._epoll.poll(0, events_max)
        return [Kevent(fd, self.READ, self.EOF if mask & self.HANG_UP else 0) for fd, mask in events]


def monitor_on_kqueue(monkeypatch: pytest.MonkeyPatch) -> type[HangupMonitor]:
    """Load the module as macOS would, with a fake kqueue under it."""
    name = "engine.hangup_on_kqueue"
    spec = importlib.util.spec_from_file_location(name, engine.hangup.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        patch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    fake = FakeKqueue
    module.select = SimpleNamespace(  # type: ignore[attr-defined]
        kqueue=fake,
        kevent=Kevent,
        KQ_FILTER_READ=fake.READ,
        KQ_EV_ADD=fake.ADD,
        KQ_EV_DELETE=fake.DELETE,
        KQ_EV_CLEAR=fake.CLEAR,
        KQ_EV_EOF=fake.EOF,
    )
    monitor: type[HangupMonitor] = module.HangupMonitor
    return monitor


@pytest.fixture(params=["this platform's", "kqueue"])
async def monitor(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> AsyncIterator[HangupMonitor]:
    if request.param == "kqueue" and sys.platform != "linux":
        pytest.skip("the fake is made of epoll")
    made = monitor_on_kqueue(monkeypatch)() if request.param == "kqueue" else HangupMonitor()
    nursery.start_soon(made.run)
    yield made
    nursery.cancel_scope.cancel()
    made.close()


Pair = tuple[socket.socket, socket.socket]


def tcp_pair() -> Pair:
    """Return client and server of one TCP connection."""
    with net.listen("127.0.0.1", 0) as listener:
        listener.setblocking(True)
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


def counters(monitor: HangupMonitor) -> tuple[int, int, int]:
    """Return watched, watches_total and hangups_total."""
    statistics = monitor.statistics()
    return statistics.watched, statistics.watches_total, statistics.hangups_total


def leave(client: socket.socket) -> None:
    client.close()


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def leave_behind_unread_bytes(client: socket.socket) -> None:
    client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
    client.close()


@pytest.mark.parametrize("how", [leave, reset, leave_behind_unread_bytes])
@pytest.mark.parametrize("late", [False, True])
async def test_a_hang_up_calls_back_once(
    monitor: HangupMonitor, how: Callable[[socket.socket], None], late: bool
) -> None:
    client, server = tcp_pair()
    calls: list[str] = []
    with server:
        if late:  # it left before anybody watched
            how(client)
        monitor.watch(server.fileno(), lambda: calls.append("gone"))
        await wait_all_tasks_blocked()
        if not late:
            assert not calls
            how(client)
        await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert calls == ["gone"]
        assert counters(monitor) == (0, 1, 1)
        monitor.unwatch(server.fileno())
    assert counters(monitor) == (0, 1, 1)


async def test_bytes_are_no_hang_up(monitor: HangupMonitor) -> None:
    client, server = tcp_pair()
    calls: list[str] = []
    with client, server:
        monitor.watch(server.fileno(), lambda: calls.append("gone"))
        for _ in range(3):
            client.send(b"pipelined")
            await wait_all_tasks_blocked()
        assert not calls
        assert server.recv(100) == b"pipelined" * 3
        assert repr(monitor) == "<HangupMonitor watched=1 hangups_total=0>"
        client.shutdown(socket.SHUT_WR)
        await wait_all_tasks_blocked()
        assert calls == ["gone"]


class Wakes(trio.abc.Instrument):
    """Counts how often the monitor's task ran, and what `value` was after each step of any task."""

    def __init__(self, value: Callable[[], int] = lambda: 0) -> None:
        self.value = value
        self.runs = 0
        self.values = [value()]

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.runs += task.name.endswith("HangupMonitor.run")
        self.values.append(self.value())


async def test_an_unwatched_descriptor_calls_nobody_and_wakes_nobody(monitor: HangupMonitor) -> None:
    client, server = tcp_pair()
    calls: list[str] = []
    with server:
        monitor.watch(server.fileno(), lambda: calls.append("gone"))
        monitor.unwatch(server.fileno())
        monitor.unwatch(server.fileno())
        await wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(wakes := Wakes())
        client.close()
        await wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(wakes)
    assert not calls
    assert wakes.runs == 0
    assert monitor.statistics().watched == 0


async def test_watching_again_replaces_the_callback(monitor: HangupMonitor) -> None:
    client, server = tcp_pair()
    calls: list[str] = []
    with server:
        monitor.watch(server.fileno(), lambda: calls.append("first"))
        monitor.watch(server.fileno(), lambda: calls.append("second"))
        client.close()
        await wait_all_tasks_blocked()
    assert calls == ["second"]


async def test_watching_again_while_the_hang_up_is_being_reported_is_reported_too(monitor: HangupMonitor) -> None:
    pairs = [tcp_pair(), tcp_pair()]
    calls: list[str] = []

    def watch_the_other(other: int) -> None:
        calls.append("gone")
        if len(calls) == 1:
            monitor.watch(pairs[other][1].fileno(), partial(calls.append, "again"))

    for mine, other in ((0, 1), (1, 0)):
        monitor.watch(pairs[mine][1].fileno(), partial(watch_the_other, other))
    for client, _ in pairs:
        client.close()
    await wait_all_tasks_blocked()
    assert calls == ["gone", "again"]
    for _, server in pairs:
        server.close()


async def test_each_request_of_a_connection_watches_anew(monitor: HangupMonitor) -> None:
    client, server = tcp_pair()
    calls: list[int] = []
    with server:
        for number in range(3):
            monitor.watch(server.fileno(), partial(calls.append, number))
            client.send(b"request")
            await wait_all_tasks_blocked()
            monitor.unwatch(server.fileno())
        monitor.watch(server.fileno(), lambda: calls.append(99))
        client.close()
        await wait_all_tasks_blocked()
    assert calls == [99]


def take_number(sock: socket.socket, number: int) -> socket.socket:
    """Move a socket to a descriptor number that was just closed."""
    if sock.fileno() == number:
        return sock
    os.dup2(sock.fileno(), number)
    sock.close()
    return socket.socket(fileno=number)


async def test_a_number_used_again_without_unwatching_calls_the_new_owner_only(monitor: HangupMonitor) -> None:
    client, server = tcp_pair()
    calls: list[str] = []
    number = server.fileno()
    monitor.watch(number, lambda: calls.append("old"))
    server.close()
    client.close()
    await wait_all_tasks_blocked()
    other_client, other_server = tcp_pair()
    other_server = take_number(other_server, number)
    with other_server:
        other_client.send(b"x")
        await wait_all_tasks_blocked()
        assert not calls
        monitor.watch(number, lambda: calls.append("new"))
        other_client.close()
        await wait_all_tasks_blocked()
    assert calls == ["new"]


async def test_unwatching_after_the_close_is_tolerated(monitor: HangupMonitor) -> None:
    client, server = tcp_pair()
    number = server.fileno()
    monitor.watch(number, lambda: None)
    server.close()
    monitor.unwatch(number)
    client.close()
    assert monitor.statistics().watched == 0


async def test_watching_what_is_closed_is_an_error(monitor: HangupMonitor) -> None:
    client, server = tcp_pair()
    number = server.fileno()
    client.close()
    server.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        monitor.watch(number, lambda: None)
    assert counters(monitor) == (0, 0, 0)


async def test_a_stale_event_of_the_same_batch_calls_nobody(monitor: HangupMonitor) -> None:
    """Two hang up at once; the first callback closes the second's socket and gives its number to a third, who stays."""
    pairs = [tcp_pair(), tcp_pair()]
    visitor, third = tcp_pair()
    calls: list[str] = []
    reused: list[socket.socket] = []

    def close_the_other(other: int) -> None:
        calls.append("gone")
        if reused:
            return
        number = pairs[other][1].fileno()
        monitor.unwatch(number)
        pairs[other][1].close()
        reused.append(take_number(third, number))
        monitor.watch(number, lambda: calls.append("third"))

    for mine, other in ((0, 1), (1, 0)):
        monitor.watch(pairs[mine][1].fileno(), partial(close_the_other, other))
    for client, _ in pairs:
        client.close()
    await wait_all_tasks_blocked()
    assert calls == ["gone"]
    visitor.close()
    await wait_all_tasks_blocked()
    assert calls == ["gone", "third"]
    for sock in (*reused, pairs[0][1], pairs[1][1]):
        sock.close()


async def test_a_mass_disconnect_is_handled_in_batches(monitor: HangupMonitor) -> None:
    pairs = [socket.socketpair() for _ in range(EVENTS_PER_WAKE_MAX * 2 + 5)]
    gone: set[int] = set()
    for number, (_, server) in enumerate(pairs):
        monitor.watch(server.fileno(), partial(gone.add, number))
    for client, _ in pairs:
        client.close()
    trio.lowlevel.add_instrument(wakes := Wakes(lambda: len(gone)))
    await wait_all_tasks_blocked()
    trio.lowlevel.remove_instrument(wakes)
    assert wakes.values[-1] == len(pairs)
    assert max(after - before for before, after in pairwise(wakes.values)) == EVENTS_PER_WAKE_MAX
    assert monitor.statistics().hangups_total == len(pairs)
    for _, server in pairs:
        server.close()


async def test_closing_ends_run() -> None:
    monitor = HangupMonitor()

    async def run() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await monitor.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        monitor.close()
        monitor.close()
    with pytest.raises(trio.ClosedResourceError):
        await monitor.run()
