"""What the scripted upstream is to play, and the record of what was asked of it. No sockets here.

A request's path says which dialect it speaks (`bench.dialects`), in which it is then answered, refusals included.
A request gets the script in its body's "x_script", else the next of the queue, else the default, else the usual answer.
Every request whose body is complete is recorded, in order of arrival, and its record tells later what became of it.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from typing import Any, NamedTuple

import trio

from bench import dialects
from bench.asked import Asked, UnreadableError
from bench.dialects import Dialect
from bench.script import Script, ScriptError, parse_script

Whole = tuple[int, dict[str, str], bytes]
JSON_HEADERS = {"content-type": "application/json"}


class Ending(Enum):
    """What became of a request."""

    OPEN = "open"
    COMPLETE = "complete"
    FAULT = "ended by the script"
    PEER_CLOSED = "peer closed"
    MALFORMED = "malformed"


@dataclass(eq=False, slots=True)
class Record:
    """One request as it arrived, and what became of it; times are of the playbook's clock, in seconds.

    `connection_request` counts the requests of its connection from 0, so that reuse shows. `ended` is set once the
    response is complete, or cut by the script, or the peer has gone.
    """

    number: int
    connection: int
    connection_request: int
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    started_s: float
    ending: Ending = Ending.OPEN
    ended_s: float | None = None
    peer_closed_s: float | None = None
    body_bytes_sent: int = 0
    ended: trio.Event = field(default_factory=trio.Event)

    def header(self, name: str) -> str | None:
        """Give a header's value, several joined by a comma, or None."""
        values = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(values) if values else None

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What is behind the path."""
        return self.target.partition("?")[2]

    @property
    def digest(self) -> str:
        """The body's SHA-256, in hex."""
        return sha256(self.body).hexdigest()

    @property
    def json(self) -> Any:
        """The decoded body; raises ValueError when it is none."""
        return json.loads(self.body)

    def summary(self) -> dict[str, Any]:
        """Give the record as GET /_log shows it."""
        names = [name for name in self.__slots__ if name not in {"ended", "body", "ending"}]
        return {name: getattr(self, name) for name in names} | {
            "body": self.body.decode(errors="backslashreplace"),
            "ending": self.ending.value,
        }


class Call(NamedTuple):
    """A request understood: in which dialect, what was asked, all its members, and the refusal if it is none."""

    dialect: Dialect = dialects.USUAL
    asked: Asked = Asked()
    fields: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it
    refusal: Whole | None = None


class Playbook:
    """The scripts to play, the gates that hold them, and the log.

    `clock` stamps the log: time.monotonic is shared by all processes of a machine; a test on a virtual clock passes
    trio.current_time. `seed` decides what scripts leave to chance.
    """

    def __init__(
        self, *, script: object, models: Sequence[str], clock: Callable[[], float] = time.monotonic, seed: int = 0
    ) -> None:
        self.log: list[Record] = []
        self.models = list(models)
        self.clock = clock
        self.seed = seed
        self._default: Script = ()
        self._queue: deque[Script] = deque()
        self._gates: dict[str, trio.Event] = {}
        self._arrival = trio.Event()
        self.set_default(script)

    def set_default(self, script: object) -> None:
        """Let every request without a script of its own get this one; None restores the usual answer."""
        self._default = () if script is None else parse_script(script)

    def enqueue(self, *scripts: object) -> None:
        """Give the next requests these scripts, one each; raises ScriptError and enqueues none when one is wrong."""
        self._queue.extend([parse_script(script) for script in scripts])

    def gate(self, name: str) -> trio.Event:
        """Give the event that the step {"wait": name} waits for; `.set()` opens it for good."""
        return self._gates.setdefault(name, trio.Event())

    async def wait_request(self, index: int = 0) -> Record:
        """Wait until the request with this index is in the log, and give it. Cancelled, it leaves nothing behind."""
        while len(self.log) <= index:
            await self._arrival.wait()
        return self.log[index]

    def add(self, record: Record) -> None:
        """Log a request that has arrived."""
        self.log.append(record)
        self._arrival.set()
        self._arrival = trio.Event()

    def script_for(self, request: dict[str, Any]) -> Script:
        """Give the script to play for a request; raises ScriptError when the request's own is wrong."""
        if "x_script" in request:
            return parse_script(request["x_script"])
        return self._queue.popleft() if self._queue else self._default

    def listing(self, record: Record) -> Whole:
        """Answer GET */models and */models/NAME, in the words of whose client asks."""
        path = record.path
        dialect = dialects.listing(path, record.query, dict(record.headers))
        if path.endswith("/models"):
            return 200, JSON_HEADERS, dialect.models(self.models).encode()
        name = path.rpartition("/models/")[2]
        if name in self.models:
            return 200, JSON_HEADERS, json.dumps(dialect.model(name)).encode()
        return 404, JSON_HEADERS, dialect.error(404, f"Nothing at {path}.", code="not_found").encode()

    def control(self, record: Record) -> Whole:
        """Perform a control request (`/_...`), which is not logged; raises ScriptError when there is none such."""
        match (record.method, record.path.split("/")[1:]):
            case ("GET", ["_log"]):
                return 200, JSON_HEADERS, json.dumps([entry.summary() for entry in self.log]).encode()
            case ("DELETE", ["_log"]):
                self.log.clear()
            case ("PUT", ["_script"]):
                self.enqueue(*record.json.get("queue", []))
                self.set_default(record.json.get("default"))
            case ("PUT", ["_gate", name]):
                self.gate(name).set()
            case _:
                raise ScriptError(f"no such control: {record.method} {record.target}")
        return 200, JSON_HEADERS, b"{}"


def decode(record: Record) -> Call:
    """Read a request for a generation; what is none has a refusal, in the words of its dialect."""
    spoken = dialects.spoken(record.path)
    dialect = spoken or dialects.USUAL

    def refused(status: int, message: str, param: str | None = None) -> Call:
        return Call(dialect, refusal=(status, JSON_HEADERS, dialect.error(status, message, param=param).encode()))

    if spoken is None:
        return refused(404, f"Invalid URL ({record.method} {record.target})")
    try:
        fields = record.json
    except ValueError:
        return refused(400, "We could not parse the JSON body of your request.")
    if not isinstance(fields, dict):
        return refused(400, "The body of your request is no JSON object.")
    try:
        return Call(dialect, dialect.read(fields, record.path, record.query), fields)
    except UnreadableError as exc:
        return refused(400, str(exc), exc.param)
