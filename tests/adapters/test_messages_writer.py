"""The writer of Messages requests: what an upstream is asked, by what its model can take."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from adapters import capabilities
from adapters.capabilities import Capabilities, Thinking
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
from adapters.dialects import messages
from adapters.dialects.messages_writer import generation_path, write_request
from adapters.errors import ClientError
from adapters.losses import Losses
from adapters.signatures import Signature, pack
from adapters.target import Target, Written
from tests.adapters.recorder import conversation

SCOPE = "anthropic/claude"
ADAPTIVE = capabilities.of("claude-opus-4-8")
BUDGET = capabilities.of("claude-sonnet-4-5")
OLD = capabilities.of("claude-3-5-haiku")
ALWAYS = capabilities.of("claude-opus-5-5")
USER = Turn(Role.USER, (Text("Hi"),))
SIGNED = Signature("messages", SCOPE, "c2ln")
FOREIGN = Signature("responses", "openai/gpt", "gAAA")
TOOL = Tool("f", "d", Raw(b'{"type":"object","properties":{"a":{}}}'))
Body = dict[str, Any]


def write(
    able: Capabilities = ADAPTIVE, *, stream: bool = True, given: Conversation | None = None, **asked: Any
) -> tuple[Body, list[str], Written]:
    losses = Losses()
    target = Target(model="up", capabilities=able, scope=SCOPE, stream=stream)
    written = write_request(given or conversation(**asked), target, losses)
    return json.loads(written.body), losses.dropped, written


def body(able: Capabilities = ADAPTIVE, **asked: Any) -> Body:
    return write(able, **asked)[0]


def said(*turns: Turn, able: Capabilities = ADAPTIVE) -> list[Body]:
    written: list[Body] = body(able, turns=turns)["messages"]
    return written


def assistant(*parts: Part) -> Turn:
    return Turn(Role.ASSISTANT, parts)


def results(*parts: Result) -> Turn:
    return Turn(Role.TOOL, parts)


def system(words: str) -> Turn:
    return Turn(Role.SYSTEM, (Text(words),))


def result(call_id: str, *parts: Text | Media) -> Result:
    return Result(call_id, parts or (Text("ok"),))


# -- the body ----------------------------------------------------------------------------------------------------------


def test_a_plain_request_byte_for_byte() -> None:
    given_conversation = conversation(turns=(system("A"), USER), output_tokens_max=9)
    for _ in range(2):
        assert write(given=given_conversation)[2].body == (
            b'{"model":"up","max_tokens":9,"system":"A","messages":[{"role":"user","content":"Hi"}],"stream":true}'
        )


def test_the_path() -> None:
    assert generation_path("/messages", model="m", stream=True) == "/messages"


def test_hints() -> None:
    written, dropped, _ = write(
        user="u",
        service_tier="default",
        verbosity="low",
        cache_key="k",
        metadata=Raw(b"{}"),
        sampling=Sampling(seed=1, presence_penalty=0.5),
        paths={"seed": "seed", "penalties": "presence_penalty", "cache": "prompt_cache_key"},
    )
    assert written["metadata"] == {"user_id": "u"}
    assert written["service_tier"] == "standard_only"
    assert dropped == ["seed", "presence_penalty", "verbosity", "prompt_cache_key", "metadata"]
    assert write(service_tier="flex")[1] == ["service_tier"]
    assert "metadata" not in body(user="u" * 300)


def test_several_alternatives_are_refused() -> None:
    with pytest.raises(ClientError):
        write(choices=2)


def test_b57_the_limit() -> None:
    assert body(OLD)["max_tokens"] == OLD.output_tokens_max
    assert body(ADAPTIVE, stream=False)["max_tokens"] == 32_000
    assert body(ADAPTIVE)["max_tokens"] == ADAPTIVE.output_tokens_max
    written, dropped, _ = write(OLD, output_tokens_max=100_000)
    assert (written["max_tokens"], dropped) == (OLD.output_tokens_max, ["output_tokens_max"])
    assert body(capabilities.UNKNOWN, output_tokens_max=100_000)["max_tokens"] == 100_000


# -- the history -------------------------------------------------------------------------------------------------------


def test_b47_ids_on_calls_and_results_alike() -> None:
    call, answer = said(USER, assistant(Call("functions.read:0", "f", "{}")), results(result("functions.read:0")))[1:]
    call_id = call["content"][0]["id"]
    assert call_id == answer["content"][0]["tool_use_id"]
    assert call_id != "functions.read:0"
    assert call_id.replace("_", "").replace("-", "").isalnum()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("null", {}),
        ("[1]", {"value": [1]}),
        ("{bad", {"_raw": "{bad"}),
        ('"{\\"a\\":1}"', {"a": 1}),
    ],
)
def test_b48_input_is_always_an_object(arguments: str, expected: Body) -> None:
    call = said(USER, assistant(Call("a", "f", arguments)), results(result("a")))[1]
    assert call["content"][0]["input"] == expected


def test_input_is_written_as_it_was() -> None:
    arguments = '{ "n": 1e3, "s": "\\u00e9" }'
    written = write(turns=(USER, assistant(Call("a", "f", arguments)), results(result("a"))))[2]
    assert b'"input":' + arguments.encode() in written.body


def test_b49_results_stand_right_behind_their_calls() -> None:
    turns = (
        USER,
        assistant(Call("a", "f", "{}"), Call("b", "f", "{}")),
        results(result("b")),
        Turn(Role.USER, (Text("hi"),)),
        results(result("a")),
        assistant(Text("x")),
        results(result("c", Text("orphan"))),
    )
    content = said(*turns)[2]["content"]
    assert [(each["type"], each.get("tool_use_id")) for each in content] == [
        ("tool_result", "a"),
        ("tool_result", "b"),
        ("text", None),
    ]
    missing = said(USER, assistant(Call("a", "f", "{}")))[-1]
    assert missing["content"][0]["is_error"] is True


def test_b50_systems() -> None:
    turns = (
        *(system("A"), USER, assistant(Call("a", "f", "{}")), system("B"), results(result("a"))),
        *(Turn(Role.USER, (Text("more"),)), system("C")),
    )
    old = body(OLD, turns=turns)
    assert old["system"] == "A"
    assert [message["role"] for message in old["messages"]] == ["user", "assistant", "user"]
    assert [each.get("text") for each in old["messages"][2]["content"]] == [
        None,
        "<system>B</system>",
        "more",
        "<system>C</system>",
    ]
    new = body(ADAPTIVE, turns=turns)
    assert new["messages"][-1] == {"role": "system", "content": "C"}
    assert [message["role"] for message in new["messages"]] == ["user", "assistant", "user", "system"]


def test_b51_empty_and_repeated() -> None:
    turns = (assistant(Text("first")), USER, Turn(Role.USER, (Text(""), Text("you"))), assistant(Text(" ")), USER)
    assert said(*turns) == [
        {"role": "user", "content": "."},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": each} for each in ("Hi", "you", "Hi")]},
    ]


def test_b51_the_assistants_last_words() -> None:
    turns = (USER, assistant(Text("So \n")))
    assert said(*turns, able=OLD)[-1] == {"role": "assistant", "content": "So"}
    written, dropped, _ = write(ADAPTIVE, turns=turns, paths={"prefill": "messages.1"})
    assert written["messages"][-1] == {"role": "user", "content": "Continue."}
    assert dropped == ["messages.1"]


def test_b29_b34_reasoning_goes_where_its_signature_is_good() -> None:
    hidden = Signature("messages", SCOPE, "x", kind="redacted")
    elsewhere = Signature("messages", "bedrock/claude", "c2ln")
    turns = (
        USER,
        assistant(
            *(Reasoning("1", SIGNED), Reasoning("", FOREIGN), Call("a", "f", "{}"), Reasoning("", hidden, hidden=True)),
            *(Reasoning("2", elsewhere), Reasoning("3", Signature("messages", "", "z")), Call("b", "f", "{}")),
        ),
        results(result("a"), result("b")),
        assistant(Reasoning("alone", SIGNED)),
        USER,
    )
    messages_written = said(*turns)
    assert [each["type"] for each in messages_written[1]["content"]] == [
        *("thinking", "tool_use", "redacted_thinking", "tool_use"),
    ]
    assert messages_written[1]["content"][0] == {"type": "thinking", "thinking": "1", "signature": "c2ln"}
    assert messages_written[1]["content"][2] == {"type": "redacted_thinking", "data": "x"}
    assert len(messages_written) == 3


def test_b31_models_that_want_reasoning_back() -> None:
    able = replace(capabilities.UNKNOWN, reasoning_back=True)
    turns = (USER, assistant(Reasoning("T"), Call("a", "f", "{}")), results(result("a")))
    assert said(*turns, able=able)[1]["content"][0] == {"type": "thinking", "thinking": "T", "signature": ""}
    assert said(*turns)[1]["content"][0]["type"] == "tool_use"


def test_b46_media_in_results() -> None:
    image = Media(MediaKind.IMAGE, "w", "image/png", content="AAAA")
    turns = (USER, assistant(Call("a", "f", "{}")), results(result("a", Text("seen"), image)))
    inside = said(*turns)[2]["content"]
    assert [each["type"] for each in inside[0]["content"]] == ["text", "image"]
    outside = said(*turns, able=capabilities.UNKNOWN)[2]["content"]
    assert [each["type"] for each in outside] == ["tool_result", "text", "image"]
    failed = results(Result("a", (image,), is_error=True))
    errored = said(*turns[:2], failed)[2]["content"]
    assert [each["type"] for each in errored] == ["tool_result", "text", "image"]
    assert errored[0]["is_error"] is True


def test_what_the_assistant_drew_is_shown_by_the_user() -> None:
    image = Media(MediaKind.IMAGE, "w", "image/png", content="AAAA")
    written = said(USER, assistant(Text("Look"), image), USER)
    assert written[1]["content"] == "Look"
    assert [each["type"] for each in written[2]["content"]] == ["image", "text"]


def test_media() -> None:
    def block(**members: Any) -> Body:
        kind = members.pop("kind", MediaKind.DOCUMENT)
        written: Body = said(Turn(Role.USER, (Media(kind, "w", **members),)))[0]["content"][0]
        return written

    assert block(kind=MediaKind.IMAGE, media_type="image/jpg", content="A")["source"]["media_type"] == "image/jpeg"
    assert block(kind=MediaKind.IMAGE, url="https://x")["source"] == {"type": "url", "url": "https://x"}
    assert block(media_type="application/pdf", content="J", filename="t") == {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "J"},
        "title": "t",
    }
    plain = {"type": "text", "media_type": "text/plain", "data": "é"}
    assert block(text="é")["source"] == plain
    assert block(media_type="text/csv; charset=utf-8", content="w6k=")["source"] == plain
    assert block(url="https://x")["source"] == {"type": "url", "url": "https://x"}


@pytest.mark.parametrize(
    "media",
    [
        Media(MediaKind.AUDIO, "w", "audio/wav", content="A"),
        Media(MediaKind.VIDEO, "w", "video/mp4", content="A"),
        Media(MediaKind.IMAGE, "w", "image/tiff", content="A"),
        Media(MediaKind.IMAGE, "w", file_id="f"),
        Media(MediaKind.DOCUMENT, "w", "application/zip", content="A"),
        Media(MediaKind.DOCUMENT, "w", "text/plain", content="!"),
    ],
)
def test_media_that_cannot_be_sent_are_refused(media: Media) -> None:
    with pytest.raises(ClientError) as caught:
        write(turns=(Turn(Role.USER, (media,)),))
    assert caught.value.failure.param == "w"


def test_speakers_and_refusals() -> None:
    turns = (Turn(Role.USER, (Text("Hi"),), name="Ann"), assistant(Refusal("No")), USER)
    written, dropped, _ = write(turns=turns, paths={"speaker": "messages.0.name"})
    assert written["messages"][1] == {"role": "assistant", "content": "No"}
    assert dropped == ["messages.0.name"]


# -- tools -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [None, b"{}", b'{"type":"object"}', b"null", b'{"type":null,"properties":null}'])
def test_b53_tools_without_parameters(schema: bytes | None) -> None:
    (tool,) = body(tools=(Tool("f", schema=Raw(schema) if schema else None),))["tools"]
    assert tool == {"name": "f", "input_schema": {"type": "object", "properties": {}}}


def test_b27_free_form_tools() -> None:
    grammar = Raw(b'{"type":"grammar","syntax":"lark","definition":"start: /x/"}')
    tools = (Tool("apply_patch", "Patch.", custom=True, format=grammar), Tool("exec", namespace="functions"))
    turns = (USER, assistant(Call("a", "apply_patch", "*** Begin", custom=True)), results(result("a")))
    written, dropped, _ = write(tools=tools, turns=turns, paths={"grammar": "tools.0.format"})
    assert written["tools"][0]["input_schema"]["required"] == ["input"]
    assert written["tools"][0]["description"].endswith("start: /x/")
    assert written["tools"][1]["name"] == "functions__exec"
    assert written["messages"][1]["content"][0]["input"] == {"input": "*** Begin"}
    assert dropped == ["tools.0.format"]


def test_strict_tools() -> None:
    closed = Raw(b'{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}')
    written, dropped, _ = write(tools=(Tool("f", schema=closed, strict=True), replace(TOOL, name="g", strict=True)))
    assert [tool.get("strict") for tool in written["tools"]] == [True, None]
    assert dropped == ["strict_schema"]


def test_web_search() -> None:
    search = WebSearch(8, ("a.com", "b.com"), ("b.com",))
    assert body(web_search=search)["tools"] == [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8, "allowed_domains": ["a.com"]}
    ]


def test_a_history_with_calls_declares_them_when_nothing_is_offered() -> None:
    written = body(turns=(USER, assistant(Call("a", "f", "{}")), results(result("a"))))
    assert [tool["name"] for tool in written["tools"]] == ["f"]
    assert written["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("able", "choice", "parallel", "expected"),
    [
        (OLD, None, None, None),
        (OLD, None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (OLD, ToolChoice(ChoiceKind.NONE), False, {"type": "none"}),
        (OLD, ToolChoice(ChoiceKind.ANY), False, {"type": "any", "disable_parallel_tool_use": True}),
        (OLD, ToolChoice(ChoiceKind.ANY, ("f",)), True, {"type": "tool", "name": "f"}),
        (ALWAYS, ToolChoice(ChoiceKind.ANY, ("f",)), None, {"type": "auto"}),
    ],
)
def test_choices(able: Capabilities, choice: ToolChoice | None, parallel: bool | None, expected: Body | None) -> None:
    written = body(able, tools=(TOOL,), tool_choice=choice, parallel_calls=parallel)
    assert written.get("tool_choice") == expected
    assert "tool_choice" not in body(able, tool_choice=choice, parallel_calls=parallel)


def test_a_choice_among_some_of_the_tools() -> None:
    tools = tuple(replace(TOOL, name=name) for name in "fgh")
    written = body(OLD, tools=tools, tool_choice=ToolChoice(ChoiceKind.ANY, ("f", "h")))
    assert [tool["name"] for tool in written["tools"]] == ["f", "h"]
    assert written["tool_choice"] == {"type": "any"}


# -- thinking and sampling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("able", "thought", "thinking", "effort"),
    [
        (ADAPTIVE, Thought(), None, None),
        (ADAPTIVE, Thought("high"), {"type": "adaptive"}, "high"),
        (ADAPTIVE, Thought("minimal", show=True), {"type": "adaptive", "display": "summarized"}, "low"),
        (ADAPTIVE, Thought("max", show=False), {"type": "adaptive", "display": "omitted"}, "max"),
        (ADAPTIVE, Thought(show=True), {"type": "adaptive", "display": "summarized"}, None),
        (ADAPTIVE, Thought("none"), None, None),
        (capabilities.of("claude-sonnet-5"), Thought("none"), {"type": "disabled"}, None),
        (ALWAYS, Thought("none"), {"type": "adaptive"}, "low"),
        (capabilities.of("claude-sonnet-5-5"), Thought("none"), {"type": "between_tools"}, "low"),
        (ADAPTIVE, Thought(budget_tokens=2048), {"type": "adaptive"}, "low"),
        (BUDGET, Thought("low"), {"type": "enabled", "budget_tokens": 1024}, None),
        (BUDGET, Thought(budget_tokens=5000), {"type": "enabled", "budget_tokens": 5000}, None),
        (BUDGET, Thought(show=True), {"type": "enabled", "budget_tokens": 8192}, None),
        (BUDGET, Thought(budget_tokens=0), None, None),
        (OLD, Thought("high"), None, None),
    ],
)
def test_thinking(able: Capabilities, thought: Thought, thinking: Body | None, effort: str | None) -> None:
    written = body(able, thought=thought)
    assert written.get("thinking") == thinking
    assert written.get("output_config", {}).get("effort") == effort


def test_other_vendors_models_have_a_switch() -> None:
    able = replace(capabilities.UNKNOWN, thinking=Thinking.EFFORT, efforts=("low", "high"))
    assert body(able, thought=Thought("high"))["thinking"]["type"] == "enabled"
    assert body(able, thought=Thought("none"))["thinking"] == {"type": "disabled"}


def test_b54_a_budget_has_room_and_forbids_the_rest() -> None:
    written, dropped, _ = write(
        BUDGET,
        thought=Thought("high"),
        sampling=Sampling(temperature=0.2),
        output_tokens_max=1000,
        tools=(TOOL,),
        tool_choice=ToolChoice(ChoiceKind.ANY),
    )
    assert 1024 <= written["thinking"]["budget_tokens"] < written["max_tokens"]
    assert "temperature" not in written
    assert written["tool_choice"] == {"type": "auto"}
    assert sorted(dropped) == ["sampling", "tool_choice"]


def test_b54_adaptive_models() -> None:
    asked: Body = {"thought": Thought("high"), "sampling": Sampling(temperature=0.2), "output_tokens_max": 1000}
    written, dropped, _ = write(ADAPTIVE, **asked)
    assert (written["thinking"], written["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    assert (written["max_tokens"], "temperature" in written, dropped) == (1000, False, ["sampling"])


def test_b54_a_running_call_without_its_thinking_is_asked_without() -> None:
    turns = (USER, assistant(Reasoning("x", FOREIGN), Call("a", "f", "{}")), results(result("a")))
    written, dropped, _ = write(BUDGET, turns=turns, thought=Thought("high"), paths={"effort": "reasoning_effort"})
    assert "thinking" not in written
    assert dropped == ["reasoning_effort"]
    signed = (USER, assistant(Reasoning("x", SIGNED), Call("a", "f", "{}")), results(result("a")))
    assert "thinking" in body(BUDGET, turns=signed, thought=Thought("high"))
    assert "thinking" in body(BUDGET, turns=(*turns, assistant(Text("b")), USER), thought=Thought("high"))


def test_sampling() -> None:
    assert body(OLD, sampling=Sampling(0.5, 0.9, 3))["top_k"] == 3
    written, dropped, _ = write(BUDGET, sampling=Sampling(1.5, 0.9))
    assert (written["temperature"], "top_p" in written) == (1.0, False)
    assert dropped == ["top_p", "sampling"]
    assert write(ADAPTIVE, sampling=Sampling(top_p=0.9), paths={"sampling": "top_p"})[1] == ["top_p"]


# -- the form of the answer, stops, caches -----------------------------------------------------------------------------

SCHEMA = b'{"type":"object","properties":{"n":{"type":"integer","minimum":1}},"required":["n"]}'
FORM = Format(FormatKind.SCHEMA, name="n", schema=Raw(SCHEMA), strict=True)


def test_b55_a_schema_is_compiled_where_the_model_can() -> None:
    written, _, how = write(ADAPTIVE, format=FORM)
    assert written["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
            "required": ["n"],
            "additionalProperties": False,
        },
    }
    assert how.answer_tool is None


def test_b55_older_models_are_made_to_call_a_tool() -> None:
    written, dropped, how = write(OLD, format=FORM)
    assert how.answer_tool == "answer"
    assert written["tool_choice"] == {"type": "tool", "name": "answer"}
    assert written["tools"][0]["input_schema"] == json.loads(SCHEMA)
    assert dropped == []


def test_b55_but_never_beside_real_tools() -> None:
    written, dropped, how = write(OLD, format=FORM, tools=(TOOL,))
    assert how.answer_tool is None
    assert "tool_choice" not in written
    assert SCHEMA.decode() in written["system"]
    assert dropped == ["strict_schema"]


def test_json_without_a_schema_is_asked_for_in_words() -> None:
    written, dropped, _ = write(turns=(system("A"), USER), format=Format(FormatKind.JSON))
    assert [each["text"][:6] for each in written["system"]] == ["A", "Answer"]
    assert dropped == ["json_mode"]


def test_b43_stop_sequences() -> None:
    written, dropped, how = write(stop=("H:", "\n\n", ""), paths={"stop": "stop"})
    assert (written["stop_sequences"], dropped, how.stops) == (["H:"], ["stop"], ())
    able = replace(ADAPTIVE, stop=False)
    written, _, how = write(able, stop=("H:",))
    assert ("stop_sequences" in written, how.stops) == (False, ("H:",))


def test_b56_at_most_four_marks() -> None:
    marked = Cache()
    turns = (
        Turn(Role.SYSTEM, (Text("A", marked), Text("B", marked))),
        *(Turn(role, (Text("x", marked),)) for role in (Role.USER, Role.ASSISTANT) * 2),
        Turn(Role.USER, (Text("y", Cache("1h")), Text(" ", marked))),
    )
    written, dropped, _ = write(OLD, turns=turns, tools=(replace(TOOL, cache=marked),))
    text = json.dumps(written)
    assert text.count("cache_control") == 4
    assert dropped == ["cache"]
    longer = {"type": "ephemeral", "ttl": "1h"}
    assert written["tools"][0]["cache_control"] == written["system"][1]["cache_control"] == longer
    assert [json.dumps(each).count("cache_control") for each in written["messages"]] == [0, 0, 0, 1, 1]


def test_b56_four_marks_stay_as_they_are() -> None:
    turns = (Turn(Role.SYSTEM, (Text("A", Cache("1h")),)), Turn(Role.USER, (Text("x", Cache("5m")),)))
    written, dropped, _ = write(turns=turns)
    assert written["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert written["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert dropped == []


# -- the same dialect --------------------------------------------------------------------------------------------------


def rendered(body_written: str, model: str = "m") -> bytes:
    return messages.render_request(messages.parse_request(body_written.encode()), model=model)


def thought(signature: str) -> str:
    return f'{{"type":"thinking", "thinking":"a","signature":"{signature}"}}'


def asked(*contents: str, more: str = "") -> str:
    roles = ("assistant", "user") * 2
    said_ = ", ".join(
        f'{{"role":"{role}","content":{content}}}' for role, content in zip(roles, contents, strict=False)
    )
    return f'{{"model":"m", "messages":[ {said_} ]{more}}}'


def test_b34_tokens_of_ours_are_left_out_and_nothing_else() -> None:
    call = '{"type":"tool_use","id":"a","name":"f","input":{ "n":1e3 }}'
    token = pack(FOREIGN)
    mixed = f"[{thought(token)}, {thought('c2ln')}, {call}]"
    out = rendered(asked(mixed, f'"{token}"'))
    assert f"[{thought('c2ln')},{call}]".encode() in out
    assert f'"content":"{token}"'.encode() in out
    untouched = asked(f"[{thought('c2ln')}, {call}]", f'"{token}"')
    assert rendered(untouched) == untouched.encode()
    assert json.loads(rendered(asked(f"[{thought(token)}]", '"x"'), "n")) == {
        "model": "n",
        "messages": [{"role": "user", "content": "x"}],
    }


def test_b54_a_budget_goes_with_the_thinking_of_the_running_call() -> None:
    call = '{"type":"tool_use","id":"a","name":"f","input":{}}'
    answer = '[{"type":"tool_result","tool_use_id":"a","content":"x"}]'
    budget = ',"thinking":{"type":"enabled","budget_tokens":1024}'
    mixed = f"[{thought(pack(FOREIGN))},{call}]"
    assert "thinking" not in json.loads(rendered(asked(mixed, answer, more=budget)))
    assert "thinking" in json.loads(rendered(asked(mixed, answer, '"b"', '"c"', more=budget)))
    adaptive = ',"thinking":{"type":"adaptive"}'
    assert "thinking" in json.loads(rendered(asked(mixed, answer, more=adaptive)))


# -- anything ----------------------------------------------------------------------------------------------------------

words = st.sampled_from(["", " ", "a", "b\n"])
ids = st.sampled_from(["a", "b", "c:1"])
parts = st.one_of(
    st.builds(Text, words),
    st.builds(Reasoning, words, st.sampled_from([None, SIGNED, FOREIGN])),
    st.builds(Call, ids, st.just("f"), st.sampled_from(["", "{}", "x"])),
    st.just(Media(MediaKind.IMAGE, "w", "image/png", content="AAAA")),
)
spoken = st.one_of(
    st.builds(Turn, st.just(Role.USER), st.lists(st.builds(Text, words), max_size=2).map(tuple)),
    st.builds(Turn, st.just(Role.SYSTEM), st.lists(st.builds(Text, words), max_size=2).map(tuple)),
    st.builds(Turn, st.just(Role.ASSISTANT), st.lists(parts, max_size=4).map(tuple)),
    st.builds(Turn, st.just(Role.TOOL), st.lists(st.builds(result, ids), max_size=3).map(tuple)),
)
ABLE = st.sampled_from([ADAPTIVE, BUDGET, OLD, ALWAYS, capabilities.UNKNOWN])
EFFORTS = st.sampled_from([None, "none", "low", "max"])


@given(st.lists(spoken, max_size=8), ABLE, EFFORTS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_request_keeps_the_vendors_rules(turns: list[Turn], able: Capabilities, effort: str, tool: bool) -> None:
    written = body(able, turns=tuple(turns), thought=Thought(effort), tools=(TOOL,) if tool else ())
    before: Body = {"role": "assistant", "content": []}
    for message in written["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        assert blocks
        assert all(each["text"].strip() for each in blocks if each["type"] == "text")
        assert blocks[-1]["type"] not in {"thinking", "redacted_thinking"}
        if message["role"] != "system":
            assert message["role"] != before["role"]
            open_calls = [each["id"] for each in before["content"] if each["type"] == "tool_use"]
            assert [each["tool_use_id"] for each in blocks if each["type"] == "tool_result"] == open_calls
            assert all(each["type"] == "tool_result" for each in blocks[: len(open_calls)])
            before = {"role": message["role"], "content": blocks}
    assert written["messages"][0]["role"] == "user"
    assert written["max_tokens"] > written.get("thinking", {}).get("budget_tokens", 0)
