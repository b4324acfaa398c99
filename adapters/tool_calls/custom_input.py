"""Free-form tools as functions: a tool that takes text, for an upstream whose tools take objects.

The upstream is shown a function with one string property, `input`; its arguments are the text wrapped into an object,
and are unwrapped again while they stream. What a free-form tool's grammar demands is lost on the way: who declares the
tool says it in the description.

Unwrapping is tolerant: only what stands in front of the text has to be an object's beginning. A text cut short is
passed as far as it came, an escape unknown to JSON as it stands, line ends that should have been escaped too; what
follows the text is ignored. Arguments without that member are no wrapped text at all and come out whole, but only at
the end, for any of them could still be the beginning.
"""

import re
from enum import Enum

import msgspec

from adapters import surrogates

MEMBER = "input"

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {MEMBER: {"type": "string", "description": "The whole input of the tool, as plain text."}},
    "required": [MEMBER],
    "additionalProperties": False,
}
"""The parameters of the function that stands for a free-form tool. Shared: never changed in place."""

_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

# A string's text up to its quote or to an escape that the fragment cuts. `\u` without four digits is text.
_TEXT = re.compile(r'(?:[^"\\]++|\\[^u]|\\u(?:[0-9a-fA-F]{4}|(?![0-9a-fA-F]{0,3}\Z)))*+', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_BLANK = re.compile(r"[ \t\r\n]*+")
_PLAIN = re.compile(r'[^"{}\[\],]++')


def wrap(text: str) -> str:
    """Return a free-form tool's text as the arguments of its function."""
    return msgspec.json.encode({MEMBER: surrogates.mended(text)}).decode()


def unwrap(arguments: str) -> str:
    """Return the text that whole arguments wrap; arguments that wrap none come back as they are."""
    unwrapper = Unwrapper()
    return unwrapper.feed(arguments) + unwrapper.end()


class _At(Enum):
    START = "in front of the object"
    NAME_OR_END = "in front of a member or the closing brace"
    NAME = "inside a member's name"
    COLON = "behind a member's name"
    VALUE = "in front of a member's value"
    OTHER = "inside a value that is passed over"
    OTHER_STRING = "inside a string that is passed over"
    TEXT = "inside the wrapped text"
    BEHIND = "behind the wrapped text"
    UNWRAPPED = "inside arguments that wrap no text"


_AFTER_BLANK = {
    (_At.START, "{"): _At.NAME_OR_END,
    (_At.NAME_OR_END, ","): _At.NAME_OR_END,
    (_At.NAME_OR_END, '"'): _At.NAME,
    (_At.COLON, ":"): _At.VALUE,
}
"""Where one character leads after blanks; any other one means that nothing is wrapped."""


class Unwrapper:
    """Unwraps one call's arguments, fed in fragments cut anywhere. The same text comes out at every cut."""

    __slots__ = ("_at", "_cut", "_depth", "_halves", "_held", "_name")

    def __init__(self) -> None:
        self._at = _At.START
        self._cut = ""
        """The beginning of an escape, in front of the next fragment: six characters at most."""
        self._depth = 0
        self._halves = surrogates.Joiner()
        self._held: list[str] = []
        """The arguments up to the wrapped text, which are all there is if none follows."""
        self._name: list[str] = []

    def __repr__(self) -> str:
        return f"<Unwrapper {self._at.value}>"

    def feed(self, fragment: str) -> str:
        """Take the next fragment, return the text it adds."""
        if self._at is _At.BEHIND:
            return ""
        position = 0
        if self._at is _At.TEXT:
            if not self._cut and '"' not in fragment and "\\" not in fragment:
                return self._halves.join(fragment)
            fragment = self._cut + fragment
        else:
            self._held.append(fragment)
            fragment = self._cut + fragment
            position = self._find(fragment)
            if position < 0:
                return ""
            self._held.clear()
        end = self._string(fragment, position, _At.BEHIND)
        return self._halves.join(_unescaped(fragment[position:end]))

    def end(self) -> str:
        """Take the end of the arguments, return what is left of the text, or all of arguments that wrap none."""
        return self._halves.end() if self._at in {_At.TEXT, _At.BEHIND} else "".join(self._held)

    def _find(self, fragment: str) -> int:
        """Advance to the wrapped text: where it begins in the fragment, -1 if not in this one."""
        self._cut = ""
        position = 0
        while position < len(fragment) and self._at is not _At.UNWRAPPED:
            if self._at is _At.NAME:
                end = self._string(fragment, position, _At.COLON)
                self._name.append(fragment[position:end])
                position = end + 1 + len(self._cut)
            elif self._at is _At.OTHER_STRING:
                position = self._string(fragment, position, _At.OTHER) + 1 + len(self._cut)
            elif self._at is _At.OTHER:
                position = self._pass_over(fragment, position)
            else:
                position = self._step(fragment, position)
                if self._at is _At.TEXT:
                    return position
        return -1

    def _string(self, fragment: str, position: int, behind: _At) -> int:
        """Read a string on from `position`, return where it ends or is cut."""
        match = _TEXT.match(fragment, position)
        assert match is not None, "it matches nothing too"
        end = match.end()
        self._cut = ""
        if end < len(fragment):
            if fragment[end] == '"':
                self._at = behind
            else:
                self._cut = fragment[end:]
        return end

    def _step(self, fragment: str, position: int) -> int:
        """Take one character outside of strings and values, behind any blanks."""
        match = _BLANK.match(fragment, position)
        position = match.end() if match is not None else position
        if position == len(fragment):
            return position
        character = fragment[position]
        if self._at is not _At.VALUE:
            self._at = _AFTER_BLANK.get((self._at, character), _At.UNWRAPPED)
            return position + 1
        wrapped = _unescaped("".join(self._name)) == MEMBER and character == '"'
        self._name.clear()
        self._at = _At.TEXT if wrapped else _At.OTHER
        return position + 1 if wrapped else position

    def _pass_over(self, fragment: str, position: int) -> int:
        """Pass over one token of a value that is not the text."""
        match = _PLAIN.match(fragment, position)
        if match is not None:
            return match.end()
        character = fragment[position]
        if character == '"':
            self._at = _At.OTHER_STRING
        elif character in "{[":
            self._depth += 1
        elif self._depth:
            self._depth -= character in "}]"
        elif character == ",":
            self._at = _At.NAME_OR_END
        else:
            self._at = _At.UNWRAPPED
        return position + 1


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_meant, text) if "\\" in text else text


def _meant(escape: re.Match[str]) -> str:
    code, character = escape.groups()
    return chr(int(code, 16)) if code else _ESCAPED.get(character, escape[0])
