"""Long prompts arrive whole, whatever sockets take of them at a time, and the canned upstream takes them cheaply."""

import json
from collections.abc import Iterator
from itertools import chain, repeat

import httpx
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from bench import large as uploads
from bench import upstream
from bench.jobs import AnyJob, Large, Quantiles, Report
from bench.large import _FILLER, large_request
from bench.load import run
from bench.plan import CONTENT_MARK
from bench.process import Cores, free_port, rss_bytes
from bench.scenarios import large
from bench.scenarios.trial import Trial
from bench.subjects import DIRECT, GATEWAY, Subject, canned

ANYWHERE = Cores(frozenset(), frozenset())
CHUNKED = [{"head": {"status": 200, "headers": {"content-type": "application/json"}}}, {"send": "{}"}]


@pytest.fixture(scope="module")
def direct() -> Iterator[Subject]:
    with canned(ANYWHERE) as subject:
        yield subject


def job(subject: Subject, **fields: object) -> Large:
    usual = {"prompt_bytes": 3_000_000, "seconds": 0.0, "warmup_s": 0.0}
    return Large(port=subject.port, subject=list(subject.pids), **(usual | fields))  # type: ignore[arg-type]


@given(st.integers(0, 5000))
@example(_FILLER.index(b"\\") + 1)
def test_a_prompt_is_as_long_as_it_was_asked_for(prompt_bytes: int) -> None:
    def asked(size: int) -> tuple[bytes, bytes]:
        head, _, body = large_request(Large(port=1, prompt_bytes=size)).partition(b"\r\n\r\n")
        return head, body

    head, body = asked(prompt_bytes)
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert 0 <= len(asked(0)[1]) + prompt_bytes - len(body) <= 1
    said = json.loads(body)["messages"][-1]["content"]
    assert said.endswith("when its client is slow?")


async def test_a_long_prompt_arrives_whole() -> None:
    with trio.fail_after(20):
        async with upstream.running() as server:
            asked = job(Subject("scripted", server.port, ()), prompt_bytes=700_000, uploads=2)
            report = await trio.to_thread.run_sync(run, asked)
            bodies = [record.body for record in server.log]
    assert report.errors == {}
    assert report.requests == report.requests_in_window == 2
    assert report.body_bytes == 1_400_000
    assert bodies == [large_request(asked).partition(b"\r\n\r\n")[2]] * 2, "without a warm-up each is sent once"


def test_several_uploads_on_kept_connections(direct: Subject) -> None:
    before = rss_bytes(direct.pids)
    report = run(job(direct, uploads=4, seconds=0.05))
    assert report.errors == {}
    assert report.requests >= 4
    assert report.latency_ms is not None
    assert report.latency_ms.count == report.requests
    assert report.rss_peak_bytes >= report.rss_before_bytes > 0
    assert rss_bytes(direct.pids) - before < 8_000_000, "the upstream keeps no prompt"


def test_the_peak_is_what_was_seen_while_uploads_ran(direct: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = chain([10, 40], repeat(12))
    monkeypatch.setattr(uploads, "rss_bytes", lambda _: next(readings))
    report = run(job(direct))
    assert (report.rss_before_bytes, report.rss_peak_bytes, report.rss_after_bytes) == (10, 40, 12)


def test_streams_go_on_beside_uploads(direct: Subject) -> None:
    report = run(job(direct, streams=3, interval_ms=2.0, seconds=0.05))
    assert (report.errors, report.opened) == ({}, 3)
    assert report.requests > 0
    assert report.gap_ms is not None


def test_streams_alone(direct: Subject) -> None:
    report = run(job(direct, uploads=0, streams=3, interval_ms=2.0, seconds=0.05))
    assert (report.errors, report.requests, report.body_bytes) == ({}, 0, 0)
    assert report.gap_ms is not None


async def test_an_answer_may_come_in_chunks() -> None:
    with trio.fail_after(10):
        async with upstream.running(script=CHUNKED) as server:
            report = await trio.to_thread.run_sync(run, job(Subject("scripted", server.port, ()), prompt_bytes=1000))
    assert (report.errors, report.requests) == ({}, 1)


@pytest.mark.parametrize(
    ("script", "reason"),
    [([{"status": 413}], "status 413"), ([{"close": True}], "closed while request sent, no content yet")],
)
async def test_refusals_are_counted_by_reason(script: object, reason: str) -> None:
    with trio.fail_after(10):
        async with upstream.running(script=script) as server:
            report = await trio.to_thread.run_sync(run, job(Subject("scripted", server.port, ())))
    assert (report.errors, report.requests) == ({reason: 1}, 0)


async def test_what_never_answers_is_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.large._LINGER_SECONDS_MAX", 0.05)
    with trio.fail_after(10):
        async with upstream.running(script=[{"stall": True}]) as server:
            report = await trio.to_thread.run_sync(run, job(Subject("scripted", server.port, ()), uploads=2))
    assert report.errors == {"unanswered at the end": 2}


def test_nobody_listens() -> None:
    report = run(job(Subject("nobody", free_port(), ()), uploads=3))
    assert (report.requests, sum(report.errors.values())) == (0, 3)


def test_the_canned_upstream_goes_on_after_a_long_prompt(direct: Subject) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{direct.port}/v1", trust_env=False) as client:
        for content in (b"x" * 65_536, b"x" * 65_537, b"x" * 1_000_000):
            assert client.post("/chat/completions", content=content).json()["object"] == "chat.completion"
        fields = {"stream": True, "x_canned": {"events": 3}}
        assert client.post("/chat/completions", json=fields).content.count(CONTENT_MARK) == 3


def test_the_canned_upstream_does_not_look_into_a_long_prompt(direct: Subject) -> None:
    fields = {"stream": True, "filler": "x" * 65_536}
    answer = httpx.post(f"http://127.0.0.1:{direct.port}/v1/chat/completions", json=fields, trust_env=False)
    assert answer.json()["object"] == "chat.completion"


@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize("stream", [True, False])
def test_the_canned_upstream_refuses_when_asked_to(direct: Subject, status: int, stream: bool) -> None:
    fields = {"stream": stream, "x_canned": {"status": status}}
    answer = httpx.post(f"http://127.0.0.1:{direct.port}/v1/chat/completions", json=fields, trust_env=False)
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == "As you asked."


# -- the scenario ------------------------------------------------------------------------------------------------------


def test_latency_is_what_is_added_and_memory_is_per_prompt() -> None:
    def perform(asked: AnyJob) -> Report:
        assert isinstance(asked, Large)
        slower = 5.0 if asked.port == 2 else 1.0
        sent = {"requests": 10, "body_bytes": 10 * asked.prompt_bytes} if asked.uploads else {"events": 1}
        return Report(
            seconds=2.0,
            latency_ms=Quantiles(count=10, p50=slower, p99=2 * slower, max=20.0),
            gap_ms=Quantiles(count=10, p50=10.0, p99=12.0, max=20.0),
            subject_cpu_s=0.1,
            rss_before_bytes=40_000_000,
            rss_peak_bytes=200_000_000,
            rss_after_bytes=40_000_000,
            **sent,  # type: ignore[arg-type]
        )

    upstream_, gateway = Subject(DIRECT, 1, (11,)), Subject(GATEWAY, 2, (12,))
    trial = Trial(upstream_, perform)
    uploading = large.Uploading(trial, large.FULL)
    for subject in (upstream_, gateway):
        uploading.upload(subject)
        uploading.beside(subject)
    uploading.memory(gateway)
    found = large.scenario(trial, large.FULL, {})
    samples = {figure.name: figure.samples for figure in found.figures}
    assert samples["latency added to a prompt of 10 MB, 1 at once, p50"] == [4.0]
    assert samples["CPU per MB, prompts of 1 MB, 8 at once"] == [10.0]
    assert samples["throughput, prompts of 100 KB, 1 at once"] == [0.5]
    assert samples["memory per prompt of 10 MB under way"] == [20.0]
    assert samples["gap between events of a stream beside uploads of 10 MB, p99"] == [12.0]
    assert "CPU per MB, prompts of 1 MB, 1 at once: direct" not in samples
    assert found.problems == []


def test_a_peer_that_refuses_a_size_is_asked_once() -> None:
    asked: list[int] = []

    def perform(job: AnyJob) -> Report:
        assert isinstance(job, Large)
        asked.append(job.prompt_bytes)
        refused = job.prompt_bytes > 1_000_000
        return Report(errors={"status 413": 1}) if refused else Report(seconds=1.0, requests=1, body_bytes=1)

    trial, peer = Trial(Subject(DIRECT, 1, (11,)), perform), Subject("peer", 3, (13,))
    uploading = large.Uploading(trial, large.FULL)
    for _ in range(2):
        uploading.upload(peer)
        uploading.beside(peer)
    uploading.memory(peer)
    assert asked.count(10_000_000) == 1
    assert trial.samples.problems == []
    assert trial.said()[0] == "peer, 1 x 10 MB: 1 x status 413"
