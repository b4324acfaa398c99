"""A process beside the workers: the console, the clerk. Started again whenever it ends, for as long as the server runs.

It learns of our end by the end of its control channel, and is killed when it does not take that hint. One that hangs is
killed too: it gives signs of life over the channel for as long as it gets on, and must not stop. Before the first of
them it has all the time that a start takes, as when a store of an older release is brought up to date. This module does
not know what such a process does, nor what it says and is told.
"""

import logging
import secrets
import socket
import sys
from collections.abc import Callable

import trio

from engine.control import Channel, Message, Order
from engine.processes import killed_at_last, start_process

logger = logging.getLogger(__name__)

RESTART_SECONDS_MIN = 0.25
RESTART_SECONDS_MAX = 30.0
STEADY_SECONDS = 10.0
"""A process that lived for so long is restarted after the shortest delay; one that did not, after twice the last."""

DISMISSAL_SECONDS_MAX = 6.0
"""How long one that is dismissed may take to end."""

SILENCE_SECONDS_MAX = 30.0
"""How long after a sign of life the next may take: a multiple of what a busy machine, or a store that is locked for as
long as anybody waits for it, makes of `engine.control.BEAT_SECONDS`. To be killed for nothing costs a start.
"""


class Delays:
    """How long to wait before a process is started again: twice as long each time, unless it had lived steadily."""

    def __init__(self) -> None:
        self._next = RESTART_SECONDS_MIN

    def after(self, lived_seconds: float) -> float:
        """Return the delay for a process that ended after `lived_seconds`."""
        delay = RESTART_SECONDS_MIN if lived_seconds >= STEADY_SECONDS else self._next
        self._next = min(delay * 2, RESTART_SECONDS_MAX)
        return delay


class Attendant:
    """One such process; `keep` is its task. `incarnation` names the life that it leads now."""

    def __init__(
        self,
        name: str,
        words: Callable[[str], list[str]],
        *,
        first: Callable[[], Order] | None = None,
        born: Callable[[], None] = lambda: None,
        gone: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`words` are those of its command behind `python -m`, for an incarnation; `first` is what it is told first.

        `born` and `gone` are told when a life of it began and ended.
        """
        self.incarnation = ""
        self._name = name
        self._words = words
        self._first = first
        self._born = born
        self._gone = gone
        self._channel: Channel | None = None
        self._dismissed = False
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return f"<Attendant {self._name} {self.incarnation or 'down'}>"

    async def keep(self) -> None:
        """Run it, again and again, until it is dismissed or this is cancelled."""
        delays = Delays()
        try:
            while not self.is_dismissed():
                begun = trio.current_time()
                try:
                    end = f"ended with code {await self._live()}"
                except OSError as exc:  # no process or descriptor to be had: the workers serve all the same
                    end = f"cannot be started ({exc.strerror})"
                if self.is_dismissed():
                    return
                delay = delays.after(trio.current_time() - begun)
                logger.error("the %s %s; another starts in %g s", self._name, end, delay)
                await trio.sleep(delay)
        finally:
            self._ended.set()

    def is_dismissed(self) -> bool:
        """Whether it is to end, and none is to be started any more."""
        return self._dismissed

    async def tell(self, order: Order) -> None:
        """Tell it something; while it is down that is dropped: the next one is told what holds by then."""
        if self._channel is not None:
            await self._channel.send(order)

    async def dismiss(self, last: Order | None = None) -> None:
        """End it: when this returns it has done what it had left to do, or was given the time for that.

        `last` is what it is told before its channel ends, which a supervisor that was killed cannot say.
        """
        self._dismissed = True
        channel = self._channel
        if channel is not None:
            with trio.move_on_after(DISMISSAL_SECONDS_MAX) as patience:
                if last is not None:
                    await channel.send(last)
                await channel.aclose()
                await self._ended.wait()
            if patience.cancelled_caught:
                logger.warning("the %s has not ended in %g s", self._name, DISMISSAL_SECONDS_MAX)

    async def _live(self) -> int:
        """Start one and wait for its end. Cancelled: it is killed."""
        ours, theirs = socket.socketpair()
        incarnation = f"{self._name}-{secrets.token_hex(4)}"
        command = [sys.executable, "-m", *self._words(incarnation), "--control-fd", str(theirs.fileno())]
        try:
            with theirs:
                process = await start_process(command, (theirs.fileno(),))
        except BaseException:
            ours.close()
            raise
        channel = Channel(ours, Message)
        try:
            async with killed_at_last(process), trio.open_nursery() as nursery:
                self.incarnation, self._channel = incarnation, channel
                self._born()
                nursery.start_soon(self._watch, process, channel)
                if self._first is not None:
                    await channel.send(self._first())
                code = await process.wait()
                nursery.cancel_scope.cancel()
            return code
        finally:
            self.incarnation, self._channel = "", None
            self._gone(incarnation)
            with trio.CancelScope(shield=True):
                await channel.aclose()

    async def _watch(self, process: trio.Process, channel: Channel) -> None:
        """Kill a process that falls silent, or that has closed its channel and does not end."""
        speaks = await channel.hear()
        patience = trio.CancelScope()
        while not patience.cancelled_caught:
            with trio.move_on_after(SILENCE_SECONDS_MAX) as patience:
                if not speaks:
                    await trio.sleep_forever()
                speaks = await channel.hear()
        logger.error("the %s has given no sign of life for %g s: it is killed", self._name, SILENCE_SECONDS_MAX)
        process.kill()
