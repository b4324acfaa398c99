"""The main job: one generation, from the request's body to the last byte of its answer.

Decides the order: decode what routing needs, pick the candidate, open the attempt, then answer whole or hand over to
the relay. Everything dialect-specific is asked of the dialect, everything about time is the policy's.
"""

from math import inf

import trio

from adapters import registry
from adapters.dialects import Dialect
from adapters.errors import ClientError, Failure, Kind
from adapters.providers import UsageInStream
from engine.downstream import Downstream
from engine.exchange import Exchange, Outcome
from engine.gateway import Gateway
from engine.headers import answer_headers, pick, upstream_headers
from engine.relay import Relay
from engine.upstream import Attempt

MODEL_CHARACTERS_MAX = 256
"""A name becomes a label and a field of the log; vendors' names stay below 100."""

STREAM_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
"""The last asks reverse proxies in front of us (nginx) not to hold events back."""


async def generate(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """Serve one generation. Raises `ClientError`, `UpstreamError` (nothing sent yet) or `ClientGone`."""
    request, surface = exchange.request, exchange.surface
    dialect = registry.dialect(surface.dialect)
    limits = gateway.config.limits
    asked = dialect.parse_request(request.body, exchange.argument, request.query)
    if len(asked.model) > MODEL_CHARACTERS_MAX:
        message = f"the model's name is longer than {MODEL_CHARACTERS_MAX} characters"
        raise ClientError(Failure(400, Kind.INVALID_REQUEST, message, code="string_above_max_length", param="model"))
    exchange.model = asked.model
    exchange.stream = stream = asked.stream
    candidate = gateway.router.resolve(asked.model)
    endpoint = candidate.endpoint
    exchange.provider, exchange.upstream_model = candidate.provider, candidate.model
    option = stream and endpoint.config.provider.usage_in_stream is UsageInStream.OPTION
    body = dialect.render_request(asked, model=candidate.model, inject_usage=option, drop_usage=stream and not option)
    path = endpoint.path(surface.dialect)
    if path is None:
        message = f"the model {asked.model!r} is served by {candidate.provider}, which does not speak this dialect"
        raise ClientError(Failure(404, Kind.NOT_FOUND, message, code="model_not_found", param="model"))
    path = dialect.upstream_path(path, asked, model=candidate.model)
    tap = None
    if stream:
        strip = not asked.usage_wanted
        tap = dialect.open_tap(asked, strip_usage=strip, event_bytes_max=limits.event_bytes_max)
    attempt = Attempt(
        candidate,
        endpoint.message("POST", path, body, stream=stream, headers=upstream_headers(request, dialect)),
        head_bytes_max=limits.upstream_head_bytes_max,
        tap=tap,
        now=gateway.now,
    )
    exchange.attempts.append(attempt.record)
    try:
        if stream:
            headers = [
                (b"content-type", dialect.stream_content_type(asked)),
                *STREAM_HEADERS,
                *answer_headers(exchange, dialect, gateway.config.server.cors_origins),
            ]
            relay = Relay(
                exchange,
                attempt,
                downstream,
                dialect,
                headers=headers,
                keepalive_seconds=gateway.config.server.keepalive_comment_seconds or inf,
                timeouts=candidate.timeouts,
            )
            failure = await relay.run()
            exchange.outcome = Outcome.OK if failure is None else Outcome.INCOMPLETE
            await attempt.settle()
        else:
            await _answer_whole(gateway, exchange, downstream, attempt, dialect)
    finally:
        if tap is not None:
            exchange.usage = tap.usage
        attempt.close()


async def _answer_whole(
    gateway: Gateway, exchange: Exchange, downstream: Downstream, attempt: Attempt, dialect: Dialect
) -> None:
    config = gateway.config
    candidate = attempt.candidate
    seconds = candidate.timeouts.unary_seconds
    downstream.deadline = exchange.started + seconds
    try:
        await attempt.wait_head()
        body = await attempt.read_whole(config.limits.answer_bytes_max)
    except trio.Cancelled as exc:
        if not downstream.overdue:
            raise
        # The connection stays cancelled; what the client is told goes out without waiting, or not at all.
        message = f"no answer from {candidate.provider} for {seconds:g} s"
        failure = Failure(504, Kind.TIMEOUT, message, code="upstream_timeout")
        raise attempt.failed(failure, cause="timeout") from exc
    downstream.deadline = inf
    answer = dialect.read_answer(body)
    exchange.usage = answer.usage
    if answer.failure is not None:
        raise attempt.failed(answer.failure, cause="in_band")
    headers = [
        (b"content-type", b"application/json"),
        *answer_headers(exchange, dialect, config.server.cors_origins),
        *pick(attempt.answer, dialect.FORWARDED_ANSWER_HEADERS),
    ]
    # Before the answer is sent, so that a slow client does not keep the upstream's connection.
    attempt.close()
    exchange.ttft_seconds = attempt.ended - exchange.started
    exchange.status = 200
    exchange.outcome = Outcome.OK
    await downstream.answer(200, headers, body)
