"""`python -m bench.lane`: the gateway beside nginx, in one run, with the design's targets.

The subject has one core for itself; upstream and load share another. Figures are medians over interleaved rounds with
their extremes. CPU per unary request is held against nginx's where both answer at the same rate, not each at its own
(`bench.measure` says why). What is missing (nginx, wrk, a second core) is said and left out, and a request that failed
makes the run fail: a figure with errors in it is none. `--quick` takes less than a minute, a full run less than eight.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.measure import FULL, QUICK, Bench, Samples, Settings, Start, perform
from bench.nginx import find, nginx, version
from bench.process import Cores, busy_share, cores, raise_open_files
from bench.report import Row, Sheet, table
from bench.subjects import Python, canned, gateway, python

_FILES_SPARE = 256
_PIPED_COLUMNS = 150
_QUIET_SHARE_MAX = 0.05
_LISTEN_SECONDS = 1.0
_SERVED_SHARE_MIN = 0.95


def machine(placement: Cores) -> dict[str, Any]:
    """Describe where the figures were taken."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # only Linux has it
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    nginx_path = find()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "pinned": bool(placement.subject) and placement.subject != placement.others,
        "system": f"{platform.system()} {platform.release()}",
        "python": python()._asdict(),
        "nginx": version(nginx_path) if nginx_path else None,
    }


def commit() -> str | None:
    """Give the commit that was measured, marked when the tree differs from it; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__).parent
    shown = subprocess.run(  # noqa: S603 - our own command
        [git, "describe", "--always", "--dirty", "--abbrev=40"], cwd=here, capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or None


def within_limits(settings: Settings, files_max: int, console: Console) -> Settings:
    """Hold no more streams than a proxy, with two sockets each, may open here."""
    most = (files_max - _FILES_SPARE) // 2
    if max(settings.held) > most:
        console.print(f"The limit of {files_max:,} open files allows {most:,} streams: holding those instead.")
    return settings._replace(held=tuple(min(count, most) for count in settings.held))


def measure(settings: Settings, console: Console, placement: Cores, arguments: argparse.Namespace) -> Samples:
    """Run everything; raises RuntimeError when a subject does not start."""
    nginx_path = None if arguments.no_nginx else find()
    if nginx_path is None:
        console.print("nginx is not measured: no floor to compare with.")
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(canned(placement))
        starts: list[Start] = []
        if nginx_path is not None:
            starts.append(partial(nginx, nginx_path, upstream.port, placement))
        if not arguments.no_gateway:
            starts.append(partial(gateway, upstream.port, placement))
        wrk = None if arguments.no_wrk else shutil.which("wrk")
        bench = Bench(settings, upstream, wrk=wrk, perform=partial(perform, cores=placement))
        with console.status("starting") as status, contextlib.ExitStack() as running:
            subjects = [upstream, *(running.enter_context(start()) for start in starts)]
            bench.run(subjects, status.update)
        with console.status("memory") as status:
            for count in settings.held:
                bench.hold(starts, count, status.update)
            bench.slow_reader(starts, status.update)
    return bench.samples


def remarks(samples: Samples, settings: Settings, placement: Cores, interpreter: Python) -> list[str]:
    """Say what the reader must know to believe the figures."""

    def peak(measure: str) -> str:
        shares = samples.values[measure]
        return ", ".join(f"{name} {max(values):.0%}" for name, values in shares.items() if values)

    def busy(job: str) -> str:
        return f"core of the subject used: {peak(f'{job}_cpu_share')}; upstream and load: {peak(f'{job}_bench_share')}"

    def read(name: str) -> str:
        megabytes, seconds = (samples.values[measure][name][-1] for measure in ("slow_read_mb", "slow_read_s"))
        return f"{name} {megabytes:,.0f} MB in {seconds:.0f} s"

    period_us = samples.unary_period_us
    paced = f"a request each {period_us:,} us ({1e6 / max(1, period_us):,.0f} per second), open loop"
    slow = f"bursts of {settings.slow_burst_mb} MB with pauses of {settings.slow_pause_ms:.0f} ms"
    arrivals = f"a stream of {settings.arrival_events} events each {samples.period_us:,} us, open loop"
    events = f"{settings.streams} streams, one event each {settings.stream_interval_ms} ms"
    said = [
        f"The gateway ran on {interpreter.text()}; another build gives other figures.",
        f"Unary, same rate: {paced}; {busy('paced')}.",
        f"Unary, closed loop: {settings.connections} connections, each subject at its own rate; {busy('unary')}.",
        f"Events: {events}; {busy('event')}.",
        f"Time to first token: {arrivals}; {busy('arrivals')}.",
        f"Slow reader: {slow}; {', '.join(map(read, samples.values['slow_read_mb']))}.",
        "Where upstream and load are near 100 %, the bench was the limit and not the subject.",
    ]
    for name, shares in samples.values["paced_served_share"].items():
        if min(shares) < _SERVED_SHARE_MIN:
            said.append(
                f"At the same rate {name} answered {min(shares):.0%} in time in its worst round: where requests queue, "
                "its CPU and latency figures at that rate are not those of half load."
            )
    if not placement.subject or placement.subject == placement.others:
        said.append("Nothing is pinned to a core of its own here: rates and latencies mix subject, upstream and load.")
    return said


def document(
    rows: Sequence[Row], samples: Samples, settings: Settings, placement: Cores, notes: Sequence[str]
) -> dict[str, Any]:
    """Give the whole run as JSON: where, how, every sample, and the rows."""
    return {
        "commit": commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(placement),
        "settings": settings._asdict() | {"period_us": samples.period_us, "unary_period_us": samples.unary_period_us},
        "rows": [
            row._asdict()
            | {
                "verdict": row.verdict.value,
                "spreads": {name: found._asdict() for name, found in row.spreads.items()},
                "ratio": row.ratio._asdict() if row.ratio else None,
            }
            for row in rows
        ],
        "remarks": list(notes),
        "problems": samples.problems,
        "samples": samples.values,
    }


def main() -> int:
    """Run the comparison; exit status 1 when a request failed or a subject did not start."""
    parser = argparse.ArgumentParser(prog="python -m bench.lane", description="The gateway beside nginx.")
    parser.add_argument("--quick", action="store_true", help="three short rounds, under a minute")
    parser.add_argument("--json", type=Path, help="write the run to this file")
    parser.add_argument("--no-gateway", action="store_true", help="measure only nginx and the bench itself")
    parser.add_argument("--no-nginx", action="store_true", help="leave nginx out")
    parser.add_argument("--no-wrk", action="store_true", help="drive unary requests with the bench's own client")
    arguments = parser.parse_args()
    placement, others_share = cores(), busy_share(_LISTEN_SECONDS)
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    settings = within_limits(QUICK if arguments.quick else FULL, raise_open_files(), console)
    started_s = time.monotonic()
    try:
        samples = measure(settings, console, placement, arguments)
    except RuntimeError as exc:
        console.print(str(exc), style="red", markup=False)
        return 1
    rows, notes = Sheet(samples).rows(settings.held), remarks(samples, settings, placement, python())
    if others_share > _QUIET_SHARE_MAX:
        notes.append(
            f"The machine was not quiet: others used {others_share:.0%} of its cores before the run. CPU figures are a "
            "little high, rates and latencies are not the subject's."
        )
    console.print(table(rows, f"{settings.rounds} rounds, median (lowest-highest)"))
    for note in notes:
        console.print(note, markup=False)
    for problem in samples.problems:
        console.print(problem, style="red", markup=False)
    console.print(f"{time.monotonic() - started_s:.0f} s")
    if arguments.json:
        report = document(rows, samples, settings, placement, notes)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if samples.problems else 0


if __name__ == "__main__":
    sys.exit(main())
