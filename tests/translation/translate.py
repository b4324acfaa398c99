"""Drives the gateway's translation as the engine does, for one upstream's bytes and one client.

The client asks for everything that its dialect lets it ask for: usage in the stream, readable reasoning, signatures.
So nothing may be missing from what it gets. Where there are free-form tools, it offers one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from adapters import registry
from adapters.collector import Blob, Collected, CollectedCall, Collector
from adapters.conversation import Reasoning, Refusal, Text
from adapters.dialects import Dialect, Request
from adapters.emitter import Emitter, Opening
from adapters.errors import Failure
from adapters.losses import Losses, Policy
from adapters.parser import Parser
from adapters.usage import Usage
from tests.translation import seen as words
from tests.translation.seen import Block, Counts, Fault, Seen

EVENT_BYTES_MAX = 1 << 26
SCOPE = "upstream/model"
"""Where the signatures of these upstreams are good."""

ASKED: dict[str, dict[str, Any]] = {
    "chat": {
        "model": "asked",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream_options": {"include_usage": True},
        "reasoning_effort": "high",
        "tools": [{"type": "custom", "custom": {"name": "apply_patch"}}],
    },
    "responses": {
        "model": "asked",
        "input": "Hi",
        "reasoning": {"effort": "high", "summary": "detailed"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "tools": [{"type": "custom", "name": "apply_patch"}],
    },
    "messages": {
        "model": "asked",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "Hi"}],
        "thinking": {"type": "adaptive", "display": "summarized"},
    },
    "gemini": {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
    },
}


@dataclass(frozen=True)
class Translated:
    """What the client gets, and what failed: of a stream the error event is in `written`, of an answer nothing is."""

    written: bytes
    failure: Failure | None
    usage: Usage | None


def dialect(name: str) -> Dialect:
    return registry.dialect(name)


@cache
def request_of(client: str, *, stream: bool) -> Request:
    """Return what the client asks."""
    body = dict(ASKED[client])
    argument, query = b"", b""
    if client == "gemini":
        argument = b"asked:streamGenerateContent" if stream else b"asked:generateContent"
        query = b"alt=sse" if stream else b""
    else:
        body["stream"] = stream
    if not stream:
        body.pop("stream_options", None)
    return dialect(client).parse_request(msgspec.json.encode(body), argument, query)


@cache
def opening_of(client: str, *, stream: bool = True) -> Opening:
    """Return what is known before the answer."""
    request = request_of(client, stream=stream)
    return Opening(
        request=request,
        conversation=dialect(client).read_conversation(request, Losses(Policy.SILENT)),
        seed="seed",
        model="asked",
        created=1_700_000_000,
        input_tokens=7,
    )


def parser_of(upstream: str, emitter: Emitter) -> Parser:
    return dialect(upstream).open_parser(emitter, scope=SCOPE, event_bytes_max=EVENT_BYTES_MAX)


def streamed(upstream: str, client: str, chunks: Iterable[bytes]) -> Translated:
    """Return the client's stream of an upstream's, with the error event of a failure behind it."""
    parser = parser_of(upstream, dialect(client).open_emitter(opening_of(client)))
    written = [parser.feed(chunk) for chunk in chunks]
    written.append(parser.end())
    if parser.failure is not None:
        written.append(parser.error_event(parser.failure))
    return Translated(b"".join(written), parser.failure, parser.usage)


def answered(upstream: str, client: str, body: bytes) -> Translated:
    """Return the client's whole answer of an upstream's."""
    collector = Collector(opening_of(client, stream=False), id_rule=dialect(client).CALL_IDS)
    parser = parser_of(upstream, collector)
    failure = parser.read_answer(body)
    return Translated(b"" if failure else dialect(client).render_answer(collector), failure, parser.usage)


def collected(upstream: str, chunks: Iterable[bytes]) -> Translated | Seen:
    """Return what the operations of a stream say, in neutral words; a failure as it is."""
    collector = Collector(opening_of(upstream))
    parser = parser_of(upstream, collector)
    for chunk in chunks:
        parser.feed(chunk)
    parser.end()
    if parser.failure is not None:
        return Translated(b"", parser.failure, parser.usage)
    return neutral(collector)


def neutral(collector: Collector) -> Seen:
    """Return what was collected in the words of a case."""
    first, *others = [_one(answer) for answer in collector.answers()]
    usage = collector.usage_seen
    return Seen(
        blocks=first.blocks,
        finish=first.finish,
        stop_sequence=first.stop_sequence,
        usage=None if usage is None else counts(usage),
        signatures=first.signatures,
        citations=first.citations,
        choices=tuple(others),
    )


def counts(usage: Usage) -> Counts:
    return Counts(
        usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens
    )


def fault(failure: Failure) -> Fault:
    return Fault(failure.message, code=failure.code, status=failure.status)


def _one(answer: Collected) -> Seen:
    signed = [part.signature for part in answer.parts if isinstance(part, Reasoning)]
    texts = [part for part in answer.parts if isinstance(part, Text)]
    return Seen(
        blocks=words.merged(block for part in answer.parts for block in _blocks(part)),
        finish=answer.reason.value,
        stop_sequence=answer.sequence,
        signatures=words.distinct(signature.value for signature in signed if signature is not None),
        citations=words.distinct(citation.url or citation.title for part in texts for citation in part.citations),
    )


def _blocks(part: object) -> list[Block]:
    if isinstance(part, Text):
        return [words.text(part.text)]
    if isinstance(part, Refusal):
        return [words.refusal(part.text)]
    if isinstance(part, Reasoning):
        return [words.reasoning(part.text)]
    if isinstance(part, CollectedCall):
        arguments: Any = {"input": part.arguments} if part.custom else part.arguments
        return [words.call(part.id, part.name, arguments)]
    if isinstance(part, Blob):
        return [words.blob(part.media_type, words.size_of_base64(part.content))]
    return []
