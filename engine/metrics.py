"""Counting, inside one worker: plain arithmetic on the hot path, one snapshot a second for everybody else.

The rule: a request pays for a dictionary look-up or two and a dozen additions, nothing is formatted, and no label set
is made twice. What must be asked rather than counted (connections, memory, drops) is *pulled* when a snapshot is made,
from callables that their owners register. The labels are bounded: surfaces by the route table, outcomes by `OUTCOMES`,
the rest by the limits below, beyond which a label reads "other" and no count is lost.

    request_started / request_finished / attempt_finished      many times a second, synchronous
    snapshot() -> engine.snapshots.Snapshot -> publish(path)   once a second and at the end, by run()

What the families are called and how several workers add up is `engine.snapshots`. No prometheus-client here.
"""

import os
import resource
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from adapters.usage import Usage
from engine.snapshots import ATTEMPT_OUTCOMES, FAMILIES, FORMAT, OUTCOMES, SECONDS, Distribution, Kind, Snapshot
from engine.snapshots import encode as encode_snapshot
from engine.snapshots import write as write_snapshot

MODELS_MAX = 500
"""Label sets (model, provider) of their own; later ones count as the model "other" of their provider."""

PROVIDERS_MAX = 100
"""Providers with series of their own; configuration decides their number, this only bounds a mistake."""

STATUSES_MAX = 64
"""Label sets (surface, status, outcome) of one (model, provider); later ones count as the status "other"."""

PUBLISH_SECONDS = 1.0

OTHER = "other"

Pull = Callable[[], int | float]
Rows = Callable[[], Iterable[tuple[tuple[str, ...], int | float]]]
Labels = tuple[str, str | None, str | None, int | str, str]
"""surface, model, provider, status, outcome"""


@dataclass(frozen=True, slots=True)
class MetricsStatistics:
    """How much is being counted, for tests and debugging."""

    models: int
    providers: int
    label_sets: int
    published_total: int
    publish_failures_total: int


class Timing:
    """A histogram of seconds being filled."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.sum = 0.0


class Series:
    """The tokens and first-token times of one (model, provider), and how many label sets it has."""

    __slots__ = ("cached", "input", "label_sets", "output", "reasoning", "ttft")

    def __init__(self) -> None:
        self.label_sets = 0
        self.input = 0
        self.output = 0
        self.cached = 0
        self.reasoning = 0
        self.ttft = Timing()


class Cell:
    """One label set of `hedgerow_requests_total`: its count, and where the rest of such a request is counted."""

    __slots__ = ("count", "seconds", "series")

    def __init__(self, series: Series, seconds: Timing) -> None:
        self.count = 0
        self.series = series
        self.seconds = seconds


class Attempts(Timing):
    """The attempts at one provider: how long they took and how they ended."""

    __slots__ = ("outcomes",)

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, int] = {}


class Metrics:
    """The counters of one worker. Not thread-safe: everything happens in the worker's own loop."""

    __slots__ = (
        "_attempts",
        "_cells",
        "_failures",
        "_hedged",
        "_in_flight",
        "_lag_seconds",
        "_providers",
        "_published",
        "_pulls",
        "_request_seconds",
        "_rows",
        "_series",
        "_waste",
        "incarnation",
        "slot",
    )

    def __init__(self, *, incarnation: str, slot: int | str) -> None:
        self.incarnation = incarnation
        self.slot = slot
        self._cells: dict[Labels, Cell] = {}
        self._series: dict[tuple[str | None, str | None], Series] = {}
        self._providers: set[str | None] = set()
        self._in_flight: dict[str, int] = {}
        self._request_seconds: dict[str, Timing] = {}
        self._attempts: dict[str, Attempts] = {}
        self._hedged = 0
        self._waste: dict[tuple[str, ...], int] = {}
        self._pulls: dict[str, dict[tuple[str, ...], Pull]] = {}
        self._rows: dict[str, Rows] = {}
        self._lag_seconds = 0.0
        self._published = 0
        self._failures = 0
        worker = {"worker": str(slot)}
        self.pull("hedgerow_worker_resident_memory_bytes", resident_bytes, worker)
        self.pull("hedgerow_worker_cpu_seconds_total", time.process_time, worker)
        self.pull("hedgerow_worker_loop_lag_seconds", lambda: self._lag_seconds, worker)
        self.pull("hedgerow_metrics_publish_failures_total", lambda: self._failures)

    def __repr__(self) -> str:
        return f"<Metrics {self.incarnation} {self.statistics()}>"

    # -- the hot path ----------------------------------------------------------------------------------------------

    def request_started(self, surface: str) -> None:
        """Count a request in; `request_finished` with the same surface must follow, whatever happens."""
        in_flight = self._in_flight
        in_flight[surface] = in_flight.get(surface, 0) + 1

    def request_finished(  # noqa: PLR0917 - keywords cost time here
        self,
        surface: str,
        model: str | None,
        provider: str | None,
        status: int,
        outcome: str,
        duration_seconds: float,
        ttft_seconds: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Count a request out. `model` and `provider` are those of the candidate that served it, None when none did.

        Never what a client merely asked for: that would let clients make label sets.
        """
        self._in_flight[surface] -= 1
        cell = self._cells.get((surface, model, provider, status, outcome))
        if cell is None:
            cell = self._open_cell(surface, model, provider, status, outcome)
        cell.count += 1
        seconds, series = cell.seconds, cell.series
        seconds.counts[bisect_left(SECONDS, duration_seconds)] += 1
        seconds.sum += duration_seconds
        if ttft_seconds is not None:
            ttft = series.ttft
            ttft.counts[bisect_left(SECONDS, ttft_seconds)] += 1
            ttft.sum += ttft_seconds
        if usage is not None:
            series.input += usage.input_tokens
            series.output += usage.output_tokens
            if usage.cached_tokens:
                series.cached += usage.cached_tokens
            if usage.reasoning_tokens:
                series.reasoning += usage.reasoning_tokens

    def attempt_finished(self, provider: str, outcome: str, seconds: float) -> None:
        """Count one upstream attempt; `outcome` is one of `ATTEMPT_OUTCOMES`, anything else counts as "other"."""
        timing = self._attempts.get(provider)
        if timing is None:
            timing = self._open_attempts(provider)
        outcomes = timing.outcomes
        if outcome in outcomes:
            outcomes[outcome] += 1
        else:
            outcome = outcome if outcome in ATTEMPT_OUTCOMES else OTHER
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        timing.counts[bisect_left(SECONDS, seconds)] += 1
        timing.sum += seconds

    def request_hedged(self) -> None:
        """Count a request of which several attempts ran at once."""
        self._hedged += 1

    def attempt_wasted(self, provider: str, usage: Usage) -> None:
        """Count the tokens of an attempt that lost."""
        provider = self._bounded_provider(provider) or ""
        for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            self._waste[provider, kind] = self._waste.get((provider, kind), 0) + tokens

    # -- what is asked rather than counted ---------------------------------------------------------------------------

    def pull(self, name: str, read: Pull, labels: Mapping[str, str] | None = None) -> None:
        """Register a callable asked at every snapshot: synchronous, quick, must not raise.

        Raises ValueError for a name or labels that `engine.snapshots.FAMILIES` does not have, or has as a histogram.
        Registering the same name and labels again replaces the callable.
        """
        family = FAMILIES.get(name)
        labels = labels or {}
        if family is None or family.kind is Kind.HISTOGRAM or set(labels) != set(family.labels):
            raise ValueError(f"no such value to pull: {name} {dict(labels)}")
        self._pulls.setdefault(name, {})[tuple(labels[label] for label in family.labels)] = read

    def pull_rows(self, name: str, read: Rows) -> None:
        """Register a callable that gives all label sets of a family at every snapshot; rules as for `pull`."""
        self._rows[name] = read

    # -- snapshots -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return all values as of now."""
        values: dict[str, list[tuple[tuple[str, ...], int | float]]] = {
            "hedgerow_requests_total": [
                ((surface, model or "", provider or "", str(status), outcome), cell.count)
                for (surface, model, provider, status, outcome), cell in self._cells.items()
            ],
            "hedgerow_requests_in_flight": [((surface,), count) for surface, count in self._in_flight.items()],
            "hedgerow_attempts_total": [
                ((provider, outcome), count)
                for provider, timing in self._attempts.items()
                for outcome, count in timing.outcomes.items()
            ],
        }
        values["hedgerow_hedged_requests_total"] = [((), self._hedged)]
        values["hedgerow_hedge_waste_tokens_total"] = list(self._waste.items())
        tokens = values["hedgerow_tokens_total"] = []
        ttft: list[tuple[tuple[str, ...], Distribution]] = []
        for (model_name, provider_name), series in self._series.items():
            model, provider = model_name or "", provider_name or ""
            if series.input or series.output:
                tokens.append(((model, provider, "input"), series.input))
                tokens.append(((model, provider, "output"), series.output))
                tokens.append(((model, provider, "cached"), series.cached))
                tokens.append(((model, provider, "reasoning"), series.reasoning))
            if any(series.ttft.counts):
                ttft.append(((model, provider), Distribution(series.ttft.counts, series.ttft.sum)))
        for name, reads in self._pulls.items():
            values[name] = [(labels, read()) for labels, read in reads.items()]
        for name, rows in self._rows.items():
            values[name] = list(rows())
        histograms: dict[str, list[tuple[tuple[str, ...], Distribution]]] = {
            "hedgerow_request_seconds": _distributions(self._request_seconds),
            "hedgerow_attempt_seconds": _distributions(self._attempts),
            "hedgerow_ttft_seconds": ttft,
        }
        return Snapshot(format=FORMAT, incarnation=self.incarnation, values=values, histograms=histograms)

    def publish(self, path: Path) -> bool:
        """Write a snapshot to `path` now; False when it could not be written.

        Blocks for as long as the file system does. A full disk must not hurt requests: it is counted in
        `hedgerow_metrics_publish_failures_total`, and the next publish tries again.
        """
        return self._written(self._try_to_write(path, encode_snapshot(self.snapshot())))

    async def run(self, path: Path) -> None:
        """Publish to `path` every `PUBLISH_SECONDS` when something changed, and once more when cancelled.

        The periodic writes are a thread's: replacing a file on ext4 may wait milliseconds for the disk.
        """
        last = b""
        try:
            while True:
                content = encode_snapshot(self.snapshot())
                if content != last:
                    written = await trio.to_thread.run_sync(self._try_to_write, path, content)
                    last = content if self._written(written) else b""
                due = trio.current_time() + PUBLISH_SECONDS
                await trio.sleep_until(due)
                self._lag_seconds = trio.current_time() - due
        finally:
            self.publish(path)

    def _try_to_write(self, path: Path, content: bytes) -> bool:
        try:
            write_snapshot(path, content)
        except OSError:
            return False
        return True

    def _written(self, written: bool) -> bool:
        if written:
            self._published += 1
        else:
            self._failures += 1
        return written

    def requests_total(self) -> int:
        """Return how many requests have finished."""
        return sum(cell.count for cell in self._cells.values())

    def statistics(self) -> MetricsStatistics:
        """Return how much is being counted."""
        return MetricsStatistics(
            models=len(self._series),
            providers=len(self._providers),
            label_sets=len(self._cells),
            published_total=self._published,
            publish_failures_total=self._failures,
        )

    # -- first times -----------------------------------------------------------------------------------------------

    def _open_cell(self, surface: str, model: str | None, provider: str | None, status: int, outcome: str) -> Cell:
        """Return the cell of a label set that has none of its own: a new one, or the one it is counted under."""
        if outcome not in OUTCOMES:
            outcome = "internal_error"  # a word nobody agreed on is our mistake, and counted as one
        provider = self._bounded_provider(provider)
        model = self._bounded_model(model, provider, outcome)
        series = self._series.setdefault((model, provider), Series())
        bounded = series.label_sets < STATUSES_MAX
        labels: Labels = (surface, model, provider, status if bounded else OTHER, outcome)
        cell = self._cells.get(labels)
        if cell is None:
            series.label_sets += 1
            seconds = self._request_seconds.setdefault(surface, Timing())
            cell = self._cells[labels] = Cell(series, seconds)
        return cell

    def _bounded_model(self, model: str | None, provider: str | None, outcome: str) -> str | None:
        if model is None or (model, provider) in self._series:
            return model
        # Half of the room is for models that answered: a provider that takes any name lets clients fill the rest.
        models_max = MODELS_MAX if outcome == "ok" else MODELS_MAX // 2
        return model if len(self._series) < models_max else OTHER

    def _open_attempts(self, provider: str) -> Attempts:
        bounded = self._bounded_provider(provider) or ""
        timing = self._attempts.get(bounded)
        if timing is None:
            timing = self._attempts[bounded] = Attempts()
        return timing

    def _bounded_provider(self, provider: str | None) -> str | None:
        if provider in self._providers or provider is None:
            return provider
        if len(self._providers) >= PROVIDERS_MAX:
            return OTHER
        self._providers.add(provider)
        return provider


def _distributions(timings: Mapping[str, Timing]) -> list[tuple[tuple[str, ...], Distribution]]:
    return [((label,), Distribution(timing.counts, timing.sum)) for label, timing in timings.items()]


def resident_bytes() -> int:
    """Return this process's resident memory; where /proc is missing (macOS), the highest it has been."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
