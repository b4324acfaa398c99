"""The hot loop: one upstream stream to one client.

Decides when a keep-alive comment is due, how long an upstream may stay silent, and how a stream ends: properly, or with
the client dialect's in-band error, never silently and never with a made-up ending. Per read: one receive, one feed, one
send. A client that does not read stops the upstream read, since both happen in this one task; a client that is gone
cancels it (see `engine.hangup`). It does not know what a stream's bytes mean.

One cancel scope serves every timeout of a stream. It is entered again only when it fires: entering one costs 18 us and
moving a deadline 6 us, so a busy stream pays for neither per event; the clock is read once per read instead.
"""

import trio

from adapters.dialects import Dialect
from adapters.errors import Failure, Kind, UpstreamError
from engine.config import Timeouts
from engine.downstream import ClientGone, Downstream, Reply
from engine.exchange import Exchange
from engine.net import Broken
from engine.upstream import Attempt

FINISHED_SECONDS_MAX = 5.0
"""How long an upstream that said why it finished may still take over usage and its last words, before we say them."""


class Relay:
    """Streams one attempt to one client: `run()` once.

    Raises `UpstreamError` only while nothing was sent, so that the caller may still answer with a status; afterwards a
    failing upstream becomes an in-band error. Raises `ClientGone`. Cancelled: the attempt and the downstream
    connection must both be closed by their owners; nothing here holds a resource.
    """

    __slots__ = (
        "attempt",
        "dialect",
        "downstream",
        "exchange",
        "headers",
        "keepalive_seconds",
        "quiet_since",
        "timeouts",
    )

    def __init__(
        self,
        exchange: Exchange,
        attempt: Attempt,
        downstream: Downstream,
        dialect: Dialect,
        *,
        headers: list[tuple[bytes, bytes]],
        keepalive_seconds: float,
        timeouts: Timeouts,
    ) -> None:
        self.exchange = exchange
        self.attempt = attempt
        self.downstream = downstream
        self.dialect = dialect
        self.headers = headers
        self.keepalive_seconds = keepalive_seconds
        self.timeouts = timeouts
        self.quiet_since = trio.current_time()
        """When the client last got a byte; a keep-alive comment is due `keepalive_seconds` later."""

    async def run(self) -> Failure | None:
        """Wait for the first content, then stream until the end; return what the client was told went wrong."""
        try:
            await self._wait_content()
            self.exchange.ttft_seconds = trio.current_time() - self.exchange.started
            last = await self._stream(self._taken())
            assert self.attempt.tap is not None
            failure = self.attempt.tap.failure
            if failure is not None:
                self.attempt.failed(failure, cause="in_band")
        except UpstreamError as exc:
            if self.downstream.reply is Reply.NOTHING:
                raise
            # What the tap let through counts for its numbering, also when it never came to content.
            last, failure = self._taken(), exc.failure
        if failure is not None:
            assert self.attempt.tap is not None
            last += self.attempt.tap.error_event(failure)
        await self._send(last, end=True)
        return failure

    def _taken(self) -> bytes:
        """Return, once, what the attempt kept until its first content."""
        taken = b"".join(self.attempt.ready)
        self.attempt.ready.clear()
        return taken

    async def _wait_content(self) -> None:
        deadline = self.exchange.started + min(self.timeouts.first_content_seconds, self.timeouts.total_seconds)
        while True:
            with trio.move_on_at(min(deadline, self.quiet_since + self.keepalive_seconds)):
                await self.attempt.wait_content()
                return
            if trio.current_time() >= deadline:
                raise self._timeout("no content", deadline - self.exchange.started)
            await self._keep_alive()

    async def _stream(self, data: bytes) -> bytes:
        """Send `data` and all that follows but the last read's bytes, which are returned to go out with the ending."""
        attempt, stream, frame = self.attempt, self.downstream.stream, self.downstream.frame
        if not attempt.streaming():
            return data
        await self._send(data)
        tap = attempt.tap
        assert tap is not None
        total_deadline = self.exchange.started + self.timeouts.total_seconds
        heard, finished = self.quiet_since, tap.finished
        while True:
            unsent: bytes | memoryview = b""
            idle_deadline = heard + (FINISHED_SECONDS_MAX if finished else self.timeouts.idle_seconds)
            with trio.move_on_at(min(idle_deadline, self.quiet_since + self.keepalive_seconds, total_deadline)):
                while True:
                    data = await attempt.receive()
                    if not attempt.streaming():
                        return data
                    heard = trio.current_time()
                    if tap.finished is not finished:
                        finished = True
                        unsent = frame(data)
                        break
                    if data:
                        message = frame(data)
                        self.quiet_since = heard
                        try:
                            sent = stream.send_nowait(message)
                        except Broken as exc:
                            raise ClientGone from exc
                        self.downstream.bytes_out += sent
                        if sent < len(message):
                            unsent = memoryview(message)[sent:]
                            break
            if unsent:
                await self.downstream.send(unsent)
                heard = self.quiet_since = trio.current_time()
            elif finished and trio.current_time() >= idle_deadline:
                return attempt.finish()
            else:
                await self._silence(heard, total_deadline)

    async def _silence(self, heard: float, total_deadline: float) -> None:
        """Decide what a fired deadline means: the end of the upstream's time, or a comment for the client."""
        now = trio.current_time()
        if now >= total_deadline:
            raise self._timeout("no end", self.timeouts.total_seconds)
        if now >= heard + self.timeouts.idle_seconds:
            raise self._timeout("no byte", self.timeouts.idle_seconds)
        if now >= self.quiet_since + self.keepalive_seconds:
            await self._keep_alive()

    async def _keep_alive(self) -> None:
        if self.dialect.KEEPALIVE:
            await self._send(self.dialect.KEEPALIVE)
        else:
            self.quiet_since = trio.current_time()

    async def _send(self, data: bytes, *, end: bool = False) -> None:
        """Send `data` as part of the stream, the head in front if it is still due, the ending behind on `end`."""
        downstream = self.downstream
        message = downstream.frame(data)
        if downstream.reply is Reply.NOTHING:
            message = downstream.stream_head(200, self.headers) + message
            self.exchange.status = 200
        if end:
            message += downstream.end_of_stream()
        if message:
            await downstream.send(message)
        self.quiet_since = trio.current_time()

    def _timeout(self, what: str, seconds: float) -> UpstreamError:
        provider = self.attempt.candidate.provider
        failure = Failure(504, Kind.TIMEOUT, f"{what} from {provider} for {seconds:g} s", code="upstream_timeout")
        return self.attempt.failed(failure, cause="timeout")
