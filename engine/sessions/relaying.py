"""The session itself: two directions in one nursery, until either side, a limit, the purse or a drain ends it.

Frames pass as they came, text and binary, one at a time in each direction: a side that does not read stops the other's
reading. What the upstream says is looked at for what has to be paid, what the client says for what it may not ask.
However it ends, both sides are told: a close code passes to the other side where it can be sent (RFC 6455, section
7.4), and what is ours to say comes as an `error` event first, since browsers see no more than the code. A response that
is under way then is cancelled, and its figures are waited for: who leaves before them would have it for nothing.
"""

import logging
import math
from typing import NamedTuple

import trio
from msgspec.structs import replace

from adapters.errors import ClientError, Failure, GatewayError, Kind, UpstreamError
from adapters.sessions import Began, Event, Frame, Policy, Session, Spent
from adapters.usage import Usage
from engine.config import RealtimeOptions
from engine.exchange import Exchange, Outcome, fresh_id
from engine.route import Candidate
from engine.sessions.purse import Purse, passed_at_a_guess
from engine.websocket import Closed, Socket, sendable

logger = logging.getLogger(__name__)

NORMAL, GOING_AWAY, NO_CODE, POLICY, INTERNAL = 1000, 1001, 1005, 1008, 1011
RESTARTS = 1012, "the gateway restarts"
"""The code and the reason of a drain: clients connect again on it."""

PROPER = frozenset({NORMAL, GOING_AWAY, NO_CODE})
"""How sessions end that went well."""

BROKEN = frozenset({1002, 1006, 1007, INTERNAL, 1013, 1014, 1015})
"""How an upstream ends that is not well; any other code is about the session."""

FIGURES_SECONDS_MAX = 5.0
"""How long an upstream may take over the figures of responses that were cancelled."""

TOLD_SECONDS_MAX = 5.0
"""How long a client may take to hear why its session ends."""


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
        opening: Frame | None,
        estimates: bool,
        charges_incomplete: bool,
    ) -> None:
        """`opening` is said to the upstream first. `estimates`: frames that passed tell what a response came to, if
        nothing else does; `charges_incomplete`: also when it was the upstream that broke it off.
        """
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._candidate = candidate
        self._session = session
        self._policy = policy
        self._purse = purse
        self._options = options
        self._opening = opening
        self._estimates = estimates
        self._charges_incomplete = charges_incomplete
        self._began = self._heard = trio.current_time()
        self._responding_since = math.inf
        self._asked_bytes = 0 if opening is None else len(opening)
        self._passed_frames = self._passed_bytes = 0
        self._draining = False
        self._end: End | None = None
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Relaying {self._exchange!r} {'draining' if self._draining else 'open'}>"

    def drain(self) -> None:
        """End when the response under way has ended."""
        self._draining = True
        self._end_if_drained()

    async def run(self) -> None:
        """Relay until the end, and close both sides."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._from_client)
                nursery.start_soon(self._from_upstream)
                nursery.start_soon(self._watch)
        end = self._end
        assert end is not None
        self._exchange.outcome = end.outcome
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leave_client, end)
            nursery.start_soon(self._leave_upstream, end)

    # -- the two directions --------------------------------------------------------------------------------------------

    async def _from_client(self) -> None:
        try:
            if self._opening is not None and not await self._ask(self._opening):
                return
            while True:
                frame = await self._client.receive()
                self._heard = trio.current_time()
                try:
                    frame = self._session.read_client(frame, self._policy)
                except ClientError as exc:
                    await self._tell(exc.failure)
                    continue
                if not await self._ask(frame):
                    return
        except Closed as exc:
            self._finish(_client_closed(exc))

    async def _ask(self, frame: Frame) -> bool:
        """Pass a frame to the upstream; whether it was there to take it."""
        self._asked_bytes = len(frame)
        try:
            await self._upstream.send(frame)
        except Closed as exc:
            self._finish(self._upstream_closed(exc))
            return False
        return True

    async def _from_upstream(self) -> None:
        try:
            while True:
                frame = await self._upstream.receive()
                self._heard = trio.current_time()
                failure = await self._account(frame)
                try:
                    await self._client.send(frame)
                except Closed as exc:
                    self._finish(_client_closed(exc))
                    return
                if failure is not None:
                    self._finish(End(Outcome.CLIENT_ERROR, (POLICY, failure.code or ""), (NORMAL, ""), failure))
                    return
                self._end_if_drained()
        except Closed as exc:
            self._finish(self._upstream_closed(exc))

    async def _account(self, frame: Frame) -> Failure | None:
        """Pay for what a frame says is to be paid for, before the client sees it; return why the session must end."""
        self._passed_frames += 1
        self._passed_bytes += len(frame)
        events = self._session.read_server(frame)
        if not events:
            return None
        failure = await self._pay(events)
        if failure is None and any(isinstance(event, Began | Spent) for event in events):
            session = self._session
            try:
                await self._purse.cover([self._candidate], len(session.unpaid) if session.responding else 0)
            except GatewayError as exc:
                return exc.failure
        return failure

    async def _pay(self, events: tuple[Event, ...]) -> Failure | None:
        """Settle what came to be paid for, all of it; return what was short."""
        failure = None
        for event in events:
            if isinstance(event, Began) and self._responding_since == math.inf:
                self._responding_since = self._heard
                self._passed_frames = self._passed_bytes = 0
            elif isinstance(event, Spent):
                seconds = max(self._heard - self._responding_since, 0.0)
                if not self._session.responding:
                    self._responding_since = math.inf
                guess = self._estimates and event.usage.estimated
                spent = replace(event, usage=self._passed()) if guess else event
                try:
                    await self._purse.spend(spent, self._candidate, seconds)
                except GatewayError as exc:
                    failure = exc.failure
        return failure

    def _passed(self) -> Usage:
        return passed_at_a_guess(self._asked_bytes, self._passed_frames, self._passed_bytes)

    # -- its ends ------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """End a session that is silent or long enough."""
        options = self._options
        while True:
            now = trio.current_time()
            expires, idles = self._began + options.session_seconds, self._heard + options.idle_seconds
            if now >= expires:
                self._expire(f"the session has lasted {options.session_seconds:g} s", "session_expired")
            elif now >= idles:
                self._expire(f"nobody has said anything for {options.idle_seconds:g} s", "session_idle")
            await trio.sleep_until(min(expires, idles))

    def _expire(self, message: str, code: str) -> None:
        failure = Failure(408, Kind.TIMEOUT, message, code=code)
        self._finish(End(Outcome.OK, (GOING_AWAY, code), (NORMAL, ""), failure))

    def _end_if_drained(self) -> None:
        if self._draining and not self._session.responding:
            self._finish(End(Outcome.OK, RESTARTS, (NORMAL, "")))

    def _upstream_closed(self, closed: Closed) -> End:
        code = sendable(closed.code)
        if closed.code in PROPER:
            outcome = Outcome.INCOMPLETE if self._session.responding else Outcome.OK
            return End(outcome, (code, closed.reason), (code, ""))
        message = f"{self._candidate.provider} ended the session: {closed.code} {closed.reason}".rstrip()
        failure = Failure(502, Kind.UPSTREAM, message, code="upstream_closed")
        if closed.code in BROKEN:
            error = UpstreamError(failure, cause="reset", retryable=False)
            self._candidate.health.failed(error, trio.current_time())
        return End(Outcome.INCOMPLETE, (code, closed.reason), (code, ""), failure)

    def _finish(self, end: End) -> None:
        """Let the session end so; whoever says it first decides."""
        if self._end is None:
            self._end = end
        self._scope.cancel()

    async def _tell(self, failure: Failure) -> None:
        await self._client.send(self._session.error_frame(failure, f"event_{fresh_id()}"))

    async def _leave_client(self, end: End) -> None:
        if end.failure is not None:
            try:
                with trio.move_on_after(TOLD_SECONDS_MAX):
                    await self._tell(end.failure)
            except Closed:
                logger.debug("%r: the client was gone before it could be told", self)
        await self._client.close(*end.client)

    async def _leave_upstream(self, end: End) -> None:
        with trio.move_on_after(FIGURES_SECONDS_MAX):
            await self._cancel_responses()
        if self._responding_since < math.inf:
            seconds = trio.current_time() - self._responding_since
            passed = None
            if self._estimates and (end.outcome is not Outcome.INCOMPLETE or self._charges_incomplete):
                passed = self._passed()
            try:
                await self._purse.lapse(self._candidate, seconds, passed)
            except GatewayError as exc:
                logger.debug("%r: %s", self, exc)
        await self._upstream.close(*end.upstream)

    async def _cancel_responses(self) -> None:
        """Cancel what is under way, where there is a word for it, and settle what it came to."""
        session = self._session
        cancel = session.cancel_frame()
        if cancel is None:
            return
        try:
            while cancel is not None:
                await self._upstream.send(cancel)
                cancel = session.cancel_frame()
            while session.responding:
                frame = await self._upstream.receive()
                self._heard = trio.current_time()
                await self._pay(session.read_server(frame))
        except Closed as exc:
            logger.debug("%r: the upstream was gone before its figures: %s", self, exc)


def _client_closed(closed: Closed) -> End:
    """Return the end of a session whose client closed it, or went."""
    ending = sendable(closed.code), closed.reason
    return End(Outcome.OK if closed.code in PROPER else Outcome.CLIENT_GONE, ending, ending)
