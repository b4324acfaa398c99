"""What routing asks of a Responses request: which conversation it belongs to, and what else it does."""

from adapters import affinity as affinities
from adapters import output_limit
from adapters.dialects import Request
from adapters.dialects.responses_document import text
from adapters.dialects.responses_items import members_of
from adapters.raw import NOTHING, says

_OWN_TOOLS = frozenset({"function", "custom", "namespace", "tool_search"})
"""Tools that the client runs."""


def affinity(request: Request) -> bytes | None:
    """Return what the requests of one conversation have in common."""
    named = ("prompt_cache_key", "conversation", "previous_response_id", "safety_identifier", "user")
    return affinities.key(request.fields, named, ("instructions", "input"))


def has_side_effects(request: Request) -> bool:
    """Whether the provider keeps the answer, which it does unless told not to, or runs tools of its own."""
    fields = request.fields
    if bytes(fields.get("store", NOTHING)) != b"false" or says(fields.get("background", NOTHING)):
        return True
    tools = members_of(fields.get("tools", NOTHING))
    return any(text(tool.get("type", NOTHING)) not in _OWN_TOOLS for tool in tools)


def output_tokens_max(request: Request) -> int | None:
    """Return how many tokens the request lets its answer have."""
    return output_limit.greatest(request.fields, ("max_output_tokens",))
