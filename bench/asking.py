"""A client of each dialect, as the translation bench has it: what it sends, what it looks for, what it reads.

The rule: all of them ask the same thing (`asked`), of the model that they are told, with the same limits; so whatever
stands behind the gateway has to have understood the same, and has to be understood alike. Reading is by hand, as
`bench.dialects` is: the gateway's codecs are what is looked at.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.asked import Asked, Turn, dump, member, objects
from bench.client import Marks, headers_for, request_bytes
from bench.plan import LAST_CHUNK

CLIENTS = ("chat", "responses", "messages", "gemini")
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
"""And one dialect has the model in its path."""

SYSTEM = "You are a terse assistant. Answer in one short paragraph, without lists."
QUESTION = "Why does a gateway that streams have to stop reading when its client is slow?"
OUTPUT_TOKENS_MAX = 4096
TEMPERATURE = 0.2

FIRST_TOKEN = b'"A"'
"""The first token of the scripted upstream's passage, as it stands alone in the first event of any dialect."""


class Heard(NamedTuple):
    """What a client understood of an answer: its text, and the tokens it was told."""

    text: str
    input_tokens: int | None
    output_tokens: int | None


def asked(model: str) -> Asked:
    """Give what any of the requests asks, as an upstream is to understand it."""
    return Asked(
        model=model,
        system=SYSTEM,
        turns=(Turn("user", QUESTION),),
        output_tokens_max=OUTPUT_TOKENS_MAX,
        temperature=TEMPERATURE,
    )


def marks(client: str) -> Marks:
    """Give what the load looks for in this client's streams; where no last event is always the same, any event will do.

    There a stream that is cut between two events is not noticed by the load: `heard_streamed` does.
    """
    ends = {"chat": b"data: [DONE]\n\n", "messages": b'{"type":"message_stop"}\n\n'}
    return Marks(FIRST_TOKEN, ends.get(client, b"}\n\n") + LAST_CHUNK)


def request(client: str, *, key: str, model: str, stream: bool) -> tuple[str, dict[str, str], bytes]:
    """Give path, headers and body."""
    action = "streamGenerateContent?alt=sse" if stream else "generateContent"
    path = PATHS.get(client, f"/v1beta/models/{model}:{action}")
    body = json.dumps(_fields(client, model, stream=stream)).encode()
    return path, headers_for(key, body), body


def wire(client: str, *, key: str, model: str, stream: bool) -> bytes:
    """Render such a request for the wire."""
    path, headers, body = request(client, key=key, model=model, stream=stream)
    return request_bytes(headers, body, path)


def _fields(client: str, model: str, *, stream: bool) -> dict[str, Any]:
    user = {"role": "user", "content": QUESTION}
    streaming = {"stream": True} if stream else {}
    match client:
        case "chat":
            wanted = {"stream_options": {"include_usage": True}} if stream else {}
            said = {"messages": [{"role": "system", "content": SYSTEM}, user], "max_tokens": OUTPUT_TOKENS_MAX}
            return {"model": model, "temperature": TEMPERATURE, **said, **streaming, **wanted}
        case "responses":
            said = {"instructions": SYSTEM, "input": [user], "max_output_tokens": OUTPUT_TOKENS_MAX}
            return {"model": model, "temperature": TEMPERATURE, "store": False, **said, **streaming}
        case "messages":
            said = {"system": SYSTEM, "messages": [user], "max_tokens": OUTPUT_TOKENS_MAX}
            return {"model": model, "temperature": TEMPERATURE, **said, **streaming}
        case _:
            return {
                "systemInstruction": {"parts": [{"text": SYSTEM}]},
                "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
                "generationConfig": {"temperature": TEMPERATURE, "maxOutputTokens": OUTPUT_TOKENS_MAX},
            }


def heard(client: str, body: bytes) -> Heard:
    """Read a unary answer; raises ValueError when it is no JSON."""
    answer = json.loads(body)
    match client:
        case "chat":
            text = "".join(str(member(choice, "message", "content")) for choice in objects(answer.get("choices")))
            return Heard(text, *_counts(answer.get("usage"), "prompt_tokens", "completion_tokens"))
        case "responses":
            parts = (part for item in objects(answer.get("output")) for part in objects(item.get("content")))
            return Heard(_texts(parts), *_counts(answer.get("usage"), "input_tokens", "output_tokens"))
        case "messages":
            content = iter(objects(answer.get("content")))
            return Heard(_texts(content), *_counts(answer.get("usage"), "input_tokens", "output_tokens"))
        case _:
            return _chunk_heard(answer)


def heard_streamed(client: str, body: bytes) -> Heard:
    """Read a stream that has ended; raises ValueError when an event is no JSON."""
    lines = body.decode().split("\n")
    data = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    events = [json.loads(text) for text in data if text != "[DONE]"]
    match client:
        case "chat":
            deltas = (choice.get("delta") for event in events for choice in objects(event.get("choices")))
            text = "".join(str(member(delta, "content") or "") for delta in deltas)
            return Heard(text, *_counts(_last(events, "usage"), "prompt_tokens", "completion_tokens"))
        case "responses":
            text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
            usage = member(events[-1] if events else None, "response", "usage")
            return Heard(text, *_counts(usage, "input_tokens", "output_tokens"))
        case "messages":
            text = "".join(str(member(event, "delta", "text") or "") for event in events)
            begun = [member(event, "message", "usage") for event in events if event["type"] == "message_start"]
            usage = (begun[0] if begun else {}) | (_last(events, "usage") or {})
            return Heard(text, *_counts(usage, "input_tokens", "output_tokens"))
        case _:
            chunks = [_chunk_heard(event) for event in events]
            usage = _last(events, "usageMetadata")
            counts = _counts(usage, "promptTokenCount", "candidatesTokenCount")
            return Heard("".join(chunk.text for chunk in chunks), *counts)


def expected(model: str, output_tokens: int) -> Heard:
    """Give what has to be heard from an upstream that tells what it was asked."""
    question = asked(model)
    return Heard(question.told(), question.prompt_tokens, output_tokens)


def _chunk_heard(chunk: Any) -> Heard:
    parts = (
        part
        for candidate in objects(member(chunk, "candidates"))
        for part in objects(member(candidate, "content", "parts"))
    )
    counts = _counts(member(chunk, "usageMetadata"), "promptTokenCount", "candidatesTokenCount")
    return Heard(_texts(parts), *counts)


def _texts(parts: Iterator[dict[str, Any]]) -> str:
    return "".join(str(part.get("text") or "") for part in parts)


def _last(events: list[dict[str, Any]], name: str) -> Any:
    return next((event[name] for event in reversed(events) if event.get(name)), None)


def _counts(usage: Any, name_in: str, name_out: str) -> tuple[int | None, int | None]:
    return member(usage, name_in), member(usage, name_out)


def shown(found: Heard) -> str:
    """Give it as JSON, for a message about what is wrong with it."""
    return dump(found._asdict())
