"""What is kept of an exchange: one access-log entry, and the counters.

Runs in the exchange's `finally`: synchronous, no formatting, nothing that can fail or wait. Writing is the log's own
task. Entries are made by position: eighteen keywords cost twice as much as all the rest of this file.
"""

import time

from engine.accesslog import AttemptEntry, Entry
from engine.downstream import Downstream
from engine.exchange import CLIENT_CLOSED_REQUEST, Exchange, Outcome, milliseconds
from engine.gateway import Gateway
from engine.principal import NOBODY
from engine.routes import Action

LOGGED = frozenset({Action.GENERATE, Action.SESSION})

MALFORMED = "malformed"
"""The surface of what was refused before it was a request."""


def record(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """Count the exchange and queue its log entry; once per exchange, whatever happened to it."""
    duration_seconds, ttft_seconds = gateway.now() - exchange.started, exchange.ttft_seconds
    duration_ms, ttft_ms = milliseconds(duration_seconds), None if ttft_seconds is None else milliseconds(ttft_seconds)
    outcome = exchange.outcome or Outcome.INTERNAL_ERROR
    status = exchange.status or CLIENT_CLOSED_REQUEST
    metrics = gateway.metrics
    metrics.request_finished(
        exchange.surface.name,
        exchange.upstream_model,
        exchange.provider,
        status,
        outcome,
        duration_seconds,
        ttft_seconds,
        exchange.usage,
    )
    attempts = []
    for attempt in exchange.attempts:
        provider, cause, seconds, usage = attempt.provider, attempt.cause, attempt.seconds, attempt.usage
        metrics.attempt_finished(provider, cause, seconds)
        if usage is not None:
            metrics.attempt_wasted(provider, usage)
        attempts.append(
            AttemptEntry(
                provider,
                attempt.model,
                cause,
                attempt.status,
                attempt.reused,
                milliseconds(attempt.offset_seconds),
                milliseconds(seconds),
                usage,
            )
        )
    if exchange.hedged:
        metrics.request_hedged()
    treasury = gateway.treasury
    if treasury is not None and exchange.surface.action in LOGGED and not exchange.drained:
        # Who has no key in force leaves a line in the access log, not rows in a database.
        known = exchange.principal is not NOBODY or not gateway.keys.required
        if known:
            treasury.record(exchange, ttft_ms, duration_ms)
    request = exchange.request
    gateway.access_log.record(
        Entry(
            time.time(),
            exchange.request_id.decode(),
            exchange.principal.id,
            request.method,
            request.path.decode("ascii", "replace"),
            exchange.surface.name,
            exchange.model,
            exchange.provider,
            exchange.upstream_model,
            status,
            outcome,
            len(request.body),
            downstream.bytes_out,
            exchange.stream,
            exchange.usage,
            ttft_ms,
            duration_ms,
            attempts,
        )
    )


def record_refusal(gateway: Gateway, status: int, *, seconds: float) -> None:
    """Count and log what never became a request: bytes that are not HTTP, a head that took too long, no room."""
    gateway.metrics.request_started(MALFORMED)
    gateway.metrics.request_finished(MALFORMED, None, None, status, Outcome.REFUSED, seconds)
    gateway.access_log.record(
        Entry(
            time=time.time(),
            request_id="",
            key=None,
            method="",
            path="",
            surface=MALFORMED,
            model=None,
            provider=None,
            upstream_model=None,
            status=status,
            outcome=Outcome.REFUSED,
            bytes_in=0,
            bytes_out=0,
            stream=False,
            usage=None,
            ttft_ms=None,
            duration_ms=milliseconds(seconds),
        )
    )
