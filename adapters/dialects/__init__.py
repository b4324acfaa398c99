"""Dialects: what requests, answers, streams, errors and model lists look like on the wire.

A dialect is a module here, named as routes and providers name it, that provides what `Dialect` lists; a module with
an underscore in its name (`x_tap`) is a part of the dialect before the underscore. `adapters.registry` finds them. A
dialect is sync and pure: bytes and values in, bytes and values out, no clock, no randomness. Dialects do not know
each other, and none knows a provider.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import msgspec

from adapters.errors import Failure
from adapters.rate_headers import RateHeaders
from adapters.usage import Usage

if TYPE_CHECKING:  # these know what a request and an answer are, which stands here
    from adapters.collector import Collector
    from adapters.conversation import Conversation
    from adapters.emitter import Emitter
    from adapters.losses import Losses
    from adapters.opening import Opening
    from adapters.parser import Parser
    from adapters.target import Target, Written
    from adapters.tool_calls.ids import IdRule


class ModelEntry(msgspec.Struct, frozen=True):
    """One row of a model list: the name a client asks for, who serves it, since when (unix seconds)."""

    id: str
    owned_by: str
    created: int = 0


class Answer(msgspec.Struct, frozen=True):
    """What a unary answer says: its usage, whether it holds any content, and the error it really is, if it is one."""

    usage: Usage | None = None
    content: bool = False
    failure: Failure | None = None


class Request(msgspec.Struct, frozen=True):
    """One decoded request: what routing and metering need, and all members of the body as the bytes they came in."""

    model: str
    """As the client wrote it."""
    stream: bool
    usage_wanted: bool
    """Whether the client asked for usage in the stream."""
    choices: int
    """How many alternative answers were asked for."""
    fields: dict[str, msgspec.Raw]
    body: bytes


class StreamTap(Protocol):
    """One stream of the same dialect on both sides: forwards it, and sees only what metering and recovery need."""

    content: bool
    """Whether the first real content was seen: the commit point."""
    finished: bool
    """Whether the upstream has given terminal evidence."""
    done: bool
    """Whether the stream is over; later bytes are dropped."""
    failure: Failure | None
    """An in-band error: withheld from the output, and nothing follows it."""

    @property
    def usage(self) -> Usage | None:
        """The tokens reported so far, or an estimate marked as one."""
        ...

    @property
    def held(self) -> int:
        """How many bytes wait for the end of their event."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take one read, return the whole events to forward."""
        ...

    def end(self) -> bytes:
        """Take the end of the stream, return what is left to forward; sets `failure` when it ended too early."""
        ...

    def error_event(self, failure: Failure) -> bytes:
        """Return the in-band error that ends this stream as it stands: its ids, its numbering."""
        ...


class Dialect(Protocol):
    """What each dialect's module provides."""

    @property
    def KEEPALIVE(self) -> bytes:  # noqa: N802 - a constant of the module
        """What may be sent between two events while an upstream thinks; empty when clients bear nothing."""
        ...

    @property
    def PATH(self) -> str:  # noqa: N802
        """Where servers usually have this dialect, below the base URL."""
        ...

    @property
    def ABORT_AFTER_ERROR(self) -> bool:  # noqa: N802
        """Whether a connection is cut behind an in-band error: there are clients that notice nothing else."""
        ...

    @property
    def REQUIRED_REQUEST_HEADERS(self) -> tuple[tuple[bytes, bytes], ...]:  # noqa: N802
        """Headers an upstream must get, with what it gets when the client sent none."""
        ...

    @property
    def REQUEST_ID_HEADERS(self) -> tuple[bytes, ...]:  # noqa: N802
        """The names under which clients look for the request id."""
        ...

    @property
    def FORWARDED_REQUEST_HEADERS(self) -> frozenset[bytes]:  # noqa: N802
        """The client's headers that an upstream of this dialect gets, lower-cased."""
        ...

    @property
    def FORWARDED_ANSWER_HEADERS(self) -> frozenset[bytes]:  # noqa: N802
        """The upstream's headers that the client gets, lower-cased."""
        ...

    def open_tap(self, request: Request, *, strip_usage: bool, event_bytes_max: int) -> StreamTap:
        """Return the tap of the same-dialect stream that a request asks for."""
        ...

    def stream_content_type(self, request: Request) -> bytes:
        """Return the content type of the stream that a request asks for."""
        ...

    def is_generation(self, argument: bytes) -> bool:
        """Whether the rest of the path asks for a generation; other actions are unary and say no usage."""
        ...

    def parse_request(self, body: bytes, argument: bytes = b"", query: bytes = b"") -> Request:
        """Read a request: its body, the rest of its path, its query. Raises `ClientError`."""
        ...

    def upstream_path(self, path: str, request: Request, *, model: str) -> str:
        """Return the path and query to ask, `path` being where the provider serves this dialect."""
        ...

    def render_request(
        self, request: Request, *, model: str, inject_usage: bool = False, drop_usage: bool = False
    ) -> bytes:
        """Return the request's bytes for an upstream that calls the model `model`."""
        ...

    def read_answer(self, body: bytes) -> Answer:
        """Read a unary 2xx answer; never raises."""
        ...

    def affinity(self, request: Request) -> bytes | None:
        """Return what the requests of one conversation have in common, None where nothing tells."""
        ...

    def has_side_effects(self, request: Request) -> bool:
        """Whether the provider would do more than to answer: keep the answer, run tools of its own."""
        ...

    def output_tokens_max(self, request: Request) -> int | None:
        """Return how many tokens the request lets its answers have together, None where it sets no limit."""
        ...

    def rate_headers(self, what: bytes, limit: int, resets_at: int, second: int, /) -> RateHeaders:
        """Return the headers that tell clients of a rate of so many `requests` or `tokens`; `resets_at` and `second`,
        which is now, are unix seconds.
        """
        ...

    @property
    def CALL_IDS(self) -> "IdRule":  # noqa: N802
        """The ids of tool calls that clients of this dialect accept."""
        ...

    def read_conversation(self, request: Request, losses: "Losses") -> "Conversation":
        """Return what a client asks, in neutral form; tells `losses` what has none. Raises `ClientError`."""
        ...

    def write_request(self, conversation: "Conversation", target: "Target", losses: "Losses") -> "Written":
        """Return the request for an upstream of this dialect; tells `losses` what it cannot say. Raises `ClientError`.

        Equal conversations give equal bytes, or prompt caches would miss.
        """
        ...

    def generation_path(self, path: str, *, model: str, stream: bool) -> str:
        """Return the path and query to ask for a generation, `path` being where the provider serves this dialect."""
        ...

    def open_parser(self, emitter: "Emitter", *, scope: str, event_bytes_max: int) -> "Parser":
        """Return what reads an upstream's answer, whole or as a stream, and tells it to `emitter`."""
        ...

    def open_emitter(self, opening: "Opening") -> "Emitter":
        """Return what writes a stream for a client of this dialect."""
        ...

    def render_answer(self, collector: "Collector") -> bytes:
        """Return the unary answer that was collected, for a client of this dialect."""
        ...

    def estimated_count(self, argument: bytes, tokens: int) -> bytes | None:
        """Return the answer to a count of input tokens, None when the rest of the path asks for something else."""
        ...

    def error_status(self, failure: Failure) -> int:
        """Return the HTTP status clients of this dialect know for a failure."""
        ...

    def error_body(self, failure: Failure) -> bytes:
        """Return an error answer's body."""
        ...

    def refusal_body(self, failure: Failure, argument: bytes = b"", query: bytes = b"") -> bytes:
        """Return an error answer's body as it is written for who asked with this rest of the path and this query."""
        ...

    def error_event(self, failure: Failure) -> bytes:
        """Return the in-band error that ends a stream."""
        ...

    def models_body(self, entries: Iterable[ModelEntry], query: bytes = b"") -> bytes:
        """Return a model list, or the page of it that `query` asks for. Raises `ClientError`."""
        ...

    def model_body(self, entry: ModelEntry) -> bytes:
        """Return one model's description."""
        ...

    def read_models(self, body: bytes) -> tuple[str, ...]:
        """Return the names in an upstream's model list. Raises `ValueError` when it is none."""
        ...
