"""What the scripted upstream says when nothing else is scripted, in no dialect's words: `bench.dialects` write it.

The rule: the same request always gets the same answer (ids count up per server, times are constant), so a test may
compare whole documents. Tokens are words. The text repeats what the user said last, or, with the option `tell`, is
JSON of everything that was understood: a client can compare what it asked with what arrived. Pure.
"""

import re
from enum import Enum
from math import inf
from typing import Any

import msgspec

from adapters.providers.scripted import PROVIDER
from bench.asked import Asked, dump, mapping, words

MODEL = PROVIDER.name
"""The model listed unless others are named; any name is answered."""

CREATED = 1_700_000_000
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_PASSAGE = words("A hedgerow keeps the wind out and the birds in, and asks nothing for it but to be left alone. ")
_FRAGMENT_CHARACTERS = 8


class Law(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A time in milliseconds that is drawn: log-normal, cut off at `max`."""

    median: float
    sigma: float
    max: float = inf


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How one answer differs from the usual one; each field is a key of the `answer` step's object.

    `finish_reason` and `usage` are in the words of the dialect that is spoken.
    """

    content: str | None = None
    tokens: int | None = None
    """So many words of a passage instead of the usual text."""
    tell: bool = False
    """Text that is JSON of what was understood."""
    empty: bool = False
    """An answer that holds nothing, no choice either where the dialect has choices."""
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    usage_chunk: bool | None = None
    """Whether a stream says its usage; None: as the request asked."""
    done: bool = True
    """False leaves out the event that ends a stream, where the dialect has one."""
    ttft_ms: float | Law | None = None
    """Before the first token; None: as before any other."""
    interval_ms: float | Law = 0.0
    """Before each event with tokens but the first, and before the end; a unary answer takes it once."""
    coalesce: int = 1
    """Tokens in an event."""
    cut_after: int | None = None
    """Events with tokens after which a stream is left as it is for the next steps, 0 before any; a unary answer is left
    in its middle."""


class Kind(Enum):
    """What a part of an answer is."""

    REASONING = "reasoning"
    TEXT = "text"
    CALL = "call"


class Block(msgspec.Struct, frozen=True):
    """One part of an answer, in the pieces in which it is streamed; `id` and `name` are those of a call."""

    kind: Kind
    pieces: tuple[str, ...]
    id: str = ""
    name: str = ""

    @property
    def whole(self) -> str:
        """All of it."""
        return "".join(self.pieces)


class Finish(Enum):
    """Why an answer ends."""

    STOP = "stop"
    LENGTH = "length"
    CALL = "call"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One decided answer, from which the unary document and the stream are both rendered."""

    asked: Asked
    number: str
    blocks: tuple[Block, ...]
    finish: Finish
    finish_word: str | None
    prompt_tokens: int
    output_tokens: int
    reasoning_tokens: int
    usage: dict[str, Any] | None
    """In the dialect's words, in place of the counts."""
    usage_shown: bool
    done: bool
    empty: bool

    def text(self, kind: Kind) -> str:
        """Give all the text of a kind."""
        return "".join(block.whole for block in self.blocks if block.kind is kind)

    @property
    def calls(self) -> list[Block]:
        """The tool calls."""
        return [block for block in self.blocks if block.kind is Kind.CALL]


def compose(asked: Asked, options: Options, number: int) -> Answer:
    """Decide the answer to a request: `number` tells this server's answers apart."""
    identifier = f"scripted_{number:06d}"
    calls = [] if options.empty else _forced_calls(asked, identifier, options.coalesce)
    reasoning = [] if options.empty else words(options.reasoning or "")
    content = [] if calls or options.empty else words(_content(asked, options))
    limit = asked.output_tokens_max
    cut = limit is not None and len(content) > limit
    content = content[:limit] if cut else content
    blocks = [
        Block(kind, _coalesced(pieces, options.coalesce))
        for kind, pieces in ((Kind.REASONING, reasoning), (Kind.TEXT, content))
        if pieces
    ]
    return Answer(
        asked=asked,
        number=identifier,
        blocks=(*blocks, *calls),
        finish=Finish.CALL if calls else Finish.LENGTH if cut else Finish.STOP,
        finish_word=options.finish_reason,
        prompt_tokens=asked.prompt_tokens,
        output_tokens=len(content) + len(reasoning) + len(calls),
        reasoning_tokens=len(reasoning),
        usage=options.usage,
        usage_shown=asked.usage_wanted if options.usage_chunk is None else options.usage_chunk,
        done=options.done,
        empty=options.empty,
    )


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> str:
    """Render the error envelope that most servers have for a status."""
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return dump({"error": {"message": message, "type": kind, "param": param, "code": code}})


def _content(asked: Asked, options: Options) -> str:
    if options.content is not None:
        return options.content
    if options.tell:
        return asked.told()
    if options.tokens is not None:
        return "".join(_PASSAGE[position % len(_PASSAGE)] for position in range(options.tokens))
    if asked.shape is not None:
        return dump(_sample(asked.shape)) if asked.shape else "{}"
    return f"The scripted upstream heard: {asked.heard}"


def _coalesced(pieces: list[str], size: int) -> tuple[str, ...]:
    return tuple("".join(pieces[at : at + size]) for at in range(0, len(pieces), size))


def _forced_calls(asked: Asked, identifier: str, coalesce: int) -> list[Block]:
    """Give the one call that is forced; to be allowed to call is not to be told to."""
    if asked.forced is None:
        return []
    tools = [tool for tool in asked.tools if not asked.forced or asked.forced == tool.name]
    fragment = re.compile(f".{{1,{_FRAGMENT_CHARACTERS * coalesce}}}", re.DOTALL)
    return [
        Block(Kind.CALL, tuple(fragment.findall(dump(_sample(tool.schema)))), identifier, tool.name)
        for tool in tools[:1]
    ]


def _sample(schema: dict[str, Any]) -> Any:
    """Give the plainest value that satisfies a simple JSON schema, or one of OpenAPI, whose types are upper case."""
    values = schema.get("enum")
    if isinstance(values, list) and values:
        return values[0]
    kind = schema.get("type", "object")
    kind = str(kind[0] if isinstance(kind, list) and kind else kind).lower()
    if kind == "object":
        return {name: _sample(mapping(inner)) for name, inner in mapping(schema.get("properties")).items()}
    if kind == "array":
        return [_sample(mapping(schema.get("items")))]
    return {"string": "example", "integer": 1, "number": 1.5, "boolean": True}.get(kind)
