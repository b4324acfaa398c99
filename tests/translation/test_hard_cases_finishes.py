"""Hard cases of ends and roles: refusals, blocks, stop sequences, empty deltas, answers to be continued."""

from typing import Any

import pytest

from adapters.errors import Kind
from tests.translation import upstream_chat, upstream_gemini, upstream_messages, upstream_responses
from tests.translation.exchange import Exchange, Told, asked, exchange, told
from tests.translation.seen import call, refusal, text
from tests.translation.upstream_chat import chunk

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*")

Payload = dict[str, Any]


def chat(client: str, *deltas: Payload, finish: str = "stop") -> Told:
    return told("chat", client, *map(chunk, deltas), chunk({}, finish), "[DONE]")


# -- B41 and B42: refusals and blocks --

REFUSED = (
    upstream_messages.start(),
    upstream_messages.finish("refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": None}),
    upstream_messages.STOP,
)


def test_b41_a_refusal_without_a_block() -> None:
    to_chat = told("messages", "chat", *REFUSED)
    assert to_chat.deltas == [{"role": "assistant", "content": ""}, {}]
    assert to_chat.seen.finish == "content_filter"
    assert told("messages", "responses", *REFUSED).seen.finish == "incomplete/content_filter"
    to_gemini = told("messages", "gemini", *REFUSED)
    assert to_gemini.seen.finish == "SAFETY"
    assert "candidates" in to_gemini.events[-1]


def test_b41_a_refusal_in_words() -> None:
    to_messages = chat("messages", {"refusal": "I can't"})
    assert to_messages.seen.blocks == (text("I can't"),)
    assert to_messages.seen.finish == "refusal"
    to_responses = chat("responses", {"refusal": "I can't"})
    assert to_responses.seen.blocks == (refusal("I can't"),)
    assert to_responses.output[0]["content"][0]["type"] == "refusal"


@pytest.mark.parametrize("client", ["chat", "responses", "gemini"])
def test_b41_an_unknown_reason_does_not_kill_a_call(client: str) -> None:
    used = upstream_messages.called(0, "a", "f", "{}")
    got = told("messages", client, *upstream_messages.stream(*used, reason="tired_of_this"))
    assert got.failure is None
    assert got.seen.blocks == (call("a", "f", "{}"),)
    assert got.seen.finish == {"chat": "tool_calls", "responses": "completed", "gemini": "STOP"}[client]


def test_b42_a_blocked_prompt() -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    finishes = {"chat": "content_filter", "responses": "incomplete/content_filter", "messages": "refusal"}
    for client, finish in finishes.items():
        got = told("gemini", client, blocked)
        assert got.failure is None
        assert (got.seen.blocks, got.seen.finish) == ((), finish)


@pytest.mark.parametrize("client", ["chat", "responses", "messages"])
def test_b42_a_malformed_call_is_an_error(client: str) -> None:
    got = told("gemini", client, {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]})
    assert not got.content
    assert got.failure is not None
    assert (got.failure.status, got.failure.kind) == (502, Kind.UPSTREAM)
    assert got.seen.finish is None


def test_b42_safety_behind_a_call() -> None:
    said = (upstream_gemini.chunk(upstream_gemini.called("f", {})), upstream_gemini.chunk(finish="SAFETY"))
    finishes = {"chat": "content_filter", "responses": "incomplete/content_filter", "messages": "refusal"}
    for client, finish in finishes.items():
        got = told("gemini", client, *said)
        assert got.seen.finish == finish
        assert got.seen.of("call") == [call("call_1", "f", "{}")]


# -- B43: stop sequences --


def test_b43_the_sequence_that_was_met() -> None:
    met = upstream_messages.stream(*upstream_messages.texts(0, "Hi"), reason="stop_sequence", sequence="\n\nH:")
    assert told("messages", "chat", *met).seen.finish == "stop"
    to_messages = chat("messages", {"content": "Hi"})
    assert to_messages.of("message_delta")[0]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def ask(upstream: str, stop: Any) -> Exchange:
    messages = [{"role": "user", "content": "x"}]
    body = {"model": "m", "messages": messages, "stop": stop, "stream_options": {"include_usage": True}}
    return Exchange("chat", upstream, body)


def test_b43_one_sequence_is_a_list_of_one() -> None:
    assert ask("messages", "X").body["stop_sequences"] == ["X"]
    assert ask("gemini", "X").body["generationConfig"]["stopSequences"] == ["X"]


def test_b43_sequences_of_white_space_are_dropped_and_named() -> None:
    given = ask("messages", ["\n\n", "X", " "])
    assert given.body["stop_sequences"] == ["X"]
    assert given.dropped == ["stop"]
    assert "stop_sequences" not in ask("messages", "\n").body


def test_b43_a_dialect_without_stops_is_emulated() -> None:
    given = ask("responses", ["END"])
    assert "stop" not in given.body
    item = upstream_responses.said("One E", "N", "E EN", "D two")
    got = given.tell(*upstream_responses.stream(item))
    assert (got.seen.blocks, got.seen.finish) == ((text("One ENE "),), "stop")
    assert all("END" not in (delta.get("content") or "") for delta in got.deltas)
    plain = given.tell(*upstream_responses.stream(upstream_responses.said("The EN", "")))
    assert plain.seen.blocks == (text("The EN"),)


# -- B44: roles and empty deltas --

EMPTY: dict[str, tuple[Any, ...]] = {
    "role and empty content": ({"role": "assistant", "content": ""},),
    "empty role": ({"role": "", "content": ""},),
    "role on every chunk": ({"role": "assistant", "content": ""}, {"role": "assistant", "content": ""}),
    "no role at all": ({},),
    "null": (None,),
    "empty": ({}, {}),
}


def with_delta(delta: Payload | None) -> Payload:
    return {**upstream_chat.HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


@pytest.mark.parametrize("client", ["responses", "messages"])
@pytest.mark.parametrize("deltas", EMPTY.values(), ids=EMPTY)
def test_b44_nothing_said_opens_nothing(deltas: tuple[Any, ...], client: str) -> None:
    begin = [with_delta(delta) for delta in deltas]
    used = chunk({"role": "assistant", **upstream_chat.opened(0, "a", "f", "{}")})
    got = told("chat", client, *begin, used, *begin, chunk({}, "tool_calls"), "[DONE]")
    assert got.seen.blocks == (call("a", "f", "{}"),)
    assert len(got.of("content_block_start", "response.output_item.added")) == 1
    spoken = told("chat", client, *begin, chunk({"content": "Hi"}), *begin, chunk({}, "stop"), "[DONE]")
    assert len(spoken.of("content_block_start", "response.output_item.added")) == 1


SPEAKERS: dict[str, tuple[Any, ...]] = {
    "responses": upstream_responses.stream(upstream_responses.said("Hi", " you")),
    "messages": upstream_messages.stream(*upstream_messages.texts(0, "Hi", " you")),
    "gemini": (upstream_gemini.chunk({"text": "Hi"}), upstream_gemini.chunk({"text": " you"}), upstream_gemini.END),
}


@pytest.mark.parametrize("upstream", SPEAKERS)
def test_b44_the_role_comes_once_and_first(upstream: str) -> None:
    got = told(upstream, "chat", *SPEAKERS[upstream])
    assert [delta.get("role") for delta in got.deltas] == ["assistant"] + [None] * (len(got.deltas) - 1)
    used = told(
        "messages", "chat", *upstream_messages.stream(*upstream_messages.called(0, "a", "f"), reason="tool_use")
    )
    assert [delta.get("role") for delta in used.deltas].count("assistant") == 1
    assert used.deltas[0]["role"] == "assistant"


# -- B45: answers to be continued --


def test_b45_an_answer_to_be_continued_has_stopped() -> None:
    paused = upstream_messages.stream(*upstream_messages.texts(0, "Hi"), reason="pause_turn")
    finishes = {"chat": "stop", "responses": "completed", "gemini": "STOP"}
    for client, finish in finishes.items():
        got = told("messages", client, *paused)
        assert got.failure is None
        assert (got.seen.blocks, got.seen.finish) == ((text("Hi"),), finish)
    continued = (upstream_gemini.chunk({"text": "Hi"}, finish="CONTINUATION"),)
    for client, finish in {"chat": "stop", "responses": "completed"}.items():
        assert told("gemini", client, *continued).seen.finish == finish


def test_b45_a_client_that_knows_pauses_is_told_of_one() -> None:
    """It asks again with what it got, as it would ask its own vendor."""
    got = told("gemini", "messages", upstream_gemini.chunk({"text": "Hi"}, finish="CONTINUATION"))
    assert got.seen.finish == "pause_turn"
    history = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Hi"}]
    contents = asked("messages", "gemini", {"model": "m", "max_tokens": 9, "messages": history})["contents"]
    assert contents[-1] == {"role": "model", "parts": [{"text": "Hi"}]}
    assert exchange("messages", "gemini").dropped == []
