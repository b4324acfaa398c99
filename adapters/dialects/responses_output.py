"""What this dialect's answers are made of: items, the response around them, usage, and how an ending is spelled.

One place for both forms of an answer, so that the last event of a stream says what a unary answer would have said. Ids
are made from the answer's own id and the position of the item, never by chance: the same in every event, and again when
the answer is written a second time. The response repeats what the request said, as the vendor's does; only `store` is
always false, because nothing is stored here, and `completed_at` is left out, because nothing here looks at a clock.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256

import msgspec
from msgspec import Raw

from adapters import signatures
from adapters.conversation import Call
from adapters.opening import Opening
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.usage import Usage

Object = dict[str, object]

ENCODER = msgspec.json.Encoder()

ID_CHARACTERS_MAX = 48
"""The vendor takes ids back that have 64 at most; the prefix and the position are the rest."""

_ECHOED = (
    *("instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "prompt_cache_key"),
    *("reasoning", "safety_identifier", "service_tier", "temperature", "text", "tool_choice", "tools", "top_p"),
    *("truncation", "user"),
)
"""Members of a request that its response repeats."""

_DEFAULTS: Mapping[str, object] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}

_INCOMPLETE = {
    Reason.LENGTH: "max_output_tokens",
    Reason.CONTEXT_FULL: "max_output_tokens",
    Reason.FILTER: "content_filter",
    Reason.REFUSAL: "content_filter",
}

_IMAGE_FORMATS = {"image/jpeg": "jpeg", "image/webp": "webp", "image/gif": "gif", "image/svg+xml": "svg"}


class Ids:
    """The ids of one answer and its items."""

    __slots__ = ("_suffix", "response")

    def __init__(self, answer_id: str) -> None:
        suffix = answer_id.removeprefix("resp_")
        if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{ID_CHARACTERS_MAX}}}", suffix):
            suffix = sha256(answer_id.encode("utf-8", "surrogatepass")).hexdigest()[:ID_CHARACTERS_MAX]
        self._suffix = suffix
        self.response = f"resp_{suffix}"

    def item(self, prefix: str, index: int) -> str:
        """Return the id of the item at a position of the output."""
        return f"{prefix}_{self._suffix}_{index}"


# -- items -------------------------------------------------------------------------------------------------------------


def text_part(text: str, annotations: Iterable[Object] = ()) -> Object:
    """Return a message's part of visible text."""
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def refusal_part(text: str) -> Object:
    """Return a message's part that declines."""
    return {"type": "refusal", "refusal": text}


def message(item_id: str, content: list[Object], status: str) -> Object:
    """Return a message item."""
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def reasoning(item_id: str, summary: str, signature: Signature | None) -> Object:
    """Return a reasoning item; its signature stands, packed, where the vendor has the encrypted reasoning."""
    item: Object = {"id": item_id, "type": "reasoning", "summary": [summary_part(summary)] if summary else []}
    if signature is not None:
        item["encrypted_content"] = signatures.pack(signature)
    return item


def summary_part(text: str) -> Object:
    """Return a part of a reasoning item's summary."""
    return {"type": "summary_text", "text": text}


def call_item(item_id: str, call: Call, status: str) -> Object:
    """Return the item of a call: a function's, or one with free-form input."""
    item: Object = {"id": item_id, "type": "custom_tool_call" if call.custom else "function_call", "status": status}
    item |= {"call_id": call.id, "name": call.name, "input" if call.custom else "arguments": call.arguments}
    return item | {"namespace": call.namespace} if call.namespace else item


def web_search(item_id: str, payload: Mapping[str, object], status: str) -> Object:
    """Return the item of a search that the upstream ran."""
    query, url = payload.get("query"), payload.get("url")
    if not query and isinstance(url, str):
        action: Object = {"type": "open_page", "url": url}
    else:
        action = {"type": "search", "query": query if isinstance(query, str) else ""}
    return {"id": item_id, "type": "web_search_call", "status": status, "action": action}


def image(item_id: str, media_type: str, content: str | None, status: str) -> Object:
    """Return the item of an image that the model made."""
    form = _IMAGE_FORMATS.get(media_type, "png")
    return {"id": item_id, "type": "image_generation_call", "status": status, "output_format": form, "result": content}


def annotation(citation: Citation, base: int) -> Object:
    """Return a source as an annotation of the text that begins at the character `base` of the answer's text."""
    start, end = max(citation.start - base, 0), max(citation.end - base, 0)
    where: Object = {"type": "url_citation", "start_index": start, "end_index": end}
    return where | {"url": citation.url, "title": citation.title}


# -- the response ------------------------------------------------------------------------------------------------------


def status_of(reason: Reason, *, refused: bool) -> tuple[str, Object | None]:
    """Return the status of a response that ended so, and its details. `refused`: the output says that it declines."""
    if reason is Reason.REFUSAL and refused:
        return "completed", None
    detail = _INCOMPLETE.get(reason)
    return ("completed", None) if detail is None else ("incomplete", {"reason": detail})


def item_status(reason: Reason | None) -> str:
    """Return the status of the item with which an answer ends so; None while it goes on."""
    return "incomplete" if reason in _INCOMPLETE else "completed"


def usage_object(usage: Usage) -> Object:
    """Return usage with all its details, which typed clients require."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def response_frame(opening: Opening, response_id: str, model: str, created: int) -> Object:
    """Return the response before it says anything: its identity, and what the request said."""
    fields = opening.request.fields
    echoed: Object = {name: fields[name] for name in _ECHOED if name in fields and bytes(fields[name]) != b"null"}
    frame: Object = {"id": response_id, "object": "response", "created_at": created, "status": "in_progress"}
    frame |= {"background": False, "error": None, "incomplete_details": None}
    return {**frame, **_DEFAULTS, **echoed, "store": False, "model": model, "output": [], "usage": None}


def response_whole(frame: Object, output: Iterable[bytes], usage: Usage, reason: Reason, *, refused: bool) -> Object:
    """Return the response as it ended, with its output, already encoded, and its usage."""
    status, details = status_of(reason, refused=refused)
    whole = {"status": status, "incomplete_details": details, "output": output_array(output)}
    return {**frame, **whole, "usage": usage_object(usage)}


def output_array(output: Iterable[bytes]) -> Raw:
    """Return encoded items as one array."""
    return Raw(b"[%b]" % b",".join(output))


def raw_members(response: Object) -> dict[str, Raw]:
    """Return a response as its encoded members."""
    return {name: value if isinstance(value, Raw) else Raw(ENCODER.encode(value)) for name, value in response.items()}
