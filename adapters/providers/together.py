"""Together AI. Address and variables as its own SDK reads them (together-python, TOGETHER_BASE_URL)."""

from adapters.providers import Provider

PROVIDER = Provider(
    name="together",
    title="Together AI",
    base_url="https://api.together.xyz/v1",
    base_url_env="TOGETHER_BASE_URL",
    key_env="TOGETHER_API_KEY",
    dialects=(("chat", "/chat/completions"),),
)
