"""Parts of one turn of the model's, as they come: pieces of one text, and of one thought, are put together at the end.

SDKs send every chunk of an earlier stream as a content of its own, so that a long answer comes in thousands of pieces.
Joining each one to what stands before it would take square time.
"""

from adapters.conversation import Part, Reasoning, Text
from adapters.signatures import Signature


class Parts:
    """Collects the parts of one turn."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[list[Part]] = []

    @property
    def last(self) -> Part | None:
        """The last piece."""
        return self._pieces[-1][-1] if self._pieces else None

    def add(self, part: Part, *, goes_on: bool = False) -> None:
        """Take a part, or a piece that goes on from the last one."""
        if goes_on:
            self._pieces[-1].append(part)
        else:
            self._pieces.append([part])

    def think(self, text: str, signature: Signature | None) -> None:
        """Take reasoning: it goes on from the item at the end, if that is one that nobody has signed."""
        goes_on = isinstance(self.last, Reasoning) and self.last.signature is None
        if goes_on or text or signature is not None:
            self.add(Reasoning(text, signature), goes_on=goes_on)

    def whole(self) -> tuple[Part, ...]:
        """Return the parts."""
        return tuple(map(_joined, self._pieces))


def _joined(pieces: list[Part]) -> Part:
    if len(pieces) == 1:
        return pieces[0]
    text = "".join(piece.text for piece in pieces if isinstance(piece, Text | Reasoning))
    last = pieces[-1]
    return Reasoning(text, last.signature) if isinstance(last, Reasoning) else Text(text)
