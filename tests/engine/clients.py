"""The vendors' own SDKs as clients of a live gateway: what they make of an answer, or of an error.

They are the synchronous ones, in threads, made once, since that costs more than a request. None keeps its connection: a
gateway on its way out waits for nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import anthropic
import httpx
import openai
import trio
from google import genai
from google.genai import errors as genai_errors

from tests.engine.live import KEY

DIALECTS = ("chat", "responses", "messages", "gemini")
SAY: list[Any] = [{"role": "user", "content": "Say hello"}]
CLOSE = {"connection": "close"}


@dataclass
class Heard:
    """What an SDK made of it: the text, then the error it raised, by its status and the dialect's own word.

    `status` is None where the error came in a stream. `headers` are the answer's.
    """

    text: str = ""
    failed: bool = False
    status: int | None = None
    word: str | None = None
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)


Ask = Callable[[str, str, bool, Heard], None]
"""Origin, model, whether to stream, where to write what was heard."""


async def ask(dialect: str, origin: str, model: str, *, stream: bool, heard: Heard | None = None) -> Heard:
    """Ask for a model in a dialect, with its vendor's SDK; what is heard is written into `heard` as it comes."""
    heard = heard or Heard()
    with trio.fail_after(30):
        await trio.to_thread.run_sync(_ASKS[dialect], origin, model, stream, heard)
    return heard


@lru_cache
def _openai() -> openai.OpenAI:
    return openai.OpenAI(
        base_url="http://unset",
        api_key=KEY,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
        default_headers=CLOSE,
    )


@lru_cache
def _anthropic() -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url="http://unset",
        api_key=KEY,
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
        default_headers=CLOSE,
    )


@lru_cache
def _google() -> genai.Client:
    transport = httpx.Client(trust_env=False, timeout=30, headers=CLOSE)
    options = genai.types.HttpOptions(base_url="http://unset", httpx_client=transport)
    return genai.Client(api_key=KEY, http_options=options)


def _ask_chat(origin: str, model: str, stream: bool, heard: Heard) -> None:
    client = _openai().with_options(base_url=f"{origin}/v1").chat.completions.with_raw_response
    with _OpenaiErrors(heard):
        if stream:
            answer = client.create(model=model, messages=SAY, stream=True)
            heard.headers = dict(answer.headers)
            for chunk in answer.parse():
                heard.text += chunk.choices[0].delta.content or ""
        else:
            whole = client.create(model=model, messages=SAY)
            heard.headers = dict(whole.headers)
            heard.text = whole.parse().choices[0].message.content or ""


def _ask_responses(origin: str, model: str, stream: bool, heard: Heard) -> None:
    client = _openai().with_options(base_url=f"{origin}/v1").responses.with_raw_response
    with _OpenaiErrors(heard):
        if stream:
            answer = client.create(model=model, input="Say hello", stream=True)
            heard.headers = dict(answer.headers)
            for event in answer.parse():
                heard.text += event.delta if event.type == "response.output_text.delta" else ""
        else:
            whole = client.create(model=model, input="Say hello")
            heard.headers = dict(whole.headers)
            heard.text = whole.parse().output_text


def _ask_messages(origin: str, model: str, stream: bool, heard: Heard) -> None:
    client = _anthropic().with_options(base_url=origin).messages.with_raw_response
    try:
        if stream:
            answer = client.create(model=model, messages=SAY, max_tokens=64, stream=True)
            heard.headers = dict(answer.headers)
            for event in answer.parse():
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    heard.text += event.delta.text
        else:
            whole = client.create(model=model, messages=SAY, max_tokens=64)
            heard.headers = dict(whole.headers)
            block = whole.parse().content[0]
            heard.text = block.text if block.type == "text" else ""
    except anthropic.APIStatusError as exc:
        body: Any = exc.body
        _note(heard, exc, exc.status_code, body["error"]["type"], dict(exc.response.headers))


def _ask_gemini(origin: str, model: str, stream: bool, heard: Heard) -> None:
    def note_headers(chunk: Any) -> None:
        heard.headers = dict(chunk.sdk_http_response.headers or {})

    asked: dict[str, Any] = {
        "model": model,
        "contents": "Say hello",
        "config": genai.types.GenerateContentConfig(http_options=genai.types.HttpOptions(base_url=origin)),
    }
    try:
        if stream:
            for chunk in _google().models.generate_content_stream(**asked):
                note_headers(chunk)
                heard.text += chunk.text or ""
        else:
            whole = _google().models.generate_content(**asked)
            note_headers(whole)
            heard.text = whole.text or ""
    except genai_errors.APIError as exc:
        response: Any = exc.response
        headers = dict(response.headers) if isinstance(response, httpx.Response) else {}
        _note(heard, exc, exc.code, exc.status, headers)


class _OpenaiErrors:
    """Notes what the SDK raises in its block."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, exc: BaseException | None, _traceback: object) -> bool:
        if not isinstance(exc, openai.APIError):
            return False
        status, headers = None, dict[str, str]()
        if isinstance(exc, openai.APIStatusError):
            status, headers = exc.status_code, dict(exc.response.headers)
        _note(self._heard, exc, status, exc.code, headers)
        return True


def _note(heard: Heard, exc: Exception, status: int | None, word: str | None, headers: dict[str, str]) -> None:
    heard.failed = True
    # A stream whose head went out had a status of 200, whatever its error says.
    heard.status = None if heard.headers else status
    heard.word, heard.message = word, str(exc)
    heard.headers = heard.headers or headers


_ASKS: dict[str, Ask] = {
    "chat": _ask_chat,
    "responses": _ask_responses,
    "messages": _ask_messages,
    "gemini": _ask_gemini,
}
