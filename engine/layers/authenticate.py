"""Who is asking: the one place that turns a request's credential into a principal.

A key is taken from `Authorization: Bearer`, `x-api-key`, `x-goog-api-key`, a WebSocket's subprotocol or `?key=`, in
that order. Without any
key the gateway only listens on loopback, and then the danger is a web page in the user's own browser: a page
may send requests to loopback, directly or under a name it has rebound. So a keyless gateway serves only requests whose
`Host`, and whose `Origin` if there is one, are loopback names. Where keys come from is `engine.keyring`'s business.
"""

import time
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from adapters.errors import ClientError, Failure, Kind
from engine.ephemeral import PREFIX
from engine.exchange import Exchange
from engine.http1 import Request
from engine.keyring import Keyring
from engine.principal import NOBODY, Principal
from engine.routes import Action

SCOPED = frozenset({Action.GENERATE, Action.SESSION, Action.CLIENT_SECRET})
"""What a key may be allowed, or not, by the surface's name."""

KEY_PROTOCOL = b"openai-insecure-api-key."
"""The subprotocol in which a browser sends a key, since it can send no header (platform.openai.com, Realtime)."""


def authenticate(keys: Keyring, exchange: Exchange) -> None:
    """Set `exchange.principal`. Raises `ClientError` 401 without a key in force, 403 for a foreign page or address."""
    surface = exchange.surface
    if not surface.public:
        exchange.principal = identify(keys, exchange.request, exchange.address)
        if surface.action in SCOPED:
            exchange.principal.check_surface(surface.name)


def identify(keys: Keyring, request: Request, address: str) -> Principal:
    """Return whom the key in a request's head stands for. Raises as `authenticate`."""
    token = credential(request)
    if not keys.required:
        if not is_from_loopback(request):
            message = (
                "this gateway has no keys and so answers to loopback names only; "
                "configure one to be reachable otherwise"
            )
            raise ClientError(Failure(403, Kind.PERMISSION, message, code="loopback_only"))
        # A client secret says what its session is to be, also where nobody needs one.
        if token is None or not token.startswith(PREFIX):
            return NOBODY
    if token is None:
        message = "no API key: send it as `Authorization: Bearer KEY`"
        raise ClientError(Failure(401, Kind.AUTHENTICATION, message, code="missing_api_key"))
    principal = keys.authenticate(token)
    if principal is None:
        raise ClientError(Failure(401, Kind.AUTHENTICATION, "incorrect API key", code="invalid_api_key"))
    principal.check(address, time.time())
    return principal


def credential(request: Request) -> bytes | None:
    """Return the key a request carries, or None."""
    authorization = request.get(b"authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        token = token.strip()
        if token and scheme.lower() == b"bearer":
            return token
    token = request.get(b"x-api-key") or request.get(b"x-goog-api-key") or b""
    if token:
        return token
    offered = request.get(b"sec-websocket-protocol")
    if offered is not None:
        for name in offered.split(b","):
            if name.strip().startswith(KEY_PROTOCOL):
                return name.strip().removeprefix(KEY_PROTOCOL)
    if b"key=" in request.query:
        # In the one encoding that takes any bytes, so that no two tokens are read as the same.
        values = parse_qs(request.query.decode("latin-1"), encoding="latin-1").get("key")
        if values:
            return values[0].encode("latin-1")
    return None


def is_from_loopback(request: Request) -> bool:
    """Whether host and origin are loopback names: anything else may be a foreign page (DNS rebinding, cross-site)."""
    host = request.get(b"host") or b""
    origin = request.get(b"origin")
    return is_loopback(b"//" + host) and (origin is None or is_loopback(origin))


def is_loopback(url: bytes) -> bool:
    """Whether the host of `url` is `localhost`, below it, or a loopback address."""
    try:
        host = urlsplit(url.decode("ascii")).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
