"""Hard cases of whole streams: what strict clients insist on, and upstreams that contradict themselves.

Case B60 is about realtime sessions, which nothing here translates.
"""

from typing import Any

import pytest

from tests.translation import upstream_chat, upstream_gemini, upstream_messages, upstream_responses
from tests.translation.exchange import told
from tests.translation.seen import Counts, call, text
from tests.translation.upstream_chat import chunk, more, opened
from tests.translation.upstream_messages import called, finish, start, text_block, texts, use_block
from tests.translation.upstream_responses import event

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*")

Payload = dict[str, Any]

# -- B59: the stream that strict clients take --

SAID = (chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"}))
CALLED = (chunk(opened(0, "a", "f")), chunk(more(0, "{}")))
FINISH = chunk({}, "tool_calls")
DONE = "[DONE]"


def test_b59_the_lifecycle_of_a_response() -> None:
    got = told("chat", "responses", *SAID, *CALLED, FINISH, upstream_chat.usage_chunk(), DONE)
    assert got.kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [each["sequence_number"] for each in got.events] == list(range(len(got.events)))
    assert got.events[0]["response"]["model"] == "gpt-x"
    assert got.of("response.content_part.added")[0]["part"]["annotations"] == []
    assert all(each["logprobs"] == [] for each in got.of("response.output_text.delta", "response.output_text.done"))


def test_b59_items_are_the_same_when_done_and_at_the_end() -> None:
    got = told("chat", "responses", *SAID, *CALLED, FINISH, upstream_chat.usage_chunk(), DONE)
    added = [each["item"] for each in got.of("response.output_item.added")]
    done = [each["item"] for each in got.of("response.output_item.done")]
    assert [each["status"] for each in added] == ["in_progress", "in_progress"]
    assert [each["status"] for each in done] == ["completed", "completed"]
    assert [each["id"] for each in added] == [each["id"] for each in done]
    assert got.output == done
    usage = got.events[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (9, 4, 13)
    assert "cached_tokens" in usage["input_tokens_details"]
    assert "reasoning_tokens" in usage["output_tokens_details"]


def test_b59_without_a_finish_it_is_completed_or_failed() -> None:
    ended = told("chat", "responses", *SAID, *CALLED, DONE)
    assert ended.kinds[-1] == "response.completed"
    assert ended.seen.blocks == (text("Hello"), call("a", "f", "{}"))
    assert ended.events[-1]["response"]["usage"]["output_tokens"] > 0
    cut = told("chat", "responses", *SAID, *CALLED)
    assert cut.kinds[-1] == "response.failed"


@pytest.mark.parametrize("client", ["chat", "messages", "gemini"])
def test_b59_ids_that_rotate_with_every_event(client: str) -> None:
    """As GitHub's upstream has them: only the place in the output says what belongs together."""
    base = upstream_responses.stream(
        upstream_responses.said("Hel", "lo"),
        upstream_responses.Item(
            {"id": "fc_1", "type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x":1}'},
            event("function_call_arguments.delta", delta='{"x":'),
            event("function_call_arguments.delta", delta="1}"),
            event("function_call_arguments.done", arguments='{"x":1}'),
            added={"id": "fc_1", "type": "function_call", "call_id": "a", "name": "f", "arguments": ""},
        ),
    )
    got = told("responses", client, *(rotated(each, number) for number, each in enumerate(base)))
    assert got.seen == told("responses", client, *base).seen
    assert got.seen.blocks == (text("Hello"), call("a", "f", '{"x":1}'))


def rotated(payload: Payload, number: int) -> Payload:
    changed = dict(payload)
    if "item_id" in changed:
        changed["item_id"] = f"rotated_{number}"
    for member in ("item", "response"):
        if member in changed:
            changed[member] = {**changed[member], "id": f"rotated_{number}"}
    if "response" in changed:
        output = changed["response"]["output"]
        changed["response"]["output"] = [{**each, "id": f"again_{at}"} for at, each in enumerate(output)]
    return changed


# -- B61 to B64: upstreams that say things at odd places, or twice --


@pytest.mark.parametrize("client", ["chat", "responses", "gemini"])
def test_b61_content_inside_the_start(client: str) -> None:
    begin = start((text_block("Let me see."), use_block("a", "f", {"x": 1})))
    got = told("messages", client, begin, *called(2, "b", "g", "{}"), finish("tool_use"), upstream_messages.STOP)
    assert got.seen.blocks == (text("Let me see."), call("a", "f", {"x": 1}), call("b", "g", "{}"))
    assert got.seen.finish == {"chat": "tool_calls", "responses": "completed", "gemini": "STOP"}[client]


def test_b61_places_continue_behind_it() -> None:
    begin = start((text_block("Let me see."), use_block("a", "f", {"x": 1})))
    got = told("messages", "responses", begin, *called(2, "b", "g", "{}"), finish("tool_use"), upstream_messages.STOP)
    assert [each["output_index"] for each in got.of("response.output_item.added")] == [0, 1, 2]


@pytest.mark.parametrize("client", ["chat", "responses", "messages"])
def test_b62_usage_is_replaced_not_merged(client: str) -> None:
    first = {"promptTokenCount": 10, "toolUsePromptTokenCount": 40}
    last = {"promptTokenCount": 50, "candidatesTokenCount": 7}
    said = (
        upstream_gemini.chunk({"text": "Hi"}, usage=first),
        upstream_gemini.chunk({"text": ""}, finish="STOP", usage=last),
    )
    assert told("gemini", client, *said).seen.usage == Counts(50, 7)


@pytest.mark.parametrize("client", ["chat", "responses", "gemini"])
def test_b63_a_second_message_inside_the_first_is_an_error(client: str) -> None:
    whole = (*texts(0, "Hi"), finish(), upstream_messages.STOP)
    spliced = told("messages", client, start(id="msg_1"), *texts(0, "Hi"), start(id="msg_2"), *whole)
    assert spliced.failure is not None
    assert spliced.failure.code == "upstream_protocol_error"
    assert spliced.seen.error is not None
    assert (spliced.seen.blocks, spliced.seen.finish) == ((text("Hi"),), None)
    repeated = told("messages", client, start(id="msg_1"), start(id="msg_1"), *whole)
    assert repeated.written == told("messages", client, start(id="msg_1"), *whole).written


AT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
MESSAGE = upstream_responses.message([upstream_responses.output_text("Hello")])


@pytest.mark.parametrize("client", ["chat", "messages", "gemini"])
def test_b64_the_missing_tail_of_a_text_is_sent_once(client: str) -> None:
    got = told(
        "responses",
        client,
        *upstream_responses.OPENING,
        event("output_item.added", output_index=0, item=upstream_responses.message([], "in_progress")),
        event("content_part.added", **AT, part=upstream_responses.output_text("")),
        event("output_text.delta", **AT, delta="Hel"),
        event("output_text.done", **AT, text="Hello"),
        event("content_part.done", **AT, part=upstream_responses.output_text("Hello")),
        event("output_item.done", output_index=0, item=MESSAGE),
        event("completed", response=upstream_responses.response("completed", MESSAGE)),
    )
    assert got.seen.blocks == (text("Hello"),)


@pytest.mark.parametrize("client", ["chat", "messages", "gemini"])
def test_b64_the_missing_tail_of_arguments_is_sent_once(client: str) -> None:
    item = {"id": "fc_1", "type": "function_call", "call_id": "a", "name": "f", "arguments": ""}
    whole = {**item, "arguments": '{"x":1}'}
    at = {"item_id": "fc_1", "output_index": 0}
    got = told(
        "responses",
        client,
        *upstream_responses.OPENING,
        event("output_item.added", output_index=0, item=item),
        event("function_call_arguments.delta", **at, delta='{"x"'),
        event("function_call_arguments.done", **at, arguments='{"x":1}'),
        event("output_item.done", output_index=0, item=whole),
        event("completed", response=upstream_responses.response("completed", whole)),
    )
    assert got.seen.blocks == (call("a", "f", '{"x":1}'),)


def test_b64_a_thought_is_not_said_twice() -> None:
    item = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Because."}]}
    at = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    got = told(
        "responses",
        "messages",
        *upstream_responses.OPENING,
        event("output_item.added", output_index=0, item={**item, "summary": []}),
        event("reasoning_summary_text.delta", **at, delta="Beca"),
        event("reasoning_summary_text.done", **at, text="Because."),
        event("output_item.done", output_index=0, item=item),
        *upstream_responses.said("Hi").events(1),
        event("completed", response=upstream_responses.response("completed", item, MESSAGE)),
    )
    assert [block[1] for block in got.seen.of("reasoning")] == ["Because."]
    assert "".join(delta["delta"].get("text", "") for delta in got.of("content_block_delta")) == "Hi"
