"""Requests from one dialect into another and back: what was said stays what it was, in its order, byte for byte.

A random conversation is written as a client of one dialect writes it, read, written for an upstream of another, read
there and written back. `rendered.held` is the table of what a dialect cannot say. The other half: a body with any
member dropped, doubled or of another type is read as something or refused by name, and no work grows with the square
of a conversation.
"""

import copy
import json
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import capabilities
from adapters.conversation import Conversation
from adapters.errors import ClientError, Failure
from adapters.losses import Losses, Policy
from adapters.target import Target
from adapters.tool_calls import custom_input, ids
from tests.translation import rendered
from tests.translation.agents import Body, ai_sdk, claude_code, codex, frameworks, gemini_cli, vendor_sdks
from tests.translation.rendered import (
    ADDRESS,
    ELSEWHERE,
    FLAT,
    FOREIGN,
    OWN,
    PATCH,
    PDF,
    PNG,
    READ,
    SCOPE,
    WRITE,
    Entry,
    body_of,
    entries,
    held,
)
from tests.translation.seen import DIALECTS
from tests.translation.translate import dialect
from tests.translation.vendor_rules import offences
from tests.translation.vendor_types import faults

T = TypeVar("T")

MODELS = {
    "chat": ("gpt-4o", "deepseek-v4-flash"),
    "responses": ("gpt-5.5",),
    "messages": ("claude-opus-4-8", "claude-sonnet-4-5"),
    "gemini": ("gemini-3.8-flash",),
}
PAIRS = [
    (client, upstream, model)
    for client in DIALECTS
    for upstream in DIALECTS
    if client != upstream
    for model in MODELS[upstream]
]
EXTRA = ("reasoning_content", "reasoning_details", "thinking")

# -- random conversations ----------------------------------------------------------------------------------------------

CHARACTERS = st.characters(codec="utf-8", exclude_characters="\x00\n<>")
TEXTS = st.one_of(
    st.sampled_from(
        ["Hi", " led by a space", "ends in one ", '"\\ \u2028 \U0001f600 \u00e9 </end>', "{}", "[DONE]", "null"]
    ),
    st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda text: text.strip() != "" and text != "."),
)
ARGUMENTS = st.one_of(
    st.sampled_from(
        ["{}", '{"a": "b"}', '{ "z":1.50,\n "a":[1e3, null] }', '{"\\u00e9":"\\ud83d\\ude00"}', '{"input":1}']
    ),
    st.dictionaries(TEXTS, TEXTS | st.integers(-(2**60), 2**60) | st.booleans(), max_size=3).map(json.dumps),
)
IDS = st.sampled_from(["call_{}", "toolu_01{}", "functions.read:{}", "x" * 70 + "{}", "{}"])
MEDIA = st.sampled_from([PNG, PDF, ADDRESS])


@st.composite
def conversations(draw: st.DrawFn) -> list[Entry]:
    """Return what is said: the user first and last, a result for every call."""
    said: list[Entry] = [("system", draw(TEXTS))] if draw(st.booleans()) else []
    calls = thoughts = 0
    for _ in range(draw(st.integers(0, 3))):
        said += _users(draw)
        turn: list[Entry] = []
        for kind in draw(st.lists(st.sampled_from(["thought", "assistant", "call", "call"]), min_size=1, max_size=5)):
            if kind == "thought":
                thoughts += 1
                value = f"{draw(st.sampled_from([OWN, FOREIGN]))}{thoughts:04}"
                turn.append(("thought", draw(TEXTS | st.just("")), value))
            elif kind == "assistant":
                turn.append((kind, draw(TEXTS)))
            else:
                calls += 1
                turn.append(_call(draw, draw(IDS).format(calls)))
        if turn[-1][0] == "thought":
            turn.append(("assistant", draw(TEXTS)))
        said += turn
        for each in turn:
            if each[0] == "call":
                media = tuple(draw(st.lists(MEDIA.filter(lambda kind: kind != ADDRESS), max_size=1)))
                said.append(("result", each[1], draw(TEXTS), draw(st.booleans()), media))
    return [*said, *_users(draw)]


def _users(draw: st.DrawFn) -> list[Entry]:
    said: list[Entry] = [("user", draw(TEXTS))]
    said += [("media", each) for each in draw(st.lists(MEDIA, max_size=2))]
    return [*said, *([("system", draw(TEXTS))] if draw(st.booleans()) else [])]


def _call(draw: st.DrawFn, call_id: str) -> Entry:
    name = draw(st.sampled_from([READ, WRITE, PATCH]))
    return "call", call_id, name, custom_input.wrap(draw(TEXTS)) if name == PATCH else draw(ARGUMENTS)


# -- there and back ----------------------------------------------------------------------------------------------------


def read(name: str, body: bytes, losses: Losses | None = None) -> Conversation:
    argument, query = (b"m:streamGenerateContent", b"alt=sse") if name == "gemini" else (b"", b"")
    request = dialect(name).parse_request(body, argument, query)
    return dialect(name).read_conversation(request, losses or Losses())


def write(name: str, conversation: Conversation, model: str, scope: str = SCOPE, losses: Losses | None = None) -> bytes:
    target = Target(model, capabilities.of(model), scope, stream=True)
    return dialect(name).write_request(conversation, target, losses or Losses()).body


def named(said: list[Entry]) -> list[Entry]:
    """Return the entries with flat names."""
    return [(*each[:2], FLAT.flat(each[2]), each[3]) if each[0] == "call" else each for each in said]


def sent(said: list[Entry], upstream: str, model: str) -> list[Entry]:
    """Return what reaches an upstream: without the thoughts of others, with ids that it takes."""
    rule = ids.WORD if upstream == "messages" else capabilities.of(model).call_ids
    own = [each for each in said if each[0] != "thought" or each[2].startswith(OWN)]
    return [
        (each[0], ids.conforming(each[1], rule), *each[2:]) if each[0] in {"call", "result"} else each for each in own
    ]


def signed(said: list[Entry]) -> list[Entry]:
    """Return the entries without thoughts that nobody signed: models that want reasoning back get it as text."""
    return [each for each in said if each[0] != "thought" or each[2] is not None]


@pytest.mark.parametrize(("client", "upstream", "model"), PAIRS)
@settings(max_examples=40)
@given(said=conversations())
def test_what_is_said_arrives_and_comes_back(client: str, upstream: str, model: str, said: list[Entry]) -> None:
    told = held(client, said)
    first = read(client, body_of(client, told, upstream))
    assert entries(first) == named(told)
    body = write(upstream, first, model)
    document = json.loads(body)
    assert [*faults(upstream, document, EXTRA), *offences(upstream, document)] == []
    second = read(upstream, body)
    arrived = held(upstream, sent(named(told), upstream, model))
    assert signed(entries(second)) == arrived
    back_model = MODELS[client][0]
    back = write(client, second, back_model)
    third = read(client, back)
    silent = [each for each in arrived if each[0] != "thought"]
    assert entries(third) == held(client, sent(silent, client, back_model))
    assert write(upstream, first, model) == body


@pytest.mark.parametrize(("client", "upstream", "model"), PAIRS)
@settings(max_examples=10)
@given(said=conversations())
def test_another_scope_gets_no_signature(client: str, upstream: str, model: str, said: list[Entry]) -> None:
    first = read(client, body_of(client, held(client, said), upstream))
    body = write(upstream, first, model, "third/model")
    values = [each[2] for each in entries(read(upstream, body)) if each[0] == "thought"]
    assert set(values) <= {None}
    assert ELSEWHERE.encode() not in body


# -- broken bodies -----------------------------------------------------------------------------------------------------

BODIES: list[tuple[str, Body]] = [
    ("messages", claude_code.request()),
    ("messages", claude_code.found_tools()),
    ("messages", claude_code.unsigned("x")),
    ("messages", claude_code.web_search()),
    ("messages", ai_sdk.messages_form()),
    ("responses", codex.request()),
    ("responses", codex.lite()),
    ("responses", codex.patched()),
    ("responses", codex.sub_agent()),
    ("responses", frameworks.llama_index_responses()),
    ("gemini", gemini_cli.request(thinkingLevel="HIGH")),
    ("gemini", gemini_cli.router()),
    ("gemini", gemini_cli.without_ids()),
    ("gemini", ai_sdk.gemini_request("parameters")),
    ("gemini", vendor_sdks.genai_form()),
    ("chat", ai_sdk.chat_form()),
    ("chat", vendor_sdks.openai_chat()),
    ("chat", frameworks.aider("chat")),
]
SAID: list[Entry] = [
    ("system", "S"),
    ("user", "U"),
    ("media", PNG),
    ("media", PDF),
    ("media", ADDRESS),
    ("thought", "T", f"{OWN}0001"),
    ("assistant", "A"),
    ("call", "c1", READ, '{"a":"b"}'),
    ("call", "c2", PATCH, '{"input":"x"}'),
    ("result", "c1", "R", True, (PNG,)),
    ("result", "c2", "R", False, ()),
    ("user", "V"),
]
BODIES += [(name, json.loads(body_of(name, held(name, SAID), "messages"))) for name in DIALECTS]
WIDE: dict[str, Body] = {
    "chat": {
        "temperature": 1,
        "top_p": 0.5,
        "top_k": 3,
        "n": 2,
        "seed": 1,
        "stop": ["a"],
        "max_tokens": 9,
        "user": "u",
        "presence_penalty": 0.1,
        "metadata": {"a": "b"},
        "modalities": ["text"],
        "reasoning": {"effort": "low"},
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"name": READ}]}},
        "thinking": {"type": "enabled", "budget_tokens": 9},
        "web_search_options": {"search_context_size": "low"},
        "stream_options": {"include_usage": True},
        "parallel_tool_calls": False,
        "logit_bias": {},
        "store": False,
    },
    "responses": {
        "instructions": "I",
        "truncation": "disabled",
        "include": [],
        "metadata": {"a": "b"},
        "top_p": 0.5,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": READ}]},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 99,
        "service_tier": "auto",
    },
    "messages": {
        "temperature": 0.5,
        "top_k": 3,
        "stop_sequences": ["a"],
        "metadata": {"user_id": "u"},
        "stream": True,
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "tool_choice": {"type": "tool", "name": READ},
        "service_tier": "auto",
        "system": [{"type": "text", "text": "S"}],
    },
    "gemini": {
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [READ]}},
        "labels": {"a": "b"},
        "generationConfig": {"stopSequences": ["a"], "seed": 1, "candidateCount": 2, "responseModalities": ["TEXT"]},
        "safetySettings": [],
        "serviceTier": "flex",
        "cachedContent": "",
    },
}
BODIES += [(name, {**json.loads(body_of(name, held(name, SAID), "messages")), **wide}) for name, wide in WIDE.items()]

SELDOM: list[tuple[str, Body]] = [
    (
        "gemini",
        {
            "contents": {"parts": {"text": "x"}},
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": gemini_cli.OPENAPI}]}],
            "generationConfig": {"responseSchema": {"type": "OBJECT", "maxProperties": "2"}},
        },
    ),
    (
        "messages",
        {
            "model": "m",
            "max_tokens": 5,
            "messages": [{"role": "user", "content": claude_code.DOCUMENTS}, *claude_code.HOSTED],
            "thinking": {"type": "between_tools"},
            "output_format": {"type": "json_schema", "schema": {"properties": {"a": {"format": "x", "minItems": 2}}}},
        },
    ),
    (
        "responses",
        {
            "model": "m",
            "input": codex.SELDOM,
            "tools": [{"type": "web_search", "filters": {"allowed_domains": ["a"]}, "search_context_size": "low"}],
            "max_tool_calls": 3,
            "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        },
    ),
    ("chat", frameworks.OLD),
]
BODIES += SELDOM

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 10**30, "", "x", "\u0001", [], {}, [1], ["x"], [[]], [{}], [None]),
    *({"a": 1}, {"type": "x"}, {"type": []}, {"text": {}}, {"role": "user"}, "data:image/png;base64,=", "\u00b2"),
]
DEEP = {
    f"<{name}{levels}>": opening * levels + inner + closing * levels
    for levels in (90, 480, 5000)
    for name, opening, inner, closing in (
        ("lists", "[", "1", "]"),
        ("objects", '{"a":', "1", "}"),
        ("properties", '{"properties":{"a":', '{"type":"string"}', "}}"),
        ("branches", '{"anyOf":[', '{"type":"string"}', "]}"),
    )
}
"""What stands for a value that is nested so deep that no encoder here writes it."""
ODD += DEEP


AGAIN = "<again>"
"""What a member's name ends in that is said a second time."""


def encoded(body: Body) -> bytes:
    text = json.dumps(body).replace(f'{AGAIN}"', '"')
    for name, deep in DEEP.items():
        text = text.replace(f'"{name}"', deep)
    return text.encode()


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, Body]:
    """Return a body with one or two members dropped, doubled or of another type, wherever they stand."""
    name, body = draw(st.sampled_from(BODIES))
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 2))):
        node: Any = body
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 4)):
                node = node[key]
                continue
            _break(draw, node, key)
            break
    return name, body


def _break(draw: st.DrawFn, node: Any, key: Any) -> None:
    how = draw(st.sampled_from(["drop", "double", "retype", "retype"]))
    if how == "drop":
        del node[key]
    elif how == "retype":
        node[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
    elif isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    else:
        node[f"{key}{AGAIN}"] = copy.deepcopy(draw(st.sampled_from([node[key], *ODD])))


@settings(max_examples=2500)
@given(broken())
def test_a_broken_body_is_read_or_refused_by_name(given_: tuple[str, Body]) -> None:
    name, body = given_
    read_or_refused(name, encoded(body))


def read_or_refused(name: str, body: bytes) -> None:
    conversation, refused = attempted(lambda: read(name, body, Losses(Policy.SILENT)))
    if conversation is None:
        assert names_a_place(refused), refused
        return
    for upstream, models in MODELS.items():
        for model in models if upstream != name else ():
            written, refused = attempted(partial(write, upstream, conversation, model, losses=Losses(Policy.SILENT)))
            if written is None:
                assert names_a_place(refused), refused
            else:
                assert offences(upstream, json.loads(written)) == [] or says_nothing(conversation)


def attempted(work: Callable[[], T]) -> tuple[T | None, Failure | None]:
    """Return what comes of it, or how it is refused; every other exception is a mistake."""
    try:
        return work(), None
    except ClientError as error:
        return None, error.failure


def names_a_place(refused: Failure | None) -> bool:
    """Whether a refusal says where: the member by its path, or the body where that cannot be read at all."""
    assert refused is not None
    if refused.param is None:
        return refused.message.startswith("The request body")
    return refused.status == 400 and refused.param.partition("[")[0].partition(".")[0] in refused.message


def says_nothing(conversation: Conversation) -> bool:
    return not entries(conversation)


HELLO: dict[str, Body] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    "responses": {"model": "m", "input": "x"},
    "gemini": {"contents": [{"parts": [{"text": "x"}]}]},
}


@pytest.mark.parametrize(
    ("name", "members", "place"),
    [
        ("chat", {"modalities": [["audio"]]}, None),
        ("chat", {"tools": [{"function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
        ("chat", {"functions": [{"name": "f", "parameters": "x"}]}, "functions[0].parameters"),
        ("responses", {"truncation": [1]}, "truncation"),
        ("responses", {"tool_choice": {"type": "allowed_tools", "tools": [{"type": []}]}}, "tool_choice.tools[0]"),
        ("gemini", {"generationConfig": {"responseSchema": {"maxItems": "\u00b2"}}}, None),
        ("gemini", {"generationConfig": {"responseJsonSchema": {"type": ["STRING", "<lists480>"]}}}, None),
    ],
)
def test_members_of_odd_types_that_once_broke_a_reader(name: str, members: Body, place: str | None) -> None:
    losses = Losses()
    _, refused = attempted(lambda: read(name, encoded(HELLO[name] | members), losses))
    noted = losses.dropped if refused is None else [refused.param]
    assert noted == ([place] if place is not None else [])


def test_instructions_alone_are_some_input() -> None:
    conversation = read(
        "messages", b'{"model":"m","max_tokens":1,"system":"S","messages":[{"role":"user","content":[]}]}'
    )
    document = json.loads(write("responses", conversation, "gpt-5.5"))
    assert "instructions" not in document
    assert document["input"] == [{"type": "message", "role": "developer", "content": "S"}]


# -- work --------------------------------------------------------------------------------------------------------------


def lines_run(work: Callable[[], object]) -> int:
    """Return how many lines of Python a piece of work runs: it counts loops, wherever they stand."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def many_turns(size: int) -> list[Entry]:
    return [
        each
        for number in range(size)
        for each in (
            ("user", f"q{number}"),
            ("thought", "t", f"{OWN}{number:04}"),
            ("call", f"c{number}", READ, "{}"),
            ("result", f"c{number}", "r", False, (PNG,)),
        )
    ]


def parallel_calls(size: int) -> list[Entry]:
    calls: list[Entry] = [("call", f"c{number}", READ, "{}") for number in range(size)]
    return [("user", "q"), *calls, *(("result", each[1], "r", True, ()) for each in reversed(calls))]


def calls_of_one_id(size: int) -> list[Entry]:
    calls: list[Entry] = [("call", "c", READ, "{}") for _ in range(size)]
    return [("user", "q"), *calls, *(("result", "c", "r", False, ()) for _ in calls)]


def open_calls(size: int) -> list[Entry]:
    turns = [(("user", f"q{number}"), ("call", f"c{number}", f"f{number}", "{}")) for number in range(size)]
    return [each for turn in turns for each in turn] + [("user", "and?")]


def many_thoughts(size: int) -> list[Entry]:
    thoughts = [(("thought", "t", f"{OWN}{number:04}"), ("assistant", "a")) for number in range(size)]
    return [("user", "q"), *(each for pair in thoughts for each in pair), ("user", "w")]


def orphans(size: int) -> list[Entry]:
    return [("user", "q"), *(("result", f"o{number}", "r", False, ()) for number in range(size))]


def many_systems(size: int) -> list[Entry]:
    return [each for number in range(size) for each in (("user", f"q{number}"), ("system", f"s{number}"))]


SHAPES = (many_turns, parallel_calls, calls_of_one_id, open_calls, many_thoughts, orphans, many_systems)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("client", DIALECTS)
def test_work_grows_no_faster_than_the_conversation(client: str, shape: Callable[[int], list[Entry]]) -> None:
    sizes = (40, 80)
    bodies = [body_of(client, held(client, shape(size)), "messages") for size in sizes]
    small, large = (lines_run(partial(read, client, body)) for body in bodies)
    assert large < 2.2 * small + 500
    conversations_ = [read(client, body) for body in bodies]
    for upstream, (model, *_) in MODELS.items():
        if upstream == client:
            continue
        write(upstream, conversations_[1], model)
        small, large = (lines_run(partial(write, upstream, asked, model)) for asked in conversations_)
        assert large < 2.2 * small + 500, (upstream, small, large)


def without_ids(body: Body) -> Body:
    """Return a body of a client that drops the ids of calls, and sends every part as a content of its own."""
    contents: list[Body] = []
    for content in body["contents"]:
        for part in content["parts"]:
            for name in ("functionCall", "functionResponse"):
                part.get(name, {}).pop("id", None)
            if content["role"] == "model":
                contents.append({"role": "model", "parts": [part]})
        if content["role"] != "model":
            contents.append(content)
    return {**body, "contents": contents}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_work_without_ids_grows_no_faster(shape: Callable[[int], list[Entry]]) -> None:
    documents = [json.loads(body_of("gemini", held("gemini", shape(size)), "messages")) for size in (40, 80)]
    bodies = [json.dumps(without_ids(document)).encode() for document in documents]
    small, large = (lines_run(partial(read, "gemini", body)) for body in bodies)
    assert large < 2.2 * small + 500


def test_pieces_of_one_text_are_one_text() -> None:
    """Many contents, many entries, many messages: none is joined to what stands before it one by one."""
    pieces = [{"role": "model", "parts": [{"text": str(number)}]} for number in range(2000)]
    thoughts = [{"role": "model", "parts": [{"text": str(number), "thought": True}]} for number in range(2000)]
    whole = "".join(map(str, range(2000)))
    asked = [{"role": "user", "parts": [{"text": "q"}]}]
    conversation = read("gemini", json.dumps({"contents": [*asked, *thoughts, *pieces]}).encode())
    assert entries(conversation) == [("user", "q"), ("thought", whole, None), ("assistant", whole)]
    assert len(conversation.turns[1].parts) == 2
    details = [{"type": "reasoning.text", "text": str(number), "index": 0} for number in range(2000)]
    message = {"role": "assistant", "content": "a", "reasoning_details": details}
    messages = [{"role": "user", "content": "q"}, message, *([{"role": "assistant", "content": "a"}] * 1999)]
    chat = read("chat", json.dumps({"model": "m", "messages": messages}).encode())
    assert entries(chat) == [("user", "q"), ("thought", whole, None), ("assistant", "a" * 2000)]
    document = json.loads(write("responses", chat, "gpt-5.5"))
    assert len(document["input"]) == 2001


def test_the_table_of_what_is_held_is_complete() -> None:
    assert rendered.held.__doc__ is not None
    for name in DIALECTS:
        once = held(name, SAID)
        assert held(name, once) == once
