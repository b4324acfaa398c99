"""The relay under virtual time: what the client gets, and exactly when."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from adapters.errors import ClientError, UpstreamError
from engine.downstream import ClientGone, Reply
from engine.net import ConnectError
from tests.engine.fakes import END, EOF, FINISH, HEAD, RESET, ROLE, FakeEndpoint, Line, Row, Run, chunked, delta, sse

OPEN: list[Row] = [(1.0, HEAD), (2.0, chunked(sse(ROLE))), (3.0, chunked(sse(delta("Hel"))))]
CLOSE: list[Row] = [(5.0, chunked(sse(FINISH, "[DONE]"))), (5.0, END)]
KEEPALIVE = b": keepalive\n"


def sends(run: Run) -> list[float]:
    return [at for at, _ in run.client.sent]


async def test_a_stream_passes_unchanged_one_send_per_read_and_the_connection_is_kept(
    autojump_clock: MockClock,
) -> None:
    run = Run(FakeEndpoint([*OPEN, (4.0, chunked(sse(delta("lo")))), *CLOSE]))
    assert await run.stream() is None
    head, body, ended = run.answer
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == sse(ROLE, delta("Hel"), delta("lo"), FINISH, "[DONE]")
    assert ended
    assert sends(run) == [3.0, 4.0, 5.0]
    assert run.exchange.ttft_seconds == 3.0
    assert run.downstream.reply is Reply.ENDED
    assert run.endpoint.pool.statistics().idle == 1


async def test_nothing_goes_out_before_the_first_content(autojump_clock: MockClock) -> None:
    run = Run(FakeEndpoint([(1.0, HEAD), (2.0, chunked(sse(ROLE))), (3.0, b"0\r\n\r\n")]))
    with pytest.raises(UpstreamError) as caught:
        await run.stream()
    assert run.client.sent == []
    assert caught.value.failure.status == 502
    assert caught.value.failure.code == "stream_incomplete"


async def test_keepalive_comments_while_an_upstream_thinks_and_none_after_its_content(
    autojump_clock: MockClock,
) -> None:
    run = Run(
        FakeEndpoint(
            [(1.0, HEAD), (40.0, chunked(sse(delta("x")))), (41.0, chunked(sse(FINISH, "[DONE]"))), (41.0, END)]
        )
    )
    assert await run.stream() is None
    assert sends(run) == [15.0, 30.0, 40.0, 41.0]
    assert run.answer[1] == KEEPALIVE * 2 + sse(delta("x"), FINISH, "[DONE]")


async def test_keepalive_in_the_middle_of_a_stream_stands_between_events(autojump_clock: MockClock) -> None:
    event = sse(delta("halves"))
    rows: list[Row] = [
        *OPEN,
        (4.0, chunked(event[:10])),
        (30.0, chunked(event[10:])),
        (31.0, chunked(sse(FINISH, "[DONE]"))),
        (31.0, END),
    ]
    run = Run(FakeEndpoint(rows))
    assert await run.stream() is None
    assert run.answer[1] == sse(ROLE, delta("Hel")) + KEEPALIVE + event + sse(FINISH, "[DONE]")
    assert sends(run) == [3.0, 18.0, 30.0, 31.0]


STALLS: list[tuple[str, list[Any], dict[str, Any], float, int]] = [
    ("before the head", [], {"first_content_seconds": 9}, 9.0, 504),
    ("before content", [(1.0, HEAD), (2.0, chunked(sse(ROLE)))], {"first_content_seconds": 9}, 9.0, 504),
    ("connecting is part of the first content", [], {"first_content_seconds": 9, "total_seconds": 4}, 4.0, 504),
]


@pytest.mark.parametrize(
    ("rows", "timeouts", "at", "status"), [row[1:] for row in STALLS], ids=[row[0] for row in STALLS]
)
async def test_a_stall_before_content_is_a_status(
    autojump_clock: MockClock, rows: list[Any], timeouts: dict[str, Any], at: float, status: int
) -> None:
    run = Run(FakeEndpoint(rows), **timeouts)
    with pytest.raises(UpstreamError) as caught:
        await run.stream()
    assert (trio.current_time(), caught.value.failure.status, caught.value.cause) == (at, status, "timeout")
    assert run.client.sent == []
    assert run.endpoint.opened[0].closed


async def test_a_stall_in_the_middle_is_an_in_band_error_at_the_idle_limit_and_never_a_done(
    autojump_clock: MockClock,
) -> None:
    run = Run(FakeEndpoint(OPEN), idle_seconds=20)
    failure = await run.stream()
    assert failure is not None
    assert failure.code == "upstream_timeout"
    _, body, ended = run.answer
    assert body.startswith(sse(ROLE, delta("Hel")) + KEEPALIVE + b'data: {"error":')
    assert b"[DONE]" not in body
    assert ended
    assert sends(run) == [3.0, 18.0, 23.0]
    assert run.endpoint.opened[0].closed


async def test_comments_of_the_upstream_count_as_life_but_not_for_ever(autojump_clock: MockClock) -> None:
    rows: list[Row] = [*OPEN, *((3.0 + n * 10, chunked(b": processing\n\n")) for n in range(1, 50))]
    run = Run(FakeEndpoint(rows), idle_seconds=20, total_seconds=100)
    failure = await run.stream()
    assert failure is not None
    assert trio.current_time() == 100.0


@pytest.mark.parametrize("end", [EOF, RESET, b"not a chunk"], ids=["closed", "reset", "garbage"])
async def test_a_cut_in_the_middle_is_an_in_band_error(autojump_clock: MockClock, end: Any) -> None:
    run = Run(FakeEndpoint([*OPEN, (4.0, end)]))
    failure = await run.stream()
    assert failure is not None
    _, body, ended = run.answer
    assert body.startswith(sse(ROLE, delta("Hel")) + b'data: {"error":')
    assert b"[DONE]" not in body
    assert ended
    assert run.downstream.reply is Reply.ENDED


@pytest.mark.parametrize("end", [EOF, RESET], ids=["closed", "reset"])
async def test_a_break_after_the_finish_is_no_loss(autojump_clock: MockClock, end: Any) -> None:
    run = Run(FakeEndpoint([*OPEN, (4.0, chunked(sse(FINISH))), (5.0, end)]))
    assert await run.stream() is None
    assert run.answer[1] == sse(ROLE, delta("Hel"), FINISH, "[DONE]")


async def test_an_upstream_that_finished_and_falls_silent_is_ended_for_it(autojump_clock: MockClock) -> None:
    run = Run(FakeEndpoint([*OPEN, (4.0, chunked(sse(FINISH)))]))
    assert await run.stream() is None
    assert run.answer == (run.answer[0], sse(ROLE, delta("Hel"), FINISH, "[DONE]"), True)
    assert sends(run) == [3.0, 4.0, 9.0]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        HEAD + END,
    ],
    ids=["no length", "204", "no chunk"],
)
async def test_an_empty_answer_is_an_error_at_once(autojump_clock: MockClock, answer: bytes) -> None:
    run = Run(FakeEndpoint([(1.0, answer)]))
    with pytest.raises(UpstreamError) as caught:
        await run.stream()
    assert trio.current_time() == 1.0
    assert caught.value.failure.status == 502
    assert run.client.sent == []


async def test_a_reused_connection_that_breaks_late_had_the_request_and_is_not_asked_again(
    autojump_clock: MockClock,
) -> None:
    endpoint = FakeEndpoint([*OPEN, *CLOSE], [*OPEN, *CLOSE])
    await Run(endpoint).stream()
    endpoint.opened[0].rows = [(9.0, RESET)]
    with pytest.raises(UpstreamError):
        await Run(endpoint).stream()
    assert len(endpoint.opened) == 1


ERROR_BODIES: list[tuple[str, list[Any]]] = [
    ("cut", [(1.0, b"HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 100\r\n\r\nslow"), (2.0, EOF)]),
    ("stalled", [(1.0, b"HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 100\r\n\r\nslow")]),
    (
        "an encoding of its own",
        [(1.0, b"HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-encoding: br\r\ncontent-length: 4\r\n\r\nslow")],
    ),
]


@pytest.mark.parametrize("rows", [row[1] for row in ERROR_BODIES], ids=[row[0] for row in ERROR_BODIES])
async def test_an_error_keeps_its_status_whatever_becomes_of_its_body(
    autojump_clock: MockClock, rows: list[Any]
) -> None:
    run = Run(FakeEndpoint(rows))
    with pytest.raises(ClientError) as caught:
        await run.stream()
    assert (caught.value.failure.status, caught.value.failure.message) == (429, "slow")
    assert trio.current_time() <= 6.0


async def test_a_dead_idle_connection_is_replaced_once_without_the_client_noticing(autojump_clock: MockClock) -> None:
    endpoint = FakeEndpoint([*OPEN, *CLOSE, (6.0, EOF)], [*OPEN, *CLOSE])
    await Run(endpoint).stream()
    first = endpoint.opened[0]
    first.rows = [(5.5, RESET)]  # it looks alive when leased and breaks when used
    run = Run(endpoint)
    assert await run.stream() is None
    assert run.answer[1] == sse(ROLE, delta("Hel"), FINISH, "[DONE]")
    assert len(endpoint.opened) == 2
    assert first.closed


async def test_a_fresh_connection_that_dies_is_not_replaced(autojump_clock: MockClock) -> None:
    run = Run(FakeEndpoint([(1.0, EOF)], [*OPEN, *CLOSE]))
    with pytest.raises(UpstreamError) as caught:
        await run.stream()
    assert caught.value.failure.code == "upstream_closed"
    assert len(run.endpoint.opened) == 1


async def test_connect_errors_and_timeouts_have_their_own_words(autojump_clock: MockClock) -> None:
    run = Run(FakeEndpoint(ConnectError("connect", "refused")))
    with pytest.raises(UpstreamError) as caught:
        await run.stream()
    assert (caught.value.cause, caught.value.failure.code) == ("refused", "upstream_unreachable")
    assert run.endpoint.pool.statistics().leased == 0


async def test_a_slow_client_stops_the_upstream_read(autojump_clock: MockClock) -> None:
    rows: list[Row] = [
        *OPEN,
        *((4.0 + n, chunked(sse(delta("more")))) for n in range(50)),
        (60.0, chunked(sse(FINISH, "[DONE]"))),
        (60.0, END),
    ]
    run = Run(FakeEndpoint(rows), client=Line(window=500))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.stream)
        await trio.sleep(30)
        unread = len(run.endpoint.opened[0].rows)
        await trio.sleep(10)
        assert len(run.endpoint.opened[0].rows) == unread > 30
        run.client.drain()
    assert run.answer[1] == sse(ROLE, delta("Hel"), *[delta("more")] * 50, FINISH, "[DONE]")


async def test_a_client_that_takes_nothing_for_a_minute_is_gone(autojump_clock: MockClock) -> None:
    run = Run(FakeEndpoint([*OPEN, (4.0, chunked(sse(delta("more"))))]), client=Line(window=100))
    with pytest.raises(ClientGone):
        await run.stream()
    assert trio.current_time() == 63.0
    assert run.endpoint.opened[0].closed


async def test_cancelled_at_any_moment_nothing_is_left_open(autojump_clock: MockClock) -> None:
    for tenths in range(0, 60, 3):
        endpoint = FakeEndpoint([*OPEN, *CLOSE])
        run = Run(endpoint)
        with trio.move_on_after(tenths / 10):
            await run.stream()
        statistics = endpoint.pool.statistics()
        assert statistics.leased == statistics.connecting == 0
        assert all(line.closed for line in endpoint.opened) or statistics.idle


async def test_comments_survive_a_slow_connect_phase_without_losing_what_arrived(autojump_clock: MockClock) -> None:
    half = len(HEAD) // 2
    rows: list[Row] = [
        (16.0, HEAD[:half]),
        (31.0, HEAD[half:]),
        (46.0, chunked(sse(delta("late")))),
        (47.0, chunked(sse(FINISH, "[DONE]"))),
        (47.0, END),
    ]
    run = Run(FakeEndpoint(rows))
    assert await run.stream() is None
    assert run.answer[1] == KEEPALIVE * 3 + sse(delta("late"), FINISH, "[DONE]")
