"""Hard cases of reasoning: where it stands, who signed it, who needs it back, and who must never see it."""

import json
from typing import Any

import pytest

from adapters import signatures
from adapters.signatures import Signature
from tests.translation import upstream_chat, upstream_gemini, upstream_messages, upstream_responses
from tests.translation.exchange import Exchange, Told, asked, relayed, told, told_bytes
from tests.translation.seen import call, reasoning, text
from tests.translation.translate import SCOPE, dialect
from tests.translation.upstream_messages import called, closed, delta, opened, stream, texts, thinking_block, thought
from tests.translation.upstreams import written

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*")

Payload = dict[str, Any]


def unpacked(got: Told) -> list[str]:
    """Return what the tokens that the client was given stand for, but for those that say that nobody signed."""
    tokens = [signatures.unpack(token) for token in got.seen.signatures]
    return [token.value if token is not None else "" for token in tokens if token != signatures.UNSIGNED]


def chat(client: str, *deltas: Payload, finish: str = "stop") -> Told:
    return told("chat", client, *map(upstream_chat.chunk, deltas), upstream_chat.chunk({}, finish), "[DONE]")


# -- B28: signatures alone, late, misplaced --

ALONE = stream(opened(0, upstream_messages.THINKING), delta(0, "signature_delta", signature="S"), closed(0))


def test_b28_a_signature_alone() -> None:
    plain = written("messages", ALONE)
    assert relayed("messages", [plain]).written == plain
    to_responses = told("messages", "responses", *ALONE)
    item = to_responses.output[0]
    assert (item["type"], item["summary"]) == ("reasoning", [])
    assert unpacked(to_responses) == ["S"]
    assert [each["item"]["type"] for each in to_responses.of("response.output_item.added")] == ["reasoning"]
    assert [each["item"] for each in to_responses.of("response.output_item.done")] == [item]
    to_chat = told("messages", "chat", *ALONE)
    assert to_chat.seen.blocks == ()
    assert unpacked(to_chat) == ["S"]


LATE: dict[str, tuple[Payload, ...]] = {
    "after text has begun": (
        opened(0, upstream_messages.THINKING),
        delta(0, "thinking_delta", thinking="T"),
        closed(0),
        opened(1, upstream_messages.TEXT),
        delta(1, "text_delta", text="He"),
        delta(0, "signature_delta", signature="S"),
        delta(1, "text_delta", text="llo"),
        closed(1),
    ),
    "on the wrong delta type": (
        opened(0, upstream_messages.THINKING),
        delta(0, "thinking_delta", thinking="T"),
        delta(0, "thinking_delta", thinking="", signature="S"),
        closed(0),
        *texts(1, "Hello"),
    ),
    "with the whole text again": (
        opened(0, upstream_messages.THINKING),
        delta(0, "thinking_delta", thinking="T"),
        delta(0, "signature_delta", signature="S", thinking="T"),
        closed(0),
        *texts(1, "Hello"),
    ),
    "twice": (*thought(0, "T", signature="S"), delta(0, "signature_delta", signature="S"), *texts(1, "Hello")),
}


@pytest.mark.parametrize("client", ["chat", "responses", "gemini"])
@pytest.mark.parametrize("said", LATE.values(), ids=LATE)
def test_b28_a_late_or_misplaced_signature_is_neither_lost_nor_doubled(said: tuple[Payload, ...], client: str) -> None:
    got = told("messages", client, *stream(*said))
    assert "".join(block[1] for block in got.seen.of("reasoning")) == "T"
    assert "".join(block[1] for block in got.seen.of("text")) == "Hello"
    assert unpacked(got) == ["S"]


def test_b28_a_late_signature_gets_an_empty_block_of_its_own() -> None:
    parts: list[Payload] = [
        {"text": "T", "thought": True},
        {"text": "Hello"},
        {"text": "", "thoughtSignature": "c2ln"},
    ]
    end = upstream_gemini.chunk(finish="STOP")
    got = told("gemini", "messages", *map(upstream_gemini.chunk, parts), end)
    blocks = [each["content_block"]["type"] for each in got.of("content_block_start")]
    assert blocks == ["thinking", "text", "thinking"]
    assert got.seen.blocks == (reasoning("T"), text("Hello"))
    assert unpacked(got) == ["c2ln"]


# -- B29: the order of thoughts and calls --


def own(value: str, name: str) -> str:
    """Return the token of a signature that an upstream of this dialect made."""
    return signatures.pack(Signature(name, SCOPE, value))


def result_of(call_id: str) -> Payload:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": "r"}]}


INTERLEAVED = [
    {"role": "user", "content": "x"},
    {
        "role": "assistant",
        "content": [
            thinking_block("one", own("S1", "responses")),
            upstream_messages.use_block("a", "f", {}),
        ],
    },
    result_of("a"),
    {
        "role": "assistant",
        "content": [
            thinking_block("two", own("S2", "responses")),
            upstream_messages.use_block("b", "g", {}),
        ],
    },
    result_of("b"),
]


def test_b29_history_keeps_its_order_item_by_item() -> None:
    body = asked("messages", "responses", {"model": "m", "max_tokens": 9, "messages": INTERLEAVED})
    items = body["input"][1:]
    assert [each["type"] for each in items] == [
        *("reasoning", "function_call", "function_call_output"),
        *("reasoning", "function_call", "function_call_output"),
    ]
    assert [each["encrypted_content"] for each in items if each["type"] == "reasoning"] == ["S1", "S2"]


BETWEEN_CALLS = stream(
    *thought(0, "one", signature="S1"),
    *texts(1, "So."),
    *called(2, "a", "f", "{}"),
    *thought(3, "two", signature="S2"),
    *called(4, "b", "g", "{}"),
    reason="tool_use",
)


def test_b29_a_stream_keeps_its_order() -> None:
    got = told("messages", "responses", *BETWEEN_CALLS)
    kinds = [each["type"] for each in got.output]
    assert kinds == ["reasoning", "message", "function_call", "reasoning", "function_call"]
    assert got.seen.blocks == (
        *(reasoning("one"), text("So."), call("a", "f", "{}")),
        *(reasoning("two"), call("b", "g", "{}")),
    )


def test_b29_a_message_of_one_reasoning_comes_back_in_order() -> None:
    """The dialect has one reasoning and one list of calls; the details that its clients send back keep the places."""
    got = told("messages", "chat", *BETWEEN_CALLS)
    message: Payload = {"role": "assistant", "content": "", "reasoning_content": "", "reasoning_details": []}
    calls: list[Payload] = []
    for each in got.deltas:
        message["content"] += each.get("content") or ""
        message["reasoning_content"] += each.get("reasoning_content") or ""
        message["reasoning_details"] += each.get("reasoning_details") or []
        for entry in each.get("tool_calls") or ():
            if "id" in entry:
                calls.append({name: entry[name] for name in ("id", "type", "function")})
            else:
                calls[-1]["function"]["arguments"] += entry["function"]["arguments"]
    history = [
        {"role": "user", "content": "x"},
        {**message, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": each["id"], "content": "r"} for each in calls),
    ]
    body = asked("chat", "messages", {"model": "m", "messages": history})
    assert body["messages"][1]["content"] == [
        thinking_block("one", "S1"),
        {"type": "text", "text": "So."},
        upstream_messages.use_block("a", "f", {}),
        thinking_block("two", "S2"),
        upstream_messages.use_block("b", "g", {}),
    ]


# -- B30: reasoning in chunks --


@pytest.mark.parametrize("client", ["responses", "messages"])
def test_b30_quirks_of_reasoning_content(client: str) -> None:
    def blocks(*deltas: Payload) -> tuple[Any, ...]:
        return chat(client, *deltas).seen.blocks

    assert blocks({"reasoning_content": "a", "reasoning": "a"}, {"content": "b"}) == (reasoning("a"), text("b"))
    assert blocks({"reasoning_content": "end", "content": "Hi"}) == (reasoning("end"), text("Hi"))
    assert blocks({"reasoning_content": "", "content": None}, {"content": "Hi"}) == (text("Hi"),)
    opened_call, rest = upstream_chat.opened(0, "a", "f", '{"x":'), upstream_chat.more(0, "1}")
    late = blocks(opened_call, {"reasoning_content": "hm"}, rest)
    assert late == (call("a", "f", '{"x":1}'), reasoning("hm"))
    only = chat(client, {"reasoning_content": "hm"})
    assert only.seen.blocks == (reasoning("hm"),)
    assert only.seen.finish == {"responses": "completed", "messages": "end_turn"}[client]


def test_b30_thinking_closes_before_text_opens() -> None:
    got = chat("messages", {"reasoning_content": "end", "content": "Hi"})
    assert [kind for kind in got.kinds if kind.startswith("content_block")] == [
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    ]
    keepalives = chat("messages", *[{"reasoning_content": "", "content": None}] * 3)
    assert keepalives.of("content_block_start") == []


# -- B31 and B32: reasoning that has to come back --

GATEWAY_SIGNED = [
    {"role": "user", "content": "x"},
    {
        "role": "assistant",
        "content": [thinking_block("T", "gw…"), upstream_messages.use_block("a", "f", {})],
    },
    result_of("a"),
]


def second_turn(*content: Payload) -> Payload:
    history = [GATEWAY_SIGNED[0], {"role": "assistant", "content": list(content)}, GATEWAY_SIGNED[2]]
    body = asked("messages", "chat", {"model": "m", "max_tokens": 9, "messages": history}, "deepseek-reasoner")
    message: Payload = body["messages"][1]
    return message


def test_b31_models_that_require_reasoning_back() -> None:
    message = second_turn(thinking_block("T", "gw…"), upstream_messages.use_block("a", "f", {}))
    assert message["role"] == "assistant"
    assert message["reasoning_content"] == "T"
    assert message["content"] in {None, ""}
    assert [each["id"] for each in message["tool_calls"]] == ["a"]


def test_b31_dropped_thinking_is_an_empty_value() -> None:
    assert second_turn(upstream_messages.use_block("a", "f", {}))["reasoning_content"] == ""


def test_b31_models_that_do_not_get_none() -> None:
    body = asked("messages", "chat", {"model": "m", "max_tokens": 9, "messages": GATEWAY_SIGNED}, "gpt-4.1")
    assert "reasoning_content" not in body["messages"][1]


ENCRYPTED = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Because."}],
    "encrypted_content": "gAAA…",
}


def test_b32_encrypted_reasoning_through_a_client_of_another_dialect() -> None:
    item = upstream_responses.Item(ENCRYPTED, added={"id": "rs_1", "type": "reasoning", "summary": []})
    got = told("responses", "messages", *upstream_responses.stream(item, upstream_responses.said("Hi")))
    assert got.seen.blocks == (reasoning("Because."), text("Hi"))
    (token,) = got.seen.signatures
    assert signatures.unpack(token) == Signature("responses", SCOPE, "gAAA…", item_id="rs_1")
    history = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [thinking_block("Because.", token), {"type": "text", "text": "Hi"}]},
        {"role": "user", "content": "y"},
    ]
    next_one = {"model": "m", "max_tokens": 9, "messages": history}
    back = Exchange("messages", "responses", next_one).body
    assert back["store"] is False
    assert back["input"][1] == {
        "type": "reasoning",
        "summary": ENCRYPTED["summary"],
        "encrypted_content": "gAAA…",
    }
    elsewhere = Exchange("messages", "responses", next_one, scope="upstream/another").body
    assert [each["type"] for each in elsewhere["input"]] == ["message", "message", "message"]


def test_b32_reasoning_without_encrypted_content_is_omitted() -> None:
    history = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [thinking_block("Because.", ""), {"type": "text", "text": "Hi"}]},
        {"role": "user", "content": "y"},
    ]
    body = asked("messages", "responses", {"model": "m", "max_tokens": 9, "messages": history})
    assert [each["type"] for each in body["input"]] == ["message", "message", "message"]
    assert not any("id" in each for each in body["input"])


# -- B33: signatures on parts --

S, T = "U2lnbmVk", "VGFpbA=="
SIGNED_GROUP = (
    upstream_gemini.chunk(
        upstream_gemini.called("f", {"x": 1}, "a", thoughtSignature=S), upstream_gemini.called("g", {}, "b")
    ),
    upstream_gemini.chunk({"text": "", "thoughtSignature": T}, finish="STOP"),
)


def test_b33_signatures_return_to_their_parts() -> None:
    got = told("gemini", "messages", *SIGNED_GROUP)
    assert unpacked(got) == [S, T]
    assert [each["content_block"]["type"] for each in got.of("content_block_start")] == [
        *("thinking", "tool_use", "tool_use", "thinking"),
    ]
    blocks = [
        *(thinking_block("", got.seen.signatures[0]), upstream_messages.use_block("a", "f", {"x": 1})),
        *(upstream_messages.use_block("b", "g", {}), thinking_block("", got.seen.signatures[1])),
    ]
    results = [{"type": "tool_result", "tool_use_id": each, "content": "r"} for each in ("a", "b")]
    history = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": results},
    ]
    contents = asked("messages", "gemini", {"model": "m", "max_tokens": 9, "messages": history})["contents"]
    assert [each["role"] for each in contents] == ["user", "model", "user"]
    assert contents[1]["parts"] == [
        upstream_gemini.called("f", {"x": 1}, "a", thoughtSignature=S),
        upstream_gemini.called("g", {}, "b"),
        {"text": "", "thoughtSignature": T},
    ]


def test_b33_an_image_keeps_its_signature() -> None:
    got = told("gemini", "responses", upstream_gemini.chunk(upstream_gemini.image(thoughtSignature=S), finish="STOP"))
    assert [each["type"] for each in got.output] == ["reasoning", "image_generation_call"]
    assert unpacked(got) == [S]


def test_b33_calls_from_elsewhere_get_the_documented_stand_in() -> None:
    uses = [upstream_messages.use_block(each, "f", {}) for each in ("a", "b")]
    results = [{"type": "tool_result", "tool_use_id": each, "content": "r"} for each in ("a", "b")]
    history = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": uses},
        {"role": "user", "content": results},
    ]
    body = asked("messages", "gemini", {"model": "m", "max_tokens": 9, "messages": history}, "gemini-3-pro")
    signed = [each.get("thoughtSignature") for each in body["contents"][1]["parts"]]
    assert signed == ["skip_thought_signature_validator", None]


def test_b33_a_packed_signature_is_base64() -> None:
    """google-genai refuses a chunk with any other; that it takes this one, `Told` has checked."""
    got = told("messages", "gemini", *stream(*thought(0, "hm", signature="no base64!"), *texts(1, "Hi")))
    assert len(got.seen.signatures) == 1
    assert b"no base64!" not in got.written


def test_b33_ids_carry_no_signature() -> None:
    got = told("gemini", "chat", *SIGNED_GROUP)
    assert [block[1] for block in got.seen.of("call")] == ["a", "b"]


# -- B34: what must not be seen --


@pytest.mark.parametrize("maker", ["responses", "gemini"])
def test_b34_foreign_signatures_do_not_reach_an_upstream_of_the_clients_dialect(maker: str) -> None:
    token = own("foreign", maker)
    foreign = {"role": "assistant", "content": [thinking_block("T", token), {"type": "text", "text": "Hi"}]}
    turns = [{"role": "user", "content": "x"}, foreign, {"role": "user", "content": "y"}]
    request = Exchange("messages", "chat", {"model": "m", "max_tokens": 9, "messages": turns}).request
    body = json.loads(dialect("messages").render_request(request, model="up"))
    assert body["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}
    assert signatures.PREFIX not in json.dumps(body)


@pytest.mark.parametrize("maker", ["responses", "gemini", "messages"])
def test_b34_foreign_signatures_are_stripped_in_translation(maker: str) -> None:
    """Also those of another provider of the same dialect."""
    signature = Signature(maker, "elsewhere/model", "foreign")
    detail = {"type": "reasoning.encrypted", "data": signatures.pack(signature), "format": "hedgerow", "index": 0}
    turn = {"role": "assistant", "content": "Hi", "reasoning_content": "T", "reasoning_details": [detail]}
    history = [{"role": "user", "content": "x"}, turn, {"role": "user", "content": "y"}]
    body = asked("chat", "messages", {"model": "m", "messages": history})
    assert body["messages"][1] == {"role": "assistant", "content": "Hi"}


@pytest.mark.parametrize("client", ["chat", "responses", "messages"])
def test_b34_thoughts_are_reasoning_not_content(client: str) -> None:
    parts: list[Payload] = [{"text": "plan…", "thought": True}, {"text": "Hi"}]
    got = told("gemini", client, *map(upstream_gemini.chunk, parts), upstream_gemini.chunk(finish="STOP"))
    assert got.seen.blocks == (reasoning("plan…"), text("Hi"))


def test_b34_own_thinking_is_forwarded_byte_for_byte() -> None:
    thinking = b'{"type": "thinking",  "thinking": "T\\u00e9 \\/", "signature": "EqoB+/=="}'
    turns = b'[{"role":"user","content":"x"}, {"role":"assistant","content":[%b]}]' % thinking
    body = b'{"model": "m", "max_tokens": 9, "messages": %b}' % turns
    request = Exchange("messages", "chat", body).request
    assert turns in dialect("messages").render_request(request, model="up")


def test_b34_own_thinking_comes_back_through_another_dialect() -> None:
    got = told_bytes("messages", "chat", written("messages", stream(*thought(0, "Té ", "/"), *texts(1, "Hi"))))
    (entry,) = [each for delta in got.deltas for each in delta.get("reasoning_details", ())]
    turn = {"role": "assistant", "content": "Hi", "reasoning_content": "Té /", "reasoning_details": [entry]}
    history = [{"role": "user", "content": "x"}, turn, {"role": "user", "content": "y"}]
    body = asked("chat", "messages", {"model": "m", "messages": history})
    assert body["messages"][1]["content"][0] == thinking_block("Té /")
