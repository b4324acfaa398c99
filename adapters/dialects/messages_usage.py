"""Usage in Messages documents: counts that a stream reports piece by piece, and their normal form.

A stream reports twice or more: `message_start` what went in, every `message_delta` running totals. A later report
replaces an earlier one key by key and is never added to it (platform.claude.com, streaming: "cumulative"). What differs
from the normal form: `input_tokens` counts neither what was read from the prompt cache nor what was written to it, and
the sub-inferences of server-side compaction and of the advisor tool stand only in `iterations`, outside the totals.
"""

from typing import Any

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.usage import TOKENS_MAX, Usage, count, of_counts

BESIDE_THE_TOTALS = frozenset({"compaction", "advisor_message"})
"""Types of `usage.iterations` entries that the totals leave out (anthropic-python, BetaUsage.iterations)."""


class Counts(msgspec.Struct, frozen=True):
    """What one usage object reports; None where it says nothing. `beside` holds the iterations outside the totals."""

    uncached: int | None = None
    cache_write: int | None = None
    cache_read: int | None = None
    output: int | None = None
    thinking: int | None = None
    beside: tuple["Counts", ...] = ()

    def updated(self, later: "Counts") -> "Counts":
        """Return what is known after a later report.

        One whose input counts are all zero reports no input: compatible servers fill the keys of a `message_delta` with
        zeros after a `message_start` that had the numbers.
        """
        reports_input = bool(later.uncached or later.cache_write or later.cache_read)
        return Counts(
            uncached=_later(self.uncached, later.uncached, zero_counts=reports_input),
            cache_write=_later(self.cache_write, later.cache_write, zero_counts=reports_input),
            cache_read=_later(self.cache_read, later.cache_read, zero_counts=reports_input),
            output=later.output or self.output,
            thinking=later.thinking or self.thinking,
            beside=later.beside or self.beside,
        )

    def usage(self) -> Usage | None:
        """Return the normal form, None when nothing was counted."""
        parts = (self, *self.beside)
        cache_read = sum(part.cache_read or 0 for part in parts)
        cache_write = sum(part.cache_write or 0 for part in parts)
        total_input = cache_read + cache_write + sum(part.uncached or 0 for part in parts)
        output = sum(part.output or 0 for part in parts)
        if not total_input and not output:
            return None
        return of_counts(
            input_tokens=min(total_input, TOKENS_MAX),
            output_tokens=min(output, TOKENS_MAX),
            cached_tokens=cache_read,
            cache_write_tokens=cache_write,
            reasoning_tokens=self.thinking or 0,
        )


def written_usage(usage: Usage, *, estimated_input: int = 0, searches: int = 0) -> dict[str, object]:
    """Return the usage object of a message, with every key that clients read.

    `estimated_input` stands for an input that the upstream did not count, `searches` is how often its web search ran.
    """
    uncached = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    written: dict[str, object] = {
        "input_tokens": max(uncached, 0) if usage.input_tokens else estimated_input,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if searches:
        written["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return written


def read_counts(raw: Raw | bytes) -> Counts:
    """Return what a usage object reports: nothing when it is none. Never raises."""
    try:
        return _counts(lenient.decode(raw))
    except lenient.NotJsonError:
        return Counts()


def _counts(usage: object) -> Counts:
    if not isinstance(usage, dict):
        return Counts()
    details, iterations = usage.get("output_tokens_details"), usage.get("iterations")
    return Counts(
        uncached=_reported(usage, "input_tokens"),
        cache_write=_reported(usage, "cache_creation_input_tokens"),
        cache_read=_reported(usage, "cache_read_input_tokens"),
        output=_reported(usage, "output_tokens"),
        thinking=_reported(details, "thinking_tokens") if isinstance(details, dict) else None,
        beside=tuple(map(_flat, iterations)) if isinstance(iterations, list) else (),
    )


def _flat(iteration: object) -> Counts:
    if not isinstance(iteration, dict) or iteration.get("type") not in BESIDE_THE_TOTALS:
        return Counts()
    return _counts({name: value for name, value in iteration.items() if name != "iterations"})


def _reported(usage: dict[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return None if value is None else count(value)


def _later(earlier: int | None, later: int | None, *, zero_counts: bool) -> int | None:
    return later if later is not None and (later or zero_counts or earlier is None) else earlier
