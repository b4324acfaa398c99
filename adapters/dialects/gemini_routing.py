"""What routing asks of a Gemini request: which conversation it belongs to, and what else it does."""

import msgspec
from msgspec import Raw

from adapters import affinity as affinities
from adapters import output_limit
from adapters.dialects import Request
from adapters.raw import NOTHING, says

_OWN_TOOLS = frozenset({"functionDeclarations", "function_declarations"})
"""The member that holds tools which the client runs."""

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_TOOLS = msgspec.json.Decoder(list[dict[str, Raw]])


def affinity(request: Request) -> bytes | None:
    """Return what the requests of one conversation have in common."""
    said = ("systemInstruction", "system_instruction", "contents")
    return affinities.key(request.fields, ("cachedContent", "cached_content"), said)


def has_side_effects(request: Request) -> bool:
    """Whether the provider runs tools of its own. What is no list of tools is the upstream's to refuse."""
    tools = request.fields.get("tools", NOTHING)
    if not says(tools):
        return False
    try:
        offered = _TOOLS.decode(tools)
    except (msgspec.DecodeError, RecursionError):
        return False
    return any(not _OWN_TOOLS.issuperset(tool) for tool in offered)


def output_tokens_max(request: Request) -> int | None:
    """Return how many tokens the request lets all its answers have together."""
    limits = []
    for name in ("generationConfig", "generation_config"):
        raw = request.fields.get(name, NOTHING)
        if says(raw):
            try:
                members = _MEMBERS.decode(raw)
            except (msgspec.DecodeError, RecursionError):
                continue
            limit = output_limit.greatest(members, ("maxOutputTokens", "max_output_tokens"))
            if limit is not None:
                limits.append(limit)
    return max(limits) * max(request.choices, 1) if limits else None
