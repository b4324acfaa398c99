"""Chat Completions requests as neutral conversations: messages, tools, parameters, and what is refused or lost."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from adapters import signatures
from adapters.collector import Collector
from adapters.conversation import (
    Cache,
    Call,
    ChoiceKind,
    Conversation,
    Format,
    FormatKind,
    Media,
    MediaKind,
    Reasoning,
    Refusal,
    Result,
    Role,
    Sampling,
    Text,
    Thought,
    ToolChoice,
    Turn,
    WebSearch,
)
from adapters.dialects import chat
from adapters.errors import ClientError, Failure
from adapters.losses import Losses, Policy
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.tool_calls.names import Names
from tests.adapters.recorder import drive, opening

NO_NAMES = Names(())
HI = [{"role": "user", "content": "Hi"}]
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def read(losses: Losses | None = None, /, **members: Any) -> Conversation:
    body = json.dumps({"model": "m", "messages": HI, **members}).encode()
    return chat.read_conversation(chat.parse_request(body), losses or Losses())


def turns(*messages: dict[str, Any]) -> tuple[Turn, ...]:
    return read(messages=list(messages)).turns


def lost(**members: Any) -> list[str]:
    losses = Losses()
    read(losses, **members)
    return losses.dropped


def refused(**members: Any) -> Failure:
    with pytest.raises(ClientError) as caught:
        read(**members)
    assert caught.value.failure.status == 400
    return caught.value.failure


# -- messages ----------------------------------------------------------------------------------------------------------


def test_roles_and_names() -> None:
    assert turns(
        {"role": "system", "content": "S"},
        {"role": "developer", "content": [{"type": "text", "text": "D"}]},
        {"role": "user", "content": "U", "name": "bob"},
        {"role": "assistant", "content": "A"},
    ) == (
        Turn(Role.SYSTEM, (Text("S"),)),
        Turn(Role.SYSTEM, (Text("D"),)),
        Turn(Role.USER, (Text("U"),), "bob"),
        Turn(Role.ASSISTANT, (Text("A"),)),
    )


def test_calls_and_results() -> None:
    custom = {"id": "b", "type": "custom", "custom": {"name": "p", "input": "free"}}
    assert turns(
        {"role": "assistant", "content": None, "tool_calls": [CALL, custom], "refusal": None},
        {
            "role": "tool",
            "tool_call_id": "b",
            "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "r"},
        {"role": "user", "content": "U"},
    ) == (
        Turn(Role.ASSISTANT, (Call("a", "f", '{"x": 1}'), Call("b", "p", "free", custom=True))),
        Turn(
            Role.TOOL,
            (
                Result("b", (Text("1"), Text("2")), name="p", custom=True),
                Result("a", (Text("r"),), name="f"),
            ),
        ),
        Turn(Role.USER, (Text("U"),)),
    )


def test_the_older_function_messages_pair_by_name() -> None:
    history: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "r"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "[]"}},
        {"role": "function", "name": "f", "content": "s"},
    ]
    found = turns(*history)
    calls = [part for turn in found for part in turn.parts if isinstance(part, Call)]
    results = [part for turn in found for part in turn.parts if isinstance(part, Result)]
    assert [call.id for call in calls] == [result.call_id for result in results]
    assert len({call.id for call in calls}) == 2
    assert found == turns(*history)


def test_media() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AA==", "detail": "low"}},
        {"type": "image_url", "image_url": "https://x/y.jpg"},
        {"type": "input_audio", "input_audio": {"data": "BB", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,CC"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "video_url", "video_url": {"url": "https://x/v.mp4"}},
    ]
    where = "messages[0].content"
    assert turns({"role": "user", "content": parts})[0].parts == (
        Media(MediaKind.IMAGE, f"{where}[0].image_url", "image/png", content="AA==", detail="low"),
        Media(MediaKind.IMAGE, f"{where}[1].image_url", url="https://x/y.jpg"),
        Media(MediaKind.AUDIO, f"{where}[2].input_audio", "audio/mpeg", content="BB"),
        Media(MediaKind.DOCUMENT, f"{where}[3].file", "application/pdf", content="CC", filename="a.pdf"),
        Media(MediaKind.DOCUMENT, f"{where}[4].file", file_id="file-1"),
        Media(MediaKind.VIDEO, f"{where}[5].video_url", url="https://x/v.mp4"),
    )


def test_cache_marks() -> None:
    marked = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    broken = {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}}
    conversation = read(messages=[{"role": "user", "content": [marked, broken]}])
    assert conversation.turns[0].parts == (Text("a", Cache("1h")), Text("b", Cache()))
    assert conversation.paths["cache"] == "messages[0].content[0].cache_control"


def test_refusals_and_sources_of_the_assistant() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    assert turns(
        {"role": "assistant", "content": "A", "annotations": [note]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "refusal": "Never."},
    ) == (
        Turn(Role.ASSISTANT, (Text("A", citations=(Citation("u", "t", 0, 1),)),)),
        Turn(Role.ASSISTANT, (Refusal("No."),)),
        Turn(Role.ASSISTANT, (Refusal("Never."),)),
    )


def test_b51_empty_content() -> None:
    assert turns({"role": "assistant", "content": "", "tool_calls": [CALL]})[0].parts == (Call("a", "f", '{"x": 1}'),)
    assert turns({"role": "assistant", "content": None})[0].parts == (Text(""),)
    assert turns({"role": "user", "content": []})[0].parts == ()
    assert turns({"role": "tool", "tool_call_id": "a", "content": None})[0].parts == (Result("a", (Text(""),)),)


# -- reasoning in the history ------------------------------------------------------------------------------------------


def test_plain_reasoning_stands_in_front() -> None:
    for name in ("reasoning_content", "reasoning"):
        found = turns({"role": "assistant", name: "T", "content": "A", "tool_calls": [CALL]})
        assert found[0].parts == (Reasoning("T"), Text("A"), Call("a", "f", '{"x": 1}'))


def test_signed_reasoning_of_an_aggregator_is_foreign_everywhere() -> None:
    details: list[dict[str, Any]] = [
        {"type": "reasoning.text", "text": "T", "signature": "S", "format": "v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "D", "id": "rs_1", "index": 1},
    ]
    found = turns({"role": "assistant", "reasoning": "T", "reasoning_details": details, "content": "A"})
    assert found[0].parts == (
        Reasoning("T", Signature("chat", "", "S", "text:v1")),
        Reasoning("", Signature("chat", "", "D", "encrypted:", "rs_1"), hidden=True),
        Text("A"),
    )


ONE, TWO = Signature("other", "s", "1"), Signature("other", "s", "2", "redacted", "id")
TOLD: list[tuple[Any, ...]] = [
    ("reasoning", "First."),
    ("reasoning_sign", ONE),
    ("text", "Some"),
    ("reasoning", "Unsigned."),
    ("reasoning_close",),
    ("reasoning", "Second."),
    ("reasoning_sign", TWO),
    ("text", " text"),
    ("call_open", 0, "a", "f"),
    ("call_arguments", 0, "{}"),
    ("call_close", 0),
    ("reasoning_sign", ONE),
    ("call_open", 1, "b", "f"),
    ("finish", Reason.TOOL),
]


def test_b29_b32_our_tokens_come_back_to_their_places() -> None:
    collector = Collector(opening())
    drive(collector, [("start", "i", "m", 1), *TOLD, ("end",)])
    message = json.loads(chat.render_answer(collector))["choices"][0]["message"]
    parts = turns(message)[0].parts
    assert parts == (
        Reasoning("Unsigned."),
        Reasoning("First.", ONE),
        Text("Some"),
        Reasoning("Second.", TWO),
        Text(" text"),
        Call("a", "f", "{}"),
        Reasoning("", ONE),
        Call("b", "f", "{}"),
    )


@given(
    st.dictionaries(
        st.sampled_from(["after_calls", "after_text", "start_index", "end_index"]), st.integers(-2, 9) | st.none()
    ),
    st.text("ab", max_size=5),
    st.text("cd", max_size=5),
)
@settings(deadline=None)
def test_changed_messages_lose_nothing_but_places(places: dict[str, Any], thought: str, text: str) -> None:
    details = [{"type": "reasoning.encrypted", "data": signatures.pack(ONE), **places}]
    message = {"role": "assistant", "content": text, "reasoning_content": thought, "tool_calls": [CALL]}
    parts = turns({**message, "reasoning_details": details})[0].parts

    def said(kind: type[Text] | type[Reasoning]) -> str:
        return "".join(part.text for part in parts if isinstance(part, kind))

    assert said(Text) == text
    assert sorted(said(Reasoning)) == sorted(thought)
    assert [part for part in parts if isinstance(part, Call)] == [Call("a", "f", '{"x": 1}')]
    assert [part.signature for part in parts if isinstance(part, Reasoning) and part.signature] == [ONE]


# -- tools -------------------------------------------------------------------------------------------------------------


def test_tools_keep_their_schemas_as_written() -> None:
    body = (
        b'{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f","strict":true,'
        b'"parameters":{"type" : "object", "n":1.0}}},'
        b'{"type":"custom","custom":{"name":"p","format":{"type":"text"}}}]}'
    )
    conversation = chat.read_conversation(chat.parse_request(body), Losses())
    function, custom = conversation.tools
    assert function.schema is not None
    assert bytes(function.schema) == b'{"type" : "object", "n":1.0}'
    assert (function.name, function.strict, custom.name, custom.custom) == ("f", True, "p", True)
    assert conversation.names.original("p").custom
    assert conversation.paths["strict_schema"] == "tools[0].function.strict"
    assert conversation.paths["grammar"] == "tools[1].custom.format"


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ("auto", ToolChoice(ChoiceKind.AUTO)),
        ("none", ToolChoice(ChoiceKind.NONE)),
        ("required", ToolChoice(ChoiceKind.ANY)),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice(ChoiceKind.ANY, ("f",))),
        ({"type": "custom", "custom": {"name": "p"}}, ToolChoice(ChoiceKind.ANY, ("p",))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL]}},
            ToolChoice(ChoiceKind.AUTO, ("f",)),
        ),
    ],
)
def test_tool_choice(given: object, read_as: ToolChoice) -> None:
    assert read(tools=[TOOL], tool_choice=given).tool_choice == read_as


def test_functions_are_tools() -> None:
    conversation = read(functions=[TOOL["function"]], function_call={"name": "f"})
    assert [tool.name for tool in conversation.tools] == ["f"]
    assert conversation.tool_choice == ToolChoice(ChoiceKind.ANY, ("f",))
    assert conversation.parallel_calls is False


# -- parameters --------------------------------------------------------------------------------------------------------


def test_parameters() -> None:
    conversation = read(
        max_tokens=5,
        max_completion_tokens=7,
        temperature=0.5,
        top_p=1,
        top_k=3,
        presence_penalty=1,
        frequency_penalty=-1,
        seed=0,
        stop="X",
        n=2,
        parallel_tool_calls=False,
        user="u",
        safety_identifier="s",
        service_tier="flex",
        verbosity="low",
        prompt_cache_key="k",
        metadata={"a": "b"},
        web_search_options={"search_context_size": "low"},
        stream=True,
        stream_options={"include_usage": True},
    )
    assert conversation.output_tokens_max == 7
    assert conversation.sampling == Sampling(0.5, 1, 3, 1, -1, 0)
    assert (conversation.stop, conversation.choices, conversation.parallel_calls) == (("X",), 2, False)
    assert (conversation.user, conversation.service_tier, conversation.verbosity) == ("s", "flex", "low")
    assert (conversation.cache_key, conversation.web_search) == ("k", WebSearch(context_size="low"))
    assert bytes(conversation.metadata or Raw(b"")) == b'{"a": "b"}'
    assert (conversation.stream, conversation.usage_wanted) == (True, True)
    assert conversation.paths["output_tokens_max"] == "max_completion_tokens"


@pytest.mark.parametrize(
    ("members", "thought"),
    [
        ({}, Thought()),
        ({"reasoning_effort": "high"}, Thought("high")),
        ({"reasoning": {"effort": "low", "exclude": True}}, Thought("low", show=False)),
        ({"reasoning": {"max_tokens": 2000}, "include_reasoning": True}, Thought(None, 2000, show=True)),
        ({"reasoning": {"enabled": False}}, Thought("none")),
        ({"thinking": {"type": "disabled"}}, Thought("none")),
        ({"thinking": {"type": "enabled", "budget_tokens": 99}}, Thought(None, 99)),
    ],
)
def test_thinking(members: dict[str, Any], thought: Thought) -> None:
    assert read(**members).thought == thought


def test_formats() -> None:
    assert read(response_format={"type": "text"}).format == Format(FormatKind.TEXT)
    assert read(response_format={"type": "json_object"}).format == Format(FormatKind.JSON)
    schema = {"name": "n", "schema": {"type": "object"}, "strict": True}
    found = read(response_format={"type": "json_schema", "json_schema": schema}).format
    assert found is not None
    assert found.schema is not None
    assert (found.kind, found.name, bytes(found.schema)) == (FormatKind.SCHEMA, "n", b'{"type": "object"}')
    assert found.strict


def test_explicit_nulls_are_absent() -> None:
    names = ["max_tokens", "temperature", "stop", "tools", "tool_choice", "response_format", "reasoning_effort", "n"]
    names += ["user", "metadata", "parallel_tool_calls", "functions", "logprobs", "stream_options", "unknown", "seed"]
    losses = Losses()
    assert replace(read(losses, **dict.fromkeys(names)), names=NO_NAMES) == replace(read(), names=NO_NAMES)
    assert losses.dropped == []


# -- losses and refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "dropped"),
    [
        ({"foo": 1, "store": True, "prediction": {"type": "content", "content": "x"}}, ["foo"]),
        ({"prompt_cache_retention": "24h"}, ["prompt_cache_retention"]),
        ({"logprobs": False, "top_logprobs": 0, "logit_bias": {}, "modalities": ["text"]}, []),
        ({"moderation": {"model": "x"}}, ["moderation"]),
        ({"tools": [TOOL], "stream_options": {"include_obfuscation": False}}, []),
    ],
)
def test_losses(members: dict[str, Any], dropped: list[str]) -> None:
    assert lost(**members) == dropped


def test_a_strict_route_refuses_what_is_unknown() -> None:
    with pytest.raises(ClientError):
        read(Losses(Policy.STRICT), foo=1)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "assistant", "audio": {"id": "x"}}]}, "messages[0].audio"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0]"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"stop": [1]}, "stop"),
    ],
)
def test_refusals_name_the_place(members: dict[str, Any], param: str) -> None:
    assert refused(**members).param == param


def test_a_wrong_type_says_where_below_the_member() -> None:
    message = refused(messages=[*HI, {"role": "user", "content": [{"type": 1}]}]).message
    assert message == "Invalid 'messages': Expected `str`, got `int` - at `$[1].content[0].type`."


# -- the API before this one -------------------------------------------------------------------------------------------


def legacy(**members: Any) -> Any:
    return chat.read_legacy(json.dumps({"model": "m", "prompt": "Hi", **members}).encode())


@pytest.mark.parametrize("prompt", ["Hi", ["Hi"]])
def test_a_legacy_prompt_is_a_message(prompt: object) -> None:
    request = legacy(prompt=prompt, max_tokens=5, stream=True, echo=False, best_of=1, logprobs=None, suffix=None)
    assert request.stream
    conversation = chat.read_conversation(request, Losses())
    assert conversation.turns == (Turn(Role.USER, (Text("Hi"),)),)
    assert conversation.output_tokens_max == 5


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1]]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 0}, "logprobs"),
    ],
)
def test_legacy_refusals(members: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        legacy(**members)
    assert caught.value.failure.param == param


# -- tokens on the way to an upstream of this dialect ------------------------------------------------------------------


def test_b34_our_tokens_are_taken_out_and_nothing_else() -> None:
    ours = json.dumps({"type": "reasoning.encrypted", "data": signatures.pack(ONE)})
    theirs = '{"type": "reasoning.text",  "signature":"S"}'
    message = '{"role":"assistant", "content" : "\\u0041", "reasoning_details":[%s]}'
    head = '{"model":"m","temperature":1.0,"messages":['
    body = f"{head}{message % f'{ours},{theirs}'},{message % ours}]}}".encode()
    rendered = chat.render_request(chat.parse_request(body), model="m")
    assert json.loads(rendered)["messages"] == [
        {"role": "assistant", "content": "A", "reasoning_details": [json.loads(theirs)]},
        {"role": "assistant", "content": "A"},
    ]
    assert b'"temperature":1.0' in rendered
    assert b'"\\u0041"' in rendered
    assert theirs.encode() in rendered
    without = f"{head}{message % theirs}]}}".encode()
    assert chat.render_request(chat.parse_request(without), model="m") == without
    spoken = f'{head}{{"role":"user","content":"{signatures.PREFIX}"}}]}}'.encode()
    assert chat.render_request(chat.parse_request(spoken), model="m") == spoken
