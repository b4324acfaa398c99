"""Fireworks AI. Usage comes unasked in the chunk with the finish_reason (docs.fireworks.ai, OpenAI compatibility)."""

from adapters.providers import Provider, UsageInStream

PROVIDER = Provider(
    name="fireworks",
    title="Fireworks AI",
    base_url="https://api.fireworks.ai/inference/v1",
    base_url_env="FIREWORKS_BASE_URL",
    key_env="FIREWORKS_API_KEY",
    dialects=(("chat", "/chat/completions"),),
    usage_in_stream=UsageInStream.ALWAYS,
)
