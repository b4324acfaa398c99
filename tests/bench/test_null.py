"""The null gateway passes every byte, holds requests as long as told, fails those that its seed names, and stalls."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.client import chat_request, request_bytes
from bench.harness import null, seen
from bench.jobs import Numbered, Streams, Unary
from bench.load import run
from bench.null import Options, drawn, failing, first_request
from bench.plan import LAST_CHUNK
from bench.process import Cores, free_port
from bench.subjects import Subject, canned, fetch

ANYWHERE = Cores(frozenset(), frozenset())


@pytest.fixture(scope="module")
def direct() -> Iterator[Subject]:
    with canned(ANYWHERE) as subject:
        yield subject


@pytest.fixture(scope="module")
def plain(direct: Subject) -> Iterator[Subject]:
    with null(direct.port, ANYWHERE) as subject:
        yield subject


def exchange(port: int, *parts: bytes) -> bytes:
    """Send these parts one after the other, and read the one answer, or up to where the connection ends."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        for part in parts:
            client.sendall(part)
        while not whole(received) and (data := client.recv(1 << 20)):
            received += data
    return received


def whole(answer: bytes) -> bool:
    return answer.endswith(LAST_CHUNK) if b"chunked" in answer[:300] else first_request(answer) > 0


def asking(canned: dict[str, object] | None = None) -> bytes:
    return request_bytes(*chat_request(key="k", model="canned", canned=canned))


@pytest.mark.parametrize("canned", [None, {"events": 3}, {"events": 3, "interval_ms": 1}, {"events": 20_000}])
def test_what_it_passes_is_what_the_upstream_says(
    direct: Subject, plain: Subject, canned: dict[str, object] | None
) -> None:
    request = asking(canned)
    wanted = exchange(direct.port, request)
    assert wanted.startswith(b"HTTP/1.1 200")
    assert exchange(plain.port, request) == wanted
    assert exchange(plain.port, request[:7], request[7:400], request[400:]) == wanted


def test_a_request_larger_than_every_buffer_arrives_and_is_answered(direct: Subject, plain: Subject) -> None:
    body = json.dumps({"model": "canned", "messages": "x" * 3_000_000}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    assert exchange(plain.port, request) == exchange(direct.port, asking())


def peak_bytes(subject: Subject) -> int:
    lines = Path(f"/proc/{subject.pids[0]}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process's memory from /proc")
def test_a_slow_reader_gets_all_of_it_and_nothing_piles_up_for_it(direct: Subject) -> None:
    events = 60_000
    with null(direct.port, ANYWHERE) as subject, socket.socket() as client:
        before = peak_bytes(subject)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.settimeout(20)
        client.connect(("127.0.0.1", subject.port))
        client.sendall(asking({"events": events}))
        received = client.recv(100)
        # Each takes some turns of the gateway's loop, in which it could have read on.
        assert {fetch(subject.port, "/v1/models")[0] for _ in range(300)} == {200}
        while not whole(received[:300] + received[-20:]):
            received += client.recv(1 << 20)
        assert peak_bytes(subject) - before < 5_000_000
    assert received.count(b'"content":" token"') == events


def test_who_cannot_reach_the_upstream_closes() -> None:
    with null(free_port(), ANYWHERE) as subject:
        assert exchange(subject.port) == b""


def test_it_adds_no_failure_of_its_own(plain: Subject) -> None:
    told = {"port": plain.port, "subject": list(plain.pids), "seconds": 0.1, "warmup_s": 0.0}
    unary = run(Unary(**told, connections=8))  # type: ignore[arg-type]
    streams = run(Streams(**told, streams=20, interval_ms=5))  # type: ignore[arg-type]
    assert (unary.errors, streams.errors, streams.opened) == ({}, {}, 20)
    assert unary.requests > 0
    assert streams.events > 0


def test_it_holds_every_request_so_long(direct: Subject) -> None:
    with null(direct.port, ANYWHERE, Options(delay_ms=30)) as subject:
        request = asking()
        for _ in range(3):
            began_s = perf_counter()
            assert exchange(subject.port, request).startswith(b"HTTP/1.1 200")
            assert perf_counter() - began_s >= 0.030
        report = run(Numbered(port=subject.port, requests=10, period_us=2000))
    assert report.errors == {}
    assert min(report.first_contents_ms) >= 30


def test_the_seed_says_which_requests_fail(direct: Subject) -> None:
    asked, options = Numbered(port=direct.port, requests=60, period_us=2000), Options(error_share=0.3, seed=7)
    for _ in range(2):
        with null(direct.port, ANYWHERE, options) as subject:
            report = run(Numbered(port=subject.port, requests=asked.requests, period_us=asked.period_us))
            found = seen(subject)
        assert found.requests == 60
        assert found.failed == failing(0.3, 7, 60)
        assert report.errors == {"status 500": len(found.failed)}
        assert report.requests == 60 - len(found.failed)


def test_a_stall_keeps_everybody_waiting(direct: Subject) -> None:
    with null(direct.port, ANYWHERE, Options(stall_at_s=0.1, stall_ms=300)) as subject:
        report = run(Numbered(port=subject.port, requests=100, period_us=10_000))
        stalled_ms = seen(subject).stalled_ms
    assert report.errors == {}
    assert stalled_ms >= 300
    assert len(report.first_contents_ms) == 100
    assert sum(waited_ms > 150 for waited_ms in report.first_contents_ms) >= 14


@given(st.floats(0, 1), st.integers(0, 1 << 32), st.integers(0, 300))
def test_who_fails_depends_on_the_seed_and_on_nothing_else(share: float, seed: int, requests: int) -> None:
    found = failing(share, seed, requests)
    assert found == failing(share, seed, requests + 50)[: len(found)]
    fates = drawn(share, seed)
    assert found == [number for number in range(requests) if next(fates)]


def test_shares_are_kept_and_seeds_differ() -> None:
    assert (failing(0.0, 1, 1000), len(failing(1.0, 1, 1000))) == ([], 1000)
    assert 80 <= len(failing(0.1, 1, 1000)) <= 120
    assert failing(0.1, 1, 1000) != failing(0.1, 2, 1000)


@given(st.binary(max_size=50), st.binary(max_size=50), st.booleans())
def test_a_request_ends_where_its_body_does(body: bytes, rest: bytes, lengthless: bool) -> None:
    head = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
    if not lengthless:
        head = b"POST /x HTTP/1.1\r\nContent-Length: %d\r\nHost: x\r\n\r\n" % len(body)
    request = head if lengthless else head + body
    assert first_request(request + rest) == len(request)
    for cut in range(len(request)):
        assert first_request(request[:cut]) == 0
