"""One attempt: one request sent to one upstream, up to its first content and then read by read.

Decides how an attempt fails and which failures the client never sees: a kept-alive connection that turns out dead
before a byte of the answer arrived is replaced by a fresh one, once. It does not decide how long to wait, whether to
try elsewhere, or what to tell the client: it is told `until` when, or cancelled, and failures leave as `UpstreamError`
or, when the upstream refused the request itself, `ClientError`.

Every wait is resumable: a cancelled `wait_content` or `receive` loses no byte and may be called again, which is how a
keep-alive comment is sent while an upstream thinks, and so does one that raises `Due` at the time it was given. Whoever
opens an attempt calls `close()` in a `finally`.
"""

import contextlib
import zlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from math import inf

import trio

from adapters.dialects import StreamTap
from adapters.errors import ClientError, Failure, GatewayError, Kind, UpstreamError
from engine.alarms import Alarms, Due
from engine.exchange import AttemptRecord
from engine.http1 import ProtocolError, ResponseParser
from engine.net import Broken, ConnectError, Stream
from engine.pool import Lease, PoolFull
from engine.route import Candidate
from engine.upstream_failures import BROKEN_CAUSES, broken, no_connection
from engine.upstream_stages import TRANSITIONS, Stage

ERROR_BODY_BYTES_MAX = 1 << 20
"""How much of an upstream's error answer is read; more is cut, since only its envelope is wanted."""

ERROR_BODY_SECONDS_MAX = 5.0
REPLAY_SECONDS_MAX = 1.0
"""How long after sending a break still means that the connection had died while idle."""

UNFINISHED = "cancelled"
"""What became of an attempt of which nothing else is known: somebody stopped waiting for it."""

DRAIN_SECONDS_MAX = 0.05
"""How long a finished stream waits for its last chunk so that the connection can be used again."""


# Bound once: on Python 3.11 a look-up of a member in its class takes ten times as long as one in the module.
_CONNECT, _SEND, _HEAD, _REFUSED, _BODY, _ENDED, _CLOSED = Stage

NO_ANSWER = ResponseParser(head_bytes_max=1)
"""Stands for the parser before there is a connection; never fed."""


class Attempt:
    """One try of one candidate. Not concurrent; `close()` at any moment, any number of times."""

    __slots__ = (
        "_alarms",
        "_answer_started",
        "_early",
        "_inflate",
        "_lease",
        "_message",
        "_parser",
        "_sent_at",
        "_unsent",
        "candidate",
        "ended",
        "head_bytes_max",
        "now",
        "ready",
        "record",
        "stage",
        "started",
        "tap",
    )

    def __init__(
        self,
        candidate: Candidate,
        message: bytes,
        *,
        head_bytes_max: int,
        tap: StreamTap | None,
        now: Callable[[], float] = trio.current_time,
        alarms: Alarms | None = None,
    ) -> None:
        """`alarms` are those of the worker; without, each time limit of a read is a cancel scope."""
        self.candidate = candidate
        self._alarms = alarms or Alarms()
        self.head_bytes_max = head_bytes_max
        self.tap = tap
        self.ready: list[bytes] = []
        self.record = AttemptRecord(candidate.provider, candidate.model, candidate.kind)
        self.stage = _CONNECT
        self.now = now
        self.started = self.ended = now()
        self._message = message
        self._unsent: bytes | memoryview = message
        self._lease: Lease | None = None
        self._parser = NO_ANSWER
        self._sent_at = inf
        self._answer_started = False
        self._early = b""
        self._inflate: zlib._Decompress | None = None

    def __repr__(self) -> str:
        return f"<Attempt {self.candidate.provider}/{self.candidate.model} {self.stage.name} {self._lease!r}>"

    def streaming(self) -> bool:
        """Whether more of the answer is to come."""
        return self.stage is _BODY

    # -- the verbs --

    async def wait_head(self, until: float = inf) -> None:
        """Connect, send and wait for a 2xx head. Raises `UpstreamError`, `ClientError`, `Due` at `until`; resumable."""
        while self.stage is not _BODY:
            try:
                # A request passes straight through the first three stages; the table watches over the rest.
                if self.stage is _CONNECT:
                    self._begin(self._idle_connection() or await self._open(until))
                lease, parser = self._lease, self._parser
                assert lease is not None
                if self.stage is _SEND:
                    while not self._send(lease.stream):
                        await self._wait_writable(lease.stream, until)
                    self._sent_at = self.now()
                    self.stage = _HEAD
                if self.stage is _HEAD:
                    while parser.status is None:
                        self._early = self._feed(await self._receive(until))
                    self._take_head(parser.status)
                if self.stage is _REFUSED:
                    raise await self._refused(until)
            except (Broken, ProtocolError, zlib.error) as exc:
                if not self._replace_dead_connection():
                    raise self._broken(exc) from exc

    async def wait_content(self, until: float = inf) -> None:
        """Wait for the first content of a stream, keeping what may be forwarded in `ready`.

        Returns at content or at a proper end. Raises `UpstreamError` on a cut, or an answer that ends before it said
        anything, and on an in-band error that or `ClientError`; `Due` at `until`; resumable.
        """
        if not self.streaming():
            await self.wait_head(until)
        tap = self.tap
        assert tap is not None
        while not tap.content and self.streaming():
            data = await self.receive(until)
            if data:
                self.ready.append(data)
            if tap.failure is not None:
                raise self.in_band(tap.failure)

    async def receive(self, until: float = inf) -> bytes:
        """Return what one read of the stream lets through, b"" when it is nothing; `stage` says when it ended.

        After the end `tap.failure` tells whether it was a proper one. Raises `UpstreamError` when the connection broke
        or spoke garbage, `Due` at `until`. Then, or cancelled while waiting: nothing is lost.
        """
        tap = self.tap
        assert tap is not None
        try:
            body = self._early
            if not body and not self._parser.complete:
                body = self._decode(await self._receive(until))
        except (Broken, ProtocolError, zlib.error) as exc:
            if not tap.finished:
                raise self._broken(exc) from exc
            # The answer had said that it was finished: what broke afterwards is no loss to the client.
            return self.finish()
        self._early = b""
        forward = tap.feed(body) if body else b""
        if tap.done or tap.failure is not None:
            self._become(_ENDED)
        elif self._parser.complete:
            self._become(_ENDED)
            forward += tap.end()
        return forward

    def finish(self) -> bytes:
        """End a stream whose tap has terminal evidence, whatever is still missing; return what is left to forward."""
        assert self.tap is not None
        self._become(_ENDED)
        return self.tap.end()

    async def read_whole(self, bytes_max: int, until: float = inf) -> bytes:
        """Return the whole body of a unary answer. Raises `UpstreamError`, `Due` at `until`; resumable."""
        body: bytes | None = self._early
        if not self._parser.complete or self.ready or len(self._early) > bytes_max:
            # Seldom: most answers have come whole, in one read with their heads.
            try:
                body = await self._read_body(bytes_max, until)
            except (Broken, ProtocolError, zlib.error) as exc:
                raise self._broken(exc) from exc
        if body is None:
            message = f"the answer of {self.candidate.provider} is longer than {bytes_max} bytes"
            raise self.failed(Failure(502, Kind.UPSTREAM, message, code="answer_too_large"), cause="oversize")
        self._become(_ENDED)
        return body

    async def settle(self) -> None:
        """After a finished stream: wait a moment for its last chunk, so that the connection can be used again."""
        if self.stage is not _ENDED or self._parser.complete or self._lease is None:
            return
        with trio.move_on_after(DRAIN_SECONDS_MAX):
            try:
                while not self._parser.complete:
                    self._decode(await self._lease.stream.receive())
            except (Broken, ProtocolError, zlib.error):
                self._lease.close()

    def close(self) -> bool:
        """Give the connection back when its answer is complete, close it otherwise; write the record's duration.

        Returns whether that was still to do.
        """
        if self.stage is _CLOSED:
            return False
        if self.stage is _ENDED and self.record.cause == UNFINISHED:
            self.record.cause = "ok"
        self._become(_CLOSED)
        self.ended = now = self.now()
        self.record.seconds = now - self.started
        if self._lease is not None:
            self._lease.release(reusable=self._parser.reusable, now=now)
        return True

    @property
    def is_sent(self) -> bool:
        """Whether the whole request has left: an upstream may bill what it has got."""
        return self._sent_at < inf

    @property
    def answer(self) -> ResponseParser:
        """The head of the upstream's answer."""
        return self._parser

    def failed(self, failure: Failure, *, cause: str, retryable: bool = True) -> UpstreamError:
        """Note `cause` in the record and return the error to raise."""
        self.record.cause = cause
        return UpstreamError(failure, cause=cause, retryable=retryable)

    def in_band(self, failure: Failure) -> GatewayError:
        """Note what is wrong inside of a 2xx answer; return the error to raise while nothing was sent.

        Its provider judges it as it does an error answer: the request's fault is a `ClientError`, what another attempt
        may cure a retryable `UpstreamError`.
        """
        failure, retryable = self.candidate.endpoint.judge(failure)
        return self._judged(failure, cause=BROKEN_CAUSES.get(failure.code or "", "in_band"), retryable=retryable)

    # -- the stages --

    def _idle_connection(self) -> Lease | None:
        # A second connection for the same attempt is always a fresh one: the other idle ones may have died together.
        if self._lease is not None:
            return None
        endpoint = self.candidate.endpoint
        return endpoint.pool.lease_nowait(endpoint.origin, self.started)

    def _begin(self, lease: Lease) -> None:
        """Start anew on a connection: nothing is sent, and nothing of an answer is there."""
        self._lease = lease
        parser = lease.parser
        if parser is None:
            parser = lease.parser = ResponseParser(head_bytes_max=self.head_bytes_max)
        else:
            parser.reset()
        self._parser = parser
        self.record.reused = lease.reused
        self._unsent = self._message
        self.stage = _SEND

    async def _open(self, until: float) -> Lease:
        candidate = self.candidate
        try:
            with trio.move_on_at(until), trio.fail_after(candidate.timeouts.connect_seconds):
                return await candidate.endpoint.pool.open(candidate.endpoint.origin)
        except (PoolFull, trio.TooSlowError, ConnectError) as exc:
            failure, cause = no_connection(candidate.provider, exc, candidate.timeouts.connect_seconds)
            raise self.failed(failure, cause=cause) from exc
        raise Due

    async def _wait_writable(self, stream: Stream, until: float) -> None:
        with trio.move_on_at(until):
            return await stream.wait_writable()
        raise Due

    def until(self, at: float) -> AbstractContextManager[object]:
        """Return a block of `receive`s, and nothing else that waits, that is left at that time."""
        assert self._lease is not None
        return self._alarms.until(self._lease.stream, at)

    def _receive(self, until: float) -> Awaitable[bytes]:
        """Read from the connection, which is there."""
        assert self._lease is not None
        stream = self._lease.stream
        return stream.receive() if until == inf else self._alarms.receive(stream, until)

    def _send(self, stream: Stream) -> bool:
        """Hand over what the connection takes of the request; tell whether that was all that is left of it."""
        unsent = self._unsent
        try:
            sent = stream.send_nowait(unsent)
        except Broken:
            # An upstream may refuse a long body early, answer and close: its answer matters more than our broken pipe.
            # When there is none, the read that follows reports the breakage.
            self.record.cause = "reset"
            return True
        if sent == len(unsent):
            return True
        self._unsent = memoryview(unsent)[sent:]
        return False

    def _take_head(self, status: int) -> None:
        self.record.cause = UNFINISHED
        self.record.status = status
        self.stage = _BODY if 200 <= status < 300 else _REFUSED
        encoding = self._parser.get(b"content-encoding")
        if encoding is None or encoding in {b"", b"identity"}:
            return
        if encoding in {b"gzip", b"x-gzip", b"deflate"}:
            # We ask for identity, and some upstreams compress all the same. 32 + 15: zlib's "detect gzip or zlib".
            self._inflate = zlib.decompressobj(47)
            self._early = self._inflate.decompress(self._early)
        elif self.stage is _BODY:
            raise ProtocolError(502, "The answer has an encoding that was not asked for.")

    def _feed(self, data: bytes) -> bytes:
        """Take one read; b"" read means that the upstream closed, which must be the end of the answer."""
        if not data:
            self._parser.eof()
            return b""
        self._answer_started = True
        return self._parser.feed(data)

    def _decode(self, data: bytes) -> bytes:
        body = self._feed(data)
        return self._inflate.decompress(body) if self._inflate is not None and body else body

    async def _read_body(self, bytes_max: int, until: float) -> bytes | None:
        """Collect the body in `ready`; None when it grows beyond `bytes_max`."""
        if self._early:
            self.ready.append(self._early)
            self._early = b""
        length = sum(map(len, self.ready))
        while length <= bytes_max:
            if self._parser.complete:
                return b"".join(self.ready)
            data = self._decode(await self._receive(until))
            length += len(data)
            self.ready.append(data)
        return None

    async def _refused(self, until: float) -> GatewayError:
        """Read the error answer and let the provider say what it means.

        The status is known, and it matters more than the words: when the body breaks, stalls or does not end, what came
        of it has to do.
        """
        status = self._parser.status
        assert status is not None
        with trio.move_on_after(ERROR_BODY_SECONDS_MAX), contextlib.suppress(Broken, ProtocolError, zlib.error):
            await self._read_body(ERROR_BODY_BYTES_MAX, until)
        body = b"".join([*self.ready, self._early])[:ERROR_BODY_BYTES_MAX]
        failure, retryable = self.candidate.endpoint.classify(status, self._parser.headers, body)
        return self._judged(failure, cause="status", retryable=retryable)

    def _judged(self, failure: Failure, *, cause: str, retryable: bool) -> GatewayError:
        """Note `cause`; what was told is the request's fault unless another attempt may help or the status says so."""
        if retryable or failure.status >= 500:
            return self.failed(failure, cause=cause, retryable=retryable)
        self.record.cause = cause
        return ClientError(failure)

    def _replace_dead_connection(self) -> bool:
        """Go back to CONNECT when a kept-alive connection died while idle; true at most once an attempt.

        It shows when the request is sent, or at once afterwards. One that dies later had taken the request, and sending
        it again might have it answered, and billed, twice.
        """
        if self._answer_started or self._lease is None or not self._lease.reused:
            return False
        if self.now() - self._sent_at > REPLAY_SECONDS_MAX:
            return False
        self._lease.close()
        self._become(_CONNECT)
        return True

    def _broken(self, exc: Exception) -> UpstreamError:
        failure, cause = broken(
            self.candidate.provider, exc, answered=self._answer_started, cut=self._parser.closed_early
        )
        return self.failed(failure, cause=cause)

    def _become(self, stage: Stage) -> None:
        assert stage in TRANSITIONS[self.stage], f"{self.stage} -> {stage}"
        self.stage = stage
