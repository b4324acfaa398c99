"""What the gateway's access log says of its attempts: retries, hedges, what they cost, and who was left alone when.

The log has one line a request, with every attempt's beginning and end to the microsecond. From these alone it is told
why an attempt began: one that began where an earlier one failed is a retry, one that began while another still ran is a
hedge. Nothing here knows how the gateway decides; it sees what came of it.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

_WAIT_SECONDS_MAX = 10.0
_SAME_MOMENT_MS = 2.0
"""A retry begins at once, but the log has its beginning, and the failure's end, by two readings of a clock."""

ANSWERED, LOST = "ok", "lost"


class Tokens(msgspec.Struct):
    """Tokens of a request or an attempt; whatever else is known of them is left out."""

    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.input_tokens + self.output_tokens


class Attempt(msgspec.Struct):
    """One attempt: when it began within its request, how long it ran, how it ended, and what one that lost cost."""

    provider: str
    outcome: str
    offset_ms: float
    duration_ms: float
    usage: Tokens | None = None

    @property
    def end_ms(self) -> float:
        """When it ended, within its request."""
        return self.offset_ms + self.duration_ms


class Line(msgspec.Struct):
    """One request that is over; `time` is when."""

    time: str
    outcome: str
    duration_ms: float
    model: str | None = None
    usage: Tokens | None = None
    attempts: list[Attempt] = []

    @property
    def began_s(self) -> float:
        """When it began, in seconds since 1970."""
        return datetime.fromisoformat(self.time).timestamp() - self.duration_ms / 1000


class AccessLog:
    """Reads a log that is being written, each line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._decoder = msgspec.json.Decoder(Line)

    def take(self, counts: Mapping[str, int]) -> dict[str, list[Line]]:
        """Give the new lines of these models, waiting a few seconds until there are so many of each."""
        taken: dict[str, list[Line]] = {model: [] for model in counts}
        deadline_s = time.monotonic() + _WAIT_SECONDS_MAX
        while True:
            for line in self._new():
                if line.model in taken:
                    taken[line.model].append(line)
            whole = all(len(taken[model]) >= count for model, count in counts.items())
            if whole or time.monotonic() > deadline_s:
                return taken
            time.sleep(0.05)

    def _new(self) -> Iterator[Line]:
        with self._path.open("rb") as log:
            log.seek(self._position)
            for text in log:
                if not text.endswith(b"\n"):
                    return
                self._position += len(text)
                yield self._decoder.decode(text)


class Hedge(NamedTuple):
    """An attempt that began beside the slow one at `provider`, so long after it."""

    provider: str
    delay_ms: float


class Tally(msgspec.Struct, kw_only=True):
    """The attempts of many requests. Token counts of lost attempts are the gateway's estimates."""

    requests: int = 0
    attempts: int = 0
    retries: int = 0
    hedges: int = 0
    lost: int = 0
    tokens: int = 0
    tokens_wasted: int = 0
    failed: dict[str, int] = {}
    outcomes: dict[str, dict[str, int]] = {}
    delays_ms: dict[str, list[float]] = {}

    @property
    def retry_share(self) -> float:
        """Retries per request."""
        return self.retries / max(1, self.requests)

    @property
    def hedge_share(self) -> float:
        """Hedges per request."""
        return self.hedges / max(1, self.requests)

    @property
    def waste_share(self) -> float:
        """The part of all tokens that went to attempts which lost."""
        return self.tokens_wasted / max(1, self.tokens + self.tokens_wasted)


def tally(lines: Iterable[Line]) -> Tally:
    """Count what the lines say; `failed` are requests by outcome, `outcomes` attempts by provider."""
    found = Tally()
    failed: Counter[str] = Counter()
    outcomes: dict[str, Counter[str]] = {}
    for line in lines:
        found.requests += 1
        failed[line.outcome] += line.outcome != ANSWERED
        found.tokens += line.usage.total if line.usage else 0
        for number, attempt in enumerate(line.attempts):
            found.attempts += 1
            outcomes.setdefault(attempt.provider, Counter())[attempt.outcome] += 1
            found.lost += attempt.outcome == LOST
            found.tokens_wasted += attempt.usage.total if attempt.usage else 0
            if not number:
                continue
            hedge = why(line.attempts[:number], attempt)
            if hedge is None:
                found.retries += 1
            else:
                found.hedges += 1
                found.delays_ms.setdefault(hedge.provider, []).append(hedge.delay_ms)
    found.failed = {outcome: count for outcome, count in failed.items() if count}
    found.outcomes = {provider: dict(counted) for provider, counted in sorted(outcomes.items())}
    return found


def why(earlier: Sequence[Attempt], attempt: Attempt) -> Hedge | None:
    """Tell whose slowness started an attempt; None when it was a failure."""
    failed = [each for each in earlier if each.outcome not in {ANSWERED, LOST}]
    if any(abs(each.end_ms - attempt.offset_ms) <= _SAME_MOMENT_MS for each in failed):
        return None
    running = [each for each in earlier if each.end_ms > attempt.offset_ms]
    if not running:
        return None
    slow = max(running, key=lambda each: each.offset_ms)
    return Hedge(slow.provider, attempt.offset_ms - slow.offset_ms)


def left_alone_after_s(lines: Sequence[Line], provider: str, *, quiet_s: float) -> float | None:
    """Tell how long after the first request the last attempt at a provider began before it was left alone.

    Alone is who is not asked for `quiet_s` while requests go on; None when that did not happen.
    """
    if not lines:
        return None
    first_s, last_s = (choose(line.began_s for line in lines) for choose in (min, max))
    begun = sorted(
        line.began_s + attempt.offset_ms / 1000
        for line in lines
        for attempt in line.attempts
        if attempt.provider == provider
    )
    if not begun:
        return None
    for at_s, next_s in zip(begun, [*begun[1:], last_s], strict=True):
        if next_s - at_s >= quiet_s and last_s - at_s >= quiet_s:
            return at_s - first_s
    return None
