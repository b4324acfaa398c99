"""The counters of a worker, the files between processes, and what /metrics says of them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from adapters.usage import Usage
from engine import metrics as metrics_module
from engine import snapshots
from engine.console.status import Status, Worker
from engine.exposition import render
from engine.metrics import MODELS_MAX, STATUSES_MAX, Metrics
from engine.snapshots import FAMILIES, OUTCOMES, SECONDS, Kind, Totals, merge, retire

USAGE = Usage(input_tokens=10, output_tokens=7, cached_tokens=4, reasoning_tokens=2)
OK = ("surface", "model-a", "provider-a", 200, "ok")


def worker(incarnation: str = "0-a", slot: int = 0) -> Metrics:
    return Metrics(incarnation=incarnation, slot=slot)


def publish(directory: Path, metrics: Metrics) -> None:
    assert metrics.publish(snapshots.file_of(directory, metrics.incarnation))


def one_request(metrics: Metrics, *, seconds: float = 0.25, outcome: str = "ok", status: int = 200) -> None:
    metrics.request_started("chat")
    metrics.request_finished("chat", "model-a", "provider-a", status, outcome, seconds, 0.125, USAGE)


def totals_of(*several: Metrics, live: bool = True) -> Totals:
    totals = Totals()
    for metrics in several:
        totals.add(metrics.snapshot(), live=live)
    return totals


# -- counting ----------------------------------------------------------------------------------------------------------


def test_requests_are_counted_over_all_their_labels() -> None:
    metrics = worker()
    assert metrics.requests_total() == 0
    one_request(metrics)
    one_request(metrics)
    one_request(metrics, outcome="upstream_error", status=502)
    assert metrics.requests_total() == 3


def test_a_request_is_in_flight_until_it_finished() -> None:
    metrics = worker()
    metrics.request_started("chat")
    metrics.request_started("chat")
    metrics.request_finished("chat", None, None, 401, "client_error", 0.5)
    values = totals_of(metrics).values
    assert values["hedgerow_requests_in_flight"] == {("chat",): 1}
    assert values["hedgerow_requests_total"] == {("chat", "", "", "401", "client_error"): 1}


def test_usage_and_first_token_are_counted_per_model_and_provider() -> None:
    metrics = worker()
    one_request(metrics)
    one_request(metrics)
    totals = totals_of(metrics)
    assert totals.values["hedgerow_tokens_total"] == {
        ("model-a", "provider-a", "input"): 20,
        ("model-a", "provider-a", "output"): 14,
        ("model-a", "provider-a", "cached"): 8,
        ("model-a", "provider-a", "reasoning"): 4,
    }
    ttft = totals.histograms["hedgerow_ttft_seconds"]["model-a", "provider-a"]
    assert (sum(ttft.counts), ttft.sum) == (2, 0.25)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, 0),
        (SECONDS[0], 0),  # upper bounds are inclusive
        (SECONDS[0] * 1.001, 1),
        (SECONDS[-1], len(SECONDS) - 1),
        (SECONDS[-1] + 1, len(SECONDS)),
    ],
)
def test_an_observation_falls_into_the_first_bucket_that_holds_it(seconds: float, bucket: int) -> None:
    metrics = worker()
    metrics.attempt_finished("provider-a", "ok", seconds)
    counts = totals_of(metrics).histograms["hedgerow_attempt_seconds"]["provider-a",].counts
    assert [index for index, count in enumerate(counts) if count] == [bucket]


def test_models_beyond_the_bound_count_as_other_and_none_is_lost() -> None:
    metrics = worker()
    for number in range(MODELS_MAX * 3):
        metrics.request_started("chat")
        metrics.request_finished("chat", f"model-{number}", "provider-a", 200, "ok", 0.5)
    requests = totals_of(metrics).values["hedgerow_requests_total"]
    assert sum(requests.values()) == MODELS_MAX * 3
    assert requests["chat", "other", "provider-a", "200", "ok"] == MODELS_MAX * 2
    assert metrics.statistics().models == MODELS_MAX + 1


def test_names_that_never_answered_do_not_take_the_room_of_models_that_do() -> None:
    metrics = worker()
    for number in range(MODELS_MAX * 2):
        metrics.request_started("chat")
        metrics.request_finished("chat", f"guess-{number}", "provider-a", 404, "client_error", 0.5)
    one_request(metrics)
    requests = totals_of(metrics).values["hedgerow_requests_total"]
    assert requests["chat", "model-a", "provider-a", "200", "ok"] == 1


def test_statuses_beyond_the_bound_count_as_other() -> None:
    metrics = worker()
    for status in range(200, 200 + STATUSES_MAX * 2):
        one_request(metrics, status=status)
    requests = totals_of(metrics).values["hedgerow_requests_total"]
    assert len(requests) == STATUSES_MAX + 1
    assert requests["chat", "model-a", "provider-a", "other", "ok"] == STATUSES_MAX


def test_providers_beyond_the_bound_count_as_other() -> None:
    metrics = worker()
    for number in range(metrics_module.PROVIDERS_MAX * 2):
        metrics.attempt_finished(f"provider-{number}", "ok", 0.5)
    attempts = totals_of(metrics).values["hedgerow_attempts_total"]
    assert sum(attempts.values()) == metrics_module.PROVIDERS_MAX * 2
    assert attempts["other", "ok"] == metrics_module.PROVIDERS_MAX


def test_outcomes_are_a_closed_set() -> None:
    metrics = worker()
    for outcome in (*OUTCOMES, "a new word"):
        one_request(metrics, outcome=outcome)
        metrics.attempt_finished("provider-a", outcome, 0.5)
    totals = totals_of(metrics)
    assert {labels[-1] for labels in totals.values["hedgerow_requests_total"]} == set(OUTCOMES)
    assert totals.values["hedgerow_requests_total"]["chat", "model-a", "provider-a", "200", "internal_error"] == 2
    assert totals.values["hedgerow_attempts_total"]["provider-a", "other"] == 1


def test_pulled_values_are_asked_at_every_snapshot() -> None:
    metrics = worker()
    idle = [3]
    metrics.pull("hedgerow_upstream_connections", lambda: idle[0], {"state": "idle"})
    assert totals_of(metrics).values["hedgerow_upstream_connections"] == {("idle",): 3}
    idle[0] = 5
    assert totals_of(metrics).values["hedgerow_upstream_connections"] == {("idle",): 5}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("hedgerow_nothing", {}),
        ("hedgerow_upstream_connections", {}),
        ("hedgerow_upstream_connections", {"phase": "idle"}),
        ("hedgerow_attempt_seconds", {"provider": "a"}),
    ],
)
def test_only_values_of_the_table_can_be_pulled(name: str, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=name):
        worker().pull(name, lambda: 1, labels)


def test_a_worker_tells_its_own_memory_and_cpu_time() -> None:
    values = totals_of(worker(slot=3)).values
    assert values["hedgerow_worker_resident_memory_bytes"]["3",] > 1 << 20
    assert values["hedgerow_worker_cpu_seconds_total"]["3",] > 0


def test_adding_up_leaves_the_snapshots_alone() -> None:
    metrics = worker()
    one_request(metrics)
    snapshot, totals = metrics.snapshot(), Totals()
    for _ in range(3):
        totals.add(snapshot, live=True)
    ttft = totals.histograms["hedgerow_ttft_seconds"]["model-a", "provider-a"]
    assert (sum(ttft.counts), ttft.sum) == (3, 0.375)


# -- files -------------------------------------------------------------------------------------------------------------


@dataclass
class Event:
    """One thing that can happen to a worker; numbers that floats add exactly."""

    surface: str
    model: str | None
    status: int
    outcome: str
    eighths: int
    tokens: int

    def happen(self, metrics: Metrics) -> None:
        metrics.request_started(self.surface)
        metrics.attempt_finished(self.model or "none", self.outcome, self.eighths / 8)
        usage = Usage(input_tokens=self.tokens, output_tokens=self.tokens)
        seconds = self.eighths / 8
        provider = None if self.model is None else "provider"
        metrics.request_finished(
            self.surface, self.model, provider, self.status, self.outcome, seconds, seconds / 2, usage
        )


EVENTS = st.builds(
    Event,
    surface=st.sampled_from(["chat", "models"]),
    model=st.sampled_from([None, "model-a", "model-b"]),
    status=st.sampled_from([200, 429, 502]),
    outcome=st.sampled_from(OUTCOMES),
    eighths=st.integers(0, 6000),
    tokens=st.integers(0, 1000),
)
COUNTED = {name for name, family in FAMILIES.items() if family.kind is Kind.COUNTER and "cpu" not in name}


def counted(totals: Totals) -> tuple[object, object]:
    """What must not depend on which worker it happened in: counters, zeros apart, and histograms."""
    values = {
        (name, labels): value for name in COUNTED for labels, value in totals.values.get(name, {}).items() if value
    }
    histograms = {
        (name, labels): (distribution.counts, distribution.sum)
        for name, distributions in totals.histograms.items()
        for labels, distribution in distributions.items()
    }
    return values, histograms


@settings(deadline=None)
@given(events=st.lists(st.tuples(st.integers(0, 3), EVENTS, st.booleans())), retired=st.sets(st.integers(0, 3)))
def test_any_partition_into_workers_sums_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, Event, bool]], retired: set[int]
) -> None:
    directory = tmp_path_factory.mktemp("partition")
    alone = worker()
    workers = [worker(f"{number}-x", number) for number in range(4)]
    for number, event, published in events:
        event.happen(alone)
        event.happen(workers[number])
        if published:
            publish(directory, workers[number])
    for each in workers:
        publish(directory, each)
    for number in sorted(retired):
        assert retire(directory, workers[number].incarnation)
        assert not retire(directory, workers[number].incarnation)
    live = [each.incarnation for number, each in enumerate(workers) if number not in retired]
    assert counted(merge(directory, live)) == counted(totals_of(alone))


def test_gauges_are_of_the_living(tmp_path: Path) -> None:
    for incarnation in ("0-a", "1-b"):
        metrics = worker(incarnation)
        metrics.request_started("chat")
        publish(tmp_path, metrics)
    assert merge(tmp_path, ["0-a", "1-b"]).values["hedgerow_requests_in_flight"] == {("chat",): 2}
    assert merge(tmp_path, ["1-b"]).values["hedgerow_requests_in_flight"] == {("chat",): 1}
    retire(tmp_path, "1-b")
    assert "hedgerow_requests_in_flight" not in merge(tmp_path, []).values


def test_an_interrupted_retirement_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = worker()
    one_request(metrics)
    publish(tmp_path, metrics)

    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            retire(tmp_path, "0-a")
    assert snapshots.file_of(tmp_path, "0-a").exists()
    assert counted(merge(tmp_path, [])) == counted(totals_of(metrics))
    assert not retire(tmp_path, "0-a")
    assert not snapshots.file_of(tmp_path, "0-a").exists()
    assert counted(merge(tmp_path, [])) == counted(totals_of(metrics))


def test_a_file_retired_between_listing_and_reading_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = worker()
    one_request(metrics)
    publish(tmp_path, metrics)
    really_read = snapshots.read

    def retired_meanwhile(path: Path) -> snapshots.Snapshot | None:
        if path.name.startswith("worker"):
            monkeypatch.setattr(snapshots, "read", really_read)
            retire(tmp_path, "0-a")
        return really_read(path)

    monkeypatch.setattr(snapshots, "read", retired_meanwhile)
    assert counted(merge(tmp_path, [])) == counted(totals_of(metrics))
    assert not snapshots.file_of(tmp_path, "0-a").exists()


def test_retired_names_are_bounded_but_kept_while_their_file_stands(tmp_path: Path) -> None:
    for number in range(snapshots.FOLDED_MAX + 5):
        metrics = worker(f"0-{number}")
        one_request(metrics)
        publish(tmp_path, metrics)
        retire(tmp_path, metrics.incarnation)
    retired = snapshots.read(tmp_path / snapshots.RETIRED)
    assert retired is not None
    assert len(retired.folded) == snapshots.FOLDED_MAX + 1
    assert merge(tmp_path, []).values["hedgerow_requests_total"] == {
        ("chat", "model-a", "provider-a", "200", "ok"): snapshots.FOLDED_MAX + 5
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"format":1,"incarnation":"0-z","values":{},"histog',
        b'{"format":999,"incarnation":"0-z","values":{},"histograms":{}}',
        b'{"format":1,"incarnation":"0-z","values":{"hedgerow_unknown":[[["a"],1]]},"histograms":{}}',
        b'{"format":1,"incarnation":"0-z","values":{"hedgerow_requests_in_flight":[[[],1]]},"histograms":{}}',
        b'{"format":1,"incarnation":"0-z","values":{},"histograms":{"hedgerow_attempt_seconds":[[["a"],[[1],1]]]}}',
    ],
)
def test_a_file_that_is_no_snapshot_is_skipped_and_seen(tmp_path: Path, content: bytes) -> None:
    metrics = worker()
    one_request(metrics)
    publish(tmp_path, metrics)
    (tmp_path / "worker-0-z.json").write_bytes(content)
    totals = merge(tmp_path, ["0-a", "0-z"])
    assert totals.unreadable == 1
    assert counted(totals) == counted(totals_of(metrics))
    assert not retire(tmp_path, "0-z")
    assert merge(tmp_path, ["0-a"]).unreadable == 0


@pytest.mark.parametrize("incarnation", ["", "../x", "a/b", "a.b", "x" * 65, "a\n"])
def test_an_incarnation_is_a_plain_name(tmp_path: Path, incarnation: str) -> None:
    with pytest.raises(ValueError, match="incarnation"):
        snapshots.file_of(tmp_path, incarnation)


def test_snapshots_are_the_owners_alone(tmp_path: Path) -> None:
    publish(tmp_path, worker())
    assert snapshots.file_of(tmp_path, "0-a").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["worker-0-a.json"]


def test_a_snapshot_that_cannot_be_written_is_counted_and_tried_again(tmp_path: Path) -> None:
    metrics = worker()
    missing = tmp_path / "not yet"
    assert not metrics.publish(snapshots.file_of(missing, "0-a"))
    missing.mkdir()
    publish(missing, metrics)
    assert merge(missing, []).values["hedgerow_metrics_publish_failures_total"] == {(): 1}


async def published(metrics: Metrics, total: int) -> None:
    """Let the metrics' task and its threads publish so often; virtual time, so nothing is waited for."""
    while metrics.statistics().published_total < total:
        await trio.sleep(metrics_module.PUBLISH_SECONDS)


async def test_the_last_values_are_published_when_the_worker_ends(tmp_path: Path, autojump_clock: object) -> None:
    metrics = worker()
    path = snapshots.file_of(tmp_path, "0-a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metrics.run, path)
        await trio.testing.wait_all_tasks_blocked()
        one_request(metrics)
        nursery.cancel_scope.cancel()
    assert counted(merge(tmp_path, [])) == counted(totals_of(metrics))


async def test_a_running_worker_publishes_what_changed(tmp_path: Path, autojump_clock: object) -> None:
    metrics = worker()
    path = snapshots.file_of(tmp_path, "0-a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metrics.run, path)
        await published(metrics, 1)
        one_request(metrics)
        # One may be under way with what was there before.
        await published(metrics, metrics.statistics().published_total + 2)
        assert counted(merge(tmp_path, [])) == counted(totals_of(metrics))
        nursery.cancel_scope.cancel()
    assert metrics.statistics().publish_failures_total == 0


# -- exposition --------------------------------------------------------------------------------------------------------

STATUS = Status(
    version="1.2.3",
    start_time=1_700_000_000,
    workers=[
        Worker(slot=0, incarnation="0-a", pid=1, state="ready", restarts=2),
        Worker(slot=1, incarnation="1-b", pid=2, state="down"),
    ],
)


def samples(text: Iterable[Sample], name: str) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels.values()): sample.value for sample in text if sample.name == name}


def scrape(directory: Path, status: Status | None = STATUS) -> list[Sample]:
    body, _ = render(directory, status, "")
    return [sample for family in parse_text(body.decode()) for sample in family.samples]


def test_every_family_is_in_the_text_with_its_values(tmp_path: Path) -> None:
    metrics = worker()
    one_request(metrics)
    metrics.attempt_finished("provider-a", "reset", 0.5)
    publish(tmp_path, metrics)
    body, content_type = render(tmp_path, STATUS, "")
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in parse_text(body.decode())}
    for family in FAMILIES.values():
        parsed = families[family.name.removesuffix("_total")]
        assert parsed.type == family.kind.value
        assert parsed.documentation == family.help
    text = scrape(tmp_path)
    request = next(sample for sample in text if sample.name == "hedgerow_requests_total")
    assert request.labels == {
        "surface": "chat",
        "model": "model-a",
        "provider": "provider-a",
        "status": "200",
        "outcome": "ok",
    }
    assert request.value == 1
    assert samples(text, "hedgerow_worker_up") == {("0",): 1, ("1",): 0}
    assert samples(text, "hedgerow_worker_restarts_total") == {("0",): 2, ("1",): 0}
    assert samples(text, "hedgerow_build_info") == {("1.2.3",): 1}
    assert samples(text, "hedgerow_access_log_dropped_total") == {(): 0}


def test_histograms_are_cumulative_and_end_in_infinity(tmp_path: Path) -> None:
    metrics = worker()
    for seconds in (0.0005, 0.25, 0.25, 1000.0):
        metrics.attempt_finished("provider-a", "ok", seconds)
    publish(tmp_path, metrics)
    text = scrape(tmp_path)
    buckets = {sample.labels["le"]: sample.value for sample in text if sample.name == "hedgerow_attempt_seconds_bucket"}
    assert [float(bound) for bound in buckets] == [*SECONDS, float("inf")]
    assert buckets["0.001"] == 1
    assert buckets["0.1"] == 1
    assert buckets["0.25"] == 3
    assert buckets["600.0"] == 3
    assert buckets["+Inf"] == 4
    assert samples(text, "hedgerow_attempt_seconds_count") == {("provider-a",): 4}
    assert samples(text, "hedgerow_attempt_seconds_sum") == {("provider-a",): 1000.5005}


def test_openmetrics_is_answered_to_who_asks_for_it(tmp_path: Path) -> None:
    metrics = worker()
    one_request(metrics)
    publish(tmp_path, metrics)
    body, content_type = render(tmp_path, STATUS, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert "hedgerow_requests" in names


def test_label_values_are_escaped(tmp_path: Path) -> None:
    metrics = worker()
    model = 'quo"te\\back\nline'
    metrics.request_started("chat")
    metrics.request_finished("chat", model, "provider-a", 200, "ok", 0.5)
    publish(tmp_path, metrics)
    request = next(sample for sample in scrape(tmp_path) if sample.name == "hedgerow_requests_total")
    assert request.labels["model"] == model


def test_a_gateway_that_is_only_starting_can_be_scraped(tmp_path: Path) -> None:
    text = scrape(tmp_path, None)
    assert samples(text, "hedgerow_downstream_connections") == {(): 0}
    assert samples(text, "hedgerow_worker_up") == {}
