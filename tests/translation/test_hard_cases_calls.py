"""Hard cases of tool calls in streams: parallel, interleaved, cut, nameless, repeated, without ids, free-form."""

import json
from typing import Any

import pytest

from tests.translation import upstream_gemini, upstream_messages, upstream_responses
from tests.translation.exchange import Exchange, Told, asked, exchange, told, told_bytes
from tests.translation.seen import call, text
from tests.translation.upstream_chat import chunk, more, opened
from tests.translation.upstream_responses import event

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*")

Payload = dict[str, Any]

CLIENTS = ["responses", "messages", "gemini"]
"""Of a Chat Completions upstream."""

FINISH = chunk({}, "tool_calls")


def chat(client: str, *deltas: Payload, finish: str = "tool_calls") -> Told:
    return told("chat", client, *map(chunk, deltas), chunk({}, finish), "[DONE]")


def entry(**members: Any) -> Payload:
    """Return the delta of one entry of `tool_calls`."""
    return {"tool_calls": [members]}


def function(name: str | None = None, arguments: str | None = None) -> Payload:
    given = {"name": name, "arguments": arguments}
    return {member: value for member, value in given.items() if value is not None}


def arguments(got: Told) -> list[str]:
    """Return the arguments of each call as the text that the deltas make."""
    found: dict[Any, str] = {}
    if got.client == "chat":
        for delta in got.deltas:
            for each in delta.get("tool_calls", ()):
                found[each["index"]] = found.get(each["index"], "") + each["function"]["arguments"]
    elif got.client == "messages":
        for each in got.of("content_block_start"):
            if each["content_block"]["type"] == "tool_use":
                found[each["index"]] = ""
        for each in got.of("content_block_delta"):
            if each["delta"]["type"] == "input_json_delta":
                found[each["index"]] += each["delta"]["partial_json"]
    elif got.client == "responses":
        for each in got.of("response.function_call_arguments.delta"):
            found[each["output_index"]] = found.get(each["output_index"], "") + each["delta"]
    return list(found.values())


# -- B13 to B17: which fragment belongs to which call --

PARALLEL = (opened(0, "a", "f", ""), more(0, "{}"), opened(1, "b", "g", ""), more(1, '{"x":1}'))


@pytest.mark.parametrize("client", CLIENTS)
def test_b13_parallel_calls_back_to_back(client: str) -> None:
    got = chat(client, *PARALLEL)
    assert got.seen.blocks == (call("a", "f", "{}"), call("b", "g", '{"x":1}'))


def test_b13_parallel_calls_are_blocks_in_a_row() -> None:
    got = chat("messages", *PARALLEL)
    assert [kind for kind in got.kinds if kind != "content_block_delta"] == [
        "message_start",
        *("content_block_start", "content_block_stop") * 2,
        "message_delta",
        "message_stop",
    ]
    assert [each["content_block"]["id"] for each in got.of("content_block_start")] == ["a", "b"]
    assert arguments(got) == ["{}", '{"x":1}']
    assert got.of("message_delta")[0]["delta"]["stop_reason"] == "tool_use"


INTERLEAVED = (opened(0, "a", "f"), opened(1, "b", "g"), more(0, '{"x":'), more(1, "{}"), more(0, "1}"))


@pytest.mark.parametrize("client", CLIENTS)
def test_b14_fragments_of_different_calls_interleaved(client: str) -> None:
    """That blocks are strictly sequential is checked in every stream by `conform` and the readers."""
    assert chat(client, *INTERLEAVED).seen.blocks == (call("a", "f", '{"x":1}'), call("b", "g", "{}"))


def test_b14_the_open_call_is_streamed_live_and_closes_when_it_is_whole() -> None:
    parser = exchange("messages", "chat").parser()
    parser.feed(upstream_bytes(*map(chunk, INTERLEAVED[:2])))
    assert b'{\\"x\\":' in parser.feed(upstream_bytes(chunk(INTERLEAVED[2])))
    assert parser.feed(upstream_bytes(chunk(INTERLEAVED[3]))) == b""
    assert b'"1}"' in parser.feed(upstream_bytes(chunk(INTERLEAVED[4])))
    assert b"content_block_stop" in parser.feed(upstream_bytes(chunk(more(1, " "))))


def upstream_bytes(*chunks: Payload) -> bytes:
    return "".join(f"data: {json.dumps(each)}\n\n" for each in chunks).encode()


@pytest.mark.parametrize("client", ["chat", "messages", "gemini"])
def test_b14_items_of_a_response_interleaved(client: str) -> None:
    def delta(index: int, fragment: str) -> Payload:
        return event("function_call_arguments.delta", item_id=f"fc_{index}", output_index=index, delta=fragment)

    items = [
        {"id": f"fc_{index}", "type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
        for index, call_id, name in ((1, "a", "f"), (2, "b", "g"))
    ]
    done = [{**items[0], "arguments": '{"x":1}'}, {**items[1], "arguments": "{}"}]
    got = told(
        "responses",
        client,
        *upstream_responses.OPENING,
        *(event("output_item.added", output_index=index + 1, item=item) for index, item in enumerate(items)),
        delta(1, '{"x":'),
        delta(2, "{"),
        delta(1, "1}"),
        delta(2, "}"),
        *(event("output_item.done", output_index=index + 1, item=item) for index, item in enumerate(done)),
        event("completed", response=upstream_responses.response("completed", *done)),
    )
    assert got.seen.blocks == (call("a", "f", '{"x":1}'), call("b", "g", "{}"))


@pytest.mark.parametrize("client", CLIENTS)
def test_b15_everything_in_one_chunk(client: str) -> None:
    delta = {
        "content": "ok",
        "tool_calls": [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}},
            {"index": 0, "function": {"arguments": "}"}},
        ],
    }
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    got = told("chat", client, chunk(delta, "tool_calls", usage=usage), "[DONE]")
    assert got.seen.blocks == (text("ok"), call("a", "f", "{}"))
    assert got.seen.finish == {"responses": "completed", "messages": "tool_use", "gemini": "STOP"}[client]
    assert got.seen.usage is not None
    assert (got.seen.usage.input, got.seen.usage.output) == (5, 6)


BAD_INDEXES: dict[str, tuple[Payload, ...]] = {
    "no index at all": (
        entry(id="a", function=function("f", "")),
        entry(function=function(arguments="{}")),
        entry(id="b", function=function("g", '{"x":')),
        entry(function=function(arguments="1}")),
    ),
    "always index 0, but a new id": (opened(0, "a", "f", "{}"), opened(0, "b", "g", '{"x":'), more(0, "1}")),
    "indexes 1 and 3 only": (opened(1, "a", "f", "{}"), opened(3, "b", "g", '{"x":'), more(3, "1}")),
    "index as string": (
        entry(index="0", id="a", function=function("f", "{}")),
        entry(index="1", id="b", function=function("g", '{"x":')),
        entry(index="1", function=function(arguments="1}")),
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("deltas", BAD_INDEXES.values(), ids=BAD_INDEXES)
def test_b16_bad_indexes(deltas: tuple[Payload, ...], client: str) -> None:
    assert chat(client, *deltas).seen.blocks == (call("a", "f", "{}"), call("b", "g", '{"x":1}'))


def test_b16_places_are_numbered_as_they_are_seen() -> None:
    got = chat("messages", *BAD_INDEXES["indexes 1 and 3 only"])
    assert [each["index"] for each in got.of("content_block_start")] == [0, 1]
    blocks = (*upstream_messages.called(1, "a", "f", "{}"), *upstream_messages.called(3, "b", "g", "{}"))
    back = told("messages", "chat", *upstream_messages.stream(*blocks, reason="tool_use"))
    named = [each for delta in back.deltas for each in delta.get("tool_calls", ()) if "id" in each]
    assert [each["index"] for each in named] == [0, 1]


IDENTITIES: dict[str, tuple[Payload, ...]] = {
    "late": (
        entry(index=0, id="", function=function(arguments="{")),
        entry(index=0, id="call_1", function=function("f")),
        more(0, "}"),
    ),
    "repeated": tuple(
        entry(index=0, id="call_1", type="function", function=function("f", fragment)) for fragment in ("{", "", "}")
    ),
    "empty on continuations": (
        opened(0, "call_1", "f", "{"),
        entry(index=0, id=None, function=function("", "")),
        entry(index=0, id="", function=function("", "}")),
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("deltas", IDENTITIES.values(), ids=IDENTITIES)
def test_b17_late_repeated_or_empty_identity(deltas: tuple[Payload, ...], client: str) -> None:
    got = chat(client, *deltas)
    assert got.seen.blocks == (call("call_1", "f", "{}"),)
    assert got.written.count(b'"content_block_start","index"') == (client == "messages")


@pytest.mark.parametrize("client", CLIENTS)
def test_b17_without_any_id_one_is_made(client: str) -> None:
    deltas = (entry(index=0, id="", function=function("f", "{}")), entry(index=1, function=function("f", "{}")))
    one, other = chat(client, *deltas).seen.blocks
    assert one[1]
    assert other[1]
    assert one[1] != other[1]


def test_b17_identity_is_written_once() -> None:
    """What the upstream opens in one event, openai-python would concatenate if it came twice."""
    use = (*upstream_messages.called(0, "c1", "f", '{"x":', "1", "}"),)
    got = told("messages", "chat", *upstream_messages.stream(*use, reason="tool_use"))
    entries = [each for delta in got.deltas for each in delta.get("tool_calls", ())]
    assert [each for each in entries if "id" in each or "type" in each or "name" in each["function"]] == entries[:1]
    assert got.seen.blocks == (call("c1", "f", '{"x":1}'),)


# -- B18 to B21: arguments --

EMPTY_CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "a lone empty delta": (
        "messages",
        upstream_messages.stream(*upstream_messages.called(0, "a", "f"), reason="tool_use"),
    ),
    "no delta": (
        "messages",
        upstream_messages.stream(
            upstream_messages.opened(0, upstream_messages.use_block("a", "f", {})),
            upstream_messages.closed(0),
            reason="tool_use",
        ),
    ),
    "empty arguments": ("chat", (chunk(opened(0, "a", "f", "")), FINISH, "[DONE]")),
    "no args": (
        "gemini",
        (upstream_gemini.chunk({"functionCall": {"name": "f"}}), upstream_gemini.END),
    ),
}


@pytest.mark.parametrize(("upstream", "said"), EMPTY_CALLS.values(), ids=EMPTY_CALLS)
def test_b18_calls_without_arguments(upstream: str, said: tuple[Any, ...]) -> None:
    for client in sorted({"chat", "responses", "messages", "gemini"} - {upstream}):
        got = told(upstream, client, *said)
        (found,) = got.seen.blocks
        assert found[2:] == ("f", {}), client
        if client in {"chat", "responses"}:
            assert arguments(got) == ["{}"]
        elif client == "messages":
            assert arguments(got) == [""]
        else:
            (part,) = [each for each in got.parts if "functionCall" in each]
            assert part["functionCall"]["args"] == {}


PIECES = (r'{"p":"C:\\', r"n\u00", r"e9 \ud83d", r'\ude00","n":1', r"e3}")
WHOLE = r'{"p":"C:\\n\u00e9 \ud83d\ude00","n":1e3}'


@pytest.mark.parametrize("upstream", ["chat", "responses", "messages"])
def test_b19_arguments_cut_anywhere(upstream: str) -> None:
    items = upstream_responses.Item(
        {"id": "fc_1", "type": "function_call", "call_id": "a", "name": "f", "arguments": WHOLE},
        *(event("function_call_arguments.delta", delta=piece) for piece in PIECES),
        added={"id": "fc_1", "type": "function_call", "call_id": "a", "name": "f", "arguments": ""},
    )
    said: dict[str, tuple[Any, ...]] = {
        "chat": (chunk(opened(0, "a", "f")), *(chunk(more(0, piece)) for piece in PIECES), FINISH),
        "responses": upstream_responses.stream(items),
        "messages": upstream_messages.stream(*upstream_messages.called(0, "a", "f", *PIECES), reason="tool_use"),
    }
    for client in sorted({"chat", "responses", "messages", "gemini"} - {upstream}):
        got = told(upstream, client, *said[upstream])
        assert got.seen.blocks == (call("a", "f", WHOLE),)
        assert client == "gemini" or arguments(got) == [WHOLE]


def test_b19_whole_json_does_not_end_a_call() -> None:
    parser = exchange("messages", "chat").parser()
    assert b"content_block_stop" not in parser.feed(upstream_bytes(chunk(opened(0, "a", "f", '{"a":1}'))))
    assert b"content_block_stop" not in parser.feed(upstream_bytes(chunk(more(0, "\n"))))
    assert b"content_block_stop" in parser.feed(upstream_bytes(FINISH)) + parser.end()


HALVES = (b'"content":"\\ud83d"', b'"content":"\\ude00"')


def halves(*contents: bytes) -> bytes:
    begin, end = b'data: {"choices":[{"index":0,"delta":{', b"}}]}\n\n"
    return b"".join(begin + content + end for content in contents) + upstream_bytes(chunk({}, "stop"))


@pytest.mark.parametrize("client", CLIENTS)
def test_b20_half_a_character_waits_for_the_other(client: str) -> None:
    assert told_bytes("chat", client, halves(*HALVES)).seen.blocks == (text("😀"),)
    assert told_bytes("chat", client, halves(HALVES[0])).seen.blocks == (text("\ufffd"),)
    assert told_bytes("chat", client, halves(HALVES[0], b'"content":"a"')).seen.blocks == (text("\ufffda"),)


HALF_RESULTS: dict[str, bytes] = {
    "chat": b'{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"a",'
    b'"type":"function","function":{"name":"f","arguments":"{}"}}]},'
    b'{"role":"tool","tool_call_id":"a","content":"cut \\ud83d"}]}',
    "messages": b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":'
    b'[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result",'
    b'"tool_use_id":"a","content":"cut \\ud83d"}]}]}',
    "responses": b'{"model":"m","input":[{"role":"user","content":"x"},{"type":"function_call","call_id":"a",'
    b'"name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"cut \\ud83d"}]}',
}


@pytest.mark.parametrize("upstream", ["chat", "responses", "messages", "gemini"])
@pytest.mark.parametrize("client", HALF_RESULTS)
def test_b20_results_that_were_cut_inside_a_character(client: str, upstream: str) -> None:
    if client != upstream:
        body = Exchange(client, upstream, HALF_RESULTS[client]).written.body
        assert "cut \ufffd".encode() in body
        assert b"ud83d" not in body


CUT = (opened(0, "a", "f"), more(0, '{"city":"Par'))


def test_b21_a_truncated_call_is_not_completed() -> None:
    to_responses, to_messages, to_gemini = (chat(client, *CUT, finish="length") for client in CLIENTS)
    assert to_messages.of("message_delta")[0]["delta"]["stop_reason"] == "max_tokens"
    assert arguments(to_messages) == ['{"city":"Par']
    assert len(to_messages.of("content_block_stop")) == 1
    assert to_responses.seen.finish == "incomplete/max_output_tokens"
    assert to_responses.output[0]["status"] == "incomplete"
    assert to_responses.output[0]["arguments"] == '{"city":"Par'
    assert to_responses.of("response.function_call_arguments.done") == []
    assert (to_gemini.seen.blocks, to_gemini.seen.finish) == ((), "MAX_TOKENS")
    assert b"functionCall" not in to_gemini.written


# -- B22 to B24: an upstream without ids and with arguments by path --


def read_call(path: str, **members: Any) -> Payload:
    return {"functionCall": {"name": "read", "args": {"p": path}, **members}}


def gemini(client: str, *parts: Payload, finish: str = "STOP") -> Told:
    return told("gemini", client, *map(upstream_gemini.chunk, parts), upstream_gemini.chunk(finish=finish))


@pytest.mark.parametrize("client", ["chat", "responses", "messages"])
def test_b22_calls_of_one_name_without_ids(client: str) -> None:
    got = gemini(client, read_call("a"), read_call("b"))
    one, other = got.seen.blocks
    assert (one[2:], other[2:]) == (("read", {"p": "a"}), ("read", {"p": "b"}))
    assert one[1] != other[1]
    assert got.seen == gemini(client, read_call("a"), read_call("b")).seen
    if client == "chat":
        named = [each for delta in got.deltas for each in delta.get("tool_calls", ()) if "id" in each]
        assert [each["index"] for each in named] == [0, 1]


@pytest.mark.parametrize("client", ["chat", "responses", "messages"])
def test_b22_a_call_sent_again_is_the_same_call(client: str) -> None:
    parts = (read_call("a", id="A"), read_call("b", id="B"), read_call("b", id="B"))
    assert gemini(client, *parts).seen.blocks == (call("A", "read", {"p": "a"}), call("B", "read", {"p": "b"}))


def test_b22_results_find_their_calls_by_id_then_by_name_and_position() -> None:
    def result(value: str, **members: Any) -> Payload:
        return {"functionResponse": {"name": "read", "response": {"output": value}, **members}}

    def results(calls: list[Payload], answers: list[Payload]) -> list[tuple[str, str]]:
        contents = [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": calls},
            {"role": "user", "parts": answers},
        ]
        body = asked("gemini", "chat", {"contents": contents})
        arguments_by_id = {
            each["id"]: each["function"]["arguments"]
            for message in body["messages"]
            for each in message.get("tool_calls", ())
        }
        return [
            (json.loads(arguments_by_id[each["tool_call_id"]])["p"], each["content"])
            for each in body["messages"]
            if each["role"] == "tool"
        ]

    by_position = results([read_call("a"), read_call("b")], [result("of a"), result("of b")])
    assert [(path, value.count("of " + path)) for path, value in by_position] == [("a", 1), ("b", 1)]
    by_id = results([read_call("a", id="A"), read_call("b", id="B")], [result("of b", id="B"), result("of a", id="A")])
    assert [(path, value.count("of " + path)) for path, value in sorted(by_id)] == [("a", 1), ("b", 1)]


STOPS: dict[str, tuple[Payload, ...]] = {
    "in the same chunk": (upstream_gemini.chunk(read_call("a"), finish="STOP"),),
    "several chunks before": (
        upstream_gemini.chunk(read_call("a")),
        upstream_gemini.chunk({"text": "so"}),
        upstream_gemini.chunk({"text": ""}, finish="STOP"),
    ),
}


@pytest.mark.parametrize("said", STOPS.values(), ids=STOPS)
def test_b23_stop_with_a_call(said: tuple[Payload, ...]) -> None:
    finishes = {client: told("gemini", client, *said).seen.finish for client in ("chat", "messages", "responses")}
    assert finishes == {"chat": "tool_calls", "messages": "tool_use", "responses": "completed"}


def test_b23_stop_behind_tool_calls() -> None:
    assert chat("messages", opened(0, "a", "f", "{}"), finish="stop").seen.finish == "tool_use"


def test_b23_other_reasons_stand() -> None:
    assert gemini("chat", read_call("a"), finish="MAX_TOKENS").seen.finish == "length"
    assert gemini("messages", read_call("a"), finish="SAFETY").seen.finish == "refusal"
    assert chat("messages", opened(0, "a", "f", "{}"), finish="length").seen.finish == "max_tokens"
    assert (
        chat("responses", opened(0, "a", "f", "{}"), finish="content_filter").seen.finish == "incomplete/content_filter"
    )


def incremental(*partial: Payload) -> tuple[Payload, ...]:
    calls = (
        {"name": "f", "willContinue": True},
        *({"partialArgs": [each], "willContinue": True} for each in partial),
        {},
    )
    return tuple({"functionCall": each} for each in calls)


@pytest.mark.parametrize("client", ["chat", "responses", "messages"])
def test_b24_incremental_arguments(client: str) -> None:
    got = gemini(
        client,
        *incremental(
            {"jsonPath": "$.q", "stringValue": "Bos", "willContinue": True}, {"jsonPath": "$.q", "stringValue": "ton"}
        ),
    )
    assert len(got.seen.blocks) == 1
    assert arguments(got) == ['{"q":"Boston"}']


@pytest.mark.parametrize("client", ["chat", "responses", "messages"])
def test_b24_paths_of_arrays(client: str) -> None:
    got = gemini(client, *incremental({"jsonPath": "$.items[0].name", "stringValue": "x"}))
    assert arguments(got) == ['{"items":[{"name":"x"}]}']


# -- B25 to B27: items of the Responses API --

ITEM = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_9",
    "name": "f",
    "arguments": "",
    "status": "in_progress",
}
DONE_ITEM = {**ITEM, "arguments": '{"x":1}', "status": "completed"}
ARGUMENTS_DONE = event("function_call_arguments.done", item_id="fc_1", output_index=0, arguments='{"x":1}')
ADDED = event("output_item.added", output_index=0, item=ITEM)
ITEM_DONE = event("output_item.done", output_index=0, item=DONE_ITEM)
COMPLETED = event("completed", response=upstream_responses.response("completed", DONE_ITEM))
PREFIX = event("function_call_arguments.delta", item_id="fc_1", output_index=0, delta='{"x"')

WITHOUT_DELTAS: dict[str, tuple[Payload, ...]] = {
    "done twice": (ADDED, ARGUMENTS_DONE, ARGUMENTS_DONE, ITEM_DONE),
    "output_item.done only": (ITEM_DONE,),
    "only in the response": (),
    "a prefix as delta": (ADDED, PREFIX, ARGUMENTS_DONE, ITEM_DONE),
}


@pytest.mark.parametrize("client", ["chat", "messages", "gemini"])
@pytest.mark.parametrize("said", WITHOUT_DELTAS.values(), ids=WITHOUT_DELTAS)
def test_b25_calls_without_deltas_or_with_everything_twice(said: tuple[Payload, ...], client: str) -> None:
    got = told("responses", client, *upstream_responses.OPENING, *said, COMPLETED)
    assert got.seen.blocks == (call("call_9", "f", '{"x":1}'),)
    assert client == "gemini" or arguments(got) == ['{"x":1}']


HISTORY = [
    {"role": "user", "content": "x"},
    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "a", "output": "1"},
    {"type": "function_call_output", "call_id": "b", "output": "2"},
]


def test_b25_calls_of_one_turn_are_one_message() -> None:
    to_chat = asked("responses", "chat", {"model": "m", "input": HISTORY})["messages"]
    assert [each["role"] for each in to_chat] == ["user", "assistant", "tool", "tool"]
    assert [each["id"] for each in to_chat[1]["tool_calls"]] == ["a", "b"]
    to_messages = asked("responses", "messages", {"model": "m", "input": HISTORY})["messages"]
    assert [each["role"] for each in to_messages] == ["user", "assistant", "user"]
    assert [each["id"] for each in to_messages[1]["content"]] == ["a", "b"]


def test_b26_the_call_id_names_a_call() -> None:
    for client in ("chat", "messages"):
        got = told("responses", client, *upstream_responses.OPENING, ADDED, ARGUMENTS_DONE, ITEM_DONE, COMPLETED)
        assert got.seen.blocks == (call("call_9", "f", '{"x":1}'),)
        assert b"fc_1" not in got.written


def test_b26_a_result_goes_back_to_its_call_id() -> None:
    from_chat = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "call_9", "type": "function", "function": function("f", "{}")}]},
        {"role": "tool", "tool_call_id": "call_9", "content": "r"},
    ]
    from_messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [upstream_messages.use_block("call_9", "f", {})]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_9", "content": "r"}]},
    ]
    bodies = [
        asked("chat", "responses", {"model": "m", "messages": from_chat}),
        asked("messages", "responses", {"model": "m", "max_tokens": 9, "messages": from_messages}),
    ]
    for body in bodies:
        items = {each["type"]: each for each in body["input"]}
        assert items["function_call"]["call_id"] == "call_9"
        assert items["function_call_output"] == {"type": "function_call_output", "call_id": "call_9", "output": "r"}


def test_b26_items_of_ours_have_the_right_prefixes() -> None:
    deltas = ({"reasoning_content": "hm"}, {"content": "Hi"}, opened(0, "call_9", "f", "{}"))
    got = chat("responses", *deltas)
    assert [each["id"].partition("_")[0] for each in got.output] == ["rs", "msg", "fc"]
    assert got.output[2]["call_id"] == "call_9"


GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: patch"}
APPLY_PATCH = {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": GRAMMAR}
PATCH = "*** Begin…\n"
CUSTOM_HISTORY = [
    {"role": "user", "content": "x"},
    {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": PATCH},
    {"type": "custom_tool_call_output", "call_id": "c", "output": "Done."},
]


def patching(upstream: str) -> Exchange:
    return Exchange("responses", upstream, {"model": "m", "input": CUSTOM_HISTORY, "tools": [APPLY_PATCH]})


def declared(upstream: str) -> tuple[str, str, Payload]:
    """Return the name, description and schema of the one tool that the upstream is told of."""
    (tool,) = patching(upstream).body["tools"]
    if upstream == "messages":
        return tool["name"], tool["description"], tool["input_schema"]
    function = tool["function"] if upstream == "chat" else tool["functionDeclarations"][0]
    return function["name"], function["description"], function.get("parameters", function.get("parametersJsonSchema"))


@pytest.mark.parametrize("upstream", ["chat", "messages", "gemini"])
def test_b27_a_free_form_tool_is_a_function_with_one_text(upstream: str) -> None:
    name, description, schema = declared(upstream)
    assert name == "apply_patch"
    assert "start: patch" in description
    assert {name: each["type"] for name, each in schema["properties"].items()} == {"input": "string"}
    assert any("tools" in path for path in patching(upstream).dropped)


@pytest.mark.parametrize("upstream", ["chat", "messages", "gemini"])
def test_b27_free_form_input_streams_unwrapped(upstream: str) -> None:
    wrapped = json.dumps({"input": PATCH})
    pieces = [wrapped[at : at + 5] for at in range(0, len(wrapped), 5)]
    said: dict[str, tuple[Any, ...]] = {
        "chat": (chunk(opened(0, "c", "apply_patch")), *(chunk(more(0, piece)) for piece in pieces), FINISH),
        "messages": upstream_messages.stream(
            *upstream_messages.called(0, "c", "apply_patch", *pieces), reason="tool_use"
        ),
        "gemini": (upstream_gemini.chunk(upstream_gemini.called("apply_patch", {"input": PATCH}, "c"), finish="STOP"),),
    }
    got = patching(upstream).tell(*said[upstream])
    deltas = [each["delta"] for each in got.of("response.custom_tool_call_input.delta")]
    assert "".join(deltas) == PATCH
    assert upstream == "gemini" or len(deltas) > 1
    assert [each["input"] for each in got.of("response.custom_tool_call_input.done")] == [PATCH]
    item = got.output[0]
    assert (item["type"], item["call_id"], item["input"]) == ("custom_tool_call", "c", PATCH)


def test_b27_history_is_mapped_to_the_function() -> None:
    to_chat = patching("chat").body["messages"]
    assert json.loads(to_chat[1]["tool_calls"][0]["function"]["arguments"]) == {"input": PATCH}
    assert to_chat[2] == {"role": "tool", "tool_call_id": "c", "content": "Done."}
    to_messages = patching("messages").body["messages"]
    assert to_messages[1]["content"][0]["input"] == {"input": PATCH}
    to_gemini = patching("gemini").body["contents"]
    assert to_gemini[1]["parts"][0]["functionCall"]["args"] == {"input": PATCH}
