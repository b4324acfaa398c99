"""The scripted realtime server, seen by the official SDK and, where it misbehaves, by wsproto and bare bytes."""

import asyncio
import base64
import json
import subprocess
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import trio
import trio.testing
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from bench import realtime_upstream
from bench.realtime_script import Session, Turn, parse_session
from bench.realtime_upstream import ScriptedRealtime
from bench.realtime_wire import Head, Wire, message_frames
from bench.script import ScriptError

AUDIO = base64.b64encode(bytes(9600)).decode()
"""200 ms of it: two tokens."""


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRealtime]:
    with trio.fail_after(20):
        async with realtime_upstream.running() as running:
            yield running


class Client:
    """One WebSocket to the server; wsproto judges what comes back."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.wsproto = WSConnection(ConnectionType.CLIENT)
        self._events: deque[Event] = deque()

    async def send(self, event: Event) -> None:
        await self.stream.send_all(self.wsproto.send(event))

    async def event(self) -> Event:
        """Give the next event; the end of the connection is a close of 1006."""
        while not self._events:
            try:
                data = bytes(await self.stream.receive_some(65536))
            except trio.BrokenResourceError:
                data = b""
            self.wsproto.receive_data(data or None)
            self._events.extend(self.wsproto.events())
        return self._events.popleft()

    async def message(self) -> str | bytes:
        parts: list[Any] = []
        while True:
            event = await self.event()
            assert isinstance(event, TextMessage | BytesMessage), event
            parts.append(event.data)
            if event.message_finished:
                return "".join(parts) if isinstance(event, TextMessage) else b"".join(parts)

    async def say(self, kind: str, **fields: Any) -> None:
        await self.send(TextMessage(data=json.dumps({"type": kind, **fields})))

    async def hear(self, until: str) -> list[dict[str, Any]]:
        """Give every event up to the first of that type, it included."""
        events = [json.loads(await self.message())]
        while events[-1]["type"] != until:
            events.append(json.loads(await self.message()))
        return events

    async def closed(self) -> tuple[int, str]:
        """Give the code and the reason of the Close that comes next, and answer it."""
        event = await self.event()
        assert isinstance(event, CloseConnection), event
        if self.wsproto.state is ConnectionState.REMOTE_CLOSING:
            await self.send(event.response())
        return event.code, event.reason or ""


@asynccontextmanager
async def knocking(
    port: int,
    target: str = "/v1/realtime?model=gpt-realtime",
    *,
    subprotocols: list[str] | None = None,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> AsyncIterator[tuple[Client, Event]]:
    """Give a client and what its handshake was answered with."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        client = Client(stream)
        asked = Request(host="upstream", target=target, subprotocols=subprotocols or [], extra_headers=headers or [])
        await client.send(asked)
        yield client, await client.event()


@asynccontextmanager
async def connected(server: ScriptedRealtime, *arguments: Any, **options: Any) -> AsyncIterator[Client]:
    async with knocking(server.port, *arguments, **options) as (client, answer):
        assert isinstance(answer, AcceptConnection), answer
        yield client


async def refused(port: int, *arguments: Any) -> tuple[RejectConnection, bytes]:
    async with knocking(port, *arguments) as (client, answer):
        assert isinstance(answer, RejectConnection), answer
        body = b""
        while isinstance(event := await client.event(), RejectData):
            body += bytes(event.data)
            if event.body_finished:
                break
        return answer, body


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


# -- the official SDK --------------------------------------------------------------------------------------------------


async def by_sdk(server: ScriptedRealtime, talk: Callable[[openai.AsyncOpenAI], Awaitable[list[Any]]]) -> list[Any]:
    """Run a coroutine of the SDK, which knows asyncio only, on a loop and a thread of its own."""

    async def run() -> list[Any]:
        async with asyncio.timeout(15), openai.AsyncOpenAI(api_key="sk-sdk", base_url=server.base_url) as client:
            return await talk(client)

    return await trio.to_thread.run_sync(asyncio.run, run())


async def sdk_until(connection: AsyncRealtimeConnection, kind: str) -> list[Any]:
    events = []
    async for event in connection:
        events.append(event)
        if event.type == kind:
            return events
    raise AssertionError(f"closed before {kind}")


async def test_the_sdk_has_a_text_response_in_the_order_of_recordings(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"turns": [{"text": "Hello there."}]})

    async def talk(client: openai.AsyncOpenAI) -> list[Any]:
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            content: Any = [{"type": "input_text", "text": "Say hello, please."}]
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            await connection.response.create()
            return await sdk_until(connection, "rate_limits.updated")

    events = await by_sdk(server, talk)
    assert [event.type for event in events] == [
        "session.created",
        "session.updated",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert len({event.event_id for event in events}) == len(events)
    assert events[0].session.model == "gpt-realtime"
    done = events[-2].response
    assert (done.status, done.output[0].content[0].text) == ("completed", "Hello there.")
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (3, 2, 5)
    record = server.sessions[0]
    assert record.header("authorization") == "Bearer sk-sdk"
    assert record.query == {"model": "gpt-realtime"}
    assert kinds(record.events()) == ["session.update", "conversation.item.create", "response.create"]
    await record.ended.wait()
    assert record.close_code == 1000


async def test_the_sdk_speaks_to_server_vad_and_is_transcribed(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"vad_bytes": 19200, "turns": [{"deltas": 3, "audio_bytes": 2401}]})

    async def talk(client: openai.AsyncOpenAI) -> list[Any]:
        async with client.realtime.connect(model="gpt-realtime") as connection:
            hearing: Any = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
            await connection.session.update(session={"type": "realtime", "audio": hearing})
            for _ in range(2):
                await connection.input_audio_buffer.append(audio=AUDIO)
            return await sdk_until(connection, "response.done")

    events = await by_sdk(server, talk)
    assert [event.type for event in events][2:10] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
    ]
    assert (events[2].audio_start_ms, events[3].audio_end_ms) == (0, 400)
    assert (events[8].usage.type, events[8].usage.input_token_details.audio_tokens) == ("tokens", 4)
    heard = b"".join(base64.b64decode(event.delta) for event in events if event.type == "response.output_audio.delta")
    assert len(heard) == 3 * 2401
    usage = events[-1].response.usage
    assert usage.input_token_details.audio_tokens == 4
    assert (usage.output_token_details.text_tokens, usage.output_token_details.audio_tokens) == (3, 4)
    responses, transcriptions = server.totals("response"), server.totals("transcription")
    assert (responses.count, responses.input_audio_tokens, responses.output_audio_tokens) == (1, 4, 4)
    assert (transcriptions.count, transcriptions.input_audio_tokens, transcriptions.output_tokens) == (1, 4, 4)


async def test_the_sdk_calls_a_function_and_goes_on(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"turns": [{"kind": "function", "name": "get_time"}, {"kind": "text", "text": "Noon."}]})

    async def talk(client: openai.AsyncOpenAI) -> list[Any]:
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.response.create()
            first = await sdk_until(connection, "response.done")
            call = first[-1].response.output[0]
            output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "12:00"}
            await connection.conversation.item.create(item=output)
            await connection.response.create()
            return first + await sdk_until(connection, "response.done")

    events = await by_sdk(server, talk)
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert ("".join(deltas), done.name) == (done.arguments, "get_time")
    assert json.loads(done.arguments) == {"city": "Paris", "days": 3}
    first, second = server.sessions[0].charges
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage["input_tokens"] > first.usage["output_tokens"]


async def test_the_sdk_is_told_of_mistakes_and_the_session_goes_on(server: ScriptedRealtime) -> None:
    async def talk(client: openai.AsyncOpenAI) -> list[Any]:
        errors = []
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.input_audio_buffer.commit(event_id="mine")
            await connection.response.cancel()
            await connection.conversation.item.delete(item_id="item_none")
            await connection.input_audio_buffer.append(audio="no base64")
            wrong: Any = {"type": "realtime", "model": "another"}
            await connection.session.update(session=wrong)
            await connection.input_audio_buffer.clear()
            async for event in connection:
                if event.type == "input_audio_buffer.cleared":
                    break
                if event.type == "error":
                    errors.append(event.error)
        return errors

    errors = await by_sdk(server, talk)
    assert [error.code for error in errors] == [
        "input_audio_buffer_commit_empty",
        "response_cancel_not_active",
        "item_not_found",
        "invalid_value",
        "invalid_value",
    ]
    assert errors[0].event_id == "mine"


async def test_the_sdk_interrupts_a_response_and_pays_for_what_was_said(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"turns": [{"kind": "text", "deltas": 50, "hold_after": 3}]})

    async def talk(client: openai.AsyncOpenAI) -> list[Any]:
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.response.create()
            events = [event for _ in range(3) for event in await sdk_until(connection, "response.output_text.delta")]
            await connection.response.cancel()
            return events + await sdk_until(connection, "response.done")

    events = await by_sdk(server, talk)
    done = events[-1].response
    assert (done.status, done.status_details.reason) == ("cancelled", "client_cancelled")
    assert (done.output[0].status, done.usage.output_tokens) == ("incomplete", 3)
    assert server.totals("response").output_tokens == 3


async def test_the_sdk_has_responses_over_a_websocket(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"turns": [{}, {"text": "Two words"}, {"kind": "function"}]})

    async def talk(client: openai.AsyncOpenAI) -> list[Any]:
        events: list[Any] = []
        async with client.responses.connect() as connection:
            previous = None
            for number in range(3):
                asked: Any = {"type": "response.create", "model": "gpt-5", "input": "three more words", "store": False}
                if number == 0:
                    asked["generate"] = False
                if previous is not None:
                    asked["previous_response_id"] = previous
                await connection.send(asked)
                async for event in connection:
                    events.append(event)
                    if event.type == "response.completed":
                        previous = event.response.id
                        break
            await connection.send({"type": "response.create", "model": "gpt-5", "previous_response_id": "resp_none"})
            events.append(await connection.recv())
        return events

    events = await by_sdk(server, talk)
    warm, spoken, called = [event.response for event in events if event.type == "response.completed"]
    assert warm.output == []
    assert [event.type for event in events][:3] == ["response.created", "response.in_progress", "response.completed"]
    assert spoken.output[0].content[0].text == "Two words"
    assert (spoken.usage.input_tokens, spoken.usage.input_tokens_details.cached_tokens) == (6, 3)
    assert (called.output[0].type, called.usage.input_tokens_details.cached_tokens) == ("function_call", 8)
    assert (events[-1].type, events[-1].status) == ("error", 400)
    assert events[-1].error.code == "previous_response_not_found"
    sums = server.totals("response")
    assert (sums.count, sums.input_tokens, sums.cached_tokens) == (3, 3 + 6 + 11, 0 + 3 + 8)


# -- turns -------------------------------------------------------------------------------------------------------------


async def test_each_response_has_the_whole_conversation_in_its_prompt(server: ScriptedRealtime) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    audio = {"type": "input_audio", "audio": AUDIO}
    async with connected(server) as client:
        await client.say("session.update", session={"instructions": "Be brief."})
        for part in (image, audio, {"type": "input_text", "text": "one two"}):
            await client.say("conversation.item.create", item={"type": "message", "role": "user", "content": [part]})
        for _ in range(2):
            await client.say("response.create", response={"output_modalities": ["text"]})
            events = await client.hear("response.done")
    usage = events[-1]["response"]["usage"]
    said = len(["The", "scripted", "upstream", "heard:", "one", "two"])
    assert usage == {
        "total_tokens": 4 + 85 + 2 + 2 * said,
        "input_tokens": 4 + 85 + 2 + said,
        "output_tokens": said,
        "input_token_details": {
            "text_tokens": 4 + said,
            "audio_tokens": 2,
            "image_tokens": 85,
            "cached_tokens": 4 + 85 + 2,
            "cached_tokens_details": {"text_tokens": 4, "audio_tokens": 2, "image_tokens": 85},
        },
        "output_token_details": {"text_tokens": said, "audio_tokens": 0},
    }
    assert all("audio" not in part for event in server.sessions[0].said for part in _parts(event))
    sums = server.totals("response")
    assert (sums.count, sums.cached_image_tokens, sums.input_image_tokens) == (2, 85, 170)


def _parts(frame: str | bytes) -> list[dict[str, Any]]:
    content = json.loads(frame).get("item", {}).get("content", [])
    return [part for part in content if part["type"].startswith("input_")]


@pytest.mark.parametrize(
    ("turn", "status", "details"),
    [
        ({"status": "failed", "code": "overloaded", "deltas": 0}, "failed", ("error", "code", "overloaded")),
        ({"status": "incomplete", "deltas": 2}, "incomplete", ("reason", "content_filter")),
        ({"deltas": 9}, "incomplete", ("reason", "max_output_tokens")),
    ],
)
async def test_a_response_ends_as_its_turn_or_its_limit_says(
    server: ScriptedRealtime, turn: dict[str, Any], status: str, details: tuple[str, ...]
) -> None:
    server.enqueue_sessions({"turns": [{"kind": "text", **turn}]})
    async with connected(server) as client:
        await client.say("response.create", response={"max_output_tokens": 5})
        done = (await client.hear("response.done"))[-1]["response"]
    assert done["status"] == status
    found: Any = done["status_details"]
    for key in details[:-1]:
        found = found[key]
    assert found == details[-1]
    assert done["usage"]["output_tokens"] == min(turn["deltas"], 5)


async def test_usage_is_what_the_script_gives_and_counts_once(server: ScriptedRealtime) -> None:
    given = {"input_tokens": 100, "output_tokens": 7, "input_token_details": {"cached_tokens": 60}}
    server.enqueue_sessions({"turns": [{"usage": given, "done_times": 3}, {"usage": None}], "rate_limits": False})
    async with connected(server) as client:
        for times in (3, 1):
            await client.say("response.create")
            for _ in range(times):
                events = await client.hear("response.done")
    assert events[-1]["response"]["usage"] is None
    sums = server.totals("response")
    assert (sums.count, sums.without_usage) == (2, 1)
    assert (sums.input_tokens, sums.cached_tokens, sums.output_tokens) == (100, 60, 7)


async def test_speech_interrupts_a_response_and_has_its_own_answer(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"turns": [{"deltas": 9, "hold_after": 1}, {"deltas": 2}]})
    async with connected(server) as client:
        await client.say("response.create")
        await client.hear("response.output_audio.delta")
        await client.say("input_audio_buffer.append", audio=AUDIO)
        first = (await client.hear("response.done"))[-1]["response"]
        second = (await client.hear("response.done"))[-1]["response"]
    assert (first["status"], first["status_details"]["reason"]) == ("cancelled", "turn_detected")
    assert second["status"] == "completed"
    assert [charge.status for charge in server.sessions[0].charges] == ["cancelled", "completed"]


async def test_without_vad_audio_waits_for_its_commit(server: ScriptedRealtime) -> None:
    hearing = {"turn_detection": None, "transcription": {"model": "whisper-1"}}
    async with connected(server) as client:
        await client.say("session.update", session={"audio": {"input": hearing}})
        await client.say("input_audio_buffer.append", audio=AUDIO)
        await client.say("input_audio_buffer.commit")
        events = await client.hear("conversation.item.input_audio_transcription.completed")
    assert kinds(events)[2] == "input_audio_buffer.committed"
    assert events[-1]["usage"] == {"type": "duration", "seconds": 0.2}
    assert events[1]["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert server.totals("transcription").milliseconds == 200
    assert server.sessions[0].charges[0].model == "whisper-1"


async def test_a_transcription_session_never_responds(server: ScriptedRealtime) -> None:
    async with connected(server, "/v1/realtime?intent=transcription") as client:
        transcription = {"model": "gpt-4o-transcribe"}
        await client.say("session.update", session={"audio": {"input": {"transcription": transcription}}})
        for _ in range(2):
            await client.say("input_audio_buffer.append", audio=AUDIO)
            await client.hear("conversation.item.input_audio_transcription.completed")
    assert server.totals("transcription").count == 2
    assert server.totals("response").count == 0


async def test_a_response_outside_the_conversation_leaves_it_alone(server: ScriptedRealtime) -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a b c d"}]}
    async with connected(server) as client:
        await client.say("response.create", response={"conversation": "none", "input": [item]})
        events = await client.hear("response.done")
        await client.say("response.create")
        second = (await client.hear("response.done"))[-1]
    assert "conversation.item.added" not in kinds(events)
    assert events[-1]["response"]["usage"]["input_tokens"] == 4
    assert second["response"]["usage"]["input_tokens"] == 0


async def test_the_same_session_says_the_same_bytes(server: ScriptedRealtime) -> None:
    for _ in range(2):
        async with connected(server) as client:
            await client.say("response.create")
            await client.hear("rate_limits.updated")
    first, second = ([str(frame) for frame in record.said] for record in server.sessions)
    assert [frame.replace("_0001", "_0000") for frame in second] == first


async def test_a_paced_response_is_interrupted_between_two_deltas(server: ScriptedRealtime) -> None:
    hour = 3_600_000
    server.enqueue_sessions({"turns": [{"deltas": 9, "interval_ms": hour}, {"delay_ms": hour}], "read_interval_ms": 1})
    async with connected(server) as client:
        await client.say("response.create")
        created = (await client.hear("response.created"))[-1]["response"]
        await client.hear("response.output_audio.delta")
        await client.say("response.cancel", response_id="resp_another")
        assert (await client.hear("error"))[-1]["error"]["code"] == "response_cancel_not_active"
        await client.say("response.create")
        assert (await client.hear("error"))[-1]["error"]["code"] == "conversation_already_has_active_response"
        await client.say("response.cancel", response_id=created["id"])
        first = (await client.hear("response.done"))[-1]["response"]
        await client.say("response.create")
        await client.hear("response.created")
        await client.say("response.cancel")
        second = (await client.hear("response.done"))[-1]["response"]
    assert (first["usage"]["output_token_details"], second["output"]) == ({"text_tokens": 1, "audio_tokens": 2}, [])


async def test_a_response_goes_on_when_its_gate_opens(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"turns": [{"kind": "text", "deltas": 3, "hold_after": 0, "gate": "go"}]})
    async with connected(server) as client:
        await client.say("response.create")
        await client.hear("response.created")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert server.sessions[0].counts["response.output_item.added"] == 0
        server.gate("go").set()
        assert (await client.hear("response.done"))[-1]["response"]["status"] == "completed"


# -- handshakes --------------------------------------------------------------------------------------------------------


async def test_a_refused_handshake_is_a_whole_response(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"status": 429, "headers": {"retry-after": "2"}, "body": {"error": {"code": "slow_down"}}})
    answer, body = await refused(server.port)
    assert answer.status_code == 429
    assert (b"retry-after", b"2") in answer.headers
    assert json.loads(body) == {"error": {"code": "slow_down"}}
    record = await server.wait_session()
    assert not record.accepted
    assert record.close_code is None


@pytest.mark.parametrize(("target", "status"), [("/v1/other", 404), ("/v1/realtime", 400)])
async def test_what_is_no_session_is_refused(server: ScriptedRealtime, target: str, status: int) -> None:
    answer, _ = await refused(server.port, target)
    assert answer.status_code == status


@pytest.mark.parametrize("handshake", ["leave", "abort"])
async def test_a_handshake_can_end_without_an_answer(server: ScriptedRealtime, handshake: str) -> None:
    server.enqueue_sessions({"handshake": handshake})
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with stream:
        await stream.send_all(UPGRADE)
        if handshake == "leave":
            assert await stream.receive_some() == b""
        else:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()


UPGRADE = (
    b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: upstream\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def test_a_handshake_can_be_left_without_an_answer(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"handshake": "silent"})
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    await stream.send_all(UPGRADE)
    record = await server.wait_session()
    assert not record.ended.is_set()
    await stream.aclose()
    await record.ended.wait()


async def test_a_handshake_the_library_refuses_holds_nobody(server: ScriptedRealtime) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with stream:
        await stream.send_all(UPGRADE.replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 7"))
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 4")
    record = await server.wait_session()
    assert not record.accepted


async def test_the_subprotocol_is_chosen_and_others_are_kept(server: ScriptedRealtime) -> None:
    offered = ["realtime", "openai-insecure-api-key.sk-1"]
    async with knocking(server.port, subprotocols=offered) as (_, answer):
        assert isinstance(answer, AcceptConnection)
        assert answer.subprotocol == "realtime"
    async with knocking(server.port) as (_, answer):
        assert isinstance(answer, AcceptConnection)
        assert answer.subprotocol is None
    assert [record.offered for record in server.sessions] == [offered, []]
    assert [record.protocol for record in server.sessions] == ["realtime", None]


@pytest.mark.parametrize(
    ("subprotocols", "headers"),
    [(["realtime", "openai-beta.realtime-v1"], None), (None, [(b"OpenAI-Beta", b"realtime=v1")])],
)
async def test_the_beta_is_refused(
    server: ScriptedRealtime, subprotocols: list[str] | None, headers: list[tuple[bytes, bytes]] | None
) -> None:
    async with connected(server, subprotocols=subprotocols, headers=headers) as client:
        event = json.loads(await client.message())
        assert event["error"]["code"] == "beta_api_shape_disabled"
        assert await client.closed() == (4000, "invalid_request_error.beta_api_shape_disabled")


# -- cues --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "seen"),
    [(1011, "why", (1011, "why")), (4321, "", (4321, "")), (None, "", (1005, "")), (1000, "", (1000, ""))],
)
async def test_it_closes_with_any_code_at_any_stage(
    server: ScriptedRealtime, code: int | None, reason: str, seen: tuple[int, str]
) -> None:
    cue = {"after": "response.output_audio.delta", "count": 2, "do": "close", "code": code, "reason": reason}
    server.enqueue_sessions({"turns": [{"deltas": 9}], "cues": [cue]})
    async with connected(server) as client:
        await client.say("response.create")
        for _ in range(2):
            await client.hear("response.output_audio.delta")
        assert await client.closed() == seen
    record = server.sessions[0]
    await record.ended.wait()
    assert (record.close_code, record.charges) == (seen[0], [])
    assert record.counts["response.output_audio.delta"] == 2


async def test_a_close_code_that_may_not_be_sent_is_sent(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"cues": [{"after": "session.created", "do": "close", "code": 1006}]})
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with stream:
        await stream.send_all(UPGRADE)
        received = b""
        while not received.endswith(bytes([0x88, 2]) + (1006).to_bytes(2)):
            data = await stream.receive_some()
            assert data
            received += data


@pytest.mark.parametrize("deed", ["leave", "abort"])
async def test_it_ends_the_connection_without_a_word(server: ScriptedRealtime, deed: str) -> None:
    server.enqueue_sessions({"cues": [{"after": "input_audio_buffer.append", "do": deed}]})
    async with connected(server) as client:
        await client.hear("session.created")
        await client.say("input_audio_buffer.append", audio=AUDIO)
        assert (await client.closed())[0] == 1006
    await server.sessions[0].ended.wait()
    assert server.sessions[0].close_code == 1006


@pytest.mark.parametrize(("cue", "code"), [({"do": "malformed"}, 1002), ({"do": "raw", "hex": "8101ff"}, 1007)])
async def test_it_breaks_the_framing(server: ScriptedRealtime, cue: dict[str, Any], code: int) -> None:
    server.enqueue_sessions({"cues": [{"after": "session.created", **cue}]})
    async with connected(server) as client:
        await client.hear("session.created")
        judged, _ = await client.closed()
        assert judged == code
        await client.send(CloseConnection(code=judged))
    record = server.sessions[0]
    await record.ended.wait()
    assert record.close_code == code


async def test_it_sends_what_is_too_big(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"cues": [{"after": "session.created", "do": "oversized", "size": 17_000_000}]})
    async with connected(server) as client:
        await client.hear("session.created")
        assert len(await client.message()) == 17_000_000


async def test_it_says_what_it_is_told_to_text_or_binary(server: ScriptedRealtime) -> None:
    error = json.dumps({"type": "error", "error": {"type": "server_error"}})
    cues = [
        {"after": "handshake", "do": "send", "binary": "00ff80"},
        {"after": "session.created", "do": "send", "frame": error},
    ]
    server.enqueue_sessions({"cues": cues, "fragments": 5})
    async with connected(server) as client:
        assert await client.message() == b"\x00\xff\x80"
        assert json.loads(await client.message())["type"] == "session.created"
        assert await client.message() == error
        await client.send(BytesMessage(data=b"\x01\x02"))
        assert json.loads(await client.message())["error"]["code"] == "invalid_json"
    assert server.sessions[0].heard == [b"\x01\x02"]
    assert server.sessions[0].said[0] == b"\x00\xff\x80"


async def test_it_is_quiet_until_the_gate_opens_and_answers_pings(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"cues": [{"after": "response.created", "do": "quiet", "gate": "speak"}]})
    async with connected(server) as client:
        await client.say("response.create")
        await client.hear("response.created")
        await client.send(Ping(payload=b"?"))
        assert await client.event() == Pong(payload=b"?")
        assert server.sessions[0].counts["response.output_item.added"] == 0
        server.gate("speak").set()
        await client.hear("response.done")


async def test_it_is_deaf_until_the_gate_opens(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"cues": [{"after": "session.created", "do": "deaf", "gate": "hear"}]})
    async with connected(server) as client:
        await client.hear("session.created")
        await client.send(Ping(payload=b"?"))
        await client.say("input_audio_buffer.clear")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.sessions[0].heard == []
        server.gate("hear").set()
        assert await client.event() == Pong(payload=b"?")
        await client.hear("input_audio_buffer.cleared")


async def test_a_deaf_peer_stops_who_talks_to_it(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"cues": [{"after": "session.created", "do": "deaf", "gate": "hear"}]})
    frames = 200
    async with connected(server) as client, trio.open_nursery() as nursery:
        await client.hear("session.created")
        sent: Counter[str] = Counter()

        async def talk() -> None:
            for number in range(frames):
                await client.say("input_audio_buffer.clear", event_id=str(number), padding="x" * 100_000)
                sent["frames"] += 1

        nursery.start_soon(talk)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert sent["frames"] < frames
        server.gate("hear").set()
        await server.sessions[0].wait_passed("input_audio_buffer.clear", frames)
        assert [event["event_id"] for event in server.sessions[0].events()] == [str(n) for n in range(frames)]
        nursery.cancel_scope.cancel()


async def test_a_half_open_peer_says_and_hears_nothing(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"cues": [{"after": "response.created", "do": "half_open"}]})
    heard: list[Event] = []
    async with connected(server) as client, trio.open_nursery() as nursery:
        await client.say("response.create")
        await client.hear("response.created")
        await client.send(Ping(payload=b"?"))

        async def listen() -> None:
            heard.append(await client.event())

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()
    assert heard == []
    assert server.sessions[0].counts.total() == 4
    assert not server.sessions[0].ended.is_set()


async def test_a_session_that_is_held_notices_that_its_peer_leaves(server: ScriptedRealtime) -> None:
    server.enqueue_sessions({"cues": [{"after": "input_audio_buffer.append", "do": "quiet"}]})
    async with connected(server) as client:
        await client.say("input_audio_buffer.append", audio=AUDIO)
        await client.say("response.create")
    await server.sessions[0].ended.wait()
    assert server.sessions[0].charges == []


async def test_a_client_that_closes_is_told_apart(server: ScriptedRealtime) -> None:
    async with connected(server) as client:
        await client.hear("session.created")
        await client.send(CloseConnection(code=3001, reason="enough"))
        assert await client.closed() == (3001, "enough")
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with stream:
        await stream.send_all(UPGRADE)
        await (await server.wait_session(1)).wait_passed("session.created")
    for record in server.sessions:
        await record.ended.wait()
    assert [(record.close_code, record.close_reason) for record in server.sessions] == [(3001, "enough"), (1006, "")]


# -- the rest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        {"turn": []},
        {"turns": [{"kind": "song"}]},
        {"status": 101},
        {"cues": [{"after": "x", "do": "sing"}]},
        {"cues": [{"after": "x", "do": "close", "gate": "g"}]},
        {"cues": [{"after": "x", "do": "close", "reason": "no code"}]},
        {"cues": [{"after": "x", "do": "send"}]},
        {"cues": [{"after": "x", "do": "oversized"}]},
        {"cues": [{"after": "x", "do": "raw", "hex": "zz"}]},
        [],
    ],
)
def test_a_script_is_checked_when_it_is_given(script: object) -> None:
    with pytest.raises(ScriptError):
        parse_session(script)


def test_a_session_may_be_given_as_structs() -> None:
    session = Session(turns=(Turn(text="a  b c"),))
    assert parse_session(session) is session
    assert session.turn(0).pieces("usual") == ["a", "  b", " c"]
    assert session.turn(1).pieces("as usual") == ["as", " usual"]


@pytest.mark.parametrize(("message", "fragments"), [("", 1), ("é" * 3, 4), ("x" * 70_000, 1), (b"y" * 300, 3)])
def test_a_message_is_framed(message: str | bytes, fragments: int) -> None:
    frames = list(message_frames(message, fragments))
    assert len(frames) == fragments
    payload = b"".join(frame[2 + {126: 2, 127: 8}.get(frame[1], 0) :] for frame in frames)
    assert payload == (message.encode() if isinstance(message, str) else message)
    assert [frame[0] >> 7 for frame in frames] == [0] * (fragments - 1) + [1]
    assert [frame[0] & 0xF for frame in frames] == [1 if isinstance(message, str) else 2] + [0] * (fragments - 1)


async def test_the_wire_gives_back_what_was_read_early() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    wire = Wire(ours, b"early")
    await theirs.send_all(b"late")
    assert [await wire.receive_some(3), await wire.receive_some(), await wire.receive_some()] == [
        b"ear",
        b"ly",
        b"late",
    ]
    await wire.send_close(1000, "")
    await wire.send_all(b"more")
    with pytest.raises(trio.ClosedResourceError):
        await wire.send_frames([b"more"])
    assert await theirs.receive_some() == bytes([0x88, 2, 3, 232])


def test_a_head_is_read() -> None:
    head = Head(b"GET /v1/x?y=1 HTTP/1.1\r\nUpgrade: WebSocket\r\nSec-WebSocket-Protocol: a, b\r\nHost:h")
    assert (head.target, head.is_upgrade) == ("/v1/x?y=1", True)
    assert head.values("sec-websocket-protocol") == ["a", "b"]


async def test_it_is_an_ordinary_upstream_too(server: ScriptedRealtime) -> None:
    async with httpx.AsyncClient(base_url=server.base_url) as client:
        listed = (await client.get("/models")).json()
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
        answer = (await client.post("/chat/completions", json=body)).json()
    assert listed["data"]
    assert answer["choices"][0]["message"]["content"] == "The scripted upstream heard: hi"


def test_as_a_process(tmp_path: Path) -> None:
    script = tmp_path / "session.json"
    script.write_text(json.dumps({"turns": [{"kind": "text", "deltas": 2}]}))
    command = [sys.executable, "-m", "bench.realtime_upstream", "--follow-stdin", "--script", str(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            listening = json.loads(process.stdout.readline())
            assert listening["websocket_url"] == f"ws://127.0.0.1:{listening['port']}/v1"
            trio.run(_from_outside, listening["port"])
            process.stdin.close()
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


async def _from_outside(port: int) -> None:
    with trio.fail_after(10):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as control:
            async with knocking(port) as (client, _):
                await client.say("response.create")
                await client.hear("response.done")
                sums = (await control.get("/_totals")).json()
                log = (await control.get("/_sessions")).json()
            assert sums["response"]["output_tokens"] == 2
            assert log[0]["heard"] == ['{"type": "response.create"}']
            assert log[0]["charges"][0]["status"] == "completed"
            assert (await control.put("/_sessions", json={"queue": [{"turns": 1}]})).status_code == 400
            await control.put("/_sessions", json={"queue": [{"status": 503}]})
            answer, _ = await refused(port, "/v1/responses")
            assert answer.status_code == 503
            await control.delete("/_sessions")
            assert (await control.get("/_sessions")).json() == []
