"""Model lists in the form most APIs share, `{"object": "list", "data": [{"id", "object", "created", "owned_by"}]}`.

Dialects that list models otherwise do it themselves; nothing is known here of who asks, or of what is listed.
"""

from collections.abc import Iterable

import msgspec

from adapters import lenient
from adapters.dialects import ModelEntry


def models_body(entries: Iterable[ModelEntry], query: bytes = b"") -> bytes:
    """Return GET /models: every entry, in order."""
    return msgspec.json.encode({"object": "list", "data": [_model(entry) for entry in entries]})


def model_body(entry: ModelEntry) -> bytes:
    """Return GET /models/{model}."""
    return msgspec.json.encode(_model(entry))


def read_models(body: bytes) -> tuple[str, ...]:
    """Return the model names of an upstream's list, each once, in its order. Raises `ValueError` when it is none.

    Most send `{"data": [{"id"}]}`, one vendor sends the bare array.
    """
    document = lenient.decode(body)
    items = document.get("data") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise ValueError("not a model list")  # noqa: TRY004 - the bytes are at fault, not a caller's argument
    names = [item["id"] for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]
    return tuple(dict.fromkeys(lenient.text(name) for name in names if name))


def _model(entry: ModelEntry) -> dict[str, object]:
    return {"id": entry.id, "object": "model", "created": entry.created, "owned_by": entry.owned_by}
