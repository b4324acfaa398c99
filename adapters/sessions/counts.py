"""Counts: the usage of a response or a transcription in a session, read into the normal form.

It stands in one event a response, so one lenient reader does (some microseconds): nulls, integral floats, missing
totals. The details by modality are called `input_token_details` here and `input_tokens_details` there; both are read.
Of what was cached, a part by modality may be all that is said. Where reasoning is left out of the output, the total
tells.
"""

import math
from collections.abc import Mapping
from typing import TypeGuard

from msgspec import Raw

from adapters.sessions.frames import value_of
from adapters.usage import Usage, count, of_counts

SECONDS_MAX = 7 * 86_400
"""A longer sound in one event is an upstream's mistake."""

UNREPORTED = Usage(estimated=True)

_TOTALS = ("input_tokens", "output_tokens", "total_tokens")
_NONE: Mapping[str, object] = {}


def read_usage(raw: Raw) -> Usage:
    """Return a usage object in the normal form, `UNREPORTED` when it holds no count. A reported zero is a count."""
    usage = value_of(raw)
    if not isinstance(usage, dict) or not any(_is_number(usage.get(name)) for name in _TOTALS):
        return UNREPORTED
    read, written, total = (count(usage.get(name)) for name in _TOTALS)
    of_input, of_output = _details(usage, "input"), _details(usage, "output")
    cached = _object(of_input.get("cached_tokens_details"))
    text, audio, image = (count(cached.get(f"{modality}_tokens")) for modality in ("text", "audio", "image"))
    reasoning = count(of_output.get("reasoning_tokens"))
    if usage.get("output_tokens") is None:
        written = max(total - read, 0)
    elif usage.get("input_tokens") is None:
        read = max(total - written, 0)
    elif reasoning and read + written + reasoning == total:
        written += reasoning
    return of_counts(
        input_tokens=read,
        output_tokens=written,
        cached_tokens=count(of_input.get("cached_tokens")) or text + audio + image,
        cache_write_tokens=count(of_input.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        input_audio_tokens=count(of_input.get("audio_tokens")),
        output_audio_tokens=count(of_output.get("audio_tokens")),
        input_image_tokens=count(of_input.get("image_tokens")),
        cached_audio_tokens=audio,
        cached_image_tokens=image,
    )


def read_seconds(raw: Raw) -> float | None:
    """Return the seconds of sound that a usage object counts, None when it counts none."""
    usage = value_of(raw)
    seconds = usage.get("seconds") if isinstance(usage, dict) else None
    if not _is_number(seconds) or (isinstance(seconds, float) and not math.isfinite(seconds)):
        return None
    return float(min(max(seconds, 0), SECONDS_MAX))


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _details(usage: Mapping[str, object], side: str) -> Mapping[str, object]:
    return _object(usage.get(f"{side}_token_details")) or _object(usage.get(f"{side}_tokens_details"))


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else _NONE
