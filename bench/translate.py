"""All sixteen pairs of dialects through one gateway: if they are right, and what they cost.

One scripted upstream that speaks all four dialects stands behind the gateway as four providers, each asked in one of
them. First every pair is asked, unary and streamed, for an answer that is what the upstream understood: its text, and
the tokens that the client is told, have to be the same in all pairs. Then the gateway's CPU time is read, for unary
requests at one fixed rate and for streams of an event each interval, pair after pair within a round; in the same round
the floor, which translates nothing, passes the same streams of the first dialect from the same upstream. The upstream's
own share is on the other core. An answer that is wrong, or a request that failed, is a problem.
"""

import http.client
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from bench import asking
from bench.asked import words
from bench.asking import CLIENTS, Heard
from bench.jobs import AnyJob, Paced, Report, Streams
from bench.measure import taking_turns
from bench.process import Cores, announcement, running
from bench.samples import Samples
from bench.subjects import KEY, Subject

UNARY, EVENT, SERVED = "unary_cpu_us", "event_cpu_us", "served_share"
_ANSWER_SECONDS_MAX = 20
_SPREAD_MAX = 4
_SPARE = 3
"""How many times as long as a window a stream lasts: they have to be opened, too."""


class Settings(NamedTuple):
    """How long and how often. The rate is low enough for an upstream in Python; `first_pass` is one not counted."""

    rounds: int
    seconds: float
    warmup_s: float = 0.2
    unary_period_us: int = 4000
    unary_tokens: int = 20
    streams: int = 30
    interval_ms: float = 12.5
    first_pass: bool = True


QUICK = Settings(rounds=1, seconds=0.06, warmup_s=0.03, streams=15, first_pass=False)
FULL = Settings(rounds=5, seconds=0.5)


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

    def play(self, options: dict[str, Any], *, spread_ms: float = 0.0) -> None:
        """Let every further request get an answer with these options; raises RuntimeError when it does not agree.

        With `spread_ms` each begins after a drawn time, about so long.
        """
        law = {"median": spread_ms, "sigma": 1.0, "max": _SPREAD_MAX * spread_ms}
        script = [*([{"sleep_ms": law}] if spread_ms else []), {"answer": options}]
        status, body = _ask(self.port, "PUT", "/_script", json.dumps({"default": script}).encode(), {})
        if status != 200:
            raise RuntimeError(f"the upstream refused its script: {body.decode()}")


@contextmanager
def scripted(placement: Cores, seed: int = 0) -> Iterator[Upstream]:
    """Run the scripted upstream beside the load."""
    command = [sys.executable, "-m", "bench.upstream", "--follow-stdin", "--seed", str(seed)]
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
    """Asks pair after pair through one gateway, and collects samples; `perform` runs one job of the load.

    `floor` is another proxy before the same upstream, where there is one.
    """

    def __init__(
        self,
        settings: Settings,
        gateway: Subject,
        upstream: Upstream,
        perform: Callable[[AnyJob], Report],
        *,
        floor: Subject | None = None,
    ) -> None:
        self.samples = Samples()
        self._settings = settings
        self._gateway = gateway
        self._upstream = upstream
        self._perform = perform
        self._floor = floor

    def check(self) -> None:
        """Ask all pairs in both forms."""
        self._upstream.play({"tell": True})
        found = (checked(self._gateway.port, pair, stream=stream) for pair in PAIRS for stream in (False, True))
        self.samples.problems.extend(problem for problem in found if problem is not None)

    def run(self, say: Callable[[str], None]) -> None:
        """Measure all pairs, round by round; who begins rotates. A first pass is thrown away."""
        if self._settings.first_pass:
            say("first pass, not counted")
            self._round([Pair(name, name) for name in CLIENTS])
            self.samples.clear()
        for number in range(self._settings.rounds):
            say(f"round {number + 1} of {self._settings.rounds}")
            self._round(taking_turns(PAIRS, number))

    def _round(self, pairs: Sequence[Pair]) -> None:
        settings = self._settings
        self._upstream.play({"tokens": settings.unary_tokens})
        for pair in pairs:
            job = Paced(**self._told(pair), period_us=settings.unary_period_us)
            report = self._ask(str(pair), job)
            served = report.requests_in_window / max(1.0, report.seconds * 1e6 / settings.unary_period_us)
            self._add(UNARY, str(pair), report.subject_cpu_s, report.requests_in_window)
            self.samples.add(SERVED, str(pair), served)
        lasts_ms = _SPARE * 1000 * (settings.seconds + settings.warmup_s + 1)
        tokens = round(lasts_ms / settings.interval_ms)
        # Opened all at once they would tick together, most of all behind who opens them fast, and one waking would do
        # for many events.
        self._upstream.play({"tokens": tokens, "interval_ms": settings.interval_ms}, spread_ms=settings.interval_ms)
        self._floor_streams()
        for pair in pairs:
            self._streams(str(pair), self._told(pair))

    def _floor_streams(self) -> None:
        if self._floor is not None:
            plain = self._told(Pair(CLIENTS[0], CLIENTS[0]))
            told = plain | {"port": self._floor.port, "subject": list(self._floor.pids)}
            self._streams(self._floor.name, told)

    def _streams(self, name: str, told: dict[str, Any]) -> None:
        settings = self._settings
        report = self._ask(name, Streams(**told, streams=settings.streams, interval_ms=settings.interval_ms))
        self._add(EVENT, name, report.subject_cpu_s, report.events)
        if report.opened < settings.streams:
            self.samples.problems.append(f"{name}: {report.opened} of {settings.streams} streams began")

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

    def _ask(self, name: str, job: AnyJob) -> Report:
        report = self._perform(job)
        kind = type(job).__name__.lower()
        self.samples.problems.extend(f"{name}, {kind}: {count} x {reason}" for reason, count in report.errors.items())
        if not (report.requests or report.events or (isinstance(job, Streams) and report.opened)):
            self.samples.problems.append(f"{name}, {kind}: nothing was answered")
        return report

    def _add(self, measure: str, name: str, cpu_s: float, per: int) -> None:
        if per:
            self.samples.add(measure, name, cpu_s * 1e6 / per)
