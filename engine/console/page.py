"""What the quick-start page shows: values for the template, nothing of how it looks.

The page promises only what this gateway serves: an SDK family has a row when `status.json` lists its surface. All else
is from the status and the visitor's origin; the words of the snippets stand in `templates/snippets.html`.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from engine.console.status import Model, Status
from engine.proxy import is_loopback

MODEL_PLACEHOLDER = "your-model"
KEY_PLACEHOLDER = "sk-your-key"

PLAIN_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]+")
"""Names that need no quoting in a shell, in JSON, in Python and in JavaScript; only such a one is put into snippets."""


@dataclass(frozen=True, slots=True)
class Family:
    """One family of SDKs: the surface it needs, and the path its base URL has."""

    surface: str
    title: str
    path: str
    setting: str


FAMILIES = (
    Family("chat", "OpenAI SDKs", "/v1", "base_url"),
    Family("messages", "Anthropic SDKs", "/anthropic", "base_url"),
    Family("gemini", "Google Gen AI SDKs", "/compatible", "base_url"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """Everything the template may use."""

    origin: str
    version: str
    state: str
    uptime_text: str
    known: bool
    workers_serving: int
    workers: int
    families: tuple[Family, ...]
    models: tuple[Model, ...]
    model: str
    key: str
    key_given: bool
    keys_required: bool


STATES = {
    "serving": "Serving",
    "partial": "Serving, some workers are down",
    "starting": "Starting",
    "down": "Not serving",
}


def state_of(status: Status | None) -> str:
    """Return the one word for how the gateway is: a key of `STATES`."""
    if status is None or (status.workers and all(worker.state == "starting" for worker in status.workers)):
        return "starting"
    serving = status.workers_serving()
    if not serving:
        return "down"
    return "serving" if serving == len(status.workers) else "partial"


def page(status: Status | None, origin: str, now: float) -> Page:
    """Return what to show. Without a status (the gateway is only starting) the page still explains how to connect."""
    models = tuple(status.model_rows()) if status is not None else ()
    plain = [model.id for model in models if PLAIN_MODEL.fullmatch(model.id)]
    surfaces = (status.surfaces if status is not None else ()) or ("chat",)
    # Only to a visitor on this machine who says so: a page elsewhere can have its own name lead here (DNS rebinding).
    local = is_loopback(urlsplit(origin).hostname or "")
    demo_key = status.demo_key if status is not None and local else None
    return Page(
        origin=origin,
        version=status.version if status is not None else "",
        state=state_of(status),
        uptime_text=duration_text(now - status.start_time) if status is not None else "",
        known=status is not None,
        workers_serving=status.workers_serving() if status is not None else 0,
        workers=len(status.workers) if status is not None else 0,
        families=tuple(family for family in FAMILIES if family.surface in surfaces),
        models=models,
        model=plain[0] if plain else MODEL_PLACEHOLDER,
        key=demo_key or KEY_PLACEHOLDER,
        key_given=demo_key is not None,
        keys_required=status is None or status.keys_required,
    )


def duration_text(seconds: float) -> str:
    """Return a duration in its two largest units: "3 d 4 h", "12 min 5 s"."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
