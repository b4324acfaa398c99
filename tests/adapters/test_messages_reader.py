"""The reader of Messages requests: what a client asks, in neutral form, and what it is told is lost."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.conversation import (
    Cache,
    Call,
    ChoiceKind,
    Conversation,
    Media,
    MediaKind,
    Reasoning,
    Result,
    Role,
    Text,
    Thought,
    ToolChoice,
    Turn,
    WebSearch,
)
from adapters.dialects import messages
from adapters.dialects.messages_reader import read_conversation
from adapters.errors import ClientError
from adapters.losses import Losses
from adapters.operations import Citation
from adapters.signatures import Signature, pack

Payload = dict[str, Any]
USER: Payload = {"role": "user", "content": "Hi"}
CALL: Payload = {"type": "tool_use", "id": "a", "name": "f", "input": {}}


def asked(**members: Any) -> Payload:
    return {"model": "m", "max_tokens": 9, "messages": [USER], **members}


def read(body: Payload | str, argument: bytes = b"") -> tuple[Conversation, list[str]]:
    text = body if isinstance(body, str) else json.dumps(body)
    losses = Losses()
    return read_conversation(messages.parse_request(text.encode(), argument), losses), losses.dropped


def turns(*said: Payload) -> tuple[Turn, ...]:
    return read(asked(messages=list(said)))[0].turns


def blocks(role: str, *content: Payload) -> tuple[Turn, ...]:
    return turns({"role": role, "content": list(content)})


def refusal(body: Payload | str) -> str:
    with pytest.raises(ClientError) as caught:
        read(body)
    assert caught.value.failure.status == 400
    return caught.value.failure.message


def text(words: str, **members: Any) -> Payload:
    return {"type": "text", "text": words, **members}


# -- turns -------------------------------------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    conversation, dropped = read(asked(stream=True))
    assert conversation.turns == (Turn(Role.USER, (Text("Hi"),)),)
    assert (conversation.model, conversation.output_tokens_max, conversation.stream) == ("m", 9, True)
    assert (conversation.thought, dropped) == (Thought(), [])


def test_systems() -> None:
    billing = text("x-anthropic-billing-header: cc_version=2.1.330; cc_entrypoint=sdk-cli")
    marked = text("A", cache_control={"type": "ephemeral", "ttl": "1h"})
    for system, parts in (("A", (Text("A"),)), ([billing, marked, text("B")], (Text("A", Cache("1h")), Text("B")))):
        conversation, dropped = read(asked(system=system))
        assert conversation.turns[0] == Turn(Role.SYSTEM, parts)
        assert dropped == []
    assert read(asked(system=[]))[0].turns == read(asked(system=None))[0].turns == read(asked())[0].turns


def test_b50_role_system_keeps_its_place() -> None:
    said = turns(USER, {"role": "system", "content": [text("A")]}, USER, {"role": "system", "content": "B"})
    assert [turn.role for turn in said] == [Role.USER, Role.SYSTEM, Role.USER, Role.SYSTEM]
    assert said[3].parts == (Text("B"),)


def test_b46_results_with_media_and_what_stands_beside_them() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [text("seen"), image], "is_error": True}
    plain = {"type": "tool_result", "tool_use_id": "b", "content": "ok", "cache_control": {"type": "ephemeral"}}
    said = turns(
        USER,
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [text("first"), result, plain, text("last")]},
    )
    media = Media(MediaKind.IMAGE, "messages.2.content.1.content.1", "image/png", content="AAAA")
    assert said[2:] == (
        Turn(Role.USER, (Text("first"),)),
        Turn(
            Role.TOOL,
            (
                Result("a", (Text("seen"), media), is_error=True, name="f"),
                Result("b", (Text("ok"),), cache=Cache()),
            ),
        ),
        Turn(Role.USER, (Text("last"),)),
    )


def test_tool_input_stays_the_text_it_was() -> None:
    written = '{ "b": 1e3, "a" : "\\u00e9", "n": 12345678901234567890 }'
    block = f'{{"type":"tool_use","id":"a","name":"f","input":{written}}}'
    body = f'{{"model":"m","max_tokens":1,"messages":[{{"role":"assistant","content":[{block}]}}]}}'
    assert read(body)[0].turns[0].parts == (Call("a", "f", written),)


def test_tool_references_are_text() -> None:
    reference = {"type": "tool_reference", "tool_name": "Grep"}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [reference]}
    (turn,) = blocks("user", result)
    assert turn.parts == (Result("a", (Text("The tool Grep is available."),)),)


def test_thinking_and_its_signatures() -> None:
    packed = Signature("responses", "openai/gpt", "gAAA", item_id="rs_1")
    hidden = Signature("messages", "s", "data", kind="redacted")
    (turn,) = blocks(
        "assistant",
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "thinking", "thinking": "", "signature": pack(packed)},
        {"type": "thinking", "thinking": "", "signature": pack(hidden)},
        {"type": "thinking", "thinking": "a", "signature": ""},
        {"type": "thinking", "thinking": "b", "signature": pack(packed)[:20]},
        {"type": "redacted_thinking", "data": "x"},
    )
    assert turn.parts == (
        Reasoning("hm", Signature("messages", "", "c2ln")),
        Reasoning("", packed),
        Reasoning("", hidden, hidden=True),
        Reasoning("a"),
        Reasoning("b"),
        Reasoning("", Signature("messages", "", "x", kind="redacted"), hidden=True),
    )


def test_media() -> None:
    sources: list[tuple[Payload, Media]] = [
        (
            {"type": "image", "source": {"type": "url", "url": "https://x"}},
            Media(MediaKind.IMAGE, "messages.0.content.0", url="https://x"),
        ),
        (
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            Media(MediaKind.IMAGE, "messages.0.content.0", file_id="file_1"),
        ),
        (
            {
                "type": "document",
                "title": "t",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            },
            Media(MediaKind.DOCUMENT, "messages.0.content.0", "application/pdf", content="JVBE", filename="t"),
        ),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}},
            Media(MediaKind.DOCUMENT, "messages.0.content.0", "text/plain", text="a"),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [text("a"), text("b")]}},
            Media(MediaKind.DOCUMENT, "messages.0.content.0", "text/plain", text="a\n\nb"),
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://x"}},
            Media(MediaKind.DOCUMENT, "messages.0.content.0", url="https://x"),
        ),
        (
            {"type": "document", "source": {"type": "file", "file_id": "f"}},
            Media(MediaKind.DOCUMENT, "messages.0.content.0", file_id="f"),
        ),
    ]
    for block, media in sources:
        assert blocks("user", block)[0].parts == (media,)


def test_what_becomes_text() -> None:
    found = {"type": "search_result", "title": "T", "source": "https://x", "content": [text("a"), text("b")]}
    assert blocks("user", found)[0].parts == (Text("T\nhttps://x\na\nb"),)
    summary = {"type": "compaction", "content": "So far"}
    assert blocks("assistant", summary)[0].parts == (Text("So far"),)
    source = {"type": "text", "media_type": "text/plain", "data": "a"}
    about = {"type": "document", "context": "About", "source": source, "citations": {"enabled": True}}
    assert blocks("user", about)[0].parts[0] == Text("About")


def test_sources_of_earlier_answers() -> None:
    own = {"type": "char_location", "cited_text": "c", "document_index": 0}
    web = {"type": "web_search_result_location", "url": "https://x", "title": "X", "cited_text": "w"}
    (turn,) = blocks("assistant", text("a", citations=[own, web]))
    assert turn.parts == (Text("a", citations=(Citation("https://x", "X", cited="w"),)),)


def test_what_the_vendors_tools_did_is_noted() -> None:
    used = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "a"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    mcp = {"type": "mcp_tool_use", "id": "m", "name": "f", "input": {}}
    conversation, dropped = read(asked(messages=[{"role": "assistant", "content": [used, found, mcp, text("a")]}]))
    assert conversation.turns[0].parts == (Text("a"),)
    assert dropped == [f"messages.0.content.{number}" for number in range(3)]


# -- tools -------------------------------------------------------------------------------------------------------------


def test_tools() -> None:
    schema = {"$schema": "x", "type": "object", "properties": {"a": {"exclusiveMinimum": 0}}}
    plain = {"name": "f", "description": "d", "input_schema": schema, "eager_input_streaming": True, "strict": True}
    custom = {"type": "custom", "name": "g", "input_schema": {}, "defer_loading": True, "cache_control": {"type": "x"}}
    placeholder = {"name": "DeferredToolPlaceholder", "input_schema": {}, "defer_loading": True}
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8, "blocked_domains": ["x"]}
    conversation, dropped = read(asked(tools=[plain, custom, placeholder, search]))
    first, second = conversation.tools
    assert (first.name, first.description, first.strict) == ("f", "d", True)
    assert first.schema is not None
    assert json.loads(bytes(first.schema)) == schema
    assert (second.name, second.cache) == ("g", Cache())
    assert conversation.web_search == WebSearch(8, (), ("x",))
    assert dropped == []
    assert conversation.paths["web_search"] == "tools.3"
    assert conversation.names.original("g").name == "g"


def test_tools_that_only_the_vendor_has() -> None:
    for kind in ("bash_20250124", "computer_toolset_20260801", "code_execution_20260120", "something_new"):
        assert "tools.0" in refusal(asked(tools=[{"type": kind, "name": "x"}]))
    assert "mcp_servers" in refusal(asked(mcp_servers=[{"url": "https://x"}]))
    assert read(asked(tools=[{"type": "tool_search_tool_regex_20251119", "name": "x"}]))[1] == ["tools.0"]


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        ({"type": "auto"}, ToolChoice(), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(ChoiceKind.ANY), False),
        ({"type": "none"}, ToolChoice(ChoiceKind.NONE), None),
        ({"type": "tool", "name": "f"}, ToolChoice(ChoiceKind.ANY, ("f",)), None),
    ],
)
def test_choices(choice: Payload, expected: ToolChoice, parallel: bool | None) -> None:
    conversation, _ = read(asked(tool_choice=choice))
    assert (conversation.tool_choice, conversation.parallel_calls) == (expected, parallel)


# -- how the answer is to be made --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, Thought(None, 4096, True)),
        ({"thinking": {"type": "enabled", "budget_tokens": 1, "display": "omitted"}}, Thought(None, 1, False)),
        ({"thinking": {"type": "adaptive"}}, Thought("high")),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "medium"}},
            Thought("medium", show=False),
        ),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, Thought("high", show=True)),
        ({"thinking": {"type": "disabled"}}, Thought("none", 0)),
        ({"thinking": {"type": "between_tools"}}, Thought("low")),
        ({"output_config": {"effort": "max"}}, Thought("max")),
        ({"thinking": None, "output_config": None}, Thought()),
    ],
)
def test_thinking(members: Payload, expected: Thought) -> None:
    assert read(asked(**members))[0].thought == expected


def test_the_form_of_the_answer() -> None:
    form = {"type": "json_schema", "schema": {"type": "object"}}
    for members in ({"output_config": {"format": form}}, {"output_format": form}):
        conversation, dropped = read(asked(**members))
        assert conversation.format is not None
        assert conversation.format.schema is not None
        assert bytes(conversation.format.schema) == b'{"type": "object"}'
        assert dropped == []


def test_paths_are_the_clients_words() -> None:
    conversation, dropped = read(
        asked(
            top_k=3,
            stop_sequences=["X"],
            metadata={"user_id": "u"},
            service_tier="auto",
            thinking={"type": "adaptive"},
            messages=[USER, {"role": "assistant", "content": "So"}],
        )
    )
    assert conversation.paths == {
        "sampling": "top_k",
        "top_k": "top_k",
        "stop": "stop_sequences",
        "user": "metadata.user_id",
        "service_tier": "service_tier",
        "effort": "thinking",
        "output_tokens_max": "max_tokens",
        "prefill": "messages.1",
    }
    assert (conversation.user, conversation.stop, conversation.sampling.top_k) == ("u", ("X",), 3)
    assert dropped == []


def test_what_is_lost_is_said() -> None:
    members: Payload = {
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"task_budget": {"total": 1}},
        "something_new": 1,
        "speed": "fast",
        "diagnostics": {"previous_message_id": None},
        "container": None,
        "mcp_servers": [],
    }
    assert sorted(read(asked(**members))[1]) == [
        "context_management",
        "output_config.task_budget",
        "something_new",
        "speed",
    ]
    assert read(asked(speed="standard"))[1] == []
    assert "container" in refusal(asked(container="c"))


def test_a_count_needs_no_limit() -> None:
    body = {"model": "m", "messages": [USER]}
    assert read(body, b"count_tokens")[0].output_tokens_max is None
    assert refusal(body) == "max_tokens: Field required"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"messages": None}, "messages: Field required"),
        ({"messages": "Hi"}, "messages: Input should be a valid list"),
        ({"messages": ["Hi"]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        (
            {"messages": [{"role": "tool", "content": ""}]},
            "messages.0.role: Input should be 'user', 'assistant' or 'system'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text: Field required",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "f"}]}]},
            "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": 1}]}
                ]
            },
            "messages.0.content.0.input: Input should be a valid dictionary",
        ),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name: Field required"),
        ({"tool_choice": {"type": "x"}}, "tool_choice.type: Input should be 'auto', 'any', 'none' or 'tool'"),
        ({"stop_sequences": "X"}, "stop_sequences: Input should be a valid list of strings"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens: Field required"),
        ({"temperature": "hot"}, "temperature: Input should be a valid number"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(members: Payload, message: str) -> None:
    assert refusal(asked(**members)) == message


def test_blocks_of_unknown_types_and_files_are_refused() -> None:
    for kind in ("new_thing", "container_upload"):
        assert "messages.0.content.0" in refusal(asked(messages=[{"role": "user", "content": [{"type": kind}]}]))


def test_coding_agents_request() -> None:
    """The shape of the most common client's first request (Claude Code)."""
    mark = {"cache_control": {"type": "ephemeral"}}
    body = asked(
        max_tokens=128_000,
        system=[text("x-anthropic-billing-header: cc_version=1"), text("You", **mark), text("are", **mark)],
        messages=[{"role": "user", "content": [text("Hi")]}, {"role": "system", "content": [text("Note", **mark)]}],
        thinking={"type": "adaptive", "display": "omitted"},
        output_config={"effort": "medium"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        metadata={"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
        tools=[{"name": "DeferredToolPlaceholder", "input_schema": {"type": "object"}, "defer_loading": True}],
        stream=True,
    )
    conversation, dropped = read(body)
    assert dropped == ["context_management"]
    assert [turn.role for turn in conversation.turns] == [Role.SYSTEM, Role.USER, Role.SYSTEM]
    assert conversation.turns[0].parts == (Text("You", Cache()), Text("are", Cache()))
    assert conversation.thought == Thought("medium", show=False)


odd = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    *("system", "messages", "tools", "tool_choice", "thinking", "output_config", "metadata", "stop_sequences"),
    *("temperature", "max_tokens", "service_tier", "output_format", "container"),
]
BLOCK_KINDS = ["text", "image", "document", "thinking", "tool_use", "tool_result", "search_result", "compaction"]


parts = st.tuples(st.sampled_from(BLOCK_KINDS), st.dictionaries(st.text(max_size=3), odd, max_size=2))


@given(st.dictionaries(st.sampled_from(NAMES), odd, max_size=4), st.lists(parts, max_size=3))
@settings(max_examples=300, deadline=None)
def test_any_request_is_read_or_refused(members: Payload, content: list[tuple[str, Payload]]) -> None:
    said = {"role": "assistant", "content": [{**more, "type": kind} for kind, more in content]}
    with suppress(ClientError):
        conversation, _ = read({**asked(messages=[said]), **members})
        assert conversation.turns is not None
