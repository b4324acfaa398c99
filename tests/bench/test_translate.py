"""The translation bench: its clients ask alike and read what is there; all pairs are right; what is wrong is found."""

import json
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio

from bench import asking, dialects, translate, upstream
from bench.answers import Options, compose
from bench.asking import CLIENTS, Heard
from bench.jobs import AnyJob, Arrivals, Paced, Report, Streams
from bench.load import run
from bench.process import Cores
from bench.samples import Verdict
from bench.scenarios.translate import scenario
from bench.subjects import KEY, NGINX, Subject
from bench.translate import EVENT, PAIRS, UNARY, Bench, Pair, Settings, Upstream
from bench.upstream import ScriptedUpstream
from tests.engine.live import Live, running

SPOKEN = dict(zip(CLIENTS, dialects.DIALECTS, strict=True))
FORMS = [(client, stream) for client in CLIENTS for stream in (False, True)]


# -- the clients --


@pytest.mark.parametrize(("client", "stream"), FORMS)
def test_all_clients_ask_the_same(client: str, stream: bool) -> None:
    path, headers, body = asking.request(client, key="k", model="m", stream=stream)
    path, _, query = path.partition("?")
    dialect = dialects.spoken(path)
    assert dialect is SPOKEN[client]
    read = dialect.read(json.loads(body), path, query)
    assert (read.told(), read.stream, read.usage_wanted or not stream) == (asking.asked("m").told(), stream, True)
    assert headers["Content-Length"] == str(len(body))


def answer(client: str, options: Options, *, stream: bool) -> bytes:
    """Give the body of an answer as the scripted upstream writes it."""
    path, _, body = asking.request(client, key="k", model="m", stream=stream)
    dialect = SPOKEN[client]
    composed = compose(dialect.read(json.loads(body), *path.partition("?")[::2]), options, 0)
    if not stream:
        return dialect.document(composed).encode()
    events = [event for beat in dialect.beats(composed) for event in beat]
    return "".join(f"event: {event.name}\ndata: {event.text}\n\n" for event in events).encode()


@pytest.mark.parametrize(("client", "stream"), FORMS)
def test_a_client_reads_text_and_tokens(client: str, stream: bool) -> None:
    body = answer(client, Options(content="Hello there you"), stream=stream)
    found = asking.heard_streamed(client, body) if stream else asking.heard(client, body)
    assert found == Heard("Hello there you", asking.asked("m").prompt_tokens, 3)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_marks_are_in_the_stream(client: str) -> None:
    body = answer(client, Options(tokens=5), stream=True)
    marks = asking.marks(client)
    assert body.count(marks.content) == 1
    assert (body + b"\r\n0\r\n\r\n").endswith(marks.end)


# -- the pairs --


@pytest.fixture
async def server() -> AsyncIterator[ScriptedUpstream]:
    with trio.fail_after(60):
        async with upstream.running(script=[{"answer": {"tell": True}}]) as server:
            yield server


@pytest.fixture
async def live(server: ScriptedUpstream) -> AsyncIterator[Live]:
    document = tomllib.loads(translate.configuration(server.port))
    switches = {"environment_providers": False, "console": False}
    async with running({"server": switches, "keys": {"bench": {"value": KEY}}, **document}) as live:
        yield live


async def test_every_pair_is_right(live: Live) -> None:
    def problems() -> Iterator[str | None]:
        return (translate.checked(live.port, pair, stream=stream) for pair in PAIRS for stream in (False, True))

    found = await trio.to_thread.run_sync(lambda: list(problems()))
    assert found == [None] * 32


async def test_what_is_wrong_is_found(live: Live, server: ScriptedUpstream) -> None:
    async def check(*script: dict[str, Any], stream: bool = False) -> str:
        server.set_default(list(script))
        pair = Pair("messages", "gemini")
        found = await trio.to_thread.run_sync(lambda: translate.checked(live.port, pair, stream=stream))
        return found or "nothing"

    assert "is not" in await check({"answer": {"content": "Something else"}})
    assert "is not" in await check({"answer": {"tell": True, "usage": {"promptTokenCount": 1}}}, stream=True)
    assert "is not" in await check({"answer": {"tell": True, "cut_after": 2}}, stream=True)
    assert "status 503" in await check({"status": 503})
    assert await check({"answer": {"tell": True}}) == "nothing"


# -- the measurement --

BRIEF = Settings(rounds=2, seconds=0.1, streams=3)


FLOOR = Subject(NGINX, 9, (10,))


def a_report(job: AnyJob) -> Report:
    """Give the report of a job whose pair costs twice what its pass-through costs, and that three times the floor."""
    translated = job.model != f"by-{job.client}"
    cost_s = 2e-4 if translated else 1e-4
    if isinstance(job, Paced):
        return Report(requests=25, requests_in_window=25, seconds=0.1, subject_cpu_s=25 * cost_s)
    assert isinstance(job, Streams)
    if job.port == FLOOR.port:
        assert (job.subject, job.client) == ([10], "chat")
        cost_s /= 3
    return Report(opened=job.streams, events=100, seconds=0.1, subject_cpu_s=cost_s)


class Silent(Upstream):
    """An upstream that keeps what it is told to play."""

    played: list[dict[str, Any]]

    def play(self, options: dict[str, Any], *, spread_ms: float = 0.0) -> None:
        assert spread_ms == options.get("interval_ms", 0.0)
        self.played.append(options)


@pytest.fixture
def played() -> list[dict[str, Any]]:
    Silent.played = []
    return Silent.played


def bench_of(perform: Callable[[AnyJob], Report], floor: Subject | None = FLOOR, settings: Settings = BRIEF) -> Bench:
    return Bench(settings, Subject("gateway", 1, (2,)), Silent(3, 4), perform, floor=floor)


def test_every_pair_and_the_floor_are_measured_in_every_round(played: list[dict[str, Any]]) -> None:
    jobs: list[AnyJob] = []

    def perform(job: AnyJob) -> Report:
        jobs.append(job)
        return a_report(job)

    bench = bench_of(perform)
    bench.run(lambda _: None)
    assert len(jobs) == 3 + 2 * (4 + 2 * 16)
    assert {job.client for job in jobs} == set(CLIENTS)
    assert played[0] == {"tokens": BRIEF.unary_tokens}
    assert min(options["tokens"] for options in played) * BRIEF.interval_ms > BRIEF.seconds
    for pair in PAIRS:
        for measured, plain_us in ((UNARY, 100), (EVENT, 1)):
            times = 1 if pair == pair.plain else 2
            assert bench.samples.values[measured][str(pair)] == pytest.approx([plain_us * times] * 2)
    assert bench.samples.values[EVENT][NGINX] == pytest.approx([1 / 3] * 2)
    assert bench.samples.problems == []


def test_nothing_is_thrown_away_without_a_first_pass(played: list[dict[str, Any]]) -> None:
    jobs: list[AnyJob] = []

    def perform(job: AnyJob) -> Report:
        jobs.append(job)
        return a_report(job)

    bench_of(perform, None, BRIEF._replace(rounds=1, first_pass=False)).run(lambda _: None)
    assert len(jobs) == 2 * 16


def test_events_are_held_against_the_floor_and_requests_against_their_pass_through(
    played: list[dict[str, Any]],
) -> None:
    bench = bench_of(a_report)
    bench.run(lambda _: None)
    found = scenario(bench.samples, BRIEF)
    assert len({figure.name for figure in found.figures}) == len(found.figures) == 1 + 2 + 16 + 12 + 16
    dearest, plain = found.figures[1], found.figure("CPU per event, chat over chat")
    assert plain is not None
    assert dearest.headline
    assert found.ratios(dearest) == pytest.approx([6, 6])
    assert found.ratios(plain) == pytest.approx([3, 3])
    assert found.verdict(plain) is Verdict.OK
    unary = found.figure("CPU per unary request, messages over gemini")
    assert unary is not None
    assert unary.beside == "CPU per unary request, messages over messages"
    assert found.ratios(unary) == pytest.approx([2, 2])
    times = found.figure("an event's cost to its pass-through's, messages over gemini")
    assert times is not None
    assert times.samples == pytest.approx([2, 2])
    assert (found.problems, any("no ratios" in remark for remark in found.remarks)) == ([], False)


def test_a_pair_that_is_too_dear_stands_for_all(played: list[dict[str, Any]]) -> None:
    def perform(job: AnyJob) -> Report:
        report = a_report(job)
        if (job.client, job.model) == ("responses", "by-gemini"):
            report.subject_cpu_s *= 1.5
        return report

    bench = bench_of(perform)
    bench.run(lambda _: None)
    found = scenario(bench.samples, BRIEF)
    assert found.verdict(found.figures[1]) is Verdict.OVER
    assert (
        "The dearest pair: responses over gemini per event, responses over gemini per unary request." in found.remarks
    )


def test_without_a_floor_events_are_held_against_their_pass_through(played: list[dict[str, Any]]) -> None:
    bench = bench_of(a_report, None)
    bench.run(lambda _: None)
    found = scenario(bench.samples, BRIEF)
    assert found.figure("CPU per event passed by nginx") is None
    assert found.ratios(found.figures[0]) == pytest.approx([2, 2])
    assert found.verdict(found.figures[0]) is Verdict.UNKNOWN
    assert any("no ratios" in remark for remark in found.remarks)


def test_failures_are_problems(played: list[dict[str, Any]]) -> None:
    bench = bench_of(lambda _: Report(errors={"status 500": 2}))
    bench.run(lambda _: None)
    assert "chat over chat, paced: 2 x status 500" in bench.samples.problems
    assert "gemini over chat, streams: nothing was answered" in bench.samples.problems
    found = scenario(bench.samples, BRIEF)
    assert (found.figures, len(found.problems)) == ([], len(bench.samples.problems))


# -- the load --


@pytest.fixture(scope="module")
def process() -> Iterator[Upstream]:
    with translate.scripted(Cores(frozenset(), frozenset())) as upstream:
        yield upstream


@pytest.mark.parametrize("client", CLIENTS)
def test_the_load_asks_in_every_dialect(process: Upstream, client: str) -> None:
    process.play({"tokens": 3})
    told: dict[str, Any] = {"port": process.port, "model": "m", "client": client, "seconds": 0.1, "warmup_s": 0.0}
    unary = run(Paced(**told, period_us=10_000))
    streamed = run(Arrivals(**told, period_us=10_000))
    process.play({"tokens": 200, "interval_ms": 5}, spread_ms=5)
    held = run(Streams(**told, streams=3))
    assert (unary.errors, streamed.errors, held.errors, held.opened) == ({}, {}, {}, 3)
    assert unary.requests > 0
    assert streamed.requests > 0
    assert streamed.events >= 3 * streamed.requests
    assert held.events > 0


@pytest.mark.parametrize("client", ["chat", "messages"])
def test_the_load_notices_a_stream_without_its_end(process: Upstream, client: str) -> None:
    process.play({"tokens": 3, "done": False})
    told: dict[str, Any] = {"port": process.port, "model": "m", "client": client, "seconds": 0.05, "warmup_s": 0.0}
    assert set(run(Arrivals(**told, period_us=10_000)).errors) == {"a stream without its last event"}
