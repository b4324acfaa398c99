"""Whole exchanges of those who pay, at their edges: every dialect's refusals, scopes, races, and what fails midway."""

import errno
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest
import trio
from google.genai import errors as genai_errors

from adapters.usage import TOKENS_MAX
from engine.downstream import ClientGone, Downstream
from engine.keys import digest_of
from engine.layers.charge import ANSWER_NANOS_MAX
from engine.upstream import Attempt
from store.interface import UnavailableError
from store.journal import Journal
from store.memory import MemoryStore
from store.rows import Key, LogFilter, Position, Settlement
from tests.engine.accounts import CHAT, DOLLAR, TOKEN, Shop, error_of, shop
from tests.engine.clients import DIALECTS, ask
from tests.engine.fakes import FINISH, ROLE, delta
from tests.engine.live import KEY, document
from tests.engine.test_charges import ANSWER, COST, USAGE

STREAM = [
    {"event": ROLE},
    {"event": delta("one")},
    {"event": delta("two")},
    {"wait": "left"},
    {"event": FINISH},
    {"event": {"id": "c", "choices": [], "usage": USAGE}},
    {"done": True},
]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@asynccontextmanager
async def sdk_shop(store: MemoryStore, directory: Path, *, key: dict[str, Any], **more: Any) -> AsyncIterator[Shop]:
    """Serve an account whose key is the one that the SDKs present."""
    async with shop(store, directory, keys=None, **more) as made:
        row = Key(id="key_sdk", account="acc_1", name="sdk", digest=digest_of(KEY.encode()), created=1, **key)
        await store.put_key(row)
        treasury = made.live.gateway.treasury
        assert treasury is not None
        await treasury.learn()
        yield made


@asynccontextmanager
async def client_in_mid_answer(made: Shop, **more: Any) -> AsyncIterator[trio.SocketStream]:
    """Ask, and be a client of which the block decides when it leaves."""
    body = msgspec.json.encode({**CHAT, **more})
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
    async with await made.live.connect() as client:
        await client.send_all(head % (TOKEN.encode(), len(body)) + body)
        yield client


# -- what the vendors' SDKs make of a refusal --------------------------------------------------------------------------

NO_MONEY = {
    "chat": (402, "insufficient_balance"),
    "responses": (402, "insufficient_balance"),
    "messages": (402, "billing_error"),
    "gemini": (402, "FAILED_PRECONDITION"),
}
TOO_FAST = {
    "chat": (429, "rate_limit_exceeded"),
    "responses": (429, "rate_limit_exceeded"),
    "messages": (429, "rate_limit_error"),
    "gemini": (429, "RESOURCE_EXHAUSTED"),
}
RATE_HEADERS = {
    "chat": ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"),
    "responses": ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"),
    "messages": ("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"),
    "gemini": (),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_who_has_no_money_left_hears_it_in_his_own_words(
    store: MemoryStore, tmp_path: Path, dialect: str, stream: bool
) -> None:
    async with sdk_shop(store, tmp_path, key={}, credit=1) as made:
        heard = await ask(dialect, made.live.origin, "scripted", stream=stream)
        assert (heard.status, heard.word) == NO_MONEY[dialect]
        assert "the balance is too low" in heard.message
        assert made.server.log == []


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_who_is_too_fast_hears_when_to_come_back(store: MemoryStore, tmp_path: Path, dialect: str) -> None:
    async with sdk_shop(store, tmp_path, key={"requests_per_minute": 1}) as made:
        heard = await ask(dialect, made.live.origin, "scripted", stream=False)
        assert not heard.failed
        assert [heard.headers[name] for name in RATE_HEADERS[dialect]] == ["1", "0"][: len(RATE_HEADERS[dialect])]
        heard = await ask(dialect, made.live.origin, "scripted", stream=False)
        if not heard.failed:  # a minute ended in between
            heard = await ask(dialect, made.live.origin, "scripted", stream=False)
        assert (heard.status, heard.word) == TOO_FAST[dialect]
        assert "requests per minute of this key" in heard.message
        assert 1 <= int(heard.headers["retry-after"]) <= 60
        assert [heard.headers[name] for name in RATE_HEADERS[dialect]] == ["1", "0"][: len(RATE_HEADERS[dialect])]


def _openai(origin: str) -> None:
    http_client = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=f"{origin}/v1", api_key=KEY, max_retries=0, http_client=http_client) as client:
        client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "a"}])


def _anthropic(origin: str) -> None:
    http_client = anthropic.DefaultHttpxClient(trust_env=False)
    with anthropic.Anthropic(base_url=origin, api_key=KEY, max_retries=0, http_client=http_client) as client:
        client.messages.create(model="scripted", max_tokens=5, messages=[{"role": "user", "content": "a"}])


def _google(origin: str) -> None:
    import httpx
    from google import genai

    with httpx.Client(trust_env=False) as http_client:
        options = genai.types.HttpOptions(base_url=origin, httpx_client=http_client)
        genai.Client(api_key=KEY, http_options=options).models.generate_content(model="scripted", contents="a")


REFUSALS = [
    ({"in_flight_max": 1}, 429, (openai.RateLimitError, anthropic.RateLimitError, genai_errors.ClientError)),
    ({"disabled": True}, 401, (openai.AuthenticationError, anthropic.AuthenticationError, genai_errors.ClientError)),
    (
        {"addresses": ("192.0.2.0/24",)},
        403,
        (openai.PermissionDeniedError, anthropic.PermissionDeniedError, genai_errors.ClientError),
    ),
    ({"surfaces": ("nothing",)}, 403, (openai.PermissionDeniedError, anthropic.PermissionDeniedError, None)),
    ({"models": ("other",)}, 404, (openai.NotFoundError, anthropic.NotFoundError, genai_errors.ClientError)),
    ({"cap_day_nanos": 1}, 402, (openai.APIStatusError, anthropic.APIStatusError, genai_errors.ClientError)),
]


@pytest.mark.parametrize(("key", "status", "errors"), REFUSALS)
async def test_a_refusal_is_the_sdks_own_exception(
    store: MemoryStore, tmp_path: Path, key: dict[str, Any], status: int, errors: tuple[type[Exception] | None, ...]
) -> None:
    calls: tuple[Callable[[str], None], ...] = (_openai, _anthropic, _google)
    async with sdk_shop(store, tmp_path, key=key) as made, trio.open_nursery() as nursery:
        if status == 429:
            made.server.enqueue([{"wait": "first"}])
            nursery.start_soon(trio.to_thread.run_sync, _openai, made.live.origin)
            await made.server.wait_request(0)
        asked = len(made.server.log)
        for call, error in zip(calls, errors, strict=True):
            if error is None:
                continue
            with pytest.raises(error) as caught:
                await trio.to_thread.run_sync(call, made.live.origin)
            exc: Any = caught.value
            assert getattr(exc, "status_code", getattr(exc, "code", None)) == status
        assert len(made.server.log) == asked, "no upstream is asked"
        made.server.gate("first").set()


# -- scopes ------------------------------------------------------------------------------------------------------------


async def test_a_key_lists_and_finds_the_models_that_it_may_use(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, key={"models": ("fa*",)}, groups={"default": {"models": ["*"]}}) as made:
        headers = {"authorization": f"Bearer {TOKEN}"}

        async def get(path: str) -> tuple[int, Any]:
            answer = await made.client.get(f"{made.live.origin}{path}", headers=headers)
            return answer.status_code, answer.json()

        _, body = await get("/v1/models")
        assert [each["id"] for each in body["data"]] == ["fast"]
        _, body = await get("/anthropic/v1/models")
        assert [each["id"] for each in body["data"]] == ["fast"]
        _, body = await get("/v1beta/models")
        assert [each["name"] for each in body["models"]] == ["models/fast"]
        for prefix in ("/v1/models", "/anthropic/v1/models", "/v1beta/models"):
            assert (await get(f"{prefix}/fast"))[0] == 200
            assert (await get(f"{prefix}/scripted"))[0] == 404
        headers["authorization"] = f"Bearer {KEY}"
        _, body = await get("/v1/models")
        assert {"fast", "scripted"} <= {each["id"] for each in body["data"]}, "the configuration's key sees all"


async def test_a_group_hides_models_like_a_key(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, groups={"default": {"models": ["none"]}}) as made:
        answer = await made.client.get(f"{made.live.base_url}/models", headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.json()["data"] == []
        refused = await made.ask()
        assert (refused.status_code, error_of(refused)["code"]) == (404, "model_not_found")


async def test_counting_tokens_is_free_and_needs_no_money(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, credit=0, key={"in_flight_max": 1}) as made:
        answer = await made.ask(path="/messages/count_tokens")
        assert answer.status_code == 200
        assert answer.json()["input_tokens"] > 0
        assert await made.booked() == []
        assert await store.leases() == []


# -- who is charged ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_of_a_race_the_winner_is_charged_and_the_loser_is_waste(
    store: MemoryStore, tmp_path: Path, stream: bool
) -> None:
    candidates = [{"provider": "scripted-1", "model": name, "tier": tier} for tier, name in ((1, "dear"), (2, "cheap"))]
    race = {"hedge": "50ms", "hedge_share": 1}
    prices = {"dear": {"input": 1_000, "output": 5_000}, "cheap": {"input": 1, "output": 2}}
    models = {"fast": {"race": race, "candidates": candidates}}
    async with shop(store, tmp_path, credit=1_000 * DOLLAR, models=models, prices=prices) as made:
        made.server.enqueue([{"wait": "never"}], ANSWER)
        answer = await made.ask(model="fast", stream=stream)
        assert answer.status_code == 200
        assert (answer.headers["x-hedgerow-hedged"], len(made.server.log)) == ("true", 2)
        (settlement,) = await made.booked()
        assert settlement.amount_nanos == COST
        treasury = made.live.gateway.treasury
        assert treasury is not None
        await made.live.log.wait_entry()
        await treasury.log.flush()
        (row,) = await store.logs(LogFilter())
        assert (row.amount_nanos, row.upstream_model, row.hedged, row.attempts) == (COST, "cheap", True, 2)
        assert row.waste_nanos > 0
        assert row.waste_nanos % 1_000_000 == 0, "at the loser's price"
        made.server.gate("never").set()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_the_first_content_pays_nothing(
    store: MemoryStore, tmp_path: Path, stream: bool
) -> None:
    async with shop(store, tmp_path, key={"in_flight_max": 1}) as made:
        made.server.enqueue([{"wait": "first"}])
        async with client_in_mid_answer(made, stream=stream):
            await made.server.wait_request(0)
        entry = await made.live.log.wait_entry()
        assert entry.outcome == "client_gone"
        assert await made.booked() == []
        assert (await made.balance()).balance_nanos == DOLLAR
        assert (await made.ask()).status_code == 200, "its place is free again"
        made.server.gate("first").set()


async def test_a_count_that_makes_no_sense_is_charged_up_to_what_there_is(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, billing={"tiers": [{"spend": 0, "markup": 3.5}]}) as made:
        absurd = {"prompt_tokens": 10**40, "completion_tokens": TOKENS_MAX, "total_tokens": 5}
        made.server.enqueue([{"answer": {"content": "x", "usage": absurd}}])
        answer = await made.ask()
        assert answer.status_code == 200
        (settlement,) = await made.booked()
        assert settlement.cost_nanos == ANSWER_NANOS_MAX
        assert settlement.amount_nanos + settlement.uncollected_nanos == ANSWER_NANOS_MAX
        assert 0 < settlement.amount_nanos <= DOLLAR
        assert (await made.balance()).balance_nanos == DOLLAR - settlement.amount_nanos


async def test_a_place_of_a_key_of_the_configuration_comes_back(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, rates={"*": {"in_flight_max": 1}}) as made:
        for _ in range(3):
            assert (await made.ask(KEY)).status_code == 200
        made.server.enqueue([{"status": 500}])
        assert (await made.ask(KEY)).status_code != 200
        assert (await made.ask(KEY)).status_code == 200
        assert await made.booked() == [], "who has no account pays nothing"


# -- what fails midway -------------------------------------------------------------------------------------------------


def broken(*_: object) -> Position:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cannot_be_written_down_is_not_finished_and_free(
    store: MemoryStore, tmp_path: Path, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(store, tmp_path, key={"in_flight_max": 1}) as made:
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "append", broken)
            made.server.enqueue(ANSWER)
            answer = await made.ask(stream=stream)
        if stream:
            assert "[DONE]" not in answer.text
            assert "internal_error" in answer.text
        else:
            assert (answer.status_code, error_of(answer)["code"]) == (500, "internal_error")
        assert await made.booked() == []
        assert (await made.ask()).status_code == 200, "its place is free again"
        treasury = made.live.gateway.treasury
        assert treasury is not None
        assert treasury.journal.statistics().booked == 0
        assert len(await made.booked()) == 1


@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_a_client_that_leaves_what_cannot_be_written_down_costs_nothing_else(
    store: MemoryStore, tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    billing = {"tiers": [], "on_disconnect": policy}
    async with shop(store, tmp_path, key={"in_flight_max": 1}, billing=billing) as made:
        treasury = made.live.gateway.treasury
        assert treasury is not None
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "append", broken)
            made.server.enqueue(STREAM)
            async with client_in_mid_answer(made, stream=True) as client:
                received = b""
                while b"two" not in received:
                    received += await client.receive_some()
            entry = await made.live.log.wait_entry()
            made.server.gate("left").set()
            with trio.fail_after(5):
                await treasury.drains.wait_idle()
        assert entry.outcome == "client_gone"
        assert await made.booked() == []
        assert treasury.journal.statistics().booked == 0
        assert (await made.ask()).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_its_answer_is_made_durable_has_had_it(
    store: MemoryStore, tmp_path: Path, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, gate = threading.Event(), threading.Event()
    sync = Journal.sync

    def slow(journal: Journal) -> Position:
        syncing.set()
        assert gate.wait(10)
        return sync(journal)

    async with shop(store, tmp_path) as made:
        treasury = made.live.gateway.treasury
        assert treasury is not None
        treasury.bookkeeper._durable = True
        monkeypatch.setattr(Journal, "sync", slow)
        made.server.enqueue(ANSWER)
        received = b""
        async with client_in_mid_answer(made, stream=stream) as client:
            while not syncing.is_set():
                with trio.move_on_after(0.01):
                    received += await client.receive_some()
        gate.set()
        await made.live.log.wait_entry()
        assert b"[DONE]" not in received
        assert b"200 OK" in received or not stream
        assert [each.amount_nanos for each in await made.booked()] == [COST]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_whose_last_bytes_find_nobody_is_charged_once(
    store: MemoryStore, tmp_path: Path, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> bytes:
        raise ClientGone

    async with shop(store, tmp_path, key={"in_flight_max": 1}, billing={"tiers": [], "on_disconnect": "drain"}) as made:
        made.server.enqueue(ANSWER)
        with monkeypatch.context() as patched:
            patched.setattr(Downstream, "end_of_stream" if stream else "answer", gone)
            async with client_in_mid_answer(made, stream=stream):
                entry = await made.live.log.wait_entry()
        assert entry.outcome == "client_gone"
        assert [each.amount_nanos for each in await made.booked()] == [COST]
        assert (await made.ask()).status_code == 200


async def test_who_waits_for_a_lease_and_leaves_takes_nothing_with_him(store: MemoryStore, tmp_path: Path) -> None:
    async with shop(store, tmp_path, key={"in_flight_max": 1}) as made:
        store.delay_seconds = 0.2
        treasury = made.live.gateway.treasury
        assert treasury is not None
        async with client_in_mid_answer(made):
            while not treasury.lender.statistics().waited_total:
                await trio.sleep(0.01)
        entry = await made.live.log.wait_entry()
        assert (entry.outcome, made.server.log) == ("client_gone", [])
        assert treasury.journal.statistics().booked == 0
        store.delay_seconds = 0.0
        assert (await made.ask()).status_code == 200


async def test_a_reload_leaves_what_is_under_way_its_price_and_its_place(store: MemoryStore, tmp_path: Path) -> None:
    from engine.config import load_document

    rates = {"*": {"in_flight_max": 1}}
    async with shop(store, tmp_path, rates=rates) as made:
        made.server.enqueue([{"wait": "first"}, *ANSWER])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.ask)
            await made.server.wait_request(0)
            assert (await made.ask()).status_code == 429
            prices = {"scripted": {"input": 2, "output": 4}}
            sections = document(made.server.base_url, prices=prices, billing={"tiers": []})
            made.live.gateway.reconfigure(load_document(sections, {}))
            made.server.enqueue(ANSWER)
            assert (await made.ask()).status_code == 200, "the limit is gone"
            made.server.gate("first").set()
        amounts = sorted(each.amount_nanos for each in await made.booked())
        assert amounts == [COST, 2 * COST], "each at the price by which it was reserved"


async def test_the_store_away_for_a_moment_is_503_in_every_dialect(store: MemoryStore, tmp_path: Path) -> None:
    async with sdk_shop(store, tmp_path, key={}) as made:
        store.fail(UnavailableError("away"))
        for dialect in DIALECTS:
            heard = await ask(dialect, made.live.origin, "scripted", stream=False)
            assert heard.failed
            assert heard.status == 503
            assert heard.headers["retry-after"] == "2"
        store.heal()
        assert made.server.log == []


def test_a_settlement_at_its_largest_has_room_in_the_journal() -> None:
    from store.journal_format import BODY_BYTES_MAX

    leases = tuple((f"month:account:{'x' * 40}", 24_298) for _ in range(6))
    made = Settlement(
        *("x" * 64, 1_763_770_000, "x" * 40, "x" * 40, "x" * 40, 20_414, 24_298),
        *(ANSWER_NANOS_MAX, ANSWER_NANOS_MAX, ANSWER_NANOS_MAX),
        leases,
        "",
    )
    assert len(msgspec.msgpack.encode(made)) <= BODY_BYTES_MAX


async def test_a_bug_of_ours_in_mid_stream_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop(MemoryStore(), tmp_path) as made:
        receive = Attempt.receive

        async def fail_behind_the_first(attempt: Attempt, until: float = inf) -> bytes:
            if attempt.tap is not None and attempt.tap.content:
                raise RuntimeError("a bug")
            return await receive(attempt, until)

        monkeypatch.setattr(Attempt, "receive", fail_behind_the_first)
        made.server.enqueue(
            [{"event": ROLE}, {"event": delta("one")}, {"sleep_ms": 20}, {"event": FINISH}, {"done": True}]
        )
        answer = await made.ask(stream=True)
        assert "one" in answer.text
        assert await made.booked() == []
    assert "a bug" in caplog.text


async def test_a_key_of_the_configuration_pays_nothing_and_its_cost_is_in_the_log(tmp_path: Path) -> None:
    store = MemoryStore()
    async with shop(store, tmp_path) as made:
        made.server.enqueue(ANSWER)
        assert (await made.ask(KEY)).status_code == 200
        assert await made.booked() == []
        treasury = made.live.gateway.treasury
        assert treasury is not None
        await treasury.log.flush()
        (row,) = await store.logs(LogFilter())
        assert (row.key, row.account, row.amount_nanos, row.cost_nanos) == ("test", None, 0, COST)
