"""POST /v1/realtime/client_secrets: an ephemeral key for a browser, as the vendor's API has it.

Asked with an ordinary key, it names the model and what the session is opened with; answered with a token that is good
for that, for so many seconds, on that key's account. Nothing is stored (`engine.ephemeral`), and no upstream is asked.
"""

import time
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from adapters import registry
from adapters.errors import ClientError, Failure, Kind
from engine.downstream import Downstream
from engine.ephemeral import SESSION_BYTES_MAX
from engine.exchange import Exchange, Outcome
from engine.gateway import Gateway
from engine.headers import answer_headers
from engine.sessions.opening import REALTIME, seek

SECONDS = 600
"""How long a secret is good for unless asked otherwise, as the vendor has it."""

SECONDS_MIN = 10
JSON = (b"content-type", b"application/json")


class ExpiresAfter(Struct, frozen=True):
    """`anchor` is always `created_at`."""

    seconds: Annotated[int, Meta(ge=SECONDS_MIN)] = SECONDS
    anchor: str = "created_at"


class Settings(Struct, frozen=True):
    """What has to be known of a session's settings."""

    model: str = ""


class Asked(Struct, frozen=True):
    """The body of a request."""

    session: Raw = Raw(b"{}")
    expires_after: ExpiresAfter = ExpiresAfter()


class Secret(Struct, frozen=True):
    """The answer. `session` is what was asked for."""

    value: str
    expires_at: int
    session: Raw


async def client_secret(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """Mint an ephemeral key. Raises `ClientError`: 400 for what is malformed, 403 for one asked with another, 404."""
    principal, options = exchange.principal, gateway.config.realtime
    if not options.enabled:
        message = "realtime sessions are switched off here"
        raise ClientError(Failure(501, Kind.INVALID_REQUEST, message, code="realtime_disabled"))
    try:
        asked = msgspec.json.decode(exchange.request.body or b"{}", type=Asked)
        settings = msgspec.json.decode(asked.session, type=Settings)
    except (msgspec.DecodeError, RecursionError) as exc:
        # msgspec's sentence names the place and what was expected there, and quotes no value.
        raise _malformed(f"the body cannot be used: {exc}", None) from exc
    if not settings.model:
        raise _malformed("session.model must name a model", "session.model")
    exchange.model = settings.model
    seek(gateway, exchange, REALTIME)
    if len(bytes(asked.session)) > SESSION_BYTES_MAX:
        raise _malformed(f"session must be at most {SESSION_BYTES_MAX} bytes: it travels in the secret", "session")
    if asked.expires_after.seconds > options.secret_seconds_max:
        message = f"expires_after.seconds must be at most {options.secret_seconds_max:g}"
        raise _malformed(message, "expires_after.seconds")
    expires = int(time.time()) + asked.expires_after.seconds
    value = gateway.keys.mint(principal, settings.model, expires=expires, session=bytes(asked.session))
    exchange.status, exchange.outcome = 200, Outcome.OK
    dialect = registry.dialect(exchange.surface.dialect)
    headers = [JSON, *answer_headers(exchange, dialect, gateway.config.server.cors_origins)]
    await downstream.answer(200, headers, msgspec.json.encode(Secret(value, expires, asked.session)))


def _malformed(message: str, param: str | None) -> ClientError:
    return ClientError(Failure(400, Kind.INVALID_REQUEST, message, code="invalid_value", param=param))
