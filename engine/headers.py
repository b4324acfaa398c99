"""The headers Hedgerow itself puts on its answers, and the few it lets through.

Everything not named here stays behind: an upstream's headers speak of the gateway's account with it, a client's of its
own connection and credentials.
"""

from collections.abc import Sequence

from adapters.dialects import Dialect
from engine.exchange import Exchange
from engine.http1 import Request, ResponseParser

PROVIDER_HEADER = b"x-hedgerow-provider"

CORS_EXPOSED = (
    b"x-request-id, x-hedgerow-provider, x-hedgerow-attempts, x-hedgerow-hedged, x-hedgerow-dropped, "
    b"retry-after, retry-after-ms, x-should-retry"
)
"""What a page may see of an answer: who answered and how, and when to ask again."""

ALONE = ((b"x-hedgerow-attempts", b"1"), (b"x-hedgerow-hedged", b"false"))
"""Of an answer that came at the first attempt."""

CORS_METHODS = b"GET, POST, OPTIONS"
CORS_MAX_AGE_SECONDS = b"86400"


def answer_headers(exchange: Exchange, dialect: Dialect, cors_origins: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer to `exchange`: request id, provider, and CORS for a browser that asked."""
    headers = [(name, exchange.request_id) for name in dialect.REQUEST_ID_HEADERS]
    if exchange.provider is not None:
        headers.append((PROVIDER_HEADER, exchange.provider.encode()))
    if cors_origins:
        headers += cors_headers(exchange.request, cors_origins)
    return headers


def race_headers(attempts: int, *, hedged: bool) -> Sequence[tuple[bytes, bytes]]:
    """Return the headers that say after how many attempts an answer, or an error, came, and whether two ran at once."""
    if attempts == 1 and not hedged:
        return ALONE
    return [(b"x-hedgerow-attempts", b"%d" % attempts), (b"x-hedgerow-hedged", b"true" if hedged else b"false")]


def cors_headers(request: Request, origins: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    """Return what a browser needs to see an answer (Fetch, section 3.2); empty for others and foreign origins."""
    origin = request.get(b"origin")
    if origin is None or not origins:
        return []
    if "*" in origins:
        return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", CORS_EXPOSED)]
    if origin.decode("latin-1") not in origins:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", CORS_EXPOSED),
        (b"vary", b"origin"),
    ]


def preflight_headers(request: Request, origins: tuple[str, ...], allow: bytes) -> list[tuple[bytes, bytes]]:
    """Return the answer to OPTIONS: what is allowed, and the preflight's headers when the origin may ask."""
    headers = [(b"allow", allow)]
    cors = cors_headers(request, origins)
    if cors:
        wanted = request.get(b"access-control-request-headers") or b"authorization, content-type"
        headers += cors
        headers += [
            (b"access-control-allow-methods", CORS_METHODS),
            (b"access-control-allow-headers", wanted),
            (b"access-control-max-age", CORS_MAX_AGE_SECONDS),
        ]
    return headers


def pick(message: Request | ResponseParser, names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers of `message` whose lower-cased names are in `names`, in their order; seldom there are any."""
    if names.isdisjoint(message.names):
        return []
    return [header for header in message.headers if header[0] in names]


def upstream_headers(request: Request, dialect: Dialect) -> list[tuple[bytes, bytes]]:
    """Return what of a client's headers its upstream gets, and the defaults of those it must get."""
    headers = pick(request, dialect.FORWARDED_REQUEST_HEADERS)
    for name, value in dialect.REQUIRED_REQUEST_HEADERS:
        if name not in request.index:
            headers.append((name, value))
    return headers
