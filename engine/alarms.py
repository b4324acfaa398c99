"""Deadlines of reads that hardly ever pass: one heap and one task for a whole worker, instead of a scope for each.

To give up a read at some time costs 55,000 instructions as a cancel scope and 6,000 here; every request that might be
hedged has one, every stream two. A stream has one entry in the heap that counts, no later than it is due; when its turn
comes and nobody waits for it any more, or until later, it is dropped or put back. So most reads of a kept connection
find their entry there and pay for two look-ups. Entries of streams that were closed are swept out when there may be as
many of them as of others.

A read that is due is woken by what trio has for descriptors about to be closed, `notify_closing`; here it stays open
and may be read again. One that was closed at that very moment says so when it is. Where the task does not run, a scope
does the same. What is waited for and why is the callers' business; reads alone are waited for here, since connecting
and sending hardly ever wait.
"""

from contextlib import AbstractContextManager
from heapq import heapify, heappop, heappush
from math import inf
from types import TracebackType

import trio
from trio.lowlevel import notify_closing

from engine.net import Stream

RUNG = -inf
"""The deadline of a reader that was woken."""

ENTRIES_MIN = 1024
"""So many may stand in the heap before it is looked for those of closed streams."""

AGAIN_SECONDS = 0.01
"""A reader that was just looking at its descriptor when it was woken waits again: it is woken once more after that."""


class Due(Exception):  # noqa: N818 - a fact about the time, like `Cancelled`
    """The time that a read had is over. No byte is lost, and it may be called again."""


class _Block:
    __slots__ = ("_due", "_stream")

    def __init__(self, due: dict[Stream, float], stream: Stream) -> None:
        self._due = due
        self._stream = stream

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None) -> bool:
        return self._due.pop(self._stream) == RUNG and kind is trio.ClosedResourceError


class Alarms:
    """Gives up reads at their time. Used from one trio loop, where `run()` is under way or not."""

    __slots__ = ("_due", "_entries_max", "_heap", "_nap", "_rings_at", "_wakes_at")

    def __init__(self) -> None:
        self._due: dict[Stream, float] = {}
        """Until when those that are read from are waited for."""
        self._rings_at: dict[Stream, float] = {}
        """When it is looked at them next: their entry in the heap that counts."""
        self._heap: list[tuple[float, int, Stream]] = []
        self._entries_max = ENTRIES_MIN
        self._nap: trio.CancelScope | None = None
        self._wakes_at = inf

    def __repr__(self) -> str:
        return f"<Alarms {len(self._due)} waiting, {len(self._heap)} entries, next at {self._wakes_at:g}>"

    async def receive(self, stream: Stream, until: float) -> bytes:
        """Do as `stream.receive()`, and raise `Due` if nothing has come at `until` of trio's clock."""
        due = self._due
        if self._nap is None:
            with trio.move_on_at(until):
                return await stream.receive()
            raise Due
        # As the block of `until`, which costs twice as much.
        due[stream] = until
        if until < self._rings_at.get(stream, inf):
            self._hang(stream, until)
        try:
            return await stream.receive()
        except trio.ClosedResourceError:
            if due[stream] == RUNG:
                raise Due from None
            raise
        finally:
            del due[stream]

    def until(self, stream: Stream, at: float) -> AbstractContextManager[object]:
        """Return a block that is left at that time, as that of `trio.move_on_at`; in it nothing but reads waits."""
        if self._nap is None:
            return trio.move_on_at(at)
        self._due[stream] = at
        if at < self._rings_at.get(stream, inf):
            self._hang(stream, at)
        return _Block(self._due, stream)

    async def run(self) -> None:
        """Wake those who are due, until cancelled."""
        try:
            while True:
                self._wakes_at = self._heap[0][0] if self._heap else inf
                with trio.CancelScope(deadline=self._wakes_at) as self._nap:
                    await trio.sleep_forever()
                self._ring(trio.current_time())
        finally:
            self._nap = None

    def _hang(self, stream: Stream, at: float) -> None:
        self._rings_at[stream] = at
        heappush(self._heap, (at, id(stream), stream))
        if len(self._heap) > self._entries_max:
            self._sweep()
        if at < self._wakes_at and self._nap is not None:
            self._wakes_at = self._nap.deadline = at

    def _sweep(self) -> None:
        """Take away the entries of streams that are closed, and those that do not count any more."""
        due, rings_at, heap = self._due, self._rings_at, self._heap
        for stream in [each for each in rings_at if each.fileno() < 0 and each not in due]:
            del rings_at[stream]
        heap[:] = [entry for entry in heap if rings_at.get(entry[2]) == entry[0]]
        heapify(heap)
        self._entries_max = max(ENTRIES_MIN, 2 * len(heap))

    def _ring(self, now: float) -> None:
        """Wake who is due, and take away entries without a reader, so that the first one is worth waking for."""
        heap, rings_at = self._heap, self._rings_at
        while heap:
            at, _, stream = heap[0]
            counts = rings_at.get(stream) == at
            due = self._due.get(stream) if counts else None
            if at > now and due in {at, RUNG}:
                return
            heappop(heap)
            if counts:
                del rings_at[stream]
            if due is not None and due > now:
                self._hang(stream, due)
            elif due is not None:
                self._due[stream] = RUNG
                if stream.fileno() >= 0:
                    notify_closing(stream.fileno())
                self._hang(stream, now + AGAIN_SECONDS)
