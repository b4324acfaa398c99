"""Unary Chat Completions answers: what a collector holds, as one `chat.completion` object.

A message has one text, one reasoning and a list of calls: what an answer says in several pieces is put together in
order. Tokens of foreign signatures keep the places (`chat_tokens`). What a stream of the same answer would say after
it was gathered, this says, too.
"""

import msgspec

from adapters.collector import Blob, Collected, CollectedCall, Collector
from adapters.conversation import Reasoning, Refusal, Text
from adapters.dialects import chat_tokens
from adapters.dialects.chat_emitter import (
    CALLED,
    annotation,
    answer_id,
    finish_reason,
    image,
    written_usage,
)
from adapters.dialects.chat_tools import uses_functions
from adapters.operations import Citation, Reason

_ENCODER = msgspec.json.Encoder()


def render_answer(collector: Collector) -> bytes:
    """Return the body of a unary answer."""
    legacy = uses_functions(collector.opening.request.fields)
    hides = collector.opening.conversation.thought.show is False
    answers = collector.answers() or [Collected(0)]
    return _ENCODER.encode(
        {
            "id": answer_id(collector),
            "object": "chat.completion",
            "created": collector.created,
            "model": collector.model,
            "choices": [_choice(answer, legacy=legacy, hides_reasoning=hides) for answer in answers],
            "usage": written_usage(collector.usage),
        }
    )


def estimated_count(argument: bytes, tokens: int) -> bytes | None:
    """Return None: the dialect has no way to ask for a count."""
    return None


class _Message:
    """One message while its parts are put together."""

    def __init__(self, *, hides_reasoning: bool) -> None:
        self.hides_reasoning = hides_reasoning
        self.texts: list[str] = []
        self.refusals: list[str] = []
        self.thoughts: list[str] = []
        self.details: list[dict[str, object]] = []
        self.citations: list[Citation] = []
        self.images: list[dict[str, object]] = []
        self.sounds: list[str] = []
        self.calls: list[CollectedCall] = []

    def take(self, answer: Collected) -> None:
        for part in answer.parts:
            match part:
                case Text():
                    self.texts.append(part.text)
                    self.citations += part.citations
                case Refusal():
                    self.refusals.append(part.text)
                case Reasoning():
                    self._think(part)
                case CollectedCall():
                    self.calls.append(part)
                case Blob(media_type=media_type, content=content):
                    if media_type.startswith("audio/"):
                        self.sounds.append(content)
                    else:
                        self.images.append(image(len(self.images), media_type, content))
                case _:
                    pass

    def _think(self, part: Reasoning) -> None:
        start = sum(map(len, self.thoughts))
        text = "" if self.hides_reasoning else part.text
        if text:
            self.thoughts.append(text)
        if part.signature is not None:
            place = chat_tokens.Place(len(self.calls), sum(map(len, self.texts)), start, start + len(text))
            self.details.append(chat_tokens.entry(part.signature, len(self.details), place))

    def written(self, *, legacy: bool) -> dict[str, object]:
        calls = [_call(call) for call in self.calls]
        refusal = "".join(self.refusals) or None
        text = "".join(self.texts)
        message: dict[str, object] = {
            "role": "assistant",
            "content": text if text or not (calls or refusal) else None,
            "refusal": refusal,
        }
        if self.thoughts:
            message["reasoning_content"] = "".join(self.thoughts)
        if legacy and calls:
            message[CALLED] = calls.pop(0).get("function")
        members = {
            "reasoning_details": self.details,
            "annotations": [annotation(each) for each in self.citations],
            "images": self.images,
            "tool_calls": calls,
        }
        message |= {name: value for name, value in members.items() if value}
        return message


def _choice(answer: Collected, *, legacy: bool, hides_reasoning: bool) -> dict[str, object]:
    built = _Message(hides_reasoning=hides_reasoning)
    built.take(answer)
    if answer.reason is Reason.REFUSAL and answer.explanation and not built.refusals:
        declined = False
        built.refusals.append(answer.explanation)
    else:
        declined = bool(built.refusals)
    message = built.written(legacy=legacy)
    if built.sounds:
        message["audio"] = {"id": "audio-0", "data": "".join(built.sounds), "expires_at": 0, "transcript": ""}
    return {
        "index": answer.index,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(answer.reason, declined=declined, legacy=legacy),
    }


def _call(call: CollectedCall) -> dict[str, object]:
    if call.custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
