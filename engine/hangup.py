"""Notices that a client is gone while nobody reads from it.

A worker that waits for an upstream, or for nothing at all, has no read pending on the client, and must not have one:
pipelined bytes are to stay in the kernel. So one monitor per worker watches the hang-up alone, with its own selector,
whose descriptor is itself waited for like any other: no task per client, no wake-up while clients behave.

What counts: the client's FIN or RST, also behind unread bytes. A client that only ends its sending side (shutdown) and
still waits for its answer looks the same as one that left; it is taken for gone, as nginx does by default
(proxy_ignore_client_abort off). What is not noticed: a peer that vanished without a packet; sends find that out.

The callback decides what to do; this module knows descriptors, not connections. A descriptor must be unwatched before
it is closed. Should one be forgotten, the kernel forgets with it, and a new connection under the same number is not
affected.
"""

import select
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import trio
from trio.lowlevel import notify_closing, wait_readable

EVENTS_PER_WAKE_MAX = 64
"""Hang-ups handled between two checkpoints: a mass disconnect must not hold up the streams that go on."""


@dataclass(frozen=True, slots=True)
class HangupStatistics:
    """`watched` now, and since the start: watches, and hang-ups reported."""

    watched: int
    watches_total: int
    hangups_total: int


if sys.platform == "darwin":

    class _Selector:
        """kqueue: EV_CLEAR reports each change once, so arriving bytes wake us once and need no re-arming."""

        def __init__(self) -> None:
            self._kqueue = select.kqueue()
            self.fileno = self._kqueue.fileno
            self.close = self._kqueue.close

        def add(self, fileno: int) -> None:
            change = select.kevent(fileno, select.KQ_FILTER_READ, select.KQ_EV_ADD | select.KQ_EV_CLEAR)
            self._kqueue.control([change], 0)

        def remove(self, fileno: int) -> None:
            change = select.kevent(fileno, select.KQ_FILTER_READ, select.KQ_EV_DELETE)
            self._kqueue.control([change], 0)

        def poll(self, events_max: int) -> list[int]:
            events = self._kqueue.control(None, events_max, 0)
            return [event.ident for event in events if event.flags & select.KQ_EV_EOF]

else:

    class _Selector:
        """epoll: EPOLLRDHUP without EPOLLIN, so that bytes never wake us; one shot, so that a hang-up does once."""

        EVENTS = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLONESHOT

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self.fileno = self._epoll.fileno
            self.close = self._epoll.close
            self.remove = self._epoll.unregister

        def add(self, fileno: int) -> None:
            try:
                self._epoll.register(fileno, self.EVENTS)
            except FileExistsError:
                self._epoll.modify(fileno, self.EVENTS)

        def poll(self, events_max: int) -> list[int]:
            return [fileno for fileno, _ in self._epoll.poll(0, events_max)]


class HangupMonitor:
    """Calls back once when the peer of a watched descriptor hangs up. One per worker; `run()` it in a task.

    Callbacks are synchronous and must not raise (one that does ends `run()`); they may watch, unwatch, and close
    anything. `watch` and `unwatch` may be called at any time, with or without `run()` under way; what happened in
    the meantime is reported when it runs.
    """

    __slots__ = ("_fileno", "_hangups_total", "_selector", "_watched", "_watches_total")

    def __init__(self) -> None:
        self._selector = _Selector()
        self._fileno = self._selector.fileno()
        # The value is a fresh tuple for each watch: its identity tells this watch from an earlier one of the same
        # number.
        self._watched: dict[int, tuple[Callable[[], object]]] = {}
        self._watches_total = 0
        self._hangups_total = 0

    def __repr__(self) -> str:
        return f"<HangupMonitor watched={len(self._watched)} hangups_total={self._hangups_total}>"

    def watch(self, fileno: int, callback: Callable[[], object]) -> None:
        """Call `callback` when the peer hangs up, or soon when it already has; replaces an earlier watch.

        Raises OSError for a descriptor that is not open or cannot be watched.
        """
        self._selector.add(fileno)
        self._watched[fileno] = (callback,)
        self._watches_total += 1

    def unwatch(self, fileno: int) -> None:
        """Forget a watch: its callback is not called from here on. Without one, or once it fired, does nothing."""
        if self._watched.pop(fileno, None) is not None:
            # Closed before it was unwatched: the kernel has already forgotten it.
            with suppress(OSError):
                self._selector.remove(fileno)

    async def run(self) -> None:
        """Report hang-ups until cancelled. Raises `trio.ClosedResourceError` when the monitor is closed under it."""
        poll, watched = self._selector.poll, self._watched
        while True:
            if self._fileno < 0:
                raise trio.ClosedResourceError("the hang-up monitor was closed")
            await wait_readable(self._fileno)
            # Looked up before the first callback: a callback may close and watch numbers that come later in this batch.
            for fileno, watch in [(fileno, watched.get(fileno)) for fileno in poll(EVENTS_PER_WAKE_MAX)]:
                if watch is not None and watched.get(fileno) is watch:
                    self.unwatch(fileno)
                    self._hangups_total += 1
                    watch[0]()

    def statistics(self) -> HangupStatistics:
        """Return counters as of now."""
        return HangupStatistics(len(self._watched), self._watches_total, self._hangups_total)

    def close(self) -> None:
        """Release the selector and forget all watches, inside a trio run; idempotent. No `watch` from then on."""
        if self._fileno >= 0:
            notify_closing(self._fileno)
            self._fileno = -1
            self._selector.close()
            self._watched.clear()
