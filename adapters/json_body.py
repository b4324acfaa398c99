"""JSON request bodies: taken apart into members that stay the bytes they came in, and put together again.

The body must be a JSON object in UTF-8 as a whole (RFC 8259, section 8.1); nothing below its members is decoded until
it is asked for. Agents cut tool results by UTF-16 length and send half a character; U+FFFD says so, and upstreams
accept it. A member said twice means the last one, here and upstream alike: such a body is never passed on as it came,
or two readers could disagree about it.

What a refusal looks like is not known here: each dialect hands over the function that words it.
"""

import re
from codecs import utf_8_decode
from collections.abc import Callable
from math import inf

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.errors import ClientError

Members = dict[str, Raw]

Refuse = Callable[[str], ClientError]
"""Makes a dialect's error of what is to be said."""

NOT_JSON = "The request body is not valid JSON"

_DECODER = msgspec.json.Decoder(Members)
_ENCODER = msgspec.json.Encoder()
_WHITESPACE = b" \n\t\r"
_BLANK = re.compile(rb"[ \n\t\r]*+")
_PIECE_BYTES = 65_536


def read(body: bytes, refuse: Refuse, *, not_json: str = NOT_JSON) -> tuple[Members, bytes]:
    """Return the members and the body they stand in, which differs from `body` only in repaired surrogates.

    Raises what `refuse` makes of a sentence that says what is wrong, and where; `not_json` begins the one about broken
    syntax. Takes linear time.
    """
    if not body or body.isspace():
        raise refuse("The request body is empty; a JSON object is required.")
    if not body.isascii():
        fault = _fault_in_utf8(body)
        if fault >= 0:
            raise refuse(f"The request body is not valid UTF-8 (byte {fault}).")
    try:
        return _DECODER.decode(body), body
    except (msgspec.DecodeError, RecursionError) as exc:
        repaired = body if isinstance(exc, RecursionError) else lenient.repair_surrogates(body)
        if repaired is body:
            raise refuse(_fault(exc, body, not_json)) from exc
    try:
        return _DECODER.decode(repaired), repaired
    except (msgspec.DecodeError, RecursionError) as exc:
        raise refuse(_fault(exc, repaired, not_json)) from exc


def field(fields: Members, name: str, refuse_depth: Refuse) -> object:
    """Decode one member; an absent one is None, like a null, and one that holds a number beyond all bounds infinite.

    Raises what `refuse_depth` makes of the name when the member is nested deeper than can be read.
    """
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:
        return inf  # JSON sets no bounds to its numbers (RFC 8259, section 6), the decoder does
    except RecursionError as exc:
        raise refuse_depth(name) from exc


def render(fields: Members, original: bytes) -> bytes:
    """Return the body of unchanged members: `original` itself unless it says more than they do."""
    if len(original) > _PIECE_BYTES:
        return original if _says_nothing_else(fields, original) else _ENCODER.encode(fields)
    rendered = _ENCODER.encode(fields)
    # Only whitespace may tell them apart: a member said twice, or a name written with escapes, makes more.
    same = len(rendered) == len(original) or _ink(rendered) == _ink(original)
    return original if same else rendered


def render_renamed(fields: Members, model: str) -> bytes:
    """Return the body with the member `model` saying `model`."""
    return _ENCODER.encode(fields | {"model": Raw(_ENCODER.encode(model))})


def _fault(exc: msgspec.DecodeError | RecursionError, body: bytes, not_json: str) -> str:
    if isinstance(exc, RecursionError):
        return "The request body is nested too deeply."
    if isinstance(exc, msgspec.ValidationError):
        return "The request body must be a JSON object."
    # The decoder's sentence holds the position, or says that the input ended too early.
    where = str(exc) if "byte" in str(exc) else f"{exc} (byte {len(body)})"
    return f"{not_json}: {where}."


def _fault_in_utf8(body: bytes) -> int:
    """Return where the first bytes are that are not UTF-8, -1 if there are none.

    Piece by piece, for the text itself is not wanted: as a whole it takes three times as long.
    """
    view = memoryview(body)
    at = 0
    while at < len(body):
        end = at + _PIECE_BYTES
        try:
            at += utf_8_decode(view[at:end], "strict", end >= len(body))[1]
        except UnicodeDecodeError as exc:
            return at + exc.start
    return -1


def _ink(document: bytes) -> int:
    """Count what is no whitespace."""
    return len(document.translate(None, _WHITESPACE))


def _says_nothing_else(fields: Members, document: bytes) -> bool:
    """Whether a document is these members in their order, and whitespace: for a large one, of which this makes no copy.

    No value is the beginning of another one but for numbers, and behind one only a comma or the end is let pass here.
    So what begins with a member's bytes is that member.
    """
    tokens = [token for name, raw in fields.items() for token in (b",", _ENCODER.encode(name), b":", raw)]
    at = 0
    for token in (b"{", *tokens[1:], b"}"):
        blank = _BLANK.match(document, at)
        assert blank is not None
        at = blank.end()
        if not document.startswith(token, at):
            return False
        at += memoryview(token).nbytes
    return True
