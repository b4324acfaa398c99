"""Arguments of a tool call: any text into the text of a JSON object, and when an object is complete.

Two dialects carry arguments as text and take any, two as an object and refuse everything else, on this turn and on
every later one that repeats it. `object_text` decides what becomes of text that is no object. Text that is one is
never written anew: its spelling is what an upstream has cached.

`Depth` follows arguments that arrive in pieces. It counts brackets outside of strings and knows no other grammar, so
it says when a value may be complete, never that one is valid; an upstream may still begin another.
"""

import re
from enum import Enum

import msgspec

from adapters import lenient, surrogates

NESTING_MAX = 100
"""Levels; readers refuse more (protobuf's JSON 100, serde_json 128), so deeper arguments are sent as their text."""

_NESTED_CHARACTERS_MIN = 2 * NESTING_MAX

# Skips values instead of building them, but reads them strictly; unlike building, that takes numbers of any size.
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VALUE = msgspec.json.Decoder(msgspec.Raw)
_STRING = msgspec.json.Decoder(str)

_BLANK = " \t\r\n"

_OUTSIDE = re.compile(r'[{}\[\]]|"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
"""A bracket, or a string as far as the text goes, with its closing quote if it is there."""

_INSIDE = re.compile(r'(?:[^"\\]++|\\.)*+("?)', re.DOTALL)


def object_text(arguments: str) -> str:
    """Return the arguments as the JSON text of an object, whatever they are; it always encodes, and reads strictly.

    An object is returned as it is, but for halves of characters, which become U+FFFD. Nothing and `null` are the empty
    object, an object written as a JSON string is that object, any other value is the `value` of an object and text that
    is no JSON the `_raw` of one.
    """
    text = arguments.strip()
    if len(text) < 5 and text in {"", "null", "{}"}:
        return "{}"
    whole = _valid(arguments)
    if whole is None:
        return _object_of("_raw", surrogates.mended(arguments))
    if text[0] == "{":
        return whole
    if text[0] == '"':
        inner = _valid(_STRING.decode(whole))
        if inner is not None and inner.lstrip(_BLANK).startswith("{"):
            return inner
    return '{"value":' + whole.strip(_BLANK) + "}"


def nesting(text: str) -> int:
    """Return how many brackets are open at once in a JSON text, at most."""
    if text.count("{") + text.count("[") <= 1:
        return 1
    deepest = depth = 0
    for match in _OUTSIDE.finditer(text):
        mark = match[0]
        if mark in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "}]":
            depth -= 1
    return deepest


def _valid(text: str) -> str | None:
    """Return the text if it is JSON, mended if that is all it takes; None if it is not, or nested too deeply."""
    if len(text) >= _NESTED_CHARACTERS_MIN and text.count("{") + text.count("[") >= NESTING_MAX <= nesting(text):
        return None
    decode = _OBJECT.decode if text.lstrip(_BLANK)[:1] == "{" else _VALUE.decode
    try:
        decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        text = _mended(text)
        try:
            decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return None
    return text


def _mended(text: str) -> str:
    """Return JSON text without halves of characters, neither written out nor escaped."""
    return lenient.repair_surrogates(surrogates.mended(text).encode()).decode()


def _object_of(member: str, text: str) -> str:
    return msgspec.json.encode({member: text}).decode()


class _At(Enum):
    OUTSIDE = "outside of strings"
    STRING = "inside a string"
    ESCAPE = "behind a backslash"


class Depth:
    """How deep arguments fed so far are nested. Every character is looked at once, wherever the text is cut."""

    __slots__ = ("_at", "_depth", "_opened")

    def __init__(self) -> None:
        self._at = _At.OUTSIDE
        self._depth = 0
        self._opened = False

    def __repr__(self) -> str:
        return f"<Depth {self._depth} {self._at.value}>"

    @property
    def complete(self) -> bool:
        """Whether every bracket is closed again, and there was one: never for a bare number, word or string."""
        return self._opened and not self._depth and self._at is _At.OUTSIDE

    def feed(self, fragment: str) -> None:
        """Take the next fragment of the text."""
        position = 0
        if self._at is _At.STRING and '"' not in fragment and "\\" not in fragment:
            return
        if self._at is not _At.OUTSIDE and fragment:
            match = _INSIDE.match(fragment, int(self._at is _At.ESCAPE))
            assert match is not None, "it matches nothing too"
            position = self._leave_string(match)
        for match in _OUTSIDE.finditer(fragment, position):
            mark = match[0]
            if mark in "{[":
                self._depth += 1
                self._opened = True
            elif mark in "}]":
                # A closer too many closes nothing, or all that follows would never be complete.
                self._depth -= self._depth > 0
            else:
                self._leave_string(match)
                if self._at is not _At.OUTSIDE:
                    return

    def _leave_string(self, match: re.Match[str]) -> int:
        """Note how a string's text ends in the fragment, return where what is outside of it goes on."""
        if match[1]:
            self._at = _At.OUTSIDE
            return match.end()
        # Only a backslash with nothing behind it is left unmatched.
        self._at = _At.ESCAPE if match.end() < len(match.string) else _At.STRING
        return len(match.string)
