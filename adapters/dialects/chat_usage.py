"""Usage in Chat Completions documents, read into the normal form.

The numbers are read leniently (nulls, integral floats, missing totals, negatives); what a vendor counts differently is
told apart by arithmetic, never by the vendor's name.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.usage import TOKENS_MAX, Usage, count, of_counts

_Count = Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)]


class _Details(msgspec.Struct):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    audio_tokens: _Count = 0


class PlainUsage(msgspec.Struct):
    """Usage as OpenAI documents it, and nothing that asks for a second look."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: _Count = 0
    cached_tokens: _Count = 0

    def normal(self) -> Usage | None:
        """Return the normal form, None when the counts do not add up and need the lenient reader."""
        if not self.total_tokens or self.prompt_tokens + self.completion_tokens != self.total_tokens:
            return None
        read = self.prompt_tokens_details or _NO_DETAILS
        written = self.completion_tokens_details or _NO_DETAILS
        return of_counts(
            input_tokens=self.prompt_tokens,
            output_tokens=self.completion_tokens,
            cached_tokens=read.cached_tokens or self.prompt_cache_hit_tokens or self.cached_tokens,
            cache_write_tokens=read.cache_write_tokens,
            reasoning_tokens=written.reasoning_tokens,
            input_audio_tokens=read.audio_tokens,
            output_audio_tokens=written.audio_tokens,
        )


_PLAIN = msgspec.json.Decoder(PlainUsage)
_NO_DETAILS = _Details()


def read_usage(raw: Raw | bytes) -> Usage | None:
    """Return a usage object in the normal form, None when it holds no counts.

    Where vendors differ: a missing part is computed from the total; cached tokens may stand beside the details;
    reasoning that is counted outside the completion (prompt + completion + reasoning == total) is added to it.

    What adds up as documented is read by a typed decoder (1 us); anything else leniently (8 us), with the same result.
    """
    try:
        usage = _PLAIN.decode(raw).normal()
    except (msgspec.DecodeError, RecursionError):
        return _read_leniently(raw)
    return usage if usage is not None else _read_leniently(raw)


def _read_leniently(raw: Raw | bytes) -> Usage | None:
    try:
        usage = lenient.decode(raw)
    except lenient.NotJsonError:
        return None
    if not isinstance(usage, dict) or not any(map(count, usage.values())):
        return None
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    total = count(usage.get("total_tokens"))
    read, written = _details(usage, "prompt_tokens_details"), _details(usage, "completion_tokens_details")
    reasoning = count(written.get("reasoning_tokens"))
    if usage.get("completion_tokens") is None:
        completion = max(total - prompt, 0)
    elif usage.get("prompt_tokens") is None:
        prompt = max(total - completion, 0)
    elif reasoning and prompt + completion + reasoning == total:
        completion += reasoning
    return of_counts(
        input_tokens=prompt,
        output_tokens=completion,
        cached_tokens=count(read.get("cached_tokens")) or _cached_beside(usage),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        input_audio_tokens=count(read.get("audio_tokens")),
        output_audio_tokens=count(written.get("audio_tokens")),
    )


def _cached_beside(usage: dict[str, Any]) -> int:
    return count(usage.get("prompt_cache_hit_tokens")) or count(usage.get("cached_tokens"))


def _details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    details = usage.get(name)
    return details if isinstance(details, dict) else {}
