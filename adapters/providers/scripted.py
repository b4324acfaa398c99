"""The bench's scripted upstream (`bench.upstream`): answers as it is told to, faults included."""

from adapters.providers import Provider

PROVIDER = Provider(
    name="scripted",
    title="The scripted upstream",
    key_required=False,
    dialects=(("chat", "/chat/completions"),),
)
