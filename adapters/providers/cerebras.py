"""Cerebras. Its own SDK's CEREBRAS_BASE_URL has no path, so a bare host gets it; errors come without an envelope."""

from adapters.providers import Provider, base_url_with_path

PROVIDER = Provider(
    name="cerebras",
    title="Cerebras",
    base_url="https://api.cerebras.ai/v1",
    base_url_env="CEREBRAS_BASE_URL",
    key_env="CEREBRAS_API_KEY",
    dialects=(("chat", "/chat/completions"),),
    read_base_url=base_url_with_path("/v1"),
)
