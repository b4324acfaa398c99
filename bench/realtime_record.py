"""What the scripted realtime server remembers of a session, for tests to assert on.

The rule: everything that came and everything that was sent is kept in order and as it was, frame by frame, unless the
server was told to forget frames (a long load); counts and charges are always kept. Tests wait for events by their type,
never by the clock.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import trio

from bench.realtime_usage import Charge


@dataclass(eq=False, slots=True)
class SessionRecord:
    """One handshake and what followed.

    `headers` have lower-case names, `protocol` is the subprotocol that was chosen. `heard` and `said` are frames, the
    counts by type hold every event of either direction. `close_code` and `close_reason` are the peer's: 1005 when its
    Close frame had no code, 1006 when there was none; None while the session is open or if it never was.
    """

    number: int
    target: str
    headers: list[tuple[str, str]]
    offered: list[str]
    protocol: str | None = None
    accepted: bool = False
    heard: list[str | bytes] = field(default_factory=list)
    said: list[str | bytes] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    charges: list[Charge] = field(default_factory=list)
    close_code: int | None = None
    close_reason: str = ""
    ended: trio.Event = field(default_factory=trio.Event)
    _passed: trio.Event = field(default_factory=trio.Event)

    def header(self, name: str) -> str | None:
        """Give a header's value, several joined by a comma, or None."""
        values = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(values) if values else None

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, the last of each name."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Give the client's events, decoded, all of them or those of one type; raises ValueError for other frames."""
        decoded = [json.loads(frame) for frame in self.heard]
        return [event for event in decoded if kind is None or event["type"] == kind]

    async def wait_passed(self, kind: str, count: int = 1) -> None:
        """Wait until so many events of a type have come or were sent. Cancelled, it leaves nothing behind."""
        while self.counts[kind] < count:
            await self._passed.wait()

    def passed(self, kind: str) -> int:
        """Count an event, and give how many of its type there are now."""
        self.counts[kind] += 1
        self._passed.set()
        self._passed = trio.Event()
        return self.counts[kind]

    def charge(self, charge: Charge) -> None:
        """Note what was said to be paid, once however often it is said."""
        if all((known.what, known.id) != (charge.what, charge.id) for known in self.charges):
            self.charges.append(charge)

    def summary(self) -> dict[str, Any]:
        """Give the record as GET /_sessions shows it."""
        frames = {
            name: [frame if isinstance(frame, str) else frame.hex() for frame in getattr(self, name)]
            for name in ("heard", "said")
        }
        plain = ("number", "target", "headers", "offered", "protocol", "accepted", "close_code", "close_reason")
        charges = msgspec.to_builtins(self.charges)
        return {name: getattr(self, name) for name in plain} | frames | {"charges": charges, "counts": self.counts}
