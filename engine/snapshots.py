"""Metrics between processes: the families, the files in the runtime directory, and how they add up.

Everything about what a metric is called, how it is labelled and how the values of several workers become one is here.
Each worker writes one file, `worker-<incarnation>.json`, replaced atomically, so a reader sees the old one or the new
one and never a half. An incarnation is one life of one worker process and its name is used once in a directory.

    worker --write()--> worker-<incarnation>.json --retire()--> retired.json      (the supervisor, when a worker died)
                                    \\__________________ merge() ________/          (the console, when somebody asks)

Counters and histograms are summed over all incarnations ever; gauges over the live ones only. A counter never goes back
because of a restart: `retired.json` names the incarnations it already holds, so a crash between writing it and removing
the dead worker's file counts nothing twice, and `merge` reads it last, so a file retired in between is not missed.

This module knows neither the hot path (`engine.metrics`) nor the exposition format (`engine.exposition`).
"""

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import msgspec

FORMAT = 1
"""Raised when a snapshot's meaning changes (a family, its labels, its bounds): other formats are skipped."""

RETIRED = "retired.json"
INCARNATION = re.compile(r"[A-Za-z0-9_-]{1,64}")

FOLDED_MAX = 256
"""How many retired incarnations are remembered by name after their files are gone; each is a few bytes."""

OUTCOMES = ("ok", "client_error", "client_gone", "upstream_error", "incomplete", "internal_error", "refused")
"""How a request ended: the closed set of the `outcome` label."""

ATTEMPT_OUTCOMES = frozenset(OUTCOMES) | {
    *("refused", "dns", "tls", "proxy", "connect_timeout", "timeout", "status", "reset", "incomplete", "garbage"),
    *("oversize", "empty", "in_band", "pool_full", "idle", "cancelled", "lost", "other"),
}
"""How an attempt ended: a request's outcomes, or the cause of an `adapters.errors.UpstreamError`."""

SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""Upper bounds of every duration histogram: from a refusal in a millisecond to a ten-minute stream."""


class Kind(Enum):
    """What a family counts, which decides how it is merged."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric name: its kind, its labels in order, and the sentence an operator reads."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "hedgerow_requests_total",
            Kind.COUNTER,
            ("surface", "model", "provider", "status", "outcome"),
            "Requests finished, by what served them and how they ended.",
        ),
        Family("hedgerow_requests_in_flight", Kind.GAUGE, ("surface",), "Requests being served now."),
        Family(
            "hedgerow_request_seconds",
            Kind.HISTOGRAM,
            ("surface",),
            "From a request's last byte in to its answer's last byte out.",
        ),
        Family(
            "hedgerow_ttft_seconds",
            Kind.HISTOGRAM,
            ("model", "provider"),
            "From a request's last byte in to the first content of its answer.",
        ),
        Family(
            "hedgerow_tokens_total",
            Kind.COUNTER,
            ("model", "provider", "kind"),
            "Tokens reported by upstreams; cached is part of input, reasoning is part of output.",
        ),
        Family(
            "hedgerow_attempts_total", Kind.COUNTER, ("provider", "outcome"), "Upstream attempts by how they ended."
        ),
        Family("hedgerow_attempt_seconds", Kind.HISTOGRAM, ("provider",), "From the start of an attempt to its end."),
        Family("hedgerow_hedged_requests_total", Kind.COUNTER, (), "Requests of which several attempts ran at once."),
        Family(
            "hedgerow_hedge_waste_tokens_total",
            Kind.COUNTER,
            ("provider", "kind"),
            "Tokens of attempts that another one beat, as far as they are known, else estimated; nobody is charged.",
        ),
        Family(
            "hedgerow_candidate_in_flight",
            Kind.GAUGE,
            ("provider", "model", "credential"),
            "Attempts under way at a candidate.",
        ),
        Family(
            "hedgerow_candidate_breaker_open",
            Kind.GAUGE,
            ("provider", "model", "credential"),
            "Workers whose breaker for a candidate is not closed.",
        ),
        Family(
            "hedgerow_candidate_breaker_openings_total",
            Kind.COUNTER,
            ("provider", "model", "credential"),
            "How often a breaker opened.",
        ),
        Family("hedgerow_upstream_connections", Kind.GAUGE, ("state",), "Open upstream connections."),
        Family("hedgerow_upstream_connections_opened_total", Kind.COUNTER, (), "Upstream connections opened."),
        Family("hedgerow_upstream_connections_reused_total", Kind.COUNTER, (), "Leases served by an idle connection."),
        Family("hedgerow_downstream_connections", Kind.GAUGE, (), "Open client connections."),
        Family("hedgerow_access_log_dropped_total", Kind.COUNTER, (), "Access-log lines that were not written."),
        Family("hedgerow_settlements_booked_total", Kind.COUNTER, (), "Settlements brought into the ledger."),
        Family("hedgerow_journal_waiting_bytes", Kind.GAUGE, (), "Settlements in journals, not in the ledger yet."),
        Family("hedgerow_charged_nano_dollars_total", Kind.COUNTER, (), "What accounts were charged."),
        Family("hedgerow_uncollected_nano_dollars_total", Kind.COUNTER, (), "Charges beyond balances and caps."),
        Family("hedgerow_store_failures_total", Kind.COUNTER, (), "Calls for keys, leases, booking, rows that failed."),
        Family("hedgerow_lease_waits_total", Kind.COUNTER, (), "Requests that had to wait for a lease."),
        Family("hedgerow_request_log_dropped_total", Kind.COUNTER, (), "Rows of the request log not written."),
        Family(
            "hedgerow_drained_answers_total", Kind.COUNTER, ("outcome",), "Answers read on after their client had left."
        ),
        Family("hedgerow_metrics_publish_failures_total", Kind.COUNTER, (), "Snapshots a worker could not write."),
        Family("hedgerow_worker_requests_total", Kind.COUNTER, ("worker",), "Requests that a worker finished."),
        Family("hedgerow_worker_resident_memory_bytes", Kind.GAUGE, ("worker",), "Resident memory of a worker."),
        Family(
            "hedgerow_worker_cpu_seconds_total", Kind.COUNTER, ("worker",), "CPU time of a worker over its restarts."
        ),
        Family(
            "hedgerow_worker_loop_lag_seconds",
            Kind.GAUGE,
            ("worker",),
            "How late a worker's last once-a-second wake-up was.",
        ),
    )
}
"""What workers record. Families about the whole (workers up, restarts, build) are added by `engine.exposition`."""

Value = int | float


class Distribution(msgspec.Struct, array_like=True):
    """A histogram: counts per bucket of `SECONDS`, one more for what exceeds the last, and the sum of all values."""

    counts: list[int]
    sum: float

    def add(self, other: "Distribution") -> None:
        """Add another's counts and sum to this one."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


class Snapshot(msgspec.Struct):
    """One worker's values at one moment; or those of all retired ones, which names them in `folded` instead."""

    format: int
    incarnation: str
    values: dict[str, list[tuple[tuple[str, ...], Value]]]
    histograms: dict[str, list[tuple[tuple[str, ...], Distribution]]]
    folded: list[str] = []


@dataclass(slots=True)
class Totals:
    """Values of several workers, added up. `unreadable` counts files that were skipped."""

    values: dict[str, dict[tuple[str, ...], Value]] = field(default_factory=dict)
    histograms: dict[str, dict[tuple[str, ...], Distribution]] = field(default_factory=dict)
    unreadable: int = 0

    def add(self, snapshot: Snapshot, *, live: bool) -> None:
        """Add a snapshot: counters and histograms always, gauges when its worker lives."""
        for name, samples in snapshot.values.items():
            if FAMILIES[name].kind is Kind.GAUGE and not live:
                continue
            totals = self.values.setdefault(name, {})
            for labels, value in samples:
                totals[labels] = totals.get(labels, 0) + value
        for name, distributions in snapshot.histograms.items():
            sums = self.histograms.setdefault(name, {})
            for labels, distribution in distributions:
                if labels in sums:
                    sums[labels].add(distribution)
                else:
                    sums[labels] = Distribution(list(distribution.counts), distribution.sum)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    """Render a snapshot as the bytes of its file."""
    return _encoder.encode(snapshot)


def file_of(directory: Path, incarnation: str) -> Path:
    """Return where an incarnation's snapshot lives. Raises ValueError for a name that is no plain file name part."""
    if not INCARNATION.fullmatch(incarnation):
        raise ValueError(f"an incarnation is letters, digits, - and _: {incarnation!r}")
    return directory / f"worker-{incarnation}.json"


def write(path: Path, content: bytes) -> None:
    """Replace a file atomically, readable by its owner only. Raises OSError; then the old content stands.

    Not synced to disk: what matters is that a reader never sees a half, not that counters survive a power cut.
    """
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
    fresh.replace(path)


def read(path: Path) -> Snapshot | None:
    """Read one snapshot; None when the file is not there.

    Raises msgspec.DecodeError when it is not a snapshot of this `FORMAT`; OSError when it cannot be read.
    """
    try:
        snapshot = _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    if snapshot.format != FORMAT:
        raise msgspec.ValidationError(f"format {snapshot.format}, expected {FORMAT}")
    _check(snapshot)
    return snapshot


def merge(directory: Path, live: Collection[str]) -> Totals:
    """Add up every snapshot in `directory`; gauges only of the incarnations in `live`.

    A file that is no snapshot is skipped and counted. Raises OSError when the directory or a file cannot be read.
    """
    totals = Totals()
    workers: list[Snapshot] = []
    for path in sorted(directory.glob("worker-*.json")):
        snapshot = _read_or_count(path, totals)
        if snapshot is not None:
            workers.append(snapshot)
    # Last: a worker retired since its file was read is in here by name, one retired before its file was read is in here
    # by value. The other order could miss it, and a counter would go back.
    retired = _read_or_count(directory / RETIRED, totals)
    if retired is not None:
        totals.add(retired, live=False)
    folded = frozenset(retired.folded) if retired is not None else frozenset()
    for snapshot in workers:
        if snapshot.incarnation not in folded:
            totals.add(snapshot, live=snapshot.incarnation in live)
    return totals


def retire(directory: Path, incarnation: str) -> bool:
    """Fold a dead worker's file into `retired.json` and remove it; False when there was nothing to fold.

    Only one process may retire in a directory, and only workers that will write no more. Safe to repeat and to
    interrupt at any point. A file that is no snapshot is removed. Raises OSError; then the worker's file still stands.
    """
    path = file_of(directory, incarnation)
    seen = Totals()
    retired = _read_or_count(directory / RETIRED, seen)
    worker = _read_or_count(path, seen)
    folded = retired.folded if retired is not None else []
    if worker is not None and incarnation not in folded:
        totals = Totals()
        for snapshot in (retired, worker):
            if snapshot is not None:
                totals.add(snapshot, live=False)
        names = [name for name in folded[:-FOLDED_MAX] if file_of(directory, name).exists()] + folded[-FOLDED_MAX:]
        write(directory / RETIRED, encode(_sealed(totals, [*names, incarnation])))
        path.unlink()
        return True
    path.unlink(missing_ok=True)
    return False


def _sealed(totals: Totals, folded: list[str]) -> Snapshot:
    return Snapshot(
        format=FORMAT,
        incarnation="",
        values={name: list(samples.items()) for name, samples in totals.values.items()},
        histograms={name: list(samples.items()) for name, samples in totals.histograms.items()},
        folded=folded,
    )


def _read_or_count(path: Path, totals: Totals) -> Snapshot | None:
    try:
        return read(path)
    except msgspec.DecodeError:
        totals.unreadable += 1
        return None


def _check(snapshot: Snapshot) -> None:
    """Refuse what the table does not know, so that whoever adds up need not ask."""
    for name, labels, kinds in _label_sets(snapshot):
        family = FAMILIES.get(name)
        if family is None or family.kind not in kinds or len(labels) != len(family.labels):
            raise msgspec.ValidationError(f"unknown family or labels: {name} {labels}")
    for distributions in snapshot.histograms.values():
        for _, distribution in distributions:
            if len(distribution.counts) != len(SECONDS) + 1:
                raise msgspec.ValidationError("a histogram with other bounds")


def _label_sets(snapshot: Snapshot) -> Iterable[tuple[str, tuple[str, ...], tuple[Kind, ...]]]:
    for name, samples in snapshot.values.items():
        for labels, _ in samples:
            yield name, labels, (Kind.COUNTER, Kind.GAUGE)
    for name, distributions in snapshot.histograms.items():
        for labels, _ in distributions:
            yield name, labels, (Kind.HISTOGRAM,)
