"""OpenAI. Address and variables as its own SDKs read them (openai-python, `_client.py`)."""

from adapters.providers import Provider

PROVIDER = Provider(
    name="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    base_url_env="OPENAI_BASE_URL",
    key_env="OPENAI_API_KEY",
    sessions=(("realtime", "/realtime"), ("responses", "/responses")),
    dialects=(("chat", "/chat/completions"), ("responses", "/responses")),
)
