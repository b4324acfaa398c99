"""`status.json`: what the supervisor tells the console, and the only thing it tells.

The supervisor replaces the file whenever something changed; the console reads it for every answer. Fields that a reader
does not know are ignored and those a writer does not know have defaults, so the two may differ by a version during an
upgrade. Nothing secret belongs here but `demo_key`, which `hedgerow demo` makes up and shows to everybody.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from engine.snapshots import write

FILE = "status.json"

SOCKET = "console.sock"
"""Where the console listens, in the same directory; workers get the whole path as `socket_path` of a tunnel."""

SOCKET_PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103
"""How long that path may be: `sun_path` without its terminator, by unix(7) and by the manual of macOS."""

SERVING = frozenset({"ready", "running", "draining"})
"""Worker states in which requests are served; any other state, known here or not, counts as down."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker slot and the process in it. `restarts` counts how often the slot had to be filled again."""

    slot: int
    incarnation: str
    pid: int | None = None
    state: str = "starting"
    restarts: int = 0

    @property
    def serving(self) -> bool:
        """Whether this worker takes or finishes requests."""
        return self.state in SERVING


class Model(msgspec.Struct, frozen=True):
    """A model name that clients may use, and who serves it."""

    id: str
    provider: str = ""


class Billing(msgspec.Struct, frozen=True, kw_only=True):
    """What of the prices' rules a visitor is told. Amounts in nano-dollars, ratios in parts per million.

    `tiers` are (spend in 30 days from which it holds, markup), ascending; `groups` is what each multiplies prices with.
    """

    tiers: Sequence[tuple[int, int]] = ()
    groups: Mapping[str, int] = {}
    top_up_nanos_min: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway at one moment.

    `start_time` is in seconds since 1970. `surfaces` are the dialects that are served, empty when it is not said.
    `clerk` is the incarnation of the process that books, empty while there is none.
    """

    version: str
    start_time: float
    workers: Sequence[Worker] = ()
    listen: Sequence[str] = ()
    models: Sequence[Model | str] = ()
    providers: Sequence[str] = ()
    surfaces: Sequence[str] = ()
    keys_required: bool = True
    demo_key: str | None = None
    billing: Billing = Billing()
    clerk: str = ""

    def model_rows(self) -> list[Model]:
        """Return the models, those listed as a bare name included."""
        return [Model(row) if isinstance(row, str) else row for row in self.models]

    def workers_serving(self) -> int:
        """Return how many workers serve."""
        return sum(worker.serving for worker in self.workers)


_decoder = msgspec.json.Decoder(Status)


def write_status(directory: Path, status: Status) -> None:
    """Replace `status.json` atomically. Raises OSError; then the old one stands."""
    write(directory / FILE, msgspec.json.encode(status))


def read_status(directory: Path) -> Status | None:
    """Read `status.json`; None while the supervisor has not written one.

    Raises msgspec.DecodeError when it is not a status, OSError when it cannot be read.
    """
    try:
        return _decoder.decode((directory / FILE).read_bytes())
    except FileNotFoundError:
        return None
