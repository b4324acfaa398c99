"""Members of a Messages request, read one by one, and refused in the words of the vendor's own validation.

A reading knows where it is: `messages.2.content.0.text: Field required` is what agents of this dialect are used to.
A null is an absent member. Nothing is decoded that nobody asks for, so what is passed on stays the bytes it came in.
"""

from typing import TypeVar

import msgspec
from msgspec import Raw

from adapters.body_fields import refusal
from adapters.errors import ClientError

T = TypeVar("T")

_NULL = Raw(b"null")
_TOO_DEEP = "nested too deeply"


class Fields:
    """An object of a request: `where` is its path, "" for the whole body."""

    __slots__ = ("_members", "where")

    def __init__(self, members: dict[str, Raw], where: str = "") -> None:
        self._members = members
        self.where = where

    def __repr__(self) -> str:
        return f"<Fields {self.where or 'of the body'}: {', '.join(self._members)}>"

    def path(self, name: str) -> str:
        """Return where a member stands."""
        return f"{self.where}.{name}" if self.where else name

    def names(self) -> list[str]:
        """Return the names of the members that are there."""
        return [name for name, raw in self._members.items() if raw != _NULL]

    def raw(self, name: str) -> Raw | None:
        """Return a member undecoded, None when it is absent."""
        raw = self._members.get(name)
        return None if raw is None or raw == _NULL else raw

    def string(self, name: str) -> str | None:
        """Return a text. Raises `ClientError` 400 for anything else, as all that follow do."""
        return self._read(name, _STRING, "a valid string")

    def required_string(self, name: str) -> str:
        """Return a text that has to be there."""
        value = self.string(name)
        if value is None:
            raise missing(self.path(name))
        return value

    def integer(self, name: str) -> int | None:
        """Return a whole number."""
        return self._read(name, _INTEGER, "a valid integer")

    def number(self, name: str) -> float | None:
        """Return a number."""
        return self._read(name, _NUMBER, "a valid number")

    def boolean(self, name: str) -> bool | None:
        """Return a truth value."""
        return self._read(name, _BOOLEAN, "a valid boolean")

    def strings(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, an empty one when it is absent."""
        return self._read(name, _STRINGS, "a valid list of strings") or ()

    def items(self, name: str) -> list[Raw]:
        """Return a list's items undecoded, none when it is absent."""
        return self._read(name, _ITEMS, "a valid list") or []

    def object(self, name: str) -> "Fields | None":
        """Return an object."""
        members = self._read(name, _OBJECT, "a valid dictionary")
        return None if members is None else Fields(members, self.path(name))

    def is_text(self, name: str) -> bool:
        """Whether the member is a text: for those that may be a text or a list."""
        return bytes(self._members.get(name, b"")).startswith(b'"')

    def objects(self, name: str) -> list["Fields"]:
        """Return a list of objects, each with its path."""
        path = self.path(name)
        return [read_object(raw, f"{path}.{number}") for number, raw in enumerate(self.items(name))]

    def _read(self, name: str, decoder: "msgspec.json.Decoder[T]", wanted: str) -> T | None:
        raw = self._members.get(name)
        if raw is None or raw == _NULL:
            return None
        return _decoded(raw, decoder, self.path(name), wanted)


def read_object(raw: Raw, where: str) -> Fields:
    """Return an object that stands at `where`. Raises `ClientError` 400 when it is none."""
    return Fields(_decoded(raw, _OBJECT, where, "a valid dictionary"), where)


def missing(path: str) -> ClientError:
    """Return the refusal of a request that lacks a member."""
    return refusal(f"{path}: Field required", path, "missing_required_parameter")


def invalid(path: str, message: str) -> ClientError:
    """Return the refusal of a value that is not allowed where it stands."""
    return refusal(f"{path}: {message}", path, "invalid_value")


def _decoded(raw: Raw, decoder: "msgspec.json.Decoder[T]", path: str, wanted: str) -> T:
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as exc:
        raise refusal(f"{path}: Input should be {wanted}", path, "invalid_type") from exc
    except RecursionError as exc:
        raise refusal(f"{path}: {_TOO_DEEP}", path, "invalid_type") from exc


_STRING = msgspec.json.Decoder(str)
_INTEGER = msgspec.json.Decoder(int)
_NUMBER = msgspec.json.Decoder(float)
_BOOLEAN = msgspec.json.Decoder(bool)
_STRINGS = msgspec.json.Decoder(tuple[str, ...])
_ITEMS = msgspec.json.Decoder(list[Raw])
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
