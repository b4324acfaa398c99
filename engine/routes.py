"""(method, path) -> surface: one literal table.

A *surface* is what a route serves. Everything the workers answer themselves stands in `SURFACES`; a path that is not
here but lies below an API prefix is answered 404 in the API's envelope, and every other path belongs to the management
plane (None). `/api/v1/...` serves what `/v1/...` serves. This module does not know how any surface is served.
"""

from dataclasses import dataclass
from enum import IntEnum


class Action(IntEnum):
    """What serving a surface means; the pipeline maps each to one function."""

    GENERATE = 0
    MODEL_LIST = 1
    MODEL = 2
    HEALTH = 3
    READY = 4
    PREFLIGHT = 5
    UNKNOWN = 6
    WRONG_METHOD = 7


@dataclass(frozen=True, slots=True)
class Surface:
    """One data route: its action, the dialect it speaks (requests, answers and errors), and who may call it."""

    name: str
    action: Action
    dialect: str
    public: bool = False
    """True: no key is asked for."""


CHAT = Surface("chat", Action.GENERATE, "chat")
MODEL_LIST = Surface("models", Action.MODEL_LIST, "chat")
MODEL = Surface("model", Action.MODEL, "chat")
HEALTH = Surface("health", Action.HEALTH, "chat", public=True)
READY = Surface("ready", Action.READY, "chat", public=True)
PREFLIGHT = Surface("preflight", Action.PREFLIGHT, "chat", public=True)
UNKNOWN = Surface("unknown", Action.UNKNOWN, "chat", public=True)
PAGE = Surface("page", Action.UNKNOWN, "chat")
"""A page that is not served: there is no console, or a foreign page asks a gateway without keys (then 403)."""
WRONG_METHOD = Surface("wrong_method", Action.WRONG_METHOD, "chat", public=True)

SURFACES: dict[bytes, dict[str, Surface]] = {
    b"/v1/chat/completions": {"POST": CHAT},
    b"/v1/models": {"GET": MODEL_LIST, "HEAD": MODEL_LIST},
    b"/health": {"GET": HEALTH, "HEAD": HEALTH},
    b"/health/ready": {"GET": READY, "HEAD": READY},
}

PREFIXED: tuple[tuple[bytes, dict[str, Surface]], ...] = ((b"/v1/models/", {"GET": MODEL, "HEAD": MODEL}),)
"""Paths whose rest is an argument, which may hold slashes (model names do)."""

API_PREFIXES = (b"/v1/", b"/v1beta/", b"/anthropic/", b"/compatible/")
ALIAS_PREFIX = b"/api/v1/"

for _path, _methods in list(SURFACES.items()):
    if _path.startswith(b"/v1/"):
        SURFACES[b"/api" + _path] = _methods
PREFIXED += tuple((b"/api" + prefix, methods) for prefix, methods in PREFIXED)


@dataclass(frozen=True, slots=True)
class Match:
    """A served route: its surface, and what the path or the table adds to it.

    `argument` is the rest of a prefixed path, still percent-encoded, or for `PREFLIGHT` and `WRONG_METHOD` the methods
    that are allowed.
    """

    surface: Surface
    argument: bytes = b""


_EXACT: dict[tuple[str, bytes], Match] = {
    (method, path): Match(surface) for path, methods in SURFACES.items() for method, surface in methods.items()
}


def resolve(method: str, path: bytes) -> Match | None:
    """Find what serves `method path`, None for the management plane; one dictionary look-up for every hot route."""
    match = _EXACT.get((method, path))
    if match is not None:
        return match
    methods, argument = SURFACES.get(path), b""
    if methods is None:
        for prefix, prefixed_methods in PREFIXED:
            if path.startswith(prefix) and len(path) > len(prefix):
                methods, argument = prefixed_methods, path[len(prefix) :]
                break
    if methods is None:
        return Match(UNKNOWN) if path.startswith((ALIAS_PREFIX, *API_PREFIXES)) else None
    surface = methods.get(method)
    if surface is not None:
        return Match(surface, argument)
    allow = ", ".join((*methods, "OPTIONS")).encode()
    return Match(PREFLIGHT if method == "OPTIONS" else WRONG_METHOD, allow)
