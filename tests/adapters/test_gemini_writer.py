"""The Gemini writer: neutral requests as bodies that this vendor accepts, and what of ours never reaches it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from adapters import capabilities, signatures
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
    Sampling,
    Text,
    Thought,
    Tool,
    ToolChoice,
    Turn,
    WebSearch,
)
from adapters.dialects.gemini_reader import read_conversation
from adapters.dialects.gemini_request import parse_request, render_request, upstream_path
from adapters.dialects.gemini_writer import generation_path, write_request
from adapters.errors import ClientError
from adapters.losses import Losses
from adapters.signatures import Signature
from adapters.target import Target, Written
from adapters.tool_calls.names import Names, ToolName
from tests.adapters.recorder import conversation

SCOPE = "google/gemini-3"
NEW, BUDGET, OLD = "gemini-3-pro", "gemini-2.5-flash", "gemini-1.5-pro"
OWN = Signature("gemini", SCOPE, "b3du")
FOREIGN = Signature("messages", "anthropic/claude", "c2ln")
HI = Turn(Role.USER, (Text("Hi"),))
F = Tool("f", "does f", Raw(b'{"type":"object","properties":{"x":{"type":"integer"}}}'))
DUMMY = "skip_thought_signature_validator"


def request(*turns: Turn, model: str = NEW, losses: Losses | None = None, **asked: Any) -> Written:
    target = Target(model, capabilities.of(model), SCOPE, stream=True)
    return write_request(conversation(turns=turns or (HI,), **asked), target, losses or Losses())


def body(*turns: Turn, **asked: Any) -> Any:
    return json.loads(request(*turns, **asked).body)


def contents(*turns: Turn, **asked: Any) -> list[tuple[str, list[Any]]]:
    return [(each["role"], each["parts"]) for each in body(*turns, **asked)["contents"]]


def config(**asked: Any) -> Any:
    return body(**asked).get("generationConfig", {})


def lost(*turns: Turn, **asked: Any) -> list[str]:
    losses = Losses()
    request(*turns, losses=losses, **asked)
    return losses.dropped


def model(*parts: Part) -> Turn:
    return Turn(Role.ASSISTANT, parts)


def results(*parts: Result) -> Turn:
    return Turn(Role.TOOL, parts)


def call_part(call_id: str, args: Any = None, name: str = "f", **members: Any) -> dict[str, Any]:
    return {"functionCall": {"id": call_id, "name": name, "args": args or {}}, **members}


def result_part(call_id: str, value: Any, name: str = "f", **members: Any) -> dict[str, Any]:
    return {"functionResponse": {"id": call_id, "name": name, "response": value, **members}}


# -- contents ----------------------------------------------------------------------------------------------------------


def test_a_request_to_the_byte_and_again() -> None:
    turns = (Turn(Role.SYSTEM, (Text("Be nice"),)), HI, model(Text("Yes?")), Turn(Role.USER, (Text("é"),)))
    asked: dict[str, Any] = {"tools": (F,), "output_tokens_max": 10, "sampling": Sampling(temperature=0.5)}
    written = request(*turns, **asked).body
    assert (
        written
        == (
            '{"contents":[{"role":"user","parts":[{"text":"Hi"}]},{"role":"model","parts":[{"text":"Yes?"}]},'
            '{"role":"user","parts":[{"text":"é"}]}],"systemInstruction":{"parts":[{"text":"Be nice"}]},'
            '"tools":[{"functionDeclarations":[{"name":"f","description":"does f",'
            '"parametersJsonSchema":{"type":"object","properties":{"x":{"type":"integer"}}}}]}],'
            '"generationConfig":{"temperature":0.5,"maxOutputTokens":10}}'
        ).encode()
    )
    assert request(*turns, **asked).body == written


def test_b49_results_in_one_content_in_the_order_of_the_calls() -> None:
    turns = (
        HI,
        model(Call("a", "f", "{}"), Call("b", "f", '{"x": 1}')),
        results(Result("b", (Text("2"),))),
        Turn(Role.USER, (Text("hi"),)),
        results(Result("a", (Text('{"y":1}'),), is_error=False)),
        results(Result("c", (Text("orphan"),))),
    )
    found = contents(*turns, model=BUDGET)
    assert [role for role, _ in found] == ["user", "model", "user"]
    assert found[1][1] == [call_part("a"), call_part("b", {"x": 1})]
    assert found[2][1][:3] == [result_part("a", {"y": 1}), result_part("b", {"output": "2"}), {"text": "hi"}]
    assert "orphan" in json.dumps(found[2][1][3:])


def test_b50_b51_systems_later_on_runs_and_a_model_that_begins() -> None:
    found = body(
        Turn(Role.SYSTEM, (Text("A"),)),
        model(Text("Hello")),
        HI,
        HI,
        Turn(Role.USER, (Text(""),)),
        Turn(Role.SYSTEM, (Text("B"),)),
    )
    assert found["systemInstruction"] == {"parts": [{"text": "A"}]}
    assert [each["role"] for each in found["contents"]] == ["user", "model", "user"]
    assert found["contents"][2]["parts"] == [{"text": "Hi"}, {"text": "Hi"}, {"text": "<system>B</system>"}]


def test_errors_refusals_and_missing_results() -> None:
    found = contents(
        HI,
        model(Refusal("No."), Call("a", "f", "{}")),
        results(Result("a", (Text("bad"),), is_error=True)),
        model=BUDGET,
    )
    assert found[1][1][0] == {"text": "No."}
    assert found[2][1] == [result_part("a", {"error": "bad"})]
    missing = contents(HI, model(Call("a", "f", "{}")), model=BUDGET)[2][1][0]["functionResponse"]
    assert (missing["id"], list(missing["response"])) == ("a", ["error"])


@pytest.mark.parametrize(
    ("arguments", "args"),
    [("", {}), ("null", {}), ("[1]", {"value": [1]}), ("{bad", {"_raw": "{bad"}), ('"{\\"a\\":1}"', {"a": 1})],
)
def test_b48_arguments_are_an_object(arguments: str, args: Any) -> None:
    assert contents(HI, model(Call("a", "f", arguments)), model=BUDGET)[1][1] == [call_part("a", args)]


def test_arguments_keep_their_spelling() -> None:
    assert b'"args":{"b": 1.0,"a":"\\u00e9"}}' in request(HI, model(Call("a", "f", '{"b": 1.0,"a":"\\u00e9"}'))).body


def test_b47_ids_and_names_are_rewritten_on_both_sides_alike() -> None:
    names = Names([ToolName("a.b", "ns")])
    long_id = "x" * 90
    call, result = (
        part
        for _, parts in contents(
            HI, model(Call(long_id, "a.b", "{}", namespace="ns")), results(Result(long_id, (Text("1"),))),
            model=BUDGET, names=names,
        )[1:]
        for part in parts
    )  # fmt: skip
    assert call["functionCall"]["id"] == result["functionResponse"]["id"]
    assert len(call["functionCall"]["id"]) <= 64
    assert call["functionCall"]["name"] == result["functionResponse"]["name"] == names.flat("a.b", "ns")


def test_b27_free_form_tools_are_functions() -> None:
    tool = Tool("patch", "p", custom=True, format=Raw(b'{"type":"grammar"}'))
    written = body(HI, model(Call("a", "patch", "*** Begin", custom=True)), tools=(tool,))
    declaration = written["tools"][0]["functionDeclarations"][0]
    assert list(declaration["parametersJsonSchema"]["properties"]) == ["input"]
    assert '{"type":"grammar"}' in declaration["description"]
    assert written["contents"][1]["parts"][0]["functionCall"]["args"] == {"input": "*** Begin"}
    assert lost(HI, tools=(tool,)) == ["grammar"]


# -- reasoning ---------------------------------------------------------------------------------------------------------


def test_b33_own_signatures_return_to_their_places() -> None:
    turn = model(
        Reasoning("hm", OWN),
        Call("a", "f", "{}"),
        Call("b", "f", "{}"),
        Reasoning("", OWN._replace(value="dA==", kind="empty")),
        Reasoning("so", OWN._replace(value="dQ==", kind="thought")),
        Reasoning("", OWN),
        Text("Hi"),
        Reasoning("", OWN),
    )
    assert contents(HI, turn)[1][1] == [
        {"text": "hm", "thought": True},
        call_part("a", thoughtSignature="b3du"),
        call_part("b"),
        {"text": "", "thoughtSignature": "dA=="},
        {"text": "so", "thought": True, "thoughtSignature": "dQ=="},
        {"text": "Hi", "thoughtSignature": "b3du"},
        {"text": "", "thoughtSignature": "b3du"},
    ]


@pytest.mark.parametrize(("name", "signature"), [(NEW, {"thoughtSignature": DUMMY}), (BUDGET, {}), (OLD, {})])
def test_b33_calls_from_elsewhere_get_the_stand_in_where_one_is_needed(name: str, signature: Any) -> None:
    turn = model(Reasoning("hm", FOREIGN), Call("a", "f", "{}"), Call("b", "f", "{}"))
    found = contents(HI, turn, results(Result("a", ()), Result("b", ())), model(Call("c", "f", "{}")), model=name)
    assert found[1][1] == [call_part("a", **signature), call_part("b")]
    assert found[3][1] == [call_part("c", **signature)]


def test_b34_foreign_reasoning_is_left_out() -> None:
    other = Signature("gemini", "google/gemini-2", "b3RoZXI=")
    unknown = Signature("gemini", "", "b3RoZXI=")
    turns = (HI, model(*(Reasoning("t", each) for each in (FOREIGN, other, unknown, None))), HI)
    assert contents(*turns) == [("user", [{"text": "Hi"}, {"text": "Hi"}])]


# -- media -------------------------------------------------------------------------------------------------------------

PNG = Media(MediaKind.IMAGE, "m[0]", "image/png", content="aWE=")
INLINE = {"inlineData": {"mimeType": "image/png", "data": "aWE="}}


@pytest.mark.parametrize(
    ("media", "part"),
    [
        (PNG, INLINE),
        (Media(MediaKind.IMAGE, "m", url="data:image/png;base64,aWE="), INLINE),
        (
            Media(MediaKind.IMAGE, "m", url="https://x/y.webp?z=1"),
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://x/y.webp?z=1"}},
        ),
        (
            Media(MediaKind.DOCUMENT, "m", "application/pdf", content="aWE="),
            {"inlineData": {"mimeType": "application/pdf", "data": "aWE="}},
        ),
        (Media(MediaKind.DOCUMENT, "m", text="Hi"), {"inlineData": {"mimeType": "text/plain", "data": "SGk="}}),
        (
            Media(MediaKind.AUDIO, "m", "audio/wav", content="aWE="),
            {"inlineData": {"mimeType": "audio/wav", "data": "aWE="}},
        ),
    ],
)
def test_media(media: Media, part: Any) -> None:
    assert contents(Turn(Role.USER, (media,))) == [("user", [part])]


@pytest.mark.parametrize(
    "media",
    [Media(MediaKind.IMAGE, "m[0]", file_id="file-1"), Media(MediaKind.VIDEO, "m[0]", url="ftp://x")],
)
def test_media_that_nobody_can_read_are_refused(media: Media) -> None:
    with pytest.raises(ClientError) as caught:
        request(Turn(Role.USER, (media,)))
    assert caught.value.failure.param == "m[0]"


def test_b46_media_in_results_stand_inside_or_behind_all_results() -> None:
    address = Media(MediaKind.IMAGE, "m", "image/png", url="https://x/y")
    turns = (
        HI,
        model(Call("a", "f", "{}"), Call("b", "f", "{}")),
        results(Result("a", (Text("see"), PNG, address)), Result("b", (Text("1"),))),
    )
    inside = contents(*turns)[2][1]
    assert inside[0] == result_part("a", {"output": "see"}, parts=[INLINE])
    assert inside[1] == result_part("b", {"output": "1"})
    assert inside[2:] == [
        {"text": "Part of the result of f (a):"},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x/y"}},
    ]
    behind = contents(*turns, model=BUDGET)[2][1]
    assert behind[0] == result_part("a", {"output": "see"})
    assert behind[3] == INLINE


def test_the_detail_of_images_is_one_for_all() -> None:
    low = Media(MediaKind.IMAGE, "m", "image/png", content="aWE=", detail="low")
    assert body(Turn(Role.USER, (low, low)))["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert "generationConfig" not in body(Turn(Role.USER, (low, PNG)))
    assert lost(Turn(Role.USER, (low, PNG))) == ["image_detail"]


# -- tools -------------------------------------------------------------------------------------------------------------


def declared(schema: str, name: str = NEW) -> Any:
    return body(tools=(Tool("f", schema=Raw(schema.encode())),), model=name)["tools"][0]["functionDeclarations"][0]


@pytest.mark.parametrize("schema", ["{}", '{"type":"object"}', '{"type":"object","properties":{}}'])
@pytest.mark.parametrize("name", [NEW, OLD])
def test_b53_no_parameters_no_schema(schema: str, name: str) -> None:
    assert declared(schema, name) == {"name": "f"}


def test_b52_the_form_the_model_reads() -> None:
    schema = '{"$schema":"x","type":"object","properties":{"const":{"const":"a"}},"required":["const","gone"]}'
    new = declared(schema)["parametersJsonSchema"]
    assert (list(new["properties"]), new["required"]) == (["const"], ["const"])
    assert "$schema" not in new
    old = declared(schema, OLD)
    assert old["parameters"]["type"] == "OBJECT"
    assert old["parameters"]["required"] == ["const"]


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        (None, None),
        (ToolChoice(), None),
        (ToolChoice(ChoiceKind.NONE), {"mode": "NONE"}),
        (ToolChoice(ChoiceKind.ANY), {"mode": "ANY"}),
        (ToolChoice(ChoiceKind.ANY, ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(ChoiceKind.AUTO, ("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_choice(choice: ToolChoice | None, calling: Any) -> None:
    found = body(tools=(F,), tool_choice=choice).get("toolConfig")
    assert found == (None if calling is None else {"functionCallingConfig": calling})


def test_strict_schemas_are_validated() -> None:
    strict = Tool("f", schema=F.schema, strict=True)
    assert body(tools=(strict,))["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}


def test_search() -> None:
    assert body(web_search=WebSearch(), model=BUDGET)["tools"] == [{"googleSearch": {}}]
    both = body(web_search=WebSearch(), tools=(F,))
    assert [list(tool) for tool in both["tools"]] == [["functionDeclarations"], ["googleSearch"]]
    assert both["toolConfig"] == {"includeServerSideToolInvocations": True}
    with pytest.raises(ClientError) as caught:
        request(web_search=WebSearch(), tools=(F,), model=BUDGET, paths={"web_search": "tools[1]"})
    assert caught.value.failure.param == "tools[1]"


# -- generation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "thought", "expected"),
    [
        (NEW, Thought(), None),
        (NEW, Thought("high", show=True), {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (NEW, Thought("medium"), {"thinkingLevel": "HIGH"}),
        (NEW, Thought("max"), {"thinkingLevel": "HIGH"}),
        (NEW, Thought("none"), {"thinkingLevel": "LOW"}),
        (NEW, Thought(budget_tokens=1024), {"thinkingLevel": "LOW"}),
        (BUDGET, Thought("low"), {"thinkingBudget": 1024}),
        (BUDGET, Thought("none", show=True), {"thinkingBudget": 0}),
        (BUDGET, Thought(budget_tokens=-1), {"thinkingBudget": -1}),
        (BUDGET, Thought(budget_tokens=3000), {"thinkingBudget": 3000}),
        (OLD, Thought("high", show=True), None),
    ],
)
def test_thinking(name: str, thought: Thought, expected: Any) -> None:
    assert config(model=name, thought=thought).get("thinkingConfig") == expected


def test_b57_a_budget_raises_the_limit_that_includes_it() -> None:
    found = config(model=BUDGET, thought=Thought(budget_tokens=8000), output_tokens_max=1000)
    assert found["maxOutputTokens"] >= found["thinkingConfig"]["thinkingBudget"]
    assert config(output_tokens_max=10**9)["maxOutputTokens"] == capabilities.of(NEW).output_tokens_max
    assert lost(output_tokens_max=10**9, paths={"output_tokens_max": "max_tokens"}) == ["max_tokens"]


def test_numbers() -> None:
    sampling = Sampling(0.5, 0.9, 40, 0.1, 0.2, 7)
    assert config(sampling=sampling, choices=2, model=OLD) == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "candidateCount": 2,
    }
    assert "presencePenalty" not in config(sampling=sampling)
    assert lost(sampling=sampling) == ["penalties"]


def test_b43_more_stops_than_five_are_the_gateways() -> None:
    written = request(stop=("a", "b", "", "c", "d", "e", "f", "a"))
    assert json.loads(written.body)["generationConfig"] == {"stopSequences": ["a", "b", "c", "d", "e"]}
    assert written.stops == ("f",)


SCHEMA = Format(FormatKind.SCHEMA, "s", Raw(b'{"type":"object","properties":{"a":{"type":"string"}}}'))


def test_form_of_the_answer() -> None:
    assert config(format=Format(FormatKind.JSON)) == {"responseMimeType": "application/json"}
    assert list(config(format=SCHEMA)) == ["responseMimeType", "responseJsonSchema"]
    assert config(format=SCHEMA, model=OLD)["responseSchema"]["type"] == "OBJECT"
    assert list(config(format=SCHEMA, tools=(F,))) == ["responseMimeType", "responseJsonSchema"]
    in_words = body(format=SCHEMA, tools=(F,), model=BUDGET)
    assert "generationConfig" not in in_words
    assert '"a":{"type":"string"}' in in_words["systemInstruction"]["parts"][0]["text"]
    assert lost(format=SCHEMA, tools=(F,), model=BUDGET) == ["json_mode"]


def test_what_has_no_place_is_noted() -> None:
    cached = Turn(Role.USER, (Text("Hi", Cache()),), "Ann")
    asked: dict[str, Any] = {"parallel_calls": False, "tools": (F,), "verbosity": "low", "metadata": Raw(b"{}")}
    assert lost(cached, user="u", service_tier="scale", **asked) == [
        *("parallel_calls", "verbosity", "metadata", "cache", "speaker", "service_tier"),
    ]
    assert body(service_tier="flex")["serviceTier"] == "flex"
    assert lost(service_tier="default") == []


def test_paths_escape_a_model_as_the_other_one_does() -> None:
    for name in ("gemini-3-pro", "models/a b", "tuned/x?y#z"):
        asked = parse_request(b"{}", b"m:streamGenerateContent", b"alt=sse")
        assert generation_path("/v1beta/models", model=name, stream=True) == upstream_path(
            "/v1beta/models", asked, model=name
        )
        asked = parse_request(b"{}", b"m:generateContent")
        assert generation_path("/v1beta/models", model=name, stream=False) == upstream_path(
            "/v1beta/models", asked, model=name
        )


# -- there and back ----------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=5).map(Text)
ITEMS = st.lists(st.sampled_from(["text", "call", "call", "signed"]), min_size=1, max_size=5)


@given(st.lists(ITEMS, min_size=1, max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_again(rounds: list[list[str]], data: Any) -> None:
    turns: list[Turn] = [HI]
    ordinal = 0
    for kinds in rounds:
        parts: list[Part] = []
        calls: list[Result] = []
        for kind in kinds:
            ordinal += 1
            if kind == "text" and not (parts and isinstance(parts[-1], Text)):
                parts.append(data.draw(TEXTS))
            elif kind == "call":
                parts.append(Call(f"c{ordinal}", "f", f'{{"n": {ordinal}}}'))
                calls.append(Result(f"c{ordinal}", (data.draw(TEXTS),), name="f"))
            elif kind == "signed" and not (parts and isinstance(parts[-1], Reasoning)):
                parts.append(Reasoning("", OWN._replace(value=f"s{ordinal}")))
        turns.append(model(*parts or [Text("x")]))
        turns.append(results(*calls) if calls else HI)
    written = request(*turns, model=BUDGET).body
    again = read_conversation(parse_request(written, b"m:generateContent"), Losses()).turns
    assert [turn.role for turn in again] == [turn.role for turn in turns]
    for before, after in zip(turns, again, strict=True):
        for one, other in zip(before.parts, after.parts, strict=True):
            if isinstance(one, Reasoning):
                assert isinstance(other, Reasoning)
                assert one.signature is not None
                assert other.signature == Signature("gemini", "", one.signature.value)
            else:
                assert other == one


# -- our tokens on the same dialect (B34) ------------------------------------------------------------------------------

TOKEN = signatures.pack(FOREIGN)


def rendered(*parts: Any, name: str = BUDGET) -> Any:
    original = json.dumps(
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": parts}]}
    )
    asked = parse_request(original.encode(), name.encode() + b":generateContent")
    return json.loads(render_request(asked, model=name))["contents"][1:]


def test_b34_tokens_of_ours_are_taken_out_of_a_request_that_passes() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    assert rendered(
        {"text": "hm", "thought": True, "thoughtSignature": TOKEN},
        {**call, "thoughtSignature": TOKEN},
        {**call, "thoughtSignature": "b3du"},
        {"text": "", "thought_signature": TOKEN},
        {"text": TOKEN},
    ) == [{"role": "model", "parts": [call, {**call, "thoughtSignature": "b3du"}, {"text": TOKEN}]}]
    assert rendered({**call, "thoughtSignature": TOKEN}, name=NEW)[0]["parts"] == [{**call, "thoughtSignature": DUMMY}]
    assert rendered({"text": "", "thoughtSignature": TOKEN}) == []


def test_b34_a_request_without_a_token_keeps_every_byte() -> None:
    original = b'{ "contents": [{"parts": [{"text": "", "thoughtSignature": "b3du"}]}] }'
    assert render_request(parse_request(original, b"m:generateContent"), model="m") is original
