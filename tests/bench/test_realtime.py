"""Realtime's figures are taken as they say: frames accounted for, each way asked in turn. None is asserted here."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic_ns
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from bench import realtime
from bench.account import TOKEN
from bench.jobs import Quantiles
from bench.process import Cores
from bench.realtime import CHARGED, LOGGED, Sessions, Settings, within_limits
from bench.realtime_client import handshake
from bench.realtime_echo import switching
from bench.realtime_frames import (
    CLOSE,
    CREATED,
    ECHO,
    QUIET,
    TEXT,
    Frames,
    answer_frame,
    append_frame,
    masked_frame,
    read_answer,
)
from bench.realtime_load import AnyRealtimeJob, Cadence, Idle, Load, RealtimeReport
from bench.realtime_wire import frame_bytes
from bench.samples import Samples, spread
from bench.scenarios.realtime import remarks, scenario
from bench.subjects import DIRECT, KEY, Subject

ANYWHERE = Cores(frozenset(), frozenset())
BRIEF = Settings(
    rounds=1, seconds=0.2, idle_rounds=1, idle_seconds=0.1, sessions=4, idle_sessions=10, interval_ms=10.0, warmup_s=0.0
)
TIMES = Quantiles(count=10, p50=1.0, p99=2.0, max=3.0)
ME = (os.getpid(),)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Subject]:
    with realtime.echo(ANYWHERE) as subject:
        yield subject


def cadence(port: int, **fields: Any) -> Cadence:
    usual: dict[str, Any] = {"sessions": 3, "interval_ms": 6.0, "seconds": 0.15, "warmup_s": 0.0, "subject": list(ME)}
    return Cadence(port=port, **(usual | fields))


# -- frames ------------------------------------------------------------------------------------------------------------


@given(
    payloads=st.lists(st.binary(max_size=300) | st.integers(120, 70_000).map(bytes), max_size=5),
    masked=st.booleans(),
    sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=5),
)
def test_frames_are_taken_apart_however_they_arrive(payloads: list[bytes], masked: bool, sizes: list[int]) -> None:
    make: Callable[[int, bytes], bytes] = masked_frame if masked else frame_bytes
    wire, frames, found = b"".join(make(TEXT, payload) for payload in payloads), Frames(), []
    at = turn = 0
    while at < len(wire):
        size = sizes[turn % len(sizes)]
        found += frames.take(wire[at : at + size])
        at, turn = at + size, turn + 1
    assert found == [(TEXT, payload) for payload in payloads]


def test_a_frame_of_sound_is_what_another_implementation_reads_too() -> None:
    server = Connection(ConnectionType.SERVER)
    server.receive_data(append_frame(ECHO, 7))
    (event,) = server.events()
    assert isinstance(event, TextMessage)
    said = json.loads(event.data)
    assert (said["type"], said["event_id"]) == ("input_audio_buffer.append", "echo_7")
    assert len(said["audio"]) == 1280, "20 ms of 24 kHz PCM16"


def test_an_answer_tells_which_frame_it_answers_how_many_came_and_when() -> None:
    ((_, payload),) = Frames().take(append_frame(ECHO, 7))
    answer = answer_frame(payload, 8, 100, 200)
    assert answer is not None
    ((_, said),) = Frames().take(answer)
    assert json.loads(said)["type"] == "response.output_audio.delta"
    assert read_answer(said) == (7, 8, 100, 200)
    ((_, quiet),) = Frames().take(append_frame(QUIET, 7))
    assert answer_frame(quiet, 8, 100, 200) is None
    assert read_answer(CREATED) is None


# -- the load against its echo -----------------------------------------------------------------------------------------


def test_every_frame_of_a_cadence_is_answered_and_timed_in_both_directions(upstream: Subject) -> None:
    before = monotonic_ns()
    report = Load(cadence(upstream.port)).run()
    lasted_ms = (monotonic_ns() - before) / 1e6
    assert report.errors == {}
    assert report.opened == 3
    assert report.frames > 0
    assert report.answers >= report.frames
    for times in (report.up_ms, report.down_ms):
        assert times is not None
        assert times.count == report.frames
        assert 0 < times.p50 <= times.max < lasted_ms
    assert report.late_ms is not None


def test_where_no_frame_is_answered_the_last_one_tells_that_all_came(upstream: Subject) -> None:
    report = Load(cadence(upstream.port, answered=False)).run()
    assert report.errors == {}
    assert report.answers == 3
    assert report.frames > 0
    assert report.up_ms is None


def test_idle_sessions_each_say_one_frame_in_the_end(upstream: Subject) -> None:
    job = Idle(port=upstream.port, sessions=120, seconds=0.05, warmup_s=0.0, subject=list(ME))
    report = Load(job).run()
    assert report.errors == {}
    assert (report.opened, report.answers, report.frames) == (120, 120, 0)
    assert min(report.rss_before_bytes, report.rss_after_bytes, report.rss_peak_bytes, report.rss_closed_bytes) > 0


def test_the_load_is_a_process_too(upstream: Subject) -> None:
    report = realtime.perform(cadence(upstream.port), ANYWHERE)
    assert report.tool == "bench.realtime_load"
    assert report.errors == {}
    assert report.answers >= report.frames > 0


def test_the_echo_ends_with_its_stdin() -> None:
    command = [sys.executable, "-m", "bench.realtime_echo", "--follow-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["port"] > 0
        process.stdin.close()
        assert process.wait(10) == 0


@contextmanager
def saying(*said: bytes, after: Callable[[socket.socket], object] = lambda _: None) -> Iterator[int]:
    """Serve one connection: read a request, say these bytes, do what comes after, read until the peer leaves."""

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            request = b""
            while b"\r\n\r\n" not in request:
                request += peer.recv(4096)
            peer.sendall(b"".join(said))
            after(peer)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65_536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


ACCEPTED = switching("x") + frame_bytes(TEXT, CREATED)


def answering(heard: int) -> Callable[[socket.socket], None]:
    def answer(peer: socket.socket) -> None:
        frames = Frames()
        found: list[tuple[int, bytes]] = []
        while not found:
            found = frames.take(peer.recv(65_536))
        said = answer_frame(found[0][1], heard, 1, 1)
        assert said is not None
        peer.sendall(said)

    return answer


@pytest.mark.parametrize(
    ("said", "after", "reason"),
    [
        ([b"HTTP/1.1 503 Service Unavailable\r\n\r\n"], None, "status 503"),
        ([ACCEPTED, frame_bytes(CLOSE, (1012).to_bytes(2, "big"))], None, "closed with 1012"),
        ([ACCEPTED], None, "the connection ended"),
        ([b"HTTP/1.1 101"], None, "the connection ended"),
        ([ACCEPTED], answering(2), "a frame was lost, or came twice"),
    ],
)
def test_a_session_that_fails_is_counted_by_its_reason(
    said: list[bytes], after: Callable[[socket.socket], None] | None, reason: str
) -> None:
    with saying(*said, after=after or (lambda _: None)) as port:
        report = Load(cadence(port, sessions=1)).run()
    assert report.errors[reason] == 1


def test_a_handshake_names_its_key_and_its_model() -> None:
    lines = handshake("sk-x", "canned").decode().split("\r\n")
    assert lines[0] == "GET /v1/realtime?model=canned HTTP/1.1"
    assert "Authorization: Bearer sk-x" in lines
    assert lines[-2:] == ["", ""]


# -- the run -----------------------------------------------------------------------------------------------------------


class Performed:
    """Answers every job as a worker would that takes 100 us for a frame, and 50 us more for its answer."""

    def __init__(self, **report: Any) -> None:
        self.jobs: list[AnyRealtimeJob] = []
        self._report = report

    def __call__(self, job: AnyRealtimeJob) -> RealtimeReport:
        self.jobs.append(job)
        usual: dict[str, Any] = {"seconds": 1.0, "frames": 10, "opened": 10, "opening_s": 2.0, "load_cpu_s": 0.2}
        if isinstance(job, Idle):
            usual |= {"rss_before_bytes": 1_000_000, "rss_after_bytes": 1_500_000, "subject_cpu_s": 0.05, "answers": 10}
        elif job.answered:
            added = 0.0 if job.port == 1 else 0.5
            usual |= {"subject_cpu_s": 0.0015, "down_ms": TIMES}
            usual["up_ms"] = Quantiles(count=10, p50=1.0 + added, p99=2.0 + added, max=9.0)
        else:
            usual["subject_cpu_s"] = 0.001
        return RealtimeReport(**(usual | self._report))


def sessions(performed: Performed, **settings: Any) -> Sessions:
    return Sessions(BRIEF._replace(**settings), Subject(DIRECT, 1, ME), perform=performed)


GATEWAY = Subject("gateway", 2, ME)


def test_every_way_is_asked_with_its_key_at_its_port_and_who_begins_takes_turns() -> None:
    performed = Performed()
    asking = sessions(performed, rounds=3)
    asking.speak(GATEWAY)
    asked = [(job.port, job.key) for job in performed.jobs if isinstance(job, Cadence) and job.answered]
    direct, logged, charged = (1, KEY), (2, KEY), (2, TOKEN)
    assert asked[3:] == [direct, logged, charged, logged, charged, direct, charged, direct, logged]
    assert sum(isinstance(job, Cadence) and not job.answered for job in performed.jobs) == 4
    assert all(len(each) == 3 for each in asking.samples.values["up_p50_ms"].values())


def test_what_was_added_and_what_a_frame_costs_is_told_apart() -> None:
    asking = sessions(Performed(), rounds=3)
    asking.speak(GATEWAY)
    asking.idle(lambda: _standing(GATEWAY))
    found = medians(asking.samples)
    for quantile in ("p50", "p99"):
        assert found[f"one way to the upstream, {quantile}, added with {CHARGED}"] == 0.5
        assert found[f"one way to the client, {quantile}, added with {CHARGED}"] == 0.0
    assert found[f"CPU per frame and its answer, {LOGGED}"] == pytest.approx(150)
    assert found[f"CPU per frame without an answer, {LOGGED}"] == pytest.approx(100)
    assert found[f"CPU per answer, {LOGGED}"] == pytest.approx(50)
    assert found[f"memory per session, 10 idle sessions, {CHARGED}"] == pytest.approx(50)
    assert found[f"memory before, 10 idle sessions, {CHARGED}"] == pytest.approx(1)
    assert found[f"CPU of the worker, 10 idle sessions, {CHARGED}"] == pytest.approx(5)
    assert found[f"sessions opened per second, {CHARGED}"] == pytest.approx(5)
    assert found[f"frames answered at the end, 10 idle sessions, {CHARGED}"] == 10


def medians(samples: Samples) -> dict[str, float]:
    figures = scenario(samples, BRIEF, []).figures
    return {figure.name: found.median for figure in figures if (found := spread(figure.samples)) is not None}


def test_what_is_added_is_taken_round_by_round() -> None:
    samples = Samples()
    for way, values in ((DIRECT, (0.1, 0.2)), (CHARGED, (0.3, 0.5))):
        for each in values:
            samples.add("up_p50_ms", way, each)
    added = scenario(samples, BRIEF, []).figure(f"one way to the upstream, p50, added with {CHARGED}")
    assert added is not None
    assert added.samples == pytest.approx([0.2, 0.3])


@contextmanager
def _standing(subject: Subject) -> Iterator[Subject]:
    yield subject


def test_idle_sessions_get_a_fresh_gateway_each_time() -> None:
    performed, started = Performed(), []

    @contextmanager
    def start() -> Iterator[Subject]:
        started.append(len(performed.jobs))
        yield GATEWAY

    sessions(performed, idle_rounds=2).idle(start)
    assert started == [0, 1, 2, 3]
    assert [job.key for job in performed.jobs] == [KEY, TOKEN, KEY, TOKEN]


def test_a_session_that_failed_is_a_problem_and_none_at_all_ends_the_run() -> None:
    asking = sessions(Performed(errors={"status 402": 2}))
    asking.speak(GATEWAY)
    assert f"{CHARGED}, speech: 2 x status 402" in asking.samples.problems
    with pytest.raises(RuntimeError, match=r"direct: no frame was answered: .*status 401"):
        sessions(Performed(up_ms=None, errors={"status 401": 1})).speak(GATEWAY)
    with pytest.raises(RuntimeError, match=r"no session was opened"):
        sessions(Performed(opened=0)).idle(lambda: _standing(GATEWAY))


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"load_cpu_s": 0.9}, True),
        ({"late_ms": Quantiles(count=10, p50=1.0, p99=2.1, max=3.0)}, True),
        ({"late_ms": TIMES, "load_cpu_s": 0.1}, False),
    ],
)
def test_a_bench_that_was_the_bottleneck_says_so(report: dict[str, Any], said: bool) -> None:
    asking = sessions(Performed(**report))
    asking.speak(GATEWAY)
    assert any("bottleneck" in note for note in remarks(asking.samples, BRIEF)) is said


def test_a_worker_that_waited_for_its_core_is_told_of() -> None:
    samples = Samples()
    samples.add("waited_share", CHARGED, 0.01)
    assert not any("waited" in note for note in remarks(samples, BRIEF))
    samples.add("waited_share", CHARGED, 0.21)
    assert any("11% (1%-21%)" in note for note in remarks(samples, BRIEF))


def test_no_more_sessions_are_held_than_files_may_be_open() -> None:
    said: list[str] = []
    settings = BRIEF._replace(idle_sessions=1_000)
    assert within_limits(settings, 20_000, said.append) == settings
    assert said == []
    assert within_limits(settings, 1_024, said.append).idle_sessions == 384
    assert "1,024" in said[0]
    assert scenario(Samples(), settings, said).remarks[0] == said[0]


def test_a_whole_run_in_brief() -> None:
    said: list[str] = []
    samples = realtime.measure(BRIEF, ANYWHERE, said.append)
    assert (samples.problems, said[0]) == ([], "starting")
    found = medians(samples)
    for way in (LOGGED, CHARGED):
        assert found[f"frames answered at the end, 10 idle sessions, {way}"] == BRIEF.idle_sessions
        assert found[f"CPU per frame and its answer, {way}"] > 0
