"""Usage: what one generation consumed, in the one form metering, logs and budgets use.

The rule: totals contain their parts. `input_tokens` includes what was read from and written to a prompt cache, and
sound and images; `cached_tokens` includes the sound and the images among them; `output_tokens` includes reasoning.
Each dialect turns its own usage object into this form and back; vendors differ in what they count in and out, and that
difference ends there. No value is ever negative and no part exceeds its total, so that who subtracts needs no checks.
"""

import msgspec

TOKENS_MAX = 2**53 - 1
"""Larger counts are an upstream's mistake; up to here every JSON reader agrees on the number (RFC 8259, section 6)."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The tokens of one generation. `estimated` marks numbers that no upstream reported.

    Few upstreams tell what was cached by modality. Where `cached_audio_tokens` and `cached_image_tokens` are both 0,
    nothing was said of it, or none was cached.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    cached_audio_tokens: int = 0
    cached_image_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


def count(value: object) -> int:
    """Return a reported count as a number of tokens: whole, not negative, at most `TOKENS_MAX`; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    if value != value:  # noqa: PLR0124 - the one float that equals nothing, itself included
        return 0
    return int(min(max(value, 0), TOKENS_MAX))


def of_counts(
    *,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int = 0,
    cache_write_tokens: int = 0,
    reasoning_tokens: int = 0,
    input_audio_tokens: int = 0,
    output_audio_tokens: int = 0,
    input_image_tokens: int = 0,
    cached_audio_tokens: int = 0,
    cached_image_tokens: int = 0,
) -> Usage:
    """Return the normal form of counts that may contradict each other: parts are cut to fit their totals."""
    cached = cached_tokens if cached_tokens < input_tokens else input_tokens
    uncached = input_tokens - cached
    audio = input_audio_tokens if input_audio_tokens < input_tokens else input_tokens
    image = cached_audio = cached_image = 0
    if input_image_tokens or cached_audio_tokens:
        image = min(input_image_tokens, input_tokens - audio)
        cached_audio = min(cached_audio_tokens, cached, audio)
        cached_image = min(cached_image_tokens, cached - cached_audio, image)
    return Usage(
        input_tokens,
        output_tokens,
        cached,
        cache_write_tokens if cache_write_tokens < uncached else uncached,
        reasoning_tokens if reasoning_tokens < output_tokens else output_tokens,
        audio,
        output_audio_tokens if output_audio_tokens < output_tokens else output_tokens,
        image,
        cached_audio,
        cached_image,
    )


def added(before: Usage | None, more: Usage) -> Usage:
    """Return the usage of several generations together; it is estimated when any of them is. None is no generation."""
    if before is None:
        return more
    counts = {
        name: min(getattr(before, name) + getattr(more, name), TOKENS_MAX)
        for name in Usage.__struct_fields__
        if name != "estimated"
    }
    return Usage(**counts, estimated=before.estimated or more.estimated)
