"""The official SDKs as judges: bytes go in as the body of an HTTP answer, out comes what their caller understands.

Nothing of ours is in between but a transport that hands over the bytes as they were cut. Whatever an SDK warns about
or logs as a warning fails; what it raises as an API error becomes `Seen.error`, beside what it had understood before;
anything else it raises passes through, because a client would have seen a crash.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import anthropic
import httpx2
import openai
from anthropic.types import RawMessageStreamEvent
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests.translation import read_chat, read_gemini, read_messages, read_responses
from tests.translation.seen import MisunderstoodError, Seen

Document = dict[str, Any]

PING = {"type": "ping"}
"""Known to the SDK, which skips it, but not to its types."""

ASKED: Any = [{"role": "user", "content": "x"}]


class Cut(httpx2.SyncByteStream):
    """A body that arrives in exactly these pieces."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks


class Complaints(logging.Handler):
    """Keeps what the SDKs log at warning level or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[str] = []
        for name in ("openai", "anthropic", "google_genai", "google.genai", "httpx2"):
            logging.getLogger(name).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record.getMessage())


class Sdks:
    """The clients, made once: making one costs more than reading a hundred answers."""

    def __init__(self) -> None:
        self.answer: Callable[[], httpx2.Response] = lambda: httpx2.Response(500)
        self.complaints = Complaints()
        http = httpx2.Client(transport=httpx2.MockTransport(lambda _: self.answer()))
        self.openai = openai.OpenAI(api_key="k", base_url="http://test/v1", http_client=http, max_retries=0)
        self.anthropic = anthropic.Anthropic(api_key="k", base_url="http://test", http_client=http, max_retries=0)
        options = genai_types.HttpOptions(base_url="http://test", httpx_client=http)
        self.genai = genai.Client(api_key="k", http_options=options)

    @contextlib.contextmanager
    def answering(self, answer: Callable[[], httpx2.Response]) -> Iterator[None]:
        """Answer every request so, and fail if an SDK complained meanwhile."""
        self.answer = answer
        self.complaints.records.clear()
        yield
        if self.complaints.records:
            raise MisunderstoodError(f"the SDK warned: {self.complaints.records}")


@cache
def sdks() -> Sdks:
    return Sdks()


def streamed(dialect: str, chunks: Iterable[bytes]) -> Seen:
    """Return what the dialect's SDK understands of a streaming answer that arrives in these pieces."""
    headers = {"content-type": "text/event-stream"}
    with sdks().answering(lambda: httpx2.Response(200, headers=headers, stream=Cut(chunks))):
        return _STREAMED[dialect]()


def whole(dialect: str, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Seen:
    """Return what the dialect's SDK understands of a whole answer, be it content or an error."""
    sent = {"content-type": "application/json", **(headers or {})}
    with sdks().answering(lambda: httpx2.Response(status, headers=sent, content=body)):
        return _WHOLE[dialect]()


# -- one dialect each --


def _chat_streamed() -> Seen:
    payloads: list[Any] = []
    final: Document | None = None
    try:
        with sdks().openai.chat.completions.stream(model="m", messages=ASKED) as stream:
            for event in stream:
                if event.type == "chunk":
                    payloads.append(event.chunk.to_dict())
                    final = event.snapshot.to_dict(warnings=False)
    except openai.APIError as error:
        payloads.append({"error": _raised(error)})
    plain = read_chat.gathered(payloads)
    by_iteration = read_chat.understood(plain)
    if final is not None:
        by_snapshot = read_chat.understood({**final, "error": plain.get("error")})
        if by_snapshot != by_iteration:
            raise MisunderstoodError(f"the accumulator says {by_snapshot}, the chunks say {by_iteration}")
    return by_iteration


def _chat_whole() -> Seen:
    try:
        completion = sdks().openai.chat.completions.create(model="m", messages=ASKED)
    except openai.APIStatusError as error:
        return Seen(error=read_chat.fault(_raised(error), error.status_code))
    return read_chat.understood(completion.to_dict())


def _responses_streamed() -> Seen:
    payloads: list[Any] = []
    try:
        with sdks().openai.responses.stream(model="m", input="x") as stream:
            payloads.extend(event.to_dict(warnings=False) for event in stream)
    except openai.APIError as error:
        payloads.append({"type": "error", "error": _raised(error)})
    return read_responses.understood(read_responses.gathered(payloads))


def _responses_whole() -> Seen:
    try:
        response = sdks().openai.responses.create(model="m", input="x")
    except openai.APIStatusError as error:
        return Seen(error=read_responses.fault(_raised(error), error.status_code))
    return read_responses.understood(response.to_dict())


def _raised(error: openai.APIError) -> Any:
    """Return what the SDK gives its caller of an error: never empty, or it would look like none."""
    return error.body or {"message": error.message}


def _messages_streamed() -> Seen:
    payloads: list[Any] = []
    final: Document | None = None
    try:
        with sdks().anthropic.messages.stream(model="m", max_tokens=9, messages=ASKED) as stream:
            for event in stream:
                if event.type in _DERIVED:
                    continue
                payloads.append(_plain_event(event))
                final = stream.current_message_snapshot.to_dict(warnings=False)
    except anthropic.APIStatusError as error:
        payloads.append(error.body)
    document = read_messages.gathered(payloads)
    if final is not None:
        _same_message(final, document)
    return read_messages.understood(document)


_DERIVED = {"text", "input_json", "citation", "thinking", "signature"}
"""Events that the SDK makes of others."""


def _plain_event(event: Any) -> Document:
    """Return the event as it came: the SDK adds the snapshot to some."""
    document: Document = event.to_dict(warnings=False)
    document.pop("message" if event.type == "message_stop" else "content_block_of_a_stop", None)
    return document


def _same_message(snapshot: Document, gathered: Document) -> None:
    """Check that the SDK's own gathering agrees, except for the input of a call that was cut."""
    by_snapshot = read_messages.understood({**snapshot, "error": gathered.get("error")})
    ours = read_messages.understood(gathered)
    if by_snapshot.usage != ours.usage or by_snapshot.signatures != ours.signatures:
        raise MisunderstoodError(f"the accumulator says {by_snapshot}, the events say {ours}")
    for theirs, block in zip(by_snapshot.blocks, ours.blocks, strict=True):
        if theirs[:3] != block[:3] or (theirs != block and not isinstance(block[3], str)):
            raise MisunderstoodError(f"the accumulator says {theirs}, the events say {block}")


def _messages_whole() -> Seen:
    try:
        message = sdks().anthropic.messages.create(model="m", max_tokens=9, messages=ASKED)
    except anthropic.APIStatusError as error:
        return Seen(error=read_messages.fault(_error_of(error.body), error.status_code))
    return read_messages.understood(message.to_dict())


def _error_of(body: Any) -> Document:
    error: Document = body["error"]
    return error


def _gemini_streamed() -> Seen:
    payloads: list[Any] = []
    try:
        for chunk in sdks().genai.models.generate_content_stream(model="m", contents="x"):
            payloads.append(_dumped(chunk))  # noqa: PERF401 - the chunks before an error count
    except genai_errors.APIError as error:
        payloads.append({"error": {"code": error.code, "message": error.message, "status": error.status}})
    return read_gemini.understood(read_gemini.gathered(payloads))


def _gemini_whole() -> Seen:
    try:
        answer = sdks().genai.models.generate_content(model="m", contents="x")
    except genai_errors.APIError as error:
        document = {"code": error.code, "message": error.message, "status": error.status}
        return Seen(error=read_gemini.fault(document, error.code))
    return read_gemini.understood(read_gemini.gathered([_dumped(answer)]))


def _dumped(model: BaseModel) -> Document:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"sdk_http_response"})


_STREAMED: dict[str, Callable[[], Seen]] = {
    "chat": _chat_streamed,
    "responses": _responses_streamed,
    "messages": _messages_streamed,
    "gemini": _gemini_streamed,
}
_WHOLE: dict[str, Callable[[], Seen]] = {
    "chat": _chat_whole,
    "responses": _responses_whole,
    "messages": _messages_whole,
    "gemini": _gemini_whole,
}


# -- the SDKs' types --


@cache
def _types() -> dict[tuple[str, bool], TypeAdapter[Any]]:
    """Return what one payload is, by dialect and whether it is of a stream."""
    return {
        ("chat", True): TypeAdapter(ChatCompletionChunk),
        ("chat", False): TypeAdapter(ChatCompletion),
        ("responses", True): TypeAdapter(ResponseStreamEvent),
        ("responses", False): TypeAdapter(Response),
        ("messages", True): TypeAdapter(RawMessageStreamEvent),
        ("messages", False): TypeAdapter(anthropic.types.Message),
        ("gemini", True): TypeAdapter(genai_types.GenerateContentResponse),
        ("gemini", False): TypeAdapter(genai_types.GenerateContentResponse),
    }


def check_types(dialect: str, payload: Any, *, stream: bool) -> None:
    """Raise pydantic's ValidationError unless the payload is what the SDK's types declare.

    The SDKs themselves never check: they build objects of whatever comes, and the caller meets a None where the types
    promise a value.
    """
    if payload != PING:
        _types()[dialect, stream].validate_python(payload)
