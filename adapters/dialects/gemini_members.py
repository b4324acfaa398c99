"""Members of a Gemini request's objects, by their camelCase names, however the client spelled them.

Protobuf's JSON allows a field's name in camelCase and in snake_case, numbers as strings, and null for "absent", and
Google's own SDKs use all of it. `Members` is one object read so; what it refuses it names by its path in the client's
spelling, in Google's words. Values that are passed on stay undecoded.
"""

import math
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import TypeVar

import msgspec
from msgspec import Raw

from adapters.dialects.gemini_request import refusal
from adapters.errors import ClientError
from adapters.losses import Losses

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])
_ANY = msgspec.json.Decoder()
_NULL = Raw(b"null")
_T = TypeVar("_T")


class Members:
    """One object. Methods return None for what is absent or null, and raise `ClientError` 400 for another type."""

    __slots__ = ("_members", "path")

    def __init__(self, members: dict[str, Raw], path: str = "") -> None:
        self.path = path
        self._members = {_camel(name): (name, raw) for name, raw in members.items() if raw != _NULL}

    def __repr__(self) -> str:
        return f"<Members {self.path or 'of the request'}: {', '.join(self._members)}>"

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def path_of(self, name: str) -> str:
        """Return a member's path as the client wrote it."""
        written = self._members.get(name, (name,))[0]
        return f"{self.path}.{written}" if self.path else written

    def raw(self, name: str) -> Raw | None:
        """Return a member's bytes."""
        member = self._members.get(name)
        return None if member is None else member[1]

    def value(self, name: str) -> object:
        """Return a member decoded, whatever it is."""
        member = self._members.get(name)
        return None if member is None else _decoded(_ANY.decode, member[1], self.path_of(name), "a value")

    def text(self, name: str) -> str | None:
        """Return a string."""
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise invalid(self.path_of(name), "a string")
        return value

    def word(self, name: str) -> str | None:
        """Return an enumeration's word in upper case; "...UNSPECIFIED" and "" are none."""
        word = (self.text(name) or "").upper()
        return None if not word or word.endswith("UNSPECIFIED") else word

    def flag(self, name: str) -> bool | None:
        """Return a boolean."""
        value = self.value(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(self.path_of(name), "a boolean")
        return value

    def number(self, name: str) -> float | None:
        """Return a number; one written as a string counts."""
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, str):
            value = _number(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(self.path_of(name), "a number")
        return value

    def integer(self, name: str) -> int | None:
        """Return a whole number."""
        value = self.number(name)
        if value is None:
            return None
        if not math.isfinite(value) or value != int(value):
            raise invalid(self.path_of(name), "an integer")
        return int(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self.value(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise invalid(self.path_of(name), "an array of strings")
        return tuple(value)

    def object(self, name: str) -> "Members | None":
        """Return an object."""
        raw = self.raw(name)
        return None if raw is None else opened(raw, self.path_of(name))

    def objects(self, name: str) -> "list[Members]":
        """Return a list of objects; one object stands for a list of it."""
        raw = self.raw(name)
        if raw is None:
            return []
        path = self.path_of(name)
        if begins(raw, b"{"):
            return [opened(raw, path)]
        listed = _decoded(_LIST.decode, raw, path, "an array")
        return [opened(each, f"{path}[{index}]") for index, each in enumerate(listed)]

    def items(self, name: str) -> list[Raw]:
        """Return a list undecoded; one object stands for a list of it. `item_path` says where they stand."""
        raw = self.raw(name)
        if raw is None:
            return []
        return [raw] if begins(raw, b"{") else _decoded(_LIST.decode, raw, self.path_of(name), "an array")

    def item_path(self, name: str, index: int) -> str:
        """Return the path of a list's item as the client wrote it."""
        path, raw = self.path_of(name), self.raw(name)
        return path if raw is not None and begins(raw, b"{") else f"{path}[{index}]"

    def note_others(self, losses: Losses, known: Collection[str]) -> None:
        """Note every member that is not among the known ones."""
        for name in self._members:
            if name not in known:
                losses.note("unknown_field", self.path_of(name))

    def names(self) -> list[str]:
        """Return the names of all members, in camelCase, in order."""
        return list(self._members)


def begins(raw: Raw, with_bytes: bytes) -> bool:
    """Whether a member begins so; nothing of it is copied."""
    return bytes(memoryview(raw)[: len(with_bytes)]) == with_bytes


def opened(raw: Raw, path: str) -> Members:
    """Return an object's members. Raises `ClientError` for anything else."""
    return Members(_decoded(_OBJECT.decode, raw, path, "an object"), path)


def invalid(path: str, wanted: str) -> ClientError:
    """Return the refusal of a value that is not what the API reference has."""
    return refusal(400, f"Invalid value at '{path}': must be {wanted}.", param=path)


def _decoded(decode: Callable[[Raw], _T], raw: Raw, path: str, wanted: str) -> _T:
    try:
        return decode(raw)
    except msgspec.DecodeError as exc:
        raise invalid(path, wanted) from exc
    except RecursionError as exc:
        raise refusal(400, f"Invalid value at '{path}': nested too deeply.", param=path) from exc


def _number(text: str) -> object:
    try:
        return float(text) if text.strip() == text and len(text) < 32 else None
    except ValueError:
        return None


@lru_cache(maxsize=512)
def _camel(name: str) -> str:
    if "_" not in name:
        return name
    first, *others = name.strip("_").split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)
