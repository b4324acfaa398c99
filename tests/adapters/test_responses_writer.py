"""The Responses writer: conversations as requests the vendor takes, and what of them is lost."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._models import validate_type
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from adapters.capabilities import UNKNOWN, Capabilities, of
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
from adapters.dialects.responses import generation_path, parse_request, read_conversation, write_request
from adapters.errors import ClientError
from adapters.losses import Losses, Policy
from adapters.operations import Citation
from adapters.signatures import Signature
from adapters.target import Target, Written
from tests.adapters.recorder import conversation

GPT = of("gpt-5.5")
OLD = of("gpt-4.1")
OWN = Signature("responses", "here", "gAAA", "", "rs_1")
FOREIGN = Signature("elsewhere", "there", "sig")
SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"a":{"type":"string"}}}')


def target(capabilities: Capabilities = GPT, *, stream: bool = False) -> Target:
    return Target("gpt", capabilities, "here", stream)


def typed(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as the SDK's types have it: they insist on the id of reasoning, on which the vendor does not."""
    return {"id": "rs_1", **item} if item["type"] == "reasoning" else item


def write(
    given: Conversation, capabilities: Capabilities = GPT, policy: Policy = Policy.WARN, **changes: Any
) -> tuple[dict[str, Any], list[str], Written]:
    losses = Losses(policy)
    written = write_request(given, target(capabilities, **changes), losses)
    body = json.loads(written.body)
    checked: Any = body | {"input": list(map(typed, body["input"]))}
    validate_type(type_=ResponseCreateParamsNonStreaming, value=checked)
    return body, losses.dropped, written


def body_of(capabilities: Capabilities = GPT, **changes: Any) -> dict[str, Any]:
    body, dropped, _ = write(conversation(**changes), capabilities)
    assert dropped == []
    return body


def dropped_of(capabilities: Capabilities = GPT, **changes: Any) -> list[str]:
    return write(conversation(**changes), capabilities)[1]


def user(*parts: Part) -> Turn:
    return Turn(Role.USER, parts)


def assistant(*parts: Part) -> Turn:
    return Turn(Role.ASSISTANT, parts)


def results(*parts: Result) -> Turn:
    return Turn(Role.TOOL, parts)


def system(text: str) -> Turn:
    return Turn(Role.SYSTEM, (Text(text),))


HI = user(Text("Hi"))


def items(*turns: Turn, capabilities: Capabilities = GPT) -> list[dict[str, Any]]:
    written = body_of(capabilities, turns=turns)["input"]
    assert isinstance(written, list)
    return written


# -- turns -------------------------------------------------------------------------------------------------------------


def test_the_least_request() -> None:
    assert body_of(OLD) == {
        "model": "gpt",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "store": False,
    }
    assert body_of()["include"] == ["reasoning.encrypted_content"]
    losses = Losses()
    assert json.loads(write_request(conversation(), target(stream=True), losses).body)["stream"] is True


def test_the_same_conversation_gives_the_same_bytes() -> None:
    given = conversation(turns=(system("S"), HI), tools=(Tool("f", schema=SCHEMA),), metadata=msgspec.Raw(b'{"a":"b"}'))
    assert write(given)[2].body == write(given)[2].body
    assert b'{"a":"b"}' in write(given)[2].body
    assert bytes(SCHEMA) in write(given)[2].body


def test_b50_system_turns_stay_where_they_are() -> None:
    body = body_of(turns=(system("A"), HI, assistant(Text("Yes")), system("B"), user(Text("Go"))))
    assert body["instructions"] == "A"
    assert [item["role"] for item in body["input"]] == ["user", "assistant", "developer", "user"]
    several = body_of(OLD, turns=(system("A"), system("B"), HI))
    assert "instructions" not in several
    first = [(item["role"], item["content"]) for item in several["input"]]
    role = "developer" if OLD.developer_role else "system"
    assert first == [(role, "A"), (role, "B"), ("user", "Hi")]
    assert "instructions" not in body_of(turns=(system("A"),))


def test_b29_the_order_inside_a_turn_is_kept() -> None:
    turn = assistant(
        *(Reasoning("think", OWN), Text("Wait."), Refusal("No."), Call("call_9", "f", '{"a": 1e3}')),
        *(Reasoning("", OWN), Call("call_10", "f", "")),
    )
    answered = results(Result("call_9", (Text("x"),)), Result("call_10", (Text("y"), Text("z"))))
    assert items(HI, turn, answered)[1:] == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "think"}],
            "encrypted_content": "gAAA",
        },
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_2",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "Wait.", "annotations": []},
                {"type": "refusal", "refusal": "No."},
            ],
        },
        {"type": "function_call", "call_id": "call_9", "name": "f", "arguments": '{"a": 1e3}'},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "call_id": "call_10", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_9", "output": "x"},
        {
            "type": "function_call_output",
            "call_id": "call_10",
            "output": [{"type": "input_text", "text": "y"}, {"type": "input_text", "text": "z"}],
        },
    ]


def test_raw_reasoning_goes_back_as_it_came() -> None:
    signature = OWN._replace(kind="content", item_id="")
    assert items(HI, assistant(Reasoning("deep", signature), Text("Yes")))[1] == {
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "deep"}],
        "encrypted_content": "gAAA",
    }


@pytest.mark.parametrize("signature", [None, FOREIGN, OWN._replace(scope="other"), OWN._replace(scope="")])
def test_b34_foreign_reasoning_is_left_out(signature: Signature | None) -> None:
    assert [item["type"] for item in items(HI, assistant(Reasoning("t", signature), Text("Yes")))] == ["message"] * 2


def test_reasoning_that_nothing_follows_is_left_out() -> None:
    written = items(HI, assistant(Text("Yes"), Reasoning("t", OWN)), user(Text("Go")))
    assert [item["type"] for item in written] == ["message"] * 3


def test_b46_images_in_results() -> None:
    image = Media(MediaKind.IMAGE, "w", "image/png", "AAAA")
    turns = (HI, assistant(Call("c", "f", "{}")), results(Result("c", (Text("see"), image))))
    assert items(*turns)[-1]["output"] == [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"},
    ]


def test_errors_are_said_in_words() -> None:
    def output(*parts: Text | Media) -> object:
        turns = (HI, assistant(Call("c", "f", "{}")), results(Result("c", parts, is_error=True)))
        return items(*turns)[-1]["output"]

    assert output(Text("not found")) == "Error: not found"
    assert output(Text("error 7")) == "error 7"
    assert output() == "Error:"


def test_b47_b49_calls_and_results_are_put_in_order_and_share_their_ids() -> None:
    long_id = "functions.read:0" * 6
    written = items(HI, assistant(Call(long_id, "f", "{}"), Call("b", "f", "{}")), user(Text("and?")), results(
        Result(long_id, (Text("x"),))))  # fmt: skip
    call_ids = [item["call_id"] for item in written if "call_id" in item]
    assert call_ids[0] == call_ids[2] != long_id
    assert len(call_ids[0]) <= 64
    assert call_ids[1] == call_ids[3] == "b"
    assert [item["type"] for item in written[-2:]] == ["function_call_output", "message"]


def test_media_of_every_form() -> None:
    content = items(user(
        Media(MediaKind.IMAGE, "w", url="https://a", detail="low"),
        Media(MediaKind.DOCUMENT, "w", "application/pdf", "JVBE", filename="a.pdf"),
        Media(MediaKind.DOCUMENT, "w", url="https://a/b.pdf"),
        Media(MediaKind.DOCUMENT, "w", "text/plain", "SGk=", text="Hi"),
    ))[0]["content"]  # fmt: skip
    assert content == [
        {"type": "input_image", "detail": "low", "image_url": "https://a"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        {"type": "input_file", "file_url": "https://a/b.pdf"},
        {"type": "input_text", "text": "Hi"},
    ]


@pytest.mark.parametrize(
    "media",
    [
        Media(MediaKind.AUDIO, "where", "audio/wav", "UklG"),
        Media(MediaKind.VIDEO, "where", "video/mp4", "AAAA"),
        Media(MediaKind.IMAGE, "where", file_id="file-1"),
        Media(MediaKind.DOCUMENT, "where", file_id="file-1"),
    ],
)
def test_media_without_a_form_are_refused(media: Media) -> None:
    with pytest.raises(ClientError) as caught:
        write(conversation(turns=(user(media),)))
    assert caught.value.failure.param == "where"


def test_images_for_a_model_that_sees_none_are_refused() -> None:
    with pytest.raises(ClientError):
        write(conversation(turns=(user(Media(MediaKind.IMAGE, "w", "image/png", "AA")),)), of("gpt-3.5-turbo"))


def test_what_of_a_turn_is_dropped_is_said() -> None:
    paths = {"cache": "messages[0].cache_control", "speaker": "messages[0].name"}
    turn = Turn(Role.USER, (Text("Hi", Cache("1h")),), "Ann")
    assert dropped_of(turns=(turn,), paths=paths) == ["messages[0].name", "messages[0].cache_control"]
    assert dropped_of(turns=(HI, assistant(Text("Hi", citations=(Citation("https://a"),))))) == []


# -- tools -------------------------------------------------------------------------------------------------------------


def test_tools() -> None:
    grammar = msgspec.Raw(b'{"type":"grammar","syntax":"lark","definition":"x"}')
    tools = (
        Tool("f", "d", SCHEMA, strict=True),
        Tool("g"),
        Tool("h", schema=msgspec.Raw(b'{"type":"object"}')),
        Tool("apply_patch", "p", custom=True, format=grammar),
        Tool("exec", namespace="ns"),
    )
    search = WebSearch(3, ("a.org",), ("b.org",), "low")
    body = body_of(tools=tools, web_search=search, parallel_calls=False)
    empty = {"type": "object", "properties": {}}
    assert body["tools"] == [
        {"type": "function", "name": "f", "description": "d", "parameters": json.loads(bytes(SCHEMA)), "strict": True},
        {"type": "function", "name": "g", "parameters": empty, "strict": False},
        {"type": "function", "name": "h", "parameters": empty, "strict": False},
        {"type": "custom", "name": "apply_patch", "description": "p", "format": json.loads(bytes(grammar))},
        {"type": "function", "name": "ns__exec", "parameters": empty, "strict": False},
        {
            "type": "web_search",
            "filters": {"allowed_domains": ["a.org"], "blocked_domains": ["b.org"]},
            "search_context_size": "low",
        },
    ]
    assert (body["max_tool_calls"], body["parallel_tool_calls"]) == (3, False)


def test_b53_a_schema_without_properties_gets_some_unless_it_says_more() -> None:
    def parameters(schema: bytes) -> object:
        return body_of(tools=(Tool("f", schema=msgspec.Raw(schema)),))["tools"][0]["parameters"]

    assert parameters(b"{}") == {"type": "object", "properties": {}}
    assert parameters(b'{"$ref":"#/$defs/A","$defs":{"A":{}}}') == {"$ref": "#/$defs/A", "$defs": {"A": {}}}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), "auto"),
        (ToolChoice(ChoiceKind.NONE), "none"),
        (ToolChoice(ChoiceKind.ANY), "required"),
        (ToolChoice(ChoiceKind.ANY, ("f",)), {"type": "function", "name": "f"}),
        (ToolChoice(ChoiceKind.ANY, ("c",)), {"type": "custom", "name": "c"}),
        (
            ToolChoice(ChoiceKind.AUTO, ("f",)),
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)
def test_tool_choice(choice: ToolChoice, expected: object) -> None:
    assert body_of(tools=(Tool("f"), Tool("c", custom=True)), tool_choice=choice)["tool_choice"] == expected
    assert "tool_choice" not in body_of(tool_choice=choice)


def test_free_form_calls_and_namespaces_in_the_history() -> None:
    turns = (
        HI,
        assistant(Call("a", "apply_patch", "*** Begin", custom=True), Call("b", "exec", "{}", namespace="ns")),
        results(Result("a", (Text("ok"),)), Result("b", (Text("ok"),))),
    )
    body = body_of(turns=turns, tools=(Tool("apply_patch", custom=True), Tool("exec", namespace="ns")))
    assert body["input"][1:] == [
        {"type": "custom_tool_call", "call_id": "a", "name": "apply_patch", "input": "*** Begin"},
        {"type": "function_call", "call_id": "b", "name": "ns__exec", "arguments": "{}"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "ok"},
        {"type": "function_call_output", "call_id": "b", "output": "ok"},
    ]


# -- how to answer -----------------------------------------------------------------------------------------------------


def test_thought() -> None:
    assert body_of(thought=Thought("high", show=True))["reasoning"] == {"effort": "high", "summary": "auto"}
    assert body_of(thought=Thought(budget_tokens=8000))["reasoning"]["effort"] in GPT.efforts
    assert "reasoning" not in body_of()
    assert "reasoning" not in body_of(OLD, thought=Thought("none", show=True))
    paths = {"effort": "reasoning_effort"}
    assert dropped_of(OLD, thought=Thought("high"), paths=paths) == ["reasoning_effort"]


def test_sampling() -> None:
    body = body_of(OLD, sampling=Sampling(temperature=0.0, top_p=0.5))
    assert (body["temperature"], body["top_p"]) == (0.0, 0.5)
    assert dropped_of(of("o3"), sampling=Sampling(temperature=0.2)) == ["sampling"]
    lost = Sampling(top_k=5, seed=1, presence_penalty=0.5)
    assert dropped_of(OLD, sampling=lost) == ["top_k", "seed", "penalties"]


def test_b43_stop_sequences_are_left_to_the_gateway() -> None:
    body, dropped, written = write(conversation(stop=("X", "Y")))
    assert written.stops == ("X", "Y")
    assert dropped == []
    assert "stop" not in body


def test_b57_limits() -> None:
    assert "max_output_tokens" not in body_of()
    assert body_of(output_tokens_max=5)["max_output_tokens"] == 16
    body, dropped, _ = write(conversation(output_tokens_max=10**7, paths={"output_tokens_max": "max_tokens"}), OLD)
    assert body["max_output_tokens"] == OLD.output_tokens_max
    assert dropped == ["max_tokens"]


def test_forms() -> None:
    form = Format(FormatKind.SCHEMA, "n", SCHEMA, strict=True, description="d")
    assert body_of(format=form)["text"]["format"] == {
        "type": "json_schema",
        "name": "n",
        "description": "d",
        "schema": json.loads(bytes(SCHEMA)),
        "strict": True,
    }
    assert body_of(format=Format(FormatKind.SCHEMA, schema=SCHEMA))["text"]["format"]["strict"] is False
    assert "text" not in body_of(format=Format(FormatKind.TEXT))
    said = body_of(format=Format(FormatKind.JSON), turns=(user(Text("as Json")),))
    assert (said["text"], len(said["input"])) == ({"format": {"type": "json_object"}}, 1)
    unsaid = body_of(format=Format(FormatKind.JSON), turns=(system("JSON"), HI))
    assert unsaid["input"][0] == {"type": "message", "role": "developer", "content": "Answer in JSON."}


def test_verbosity() -> None:
    assert body_of(verbosity="low")["text"] == {"verbosity": "low"}
    assert dropped_of(OLD, verbosity="low") == ["verbosity"]


def test_hints() -> None:
    body = body_of(service_tier="flex", cache_key="k", user="u", metadata=msgspec.Raw(b'{"a":"b"}'))
    assert (body["service_tier"], body["prompt_cache_key"], body["safety_identifier"]) == ("flex", "k", "u")
    assert body["metadata"] == {"a": "b"}
    assert "safety_identifier" not in body_of(user="x" * 65)
    assert dropped_of(service_tier="turbo") == ["service_tier"]
    assert body_of(service_tier="standard_only")["service_tier"] == "default"


def test_several_choices_are_refused() -> None:
    with pytest.raises(ClientError):
        write(conversation(choices=2))


def test_where_to_ask() -> None:
    assert generation_path("/responses", model="m", stream=True) == "/responses"


# -- there and back ----------------------------------------------------------------------------------------------------

texts = st.sampled_from(["a", "line\nbreak", "😀 é", '"\\'])
calls = st.builds(Call, st.sampled_from(["c1", "c2"]), st.just("f"), st.sampled_from(["{}", '{"a": 1}']))
said = st.one_of(st.builds(Text, texts), st.builds(Refusal, texts), calls)
turns = st.one_of(
    st.builds(lambda text: user(Text(text)), texts),
    st.builds(system, texts),
    st.lists(said, min_size=1, max_size=4).map(lambda parts: assistant(*parts)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(turns, min_size=1, max_size=6))
def test_what_is_written_reads_the_same(given_turns: list[Turn]) -> None:
    given = conversation(turns=(*given_turns, HI), tools=(Tool("f", "d", SCHEMA),))
    written = write(given, UNKNOWN)[2].body
    read = read_conversation(parse_request(written), Losses(Policy.STRICT))
    again = write(read, UNKNOWN)[2].body
    assert write(read_conversation(parse_request(again), Losses(Policy.STRICT)), UNKNOWN)[2].body == again

    def contents(turns: tuple[Turn, ...]) -> list[object]:
        parts = [part for turn in turns for part in turn.parts if not isinstance(part, Result)]
        return [(type(part), part.text if isinstance(part, Text | Refusal) else part) for part in parts]

    assert sorted(map(repr, contents(read.turns))) == sorted(map(repr, contents(given.turns)))
