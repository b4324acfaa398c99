"""Responses as OpenAI and those that imitate it send them."""

from typing import Any

from tests.translation.seen import Counts, Fault, Seen, blob, call, reasoning, refusal, text
from tests.translation.upstream_chat import ARGUMENTS, PATCH, PNG, TRICKY, WEATHER
from tests.translation.upstreams import Case, Raw

Payload = dict[str, Any]

USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 13,
}
FULL_USAGE = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 90},
    "output_tokens": 105,
    "output_tokens_details": {"reasoning_tokens": 100},
    "total_tokens": 1105,
}
COUNTS = Counts(9, 4)
RESPONSE: Payload = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_700_000_000,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "model": "gpt-x",
    "output": [],
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": None,
}
ENCRYPTED = "gAAAAABencrypted-content_=="


def event(kind: str, **members: Any) -> Payload:
    return {"type": f"response.{kind}", **members}


def numbered(*payloads: Any) -> tuple[Any, ...]:
    """Give every event its sequence number."""
    return tuple(
        {"type": payload["type"], "sequence_number": number, **payload} if isinstance(payload, dict) else payload
        for number, payload in enumerate(payloads)
    )


def response(status: str, *output: Payload, usage: Payload | None = USAGE, **members: Any) -> Payload:
    return {**RESPONSE, "status": status, "output": list(output), "usage": usage, **members}


CREATED = event("created", response=RESPONSE)
OPENING = (CREATED, event("in_progress", response=RESPONSE))


class Item:
    """An output item: the events in which it comes, and what it is when done."""

    def __init__(self, done: Payload, *between: Payload, added: Payload | None = None) -> None:
        self.done = done
        self.between = between
        self.added = added if added is not None else done

    def events(self, position: int) -> list[Payload]:
        item_id = self.done.get("id")
        return [
            event("output_item.added", output_index=position, item=self.added),
            *({"item_id": item_id, "output_index": position, **each} for each in self.between),
            event("output_item.done", output_index=position, item=self.done),
        ]


def stream(*items: Item, status: str = "completed", usage: Payload = USAGE, **members: Any) -> tuple[Any, ...]:
    body = [each for position, item in enumerate(items) for each in item.events(position)]
    end = event(status, response=response(status, *(item.done for item in items), usage=usage, **members))
    return numbered(*OPENING, *body, end)


def message(content: list[Payload], status: str = "completed", id: str = "msg_1", **members: Any) -> Payload:  # noqa: A002
    return {"id": id, "type": "message", "role": "assistant", "status": status, "content": content, **members}


def output_text(value: str, notes: tuple[Payload, ...] = ()) -> Payload:
    return {"type": "output_text", "text": value, "annotations": list(notes), "logprobs": []}


def said(*pieces: str, status: str = "completed", notes: tuple[Payload, ...] = (), **members: Any) -> Item:
    """Return a message of one text."""
    at = {"content_index": 0}
    value = "".join(pieces)
    return Item(
        message([output_text(value, notes)], status, **members),
        event("content_part.added", **at, part=output_text("")),
        *(event("output_text.delta", **at, delta=piece, logprobs=[], obfuscation="qZ8rT1") for piece in pieces),
        *(
            event("output_text.annotation.added", **at, annotation=note, annotation_index=number)
            for number, note in enumerate(notes)
        ),
        event("output_text.done", **at, text=value, logprobs=[]),
        event("content_part.done", **at, part=output_text(value, notes)),
        added=message([], "in_progress", **members),
    )


def declined(*pieces: str) -> Item:
    value = "".join(pieces)
    part = {"type": "refusal", "refusal": value}
    return Item(
        message([part]),
        event("content_part.added", content_index=0, part={**part, "refusal": ""}),
        *(event("refusal.delta", content_index=0, delta=piece) for piece in pieces),
        event("refusal.done", content_index=0, refusal=value),
        event("content_part.done", content_index=0, part=part),
        added=message([], "in_progress"),
    )


def thought(*summaries: str, encrypted: str | None = None, id: str = "rs_1") -> Item:  # noqa: A002
    """Return reasoning with these summary parts, each in two deltas."""
    extra = {} if encrypted is None else {"encrypted_content": encrypted}
    between: list[Payload] = []
    for number, value in enumerate(summaries):
        at = {"summary_index": number}
        between += [
            event("reasoning_summary_part.added", **at, part={"type": "summary_text", "text": ""}),
            event("reasoning_summary_text.delta", **at, delta=value[:3], obfuscation="x"),
            event("reasoning_summary_text.delta", **at, delta=value[3:], obfuscation="y"),
            event("reasoning_summary_text.done", **at, text=value),
            event("reasoning_summary_part.done", **at, part={"type": "summary_text", "text": value}),
        ]
    done = {
        "id": id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": each} for each in summaries],
        **extra,
    }
    added = {"id": id, "type": "reasoning", "summary": []} | (
        {} if encrypted is None else {"encrypted_content": "gAAA"}
    )
    return Item(done, *between, added=added)


def function_call(
    number: int, name: str, arguments: str, status: str = "completed", call_id: str | None = None
) -> Payload:
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "call_id": call_id or f"call_{number}",
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def called(number: int, name: str, *fragments: str, call_id: str | None = None) -> Item:
    arguments = "".join(fragments)
    return Item(
        function_call(number, name, arguments, call_id=call_id),
        *(event("function_call_arguments.delta", delta=fragment, obfuscation="z") for fragment in fragments),
        event("function_call_arguments.done", arguments=arguments, name=name),
        added=function_call(number, name, "", "in_progress", call_id=call_id),
    )


def case(name: str, payloads: tuple[Any, ...], seen: Seen, unary: Payload | None = None, *, sdk: bool = True) -> Case:
    return Case(name, "responses", payloads, seen, unary, sdk)


def both(name: str, seen: Seen, *items: Item, **members: Any) -> Case:
    """Return the case of a stream and its last response."""
    payloads = stream(*items, **members)
    return case(name, payloads, seen, payloads[-1]["response"])


def answer(*blocks: Any, finish: str = "end", **members: Any) -> Seen:
    return Seen(blocks, finish, **{"usage": COUNTS, **members})


HELLO = answer(text("Hello there"))
PIECES = [ARGUMENTS[at : at + 11] for at in range(0, len(ARGUMENTS), 11)]
LENGTH: dict[str, Any] = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
NOTE = {"type": "url_citation", "url": "https://a.example/1", "title": "One", "start_index": 0, "end_index": 5}
CUT_CALL = Item(
    function_call(1, "weather", '{"city":"Par', "incomplete"),
    event("function_call_arguments.delta", delta='{"city":"Par'),
    added=function_call(1, "weather", "", "in_progress"),
)
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}}
IMAGE = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": PNG, "output_format": "png"}
CUSTOM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": PATCH}
RAW_REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "raw thought"}],
}

TEXTS = [
    both("plain", HELLO, said("Hel", "lo the", "re")),
    both("tricky characters", answer(text(TRICKY)), said(*TRICKY)),
    both("empty", answer()),
    both("empty message", answer(), said("")),
    both("length", answer(text("Hel"), finish="length"), said("Hel", status="incomplete"), **LENGTH),
    both(
        "filter",
        answer(text("Hel"), finish="filter"),
        said("Hel", status="incomplete"),
        status="incomplete",
        incomplete_details={"reason": "content_filter"},
    ),
    both("refusal", answer(refusal("I cannot."), finish="refusal"), declined("I can", "not.")),
    both(
        "citation",
        answer(text("Hello there"), citations=("https://a.example/1",)),
        said("Hello ", "there", notes=(NOTE,)),
    ),
    both(
        "two messages",
        answer(text("On it. Done.")),
        said("On it. ", phase="commentary"),
        said("Done.", id="msg_2", phase="final_answer"),
    ),
    both(
        "image",
        answer(blob("image/png", 8), text("There.")),
        Item(
            IMAGE,
            event("image_generation_call.in_progress"),
            event("image_generation_call.generating"),
            event("image_generation_call.partial_image", partial_image_b64="AAAA", partial_image_index=0),
            event("image_generation_call.completed"),
            added={**IMAGE, "status": "in_progress", "result": None},
        ),
        said("There."),
    ),
    both(
        "server tool",
        answer(text("Found.")),
        Item(
            SEARCH,
            event("web_search_call.in_progress"),
            event("web_search_call.searching"),
            event("web_search_call.completed"),
            added={**SEARCH, "status": "in_progress"},
        ),
        said("Found."),
    ),
]

REASONED = [
    both(
        "summaries, then text",
        answer(reasoning("Let me think\n\nAnd again"), text("Hello")),
        thought("Let me think", "And again"),
        said("Hello"),
    ),
    both(
        "encrypted with a summary",
        answer(reasoning("Let me think"), text("Hello"), signatures=(ENCRYPTED,)),
        thought("Let me think", encrypted=ENCRYPTED),
        said("Hello"),
    ),
    both(
        "encrypted alone",
        answer(text("Hello"), signatures=(ENCRYPTED,)),
        thought(encrypted=ENCRYPTED),
        said("Hello"),
    ),
    both("reasoning without content", answer(text("Hello")), thought(), said("Hello")),
    both(
        "raw reasoning",
        answer(reasoning("raw thought"), text("Hello")),
        Item(
            RAW_REASONING,
            event("content_part.added", content_index=0, part={"type": "reasoning_text", "text": ""}),
            event("reasoning_text.delta", content_index=0, delta="raw "),
            event("reasoning_text.delta", content_index=0, delta="thought"),
            event("reasoning_text.done", content_index=0, text="raw thought"),
            event("content_part.done", content_index=0, part={"type": "reasoning_text", "text": "raw thought"}),
            added={**RAW_REASONING, "content": []},
        ),
        said("Hello"),
    ),
    both(
        "encrypted between calls",
        answer(
            reasoning("one"),
            call("call_1", "f", {"x": 1}),
            reasoning("two"),
            call("call_2", "f", {"x": 2}),
            finish="tool",
            signatures=("gAAA1", "gAAA2"),
        ),
        thought("one", encrypted="gAAA1"),
        called(1, "f", '{"x":1}'),
        thought("two", encrypted="gAAA2", id="rs_2"),
        called(2, "f", '{"x":2}'),
    ),
]


def interleaved() -> tuple[Any, ...]:
    first, second = called(1, "f", '{"x":"{"}'), called(2, "g", '{"y":2}')
    added = [item.events(position)[0] for position, item in enumerate((first, second))]
    ends = [item.events(position)[-2:] for position, item in enumerate((first, second))]
    pieces = [(0, '{"x":'), (1, '{"y'), (0, '"{'), (1, '":2}'), (0, '"}')]
    deltas = [
        event("function_call_arguments.delta", item_id=f"fc_{position + 1}", output_index=position, delta=piece)
        for position, piece in pieces
    ]
    end = event("completed", response=response("completed", first.done, second.done))
    return numbered(*OPENING, *added, *deltas, *ends[0], *ends[1], end)


CALLS = [
    both("call", answer(WEATHER, finish="tool"), called(1, "weather", *PIECES)),
    both(
        "parallel calls",
        answer(call("call_1", "f", {}), call("call_2", "g", {"x": 1}), finish="tool"),
        called(1, "f", "{}"),
        called(2, "g", '{"x"', ":1}"),
    ),
    case(
        "interleaved calls",
        interleaved(),
        answer(call("call_1", "f", {"x": "{"}), call("call_2", "g", {"y": 2}), finish="tool"),
        interleaved()[-1]["response"],
    ),
    both(
        "text and call",
        answer(text("Let me see. "), WEATHER, finish="tool"),
        said("Let me see. "),
        called(1, "weather", *PIECES),
    ),
    both("call without arguments", answer(call("call_1", "now", {}), finish="tool"), called(1, "now", "{}")),
    case(
        "call with empty arguments",
        stream(called(1, "now")),
        answer(call("call_1", "now", {}), finish="tool"),
        stream(called(1, "now"))[-1]["response"],
        sdk=False,
    ),
    both("cut call", answer(call("call_1", "weather", '{"city":"Par'), finish="length"), CUT_CALL, **LENGTH),
    both(
        "free-form call",
        answer(call("call_1", "apply_patch", {"input": PATCH}), finish="tool"),
        Item(
            CUSTOM,
            *(event("custom_tool_call_input.delta", delta=piece) for piece in (PATCH[:9], PATCH[9:])),
            event("custom_tool_call_input.done", input=PATCH),
            added={**CUSTOM, "input": ""},
        ),
    ),
    case(
        "call without deltas",
        numbered(
            *OPENING,
            called(1, "f", '{"x":1}').events(0)[0],
            *[called(1, "f", '{"x":1}').events(0)[-2]] * 2,
            called(1, "f", '{"x":1}').events(0)[-1],
            event("completed", response=response("completed", function_call(1, "f", '{"x":1}'))),
        ),
        answer(call("call_1", "f", {"x": 1}), finish="tool"),
        sdk=False,  # it reads the call, but who listens to the events gets its end twice
    ),
    case(
        "call only in the end",
        numbered(*OPENING, event("completed", response=response("completed", function_call(1, "f", '{"x":1}')))),
        answer(call("call_1", "f", {"x": 1}), finish="tool"),
    ),
]


def rotated() -> tuple[Any, ...]:
    """Return a stream whose every event has new ids, as one relay's."""
    out = []
    for number, payload in enumerate(stream(said("Hel", "lo the", "re"))):
        changed = dict(payload)
        if "item_id" in changed:
            changed["item_id"] = f"rot_{number}"
        if "item" in changed:
            changed["item"] = {**changed["item"], "id": f"rot_{number}"}
        if "response" in changed:
            changed["response"] = {**changed["response"], "id": f"rot_{number}"}
        out.append(changed)
    return tuple(out)


def without(payloads: tuple[Any, ...], kind: str) -> tuple[Any, ...]:
    return tuple(payload for payload in payloads if payload["type"] != f"response.{kind}")


PLAIN = stream(said("Hel", "lo the", "re"))
SHORT = tuple(payload for payload in PLAIN if payload.get("delta") != "re")
FORMS = [
    both(
        "usage in full",
        answer(text("Hello there"), usage=Counts(1000, 105, 900, 90, 100)),
        said("Hello there"),
        usage=FULL_USAGE,
    ),
    case(
        "usage of an unfinished answer",
        stream(said("Hel", status="incomplete"), usage=FULL_USAGE, **LENGTH),
        answer(text("Hel"), finish="length", usage=Counts(1000, 105, 900, 90, 100)),
    ),
    case("ids that change", rotated(), HELLO, sdk=False),
    case("deltas short of the end", SHORT, HELLO, sdk=False),
    case("text only when done", without(PLAIN, "output_text.delta"), HELLO, sdk=False),
    case("no deltas, no parts", tuple(PLAIN[at] for at in (0, 1, 2, -2, -1)), HELLO),
    case(
        "queued, comments and events unknown",
        numbered(
            CREATED,
            Raw(": ping\n\n"),
            event("queued", response={**RESPONSE, "status": "queued"}),
            event("in_progress", response=RESPONSE),
            event("weather_report", output_index=7, error=None),
            *PLAIN[2:],
        ),
        HELLO,
    ),
    case("foreign end mark", (*PLAIN, "[DONE]"), HELLO),
]

NESTED = {
    "type": "error",
    "error": {"type": "server_error", "code": "server_error", "message": "It broke", "param": None},
}
FLAT = {"type": "error", "code": "server_error", "message": "It broke", "param": None}
FAILED = event("failed", response=response("failed", usage=None, error={"code": "server_error", "message": "It broke"}))
OPEN_TEXT = [*OPENING, *said("Hello there").events(0)[:3]]
OPEN_CALL = [
    *OPENING,
    called(1, "f").events(0)[0],
    event("function_call_arguments.delta", item_id="fc_1", output_index=0, delta='{"x'),
]
FAULT = Fault("It broke", "server_error", "server_error")
UNTYPED = Fault("It broke", None, "server_error")


def failed(*blocks: Any, fault: Fault = FAULT) -> Seen:
    return Seen(blocks, error=fault)


ERRORS = [
    case("error first", numbered(NESTED, FAILED), failed()),
    case("error behind the start", numbered(CREATED, NESTED, FAILED), failed()),
    case("error in the middle", numbered(*OPEN_TEXT, NESTED, FAILED), failed(text("Hello there"))),
    case("error, flat", numbered(*OPEN_TEXT, FLAT), failed(text("Hello there"), fault=UNTYPED), sdk=False),
    case("failed alone", numbered(*OPEN_TEXT, FAILED), failed(text("Hello there"), fault=UNTYPED)),
    case("error in a call", numbered(*OPEN_CALL, NESTED, FAILED), failed(call("call_1", "f", '{"x'))),
    case("cut", numbered(*OPEN_TEXT), Seen((text("Hello there"),))),
    case("cut before the end", PLAIN[:-1], Seen((text("Hello there"),))),
    case("cut in a call", numbered(*OPEN_CALL), Seen((call("call_1", "f", '{"x'),))),
    case("cut at once", (), Seen()),
]

CASES = [*TEXTS, *REASONED, *CALLS, *FORMS, *ERRORS]
