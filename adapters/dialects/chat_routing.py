"""What routing asks of a Chat Completions request: which conversation it belongs to, and what else it does."""

from adapters import affinity as affinities
from adapters import output_limit
from adapters.dialects import Request
from adapters.raw import says


def affinity(request: Request) -> bytes | None:
    """Return what the requests of one conversation have in common."""
    return affinities.key(request.fields, ("prompt_cache_key", "safety_identifier", "user"), ("messages",))


def has_side_effects(request: Request) -> bool:
    """Whether the provider keeps the answer or searches the web for it."""
    fields = request.fields
    return any(name in fields and says(fields[name]) for name in ("store", "web_search_options"))


def output_tokens_max(request: Request) -> int | None:
    """Return how many tokens the request lets all its answers have together."""
    limit = output_limit.greatest(request.fields, ("max_completion_tokens", "max_tokens"))
    return None if limit is None else limit * max(request.choices, 1)
