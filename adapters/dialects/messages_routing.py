"""What routing asks of a Messages request: which conversation it belongs to, and what else it does."""

from adapters import affinity as affinities
from adapters import output_limit
from adapters.dialects import Request
from adapters.dialects.messages_document import items, members
from adapters.raw import NOTHING, says

_OWN_TOOLS = frozenset({b"", b"null", b'"custom"'})
"""The types of tools that the client runs."""


def affinity(request: Request) -> bytes | None:
    """Return what the requests of one conversation have in common: agents name their session in the metadata."""
    return affinities.key(request.fields, ("metadata",), ("system", "messages"))


def has_side_effects(request: Request) -> bool:
    """Whether the provider runs tools of its own, or keeps a container for them."""
    if any(says(request.fields.get(name, NOTHING)) for name in ("mcp_servers", "container")):
        return True
    tools = items(request.fields.get("tools", NOTHING))
    return any(bytes(members(tool).get("type", NOTHING)) not in _OWN_TOOLS for tool in tools)


def output_tokens_max(request: Request) -> int | None:
    """Return how many tokens the request lets its answer have."""
    return output_limit.greatest(request.fields, ("max_tokens",))
