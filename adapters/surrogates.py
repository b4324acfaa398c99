"""Halves of characters: text that was cut between two UTF-16 units, put together again.

A character beyond U+FFFF is two surrogates to whoever counts in UTF-16, and upstreams that do so cut streams between
them: one event ends in the high half, the next begins with the low one. Neither can be written as UTF-8. The rule: a
high half waits for the next text of its own channel, a half without its other one is U+FFFD. No text without surrogates
is ever held or changed.
"""

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


class Joiner:
    """One channel's texts, one after the other, without halves. What is held is one character at most."""

    __slots__ = ("_high",)

    def __init__(self) -> None:
        self._high = ""

    def __repr__(self) -> str:
        return f"<Joiner holding {self._high!r}>" if self._high else "<Joiner>"

    @property
    def held(self) -> bool:
        """Whether a high half waits for its low one."""
        return bool(self._high)

    def join(self, text: str) -> str:
        """Take the next text, return what can be written of it: the same object when nothing is wrong with it."""
        if self._high:
            if not text:
                return ""
            text = self._high + text
            self._high = ""
        elif text.isascii() or _SURROGATE.search(text) is None:
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            self._high = text[-1]
            text = text[:-1]
        return mended(text)

    def end(self) -> str:
        """Take the end of the channel: a half still held is U+FFFD."""
        rest = "�" if self._high else ""
        self._high = ""
        return rest


def mended(text: str) -> str:
    """Return a whole text with the pairs of halves joined and the single ones as U+FFFD."""
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
