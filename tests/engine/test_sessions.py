"""Sessions relayed: what passes, how they end, and that nothing stays behind; the official SDK in front of it all."""

import base64
import json
import random
import struct
from pathlib import Path
from typing import Any

import openai
import pytest
import trio

from bench import realtime_upstream
from engine.sessions.relaying import Relaying
from tests.engine.live import KEY, running
from tests.engine.sessions import TEXT, Salon, Visitor, by_sdk, configured, kinds, salon, visiting

SOUND = base64.b64encode(bytes(9600)).decode()
"""200 ms: what the scripted server takes for an utterance."""

SENDABLE = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4000, 4999]
STAGES = {
    "handshake": "handshake",
    "created": "session.created",
    "begun": "response.created",
    "middle": "response.output_text.delta",
    "done": "response.done",
}
HELD = {"deltas": 50, "hold_after": 3}
"""A response that does not end by itself."""


async def at_stage(made: Salon, visitor: Visitor, stage: str) -> None:
    """Bring a session to a stage."""
    if stage != "handshake":
        await visitor.hear("session.created")
    if stage in {"begun", "middle", "done"}:
        await visitor.say(TEXT)
        await visitor.ask()
        await visitor.hear(STAGES[stage])


# -- the official SDK --------------------------------------------------------------------------------------------------


async def test_the_sdk_has_turns_of_text_and_sound_and_calls_tools(tmp_path: Path) -> None:
    turns = [{"kind": "text", "text": "Hello there."}, {"kind": "audio", "text": "Good day."}, {"kind": "function"}]
    async with salon(tmp_path, session={"turns": turns}) as made:

        async def talk(client: openai.AsyncOpenAI) -> list[Any]:
            found: list[Any] = []
            async with client.realtime.connect(model="fast") as connection:
                tool: Any = {"type": "function", "name": "example", "parameters": {"type": "object"}}
                await connection.session.update(session={"type": "realtime", "tools": [tool]})
                for _ in range(3):
                    content: Any = [{"type": "input_text", "text": "hi"}]
                    await connection.conversation.item.create(
                        item={"type": "message", "role": "user", "content": content}
                    )
                    await connection.response.create()
                    sound = b""
                    async for event in connection:
                        if event.type == "response.output_audio.delta":
                            sound += base64.b64decode(event.delta)
                        if event.type == "response.done":
                            found.append((event.response, len(sound)))
                            break
                call = found[-1][0].output[0]
                output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "{}"}
                await connection.conversation.item.create(item=output)
                await connection.response.create()
                async for event in connection:
                    if event.type == "response.done":
                        found.append((event.response, 0))
                        break
            return found

        text, sound, call, after = await by_sdk(made.live, talk)
        assert text[0].output[0].content[0].text == "Hello there."
        assert sound[0].output[0].content[0].transcript == "Good day."
        assert sound[1] == 2 * 4800
        assert (call[0].output[0].name, json.loads(call[0].output[0].arguments)["city"]) == ("example", "Paris")
        assert after[0].status == "completed"
        record = made.server.sessions[0]
        await record.ended.wait()
        assert record.close_code == 1000
        assert (await made.row()).outcome == "ok"


async def test_the_sdk_speaks_is_heard_and_interrupts(tmp_path: Path) -> None:
    turns = [{**HELD, "kind": "audio"}, {"kind": "text", "text": "Yes?"}]
    async with salon(tmp_path, session={"turns": turns}) as made:

        async def talk(client: openai.AsyncOpenAI) -> tuple[list[str], list[str | None], str]:
            seen: list[str] = []
            statuses: list[str | None] = []
            transcript = ""
            async with client.realtime.connect(model="fast") as connection:
                listening: Any = {"transcription": {"model": "whisper-like"}, "turn_detection": {"type": "server_vad"}}
                await connection.session.update(session={"type": "realtime", "audio": {"input": listening}})
                await connection.input_audio_buffer.append(audio=SOUND)
                deltas = 0
                async for event in connection:
                    seen.append(event.type)
                    if event.type == "response.output_audio.delta":
                        deltas += 1
                        if deltas == 3:
                            await connection.input_audio_buffer.append(audio=SOUND)
                    elif event.type == "conversation.item.input_audio_transcription.completed":
                        transcript = event.transcript
                    elif event.type == "response.done":
                        statuses.append(event.response.status)
                        if len(statuses) == 2:
                            return seen, statuses, transcript
            raise AssertionError("closed")

        seen, statuses, transcript = await by_sdk(made.live, talk)
        assert statuses == ["cancelled", "completed"]
        assert transcript == "200 ms of speech"
        for kind in ("speech_started", "speech_stopped", "committed"):
            assert f"input_audio_buffer.{kind}" in seen
        settlements = await made.booked()
        assert len(settlements) == 4
        assert made.server.totals("response").count == made.server.totals("transcription").count == 2
        assert sum(each.cost_nanos == 20_000 for each in settlements) == 2, "a fifth of a second each"


async def test_the_sdk_connects_again_after_a_restart(tmp_path: Path) -> None:
    """1012 is one of the codes on which it does."""
    async with salon(tmp_path) as made:
        here = trio.lowlevel.current_trio_token()

        def drain() -> None:
            for session in list(made.live.gateway.sessions):
                session.drain()

        async def talk(client: openai.AsyncOpenAI) -> list[str]:
            seen: list[str] = []
            again = client.realtime.connect(model="fast", on_reconnecting=lambda _: None, initial_delay=0.01)
            async with again as connection:
                async for event in connection:
                    seen.append(event.type)
                    if len(seen) == 2:
                        break
                    trio.from_thread.run_sync(drain, trio_token=here)
            return seen

        assert await by_sdk(made.live, talk) == ["session.created", "session.created"]
        assert len(made.server.sessions) == 2


# -- what passes -------------------------------------------------------------------------------------------------------


async def test_frames_pass_byte_for_byte(tmp_path: Path) -> None:
    odd = ['{"type":"odd","a":1,\n "a" : 2.50,"ü":"\\u00fc\\ud83d\\ude00"}', "no json at all", "", "é" * 70_000]
    cues = [{"after": "session.created", "do": "send", "frame": frame} for frame in odd]
    cues += [{"after": "session.created", "do": "send", "binary": "00ff80"}]
    async with realtime_upstream.running(session={"cues": cues, "fragments": 3}) as server:
        configuration = configured(server.base_url, realtime={"pin_model": False})
        async with running(configuration) as live, visiting(live, token=KEY) as visitor:
            created = await visitor.frame()
            assert [await visitor.frame() for _ in odd] == odd
            assert await visitor.frame() == b"\x00\xff\x80"
            record = server.sessions[0]
            assert created in record.said
            sent: list[str | bytes] = [*odd, b"\xff\x00", b"", b'{"type":"noted"}']
            for frame in sent:
                await visitor.send(frame)
            await record.wait_passed("noted")
            assert record.heard == sent
            await visitor.close()


@pytest.mark.parametrize("length", [1 << 20, (16 << 20) - 200])
async def test_large_frames_pass(tmp_path: Path, length: int) -> None:
    async with salon(tmp_path) as made, visiting(made.live) as visitor:
        frame = json.dumps({"type": "large", "audio": "A" * length})
        await visitor.send(frame)
        record = made.server.sessions[0]
        with trio.fail_after(20):
            await record.wait_passed("large")
        assert record.heard == [frame]
        await visitor.close()


async def test_a_message_in_fragments_with_a_ping_between(tmp_path: Path) -> None:
    async with salon(tmp_path) as made, visiting(made.live) as visitor:
        for first, payload in ((0x01, b'{"type":'), (0x89, b"ping"), (0x80, b'"whole"}')):
            await visitor.stream.send(masked(first, payload))
        record = made.server.sessions[0]
        await record.wait_passed("whole")
        assert record.heard == ['{"type":"whole"}']
        await visitor.hear("session.created")
        await visitor.close()
        assert visitor.peer.pongs == [b"ping"]


def masked(first: int, payload: bytes) -> bytes:
    """Return a client's frame: its first byte as given, masked with zeros."""
    length = len(payload)
    if length < 126:
        return bytes([first, 0x80 | length]) + bytes(4) + payload
    return bytes([first, 0x80 | 127]) + struct.pack(">Q", length) + bytes(4) + payload


async def test_a_slow_client_holds_its_upstream_up(tmp_path: Path) -> None:
    """What is under way is what the kernel holds and two messages, not the 200 MB that the upstream has to say."""
    turn = {"kind": "audio", "deltas": 300, "audio_bytes": 500_000, "text": None}
    async with salon(tmp_path, session={"turns": [turn]}) as made:
        async with visiting(made.live) as visitor:
            await visitor.ask()
            record = await made.server.wait_session(0)
            await record.wait_passed("response.output_audio.delta")
            count = -1
            while record.counts["response.output_audio.delta"] != count:
                count = record.counts["response.output_audio.delta"]
                with trio.move_on_after(0.3):
                    await record.wait_passed("response.output_audio.delta", count + 1)
            assert count < 100
            await visitor.hear("response.output_audio.delta")
            for _ in range(3):
                await visitor.hear("response.output_audio.delta")
        assert (await made.row()).outcome == "client_gone"


async def test_a_client_may_ask_only_for_its_model(tmp_path: Path) -> None:
    async with salon(tmp_path, realtime={"output_tokens_max": 50}) as made:
        async with visiting(made.live) as visitor:
            await visitor.hear("session.updated")
            await visitor.say({"type": "session.update", "session": {"type": "realtime", "model": "other"}})
            error = (await visitor.hear("error"))[-1]["error"]
            assert (error["code"], error["param"]) == ("model_not_allowed", "session.model")
            await visitor.send("{not json")
            assert (await visitor.hear("error"))[-1]["error"]["code"] == "invalid_json"
            update = {"type": "realtime", "model": "fast", "max_output_tokens": "inf", "output_modalities": ["text"]}
            await visitor.say({"type": "session.update", "session": update})
            await visitor.hear("session.updated")
            await visitor.say({"type": "response.create", "response": {"max_output_tokens": 2}})
            done = (await visitor.hear("response.done"))[-1]["response"]
            assert done["status"] == "incomplete"
            await visitor.close()
        first, second, create = made.server.sessions[0].events()
        assert first["session"] == {"type": "realtime", "max_output_tokens": 50}
        assert second["session"] == {**update, "model": "scripted", "max_output_tokens": 50}
        assert create["response"] == {"max_output_tokens": 2}


# -- how it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_closes_at_every_stage(tmp_path: Path, stage: str) -> None:
    async with salon(tmp_path, session={"turns": [{} if stage == "done" else HELD]}) as made:
        async with visiting(made.live) as visitor:
            await at_stage(made, visitor, stage)
            code, reason, _ = await visitor.close(4321, "enough")
        assert (code, reason) == (4321, "enough")
        record = made.server.sessions[0]
        await record.ended.wait()
        assert (record.close_code, record.close_reason) == (4321, "enough")
        assert (await made.row()).outcome == "client_gone"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_client_just_goes_at_every_stage(tmp_path: Path, stage: str, how: str) -> None:
    async with salon(tmp_path, session={"turns": [{} if stage == "done" else HELD]}) as made:
        async with visiting(made.live) as visitor:
            await at_stage(made, visitor, stage)
            (visitor.stream.abort if how == "abort" else visitor.stream.close)()
        record = made.server.sessions[0]
        with trio.fail_after(10):
            await record.ended.wait()
        assert record.close_code == 1011
        assert (await made.row()).outcome == "client_gone"


@pytest.mark.parametrize("code", [*SENDABLE, None])
async def test_every_code_of_a_client(tmp_path: Path, code: int | None) -> None:
    async with salon(tmp_path) as made:
        async with visiting(made.live) as visitor:
            await visitor.hear("session.created")
            if code is None:
                await visitor.stream.send(b"\x88\x80\x00\x00\x00\x00")
                await visitor.closed()
            else:
                await visitor.close(code, "why")
        record = made.server.sessions[0]
        with trio.fail_after(5):
            await record.ended.wait()
        assert record.close_code == (1000 if code is None else code)
        outcome = (await made.entry()).outcome
        assert outcome == ("ok" if code in {1000, 1001, None} else "client_gone")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["close", "leave", "abort", "malformed"])
async def test_an_upstream_ends_at_every_stage(tmp_path: Path, stage: str, how: str) -> None:
    cue: dict[str, Any] = {"after": STAGES[stage], "do": how}
    if how == "close":
        cue |= {"code": 1011, "reason": "broken"}
    async with salon(tmp_path, session={"turns": [{} if stage == "done" else HELD], "cues": [cue]}) as made:
        async with visiting(made.live) as visitor:
            await visitor.say(TEXT)
            await visitor.ask()
            code, reason, events = await visitor.closed()
        assert code == {"close": 1011, "leave": 1011, "abort": 1011, "malformed": 1002}[how]
        assert events[-1]["type"] == "error"
        assert events[-1]["error"]["code"] == "upstream_closed"
        assert events[-1]["error"]["message"].startswith("scripted-1 ended the session: ")
        if how == "close":
            assert reason == "broken"
        entry = await made.entry()
        assert (entry.status, entry.outcome) == (101, "incomplete")


@pytest.mark.parametrize(
    ("code", "seen"),
    [*((code, code) for code in SENDABLE), (None, 1000), (1004, 1002), (1005, 1002), (1006, 1002), (2999, 1002)],
)
async def test_every_code_of_an_upstream(tmp_path: Path, code: int | None, seen: int) -> None:
    cue = {"after": "session.created", "do": "close", "code": code, "reason": "" if code is None else "why"}
    async with salon(tmp_path, session={"cues": [cue]}) as made:
        async with visiting(made.live) as visitor:
            got, reason, events = await visitor.closed()
        assert got == seen
        if code in SENDABLE:
            assert reason == "why"
        proper = code in {1000, 1001, None}
        assert kinds(events) == ["session.created"] + ([] if proper else ["error"])
        assert (await made.entry()).outcome == ("ok" if proper else "incomplete")


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_message_over_the_limit_is_1009(tmp_path: Path, side: str) -> None:
    cues = [{"after": "session.created", "do": "oversized", "size": 5000}] if side == "upstream" else []
    async with salon(tmp_path, session={"cues": cues}, realtime={"frame_bytes_max": 4096}) as made:
        async with visiting(made.live) as visitor:
            if side == "client":
                await visitor.hear("session.created")
                await visitor.send("x" * 5000)
            code, _, events = await visitor.closed()
        assert code == 1009
        if side == "upstream":
            assert events[-1]["error"]["code"] == "upstream_closed"
        record = made.server.sessions[0]
        with trio.fail_after(5):
            await record.ended.wait()
        assert record.close_code == 1009


@pytest.mark.parametrize("seed", range(12))
async def test_a_client_that_sends_rubbish_is_closed(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(seed)
    async with salon(tmp_path) as made:
        async with visiting(made.live) as visitor:
            await visitor.hear("session.created")
            rubbish = chance.randbytes(chance.randrange(1, 3000))
            await visitor.stream.send(rubbish)
            visitor.stream.send_eof()
            received = b""
            with trio.fail_after(10):
                try:
                    while data := await visitor.stream.receive():
                        received += data
                except OSError:
                    received += b""
        record = made.server.sessions[0]
        with trio.fail_after(5):
            await record.ended.wait()
        await made.entry()
    assert "bug" not in caplog.text


@pytest.mark.parametrize("seed", range(8))
async def test_an_upstream_that_sends_rubbish(tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(seed)
    rubbish = bytes([0xF0 | chance.randrange(16)]) + chance.randbytes(chance.randrange(1, 300))
    cue = {"after": "session.created", "do": "raw", "hex": rubbish.hex()}
    async with salon(tmp_path, session={"cues": [cue]}) as made, visiting(made.live) as visitor:
        code, _, events = await visitor.closed()
        assert code in {1002, 1007, 1009, 1011}
        assert events[-1]["type"] == "error"
    assert "bug" not in caplog.text


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_peer_whose_network_is_gone(tmp_path: Path, side: str) -> None:
    cues = [{"after": "session.created", "do": deed, "gate": "back"} for deed in ("quiet", "deaf")]
    # Whose network is there says something all the time.
    session = {"cues": cues} if side == "upstream" else {"turns": [{"deltas": 1_000, "interval_ms": 20}]}
    async with salon(tmp_path, session=session, realtime={"ping_seconds": 0.1}) as made:
        async with visiting(made.live) as visitor:
            await visitor.hear("session.created")
            if side == "upstream":
                code, _, events = await answering(visitor)
                assert code == 1011
                assert events[-1]["error"]["code"] == "upstream_closed"
            else:
                await visitor.ask()
                record = made.server.sessions[0]
                with trio.fail_after(10):
                    await record.ended.wait()
                assert record.close_code == 1011
        made.server.gate("back").set()
        assert (await made.entry()).outcome == ("incomplete" if side == "upstream" else "client_gone")


async def answering(visitor: Visitor) -> tuple[int, str, list[dict[str, Any]]]:
    """As `Visitor.closed`, answering pings meanwhile."""
    stop = trio.CancelScope()

    async def pong() -> None:
        with stop:
            while True:
                await visitor.stream.send(masked(0x8A, b""))
                await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pong)
        end = await visitor.closed()
        stop.cancel()
    return end


@pytest.mark.parametrize(
    ("limits", "code"), [({"idle_seconds": 0.2}, "session_idle"), ({"session_seconds": 0.2}, "session_expired")]
)
async def test_limits_end_a_session(tmp_path: Path, limits: dict[str, float], code: str) -> None:
    async with salon(tmp_path, realtime=limits) as made:
        async with visiting(made.live) as visitor:
            closed, reason, events = await visitor.closed()
        assert (closed, reason) == (1001, code)
        assert events[-1]["error"]["code"] == code
        record = made.server.sessions[0]
        await record.ended.wait()
        assert record.close_code == 1000
        assert (await made.row()).outcome == "ok"


# -- a drain -----------------------------------------------------------------------------------------------------------


async def test_a_drain_ends_a_session_at_once_when_nothing_is_said(tmp_path: Path) -> None:
    async with salon(tmp_path) as made, visiting(made.live) as visitor:
        await visitor.hear("session.created")
        made.live.server.drain()
        assert await visitor.closed() == (1012, "the gateway restarts", [])


async def test_a_drain_lets_the_response_under_way_end(tmp_path: Path) -> None:
    turn = {"deltas": 6, "hold_after": 2, "gate": "go"}
    async with salon(tmp_path, session={"turns": [turn]}) as made, visiting(made.live) as visitor:
        await visitor.say(TEXT)
        await visitor.ask()
        await visitor.hear("response.output_text.delta")
        made.live.server.drain()
        made.server.gate("go").set()
        code, _, events = await visitor.closed()
        assert code == 1012
        assert kinds(events).count("response.done") == 1
        assert len(await made.booked()) == 1


async def test_a_session_that_opens_in_a_drain_ends_at_once(tmp_path: Path) -> None:
    async with salon(tmp_path) as made:
        await made.live.connect()
        made.live.gateway.draining = True
        async with visiting(made.live) as visitor:
            code, _, _ = await visitor.closed()
            assert code == 1012


async def test_a_worker_that_ends_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """Its patience with a response over, a worker cancels what is left: that is `salon`'s own check afterwards."""
    async with salon(tmp_path, session={"turns": [HELD]}) as made:
        async with visiting(made.live) as visitor:
            await visitor.say(TEXT)
            await visitor.ask()
            await visitor.hear("response.output_text.delta")
            for connection in list(made.live.server.connections):
                connection.scope.cancel()
            assert (await visitor.closed())[0] in {1000, 1006, 1011}
        entry = await made.entry()
        assert (entry.status, entry.outcome) == (101, "client_gone")


@pytest.mark.parametrize("side", ["_from_client", "_from_upstream", "_watch"])
async def test_a_bug_in_one_direction_closes_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, side: str
) -> None:
    async def broken(_: Relaying) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    monkeypatch.setattr(Relaying, side, broken)
    async with salon(tmp_path) as made:
        async with visiting(made.live) as visitor:
            assert (await visitor.closed())[0] == 1011
        record = made.server.sessions[0]
        with trio.fail_after(5):
            await record.ended.wait()
        assert record.close_code == 1011
        assert (await made.entry()).outcome == "internal_error"
    assert "bug in exchange" in caplog.text


async def test_both_sides_close_at_once(tmp_path: Path) -> None:
    cue = {"after": "bye", "do": "close", "code": 4001, "reason": "up"}
    async with salon(tmp_path, session={"cues": [cue]}) as made:
        async with visiting(made.live) as visitor:
            await visitor.hear("session.created")
            await visitor.say({"type": "bye"})
            code, _, _ = await visitor.close(4002, "down")
            assert code in {4001, 4002, 1006}
        await made.entry()
