"""Runs: what is written is read again, what is derived is right, and one small run is made from end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench.__main__ import main
from bench.drive import follow, one
from bench.jobs import quantiles
from bench.machine import commit
from bench.runs import Figure, RunError, Scenario, histogram, merged, read, write
from bench.samples import Verdict
from bench.scenarios import NAMES, Done, Profile, Said
from bench.scenarios.__main__ import RUNS
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


# -- how they are run --------------------------------------------------------------------------------------------------


def test_every_scenario_can_be_asked_for() -> None:
    assert RUNS.keys() == set(NAMES)


def test_what_a_scenario_says_is_passed_on_until_its_result() -> None:
    said: list[str] = []
    lines = [msgspec.json.encode(message) for message in (Said(text="one"), Said(text="two"), Done(found=scenario()))]
    assert follow(iter(lines), said.append) == scenario()
    assert said == ["one", "two"]
    assert follow(iter(lines[:2]), said.append) is None


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
