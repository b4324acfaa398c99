"""The console's process: `python -m engine.console --runtime DIR [--data DIR] [--control-fd N]`.

Serves the app on `console.sock` in the runtime directory, mode 0600. Ends gracefully on SIGTERM, and when the
descriptor it was given reads end-of-file: the supervisor holds the other end, so a console never outlives a supervisor
that died. With such a life line, SIGINT and SIGHUP are left to the supervisor, which gets them from a terminal too.
Over a socket, `ready` goes the other way once requests are served, and from then on a sign of life every second: one
that stops says that this process's loop does (`engine.attendant`).

With a data directory it opens the store there for the account API. A store that cannot be opened costs that API alone,
and is tried again for as long as the process lives.
"""

import argparse
import contextlib
import logging
import os
import signal
import socket
import stat
import sys
from functools import partial
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as serve_app
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

from engine.console.account import AccountApi
from engine.console.app import Console, create_app
from engine.console.status import SOCKET
from engine.control import BEAT_SECONDS
from engine.datadir import database
from store.interface import StoreError

logger = logging.getLogger(__name__)

GRACE_SECONDS = 3
"""How long answers under way may take at the end; they are pages, not streams."""

READY = b"ready\n"
ALIVE = b"alive\n"

WEBSOCKET_PING_SECONDS = 20
"""Nothing else would notice that the other end of an idle WebSocket is gone."""

OPEN_SECONDS_MAX = 3
"""How long the pages wait for the store, so that whoever is told `ready` finds accounts too."""

OPEN_AGAIN_SECONDS = 5

END_SECONDS_MAX = GRACE_SECONDS + 2
"""When the kernel ends the process whatever it waits for: Hypercorn shields a send to a client that does not read."""


async def serve(runtime: Path, listener: socket.socket, *, control: int | None, data: Path | None = None) -> None:
    """Serve on `listener`, which is taken over, until told to stop; accounts where there is a `data` directory."""
    stop = trio.Event()
    signals = {signal.SIGTERM, signal.SIGINT} if control is None else {signal.SIGTERM}
    console = Console(runtime)
    pages = create_app(console)
    config = hypercorn_config(listener)
    async with trio.open_nursery() as nursery:
        await nursery.start(wait_signal, signals, stop)
        if data is not None:
            accounts = AccountApi(console)
            accounts.mount(pages)
            tried = trio.Event()
            nursery.start_soon(keep_open, accounts, database(data), tried)
            with trio.move_on_after(OPEN_SECONDS_MAX):
                await tried.wait()
        if control is not None:
            nursery.start_soon(wait_end_of_file, control, stop)
        async with trio.open_nursery() as server:
            await server.start(partial(serve_app, ending_whole(pages), config, shutdown_trigger=stop.wait, mode="asgi"))
            if control is not None:
                nursery.start_soon(say_ready, control)
        nursery.cancel_scope.cancel()


async def keep_open(accounts: AccountApi, file: Path, tried: trio.Event) -> None:
    """Give the store in `file` to `accounts` until cancelled; set `tried` once it is open or could not be opened."""
    from store.db import open_store  # noqa: PLC0415 - brings a second event loop, which pages alone never need

    while True:
        try:
            async with open_store(file) as store:
                accounts.open(store)
                tried.set()
                try:
                    await trio.sleep_forever()
                finally:
                    accounts.close()
        except StoreError as exc:
            logger.warning("no accounts, trying again in %d s: %s", OPEN_AGAIN_SECONDS, exc)
            tried.set()
        await trio.sleep(OPEN_AGAIN_SECONDS)


def ending_whole(app: ASGIFramework) -> ASGIFramework:
    """Return `app` with the last message of every answer sent to its end.

    Hypercorn tells an application of the end of its answer while it is still handling that very message. Quart-Trio
    then cancels the task that is in the middle of it, and the connection is never closed: `connection: close` seems to
    be ignored (pgjones/hypercorn#330, seen with 0.18.0), and a tunnel would wait for the end of the answer.
    """

    async def shielded(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def send_whole(message: ASGISendEvent) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body")
            with trio.CancelScope(shield=last):
                await send(message)

        await app(scope, receive, send_whole)

    return shielded


async def say_ready(control: int) -> None:
    """Tell a supervisor that holds a socket, not a pipe, that requests are served, and that they still are."""
    word = READY
    while stat.S_ISSOCK(os.fstat(control).st_mode):
        # A supervisor that is gone: the end-of-file says so too. One that does not read has enough to read.
        with contextlib.suppress(OSError):
            os.write(control, word)
        word = ALIVE
        await trio.sleep(BEAT_SECONDS)


async def wait_signal(
    signals: set[signal.Signals], stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Set `stop` when one of `signals` arrives."""
    with trio.open_signal_receiver(*signals) as arrived:
        task_status.started()
        async for _ in arrived:
            stop_soon(stop)


async def wait_end_of_file(control: int, stop: trio.Event) -> None:
    """Set `stop` when nobody holds the other end of `control` any more; what is written to it means nothing."""
    os.set_blocking(control, False)
    while True:
        await trio.lowlevel.wait_readable(control)
        try:
            if not os.read(control, 4096):
                break
        except BlockingIOError:
            continue
        except ConnectionResetError:
            break
    stop_soon(stop)


def stop_soon(stop: trio.Event) -> None:
    """Set `stop`, and let the kernel end the process when that takes too long."""
    if not stop.is_set():
        signal.alarm(END_SECONDS_MAX)
        stop.set()


def listen(runtime: Path) -> socket.socket:
    """Bind the socket, in the place of one that a dead console left; only this user may connect. Raises OSError."""
    path = runtime / SOCKET
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        # Not chmod afterwards: in between anybody could connect.
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
    except OSError:
        listener.close()
        raise
    return listener


def hypercorn_config(listener: socket.socket) -> Config:
    """Return how Hypercorn serves: on that socket only, quiet, without telling what it is."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.include_server_header = False
    config.websocket_ping_interval = WEBSOCKET_PING_SECONDS
    config.graceful_timeout = GRACE_SECONDS
    config.shutdown_timeout = GRACE_SECONDS
    config.errorlog = logging.getLogger("hypercorn.error")
    config.loglevel = "WARNING"
    return config


def life_line(text: str) -> int:
    """Return `--control-fd` as an open pipe or socket; anything else could not be waited on."""
    descriptor = int(text)
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError as exc:
        raise argparse.ArgumentTypeError(f"{descriptor} is not open: {exc.strerror}") from exc
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        raise argparse.ArgumentTypeError(f"{descriptor} is neither a pipe nor a socket")
    return descriptor


def main() -> int:
    """Run the console; return 1 with one line on standard error when it cannot listen."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.console", description="Hedgerow's pages, /metrics and /api/status."
    )
    parser.add_argument(
        "--runtime", type=Path, required=True, help="directory with status.json and the workers' metrics"
    )
    parser.add_argument("--data", type=Path, help="directory of the store; without one there is no account API")
    parser.add_argument("--control-fd", type=life_line, help="end when this inherited pipe reads end-of-file")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s console %(levelname)s %(name)s: %(message)s")
    if arguments.control_fd is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        listener = listen(arguments.runtime)
    except OSError as exc:
        print(f"console: cannot listen on {arguments.runtime / SOCKET}: {exc.strerror or exc}", file=sys.stderr)
        return 1
    trio.run(partial(serve, arguments.runtime, listener, control=arguments.control_fd, data=arguments.data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
