"""One piece of a stream: an event, or text that is written as it is."""

from typing import NamedTuple

from bench.asked import dump


class Event(NamedTuple):
    """A server-sent event with its name, if it has one; `raw` text has no framing."""

    text: str
    name: str | None = None
    raw: bool = False


def named(value: dict[str, object]) -> Event:
    """Give an event whose name is its type."""
    return Event(dump(value), str(value["type"]))
