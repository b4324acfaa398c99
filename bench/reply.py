"""One response of the scripted upstream: performs a checked script on a connection.

h11 frames everything that is meant to be correct; faults are raw bytes beside it, because h11 rightly refuses to write
them. What remains to be done with the connection afterwards (keep, close, reset) is the return value of `perform`: the
owner of the stream acts on it, so that nothing closes a stream that another task is reading.

What a script leaves to chance is drawn from the upstream's seed and the request's own seed (else its number in order
of arrival): the same request meets the same fate, whenever it comes and whatever came before it.

The usual answers say what arrived: their header x-received-digest is the SHA-256 of the request's body, in hex.

A peer that is gone shows as trio.BrokenResourceError from any method that writes. Cancellation is safe at every point,
and leaves the response cut where it was.
"""

import json
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from itertools import islice
from math import log
from random import Random

import h11
import msgspec
import trio

from bench import answers
from bench.dialects import Event
from bench.playbook import JSON_HEADERS, Call
from bench.script import Script, Step, Verb, walk

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
GARBAGE = "\x00\xff not HTTP at all \r\n\r\n\x01"
DIGEST_HEADER = "x-received-digest"
_EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class State(Enum):
    """How far the response has come."""

    EMPTY = "nothing written"
    FRAMED = "head written, h11 frames the body"
    BARE = "written without framing: only the end of the connection ends it"
    COMPLETE = "all written"


class After(Enum):
    """What becomes of the connection."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"


class Reply:
    """The response to one request, and the hand that writes it.

    `call` is the request understood, `digest` that of its body, `number` tells this server's answers apart, `gate`
    gives the event that a `wait` step waits for, `seed` is the upstream's.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        connection: h11.Connection,
        *,
        call: Call,
        digest: str,
        number: int,
        gate: Callable[[str], trio.Event],
        seed: int = 0,
    ) -> None:
        self.state = State.EMPTY
        self.body_bytes = 0
        self._stream = stream
        self._connection = connection
        self._dialect = call.dialect
        self._asked = call.asked
        self._received = {DIGEST_HEADER: digest}
        self._events = 0
        self._number = number
        self._gate = gate
        self._seed = seed
        self._dice: Random | None = None
        self._newline = b"\n"
        self._write_bytes: int | None = None
        self._gzip: zlib._Compress | None = None
        self._after = After.KEEP
        self._announce_close = False
        self._verbs: dict[Verb, Callable[[Step], Awaitable[None]]] = {
            Verb.STATUS: self._status,
            Verb.ERROR: self._error,
            Verb.HEAD: self._head,
            Verb.ANSWER: self._answer,
            Verb.SEND: lambda step: self.body(step.value.encode()),
            Verb.EVENT: lambda step: self.event(_json(step.value), name=step.options.get("name")),
            Verb.COMMENT: lambda step: self._lines(b": " + step.value.encode()),
            Verb.DONE: lambda _: self.event("[DONE]"),
            Verb.INFORMATIONAL: self._informational,
            Verb.SLEEP: self._sleep,
            Verb.WAIT: lambda step: self._gate(step.value).wait(),
            Verb.NEWLINE: self._set_newline,
            Verb.WRITE_BYTES: self._set_write_bytes,
            Verb.GZIP: self._set_gzip,
            Verb.GARBAGE: self._garbage,
            Verb.CLOSE_AFTER_RESPONSE: self._close_after_response,
            Verb.STALL: self._stall,
            Verb.CLOSE: lambda _: self._end(After.CLOSE),
            Verb.RESET: lambda _: self._end(After.RESET),
            Verb.CHUNKED_CUT: self._chunked_cut,
            Verb.CONTENT_LENGTH_CUT: self._content_length_cut,
        }

    async def perform(self, script: Script) -> After:
        """Perform the steps and complete the response; return what becomes of the connection.

        A terminal step leaves the response as it is. A script that wrote nothing gives the usual answer.
        """
        terminal = {Verb.CLOSE, Verb.RESET, Verb.CHUNKED_CUT, Verb.CONTENT_LENGTH_CUT}
        for step in walk(script, lambda: self._random().random()):
            await self._verbs[step.verb](step)
            if step.verb in terminal:
                return self._after
        if self.state is State.EMPTY:
            await self.answer(answers.Options())
        await self.finish()
        return self._after

    async def head(self, status: int, headers: Headers, *, close_delimited: bool = False) -> None:
        """Begin a response: chunked unless the headers hold a content-length or `close_delimited` asks for neither."""
        pairs = _pairs(headers)
        if self._gzip is not None:
            pairs.append(("content-encoding", "gzip"))
        if self._announce_close or close_delimited:
            pairs.append(("connection", "close"))
        if close_delimited:
            self.state = State.BARE
            self._after = After.CLOSE
            lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
            await self.raw(f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode("latin-1"))
            return
        await self._send(h11.Response(status_code=status, headers=pairs, reason=b"Scripted"))
        self.state = State.FRAMED

    async def body(self, data: bytes) -> None:
        """Write a piece of the body, beginning an event stream when there is no head yet."""
        if self.state is State.EMPTY:
            await self.head(200, _EVENT_STREAM)
        if self._gzip is not None:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        self.body_bytes += len(data)
        if self.state is State.BARE:
            await self.raw(data)
        else:
            await self._send(h11.Data(data=data))

    async def event(self, text: str, *, name: str | None = None) -> None:
        """Write one server-sent event with the newline in force."""
        self._events += 1
        lines = [b"data: " + line for line in text.encode().split(b"\n")]
        await self._lines(*([b"event: " + name.encode()] if name else []), *lines)

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Write one complete response with its length."""
        if self._gzip is not None:
            body = self._gzip.compress(body) + self._gzip.flush()
        pairs = [*_pairs(headers), ("content-length", str(len(body)))]
        await self.head(status, pairs)
        self.body_bytes += len(body)
        await self._send(h11.Data(data=body), h11.EndOfMessage())
        self.state = State.COMPLETE

    async def answer(self, options: answers.Options) -> None:
        """Give the usual answer, streamed when the request asks for it; one that is cut is left to the next steps."""
        answer = answers.compose(self._asked, options, self._number)
        first = options.interval_ms if options.ttft_ms is None else options.ttft_ms
        if self._asked.stream:
            await self._begin_stream()
            until = None if options.cut_after is None else options.cut_after + 1
            for position, events in enumerate(islice(self._dialect.beats(answer), until)):
                if position:
                    await self._pause(first if position == 1 else options.interval_ms)
                await self._write(events)
            return
        await self._pause(first)
        body = self._dialect.document(answer).encode()
        if options.cut_after is None:
            await self.whole(200, JSON_HEADERS | self._received, body)
        else:
            await self.head(200, JSON_HEADERS | self._received)
            await self.body(body[: len(body) // 2])

    async def finish(self) -> None:
        """Complete a response that has begun; a bare one is completed by the end of its connection."""
        if self.state is State.FRAMED:
            if self._gzip is not None:
                await self._send(h11.Data(data=self._gzip.flush()))
            await self._send(h11.EndOfMessage())
            self.state = State.COMPLETE

    async def raw(self, data: bytes) -> None:
        """Write bytes as they are, in pieces of `write_bytes` when that is set."""
        size = self._write_bytes or max(1, len(data))
        for start in range(0, len(data), size):
            await self._stream.send_all(data[start : start + size])

    async def _send(self, *events: h11.Response | h11.InformationalResponse | h11.Data | h11.EndOfMessage) -> None:
        await self.raw(b"".join(self._connection.send(event) or b"" for event in events))

    async def _lines(self, *lines: bytes) -> None:
        await self.body(self._newline.join(lines) + self._newline * 2)

    async def _status(self, step: Step) -> None:
        headers, body = _pairs(step.options.get("headers", {})), step.options.get("body")
        if body is None:
            code = step.options.get("code")
            body = json.loads(self._dialect.error(step.value, "A scripted failure.", code=code))
        text = body if isinstance(body, str) else _json(body)
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("content-type", "text/plain" if isinstance(body, str) else "application/json"))
        await self.whole(step.value, headers, text.encode())

    async def _head(self, step: Step) -> None:
        headers = step.value.get("headers", _EVENT_STREAM)
        await self.head(
            step.value.get("status", 200), headers, close_delimited=step.value.get("close_delimited", False)
        )

    async def _error(self, step: Step) -> None:
        """Write an error inside of a 200: all of a unary answer, the end of a stream."""
        asked, code = self._asked, step.options.get("code")
        message = step.options.get("message", "A scripted failure.")
        if not asked.stream:
            body = self._dialect.failure_document(asked, step.value, message, code)
            await self.whole(200, JSON_HEADERS, body.encode())
            return
        await self._begin_stream()
        await self._write(self._dialect.failure_events(asked, step.value, message, code, position=self._events))

    async def _begin_stream(self) -> None:
        if self.state is State.EMPTY:
            await self.head(200, (JSON_HEADERS if self._asked.array else _EVENT_STREAM) | self._received)

    async def _write(self, events: list[Event]) -> None:
        for event in events:
            if event.raw:
                self._events += 1
                await self.body(event.text.encode())
            else:
                await self.event(event.text, name=event.name)

    async def _answer(self, step: Step) -> None:
        await self.answer(msgspec.convert({} if step.value is True else step.value, answers.Options))

    async def _informational(self, step: Step) -> None:
        pairs = _pairs(step.options.get("headers", {}))
        await self._send(h11.InformationalResponse(status_code=step.value, headers=pairs, reason=b"Scripted"))

    async def _garbage(self, step: Step) -> None:
        self.state = State.BARE
        self._after = After.CLOSE
        await self.raw((GARBAGE if step.value is True else step.value).encode("latin-1"))

    async def _chunked_cut(self, step: Step) -> None:
        """Leave a chunked body without its last chunk, or in the middle of a chunk of the announced length."""
        if self.state is State.EMPTY:
            await self.head(200, _EVENT_STREAM)
        if step.value is not True:
            await self.raw(f"{step.value:x}\r\n".encode() + b"x" * (step.value // 2))
        await self._end(After.CLOSE)

    async def _content_length_cut(self, step: Step) -> None:
        """Announce the whole answer and send its first n bytes."""
        body = step.options.get("body")
        if body is None:
            body = self._dialect.document(answers.compose(self._asked, answers.Options(), self._number))
        data = (body if isinstance(body, str) else _json(body)).encode().ljust(step.value + 1)
        await self.head(200, {"content-type": "application/json", "content-length": str(len(data))})
        await self.body(data[: step.value])
        await self._end(After.CLOSE)

    async def _close_after_response(self, step: Step) -> None:
        self._after = After.CLOSE
        self._announce_close = step.value is True

    async def _set_newline(self, step: Step) -> None:
        self._newline = step.value.encode()

    async def _set_write_bytes(self, step: Step) -> None:
        self._write_bytes = step.value

    async def _set_gzip(self, _: Step) -> None:
        self._gzip = zlib.compressobj(wbits=31)

    async def _sleep(self, step: Step) -> None:
        law = isinstance(step.value, dict)
        await self._pause(msgspec.convert(step.value, answers.Law) if law else step.value)

    async def _stall(self, _: Step) -> None:
        await trio.sleep_forever()

    async def _pause(self, pause: float | answers.Law) -> None:
        if isinstance(pause, answers.Law):
            pause = min(self._random().lognormvariate(log(pause.median), pause.sigma), pause.max)
        if pause:
            await trio.sleep(pause / 1000)

    async def _end(self, after: After) -> None:
        self._after = after

    def _random(self) -> Random:
        if self._dice is None:
            own = self._number if self._asked.seed is None else self._asked.seed
            self._dice = Random(f"{self._seed}/{own}")
        return self._dice


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name, value) for name, value in pairs]
