"""`python -m bench`, `make bench`, `hedgerow bench`: one door to all scenarios, and to what is done with their runs.

    python -m bench [SCENARIO ...] [--quick]     run, print, write JSON and one HTML page
    python -m bench compare A.json B.json        what moved beyond noise; exit status 1 on a regression
    python -m bench readme RESULT.json ...       the figures of the README, in Markdown; --update or --check it
    python -m bench report RESULT.json           the page again, from its document
    python -m bench peers install|list|remove    what else is measured beside the gateway

A missed target is shown, with the gap; exit status 1 is for a request that failed, a scenario that did not start, a
peer that cannot be had, a regression, a file that is no run, a README that has other figures or no place for them; 2
for wrong usage; 130 for Ctrl-C, 143 for SIGTERM. What compares and draws is loaded when that is asked for. To compare
quick runs, give both `--rounds 5`: with less, little is judged.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

NEEDED = ("psutil", "numpy", "scipy", "matplotlib")
OUTPUT = Path("bench-results")
_PIPED_COLUMNS = 150


def run(words: Sequence[str], console: Console) -> int:
    """Run scenarios, show what they found, and write it down."""
    from bench.drive import drive  # noqa: PLC0415 - the other commands measure nothing
    from bench.page import page  # noqa: PLC0415 - loads what draws
    from bench.peers.choice import add_options, chosen  # noqa: PLC0415
    from bench.process import raise_open_files  # noqa: PLC0415
    from bench.runs import write  # noqa: PLC0415
    from bench.scenarios import NAMES, Profile  # noqa: PLC0415
    from bench.sheet import tables  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure, and write JSON and one HTML page.",
        epilog="Other commands: compare A.json B.json, readme RESULT.json, report RESULT.json, peers ACTION.",
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="less of everything, about a minute and a half")
    parser.add_argument("--seed", type=int, default=1, help="decides what is drawn")
    parser.add_argument("--rounds", type=positive, help="rounds of each scenario; default: its own number")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"the directory written to; default: {OUTPUT}")
    parser.add_argument("--all", action="store_true", help="print every figure, and not only those that are quoted")
    add_options(parser)
    asked = parser.parse_args(words)
    strangers = [name for name in asked.scenarios if name not in NAMES]
    if strangers:
        parser.error(f"no such scenario: {', '.join(strangers)} (there are {', '.join(NAMES)})")
    beside = chosen(parser, asked)
    asked.output.mkdir(parents=True, exist_ok=True)
    raise_open_files()
    names = list(dict.fromkeys(asked.scenarios)) or list(NAMES)
    profile = Profile(
        quick=asked.quick, seed=asked.seed, rounds=asked.rounds, peers=beside, upstream_port=asked.upstream_port
    )
    found = drive(names, profile, console)
    for table in tables(found, whole=asked.all):
        console.print(table)
    for problem in found.problems:
        console.print(problem, style="red", markup=False)
    stem = f"{found.time.replace(':', '').replace('-', '')}-{(found.commit or 'nowhere')[:12]}"
    document, shown = asked.output / f"{stem}.json", asked.output / f"{stem}.html"
    write(found, document)
    shown.write_text(page(found), encoding="utf-8")
    console.print(f"{document}\n{shown}", markup=False, soft_wrap=True)
    return 1 if found.problems else 0


def compare(words: Sequence[str], console: Console) -> int:
    """Show what moved between two runs."""
    from bench import compare as comparison  # noqa: PLC0415 - loads scipy
    from bench.runs import read  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m bench compare", description="What moved, beyond noise.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    threshold = comparison.THRESHOLD
    parser.add_argument("--threshold", type=share, default=threshold, help=f"a regression from here on ({threshold:g})")
    parser.add_argument("--all", action="store_true", help="show what stayed within noise, too")
    asked = parser.parse_args(words)
    before, after = read(asked.before), read(asked.after)
    changes = comparison.compare(before, after, asked.threshold)
    for caveat in comparison.caveats(before, after):
        console.print(caveat, style="yellow", markup=False)
    console.print(comparison.table(changes, whole=asked.all))
    failures = comparison.failures(before, after)
    for failure in failures:
        console.print(failure, style="red", markup=False)
    counts = {move: sum(change.move is move for change in changes) for move in comparison.Move}
    console.print(", ".join(f"{count} {move.value}" for move, count in counts.items() if count) or "nothing in common")
    return 1 if failures or counts[comparison.Move.REGRESSION] else 0


def readme(words: Sequence[str], console: Console) -> int:
    """Write the README's figures to stdout, put them into it, or say whether they are there."""
    from bench.readme import BEGIN, END, MarkerError, block, put  # noqa: PLC0415
    from bench.runs import read  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="python -m bench readme",
        description="The README's figures, in Markdown: a block for each commit and machine.",
        epilog=f"The figures stand between the lines {BEGIN} and {END}; without a run, a sentence that there is none.",
    )
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULT.json")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--update", type=Path, metavar="README.md", help="put the figures between this file's markers")
    what.add_argument("--check", type=Path, metavar="README.md", help="exit with 1 when this file has others")
    asked = parser.parse_args(words)
    figures = block([read(path) for path in sorted(asked.results, key=lambda path: path.name)])
    target: Path | None = asked.update or asked.check
    if target is None:
        console.out(figures, end="", highlight=False)
        return 0
    try:
        had = put(target, figures, write=asked.update is not None)
    except MarkerError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    if asked.check and not had:
        print(f"bench: {target} has other figures than these runs: use --update", file=sys.stderr)
        return 1
    return 0


def report(words: Sequence[str], console: Console) -> int:
    """Write the page of a run that was written earlier."""
    from bench.page import page  # noqa: PLC0415
    from bench.runs import read  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m bench report", description="The page, from its document.")
    parser.add_argument("result", type=Path)
    parser.add_argument("--output", type=Path, help="the page's file; default: beside the document")
    asked = parser.parse_args(words)
    shown: Path = asked.output or asked.result.with_suffix(".html")
    shown.write_text(page(read(asked.result)), encoding="utf-8")
    console.print(f"{shown}", markup=False, soft_wrap=True)
    return 0


def peers(words: Sequence[str], console: Console) -> int:
    """Install, list or remove what is measured beside the gateway."""
    from bench.peers.command import main as carry_out  # noqa: PLC0415

    return carry_out(words, console)


COMMANDS: dict[str, Callable[[Sequence[str], Console], int]] = {
    "compare": compare,
    "readme": readme,
    "report": report,
    "peers": peers,
}


def positive(text: str) -> int:
    """Read a whole number from 1 on; raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def share(text: str) -> float:
    """Read a number from 0 on; raises ValueError."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


class Terminated(BaseException):
    """SIGTERM has come: everything that was started is ended on the way out, as with Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise Terminated in this block, once: what unwinds is not interrupted."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; see the module for the exit status."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"bench: needs {', '.join(missing)}, of the development group in pyproject.toml", file=sys.stderr)
        return 1
    from bench.peers import PeerError  # noqa: PLC0415 - behind the check
    from bench.runs import RunError  # noqa: PLC0415

    words = list(sys.argv[1:] if words is None else words)
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    try:
        with terminable():
            if words and words[0] in COMMANDS:
                return COMMANDS[words[0]](words[1:], console)
            return run(words, console)
    except (RunError, PeerError) as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; nothing was written", file=sys.stderr)
        return 130
    except Terminated:
        print("bench: terminated; nothing was written", file=sys.stderr)
        return 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
