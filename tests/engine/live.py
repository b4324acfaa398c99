"""A whole gateway inside a test: real sockets on loopback, real configuration, one worker's worth of parts.

On the way out it asserts what must hold after anything a test did: no connection, no lease and no task is left.
"""

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from engine import net
from engine.accesslog import AccessLog, Entry
from engine.config import load_document
from engine.gateway import Gateway
from engine.hangup import HangupMonitor
from engine.keyring import Keyring
from engine.metrics import Metrics
from engine.serve import Server
from engine.treasury import enter
from store.interface import Store

KEY = "sk-test-0123456789"


class KeptLog(AccessLog):
    """An access log that keeps its entries for the test to read."""

    def __init__(self) -> None:
        super().__init__(None, entries_max=0)
        self.entries: list[Entry] = []
        self._news = trio.Event()

    __slots__ = ("_news", "entries")

    def record(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._news.set()
        self._news = trio.Event()

    async def wait_entry(self, index: int = 0) -> Entry:
        """Return the entry at `index` once it is there."""
        while len(self.entries) <= index:
            await self._news.wait()
        return self.entries[index]


class Live:
    """A serving gateway. `origin` is where it is, `key` a key it knows."""

    def __init__(self, gateway: Gateway, server: Server, log: KeptLog, origin: str) -> None:
        self.gateway = gateway
        self.server = server
        self.log = log
        self.origin = origin
        self.base_url = f"{origin}/v1"
        self.port = int(origin.rsplit(":", 1)[1])
        self.key = KEY
        self._opened: list[trio.SocketStream] = []

    async def connect(self) -> trio.SocketStream:
        """Open a connection; it is closed with the gateway."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._opened.append(stream)
        return stream

    async def close_connections(self) -> None:
        """Close what `connect` opened."""
        for stream in self._opened:
            await stream.aclose()

    def leases(self) -> int:
        """Return how many upstream connections are in use."""
        return self.gateway.router.pool_totals().leased


def document(upstream: str, **more: Any) -> dict[str, Any]:
    """Return a configuration with one provider at `upstream` and one key; `more` adds or replaces sections."""
    base: dict[str, Any] = {
        "server": {"environment_providers": False, "console": False, "cors_origins": ["*"]},
        "keys": {"test": {"value": KEY}},
        "providers": {
            "scripted-1": {"kind": "compatible", "base_url": upstream, "models": ["scripted"], "key": "sk-upstream"}
        },
        "models": {"fast": {"provider": "scripted-1", "model": "scripted"}},
    }
    for name, section in more.items():
        base[name] = {**base.get(name, {}), **section} if section is not None else {}
    return base


@asynccontextmanager
async def running(
    configuration: Mapping[str, Any],
    *,
    tls: ssl.SSLContext | None = None,
    console_path: str | None = None,
    accounts: tuple[Store, Path] | None = None,
) -> AsyncIterator[Live]:
    """Serve `configuration` on a free loopback port for the length of the block.

    `accounts` are a store, and the directory of the journal.
    """
    config = load_document(dict(configuration), os.environ)
    log = KeptLog()
    hangups = HangupMonitor()
    keys = Keyring(config)
    treasury = None
    if accounts is not None:
        treasury = await enter(*accounts, keys, config, slot=0)
    gateway = Gateway(
        config,
        metrics=Metrics(incarnation="test", slot=0),
        access_log=log,
        hangups=hangups,
        console_path=console_path,
        keys=keys,
        treasury=treasury,
    )
    listener = net.listen("127.0.0.1", 0)
    server = Server(gateway, [listener], tls=tls)
    scheme = "https" if tls else "http"
    live = Live(gateway, server, log, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
    try:
        async with trio.open_nursery() as nursery:
            if treasury is not None:
                await nursery.start(treasury.run)
            await nursery.start(server.run)
            yield live
            with trio.fail_after(5):
                server.drain()
                while server.connections:
                    await trio.sleep(0.01)
            if treasury is not None:
                await treasury.say_farewell()
            assert live.leases() == 0
            assert gateway.admission.in_flight == 0
            candidates = gateway.router.statistics(trio.current_time())
            assert [each for each in candidates if each.health.in_flight] == []
            nursery.cancel_scope.cancel()
        assert hangups.statistics().watched == 0
    finally:
        await live.close_connections()
        gateway.close()
        hangups.close()
        listener.close()
