"""A run as tables, as Markdown and as a page: complete, escaped, and with nothing to load."""

import re
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench import sheet
from bench.__main__ import main
from bench.page import page
from bench.runs import Figure, Scenario, read, write
from tests.bench.canned_run import ADDED, COST, PEER, run, scenario

ROOT = Path(__file__).parents[2]


def printed(*, whole: bool) -> str:
    text = StringIO()
    console = Console(file=text, width=200)
    for table in sheet.tables(run(scenario(2.0)), whole=whole):
        console.print(table)
    return text.getvalue()


def test_the_table_shows_what_is_quoted_and_what_missed_its_target() -> None:
    text = printed(whole=False)
    assert re.search(r"cost +│ +10.0 \(9.9-10.1\) │ peer +│ +200 \(198-202\) │ us +│ <= 6x, <= 150 us │ over", text)
    assert re.search(r"rate .*│ over", text)
    assert ADDED not in text
    assert ADDED in printed(whole=True)


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
    text = sheet.readme(run(Scenario(name="canned", method=found.method, figures=[alone, *found.figures])))
    assert text.startswith("Commit 0123456789ab, 2026-11-22, full run. A <CPU>, 2 cores, 25 GB, Linux 6, CPython 3.11;")
    rows = [line for line in text.splitlines() if line.startswith("| canned")]
    assert rows[0] == "| canned: cost | 5.00x peer | 100 (99-101) us | <= 6x, <= 150 us |"
    assert rows[1] == "| canned: alone |  | 1.00 s |  |"
    assert "- canned: By hand." in text


def test_the_readme_marks_what_missed_its_target_and_what_is_not_for_quoting() -> None:
    text = sheet.readme(run(scenario(2.0), quick=True, dirty=True))
    assert "**200 (198-202) us**" in text
    assert "0123456789ab with changes" in text
    assert "not for quoting" in text


def test_the_readme_holds_what_every_committed_run_says() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "bench" / "results").glob("*.json")):
        committed = read(path)
        assert not committed.quick, f"{path.name} is a quick run"
        assert not committed.problems, f"{path.name}: {committed.problems}"
        assert sheet.readme(committed) in text, f"put what `python -m bench readme {path.name}` prints into the README"


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
    assert re.search(r"Targets missed: 2\..*canned: cost.*canned: rate", text, re.DOTALL)


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
    assert capsys.readouterr().out == sheet.readme(run())
    assert main(["report", str(document)]) == 0
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert COST in text
    assert PEER in text
