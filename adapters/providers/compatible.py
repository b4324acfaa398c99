"""Any server that speaks OpenAI's Chat Completions: its base URL comes from configuration, its key too, if it wants
one.
"""

from adapters.providers import Provider

PROVIDER = Provider(
    name="compatible",
    title="The provider",
    key_required=False,
    dialects=(("chat", "/chat/completions"),),
)
