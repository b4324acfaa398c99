"""A run as tables, as Markdown, as a page and as a document: complete, with every gap, and with nothing to load."""

import json
import re
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench import sheet
from bench.__main__ import main
from bench.page import page
from bench.readme import BEGIN, END, NOTHING, MarkerError, block, put, replaced
from bench.runs import Figure, Goal, Scenario, read, write
from bench.samples import Verdict, spread
from tests.bench.canned_run import ADDED, COST, PEER, run, scenario

ROOT = Path(__file__).parents[2]
COMMITTED = sorted((ROOT / "bench" / "results").glob("*.json"))


def printed(*, whole: bool) -> str:
    text = StringIO()
    console = Console(file=text, width=200)
    for table in sheet.tables(run(scenario(2.0)), whole=whole):
        console.print(table)
    return text.getvalue()


def test_the_table_shows_what_is_quoted_and_what_missed_its_target() -> None:
    text = printed(whole=False)
    assert re.search(r"cost +│ +10.0 \(9.9-10.1\) │ peer +│ +200 \(198-202\) │ us +│ <= 6x, <= 150 us │ missed", text)
    assert re.search(r"rate .*│ missed", text)
    assert "twice only" not in text
    assert "twice only" in printed(whole=True)


def test_every_target_is_shown_with_its_gap_and_what_was_missed_comes_last() -> None:
    lines = [re.sub(r" +", " ", line).strip("│ ") for line in printed(whole=False).splitlines()]
    found = [line for line in lines if line.startswith("canned: ")]
    assert found == [
        "canned: added │ <= 3.00 us │ 1.00 (-1.00-2.00) us │ met │ 67 % to spare",
        "canned: requests that failed │ <= 0 │ 0 │ met",
        "canned: cost │ <= 6x │ 10.0 (9.9-10.1) x peer │ missed │ 67 % over",
        "canned: cost │ <= 150 us │ 200 (198-202) us │ missed │ 33 % over",
        "canned: rate │ >= 700 /s │ 500 (495-505) /s │ missed │ 29 % short",
    ]
    assert lines[-1] == "2 of 5 targets met, 3 missed"


@pytest.mark.parametrize(
    ("bound", "better", "found", "verdict", "gap"),
    [
        (10.0, "lower", [10.0], Verdict.OK, "0 % to spare"),
        (10.0, "lower", [10.04], Verdict.OVER, "0.4 % over"),
        (10.0, "lower", [30.0, 5.0, 40.0], Verdict.OVER, "200 % over"),
        (10.0, "lower", [-1.0], Verdict.OK, "110 % to spare"),
        (10.0, "higher", [10.0], Verdict.OK, "0 % to spare"),
        (10.0, "higher", [9.0], Verdict.OVER, "10 % short"),
        (10.0, "higher", [25.0], Verdict.OK, "150 % to spare"),
        (0.0, "lower", [0.0], Verdict.OK, ""),
        (0.0, "lower", [3.0], Verdict.OVER, "3.00 over"),
        (10.0, "lower", [], Verdict.UNKNOWN, ""),
    ],
)
def test_a_gap_is_a_share_of_the_target(
    bound: float, better: str, found: list[float], verdict: Verdict, gap: str
) -> None:
    goal = Goal(bound, "us", "lower" if better == "lower" else "higher", spread(found))
    assert (goal.verdict, sheet.gap_of(goal)) == (verdict, gap)


def test_a_ratio_without_its_peer_is_not_judged() -> None:
    figure = Figure(name=COST, unit="us", samples=[1.0], beside=PEER, ratio_max=6.0)
    found = sheet.targets(run(Scenario(name="canned", method="", figures=[figure])))
    assert [(target.verdict, target.found) for target in found] == [(Verdict.UNKNOWN, "")]
    assert sheet.tally(found) == "0 of 1 targets met, 0 missed, 1 not judged"


def test_where_something_failed_no_target_is_met() -> None:
    found = sheet.targets(run(scenario(problems=["3 x status 503"])))
    assert [target.verdict for target in found if target.figure.name == ADDED] == [Verdict.UNKNOWN]
    assert sheet.tally(found) == "0 of 5 targets met, 0 missed, 5 not judged"
    assert Verdict.OVER in {target.verdict for target in sheet.targets(run(scenario(2.0, problems=["x"])))}


@pytest.mark.parametrize(
    ("name", "beside", "shown"),
    [
        ("cost", "cost: nginx", "nginx"),
        ("cost, an account", "cost, no store", "no store"),
        ("first token, faults, hedged, p99", "first token, no faults, p99", "no faults"),
        ("cost, same rate, beside other", "cost, same rate: other", "other"),
        ("cost, same rate: the key", "cost, same rate: nginx", "nginx"),
        ("anything", "yardstick", "yardstick"),
        ("alone", None, ""),
    ],
)
def test_a_peer_is_named_by_what_is_its_own(name: str, beside: str | None, shown: str) -> None:
    assert sheet.peer_of(Figure(name=name, unit="us", samples=[], beside=beside)) == shown


def test_the_readme_says_machine_commit_and_method_and_ratios_first() -> None:
    alone = Figure(name="alone", unit="s", samples=[1.0], headline=True)
    found = scenario()
    lines = block([run(Scenario(name="canned", method=found.method, figures=[alone, *found.figures]))]).splitlines()
    assert lines[0] == "**Commit 0123456789ab, 2026-11-22, full.**"
    assert lines[1].startswith("A <CPU>, 2 cores, 25 GB, Linux 6, CPython 3.11; the subject on a core of its own;")
    assert lines[3] == "5 of 5 targets met, 0 missed."
    cost = "| 5.00 (4.95-5.05) peer | 100 (99-101) us | peer 20.0 | 5 | <= 6x, <= 150 us"
    assert [line for line in lines if line.startswith("| ")][2:] == [
        f"| **canned** | cost {cost} | met, 17 % to spare; met, 33 % to spare |",
        "|  | alone |  | 1.00 s |  | 1 |  |  |",
        "|  | rate |  | 1,000 (990-1,010) /s |  | 5 | >= 700 /s | met, 43 % to spare |",
        "|  | added |  | 1.00 (-1.00-2.00) us |  | 5 | <= 3.00 us | met, 67 % to spare |",
        "|  | requests that failed |  | 0 |  | 1 | <= 0 | met |",
    ]
    assert lines[-1] == "- canned: By hand."


def test_the_readme_lists_what_missed_its_target_and_says_what_is_not_for_quoting() -> None:
    text = block([run(scenario(2.0), quick=True, dirty=True)])
    assert (
        "2 of 5 targets met, 3 missed:\n\n- **canned: cost: 10.0 (9.9-10.1) x peer, target <= 6x, 67 % over**" in text
    )
    assert "- **canned: rate: 500 (495-505) /s, target >= 700 /s, 29 % short**" in text
    assert "| **missed, 67 % over**; **missed, 33 % over** |" in text
    assert "**Commit 0123456789ab with changes, 2026-11-22, quick, not for quoting.**" in text
    assert "**Problems: 1. Figures of scenarios that had one are none.**" in block([run(scenario(problems=["gone"]))])


def test_the_readme_holds_a_quoted_figure_against_everybody_who_was_asked_the_same() -> None:
    found = scenario()
    others = [
        Figure(name=f"{COST}: other", unit="us", samples=[1000.0] * 5, foreign=True),
        Figure(name=f"{COST}: late", unit="us", samples=[400.0] * 4, foreign=True),
        Figure(name=f"{COST}: gateway, another key", unit="us", samples=[90.0] * 5),
    ]
    text = block([run(msgspec.structs.replace(found, figures=[*found.figures, *others]))])
    assert "| 5.00 (4.95-5.05) peer; 0.10 (0.10-0.10) other |" in text
    assert "| peer 20.0; other 1,000; late 400 |" in text


def test_figures_that_met_the_same_target_share_a_row_of_the_readme() -> None:
    pairs = {"a over a": [20.0], "a over b": [40.0, 50.0], "b over a": [70.0]}
    figures = [
        Figure(name=f"cost, {name}", unit="us", samples=samples, beside="floor", ratio_max=6.0)
        for name, samples in pairs.items()
    ]
    figures.append(msgspec.structs.replace(figures[1], name="quoted", headline=True))
    floor = Figure(name="floor", unit="us", samples=[10.0, 10.0], foreign=True)
    failed = [Figure(name=f"lost, {part}", unit="", samples=[0.0], target=0.0, headline=True) for part in ("x", "y")]
    text = block([run(Scenario(name="canned", method="", figures=[floor, *figures, *failed]))])
    costs = "| 2.00 to 4.50 floor | 20.0 to 45.0 us | "
    assert [line for line in text.splitlines() if line.startswith("| ")][2:] == [
        f"| **canned** | cost (2 figures) {costs} | 1-2 | <= 6x | all met, at least 25 % to spare |",
        "|  | cost, b over a | 7.00 floor | 70.0 us |  | 1 | <= 6x | **missed, 17 % over** |",
        "|  | quoted | 4.50 (4.00-5.00) floor | 45.0 (40.0-50.0) us |  | 2 | <= 6x | met, 25 % to spare |",
        "|  | lost (2 figures) |  | 0 |  | 1 | <= 0 | all met |",
    ]


def test_the_readme_has_a_block_for_each_commit_and_machine_or_says_that_there_is_none() -> None:
    first, second = run(), msgspec.structs.replace(run(scenario(2.0, name="other")), commit="f" * 40)
    assert block([first, second]) == f"{block([first])}\n{block([second])}"
    busy = msgspec.structs.replace(first.machine, busy_share=0.5)
    later = msgspec.structs.replace(run(scenario(2.0, name="other")), machine=busy, time="2026-11-24T01:00:00Z")
    lines = block([first, later]).splitlines()
    assert lines[0] == "**Commit 0123456789ab, 2026-11-22 to 2026-11-24, full.**"
    assert lines[1].endswith(f"others used {first.machine.busy_share:.0%} to 50% of it before.")
    assert lines[3] == "7 of 10 targets met, 3 missed:"
    assert [line.split(" | ")[0] for line in lines if line.startswith("| **")] == ["| **canned**", "| **other**"]
    assert lines[-2:] == ["- canned: By hand.", "- other: By hand."]
    assert block([]) == f"{NOTHING}\n"


def test_a_ratio_to_one_more_peer_has_no_row_of_its_own_in_the_readme_unless_it_has_a_target() -> None:
    found = scenario()
    other = Figure(name=f"{COST}: other", unit="us", samples=[1000.0] * 5, foreign=True)
    again = msgspec.structs.replace(
        found.figures[0], name=f"{COST}, beside other", beside=other.name, ratio_max=None, target=None
    )
    for held, rows in ((again, 0), (msgspec.structs.replace(again, ratio_max=0.01), 1)):
        text = block([run(msgspec.structs.replace(found, figures=[*found.figures, other, held]))])
        assert sum("beside other |" in line for line in text.splitlines()) == rows


def test_the_readme_holds_what_every_committed_run_says() -> None:
    committed = {path: read(path) for path in COMMITTED}
    for path, each in committed.items():
        assert not each.quick, f"{path.name} is a quick run"
        assert not each.problems, f"{path.name}: {each.problems}"
        assert path.stat().st_size < 1_000_000, f"{path.name} is too large to commit"
    held = put(ROOT / "README.md", block(list(committed.values())), write=False)
    assert held, "run `python -m bench readme bench/results/*.json --update README.md`"


def test_figures_stand_between_the_markers_and_nothing_else_moves() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replaced(text, "one\ntwo\n") == f"before\n{BEGIN}\n\none\ntwo\n\n{END}\nafter\n"
    assert replaced(replaced(text, "one\n"), "one\n") == replaced(text, "one\n")


@pytest.mark.parametrize(
    "text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n{BEGIN}\n{END}", f"`{BEGIN}`\n{END}"]
)
def test_without_one_pair_of_markers_there_is_no_place(text: str) -> None:
    with pytest.raises(MarkerError, match="needs one line <!-- bench: begin --> and after it"):
        replaced(text, "figures\n")


def test_the_page_needs_nothing_and_escapes_everything() -> None:
    text = page(run(scenario(2.0, problems=["3 x <status>"])))
    assert "<CPU>" not in text
    assert "<remark>" not in text
    assert "3 x &lt;status&gt;" in text
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)|src=", text)
    loaded = set(re.findall(r"""(?:href|action)=["']([^"'#][^"']*)""", text))
    assert not loaded, f"names that a browser would load: {loaded}"


def test_the_page_shows_every_figure_and_every_picture() -> None:
    found = scenario(2.0)
    text = page(run(found))
    assert all(figure.name in text for figure in found.figures)
    units = {figure.unit for figure in found.figures if len(figure.samples) > 1}
    assert text.count("<svg") == 1 + len(found.curves) + len(units)
    top = text[text.index("Targets</h2>") : text.index('<h2 id="canned">')]
    assert "<p>2 of 5 targets met, 3 missed.</p>" in top
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", top)[1:]]
    assert [(row[0], row[3], row[4]) for row in cells] == [
        ("canned: cost", "missed", "67 % over"),
        ("canned: cost", "missed", "33 % over"),
        ("canned: rate", "missed", "29 % short"),
        ("canned: added", "met", "67 % to spare"),
        ("canned: requests that failed", "met", ""),
    ]


def test_distributions_of_one_group_share_a_picture() -> None:
    found = scenario()
    (known,) = found.histograms
    gaps = [msgspec.structs.replace(known, name=f"gaps: {name}", group="gaps") for name in ("one", "two")]
    text = page(run(msgspec.structs.replace(found, histograms=[known, *gaps])))
    assert text.count("<svg") == page(run(found)).count("<svg") + 1
    assert "<figcaption>gaps</figcaption>" in text
    assert ">one<" in text
    assert "gaps: one" not in text, "the caption has it"


def test_the_same_run_gives_the_same_page() -> None:
    assert page(run()) == page(run())


def test_a_scenario_that_found_nothing_has_a_place_too() -> None:
    text = page(run(Scenario(name="canned", method="", problems=["nginx is away"])))
    assert "nginx is away" in text


def test_commands_write_from_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "run.json"
    write(run(), document)
    assert main(["readme", str(document)]) == 0
    assert capsys.readouterr().out == block([run()])
    assert main(["report", str(document)]) == 0
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert COST in text
    assert PEER in text


def test_the_readme_is_updated_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, text = tmp_path / "1.json", tmp_path / "2.json", tmp_path / "README.md"
    write(run(), first)
    write(run(scenario(2.0)), second)
    text.write_text(f"# Title\n{BEGIN}\n{END}\nmore\n", encoding="utf-8")
    assert main(["readme", str(first), str(second), "--check", str(text)]) == 1
    assert "README.md has other figures than these runs" in capsys.readouterr().err
    assert text.read_text(encoding="utf-8") == f"# Title\n{BEGIN}\n{END}\nmore\n", "a check writes nothing"
    assert main(["readme", str(second), str(first), "--update", str(text)]) == 0
    assert block([run(), run(scenario(2.0))]) in text.read_text(encoding="utf-8")
    assert main(["readme", str(first), str(second), "--check", str(text)]) == 0
    assert main(["readme", str(first), "--check", str(text)]) == 1
    assert main(["readme", "--update", str(text)]) == 0
    assert text.read_text(encoding="utf-8") == f"# Title\n{BEGIN}\n\n{NOTHING}\n\n{END}\nmore\n"


@pytest.mark.parametrize("option", ["--update", "--check"])
def test_a_readme_without_a_place_is_an_error(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "README.md"
    assert main(["readme", option, str(text)]) == 1
    assert "README.md: No such file" in capsys.readouterr().err
    text.write_text("# Title\n", encoding="utf-8")
    assert main(["readme", option, str(text)]) == 1
    assert f"README.md: needs one line {BEGIN}" in capsys.readouterr().err
    assert text.read_text(encoding="utf-8") == "# Title\n"


def test_a_document_has_a_line_for_each_figure_histogram_and_curve(tmp_path: Path) -> None:
    document = tmp_path / "run.json"
    written = run(scenario(settings={"rounds": 5, "peers": {"a": {"b": [1, 2]}}}), scenario(name="empty", figures=[]))
    write(written, document)
    assert read(document) == written
    text = document.read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(msgspec.json.encode(written))
    for part in (*scenario().figures, *scenario().histograms, *scenario().curves):
        assert f"\n    {msgspec.json.encode(part).decode()}" in text
    assert len(text) < len(msgspec.json.encode(written)) * 1.2
