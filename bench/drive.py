"""Runs scenarios, each in a process of its own, shows how far they are, and makes one run of what they found.

The bench itself keeps to the core of upstream and load. A scenario that ends without a result is in the run all the
same, with what it said last as its problem, and the next one is run. Ctrl-C and SIGTERM end the scenario that runs,
which ends everything that it started.

An environment that forbids Python to write bytecode would have each of a hundred processes compile the same sources:
there it is written to a directory that ends with the run.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.machine import commit, describe
from bench.process import busy_share, cores, placed, running
from bench.runs import Run, Scenario
from bench.scenarios import Done, Profile, Said, Say
from bench.watch import Watch

_LISTEN_SECONDS, _LISTEN_SECONDS_QUICK = 1.0, 0.3
_SAID_MAX = 2000
_END_SECONDS_MAX = 30.0  # a scenario ends several processes, each in its own time


def drive(names: Sequence[str], profile: Profile, console: Console) -> Run:
    """Run these scenarios one after the other."""
    placement = cores()
    listen_seconds = _LISTEN_SECONDS_QUICK if profile.quick else _LISTEN_SECONDS
    machine, (revision, dirty) = describe(placement, busy_share(listen_seconds)), commit()
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    columns = (
        SpinnerColumn(),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    found: list[Scenario] = []
    with (
        placed(placement.others),
        compiled() as environ,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        task = progress.add_task("", total=len(names))
        for name in names:

            def say(text: str, name: str = name) -> None:
                progress.update(task, description=f"{name}: {text}")

            say("starting")
            scenario = one(name, profile, say, placement.subject | placement.others, environ)
            found.append(scenario)
            progress.console.print(ended(scenario), markup=False)
            progress.advance(task)
    return Run(
        commit=revision,
        dirty=dirty,
        time=started,
        machine=machine,
        quick=profile.quick,
        seed=profile.seed,
        rounds=profile.rounds,
        scenarios=found,
    )


@contextmanager
def compiled() -> Iterator[dict[str, str]]:
    """Give the environment in which every source is compiled once."""
    environ = dict(os.environ)
    if environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        with tempfile.TemporaryDirectory(prefix="bench-bytecode-") as directory:
            yield environ | {"PYTHONPYCACHEPREFIX": directory}
    else:
        yield environ


def one(
    name: str, profile: Profile, say: Say, on: frozenset[int], environ: Mapping[str, str] | None = None
) -> Scenario:
    """Run one scenario in a process that may use these cores."""
    asked = ["--profile", msgspec.json.encode(profile).decode()]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        log = Path(directory) / "scenario.log"
        command = [sys.executable, "-m", "bench.scenarios", name, *asked]
        with running(
            command, on=on, environ=environ, log=str(log), piped=True, end_seconds_max=_END_SECONDS_MAX
        ) as process:
            assert process.stdout is not None
            with Watch(process.pid) as watch:
                scenario = follow(process.stdout, say)
                process.wait()
        if scenario is None:
            said = log.read_text(errors="replace")[-_SAID_MAX:].strip()
            return Scenario(
                name=name, method="", problems=[said or f"ended with {process.returncode}, without a result"]
            )
    return msgspec.structs.replace(scenario, curves=[*scenario.curves, *watch.curves()])


def follow(lines: Iterator[bytes], say: Say) -> Scenario | None:
    """Pass on what a scenario says, and give its result; None when it ended without one."""
    decoder = msgspec.json.Decoder(Said | Done)
    for line in lines:
        message = decoder.decode(line)
        if isinstance(message, Done):
            return message.found
        say(message.text)
    return None


def ended(scenario: Scenario) -> str:
    """Say in a line how a scenario ended."""
    problems = len(scenario.problems)
    failed = f", {problems} problem{'s' if problems > 1 else ''}" if problems else ""
    return f"{scenario.name}: {len(scenario.figures)} figures in {scenario.seconds:.0f} s{failed}"
