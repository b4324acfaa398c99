"""The unary answer: a collected one as a Messages object. It says what the stream would have said, block for block.

A call's arguments must be an object here; text that is none is wrapped as it is in a history (B48). One that the end of
the answer cut looks the same, and `stop_reason` alone says so: the official SDKs leave it at that (B21).
"""

import msgspec
from msgspec import Raw

from adapters.collector import CollectedCall, CollectedPart, Collector, Hosted
from adapters.conversation import Reasoning, Refusal, Text
from adapters.dialects.messages_emitter import ending, message_id
from adapters.dialects.messages_request import is_generation
from adapters.dialects.messages_usage import written_usage
from adapters.signatures import UNSIGNED, pack
from adapters.tool_calls import custom_input
from adapters.tool_calls.arguments import object_text

_ENCODER = msgspec.json.Encoder()


def render_answer(collector: Collector) -> bytes:
    """Return the body of the answer that was collected, its first alternative: clients cannot ask for another."""
    answer = collector.answers()[0]
    shows_thinking = collector.opening.conversation.thought.show is not False
    content = [block for part in answer.parts if (block := _block(part, shows_thinking=shows_thinking)) is not None]
    is_refused = any(isinstance(part, Refusal) for part in answer.parts)
    searches = sum(isinstance(part, Hosted) and part.kind == "web_search" for part in answer.parts)
    usage = written_usage(collector.usage, estimated_input=collector.opening.input_tokens, searches=searches)
    return _ENCODER.encode(
        {
            "id": message_id(collector.id),
            "type": "message",
            "role": "assistant",
            "model": collector.model,
            "content": content,
            **ending(answer.reason, answer.sequence, answer.explanation, is_refused=is_refused),
            "usage": usage,
        }
    )


def estimated_count(argument: bytes, tokens: int) -> bytes | None:
    """Return the body of a token count that no upstream was asked for, None when the path asks for something else."""
    if is_generation(argument):
        return None
    return _ENCODER.encode({"input_tokens": tokens})


def _block(part: CollectedPart, *, shows_thinking: bool) -> dict[str, object] | None:
    match part:
        case Text() | Refusal():
            return {"type": "text", "text": part.text}
        case Reasoning():
            return _thinking(part, shows_thinking=shows_thinking)
        case CollectedCall():
            arguments = custom_input.wrap(part.arguments) if part.custom else object_text(part.arguments)
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": Raw(arguments.encode())}
        case _:
            return None


def _thinking(part: Reasoning, *, shows_thinking: bool) -> dict[str, object] | None:
    """Return the block of an item of reasoning, None for one that has nothing for this client."""
    if part.signature is None and not shows_thinking:
        return None
    return {
        "type": "thinking",
        "thinking": part.text if shows_thinking else "",
        "signature": pack(part.signature or UNSIGNED),
    }
