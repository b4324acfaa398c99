"""The Responses reader: what clients send, as a conversation, and what they are told they lose."""

import json
from base64 import b64encode
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import signatures
from adapters.conversation import (
    Cache,
    Call,
    ChoiceKind,
    Conversation,
    Format,
    FormatKind,
    Media,
    MediaKind,
    Part,
    Reasoning,
    Refusal,
    Result,
    Role,
    Sampling,
    Text,
    Thought,
    Tool,
    ToolChoice,
    Turn,
    WebSearch,
)
from adapters.dialects.responses import parse_request, read_conversation, render_request
from adapters.errors import ClientError
from adapters.losses import Losses, Policy
from adapters.operations import Citation
from adapters.signatures import Signature


def read(policy: Policy = Policy.WARN, **members: Any) -> tuple[Conversation, list[str]]:
    losses = Losses(policy)
    body = json.dumps({"model": "m", "input": "Hi", **members}).encode()
    return read_conversation(parse_request(body), losses), losses.dropped


def turns_of(items: list[Any], **members: Any) -> list[Turn]:
    conversation, dropped = read(input=items, **members)
    assert dropped == []
    return list(conversation.turns)


def refused(**members: Any) -> tuple[str | None, str | None]:
    with pytest.raises(ClientError) as caught:
        read(**members)
    failure = caught.value.failure
    assert failure.status == 400
    assert failure.param is None or failure.param in failure.message
    return failure.code, failure.param


def user(*parts: Part) -> Turn:
    return Turn(Role.USER, parts)


def message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(parts)}


def text(text: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": kind, "text": text}


CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_9", "name": "f", "arguments": '{"a": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_9", "output": "sunny"}


# -- turns -------------------------------------------------------------------------------------------------------------


def test_input_may_be_text() -> None:
    assert read()[0].turns == (user(Text("Hi")),)
    assert read(instructions="Be brief.")[0].turns[0] == Turn(Role.SYSTEM, (Text("Be brief."),))


def test_messages_of_every_form() -> None:
    assert turns_of([
        {"role": "developer", "content": "A"},
        message("system", text("B")),
        {"role": "user", "content": "C"},
        {"role": "assistant", "content": "D"},
        {"id": "msg_1", "status": "completed", "phase": "final_answer",
         **message("assistant", text("E", "output_text"), {"type": "refusal", "refusal": "F"})},
        message("user", text("G"), text("H")),
    ]) == [
        Turn(Role.SYSTEM, (Text("A"),)),
        Turn(Role.SYSTEM, (Text("B"),)),
        user(Text("C")),
        Turn(Role.ASSISTANT, (Text("D"), Text("E"), Refusal("F"))),
        user(Text("G"), Text("H")),
    ]  # fmt: skip


def test_b26_b29_reasoning_calls_and_text_are_one_turn_in_order() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [text("one", "summary_text"), text("two", "summary_text")]}
    turns = turns_of([
        {"role": "user", "content": "Go"},
        {**thought, "content": None, "encrypted_content": "gAAA"},
        message("assistant", text("Wait.", "output_text")),
        CALL,
        {**CALL, "call_id": "call_10", "namespace": "ns"},
        OUTPUT,
        {**OUTPUT, "call_id": "call_10", "output": [text("rain")]},
        {**thought, "encrypted_content": None},
        {**CALL, "call_id": "call_11", "arguments": ""},
    ])  # fmt: skip
    signature = Signature("responses", "", "gAAA", "", "rs_1")
    assert turns[1:] == [
        Turn(
            Role.ASSISTANT,
            (
                Reasoning("one\n\ntwo", signature),
                Text("Wait."),
                Call("call_9", "f", '{"a": 1}'),
                Call("call_10", "f", '{"a": 1}', namespace="ns"),
            ),
        ),
        Turn(Role.TOOL, (Result("call_9", (Text("sunny"),)), Result("call_10", (Text("rain"),)))),
        Turn(Role.ASSISTANT, (Reasoning("one\n\ntwo"), Call("call_11", "f", ""))),
    ]


def test_b27_free_form_calls() -> None:
    assert turns_of([
        {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "*** Begin\n"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "Done"},
    ]) == [
        Turn(Role.ASSISTANT, (Call("c", "apply_patch", "*** Begin\n", custom=True),)),
        Turn(Role.TOOL, (Result("c", (Text("Done"),), custom=True),)),
    ]  # fmt: skip


def test_b32_packed_signatures_are_unpacked() -> None:
    signature = Signature("elsewhere", "there", "sig", "hidden")
    token = signatures.pack(signature)
    (turn,) = turns_of([{"type": "reasoning", "summary": [], "encrypted_content": token}])
    assert turn.parts == (Reasoning("", signature, hidden=True),)
    broken = {"type": "reasoning", "summary": [], "encrypted_content": signatures.PREFIX + "!"}
    assert turns_of([broken]) == []
    raw = {"type": "reasoning", "summary": [], "content": [text("deep", "reasoning_text")], "encrypted_content": "x"}
    assert turns_of([raw])[0].parts == (Reasoning("deep", Signature("responses", "", "x", "content")),)


def test_b46_images_in_results() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    (turn,) = turns_of([{**OUTPUT, "output": [text("see"), image]}])
    media = Media(MediaKind.IMAGE, "input[0].output[1]", "image/png", "AAAA", detail="low")
    assert turn.parts == (Result("call_9", (Text("see"), media)),)


def test_media_of_every_form() -> None:
    pdf, words = "data:application/pdf;base64,JVBE", "data:text/plain;base64," + b64encode("Grüße".encode()).decode()
    (turn,) = turns_of([message(
        "user",
        {"type": "input_image", "image_url": "https://a/b.png"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": pdf},
        {"type": "input_file", "file_url": "https://a/b.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_file", "filename": "a.txt", "file_data": words},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}},
        {**text("marked"), "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
    )])  # fmt: skip
    at = "input[0].content"
    assert turn.parts == (
        Media(MediaKind.IMAGE, f"{at}[0]", url="https://a/b.png"),
        Media(MediaKind.IMAGE, f"{at}[1]", file_id="file-1"),
        Media(MediaKind.DOCUMENT, f"{at}[2]", "application/pdf", "JVBE", filename="a.pdf"),
        Media(MediaKind.DOCUMENT, f"{at}[3]", url="https://a/b.pdf"),
        Media(MediaKind.DOCUMENT, f"{at}[4]", file_id="file-2"),
        Media(MediaKind.DOCUMENT, f"{at}[5]", "text/plain", words.partition(",")[2], text="Grüße", filename="a.txt"),
        Media(MediaKind.AUDIO, f"{at}[6]", "audio/mpeg", "UklG"),
        Text("marked", Cache("30m")),
    )


def test_sources_of_earlier_answers() -> None:
    source = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 2}
    (turn,) = turns_of([message("assistant", {**text("Hi", "output_text"), "annotations": [source, {"type": "x"}]})])
    assert turn.parts == (Text("Hi", citations=(Citation("https://a", "A", 0, 2),)),)


def test_codex_agent_messages_are_the_users() -> None:
    content = [text("Do"), {"type": "encrypted_content", "encrypted_content": "this"}]
    item = {"type": "agent_message", "author": "planner", "recipient": "worker", "content": content}
    assert turns_of([item]) == [Turn(Role.USER, (Text("Do"), Text("this")), "planner")]


def test_references_and_what_providers_did() -> None:
    conversation, dropped = read(input=[
        {"type": "item_reference", "id": "rs_1"},
        {"id": "rs_2"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "local_shell_call", "id": "l"},
        CALL,
        OUTPUT,
    ])  # fmt: skip
    assert dropped == ["input[0]", "input[1]", "input[2]", "input[3]"]
    assert [turn.role for turn in conversation.turns] == [Role.ASSISTANT, Role.TOOL]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"type": "compaction_trigger"},
        {"type": "compaction", "encrypted_content": "g"},
        {"type": "something_new"},
        message("user", {"type": "something_new"}),
        message("developer", {"type": "input_image", "image_url": "https://a"}),
    ],
)
def test_items_that_cannot_be_left_out_are_refused(item: dict[str, Any]) -> None:
    code, param = refused(input=[{"role": "user", "content": "Hi"}, item])
    assert code == "unsupported_parameter"
    assert param is not None
    assert param.startswith("input[1]")


# -- tools -------------------------------------------------------------------------------------------------------------

FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False}


def schema(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def test_tools_of_every_kind() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
    conversation, dropped = read(tools=[
        FUNCTION,
        {"type": "function", "name": "g", "parameters": None, "strict": None, "description": None},
        {"type": "custom", "name": "apply_patch", "format": grammar},
        {"type": "custom", "name": "free", "format": {"type": "text"}},
        {"type": "namespace", "name": "ns", "description": "x", "tools": [FUNCTION, {"type": "custom", "name": "c"}]},
        {"type": "tool_search", "execution": "client"},
        {"type": "web_search", "external_web_access": True, "search_context_size": "low",
         "filters": {"allowed_domains": ["a.org"], "blocked_domains": None}},
    ], max_tool_calls=3)  # fmt: skip
    assert conversation.tools == (
        Tool("f", "d", schema({"type": "object"}), strict=False),
        Tool("g"),
        Tool("apply_patch", custom=True, format=schema(grammar)),
        Tool("free", custom=True),
        Tool("f", "d", schema({"type": "object"}), strict=False, namespace="ns"),
        Tool("c", custom=True, namespace="ns"),
    )
    assert conversation.web_search == WebSearch(3, ("a.org",), (), "low")
    assert dropped == ["tools[5]"]
    assert conversation.paths["grammar"] == "tools[2].format"
    assert conversation.paths["web_search"] == "tools[6]"
    assert conversation.names.flat("c", "ns") == "ns__c"
    assert conversation.names.original("ns__c").custom


def test_codex_tools_stand_among_the_items() -> None:
    exec_tool = {"type": "custom", "name": "exec", "format": {"type": "grammar"}}
    conversation, dropped = read(
        input=[
            {"type": "additional_tools", "role": "developer", "tools": [
                {"type": "namespace", "name": "functions", "tools": [exec_tool]}]},
            {"role": "user", "content": "Hi"},
            {"type": "tool_search_output", "call_id": "s", "execution": "client", "tools": [FUNCTION]},
            {"type": "additional_tools", "role": "developer", "tools": [{**FUNCTION, "description": "newer"}]},
        ]
    )  # fmt: skip
    assert [(tool.namespace, tool.name, tool.description) for tool in conversation.tools] == [
        ("functions", "exec", ""),
        (None, "f", "newer"),
    ]
    assert dropped == ["input[2]"]


def test_encrypted_marks_are_taken_out_of_schemas() -> None:
    marked = {
        "type": "object",
        "properties": {"message": {"type": "string", "encrypted": True}, "encrypted": {"type": "boolean"}},
        "anyOf": [{"encrypted": False, "type": "object"}],
    }
    (tool,) = read(tools=[{**FUNCTION, "parameters": marked}])[0].tools
    assert tool.schema is not None
    assert json.loads(bytes(tool.schema)) == {
        "type": "object",
        "properties": {"message": {"type": "string"}, "encrypted": {"type": "boolean"}},
        "anyOf": [{"type": "object"}],
    }


@pytest.mark.parametrize("kind", ["file_search", "code_interpreter", "mcp", "image_generation", "shell", "computer"])
def test_tools_that_a_provider_runs_are_refused(kind: str) -> None:
    assert refused(tools=[FUNCTION, {"type": kind}]) == ("unsupported_parameter", "tools[1]")


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        ("auto", ToolChoice()),
        ("none", ToolChoice(ChoiceKind.NONE)),
        ("required", ToolChoice(ChoiceKind.ANY)),
        ({"type": "function", "name": "f"}, ToolChoice(ChoiceKind.ANY, ("f",))),
        ({"type": "custom", "name": "c", "namespace": "ns"}, ToolChoice(ChoiceKind.ANY, ("ns__c",))),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice(ChoiceKind.AUTO, ("f",)),
        ),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, ToolChoice(ChoiceKind.ANY)),
        (None, None),
    ],
)
def test_tool_choice(value: object, choice: ToolChoice | None) -> None:
    namespace = {"type": "namespace", "name": "ns", "tools": [{"type": "custom", "name": "c"}]}
    assert read(tools=[FUNCTION, namespace], tool_choice=value)[0].tool_choice == choice


# -- how to answer -----------------------------------------------------------------------------------------------------


def test_parameters() -> None:
    conversation, dropped = read(
        temperature=0,
        top_p=0.5,
        max_output_tokens=100,
        parallel_tool_calls=False,
        reasoning={"effort": "low", "summary": "auto", "context": "all_turns"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True}},
        service_tier="priority",
        safety_identifier="u",
        prompt_cache_key="k",
        metadata={"a": "b"},
        stream=True,
    )
    assert dropped == []
    assert conversation.sampling == Sampling(temperature=0, top_p=0.5)
    assert conversation.output_tokens_max == 100
    assert conversation.parallel_calls is False
    assert conversation.thought == Thought(effort="low", show=True)
    assert conversation.format == Format(FormatKind.SCHEMA, "n", schema({"a": 1}), strict=True)
    assert (conversation.verbosity, conversation.service_tier) == ("low", "priority")
    assert (conversation.user, conversation.cache_key) == ("u", "k")
    assert conversation.metadata is not None
    assert json.loads(bytes(conversation.metadata)) == {"a": "b"}
    assert conversation.stream
    assert conversation.paths == {
        "verbosity": "text.verbosity",
        "json_mode": "text.format",
        "strict_schema": "text.format.strict",
        "parallel_calls": "parallel_tool_calls",
        "output_tokens_max": "max_output_tokens",
        "sampling": "temperature",
        "service_tier": "service_tier",
        "metadata": "metadata",
        "user": "safety_identifier",
        "cache": "prompt_cache_key",
        "effort": "reasoning.effort",
    }


def test_explicit_nulls_are_absent() -> None:
    names = "include instructions max_output_tokens metadata previous_response_id user tools tool_choice text reasoning"
    nulls = dict.fromkeys([*names.split(), "top_p", "temperature", "conversation", "prompt", "background", "x_new"])
    conversation, dropped = read(Policy.STRICT, **nulls, store=False, truncation="disabled")
    assert dropped == []
    assert conversation == msgspec.structs.replace(read()[0], names=conversation.names)


def test_thoughts_are_shown_to_who_asks_for_a_summary() -> None:
    assert read()[0].thought == Thought(show=False)
    assert read(reasoning={"summary": "detailed"})[0].thought.show
    assert not read(reasoning={"effort": "high"})[0].thought.show
    assert not read(reasoning={"summary": None})[0].thought.show


def test_what_is_dropped_is_said() -> None:
    members: dict[str, Any] = {"truncation": "auto", "moderation": {"model": "x"}, "brand_new": 1}
    silent: dict[str, Any] = {"client_metadata": {"a": 1}, "internal_chat": {"b": 1}, "store": True}
    assert read(**members, **silent, include=["reasoning.encrypted_content"])[1] == list(members)
    with pytest.raises(ClientError):
        read(Policy.STRICT, brand_new=1)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"top_logprobs": 2}, "top_logprobs"),
    ],
)
def test_what_would_change_the_answer_is_refused(members: dict[str, Any], param: str) -> None:
    assert refused(**members) == ("unsupported_parameter", param)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{"type": 3}]}, "input[0].type"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ({"input": [message("user", {"type": "input_text"})]}, "input[0].content[0].text"),
        ({"input": [message("user", {"type": "input_image"})]}, "input[0].content[0].image_url"),
        (
            {"input": [message("user", {"type": "input_image", "image_url": "data:image/png,x"})]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{**CALL, "call_id": None}]}, "input[0].call_id"),
        ({"input": [{**CALL, "arguments": 3}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": [{"type": "reasoning", "summary": "x"}]}, "input[0].summary"),
        ({"tools": {}}, "tools"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{**FUNCTION, "parameters": "x"}]}, "tools[0].parameters"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": "high"}, "reasoning"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"metadata": []}, "metadata"),
        ({"instructions": ["x"]}, "instructions"),
    ],
)
def test_what_is_malformed_is_named(members: dict[str, Any], param: str) -> None:
    code, named = refused(**members)
    assert named == param
    assert code in {
        *("invalid_type", "invalid_value", "missing_required_parameter", "invalid_base64", "integer_below_min_value"),
    }


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "name", "call_id", "output", "tools", "summary", "format"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
words = st.sampled_from(
    ["message", "function_call", "reasoning", "custom_tool_call_output", "additional_tools", "user"]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["input", "tools", "tool_choice", "text", "reasoning"]), values), words)
def test_any_request_is_read_or_refused(members: dict[str, Any], word: str) -> None:
    given_input = members.get("input")
    if isinstance(given_input, dict):
        members["input"] = [{"type": word, **given_input}, {**given_input, "type": word}]
    with suppress(ClientError):
        read(**members)


# -- requests that pass through ----------------------------------------------------------------------------------------


def test_b34_tokens_of_ours_do_not_reach_an_upstream() -> None:
    token = signatures.pack(Signature("elsewhere", "there", "sig"))
    foreign = b'{"type":"reasoning","summary":[],"encrypted_content":"%b"}' % token.encode()
    own = b'{"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}'
    quoted = b'{"role": "user", "content": "%b"}' % token.encode()
    body = b'{"model": "m", "input": [%b, %b , %b], "x": 1}' % (own, foreign, quoted)
    request = parse_request(body)
    stripped = b'"input":[%b,%b]' % (own, quoted)
    assert stripped in render_request(request, model="m")
    assert stripped in render_request(request, model="other")
    untouched = body.replace(foreign, own)
    assert render_request(parse_request(untouched), model="m") == untouched
