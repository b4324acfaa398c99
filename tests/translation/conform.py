"""What may be sent to a client at all: stricter than any SDK, because a client is more than its SDK.

The rules are the vendors' own form of a stream, and what other clients of the dialect have been seen to break on.
`check` raises MisunderstoodError for the first that is broken, pydantic's ValidationError for what the SDK's types
forbid.
"""

from collections.abc import Callable
from typing import Any

from tests.translation import oracle
from tests.translation.seen import MisunderstoodError
from tests.translation.understood import payloads
from tests.translation.upstreams import compact

Payload = dict[str, Any]


def check(dialect: str, stream: bytes) -> None:
    """Check one stream as it was sent, whole or ended by an error."""
    for line in stream.split(b"\n"):
        if line and not line.startswith((b"data: ", b"event: ")):
            raise MisunderstoodError(f"a line that some client cannot read: {line!r}")
    events = payloads(dialect, stream)
    contents = [event for event in events if isinstance(event, dict) and not is_error(event)]
    for event in contents:
        oracle.check_types(dialect, _typed(dialect, event), stream=True)
    _RULES[dialect](events, contents)


def _typed(dialect: str, event: Payload) -> Payload:
    """Return the event without what the vendor documents and its SDK has no type for: free-form calls of chunks."""
    if dialect != "chat" or '"custom"' not in compact(event):
        return event
    choices = [
        {**choice, "delta": {name: value for name, value in choice["delta"].items() if name != "tool_calls"}}
        for choice in event["choices"]
    ]
    return {**event, "choices": choices}


def is_error(event: Payload) -> bool:
    """Whether it is an error of the dialect's in-band form."""
    return bool(event.get("error")) or event.get("type") == "error"


def demand(held: object, what: str) -> None:
    """Raise unless a rule held."""
    if not held:
        raise MisunderstoodError(what)


def _chat(events: list[Any], chunks: list[Payload]) -> None:
    failed = any(isinstance(event, dict) and is_error(event) for event in events)
    ends = [at for at, event in enumerate(events) if event == "[DONE]"]
    demand(ends == ([] if failed else [len(events) - 1]), "[DONE] is not the end, or follows an error")
    demand(
        len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) <= 1,
        "the head changes",
    )
    demand(all(chunk["id"] and chunk["model"] for chunk in chunks), "the head is empty")
    if failed:
        demand(is_error(events[-1]), "something stands behind the error")
    else:
        demand(chunks[-1]["choices"] == [] and chunks[-1]["usage"], "usage is not in the last chunk")
        demand(all("usage" in chunk and chunk["usage"] is None for chunk in chunks[:-1]), "usage before the last chunk")
    for index in {choice["index"] for chunk in chunks for choice in chunk["choices"]}:
        choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        demand(
            [("role" in choice["delta"]) for choice in choices] == [True] + [False] * (len(choices) - 1),
            "role is not first, or not once",
        )
        ends = [choice["finish_reason"] is not None for choice in choices]
        demand(not any(ends[:-1]) and (failed or ends[-1]), "the finish reason is not last, or not once")
        named = [
            entry["index"] for choice in choices for entry in choice["delta"].get("tool_calls") or [] if "id" in entry
        ]
        demand(named == list(range(len(named))), "calls are not numbered as they come")


def _responses(events: list[Payload], _: list[Payload]) -> None:
    demand([event["sequence_number"] for event in events] == list(range(len(events))), "the numbering has gaps")
    kinds = [event["type"] for event in events]
    failed = "error" in kinds
    if failed:
        demand(kinds[-2:] == ["error", "response.failed"], "the error is not followed by response.failed, and only so")
    else:
        demand(kinds[:2] == ["response.created", "response.in_progress"], "the beginning is not as it must be")
        demand(kinds[-1] in {"response.completed", "response.incomplete"}, "the end is not as it must be")
    open_at: int | None = None
    seen = 0
    for event in events:
        if event["type"] == "response.output_item.added":
            demand(open_at is None and event["output_index"] == seen, "an item was added beside another")
            open_at, seen = seen, seen + 1
        elif event["type"] == "response.output_item.done":
            demand(event["output_index"] == open_at, "an item ended that was not open")
            open_at = None
        elif "output_index" in event:
            demand(event["output_index"] == open_at, "an event for an item that is not open")
    demand(failed or open_at is None, "an item was never done")
    final = events[-1]["response"]
    demand(failed or len(final["output"]) == seen, "the final output is not what was added")
    demand(failed or final["usage"], "no usage")
    ids = [item["id"] for item in final["output"]]
    demand(len(set(ids)) == len(ids), "two items share an id")
    prefixes = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_", "custom_tool_call": "ctc_"}
    demand(
        all(item["id"].startswith(prefixes.get(item["type"], "")) for item in final["output"]),
        "an id of the wrong kind",
    )


def _messages(events: list[Payload], _: list[Payload]) -> None:
    kinds = [event["type"] for event in events]
    if kinds[-1] != "error":
        demand(kinds[-2:] == ["message_delta", "message_stop"], "the end is not as it must be")
        usage = events[-2]["usage"]
        demand({"input_tokens", "output_tokens"} <= set(usage), "the last usage lacks the input")
        demand("stop_sequence" in events[-2]["delta"], "stop_sequence is no member")
    demand(kinds.count("error") <= 1 and kinds.count("message_delta") <= 1, "something was told twice")
    if kinds[0] != "error":
        demand(kinds[0] == "message_start", "no start")
        demand(events[0]["message"]["usage"]["input_tokens"] > 0, "the input is estimated as nothing")


def _gemini(events: list[Payload], chunks: list[Payload]) -> None:
    failed = any(map(is_error, events))
    demand(all(chunk["responseId"] and chunk["modelVersion"] for chunk in chunks), "a chunk without its head")
    demand(
        not failed or (is_error(events[-1]) and next(iter(events[-1])) == "error"),
        "the error is not last or not first in its object",
    )
    if not failed:
        demand("usageMetadata" in chunks[-1], "the last chunk has no usage")
    for index in {candidate.get("index", 0) for chunk in chunks for candidate in chunk.get("candidates", [])}:
        ends = [
            "finishReason" in candidate
            for chunk in chunks
            for candidate in chunk.get("candidates", [])
            if candidate.get("index", 0) == index
        ]
        demand(not any(ends[:-1]) and (failed or ends[-1]), "the finish reason is not last, or not once")


_RULES: dict[str, Callable[[list[Any], list[Payload]], None]] = {
    "chat": _chat,
    "responses": _responses,
    "messages": _messages,
    "gemini": _gemini,
}
