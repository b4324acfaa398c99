"""The race through the whole gateway, under virtual time: who is asked when, what is closed when, what is written down.

`test_hedge` has the race alone, as rows of delays and results; here are its connections, routes, answers and records.
"""

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from engine.accesslog import Entry
from engine.net import ConnectError
from tests.engine.fakes import END, EOF, FINISH, HEAD, RESET, ROLE, FakeEndpoint, Row, Run, chunked, delta, sse
from tests.engine.racing import NEVER, Exchanged, Ground, answer_of, racing, status_of, stream_of

HEDGED = {"hedge": "1s", "hedge_share": 1}
STALLED: list[Row] = [(0.0, HEAD), (0.0, chunked(sse(ROLE)))]
KEEPALIVE = b": keepalive\n"


def outcomes(entry: Entry) -> list[tuple[str, str]]:
    return [(attempt.provider, attempt.outcome) for attempt in entry.attempts]


def raced(exchanged: Exchanged) -> tuple[str, str, str]:
    """Return what the answer's headers say of the race."""
    head = exchanged.head
    return head["x-hedgerow-provider"], head["x-hedgerow-attempts"], head["x-hedgerow-hedged"]


def breaker(ground: Ground) -> str:
    """Return the state of the first candidate's breaker."""
    now = trio.current_time()
    return ground.gateway.router.resolve("fast").candidates[0].health.statistics(now).breaker


def counted(ground: Ground, family: str) -> dict[tuple[str, ...], float]:
    return dict(ground.gateway.metrics.snapshot().values[family])


# -- hedging -----------------------------------------------------------------------------------------------------------


async def test_a_slow_stream_gets_company_and_the_first_content_wins(autojump_clock: MockClock) -> None:
    async with racing(HEDGED) as ground:
        ground.play(a=[stream_of("slow", 5)], b=[stream_of("quick", 0.5, end=9)])
        exchanged = await Exchanged(ground).run()
        assert exchanged.body == sse(ROLE, delta("quick"), FINISH, "[DONE]")
        assert ground.opened == [("a", 0), ("b", 1)]
        assert exchanged.sent_at == [1.5, 10]
        assert raced(exchanged) == ("b", "2", "true")
        assert exchanged.client.open_at_first_byte == ["b"], "the loser is closed before the winner's first byte"
        entry = ground.log.entries[0]
        assert outcomes(entry) == [("a", "lost"), ("b", "ok")]
        assert [attempt.offset_ms for attempt in entry.attempts] == [0, 1000]
        assert [attempt.duration_ms for attempt in entry.attempts] == [1500, 9000]
        assert (entry.provider, entry.upstream_model, entry.ttft_ms, entry.outcome) == ("b", "b-1", 1500, "ok")


async def test_the_first_one_may_still_win_and_is_named(autojump_clock: MockClock) -> None:
    async with racing(HEDGED) as ground:
        ground.play(a=[stream_of("slow", 1.25)], b=[stream_of("slower", 3)])
        exchanged = await Exchanged(ground).run()
        assert b"slow" in exchanged.body
        assert raced(exchanged) == ("a", "2", "true")
        assert exchanged.client.open_at_first_byte == ["a"]
        entry = ground.log.entries[0]
        assert outcomes(entry) == [("a", "ok"), ("b", "lost")]
        assert (entry.provider, entry.upstream_model) == ("a", "a-1")


async def test_a_slow_unary_answer_gets_company_as_well(autojump_clock: MockClock) -> None:
    async with racing(HEDGED) as ground:
        ground.play(a=[answer_of("slow", 5)], b=[answer_of("quick", 0.5)])
        exchanged = await Exchanged(ground, stream=False).run()
        assert b"quick" in exchanged.body
        assert exchanged.sent_at == [1.5]
        assert raced(exchanged) == ("b", "2", "true")
        assert exchanged.client.open_at_first_byte == [], "both are closed: the answer is whole"
        assert outcomes(ground.log.entries[0]) == [("a", "lost"), ("b", "ok")]


async def test_a_role_a_ping_and_a_comment_are_no_content(autojump_clock: MockClock) -> None:
    async with racing(HEDGED) as ground:
        busy: list[Row] = [*STALLED, *((n / 4, chunked(b": processing\n\n")) for n in range(1, 40))]
        ground.play(a=[busy], b=[stream_of("quick", 0.5)])
        exchanged = await Exchanged(ground).run()
        assert exchanged.sent_at[0] == 1.5
        assert raced(exchanged) == ("b", "2", "true")


@pytest.mark.parametrize(
    "said",
    [{"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f"}}]}, {"refusal": "no"}, {"reasoning": "hm"}],
)
async def test_a_call_a_refusal_and_a_thought_are_content(autojump_clock: MockClock, said: dict[str, Any]) -> None:
    async with racing(HEDGED) as ground:
        first = {"id": "c", "choices": [{"index": 0, "delta": said}]}
        rest: Row = (9.0, chunked(sse(FINISH, "[DONE]")) + END)
        ground.play(a=[[(0.0, HEAD), (0.5, chunked(sse(first))), rest]])
        exchanged = await Exchanged(ground).run()
        assert raced(exchanged) == ("a", "1", "false")


async def test_the_waste_is_written_down_and_never_charged(autojump_clock: MockClock) -> None:
    async with racing(HEDGED) as ground:
        ground.play(a=[answer_of("slow", 5)], b=[answer_of("quick", 0.5)])
        await Exchanged(ground, stream=False).run()
        entry = ground.log.entries[0]
        assert entry.usage is not None
        assert (entry.usage.input_tokens, entry.usage.output_tokens, entry.usage.estimated) == (7, 2, False)
        lost, won = entry.attempts
        assert lost.usage is not None
        assert lost.usage.estimated
        assert won.usage is None
        assert counted(ground, "hedgerow_hedge_waste_tokens_total") == {
            ("a", "input"): lost.usage.input_tokens,
            ("a", "output"): 0,
        }
        assert counted(ground, "hedgerow_hedged_requests_total") == {(): 1}
        assert counted(ground, "hedgerow_attempts_total") == {("a", "lost"): 1, ("b", "ok"): 1}


async def test_a_hedge_that_has_not_sent_its_request_has_cost_nothing(autojump_clock: MockClock) -> None:
    async with racing(HEDGED) as ground:
        ground.play(a=[stream_of("slow", 1.5)], b=[NEVER])
        await Exchanged(ground).run()
        entry = ground.log.entries[0]
        assert outcomes(entry) == [("a", "ok"), ("b", "lost")]
        assert entry.attempts[1].usage is None


async def test_what_a_provider_keeps_is_asked_of_one_only(autojump_clock: MockClock) -> None:
    async with racing(HEDGED) as ground:
        ground.play(a=[stream_of("slow", 5)])
        exchanged = await Exchanged(ground, store=True).run()
        assert raced(exchanged) == ("a", "1", "false")
        ground.play(a=[status_of(500, 0.5)], b=[stream_of("next", 5)])
        exchanged = await Exchanged(ground, store=True).run()
        assert raced(exchanged) == ("b", "2", "false"), "a failure is another matter"
    async with racing({**HEDGED, "hedge_side_effects": True}) as ground:
        ground.play(a=[stream_of("slow", 5)], b=[stream_of("quick", 0.5)])
        exchanged = await Exchanged(ground, store=True).run()
        assert raced(exchanged) == ("b", "2", "true")


async def test_a_percentile_hedges_once_it_is_known_and_never_below_its_floor(autojump_clock: MockClock) -> None:
    async with racing({"hedge": "p95", "hedge_floor_ms": 400, "hedge_share": 1}) as ground:
        ground.play(
            a=[stream_of("slow", 3), *[stream_of("fine", 0.1)] * 30, stream_of("slow", 5)], b=[stream_of("b", 0)]
        )
        assert raced(await Exchanged(ground).run()) == ("a", "1", "false")
        for _ in range(30):
            await Exchanged(ground).run()
        exchanged = await Exchanged(ground).run()
        assert raced(exchanged) == ("b", "2", "true")
        assert exchanged.sent_at[0] == pytest.approx(0.4)


# -- failures ----------------------------------------------------------------------------------------------------------


async def test_failures_start_the_next_at_once_and_the_last_one_is_told(autojump_clock: MockClock) -> None:
    async with racing() as ground:
        ground.play(a=[ConnectError("connect", "refused")], b=[status_of(500, 1)], c=[[(0.0, HEAD), (1.0, EOF)]])
        exchanged = await Exchanged(ground).run()
        assert ground.opened == [("a", 0), ("b", 0), ("c", 1)]
        assert exchanged.head[":status"] == "502"
        assert raced(exchanged) == ("c", "3", "false")
        assert msgspec.json.decode(exchanged.body)["error"]["code"] == "stream_incomplete"
        entry = ground.log.entries[0]
        assert outcomes(entry) == [("a", "refused"), ("b", "status"), ("c", "incomplete")]
        assert (entry.outcome, entry.provider) == ("upstream_error", "c")


async def test_who_says_when_to_come_back_is_heard_before_others(autojump_clock: MockClock) -> None:
    async with racing() as ground:
        ground.play(a=[status_of(429, 1, None, b"retry-after: 7")], b=[status_of(500, 1)], c=[status_of(500, 1)])
        exchanged = await Exchanged(ground).run()
        assert (exchanged.head[":status"], exchanged.head["retry-after"]) == ("429", "7")


async def test_a_model_that_one_does_not_know_hides_no_failure_of_another(autojump_clock: MockClock) -> None:
    async with racing() as ground:
        ground.play(a=[status_of(500, 1)], b=[status_of(404, 1)], c=[status_of(404, 1)])
        exchanged = await Exchanged(ground).run()
        assert exchanged.head[":status"] == "500"
        ground.play(a=[status_of(404, 1)], b=[status_of(404, 1)], c=[status_of(404, 1)])
        exchanged = await Exchanged(ground).run()
        assert exchanged.head[":status"] == "404"
        assert ground.log.entries[1].outcome == "client_error"


async def test_a_request_at_fault_ends_the_race_and_costs_no_breaker(autojump_clock: MockClock) -> None:
    async with racing(HEDGED) as ground:
        for _ in range(10):
            ground.play(a=[stream_of("slow", 5)], b=[status_of(400, 0.25)])
            exchanged = await Exchanged(ground).run()
            assert exchanged.head[":status"] == "400"
            assert exchanged.sent_at == [1.25]
        entry = ground.log.entries[0]
        assert (entry.outcome, outcomes(entry)) == ("client_error", [("a", "cancelled"), ("b", "status")])
        states = {each.provider: each.health for each in ground.gateway.router.statistics(trio.current_time())}
        assert [state.breaker for state in states.values()] == ["closed"] * 3
        assert states["a"].ttft_seconds is None, "nothing was learnt about one that nobody waited for"


async def test_retries_that_found_nobody_are_not_paid_for(autojump_clock: MockClock) -> None:
    async with racing(models={"fast": {"provider": "a", "model": "a-1"}}) as ground:
        budget = ground.gateway.router.resolve("fast").retry_budget
        for _ in range(4):
            ground.play(a=[status_of(500, 1)])
            await Exchanged(ground).run()
        assert budget.tokens == budget.tokens_max


async def test_an_outage_does_not_multiply_the_load(autojump_clock: MockClock) -> None:
    async with racing({"retry_share": 0.1}) as ground:
        # 429s open no breaker, so it is the budget alone that stands against them.
        ground.play(**{name: [status_of(429, 0)] * 500 for name in "abc"})
        for _ in range(100):
            await Exchanged(ground).run()
        assert 100 + 10 <= len(ground.opened) <= 100 + 10 + 10


async def test_each_candidate_is_sent_the_clients_own_request_and_its_own_credential(autojump_clock: MockClock) -> None:
    async with racing() as ground:
        ground.play(a=[status_of(500, 1)], b=[status_of(500, 1)], c=[answer_of("hi", 1)])
        await Exchanged(ground, stream=False, temperature=0.5).run()
        for name, lines in ground.lines.items():
            head, _, body = lines[0].text.partition(b"\r\n\r\n")
            assert b"authorization: Bearer sk-%b\r\n" % name.encode() in head + b"\r\n"
            assert b"host: %b.test\r\n" % name.encode() in head
            assert msgspec.json.decode(body)["model"] == f"{name}-1"
            assert body.replace(b"%b-1" % name.encode(), b"x") == ground.lines["a"][0].text.partition(b"\r\n\r\n")[
                2
            ].replace(b"a-1", b"x")


async def test_a_request_that_cannot_be_carried_over_goes_to_those_that_can_take_it(autojump_clock: MockClock) -> None:
    providers = {"b": {"kind": "anthropic", "base_url": "http://b.test/v1", "key": "sk-b", "proxy": "none"}}
    async with racing(providers=providers) as ground:
        ground.play(a=[status_of(500, 1)], b=[status_of(500, 1)], c=[answer_of("hi", 1)])
        exchanged = await Exchanged(ground, stream=False, logit_bias={"1": 5}).run()
        assert raced(exchanged) == ("c", "2", "false")
        assert outcomes(ground.log.entries[0]) == [("a", "status"), ("c", "ok")]
        ground.play(a=[status_of(500, 1)], b=[status_of(500, 1)], c=[answer_of("hi", 1)])
        exchanged = await Exchanged(ground, stream=False).run()
        assert [name for name, _ in ground.opened] == ["a", "b", "c"]


# -- time --------------------------------------------------------------------------------------------------------------


async def test_comments_go_out_while_a_race_runs_and_the_record_names_the_winner(autojump_clock: MockClock) -> None:
    async with racing({"hedge": "10s", "hedge_share": 1, "attempts_max": 2}) as ground:
        ground.play(a=[stream_of("first", 40)], b=[stream_of("second", 90)])
        exchanged = await Exchanged(ground).run()
        assert exchanged.body == KEEPALIVE * 2 + sse(ROLE, delta("first"), FINISH, "[DONE]")
        assert exchanged.sent_at[:3] == [15, 30, 40]
        assert "x-hedgerow-provider" not in exchanged.head, "nobody has won when the head goes out"
        entry = ground.log.entries[0]
        assert (entry.provider, entry.upstream_model, entry.outcome) == ("a", "a-1", "ok")
        labels = {labels[2] for labels in counted(ground, "hedgerow_requests_total")}
        assert labels == {"a"}


async def test_the_first_contents_deadline_is_one_for_all_attempts(autojump_clock: MockClock) -> None:
    async with racing({**HEDGED, "attempt_seconds": 2}, timeouts={"first_content_seconds": 5}) as ground:
        ground.play(a=[STALLED], b=[STALLED], c=[STALLED])
        exchanged = await Exchanged(ground).run()
        assert ground.opened == [("a", 0), ("b", 1), ("c", 2)]
        assert exchanged.sent_at == [5]
        assert exchanged.head[":status"] == "504"
        entry = ground.log.entries[0]
        assert outcomes(entry) == [("a", "timeout"), ("b", "timeout"), ("c", "timeout")]


async def test_a_deadline_behind_comments_is_told_in_band_and_names_who_was_asked(autojump_clock: MockClock) -> None:
    async with racing({"attempts_max": 1}, timeouts={"first_content_seconds": 20}) as ground:
        ground.play(a=[STALLED])
        exchanged = await Exchanged(ground).run()
        assert exchanged.sent_at == [15, 20]
        assert exchanged.body.startswith(KEEPALIVE + b'data: {"error":{"message":"no content from a for 20 s"')
        entry = ground.log.entries[0]
        assert (entry.provider, entry.outcome, entry.status) == ("a", "incomplete", 200)


async def test_the_total_deadline_ends_a_stream_that_never_does(autojump_clock: MockClock) -> None:
    async with racing(timeouts={"total_seconds": 8, "first_content_seconds": 100}) as ground:
        endless: list[Row] = [(0.0, HEAD), *((float(n), chunked(sse(delta("x")))) for n in range(100))]
        ground.play(a=[endless])
        exchanged = await Exchanged(ground).run()
        assert exchanged.sent_at[-1] == 8
        assert b"upstream_timeout" in exchanged.body
        assert ground.log.entries[0].outcome == "incomplete"
        ground.play(a=[STALLED], b=[STALLED])
        exchanged = await Exchanged(ground).run()
        assert (exchanged.sent_at, exchanged.head[":status"]) == ([8], "504")


async def test_a_unary_answers_deadline_is_one_for_all_attempts(autojump_clock: MockClock) -> None:
    async with racing(HEDGED, timeouts={"unary_seconds": 3}) as ground:
        ground.play(a=[[]], b=[[]], c=[[]])
        exchanged = await Exchanged(ground, stream=False).run()
        assert exchanged.head[":status"] == "504"
        assert 3 <= exchanged.sent_at[0] < 3.1
        assert {outcome for _, outcome in outcomes(ground.log.entries[0])} == {"timeout"}


async def test_an_attempt_that_stalls_is_replaced_and_the_last_one_goes_on(autojump_clock: MockClock) -> None:
    async with racing({"attempt_seconds": 10, "attempts_max": 2}) as ground:
        ground.play(a=[STALLED], b=[stream_of("late", 14)])
        exchanged = await Exchanged(ground).run()
        assert ground.opened == [("a", 0), ("b", 10)]
        assert exchanged.sent_at[:2] == [15, 24]
        assert outcomes(ground.log.entries[0]) == [("a", "timeout"), ("b", "ok")]


# -- breakers, keys, affinity ------------------------------------------------------------------------------------------


async def test_traffic_opens_a_breaker_and_a_probe_closes_it(autojump_clock: MockClock) -> None:
    async with racing({"retry_share": 1}) as ground:
        for number in range(5):
            assert breaker(ground) == "closed"
            ground.play(a=[status_of(500, 0)], b=[answer_of("hi", 0)])
            assert raced(await Exchanged(ground, stream=False).run()) == ("b", "2", "false"), number
        assert breaker(ground) == "open"
        ground.play(a=[], b=[answer_of("hi", 0)] * 9)
        assert raced(await Exchanged(ground, stream=False).run()) == ("b", "1", "false")
        await trio.sleep(5)
        # One probe only: whoever comes meanwhile goes elsewhere.
        ground.play(a=[answer_of("back", 2)], b=[answer_of("hi", 0)] * 9)
        probe = Exchanged(ground, stream=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe.run)
            await trio.sleep(1)
            assert breaker(ground) == "probing"
            next_one = ground.gateway.router.resolve("fast").pick(trio.current_time())
            assert next_one is not None
            assert next_one.provider == "b"
        assert raced(probe) == ("a", "1", "false")
        assert breaker(ground) == "closed"


async def test_a_probe_whose_client_leaves_makes_room_for_the_next(autojump_clock: MockClock) -> None:
    async with racing() as ground:
        health = ground.gateway.router.resolve("fast").candidates[0].health
        health.breaker.open_for(1, trio.current_time())
        await trio.sleep(1)
        ground.play(a=[STALLED, stream_of("back", 1)])
        with trio.move_on_after(1):
            await Exchanged(ground).run()
        assert raced(await Exchanged(ground).run()) == ("a", "1", "false")
        assert breaker(ground) == "closed"


@pytest.mark.parametrize("stream", [False, True])
async def test_all_open_is_a_503_at_once_with_the_time_until_a_probe(autojump_clock: MockClock, stream: bool) -> None:
    async with racing() as ground:
        for candidate, seconds in zip(ground.gateway.router.resolve("fast").candidates, (30, 12.5, 20), strict=True):
            candidate.health.breaker.open_for(seconds, trio.current_time())
        exchanged = await Exchanged(ground, stream=stream).run()
        assert exchanged.sent_at == [0]
        assert (exchanged.head[":status"], exchanged.head["retry-after"]) == ("503", "13")
        assert msgspec.json.decode(exchanged.body)["error"]["code"] == "no_candidate_available"
        assert ground.opened == []
        assert "x-hedgerow-attempts" not in exchanged.head
        entry = ground.log.entries[0]
        assert (entry.outcome, entry.attempts, entry.provider) == ("upstream_error", [], None)


TWO_KEYS = {"a": {"kind": "compatible", "base_url": "http://a.test/v1", "keys": ["sk-1", "sk-2"], "proxy": "none"}}


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_two_keys_of_one_provider_are_rotated(autojump_clock: MockClock, status: int) -> None:
    async with racing(providers=TWO_KEYS, models={"fast": {"provider": "a", "model": "a-1"}}) as ground:
        ground.play(a=[status_of(status, 0, None, b"retry-after: 30"), answer_of("hi", 0)])
        exchanged = await Exchanged(ground, stream=False).run()
        assert raced(exchanged) == ("a", "2", "false")

        def keys() -> list[str]:
            return [line.text.partition(b"Bearer ")[2][:4].decode() for line in ground.lines["a"]]

        refused, good = keys()
        assert {refused, good} == {"sk-1", "sk-2"}
        ground.play(a=[answer_of("hi", 0)] * 9)
        for _ in range(9):
            assert raced(await Exchanged(ground, stream=False).run()) == ("a", "1", "false")
        assert keys()[2:] == [good] * 9, "the other one is left alone"


GROUP = {
    "fast": {"candidates": [{"provider": name, "model": f"{name}-1"} for name in "abc"], "race": {"retry_share": 1}}
}


async def test_a_conversation_stays_where_its_prompt_is_cached_and_leaves_a_failing_one(
    autojump_clock: MockClock,
) -> None:
    async with racing(models=GROUP) as ground:
        ground.play(**{name: [answer_of("hi", 0)] * 40 for name in "abc"})
        asked = {}
        for number in range(20):
            asked[number] = {raced(await Exchanged(ground, stream=False, user=f"u{number}").run())[0] for _ in range(3)}
        assert all(len(providers) == 1 for providers in asked.values())
        assert len(set.union(*asked.values())) > 1, "different conversations go to different candidates"
        [home] = asked[0]
        answers: dict[str, list[Any]] = {name: [answer_of("hi", 0)] * 3 for name in "abc"}
        ground.play(**{**answers, home: [status_of(500, 0)] * 3})
        assert raced(await Exchanged(ground, stream=False, user="u0").run())[1] == "2"


# -- the client leaves -------------------------------------------------------------------------------------------------

STAGES: list[tuple[str, float, dict[str, list[Any]], list[tuple[str, str]]]] = [
    ("before the first attempt is connected", 0.5, {"a": [NEVER]}, [("a", "cancelled")]),
    ("while one waits for its head", 0.5, {"a": [[]]}, [("a", "cancelled")]),
    ("while two run", 1.5, {"a": [STALLED], "b": [STALLED]}, [("a", "cancelled"), ("b", "cancelled")]),
    ("while the second is connected", 1.5, {"a": [STALLED], "b": [NEVER]}, [("a", "cancelled"), ("b", "cancelled")]),
    (
        "during the stream",
        2.5,
        {"a": [STALLED], "b": [stream_of("hi", 0.5, end=9)]},
        [("a", "lost"), ("b", "cancelled")],
    ),
]


@pytest.mark.parametrize(("seconds", "plays", "became"), [row[1:] for row in STAGES], ids=[row[0] for row in STAGES])
async def test_a_client_that_leaves_takes_everything_with_it(
    autojump_clock: MockClock, seconds: float, plays: dict[str, Any], became: list[tuple[str, str]]
) -> None:
    async with racing(HEDGED) as ground:
        ground.play(**plays)
        with trio.move_on_after(seconds) as scope:
            await Exchanged(ground).run()
        assert scope.cancelled_caught
        assert all(line.closed for line in ground.all_lines())
        entry = ground.log.entries[0]
        assert (entry.outcome, outcomes(entry)) == ("client_gone", became)
        assert entry.duration_ms == seconds * 1000
        abandoned = [attempt for attempt in entry.attempts if attempt.outcome == "cancelled"]
        assert [attempt.usage for attempt in abandoned] == [None] * len(abandoned), "nobody was beaten: no waste"
        health = ground.gateway.router.resolve("fast").candidates[0].health
        assert (health.latency.average is None) is (became[0][1] == "cancelled"), "impatience is not speed"


async def test_a_client_that_hangs_up_with_the_whole_answer_in_hand_has_not_left(autojump_clock: MockClock) -> None:
    async with racing() as ground:
        ground.play(a=[[*STALLED, (1.0, chunked(sse(delta("hi")))), (2.0, chunked(sse(FINISH, "[DONE]")))]])
        exchanged = Exchanged(ground)
        with trio.move_on_after(2.01) as scope:
            await exchanged.run()
        assert scope.cancelled_caught, "the upstream's last chunk is still waited for"
        assert exchanged.body == sse(ROLE, delta("hi"), FINISH, "[DONE]")
        entry = ground.log.entries[0]
        assert (entry.outcome, outcomes(entry)) == ("ok", [("a", "ok")])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_client_that_leaves_at_the_winning_moment(autojump_clock: MockClock, after: bool) -> None:
    async with racing(HEDGED) as ground:
        ground.play(a=[STALLED], b=[stream_of("hi", 0.5, end=9)])
        exchanged = Exchanged(ground)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchanged.run)
            await trio.sleep_until(exchanged.began + 1.5)
            for _ in range(20 if after else 0):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert all(line.closed for line in ground.all_lines())
        assert ground.log.entries[0].outcome == "client_gone"


async def test_a_client_that_leaves_at_any_checkpoint_of_a_race(autojump_clock: MockClock) -> None:
    plays: dict[str, Any] = {
        "a": [stream_of("slow", 4)],
        "b": [[(0.0, HEAD), (0.5, RESET)]],
        "c": [stream_of("quick", 0.5, end=1)],
    }
    async with racing(HEDGED | {"retry_share": 1}) as ground:
        for eighths in range(28):
            for checkpoints in (0, 1, 2, 3, 5, 8):
                ground.play(**plays)
                exchanged = Exchanged(ground)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(exchanged.run)
                    await trio.sleep_until(exchanged.began + eighths / 8)
                    for _ in range(checkpoints):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                assert ground.is_clean()
                for candidate in ground.gateway.router.resolve("fast").candidates:
                    candidate.health.breaker.succeed(trio.current_time())
        assert {entry.outcome for entry in ground.log.entries} == {"client_gone", "ok"}


async def test_one_whose_content_came_in_the_winners_tick_has_lost_too(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeEndpoint([(1.0, HEAD), (1.0, chunked(sse(delta("Hi"))))]))
    entrant = run.entrant
    assert entrant.candidate.health.begin(trio.current_time())
    await entrant.wait()
    entrant.lose()
    assert run.attempt.record.cause == "lost"
    assert run.attempt.record.usage is not None
    assert entrant.candidate.health.in_flight == 0
