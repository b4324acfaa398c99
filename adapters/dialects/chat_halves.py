"""Halves of characters in Chat Completions chunks: which text of which alternative goes on where it was cut (B20).

A chunk whose text ends in half a character is one that only the lenient reader takes; its other half may come in a
chunk of the same text much later. Nothing is kept of a stream that was never cut so.
"""

from collections.abc import Iterator

from adapters.dialects.chat_chunk import Chunk, Delta
from adapters.surrogates import Joiner

TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


class Halves:
    """The texts of one stream that were cut in the midst of a character: `joiners`, mostly empty."""

    __slots__ = ("joiners",)

    def __init__(self) -> None:
        self.joiners: dict[tuple[int, object], Joiner] = {}
        """By alternative and text; the text of a call is its index."""

    def join(self, chunk: Chunk) -> None:
        """Put together, in a chunk's texts, what stood in two chunks; keep the half that one ends in."""
        for choice in chunk.choices or ():
            for delta in (choice.delta, choice.message):
                if delta is not None:
                    self._join_delta(choice.index, delta)

    def rests(self) -> Iterator[tuple[int, str, str]]:
        """Yield alternative, name and end of each text that ends in a half; arguments are left alone."""
        for (index, channel), joiner in self.joiners.items():
            if joiner.held and isinstance(channel, str):
                yield index, channel, joiner.end()

    def _join_delta(self, index: int, delta: Delta) -> None:
        for name in TEXTS:
            text = getattr(delta, name)
            if text:
                setattr(delta, name, self._joined(index, name, text))
        for call in delta.tool_calls or ():
            if call.function is not None and call.function.arguments:
                call.function.arguments = self._joined(index, call.index, call.function.arguments)
            if call.custom is not None and call.custom.input:
                call.custom.input = self._joined(index, call.index, call.custom.input)

    def _joined(self, index: int, channel: object, text: str) -> str:
        joiner = self.joiners.get((index, channel)) or Joiner()
        joined = joiner.join(text)
        if joiner.held:
            self.joiners[index, channel] = joiner
        else:
            self.joiners.pop((index, channel), None)
        return joined
