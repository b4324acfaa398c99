"""What the scripted realtime server counts, and what it has said that it counted.

The rule: a text costs a token a word, audio a token for each begun 100 ms that is heard and for each begun 50 ms that
is said (the Realtime API's cost guide), an image a fixed number; so the same conversation always costs the same, and
every number can be checked by hand. Audio is taken for 24 kHz PCM of 16 bits, 48 bytes to the millisecond.

`Totals` add up the usage objects that were sent, scripted ones included, each response and each transcript once however
often it was said: whoever meters the session must come to the same sums. It does not know what arrived.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

BYTES_PER_MS = 48
HEARD_BYTES_PER_TOKEN = 100 * BYTES_PER_MS
SAID_BYTES_PER_TOKEN = 50 * BYTES_PER_MS
IMAGE_TOKENS = 85


class Tokens(msgspec.Struct, frozen=True):
    """Tokens by what they stand for."""

    text: int = 0
    audio: int = 0
    image: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.text + other.text, self.audio + other.audio, self.image + other.image)

    @property
    def total(self) -> int:
        """All of them."""
        return self.text + self.audio + self.image

    def within(self, other: "Tokens") -> "Tokens":
        """Cut each kind to what `other` has of it."""
        return Tokens(min(self.text, other.text), min(self.audio, other.audio), min(self.image, other.image))

    def details(self) -> dict[str, Any]:
        """Give them as a usage object's details."""
        return {"text_tokens": self.text, "audio_tokens": self.audio, "image_tokens": self.image}


def words(text: str) -> int:
    """Count a text's tokens."""
    return len(re.findall(r"\S+", text))


def heard(audio_bytes: int) -> int:
    """Count the tokens of audio that goes in."""
    return -(-audio_bytes // HEARD_BYTES_PER_TOKEN)


def said(audio_bytes: int) -> int:
    """Count the tokens of audio that comes out."""
    return -(-audio_bytes // SAID_BYTES_PER_TOKEN)


def usage_object(prompt: Tokens, cached: Tokens, output: Tokens) -> dict[str, Any]:
    """Render the usage of a realtime response."""
    return {
        "total_tokens": prompt.total + output.total,
        "input_tokens": prompt.total,
        "output_tokens": output.total,
        "input_token_details": {
            **prompt.details(),
            "cached_tokens": cached.total,
            "cached_tokens_details": cached.details(),
        },
        "output_token_details": {"text_tokens": output.text, "audio_tokens": output.audio},
    }


class Charge(msgspec.Struct, frozen=True):
    """One response or transcript whose end was sent: its id, its status, its model, and the usage as it was said."""

    id: str
    what: str
    status: str
    model: str
    usage: dict[str, Any] | None


class Totals(msgspec.Struct):
    """Sums over charges, named like the parts of `adapters.usage.Usage`; whole milliseconds where seconds were said."""

    count: int = 0
    without_usage: int = 0
    input_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    cached_tokens: int = 0
    cached_audio_tokens: int = 0
    cached_image_tokens: int = 0
    output_tokens: int = 0
    output_audio_tokens: int = 0
    reasoning_tokens: int = 0
    milliseconds: int = 0

    def add(self, usage: dict[str, Any] | None) -> None:
        """Count one usage object of any of the forms in use here; what it does not say counts nothing."""
        self.count += 1
        if usage is None:
            self.without_usage += 1
            return
        prompt = usage.get("input_token_details") or usage.get("input_tokens_details") or {}
        output = usage.get("output_token_details") or usage.get("output_tokens_details") or {}
        cached = prompt.get("cached_tokens_details") or {}
        self.input_tokens += usage.get("input_tokens", 0)
        self.input_audio_tokens += prompt.get("audio_tokens", 0)
        self.input_image_tokens += prompt.get("image_tokens", 0)
        self.cached_tokens += prompt.get("cached_tokens", 0)
        self.cached_audio_tokens += cached.get("audio_tokens", 0)
        self.cached_image_tokens += cached.get("image_tokens", 0)
        self.output_tokens += usage.get("output_tokens", 0)
        self.output_audio_tokens += output.get("audio_tokens", 0)
        self.reasoning_tokens += output.get("reasoning_tokens", 0)
        self.milliseconds += round(usage.get("seconds", 0) * 1000)


def totals(charges: Iterable[Charge], what: str) -> Totals:
    """Sum the charges of one kind, "response" or "transcription"."""
    sums = Totals()
    for charge in charges:
        if charge.what == what:
            sums.add(charge.usage)
    return sums
