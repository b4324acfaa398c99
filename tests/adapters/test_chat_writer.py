"""Neutral conversations as Chat Completions requests: for OpenAI, for its imitators, for models with quirks."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from adapters import capabilities
from adapters.capabilities import Capabilities, Sampling, Thinking
from adapters.conversation import (
    Cache,
    Call,
    ChoiceKind,
    Format,
    FormatKind,
    Media,
    MediaKind,
    Part,
    Reasoning,
    Refusal,
    Result,
    Role,
    Text,
    Thought,
    Tool,
    ToolChoice,
    Turn,
    WebSearch,
)
from adapters.conversation import Sampling as Numbers
from adapters.dialects import chat
from adapters.errors import ClientError
from adapters.losses import Losses
from adapters.signatures import Signature
from adapters.target import Target, Written
from adapters.tool_calls import ids
from tests.adapters.recorder import conversation

PLAIN = Capabilities(output_tokens_max=100_000)
OPENAI = Capabilities(
    output_tokens_max=100_000,
    system_anywhere=True,
    developer_role=True,
    max_completion_tokens=True,
    thinking=Thinking.EFFORT,
    efforts=("none", "low", "medium", "high"),
)
SCOPE = "scope"
USER = Turn(Role.USER, (Text("Hi"),))
Document = dict[str, Any]


def write(
    capabilities: Capabilities = PLAIN, losses: Losses | None = None, *, usage_option: bool = False, **changes: Any
) -> Written:
    asked = conversation(**{"stream": False, **changes})
    target = Target("model", capabilities, SCOPE, stream=asked.stream, usage_option=usage_option)
    return chat.write_request(asked, target, losses or Losses())


def body(capabilities: Capabilities = PLAIN, losses: Losses | None = None, **changes: Any) -> Document:
    document: Document = json.loads(write(capabilities, losses, **changes).body)
    return document


def messages(*turns: Turn, to: Capabilities = PLAIN, **changes: Any) -> list[Document]:
    written: list[Document] = body(to, turns=turns, **changes)["messages"]
    return written


def dropped(capabilities: Capabilities = PLAIN, **changes: Any) -> list[str]:
    losses = Losses()
    write(capabilities, losses, **changes)
    return losses.dropped


def refused(capabilities: Capabilities = PLAIN, **changes: Any) -> str | None:
    with pytest.raises(ClientError) as caught:
        write(capabilities, **changes)
    assert caught.value.failure.code == "unsupported_parameter"
    return caught.value.failure.param


def assistant(*parts: Part) -> Turn:
    return Turn(Role.ASSISTANT, parts)


def results(*parts: Result) -> Turn:
    return Turn(Role.TOOL, parts)


# -- messages ----------------------------------------------------------------------------------------------------------


def test_the_least_request() -> None:
    assert write().body == b'{"model":"model","messages":[{"role":"user","content":"Hi"}]}'


def test_equal_conversations_give_equal_bytes() -> None:
    asked: Document = {"tools": (Tool("f"),), "stop": ("X",), "thought": Thought("low"), "cache_key": "k"}
    assert write(OPENAI, **asked).body == write(OPENAI, **asked).body


def test_b50_system_turns_where_the_model_takes_them() -> None:
    turns = [Turn(Role.SYSTEM, (Text("A"), Text("B"))), Turn(Role.SYSTEM, (Text("C"),)), USER]
    turns += [assistant(Text("x")), Turn(Role.SYSTEM, (Text("D"),))]
    assert messages(*turns, to=OPENAI) == [
        {"role": "developer", "content": "A\n\nB"},
        {"role": "developer", "content": "C"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "x"},
        {"role": "developer", "content": "D"},
    ]
    assert messages(*turns) == [
        {"role": "system", "content": "A\n\nB\n\nC"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "<system>D</system>"},
    ]


def test_speakers() -> None:
    turns = (Turn(Role.USER, (Text("a"),), "bob"), Turn(Role.USER, (Text("b"),), "Bob B."))
    assert messages(*turns) == [
        {"role": "user", "content": "a", "name": "bob"},
        {"role": "user", "content": "b"},
    ]
    assert dropped(turns=turns) == ["speaker"]


def test_texts_and_media_of_the_user() -> None:
    parts = (
        Text("a"),
        Media(MediaKind.IMAGE, "w", "image/png", content="AA", detail="low"),
        Media(MediaKind.IMAGE, "w", url="https://x/y"),
        Media(MediaKind.AUDIO, "w", "audio/mpeg", content="BB"),
        Media(MediaKind.DOCUMENT, "w", "application/pdf", content="CC"),
        Media(MediaKind.DOCUMENT, "w", "text/plain", text="T"),
    )
    assert messages(Turn(Role.USER, parts))[0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y"}},
        {"type": "input_audio", "input_audio": {"data": "BB", "format": "mp3"}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,CC"}},
        {"type": "text", "text": "T"},
    ]


@pytest.mark.parametrize(
    "media",
    [
        Media(MediaKind.IMAGE, "where", file_id="f"),
        Media(MediaKind.IMAGE, "where", url="gs://x"),
        Media(MediaKind.AUDIO, "where", "audio/flac", content="AA"),
        Media(MediaKind.VIDEO, "where", url="https://x"),
        Media(MediaKind.DOCUMENT, "where", url="https://x"),
    ],
)
def test_media_without_a_form_are_refused(media: Media) -> None:
    assert refused(turns=(Turn(Role.USER, (media,)),)) == "where"


def test_an_image_for_a_blind_model_is_refused() -> None:
    media = Media(MediaKind.IMAGE, "where", "image/png", content="AA")
    assert refused(Capabilities(images=False), turns=(Turn(Role.USER, (media,)),)) == "where"


def test_calls_and_results() -> None:
    turns = (
        USER,
        assistant(Text("a"), Call("c1", "f", '{"x": 1}'), Text("b"), Call("c2", "p", "free", custom=True)),
        results(Result("c1", (Text("r"),), is_error=True), Result("c2", (Text("1"), Text("2")))),
    )
    assert messages(*turns, tools=(Tool("f"), Tool("p", custom=True)))[1:] == [
        {
            "role": "assistant",
            "content": "ab",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                {"id": "c2", "type": "function", "function": {"name": "p", "arguments": '{"input":"free"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Error: r"},
        {"role": "tool", "tool_call_id": "c2", "content": "1\n\n2"},
    ]


def test_b46_images_in_results_follow_all_results() -> None:
    image = Media(MediaKind.IMAGE, "w", "image/png", content="AA")
    turns = (
        assistant(Call("a", "f", "{}"), Call("b", "g", "{}")),
        results(Result("a", (image,), name="f"), Result("b", (Text("r"), image))),
        USER,
    )
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    assert messages(*turns)[1:] == [
        {"role": "tool", "tool_call_id": "a", "content": "(The result follows in the next message.)"},
        {"role": "tool", "tool_call_id": "b", "content": "r"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "From the result of the tool call a (f):"},
                shown,
                {"type": "text", "text": "From the result of the tool call b:"},
                shown,
            ],
        },
        {"role": "user", "content": "Hi"},
    ]


def test_b47_ids_follow_the_rule_on_both_sides() -> None:
    turns = (assistant(Call("functions.read:0", "f", "{}")), results(Result("functions.read:0", (Text("r"),))))
    call, result = messages(*turns, to=Capabilities(call_ids=ids.ALNUM9))
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert len(result["tool_call_id"]) == 9
    assert messages(*turns)[1]["tool_call_id"] == "functions.read:0"


@pytest.mark.parametrize(("given", "sent"), [("", "{}"), (" ", "{}"), ("null", "null"), ("{bad", "{bad")])
def test_b48_arguments_stay_text(given: str, sent: str) -> None:
    message = messages(assistant(Call("a", "f", given)))[0]
    assert message["tool_calls"][0]["function"]["arguments"] == sent


def test_b49_results_stand_behind_their_calls() -> None:
    turns = (
        assistant(Call("a", "f", "{}"), Call("b", "f", "{}")),
        results(Result("b", (Text("rb"),))),
        USER,
        results(Result("a", (Text("ra"),))),
    )
    written = messages(*turns)
    assert [message.get("tool_call_id", message["role"]) for message in written] == ["assistant", "a", "b", "user"]


def test_b51_turns_that_say_nothing() -> None:
    turns = (USER, assistant(Reasoning("T")), assistant(Text("a")), assistant(Text("b"), Call("c", "f", "{}")))
    written = messages(*turns)
    assert written[1]["content"] == "ab"
    assert messages(assistant(Call("c", "f", "{}")))[0]["content"] is None
    assert messages(USER, assistant(Text(""))) == [{"role": "user", "content": "Hi"}]


def test_refusals_of_the_assistant() -> None:
    turn = assistant(Refusal("No."))
    assert messages(turn, to=OPENAI) == [{"role": "assistant", "content": None, "refusal": "No."}]
    assert messages(turn) == [{"role": "assistant", "content": "No."}]


# -- reasoning ---------------------------------------------------------------------------------------------------------

CALL = Call("a", "f", "{}")


def test_b31_reasoning_goes_back_where_it_is_wanted() -> None:
    back = Capabilities(reasoning_back=True)
    foreign = Reasoning("T", Signature("other", SCOPE, "S"))
    assert messages(assistant(foreign, CALL), to=back)[0]["reasoning_content"] == "T"
    assert messages(assistant(CALL), to=back)[0]["reasoning_content"] == ""
    assert "reasoning_content" not in messages(assistant(foreign, Text("a")), to=back)[0]
    assert messages(assistant(foreign, CALL))[0].keys() == {"role", "content", "tool_calls"}


def test_own_signatures_go_back_as_they_came() -> None:
    def own(value: str, kind: str, item_id: str = "", scope: str = SCOPE) -> Signature:
        return Signature("chat", scope, value, kind, item_id)

    turn = assistant(
        Reasoning("T", own("S", "text:v1")),
        Reasoning("U", own("D", "encrypted:v2", "rs_1")),
        Reasoning("V", own("X", "text:v1", scope="elsewhere")),
        Reasoning("", own("G", "google")),
        CALL,
        Reasoning("", own("H", "google")),
    )
    message = messages(turn)[0]
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "T", "signature": "S", "format": "v1", "index": 0},
        {"type": "reasoning.summary", "summary": "U", "id": "rs_1", "format": "v2", "index": 1},
        {"type": "reasoning.encrypted", "data": "D", "id": "rs_1", "format": "v2", "index": 1},
    ]
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "G"}}
    assert message["extra_content"] == {"google": {"thought_signature": "H"}}


@pytest.mark.parametrize(
    ("model", "thought", "members"),
    [
        ("gpt-5.1", Thought("low"), {"reasoning_effort": "low"}),
        ("gpt-5.1", Thought("none"), {"reasoning_effort": "none"}),
        ("gpt-5", Thought("none"), {"reasoning_effort": "minimal"}),
        ("gpt-5", Thought(budget_tokens=20_000), {"reasoning_effort": "high"}),
        ("deepseek-v4", Thought("none"), {"thinking": {"type": "disabled"}}),
        ("gemini-2.5-flash", Thought("max"), {"reasoning_effort": "high"}),
        ("gpt-4o", Thought("high"), {}),
        ("gpt-4o", Thought(), {}),
    ],
)
def test_effort(model: str, thought: Thought, members: Document) -> None:
    written = body(capabilities.of(model), thought=thought)
    assert {name: written[name] for name in written if name in {"reasoning_effort", "thinking"}} == members


def test_effort_that_is_lost_is_said() -> None:
    assert dropped(thought=Thought("high")) == ["effort"]
    assert dropped(thought=Thought("none")) == []
    assert dropped(capabilities.of("gpt-5"), thought=Thought("none"), paths={"effort": "thinking"}) == ["thinking"]


# -- tools -------------------------------------------------------------------------------------------------------------


def test_tools() -> None:
    schema = Raw(b'{"type":"object","properties":{"x":{"type":"string"}}}')
    tools = (
        Tool("f", "does", schema, strict=True),
        Tool("g"),
        Tool("h", schema=Raw(b'{"type":"object","additionalProperties":false}')),
        Tool("p", "patches", custom=True, format=Raw(b'{"type":"grammar","definition":"start: X"}')),
        Tool("t", namespace="ns"),
    )
    losses = Losses()
    written = body(PLAIN, losses, tools=tools, paths={"grammar": "tools[3].format"})["tools"]
    functions = [tool["function"] for tool in written]
    assert functions[0] == {
        "name": "f",
        "description": "does",
        "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
        "strict": True,
    }
    assert functions[1] == {"name": "g", "parameters": {"type": "object", "properties": {}}}
    assert functions[2]["parameters"] == {"type": "object", "properties": {}, "additionalProperties": False}
    assert functions[3]["parameters"]["required"] == ["input"]
    assert "start: X" in functions[3]["description"]
    assert functions[4]["name"] == "ns__t"
    assert losses.dropped == ["tools[3].format"]


@pytest.mark.parametrize("schema", [b"{}", b'{"type":"object"}', b'{"type":"object","properties":{}}'])
def test_b53_tools_without_parameters(schema: bytes) -> None:
    function = body(tools=(Tool("f", schema=Raw(schema)),))["tools"][0]["function"]
    assert function["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("choice", "openai", "others"),
    [
        (ToolChoice(), "auto", "auto"),
        (ToolChoice(ChoiceKind.NONE), "none", "none"),
        (ToolChoice(ChoiceKind.ANY), "required", "required"),
        (ToolChoice(ChoiceKind.ANY, ("f",)), {"type": "function", "function": {"name": "f"}}, None),
        (
            ToolChoice(ChoiceKind.AUTO, ("f", "g")),
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": name}} for name in "fg"],
                },
            },
            "auto",
        ),
    ],
)
def test_tool_choice(choice: ToolChoice, openai: object, others: object) -> None:
    tools = (Tool("f"), Tool("g"), Tool("h"))
    written = body(OPENAI, tools=tools, tool_choice=choice)
    assert (written["tool_choice"], len(written["tools"])) == (openai, 3)
    written = body(tools=tools, tool_choice=choice)
    assert written["tool_choice"] == (openai if others is None else others)
    assert len(written["tools"]) == (len(choice.names) or 3)


def test_b54_a_forced_call_that_thinking_forbids() -> None:
    strict = Capabilities(
        thinking=Thinking.EFFORT,
        efforts=("low",),
        forced_choice_with_thinking=False,
        sampling=Sampling.UNLESS_THINKING,
    )
    asked: Document = {
        "tools": (Tool("f"),),
        "tool_choice": ToolChoice(ChoiceKind.ANY),
        "sampling": Numbers(temperature=0.2),
    }
    thinking = body(strict, thought=Thought("low"), **asked)
    assert (thinking["tool_choice"], thinking.get("temperature")) == ("auto", None)
    assert dropped(strict, thought=Thought("low"), **asked) == ["sampling", "tool_choice"]
    assert body(strict, **asked)["tool_choice"] == "required"


def test_one_call_at_a_time() -> None:
    assert body(tools=(Tool("f"),), parallel_calls=False)["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in body(tools=(Tool("f"),), parallel_calls=True)
    assert "parallel_tool_calls" not in body(parallel_calls=False)


def test_web_search() -> None:
    assert refused(web_search=WebSearch(), paths={"web_search": "tools[0]"}) == "tools[0]"
    assert dropped(web_search=WebSearch(), tools=(Tool("f"),)) == ["web_search"]
    target = Target("gpt-4o-search-preview", OPENAI, SCOPE, stream=False)
    written = chat.write_request(conversation(web_search=WebSearch(context_size="low")), target, Losses())
    assert json.loads(written.body)["web_search_options"] == {"search_context_size": "low"}


# -- parameters --------------------------------------------------------------------------------------------------------


def test_b57_the_output_limit() -> None:
    assert body(output_tokens_max=5)["max_tokens"] == 5
    assert body(OPENAI, output_tokens_max=5)["max_completion_tokens"] == 5
    assert body(output_tokens_max=10**6)["max_tokens"] == 100_000
    assert dropped(output_tokens_max=10**6) == ["output_tokens_max"]
    assert "max_tokens" not in body()


def test_numbers() -> None:
    given = Numbers(0.5, 0.9, 3, 1, -1, 7)
    written = body(sampling=given, choices=2)
    names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "n")
    assert [written[name] for name in names] == [0.5, 0.9, 1, -1, 7, 2]
    assert dropped(sampling=given) == ["top_k"]
    assert "top_p" not in body(Capabilities(sampling_pair=False), sampling=given)
    assert dropped(capabilities.of("o3"), sampling=Numbers(temperature=0.5)) == ["sampling"]


def test_b43_stop_sequences() -> None:
    stops = ("a", "b", "c", "d", "e")
    written = write(stop=stops)
    assert (json.loads(written.body)["stop"], written.stops) == (["a", "b", "c", "d"], ("e",))
    written = write(Capabilities(stop=False), stop=stops)
    assert ("stop" in json.loads(written.body), written.stops) == (False, stops)


def test_formats() -> None:
    schema = Format(FormatKind.SCHEMA, "my form", Raw(b'{"type":"object"}'), strict=True)
    assert body(format=schema)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "my_form", "schema": {"type": "object"}, "strict": True},
    }
    without = body(Capabilities(structured_output=False), format=schema)
    assert without["response_format"] == {"type": "json_object"}
    assert without["messages"][0]["role"] == "system"
    assert '{"type":"object"}' in without["messages"][0]["content"]
    plain = body(format=Format(FormatKind.JSON))
    assert "JSON" in plain["messages"][0]["content"]
    told = body(format=Format(FormatKind.JSON), turns=(Turn(Role.USER, (Text("as json"),)),))
    assert [message["role"] for message in told["messages"]] == ["user"]
    assert "response_format" not in body(format=Format(FormatKind.TEXT))


def test_hints_go_to_who_knows_them() -> None:
    asked: Document = {
        "verbosity": "low",
        "service_tier": "flex",
        "cache_key": "k",
        "user": "u",
        "metadata": Raw(b"{}"),
    }
    written = body(OPENAI, **asked)
    names = ("verbosity", "service_tier", "prompt_cache_key", "safety_identifier")
    assert [written[name] for name in names] == ["low", "flex", "k", "u"]
    assert dropped(OPENAI, **asked) == ["metadata"]
    assert body(**asked).keys() == {"model", "messages"}
    assert dropped(**asked) == ["verbosity", "service_tier", "cache", "metadata"]
    assert dropped(service_tier="auto") == []
    assert "store" not in written


def test_cache_marks_are_dropped() -> None:
    turns = (Turn(Role.USER, (Text("a", Cache()),)),)
    assert dropped(turns=turns, paths={"cache": "here"}) == ["here"]
    assert messages(*turns) == [{"role": "user", "content": "a"}]


def test_streams_ask_for_usage_where_it_has_to_be_asked_for() -> None:
    written = json.loads(write(stream=True, usage_option=True).body)
    assert (written["stream"], written["stream_options"]) == (True, {"include_usage": True})
    assert "stream_options" not in json.loads(write(stream=True).body)
    assert "stream" not in json.loads(write(usage_option=True).body)


def test_where_to_ask() -> None:
    assert chat.generation_path("/v1/chat/completions", model="m", stream=True) == "/v1/chat/completions"


# -- there and back ----------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).filter(str.strip)
USERS = st.builds(lambda text: {"role": "user", "content": text}, TEXT)
ASSISTANTS = st.builds(lambda text: {"role": "assistant", "content": text}, TEXT)


@st.composite
def rounds(draw: st.DrawFn) -> list[Document]:
    """A user's message, and calls with their results."""
    names = draw(st.lists(st.uuids().map(str), min_size=1, max_size=3, unique=True))
    calls = [{"id": name, "type": "function", "function": {"name": "f", "arguments": draw(TEXT)}} for name in names]
    answers = [{"role": "tool", "tool_call_id": name, "content": draw(TEXT)} for name in names]
    content = draw(st.none() | TEXT)
    return [draw(USERS), {"role": "assistant", "content": content, "tool_calls": calls}, *answers]


@given(st.lists(rounds() | st.tuples(USERS, ASSISTANTS).map(list), min_size=1, max_size=4), TEXT)
@settings(max_examples=100, deadline=None)
def test_a_well_formed_history_comes_back_as_it_was(parts: list[list[Document]], system: str) -> None:
    history: list[Document] = [{"role": "system", "content": system}, *(message for part in parts for message in part)]
    request = chat.parse_request(json.dumps({"model": "m", "messages": history}).encode())
    read = chat.read_conversation(request, Losses())
    written = chat.write_request(read, Target("m", PLAIN, SCOPE, stream=False), Losses())
    assert json.loads(written.body) == {"model": "m", "messages": history}
