"""Stop sequences for an upstream that has none: where its text ends for the client.

The text ends in front of the stop sequence that is complete first, the longest one when several are complete at the
same character, as if the upstream had looked after every character it wrote. So the answer does not depend on how the
text is cut. Text that may yet become a stop is held back: the longest tail that begins one, which is shorter than the
longest stop.

Every character is compared as in Knuth, Morris and Pratt, and characters no stop begins with are skipped in one search,
so the work is linear in the text for the few sequences a request has, however they repeat themselves. How many there
may be and how long is not decided here, nor that generation ends upstream: who sees `hit` does that.
"""

import re


class StopScanner:
    """One text channel's stop sequences. Empty ones are ignored."""

    __slots__ = ("_begins", "_fallbacks", "_held_of", "_matched", "_stops", "hit")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.hit: str | None = None
        """The stop found; nothing passes after it."""
        self._stops = tuple(sorted({stop for stop in stops if stop}, key=lambda stop: (-len(stop), stop)))
        self._fallbacks = [_fallback(stop) for stop in self._stops]
        self._matched = [0] * len(self._stops)
        self._held_of = 0
        """The stop whose beginning is held; the text itself need not be kept, as it is that beginning."""
        firsts = "".join(sorted({re.escape(stop[0]) for stop in self._stops}))
        self._begins = re.compile(f"[{firsts}]" if firsts else r"(?!)")

    def __repr__(self) -> str:
        return f"<StopScanner of {len(self._stops)}, {max(self._matched, default=0)} characters held>"

    def feed(self, text: str) -> str:
        """Take the next text, return what may pass: nothing more once a stop was hit."""
        if self.hit is not None:
            return ""
        held_of = self._held_of
        held = self._matched[held_of] if self._stops else 0
        if not held and self._begins.search(text) is None:
            return text
        end, self.hit = self._scan(text)
        if self.hit is None:
            longest = max(self._matched)
            self._held_of = self._matched.index(longest)
            passed = held + len(text) - longest
        else:
            passed = held + end - len(self.hit)
            self._matched = [0] * len(self._stops)
        # Nothing held is copied before it passes: a stop fed by the character would be copied for each of them.
        if passed <= held:
            return self._stops[held_of][:passed]
        return self._stops[held_of][:held] + text[: passed - held]

    def end(self) -> str:
        """Take the end of the text, return what was held: it has become no stop."""
        if not self._stops:
            return ""
        held = self._stops[self._held_of][: self._matched[self._held_of]]
        self._matched = [0] * len(self._stops)
        return held

    def _scan(self, text: str) -> tuple[int, str | None]:
        """Advance over the text: the position behind the first stop, and that stop."""
        matched = self._matched
        position = 0
        while position < len(text):
            if not any(matched):
                begin = self._begins.search(text, position)
                if begin is None:
                    break
                position = begin.start()
            character = text[position]
            position += 1
            for index, stop in enumerate(self._stops):
                length = matched[index]
                fallback = self._fallbacks[index]
                while length and stop[length] != character:
                    length = fallback[length - 1]
                if stop[length] == character:
                    length += 1
                    if length == len(stop):
                        return position, stop
                matched[index] = length
        return position, None


def _fallback(stop: str) -> list[int]:
    """Return for every beginning of a stop how much of its end begins the stop again."""
    lengths = [0] * len(stop)
    length = 0
    for index in range(1, len(stop)):
        while length and stop[length] != stop[index]:
            length = lengths[length - 1]
        if stop[length] == stop[index]:
            length += 1
        lengths[index] = length
    return lengths
