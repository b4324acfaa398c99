"""The hot loop: the race for the first content, then one upstream stream to one client.

Decides when a keep-alive comment is due, how long an upstream may stay silent, and how a stream ends: properly, or with
the client dialect's in-band error, never silently and never with a made-up ending. Per read: one receive, one feed, one
send. A client that does not read stops the upstream read, since both happen in this one task; a client that is gone
cancels it (see `engine.hangup`). It does not know what a stream's bytes mean.

The worker's alarms keep the time. Behind the first content one deadline serves every timeout of a stream, and is set
again only when it has passed, so that a busy stream pays for none per event; the clock is read once per read instead.
"""

from collections.abc import Awaitable, Callable

import trio

from adapters.dialects import Dialect
from adapters.errors import Failure, Kind, UpstreamError
from adapters.retry_hints import with_retry_hints
from engine.alarms import Due
from engine.config import Timeouts
from engine.downstream import ClientGone, Downstream, Reply
from engine.entrant import Entrant
from engine.exchange import Exchange
from engine.hedge import Race
from engine.net import Broken
from engine.upstream import Attempt

FINISHED_SECONDS_MAX = 5.0
"""How long an upstream that said why it finished may still take over usage and its last words, before we say them."""


EVENT = b"data:"
"""What every event has once; in its payload a colon follows such a word only behind a quotation mark."""


async def nothing_to_do(failure: Failure | None) -> None:
    """Let the answer end: nobody pays for it."""


class Relay:
    """Streams the winner of one race to one client: `run()` once.

    Raises `UpstreamError` only while nothing was sent, so that the caller may still answer with a status; afterwards a
    failing upstream becomes an in-band error. Raises `ClientError` before the first content, and `ClientGone`.
    Cancelled: the race, its winner and the downstream connection must be closed by their owners; nothing here holds a
    resource.
    """

    __slots__ = (
        "_attempt",
        "dialect",
        "downstream",
        "ended",
        "ending",
        "events",
        "exchange",
        "headers",
        "keepalive_seconds",
        "now",
        "quiet_since",
        "race",
        "timeouts",
    )

    def __init__(
        self,
        exchange: Exchange,
        race: Race[Entrant],
        downstream: Downstream,
        dialect: Dialect,
        *,
        headers: Callable[[], list[tuple[bytes, bytes]]],
        keepalive_seconds: float,
        timeouts: Timeouts,
        ending: Callable[[Failure | None], Awaitable[None]] = nothing_to_do,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        """`headers` makes the answer's when they are due; `timeouts` are the route's until somebody has won.

        `ending` is awaited before the last bytes go out, with what went wrong: by then the answer must be paid for.
        """
        self.exchange = exchange
        self.race = race
        self.downstream = downstream
        self.dialect = dialect
        self.headers = headers
        self.keepalive_seconds = keepalive_seconds
        self.timeouts = timeouts
        self.ending = ending
        self.ended = False
        """Whether the end was reached, and `ending` asked."""
        self.events = 0
        """Events that went out, about one a token; what an answer is charged by that nobody counted."""
        self.now = now
        self.quiet_since = now()
        """When the client last got a byte; a keep-alive comment is due `keepalive_seconds` later."""
        self._attempt: Attempt | None = None

    @property
    def attempt(self) -> Attempt:
        """The winner's."""
        assert self._attempt is not None
        return self._attempt

    @property
    def began(self) -> bool:
        """Whether somebody won, and the client was sent something."""
        return self._attempt is not None and self.downstream.bytes_out > 0

    async def run(self) -> Failure | None:
        """Wait for the first content, then stream until the end; return what the client was told went wrong."""
        try:
            await self._wait_content()
        except UpstreamError as exc:
            if self.downstream.reply is Reply.NOTHING:
                raise
            # Comments went out, so the status is said; nothing of any attempt was let through.
            return await self._send_last(self.dialect.error_event(with_retry_hints(exc.failure)), exc.failure)
        winner = self.race.winner
        assert winner is not None
        attempt = self._attempt = winner.attempt
        assert attempt.tap is not None
        candidate = attempt.candidate
        self.timeouts = candidate.timeouts
        self.exchange.provider, self.exchange.upstream_model = candidate.provider, candidate.model
        self.exchange.ttft_seconds = self.now() - self.exchange.started
        try:
            ready = b"".join(attempt.ready)
            attempt.ready.clear()
            last = await self._stream(ready)
            failure = attempt.tap.failure
            if failure is not None:
                error = attempt.in_band(failure)
                winner.tell_broken(error)
                failure = error.failure
        except UpstreamError as exc:
            winner.tell_broken(exc)
            last, failure = b"", exc.failure
        if failure is not None:
            last += attempt.tap.error_event(with_retry_hints(failure))
        return await self._send_last(last, failure)

    async def _send_last(self, last: bytes, failure: Failure | None) -> Failure | None:
        self.ended = True
        await self.ending(failure)
        # Without its end the answer is cut: `engine.serve` closes a connection whose answer did not end.
        await self._send(last, end=failure is None or not self.dialect.ABORT_AFTER_ERROR)
        return failure

    async def _wait_content(self) -> None:
        race = self.race
        deadline = self.exchange.started + min(self.timeouts.first_content_seconds, self.timeouts.total_seconds)
        race.start()
        while True:
            try:
                return await race.wait(min(deadline, race.next_at, self.quiet_since + self.keepalive_seconds))
            except Due:
                now = self.now()
            if now >= deadline:
                raise self._gave_up(deadline - self.exchange.started)
            if now >= race.next_at:
                race.start_next()
            if now >= self.quiet_since + self.keepalive_seconds:
                await self._keep_alive()

    async def _stream(self, data: bytes) -> bytes:
        """Send `data` and all that follows but the last read's bytes, which are returned to go out with the ending."""
        attempt, stream, frame = self.attempt, self.downstream.stream, self.downstream.frame
        if not attempt.streaming():
            return data
        self.events += data.count(EVENT)
        await self._send(data)
        now = self.now
        tap = attempt.tap
        assert tap is not None
        total_deadline = self.exchange.started + self.timeouts.total_seconds
        heard, finished = self.quiet_since, tap.finished
        while True:
            unsent: bytes | memoryview = b""
            idle_deadline = heard + (FINISHED_SECONDS_MAX if finished else self.timeouts.idle_seconds)
            with attempt.until(min(idle_deadline, self.quiet_since + self.keepalive_seconds, total_deadline)):
                while True:
                    data = await attempt.receive()
                    if not attempt.streaming():
                        return data
                    heard = now()
                    if tap.finished is not finished:
                        finished = True
                        self.events += data.count(EVENT)
                        unsent = frame(data)
                        break
                    if data:
                        self.events += data.count(EVENT)
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
                heard = self.quiet_since = now()
            elif finished and now() >= idle_deadline:
                return attempt.finish()
            else:
                await self._silence(heard, total_deadline)

    async def _silence(self, heard: float, total_deadline: float) -> None:
        """Decide what a fired deadline means: the end of the upstream's time, or a comment for the client."""
        now = self.now()
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
            self.quiet_since = self.now()

    async def _send(self, data: bytes, *, end: bool = False) -> None:
        """Send `data` as part of the stream, the head in front if it is still due, the ending behind on `end`."""
        downstream = self.downstream
        message = downstream.frame(data)
        if downstream.reply is Reply.NOTHING:
            message = downstream.stream_head(200, self.headers()) + message
            self.exchange.status = 200
        if end:
            message += downstream.end_of_stream()
        if message:
            await downstream.send(message)
        self.quiet_since = self.now()

    def _timeout(self, what: str, seconds: float) -> UpstreamError:
        provider = self.attempt.candidate.provider
        failure = Failure(504, Kind.TIMEOUT, f"{what} from {provider} for {seconds:g} s", code="upstream_timeout")
        return self.attempt.failed(failure, cause="timeout")

    def _gave_up(self, seconds: float) -> UpstreamError:
        """End a race that had its time."""
        message = f"no content from {self.exchange.provider} for {seconds:g} s"
        failure = Failure(504, Kind.TIMEOUT, message, code="upstream_timeout")
        error = UpstreamError(failure, cause="timeout", retryable=True)
        self.race.give_up(error)
        return error
