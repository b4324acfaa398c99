"""The load generator, the canned upstream and the report count rightly. No figure is asserted: that is the bench."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from time import perf_counter

import h11
import httpx
import psutil
import pytest
import trio
from rich.console import Console

from bench import lane, nginx, upstream
from bench.client import State, chat_request
from bench.jobs import AnyJob, Arrivals, Hold, Numbered, Paced, Report, Streams, Unary, quantiles
from bench.load import run
from bench.loop import Loop
from bench.measure import QUICK, Bench, Samples, perform
from bench.plan import CONTENT_MARK, EVENT_MARK, plan_for
from bench.process import Cores, busy_share, cores, cpu_seconds, free_port, placed, rss_bytes
from bench.report import Sheet, Verdict, table
from bench.subjects import Python, Subject, canned, environment, fetch, python, worker_pids

ANYWHERE = Cores(frozenset(), frozenset())
PLAIN = Python("CPython", "3.11.7", pgo=False, lto=False)
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
    assert json.loads(body)["x_canned"] == {"events": 1}


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


def test_quantiles_are_nearest_rank() -> None:
    found = quantiles([second / 1000 for second in range(1, 101)])
    assert found is not None
    assert (found.count, found.p50, found.p99, found.max) == (100, 50, 100, 100)
    assert quantiles([]) is None


@pytest.fixture
def samples() -> Samples:
    samples = Samples()
    for ours, theirs in ((100.0, 20.0), (300.0, 30.0), (120.0, 20.0)):
        samples.add("paced_cpu_us", "gateway", ours)
        samples.add("paced_cpu_us", "nginx", theirs)
        samples.add("unary_cpu_us", "gateway", ours)
        samples.add("unary_cpu_us", "nginx", theirs / 2)
    for name, value in (("direct", 0.2), ("nginx", 0.3), ("gateway", 0.9)):
        samples.add("ttft_p50_ms", name, value)
    samples.add("held_1000_kb_each", "gateway", 24.0)
    for name, share in (("nginx", 1.0), ("gateway", 0.9)):
        samples.add("paced_served_share", name, share)
    return samples


def test_rows_compare_within_rounds_and_judge_by_target(samples: Samples) -> None:
    rows = {row.what: row for row in Sheet(samples).rows([1000])}
    unary = rows["CPU per unary request, same rate"]
    assert unary.ratio == (6.0, 5.0, 10.0)
    assert unary.verdict is Verdict.OK
    closed = rows["CPU per unary request, closed loop"]
    assert (closed.ratio, closed.target, closed.verdict) == ((12.0, 10.0, 20.0), "", Verdict.UNKNOWN)
    added = rows["  added, p50 at half load"]
    assert added.spreads["gateway"].median == pytest.approx(0.7)
    assert added.verdict is Verdict.OVER
    assert rows["  per stream"].verdict is Verdict.OK
    assert rows["CPU per SSE event"].verdict is Verdict.UNKNOWN


def test_the_report_is_shown_and_written(samples: Samples) -> None:
    samples.problems.append("gateway, unary: 2 x status 503")
    rows = Sheet(samples).rows([1000])
    out = StringIO()
    Console(file=out, width=160).print(table(rows, "a run"))
    assert "6.0 (5.0-10.0)" in out.getvalue()
    notes = lane.remarks(samples, QUICK, ANYWHERE, PLAIN)
    assert "CPython 3.11.7, built without PGO and LTO" in notes[0]
    assert ["gateway answered 90% in time" in note for note in notes].count(True) == 1
    written = json.loads(json.dumps(lane.document(rows, samples, QUICK, ANYWHERE, notes)))
    assert written["machine"]["pinned"] is False
    assert written["machine"]["python"] == python()._asdict()
    assert written["settings"]["rounds"] == QUICK.rounds
    assert written["samples"]["paced_cpu_us"]["nginx"] == [20.0, 30.0, 20.0]
    assert written["problems"] == samples.problems


def test_no_more_streams_are_held_than_files_may_be_opened() -> None:
    out = StringIO()
    settings = lane.within_limits(QUICK._replace(held=(1000, 10_000)), 4256, Console(file=out))
    assert settings.held == (1000, 2000)
    assert "2,000" in out.getvalue()


@pytest.mark.skipif(nginx.find() is None, reason="nginx is not installed")
def test_a_round_against_nginx(direct: Subject) -> None:
    path = nginx.find()
    assert path is not None
    brief = QUICK._replace(rounds=1, seconds=0.1, held_seconds=0.1, warmup_s=0.0, streams=10, arrival_events=2)
    brief = brief._replace(stream_interval_ms=1.0, slow_mb=1, slow_pause_ms=1.0)
    bench = Bench(brief, direct, wrk=None, perform=run)
    said: list[str] = []
    with nginx.nginx(path, direct.port, ANYWHERE) as subject:
        assert len(subject.pids) == 1
        assert cpu_seconds(subject.pids) >= 0
        bench.run([direct, subject], said.append)
    bench.hold([lambda: nginx.nginx(path, direct.port, ANYWHERE)], 50, said.append)
    assert bench.samples.problems == []
    bench.slow_reader([lambda: nginx.nginx(path, direct.port, ANYWHERE)], said.append)
    assert bench.samples.problems == []
    measured = {"unary_cpu_us", "paced_served_share", "paced_p99_ms", "event_cpu_us", "ttft_p99_ms", "held_50_mb"}
    assert measured | {"slow_before_mb", "slow_peak_mb", "slow_after_mb"} <= bench.samples.values.keys()
    assert bench.samples.unary_period_us > 0
    assert said[1] == "round 1 of 1"


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
