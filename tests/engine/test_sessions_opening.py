"""Opening a session: who is refused and how, who is asked, in what order, and what an upstream gets to see."""

import time
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
import trio
import websockets
from websockets.asyncio.client import connect as websockets_connect
from websockets.typing import Subprotocol

from bench import realtime_upstream
from bench.realtime_upstream import ScriptedRealtime
from store.memory import MemoryStore
from tests.engine.accounts import TOKEN
from tests.engine.live import KEY, running
from tests.engine.sessions import (
    REALTIME,
    SOCKETED,
    by_sdk,
    configured,
    knocking,
    model_query,
    refused,
    salon,
    visiting,
)

BROWSER = f"realtime, openai-insecure-api-key.{TOKEN}, openai-beta.realtime-v1"


def provider(upstream: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "compatible",
        "base_url": upstream,
        "models": ["scripted"],
        "key": "sk-upstream",
        "sessions": ["realtime"],
        **more,
    }


MUTE = {"kind": "compatible", "base_url": "http://127.0.0.1:9/v1", "models": ["model"], "sessions": []}
"""A provider without sessions."""


# -- who is let in -----------------------------------------------------------------------------------------------------


async def test_a_browser_is_answered_realtime_and_nothing_else(tmp_path: Path) -> None:
    async with salon(tmp_path) as made:
        headers = ("sec-websocket-protocol", BROWSER), ("origin", "https://app.example")
        async with visiting(made.live, REALTIME, *headers, token=None) as visitor:
            assert visitor.headers["sec-websocket-protocol"] == "realtime"
            assert TOKEN not in str(visitor.headers)
            await visitor.hear("session.created")
            await visitor.close()
        (record,) = made.server.sessions
        assert record.header("authorization") == "Bearer sk-upstream"
        assert record.offered == []
        assert TOKEN not in f"{record.headers} {record.target}"
        assert "beta" not in str(record.headers).lower()
        entry = await made.entry()
        assert entry.key == "key_1"
        assert TOKEN not in str(entry)


async def test_no_subprotocol_is_answered_to_who_offers_none(tmp_path: Path) -> None:
    async with salon(tmp_path) as made, visiting(made.live) as visitor:
        assert "sec-websocket-protocol" not in visitor.headers


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (REALTIME, (("authorization", f"Bearer {TOKEN}"), ("openai-beta", "realtime=v1"))),
        (REALTIME, (("x-api-key", TOKEN),)),
        (f"{REALTIME}&key={TOKEN}", ()),
        (f"/api{REALTIME}", (("authorization", f"Bearer {TOKEN}"),)),
        ("/v1/realtime?model=scripted-1%2Fscripted", (("authorization", f"Bearer {TOKEN}"),)),
        ("/v1/realtime?model=scripted", (("authorization", f"Bearer {TOKEN}"),)),
    ],
)
async def test_the_ways_in(tmp_path: Path, target: str, headers: tuple[tuple[str, str], ...]) -> None:
    async with salon(tmp_path) as made:
        async with visiting(made.live, target, *headers, token=None) as visitor:
            await visitor.hear("session.created")
            assert visitor.headers["x-hedgerow-provider"] == "scripted-1"
            await visitor.close()
        (record,) = made.server.sessions
        assert (record.path, record.query) == ("/v1/realtime", {"model": "scripted"})
        assert TOKEN not in f"{record.headers} {record.target}"
        assert record.header("openai-beta") is None


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("model=fast&call_id=rtc_1&temperature=1", {"model": "scripted", "call_id": "rtc_1"}),
        ("model=fast&intent=transcription", {"intent": "transcription"}),
    ],
)
async def test_what_of_the_query_an_upstream_gets(tmp_path: Path, query: str, seen: dict[str, str]) -> None:
    async with salon(tmp_path) as made:
        async with visiting(made.live, f"/v1/realtime?{query}") as visitor:
            await visitor.hear("session.created")
            await visitor.close()
        assert made.server.sessions[0].query == seen


async def test_the_websockets_package_has_a_session(tmp_path: Path) -> None:
    async with salon(tmp_path) as made:
        url = made.live.base_url.replace("http", "ws", 1) + "/realtime?model=fast"

        async def talk(_: openai.AsyncOpenAI) -> tuple[str | None, str | bytes, int]:
            # Compression is its default, and must be left out without a fuss.
            async with websockets_connect(
                url, subprotocols=[Subprotocol("realtime")], additional_headers=SIGNED
            ) as socket:
                created = await socket.recv()
                await socket.close(4001, "enough")
                return socket.subprotocol, created, socket.close_code or 0

        subprotocol, created, code = await by_sdk(made.live, talk)
        assert (subprotocol, code) == ("realtime", 4001)
        assert "session.created" in str(created)
        record = made.server.sessions[0]
        await record.ended.wait()
        assert (record.close_code, record.close_reason) == (4001, "enough")


SIGNED = {"authorization": f"Bearer {TOKEN}"}


# -- who is not --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "token", "status", "code"),
    [
        ("/v1/realtime", TOKEN, 400, "missing_required_parameter"),
        ("/v1/realtime?model=", TOKEN, 400, "missing_required_parameter"),
        (REALTIME, None, 401, "missing_api_key"),
        (REALTIME, "sk-hr-nobody", 401, "invalid_api_key"),
        (model_query("nobody/has-it"), TOKEN, 404, "model_not_found"),
        (model_query("mute/model"), TOKEN, 404, "model_not_found"),
        (model_query("scripted-1/unpriced"), TOKEN, 404, "model_not_priced"),
    ],
)
async def test_refusals_are_statuses(tmp_path: Path, target: str, token: str | None, status: int, code: str) -> None:
    async with salon(tmp_path, providers={"mute": MUTE}) as made:
        refusal = await refused(made.live, target, token=token)
        assert (refusal.status, refusal.code) == (status, code)
        assert refusal.headers["content-type"] == "application/json"
        assert "sec-websocket-accept" not in refusal.headers
        assert made.server.sessions == []
        entry = await made.entry()
        assert (entry.status, entry.outcome, entry.surface) == (status, "client_error", "realtime")


KEYS: list[tuple[dict[str, Any], int, str]] = [
    ({"surfaces": ("chat",)}, 403, "surface_not_allowed"),
    ({"addresses": ("192.0.2.0/24",)}, 403, "address_not_allowed"),
    ({"models": ("other-*",)}, 404, "model_not_found"),
    ({"disabled": True}, 401, "disabled_api_key"),
    ({"expires": 1}, 401, "expired_api_key"),
    ({"cap_day_nanos": 1_000}, 402, "cap_exceeded"),
    ({"requests_per_minute": 0}, 429, "rate_limit_exceeded"),
    ({"in_flight_max": 0}, 429, "rate_limit_exceeded"),
]


@pytest.mark.parametrize(("key", "status", "code"), KEYS)
async def test_what_a_key_may_not(tmp_path: Path, key: dict[str, Any], status: int, code: str) -> None:
    async with salon(tmp_path, key=key) as made:
        refusal = await refused(made.live)
        assert (refusal.status, refusal.code) == (status, code)
        assert made.server.sessions == []


async def test_without_money_no_upstream_is_asked(tmp_path: Path) -> None:
    async with salon(tmp_path, credit=1_000) as made:
        refusal = await refused(made.live)
        assert (refusal.status, refusal.code) == (402, "insufficient_balance")
        assert made.server.sessions == []


@pytest.mark.parametrize("target", [REALTIME, "/v1/realtime/client_secrets", SOCKETED])
async def test_switched_off_is_501(tmp_path: Path, target: str) -> None:
    async with salon(tmp_path, realtime={"enabled": False}) as made:
        if target.endswith("client_secrets"):
            answer = await made.ask(path="/realtime/client_secrets")
            assert (answer.status_code, answer.json()["error"]["code"]) == (501, "realtime_disabled")
        else:
            refusal = await refused(made.live, target)
            assert (refusal.status, refusal.code) == (501, "realtime_disabled")


@pytest.mark.parametrize(
    ("headers", "upgrade", "status"),
    [
        ((), False, 426),
        ((("sec-websocket-version", "8"),), True, 426),
        ((("upgrade", "h2c"), ("connection", "upgrade"), ("sec-websocket-version", "13")), False, 426),
        (
            (
                *(("upgrade", "websocket"), ("connection", "upgrade")),
                *(("sec-websocket-version", "13"), ("sec-websocket-key", "c2hvcnQ=")),
            ),
            False,
            400,
        ),
    ],
)
async def test_what_is_no_handshake(
    tmp_path: Path, headers: tuple[tuple[str, str], ...], upgrade: bool, status: int
) -> None:
    async with salon(tmp_path) as made:
        refusal = await refused(made.live, REALTIME, *headers, upgrade=upgrade)
        assert (refusal.status, refusal.code) == (status, "bad_handshake")
        if status == 426:
            assert refusal.headers["upgrade"] == "websocket"
            assert refusal.headers["sec-websocket-version"] == "13"


async def test_the_sdk_sees_the_status_of_a_refusal(tmp_path: Path) -> None:
    async with salon(tmp_path) as made:

        async def talk(client: openai.AsyncOpenAI) -> int:
            try:
                async with client.realtime.connect(model="fast"):
                    return 101
            except websockets.InvalidStatus as exc:
                return exc.response.status_code

        assert await by_sdk(made.live, talk, token="sk-hr-nobody") == 401


async def test_a_refused_connection_serves_on(tmp_path: Path) -> None:
    """A refusal declines the upgrade: what follows on the connection is an ordinary request."""
    async with salon(tmp_path) as made:
        stream = await made.live.connect()
        head = b"GET /v1/realtime HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + TOKEN.encode() + b"\r\n"
        head += b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
        head += b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        for _ in range(2):
            await stream.send_all(head)
            received = b""
            while b"missing_required_parameter" not in received:
                received += bytes(await stream.receive_some())
            assert received.startswith(b"HTTP/1.1 400 ")


# -- who is asked ------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Any] = {
    "401": {"status": 401},
    "403": {"status": 403},
    "429": {"status": 429, "headers": {"retry-after": "7"}},
    "500": {"status": 500},
    "503": {"status": 503},
    "leaves": {"handshake": "leave"},
    "resets": {"handshake": "abort"},
    "silent": {"handshake": "silent"},
    "moved": {"status": 301},
    "page": {"status": 200, "body": "<html>"},
}


async def accepted_by_the_second(directory: Path, first: str, server: ScriptedRealtime) -> list[tuple[str, int | None]]:
    """Open a session at an alias whose first candidate is `first`; return the attempts."""
    document = configured(
        first,
        providers={
            "bad": provider(first, timeouts={"connect_seconds": 0.3}, models=["worse"]),
            "good": provider(server.base_url, models=["scripted"]),
        },
        models={
            "safe": {
                "candidates": [
                    {"provider": "bad", "model": "worse"},
                    {"provider": "good", "model": "scripted", "tier": 2},
                ]
            }
        },
    )
    async with running(document) as live:
        async with visiting(live, model_query("safe"), token=KEY) as visitor:
            assert visitor.headers["x-hedgerow-provider"] == "good"
            await visitor.hear("session.created")
            await visitor.close()
        entry = await live.log.wait_entry()
        return [(each.outcome, each.status) for each in entry.attempts]


@pytest.mark.parametrize("fault", FAULTS)
async def test_another_candidate_is_asked(tmp_path: Path, fault: str) -> None:
    async with realtime_upstream.running(session=FAULTS[fault]) as bad, realtime_upstream.running() as good:
        (first, second) = await accepted_by_the_second(tmp_path, bad.base_url, good)
        assert first[0] != "ok"
        assert second == ("ok", 101)
        assert good.sessions[0].query == {"model": "scripted"}


async def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    async with realtime_upstream.running() as good:
        attempts = await accepted_by_the_second(tmp_path, "http://127.0.0.1:1/v1", good)
        assert attempts == [("refused", None), ("ok", 101)]


@pytest.mark.parametrize("fault", FAULTS)
async def test_nobody_accepts(tmp_path: Path, fault: str) -> None:
    async with realtime_upstream.running(session=FAULTS[fault]) as server:
        document = configured(server.base_url)
        document["providers"]["scripted-1"]["timeouts"] = {"connect_seconds": 0.3}
        async with running(document) as live:
            refusal = await refused(live, token=KEY)
            if fault == "429":
                assert (refusal.status, refusal.headers["retry-after"]) == (429, "7")
            else:
                assert refusal.status == 502
            assert refusal.headers["x-hedgerow-attempts"] == "1"
            entry = await live.log.wait_entry()
            assert entry.outcome == "upstream_error"


@pytest.mark.parametrize("status", [400, 404])
async def test_a_request_that_is_at_fault_is_not_tried_elsewhere(tmp_path: Path, status: int) -> None:
    async with salon(tmp_path, session={"status": status}) as made:
        refusal = await refused(made.live)
        assert refusal.status == status
        assert (await made.entry()).outcome == "client_error"


async def test_a_client_that_leaves_while_its_upstream_is_asked(tmp_path: Path) -> None:
    async with salon(tmp_path, session={"handshake": "silent"}) as made:
        with trio.move_on_after(10):
            async with trio.open_nursery() as nursery:

                async def leave() -> None:
                    record = await made.server.wait_session(0)
                    nursery.cancel_scope.cancel()
                    assert not record.accepted

                nursery.start_soon(leave)
                async with knocking(made.live):
                    pass
        entry = await made.entry()
        assert (entry.status, entry.outcome) == (499, "client_gone")
        assert (await made.booked()) == []


async def test_a_gateway_without_keys_serves_loopback_only(tmp_path: Path) -> None:
    async with realtime_upstream.running() as server:
        document = configured(server.base_url, keys=None)
        document["keys"] = {}
        async with running(document) as live:
            async with visiting(live, token=None) as visitor:
                await visitor.hear("session.created")
                await visitor.close()
            refusal = await refused(live, REALTIME, ("origin", "https://evil.example"), token=None)
            assert (refusal.status, refusal.code) == (403, "loopback_only")


# -- client secrets ----------------------------------------------------------------------------------------------------

SETTINGS = {"type": "realtime", "model": "fast", "instructions": "Be brief.", "output_modalities": ["text"]}


async def minted(made: Any, **more: Any) -> Any:
    body = {"session": SETTINGS, "expires_after": {"anchor": "created_at", "seconds": 60}, **more}
    headers = {"authorization": f"Bearer {TOKEN}"}
    return await made.client.post(f"{made.live.base_url}/realtime/client_secrets", json=body, headers=headers)


@pytest.mark.parametrize("way", ["header", "subprotocol", "no model"])
async def test_a_secret_opens_the_session_it_was_minted_for(tmp_path: Path, way: str) -> None:
    async with salon(tmp_path) as made:
        answer = await minted(made)
        assert answer.status_code == 200
        secret = answer.json()
        assert secret["value"].startswith("ek_")
        assert abs(secret["expires_at"] - time.time() - 60) < 30
        assert secret["session"] == SETTINGS
        offered = ("sec-websocket-protocol", f"realtime, openai-insecure-api-key.{secret['value']}")
        headers = (offered,) if way == "subprotocol" else ()
        target = "/v1/realtime" if way == "no model" else REALTIME
        token = None if way == "subprotocol" else secret["value"]
        async with visiting(made.live, target, *headers, token=token) as visitor:
            updated = (await visitor.hear("session.updated"))[-1]["session"]
            assert (updated["instructions"], updated["output_modalities"]) == ("Be brief.", ["text"])
            await visitor.ask()
            await visitor.hear("response.done")
            await visitor.close()
        (record,) = made.server.sessions
        assert record.query == {"model": "scripted"}
        first = record.events()[0]
        assert (first["type"], first["session"]["model"]) == ("session.update", "scripted")
        (settlement,) = await made.booked()
        assert (settlement.key, settlement.account) == ("key_1", "acc_1")


async def test_the_sdk_mints_a_secret(tmp_path: Path) -> None:
    async with salon(tmp_path) as made:

        async def talk(client: openai.AsyncOpenAI) -> list[str]:
            secret = await client.realtime.client_secrets.create(
                session={"type": "realtime", "model": "fast"}, expires_after={"anchor": "created_at", "seconds": 30}
            )
            async with (
                openai.AsyncOpenAI(api_key=secret.value, base_url=str(client.base_url)) as browser,
                browser.realtime.connect(model="fast") as connection,
            ):
                return [(await connection.recv()).type for _ in range(2)]

        assert await by_sdk(made.live, talk) == ["session.created", "session.updated"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"session": {"type": "realtime"}}, 400),
        ({"session": {"type": "realtime", "model": "mute/model"}}, 404),
        ({"session": []}, 400),
        ({"session": {"model": 1}}, 400),
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, 400),
        ({"expires_after": {"anchor": "created_at", "seconds": 7201}}, 400),
        ({"session": {"model": "fast", "instructions": "x" * 5000}}, 400),
    ],
)
async def test_secrets_that_are_not_minted(tmp_path: Path, body: dict[str, Any], status: int) -> None:
    async with salon(tmp_path, providers={"mute": MUTE}) as made:
        answer = await minted(made, **body)
        assert answer.status_code == status
        assert answer.json()["error"]["message"]


async def test_what_a_secret_may_not(tmp_path: Path) -> None:
    async with salon(tmp_path) as made:
        secret = (await minted(made)).json()["value"]
        assert (await refused(made.live, model_query("scripted"), token=secret)).status == 404
        tampered = secret[:-2] + ("AA" if secret[-2:] != "AA" else "BB")
        assert (await refused(made.live, token=tampered)).status == 401
        assert (await refused(made.live, token=secret[:30])).status == 401
        assert (await refused(made.live, token="ek_hr_é")).status == 401
        assert (await made.ask(secret)).status_code == 403
        assert (await refused(made.live, SOCKETED, token=secret)).status == 403
        headers = {"authorization": f"Bearer {secret}"}
        again = await made.client.post(
            f"{made.live.base_url}/realtime/client_secrets", json={"session": SETTINGS}, headers=headers
        )
        assert again.status_code == 403
        assert made.server.sessions == []


async def test_a_secret_that_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with salon(tmp_path) as made:
        secret = (await minted(made)).json()["value"]
        later = time.time() + 61
        monkeypatch.setattr("engine.keyring.time.time", lambda: later)
        refusal = await refused(made.live, token=secret)
        assert (refusal.status, refusal.code) == (401, "invalid_api_key")


async def test_a_secret_dies_with_its_key(tmp_path: Path) -> None:
    store = MemoryStore()
    async with salon(tmp_path, store=store) as made:
        secret = (await minted(made)).json()["value"]
        (row,) = (await store.news("", 0)).keys
        await store.put_key(msgspec.structs.replace(row, disabled=True))
        treasury = made.live.gateway.treasury
        assert treasury is not None
        await treasury.learn()
        refusal = await refused(made.live, token=secret)
        assert (refusal.status, refusal.code) == (401, "disabled_api_key")


@pytest.mark.parametrize("keyless", [False, True])
async def test_secrets_of_gateways_without_accounts(tmp_path: Path, keyless: bool) -> None:
    async with realtime_upstream.running() as server:
        document = configured(server.base_url, realtime={"pin_model": False})
        if keyless:
            document["keys"] = {}
        async with running(document) as live:

            async def talk(client: openai.AsyncOpenAI) -> str:
                return (
                    await client.realtime.client_secrets.create(session={"type": "realtime", "model": "fast"})
                ).value

            secret = await by_sdk(live, talk, token=KEY)
            async with visiting(live, token=secret) as visitor:
                await visitor.hear("session.updated")
                await visitor.say({"type": "session.update", "session": {"type": "realtime", "model": "other"}})
                (error,) = await visitor.hear("error")
                assert error["error"]["code"] == "model_not_allowed"
                await visitor.close()


async def test_everything_at_once_is_refused_when_there_is_no_place(tmp_path: Path) -> None:
    async with salon(tmp_path, limits={"requests_in_flight_max": 1}) as made, visiting(made.live) as visitor:
        await visitor.hear("session.created")
        assert (await refused(made.live)).status == 503
