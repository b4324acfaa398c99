"""How one request passes to one candidate, and its answer back: as it is, or translated.

A provider that speaks the client's dialect is asked in it, and the bytes pass; any other is asked in the dialect it
prefers, and the request is read into its neutral form and written anew. Every passage is made from the client's own
request, so that what one candidate was sent never shows in what the next one is. Pure: nothing here waits or connects.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from adapters import capabilities, estimates, registry
from adapters.capabilities import Capabilities
from adapters.collector import Collector
from adapters.dialects import Dialect, Request, StreamTap
from adapters.emitter import Emitter
from adapters.errors import ClientError, Failure, Kind
from adapters.losses import Losses, Policy
from adapters.opening import Opening
from adapters.parser import Parser
from adapters.providers import UsageInStream
from adapters.target import Target
from adapters.usage import Usage
from engine.exchange import Exchange, fresh_id
from engine.headers import pick, upstream_headers
from engine.http1 import ResponseParser
from engine.route import Candidate


class Whole(NamedTuple):
    """A unary answer as the client gets it, its usage, and the error it really is, if it is one."""

    body: bytes
    usage: Usage | None
    failure: Failure | None


class Passage(NamedTuple):
    """What to ask a candidate, and what to make of its answer.

    `tap` is there for a stream, `read` is for a unary answer. `dropped` names what of the request got lost on the way.
    """

    path: str
    body: bytes
    headers: list[tuple[bytes, bytes]]
    tap: StreamTap | None
    read: Callable[[bytes], Whole]
    answer_headers: Callable[[ResponseParser], list[tuple[bytes, bytes]]]
    dialect: str
    """What the candidate is asked in."""
    dropped: bytes | None = None


class Passages:
    """The ways of one request: `to` any candidate, each time from what the client sent."""

    __slots__ = ("_asked", "_dialect", "_event_bytes_max", "_exchange")

    def __init__(self, exchange: Exchange, dialect: Dialect, asked: Request, *, event_bytes_max: int) -> None:
        """`dialect` is the client's, and `asked` what it said in it."""
        self._exchange = exchange
        self._asked = asked
        self._dialect = dialect
        self._event_bytes_max = event_bytes_max

    @property
    def affinity(self) -> bytes | None:
        """What requests of one conversation have in common, so that they may meet the same prompt cache."""
        return self._dialect.affinity(self._asked)

    @property
    def has_side_effects(self) -> bool:
        """Whether a provider does more than to answer: it keeps the answer, or runs tools of its own."""
        return self._dialect.has_side_effects(self._asked)

    def to(self, candidate: Candidate) -> Passage:
        """Return how the request passes to `candidate`. Raises `ClientError` when it cannot be carried over."""
        able = capabilities.of(candidate.model)
        if self._is_native(candidate, able):
            return self._native(candidate)
        # Translated, it may as well go where the model can do most: think and call tools at once.
        spoken = candidate.endpoint.spoken(self._exchange.surface.dialect, able.dialects or able.tool_dialects)
        return self._translated(candidate, spoken, able)

    def estimated(self, candidate: Candidate) -> bytes | None:
        """Return the answer to a count of tokens that `candidate` has no word for, None when it can be asked.

        Raises `ClientError` 404 for any other action that its dialect does not have.
        """
        if self._is_native(candidate, capabilities.of(candidate.model)):
            return None
        conversation = self._dialect.read_conversation(self._asked, Losses(Policy.SILENT))
        counted = self._dialect.estimated_count(self._exchange.argument, estimates.input_tokens(conversation))
        if counted is None:
            message = f"the model {self._asked.model!r} is served by {candidate.provider}, which cannot do this"
            raise ClientError(Failure(404, Kind.NOT_FOUND, message, code="model_not_found", param="model"))
        return counted

    def _is_native(self, candidate: Candidate, able: Capabilities) -> bool:
        name = self._exchange.surface.dialect
        return candidate.endpoint.spoken(name, able.dialects) == name

    def _native(self, candidate: Candidate) -> Passage:
        dialect, asked, endpoint = self._dialect, self._asked, candidate.endpoint
        option = asked.stream and endpoint.config.provider.usage_in_stream is UsageInStream.OPTION
        tap = None
        if asked.stream:
            strip = not asked.usage_wanted
            tap = dialect.open_tap(asked, strip_usage=strip, event_bytes_max=self._event_bytes_max)

        def read(body: bytes) -> Whole:
            answer = dialect.read_answer(body)
            return Whole(body, answer.usage, answer.failure)

        return Passage(
            dialect.upstream_path(endpoint.path(self._exchange.surface.dialect), asked, model=candidate.model),
            dialect.render_request(
                asked, model=candidate.model, inject_usage=option, drop_usage=asked.stream and not option
            ),
            upstream_headers(self._exchange.request, dialect),
            tap,
            read,
            lambda answer: pick(answer, dialect.FORWARDED_ANSWER_HEADERS),
            self._exchange.surface.dialect,
        )

    def _translated(self, candidate: Candidate, spoken: str, able: Capabilities) -> Passage:
        """Return the passage between two dialects; the client's headers belong to its own and stay behind."""
        dialect, asked, upstream = self._dialect, self._asked, registry.dialect(spoken)
        losses = Losses(candidate.on_loss)
        conversation = dialect.read_conversation(asked, losses)
        target = Target(
            model=candidate.model,
            capabilities=able,
            scope=f"{candidate.provider}/{capabilities.family(candidate.model)}",
            stream=asked.stream,
            usage_option=candidate.endpoint.config.provider.usage_in_stream is UsageInStream.OPTION,
        )
        written = upstream.write_request(conversation, target, losses)
        opening = Opening(
            request=asked,
            conversation=conversation,
            seed=fresh_id(),
            model=asked.model,
            created=int(time.time()),
            input_tokens=estimates.input_tokens(conversation),
            stops=written.stops,
            answer_tool=written.answer_tool,
        )

        def parser(emitter: Emitter) -> Parser:
            return upstream.open_parser(emitter, scope=target.scope, event_bytes_max=self._event_bytes_max)

        def read(body: bytes) -> Whole:
            collector = Collector(opening, id_rule=dialect.CALL_IDS)
            reader = parser(collector)
            failure = reader.read_answer(body)
            return Whole(b"" if failure else dialect.render_answer(collector), reader.usage, failure)

        return Passage(
            upstream.generation_path(candidate.endpoint.path(spoken), model=candidate.model, stream=asked.stream),
            written.body,
            list(upstream.REQUIRED_REQUEST_HEADERS),
            parser(dialect.open_emitter(opening)) if asked.stream else None,
            read,
            lambda _: [],
            spoken,
            losses.header(),
        )
