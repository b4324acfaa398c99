"""Undecoded members of upstream documents: what their bytes alone tell.

A member is a `msgspec.Raw`, the bytes it was written in. Whether it says anything is seen from those, so an odd type
costs nothing and breaks nothing, and a member of many megabytes is neither decoded nor copied. What a member means is
for the dialect it stands in.
"""

import json
import re

from msgspec import Raw

NOTHING = Raw(b"")
"""An absent member."""

_EMPTY = frozenset({b"", b"null", b'""', b"[]", b"{}", b"false", b"0"})
_EMPTY_BYTES_MAX = max(map(len, _EMPTY))
_OPENING = b"[{"
_HOLLOW = re.compile(rb"\[\s*\]|\{\s*\}")


def says(raw: Raw) -> bool:
    """Whether a member is there and truthy: not null, false, 0, nor an empty text, array or object."""
    if raw is NOTHING:
        return False
    view = memoryview(raw)
    if len(view) <= _EMPTY_BYTES_MAX and bytes(view) in _EMPTY:
        return False
    return view[0] not in _OPENING or _HOLLOW.fullmatch(view) is None


def written(value: object) -> Raw:
    """Return a decoded value as a member again, None as an absent one. Raises `RecursionError` for too deep a value."""
    return Raw(json.dumps(value).encode()) if value is not None else NOTHING
