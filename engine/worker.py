"""One worker process: `python -m engine.worker`, started by the supervisor and by nothing else.

Decides the worker's own life: what it inherits (listening sockets, the control channel, the runtime directory), when
its configuration changes, and how it ends. SIGINT and SIGTERM are the supervisor's business: a terminal's Ctrl-C
reaches every process of the group, and a worker that died of it would take its streams along.
"""

import argparse
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from adapters import registry
from engine import accesslog, logs
from engine.breaker import State
from engine.catalogue import Catalogue
from engine.config import Config, ConfigError, load_text
from engine.console.status import SOCKET
from engine.control import Channel, Command, Event, Message, Order, receive_first
from engine.gateway import Gateway
from engine.hangup import HangupMonitor
from engine.health import HealthStatistics
from engine.keyring import Keyring
from engine.metrics import Metrics
from engine.net import server_tls_context
from engine.serve import Server
from engine.treasury import Treasury, open_treasury
from store.interface import StoreError

logger = logging.getLogger(__name__)

ACCESS_LOG_ENTRIES_MAX = 100_000

GC_THRESHOLDS = (20_000, 20, 50)
"""Requests make few cycles; CPython's default of 700 allocations walks the young generation dozens of times per
request.
"""


SWITCH_SECONDS = 0.0005
"""How long the threads that write logs and book may keep the interpreter from the loop; CPython's default of 5 ms is
seen in the 99th percentile of latencies.
"""


class Worker:
    """A worker's parts, made inside its trio run, and their one order of starting and ending."""

    def __init__(
        self,
        config: Config,
        options: argparse.Namespace,
        channel: Channel,
        keys: Keyring,
        treasury: Treasury | None,
    ) -> None:
        self.config_path: Path | None = options.config
        self.runtime: Path = options.runtime
        self.incarnation: str = options.incarnation
        self.channel = channel
        self.metrics = Metrics(incarnation=self.incarnation, slot=options.slot)
        self.access_log = accesslog.open_log(config.server.access_log, entries_max=ACCESS_LOG_ENTRIES_MAX)
        self.gateway = Gateway(
            config,
            metrics=self.metrics,
            access_log=self.access_log,
            hangups=HangupMonitor(),
            console_path=str(self.runtime / SOCKET) if config.server.console else None,
            keys=keys,
            treasury=treasury,
        )
        self.treasury = treasury
        tls = config.server.tls
        sockets = [socket.socket(fileno=fileno) for fileno in options.listen_fd]
        self.server = Server(self.gateway, sockets, tls=server_tls_context(tls.cert, tls.key) if tls else None)
        self._register_pulls()
        self.catalogue = Catalogue(self.gateway, changed=self._models_changed)
        self.serving = trio.CancelScope()

    async def run(self) -> None:
        """Serve until drained, stopped, or abandoned by the supervisor."""
        async with trio.open_nursery() as upkeep:
            upkeep.start_soon(self.access_log.run)
            upkeep.start_soon(self.metrics.run, self.runtime / f"worker-{self.incarnation}.json")
            upkeep.start_soon(self.catalogue.run)
            if self.treasury is not None:
                await upkeep.start(self.treasury.run)
            upkeep.start_soon(self._obey)
            with self.serving:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.server.run)
                    await self.channel.send(Message(Event.READY))
            if self.treasury is not None:
                await self.treasury.say_farewell()
            self.gateway.close()
            upkeep.cancel_scope.cancel()

    def _register_pulls(self) -> None:
        """Tell the metrics where to look for what is not counted but asked."""
        pull, gateway = self.metrics.pull, self.gateway
        pull("hedgerow_worker_requests_total", self.metrics.requests_total, {"worker": str(self.metrics.slot)})
        pull("hedgerow_upstream_connections", lambda: gateway.router.pool_totals().idle, {"state": "idle"})
        pull("hedgerow_upstream_connections", lambda: gateway.router.pool_totals().leased, {"state": "leased"})
        pull("hedgerow_upstream_connections_opened_total", lambda: gateway.router.pool_totals().opened)
        pull("hedgerow_upstream_connections_reused_total", lambda: gateway.router.pool_totals().reused)
        pull("hedgerow_downstream_connections", lambda: len(self.server.connections))
        pull("hedgerow_access_log_dropped_total", lambda: self.access_log.statistics().dropped_total)
        if self.treasury is not None:
            self._register_treasury(self.treasury)
        rows = self.metrics.pull_rows
        rows("hedgerow_candidate_in_flight", lambda: self._candidates(lambda health: health.in_flight))
        rows(
            "hedgerow_candidate_breaker_open",
            lambda: self._candidates(lambda health: health.breaker != State.CLOSED.value),
        )
        rows("hedgerow_candidate_breaker_openings_total", lambda: self._candidates(lambda health: health.opened_total))

    def _register_treasury(self, treasury: Treasury) -> None:
        pull, drains = self.metrics.pull, treasury.drains
        pull("hedgerow_settlements_booked_total", lambda: treasury.bookkeeper.statistics().booked_total)
        pull("hedgerow_journal_waiting_bytes", lambda: treasury.bookkeeper.waiting_bytes)
        pull("hedgerow_charged_nano_dollars_total", lambda: treasury.statistics().charged_nanos_total)
        pull("hedgerow_uncollected_nano_dollars_total", lambda: treasury.statistics().uncollected_nanos_total)
        pull("hedgerow_store_failures_total", lambda: treasury.statistics().failed_total)
        pull("hedgerow_lease_waits_total", lambda: treasury.lender.statistics().waited_total)
        pull("hedgerow_request_log_dropped_total", lambda: treasury.log.statistics().dropped_total)
        pull("hedgerow_drained_answers_total", lambda: drains.statistics().finished_total, {"outcome": "finished"})
        pull("hedgerow_drained_answers_total", lambda: drains.statistics().cut_total, {"outcome": "cut"})

    def _candidates(self, read: Callable[[HealthStatistics], int]) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield one value of every candidate; credentials are numbers, what they are stays secret."""
        for candidate in self.gateway.router.statistics(trio.current_time()):
            yield (candidate.provider, candidate.model, str(candidate.credential)), int(read(candidate.health))

    async def _obey(self) -> None:
        """Carry out the supervisor's orders. A supervisor that is gone means: drain."""
        while True:
            order = await self.channel.receive()
            assert not isinstance(order, Message)
            if order is not None and order.command is Command.RELOAD:
                await self._reload(order.config)
            elif not self.gateway.draining:
                self.server.drain()
                self.serving.deadline = trio.current_time() + self.gateway.config.server.drain_seconds
            if order is None:
                return

    async def _reload(self, text: str) -> None:
        """Take the configuration that the supervisor accepted; keep the old one when this process cannot use it."""
        try:
            config = load_text(text, self.config_path, os.environ)
        except ConfigError as exc:
            logger.error("the new configuration is not valid here, the old one stays: %s", exc)  # noqa: TRY400 - no traceback
            await self.channel.send(Message(Event.REJECTED))
            return
        self.gateway.reconfigure(config)
        self.catalogue.wake()
        await self.channel.send(Message(Event.RELOADED))

    async def _models_changed(self, models: list[str]) -> None:
        await self.channel.send(Message(Event.MODELS, models))


def main() -> int:
    """Run a worker; 0 after a drain."""
    parser = argparse.ArgumentParser(prog="python -m engine.worker")
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--incarnation", required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, action="append", default=[])
    parser.add_argument("--runtime", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    control = socket.socket(fileno=options.control_fd)
    try:
        order, received = receive_first(control)
        config = load_text(order.config, options.config, os.environ)
        logs.configure(config.server.log_level)
        keys = Keyring(config, secret=order.secret)
        trio.run(_run, config, options, keys, control, received)
    except (EOFError, ConfigError, OSError, StoreError) as exc:
        # A file that the configuration names is gone, or standard output is closed: the supervisor tries again, and
        # a traceback would say no more.
        print(f"hedgerow worker: {exc or type(exc).__name__}", file=sys.stderr)
        return 1
    return 0


async def _run(
    config: Config, options: argparse.Namespace, keys: Keyring, control: socket.socket, received: bytes
) -> None:
    registry.dialects()  # a tenth of a second of imports that the first request would wait for
    async with AsyncExitStack() as stack:
        treasury = None
        if options.data is not None:
            treasury = await stack.enter_async_context(open_treasury(options.data, keys, config, slot=options.slot))
        worker = Worker(config, options, Channel(control, Order, received), keys, treasury)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        sys.setswitchinterval(SWITCH_SECONDS)
        await worker.run()


if __name__ == "__main__":
    sys.exit(main())
