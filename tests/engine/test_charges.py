"""What is charged, and what is not: whole exchanges through a gateway that keeps accounts, to the nano-dollar."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from store.interface import UnavailableError
from store.memory import MemoryStore
from store.rows import LogFilter, Team
from tests.engine.accounts import CHAT, DOLLAR, TOKEN, error_of, shop
from tests.engine.fakes import FINISH, ROLE, delta

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
COST = 10 * 1_000 + 5 * 2_000
"""Of `USAGE`, by `PRICES`."""

ANSWER = [{"answer": {"content": "four five six", "usage": USAGE}}]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_charged_once_what_its_upstream_counted(
    store: MemoryStore, tmp_path: Path, stream: bool
) -> None:
    async with shop(store, tmp_path) as made:
        made.server.enqueue(ANSWER)
        answer = await made.ask(stream=stream)
        assert answer.status_code == 200
        (settlement,) = await made.booked()
        assert settlement.amount_nanos == settlement.cost_nanos == COST
        assert settlement.uncollected_nanos == 0
        detail = msgspec.json.decode(settlement.detail)
        assert detail["usage"]["input_tokens"] == 10
        assert detail["request_id"] == answer.headers["x-request-id"]
        assert (await made.balance()).balance_nanos == DOLLAR - COST
        if not stream:
            assert answer.headers["x-hedgerow-cost"] == "0.00002"


async def test_markup_and_group_make_the_charge(store: MemoryStore, tmp_path: Path) -> None:
    groups = {"friends": {"price_ratio": 0.5}}
    billing = {"tiers": [{"spend": 0, "markup": 0.4}]}
    async with shop(store, tmp_path, account={"group": "friends"}, groups=groups, billing=billing) as made:
        made.server.enqueue(ANSWER)
        await made.ask()
        (settlement,) = await made.booked()
        assert settlement.cost_nanos == COST
        assert settlement.amount_nanos == COST * 14 // 10 // 2


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_failed_is_free(store: MemoryStore, tmp_path: Path, status: int, stream: bool) -> None:
    async with shop(store, tmp_path) as made:
        made.server.enqueue([{"status": status}])
        assert (await made.ask(stream=stream)).status_code != 200
        assert await made.booked() == []
        assert (await made.balance()).balance_nanos == DOLLAR


@pytest.mark.parametrize(("policy", "charged"), [("free", False), ("estimate", True)])
async def test_an_answer_that_its_upstream_breaks_off(
    store: MemoryStore, tmp_path: Path, policy: str, charged: bool
) -> None:
    async with shop(store, tmp_path, billing={"tiers": [], "on_incomplete": policy}) as made:
        made.server.enqueue([{"event": ROLE}, {"event": delta("one")}, {"event": delta("two")}, {"reset": True}])
        answer = await made.ask(stream=True)
        assert "upstream" in answer.text
        settlements = await made.booked()
        assert bool(settlements) is charged
        if charged:
            assert msgspec.json.decode(settlements[0].detail)["usage"]["estimated"]
            assert settlements[0].amount_nanos > 0


@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_a_client_that_leaves_in_the_middle(store: MemoryStore, tmp_path: Path, policy: str) -> None:
    async with shop(store, tmp_path, billing={"tiers": [], "on_disconnect": policy}) as made:
        made.server.enqueue(
            [
                {"event": ROLE},
                {"event": delta("one")},
                {"event": delta("two")},
                {"wait": "left"},
                {"event": delta("three")},
                {"event": FINISH},
                {"event": {"id": "c", "choices": [], "usage": USAGE}},
                {"done": True},
            ]
        )
        body = msgspec.json.encode({**CHAT, "stream": True})
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
        )
        async with await made.live.connect() as client:
            await client.send_all(head % (TOKEN.encode(), len(body)) + body)
            received = b""
            while b"two" not in received:
                received += await client.receive_some()
        entry = await made.live.log.wait_entry()
        made.server.gate("left").set()
        treasury = made.live.gateway.treasury
        assert treasury is not None
        with trio.fail_after(5):
            await treasury.drains.wait_idle()
        (settlement,) = await made.booked()
        usage = msgspec.json.decode(settlement.detail)["usage"]
        if policy == "drain":
            assert settlement.amount_nanos == COST
            assert not usage.get("estimated")
        else:
            assert usage["estimated"]
            assert settlement.amount_nanos > 0
        await treasury.log.flush()
        (row,) = await store.logs(LogFilter())
        assert row.amount_nanos == settlement.amount_nanos
        assert row.outcome == "client_gone"
        assert row.ttft_ms == entry.ttft_ms is not None
        # The line is of the client, who left; the row is of the answer, which may have gone on.
        assert row.duration_ms > entry.duration_ms if policy == "drain" else row.duration_ms == entry.duration_ms


async def test_too_little_money_is_402_before_any_upstream_call(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, credit=1_000) as made:
        answer = await made.ask()
        assert answer.status_code == 402
        assert error_of(answer)["code"] == "insufficient_balance"
        assert made.server.log == []


CAPS = [
    ({"key": {"cap_day_nanos": 1_000}}, "daily cap of the key"),
    ({"key": {"cap_month_nanos": 1_000}}, "monthly cap of the key"),
    ({"account": {"cap_day_nanos": 1_000}}, "daily cap of the account"),
    ({"account": {"cap_month_nanos": 1_000}}, "monthly cap of the account"),
    ({"account": {"team": "t"}, "team": Team(id="t", name="t", cap_day_nanos=1_000)}, "daily cap of the team"),
    ({"account": {"team": "t"}, "team": Team(id="t", name="t", cap_month_nanos=1_000)}, "monthly cap of the team"),
]


@pytest.mark.parametrize(("rows", "named"), CAPS)
async def test_a_cap_that_is_reached_is_402_and_named(
    store: MemoryStore, tmp_path: Path, rows: dict[str, Any], named: str
) -> None:
    async with shop(store, tmp_path, **rows) as made:
        answer = await made.ask()
        assert answer.status_code == 402
        error = error_of(answer)
        assert error["code"] == "cap_exceeded"
        assert named in error["message"]
        assert "starts anew at 20" in error["message"]
        assert made.server.log == []


async def test_more_than_was_reserved_takes_what_is_free_and_never_more(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, credit=300_000) as made:
        huge = {"prompt_tokens": 10, "completion_tokens": 1_000_000, "total_tokens": 1_000_010}
        made.server.enqueue([{"answer": {"content": "x", "usage": huge}}])
        assert (await made.ask()).status_code == 200
        (settlement,) = await made.booked()
        assert settlement.cost_nanos == 10 * 1_000 + 1_000_000 * 2_000
        assert settlement.amount_nanos + settlement.uncollected_nanos == settlement.cost_nanos
        assert 0 <= (await made.balance()).balance_nanos < 300_000


async def test_a_model_without_a_price_is_refused_or_free(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, prices=None) as made:
        answer = await made.ask()
        assert answer.status_code == 404
        assert error_of(answer)["code"] == "model_not_priced"
        assert made.server.log == []


async def test_an_unpriced_model_may_be_free(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, prices=None, billing={"unpriced": "free"}) as made:
        assert (await made.ask()).status_code == 200
        assert [each.amount_nanos for each in await made.booked()] == [0]


RATES = [
    ({"key": {"requests_per_minute": 1}}, {}),
    ({"key": {"tokens_per_minute": 150}}, {}),
    ({}, {"rates": {"scripted": {"requests_per_minute": 1}}}),
    ({}, {"rates": {"*": {"requests_per_minute": 1}}}),
]


@pytest.mark.parametrize(("rows", "sections"), RATES)
async def test_a_rate_that_is_reached_is_429_with_its_reset(
    store: MemoryStore, tmp_path: Path, rows: dict[str, Any], sections: dict[str, Any]
) -> None:
    async with shop(store, tmp_path, **rows, **sections) as made:
        first = await made.ask()
        assert first.status_code == 200
        assert "x-ratelimit-limit-requests" in first.headers or "x-ratelimit-limit-tokens" in first.headers
        second = await made.ask()
        if second.status_code == 200:  # a minute ended in between
            second = await made.ask()
        assert second.status_code == 429
        assert error_of(second)["code"] == "rate_limit_exceeded"
        assert 1 <= int(second.headers["retry-after"]) <= 60


async def test_places_are_given_back(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, key={"in_flight_max": 1}) as made:
        made.server.enqueue([{"wait": "first"}])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.ask)
            await made.server.wait_request(0)
            refused = await made.ask()
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            made.server.gate("first").set()
        assert (await made.ask()).status_code == 200


async def test_a_store_that_is_away_costs_those_without_a_lease(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path) as made:
        assert (await made.ask()).status_code == 200
        store.fail(UnavailableError("away"))
        assert (await made.ask()).status_code == 200, "there is a lease to live on"
        store.heal()
        assert len(await made.booked()) == 2


async def test_without_a_lease_a_store_that_is_away_is_503(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path) as made:
        store.fail(UnavailableError("away"))
        answer = await made.ask()
        assert answer.status_code == 503
        assert error_of(answer)["code"] == "store_unavailable"
        assert answer.headers["retry-after"] == "2"
        assert made.server.log == []
        store.heal()
        assert (await made.ask()).status_code == 200
