"""Mistral. Usage comes unasked in the last chunk, and unknown members of a request, `stream_options` among them, are
refused with a 422 whose `detail` names them (seen in BerriAI/litellm #8978).
"""

from adapters.providers import Provider, UsageInStream

PROVIDER = Provider(
    name="mistral",
    title="Mistral",
    base_url="https://api.mistral.ai/v1",
    base_url_env="MISTRAL_BASE_URL",
    key_env="MISTRAL_API_KEY",
    dialects=(("chat", "/chat/completions"),),
    usage_in_stream=UsageInStream.ALWAYS,
)
