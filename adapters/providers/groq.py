"""Groq (console.groq.com/docs/openai). Its own SDK's GROQ_BASE_URL has no path, so a bare host gets it."""

from adapters.providers import Provider, base_url_with_path

PROVIDER = Provider(
    name="groq",
    title="Groq",
    base_url="https://api.groq.com/openai/v1",
    base_url_env="GROQ_BASE_URL",
    key_env="GROQ_API_KEY",
    dialects=(("chat", "/chat/completions"),),
    read_base_url=base_url_with_path("/openai/v1"),
)
