"""What a failing connection means: the words a client is told, and the cause that logs and metrics count.

Pure, and without the addresses: where a provider is reached is for the operator's log, not for clients. Which failures
are retried or hidden is not decided here.
"""

import logging

from adapters.errors import Failure, Kind
from adapters.retry_hints import OVERLOAD_RETRY_SECONDS, retry_after
from engine.net import Broken, ConnectError
from engine.pool import PoolFull

logger = logging.getLogger(__name__)

CONNECT_WORDS = {
    "dns": "its name could not be resolved",
    "connect": "the connection was refused or cut",
    "tls": "the TLS handshake failed",
    "proxy": "the proxy did not let us through",
}

BROKEN_CAUSES: dict[str, str] = {
    "stream_incomplete": "incomplete",
    "upstream_protocol_error": "garbage",
    "event_too_large": "oversize",
    "empty_answer": "empty",
}
"""The causes of the gateway's own verdicts on a 2xx answer, by code; what the upstream itself says is `in_band`."""


def no_connection(provider: str, exc: Exception, seconds: float) -> tuple[Failure, str]:
    """Return failure and cause of a connection that did not come about within `seconds`."""
    if isinstance(exc, PoolFull):
        message, hint = f"too many open connections to {provider}", retry_after(OVERLOAD_RETRY_SECONDS)
        return Failure(503, Kind.OVERLOADED, message, code="pool_full", headers=hint), "pool_full"
    if isinstance(exc, ConnectError):
        logger.info("cannot connect to %s: %s", provider, exc)
        message = f"cannot connect to {provider}: {CONNECT_WORDS[exc.phase]}"
        failure = Failure(502, Kind.UPSTREAM, message, code="upstream_unreachable")
        return failure, "refused" if exc.phase == "connect" else exc.phase
    message = f"connecting to {provider} took longer than {seconds:g} s"
    return Failure(504, Kind.TIMEOUT, message, code="upstream_connect_timeout"), "connect_timeout"


def broken(provider: str, exc: Exception, *, answered: bool, cut: bool) -> tuple[Failure, str]:
    """Return failure and cause of a connection that broke: `answered` if a byte had come, `cut` if too few of them."""
    if isinstance(exc, Broken):
        message = f"the connection to {provider} broke: {exc}"
        return Failure(502, Kind.UPSTREAM, message, code="upstream_reset"), "reset"
    if not answered:
        return Failure(502, Kind.UPSTREAM, f"{provider} closed without an answer", code="upstream_closed"), "reset"
    if cut:
        message = f"the answer of {provider} ended before it was complete"
        return Failure(502, Kind.UPSTREAM, message, code="stream_incomplete"), "incomplete"
    message = f"{provider} sent something that cannot be read: {exc}"
    return Failure(502, Kind.UPSTREAM, message, code="upstream_protocol_error"), "garbage"
