"""Answers that are read to their end although their client left, so that what is charged is the upstream's own count.

Only where the configuration says `on_disconnect = "drain"`. Bounded in number and in time; what does not fit is
cancelled and charged by an estimate, as without this.
"""

import logging
from collections.abc import Callable

import trio
from msgspec import Struct

from adapters.errors import GatewayError
from engine.entrant import Entrant
from engine.exchange import Exchange
from engine.layers.charge import Meter
from engine.relay import EVENT

logger = logging.getLogger(__name__)


class DrainsStatistics(Struct, frozen=True):
    """Answers that are being read on, that were read to their end, and that ran out of time or broke."""

    open: int
    finished_total: int
    cut_total: int


class Drains:
    """The answers without a client of one worker. `run` for as long as the worker lives."""

    def __init__(self, log: Callable[[Exchange], None]) -> None:
        """`log` is told of every answer when it is settled."""
        self._log = log
        self.answers_max = 0
        self.seconds_max = 0.0
        self._nursery: trio.Nursery | None = None
        self._open = self._finished = self._cut = 0
        self._idle = trio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"<Drains {self._open}>"

    def statistics(self) -> DrainsStatistics:
        """Return what became of the answers."""
        return DrainsStatistics(self._open, self._finished, self._cut)

    def adopt(self, entrant: Entrant, meter: Meter, exchange: Exchange, *, events: int, bytes_out: int) -> bool:
        """Take over an answer in mid-stream; False when it is not to be, and then it is still the caller's."""
        if self._nursery is None or self._open >= self.answers_max:
            return False
        self._open += 1
        self._idle = trio.Event() if self._idle.is_set() else self._idle
        self._nursery.start_soon(self._read_on, entrant, meter, exchange, events, bytes_out)
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read on until cancelled; what is cut then is charged by an estimate."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def wait_idle(self) -> None:
        """Return when no answer is being read."""
        await self._idle.wait()

    async def _read_on(self, entrant: Entrant, meter: Meter, exchange: Exchange, events: int, bytes_out: int) -> None:
        attempt, tap = entrant.attempt, entrant.attempt.tap
        assert tap is not None
        try:
            with trio.move_on_after(self.seconds_max):
                while attempt.streaming():
                    data = await attempt.receive()
                    events += data.count(EVENT)
                    bytes_out += len(data)
        except GatewayError as exc:
            entrant.tell_broken(exc)
        finally:
            ended = not attempt.streaming() and tap.failure is None
            self._finished += ended
            self._cut += not ended
            try:
                meter.settle_stream(tap.usage, entrant.candidate, events=events, bytes_out=bytes_out, whole=ended)
            except OSError:
                logger.exception("what the exchange %s cost cannot be written down: it is free", exchange.id)
            finally:
                entrant.close()
                meter.close()
                self._log(exchange)
                self._open -= 1
                if not self._open:
                    self._idle.set()
