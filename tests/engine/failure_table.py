"""What happens when an upstream fails, as data: one row a failure, which README shows and `test_failures` plays.

A row says what the upstream does (a script of `bench.script`, or an address where no upstream is), whether another
candidate is asked then, and what a client is told when there is none. Statuses and words are written out here and not
computed: what the code does about a failure is spread over health, race, taps and dialects, and this is what it has to
come to.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

UNARY, STREAM = "unary", "stream"
BOTH = (UNARY, STREAM)


class Then(Enum):
    """What the gateway does about a failure; the value is README's word for it."""

    NEXT = "asked"
    """Another candidate is asked, whose answer is all that the client sees."""
    REFUSED = "not asked"
    """The request is at fault: nobody else would judge it otherwise."""
    TOLD = "too late"
    """Part of the answer is with the client: an error in its stream, which ends."""
    MENDED = "not needed"
    """The same candidate answers all the same."""


class Place(Enum):
    """Where the failing candidate is."""

    SCRIPTED = "a scripted upstream"
    REFUSING = "a port where nobody listens"
    NAMELESS = "a name that does not resolve"
    PLAIN = "a port that speaks no TLS, asked for it"
    MUTE = "a port that accepts and never says a word, asked for TLS"


@dataclass(frozen=True)
class Words:
    """What a client without another candidate is told: the status, None in a stream, and each dialect's own word."""

    status: int | None
    code: str | None
    """`error.code` of Chat and Responses."""
    type: str
    """`error.type` of Messages."""
    word: str
    """`error.status` of Gemini."""

    def status_for(self, dialect: str) -> int | None:
        """Return the status in one dialect: 529 is an extension that only one of them has."""
        return 503 if self.status == 529 and dialect != "messages" else self.status

    def word_for(self, dialect: str) -> str | None:
        """Return the word of one dialect."""
        return {"messages": self.type, "gemini": self.word}.get(dialect, self.code)


@dataclass(frozen=True)
class Row:
    """One failure. `cause` is what the access log calls it."""

    failure: str
    then: Then
    cause: str
    words: Words | None = None
    script: list[dict[str, Any]] = field(default_factory=list)
    unary_script: list[dict[str, Any]] | None = None
    """Where a failure of an answer in one piece looks different."""
    forms: tuple[str, ...] = BOTH
    place: Place = Place.SCRIPTED
    before: tuple[list[dict[str, Any]], ...] = ()
    """Scripts of requests that come first, one each; the row's own is played once then."""
    timeouts: dict[str, float] = field(default_factory=dict)
    """Of the failing candidate, where the failure is one of time."""
    limits: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A name for the test."""
        return self.failure.replace("`", "")

    def script_for(self, form: str) -> list[dict[str, Any]]:
        """Return what the upstream plays."""
        return self.unary_script if form == UNARY and self.unary_script is not None else self.script


CHUNK: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
ROLE = {"event": {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}}
HEL = {"event": {**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hel"}}]}}
PARTIAL = "Hel"
"""What a client has got when the failure comes in the middle."""

HEARD = "heard"
"""The gate that is opened once the client has that: an error in one read with all before it is still a status."""

MIDDLE: list[dict[str, Any]] = [ROLE, HEL, {"wait": HEARD}]


def status(number: int, **error: Any) -> list[dict[str, Any]]:
    """Return the script of an error answer."""
    return [{"status": number, "body": {"error": {"message": "because", **error}}}]


def shown(rows: tuple[Row, ...]) -> Iterator[str]:
    """Yield README's table, line by line."""
    yield "| failure | another candidate | if there is none | Chat and Responses | Messages | Gemini |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        where = "" if row.forms == BOTH else f" ({row.forms[0]})"
        words = row.words
        if words is None:
            yield f"| {row.failure}{where} | {row.then.value} | the answer | | | |"
            continue
        told = "an error in the stream" if words.status is None else str(words.status)
        if words.status == 529:
            told = "529 to Messages, else 503"
        code = f"`{words.code}`" if words.code else "null"
        yield f"| {row.failure}{where} | {row.then.value} | {told} | {code} | `{words.type}` | `{words.word}` |"


UNREACHABLE = Words(502, "upstream_unreachable", "api_error", "UNAVAILABLE")
CUT = Words(502, "stream_incomplete", "api_error", "UNAVAILABLE")
CLOSED = Words(502, "upstream_closed", "api_error", "UNAVAILABLE")
UNREADABLE = Words(502, "upstream_protocol_error", "api_error", "UNAVAILABLE")
CREDENTIALS = Words(502, "upstream_credentials_refused", "api_error", "UNAVAILABLE")
SLOW = Words(504, "upstream_timeout", "timeout_error", "DEADLINE_EXCEEDED")
OVERLOADED = {"event": {"error": {"message": "because", "type": "overloaded", "code": "overloaded"}}}
HTML = [{"status": 200, "headers": {"content-type": "text/html"}, "body": "<html>Welcome</html>"}]
BIG = [{"answer": {"content": "x" * 5000}}]
STALL = {"stall": True}
SOON = 0.1


def in_band(words: Words) -> Words:
    """Return the same, told in the stream."""
    return Words(None, words.code, words.type, words.word)


ROWS: tuple[Row, ...] = (
    # -- no connection --
    Row("connection refused", Then.NEXT, "refused", UNREACHABLE, place=Place.REFUSING),
    Row("name not resolved", Then.NEXT, "dns", UNREACHABLE, place=Place.NAMELESS),
    Row("TLS handshake failed", Then.NEXT, "tls", UNREACHABLE, place=Place.PLAIN),
    Row(
        "connect timeout",
        Then.NEXT,
        "connect_timeout",
        Words(504, "upstream_connect_timeout", "timeout_error", "DEADLINE_EXCEEDED"),
        place=Place.MUTE,
        timeouts={"connect_seconds": SOON},
    ),
    Row(
        "kept-alive connection closed while idle",
        Then.MENDED,
        "ok",
        before=([{"answer": True}],),
        script=[{"reset": True}],
    ),
    # -- an error answer --
    Row("408", Then.NEXT, "status", Words(408, "timeout", "timeout_error", "CANCELLED"), status(408)),
    Row("409", Then.NEXT, "status", Words(409, None, "conflict_error", "ABORTED"), status(409)),
    Row(
        "429",
        Then.NEXT,
        "status",
        Words(429, "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        status(429),
    ),
    Row("500", Then.NEXT, "status", Words(500, "upstream_error", "api_error", "INTERNAL"), status(500)),
    Row("502", Then.NEXT, "status", Words(502, "upstream_error", "api_error", "UNAVAILABLE"), status(502)),
    Row("503", Then.NEXT, "status", Words(503, "overloaded", "overloaded_error", "UNAVAILABLE"), status(503)),
    Row("504", Then.NEXT, "status", Words(504, "timeout", "timeout_error", "DEADLINE_EXCEEDED"), status(504)),
    Row("529", Then.NEXT, "status", Words(529, "overloaded", "overloaded_error", "UNAVAILABLE"), status(529)),
    Row("401 (our credential)", Then.NEXT, "status", CREDENTIALS, status(401)),
    Row("403 (our credential)", Then.NEXT, "status", CREDENTIALS, status(403)),
    Row(
        "404, the upstream has no such model",
        Then.NEXT,
        "status",
        Words(404, "model_not_found", "not_found_error", "NOT_FOUND"),
        status(404, code="model_not_found"),
    ),
    Row("400", Then.REFUSED, "status", Words(400, None, "invalid_request_error", "INVALID_ARGUMENT"), status(400)),
    Row(
        "413",
        Then.REFUSED,
        "status",
        Words(413, "request_too_large", "request_too_large", "INVALID_ARGUMENT"),
        status(413),
    ),
    Row("422", Then.REFUSED, "status", Words(422, None, "invalid_request_error", "INVALID_ARGUMENT"), status(422)),
    Row(
        "400, content policy",
        Then.REFUSED,
        "status",
        Words(400, "content_filter", "invalid_request_error", "INVALID_ARGUMENT"),
        status(400, code="content_filter"),
    ),
    # -- a 200 that is none --
    Row(
        "error object in a 200",
        Then.NEXT,
        "in_band",
        Words(503, "overloaded", "overloaded_error", "UNAVAILABLE"),
        [{"status": 200, "body": {"error": {"message": "because", "type": "overloaded", "code": "overloaded"}}}],
    ),
    Row(
        "error as the first event",
        Then.NEXT,
        "in_band",
        Words(503, "overloaded", "overloaded_error", "UNAVAILABLE"),
        [ROLE, OVERLOADED],
        forms=(STREAM,),
    ),
    Row("empty 200", Then.NEXT, "garbage", UNREADABLE, [{"status": 200, "body": ""}], forms=(UNARY,)),
    Row("empty 200", Then.NEXT, "incomplete", CUT, [{"status": 200, "body": ""}], forms=(STREAM,)),
    Row(
        "no choice in the answer",
        Then.NEXT,
        "empty",
        Words(502, "empty_answer", "api_error", "UNAVAILABLE"),
        [{"event": {**CHUNK, "choices": []}}, {"done": True}],
        unary_script=[{"status": 200, "body": {"id": "c", "object": "chat.completion", "choices": []}}],
    ),
    Row("HTML in a 200", Then.NEXT, "garbage", UNREADABLE, HTML),
    Row("not HTTP", Then.NEXT, "garbage", UNREADABLE, [{"garbage": True}]),
    Row(
        "longer than `limits.answer_bytes_max`",
        Then.NEXT,
        "oversize",
        Words(502, "answer_too_large", "api_error", "UNAVAILABLE"),
        BIG,
        forms=(UNARY,),
        limits={"answer_bytes_max": 4000},
    ),
    Row(
        "first event longer than `limits.event_bytes_max`",
        Then.NEXT,
        "oversize",
        Words(502, "event_too_large", "api_error", "UNAVAILABLE"),
        [{"event": {**CHUNK, "choices": [{"index": 0, "delta": {"content": "x" * 5000}}]}}],
        forms=(STREAM,),
        limits={"event_bytes_max": 4000},
    ),
    Row("gzip that nobody asked for", Then.MENDED, "ok", script=[{"gzip": True}, {"answer": True}]),
    # -- cut short, or silent --
    Row("closed without a byte", Then.NEXT, "reset", CLOSED, [{"close": True}]),
    Row(
        "reset without a byte",
        Then.NEXT,
        "reset",
        Words(502, "upstream_reset", "api_error", "UNAVAILABLE"),
        [{"reset": True}],
    ),
    Row("ended before content", Then.NEXT, "incomplete", CUT, [ROLE], forms=(STREAM,)),
    Row(
        "cut before content",
        Then.NEXT,
        "incomplete",
        CUT,
        [ROLE, {"chunked_cut": True}],
        unary_script=[{"content_length_cut": 20}],
    ),
    Row(
        "stall before headers",
        Then.NEXT,
        "timeout",
        SLOW,
        [STALL],
        timeouts={"first_content_seconds": SOON, "unary_seconds": SOON},
    ),
    Row(
        "stall before content",
        Then.NEXT,
        "timeout",
        SLOW,
        [ROLE, {"comment": "processing"}, STALL],
        unary_script=[{"head": {"status": 200, "headers": {"content-type": "application/json"}}}, {"send": "{"}, STALL],
        timeouts={"first_content_seconds": SOON, "unary_seconds": SOON},
    ),
    # -- behind the first content --
    Row(
        "stall in the middle",
        Then.TOLD,
        "timeout",
        in_band(SLOW),
        [*MIDDLE, STALL],
        forms=(STREAM,),
        timeouts={"idle_seconds": SOON},
    ),
    Row("ended in the middle", Then.TOLD, "incomplete", in_band(CUT), MIDDLE, forms=(STREAM,)),
    Row("cut in the middle", Then.TOLD, "incomplete", in_band(CUT), [*MIDDLE, {"chunked_cut": True}], forms=(STREAM,)),
    Row(
        "reset in the middle",
        Then.TOLD,
        "reset",
        in_band(Words(502, "upstream_reset", "api_error", "UNAVAILABLE")),
        [*MIDDLE, {"reset": True}],
        forms=(STREAM,),
    ),
    Row(
        "error in the middle",
        Then.TOLD,
        "in_band",
        in_band(Words(503, "overloaded", "overloaded_error", "UNAVAILABLE")),
        [*MIDDLE, OVERLOADED],
        forms=(STREAM,),
    ),
    Row(
        "garbage in the middle",
        Then.TOLD,
        "garbage",
        in_band(UNREADABLE),
        [*MIDDLE, {"garbage": True}],
        forms=(STREAM,),
    ),
    Row(
        "event longer than `limits.event_bytes_max` in the middle",
        Then.TOLD,
        "oversize",
        in_band(Words(502, "event_too_large", "api_error", "UNAVAILABLE")),
        [*MIDDLE, {"event": {**CHUNK, "choices": [{"index": 0, "delta": {"content": "x" * 5000}}]}}],
        forms=(STREAM,),
        limits={"event_bytes_max": 4000},
    ),
)
