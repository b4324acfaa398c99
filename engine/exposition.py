"""/metrics: the workers' snapshots and the supervisor's status in the Prometheus exposition format.

Only the console process imports this module and, through it, prometheus-client, which renders and counts nothing: its
registry and its process-wide default metrics are not used, so `process_*` of the console do not pose as the gateway's.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from engine.console.status import Status
from engine.snapshots import FAMILIES, SECONDS, Distribution, Family, Kind, Totals, merge

Samples = Mapping[tuple[str, ...], int | float]

BOUNDS = [*(str(bound) for bound in SECONDS), "+Inf"]


class RuntimeCollector(Collector):
    """One scrape: the totals and the status it was made with, in the order of the tables."""

    def __init__(self, totals: Totals, status: Status | None) -> None:
        self.totals = totals
        self.status = status

    def collect(self) -> Iterable[Metric]:
        """Yield every family, also those nothing was counted for yet, so that dashboards know them."""
        for family in FAMILIES.values():
            if family.kind is Kind.HISTOGRAM:
                yield _histogram(family, self.totals.histograms.get(family.name, {}))
            else:
                yield _scalar(family, self.totals.values.get(family.name, {}))
        unreadable = "Snapshot files skipped in this scrape because they could not be read."
        yield GaugeMetricFamily("hedgerow_metrics_unreadable_files", unreadable, value=self.totals.unreadable)
        if self.status is not None:
            yield from _status_families(self.status)


def render(directory: Path, status: Status | None, accept: str) -> tuple[bytes, str]:
    """Render everything as (body, content type), the format negotiated from an `Accept` header.

    Raises OSError when the runtime directory cannot be read.
    """
    live = [*(worker.incarnation for worker in status.workers), status.clerk] if status is not None else []
    encoder, content_type = choose_encoder(accept)
    return encoder(RuntimeCollector(merge(directory, live), status)), content_type


def _scalar(family: Family, samples: Samples) -> Metric:
    # Without labels there is one series, and zero is its true value before the first snapshot.
    if not family.labels and not samples:
        samples = {(): 0}
    metric_type = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric: CounterMetricFamily | GaugeMetricFamily = metric_type(family.name, family.help, labels=family.labels)
    for labels, value in sorted(samples.items()):
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, distributions: Mapping[tuple[str, ...], Distribution]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, distribution in sorted(distributions.items(), key=lambda item: item[0]):
        metric.add_metric(labels, list(zip(BOUNDS, accumulate(distribution.counts), strict=True)), distribution.sum)
    return metric


def _status_families(status: Status) -> Iterator[Metric]:
    up = GaugeMetricFamily("hedgerow_worker_up", "1 while a worker serves.", labels=["worker"])
    restarts = CounterMetricFamily(
        "hedgerow_worker_restarts_total", "How often the supervisor had to start a worker again.", labels=["worker"]
    )
    for worker in status.workers:
        up.add_metric([str(worker.slot)], int(worker.serving))
        restarts.add_metric([str(worker.slot)], worker.restarts)
    yield up
    yield restarts
    started = "When the gateway started, in seconds since 1970."
    yield GaugeMetricFamily("hedgerow_start_time_seconds", started, value=status.start_time)
    yield InfoMetricFamily("hedgerow_build", "The running version.", value={"version": status.version})
