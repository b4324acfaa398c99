"""The Responses emitter: what it writes, as the official SDK's accumulator takes it and as the wire has it."""

import json
from typing import Any

import httpx2
import msgspec
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ParsedResponse

from adapters import signatures
from adapters.conversation import Thought, Tool
from adapters.dialects import Request
from adapters.dialects.responses_emitter import ResponsesEmitter, open_emitter
from adapters.errors import Failure, Kind
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.usage import Usage
from tests.adapters.recorder import drive, opening

Operation = tuple[Any, ...]

START = ("start", "chatcmpl-1", "m-1", 1_700_000_001)
USAGE = ("usage_report", Usage(9, 4, 3, 2, 1))
END = [USAGE, ("finish", Reason.END), ("end",)]
SIGNATURE = Signature("elsewhere", "there", "gAAA")
SHOWN = Thought(show=True)
FAILURE = Failure(502, Kind.UPSTREAM, "it broke", code="stream_incomplete")


def request(**members: Any) -> Request:
    fields = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in members.items()}
    return Request(model="asked", stream=True, usage_wanted=True, choices=1, fields=fields, body=b"{}")


def emitter(asked: Request | None = None, **changes: Any) -> ResponsesEmitter:
    made = open_emitter(opening(asked, **changes))
    assert isinstance(made, ResponsesEmitter)
    return made


def written(operations: list[Operation], **changes: Any) -> bytes:
    return drive(emitter(**changes), operations)


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """Read a stream as strictly as any client: LF, an event line that says the type, one data line, a blank line."""
    events = []
    assert stream.endswith(b"\n\n")
    for block in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def events(operations: list[Operation], **changes: Any) -> list[dict[str, Any]]:
    return events_of(written(operations, **changes))


def kinds(operations: list[Operation], **changes: Any) -> list[str]:
    """Return the types of the events between the beginning and the end, without their common prefix."""
    read = [event["type"].removeprefix("response.") for event in events(operations, **changes)]
    assert read[:2] == ["created", "in_progress"]
    return read[2:-1]


def output(operations: list[Operation], **changes: Any) -> list[dict[str, Any]]:
    """Return the items of the terminal event: the same as those that were done."""
    read = events(operations, **changes)
    items = {event["output_index"]: event["item"] for event in read if event["type"] == "response.output_item.done"}
    whole = read[-1]["response"]["output"]
    assert isinstance(whole, list)
    assert [items[index] for index in sorted(items)] == whole
    return whole


def sdk(stream: bytes) -> tuple[list[str], ParsedResponse[None]]:
    """Read a stream with the official SDK and its accumulator."""

    def answer(asked: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    client = openai.OpenAI(
        api_key="k", base_url="http://x", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    with client.responses.stream(model="m", input="Hi") as read:
        seen: list[str] = [event.type for event in read]
        return seen, read.get_final_response()


TEXT: list[Operation] = [START, ("text", "Hel"), ("text", "lo"), *END]
CALLS: list[Operation] = [
    START,
    ("text", "Wait."),
    ("call_open", "a", "call_a", "f"),
    ("call_arguments", "a", '{"x":'),
    ("call_arguments", "a", "1}"),
    ("call_open", "b", "call_b", "g"),
    *END,
]
THOUGHT: list[Operation] = [
    START,
    ("reasoning_open",),
    ("reasoning", "Let me"),
    ("reasoning", " see."),
    ("reasoning_sign", SIGNATURE),
    ("reasoning_close",),
    ("text", "Yes."),
    *END,
]

LIFECYCLE = ["output_item.added", "content_part.added"], ["content_part.done", "output_item.done"]
MESSAGE = [*LIFECYCLE[0], "output_text.delta", "output_text.done", *LIFECYCLE[1]]


# -- text and the response ---------------------------------------------------------------------------------------------


def test_b59_the_lifecycle_of_a_text() -> None:
    assert kinds(TEXT) == [*MESSAGE[:3], "output_text.delta", *MESSAGE[3:]]
    read = events(TEXT)
    assert read[0]["response"]["model"] == "m-1"
    assert read[0]["response"]["output"] == []
    added, part = read[2], read[3]
    assert added["item"]["status"] == "in_progress"
    assert part["part"] == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    at = {"item_id": added["item"]["id"], "output_index": 0, "content_index": 0}
    assert all(event.items() >= at.items() for event in read[3:8])
    assert [event["delta"] for event in read[4:6]] == ["Hel", "lo"]
    last = read[-1]
    assert last["type"] == "response.completed"
    assert last["response"]["output"] == [
        {
            "id": "msg_chatcmpl-1_0",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
        }
    ]
    assert last["response"]["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 13,
    }


def test_the_sdk_reads_it() -> None:
    for operations, text, items in ((TEXT, "Hello", 1), (CALLS, "Wait.", 3), (THOUGHT, "Yes.", 2)):
        seen, response = sdk(written(operations, thought=SHOWN))
        assert seen[0] == "response.created"
        assert seen[-1] == "response.completed"
        assert response.output_text == text
        assert len(response.output) == items
        assert response.usage is not None
        assert response.usage.output_tokens_details.reasoning_tokens == 1


def test_the_response_repeats_the_request() -> None:
    members: dict[str, Any] = {
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "f", "parameters": {"a": 1}, "strict": False}],
        "tool_choice": "required",
        "temperature": 0.5,
        "metadata": {"a": "b"},
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low"},
        "top_p": None,
        "store": True,
        "input": "not repeated",
    }
    read = events(TEXT, asked=request(**members))
    for event in (read[0], read[1], read[-1]):
        response = event["response"]
        for name in ("instructions", "tools", "tool_choice", "temperature", "metadata", "text", "reasoning"):
            assert response[name] == members[name]
        assert response["top_p"] is None
        assert response["store"] is False
        assert response["parallel_tool_calls"] is True
        assert "input" not in response
        assert response["id"] == "resp_chatcmpl-1"
        assert response["created_at"] == 1_700_000_001


def test_ids_are_stable_and_clean() -> None:
    for given_id in ("resp_abc", "msg:ü/1", "x" * 200, ""):
        operations = [("start", given_id, "m", 1), ("text", "Hi"), ("call_open", 0, "c", "f"), *END]
        read = events(operations)
        ids = [event["response"]["id"] for event in read if "response" in event]
        assert len(set(ids)) == 1
        items = [event["item"]["id"] for event in read if "item" in event]
        assert items[0] == items[1] != items[2] == items[3]
        assert all(len(each) <= 64 and each.replace("_", "").replace("-", "").isalnum() for each in [*ids, *items])
        assert events(operations) == read
    assert events([("start", "resp_abc", "m", 1), *END])[0]["response"]["id"] == "resp_abc"


def test_an_empty_answer() -> None:
    assert kinds([START, *END]) == []
    assert sdk(written([START, *END]))[1].output == []


@pytest.mark.parametrize(
    ("reason", "status", "detail"),
    [
        (Reason.END, "completed", None),
        (Reason.STOP_SEQUENCE, "completed", None),
        (Reason.LENGTH, "incomplete", {"reason": "max_output_tokens"}),
        (Reason.CONTEXT_FULL, "incomplete", {"reason": "max_output_tokens"}),
        (Reason.FILTER, "incomplete", {"reason": "content_filter"}),
        (Reason.REFUSAL, "incomplete", {"reason": "content_filter"}),
        (Reason.PAUSE, "completed", None),
        (Reason.OTHER, "completed", None),
    ],
)
def test_how_answers_end(reason: Reason, status: str, detail: object) -> None:
    last = events([START, ("text", "Hi"), ("finish", reason), ("end",)])[-1]
    assert last["type"] == f"response.{status}"
    response = last["response"]
    assert (response["status"], response["incomplete_details"]) == (status, detail)
    assert response["output"][0]["status"] == status


def test_usage_that_nobody_reported_is_estimated() -> None:
    usage = events([START, ("text", "Hello"), ("end",)])[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 2)


def test_b41_refusals() -> None:
    refused = [START, ("refusal", "I ca"), ("refusal", "n't"), ("finish", Reason.REFUSAL), ("end",)]
    assert kinds(refused) == [
        *LIFECYCLE[0],
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        *LIFECYCLE[1],
    ]
    last = events(refused)[-1]
    assert last["type"] == "response.completed"
    assert last["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "I can't"}]
    without = events([START, ("finish", Reason.REFUSAL), ("end",)])[-1]["response"]
    assert without["incomplete_details"] == {"reason": "content_filter"}


# -- calls -------------------------------------------------------------------------------------------------------------


def test_b13_calls_are_items_of_their_own() -> None:
    assert kinds(CALLS) == [
        *MESSAGE,
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    calls = output(CALLS)[1:]
    assert [(call["call_id"], call["name"], call["arguments"], call["status"]) for call in calls] == [
        ("call_a", "f", '{"x":1}', "completed"),
        ("call_b", "g", "{}", "completed"),
    ]
    assert all(call["id"].startswith("fc_") for call in calls)
    assert "namespace" not in calls[0]


def test_b21_a_cut_call_is_incomplete_and_not_done() -> None:
    operations = [
        START,
        ("call_open", 0, "a", "f"),
        ("call_arguments", 0, '{"city":"Par'),
        ("finish", Reason.LENGTH),
        ("end",),
    ]
    assert kinds(operations) == ["output_item.added", "function_call_arguments.delta", "output_item.done"]
    (call,) = output(operations)
    assert (call["status"], call["arguments"]) == ("incomplete", '{"city":"Par')
    assert events(operations)[-1]["type"] == "response.incomplete"


def test_b27_free_form_input_comes_unwrapped() -> None:
    operations = [
        START,
        ("call_open", 0, "a", "apply_patch"),
        ("call_arguments", 0, '{"input":"*** Begin\\'),
        ("call_arguments", 0, 'n"}'),
        *END,
    ]
    tools = (Tool("apply_patch", custom=True),)
    assert kinds(operations, tools=tools)[1:-2] == ["custom_tool_call_input.delta"] * 2
    (call,) = output(operations, tools=tools)
    assert call["type"] == "custom_tool_call"
    assert call["input"] == "*** Begin\n"
    assert call["id"].startswith("ctc_")
    finished = events(operations, tools=tools)[-3]
    assert (finished["type"], finished["input"]) == ("response.custom_tool_call_input.done", "*** Begin\n")


def test_a_namespace_stands_beside_the_name() -> None:
    tools = (Tool("exec", namespace="functions", custom=True), Tool("spawn", namespace="agents"))
    operations = [
        START,
        ("call_open", 0, "a", "functions__exec"),
        ("call_arguments", 0, '{"input":"1"}'),
        ("call_open", 1, "b", "agents__spawn"),
        *END,
    ]
    first, second = output(operations, tools=tools)
    assert (first["type"], first["name"], first["namespace"]) == ("custom_tool_call", "exec", "functions")
    assert (second["type"], second["name"], second["namespace"]) == ("function_call", "spawn", "agents")


# -- reasoning ---------------------------------------------------------------------------------------------------------


def test_reasoning_is_shown_to_who_asked() -> None:
    assert kinds(THOUGHT, thought=SHOWN)[:7] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    reasoning = output(THOUGHT, thought=SHOWN)[0]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "Let me see."}]
    assert signatures.unpack(reasoning["encrypted_content"]) == SIGNATURE


def test_b28_a_signature_goes_out_without_any_text() -> None:
    alone = [START, ("reasoning_sign", SIGNATURE), ("reasoning_close",), ("text", "Yes."), *END]
    for operations, thought in ((THOUGHT, Thought()), (alone, SHOWN), (alone, Thought(show=False))):
        assert kinds(operations, thought=thought)[:2] == ["output_item.added", "output_item.done"]
        reasoning = output(operations, thought=thought)[0]
        assert reasoning["summary"] == []
        assert signatures.unpack(reasoning["encrypted_content"]) == SIGNATURE


def test_reasoning_that_nobody_may_see_is_no_item() -> None:
    operations = [START, ("reasoning", "hm"), ("text", "Yes."), *END]
    assert kinds(operations) == MESSAGE
    assert output(operations, thought=SHOWN)[0]["type"] == "reasoning"


def test_b29_items_keep_their_order() -> None:
    operations = [
        START,
        *(("reasoning", "A"), ("reasoning_sign", SIGNATURE), ("call_open", 0, "a", "f"), ("call_close", 0)),
        *(("reasoning", "B"), ("reasoning_sign", SIGNATURE), ("call_open", 1, "b", "f"), ("call_close", 1)),
        *END,
    ]
    items = [item["type"] for item in output(operations, thought=SHOWN)]
    assert items == ["reasoning", "function_call", "reasoning", "function_call"]


# -- sources, searches, images -----------------------------------------------------------------------------------------


def test_b58_sources_count_characters_of_their_message() -> None:
    source = Citation("https://a", "A", 5, 7)
    operations = [
        START,
        *(("text", "Abc😀"), ("call_open", 0, "a", "f"), ("call_close", 0), ("text", "Hello")),
        *(("cite", source), ("cite", Citation("", "no address")), *END),
    ]
    expected = {"type": "url_citation", "start_index": 1, "end_index": 3, "url": "https://a", "title": "A"}
    added = [event for event in events(operations) if event["type"] == "response.output_text.annotation.added"]
    assert [(event["annotation"], event["annotation_index"], event["output_index"]) for event in added] == [
        (expected, 0, 2)
    ]
    assert output(operations)[2]["content"][0]["annotations"] == [expected]
    assert sdk(written(operations))[1].output_text == "Abc😀Hello"


def test_sources_that_come_early_or_late_are_not_lost() -> None:
    source = Citation("https://a", "A", 0, 2)
    early = [START, ("cite", source), ("text", "Hi"), *END]
    assert len(output(early)[0]["content"][0]["annotations"]) == 1
    late = [START, ("text", "Hi"), ("call_open", 0, "a", "f"), ("call_close", 0), ("cite", source), *END]
    terminal = events(late)[-1]["response"]["output"]
    assert len(terminal[0]["content"][0]["annotations"]) == 1
    sdk(written(late))


def test_a_web_search_is_an_item() -> None:
    operations = [START, ("hosted", "web_search", {"query": "cats"}), ("hosted", "else", {}), ("text", "Hi"), *END]
    steps = ["in_progress", "searching", "completed"]
    expected = ["output_item.added", *(f"web_search_call.{step}" for step in steps), "output_item.done"]
    assert kinds(operations)[:5] == expected
    search = output(operations)[0]
    assert search["action"] == {"type": "search", "query": "cats"}
    assert sdk(written(operations))[1].output[0].type == "web_search_call"
    opened = output([START, ("hosted", "web_search", {"url": "https://a"}), *END])[0]
    assert opened["action"] == {"type": "open_page", "url": "https://a"}


def test_an_image_is_an_item() -> None:
    operations = [START, ("blob", "image/jpeg", "AAAA"), ("blob", "audio/wav", "BBBB"), *END]
    (image,) = output(operations)
    assert (image["result"], image["output_format"], image["status"]) == ("AAAA", "jpeg", "completed")
    assert sdk(written(operations))[1].output[0].type == "image_generation_call"


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(1, len(CALLS) - 3))
def test_b09_an_error_is_told_in_the_streams_own_numbers(length: int) -> None:
    made = emitter()
    stream = drive(made, CALLS[:length])
    read = events_of(stream + made.error(FAILURE))
    assert [event["type"] for event in read[-2:]] == ["error", "response.failed"]
    assert read[-2]["error"]["code"] == "stream_incomplete"
    response = read[-1]["response"]
    assert (response["id"], response["status"], response["model"]) == ("resp_chatcmpl-1", "failed", "m-1")
    assert response["error"] == {"code": "server_error", "message": "it broke"}
    added = [event["item"]["id"] for event in read if event["type"] == "response.output_item.added"]
    assert [item["id"] for item in response["output"]] == added
    with pytest.raises(openai.APIError, match="it broke"):
        sdk(stream + made.error(FAILURE))


def test_b10_an_error_in_text_has_the_partial_text() -> None:
    made = emitter()
    drive(made, TEXT[:2])
    response = events_of(drive(emitter(), TEXT[:2]) + made.error(FAILURE))[-1]["response"]
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"] == "Hel"


def test_an_error_before_anything() -> None:
    read = events_of(emitter().error(FAILURE))
    assert [event["type"] for event in read] == ["error", "response.failed"]


# -- whatever comes ----------------------------------------------------------------------------------------------------

texts = st.sampled_from(["a", "Hello\n", "😀", '"\\', "\u2028"])
keys = st.integers(0, 2)
operations = st.one_of(
    st.tuples(st.just("text"), texts),
    st.tuples(st.just("refusal"), texts),
    st.tuples(st.just("reasoning"), texts),
    st.tuples(st.just("reasoning_sign"), st.just(SIGNATURE)),
    st.tuples(st.just("reasoning_open")),
    st.tuples(st.just("reasoning_close")),
    st.tuples(keys, st.booleans(), st.sampled_from(["f", "p"])).map(
        lambda call: ("call_open", call[0], f"call_{call[0]}" if call[1] else "", call[2])
    ),
    st.tuples(st.just("call_arguments"), keys, st.sampled_from(["{", "}", '"a":1', '{"input":"b"}'])),
    st.tuples(st.just("call_close"), keys),
    st.tuples(st.just("cite"), st.just(Citation("https://a", "A", 0, 1))),
    st.tuples(st.just("blob"), st.just("image/png"), st.just("AAAA")),
    st.tuples(st.just("hosted"), st.just("web_search"), st.just({"query": "q"})),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(operations, max_size=12), st.sampled_from(list(Reason)), st.booleans())
def test_any_operations_make_a_stream_that_the_sdk_takes(ops: list[Operation], reason: Reason, show: bool) -> None:
    opened: set[int] = set()
    kept = []
    for op in ops:
        if op[0] == "call_open":
            if op[1] in opened:
                continue
            opened.add(op[1])
        kept.append(op)
    changes: dict[str, Any] = {"tools": (Tool("f"), Tool("p", custom=True)), "thought": Thought(show=show)}
    stream = written([START, *kept, USAGE, ("finish", reason), ("end",)], **changes)
    read = events_of(stream)
    open_item: int | None = None
    for event in read[2:-1]:
        if event["type"] == "response.output_item.added":
            assert open_item is None
            open_item = event["output_index"]
        assert event["output_index"] == open_item
        if event["type"] == "response.output_item.done":
            open_item = None
    assert open_item is None
    said = "".join(op[1] for op in kept if op[0] == "text")
    if read[-1]["type"] == "response.completed":
        response = sdk(stream)[1]
        assert response.output_text == said
        assert len(response.output) == len(read[-1]["response"]["output"])
