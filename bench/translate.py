"""`python -m bench.translate`: all sixteen pairs of dialects through one gateway, if they are right and what they cost.

One scripted upstream that speaks all four dialects stands behind the gateway as four providers, each asked in one of
them. First every pair is asked, unary and streamed, for an answer that is what the upstream understood: its text, and
the tokens that the client is told, have to be the same in all pairs. Then the gateway's CPU time is read, for unary
requests at one fixed rate and for streams of an event each interval, pair after pair within a round; a pair stands
beside the pass-through of its client's dialect in the same round. The upstream's own share is on the other core. An
answer that is wrong, or a request that failed, makes the run fail. `--quick` takes about a minute, a full run seven.
"""

import argparse
import http.client
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench import asking
from bench.asked import words
from bench.asking import CLIENTS, Heard
from bench.jobs import AnyJob, Paced, Report, Streams
from bench.lane import commit, machine
from bench.measure import Samples, perform
from bench.process import Cores, announcement, busy_share, cores, raise_open_files, running
from bench.report import Spread, spread
from bench.subjects import KEY, Subject, python, serving

UNARY, EVENT = "unary_cpu_us", "event_cpu_us"
TITLES = {UNARY: "CPU per unary request, us", EVENT: "CPU per event of a stream, us"}
_LISTEN_SECONDS = 1.0
_QUIET_SHARE_MAX = 0.05
_PIPED_COLUMNS = 150
_SERVED_SHARE_MIN = 0.95
_ANSWER_SECONDS_MAX = 20
_SPARE = 3
"""How many times as long as a window a stream lasts: they have to be opened, too."""


class Settings(NamedTuple):
    """How long and how often. The rate is low enough for an upstream in Python."""

    rounds: int
    seconds: float
    warmup_s: float = 0.2
    unary_period_us: int = 4000
    unary_tokens: int = 20
    streams: int = 30
    interval_ms: float = 12.5


QUICK = Settings(rounds=2, seconds=0.4, warmup_s=0.15)
FULL = Settings(rounds=5, seconds=2.0)


class Pair(NamedTuple):
    """Who asks in which dialect, and who answers in which."""

    client: str
    upstream: str

    def __str__(self) -> str:
        return f"{self.client} over {self.upstream}"

    @property
    def model(self) -> str:
        """The name by which the gateway reaches that upstream."""
        return f"by-{self.upstream}"

    @property
    def plain(self) -> "Pair":
        """The pass-through of the same client."""
        return Pair(self.client, self.client)


PAIRS = tuple(Pair(client, upstream) for client in CLIENTS for upstream in CLIENTS)


class Upstream(NamedTuple):
    """The scripted upstream, and its process."""

    port: int
    pid: int

    def play(self, options: dict[str, Any]) -> None:
        """Let every further request get an answer with these options; raises RuntimeError when it does not agree."""
        status, body = _ask(self.port, "PUT", "/_script", json.dumps({"default": [{"answer": options}]}).encode(), {})
        if status != 200:
            raise RuntimeError(f"the upstream refused its script: {body.decode()}")


@contextmanager
def scripted(placement: Cores) -> Iterator[Upstream]:
    """Run the scripted upstream beside the load."""
    command = [sys.executable, "-m", "bench.upstream", "--follow-stdin"]
    with running(command, on=placement.others, piped=True) as process:
        yield Upstream(announcement(process)["port"], process.pid)


def configuration(port: int) -> str:
    """Give a provider and a model for each dialect of an upstream."""
    providers = "".join(
        f'[providers.{name}-upstream]\nkind = "compatible"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
        f'dialects = ["{name}"]\ndiscover = false\n\n'
        for name in CLIENTS
    )
    models = "".join(
        f'[models.{Pair(name, name).model}]\nprovider = "{name}-upstream"\nmodel = "m"\n\n' for name in CLIENTS
    )
    return f"\n{providers}{models}"


def checked(port: int, pair: Pair, *, stream: bool) -> str | None:
    """Ask once for what the upstream understood; give what is wrong with the answer, None when nothing is."""
    path, headers, body = asking.request(pair.client, key=KEY, model=pair.model, stream=stream)
    where = f"{pair}, {'streamed' if stream else 'unary'}"
    status, answer = _ask(port, "POST", path, body, headers)
    if status != 200:
        return f"{where}: status {status}: {answer[:200].decode(errors='replace')}"
    wanted = asking.expected("m", output_tokens=len(words(asking.asked("m").told())))
    try:
        found = asking.heard_streamed(pair.client, answer) if stream else asking.heard(pair.client, answer)
    except ValueError as exc:
        return f"{where}: {exc}"
    return _difference(where, found, wanted)


def _difference(where: str, found: Heard, wanted: Heard) -> str | None:
    return None if found == wanted else f"{where}: {asking.shown(found)} is not {asking.shown(wanted)}"


def _ask(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS_MAX)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


class Bench:
    """Asks pair after pair through one gateway, and collects samples; `perform` runs one job of the load."""

    def __init__(
        self, settings: Settings, gateway: Subject, upstream: Upstream, perform: Callable[[AnyJob], Report]
    ) -> None:
        self.samples = Samples()
        self._settings = settings
        self._gateway = gateway
        self._upstream = upstream
        self._perform = perform

    def check(self) -> None:
        """Ask all pairs in both forms."""
        self._upstream.play({"tell": True})
        found = (checked(self._gateway.port, pair, stream=stream) for pair in PAIRS for stream in (False, True))
        self.samples.problems.extend(problem for problem in found if problem is not None)

    def run(self, say: Callable[[str], None]) -> None:
        """Measure all pairs, round by round; who begins rotates. The first pass is thrown away."""
        for number in range(-1, self._settings.rounds):
            say(f"round {number + 1} of {self._settings.rounds}" if number >= 0 else "first pass, not counted")
            turn = max(0, number) % len(PAIRS)
            order = [*PAIRS[turn:], *PAIRS[:turn]]
            self._round(order if number >= 0 else [Pair(name, name) for name in CLIENTS])
            if number < 0:
                self.samples.clear()

    def _round(self, pairs: Sequence[Pair]) -> None:
        settings = self._settings
        self._upstream.play({"tokens": settings.unary_tokens})
        for pair in pairs:
            job = Paced(**self._told(pair), period_us=settings.unary_period_us)
            report = self._ask(pair, job)
            served = report.requests_in_window / max(1.0, report.seconds * 1e6 / settings.unary_period_us)
            self._add(UNARY, pair, report.subject_cpu_s, report.requests_in_window)
            self.samples.add("served_share", str(pair), served)
        lasts_ms = _SPARE * 1000 * (settings.seconds + settings.warmup_s + 1)
        tokens = round(lasts_ms / settings.interval_ms)
        self._upstream.play({"tokens": tokens, "interval_ms": settings.interval_ms})
        for pair in pairs:
            report = self._ask(
                pair, Streams(**self._told(pair), streams=settings.streams, interval_ms=settings.interval_ms)
            )
            self._add(EVENT, pair, report.subject_cpu_s, report.events)
            if report.opened < settings.streams:
                self.samples.problems.append(f"{pair}: {report.opened} of {settings.streams} streams began")

    def _told(self, pair: Pair) -> dict[str, Any]:
        return {
            "port": self._gateway.port,
            "key": KEY,
            "model": pair.model,
            "client": pair.client,
            "subject": list(self._gateway.pids),
            "upstream": [self._upstream.pid],
            "seconds": self._settings.seconds,
            "warmup_s": self._settings.warmup_s,
        }

    def _ask(self, pair: Pair, job: AnyJob) -> Report:
        report = self._perform(job)
        kind = type(job).__name__.lower()
        self.samples.problems.extend(f"{pair}, {kind}: {count} x {reason}" for reason, count in report.errors.items())
        if not (report.requests or report.events):
            self.samples.problems.append(f"{pair}, {kind}: nothing was answered")
        return report

    def _add(self, measure: str, pair: Pair, cpu_s: float, per: int) -> None:
        if per:
            self.samples.add(measure, str(pair), cpu_s * 1e6 / per)


def measure(settings: Settings, placement: Cores, say: Callable[[str], None]) -> Samples:
    """Run everything; raises RuntimeError when something does not start."""
    with ExitStack() as stack:
        upstream = stack.enter_context(scripted(placement))
        served = stack.enter_context(serving(configuration(upstream.port), placement))
        bench = Bench(settings, served.subject, upstream, partial(perform, cores=placement))
        say("is every pair right")
        bench.check()
        bench.run(say)
        return bench.samples


def ratios(samples: Samples, measured: str, pair: Pair) -> Spread | None:
    """Give how many times the pass-through of its client a pair costs, taken within each round."""
    values = samples.values[measured]
    found = zip(values[str(pair)], values[str(pair.plain)], strict=False)
    return spread([ours / plain for ours, plain in found if plain])


def table(samples: Samples, measured: str, settings: Settings) -> Table:
    """Show one measure: clients down, upstreams across."""
    shown = Table(title=f"{TITLES[measured]}; {settings.rounds} rounds, median (lowest-highest), x its pass-through")
    for heading in ("client", *(f"over {name}" for name in CLIENTS)):
        shown.add_column(heading)
    for client in CLIENTS:
        shown.add_row(client, *(_cell(samples, measured, Pair(client, upstream)) for upstream in CLIENTS))
    return shown


def _cell(samples: Samples, measured: str, pair: Pair) -> str:
    found, ratio = spread(samples.values[measured][str(pair)]), ratios(samples, measured, pair)
    if found is None:
        return "-"
    beside = "" if ratio is None or pair == pair.plain else f"  x{ratio.median:.1f}"
    return found.text(0 if measured == UNARY else 1) + beside


def remarks(samples: Samples, settings: Settings, others_share: float) -> list[str]:
    """Say what the reader must know to believe the figures."""
    served = [share for shares in samples.values["served_share"].values() for share in shares]
    said = [
        f"The gateway ran on {python().text()}; another build gives other figures.",
        f"Unary: a request each {settings.unary_period_us:,} us, answers of {settings.unary_tokens} tokens, open loop.",
        f"Events: {settings.streams} streams, one event each {settings.interval_ms:g} ms.",
    ]
    if served and min(served) < _SERVED_SHARE_MIN:
        said.append(f"In the worst sample {min(served):.0%} of the unary requests were answered in time.")
    if others_share > _QUIET_SHARE_MAX:
        said.append(f"The machine was not quiet: others used {others_share:.0%} of its cores before the run.")
    return said


def document(samples: Samples, settings: Settings, placement: Cores, notes: Sequence[str]) -> dict[str, Any]:
    """Give the whole run as JSON: where, how, and every sample."""
    medians = {
        measured: {name: round(statistics.median(values), 2) for name, values in samples.values[measured].items()}
        for measured in TITLES
    }
    return {
        "commit": commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(placement),
        "settings": settings._asdict(),
        "remarks": list(notes),
        "problems": samples.problems,
        "medians": medians,
        "samples": samples.values,
    }


def main() -> int:
    """Run the scenario; exit status 1 when an answer was wrong, a request failed or something did not start."""
    parser = argparse.ArgumentParser(prog="python -m bench.translate", description="Every pair of dialects.")
    parser.add_argument("--quick", action="store_true", help="two short rounds, about a minute")
    parser.add_argument("--json", type=Path, help="write the run to this file")
    arguments = parser.parse_args()
    placement, others_share = cores(), busy_share(_LISTEN_SECONDS)
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    settings = QUICK if arguments.quick else FULL
    raise_open_files()
    started_s = time.monotonic()
    try:
        with console.status("starting") as status:
            samples = measure(settings, placement, status.update)
    except RuntimeError as exc:
        console.print(str(exc), style="red", markup=False)
        return 1
    notes = remarks(samples, settings, others_share)
    for measured in TITLES:
        console.print(table(samples, measured, settings))
    for note in notes:
        console.print(note, markup=False)
    for problem in samples.problems:
        console.print(problem, style="red", markup=False)
    console.print(f"{time.monotonic() - started_s:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(document(samples, settings, placement, notes), indent=1) + "\n")
    return 1 if samples.problems else 0


if __name__ == "__main__":
    sys.exit(main())
