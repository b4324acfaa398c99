"""Gemini answers as this gateway writes them: the members that a streamed answer and a whole one have in common.

Tables and small objects: why an answer ended, how usage is counted, how a call is a part. Names are camelCase, for
Google's SDKs read no other in answers. `args` is always there: a call without it is one with `args: None` to clients.
"""

from collections.abc import Mapping

from msgspec import Raw

from adapters import signatures
from adapters.operations import Reason
from adapters.signatures import Signature
from adapters.tool_calls import custom_input
from adapters.tool_calls.arguments import object_text
from adapters.usage import Usage

WORDS: Mapping[Reason, str] = {
    Reason.END: "STOP",
    Reason.STOP_SEQUENCE: "STOP",
    Reason.LENGTH: "MAX_TOKENS",
    Reason.CONTEXT_FULL: "MAX_TOKENS",
    Reason.TOOL: "STOP",
    Reason.FILTER: "SAFETY",
    Reason.REFUSAL: "SAFETY",
    # CONTINUATION would need a token to go on with, which only the vendor gives.
    Reason.PAUSE: "STOP",
    Reason.OTHER: "OTHER",
}
"""Why an answer ended, in this dialect's words."""

_DECLINED = frozenset({Reason.END, Reason.STOP_SEQUENCE, Reason.OTHER})
"""Reasons that say less than the text of a refusal does."""

Members = dict[str, object]


def finish_word(reason: Reason, *, declined: bool) -> str:
    """Return a `finishReason`; `declined` when the answer is, or holds, the text of a refusal."""
    return WORDS[Reason.REFUSAL if declined and reason in _DECLINED else reason]


def usage_metadata(usage: Usage) -> Members:
    """Return the `usageMetadata` of a usage: thoughts are counted beside the candidates here."""
    counts: Members = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.total_tokens,
    }
    if usage.reasoning_tokens:
        counts["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cached_tokens:
        counts["cachedContentTokenCount"] = usage.cached_tokens
    return counts


def call_part(call_id: str, name: str, arguments: str, *, custom: bool) -> Members:
    """Return the part of a call; arguments keep their spelling, free text is the `input` of an object."""
    text = custom_input.wrap(arguments) if custom else object_text(arguments)
    # A line end between two tokens would end the event; inside of them there is none.
    args = Raw(text.replace("\n", " ").replace("\r", " ").encode())
    return {"functionCall": {"id": call_id, "name": name, "args": args}}


def blob_part(media_type: str, content: str) -> Members:
    """Return the part of an image or a sound."""
    return {"inlineData": {"mimeType": media_type, "data": content}}


def signed(part: Members, signature: Signature | None) -> Members:
    """Return the part with a signature beside its content, as a token that clients take for base64."""
    return part if signature is None else {**part, "thoughtSignature": signatures.pack(signature)}


def content(parts: list[Members]) -> Members:
    """Return the turn of these parts."""
    return {"parts": parts, "role": "model"}
