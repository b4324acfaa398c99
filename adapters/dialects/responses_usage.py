"""Usage in Responses documents, read into the normal form.

It stands in the last event alone, so one lenient reader does for streams and answers (8 us): nulls, integral floats,
missing totals, negatives. Input contains what was cached, output contains reasoning; where a vendor leaves reasoning
out of the output, the total tells.
"""

from msgspec import Raw

from adapters import lenient
from adapters.usage import Usage, count, of_counts


def read_usage(raw: Raw | bytes) -> Usage | None:
    """Return a usage object in the normal form, None when it holds no counts."""
    try:
        usage = lenient.decode(raw)
    except lenient.NotJsonError:
        return None
    if not isinstance(usage, dict) or not any(map(count, usage.values())):
        return None
    read, written = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    total = count(usage.get("total_tokens"))
    of_input, of_output = _details(usage.get("input_tokens_details")), _details(usage.get("output_tokens_details"))
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
        cached_tokens=count(of_input.get("cached_tokens")),
        cache_write_tokens=count(of_input.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        input_audio_tokens=count(of_input.get("audio_tokens")),
        output_audio_tokens=count(of_output.get("audio_tokens")),
    )


def _details(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
