"""The main job: one generation, from the request's body to the last byte of its answer.

Decides the order: decode what routing needs, find the route, race its candidates for the first content, then answer
whole or hand over to the relay. Everything dialect-specific is asked of the dialect, everything about time is the
route's, who is asked is the route's choice.
"""

from math import inf

import trio

from adapters import registry
from adapters.dialects import Dialect
from adapters.errors import ClientError, Failure, Kind, UpstreamError
from adapters.retry_hints import retry_after
from engine.alarms import Due
from engine.downstream import ClientGone, Downstream
from engine.entrant import Entrant
from engine.exchange import Exchange, Outcome
from engine.gateway import Gateway
from engine.headers import PROVIDER_HEADER, answer_headers, race_headers
from engine.hedge import Race
from engine.layers.charge import Meter, open_meter
from engine.passage import Passages
from engine.relay import Relay
from engine.route import Candidate, Route
from engine.router import no_such_model
from engine.till import Till
from engine.upstream import Attempt

MODEL_CHARACTERS_MAX = 256
"""A name becomes a label and a field of the log; vendors' names stay below 100."""

# Bound once: on Python 3.11 a look-up of a member in its class takes ten times as long as one in the module.
_OK = Outcome.OK

JSON_CONTENT = (b"content-type", b"application/json")

STREAM_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
"""The last asks reverse proxies in front of us (nginx) not to hold events back."""


async def generate(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """Serve one generation. Raises `ClientError`, `UpstreamError` (nothing sent yet) or `ClientGone`."""
    request = exchange.request
    dialect = registry.dialect(exchange.surface.dialect)
    asked = dialect.parse_request(request.body, exchange.argument, request.query)
    if len(asked.model) > MODEL_CHARACTERS_MAX:
        message = f"the model's name is longer than {MODEL_CHARACTERS_MAX} characters"
        raise ClientError(Failure(400, Kind.INVALID_REQUEST, message, code="string_above_max_length", param="model"))
    exchange.model = asked.model
    exchange.stream = asked.stream
    if not exchange.principal.may_use(asked.model):
        raise no_such_model(asked.model)
    route = gateway.router.resolve(asked.model)
    passages = Passages(exchange, dialect, asked, event_bytes_max=gateway.config.limits.event_bytes_max)
    is_generation = dialect.is_generation(exchange.argument)
    if not is_generation:
        counted = passages.estimated(route.tiers[0][0])
        if counted is not None:
            await _answer_at_once(gateway, exchange, downstream, dialect, counted)
            return
    starter = Starter(gateway, exchange, route, passages)
    policy = route.policy if asked.stream else route.unary_policy
    race = Race(starter.enter, policy, gateway.now, nobody=starter.nobody)
    meter = None
    treasury = gateway.treasury
    if is_generation and treasury is not None and treasury.standings.are_needed(exchange.principal):
        exchange.id = treasury.fresh_id()
        meter = await open_meter(treasury, exchange, dialect, asked, route)
    till = Till(gateway, exchange, race, meter)
    try:
        if asked.stream:
            relay = Relay(
                exchange,
                race,
                downstream,
                dialect,
                headers=lambda: [
                    (b"content-type", dialect.stream_content_type(asked)),
                    *STREAM_HEADERS,
                    *_headers(gateway, exchange, dialect, race, meter),
                ],
                keepalive_seconds=gateway.config.server.keepalive_comment_seconds or inf,
                timeouts=route.candidates[0].timeouts,
                ending=till.stream_ends,
                now=gateway.now,
            )
            till.relay = relay
            failure = await relay.run()
            exchange.outcome = _OK if failure is None else Outcome.INCOMPLETE
            if race.winner is not None:
                await race.winner.attempt.settle()
        else:
            await _answer_whole(gateway, exchange, downstream, dialect, till=till, route=route)
    except (ClientGone, trio.Cancelled):
        till.left = True
        raise
    finally:
        exchange.hedged = race.hedged
        race.close()
        till.close()


class Starter:
    """Opens the attempts of one request, each on the best candidate that was not asked yet."""

    __slots__ = ("_affinity", "_exchange", "_gateway", "_passages", "_refused", "_route", "_tried")

    def __init__(self, gateway: Gateway, exchange: Exchange, route: Route, passages: Passages) -> None:
        self._gateway = gateway
        self._exchange = exchange
        self._route = route
        self._passages = passages
        self._affinity = passages.affinity if len(route.candidates) > 1 else None
        self._tried: list[Candidate] = []
        self._refused: ClientError | None = None

    def enter(self) -> Entrant | None:
        """Begin the next attempt, None when nobody is left. Raises `ClientError` when nobody can be asked this.

        A candidate that this request cannot be carried over to is passed by.
        """
        gateway, exchange, route = self._gateway, self._exchange, self._route
        limits, now = gateway.config.limits, gateway.now()
        while (candidate := route.pick(now, self._tried, self._affinity)) is not None:
            self._tried.append(candidate)
            try:
                passage = self._passages.to(candidate)
            except ClientError as exc:
                self._refused = self._refused or exc
                continue
            message = candidate.endpoint.message(
                "POST",
                passage.path,
                passage.body,
                stream=exchange.stream,
                headers=passage.headers,
                credential=candidate.credential,
            )
            alone = self._alone_seconds(candidate, now)
            # From here on nothing can fail: what is begun is given back by the entrant alone.
            if not candidate.health.begin(now):
                continue
            exchange.provider, exchange.upstream_model = candidate.provider, candidate.model
            attempt = Attempt(
                candidate,
                message,
                head_bytes_max=limits.upstream_head_bytes_max,
                tap=passage.tap,
                now=gateway.now,
                alarms=gateway.alarms,
            )
            attempt.record.offset_seconds = attempt.started - exchange.started
            exchange.attempts.append(attempt.record)
            return Entrant(candidate, passage, attempt, hedge_seconds=alone, answer_bytes_max=limits.answer_bytes_max)
        if self._refused is not None and not exchange.attempts:
            raise self._refused
        return None

    def _alone_seconds(self, candidate: Candidate, now: float) -> float:
        """Return how long an attempt runs alone: for ever where nobody could join it, or where that did harm."""
        route = self._route
        if len(route.candidates) == 1 or (self._passages.has_side_effects and not route.race.hedge_side_effects):
            return inf
        return route.hedge_seconds(candidate, now, stream=self._exchange.stream)

    def nobody(self) -> UpstreamError:
        """Return what is said when every candidate is known to fail, with the time until one is tried again."""
        seconds = self._route.retry_seconds(self._gateway.now())
        message = f"every upstream of the model {self._route.name!r} is failing; one is tried again in {seconds} s"
        failure = Failure(503, Kind.OVERLOADED, message, code="no_candidate_available", headers=retry_after(seconds))
        return UpstreamError(failure, cause="no_candidate", retryable=True)


async def _answer_whole(
    gateway: Gateway, exchange: Exchange, downstream: Downstream, dialect: Dialect, *, till: Till, route: Route
) -> None:
    race = till.race
    seconds = route.candidates[0].timeouts.unary_seconds
    downstream.deadline = exchange.started + seconds
    try:
        race.start()
        while race.winner is None:
            try:
                await race.wait(race.next_at)
            except Due:
                race.start_next()
    except trio.Cancelled as exc:
        if not downstream.overdue:
            raise
        # The connection stays cancelled; what the client is told goes out without waiting, or not at all.
        message = f"no answer from {exchange.provider} for {seconds:g} s"
        failure = Failure(504, Kind.TIMEOUT, message, code="upstream_timeout")
        error = UpstreamError(failure, cause="timeout", retryable=True)
        race.give_up(error)
        raise error from exc
    downstream.deadline = inf
    winner = race.winner
    assert winner.whole is not None
    exchange.provider, exchange.upstream_model = winner.candidate.provider, winner.candidate.model
    headers = [
        JSON_CONTENT,
        *_headers(gateway, exchange, dialect, race, till.meter),
        *winner.passage.answer_headers(winner.attempt.answer),
    ]
    # Before the answer is sent, so that a slow client does not keep the upstream's connection.
    winner.close()
    headers += await till.answer_ends()
    exchange.ttft_seconds = winner.attempt.ended - exchange.started
    exchange.status = 200
    exchange.outcome = _OK
    await downstream.answer(200, headers, winner.whole.body)


async def _answer_at_once(
    gateway: Gateway, exchange: Exchange, downstream: Downstream, dialect: Dialect, body: bytes
) -> None:
    """Answer what no upstream need be asked for."""
    exchange.status = 200
    exchange.outcome = _OK
    headers = [JSON_CONTENT, *answer_headers(exchange, dialect, gateway.config.server.cors_origins)]
    await downstream.answer(200, headers, body)


def _headers(
    gateway: Gateway, exchange: Exchange, dialect: Dialect, race: Race[Entrant], meter: Meter | None
) -> list[tuple[bytes, bytes]]:
    """Return the headers that say who answered, after how many attempts, and what of the request was dropped.

    Who answered is not known yet when a stream's head goes out with a comment, before there is a winner.
    """
    winner = race.winner
    headers = answer_headers(exchange, dialect, gateway.config.server.cors_origins)
    if winner is None:
        headers = [header for header in headers if header[0] != PROVIDER_HEADER]
    headers += race_headers(race.started, hedged=race.hedged)
    if meter is not None:
        headers += meter.headers(dialect)
    if winner is not None and winner.passage.dropped is not None:
        headers.append((b"x-hedgerow-dropped", winner.passage.dropped))
    return headers
