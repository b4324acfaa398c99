"""Responses over a WebSocket: relayed, held to one model, metered by each response, refused in `error` events."""

import json
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
import trio

from bench import realtime_upstream
from tests.engine.live import KEY, running
from tests.engine.sessions import REALTIME, SOCKETED, by_sdk, configured, kinds, refused, salon, visiting

CREATE: dict[str, Any] = {"type": "response.create", "model": "fast", "input": "one two three"}
IN, OUT = 4_000, 16_000
"""Nano-dollars a token, by the prices of `tests.engine.sessions`."""


def usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }


async def test_the_sdk_has_turns(tmp_path: Path) -> None:
    async with salon(tmp_path, session={"turns": [{"text": "First."}, {"text": "Second one."}]}) as made:

        async def talk(client: openai.AsyncOpenAI) -> list[str]:
            texts: list[str] = []
            previous: Any = openai.omit
            async with client.responses.connect() as connection:
                for _ in range(2):
                    await connection.response.create(model="fast", input="hi", previous_response_id=previous)
                    async for event in connection:
                        if event.type == "response.completed":
                            texts.append(event.response.output_text)
                            previous = event.response.id
                            break
            return texts

        assert await by_sdk(made.live, talk) == ["First.", "Second one."]
        (record,) = made.server.sessions
        assert (record.path, record.query) == ("/v1/responses", {})
        assert record.header("authorization") == "Bearer sk-upstream"
        assert [event["model"] for event in record.events()] == ["scripted", "scripted"]
        totals = made.server.totals("response")
        row = await made.row()
        assert (row.input_tokens, row.output_tokens) == (totals.input_tokens, totals.output_tokens)
        assert (row.surface, row.model, row.status, row.outcome) == ("responses_socket", "fast", 101, "ok")
        assert len(await made.booked()) == totals.count == 2


async def test_each_response_is_paid_once_however_it_ends(tmp_path: Path) -> None:
    turns = [
        {"usage": usage(10, 1)},
        {"usage": usage(20, 2), "status": "failed"},
        {"usage": usage(30, 3), "status": "incomplete"},
        {"usage": usage(40, 4), "done_times": 2},
    ]
    async with salon(tmp_path, session={"turns": turns}) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.say(CREATE, CREATE, CREATE, CREATE)
            for end in ("completed", "failed", "incomplete", "completed", "completed"):
                await visitor.hear(f"response.{end}")
            await visitor.close()
        costs = sorted(each.amount_nanos for each in await made.booked())
        assert costs == [10 * n * IN + n * OUT for n in (1, 2, 3, 4)]


async def test_a_warm_up_costs_what_its_upstream_says(tmp_path: Path) -> None:
    async with salon(tmp_path) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.say({**CREATE, "generate": False, "input": []})
            done = (await visitor.hear("response.completed"))[-1]
            await visitor.say({**CREATE, "previous_response_id": done["response"]["id"]})
            await visitor.hear("response.completed")
            await visitor.close()
        amounts = sorted(each.amount_nanos for each in await made.booked())
        assert amounts[0] == 0
        assert len(amounts) == 2


async def test_lanes_beside_each_other(tmp_path: Path) -> None:
    async with salon(tmp_path, session={"turns": [{"usage": usage(1, 1)}] * 3}) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.say(*({**CREATE, "stream_id": lane} for lane in ("a", "b", "c")))
            events = [event for _ in range(3) for event in await visitor.hear("response.completed")]
            assert {event["stream_id"] for event in events} == {"a", "b", "c"}
            await visitor.close()
        assert [each.amount_nanos for each in await made.booked()] == [IN + OUT] * 3


async def test_a_session_is_held_to_its_model_and_limit(tmp_path: Path) -> None:
    async with salon(tmp_path, realtime={"output_tokens_max": 2}) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.say(CREATE)
            done = (await visitor.hear("response.incomplete"))[-1]
            assert done["response"]["max_output_tokens"] == 2
            await visitor.say({**CREATE, "model": "other"})
            (error,) = await visitor.hear("error")
            assert (error["status"], error["error"]["code"]) == (403, "model_not_allowed")
            await visitor.say(CREATE)
            await visitor.hear("response.incomplete")
            await visitor.close()
        assert len(made.server.sessions[0].heard) == 2


async def test_a_dialects_own_headers_pass_and_nothing_else(tmp_path: Path) -> None:
    headers = ("openai-beta", "responses_websockets=2026-02-06"), ("openai-organization", "org_1"), ("cookie", "a=b")
    async with salon(tmp_path) as made:
        async with visiting(made.live, SOCKETED, *headers) as visitor:
            await visitor.say(CREATE)
            await visitor.hear("response.completed")
            await visitor.close()
        record = made.server.sessions[0]
        assert record.header("openai-beta") == "responses_websockets=2026-02-06"
        assert record.header("openai-organization") is None
        assert record.header("cookie") is None


REFUSED: list[tuple[str | dict[str, Any], int, str]] = [
    ({**CREATE, "model": "nobody/x"}, 404, "model_not_found"),
    ({**CREATE, "model": "mute/model"}, 404, "model_not_found"),
    ({**CREATE, "model": "scripted-1/unpriced"}, 404, "model_not_priced"),
    ({"type": "response.create"}, 400, "missing_required_parameter"),
    ({"type": "session.update"}, 400, "missing_required_parameter"),
    ("no json", 400, "missing_required_parameter"),
]


@pytest.mark.parametrize(("frame", "status", "code"), REFUSED)
async def test_refusals_are_events(tmp_path: Path, frame: Any, status: int, code: str) -> None:
    mute = {"kind": "compatible", "base_url": "http://127.0.0.1:9/v1", "models": ["model"], "sessions": []}
    async with salon(tmp_path, providers={"mute": mute}) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.send(frame if isinstance(frame, str) else json.dumps(frame))
            closed, reason, (error,) = await visitor.closed()
            assert (closed, reason) == (1008, code)
            assert (error["type"], error["status"], error["error"]["code"]) == ("error", status, code)
        assert made.server.sessions == []
        assert (await made.entry()).outcome == "client_error"


async def test_without_money_it_is_an_event(tmp_path: Path) -> None:
    async with salon(tmp_path, credit=1_000) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.say(CREATE)
            code, reason, (error,) = await visitor.closed()
        assert (code, reason, error["status"]) == (1008, "insufficient_balance", 402)
        assert made.server.sessions == []


async def test_an_upstream_that_does_not_accept(tmp_path: Path) -> None:
    async with salon(tmp_path, session={"status": 500}) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.say(CREATE)
            code, _, (error,) = await visitor.closed()
        assert (code, error["status"]) == (1011, 502)
        assert (await made.entry()).outcome == "upstream_error"


@pytest.mark.parametrize("upgrade", [True, False])
async def test_426_where_nobody_has_it(tmp_path: Path, upgrade: bool) -> None:
    async with realtime_upstream.running() as server:
        configuration = configured(server.base_url)
        configuration["providers"]["scripted-1"]["sessions"] = ["realtime"]
        async with running(configuration) as live:
            refusal = await refused(live, SOCKETED, token=KEY, upgrade=upgrade)
            assert (refusal.status, refusal.code) == (426, "upgrade_not_served")


@pytest.mark.parametrize("how", ["idle", "drain", "leaves", "closes"])
async def test_a_client_that_never_says_what_it_wants(tmp_path: Path, how: str) -> None:
    limits = {"idle_seconds": 0.2} if how == "idle" else {}
    async with salon(tmp_path, realtime=limits) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            if how == "drain":
                made.live.server.drain()
            if how in {"idle", "drain"}:
                code, _, events = await visitor.closed()
                assert (code, events) == (1001 if how == "idle" else 1012, [])
            elif how == "closes":
                assert (await visitor.close(1000))[0] == 1000
        entry = await made.entry()
        assert entry.outcome == ("ok" if how in {"idle", "drain", "closes"} else "client_gone")
        assert made.server.sessions == []


async def test_a_client_that_leaves_in_the_middle_pays_for_what_passed(tmp_path: Path) -> None:
    turn = {"deltas": 100, "hold_after": 40}
    async with salon(tmp_path, session={"turns": [turn]}) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.say(CREATE)
            for _ in range(40):
                await visitor.hear("response.output_text.delta")
        row = await made.row()
        assert row.outcome == "client_gone"
        assert row.estimated
        assert row.output_tokens >= 40
        (settlement,) = await made.booked()
        assert settlement.amount_nanos == row.amount_nanos > 40 * OUT
        assert msgspec.json.decode(settlement.detail)["usage"]["estimated"]


@pytest.mark.parametrize(("policy", "charged"), [("free", False), ("estimate", True)])
async def test_an_upstream_that_breaks_in_the_middle(tmp_path: Path, policy: str, charged: bool) -> None:
    cue = {"after": "response.output_text.delta", "count": 5, "do": "abort"}
    billing = {"tiers": [], "on_incomplete": policy}
    async with salon(tmp_path, session={"turns": [{"deltas": 20}], "cues": [cue]}, billing=billing) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.say(CREATE)
            code, _, events = await visitor.closed()
        assert code == 1011
        assert kinds(events)[-1] == "error"
        await made.entry()
        assert bool(await made.booked()) is charged


async def test_a_key_for_one_of_them_is_not_for_the_other(tmp_path: Path) -> None:
    async with salon(tmp_path, key={"surfaces": ("realtime",)}) as made:
        assert (await refused(made.live, SOCKETED)).code == "surface_not_allowed"
        async with visiting(made.live, REALTIME) as visitor:
            await visitor.hear("session.created")
            await visitor.close()
        with trio.fail_after(5):
            await made.server.sessions[0].ended.wait()


async def test_a_response_without_figures_is_estimated(tmp_path: Path) -> None:
    async with salon(tmp_path, session={"turns": [{"deltas": 10, "usage": None}]}) as made:
        async with visiting(made.live, SOCKETED) as visitor:
            await visitor.say(CREATE)
            await visitor.hear("response.completed")
            await visitor.close()
        (settlement,) = await made.booked()
        counted = msgspec.json.decode(settlement.detail)["usage"]
        assert counted["estimated"]
        assert counted["output_tokens"] >= 10
        assert settlement.amount_nanos == counted["input_tokens"] * IN + counted["output_tokens"] * OUT
