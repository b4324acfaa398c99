"""The load generator and the canned upstream count rightly. No figure is asserted: that is the bench."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import h11
import httpx
import msgspec
import psutil
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bench import upstream
from bench.client import State, chat_request
from bench.jobs import AnyJob, Arrivals, Hold, Numbered, Paced, Report, Streams, Unary, quantiles
from bench.load import run
from bench.loop import Loop
from bench.perform import perform
from bench.plan import CONTENT_MARK, EVENT_MARK, plan_for
from bench.process import Cores, busy_share, cores, cpu_seconds, free_port, placed, rss_bytes
from bench.subjects import Subject, canned, environment, fetch, python, worker_pids

ANYWHERE = Cores(frozenset(), frozenset())
BRIEF = {"seconds": 0.05, "warmup_s": 0.0}


@pytest.fixture(scope="module")
def direct() -> Iterator[Subject]:
    with canned(ANYWHERE) as subject:
        yield subject


def job(kind: type[Unary | Paced | Streams | Arrivals | Hold], subject: Subject, **fields: object) -> AnyJob:
    pids = list(subject.pids)
    return kind(port=subject.port, subject=pids, upstream=pids, **(BRIEF | fields))  # type: ignore[arg-type]


def parse(wire: bytes) -> tuple[h11.Response, bytes]:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(wire)
    head, body = connection.next_event(), b""
    assert isinstance(head, h11.Response)
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert connection.trailing_data == (b"", False)
    return head, body


@pytest.mark.parametrize("usage", [False, True])
def test_the_canned_stream_is_correct_http_and_events(usage: bool) -> None:
    fields = {"stream": True, "stream_options": {"include_usage": usage}, "x_canned": {"events": 3}}
    plan = plan_for(json.dumps(fields).encode())
    head, body = parse(plan.head + plan.event * plan.events + plan.end)
    events = [event.removeprefix("data: ") for event in body.decode().split("\n\n")]
    assert events[-2:] == ["[DONE]", ""]
    documents = [json.loads(event) for event in events[:-2]]
    assert dict(head.headers)[b"content-type"].startswith(b"text/event-stream")
    contents = [document["choices"][0]["delta"].get("content") for document in documents if document["choices"]]
    assert contents == ["", " token", " token", " token", None]
    assert [document.get("usage") is not None for document in documents] == [False] * 5 + [True] * usage
    assert CONTENT_MARK not in plan.head
    assert CONTENT_MARK in plan.event
    assert plan.event.count(EVENT_MARK) == 1


def test_the_canned_unary_answer() -> None:
    head, body = parse(plan_for(b'{"model": "x"}').head)
    assert head.status_code == 200
    assert json.loads(body)["usage"]["total_tokens"] == 44
    assert 500 < len(body) < 700


def test_the_canned_server_keeps_alive_and_pipelines(direct: Subject) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{direct.port}/v1", trust_env=False) as client:
        assert client.get("/models").json()["data"][0]["id"] == "canned"
        fields = {"stream": True, "x_canned": {"events": 1000}}
        for _ in range(2):
            assert client.post("/chat/completions", json=fields).content.count(CONTENT_MARK) == 1000
        fields = {"stream": True, "x_canned": {"events": 3, "interval_ms": 1}}
        assert client.post("/chat/completions", json=fields).content.endswith(b"data: [DONE]\n\n")
        assert client.post("/chat/completions", json={}).json()["object"] == "chat.completion"


async def test_a_slow_reader_stops_its_flood_and_gets_all_of_it(direct: Subject) -> None:
    body = json.dumps({"stream": True, "x_canned": {"events": 50_000}}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    before = rss_bytes(direct.pids)
    with trio.fail_after(10):
        async with await trio.open_tcp_stream("127.0.0.1", direct.port) as stream:
            await stream.send_all(head + body)
            await stream.receive_some(1)
            others = await trio.to_thread.run_sync(fetch, direct.port, "/v1/models")
            count = tail = 0
            received = b""
            while not received.endswith(b"0\r\n\r\n"):
                received = received[tail:] + await stream.receive_some(1 << 20)
                count += received.count(CONTENT_MARK)
                tail = max(0, len(received) - len(CONTENT_MARK) + 1)
    assert others[0] == 200
    assert count == 50_000
    assert rss_bytes(direct.pids) - before < 8_000_000


def test_the_request_is_what_a_client_would_send() -> None:
    headers, body = chat_request(key="sk-x", model="canned", canned={"events": 1})
    assert headers["Authorization"] == "Bearer sk-x"
    assert headers["Content-Length"] == str(len(body))
    assert json.loads(json.loads(body)["stop"])["x_canned"] == {"events": 1}
    assert plan_for(body).events == 1
    wrapped = json.loads(body) | {"stop": [json.loads(body)["stop"]]}
    assert plan_for(json.dumps(wrapped).encode()).events == 1, "it is a list to some"
    assert plan_for(json.dumps(wrapped | {"stop": ["\n"]}).encode()).events == 20


def test_a_job_in_a_process_of_its_own(direct: Subject) -> None:
    report = perform(job(Unary, direct, connections=2), ANYWHERE)
    assert report.errors == {}
    assert report.requests > 0


def test_unary_closed_loop(direct: Subject) -> None:
    report = run(job(Unary, direct, connections=4))
    assert report.errors == {}
    assert report.requests > 0
    assert report.latency_ms is not None
    assert report.latency_ms.count == report.requests
    assert report.latency_ms.p50 <= report.latency_ms.p99 <= report.latency_ms.max


def test_unary_open_loop(direct: Subject) -> None:
    report = run(job(Paced, direct, period_us=1000))
    assert report.errors == {}
    assert 0 < report.requests_in_window <= report.requests
    assert report.latency_ms is not None
    assert report.latency_ms.count == report.requests
    assert (report.events, report.ttft_ms) == (0, None)


def test_short_streams_in_a_closed_loop(direct: Subject) -> None:
    report = run(job(Unary, direct, connections=4, events=3, interval_ms=1.0))
    assert (report.errors, report.requests > 0) == ({}, True)
    assert report.events >= report.requests * 3


async def test_what_is_answered_after_the_window_is_not_counted_in_it() -> None:
    def measured(server: upstream.ScriptedUpstream) -> Report:
        asked = job(Unary, Subject("scripted", server.port, ()), seconds=0.0)
        loop = Loop(asked, None)

        def answered() -> bool:
            trio.from_thread.run_sync(server.gate("window is over").set)
            return loop.observer.requests == 1

        loop.connect().ask(perf_counter())
        try:
            return loop.measure(asked, linger=answered)
        finally:
            loop.close()

    with trio.fail_after(10):
        async with upstream.running(script=[{"wait": "window is over"}, {"answer": True}]) as server:
            report = await trio.to_thread.run_sync(measured, server)
    assert (report.requests, report.requests_in_window, report.errors) == (1, 0, {})
    assert report.latency_ms is not None


def test_endless_streams(direct: Subject) -> None:
    report = run(job(Streams, direct, streams=20, interval_ms=2.0))
    assert (report.errors, report.opened, report.requests) == ({}, 20, 0)
    assert report.events > 0
    assert report.gap_ms is not None


def test_arrivals_in_open_loop(direct: Subject) -> None:
    report = run(job(Arrivals, direct, period_us=2000, events=3, interval_ms=1.0))
    assert report.errors == {}
    assert report.requests > 0
    assert report.ttft_ms is not None
    assert report.ttft_ms.count == report.requests
    assert report.events == report.requests * 5  # the role, three contents, the finish


async def test_numbered_streams_are_all_sent_and_waited_for() -> None:
    with trio.fail_after(10):
        async with upstream.running(script=[{"sleep_ms": 20}, {"answer": {"content": " token token"}}]) as server:
            numbered = Numbered(port=server.port, model="m", period_us=500, requests=12, first=40)
            report = await trio.to_thread.run_sync(perform, numbered, ANYWHERE)
            asked = [record.json for record in server.log]
    assert (report.errors, report.requests, len(report.first_contents_ms)) == ({}, 12, 12)
    assert min(report.first_contents_ms) > 19
    assert sorted(fields["seed"] for fields in asked) == list(range(40, 52))
    assert len({fields["messages"][1]["content"] for fields in asked}) == 12


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([{"status": 503}], "status 503"),
        ([{"stall": True}], "unanswered at the end"),
        ([{"send": 'data: {"content":" x"}\n\n'}, {"stall": True}], "unanswered at the end"),
        ([{"send": 'data: {"content":" x"}\n\ndata: {"error":{}}\n\n'}], "a stream without its last event"),
    ],
)
async def test_failures_of_numbered_streams_are_counted_by_reason(script: object, reason: str) -> None:
    with trio.fail_after(10):
        async with upstream.running(script=script) as server:
            numbered = Numbered(port=server.port, model="m", period_us=500, requests=3, linger_s=0.1)
            report = await trio.to_thread.run_sync(perform, numbered, ANYWHERE)
    assert (report.errors, report.requests) == ({reason: 3}, 0)


def test_held_streams(direct: Subject) -> None:
    report = run(job(Hold, direct, streams=300))
    assert (report.errors, report.opened) == ({}, 300)
    assert report.rss_after_bytes >= report.rss_before_bytes > 0


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_reports_like_the_closed_loop(direct: Subject) -> None:
    report = run(job(Unary, direct, tool=shutil.which("wrk"), connections=2))
    assert (report.tool, report.errors) == ("wrk", {})
    assert report.requests > 0


def test_nobody_listens() -> None:
    nobody = Subject("nobody", free_port(), ())
    assert run(job(Unary, nobody, connections=3)).errors == {f"connect: errno {errno.ECONNREFUSED}": 3}
    held = run(job(Hold, nobody, streams=5))
    assert (held.opened, sum(held.errors.values())) == (0, 5)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([{"status": 503}], "status 503"),
        ([{"close": True}], "closed while request sent, no content yet"),
        ([{"send": 'data: {"content":" x"}\n\n'}, {"close": True}], "closed while content has come"),
    ],
)
async def test_failures_are_counted_by_reason(script: object, reason: str) -> None:
    with trio.fail_after(10):
        async with upstream.running(script=script) as server:
            subject = Subject("scripted", server.port, ())
            report = await trio.to_thread.run_sync(run, job(Streams, subject, streams=3))
    assert report.errors == {reason: 3}


def test_a_connection_survives_being_closed_twice(direct: Subject) -> None:
    loop = Loop(job(Unary, direct), None)
    connection = loop.connect()
    loop.close()
    connection.close()
    assert connection.state is State.CLOSED


def test_what_came_in_time_is_counted() -> None:
    found = quantiles([0.001, 0.050, 0.050, 0.051, 2.0])
    assert found is not None
    assert [found.within(bound_ms) for bound_ms in (0.5, 1, 50, 51, 5_000)] == [0, 1, 3, 4, 5]


def test_quantiles_are_nearest_rank() -> None:
    found = quantiles([second / 1000 for second in range(100, 0, -1)])
    assert found is not None
    assert (found.count, found.p50, found.p99, found.max) == (100, 50, 99, 100)
    assert quantiles([]) is None


def test_a_distribution_keeps_three_digits_and_every_time() -> None:
    found = quantiles([0.0012345, 0.0012349, 0.00000123456, 123.456, 0.0])
    assert found is not None
    assert found.values == [0.0, 0.00123, 1.23, 123_000.0]
    assert found.counts == [1, 1, 2, 1]


@given(st.lists(st.floats(1e-7, 1e3), min_size=1, max_size=50))
def test_a_distribution_is_ascending_near_its_times_and_whole(seconds: list[float]) -> None:
    found = quantiles(seconds)
    assert found is not None
    assert found.values == sorted(set(found.values))
    assert sum(found.counts) == len(seconds)
    spread_out = [value for value, count in zip(found.values, found.counts, strict=True) for _ in range(count)]
    assert spread_out == pytest.approx([second * 1000 for second in sorted(seconds)], rel=0.0051)
    assert found.max == pytest.approx(max(seconds) * 1000)


def test_the_load_says_how_late_it_was(direct: Subject) -> None:
    report = run(job(Paced, direct, period_us=1000))
    assert report.late_ms is not None
    assert report.late_ms.values[0] >= 0
    assert run(job(Unary, direct)).late_ms is None


def test_what_stands_beside_the_subject_is_read_for_itself(direct: Subject) -> None:
    own = [os.getpid()]
    report = run(job(Unary, direct, beside=own))
    assert 0 < report.beside_cpu_s <= report.load_cpu_s * 1.5, "the load runs in this process"
    assert run(job(Unary, direct)).beside_cpu_s == 0


def test_what_would_change_the_gateway_is_kept_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "no_proxy", "SOME_API_KEY", "OLLAMA_HOST", "HEDGEROW_CONFIG"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("KEPT", "x")
    assert {"KEPT", "PATH"} <= environment().keys()
    assert not environment().keys() & {"HTTP_PROXY", "no_proxy", "SOME_API_KEY", "OLLAMA_HOST", "HEDGEROW_CONFIG"}


async def test_worker_pids_come_from_the_status_page() -> None:
    port = free_port()
    assert worker_pids(port) == []


@pytest.mark.parametrize(
    ("arguments", "pgo", "lto"),
    [
        ("'--prefix=/opt' '--enable-shared'", False, False),
        ("'--enable-optimizations' '--with-lto=full'", True, True),
        ("'--enable-optimizations' '--without-lto'", True, False),
        (None, False, False),
    ],
)
def test_how_python_was_built(monkeypatch: pytest.MonkeyPatch, arguments: str | None, pgo: bool, lto: bool) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", {"CONFIG_ARGS": arguments}.get)
    found = python()
    assert (found.pgo, found.lto) == (pgo, lto)
    assert ("PGO" in found.text(), "without" in found.text()) == (True, not pgo)


def test_cpu_time_of_a_process_that_has_died() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(psutil.NoSuchProcess):
        cpu_seconds([ended.pid])


def test_placement_is_undone() -> None:
    before = cores()
    with placed(before.subject):
        pass
    assert cores() == before
    assert 0 <= busy_share(0.01) <= 1
    assert Report().errors == {}


def test_jobs_run_side_by_side_in_processes_of_their_own(direct: Subject) -> None:
    with ThreadPoolExecutor(3) as pool:
        jobs = [job(Paced, direct, period_us=5000, seconds=0.2) for _ in range(3)]
        reports = list(pool.map(lambda each: perform(each, ANYWHERE), jobs))
    assert all(report.errors == {} and report.requests > 0 for report in reports)


def test_a_load_that_dies_has_no_report(direct: Subject) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(subprocess.CalledProcessError):
        perform(job(Unary, direct, beside=[ended.pid]), ANYWHERE)
    assert perform(job(Unary, direct), ANYWHERE).requests > 0, "and the next one is run"


def test_a_load_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.perform._JOB_SECONDS_SPARE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(subprocess.TimeoutExpired):
        perform(Hold(port=silent.getsockname()[1], seconds=0.0, warmup_s=0.0, streams=1), ANYWHERE)


def test_a_job_can_be_given_by_hand(direct: Subject) -> None:
    asked = msgspec.json.encode(job(Unary, direct))
    shown = subprocess.run([sys.executable, "-m", "bench.load"], input=asked, capture_output=True, check=True)
    assert msgspec.json.decode(shown.stdout, type=Report).requests > 0
