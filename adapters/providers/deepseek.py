"""DeepSeek. It sends `: keep-alive` comments while a request waits its turn (api-docs.deepseek.com, rate limits)."""

from adapters.providers import Provider

PROVIDER = Provider(
    name="deepseek",
    title="DeepSeek",
    base_url="https://api.deepseek.com",
    base_url_env="DEEPSEEK_BASE_URL",
    key_env="DEEPSEEK_API_KEY",
    dialects=(("chat", "/chat/completions"),),
)
