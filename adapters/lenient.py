"""Lenient JSON: reading what strict readers refuse and vendors send all the same.

msgspec is the reader everywhere; this is the second try. It refuses lone surrogates (`"\\ud83d"` without its other
half), which real clients and upstreams produce by cutting text by UTF-16 length, and NaN. The rule: leniency costs
nothing while nothing is wrong, and every function here takes time linear in its input. Nothing is raised but
`NotJsonError`.
"""

import json
import re

import msgspec

SURROGATE_REPAIRS_MAX = 10_000
"""More lone surrogates than this in one document are an attack on the repairing loop, not a mistake."""

_STRICT = msgspec.json.Decoder()

# A run of bytes without a lone surrogate escape, then that escape if there is one. Possessive, so a run is read once.
_RUN = re.compile(
    rb"""(?: [^\\]++
          | \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
          | \\(?!u[dD][89a-fA-F]).
        )*+
        (\\u[dD][89a-fA-F][0-9a-fA-F]{2})?""",
    re.DOTALL | re.VERBOSE,
)


class NotJsonError(ValueError):
    """Not even leniently JSON, or nested too deeply to read."""


def decode(document: bytes | msgspec.Raw) -> object:
    """Return the value of a JSON document, whatever its text holds. Raises `NotJsonError`."""
    try:
        return _STRICT.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError as exc:
        raise NotJsonError("nested too deeply") from exc
    try:
        return json.loads(bytes(document).decode("utf-8", "replace"))
    except (ValueError, RecursionError) as exc:
        raise NotJsonError("not JSON") from exc


def repair_surrogates(document: bytes) -> bytes:
    """Return the document with each lone surrogate escape as U+FFFD, the same object when there is none or too many.

    Only escapes are touched, and `\\ufffd` is as long as what it replaces, so every position stays.
    """
    pieces: list[bytes] = []
    position = 0
    while len(pieces) < 2 * SURROGATE_REPAIRS_MAX:
        match = _RUN.match(document, position)
        if match is None or match.group(1) is None:
            break
        pieces += (document[position : match.start(1)], b"\\ufffd")
        position = match.end()
    else:
        return document
    if not pieces:
        return document
    pieces.append(document[position:])
    return b"".join(pieces)


def text(value: str) -> str:
    """Return the text with lone surrogates replaced, so that it can be encoded."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode()
    return value
