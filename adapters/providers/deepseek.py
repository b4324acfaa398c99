"""DeepSeek. It sends `: keep-alive` comments while a request waits its turn (api-docs.deepseek.com, rate limits).

Its other API stands below `/anthropic` and takes the same key as a bearer token (guides/anthropic_api and the guide to
Claude Code, which sets ANTHROPIC_AUTH_TOKEN; November 2026).
"""

from adapters.providers import Provider

PROVIDER = Provider(
    name="deepseek",
    title="DeepSeek",
    base_url="https://api.deepseek.com",
    base_url_env="DEEPSEEK_BASE_URL",
    key_env="DEEPSEEK_API_KEY",
    dialects=(("chat", "/chat/completions"), ("messages", "/anthropic/v1/messages")),
)
