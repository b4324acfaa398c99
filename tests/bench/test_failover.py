"""The failover scenario runs its parts in order, reads the access log rightly and judges what it found."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from bench import failover, faults, runs
from bench.attempts import AccessLog, Attempt, Hedge, Line, Tally, left_alone_after_s, tally, why
from bench.failover import Failover
from bench.faults import Faults, Pace, Upstream
from bench.jobs import AnyJob, Numbered, Report
from bench.outcomes import Outage, Outcome, Results, rank
from bench.process import Cores, free_port
from bench.samples import Verdict
from bench.scenarios.failover import HEDGE_FLOOR_MS, HEDGE_SHARE_MAX, course, scenario
from bench.script import parse_script
from bench.subjects import Served, Subject, fetch
from engine.config import load_text

ANYWHERE = Cores(frozenset(), frozenset())
BRIEF = failover.Settings(
    attempt_seconds=1.0,
    warmup_s=0.02,
    faults_s=0.04,
    outage_s=0.05,
    rounds=2,
    round_s=0.0,
    rate_per_s=100,
    publish_s=0.0,
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
        assert race.hedge_floor_seconds * 1000 == HEDGE_FLOOR_MS
        assert race.hedge_share == HEDGE_SHARE_MAX
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


def parts(log: Path, short_by: int = 0) -> tuple[Failover, Gateway]:
    gateway = Gateway(log, short_by=short_by)
    upstreams = {name: gateway.upstream(name) for name in faults.UPSTREAMS}
    served = Served(Subject("gateway", free_port(), ()), log, log)
    return Failover(BRIEF, served, upstreams, perform=gateway.perform, say=lambda _: None), gateway


def test_the_parts_of_the_scenario(tmp_path: Path) -> None:
    run, gateway = parts(tmp_path / "access.log")
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
    assert results.outages["refused"].outcome.requests == 5


def test_what_is_missing_in_the_log_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.attempts._WAIT_SECONDS_MAX", 0.0)
    run, _ = parts(tmp_path / "access.log", short_by=1)
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
    results.add_outage(
        faults.REFUSED, report(60.0), lines(tmp_path, *dead, late), {"third": openings, "fourth": 1}, "third"
    )
    results.cpu_us["unary"][faults.PLAIN] += [300.0, 310.0]
    results.cpu_us["unary"][faults.RACED] += [300.0 + cost_us, 310.0 + cost_us]
    return results


def judged(found: runs.Scenario, verdict: Verdict) -> list[str]:
    return [figure.name for figure in found.figures if found.verdict(figure) is verdict]


def value(found: runs.Scenario, name: str) -> float:
    figure = found.figure(name)
    assert figure is not None, name
    [sample] = figure.samples
    return sample


def test_what_is_within_its_target(tmp_path: Path) -> None:
    seen = scenario(found(tmp_path, p99_ms=610.0, openings=1, cost_us=30.0, errors={}), BRIEF)
    assert judged(seen, Verdict.OVER) == []
    assert judged(seen, Verdict.OK) == [
        "requests that failed, no faults",
        "requests that failed, faults, hedged",
        "first token, faults, hedged, p99",
        "hedges per request, faults, hedged",
        "waste per request, faults, hedged",
        "requests that failed, one refuses",
        "until its breaker is open, one refuses",
        "added by the race where nothing fails, unary",
    ]
    tail = seen.figure("first token, faults, hedged, p99")
    assert tail is not None
    assert (tail.target, tail.quantile) == (210 + 400, 0.99)
    assert tail.histogram in {each.name for each in seen.histograms}
    assert value(seen, "hedges per request, faults, hedged") == 5
    assert value(seen, "waste per request, faults, hedged") == pytest.approx(4.2, abs=0.05)
    assert value(seen, "until its breaker is open, one refuses") == pytest.approx(0.4, abs=0.002)


def test_what_is_over_its_target(tmp_path: Path) -> None:
    results = found(tmp_path, p99_ms=611.0, openings=0, cost_us=30.5, errors={"status 503": 2})
    seen = scenario(results, failover.QUICK)
    assert judged(seen, Verdict.OVER) == [
        "requests that failed, faults, hedged",
        "first token, faults, hedged, p99",
        "until its breaker is open, one refuses",
        "added by the race where nothing fails, unary",
    ]
    assert value(seen, "requests that failed, faults, hedged") == 2
    assert value(seen, "until its breaker is open, one refuses") == failover.QUICK.outage_s, "it never opened"


def test_nothing_is_made_of_nothing() -> None:
    seen = scenario(Results(), BRIEF)
    assert (seen.figures, seen.histograms, seen.curves) == ([], [], [])
    alone = Results()
    alone.routes[faults.FAILING_HEDGED] = Outcome([700.0], 1, {}, Tally(), {})
    tail = scenario(alone, BRIEF).figure("first token, faults, hedged, p99")
    assert tail is not None
    assert tail.target is None, "there is nothing to hold it against"


def test_the_tail_of_a_route_is_told_beyond_its_p99(tmp_path: Path) -> None:
    seen = scenario(found(tmp_path, p99_ms=1200.0, openings=1, cost_us=1.0, errors={}), BRIEF)
    assert value(seen, "first token, no faults, the longest") == 400
    assert value(seen, "first tokens after 1,000 ms or later, no faults") == 0
    assert value(seen, "first tokens after 1,000 ms or later, faults, hedged") == 2
    assert [value(seen, f"first token, no faults, {label}") for label in ("p50", "p95", "p99")] == [60, 210, 400]


def test_remarks_tell_what_was_put_there_and_what_became_of_attempts(tmp_path: Path) -> None:
    seen = scenario(found(tmp_path, p99_ms=610.0, openings=1, cost_us=29.0, errors={}), BRIEF)
    said = "\n".join(seen.remarks)
    assert "30% 503, 5% silent for 30 s, 5% cut before content" in said
    assert "no faults: 100 answered; breaker openings: 0." in said
    assert "faults, hedged: 100 answered; breaker openings: 1; hedges beside the one in trouble" in said
    assert "began after 205 ms (p50); attempts at the one in trouble: 1 lost." in said
    assert "one refuses: 1 answered; breaker openings: 2; attempts at the one in trouble: 5 refused." in said
    assert seen.settings["pace"]["median_ms"] == 60.0
    assert json.loads(json.dumps(seen.settings)) == seen.settings


def test_the_race_costs_what_it_adds_round_by_round() -> None:
    results = Results()
    results.cpu_us["unary"][faults.PLAIN], results.cpu_us["unary"][faults.RACED] = [100.0, 110.0], [120.0, 140.0]
    seen = scenario(results, BRIEF)
    figure = seen.figure("added by the race where nothing fails, unary")
    assert figure is not None
    assert figure.samples == [20.0, 30.0]


def test_the_course_of_an_outage_counts_what_began_when() -> None:
    def begun(second: float, *attempts: Attempt) -> Line:
        return Line(
            time=f"2026-11-22T05:00:{second:06.3f}+00:00", outcome="ok", duration_ms=50.0, attempts=list(attempts)
        )

    away = Attempt(provider="away", outcome="connect", offset_ms=0.0, duration_ms=1.0)
    late = Attempt(provider="away", outcome="lost", offset_ms=130.0, duration_ms=1.0)
    well = Attempt(provider="well", outcome="ok", offset_ms=1.0, duration_ms=49.0)
    texts = [begun(1.0, away, well), begun(1.01, well), begun(1.22, well, late)]
    results = Results()
    results.outages[faults.STALLED] = Outage(Outcome([], 3, {}, Tally(), {}), "away", None, texts)
    [curve] = scenario(results, BRIEF).curves
    assert curve.name == "an upstream goes down: one stalls"
    requests, attempts = ([count for _, count in points] for points in curve.lines.values())
    assert requests == [2.0, 0.0, 1.0, 0.0]
    assert attempts == [1.0, 0.0, 0.0, 1.0]


def test_no_course_of_nothing() -> None:
    assert course("x", [], "away").lines == {"requests": [], "attempts at the one that is away": []}


def test_ranks_are_nearest() -> None:
    assert [rank(range(1, 101), share) for share in (0.5, 0.95, 0.99, 1.0)] == [51, 96, 100, 100]
    assert rank([], 0.5) is None
