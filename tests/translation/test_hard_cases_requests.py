"""Hard cases of requests: what other dialects and models refuse of a history, of tools, of parameters."""

import json
import re
from typing import Any

import msgspec
import pytest

from adapters.errors import ClientError
from tests.translation import upstream_chat, upstream_gemini, upstream_messages, upstream_responses
from tests.translation.exchange import Exchange, asked, told
from tests.translation.seen import text
from tests.translation.translate import dialect

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*")

Payload = dict[str, Any]

PNG = upstream_chat.PNG
USER: Payload = {"role": "user", "content": "x"}
OLD_CLAUDE, BUDGET_CLAUDE, ADAPTIVE_CLAUDE = "claude-3-5-haiku", "claude-sonnet-4-5", "claude-opus-4-8"
OLD_GEMINI, NEW_GEMINI = "gemini-1.5-pro", "gemini-3-pro"


def from_chat(upstream: str, *history: Payload, model: str = "", **members: Any) -> Payload:
    return asked("chat", upstream, {"model": "m", "messages": list(history) or [USER], **members}, model)


def from_messages(upstream: str, *history: Payload, model: str = "", **members: Any) -> Payload:
    body = {"model": "m", "max_tokens": 1000, "messages": list(history) or [USER], **members}
    return asked("messages", upstream, body, model)


def calling(*calls: tuple[str, str], **members: Any) -> Payload:
    """Return an assistant's message with calls of these ids and arguments."""
    entries = upstream_chat.calls(*((call_id, "f", arguments) for call_id, arguments in calls))
    return {"role": "assistant", "content": None, "tool_calls": entries, **members}


def answering(call_id: str, content: str = "r") -> Payload:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# -- B46 to B49: calls and results --

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
SHOWN: list[Payload] = [
    USER,
    {"role": "assistant", "content": [upstream_messages.use_block(each, "look", {}) for each in ("a", "b")]},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "One."}, IMAGE]},
            {"type": "tool_result", "tool_use_id": "b", "content": [IMAGE]},
        ],
    },
]


def test_b46_images_in_results_follow_all_results() -> None:
    messages = from_messages("chat", *SHOWN)["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert [each["tool_call_id"] for each in messages[2:4]] == ["a", "b"]
    assert messages[2]["content"] == "One."
    assert messages[3]["content"]
    assert PNG not in json.dumps(messages[2:4])
    shown = messages[4]["content"]
    assert [each["type"] for each in shown] == ["text", "image_url", "text", "image_url"]
    assert all(part["image_url"]["url"] == f"data:image/png;base64,{PNG}" for part in shown[1::2])
    assert "a" in re.findall(r"\w+", shown[0]["text"])
    assert "b" in re.findall(r"\w+", shown[2]["text"])


def test_b46_images_in_results_stay_inside_where_they_may() -> None:
    outputs = [each["output"] for each in from_messages("responses", *SHOWN)["input"] if "output" in each]
    url = f"data:image/png;base64,{PNG}"
    assert [each["type"] for each in outputs[0]] == ["input_text", "input_image"]
    assert outputs[0][1]["image_url"] == outputs[1][0]["image_url"] == url
    contents = from_messages("gemini", *SHOWN, model=NEW_GEMINI)["contents"]
    results = [part["functionResponse"] for part in contents[2]["parts"]]
    inline = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    assert [each["parts"] for each in results] == [[inline], [inline]]


ID_RULES = {
    "messages": ("messages", BUDGET_CLAUDE, r"[a-zA-Z0-9_-]{1,64}"),
    "chat": ("chat", "gpt-4.1", r"[\x21-\x7e]{1,64}"),
    "Mistral": ("chat", "mistral-large", r"[A-Za-z0-9]{9}"),
    "responses": ("responses", "gpt-5.5", r"[\x21-\x7e]{1,64}"),
}
LONG = "call_" + "x" * 85
FOREIGN_IDS = ["functions.read:0", LONG, LONG[:-1] + "y", "call_1", "abcdefgh9"]


def ids_of(upstream: str, body: Payload) -> tuple[list[str], list[str]]:
    """Return the ids of a body's calls and of its results."""
    if upstream == "messages":
        blocks = [block for message in body["messages"] for block in message["content"] if isinstance(block, dict)]
        return [b["id"] for b in blocks if b["type"] == "tool_use"], [
            b["tool_use_id"] for b in blocks if "tool_use_id" in b
        ]
    if upstream == "chat":
        messages = body["messages"]
        calls = [call["id"] for message in messages for call in message.get("tool_calls", ())]
        return calls, [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    kinds = {kind: [each["call_id"] for each in body["input"] if each["type"] == kind] for kind in CALL_ITEMS}
    return kinds["function_call"], kinds["function_call_output"]


CALL_ITEMS = ("function_call", "function_call_output")


@pytest.mark.parametrize(("upstream", "model", "rule"), ID_RULES.values(), ids=ID_RULES)
def test_b47_foreign_ids(upstream: str, model: str, rule: str) -> None:
    client = "responses" if upstream == "chat" else "chat"
    calls = [{"type": "function_call", "call_id": each, "name": "f", "arguments": "{}"} for each in FOREIGN_IDS]
    results = [{"type": "function_call_output", "call_id": each, "output": "r"} for each in FOREIGN_IDS]
    histories: dict[str, Payload] = {
        "chat": {"messages": [USER, calling(*((each, "{}") for each in FOREIGN_IDS)), *map(answering, FOREIGN_IDS)]},
        "responses": {"input": [USER, *calls, *results]},
    }
    body = {"model": "m", **histories[client]}
    sent, answered = ids_of(upstream, asked(client, upstream, body, model))
    assert sent == answered
    assert len(set(sent)) == len(FOREIGN_IDS)
    assert all(re.fullmatch(rule, each) for each in sent)
    for before, after in zip(FOREIGN_IDS, sent, strict=True):
        assert (before == after) == (re.fullmatch(rule, before) is not None)
    assert ids_of(upstream, asked(client, upstream, body, model)) == (sent, answered)


def test_b47_a_client_gets_ids_that_it_accepts() -> None:
    opened = upstream_chat.opened(0, "functions.read:0", "read", "{}")
    got = told("chat", "messages", upstream_chat.chunk(opened), upstream_chat.chunk({}, "tool_calls"))
    ((_, seen_id, _, _),) = got.seen.blocks
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", seen_id)
    use = {"role": "assistant", "content": [upstream_messages.use_block(seen_id, "read", {})]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": seen_id, "content": "r"}]}
    assert ids_of("chat", from_messages("chat", USER, use, result)) == ([seen_id], [seen_id])


INPUTS: dict[str, Any] = {
    "": {},
    "null": {},
    "[1]": {"value": [1]},
    '"{\\"a\\":1}"': {"a": 1},
}


@pytest.mark.parametrize("arguments", [*INPUTS, "{bad"])
def test_b48_input_is_an_object(arguments: str) -> None:
    history = (USER, calling(("a", arguments)), answering("a"))
    sent = from_chat("messages", *history)["messages"][1]["content"][0]["input"]
    args = from_chat("gemini", *history)["contents"][1]["parts"][0]["functionCall"]["args"]
    assert sent == args
    assert isinstance(sent, dict)
    assert sent == INPUTS.get(arguments, sent)
    assert arguments != "{bad" or "{bad" in sent.values()


@pytest.mark.parametrize("arguments", ["null", "[1]", '"{\\"a\\":1}"', "{bad"])
def test_b48_dialects_of_text_keep_the_text(arguments: str) -> None:
    (call,) = [
        each
        for each in from_chat("responses", USER, calling(("a", arguments)), answering("a"))["input"]
        if "name" in each
    ]
    assert call["arguments"] == arguments


SCATTERED = (
    USER,
    calling(("a", "{}"), ("b", "{}")),
    answering("b", "of b"),
    {"role": "user", "content": "hi"},
    answering("a", "of a"),
    {"role": "assistant", "content": "So."},
    answering("c", "of c"),
)


def test_b49_results_stand_right_behind_their_calls() -> None:
    """Results are in the order of the calls, whichever came first: so the same set gives the same bytes."""
    messages = from_chat("messages", *SCATTERED)["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert [each["id"] for each in messages[1]["content"]] == ["a", "b"]
    *results, last = messages[2]["content"]
    assert {each["tool_use_id"]: each["content"] for each in results} == {"a": "of a", "b": "of b"}
    assert last == {"type": "text", "text": "hi"}
    orphan = messages[4]["content"]
    assert [each["type"] for each in orphan] == ["text", "text"]
    assert orphan[1]["text"] == "of c"


def test_b49_missing_and_repeated_results() -> None:
    history = (USER, calling(("a", "{}"), ("b", "{}")), answering("a", "first"), answering("a", "last"))
    results = from_chat("messages", *history, {"role": "user", "content": "hi"})["messages"][2]["content"]
    assert results == [
        {"type": "tool_result", "tool_use_id": "a", "content": "last"},
        {"type": "tool_result", "tool_use_id": "b", "content": "no result", "is_error": True},
        {"type": "text", "text": "hi"},
    ]


def test_b49_as_many_responses_as_calls_in_their_order() -> None:
    contents = from_chat("gemini", *SCATTERED)["contents"]
    assert [each["role"] for each in contents] == ["user", "model", "user", "model", "user"]
    ids = [part["functionResponse"]["id"] for part in contents[2]["parts"] if "functionResponse" in part]
    assert ids == ["a", "b"]
    assert contents[2]["parts"][2:] == [{"text": "hi"}]


# -- B50 and B51: turns --

SYSTEMS = (
    {"role": "system", "content": "A"},
    USER,
    calling(("a", "{}")),
    {"role": "system", "content": "B"},
    answering("a"),
    {"role": "developer", "content": "C"},
)


def test_b50_systems_keep_their_places() -> None:
    body = from_chat("messages", *SYSTEMS, model=BUDGET_CLAUDE)
    assert body["system"] == "A"
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user"]
    result, *tagged = body["messages"][2]["content"]
    assert result["tool_use_id"] == "a"
    assert [each["text"] for each in tagged] == ["<system>B</system>", "<system>C</system>"]


def test_b50_systems_where_the_model_takes_them() -> None:
    body = from_chat("messages", *SYSTEMS, model=ADAPTIVE_CLAUDE)
    assert body["system"] == "A"
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user", "system"]
    assert [each["text"] for each in body["messages"][3]["content"]] == ["B", "C"]


@pytest.mark.parametrize("upstream", ["chat", "responses", "gemini"])
def test_b50_systems_inside_messages_are_not_dropped(upstream: str) -> None:
    history = (USER, {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "Be brief."}, USER)
    body = from_messages(upstream, *history)
    assert "Be brief." in json.dumps({name: body[name] for name in ("messages", "input", "contents") if name in body})


def test_b51_empty_and_null_content() -> None:
    history = (
        {"role": "assistant", "content": "Before."},
        {"role": "user", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": ""}]},
        {"role": "assistant", "content": []},
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
        calling(("a", "{}")),
        answering("a"),
        {"role": "assistant", "content": "So: \n"},
    )
    messages = from_chat("messages", *history, model=BUDGET_CLAUDE)["messages"]
    assert [each["role"] for each in messages] == [*("user", "assistant") * 2, "user", "assistant"]
    assert messages[0]["content"]
    assert messages[1]["content"] == "Before."
    assert [each["text"] for each in messages[2]["content"]] == ["one", "two"]
    assert [each["type"] for each in messages[3]["content"]] == ["tool_use"]
    assert messages[5]["content"] == "So:"
    assert not re.search(r'"text": "\s*"', json.dumps(messages))


def test_b51_a_user_who_said_nothing_has_a_placeholder() -> None:
    (message,) = from_chat("messages", {"role": "user", "content": ""})["messages"]
    assert message["role"] == "user"
    assert message["content"].strip()


def test_b51_the_model_never_begins() -> None:
    contents = from_chat("gemini", {"role": "assistant", "content": "Hi"}, USER)["contents"]
    assert [each["role"] for each in contents] == ["user", "model", "user"]
    assert contents[0]["parts"][0]["text"].strip()


def test_b51_calls_alone_have_null_content() -> None:
    use = {"role": "assistant", "content": [upstream_messages.use_block("a", "f", {})]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]}
    assert from_messages("chat", USER, use, result)["messages"][1]["content"] is None


# -- B52 and B53: schemas --

SCHEMA: Payload = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "exclusiveMinimum": {"type": "number", "exclusiveMinimum": 0},
        "m": {"const": "x"},
        "t": {"type": ["string", "null"]},
        "u": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "r": {"$ref": "#/$defs/R"},
        "n": {"type": "integer", "minimum": 0, "exclusiveMinimum": 5},
        "tree": {"$ref": "#/$defs/Tree"},
    },
    "required": ["m", "gone"],
    "$defs": {
        "R": {"type": "object", "properties": {"a": {"type": "string"}}},
        "Tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}},
    },
}


def declared(model: str, **function: Any) -> Payload:
    """Return the declaration that a Gemini model gets of one function."""
    tools = [{"type": "function", "function": {"name": "f", **function}}]
    declaration: Payload = from_chat("gemini", model=model, tools=tools)["tools"][0]["functionDeclarations"][0]
    return declaration


def test_b52_newer_models_get_the_schema_nearly_as_it_is() -> None:
    declaration = declared(NEW_GEMINI, parameters=SCHEMA)
    assert "parameters" not in declaration
    schema = declaration["parametersJsonSchema"]
    assert schema["properties"].keys() == SCHEMA["properties"].keys()
    assert schema["properties"]["u"] == SCHEMA["properties"]["u"]
    assert schema["properties"]["t"] == SCHEMA["properties"]["t"]


def test_b52_older_models_get_it_converted() -> None:
    declaration = declared(OLD_GEMINI, parameters=SCHEMA)
    assert "parametersJsonSchema" not in declaration
    schema = declaration["parameters"]
    properties = schema["properties"]
    written = json.dumps(schema)
    assert not any(keyword in written for keyword in ('"$', "additionalProperties", '"const"'))
    assert properties.keys() == SCHEMA["properties"].keys()
    assert properties["exclusiveMinimum"]["type"].lower() == "number"
    assert "exclusiveMinimum" not in properties["exclusiveMinimum"]
    assert properties["m"]["enum"] == ["x"]
    assert (properties["t"]["type"].lower(), properties["t"]["nullable"]) == ("string", True)
    assert properties["r"]["properties"]["a"]["type"].lower() == "string"
    assert schema["required"] == ["m"]
    assert properties["n"]["minimum"] >= 5
    assert len(written) < 5000


def test_b52_the_clients_request_is_not_changed() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    given = Exchange("chat", "gemini", {"model": "m", "messages": [USER], "tools": tools}, OLD_GEMINI)
    assert msgspec.json.decode(given.request.fields["tools"]) == tools
    assert given.conversation.tools[0].schema is not None
    assert msgspec.json.decode(given.conversation.tools[0].schema) == SCHEMA


EMPTY: dict[str, Payload] = {
    "no parameters": {},
    "null": {"parameters": None},
    "{}": {"parameters": {}},
    "an object": {"parameters": {"type": "object"}},
}
NOTHING = {"type": "object", "properties": {}}


@pytest.mark.parametrize("function", EMPTY.values(), ids=EMPTY)
def test_b53_tools_without_parameters(function: Payload) -> None:
    tools = [{"type": "function", "function": {"name": "f", **function}}]
    assert from_chat("messages", tools=tools)["tools"] == [{"name": "f", "input_schema": NOTHING}]
    (tool,) = from_chat("responses", tools=tools)["tools"]
    assert tool == {"type": "function", "name": "f", "parameters": NOTHING, "strict": False}
    assert declared(NEW_GEMINI, **function) == {"name": "f"}
    assert declared(OLD_GEMINI, **function) == {"name": "f"}


def test_b53_a_schema_without_a_type() -> None:
    """As servers of the MCP send it."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}}]
    schema = from_chat("messages", tools=tools)["tools"][0]["input_schema"]
    assert schema == {"type": "object", "properties": {"a": {"type": "string"}}}


# -- B54 and B55: thinking, and the form of the answer --

THINKER: Payload = {
    "model": "m",
    "messages": [USER],
    "reasoning_effort": "high",
    "temperature": 0.2,
    "max_tokens": 1000,
    "tool_choice": "required",
    "tools": [{"type": "function", "function": {"name": "f"}}],
}


def test_b54_a_budget_forbids_sampling_and_forced_calls() -> None:
    given = Exchange("chat", "messages", THINKER, BUDGET_CLAUDE)
    thinking = given.body["thinking"]
    assert thinking["type"] == "enabled"
    assert 1024 <= thinking["budget_tokens"] < given.body["max_tokens"]
    assert {"temperature", "top_k"}.isdisjoint(given.body)
    assert given.body["tool_choice"] == {"type": "auto"}
    assert {"temperature", "tool_choice"} <= set(given.dropped)


def test_b54_adaptive_models() -> None:
    given = Exchange("chat", "messages", THINKER, ADAPTIVE_CLAUDE)
    assert given.body["thinking"]["type"] == "adaptive"
    assert given.body["output_config"]["effort"] == "high"
    assert "temperature" not in given.body
    assert given.body["max_tokens"] == 1000


def test_b54_a_tool_turn_without_thinking_turns_it_off() -> None:
    history = [USER, calling(("a", "{}")), answering("a")]
    body = Exchange("chat", "messages", {**THINKER, "messages": history}, BUDGET_CLAUDE).body
    assert "thinking" not in body


ANSWER = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": ANSWER}}


def wanting_json(model: str, **members: Any) -> Exchange:
    options = {"include_usage": True}
    body = {"model": "m", "messages": [USER], "response_format": FORMAT, "stream_options": options, **members}
    return Exchange("chat", "messages", body, model)


def test_b55_a_schema_is_the_output_format() -> None:
    body = wanting_json(BUDGET_CLAUDE).body
    assert body["output_config"]["format"] == {"type": "json_schema", "schema": ANSWER}
    assert "tools" not in body


def test_b55_on_older_models_it_is_a_tool_that_nobody_sees() -> None:
    given = wanting_json(OLD_CLAUDE)
    (tool,) = given.body["tools"]
    assert tool["input_schema"] == ANSWER
    assert given.body["tool_choice"] == {"type": "tool", "name": tool["name"]}
    used = upstream_messages.called(0, "toolu_1", tool["name"], '{"a"', ": 1}")
    got = given.tell(*upstream_messages.stream(*used, reason="tool_use"))
    assert (got.seen.blocks, got.seen.finish) == ((text('{"a": 1}'),), "stop")
    assert [delta["content"] for delta in got.deltas if delta.get("content")] == ['{"a"', ": 1}"]
    assert b"tool_calls" not in got.written


def test_b55_it_never_stands_beside_real_tools() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    given = wanting_json(OLD_CLAUDE, tools=tools)
    assert [each["name"] for each in given.body["tools"]] == ["f"]
    assert json.dumps(ANSWER, separators=(",", ":")) in json.dumps(given.body["system"]).replace('\\"', '"')
    got = given.tell(*upstream_messages.stream(*upstream_messages.called(0, "t", "f", "{}"), reason="tool_use"))
    assert got.seen.finish == "tool_calls"


# -- B56 and B57: cache marks and limits --

EPHEMERAL = {"type": "ephemeral"}
ONE_HOUR = {"type": "ephemeral", "ttl": "1h"}


def marked(value: str, control: Payload = EPHEMERAL) -> Payload:
    return {"type": "text", "text": value, "cache_control": control}


CACHED: Payload = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [marked("one"), marked("two")]},
        {"role": "assistant", "content": [marked("three")]},
        {"role": "user", "content": [marked("four"), marked(" "), marked("five", {"type": "ephemeral", "ttl": "5m"})]},
    ],
    "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": ONE_HOUR}],
}


def controls(value: Any) -> list[Payload]:
    """Return all cache marks in a body, in order."""
    if isinstance(value, list):
        return [found for each in value for found in controls(each)]
    if not isinstance(value, dict):
        return []
    own = [value["cache_control"]] if "cache_control" in value else []
    return own + [found for name, each in value.items() if name != "cache_control" for found in controls(each)]


def test_b56_at_most_four_marks_go_to_an_upstream_that_has_them() -> None:
    """A client of the same dialect that sets more is told so by its vendor: there the bytes pass."""
    system = {"role": "system", "content": [marked("S", ONE_HOUR), marked("S2", ONE_HOUR)]}
    body = asked("chat", "messages", {**CACHED, "messages": [system, *CACHED["messages"]]})
    assert controls(body["tools"]) == [ONE_HOUR]
    assert controls(body["system"]) == [ONE_HOUR]
    assert "cache_control" in body["system"][-1]
    last = [
        block["text"]
        for message in body["messages"]
        for block in message["content"]
        if isinstance(block, dict) and "cache_control" in block
    ]
    assert last == ["four", "five"]
    assert len(controls(body)) == 4


def test_b56_a_longer_life_behind_a_shorter_one_is_kept() -> None:
    """The vendor refuses that order, so what stands in front lives as long."""
    turns = [{"role": "user", "content": [marked("one", {"type": "ephemeral", "ttl": "5m"}), marked("two", ONE_HOUR)]}]
    assert controls(from_chat("messages", *turns)) == [ONE_HOUR, ONE_HOUR]


@pytest.mark.parametrize("upstream", ["chat", "responses", "gemini"])
def test_b56_marks_do_not_reach_other_dialects(upstream: str) -> None:
    turns = [{"role": "user", "content": [marked("one", ONE_HOUR)]}]
    tools = [{"name": "f", "input_schema": NOTHING, "cache_control": EPHEMERAL}]
    body = {"model": "m", "max_tokens": 9, "system": [marked("S")], "messages": turns, "tools": tools}
    given = Exchange("messages", upstream, body)
    assert "cache" not in given.written.body.decode()
    assert given.dropped
    assert Exchange("messages", upstream, body).written.body == given.written.body


def test_b56_an_agents_line_for_its_vendor_does_not_break_the_cache() -> None:
    def sent(upstream: str, number: int) -> bytes:
        line = {"type": "text", "text": f"x-anthropic-billing-header: cc_version=1; cch={number};"}
        system = [line, {"type": "text", "text": "S"}]
        body = {"model": "m", "max_tokens": 9, "system": system, "messages": [USER]}
        return Exchange("messages", upstream, body).written.body

    for upstream in ("chat", "responses", "gemini"):
        assert sent(upstream, 1) == sent(upstream, 2)
        assert b"billing" not in sent(upstream, 1)


def test_b57_a_limit_is_required() -> None:
    assert from_chat("messages", model=BUDGET_CLAUDE)["max_tokens"] == 64_000
    assert from_chat("messages", model=OLD_CLAUDE)["max_tokens"] == 8192


def test_b57_the_newer_limit_wins() -> None:
    assert from_chat("messages", max_tokens=100, max_completion_tokens=200)["max_tokens"] == 200


def test_b57_models_that_think_have_a_limit_of_another_name() -> None:
    body = from_messages("chat", model="gpt-5")
    assert body["max_completion_tokens"] == 1000
    assert "max_tokens" not in body


def test_b57_a_limit_that_includes_thoughts_is_raised() -> None:
    thinking = {"type": "enabled", "budget_tokens": 4000}
    body = from_messages("gemini", model="gemini-2.5-flash", thinking=thinking, max_tokens=5000)
    generation = body["generationConfig"]
    assert generation["thinkingConfig"]["thinkingBudget"] > 0
    assert generation["maxOutputTokens"] > generation["thinkingConfig"]["thinkingBudget"]
    tight = from_chat("gemini", model="gemini-2.5-flash", reasoning_effort="high", max_tokens=1000)["generationConfig"]
    assert tight["maxOutputTokens"] > tight["thinkingConfig"]["thinkingBudget"]
    assert tight["maxOutputTokens"] >= 1000


def test_b57_the_limit_as_an_end() -> None:
    cut = upstream_messages.stream(*upstream_messages.texts(0, "Hi"), reason="max_tokens")
    assert told("messages", "chat", *cut).seen.finish == "length"


# -- B58: sources --

SEARCHING: dict[str, Payload] = {
    "chat": {"web_search_options": {}},
    "responses": {"tools": [{"type": "web_search"}]},
    "messages": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
}
SENTENCE = "Zürich € ist groß."
CITED = "ist groß"
AT = SENTENCE.index(CITED)


def grounded(value: str) -> Payload:
    begin = SENTENCE.encode().index(value.encode())
    segment = {"startIndex": begin, "endIndex": begin + len(value.encode()), "text": value}
    return {
        "groundingChunks": [{"web": {"uri": "https://a.example/1", "title": "One"}}],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
    }


def grounding(*, late: bool) -> tuple[Payload, ...]:
    said = [upstream_gemini.chunk({"text": piece}) for piece in (SENTENCE[:7], SENTENCE[7:])]
    notes = upstream_gemini.chunk({"text": ""}, groundingMetadata=grounded(CITED))
    return (*said, upstream_gemini.END, notes) if late else (*said, notes, upstream_gemini.END)


@pytest.mark.parametrize("late", [False, True])
def test_b58_grounding_counts_characters_before_the_end(late: bool) -> None:
    to_chat = told("gemini", "chat", *grounding(late=late), **SEARCHING["chat"])
    (annotations,) = [delta["annotations"] for delta in to_chat.deltas if "annotations" in delta]
    (note,) = [each["url_citation"] for each in annotations]
    assert (note["url"], note["start_index"], note["end_index"]) == ("https://a.example/1", AT, AT + len(CITED))
    to_responses = told("gemini", "responses", *grounding(late=late), **SEARCHING["responses"])
    (annotation,) = to_responses.output[0]["content"][0]["annotations"]
    assert (annotation["url"], annotation["start_index"]) == ("https://a.example/1", AT)
    assert annotation["end_index"] == AT + len(CITED)
    to_messages = told("gemini", "messages", *grounding(late=late), **SEARCHING["messages"])
    assert b"citations_delta" not in to_messages.written
    for got in (to_chat, to_responses, to_messages):
        assert got.seen.of("text") == [text(SENTENCE)]


def test_b58_citations_inside_a_block() -> None:
    block = (
        upstream_messages.opened(0, {**upstream_messages.TEXT, "citations": []}),
        upstream_messages.delta(0, "text_delta", text=SENTENCE),
        upstream_messages.delta(0, "citations_delta", citation=upstream_messages.CITATION),
        upstream_messages.closed(0),
    )
    for client in ("chat", "responses"):
        got = told("messages", client, *upstream_messages.stream(*block))
        assert got.seen.citations == ("https://a.example/1",)
        assert got.seen.blocks == (text(SENTENCE),)


def test_b58_annotations_of_a_response() -> None:
    note = {
        "type": "url_citation",
        "url": "https://a.example/1",
        "title": "One",
        "start_index": AT,
        "end_index": AT + len(CITED),
    }
    got = told("responses", "chat", *upstream_responses.stream(upstream_responses.said(SENTENCE, notes=(note,))))
    (annotations,) = [delta["annotations"] for delta in got.deltas if "annotations" in delta]
    assert [(each["url_citation"]["start_index"], each["url_citation"]["end_index"]) for each in annotations] == [
        (AT, AT + len(CITED))
    ]


@pytest.mark.parametrize("client", ["chat", "responses", "messages", "gemini"])
def test_b58_unknown_tools_are_refused(client: str) -> None:
    bodies: dict[str, Payload] = {
        "chat": {"model": "m", "messages": [USER], "tools": [{"type": "weather_3000"}]},
        "responses": {"model": "m", "input": "x", "tools": [{"type": "weather_3000"}]},
        "messages": {
            "model": "m",
            "max_tokens": 9,
            "messages": [USER],
            "tools": [{"type": "weather_3000", "name": "weather"}],
        },
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "tools": [{"weather3000": {}}]},
    }
    upstream = "responses" if client == "chat" else "chat"
    with pytest.raises(ClientError) as caught:
        Exchange(client, upstream, bodies[client])
    assert dialect(client).error_status(caught.value.failure) == 400
