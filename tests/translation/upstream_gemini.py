"""generateContent as Google's servers send it: every chunk an answer of its own."""

from typing import Any

from tests.translation.seen import Counts, Fault, Seen, blob, call, reasoning, text
from tests.translation.upstream_chat import PATCH, PNG, TRICKY, WEATHER
from tests.translation.upstreams import Case

Payload = dict[str, Any]

HEAD = {"modelVersion": "gemini-x", "responseId": "r-1"}
USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}
COUNTS = Counts(9, 4)
SIGNATURE = "c2lnbmF0dXJlIQ=="
OTHER_SIGNATURE = "b3RoZXI="


def chunk(
    *parts: Payload, finish: str | None = None, usage: Payload | None = None, index: int = 0, **members: Any
) -> Payload:
    """Return a chunk; without `finish` its usage is as it grows, with it USAGE."""
    candidate: Payload = {"content": {"parts": list(parts), "role": "model"}, "index": index, **members}
    if finish is not None:
        candidate["finishReason"] = finish
    counts = usage or (USAGE if finish else {"promptTokenCount": 9, "totalTokenCount": 9})
    return {"candidates": [candidate], "usageMetadata": counts, **HEAD}


def said(value: str, **members: Any) -> Payload:
    return {"text": value, **members}


def thought(value: str) -> Payload:
    return {"text": value, "thought": True}


def called(name: str, args: Any = None, id: str | None = "call_1", **members: Any) -> Payload:  # noqa: A002
    function: Payload = {"name": name} if args is None else {"name": name, "args": args}
    return {"functionCall": function if id is None else {"id": id, **function}, **members}


def image(**members: Any) -> Payload:
    return {"inlineData": {"mimeType": "image/png", "data": PNG}, **members}


END = chunk(said(""), finish="STOP")
BARE_END = {"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": USAGE, **HEAD}


def whole(*parts: Payload, finish: str = "STOP", **members: Any) -> Payload:
    return chunk(*parts, finish=finish, **members)


def case(name: str, payloads: tuple[Any, ...], seen: Seen, unary: Payload | None = None, *, sdk: bool = True) -> Case:
    return Case(name, "gemini", payloads, seen, unary, sdk)


def answer(*blocks: Any, finish: str = "end", **members: Any) -> Seen:
    return Seen(blocks, finish, **{"usage": COUNTS, **members})


HELLO = answer(text("Hello there"))
TEXTS = [
    case(
        "plain",
        (chunk(said("Hel")), chunk(said("lo the")), chunk(said("re")), END),
        HELLO,
        whole(said("Hello there")),
    ),
    case("plain, ended with the text", (chunk(said("Hello ")), chunk(said("there"), finish="STOP")), HELLO),
    case("plain, ended without content", (chunk(said("Hello there")), BARE_END), HELLO),
    case(
        "tricky characters", (*(chunk(said(each)) for each in TRICKY), END), answer(text(TRICKY)), whole(said(TRICKY))
    ),
    case("empty", (END,), answer(), whole(said(""))),
    case(
        "length",
        (chunk(said("Hel")), chunk(finish="MAX_TOKENS")),
        answer(text("Hel"), finish="length"),
        whole(said("Hel"), finish="MAX_TOKENS"),
    ),
    case(
        "length with nothing but thoughts",
        (
            chunk(thought("hm")),
            {"candidates": [{"finishReason": "MAX_TOKENS", "index": 0}], "usageMetadata": USAGE, **HEAD},
        ),
        answer(reasoning("hm"), finish="length"),
        whole(thought("hm"), finish="MAX_TOKENS"),
    ),
    case(
        "safety",
        (chunk(said("Hel")), chunk(finish="SAFETY")),
        answer(text("Hel"), finish="filter"),
        whole(said("Hel"), finish="SAFETY"),
    ),
    case(
        "recitation", (chunk(said("Hel")), chunk(finish="RECITATION")), answer(text("Hel"), finish="filter"), sdk=False
    ),
    case(
        "prompt blocked",
        (
            {
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
                **HEAD,
            },
        ),
        answer(finish="filter", usage=Counts(9, 0)),
        {
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
            **HEAD,
        },
        sdk=False,
    ),
    case(
        "an unknown reason", (chunk(said("Hel")), chunk(finish="TIRED")), answer(text("Hel"), finish="other"), sdk=False
    ),
    case("another reason", (chunk(said("Hel")), chunk(finish="OTHER")), answer(text("Hel"), finish="other")),
    case(
        "to be continued",
        (chunk(said("Hel")), chunk(finish="CONTINUATION")),
        answer(text("Hel"), finish="pause"),
        sdk=False,
    ),
    case(
        "citations",
        (
            chunk(said("Hello ")),
            chunk(said("there")),
            chunk(
                finish="STOP",
                groundingMetadata={
                    "webSearchQueries": ["x"],
                    "groundingChunks": [{"web": {"uri": "https://a.example/1", "title": "One"}}],
                    "groundingSupports": [
                        {"segment": {"startIndex": 0, "endIndex": 5, "text": "Hello"}, "groundingChunkIndices": [0]}
                    ],
                },
            ),
        ),
        answer(text("Hello there"), citations=("https://a.example/1",)),
        whole(
            said("Hello there"),
            groundingMetadata={
                "groundingChunks": [{"web": {"uri": "https://a.example/1", "title": "One"}}],
                "groundingSupports": [
                    {"segment": {"startIndex": 0, "endIndex": 5, "text": "Hello"}, "groundingChunkIndices": [0]}
                ],
            },
        ),
    ),
    case(
        "image",
        (chunk(said("Here: ")), chunk(image()), END),
        answer(text("Here: "), blob("image/png", 8)),
        whole(said("Here: "), image()),
    ),
    case(
        "signed image",
        (chunk(image(thoughtSignature=SIGNATURE)), END),
        answer(blob("image/png", 8), signatures=(SIGNATURE,)),
        whole(image(thoughtSignature=SIGNATURE)),
    ),
    case(
        "server tool",
        (
            chunk({"executableCode": {"language": "PYTHON", "code": "print(1)"}}),
            chunk({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}),
            chunk(said("One.")),
            END,
        ),
        answer(text("One.")),
        whole(
            {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            said("One."),
        ),
    ),
    case(
        "two candidates",
        (
            *(chunk(said(value), index=index) for value, index in (("Hel", 0), ("Good ", 1), ("lo", 0), ("day", 1))),
            chunk(finish="STOP", index=1),
            chunk(finish="MAX_TOKENS"),
        ),
        answer(text("Hello"), finish="length", choices=(Seen((text("Good day"),), "end"),)),
        {
            **whole(said("Hello"), finish="MAX_TOKENS"),
            "candidates": [
                *whole(said("Hello"), finish="MAX_TOKENS")["candidates"],
                *whole(said("Good day"), index=1)["candidates"],
            ],
        },
    ),
]

REASONED = [
    case(
        "thoughts, then text",
        (chunk(thought("Let me ")), chunk(thought("think")), chunk(said("Hello")), END),
        answer(reasoning("Let me think"), text("Hello")),
        whole(thought("Let me think"), said("Hello")),
    ),
    case(
        "signature in the end",
        (chunk(said("Hello")), chunk(said("", thoughtSignature=SIGNATURE), finish="STOP")),
        answer(text("Hello"), signatures=(SIGNATURE,)),
        whole(said("Hello"), said("", thoughtSignature=SIGNATURE)),
    ),
    case(
        "thoughts and a signed call",
        (
            chunk(thought("hm")),
            chunk(called("weather", WEATHER[3], thoughtSignature=SIGNATURE)),
            BARE_END,
        ),
        answer(reasoning("hm"), WEATHER, finish="tool", signatures=(SIGNATURE,)),
        whole(thought("hm"), called("weather", WEATHER[3], thoughtSignature=SIGNATURE)),
    ),
    case(
        "parallel calls, the first signed",
        (
            chunk(called("f", {"x": 1}, "call_1", thoughtSignature=SIGNATURE)),
            chunk(called("g", {"x": 2}, "call_2")),
            chunk(said("", thoughtSignature=OTHER_SIGNATURE), finish="STOP"),
        ),
        answer(
            call("call_1", "f", {"x": 1}),
            call("call_2", "g", {"x": 2}),
            finish="tool",
            signatures=(SIGNATURE, OTHER_SIGNATURE),
        ),
        whole(
            called("f", {"x": 1}, "call_1", thoughtSignature=SIGNATURE),
            called("g", {"x": 2}, "call_2"),
            said("", thoughtSignature=OTHER_SIGNATURE),
        ),
    ),
]


def streamed_call(*parts: Payload) -> tuple[Any, ...]:
    return (*(chunk({"functionCall": part}) for part in parts), END)


CALLS = [
    case(
        "call",
        (chunk(called("weather", WEATHER[3])), BARE_END),
        answer(WEATHER, finish="tool"),
        whole(called("weather", WEATHER[3])),
    ),
    case(
        "calls without ids",
        (chunk(called("f", {"x": 1}, None)), chunk(called("f", {"x": 2}, None)), END),
        answer(call(None, "f", {"x": 1}), call(None, "f", {"x": 2}), finish="tool"),
        whole(called("f", {"x": 1}, None), called("f", {"x": 2}, None)),
    ),
    case(
        "parallel calls in one chunk",
        (chunk(called("f", {}, "call_1"), called("g", {"x": 1}, "call_2"), finish="STOP"),),
        answer(call("call_1", "f", {}), call("call_2", "g", {"x": 1}), finish="tool"),
        whole(called("f", {}, "call_1"), called("g", {"x": 1}, "call_2")),
    ),
    case(
        "text and call",
        (chunk(said("Let me see. ")), chunk(called("weather", WEATHER[3]), finish="STOP")),
        answer(text("Let me see. "), WEATHER, finish="tool"),
        whole(said("Let me see. "), called("weather", WEATHER[3])),
    ),
    case(
        "call without arguments",
        (chunk(called("now")), END),
        answer(call("call_1", "now", {}), finish="tool"),
        whole(called("now")),
        sdk=False,
    ),
    case(
        "call, then safety",
        (chunk(called("f", {"x": 1})), chunk(finish="SAFETY")),
        answer(call("call_1", "f", {"x": 1}), finish="filter"),
        whole(called("f", {"x": 1}), finish="SAFETY"),
    ),
    case(
        "free-form call",
        (chunk(called("apply_patch", {"input": PATCH})), END),
        answer(call("call_1", "apply_patch", {"input": PATCH}), finish="tool"),
        whole(called("apply_patch", {"input": PATCH})),
    ),
    case(
        "call in pieces",
        streamed_call(
            {"name": "f", "id": "call_1", "willContinue": True},
            {"partialArgs": [{"jsonPath": "$.q", "stringValue": "Bos", "willContinue": True}], "willContinue": True},
            {"partialArgs": [{"jsonPath": "$.q", "stringValue": "ton"}], "willContinue": True},
            {"partialArgs": [{"jsonPath": "$.a[0].n", "numberValue": 1}], "willContinue": True},
            {},
        ),
        answer(call("call_1", "f", {"q": "Boston", "a": [{"n": 1}]}), finish="tool"),
        sdk=False,
    ),
]

FULL_USAGE = {
    "promptTokenCount": 1000,
    "cachedContentTokenCount": 900,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 100,
    "toolUsePromptTokenCount": 7,
    "totalTokenCount": 1112,
}

FORMS = [
    case(
        "usage in full",
        (chunk(said("Hello there")), chunk(finish="STOP", usage=FULL_USAGE)),
        answer(text("Hello there"), usage=Counts(1007, 105, 900, 0, 100)),
        whole(said("Hello there"), usage=FULL_USAGE),
    ),
    case(
        "usage replaced",
        (
            chunk(said("Hello there"), usage={"promptTokenCount": 10, "toolUsePromptTokenCount": 40}),
            chunk(finish="STOP", usage={"promptTokenCount": 50, "candidatesTokenCount": 7}),
        ),
        answer(text("Hello there"), usage=Counts(50, 7)),
    ),
    case(
        "usage behind the finish",
        (
            chunk(said("Hello there")),
            chunk(finish="STOP", usage={"trafficType": "ON_DEMAND"}),
            {"usageMetadata": USAGE, **HEAD},
        ),
        HELLO,
    ),
    case(
        "sources behind the finish",
        (
            chunk(said("Hello there")),
            END,
            {
                "candidates": [
                    {
                        "index": 0,
                        "groundingMetadata": {
                            "groundingChunks": [{"web": {"uri": "https://a.example/1", "title": "One"}}],
                            "groundingSupports": [{"segment": {"endIndex": 5}, "groundingChunkIndices": [0]}],
                        },
                    }
                ],
                **HEAD,
            },
        ),
        answer(text("Hello there"), citations=("https://a.example/1",)),
    ),
    case(
        "empty chunks and traffic alone",
        (
            {**HEAD},
            {**chunk(), "usageMetadata": {"trafficType": "ON_DEMAND"}},
            {"candidates": [], **HEAD},
            chunk(said("")),
            chunk(said("Hello there")),
            END,
        ),
        HELLO,
    ),
    case(
        "parts and members unknown",
        (
            {**chunk({"hologram": {"text": "x"}}), "hologram": {"error": None}},
            chunk(said("Hello there", partMetadata={"x": 1})),
            END,
        ),
        HELLO,
    ),
    case("reason in small letters", (chunk(said("Hello there")), chunk(finish="stop")), HELLO),
    case("foreign end mark", (chunk(said("Hello there")), END, "[DONE]"), HELLO, sdk=False),
    case(
        "no usage",
        tuple({**each, "usageMetadata": {}} for each in (chunk(said("Hello there")), END)),
        answer(text("Hello there"), usage=None),
    ),
]

OVERLOADED = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
FAULT = Fault("The model is overloaded.", "UNAVAILABLE", 503)
SO_FAR = Counts(9, 0)


def failed(*blocks: Any, usage: Counts | None = SO_FAR, fault: Fault = FAULT) -> Seen:
    return Seen(blocks, usage=usage, error=fault)


BODY = (chunk(said("Hello ")), chunk(said("there")))
ERRORS = [
    case("error first", (OVERLOADED,), failed(usage=None)),
    case("error in the middle", (*BODY, OVERLOADED), failed(text("Hello there"))),
    case("error behind a call", (chunk(called("f", {"x": 1})), OVERLOADED), failed(call("call_1", "f", {"x": 1}))),
    case(
        "malformed call",
        (chunk(said("Hello ")), chunk(finish="MALFORMED_FUNCTION_CALL")),
        failed(text("Hello "), fault=Fault("")),
        sdk=False,
    ),
    case("cut", BODY, Seen((text("Hello there"),), usage=SO_FAR)),
    case("cut behind a call", (chunk(called("f", {"x": 1})),), Seen((call("call_1", "f", {"x": 1}),), usage=SO_FAR)),
    case("cut at once", (), Seen()),
]

CASES = [*TEXTS, *REASONED, *CALLS, *FORMS, *ERRORS]
