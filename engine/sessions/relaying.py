"""The session itself: two directions in one nursery, until either side, a limit, the purse or a drain ends it.

Frames pass as they came, text and binary, one at a time in each direction: a side that does not read stops the other's
reading. What the upstream says is looked at for what has to be paid, what the client says for what it may not ask.
However it ends, both sides are told: a close code passes to the other side where it can be sent (RFC 6455, section
7.4), and what is ours to say comes as an `error` event first, since browsers see no more than the code.
"""

import logging
import math
from typing import NamedTuple

import trio

from adapters.errors import ClientError, Failure, GatewayError, Kind
from adapters.sessions import Began, Policy, Session, Spent
from engine.config import RealtimeOptions
from engine.exchange import Exchange, Outcome, fresh_id
from engine.route import Candidate
from engine.sessions.purse import Purse
from engine.websocket import Closed, Socket, sendable

logger = logging.getLogger(__name__)

NORMAL, GOING_AWAY, POLICY, INTERNAL, RESTART = 1000, 1001, 1008, 1011, 1012
LOOK_SECONDS = 1.0
"""How often limits are looked at."""


class End(NamedTuple):
    """How a session ends: the code and reason for either side, what the client is told before, and the outcome."""

    outcome: Outcome
    client: tuple[int, str]
    upstream: tuple[int, str]
    failure: Failure | None = None


class Relaying:
    """One session between a client and the upstream that accepted. `run` once; then both sockets are closed."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        client: Socket,
        upstream: Socket,
        candidate: Candidate,
        session: Session,
        policy: Policy,
        purse: Purse,
        options: RealtimeOptions,
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._candidate = candidate
        self._session = session
        self._policy = policy
        self._purse = purse
        self._options = options
        self._began = self._heard = trio.current_time()
        self._responding_since = math.inf
        self._draining = False
        self._end: End | None = None
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Relaying {self._exchange!r} {'draining' if self._draining else 'open'}>"

    def drain(self) -> None:
        """End when the response under way has ended."""
        self._draining = True
        self._end_if_drained()

    async def run(self) -> Failure | None:
        """Relay until the end, close both sides, and return what the client was told went wrong."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._from_client)
                nursery.start_soon(self._from_upstream)
                nursery.start_soon(self._watch)
        end = self._end
        assert end is not None
        self._exchange.outcome = end.outcome
        if self._responding_since < math.inf:
            self._purse.lapse(trio.current_time() - self._responding_since, self._candidate)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._say_goodbye, end)
            nursery.start_soon(self._upstream.close, *end.upstream)
        return end.failure

    async def _from_client(self) -> None:
        try:
            while True:
                frame = await self._client.receive()
                self._heard = trio.current_time()
                try:
                    frame = self._session.read_client(frame, self._policy)
                except ClientError as exc:
                    await self._tell(exc.failure)
                    continue
                try:
                    await self._upstream.send(frame)
                except Closed as exc:
                    self._finish(self._upstream_closed(exc))
                    return
        except Closed as exc:
            outcome = Outcome.OK if exc.code in {NORMAL, GOING_AWAY, 1005} else Outcome.CLIENT_GONE
            self._finish(End(outcome, (sendable(exc.code), exc.reason), (sendable(exc.code), exc.reason)))

    async def _from_upstream(self) -> None:
        try:
            while True:
                frame = await self._upstream.receive()
                self._heard = trio.current_time()
                failure = await self._account(frame)
                try:
                    await self._client.send(frame)
                except Closed as exc:
                    code = sendable(exc.code)
                    self._finish(End(Outcome.CLIENT_GONE, (code, exc.reason), (code, exc.reason)))
                    return
                if failure is not None:
                    await self._cut_off(failure)
                    return
                self._end_if_drained()
        except Closed as exc:
            self._finish(self._upstream_closed(exc))

    async def _account(self, frame: str | bytes) -> Failure | None:
        """Pay for what a frame says is to be paid for, before the client sees it; return why the session must end."""
        for event in self._session.read_server(frame):
            if isinstance(event, Began):
                self._responding_since = min(self._responding_since, self._heard)
            elif isinstance(event, Spent):
                if not self._session.responding:
                    self._responding_since = math.inf
                try:
                    await self._purse.spend(event, self._candidate)
                except GatewayError as exc:
                    return exc.failure
        return None

    async def _cut_off(self, failure: Failure) -> None:
        """End a session whose purse is empty: what is under way upstream is cancelled, not paid for."""
        cancel = self._session.cancel_frame()
        if cancel is not None:
            try:
                await self._upstream.send(cancel)
            except Closed:
                logger.debug("%r: the upstream was gone before its response was cancelled", self)
        self._finish(End(Outcome.CLIENT_ERROR, (POLICY, failure.code or ""), (NORMAL, ""), failure))

    async def _watch(self) -> None:
        """End a session that is silent or long enough."""
        options = self._options
        while True:
            await trio.sleep(LOOK_SECONDS)
            now = trio.current_time()
            if now - self._began >= options.session_seconds:
                self._expire(f"the session has lasted {options.session_seconds:g} s", "session_expired")
            elif now - self._heard >= options.idle_seconds:
                self._expire(f"nobody has said anything for {options.idle_seconds:g} s", "session_idle")

    def _expire(self, message: str, code: str) -> None:
        failure = Failure(408, Kind.TIMEOUT, message, code=code)
        self._finish(End(Outcome.OK, (GOING_AWAY, code), (NORMAL, ""), failure))

    def _end_if_drained(self) -> None:
        if self._draining and not self._session.responding:
            self._finish(End(Outcome.OK, (RESTART, "the gateway restarts"), (NORMAL, "")))

    def _upstream_closed(self, closed: Closed) -> End:
        code = sendable(closed.code)
        if closed.code in {NORMAL, GOING_AWAY, 1005}:
            return End(Outcome.OK, (code, closed.reason), (code, ""))
        message = f"{self._candidate.provider} ended the session: {closed.code} {closed.reason}".rstrip()
        failure = Failure(502, Kind.UPSTREAM, message, code="upstream_closed")
        return End(Outcome.INCOMPLETE, (code, closed.reason), (code, ""), failure)

    def _finish(self, end: End) -> None:
        """Let the session end so; whoever says it first decides."""
        if self._end is None:
            self._end = end
        self._scope.cancel()

    async def _tell(self, failure: Failure) -> None:
        await self._client.send(self._session.error_frame(failure, f"event_{fresh_id()}"))

    async def _say_goodbye(self, end: End) -> None:
        if end.failure is not None:
            try:
                with trio.move_on_after(self._options.ping_seconds):
                    await self._tell(end.failure)
            except Closed:
                logger.debug("%r: the client was gone before it could be told", self)
        await self._client.close(*end.client)
