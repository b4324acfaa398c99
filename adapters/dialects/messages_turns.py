"""The turns of a Messages request: its system prompt and its messages, block by block, in neutral form.

Order is kept: a user's message becomes a TOOL turn for each run of results in it and a USER turn for what stands
between, and role system keeps its place. Tool input stays the text it came in, signatures stay what they are, ours are
unpacked. What a block is told as where no other dialect has one:

- a search result, a reference to a tool, the summary of a compacted conversation: text;
- what the vendor's own tools did (server tools, MCP): nothing, which is noted;
- agents' billing line in the system prompt: nothing, it changes with every request and would miss every prompt cache.

A block of an unknown type is refused by the table of losses: an answer to half a question would be no answer.
"""

from collections.abc import Callable
from typing import NamedTuple

from adapters.conversation import Cache, Call, Media, MediaKind, Part, Reasoning, Result, Role, Text, Turn
from adapters.dialects.messages_blocks import REDACTED
from adapters.dialects.messages_fields import Fields, invalid, missing, read_object
from adapters.dialects.messages_plain import is_hidden, plain_turns, read_signature, user_turns
from adapters.losses import Losses
from adapters.operations import Citation

BILLING_LINE = "x-anthropic-billing-header:"
"""How coding agents begin a block of their system prompt that is for the vendor's accounts."""

_HOSTED_ENDS = ("_tool_result", "mcp_tool_use", "mcp_tool_result")
_PLAIN_TEXT = "text/plain"


class Reading:
    """What reading one request needs everywhere: its losses, where its features stand, the calls seen so far."""

    __slots__ = ("losses", "paths", "tool_names")

    def __init__(self, losses: Losses) -> None:
        self.losses = losses
        self.paths: dict[str, str] = {}
        self.tool_names: dict[str, str] = {}
        """By the id of the call."""

    def found(self, feature: str, path: str) -> None:
        """Note where a feature stands first."""
        self.paths.setdefault(feature, path)

    def cache(self, fields: Fields) -> Cache | None:
        """Return the cache mark of a block or a tool."""
        control = fields.object("cache_control")
        if control is None:
            return None
        self.found("cache", control.where)
        return Cache(control.string("ttl"))


def read_system(body: Fields, reading: Reading) -> list[Turn]:
    """Return the system prompt as a turn, none when there is none."""
    parts = _texts(body, "system", reading)
    return [Turn(Role.SYSTEM, parts)] if parts else []


def read_messages(body: Fields, reading: Reading) -> list[Turn]:
    """Return the turns of `messages`. Raises `ClientError` 400 for what is malformed."""
    if body.raw("messages") is None:
        raise missing("messages")
    turns: list[Turn] = []
    messages, tool_names = body.items("messages"), reading.tool_names
    for number, raw in enumerate(messages):
        plain = plain_turns(raw, tool_names)
        turns += plain if plain is not None else _turns(read_object(raw, f"messages.{number}"), reading)
    if turns and turns[-1].role is Role.ASSISTANT:
        reading.found("prefill", f"messages.{len(messages) - 1}")
    return turns


def _turns(message: Fields, reading: Reading) -> tuple[Turn, ...]:
    role = message.required_string("role")
    if message.raw("content") is None:
        raise missing(message.path("content"))
    if role == "system":
        return (Turn(Role.SYSTEM, _texts(message, "content", reading)),)
    if role == "assistant":
        return (Turn(Role.ASSISTANT, tuple(_parts(message, role, reading))),)
    if role == "user":
        return user_turns(_parts(message, role, reading))
    raise invalid(message.path("role"), "Input should be 'user', 'assistant' or 'system'")


def _texts(fields: Fields, name: str, reading: Reading) -> tuple[Text, ...]:
    """Return the texts of a system prompt, a text itself or blocks."""
    if fields.raw(name) is None:
        return ()
    if fields.is_text(name):
        return (Text(fields.required_string(name)),)
    texts = []
    for block in fields.objects(name):
        text = _text(block, reading)
        if text.text.startswith(BILLING_LINE):
            reading.losses.note("client_hints", block.where)
        else:
            texts.append(text)
    return tuple(texts)


def _parts(message: Fields, role: str, reading: Reading) -> list[Part]:
    if message.is_text("content"):
        return [Text(message.required_string("content"))]
    parts: list[Part] = []
    for block in message.objects("content"):
        kind = block.required_string("type")
        reader = _READERS.get(kind)
        if reader is None:
            _note_unread(kind, block, reading)
            continue
        if role not in reader.roles:
            raise invalid(block.where, f"`{kind}` blocks can only be in `{reader.roles[0]}` messages")
        parts += reader.read(block, reading)
    return parts


def _note_unread(kind: str, block: Fields, reading: Reading) -> None:
    if kind == "server_tool_use" or kind.endswith(_HOSTED_ENDS):
        reading.losses.note("hosted_history", block.where)
    elif kind == "container_upload":
        reading.losses.note("file_id", block.where)
    else:
        reading.losses.note("unknown_part", block.where)


# -- blocks ------------------------------------------------------------------------------------------------------------


def _text(block: Fields, reading: Reading) -> Text:
    citations = tuple(
        Citation(url, citation.string("title") or "", cited=citation.string("cited_text") or "")
        for citation in block.objects("citations")
        if (url := citation.string("url") or citation.string("source"))
    )
    return Text(block.required_string("text"), reading.cache(block), citations)


def _one_text(block: Fields, reading: Reading) -> list[Part]:
    return [_text(block, reading)]


def _image(block: Fields, reading: Reading) -> list[Part]:
    if block.raw("transformations") is not None:
        reading.losses.note("image_detail", block.path("transformations"))
    source = _source(block)
    kind = source.required_string("type")
    cache = reading.cache(block)
    if kind == "base64":
        media_type, data = source.required_string("media_type"), source.required_string("data")
        return [Media(MediaKind.IMAGE, block.where, media_type, content=data, cache=cache)]
    if kind == "url":
        return [Media(MediaKind.IMAGE, block.where, url=source.required_string("url"), cache=cache)]
    if kind == "file":
        return [Media(MediaKind.IMAGE, block.where, file_id=source.required_string("file_id"), cache=cache)]
    raise invalid(source.path("type"), "Input should be 'base64', 'url' or 'file'")


def _document(block: Fields, reading: Reading) -> list[Part]:
    """Return a document, in front of it what its context says."""
    if block.raw("citations") is not None:
        reading.losses.note("citations", block.path("citations"))
    context = block.string("context")
    parts: list[Part] = [Text(context)] if context else []
    source = _source(block)
    kind = source.required_string("type")
    title, cache = block.string("title"), reading.cache(block)
    where = block.where
    if kind == "content":
        return parts + _inline_document(source, title, cache, reading)
    if kind == "text":
        media = Media(
            MediaKind.DOCUMENT, where, _PLAIN_TEXT, text=source.required_string("data"), filename=title, cache=cache
        )
    elif kind == "base64":
        media_type, data = source.required_string("media_type"), source.required_string("data")
        media = Media(MediaKind.DOCUMENT, where, media_type, content=data, filename=title, cache=cache)
    elif kind == "url":
        media = Media(MediaKind.DOCUMENT, where, url=source.required_string("url"), filename=title, cache=cache)
    elif kind == "file":
        media = Media(MediaKind.DOCUMENT, where, file_id=source.required_string("file_id"), filename=title, cache=cache)
    else:
        raise invalid(source.path("type"), "Input should be 'base64', 'content', 'file', 'text' or 'url'")
    return [*parts, media]


def _inline_document(source: Fields, title: str | None, cache: Cache | None, reading: Reading) -> list[Part]:
    """Return a document made of blocks: its texts as one plain text, and its images behind it."""
    if source.is_text("content"):
        texts, images = [source.required_string("content")], []
    else:
        parts = _result_parts(source, reading)
        texts = [part.text for part in parts if isinstance(part, Text)]
        images = [part for part in parts if isinstance(part, Media)]
    where = source.where.removesuffix(".source")
    text = "\n\n".join(texts)
    return [Media(MediaKind.DOCUMENT, where, _PLAIN_TEXT, text=text, filename=title, cache=cache), *images]


def _search_result(block: Fields, reading: Reading) -> list[Part]:
    found = [each.required_string("text") for each in block.objects("content")]
    head = [block.required_string("title"), block.required_string("source")]
    return [Text("\n".join([*head, *found]), reading.cache(block))]


def _thinking(block: Fields, reading: Reading) -> list[Part]:
    signature = read_signature(block.string("signature") or "")
    return [Reasoning(block.string("thinking") or "", signature, is_hidden(signature))]


def _redacted(block: Fields, reading: Reading) -> list[Part]:
    return [Reasoning("", read_signature(block.required_string("data"), REDACTED), hidden=True)]


def _call(block: Fields, reading: Reading) -> list[Part]:
    call_id, name = block.required_string("id"), block.required_string("name")
    written = block.raw("input")
    if written is not None and not bytes(written).startswith(b"{"):
        raise invalid(block.path("input"), "Input should be a valid dictionary")
    arguments = bytes(written).decode() if written is not None else "{}"
    reading.tool_names[call_id] = name
    return [Call(call_id, name, arguments, cache=reading.cache(block))]


def _result(block: Fields, reading: Reading) -> list[Part]:
    call_id = block.required_string("tool_use_id")
    if block.is_text("content"):
        parts: tuple[Text | Media, ...] = (Text(block.required_string("content")),)
    else:
        parts = tuple(_result_parts(block, reading))
    return [
        Result(
            call_id,
            parts,
            is_error=bool(block.boolean("is_error")),
            name=reading.tool_names.get(call_id),
            cache=reading.cache(block),
        )
    ]


def _result_parts(fields: Fields, reading: Reading) -> list[Text | Media]:
    parts: list[Text | Media] = []
    for block in fields.objects("content"):
        kind = block.required_string("type")
        if kind == "tool_reference":
            parts.append(Text(f"The tool {block.required_string('tool_name')} is available."))
        elif kind in _IN_RESULTS:
            parts += (part for part in _READERS[kind].read(block, reading) if isinstance(part, Text | Media))
        else:
            reading.losses.note("unknown_part", block.where)
    return parts


def _compaction(block: Fields, reading: Reading) -> list[Part]:
    summary = block.string("content")
    if not summary:
        reading.losses.note("hosted_history", block.where)
        return []
    return [Text(summary, reading.cache(block))]


def _source(block: Fields) -> Fields:
    source = block.object("source")
    if source is None:
        raise missing(block.path("source"))
    return source


class _Reader(NamedTuple):
    read: Callable[[Fields, Reading], list[Part]]
    roles: tuple[str, ...]


_USER, _ASSISTANT, _BOTH = ("user",), ("assistant",), ("user", "assistant")
_READERS = {
    "text": _Reader(_one_text, _BOTH),
    "image": _Reader(_image, _BOTH),
    "document": _Reader(_document, _BOTH),
    "search_result": _Reader(_search_result, _BOTH),
    "thinking": _Reader(_thinking, _ASSISTANT),
    "redacted_thinking": _Reader(_redacted, _ASSISTANT),
    "tool_use": _Reader(_call, _ASSISTANT),
    "tool_result": _Reader(_result, _USER),
    "compaction": _Reader(_compaction, _BOTH),
}
_IN_RESULTS = frozenset({"text", "image", "document", "search_result"})
