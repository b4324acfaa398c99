"""What counts as moved between two runs, and what as a regression."""

from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from bench.__main__ import main
from bench.compare import Change, Move, caveats, compare, failures, interval, table
from bench.runs import Figure, write
from tests.bench.canned_run import ADDED, COST, FAILED, PEER, TAIL, run, scenario


def moves(factor: float, **changed: float) -> dict[str, Change]:
    return {change.figure: change for change in compare(run(), run(scenario(factor, **changed)))}


def test_the_same_run_moved_nowhere() -> None:
    found = moves(1.0)
    assert {change.move for change in found.values()} == {Move.SAME, Move.UNKNOWN}
    assert {name for name, change in found.items() if change.move is Move.UNKNOWN} == {FAILED, "twice only"}


@pytest.mark.parametrize(
    ("factor", "move"), [(1.5, Move.REGRESSION), (1.05, Move.WORSE), (0.8, Move.BETTER), (0.5, Move.BETTER)]
)
def test_a_cost_a_rate_and_a_tail_that_move_are_told_by_how_far(factor: float, move: Move) -> None:
    found = moves(factor)
    assert [found[name].move for name in (COST, "rate", TAIL)] == [move] * 3
    assert found[COST].ratio == pytest.approx(factor)
    assert found["rate"].ratio == pytest.approx(1 / factor)
    assert found[PEER].move is Move.SAME


def test_the_threshold_decides() -> None:
    found = {change.figure: change.move for change in compare(run(), run(scenario(1.5)), threshold=0.6)}
    assert found[COST] is Move.WORSE


def test_what_stands_beside_something_foreign_is_compared_as_its_ratio() -> None:
    slower = scenario(1.5)
    figures = [
        msgspec.structs.replace(figure, samples=[30.0] * 5) if figure.name == PEER else figure
        for figure in slower.figures
    ]
    found = {each.figure: each for each in compare(run(), run(msgspec.structs.replace(slower, figures=figures)))}
    assert found[COST].move is Move.SAME, "the machine was slower, and the peer with it"
    assert found[COST].unit == "x peer"
    assert found[PEER].move is Move.WORSE, "a foreign figure is shown, and is no regression"


def test_two_rounds_are_not_judged_and_a_failure_is_without_noise() -> None:
    found = moves(3.0, failed=1.0)
    assert found["twice only"].move is Move.UNKNOWN
    assert found[FAILED].move is Move.REGRESSION


@pytest.mark.parametrize(("added", "move"), [(20.0, Move.REGRESSION), (1.0, Move.SAME), (-20.0, Move.BETTER)])
def test_a_difference_around_zero_has_no_ratio_and_its_target_decides(added: float, move: Move) -> None:
    moved = scenario()
    figures = [
        msgspec.structs.replace(figure, samples=[value + added for value in figure.samples])
        if figure.name == ADDED
        else figure
        for figure in moved.figures
    ]
    found = {each.figure: each for each in compare(run(), run(msgspec.structs.replace(moved, figures=figures)))}
    assert (found[ADDED].ratio, found[ADDED].move) == (None, move)


def test_figures_that_only_one_run_has_are_named_and_judged_by_nobody() -> None:
    other = scenario(figures=[Figure(name="fresh", unit="s", samples=[1.0] * 5)])
    found = {each.figure: each.move for each in compare(run(), run(other))}
    assert found["fresh"] is Move.NEW
    assert found[COST] is Move.GONE


def test_the_interval_holds_the_true_ratio_and_shrinks_with_rounds() -> None:
    draws = np.random.default_rng(7)
    few, many = (np.exp(draws.normal(0, 0.1, (2, count))) for count in (5, 100))
    low, high = interval(few[0], few[1] * 2, 0.5, positive=True)
    assert low < 2 < high
    narrow = interval(many[0], many[1] * 2, 0.5, positive=True)
    assert narrow[0] < 2 < narrow[1]
    assert narrow[1] - narrow[0] < high - low


def test_what_makes_runs_hard_to_compare_is_said() -> None:
    machine = msgspec.structs.replace(run().machine, cpu="another", busy_share=0.4)
    said = " ".join(caveats(run(), run(scenario(name="other"), quick=True, machine=machine)))
    assert all(words in said for words in ("different machines", "quick", "not quiet", "canned, other"))
    assert not list(caveats(run(), run()))


def test_problems_count_where_there_were_none() -> None:
    broken = run(scenario(problems=["3 x status 503"]))
    assert failures(run(), broken) == ["canned: 3 x status 503"]
    assert failures(broken, broken) == []


def test_the_table_shows_what_moved() -> None:
    text = StringIO()
    Console(file=text, width=200).print(table(compare(run(), run(scenario(1.5))), whole=False))
    assert "REGRESSION" in text.getvalue()
    assert PEER not in text.getvalue()


@pytest.mark.parametrize(("factor", "words", "status"), [(1.0, [], 0), (1.5, [], 1), (1.5, ["--threshold", "0.9"], 0)])
def test_the_exit_status_tells_of_a_regression(tmp_path: Path, factor: float, words: list[str], status: int) -> None:
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    write(run(), before)
    write(run(scenario(factor)), after)
    assert main(["compare", str(before), str(after), *words]) == status
