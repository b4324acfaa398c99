"""The account API: who is told what, in which shape, and what is refused."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from quart.typing import TestClientProtocol as Client
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers, MultiDict

from adapters.errors import ClientError
from engine.budgets.periods import Period, window
from engine.console.account import AccountApi
from engine.console.account_asked import credential, log_query
from engine.console.account_me import plain_ratio
from engine.console.account_panel import number_of, quota
from engine.console.account_roster import Roster
from engine.console.app import PANEL_PATHS, Console, create_app
from engine.console.status import Billing, Status, read_status, write_status
from engine.datadir import database
from engine.keys import digest_of
from engine.money import NANOS
from engine.routes import Action, resolve
from store.db import open_store
from store.interface import Store, StoreError, UnavailableError
from store.memory import MemoryStore
from store.rows import Account, Key, LogRow, Position, Role, Settlement, Team, TransferKind, Want, wallet_of
from tests.engine.test_console import ask, console_process

NOW = 1_700_000_000  # 2023-11-14 22:13:20
MIDNIGHT, DECEMBER = 1_700_006_400, 1_701_388_800
CENT = NANOS // 100

TEAM = Team(id="team_1", name="Green", cap_month_nanos=100 * NANOS)
ACCOUNT = Account(id="acc_1", name="ann", team="team_1", cap_day_nanos=2 * NANOS, created=NOW - 40 * 86_400)
TOKEN = "sk-hr-one"
KEY = Key(
    id="key_1",
    account="acc_1",
    name="laptop",
    digest=digest_of(TOKEN.encode()),
    shown="-one",
    models=("model-*",),
    cap_day_nanos=NANOS,
    requests_per_minute=60,
    created=NOW - 86_400,
)
OTHER = Account(id="acc_2", name="bob")
OTHERS = Key(id="key_2", account="acc_2", name="laptop", digest=digest_of(b"sk-hr-two"))

BILLING = Billing(
    tiers=[(0, 400_000), (50 * NANOS, 300_000), (200 * NANOS, 220_000)], groups={"default": 1_000_000, "vip": 850_000}
)
BEARER = {"authorization": f"Bearer {TOKEN}"}
PATHS = ["/v1/me", "/api/v1/me", *sorted(PANEL_PATHS)]


ROW = LogRow(
    id="x",
    time=NOW,
    request_id="req",
    account="acc_1",
    key="key_1",
    surface="s",
    model="model-a",
    provider="p",
    upstream_model="m",
    dialect="d",
    upstream_dialect="d",
    stream=True,
    status=200,
    outcome="ok",
    input_tokens=10,
    output_tokens=5,
    cached_tokens=4,
    cache_write_tokens=0,
    reasoning_tokens=0,
    audio_tokens=0,
    estimated=False,
    cost_nanos=CENT,
    amount_nanos=CENT,
    waste_nanos=0,
    attempts=1,
    hedged=False,
    ttft_ms=250.9,
    duration_ms=2999.0,
    address="192.0.2.7",
)


async def change(store: Store, row: Account | Key | Team) -> None:
    """Put `row` in the place of what is there, whatever was changed since."""
    news = await store.news(None, 0)
    rows: tuple[Account | Key | Team, ...] = (*news.teams, *news.accounts, *news.keys)
    version = next((each.version for each in rows if each.id == row.id), 0)
    row = replace(row, version=version)
    match row:
        case Key():
            await store.put_key(row)
        case Account():
            await store.put_account(row)
        case Team():
            await store.put_team(row)


def row(number: int, **fields: Any) -> LogRow:
    """Return the request of `number` seconds ago."""
    return replace(ROW, **{"id": f"x{number}", "time": NOW - number + 0.5, "request_id": f"req_{number}", **fields})


class Ground(NamedTuple):
    """A console with accounts, and what stands behind it."""

    client: Client
    store: MemoryStore
    api: AccountApi
    app: QuartTrio

    async def get(self, path: str, status: int = 200, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()} or BEARER
        answer = await self.client.get(path, headers=sent)
        assert answer.status_code == status, await answer.get_data(as_text=True)
        assert answer.content_type == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        return msgspec.json.decode(await answer.get_data(as_text=False))


async def spend(
    store: Store, number: int, nanos: int, *, time: int = NOW, account: str = "acc_1", key: str = "key_1"
) -> None:
    """Book one answer, leased and settled as a worker does it; number 0 first."""
    if not number:
        await store.enter("w", NOW)
    [grant] = await store.lease("w", [Want(wallet_of(account), 0, None, nanos, nanos)], [], NOW)
    assert grant.granted == nanos
    day, month = window(Period.DAY, time), window(Period.MONTH, time)
    settlement = Settlement(f"x{number}", time, account, key, TEAM.id, day, month, nanos, 0, 0, (), "")
    assert await store.settle("w", [settlement], Position(0, number), Position(0, number + 1)) == 1


async def fill(store: Store) -> None:
    """Put two accounts with a key and ten dollars each into a store."""
    await store.put_team(TEAM)
    for account in (ACCOUNT, OTHER):
        await store.put_account(account)
        await store.credit(account.id, 10 * NANOS, TransferKind.TOP_UP, id=f"tr_{account.id}", now=NOW)
    for key in (KEY, OTHERS):
        await store.put_key(key)


def app_of(runtime: Path) -> tuple[QuartTrio, AccountApi]:
    write_status(runtime, Status(version="1", start_time=NOW, billing=BILLING))
    console = Console(runtime, now=lambda: NOW)
    api, app = AccountApi(console), create_app(console)
    api.mount(app)
    app.testing = True
    return app, api


@pytest.fixture
async def ground(tmp_path: Path) -> Ground:
    app, api = app_of(tmp_path)
    store = MemoryStore()
    await fill(store)
    api.open(store)
    return Ground(app.test_client(), store, api, app)


# -- /v1/me ------------------------------------------------------------------------------------------------------------


async def test_me(ground: Ground) -> None:
    await spend(ground.store, 0, 25 * CENT)
    await ground.store.lease("w", [Want(wallet_of("acc_1"), 0, None, 3 * NANOS, 3 * NANOS)], [], NOW)
    await ground.store.retier(BILLING.tiers, now=NOW, every_seconds=60)

    def cap(limit: int | None, used: int, resets_at: int) -> dict[str, object]:
        remaining = None if limit is None else limit - used
        texts = {nanos: None if nanos is None else f"{nanos / NANOS:.2f}" for nanos in (limit, used, remaining)}
        return {
            "limit": texts[limit],
            "limit_nanos": limit,
            "used": texts[used],
            "used_nanos": used,
            "remaining": texts[remaining],
            "remaining_nanos": remaining,
            "resets_at": resets_at,
        }

    used = 25 * CENT
    assert await ground.get("/v1/me") == {
        "object": "account",
        "id": "acc_1",
        "name": "ann",
        "role": "user",
        "team": {"id": "team_1", "name": "Green"},
        "currency": "USD",
        "balance": "9.75",
        "balance_nanos": 9_750_000_000,
        "leased": "3.00",
        "leased_nanos": 3_000_000_000,
        "spend_30_days": "0.25",
        "spend_30_days_nanos": 250_000_000,
        "tier": {
            "index": 0,
            "markup": "0.4",
            "markup_ppm": 400_000,
            "from": "0.00",
            "from_nanos": 0,
            "next": {
                "index": 1,
                "markup": "0.3",
                "markup_ppm": 300_000,
                "from": "50.00",
                "from_nanos": 50 * NANOS,
                "missing": "49.75",
                "missing_nanos": 49_750_000_000,
            },
        },
        "group": {"name": "default", "price_ratio": "1", "price_ratio_ppm": 1_000_000},
        "caps": {
            "key": {"day": cap(NANOS, used, MIDNIGHT), "month": cap(None, used, DECEMBER)},
            "account": {"day": cap(2 * NANOS, used, MIDNIGHT), "month": cap(None, used, DECEMBER)},
            "team": {"day": cap(None, used, MIDNIGHT), "month": cap(100 * NANOS, used, DECEMBER)},
        },
        "key": {
            "id": "key_1",
            "name": "laptop",
            "shown": "-one",
            "scopes": {"surfaces": [], "models": ["model-*"], "addresses": []},
            "created": NOW - 86_400,
            "expires_at": None,
            "rates": {"requests_per_minute": 60, "tokens_per_minute": None, "in_flight_max": None},
        },
    }
    assert await ground.get("/api/v1/me") == await ground.get("/v1/me")


async def test_me_of_somebody_without_a_team_a_cap_or_a_count(ground: Ground) -> None:
    shown = await ground.get("/v1/me", authorization="Bearer sk-hr-two")
    assert (shown["id"], shown["team"], shown["caps"]["team"]) == ("acc_2", None, None)
    assert shown["tier"]["markup_ppm"] == 400_000
    assert all(cap["limit"] is cap["remaining_nanos"] is None for cap in shown["caps"]["account"].values())


@pytest.mark.parametrize(
    ("rolling", "index", "following", "missing"),
    [
        (0, 0, 1, 50 * NANOS),
        (50 * NANOS - 1, 0, 1, 1),
        (50 * NANOS, 1, 2, 150 * NANOS),
        (200 * NANOS, 2, None, None),
    ],
)
async def test_the_tier_is_of_the_spend_and_its_markup_what_is_charged(
    ground: Ground, rolling: int, index: int, following: int | None, missing: int | None
) -> None:
    await change(ground.store, replace(ACCOUNT, rolling_nanos=rolling, markup_ppm=123_456))
    tier = (await ground.get("/v1/me"))["tier"]
    assert (tier["index"], tier["markup"], tier["markup_ppm"]) == (index, "0.123456", 123_456)
    if following is None:
        assert tier["next"] is None
    else:
        assert (tier["next"]["index"], tier["next"]["missing_nanos"]) == (following, missing)


async def test_a_cap_lowered_below_what_was_spent_has_nothing_left(ground: Ground) -> None:
    await spend(ground.store, 0, 60 * CENT)
    await change(ground.store, replace(KEY, cap_day_nanos=50 * CENT))
    day = (await ground.get("/v1/me"))["caps"]["key"]["day"]
    assert (day["limit"], day["used"], day["remaining"], day["remaining_nanos"]) == ("0.50", "0.60", "0.00", 0)


@pytest.mark.parametrize(("group", "ratio", "ppm"), [("vip", "0.85", 850_000), ("gone", None, None)])
async def test_a_keys_group_stands_in_for_the_accounts(
    ground: Ground, group: str, ratio: str | None, ppm: int | None
) -> None:
    await change(ground.store, replace(KEY, group=group))
    assert (await ground.get("/v1/me"))["group"] == {"name": group, "price_ratio": ratio, "price_ratio_ppm": ppm}


async def test_without_a_status_there_are_no_tiers(ground: Ground, tmp_path: Path) -> None:
    write_status(tmp_path, Status(version="1", start_time=NOW))
    shown = await ground.get("/v1/me")
    assert shown["tier"] is shown["group"]["price_ratio"] is None


def test_billing_survives_the_file(tmp_path: Path) -> None:
    write_status(tmp_path, Status(version="1", start_time=NOW, billing=BILLING))
    status = read_status(tmp_path)
    assert status is not None
    assert [tuple(tier) for tier in status.billing.tiers] == BILLING.tiers
    assert status.billing.groups == BILLING.groups


@pytest.mark.parametrize(
    ("ppm", "text"), [(0, "0"), (1, "0.000001"), (400_000, "0.4"), (1_000_000, "1"), (12_500_000, "12.5")]
)
def test_ratios(ppm: int, text: str) -> None:
    assert plain_ratio(ppm) == text


# -- the panel's shapes ------------------------------------------------------------------------------------------------


async def test_user(ground: Ground) -> None:
    await spend(ground.store, 0, 25 * CENT)
    await spend(ground.store, 1, CENT, time=NOW - 35 * 86_400)
    await ground.store.log([row(0), row(1, key=None), row(2, account="acc_2")])
    assert await ground.get("/api/user/self") == {
        "success": True,
        "message": "",
        "data": {
            "id": number_of("acc_1"),
            "username": "ann",
            "display_name": "ann",
            "role": 1,
            "status": 1,
            "email": "",
            "group": "default",
            "quota": 4_870_000,
            "used_quota": 130_000,
            "request_count": 2,
            "aff_code": "",
            "aff_count": 0,
            "aff_quota": 0,
            "aff_history_quota": 0,
            "inviter_id": 0,
            "setting": "{}",
            "stripe_customer": "",
            "sidebar_modules": "",
            "permissions": {},
        },
    }
    await change(ground.store, replace(ACCOUNT, role=Role.ADMIN))
    assert (await ground.get("/api/user/self"))["data"]["role"] == 10


async def test_top_up_info(ground: Ground, tmp_path: Path) -> None:
    info = (await ground.get("/api/user/topup/info"))["data"]
    assert not any(value for name, value in info.items() if name.startswith("enable_"))
    assert (info["pay_methods"], info["amount_options"], info["discount"], info["min_topup"]) == ([], [], {}, 0)
    write_status(tmp_path, Status(version="1", start_time=NOW, billing=Billing(top_up_nanos_min=NANOS + 1)))
    assert (await ground.get("/api/user/topup/info"))["data"]["min_topup"] == 2


async def test_log_rows(ground: Ground) -> None:
    failed = {"outcome": "upstream_error", "status": 502, "amount_nanos": 0, "ttft_ms": None, "model": None}
    await ground.store.log([row(0, amount_nanos=1999), row(1, key="key_9", **failed)])
    page = (await ground.get("/api/log/self"))["data"]
    assert (page["total"], page["page"], page["page_size"]) == (2, 1, 10)
    first, second = page["items"]
    other = msgspec.json.decode(first.pop("other"))
    assert (other["frt"], other["cache_tokens"], other["request_id"]) == (250, 4, "req_0")
    assert first == {
        "id": number_of("x0"),
        "user_id": number_of("acc_1"),
        "created_at": NOW,
        "type": 2,
        "content": "",
        "username": "ann",
        "token_name": "laptop",
        "model_name": "model-a",
        "quota": 0,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "use_time": 2,
        "is_stream": True,
        "channel": 0,
        "token_id": number_of("key_1"),
        "group": "",
        "ip": "192.0.2.7",
    }
    assert (second["content"], second["token_name"], second["model_name"]) == ("upstream_error (502)", "", "")
    assert msgspec.json.decode(second["other"])["frt"] == 0


async def ids(ground: Ground, query: str, path: str = "/api/log/self") -> tuple[int, list[str]]:
    page = (await ground.get(f"{path}?{query}"))["data"]
    return page["total"], [msgspec.json.decode(item["other"])["request_id"] for item in page["items"]]


async def test_pages_of_the_log(ground: Ground) -> None:
    await ground.store.log([row(number) for number in range(120)])
    assert await ids(ground, "p=2&page_size=2") == (120, ["req_2", "req_3"])
    assert await ids(ground, "p=0&page_size=1") == await ids(ground, "page_size=1") == (120, ["req_0"])
    assert len((await ids(ground, "page_size=0"))[1]) == len((await ids(ground, "p=&page_size="))[1]) == 10
    assert len((await ids(ground, "page_size=5000"))[1]) == 100
    assert await ids(ground, "p=1000000") == (120, [])


async def test_filters_of_the_log(ground: Ground) -> None:
    await change(ground.store, replace(KEY, id="key_3", name="server", digest=digest_of(b"sk-hr-three")))
    mine = [row(0), row(1, key="key_3"), row(2, model="model-b"), row(3, time=NOW - 3.0)]
    await ground.store.log([*mine, row(4, account="acc_2", key="key_2"), row(5, account=None, key=None)])
    assert await ids(ground, "") == (4, ["req_0", "req_1", "req_2", "req_3"])
    assert await ids(ground, "type=2") == await ids(ground, "type=0")
    assert await ids(ground, "type=1") == (0, [])
    assert await ids(ground, "token_name=server") == (1, ["req_1"])
    assert await ids(ground, "token_name=nobodys") == (0, [])
    assert await ids(ground, "model_name=model-b") == (1, ["req_2"])
    assert await ids(ground, f"end_timestamp={NOW - 3}") == (1, ["req_3"])
    assert await ids(ground, f"start_timestamp={NOW - 1}&end_timestamp={NOW - 1}") == (1, ["req_1"])
    assert await ids(ground, "start_timestamp=0&end_timestamp=0&group=x") == await ids(ground, "")


async def test_another_accounts_key_is_not_found_by_its_name(ground: Ground) -> None:
    await change(ground.store, replace(OTHERS, name="only-bobs"))
    await ground.store.log([row(0, account="acc_2", key="key_2")])
    assert await ids(ground, "token_name=only-bobs") == (0, [])


async def test_sums_of_the_log(ground: Ground) -> None:
    await ground.store.log([row(0), row(59), row(61), row(3600, model="model-b"), row(1, account="acc_2")])
    stat = "/api/log/self/stat"
    assert (await ground.get(stat))["data"] == {"quota": 4 * 5000, "rpm": 2, "tpm": 30}
    assert (await ground.get(f"{stat}?end_timestamp={NOW - 60}"))["data"] == {"quota": 10_000, "rpm": 2, "tpm": 30}
    assert (await ground.get(f"{stat}?model_name=model-b"))["data"] == {"quota": 5000, "rpm": 0, "tpm": 0}
    assert (await ground.get(f"{stat}?token_name=x"))["data"] == {"quota": 0, "rpm": 0, "tpm": 0}


async def test_usage_of_a_key(ground: Ground) -> None:
    await spend(ground.store, 0, 25 * CENT)
    await spend(ground.store, 1, 10 * CENT, key="key_9")
    data = {
        "object": "token_usage",
        "name": "laptop",
        "total_granted": 500_000,
        "total_used": 125_000,
        "total_available": 375_000,
        "unlimited_quota": False,
        "model_limits": {"model-*": True},
        "model_limits_enabled": True,
        "expires_at": 0,
    }
    for path in ("/api/usage/token", "/api/usage/token/"):
        assert await ground.get(path) == {"code": True, "message": "ok", "data": data}
    shown = (await ground.get("/api/usage/token", authorization="Bearer sk-hr-two"))["data"]
    assert (shown["unlimited_quota"], shown["total_available"], shown["model_limits"]) == (True, 5_000_000, {})


@pytest.mark.parametrize("narrow", ["key", "account", "team"])
async def test_available_is_the_narrowest_of_the_caps(ground: Ground, narrow: str) -> None:
    limits = {"cap_day_nanos": 5 * NANOS, "cap_month_nanos": 3 * NANOS}
    free = {"cap_day_nanos": None, "cap_month_nanos": None}
    await change(ground.store, replace(KEY, **(limits if narrow == "key" else free)))
    await change(ground.store, replace(ACCOUNT, **(limits if narrow == "account" else free)))
    await change(ground.store, replace(TEAM, **(limits if narrow == "team" else free)))
    assert (await ground.get("/api/usage/token"))["data"]["total_available"] == 1_500_000


@pytest.mark.parametrize(("nanos", "units"), [(0, 0), (1999, 0), (2000, 1), (NANOS, 500_000), (10**18, 5 * 10**14)])
def test_quota_is_rounded_down(nanos: int, units: int) -> None:
    assert quota(nanos) == units


def test_numbers_that_stand_for_ids() -> None:
    numbers = {number_of(f"acc_{number}") for number in range(1000)}
    assert len(numbers) == 1000
    assert all(0 <= number < 1 << 31 for number in numbers)
    assert number_of("") == 0


# -- keys --------------------------------------------------------------------------------------------------------------


def envelope(path: str, body: Any) -> tuple[str, str | None]:
    """Return the message and the code of an error, after a look at its shape."""
    if path in PANEL_PATHS:
        assert set(body) == {"success", "message"}
        assert body["success"] is False
        return body["message"], None
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["message"], error["code"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
async def test_nobody_is_told_anything(ground: Ground, path: str, accept: str) -> None:
    message, code = envelope(path, await ground.get(path, 401, accept=accept))
    assert "no API key" in message
    assert code in {None, "missing_api_key"}
    message, code = envelope(path, await ground.get(path, 401, accept=accept, authorization="Bearer sk-guess"))
    assert message == "incorrect API key"
    assert code in {None, "invalid_api_key"}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (replace(KEY, disabled=True), "disabled_api_key"),
        (replace(KEY, expires=NOW), "expired_api_key"),
        (replace(KEY, digest=digest_of(b"sk-hr-rolled")), "invalid_api_key"),
        (replace(ACCOUNT, disabled=True), "disabled_api_key"),
    ],
    ids=["disabled", "expired", "replaced", "account"],
)
async def test_a_key_that_is_no_longer_in_force(ground: Ground, changed: Key | Account, word: str) -> None:
    for path in PATHS:
        await ground.get(path)
    await change(ground.store, changed)
    for path in PATHS:
        _, code = envelope(path, await ground.get(path, 401))
        assert code in {None, word}
    answer = await ground.client.get("/v1/me", headers=BEARER)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_is_in_force_until_it_expires_and_again_when_enabled(ground: Ground) -> None:
    await change(ground.store, replace(KEY, expires=NOW + 1))
    assert (await ground.get("/v1/me"))["key"]["expires_at"] == NOW + 1
    assert (await ground.get("/api/usage/token"))["data"]["expires_at"] == NOW + 1
    await change(ground.store, replace(KEY, disabled=True))
    await ground.get("/v1/me", 401)
    await change(ground.store, KEY)
    await ground.get("/v1/me")


async def test_a_digest_that_wandered_to_another_key(ground: Ground) -> None:
    await ground.get("/v1/me")
    await change(ground.store, replace(OTHERS, digest=digest_of(b"sk-hr-three")))
    await change(ground.store, replace(KEY, digest=OTHERS.digest))
    await ground.get("/v1/me", 401)
    assert (await ground.get("/v1/me", authorization="Bearer sk-hr-two"))["key"]["id"] == "key_1"
    assert (await ground.get("/v1/me", authorization="Bearer sk-hr-three"))["key"]["id"] == "key_2"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"bearer  {TOKEN} "},
        {"x_api_key": TOKEN},
        {"x_goog_api_key": TOKEN},
        {"authorization": "Basic eDp5", "x_api_key": TOKEN},
    ],
)
async def test_where_a_key_may_stand(ground: Ground, headers: dict[str, str]) -> None:
    assert (await ground.get("/v1/me", 200, **headers))["id"] == "acc_1"


async def test_a_key_in_the_query(ground: Ground) -> None:
    assert (await ground.get(f"/api/log/self?p=1&key={TOKEN}", accept="*/*"))["success"]
    await ground.get("/v1/me?key=", 401, accept="*/*")
    await ground.get(f"/v1/me?key={TOKEN}", 401, authorization="Bearer sk-guess")


@given(st.binary(max_size=40), st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_credential_is_bytes_or_none(query: bytes, value: str) -> None:
    for name in ("authorization", "x-api-key"):
        headers = Headers([(name, value.replace("\n", "").replace("\r", ""))])
        assert credential(headers, b"key=" + query) != b""


@pytest.mark.parametrize(
    ("address", "status"),
    [("192.0.2.9", 200), ("::ffff:192.0.2.9", 200), ("2001:db8::1", 200), ("192.0.3.9", 403), ("unix", 403)],
)
async def test_a_key_for_some_addresses_only(ground: Ground, address: str, status: int) -> None:
    await change(ground.store, replace(KEY, addresses=("192.0.2.0/24", "2001:db8::/32")))
    body = await ground.get("/v1/me", status, x_forwarded_for=address, x_api_key=TOKEN)
    if status == 403:
        assert body["error"]["type"] == "permission_error"
    await ground.get("/v1/me", 401, x_forwarded_for=address, authorization="Bearer sk-guess")


async def test_those_who_wait_for_each_other_ask_the_store_once(ground: Ground) -> None:
    roster = Roster(ground.store)
    before = ground.store.statistics().calls
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(roster.identify, TOKEN.encode(), NOW, "")
    assert ground.store.statistics().calls - before <= 2
    await roster.identify(TOKEN.encode(), NOW, "")
    assert ground.store.statistics().calls - before <= 3


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/log/self", "/api/log/self/stat"])
@pytest.mark.parametrize(
    "query",
    [
        *("p=x", "p=-1", "p=1.5", "p=%D9%A3", "p=1e3", "p=1000001", "p=%00", f"p={'9' * 5000}", "page_size=-1"),
        *("page_size=all", "type=-1", "type=100", "start_timestamp=NaN", "end_timestamp=253402300800", "p=%FF", "p=+1"),
    ],
)
async def test_odd_numbers_are_400(ground: Ground, path: str, query: str) -> None:
    message, _ = envelope(path, await ground.get(f"{path}?{query}", 400))
    assert message.startswith(f"{query.partition('=')[0]} must be a whole number from 0 to")


@pytest.mark.parametrize("text", ["%00", "%FF", "%ED%A0%80", "'%20OR%201=1--", "%25", "*", "x" * 5000])
async def test_odd_names_find_nothing(ground: Ground, text: str) -> None:
    await ground.store.log([row(0)])
    for name in ("model_name", "token_name"):
        assert await ids(ground, f"{name}={text}") == (0, [])


@given(
    st.dictionaries(
        st.sampled_from(["p", "page_size", "type", "start_timestamp", "end_timestamp"]), st.text(max_size=20)
    )
)
def test_any_query_is_read_or_refused(arguments: dict[str, str]) -> None:
    try:
        query = log_query(MultiDict(arguments))
    except ClientError as exc:
        status = exc.failure.status
    else:
        status = 200
        assert query.offset >= 0
        assert 1 <= query.page_rows <= 100
    plain = all(re.fullmatch("[0-9]*", text) for text in arguments.values())
    assert status == 200 if plain and not any(arguments.values()) else status in {200, 400}
    assert plain or status == 400


@pytest.mark.parametrize("path", PATHS)
async def test_a_store_that_fails_or_is_not_open_is_503_and_works_again(ground: Ground, path: str) -> None:
    async def unavailable() -> None:
        answer = await ground.client.get(path, headers=BEARER)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        message, code = envelope(path, await answer.get_json())
        assert message == "accounts are not available now"
        assert code in {None, "store_unavailable"}

    ground.store.fail(UnavailableError("locked"))
    await unavailable()
    ground.store.heal()
    await ground.get(path)
    ground.api.close()
    await unavailable()
    ground.api.open(ground.store)
    await ground.get(path)


async def test_a_failure_after_the_key_was_found_is_503_too(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise UnavailableError("disk full")

    monkeypatch.setattr(ground.store, "balance", fails)
    await ground.get("/v1/me", 503)


async def test_a_bug_of_the_store_is_not_called_unavailable(ground: Ground) -> None:
    ground.app.testing = False
    ground.store.fail(StoreError("a bug"))
    assert (await ground.get("/v1/me", 500))["error"]["type"] == "server_error"
    assert (await ground.get("/api/user/self", 500))["success"] is False


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_can_be_written(ground: Ground, path: str) -> None:
    answer = await ground.client.post(path, headers=BEARER)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    envelope(path, await answer.get_json())


@pytest.mark.parametrize("path", PATHS)
async def test_without_accounts_there_is_nothing(tmp_path: Path, path: str) -> None:
    client = create_app(Console(tmp_path)).test_client()
    answer = await client.get(path, headers=BEARER)
    assert answer.status_code == 404
    message, code = envelope(path, await answer.get_json())
    assert path in message
    assert code in {None, "unknown_url"}


async def test_every_panel_path_is_served_with_a_slash_at_its_end_too(ground: Ground) -> None:
    for path in PANEL_PATHS:
        assert await ground.get(path + "/") == await ground.get(path)


async def test_no_answer_holds_a_token_or_a_digest(ground: Ground) -> None:
    await ground.store.log([row(0)])
    for path in PATHS:
        answer = await ground.client.get(path, headers=BEARER)
        body = await answer.get_data(as_text=False)
        assert TOKEN.encode() not in body
        assert KEY.digest.hex().encode() not in body
        assert b"digest" not in body


# -- the way there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [b"/v1/me", b"/api/v1/me"])
def test_the_workers_leave_me_to_the_console(path: bytes) -> None:
    assert resolve("GET", path) is resolve("HEAD", path) is None
    for method in ("POST", "PUT", "DELETE"):
        match = resolve(method, path)
        assert match is not None
        assert (match.surface.action, match.argument) == (Action.WRONG_METHOD, b"GET, HEAD, OPTIONS")
    preflight = resolve("OPTIONS", path)
    assert preflight is not None
    assert preflight.surface.action is Action.PREFLIGHT


@pytest.mark.parametrize("path", [b"/v1/me/", b"/v1/mex", b"/v1/me/x", b"/v1beta/me"])
def test_nothing_else_below_an_api_prefix_is_the_consoles(path: bytes) -> None:
    match = resolve("GET", path)
    assert match is not None
    assert match.surface.action is Action.UNKNOWN


@pytest.mark.parametrize("path", sorted(PANEL_PATHS))
def test_the_panels_paths_are_the_consoles(path: str) -> None:
    assert resolve("GET", path.encode()) is None


# -- the process -------------------------------------------------------------------------------------------------------


async def asked(runtime: Path, target: str, token: str = TOKEN) -> tuple[int, Any]:
    """Ask a real console as a worker does; return the status and the body."""
    head = f"GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
    with trio.fail_after(30):
        answer = await ask(runtime, head.encode())
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split(" ")[1]), msgspec.json.decode(body)


async def test_the_process_answers_from_the_store_that_others_write(tmp_path: Path) -> None:
    write_status(tmp_path, Status(version="1", start_time=NOW, billing=BILLING))
    data = tmp_path / "data"
    async with open_store(database(data)) as store:
        await fill(store)
        await spend(store, 0, 25 * CENT)
        await store.log([row(0), row(1)])
        async with console_process(tmp_path, "--data", str(data)):
            assert (await asked(tmp_path, "/v1/me"))[1]["balance"] == "9.75"
            for path in PATHS:
                status, body = await asked(tmp_path, path)
                assert (status, body.get("success", True)) == (200, True)
                assert (await asked(tmp_path, path, "sk-guess"))[0] == 401
            assert (await asked(tmp_path, "/api/log/self?page_size=1&p=2"))[1]["data"]["total"] == 2
            for query, total in (("p=1000000", 2), ("model_name=%00", 0), ("token_name=%ED%A0%80", 0)):
                status, body = await asked(tmp_path, f"/api/log/self?{query}")
                assert (status, body["data"]["total"], body["data"]["items"]) == (200, total, [])
            await change(store, replace(KEY, disabled=True))
            assert (await asked(tmp_path, "/v1/me"))[0] == 401


async def test_a_store_that_cannot_be_opened_costs_the_accounts_alone(tmp_path: Path) -> None:
    write_status(tmp_path, Status(version="1", start_time=NOW))
    database(tmp_path).write_bytes(b"no database, but long enough to be looked at" * 100)
    async with console_process(tmp_path, "--data", str(tmp_path)):
        assert (await asked(tmp_path, "/v1/me"))[0] == 503
        assert (await asked(tmp_path, "/api/user/self"))[1]["success"] is False
        assert (await asked(tmp_path, "/api/status"))[0] == 200
