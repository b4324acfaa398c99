"""(method, path) -> surface: one literal table.

A *surface* is what a route serves. Everything the workers answer themselves stands in `SURFACES`; a path that is not
here but lies below an API prefix is answered 404 in the API's envelope, and every other path belongs to the management
plane (None). `/api/v1/...` serves what `/v1/...` serves. This module does not know how any surface is served.
"""

from dataclasses import dataclass
from enum import IntEnum

from engine.http1 import Request


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
    PROBE = 8
    SESSION = 9
    CLIENT_SECRET = 10


@dataclass(frozen=True, slots=True)
class Surface:
    """One data route: its action, the dialect it speaks (requests, answers and errors), and who may call it."""

    name: str
    action: Action
    dialect: str
    public: bool = False
    """True: no key is asked for."""


CHAT = Surface("chat", Action.GENERATE, "chat")
COMPLETIONS = Surface("completions", Action.GENERATE, "legacy")
RESPONSES = Surface("responses", Action.GENERATE, "responses")
MESSAGES = Surface("messages", Action.GENERATE, "messages")
GEMINI = Surface("gemini", Action.GENERATE, "gemini")
REALTIME = Surface("realtime", Action.SESSION, "chat")
SOCKETED = Surface("responses_socket", Action.SESSION, "responses")
CLIENT_SECRETS = Surface("client_secrets", Action.CLIENT_SECRET, "chat")
HEALTH = Surface("health", Action.HEALTH, "chat", public=True)
READY = Surface("ready", Action.READY, "chat", public=True)
PROBE = Surface("probe", Action.PROBE, "chat", public=True)
PAGE = Surface("page", Action.UNKNOWN, "chat")
"""A page that is not served: there is no console, or a foreign page asks a gateway without keys (then 403)."""

GENERATIONS = (CHAT.name, RESPONSES.name, MESSAGES.name, GEMINI.name)
"""What the quick-start page may promise."""

MODEL_LISTS = {dialect: Surface("models", Action.MODEL_LIST, dialect) for dialect in ("chat", "messages", "gemini")}
MODELS = {dialect: Surface("model", Action.MODEL, dialect) for dialect in ("chat", "messages", "gemini")}
REFUSALS = {
    action: {
        dialect: Surface(action.name.lower(), action, dialect, public=True)
        for dialect in ("chat", "messages", "gemini")
    }
    for action in (Action.PREFLIGHT, Action.UNKNOWN, Action.WRONG_METHOD)
}
UNKNOWN = REFUSALS[Action.UNKNOWN]["chat"]


def _read(surface: Surface) -> dict[str, Surface]:
    return {"GET": surface, "HEAD": surface}


SURFACES: dict[bytes, dict[str, Surface]] = {
    b"/v1/chat/completions": {"POST": CHAT},
    b"/v1/completions": {"POST": COMPLETIONS},
    b"/v1/responses": {"POST": RESPONSES, "GET": SOCKETED},
    b"/v1/realtime": {"GET": REALTIME},
    b"/v1/realtime/client_secrets": {"POST": CLIENT_SECRETS},
    b"/v1/messages": {"POST": MESSAGES},
    b"/v1/models": {"GET": MODEL_LISTS["chat"], "HEAD": PROBE},
    b"/anthropic/v1/messages": {"POST": MESSAGES},
    b"/anthropic/v1/models": _read(MODEL_LISTS["messages"]),
    b"/v1beta/models": _read(MODEL_LISTS["gemini"]),
    b"/compatible/v1beta/models": _read(MODEL_LISTS["gemini"]),
    b"/compatible/v1/models": _read(MODEL_LISTS["gemini"]),
    b"/health": _read(HEALTH),
    b"/health/ready": _read(READY),
}

PROBED = (b"/", b"/api/hello")
"""Pages that agents ask for with HEAD, some before every session; with any other method they are the console's."""

PREFIXED: tuple[tuple[bytes, dict[str, Surface]], ...] = (
    # Newer clients of the third dialect ask below /v1/models; only their method tells them from a look at one model.
    (b"/v1/models/", {**_read(MODELS["chat"]), "POST": GEMINI}),
    (b"/v1/messages/", {"POST": MESSAGES}),
    (b"/anthropic/v1/messages/", {"POST": MESSAGES}),
    (b"/anthropic/v1/models/", _read(MODELS["messages"])),
    (b"/v1beta/models/", {**_read(MODELS["gemini"]), "POST": GEMINI}),
    (b"/compatible/v1beta/models/", {**_read(MODELS["gemini"]), "POST": GEMINI}),
    (b"/compatible/v1/models/", {**_read(MODELS["gemini"]), "POST": GEMINI}),
)
"""Paths whose rest is an argument, which may hold slashes (model names do)."""

SHARED = frozenset({Action.MODEL_LIST, Action.MODEL})
"""What clients of every dialect ask below the same path."""

SPOKEN_BY_HEADER: tuple[tuple[bytes, str], ...] = ((b"anthropic-version", "messages"), (b"x-goog-api-key", "gemini"))
"""`/v1/models` is asked by clients of every dialect; these headers tell them apart."""

SPOKEN_BELOW: tuple[tuple[bytes, str], ...] = (
    (b"/v1/messages", "messages"),
    (b"/anthropic/", "messages"),
    (b"/v1beta/", "gemini"),
    (b"/compatible/", "gemini"),
)
"""Whose words a refusal below a path is in; elsewhere it is the first dialect's."""

ACCOUNT_PATHS = frozenset({b"/v1/me", b"/api/v1/me"})
ACCOUNT_METHODS = ("GET", "HEAD")
"""The one page of the management plane below an API prefix. Any other method is refused as a data route's is."""

API_PREFIXES = (b"/v1/", b"/v1beta/", b"/anthropic/", b"/compatible/")
ALIAS_PREFIX = b"/api/v1/"

for _path, _methods in list(SURFACES.items()):
    if _path.startswith(b"/v1/"):
        SURFACES[b"/api" + _path] = _methods
PREFIXED += tuple((b"/api" + prefix, methods) for prefix, methods in PREFIXED if prefix.startswith(b"/v1/"))


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
} | {("HEAD", path): Match(PROBE) for path in PROBED}


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
    if methods is None and path in ACCOUNT_PATHS:
        if method in ACCOUNT_METHODS:
            return None
        methods = dict.fromkeys(ACCOUNT_METHODS, UNKNOWN)
    if methods is None:
        return _refusal(Action.UNKNOWN, path) if path.startswith((ALIAS_PREFIX, *API_PREFIXES)) else None
    surface = methods.get(method)
    if surface is not None:
        return Match(surface, argument)
    allow = ", ".join((*methods, "OPTIONS")).encode()
    return _refusal(Action.PREFLIGHT if method == "OPTIONS" else Action.WRONG_METHOD, path, allow)


def spoken(match: Match, request: Request) -> Match:
    """Return `match` in the dialect that the client of a shared route gives away by its headers."""
    if match.surface.dialect == "chat" and match.surface.action in SHARED:
        for header, dialect in SPOKEN_BY_HEADER:
            if header in request.index:
                surfaces = MODEL_LISTS if match.surface.action is Action.MODEL_LIST else MODELS
                return Match(surfaces[dialect], match.argument)
    return match


def _refusal(action: Action, path: bytes, argument: bytes = b"") -> Match:
    path = path.removeprefix(b"/api")
    dialect = next((dialect for prefix, dialect in SPOKEN_BELOW if path.startswith(prefix)), "chat")
    return Match(REFUSALS[action][dialect], argument)
