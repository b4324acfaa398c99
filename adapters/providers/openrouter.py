"""OpenRouter. Usage comes unasked, `include_usage` has no effect (API reference, ChatStreamOptions).

A 403 speaks of the request there (moderation, guardrails), a 402 of credits, and error codes are HTTP statuses
(openrouter.ai/docs/api/reference/errors-and-debugging).
"""

from adapters.providers import Provider, UsageInStream

PROVIDER = Provider(
    name="openrouter",
    title="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    base_url_env="OPENROUTER_BASE_URL",
    key_env="OPENROUTER_API_KEY",
    dialects=(("chat", "/chat/completions"),),
    usage_in_stream=UsageInStream.ALWAYS,
    credential_statuses=frozenset({401}),
)
