"""The failover scenario runs its parts in order, reads the access log rightly and judges what it found."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from bench import failover, failover_sheet, faults
from bench.attempts import AccessLog, Attempt, Hedge, Line, left_alone_after_s, tally, why
from bench.failover_sheet import Results, rank
from bench.faults import Faults, Pace, Upstream
from bench.jobs import AnyJob, Numbered, Report
from bench.process import Cores, free_port
from bench.samples import Verdict
from bench.script import parse_script
from bench.subjects import Served, Subject, fetch
from engine.config import load_text

ANYWHERE = Cores(frozenset(), frozenset())
BRIEF = failover.QUICK._replace(
    warmup_s=0.02, faults_s=0.04, outage_s=0.05, rounds=2, round_s=0.0, rate_per_s=100, publish_s=0.0
)


def attempt(provider: str, outcome: str, began_ms: float, ended_ms: float, tokens: int = 0) -> dict[str, Any]:
    usage = {"usage": {"input_tokens": tokens, "estimated": True}} if tokens else {}
    return {
        "provider": provider,
        "model": "m",
        "outcome": outcome,
        "status": None,
        "reused": True,
        "offset_ms": began_ms,
        "duration_ms": ended_ms - began_ms,
    } | usage


def line(*attempts: dict[str, Any], began_s: float = 0.0, model: str = "m", outcome: str = "ok") -> bytes:
    lasted_ms = max((each["offset_ms"] + each["duration_ms"] for each in attempts), default=0.0)
    ended = datetime.fromtimestamp(1_700_000_000 + began_s + lasted_ms / 1000, UTC)
    return json.dumps(
        {
            "time": ended.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "outcome": outcome,
            "duration_ms": lasted_ms,
            "model": model,
            "usage": {"input_tokens": 30, "output_tokens": 10},
            "attempts": attempts,
        }
    ).encode()


def lines(tmp_path: Path, *texts: bytes) -> list[Line]:
    path = tmp_path / "lines.log"
    path.write_bytes(b"".join(text + b"\n" for text in texts))
    return AccessLog(path).take({"m": len(texts)})["m"]


def test_the_log_is_read_once_and_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    whole, other, torn = line(), line(model="other"), line(began_s=5)
    path.write_bytes(whole + b"\n" + other + b"\n" + torn[:20])
    log = AccessLog(path)
    assert [each.began_s for each in log.take({"m": 1})["m"]] == [1_700_000_000]
    with path.open("ab") as growing:
        growing.write(torn[20:] + b"\n")
    assert [each.began_s for each in log.take({"m": 1})["m"]] == [1_700_000_005]
    assert log.take({"m": 0}) == {"m": []}


SLOW = Attempt("a", "lost", 0.0, 300.0)
REFUSED = Attempt("b", "refused", 0.0, 50.0)
GIVEN_UP = Attempt("a", "timeout", 0.0, 250.2)


@pytest.mark.parametrize(
    ("earlier", "began_ms", "reason"),
    [
        ([SLOW], 200.0, Hedge("a", 200.0)),
        ([REFUSED], 50.3, None),
        ([REFUSED], 90.0, None),  # nothing was running: a retry, however late
        ([SLOW, Attempt("b", "status", 200.0, 20.0)], 220.1, None),  # the hedge failed while the slow one went on
        ([SLOW, Attempt("b", "lost", 200.0, 100.0)], 280.0, Hedge("b", 80.0)),
        ([GIVEN_UP], 250.0, None),  # its replacement begins before it is closed
        ([SLOW], 299.9, Hedge("a", 299.9)),  # lost in the moment in which company came: no failure
        ([Attempt("a", "ok", 0.0, 230.0)], 229.0, Hedge("a", 229.0)),  # nor is an answer that was over so soon
    ],
)
def test_why_an_attempt_began(earlier: Sequence[Attempt], began_ms: float, reason: Hedge | None) -> None:
    assert why(earlier, Attempt("c", "ok", began_ms, 10.0)) == reason


def test_a_tally_counts_hedges_retries_and_waste(tmp_path: Path) -> None:
    found = tally(
        lines(
            tmp_path,
            line(attempt("a", "ok", 0, 90)),
            line(attempt("a", "lost", 0, 300, tokens=35), attempt("b", "ok", 210, 320)),
            line(attempt("b", "status", 0, 40), attempt("c", "ok", 40.2, 99)),
            line(attempt("b", "status", 0, 40), outcome="upstream_error"),
        )
    )
    assert (found.requests, found.attempts, found.hedges, found.retries, found.lost) == (4, 6, 1, 1, 1)
    assert (found.hedge_share, found.retry_share) == (0.25, 0.25)
    assert found.waste_share == 35 / (4 * 40 + 35)
    assert found.failed == {"upstream_error": 1}
    assert found.outcomes == {"a": {"lost": 1, "ok": 1}, "b": {"ok": 1, "status": 2}, "c": {"ok": 1}}
    assert found.delays_ms == {"a": [210.0]}
    assert tally([]).waste_share == 0


@pytest.mark.parametrize(
    ("dead_at_s", "last_s", "after_s"),
    [
        ([0.0, 0.1, 0.2], 3.0, 0.2),
        ([0.1, 0.3, 5.4, 15.5], 20.0, 0.3),  # what comes later are probes
        ([0.1, 0.3], 0.9, None),  # nobody asked for long enough to tell
        ([0.1, 0.9, 1.7, 2.5], 3.0, None),
        ([], 3.0, None),
    ],
)
def test_when_an_upstream_was_left_alone(
    tmp_path: Path, dead_at_s: list[float], last_s: float, after_s: float | None
) -> None:
    others = [line(attempt("a", "ok", 0, 10), began_s=at_s) for at_s in (0.0, last_s)]
    dead = [line(attempt("dead", "refused", 0, 1), attempt("a", "ok", 1, 9), began_s=at_s) for at_s in dead_at_s]
    found = left_alone_after_s(lines(tmp_path, *others, *dead), "dead", quiet_s=1.0)
    assert found == (None if after_s is None else pytest.approx(after_s, abs=0.002))
    assert left_alone_after_s([], "dead", quiet_s=1.0) is None


def test_openings_of_breakers_are_read_from_metrics() -> None:
    text = (
        "# TYPE hedgerow_candidate_breaker_openings counter\n"
        'hedgerow_candidate_breaker_openings_total{provider="third",model="m",credential="0"} 2.0\n'
        'hedgerow_candidate_breaker_openings_total{provider="first",model="n",credential="0"} 1.0\n'
    )
    assert failover.openings(text, "m") == {"third": 2}
    assert failover.openings("", "m") == {}


def test_the_gateway_takes_the_configuration() -> None:
    ports = {name: 9000 + number for number, name in enumerate(faults.UPSTREAMS)}
    config = load_text(faults.configuration(ports, 8999, 6.0), None, {})
    models = config.models
    assert models.keys() == {*(route.name for route in faults.ROUTES), faults.PLAIN, faults.RACED}
    for route in faults.ROUTES:
        race = models[route.name].race
        assert [each.provider for each in models[route.name].candidates] == list(route.upstreams)
        assert (race.hedge_percentile, race.attempt_seconds) == (0.95 if route.hedge == "p95" else None, 6.0)
        assert race.hedge_floor_seconds * 1000 == failover_sheet.HEDGE_FLOOR_MS
        assert race.hedge_share == failover_sheet.HEDGE_SHARE_MAX
    assert [len(models[name].candidates) for name in (faults.PLAIN, faults.RACED)] == [1, 3]


def test_the_scripts_make_sense() -> None:
    pace, wrong = Pace(), Faults()
    [step] = parse_script(faults.faulty(pace, wrong))
    assert [share for share, _ in step.value] == [0.30, 0.05, 0.05, pytest.approx(0.6)]
    assert parse_script(faults.healthy(pace))
    assert parse_script(faults.stalled())


def test_an_upstream_is_told_what_to_play_and_stopped() -> None:
    with faults.upstreams(Pace(median_ms=1, sigma=0, ms_max=1), 1, ANYWHERE) as running:
        assert list(running) == list(faults.UPSTREAMS)
        first = running["first"]
        first.play(faults.stalled())
        with pytest.raises(RuntimeError, match="exactly one verb"):
            first.play([{"stal": True}])
        assert fetch(first.port, "/v1/models")[0] == 200
        first.stop()
        assert fetch(first.port, "/v1/models")[0] == 0


class Gateway:
    """Stands for the load and for the gateway: answers each job at once, and writes the log that would come of it."""

    def __init__(self, log: Path, *, short_by: int = 0) -> None:
        self.log = log
        self.jobs: list[AnyJob] = []
        self.done: list[str] = []
        self.short_by = short_by
        log.touch()

    def perform(self, job: AnyJob) -> Report:
        self.jobs.append(job)
        self.done.append(f"{type(job).__name__} {job.model}")
        if not isinstance(job, Numbered):
            return Report(requests=4, requests_in_window=4, subject_cpu_s=4e-4 + 2e-5 * (job.model == faults.RACED))
        texts = [line(attempt("first", "ok", 0, 60), model=job.model) for _ in range(job.requests - self.short_by)]
        with self.log.open("ab") as log:
            log.write(b"".join(text + b"\n" for text in texts))
        return Report(requests=job.requests, first_contents_ms=[60.0] * job.requests)

    def upstream(self, name: str) -> Upstream:
        gateway = self

        class Fake(Upstream):
            def play(self, script: list[dict[str, Any]]) -> None:
                parse_script(script)
                gateway.done.append(f"{self.name} plays {next(iter(script[0]))}")

            def stop(self) -> None:
                gateway.done.append(f"{self.name} stops")

        return Fake(name, 0, cast(Any, None))


def scenario(log: Path, short_by: int = 0) -> tuple[failover.Scenario, Gateway]:
    gateway = Gateway(log, short_by=short_by)
    upstreams = {name: gateway.upstream(name) for name in faults.UPSTREAMS}
    served = Served(Subject("gateway", free_port(), ()), log, log)
    return failover.Scenario(BRIEF, served, upstreams, perform=gateway.perform, say=lambda _: None), gateway


def test_the_parts_of_the_scenario(tmp_path: Path) -> None:
    run, gateway = scenario(tmp_path / "access.log")
    run.faults()
    assert sorted(gateway.done[:4]) == sorted(gateway.done[5:9])
    assert [gateway.done[4], gateway.done[9]] == ["fourth plays choose", "fourth plays sleep_ms"]
    assert [job.first for job in gateway.jobs if isinstance(job, Numbered)] == [0] * 4 + [2] * 4
    gateway.done.clear()
    run.outages()
    assert gateway.done == [
        "Numbered refused",
        "third stops",
        "Numbered refused",
        "Numbered stalled",
        "fourth plays stall",
        "Numbered stalled",
    ]
    gateway.done.clear()
    run.machinery(Subject("direct", 2, ()))
    assert len(gateway.done) == 3 * 4
    assert [gateway.done[0], gateway.done[4]] == ["Paced plain", "Paced raced"]
    run.explain()
    results = run.results
    assert results.problems == []
    assert results.cpu_us["unary"] == {faults.PLAIN: [pytest.approx(100)] * 2, faults.RACED: [pytest.approx(105)] * 2}
    assert results.routes.keys() == {route.name for route in faults.ROUTES[:4]}
    assert results.outages["refused"].requests == 5


def test_what_is_missing_in_the_log_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.attempts._WAIT_SECONDS_MAX", 0.0)
    run, _ = scenario(tmp_path / "access.log", short_by=1)
    run.outages()
    run.explain()
    assert run.results.problems[0] == "refused: 1 of 2 requests are in the access log"
    assert run.results.problems[-1] == (tmp_path / "access.log").read_text()[-4000:]


def report(*milliseconds: float, errors: dict[str, int] | None = None) -> Report:
    return Report(requests=len(milliseconds), first_contents_ms=list(milliseconds), errors=errors or {})


def found(tmp_path: Path, *, p99_ms: float, openings: int, cost_us: float, errors: dict[str, int]) -> Results:
    results = Results()
    steady = [60.0] * 94 + [210.0] * 4 + [400.0] * 2
    results.add_route(faults.STEADY, report(*steady), lines(tmp_path, line(attempt("first", "ok", 0, 60))), {})
    hedged = [line(attempt("fourth", "lost", 0, 300, tokens=35), attempt("first", "ok", 205, 301))]
    plain = [line(attempt("first", "ok", 0, 60)) for _ in range(19)]
    texts = lines(tmp_path, *hedged, *plain)
    results.add_route(faults.FAILING_HEDGED, report(*[60.0] * 98, p99_ms, p99_ms, errors=errors), texts, {"fourth": 1})
    dead = [line(attempt("third", "refused", 0, 1), attempt("first", "ok", 1, 60), began_s=at / 10) for at in range(5)]
    late = line(attempt("first", "ok", 0, 60), began_s=3)
    results.add_outage(faults.REFUSED, report(60.0), lines(tmp_path, *dead, late), "third", openings, quiet_s=1.0)
    results.cpu_us["unary"][faults.PLAIN] += [300.0, 310.0]
    results.cpu_us["unary"][faults.RACED] += [300.0 + cost_us, 310.0 + cost_us]
    return results


def test_what_is_within_its_target(tmp_path: Path) -> None:
    checks = failover_sheet.checks(found(tmp_path, p99_ms=610.0, openings=1, cost_us=29.0, errors={}))
    assert {check.verdict for check in checks} == {Verdict.OK}
    assert [(check.figure, check.target) for check in checks] == [
        ("0", "0"),
        ("610 ms", "<= 210 + 400 ms"),
        ("5.0%", "<= 10%"),
        ("4.2%", "<= 10%"),
        ("0", "0"),
        ("0.40 s", "<= 1 s"),
        ("29.0 us", "< 30 us"),
    ]


def test_what_is_over_its_target(tmp_path: Path) -> None:
    results = found(tmp_path, p99_ms=611.0, openings=0, cost_us=30.0, errors={"status 503": 2})
    over = [check.figure for check in failover_sheet.checks(results) if check.verdict is Verdict.OVER]
    assert over == ["2", "611 ms", "not while asked", "30.0 us"]
    assert failover_sheet.checks(Results()) == []


def test_the_results_are_shown_and_written(tmp_path: Path) -> None:
    results = found(tmp_path, p99_ms=610.0, openings=1, cost_us=29.0, errors={})
    out = StringIO()
    for table in failover_sheet.tables(results):
        Console(file=out, width=150).print(table)
    assert "5 refused" in out.getvalue()
    assert "1 lost" in out.getvalue()
    assert "310.0 (300.0" not in out.getvalue()
    assert "305.0 (300.0-310.0)" in out.getvalue()
    written = json.loads(json.dumps(failover_sheet.document(results) | {"settings": failover_sheet.plain(BRIEF)}))
    assert written["routes"]["failing-hedged"]["tally"]["delays_ms"] == {"fourth": [205.0]}
    assert written["outages"]["refused"]["left_alone_s"] == pytest.approx(0.4, abs=0.002)
    assert written["settings"]["pace"]["median_ms"] == 60.0
    assert all("30%" in note or "%" not in note for note in failover.remarks(BRIEF, 0.0)[:1])
    assert "not quiet" in failover.remarks(BRIEF, 0.5)[-1]


def test_ranks_are_nearest() -> None:
    assert [rank(range(1, 101), share) for share in (0.5, 0.95, 0.99, 1.0)] == [51, 96, 100, 100]
    assert rank([], 0.5) is None
