"""Runs: what is written is read again, what is derived is right, and one small run is made from end to end."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from bench import money, realtime
from bench.__main__ import main
from bench.attempts import Attempt, Line, Tally
from bench.drive import follow, one
from bench.failover import QUICK as FAILOVER
from bench.failover_sheet import Outcome
from bench.faults import FAILING_HEDGED, PLAIN, RACED, REFUSED, STEADY
from bench.jobs import quantiles
from bench.machine import commit
from bench.runs import Figure, RunError, Scenario, histogram, merged, read, write
from bench.samples import Samples, Verdict
from bench.scenarios import NAMES, Done, Profile, Said, failover, micro
from bench.scenarios import money as paid
from bench.scenarios import realtime as spoken
from bench.scenarios.__main__ import RUNS
from bench.scenarios.spoken import SpokenConsole
from bench.subjects import DIRECT
from bench.watch import Watch, part
from tests.bench.canned_run import COST, run, scenario

ROOT = Path(__file__).parents[2]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write(run(), path)
    assert read(path) == run()


@pytest.mark.parametrize("text", ["", "[]", '{"rows": []}', None])
def test_what_is_no_run_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunError):
        read(path)
    assert main(["report", str(path)]) == 1


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write(msgspec.structs.replace(run(), schema=2), path)
    with pytest.raises(RunError, match="schema 2"):
        read(path)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.OK), (1.3, Verdict.OVER), (2.0, Verdict.OVER)])
def test_a_target_and_a_ratio_have_to_be_kept_both(factor: float, verdict: Verdict) -> None:
    found = scenario(factor)
    figure = found.figure(COST)
    assert figure is not None
    assert found.verdict(figure) is verdict
    assert found.ratios(figure) == pytest.approx([value / 20 for value in figure.samples])


def test_a_rate_has_to_be_reached() -> None:
    figure = Figure(name="rate", unit="/s", samples=[5.0], better="higher", target=6.0)
    assert Scenario(name="x", method="").verdict(figure) is Verdict.OVER


def test_a_histogram_counts_three_digits() -> None:
    found = histogram("x", "ms", [1.2345, 2.0, 1.2299, 1234.5])
    assert (found.values, found.counts) == ([1.23, 2.0, 1230.0], [2, 1, 1])


def test_rounds_are_merged_value_by_value() -> None:
    rounds = [found for found in (quantiles([0.002, 0.001]), quantiles([0.002, 0.0301])) if found is not None]
    found = merged("gaps: x", "gaps", rounds)
    assert (found.values, found.counts, found.group) == ([1.0, 2.0, 30.1], [1, 2, 1], "gaps")


# -- what scenarios make of what was measured --------------------------------------------------------------------------


def sampled(values: dict[str, dict[str, list[float]]]) -> Samples:
    samples = Samples()
    for measure, by_subject in values.items():
        for subject, numbers in by_subject.items():
            for number in numbers:
                samples.add(measure, subject, number)
    return samples


def test_every_scenario_can_be_asked_for() -> None:
    assert RUNS.keys() == set(NAMES)


def test_money_is_what_an_account_adds_round_by_round() -> None:
    samples = sampled({"paced_cpu_us": {money.PLAIN: [100.0, 200.0], money.CHARGED: [130.0, 250.0]}})
    samples.add("settled_per_s", "", 25_000.0)
    found = paid.scenario(samples, money.QUICK)
    figures = {figure.name: figure for figure in found.figures}
    assert figures["CPU per request, same rate, added by an account's key"].samples == [30.0, 50.0]
    assert found.ratios(figures["CPU per request, same rate, an account's key"]) == [1.3, 1.25]
    assert found.verdict(figures["settlements booked per second"]) is Verdict.OK


def test_sessions_are_held_against_going_straight() -> None:
    samples = sampled({"up_p50_ms": {DIRECT: [0.1, 0.2], realtime.CHARGED: [0.3, 0.5]}})
    figures = {figure.name: figure for figure in spoken.figures(samples, realtime.QUICK)}
    added = figures["one way to the upstream, p50, added with an account's key"].samples
    assert added == pytest.approx([0.2, 0.3])


def outcome(*ttft_ms: float, failed: int = 0) -> Outcome:
    return Outcome(list(ttft_ms), len(ttft_ms), {"status 503": failed} if failed else {}, Tally(), {})


def test_failover_gives_tails_failures_and_what_the_race_costs() -> None:
    results = failover.Kept()
    results.routes = {STEADY: outcome(*range(1, 101)), FAILING_HEDGED: outcome(*range(2, 402, 2), failed=1)}
    results.outages = {REFUSED: outcome(1.0)}
    results.cpu_us = defaultdict(lambda: defaultdict(list))
    results.cpu_us["unary"][PLAIN], results.cpu_us["unary"][RACED] = [100.0, 110.0], [120.0, 140.0]
    found = failover.scenario(results, FAILOVER)
    figures = {figure.name: figure for figure in found.figures}
    tail = figures["first token, faults, hedged, p99"]
    assert (tail.samples, tail.target, tail.quantile) == ([398.0], 300.0, 0.99)
    assert tail.histogram in {each.name for each in found.histograms}
    assert found.verdict(figures["requests that failed, faults, hedged"]) is Verdict.OVER
    shut = figures["until its breaker is open, one refuses"]
    assert (shut.samples, found.verdict(shut)) == ([FAILOVER.outage_s], Verdict.OVER), "it never opened"
    assert figures["added by the race where nothing fails, unary"].samples == [20.0, 30.0]


def test_the_course_of_an_outage_counts_what_began_when() -> None:
    def line(second: float, *attempts: Attempt) -> Line:
        return Line(
            time=f"2026-11-22T05:00:{second:06.3f}+00:00", outcome="ok", duration_ms=50.0, attempts=list(attempts)
        )

    away = Attempt(provider="away", outcome="connect", offset_ms=0.0, duration_ms=1.0)
    late = Attempt(provider="away", outcome="lost", offset_ms=130.0, duration_ms=1.0)
    well = Attempt(provider="well", outcome="ok", offset_ms=1.0, duration_ms=49.0)
    found = failover.course("x", [line(1.0, away, well), line(1.01, well), line(1.22, well, late)], "away")
    requests, attempts = ([count for _, count in points] for points in found.lines.values())
    assert requests == [2.0, 0.0, 1.0, 0.0]
    assert attempts == [1.0, 0.0, 0.0, 1.0]


def test_no_course_of_nothing() -> None:
    assert failover.course("x", [], "away").lines == {"requests": [], "attempts at the one that is away": []}


# -- how they are run --------------------------------------------------------------------------------------------------


def test_what_a_scenario_says_is_passed_on_until_its_result() -> None:
    said: list[str] = []
    lines = [msgspec.json.encode(message) for message in (Said(text="one"), Said(text="two"), Done(found=scenario()))]
    assert follow(iter(lines), said.append) == scenario()
    assert said == ["one", "two"]
    assert follow(iter(lines[:2]), said.append) is None


def test_a_programs_status_becomes_progress_and_its_print_remarks() -> None:
    said: list[str] = []
    console = SpokenConsole(said.append)
    with console.status("starting") as status:
        status.update("round 1")
    console.print("The limit is 3.")
    assert said == ["starting", "round 1"]
    assert console.printed() == ["The limit is 3."]


def test_a_scenario_that_dies_is_a_problem_of_its_own() -> None:
    found = one("no-such", Profile(), lambda _: None, frozenset())
    assert found.name == "no-such"
    assert "invalid choice: 'no-such'" in found.problems[0]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["/usr/bin/python3", "-m", "engine", "serve"], "gateway"),
        (["/usr/bin/python3", "-m", "engine.worker"], "gateway"),
        (["nginx: worker process"], "nginx"),
        (["/usr/sbin/nginx", "-p", "x"], "nginx"),
        (["python3", "-m", "bench.load"], "load"),
        (["wrk", "-t1"], "load"),
        (["python3", "-m", "bench.canned", "--follow-stdin"], "upstream"),
        (["python3", "-m", "bench.scenarios", "relay"], "bench"),
        (["sleep", "1"], "other"),
        (["python3", "-m"], "other"),
        ([], "other"),
    ],
)
def test_a_process_is_known_by_its_command(command: list[str], what: str) -> None:
    assert part(command) == what


def test_a_watch_sees_a_process_and_its_children() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    try:
        watch = Watch(os.getpid())
        watch.look()
        watch.look()
    finally:
        child.stdin.close()
        child.wait()
    cpu, memory = watch.curves()
    assert (cpu.name, memory.name) == ("CPU", "memory")
    assert all(megabytes > 1 for points in memory.lines.values() for _, megabytes in points)
    assert cpu.lines["other"][0][1] == 0.0, "nothing is known of the time before the first look"
    assert child.pid in watch._known


def test_a_tiny_run_of_the_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.micro.EVENTS", 10)
    monkeypatch.setattr("bench.micro.ROUNDS", 1)
    monkeypatch.setattr("bench.micro.REQUEST_BYTES", 2_000)
    found = micro.run(Profile(quick=True, rounds=2), lambda _: None)
    assert all(len(figure.samples) == 2 and min(figure.samples) > 0 for figure in found.figures)
    dearest = found.figure("a text event translated, the dearest")
    assert dearest is not None
    every = [figure.samples for figure in found.figures if figure.name.startswith("a text event translated: ")]
    assert dearest.samples == [max(of_round) for of_round in zip(*every, strict=True)]
    assert len(found.ratios(dearest)) == 2


def test_how_costs_grow_is_a_quotient() -> None:
    assert [figure.samples for figure in micro.growth({"x: 1 and 10 MB": [0.5, 5.0]})] == [[10.0]]


def test_one_door_runs_records_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["micro", "--quick", "--rounds", "1", "--output", str(tmp_path / "out")]) == 0
    (document,) = (tmp_path / "out").glob("*.json")
    found = read(document)
    assert [each.name for each in found.scenarios] == ["micro"]
    assert (found.quick, found.rounds, found.problems) == (True, 1, [])
    assert found.commit == commit()[0]
    assert str(tmp_path) not in document.read_text()
    assert os.uname().nodename not in msgspec.to_builtins(found.machine).values()
    assert document.with_suffix(".html").read_text().startswith("<!doctype html>")
    assert "a text event translated, the dearest" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["nonsense"], ["--rounds", "0"], ["compare"], ["compare", "a", "b", "--threshold", "-1"]]
)
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exc:
        main(words)
    assert exc.value.code == 2
    assert "usage: python -m bench" in capsys.readouterr().err


def test_the_command_line_of_the_server_leads_here() -> None:
    command = [sys.executable, "-m", "engine", "bench", "compare", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    assert "python -m bench compare" in shown.stdout


@pytest.mark.parametrize(("words", "said"), [([], "base_url"), (["--realtime"], "websocket_url")])
def test_the_command_line_runs_either_upstream_by_hand(words: list[str], said: str) -> None:
    command = [sys.executable, "-m", "engine", "upstream", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        listening = json.loads(process.stdout.readline())
        process.kill()
    assert said in listening


def test_a_failure_of_http_is_none_of_sessions() -> None:
    command = [sys.executable, "-m", "engine", "upstream", "--realtime", "--fault", "anything"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 2


def test_a_server_loads_nothing_that_draws_or_compares() -> None:
    code = "import sys, json, engine.__main__, engine.worker; print(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)
    assert not {"matplotlib", "scipy", "numpy", "bench"} & set(json.loads(shown.stdout))
