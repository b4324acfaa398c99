"""The Gemini reader: requests of real clients in the neutral form, and what is refused or noted."""

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import signatures
from adapters.conversation import (
    Call,
    ChoiceKind,
    Conversation,
    Format,
    FormatKind,
    Media,
    MediaKind,
    Part,
    Reasoning,
    Result,
    Role,
    Sampling,
    Text,
    Thought,
    ToolChoice,
    Turn,
    WebSearch,
)
from adapters.dialects.gemini_reader import read_conversation
from adapters.dialects.gemini_request import parse_request
from adapters.errors import ClientError
from adapters.losses import Losses
from adapters.signatures import Signature
from tests.adapters.steps import steps

HI = {"role": "user", "parts": [{"text": "Hi"}]}


def read(contents: list[Any] | None = None, /, *, losses: Losses | None = None, **members: Any) -> Conversation:
    body = {"contents": [HI] if contents is None else contents, **members}
    request = parse_request(json.dumps(body).encode(), b"m:streamGenerateContent", b"alt=sse")
    return read_conversation(request, losses or Losses())


def turns(*contents: Any) -> list[tuple[Role, tuple[Part, ...]]]:
    return [(turn.role, turn.parts) for turn in read(list(contents)).turns]


def model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def call(name: str, args: Any = None, **members: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **({} if args is None else {"args": args})}, **members}


def response(name: str, value: Any, **members: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": value, **members}}


def generation(**members: Any) -> Conversation:
    return read(generationConfig=members)


def dropped(**members: Any) -> list[str]:
    losses = Losses()
    read(losses=losses, **members)
    return losses.dropped


def refused(*contents: Any, **members: Any) -> tuple[str | None, str]:
    with pytest.raises(ClientError) as caught:
        read(list(contents) or None, **members)
    failure = caught.value.failure
    assert failure.status == 400
    return failure.param, failure.message


# -- turns -------------------------------------------------------------------------------------------------------------


def test_system_user_and_model() -> None:
    conversation = read([HI, model({"text": "Hello"})], systemInstruction={"parts": [{"text": "Be nice"}]})
    assert conversation.turns == (
        Turn(Role.SYSTEM, (Text("Be nice"),)),
        Turn(Role.USER, (Text("Hi"),)),
        Turn(Role.ASSISTANT, (Text("Hello"),)),
    )
    assert (conversation.model, conversation.stream) == ("m", True)
    assert conversation.paths["prefill"] == "contents"
    assert read(systemInstruction="Be nice").turns[0] == Turn(Role.SYSTEM, (Text("Be nice"),))


def test_user_contents_in_a_row_stay_two_turns() -> None:
    assert turns(HI, HI) == [(Role.USER, (Text("Hi"),)), (Role.USER, (Text("Hi"),))]


def test_chunks_of_the_model_are_one_turn_and_one_text() -> None:
    found = turns(
        HI, model({"text": "Hel"}), model({"text": "lo"}), model({"text": ""}), model(call("f"), {"text": "x"})
    )
    assert [role for role, _ in found] == [Role.USER, Role.ASSISTANT]
    assert found[1][1][0] == Text("Hello")
    assert isinstance(found[1][1][1], Call)
    assert found[1][1][2] == Text("x")
    assert turns(model({"text": "a"}, {"text": "b"}))[0][1] == (Text("a"), Text("b"))


def test_arguments_are_kept_as_written() -> None:
    args = b'{"a": 1.0,"b":"\\u00e9"}'
    part = b'{"functionCall":{"id":"c","name":"f","args":%b}}' % args
    body = b'{"contents":[{"role":"model","parts":[%b]}]}' % part
    conversation = read_conversation(parse_request(body, b"m:generateContent"), Losses())
    assert conversation.turns[0].parts == (Call("c", "f", args.decode()),)
    assert turns(model(call("f")))[0][1][0].arguments == "{}"  # type: ignore[union-attr]


def test_snake_case_is_as_good() -> None:
    camel = {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"topK": 3, "maxOutputTokens": 4, "thinkingConfig": {"includeThoughts": True}},
        "contents": [user({"inlineData": {"mimeType": "image/png", "data": "aWE="}}), model(call("f", {"x": 1}))],
    }
    snake = {
        "system_instruction": {"parts": [{"text": "s"}]},
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]}],
        "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
        "generation_config": {"top_k": 3, "max_output_tokens": 4, "thinking_config": {"include_thoughts": True}},
        "contents": [
            user({"inline_data": {"mime_type": "image/png", "data": "aWE="}}),
            model({"function_call": {"name": "f", "args": {"x": 1}}}),
        ],
    }
    one, other = (
        read_conversation(parse_request(json.dumps(body).encode(), b"m:generateContent"), Losses())
        for body in (camel, snake)
    )
    assert one.tools[0].name == other.tools[0].name
    for name in ("tool_choice", "sampling", "output_tokens_max", "thought"):
        assert getattr(one, name) == getattr(other, name)
    assert [turn.role for turn in one.turns] == [turn.role for turn in other.turns]
    assert other.paths["top_k"] == "generation_config.top_k"
    media = other.turns[1].parts[0]
    assert isinstance(media, Media)
    assert media.where == "contents[0].parts[0].inline_data"


# -- results -----------------------------------------------------------------------------------------------------------


def paired(*contents: Any) -> list[tuple[str, str]]:
    """Every result's name with the arguments of the call it answers."""
    read_turns = read(list(contents)).turns
    calls = {part.id: part for turn in read_turns for part in turn.parts if isinstance(part, Call)}
    results = [part for turn in read_turns for part in turn.parts if isinstance(part, Result)]
    return [(str(part.name), calls[part.call_id].arguments if part.call_id in calls else "-") for part in results]


def test_b22_results_without_ids_find_their_calls_by_name_and_order() -> None:
    group = model(call("f", {"n": 1}), call("g", {"n": 2}), call("f", {"n": 3}))
    assert paired(group, user(response("g", {}), response("f", {}), response("f", {}))) == [
        ("g", '{"n": 2}'),
        ("f", '{"n": 1}'),
        ("f", '{"n": 3}'),
    ]
    assert paired(
        model(call("f", {"n": 1})), user(response("f", {})), model(call("f", {"n": 2})), user(response("f", {}))
    ) == [("f", '{"n": 1}'), ("f", '{"n": 2}')]


def test_ids_on_one_side_alone_still_pair() -> None:
    with_id = {"functionCall": {"id": "x", "name": "f", "args": {"n": 1}}}
    assert paired(model(with_id), user(response("f", {}))) == [("f", '{"n": 1}')]
    assert paired(model(call("f", {"n": 1})), user(response("f", {}, id="zz"))) == [("f", '{"n": 1}')]
    assert paired(model(with_id), user(response("other", {}))) == [("f", '{"n": 1}')]
    assert paired(user(response("f", {}))) == [("f", "-")]


def test_made_ids_stay_when_the_conversation_grows() -> None:
    history = [HI, model(call("f"), call("g")), user(response("f", {}), response("g", {}))]
    before = read(history).turns
    after = read([*history, model(call("f")), user(response("f", {}))]).turns
    assert after[: len(before)] == before


@pytest.mark.parametrize(
    ("value", "text", "is_error"),
    [
        ({"output": "sunny"}, "sunny", False),
        ({"result": "sunny"}, '{"result": "sunny"}', False),
        ({"output": {"a": 1}}, '{"output": {"a": 1}}', False),
        ({"error": "broken"}, "broken", True),
        ({"error": {"code": 1}}, '{"error": {"code": 1}}', True),
        ({"error": None, "a": 1}, '{"error": null, "a": 1}', False),
    ],
)
def test_the_text_of_a_result(value: Any, text: str, is_error: bool) -> None:
    result = turns(model(call("f")), user(response("f", value)))[1][1][0]
    assert isinstance(result, Result)
    assert (result.parts, result.is_error) == ((Text(text),), is_error)


def test_b46_media_in_a_result_and_text_behind_it() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "aWE="}}
    found = turns(model(call("f")), user(response("f", {"output": "x"}, parts=[picture]), {"text": "And?"}))
    assert [role for role, _ in found] == [Role.ASSISTANT, Role.TOOL, Role.USER]
    result = found[1][1][0]
    assert isinstance(result, Result)
    assert isinstance(result.parts[1], Media)
    assert result.parts[1].content == "aWE="


def test_pairing_takes_linear_time() -> None:
    def work(count: int) -> int:
        group = model(*(call(f"f{n}") for n in range(count)))
        answers = user(*(response(f"f{n}", {}) for n in reversed(range(count))))
        return steps(lambda: read([group, answers]))

    assert work(400) < 3 * work(200)


# -- signatures --------------------------------------------------------------------------------------------------------


def test_b33_a_signature_is_a_signed_item_before_its_part() -> None:
    own = Signature("gemini", "", "c2ln")
    assert turns(model(call("f", thoughtSignature="c2ln")))[0][1][0] == Reasoning("", own)
    assert turns(model({"text": "Hi", "thoughtSignature": "c2ln"}))[0][1] == (Reasoning("", own), Text("Hi"))
    assert turns(model({"text": "Hi"}, {"text": "", "thoughtSignature": "c2ln"}))[0][1] == (
        Text("Hi"),
        Reasoning("", own),
    )
    thought = {"text": "hm", "thought": True}
    assert turns(model(thought, call("f", thoughtSignature="c2ln")))[0][1][0] == Reasoning("hm", own)
    assert turns(model(thought), model({**thought, "thoughtSignature": "c2ln"}))[0][1] == (Reasoning("hmhm", own),)


def test_b34_our_token_is_unpacked_and_a_stand_in_is_nothing() -> None:
    made = Signature("messages", "anthropic/claude", "sig", item_id="rs_1")
    assert turns(model(call("f", thoughtSignature=signatures.pack(made))))[0][1][0] == Reasoning("", made)
    url_safe = signatures.pack(made).replace("+", "-").replace("/", "_")
    assert turns(model(call("f", thoughtSignature=url_safe)))[0][1][0] == Reasoning("", made)
    for word in ("skip_thought_signature_validator", b64encode(b"skip_thought_signature_validator").decode()):
        assert isinstance(turns(model(call("f", thoughtSignature=word)))[0][1][0], Call)
    assert isinstance(turns(model(call("f", thoughtSignature=signatures.PREFIX + "!!")))[0][1][0], Call)


# -- media -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"inlineData": {"mimeType": "IMAGE/PNG", "data": "_-8"}}, {"kind": MediaKind.IMAGE, "content": "/+8="}),
        ({"inlineData": {"mimeType": "audio/wav", "data": "aWE="}}, {"kind": MediaKind.AUDIO}),
        ({"inlineData": {"mimeType": "text/plain", "data": "SGk="}}, {"kind": MediaKind.DOCUMENT, "text": "Hi"}),
        ({"fileData": {"mimeType": "application/pdf", "fileUri": "https://x/y"}}, {"url": "https://x/y"}),
        ({"fileData": {"fileUri": "https://x/y.PNG?z"}}, {"kind": MediaKind.IMAGE}),
        ({"fileData": {"fileUri": "https://youtu.be/x"}}, {"kind": MediaKind.VIDEO}),
        ({"fileData": {"mimeType": "image/png", "fileUri": "gs://x"}}, {"file_id": "gs://x"}),
        (
            {
                "inlineData": {"mimeType": "image/png", "data": "aWE="},
                "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
            },
            {"detail": "low"},
        ),
    ],
)
def test_media(part: Any, expected: dict[str, Any]) -> None:
    media = turns(user(part))[0][1][0]
    assert isinstance(media, Media)
    assert {name: getattr(media, name) for name in expected} == expected


# -- tools -------------------------------------------------------------------------------------------------------------


def schema_of(**declaration: Any) -> Any:
    schema = read(tools=[{"functionDeclarations": [{"name": "f", **declaration}]}]).tools[0].schema
    return None if schema is None else json.loads(bytes(schema))


def test_openapi_types_become_json_schema_and_names_of_properties_stay() -> None:
    openapi = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True, "enum": ["A"]},
            "nullable": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1"},
            "u": {"anyOf": [{"type": "STRING"}], "nullable": True},
        },
        "propertyOrdering": ["type"],
        "required": ["type"],
    }
    assert schema_of(parameters=openapi) == {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["A", None]},
            "nullable": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "u": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["type"],
    }


def test_json_schema_passes_as_it_is_but_for_upper_case_types() -> None:
    schema = {"$schema": "x", "type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False}
    assert schema_of(parametersJsonSchema=schema) == schema
    assert schema_of(parametersJsonSchema={"type": "OBJECT"}) == {"type": "object"}
    assert schema_of() is None


def test_choice() -> None:
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "a.b"}]}]

    def choice(**calling: Any) -> ToolChoice | None:
        return read(tools=tools, toolConfig={"functionCallingConfig": calling}).tool_choice

    assert choice(mode="AUTO") == ToolChoice()
    assert choice(mode="none") == ToolChoice(ChoiceKind.NONE)
    assert choice(mode="ANY", allowedFunctionNames=["f"]) == ToolChoice(ChoiceKind.ANY, ("f",))
    assert choice(mode="VALIDATED") == ToolChoice()
    assert choice(mode="MODE_UNSPECIFIED") is None
    odd = read(tools=tools, toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a.b"]}})
    assert odd.tool_choice is not None
    assert odd.names.original(odd.tool_choice.names[0]).name == "a.b"


def test_search_and_tools_of_the_vendor() -> None:
    conversation = read(tools=[{"google_search": {}}])
    assert conversation.web_search == WebSearch()
    assert conversation.paths["web_search"] == "tools[0].google_search"
    assert refused(tools=[{"codeExecution": {}}])[0] == "tools[0].codeExecution"


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_generation_config() -> None:
    conversation = generation(
        temperature=1, topP=0.5, topK="64", candidateCount=2, maxOutputTokens=10, stopSequences=["x"], seed=7,
        presencePenalty=0.1, frequencyPenalty=0.2,
    )  # fmt: skip
    assert conversation.sampling == Sampling(1, 0.5, 64, 0.1, 0.2, 7)
    assert (conversation.choices, conversation.output_tokens_max, conversation.stop) == (2, 10, ("x",))
    assert conversation.paths["seed"] == "generationConfig.seed"
    assert conversation.paths["sampling"] == "generationConfig.temperature"


def test_thinking() -> None:
    assert generation(thinkingConfig={"thinkingLevel": "HIGH", "includeThoughts": True}).thought == Thought(
        "high", None, True
    )
    assert generation(thinkingConfig={"thinkingBudget": 0}).thought == Thought(None, 0, None)
    assert generation(thinkingConfig={"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}).thought == Thought()


def test_form_of_the_answer() -> None:
    assert generation(responseMimeType="text/plain").format is None
    assert generation(responseMimeType="application/json").format == Format(FormatKind.JSON)
    asked = generation(responseMimeType="application/json", responseJsonSchema={"type": "OBJECT"}).format
    assert asked is not None
    assert asked.schema is not None
    assert (asked.kind, bytes(asked.schema)) == (FormatKind.SCHEMA, b'{"type":"object"}')


def test_losses() -> None:
    assert dropped(safetySettings=[]) == []
    assert dropped(safetySettings=[{"category": "x"}], zzz=1, generationConfig={"routingConfig": {}}) == [
        "safetySettings",
        "zzz",
        "generationConfig.routingConfig",
    ]
    code = model({"executableCode": {"code": "1"}})
    losses = Losses()
    assert [turn.role for turn in read([HI, code], losses=losses).turns] == [Role.USER]
    assert losses.dropped == ["contents[1].parts[0].executableCode"]
    labels = read(labels={"a": "b"})
    assert labels.metadata is not None
    assert json.loads(bytes(labels.metadata)) == {"a": "b"}
    assert read(serviceTier="flex").service_tier == "flex"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"cachedContent": "cachedContents/x"}, "cachedContent"),
        ({"generationConfig": {"responseModalities": ["TEXT", "AUDIO"]}}, "generationConfig.responseModalities"),
        ({"generationConfig": {"responseLogprobs": True}}, "generationConfig.responseLogprobs"),
        ({"generationConfig": {"topK": "x"}}, "generationConfig.topK"),
        ({"generationConfig": {"seed": 1.5}}, "generationConfig.seed"),
        ({"generationConfig": []}, "generationConfig"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"role": "user", "parts": ["Hi"]}]}, "contents[0].parts[0]"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        ({"contents": None}, "contents"),
    ],
)
def test_what_is_refused_is_named(members: Any, param: str) -> None:
    named, message = refused(**members)
    assert named == param
    assert param in message or param == "contents"


def test_a_count_is_read_from_its_inner_request() -> None:
    body = json.dumps({"generateContentRequest": {"model": "models/m", "contents": [HI]}}).encode()
    conversation = read_conversation(parse_request(body, b"m:countTokens"), Losses())
    assert conversation.turns == (Turn(Role.USER, (Text("Hi"),)),)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = (
    "role",
    "parts",
    "text",
    "thought",
    "functionCall",
    "functionResponse",
    "inlineData",
    "fileData",
    "name",
    "args",
)
TREES = st.recursive(
    JSON_VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=12,
)


@given(TREES, TREES, TREES)
@settings(max_examples=200, deadline=None)
def test_any_body_is_read_or_refused(contents: Any, tools: Any, configuration: Any) -> None:
    body = json.dumps({"contents": contents, "tools": tools, "generationConfig": configuration})
    try:
        read_conversation(parse_request(body.encode(), b"m:generateContent"), Losses())
    except ClientError as error:
        assert error.failure.status == 400  # noqa: PT017
