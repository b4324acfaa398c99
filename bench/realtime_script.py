"""The vocabulary of the scripted realtime server: what a session is to be, say, and suffer.

A session is a JSON object, or the struct `Session`; every field has the value of a server that is well:

    {"status": 429, "headers": {"retry-after": "2"}, "body": {...}}    the handshake is refused with a whole response
    {"handshake": "silent" | "leave" | "abort"}                       it is never answered; or the connection ends (RST)
    {"turns": [{...}, {...}]}                                         the responses, one turn each, then usual ones
    {"cues": [{...}, ...]}                                            what happens beside the protocol, and when
    {"vad_bytes": 9600, "read_interval_ms": 5, "fragments": 3, "rate_limits": false}

A turn says how one response differs from the usual one:

    {"kind": "text" | "audio" | "function", "deltas": 40, "interval_ms": 20, "audio_bytes": 4800}
    {"text": "said word by word"}   {"name": "get_time", "arguments": "{}"}
    {"hold_after": 2, "gate": "go"}     after so many deltas: until it is interrupted, or the gate opens
    {"status": "failed", "code": "server_error"}   {"status": "incomplete", "reason": "content_filter"}
    {"usage": {...}}   {"usage": null}   {"done_times": 2}            given usage; none; its end is sent twice

A cue follows an event, one that was sent or one that came (their types differ), or "handshake", the upgrade itself:

    {"after": "response.created", "count": 2, "do": "close", "code": 1011, "reason": "why"}   any code; null sends none
    {"after": "input_audio_buffer.append", "do": "abort"}             an RST; "leave": a FIN without a Close frame
    {"after": "handshake", "do": "quiet", "gate": "speak"}            says nothing, for good or until the gate opens
    {"after": "session.created", "do": "deaf", "gate": "hear"}        reads nothing, so that no ping is answered either
    {"after": "session.created", "do": "half_open"}                   both, for good: a peer whose network is gone
    {"after": ..., "do": "send", "frame": "text"}   {"do": "send", "binary": "00ff"}   {"do": "raw", "hex": "c100"}
    {"after": ..., "do": "malformed"}   {"after": ..., "do": "oversized", "size": 17000000}

The rule: a script is checked whole when it is given, so that a typo fails a test with its own words. Nothing here waits
or knows a socket.
"""

import re
from typing import Any, Literal

import msgspec

from bench.script import ScriptError

HANDSHAKE = "handshake"
MALFORMED_FRAME = bytes([0xC3, 0x00])
"""A frame with a reserved bit and a reserved opcode, which RFC 6455 (section 5.2) lets no endpoint accept."""

_WORD = re.compile(r"\s*\S+")
_WITH_GATE = frozenset({"quiet", "deaf"})

Kind = Literal["text", "audio", "function"]
Status = Literal["completed", "failed", "incomplete"]
Deed = Literal["close", "leave", "abort", "quiet", "deaf", "half_open", "send", "raw", "malformed", "oversized"]


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One response. `usage` None reports none; unset, it is counted from what was said (`bench.realtime_usage`)."""

    kind: Kind | None = None
    text: str | None = None
    deltas: int | None = None
    audio_bytes: int = 4800
    interval_ms: float = 0.0
    delay_ms: float = 0.0
    hold_after: int | None = None
    gate: str | None = None
    name: str = "example"
    arguments: str = '{"city":"Paris","days":3}'
    status: Status = "completed"
    reason: str = "content_filter"
    code: str = "server_error"
    usage: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    done_times: int = 1

    def pieces(self, usual: str) -> list[str]:
        """Give what is said, delta by delta: the text by words, or as many words as there are to be deltas."""
        if self.text is None and self.deltas is not None:
            return [f" word{number}" for number in range(1, self.deltas + 1)]
        return _WORD.findall(usual if self.text is None else self.text)

    def argument_pieces(self) -> list[str]:
        """Give the arguments of a call, delta by delta."""
        return re.findall(r".{1,8}", self.arguments, re.DOTALL)


class Cue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What happens once the `count`-th event of the type `after` has passed, in either direction."""

    after: str
    do: Deed
    count: int = 1
    code: int | None = None
    reason: str = ""
    gate: str | None = None
    frame: str | None = None
    binary: str | None = None
    hex: str = ""
    size: int = 0

    def __post_init__(self) -> None:
        if self.gate is not None and self.do not in _WITH_GATE:
            raise ValueError(f"{self.do!r} has no gate")
        if self.do == "send" and (self.frame is None) == (self.binary is None):
            raise ValueError("'send' takes either frame or binary")
        if self.do == "close" and self.reason and self.code is None:
            raise ValueError("a Close frame without a code has no room for a reason")
        if self.do == "oversized" and self.size < 1:
            raise ValueError("'oversized' takes a size in bytes")
        if self.code is not None and not 0 <= self.code <= 0xFFFF:
            raise ValueError("a close code has two bytes")
        bytes.fromhex(self.hex)
        bytes.fromhex(self.binary or "")


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One WebSocket, from its handshake to its end."""

    status: int | None = None
    headers: dict[str, str] = {}
    body: Any = None
    handshake: Literal["accept", "silent", "leave", "abort"] = "accept"
    turns: tuple[Turn, ...] = ()
    cues: tuple[Cue, ...] = ()
    vad_bytes: int = 9600
    read_interval_ms: float = 0.0
    fragments: int = 1
    rate_limits: bool = True

    def __post_init__(self) -> None:
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError("a refusal has a final status")
        if self.fragments < 1 or self.vad_bytes < 1:
            raise ValueError("fragments and vad_bytes are counted from 1")

    def turn(self, number: int) -> Turn:
        """Give the turn of the response with this number, counted from 0."""
        return self.turns[number] if number < len(self.turns) else Turn()


def parse_session(document: object) -> Session:
    """Check a session given as JSON objects (or made already); raises ScriptError with the place of the mistake."""
    if isinstance(document, Session):
        return document
    try:
        return msgspec.convert(document, Session)
    except msgspec.ValidationError as exc:
        raise ScriptError(f"not a session: {exc}") from exc
