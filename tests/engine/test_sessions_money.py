"""What sessions cost: to the token and to the nano-dollar, each response once, and never more than there is."""

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from msgspec import Raw

from adapters.prices import charge_nanos, cost_nanos, price_from_dollars
from adapters.sessions.counts import read_usage
from engine.sessions import relaying
from store.interface import UnavailableError
from store.memory import MemoryStore
from store.rows import LogFilter, Transfer
from tests.engine.accounts import DOLLAR
from tests.engine.sessions import (
    RATES,
    TEXT,
    WORST,
    Refusal,
    Salon,
    Visitor,
    by_sdk,
    kinds,
    knocking,
    refused,
    salon,
    visiting,
)

IN, CACHED, OUT = 4_000, 400, 16_000
AUDIO_IN, CACHED_AUDIO, AUDIO_OUT = 32_000, 500, 64_000
IMAGE_IN, CACHED_IMAGE = 5_000, 600
"""Nano-dollars a token, by `RATES`."""

COMPOSED: dict[str, Any] = {
    "total_tokens": 1_600,
    "input_tokens": 1_000,
    "output_tokens": 600,
    "input_token_details": {
        "text_tokens": 500,
        "audio_tokens": 300,
        "image_tokens": 200,
        "cached_tokens": 450,
        "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 250, "image_tokens": 100},
    },
    "output_token_details": {"text_tokens": 100, "audio_tokens": 500},
}
COMPOSED_COST = (
    (400 * IN + 100 * CACHED)
    + (50 * AUDIO_IN + 250 * CACHED_AUDIO)
    + (100 * IMAGE_IN + 100 * CACHED_IMAGE)
    + (100 * OUT + 500 * AUDIO_OUT)
)


def usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "total_tokens": input_tokens + output_tokens,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "input_token_details": {"text_tokens": input_tokens, "audio_tokens": 0},
        "output_token_details": {"text_tokens": output_tokens, "audio_tokens": 0},
    }


async def settled(made: Salon) -> list[Transfer]:
    """Return the settlements, oldest first."""
    return sorted(await made.booked(), key=lambda each: int(each.id.rpartition(".")[2]))


async def responses(visitor: Visitor, count: int) -> None:
    for _ in range(count):
        await visitor.ask()
        await visitor.hear("response.done")


async def test_every_modality_has_its_own_price(tmp_path: Path) -> None:
    async with salon(tmp_path, session={"turns": [{"usage": COMPOSED}]}) as made:
        async with visiting(made.live) as visitor:
            await responses(visitor, 1)
            await visitor.close()
        (settlement,) = await settled(made)
        assert settlement.amount_nanos == settlement.cost_nanos == COMPOSED_COST
        counted = msgspec.json.decode(settlement.detail)["usage"]
        assert (counted["input_audio_tokens"], counted["cached_audio_tokens"]) == (300, 250)
        assert (await made.balance()).balance_nanos == 10 * DOLLAR - COMPOSED_COST


async def test_markup_is_taken_of_each_response(tmp_path: Path) -> None:
    billing = {"tiers": [{"spend": 0, "markup": 0.25}]}
    async with salon(tmp_path, session={"turns": [{"usage": usage(1, 1)}] * 3}, billing=billing) as made:
        async with visiting(made.live) as visitor:
            await responses(visitor, 3)
            await visitor.close()
        assert [each.amount_nanos for each in await settled(made)] == [charge_nanos(IN + OUT, 1_250_000)] * 3


async def test_every_response_is_paid_once_whatever_became_of_it(tmp_path: Path) -> None:
    turns = [
        {"usage": usage(10, 1)},
        {"usage": usage(20, 2), "status": "failed"},
        {"usage": usage(30, 3), "status": "incomplete"},
        {"usage": usage(40, 4), "deltas": 10, "hold_after": 2},
        {"usage": usage(50, 5), "done_times": 3},
    ]
    async with salon(tmp_path, session={"turns": turns}) as made:
        async with visiting(made.live) as visitor:
            await visitor.say(TEXT)
            await responses(visitor, 3)
            await visitor.ask()
            await visitor.hear("response.output_text.delta")
            await visitor.say({"type": "response.cancel"})
            (*_, done) = await visitor.hear("response.done")
            assert done["response"]["status"] == "cancelled"
            await visitor.ask()
            for _ in range(3):
                await visitor.hear("response.done")
            await visitor.close()
        assert [each.amount_nanos for each in await settled(made)] == [
            read * IN + written * OUT for read, written in ((10, 1), (20, 2), (30, 3), (40, 4), (50, 5))
        ]
        row = await made.row()
        assert (row.input_tokens, row.output_tokens) == (150, 15)
        assert row.amount_nanos == row.cost_nanos == 150 * IN + 15 * OUT
        assert (row.outcome, row.status, row.surface, row.provider) == ("ok", 101, "realtime", "scripted-1")
        entry = await made.entry()
        assert entry.usage is not None
        assert (entry.usage.input_tokens, entry.usage.output_tokens, entry.outcome) == (150, 15, "ok")
        assert (entry.model, entry.upstream_model, entry.status, entry.stream) == ("fast", "scripted", 101, True)
        assert entry.bytes_out > 1_000
        assert [(each.outcome, each.status) for each in entry.attempts] == [("ok", 101)]


async def test_a_composed_session_by_the_sdk_costs_what_its_upstream_counted(tmp_path: Path) -> None:
    async with salon(tmp_path) as made:

        async def talk(client: Any) -> None:
            async with client.realtime.connect(model="fast") as connection:
                for modality in ("text", "audio", "text"):
                    await connection.session.update(session={"type": "realtime", "output_modalities": [modality]})
                    content = [{"type": "input_text", "text": "one two three"}]
                    item = {"type": "message", "role": "user", "content": content}
                    await connection.conversation.item.create(item=item)
                    await connection.response.create()
                    async for event in connection:
                        if event.type == "response.done":
                            break

        await by_sdk(made.live, talk)
        row = await made.row()
        totals = made.server.totals("response")
        assert totals.count == 3
        assert (row.input_tokens, row.output_tokens) == (totals.input_tokens, totals.output_tokens)
        assert row.cached_tokens == totals.cached_tokens > 0
        assert row.audio_tokens == totals.input_audio_tokens + totals.output_audio_tokens > 0
        heard, said, cached = totals.input_audio_tokens, totals.output_audio_tokens, totals.cached_tokens
        cached_text = cached - totals.cached_audio_tokens
        fresh_text = totals.input_tokens - heard - cached_text
        assert row.cost_nanos == (
            (fresh_text * IN + cached_text * CACHED)
            + ((heard - totals.cached_audio_tokens) * AUDIO_IN + totals.cached_audio_tokens * CACHED_AUDIO)
            + ((totals.output_tokens - said) * OUT + said * AUDIO_OUT)
        )
        assert sum(each.amount_nanos for each in await settled(made)) == row.cost_nanos


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("heard-by-token", 2 * 6_000 + 4 * 10_000),
        ("whisper-like", 20_000),
        ("without-a-price", 2 * AUDIO_IN + 4 * OUT),  # the client names it: it must not be a way to be heard for free
    ],
)
async def test_a_transcription_has_its_own_model_and_price(tmp_path: Path, model: str, cost: int) -> None:
    """200 ms of sound are two tokens, and a fifth of a second at 6,000,000 n$ a minute."""
    listening = {"transcription": {"model": model}, "turn_detection": None}
    update = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": listening}}}
    async with salon(tmp_path) as made:
        async with visiting(made.live) as visitor:
            await visitor.say(update)
            await visitor.say(
                {"type": "input_audio_buffer.append", "audio": SOUND}, {"type": "input_audio_buffer.commit"}
            )
            await visitor.hear("conversation.item.input_audio_transcription.completed")
            await visitor.close()
        assert [each.amount_nanos for each in await settled(made)] == [cost]


SOUND = "A" * 12_800
"""9,600 bytes of silence in base64."""


async def test_speech_that_is_transcribed_and_answered_is_paid_twice(tmp_path: Path) -> None:
    listening = {"transcription": {"model": "heard-by-token"}}
    update = {
        "type": "session.update",
        "session": {"type": "realtime", "output_modalities": ["text"], "audio": {"input": listening}},
    }
    async with salon(tmp_path, session={"turns": [{"usage": usage(7, 1)}]}) as made:
        async with visiting(made.live) as visitor:
            await visitor.say(update, {"type": "input_audio_buffer.append", "audio": SOUND})
            heard = kinds(await visitor.hear("response.done"))
            assert "input_audio_buffer.speech_started" in heard
            assert "input_audio_buffer.committed" in heard
            await visitor.close()
        amounts = sorted(each.amount_nanos for each in await settled(made))
        assert amounts == sorted([2 * 6_000 + 4 * 10_000, 7 * IN + OUT])


# -- cut off -----------------------------------------------------------------------------------------------------------


async def test_a_wallet_that_is_empty_ends_the_session_with_its_response(tmp_path: Path) -> None:
    # Enough for the worst case of three responses one after the other, not of a fourth.
    turn = {"usage": usage(0, 4_000)}
    credit = WORST + 2 * 4_000 * OUT + 1
    async with salon(tmp_path, credit=credit, session={"turns": [turn] * 9}) as made:
        async with visiting(made.live) as visitor:
            await responses(visitor, 3)
            code, reason, events = await visitor.closed()
        assert (code, reason) == (1008, "insufficient_balance")
        assert events[-1]["type"] == "error"
        assert events[-1]["error"]["code"] == "insufficient_balance"
        assert (await made.balance()).balance_nanos == credit - 3 * 4_000 * OUT
        row = await made.row()
        assert (row.outcome, row.amount_nanos) == ("client_error", 3 * 4_000 * OUT)
        refusal = await refused(made.live)
        assert (refusal.status, refusal.code) == (402, "insufficient_balance")
        assert len(made.server.sessions) == 1


@pytest.mark.parametrize("scope", ["key", "account"])
async def test_a_daily_cap_ends_the_session(tmp_path: Path, scope: str) -> None:
    cap = {"cap_day_nanos": WORST + 100_000}
    rows: dict[str, Any] = {scope: cap}
    async with salon(tmp_path, session={"turns": [{"usage": usage(0, 10_000)}] * 3}, **rows) as made:
        async with visiting(made.live) as visitor:
            await visitor.ask()
            code, reason, events = await visitor.closed()
        assert (code, reason, events[-1]["error"]["code"]) == (1008, "cap_exceeded", "cap_exceeded")
        assert "daily cap" in events[-1]["error"]["message"]
        assert kinds(events).count("response.done") == 1


async def test_a_response_beyond_all_there_is_takes_what_there_is(tmp_path: Path) -> None:
    async with salon(tmp_path, credit=WORST + 5, session={"turns": [{"usage": usage(0, 10_000_000)}] * 3}) as made:
        async with visiting(made.live) as visitor:
            await visitor.ask()
            code, _, events = await visitor.closed()
        assert code == 1008
        assert events[-1]["error"]["code"] == "insufficient_balance"
        (settlement,) = await settled(made)
        assert settlement.amount_nanos + settlement.uncollected_nanos == 10_000_000 * OUT
        assert settlement.uncollected_nanos >= 10_000_000 * OUT - WORST - 5
        assert 0 <= (await made.balance()).balance_nanos <= 5


async def test_what_is_reserved_grows_with_the_conversation(tmp_path: Path) -> None:
    """The first response is larger than what was reserved; the second has to have as much, and there is not."""
    large = 8_192 * AUDIO_IN + 10_000 * AUDIO_OUT
    session = {"turns": [{"usage": usage(10, 10_000)}] * 3}
    async with salon(tmp_path, credit=10 * IN + 10_000 * OUT + large - 1, session=session) as made:
        async with visiting(made.live) as visitor:
            await visitor.ask()
            code, reason, _ = await visitor.closed()
        assert (code, reason) == (1008, "insufficient_balance")
        assert len(await made.booked()) == 1


async def test_a_response_larger_than_its_reservation_does_not_end_a_session_with_money(tmp_path: Path) -> None:
    session = {"turns": [{"usage": usage(0, 50_000)}] * 3}
    async with salon(tmp_path, credit=100 * DOLLAR, session=session) as made:
        async with visiting(made.live) as visitor:
            await responses(visitor, 3)
            await visitor.close()
        costs = [each.amount_nanos + each.uncollected_nanos for each in await settled(made)]
        assert costs == [50_000 * OUT] * 3


async def test_an_end_is_seen_when_it_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, safe = trio.Event(), trio.Event()

    async def harden() -> None:
        asked.set()
        await safe.wait()

    async with salon(tmp_path) as made:
        treasury = made.live.gateway.treasury
        assert treasury is not None
        monkeypatch.setattr(treasury.bookkeeper, "harden", harden)
        async with visiting(made.live) as visitor, trio.open_nursery() as nursery:
            seen: list[list[dict[str, Any]]] = []

            async def hear() -> None:
                seen.append(await visitor.hear("response.done"))

            await visitor.ask()
            nursery.start_soon(hear)
            await asked.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert seen == []
            safe.set()


async def test_what_is_under_way_when_the_money_ends_is_cancelled_and_paid(tmp_path: Path) -> None:
    """A transcription takes what was left, while the answer to what was heard has begun."""
    listening = {"transcription": {"model": "heard-by-token"}, "turn_detection": {"type": "server_vad"}}
    update = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
    update["session"]["audio"] = {"input": listening}  # type: ignore[index]
    turn = {"usage": usage(3, 4), "deltas": 50, "hold_after": 1}
    dear = {"heard-by-token": {"input": 2, "output": 10, "audio_input": 50_000}}
    done = {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "item_late",
        "usage": {
            "type": "tokens",
            "input_tokens": 10,
            "output_tokens": 0,
            "input_token_details": {"audio_tokens": 10},
        },
    }
    cue = {"after": "response.output_text.delta", "do": "send", "frame": json.dumps(done)}
    session = {"turns": [turn], "cues": [cue]}
    prices = {"scripted": RATES, **dear}
    async with salon(tmp_path, credit=WORST + 1_000, session=session, prices=prices) as made:
        async with visiting(made.live) as visitor:
            await visitor.say(update)
            await visitor.ask()
            code, _, events = await visitor.closed()
        assert code == 1008
        assert kinds(events)[-1] == "error"
        record = made.server.sessions[0]
        with trio.fail_after(5):
            await record.ended.wait()
        assert len(record.events("response.cancel")) == 1
        assert [each.status for each in record.charges] == ["cancelled"]
        costs = [each.cost_nanos for each in await settled(made)]
        assert costs == [10 * 50_000_000, 3 * IN + 4 * OUT]
        assert (await made.balance()).balance_nanos >= 0


async def test_responses_beside_each_other_are_reserved_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one that begins while the first is under way has no money: both are cancelled, and the session over."""
    monkeypatch.setattr(relaying, "FIGURES_SECONDS_MAX", 0.2)  # nobody will ever give those of the second
    begun = {"type": "response.created", "event_id": "e", "response": {"id": "resp_beside", "status": "in_progress"}}
    cue = {"after": "response.output_text.delta", "do": "send", "frame": json.dumps(begun)}
    session = {"turns": [{"usage": usage(3, 4), "deltas": 50, "hold_after": 1}], "cues": [cue]}
    async with salon(tmp_path, credit=WORST + 1_000, session=session) as made:
        async with visiting(made.live) as visitor:
            await visitor.say(TEXT)
            await visitor.ask()
            code, reason, _ = await visitor.closed()
        assert (code, reason) == (1008, "insufficient_balance")
        record = made.server.sessions[0]
        with trio.fail_after(10):
            await record.ended.wait()
        assert {each["response_id"] for each in record.events("response.cancel")} == {"resp_0000_000001", "resp_beside"}
        assert [each.cost_nanos for each in await settled(made)] == [3 * IN + 4 * OUT]


# -- who leaves --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "gone"])
async def test_a_client_that_leaves_pays_for_what_it_began(tmp_path: Path, how: str) -> None:
    turns = [{"usage": usage(10, 1)}, {"usage": usage(20, 9), "deltas": 50, "hold_after": 3}]
    async with salon(tmp_path, session={"turns": turns}) as made:
        async with visiting(made.live) as visitor:
            await visitor.say(TEXT)
            await responses(visitor, 1)
            await visitor.ask()
            await visitor.hear("response.output_text.delta")
            if how == "close":
                await visitor.close()
        await made.entry()
        record = made.server.sessions[0]
        assert len(record.events("response.cancel")) == 1
        assert [each.amount_nanos for each in await settled(made)] == [10 * IN + OUT, 20 * IN + 9 * OUT]
        row = await made.row()
        assert row.outcome == ("ok" if how == "close" else "client_gone")
        assert (row.input_tokens, row.output_tokens) == (30, 10)


@pytest.mark.parametrize("priced", [True, False])
async def test_a_response_whose_end_nobody_saw_is_charged_by_its_time(tmp_path: Path, priced: bool) -> None:
    session = {
        "turns": [{"deltas": 50, "hold_after": 3}],
        "cues": [{"after": "response.output_text.delta", "do": "abort", "count": 2}],
    }
    rates = {**RATES, "session_minute": 6} if priced else RATES
    async with salon(tmp_path, session=session, prices={"scripted": rates}) as made:
        async with visiting(made.live) as visitor:
            await visitor.say(TEXT)
            await visitor.ask()
            code, _, events = await visitor.closed()
        assert code == 1011
        assert events[-1]["error"]["code"] == "upstream_closed"
        settlements = await settled(made)
        row = await made.row()
        assert row.outcome == "incomplete"
        if not priced:
            assert settlements == []
            return
        (settlement,) = settlements
        assert 0 < settlement.amount_nanos < 2 * DOLLAR
        assert msgspec.json.decode(settlement.detail)["usage"]["estimated"]
        assert row.amount_nanos == settlement.amount_nanos


async def test_a_response_without_figures_is_charged_by_its_time(tmp_path: Path) -> None:
    prices = {"scripted": {**RATES, "session_minute": 6}}
    async with salon(tmp_path, session={"turns": [{"usage": None}]}, prices=prices) as made:
        async with visiting(made.live) as visitor:
            await responses(visitor, 1)
            await visitor.close()
        (settlement,) = await settled(made)
        assert 0 < settlement.amount_nanos < DOLLAR


# -- places and rates --------------------------------------------------------------------------------------------------


async def test_a_session_takes_a_place_as_long_as_it_lasts(tmp_path: Path) -> None:
    async with salon(tmp_path, key={"in_flight_max": 1}) as made:
        async with visiting(made.live) as visitor:
            await responses(visitor, 2)
            refusal = await refused(made.live)
            assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
            assert refusal.headers["retry-after"] == "1"
            assert (await made.ask()).status_code == 429
            await visitor.close()
        await made.entry(2)
        async with visiting(made.live) as visitor:
            await visitor.hear("session.created")
        assert len(made.server.sessions) == 2


async def test_a_session_counts_as_one_request(tmp_path: Path) -> None:
    async with salon(tmp_path, key={"requests_per_minute": 1}) as made:
        async with visiting(made.live) as visitor:
            await responses(visitor, 3)
            await visitor.close()
        async with knocking(made.live) as answer:
            again = isinstance(answer, Visitor)  # a minute ended in between
        assert (await refused(made.live)).status == 429 if again else isinstance(answer, Refusal)


async def test_many_sessions_at_once_share_one_wallet(tmp_path: Path) -> None:
    """Two have the money for their worst case; whoever comes third is refused, and gets it when one has gone."""
    async with (
        salon(tmp_path, credit=2 * WORST + 100) as made,
        visiting(made.live) as one,
        visiting(made.live) as other,
    ):
        assert (await refused(made.live)).status == 402
        await one.close()
        await made.entry(1)
        async with visiting(made.live) as third:
            await third.hear("session.created")
        await other.hear("session.created")


async def test_sessions_beside_each_other_are_metered_to_the_token(tmp_path: Path) -> None:
    """Three at once, their figures drawn by chance: what was charged is the sum of what each response costs alone."""
    chance = random.Random(12)
    turns: list[dict[str, Any]] = [{"usage": drawn(chance), "done_times": chance.choice([1, 1, 2])} for _ in range(8)]
    async with salon(tmp_path, credit=100 * DOLLAR, session={"turns": turns}) as made:

        async def visit() -> None:
            async with visiting(made.live) as visitor:
                for turn in turns:
                    await visitor.ask()
                    for _ in range(turn["done_times"]):
                        await visitor.hear("response.done")
                await visitor.close()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(visit)
        price = price_from_dollars(**RATES)  # type: ignore[arg-type]
        expected = sorted(
            3 * [cost_nanos(price, read_usage(Raw(json.dumps(turn["usage"]).encode()))) for turn in turns]
        )
        assert sorted(each.amount_nanos for each in await made.booked()) == expected
        for index in range(3):
            await made.entry(index)
        treasury = made.live.gateway.treasury
        assert treasury is not None
        await treasury.log.flush()
        rows = await made.store.logs(LogFilter())
        assert len(rows) == 3
        totals = made.server.totals("response")
        assert totals.count == 24
        assert sum(row.input_tokens for row in rows) == totals.input_tokens
        assert sum(row.output_tokens for row in rows) == totals.output_tokens
        assert sum(row.cached_tokens for row in rows) == totals.cached_tokens
        assert sum(row.amount_nanos for row in rows) == sum(expected)


def drawn(chance: random.Random) -> dict[str, Any]:
    """Return a usage whose parts add up."""
    read = {name: chance.randrange(500) for name in ("text_tokens", "audio_tokens", "image_tokens")}
    cached = {name: chance.randrange(count + 1) for name, count in read.items()}
    written = {name: chance.randrange(500) for name in ("text_tokens", "audio_tokens")}
    details = {**read, "cached_tokens": sum(cached.values()), "cached_tokens_details": cached}
    return {
        "total_tokens": sum(read.values()) + sum(written.values()),
        "input_tokens": sum(read.values()),
        "output_tokens": sum(written.values()),
        "input_token_details": details,
        "output_token_details": written,
    }


# -- what fails --------------------------------------------------------------------------------------------------------


async def test_a_journal_that_fails_ends_the_session_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with salon(tmp_path) as made:
        treasury = made.live.gateway.treasury
        assert treasury is not None

        def fail(_: object) -> None:
            raise OSError(28, "no space left on device")

        monkeypatch.setattr(treasury, "note", fail)
        async with visiting(made.live) as visitor:
            await visitor.ask()
            code, _, events = await visitor.closed()
        assert code == 1011
        assert "response.done" not in kinds(events), "nobody sees the end of what is not written down"
        assert (await made.entry()).outcome == "internal_error"
    assert "no space left" in caplog.text


async def test_a_store_that_is_away_ends_a_session_that_needs_it(tmp_path: Path) -> None:
    store = MemoryStore()
    session = {"turns": [{"usage": usage(0, 2_000)}] * 200}
    async with salon(tmp_path, store=store, credit=3 * WORST, session=session) as made, visiting(made.live) as visitor:
        await responses(visitor, 1)
        store.fail(UnavailableError("away"))
        ends: list[str] = []
        while "error" not in ends:
            await visitor.ask()
            event: dict[str, Any] = {}
            while event.get("type") not in {"response.done", "error"}:
                event = json.loads(await visitor.frame())
            ends.append(event["type"])
        store.heal()
        assert event["error"]["code"] in {"store_unavailable", "insufficient_balance"}
        assert (await visitor.closed())[0] == 1008


async def test_a_client_that_leaves_while_the_next_response_is_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store takes its time over the lease: the client is heard meanwhile, and nothing stays."""
    asked = trio.Event()

    async def replenish(_: object) -> None:
        asked.set()
        await trio.sleep_forever()

    async with salon(tmp_path, credit=WORST + 100, session={"turns": [{"usage": usage(1, 1)}]}) as made:
        treasury = made.live.gateway.treasury
        assert treasury is not None
        async with visiting(made.live) as visitor:
            monkeypatch.setattr(treasury.lender, "replenish", replenish)
            await visitor.ask()
            with trio.fail_after(5):
                await asked.wait()
            await visitor.say({"type": "still.heard"})
            await made.server.sessions[0].wait_passed("still.heard")
            await visitor.close(1000)
        assert (await made.entry()).outcome == "ok"
        assert [each.amount_nanos for each in await made.booked()] == [IN + OUT]
