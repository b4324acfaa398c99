"""Reasoning in Chat Completions: the members that vendors have added for it, from an upstream and back to it.

The dialect itself has none. Its text comes as `reasoning_content` (DeepSeek, xAI, Moonshot, Z.ai, SGLang) or
`reasoning` (vLLM, OpenRouter, Groq), from some servers as both; what must come back with it as `reasoning_details`
(OpenRouter, guide to reasoning tokens, 2026), entries of three types that may repeat the same text:

    {"type": "reasoning.text", "text", "signature", "format", "index", "id"}
    {"type": "reasoning.summary", "summary", ...}
    {"type": "reasoning.encrypted", "data", ...}

or as `extra_content.google.thought_signature` on a call or the message (Google's compatible endpoint). A signature's
`kind` remembers which of these it was, so that it goes back as it came.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Raw

from adapters import lenient
from adapters.conversation import Reasoning
from adapters.dialects.chat_chunk import Delta
from adapters.emitter import Emitter
from adapters.raw import NOTHING, says
from adapters.signatures import Signature
from adapters.surrogates import mended

DIALECT = "chat"
SIGNED, ENCRYPTED, ON_CALL = "text", "encrypted", "google"
"""What a signature's kind begins with; behind a colon stands the entry's `format`."""


def entries(raw: Raw) -> list[dict[str, Any]]:
    """Return the objects of an array that is there, [] for anything else. Never raises."""
    if raw is NOTHING or not says(raw):
        return []
    try:
        value = lenient.decode(raw)
    except lenient.NotJsonError:
        return []
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def word(value: object) -> str:
    """Return a text, "" for anything else."""
    return mended(value) if isinstance(value, str) else ""


def thought_signature(raw: Raw, scope: str) -> Signature | None:
    """Return the signature in an `extra_content` member."""
    if raw is NOTHING or not says(raw):
        return None
    try:
        value: Any = lenient.decode(raw)
    except lenient.NotJsonError:
        return None
    for name in ("google", "thought_signature"):
        value = value.get(name) if isinstance(value, dict) else None
    return Signature(DIALECT, scope, word(value), ON_CALL) if word(value) else None


class Thoughts:
    """The reasoning of one alternative: tells an emitter each text once, whichever members repeat it."""

    __slots__ = ("_index", "_plain", "_scope", "_signed")

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._index: object = None
        self._plain = False
        """Whether text came outside of details: then later details without it repeat it."""
        self._signed = False

    def take(self, delta: Delta, emitter: Emitter) -> None:
        """Take what a delta or message says of it."""
        text = delta.reasoning_content or delta.reasoning
        details = entries(delta.reasoning_details)
        if details:
            self._take_details(details, text or "", emitter)
        elif text:
            self.take_text(text, emitter)

    def take_text(self, text: str, emitter: Emitter) -> None:
        """Take text that comes without details."""
        self._plain = True
        emitter.reasoning(text)

    def sign(self, raw: Raw, emitter: Emitter) -> None:
        """Take the signature that stands on a call, or on the message."""
        signature = thought_signature(raw, self._scope)
        if signature is not None:
            emitter.reasoning_open()
            emitter.reasoning_sign(signature)
            emitter.reasoning_close()

    def _take_details(self, details: list[dict[str, Any]], text: str, emitter: Emitter) -> None:
        has_text = any(_text_of(detail) for detail in details)
        repeats = has_text and self._plain and not text
        if text and not has_text:
            self.take_text(text, emitter)
        for detail in details:
            said = "" if repeats else _text_of(detail)
            value, kind = _signature_of(detail)
            if not said and not value:
                continue
            if detail.get("index") != self._index or self._signed:
                if said or self._signed:
                    emitter.reasoning_open()
                self._index, self._signed = detail.get("index"), False
            if said:
                emitter.reasoning(said)
            if value:
                emitter.reasoning_sign(Signature(DIALECT, self._scope, value, kind, word(detail.get("id"))))
                self._signed = True


def _text_of(detail: dict[str, Any]) -> str:
    return word(detail.get("text")) or word(detail.get("summary"))


def _signature_of(detail: dict[str, Any]) -> tuple[str, str]:
    for member, kind in (("signature", SIGNED), ("data", ENCRYPTED)):
        value = word(detail.get(member))
        if value:
            return value, f"{kind}:{word(detail.get('format'))}"
    return "", ""


def details(items: Iterable[Reasoning]) -> Iterator[dict[str, object]]:
    """Yield the entries that say reasoning to the upstream that signed it; `index` counts the items."""
    for index, item in enumerate(items):
        signature = item.signature
        assert signature is not None
        kind, _, form = signature.kind.partition(":")
        common: dict[str, object] = {"id": signature.item_id} if signature.item_id else {}
        if form:
            common["format"] = form
        common["index"] = index
        if kind == SIGNED:
            yield {"type": "reasoning.text", "text": item.text, "signature": signature.value, **common}
            continue
        if item.text:
            yield {"type": "reasoning.summary", "summary": item.text, **common}
        yield {"type": "reasoning.encrypted", "data": signature.value, **common}
