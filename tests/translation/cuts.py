"""The ways to write a stream and the ways to cut it: none of them may change what comes of it.

`WRITINGS` are the forms that SSE allows and that upstreams have been seen to use; cutting is where reads from the
network happened to end.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.adapters.streams import byte_by_byte, two_part_splits
from tests.translation.upstreams import Case, event, written

__all__ = ["FEEDINGS", "UNREAD", "WRITINGS", "byte_by_byte", "every_two_parts", "some_two_parts"]


def _padded(value: Any) -> str:
    """Write JSON with white space wherever it may stand, and some before the last brace as Anthropic's servers do."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(" , ", " : "), ensure_ascii=False)[:-1] + "      }"


def _escaped(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)


def _with_comments(case: Case) -> bytes:
    return b": hello\n\n" + "".join(f"{event(case.dialect, each)}: ping\n\n" for each in case.payloads).encode()


def _without_last_line(case: Case) -> bytes:
    return case.stream().removesuffix(b"\n")


WRITINGS: dict[str, Callable[[Case], bytes]] = {
    "lf": lambda case: case.stream(),
    "crlf": lambda case: written(case.dialect, case.payloads, end="\r\n"),
    "cr": lambda case: written(case.dialect, case.payloads, end="\r"),
    "bom": lambda case: b"\xef\xbb\xbf" + case.stream(),
    "padded json": lambda case: written(case.dialect, case.payloads, _padded),
    "escaped json": lambda case: written(case.dialect, case.payloads, _escaped),
    "no space": lambda case: written(case.dialect, case.payloads).replace(b"\ndata: ", b"\ndata:"),
    "comments": _with_comments,
    "no last blank line": _without_last_line,
}
"""By name. Comments in a stream of a dialect whose SDK raises on them are still what a relay may put there."""

UNREAD: dict[str, frozenset[str]] = {
    "bom": frozenset({"chat", "messages", "gemini"}),
    "no last blank line": frozenset({"responses", "messages"}),
    "comments": frozenset({"gemini"}),
    "no space": frozenset({"gemini"}),
}
"""Writings that the official SDK of a dialect does not read as meant: an event is lost, or its name, or it refuses."""


def every_two_parts(data: bytes) -> Iterator[list[bytes]]:
    yield from two_part_splits(data)


def some_two_parts(data: bytes, step: int) -> Iterator[list[bytes]]:
    """Cut in two at every `step`th place; a step that shares no factor with the length of an event visits all kinds."""
    for position in range(1, len(data), step):
        yield [data[:position], data[position:]]


FEEDINGS: dict[str, Callable[[bytes], list[bytes]]] = {
    "whole": lambda data: [data],
    "byte by byte": byte_by_byte,
    "by seven": lambda data: [data[at : at + 7] for at in range(0, len(data), 7)],
    "by 61": lambda data: [data[at : at + 61] for at in range(0, len(data), 61)],
}
