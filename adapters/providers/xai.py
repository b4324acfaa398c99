"""xAI. Errors are `{"code": "...", "error": "..."}`; an incorrect key is a 400 that only its text tells from any other
(docs.x.ai, debugging errors), so it passes as one.
"""

from adapters.providers import Provider

PROVIDER = Provider(
    name="xai",
    title="xAI",
    base_url="https://api.x.ai/v1",
    base_url_env="XAI_BASE_URL",
    key_env="XAI_API_KEY",
    dialects=(("chat", "/chat/completions"),),
)
