"""The dialects of the scripted upstream: one module each, that reads its requests and writes its answers.

They are written from the vendors' references and know nothing of the gateway's codecs, which they are to test. A path
says which one is spoken, whatever the base URL; a look at the models has the same path in all of them, and its headers
say whose client looks.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from bench.answers import Answer
from bench.asked import Asked
from bench.dialects import chat, gemini, messages, responses
from bench.dialects.event import Event

__all__ = ["DIALECTS", "USUAL", "Dialect", "Event", "listing", "spoken"]


class Dialect(Protocol):
    """What each dialect's module provides."""

    @property
    def PATH(self) -> re.Pattern[str]:  # noqa: N802 - a constant of the module
        """The end of the paths at which a generation is asked for."""
        ...

    def is_listing(self, path: str, query: str, headers: Mapping[str, str]) -> bool:
        """Whether who looks at the models is a client of this dialect; header names are lower-cased."""
        ...

    def read(self, fields: dict[str, Any], path: str, query: str) -> Asked:
        """Read a decoded request; raises UnreadableError."""
        ...

    def document(self, answer: Answer) -> str:
        """Render the unary answer."""
        ...

    def beats(self, answer: Answer) -> Iterator[list[Event]]:
        """Render the stream: the events before any token, those of each piece, those behind the last."""
        ...

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> str:
        """Render an error answer's body."""
        ...

    def failure_document(self, asked: Asked, status: int, message: str, code: str | None) -> str:
        """Render the body of a 200 that is an error."""
        ...

    def failure_events(
        self, asked: Asked, status: int, message: str, code: str | None, *, position: int
    ) -> list[Event]:
        """Render the error that ends a stream behind so many events."""
        ...

    def model(self, name: str) -> dict[str, Any]:
        """Describe one model."""
        ...

    def models(self, names: Sequence[str]) -> str:
        """Render the list of models."""
        ...


DIALECTS: tuple[Dialect, ...] = (chat, responses, messages, gemini)
USUAL: Dialect = chat
"""What is spoken where nothing tells."""


def spoken(path: str) -> Dialect | None:
    """Give the dialect that is spoken at a path, None where there is none."""
    return next((dialect for dialect in DIALECTS if dialect.PATH.search(path)), None)


def listing(path: str, query: str, headers: Mapping[str, str]) -> Dialect:
    """Give the dialect of who looks at the models."""
    return next((dialect for dialect in DIALECTS if dialect.is_listing(path, query, headers)), USUAL)
