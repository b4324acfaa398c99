"""The load generator: one job per process, read from stdin as JSON, its report on stdout.

    echo '{"kind": "unary", "port": 8080, "key": "sk-bench", "seconds": 3}' | python -m bench.load

The jobs are `bench.jobs`': unary requests in a closed and in an open loop, endless streams, short streams in open loop,
numbered ones whose fate the upstream draws, streams held open, slow readers (`bench.slow`), a connection for each
request (`bench.churn`), prompts of megabytes (`bench.large`), and all sorts mixed (`bench.soak`). Rules: loopback only;
every job ends by itself, also when the far end is silent; the CPU time of the subject is read here, in the same moment
as the counts it is divided by; whatever failed is counted, never skipped.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from bench.churn import run_churn
from bench.client import Connection, State, chat_request, request_bytes
from bench.jobs import (
    AnyJob,
    Arrivals,
    Churn,
    Hold,
    Job,
    Large,
    Numbered,
    Paced,
    Report,
    SlowReader,
    Soak,
    Streams,
    Unary,
)
from bench.large import run_large
from bench.loop import Loop, Metronome
from bench.prefork import serve
from bench.process import raise_open_files, rss_bytes
from bench.slow import run_slow_reader
from bench.soak import run_soak
from bench.wrk import run_wrk

_CONNECTIONS_MAX = 4000


def run_unary(job: Unary, loop: Loop) -> Report:
    """Ask again on each connection as soon as it has its answer."""
    if job.tool is not None:
        return run_wrk(job, job.tool)
    loop.observer.on_done = lambda connection: connection.ask(perf_counter())
    for _ in range(job.connections):
        loop.connect().ask(perf_counter())
    return loop.measure(job)


def run_streams(job: Streams, loop: Loop) -> Report:
    """Open the streams, then count their events and the gaps between them for the length of the window."""
    opened = loop.open_streams(job.streams)
    report = loop.measure(job)
    report.opened = opened
    return report


def run_hold(job: Hold, loop: Loop) -> Report:
    """Hold the streams open for the window, and read the subject's memory before the first and at the end."""
    before, started_s = rss_bytes(job.subject), perf_counter()
    opened = loop.open_streams(job.streams)
    open_seconds = perf_counter() - started_s
    report = loop.measure(job)
    report.open_seconds = open_seconds
    report.opened = sum(connection.state is State.STREAMING for connection in loop.connections)
    report.fail("lost while held", opened - report.opened)
    report.rss_before_bytes, report.rss_after_bytes = before, rss_bytes(job.subject)
    return report


def run_arrivals(job: Arrivals | Paced, loop: Loop) -> Report:
    """Begin a stream, or send a unary request, each period."""
    ask = _asker(loop)
    metronome = Metronome(loop, job.period_us, ask)

    def settled() -> bool:
        metronome.stop()
        return all(connection.state in {State.IDLE, State.CLOSED} for connection in loop.connections)

    try:
        report = loop.measure(job, linger=settled)
    finally:
        metronome.close()
    report.opened = len(loop.connections)
    unanswered = sum(connection.state in {State.CONNECTING, State.WAITING} for connection in loop.connections)
    report.fail("unanswered at the end", unanswered)
    return report


def run_numbered(job: Numbered, loop: Loop) -> Report:
    """Begin a stream of its own number each period, and wait for all of them."""
    ask, begun = _asker(loop), 0

    def beat(intended_s: float) -> None:
        nonlocal begun
        if begun < job.requests:
            number = job.first + begun
            headers, body = chat_request(key=job.key, model=job.model, canned=None, number=number, more=job.headers)
            begun += 1
            ask(intended_s, request_bytes(headers, body, job.path))

    def settled() -> bool:
        if begun == job.requests:
            metronome.stop()
        busy = {State.CONNECTING, State.WAITING, State.STREAMING}
        return begun == job.requests and not any(connection.state in busy for connection in loop.connections)

    metronome = Metronome(loop, job.period_us, beat)
    try:
        lasts_s = job.requests * job.period_us / 1e6
        report = loop.measure(job, linger=settled, linger_seconds_max=lasts_s + job.linger_s)
    finally:
        metronome.close()
    report.opened = len(loop.connections)
    report.fail("unanswered at the end", begun - report.requests - sum(report.errors.values()))
    report.first_contents_ms = [seconds * 1000 for seconds in loop.observer.first_contents]
    return report


def _asker(loop: Loop) -> Callable[..., None]:
    """Give what sends a request at its intended time, on an idle connection or a new one."""
    idle: list[Connection] = []
    loop.observer.on_done = idle.append

    def ask(intended_s: float, request: bytes | None = None) -> None:
        while idle:
            connection = idle.pop()
            if connection.state is State.IDLE:
                connection.ask(intended_s, request)
                return
        if len(loop.connections) < _CONNECTIONS_MAX:
            loop.connect().ask(intended_s, request)
        else:
            loop.observer.errors["no connection left for an arrival"] += 1

    return ask


_RUNS: dict[type[Job], Callable[[Any, Loop], Report]] = {
    Unary: run_unary,
    Paced: run_arrivals,
    Streams: run_streams,
    Arrivals: run_arrivals,
    Numbered: run_numbered,
    Hold: run_hold,
    Churn: run_churn,
    Large: run_large,
    Soak: run_soak,
}
"""How each kind of job is done on a loop."""


def run(job: AnyJob) -> Report:
    """Run one job; takes its seconds, and at most about two minutes more when the far end is slow to open."""
    if isinstance(job, SlowReader):
        return run_slow_reader(job)
    canned: dict[str, object] | None = None
    match job:
        case Arrivals():
            canned = {"events": job.events, "interval_ms": job.interval_ms}
        case Unary() if job.events:
            canned = {"events": job.events, "interval_ms": job.interval_ms}
        case Streams() | Hold() | Large():
            canned = {"events": 0, "interval_ms": job.interval_ms, "spread": True}
    loop = Loop(job, canned)
    try:
        return _RUNS[type(job)](job, loop)
    finally:
        loop.close()


def reported(job: bytes) -> bytes:
    """Run a job that is written as JSON, and write its report."""
    return msgspec.json.encode(run(msgspec.json.decode(job, type=AnyJob)))


def main() -> None:
    """Run the job on stdin, or with --serve PATH those that come by that socket."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="The load generator; a job on stdin.")
    parser.add_argument("--serve", type=Path, metavar="PATH", help="take jobs at this Unix socket until stdin ends")
    serving: Path | None = parser.parse_args().serve
    raise_open_files()
    if serving is not None:
        serve(serving, reported)
    else:
        sys.stdout.buffer.write(reported(sys.stdin.buffer.read()) + b"\n")


if __name__ == "__main__":
    main()
