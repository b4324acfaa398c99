"""What is kept of an exchange: one access-log entry, and the counters.

Runs in the exchange's `finally`: synchronous, no formatting, nothing that can fail or wait. Writing is the log's own
task.
"""

import time

from engine.accesslog import AttemptEntry, Entry
from engine.downstream import Downstream
from engine.exchange import Exchange, Outcome
from engine.gateway import Gateway

MALFORMED = "malformed"
"""The surface of what was refused before it was a request."""

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left before an answer began; only ever logged, never sent."""


def record(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """Count the exchange and queue its log entry; once per exchange, whatever happened to it."""
    duration_seconds = gateway.now() - exchange.started
    outcome = exchange.outcome or Outcome.INTERNAL_ERROR
    status = exchange.status or CLIENT_CLOSED_REQUEST
    metrics = gateway.metrics
    metrics.request_finished(
        exchange.surface.name,
        exchange.upstream_model,
        exchange.provider,
        status,
        outcome.value,
        duration_seconds,
        exchange.ttft_seconds,
        exchange.usage,
    )
    for attempt in exchange.attempts:
        metrics.attempt_finished(attempt.provider, attempt.cause, attempt.seconds)
    request = exchange.request
    gateway.access_log.record(
        Entry(
            time=time.time(),
            request_id=exchange.request_id.decode("ascii"),
            key=exchange.key,
            method=request.method,
            path=request.path.decode("ascii", "replace"),
            surface=exchange.surface.name,
            model=exchange.model,
            provider=exchange.provider,
            upstream_model=exchange.upstream_model,
            status=status,
            outcome=outcome.value,
            bytes_in=len(request.body),
            bytes_out=downstream.bytes_out,
            stream=exchange.stream,
            usage=exchange.usage,
            ttft_ms=None if exchange.ttft_seconds is None else round(exchange.ttft_seconds * 1000, 3),
            duration_ms=round(duration_seconds * 1000, 3),
            attempts=[
                AttemptEntry(
                    attempt.provider,
                    attempt.model,
                    attempt.cause,
                    attempt.status,
                    attempt.reused,
                    round(attempt.seconds * 1000, 3),
                )
                for attempt in exchange.attempts
            ],
        )
    )


def record_refusal(gateway: Gateway, status: int, *, seconds: float) -> None:
    """Count and log what never became a request: bytes that are not HTTP, a head that took too long."""
    gateway.metrics.request_started(MALFORMED)
    gateway.metrics.request_finished(MALFORMED, None, None, status, Outcome.REFUSED.value, seconds)
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
            outcome=Outcome.REFUSED.value,
            bytes_in=0,
            bytes_out=0,
            stream=False,
            usage=None,
            ttft_ms=None,
            duration_ms=round(seconds * 1000, 3),
        )
    )
