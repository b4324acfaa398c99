"""What came of each route of the failover scenario: what its clients saw, and what the access log says of its attempts.

A request counts as failed where either the client or the gateway says so. An upstream that was down was left alone only
if its breaker opened: one that nobody happened to ask for a while was not. What is good enough is not known here.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.attempts import Line, Tally, left_alone_after_s, tally
from bench.jobs import Report

_QUIET_SECONDS = 1.0
"""Who is not asked for so long was left alone."""


class Outcome(NamedTuple):
    """What clients saw of one route, and what its attempts were. `openings` of breakers are by upstream."""

    ttft_ms: list[float]
    requests: int
    errors: dict[str, int]
    tally: Tally
    openings: Mapping[str, int]

    @property
    def failed(self) -> int:
        """Requests that failed, as the client counts them and as the gateway does: the greater number."""
        return max(sum(self.errors.values()), sum(self.tally.failed.values()))


class Outage(NamedTuple):
    """What came of a route while `upstream` was down, which was left alone after so long, or never."""

    outcome: Outcome
    upstream: str
    left_alone_s: float | None
    lines: Sequence[Line]


class Results:
    """Everything that one run found; `cpu_us` is by kind of request and route, one number a round."""

    def __init__(self) -> None:
        self.routes: dict[str, Outcome] = {}
        self.outages: dict[str, Outage] = {}
        self.cpu_us: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.problems: list[str] = []

    def add_route(self, name: str, report: Report, lines: Sequence[Line], openings: Mapping[str, int]) -> None:
        """Keep what came of a route under faults."""
        self.routes[name] = _outcome(report, lines, openings)

    def add_outage(
        self, name: str, report: Report, lines: Sequence[Line], openings: Mapping[str, int], upstream: str
    ) -> None:
        """Keep what came of a route one upstream of which was down."""
        left_alone_s = left_alone_after_s(lines, upstream, quiet_s=_QUIET_SECONDS) if openings.get(upstream) else None
        self.outages[name] = Outage(_outcome(report, lines, openings), upstream, left_alone_s, lines)


def _outcome(report: Report, lines: Sequence[Line], openings: Mapping[str, int]) -> Outcome:
    return Outcome(report.first_contents_ms, report.requests, report.errors, tally(lines), openings)


def rank(values: Sequence[float], share: float) -> float | None:
    """Give the nearest-rank quantile, None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
