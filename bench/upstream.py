"""The scripted upstream: a server of four dialects on trio and h11 that misbehaves exactly as told.

Embedded in a test:

    async with upstream.running() as server:                    # or: await nursery.start(server.serve)
        server.enqueue([{"status": 503}], [{"sleep_ms": 50}])   # scripts of the next two requests
        ...                                                     # talk to server.base_url
        assert server.log[0].header("authorization") == "Bearer sk-..."
        record = await server.wait_request(2)                   # no sleeping: until the third request is there,
        await record.ended.wait()                               # and until its peer has all of it, or has gone
        assert record.ending is Ending.PEER_CLOSED

As a process: `python -m bench.upstream --port 0 [--unix PATH] [--script FILE | --fault NAME] [--seed N]
[--follow-stdin]` (or `hedgerow upstream`) prints one JSON line when it listens, and ends with Ctrl-C. GET /_log, DELETE
/_log, PUT /_script {"default": [...], "queue": [[...], ...]} and PUT /_gate/NAME do from outside what the attributes do
from inside.

The path says which dialect is spoken. The steps of a script are `bench.script`'s, the usual answer is `bench.answers`'
and written by `bench.dialects`, which script a request gets and what its record holds is `bench.playbook`'s, and
`bench.reply` performs it on a `bench.connection`. This file only listens.
"""

import argparse
import json
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bench.answers import MODEL
from bench.connection import Connection
from bench.failures import SCRIPTS
from bench.playbook import Ending, Playbook, Record

__all__ = ["Ending", "Record", "ScriptedUpstream", "main", "running"]


class ScriptedUpstream(Playbook):
    """A playbook that listens. `connections` were accepted, `connections_open` is what a leak test asserts on."""

    def __init__(
        self,
        *,
        script: object = None,
        models: Sequence[str] = (MODEL,),
        clock: Callable[[], float] = time.monotonic,
        seed: int = 0,
    ) -> None:
        super().__init__(script=script, models=models, clock=clock, seed=seed)
        self.port = 0
        self.base_url = ""
        self.connections = 0
        self.connections_open = 0

    def __repr__(self) -> str:
        return f"<ScriptedUpstream {self.base_url} requests={len(self.log)} open={self.connections_open}>"

    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        unix: str | None = None,
        tls: ssl.SSLContext | None = None,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; reports the base URL when listening. Cancellation closes every connection at once."""
        listeners: list[trio.abc.Listener[Any]]
        if unix is not None:
            listening = trio.socket.socket(trio.socket.AF_UNIX)
            await listening.bind(unix)
            listening.listen(1024)
            listeners = [trio.SocketListener(listening)]
            self.base_url = f"unix:{unix}"
        else:
            opened = await trio.open_tcp_listeners(port, host=host, backlog=4096)
            listeners = list(opened)
            self.port = opened[0].socket.getsockname()[1]
            self.base_url = f"{'https' if tls else 'http'}://{host}:{self.port}/v1"
        if tls is not None:
            listeners = [trio.SSLListener(listener, tls, https_compatible=True) for listener in listeners]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self.serve_connection, listeners)
            task_status.started(self.base_url)

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serve the requests of one connection, whatever kind of stream it is, and close it."""
        self.connections += 1
        self.connections_open += 1
        try:
            await Connection(self, stream, self.connections).run()
        finally:
            self.connections_open -= 1
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def running(
    *,
    script: object = None,
    models: Sequence[str] = (MODEL,),
    clock: Callable[[], float] = time.monotonic,
    tls: ssl.SSLContext | None = None,
    unix: str | None = None,
    seed: int = 0,
) -> AsyncIterator[ScriptedUpstream]:
    """Run a scripted upstream on a free loopback port (or a Unix socket) for the length of the block."""
    server = ScriptedUpstream(script=script, models=models, clock=clock, seed=seed)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, tls=tls, unix=unix))
        yield server
        nursery.cancel_scope.cancel()


async def _main(arguments: argparse.Namespace) -> None:
    script = json.loads(arguments.script.read_text()) if arguments.script else SCRIPTS.get(arguments.fault)
    server = ScriptedUpstream(script=script, models=arguments.model or (MODEL,), seed=arguments.seed)
    with trio.open_signal_receiver(signal.SIGINT) as interrupts:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.serve, port=arguments.port, unix=arguments.unix))
            if arguments.follow_stdin:
                nursery.start_soon(_end_with_stdin, nursery.cancel_scope)
            print(json.dumps({"port": server.port, "base_url": server.base_url}), flush=True)
            await anext(interrupts)
            nursery.cancel_scope.cancel()


async def _end_with_stdin(scope: trio.CancelScope) -> None:
    # The abandoned read holds nothing but its thread, which ends with the process.
    await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
    scope.cancel()


def main() -> None:
    """Run the scripted upstream as a process."""
    parser = argparse.ArgumentParser(prog="python -m bench.upstream", description="The scripted upstream.")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1 (0: any free one)")
    parser.add_argument("--unix", help="listen on this Unix socket instead")
    parser.add_argument("--script", type=Path, help="JSON file: the default script")
    parser.add_argument("--fault", choices=SCRIPTS, metavar="NAME", help="a failure of README's table instead")
    parser.add_argument("--model", action="append", help="a model to list (may be repeated)")
    parser.add_argument("--seed", type=int, default=0, help="decides what the script leaves to chance")
    parser.add_argument("--follow-stdin", action="store_true", help="exit when stdin closes")
    trio.run(_main, parser.parse_args())


if __name__ == "__main__":
    main()
