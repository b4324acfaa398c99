"""The supervisor: starts the workers, the clerk and the console, restarts what dies, reloads, drains.

One process that serves nothing itself and so has nothing to crash over. It owns the listening sockets (see
`engine.listeners`) and the runtime directory, and it tells a worker what to do over a channel (see `engine.control`),
never by signal. Signals are for people: SIGHUP reloads the configuration without dropping a stream, SIGTERM or one
SIGINT drains, a second SIGINT stops at once.
"""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import trio

from engine import snapshots
from engine.attendant import Attendant, Delays
from engine.config import Config, ConfigError, Problem, load_text, read
from engine.console.status import SOCKET, SOCKET_PATH_BYTES_MAX, Billing, Status, Worker, write_status
from engine.control import Channel, Command, Event, Message, Order
from engine.ephemeral import SECRET_BYTES
from engine.listeners import Bound, bind
from engine.processes import killed_at_last, make_runtime_directory, start_process
from engine.routes import GENERATIONS
from engine.version import VERSION

logger = logging.getLogger(__name__)

KILL_SECONDS = 5.0
"""What a process gets beyond its drain before it is killed."""

READ_BYTES = 4096
"""A read of a followed pipe: what comes there means nothing, only its end does."""


class StartError(Exception):
    """The server could not be started; the log says why."""


def _check_socket(path: Path) -> None:
    """Raise `StartError` when the console could not listen there: it would be started in vain, again and again."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_BYTES_MAX:
        raise StartError(
            f"the console cannot listen on {path}: that is {size} bytes, {SOCKET_PATH_BYTES_MAX} are the most that "
            "the system takes; set TMPDIR to a shorter path, or server.console = false"
        )


class State(Enum):
    """A process's state, as /api/status shows it."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DOWN = "down"


class Slot:
    """One worker position: its sockets stay, its processes come and go."""

    def __init__(self, number: int, sockets: tuple[socket.socket, ...]) -> None:
        self.number = number
        self.sockets = sockets
        self.incarnation = ""
        self.pid: int | None = None
        self.state = State.STARTING
        self.restarts = 0
        self.channel: Channel | None = None

    def __repr__(self) -> str:
        return f"<Slot {self.number} {self.state.value} pid={self.pid} restarts={self.restarts}>"


class Supervisor:
    """The processes of one server. `run()` returns when all of them ended; whatever happens, none is left behind."""

    def __init__(
        self,
        config: Config,
        config_text: str,
        *,
        workers: int | None = None,
        demo_key: str | None = None,
        data: Path | None = None,
        ready: Callable[[tuple[str, ...]], None] = lambda _: None,
    ) -> None:
        """`config` was read from `config_text`; `ready` gets the addresses once every worker serves.

        `data` is where the store lies, None where no accounts are kept.
        """
        self.config = config
        self.config_text = config_text
        self.workers = workers or config.server.workers
        self.demo_key = demo_key
        self.data = data
        self._ready = ready
        self._announced = False
        self._mute = False
        self.listen = config.server.listen
        self._secret = secrets.token_bytes(SECRET_BYTES)
        """What workers sign ephemeral keys with: such a key is good for one server, and for as long as it runs."""
        self.runtime = make_runtime_directory()
        self.start_time = int(time.time())
        self.models: list[str] = []
        self.draining = False
        self.drained = trio.Event()
        self.stopping = trio.CancelScope()
        self.bound: Bound | None = None
        self.slots: list[Slot] = []
        runtime = ("--runtime", str(self.runtime))
        self.console = Attendant("console", lambda _: ["engine.console", *runtime, *self._data_option()])
        self.clerk = Attendant(
            "clerk",
            lambda incarnation: ["engine.clerk", "--incarnation", incarnation, *runtime, *self._common_options()],
            first=lambda: Order(Command.CONFIGURE, self.config_text),
            born=self._write_status,
            gone=self._clerk_ended,
        )

    def __repr__(self) -> str:
        return f"<Supervisor {self.slots!r} {'draining' if self.draining else 'serving'}>"

    async def run(self, followed: int | None = None) -> None:
        """Bind and serve until told to end, or until the pipe `followed` (a descriptor) ends.

        Raises `ListenError` and, possibly in a group, `StartError`.
        """
        try:
            server = self.config.server
            if server.console:
                _check_socket(self.runtime / SOCKET)
            self.bound = bind(server.listen, self.workers, secure=server.tls is not None)
            self.slots = [Slot(number, sockets) for number, sockets in enumerate(self.bound.slots)]
            self._write_status()
            with self.stopping:
                await self._supervise(followed)
        finally:
            if self.bound is not None:
                self.bound.close()
            shutil.rmtree(self.runtime, ignore_errors=True)

    async def _supervise(self, followed: int | None) -> None:
        async with trio.open_nursery() as upkeep:
            await upkeep.start(self._obey_signals)
            if followed is not None:
                upkeep.start_soon(self._follow, followed)
            if self.config.server.console:
                upkeep.start_soon(self.console.keep)
            if self.data is not None:
                upkeep.start_soon(self.clerk.keep)
            async with trio.open_nursery() as workers:
                for slot in self.slots:
                    workers.start_soon(self._keep_worker, slot)
            await self.clerk.dismiss(Order(Command.DRAIN))
            upkeep.cancel_scope.cancel()

    def is_draining(self) -> bool:
        """Whether the server is on its way out: nothing is started any more."""
        return self.draining

    # -- processes --

    async def _keep_worker(self, slot: Slot) -> None:
        """Run a worker in `slot`, again and again until the server drains. Raises `StartError` if the first fails."""
        delays = Delays()
        while not self.is_draining():
            born = trio.current_time()
            code = await self._run_worker(slot)
            self._retire(slot.incarnation)
            if self.is_draining():
                return
            if not self._announced:
                raise StartError(f"a worker ended with code {code} before it was ready")
            delay = delays.after(trio.current_time() - born)
            logger.error(
                "worker %d (pid %s) ended with code %s; another starts in %g s", slot.number, slot.pid, code, delay
            )
            slot.restarts += 1
            await self._pause(delay)

    async def _run_worker(self, slot: Slot) -> int:
        """Start one worker and wait for its end, listening to what it tells. Cancelled: it is killed."""
        ours, theirs = socket.socketpair()
        slot.incarnation = f"{slot.number}-{secrets.token_hex(4)}"
        command = [
            *(sys.executable, "-m", "engine.worker", "--slot", str(slot.number), "--incarnation", slot.incarnation),
            *("--control-fd", str(theirs.fileno()), "--runtime", str(self.runtime)),
            *(part for sock in slot.sockets for part in ("--listen-fd", str(sock.fileno()))),
            *self._common_options(),
        ]
        descriptors = (theirs.fileno(), *(sock.fileno() for sock in slot.sockets))
        with theirs:
            process = await start_process(command, descriptors)
        slot.channel = Channel(ours, Message)
        slot.pid = process.pid
        self._set_state(slot, State.STARTING)
        async with killed_at_last(process):
            await slot.channel.send(Order(Command.CONFIGURE, self.config_text, self._secret))
            while True:
                message = await slot.channel.receive()
                if message is None:
                    break
                assert isinstance(message, Message)
                if message.event is Event.READY:
                    self._set_state(slot, State.READY)
                    if self.is_draining():
                        await slot.channel.send(Order(Command.DRAIN))
                    self._announce_when_ready()
                elif message.event is Event.MODELS:
                    self.models = message.models
                    self._write_status()
                else:
                    logger.info("worker %d: configuration %s", slot.number, message.event.value)
            channel, slot.channel = slot.channel, None
            await channel.aclose()
            code = await process.wait()
        self._set_state(slot, State.DOWN)
        return code

    def _common_options(self) -> tuple[str, ...]:
        config = () if self.config.path is None else ("--config", str(self.config.path))
        return (*config, *self._data_option())

    def _data_option(self) -> tuple[str, ...]:
        return () if self.data is None else ("--data", str(self.data))

    def _retire(self, incarnation: str) -> None:
        """Keep what a dead process counted. A full disk costs those counts, and nothing else."""
        try:
            snapshots.retire(self.runtime, incarnation)
        except OSError:
            logger.exception("the counts of %s are lost", incarnation)

    def _clerk_ended(self, incarnation: str) -> None:
        self._retire(incarnation)
        self._write_status()

    async def _pause(self, seconds: float) -> None:
        """Wait before a restart; a drain ends the wait, since nothing will be restarted then."""
        with trio.move_on_after(seconds):
            await self.drained.wait()

    def _announce_when_ready(self) -> None:
        assert self.bound is not None
        if not self._announced and all(slot.state is State.READY for slot in self.slots):
            self._announced = True
            self._ready(self.bound.addresses)

    # -- what people ask for --

    async def _obey_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    await self.reload()
                elif number == signal.SIGINT and self.draining:
                    logger.warning("stopping at once")
                    self.stopping.cancel()
                else:
                    await self.drain()

    async def _follow(self, fileno: int) -> None:
        """Drain when `fileno` is at its end: whoever held the other end of the pipe is gone, or wants us to go.

        It stays a blocking descriptor, for others may hold it too; one that cannot be waited for, as a file, is taken
        to be at its end.
        """
        with contextlib.suppress(OSError):
            while True:
                await trio.lowlevel.wait_readable(fileno)
                if not os.read(fileno, READ_BYTES):
                    break
        await self.drain()

    async def reload(self) -> None:
        """Let the workers take the configuration as it is now, when it is valid; the old one stays when it is not."""
        try:
            text = read(self.config.path)
            config = load_text(text, self.config.path, os.environ)
            self._check_reachable(config)
        except ConfigError as exc:
            logger.error("the new configuration is not valid, the old one stays: %s", exc)  # noqa: TRY400 - no traceback
            return
        for name in ("listen", "tls", "console", "access_log"):
            if getattr(config.server, name) != getattr(self.config.server, name):
                logger.warning("server.%s changed: that takes a restart", name)
        self.config, self.config_text = config, text
        for slot in self.slots:
            if slot.channel is not None:
                await slot.channel.send(Order(Command.RELOAD, text))
        await self.clerk.tell(Order(Command.RELOAD, text))
        self._write_status()

    def _check_reachable(self, config: Config) -> None:
        """Refuse to go without keys on sockets that others can reach: the addresses of the file are not those bound."""
        if not config.keys and not config.accounts.required and any(not address.private for address in self.listen):
            problem = "the last one is gone, and the server still listens beyond loopback: that takes a restart"
            raise ConfigError([Problem("keys", problem)])

    async def drain(self) -> None:
        """Stop accepting and let the streams under way end, for `drain_seconds` at most. Not up yet: stop at once."""
        if self.draining:
            return
        self.draining = True
        self.drained.set()
        if not self._announced:
            self.stopping.cancel()
            return
        seconds = self.config.server.drain_seconds
        logger.warning("draining: open streams have %g s; Ctrl-C again stops at once", seconds)
        self.stopping.deadline = trio.current_time() + seconds + KILL_SECONDS
        for slot in self.slots:
            # A worker that is still starting gets the order when it is ready to follow it.
            if slot.state is State.READY and slot.channel is not None:
                await slot.channel.send(Order(Command.DRAIN))
            self._set_state(slot, slot.state)
        # The last copies of the sockets: from here a new client is refused instead of waiting for nobody.
        assert self.bound is not None
        self.bound.close()

    # -- what the console sees --

    def _set_state(self, slot: Slot, state: State) -> None:
        slot.state = State.DRAINING if self.draining and state is not State.DOWN else state
        self._write_status()

    def _write_status(self) -> None:
        """Tell the console. A full disk or a removed directory costs the console its news, and nobody a stream."""
        try:
            write_status(self.runtime, self._status())
        except OSError:
            if not self._mute:
                logger.exception("status.json cannot be written: the console shows old news")
            self._mute = True
        else:
            self._mute = False

    def _status(self) -> Status:
        return Status(
            version=VERSION,
            start_time=self.start_time,
            workers=[
                Worker(
                    slot=slot.number,
                    incarnation=slot.incarnation,
                    pid=slot.pid,
                    state=slot.state.value,
                    restarts=slot.restarts,
                )
                for slot in self.slots
            ],
            listen=list(self.bound.addresses) if self.bound is not None else [],
            models=list(self.models),
            providers=list(self.config.providers),
            surfaces=list(GENERATIONS),
            keys_required=bool(self.config.keys) or self.config.accounts.required,
            billing=Billing(
                tiers=[(tier.spend_nanos, tier.markup_ppm) for tier in self.config.billing.tiers],
                groups={name: group.price_ratio_ppm for name, group in self.config.groups.items()},
            ),
            demo_key=self.demo_key,
            clerk=self.clerk.incarnation,
        )
