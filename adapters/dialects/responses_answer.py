"""Unary answers: a collected answer as one response, and a count that was estimated.

It says what the last event of a stream would have said, with the same ids, in the same order.
"""

from adapters.collector import Blob, Collected, CollectedCall, CollectedPart, Collector, Hosted
from adapters.conversation import Reasoning, Refusal, Text
from adapters.dialects import responses_output as output
from adapters.dialects.responses_output import ENCODER, Ids, Object
from adapters.operations import Reason


def render_answer(collector: Collector) -> bytes:
    """Return the body of the unary answer that a collector has taken."""
    ids = Ids(collector.id)
    answers = collector.answers()
    items: list[Object] = []
    for answer in answers:
        _add_items(items, answer, ids, show=bool(collector.opening.conversation.thought.show))
    frame = output.response_frame(collector.opening, ids.response, collector.model, collector.created)
    reason = answers[0].reason if answers else Reason.OTHER
    refused = any(isinstance(part, Refusal) for answer in answers for part in answer.parts)
    whole = output.response_whole(frame, map(ENCODER.encode, items), collector.usage, reason, refused=refused)
    return ENCODER.encode(whole)


def estimated_count(argument: bytes, tokens: int) -> bytes | None:
    """Return the body of a token count, None when what follows the route's prefix asks for something else."""
    if argument.strip(b"/") != b"input_tokens":
        return None
    return ENCODER.encode({"object": "response.input_tokens", "input_tokens": tokens})


def _add_items(items: list[Object], answer: Collected, ids: Ids, *, show: bool) -> None:
    base = 0
    for number, part in enumerate(answer.parts, 1):
        status = output.item_status(answer.reason) if number == len(answer.parts) else "completed"
        item = _item(part, ids, len(items), base=base, status=status, show=show)
        if item is not None:
            items.append(item)
        base += len(part.text) if isinstance(part, Text) else 0


def _item(part: CollectedPart, ids: Ids, index: int, *, base: int, status: str, show: bool) -> Object | None:
    match part:
        case Text():
            annotations = [output.annotation(each, base) for each in part.citations if each.url]
            return output.message(ids.item("msg", index), [output.text_part(part.text, annotations)], status)
        case Refusal():
            return output.message(ids.item("msg", index), [output.refusal_part(part.text)], status)
        case Reasoning():
            summary = part.text if show else ""
            said = summary or part.signature is not None
            return output.reasoning(ids.item("rs", index), summary, part.signature) if said else None
        case CollectedCall():
            prefix = "ctc" if part.custom else "fc"
            return output.call_item(ids.item(prefix, index), part, "completed" if part.whole else "incomplete")
        case Blob() | Hosted():
            return _whole_item(part, ids, index)


def _whole_item(part: Blob | Hosted, ids: Ids, index: int) -> Object | None:
    """Return what a tool of the upstream's made or did, None for what this dialect has no item for."""
    if isinstance(part, Hosted):
        known = part.kind == "web_search"
        return output.web_search(ids.item("ws", index), part.payload, "completed") if known else None
    if not part.media_type.startswith("image/"):
        return None
    return output.image(ids.item("ig", index), part.media_type, part.content, "completed")
