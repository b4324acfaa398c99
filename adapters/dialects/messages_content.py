"""Turns as the messages of a request: every part as the block an upstream of this dialect takes.

Two roles, blocks never empty, results in front of everything else of their message. Decided here:

- a turn of one plain text is written as that text;
- reasoning goes only where its signature is good; where a model wants earlier reasoning back it goes as its text alone;
- media of the assistant's stand in the user's next turn, and so do those of a result that may not hold them: one that
  is an error, or any where the model takes none in results (B46). They are never dropped;
- a document that is text goes as text, also when it came in base64.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence

from msgspec import Raw
from msgspec.structs import replace

from adapters.conversation import Cache, Call, Media, MediaKind, Part, Reasoning, Refusal, Result, Role, Text, Turn
from adapters.dialects.messages_blocks import DIALECT, REDACTED
from adapters.losses import Losses
from adapters.target import Target
from adapters.tool_calls import custom_input, ids
from adapters.tool_calls.arguments import object_text
from adapters.tool_calls.names import Names

Object = dict[str, object]

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
TTLS = frozenset({"5m", "1h"})

_PDF = "application/pdf"
_PLAIN_TEXT = "text/plain"
_ALIASES = {"image/jpg": "image/jpeg"}
_LOST = {MediaKind.AUDIO: "audio_input", MediaKind.VIDEO: "video_input", MediaKind.IMAGE: "image_input"}


def cache_control(cache: Cache) -> Object:
    """Return a cache mark; a lifetime that the dialect does not know is the default one."""
    written: Object = {"type": "ephemeral"}
    if cache.ttl in TTLS:
        written["ttl"] = cache.ttl
    return written


def kinds_of(turns: list[Turn]) -> set[type[Part]]:
    """Return the types of all parts, those inside of results too: one look tells which of the steps have any work."""
    parts = [part for turn in turns for part in turn.parts]
    return {*map(type, parts), *[type(each) for part in parts if type(part) is Result for each in part.parts]}


def without_foreign_reasoning(turns: list[Turn], target: Target, losses: Losses, where: str) -> list[Turn]:
    """Return the turns with only the reasoning that may be sent, and none behind which nothing stands."""
    kept_turns = []
    for turn in turns:
        if turn.role is Role.ASSISTANT and any(isinstance(part, Reasoning) for part in turn.parts):
            kept = [part for part in turn.parts if not isinstance(part, Reasoning) or _may_go(part, target)]
            if len(kept) < len(turn.parts):
                losses.note("reasoning_history", where)
            while kept and _says_nothing(kept[-1]):
                kept.pop()
            turn = replace(turn, parts=tuple(kept))  # noqa: PLW2901 - the same turn, cleaned
        kept_turns.append(turn)
    return kept_turns


def _says_nothing(part: Part) -> bool:
    """Whether it cannot be what a turn ends in: reasoning, or blank text, which is not sent."""
    return isinstance(part, Reasoning) or (isinstance(part, Text) and not part.text.strip())


def _may_go(part: Reasoning, target: Target) -> bool:
    if part.signature is not None and part.signature.is_for(DIALECT, target.scope):
        return True
    return target.capabilities.reasoning_back and bool(part.text)


def with_media_at_the_user(turns: list[Turn], *, in_results: bool) -> list[Turn]:
    """Return the turns with media only where they may stand: in the user's, and in results if `in_results`."""
    moved: list[Turn] = []
    waiting: list[Part] = []
    for turn in turns:
        if turn.role is Role.ASSISTANT:
            kept = tuple(part for part in turn.parts if not isinstance(part, Media))
            waiting += (part for part in turn.parts if isinstance(part, Media))
            moved.append(turn if len(kept) == len(turn.parts) else replace(turn, parts=kept))
        elif turn.role is Role.TOOL:
            lightened, out = _lightened(turn, in_results=in_results)
            moved.append(lightened)
            waiting = _said(moved, [*waiting, *out])
        else:
            waiting = _said(moved, waiting)
            moved.append(turn)
    _said(moved, waiting)
    return moved


def _said(turns: list[Turn], waiting: list[Part]) -> list[Part]:
    """Let the user say what waits; return what waits now."""
    if waiting:
        turns.append(Turn(Role.USER, tuple(waiting)))
    return []


def _lightened(turn: Turn, *, in_results: bool) -> tuple[Turn, list[Part]]:
    """Return a turn of results without the media that must not stand in them, and those, each group with its call."""
    out: list[Part] = []
    parts: list[Part] = []
    for part in turn.parts:
        media = [each for each in part.parts if isinstance(each, Media)] if isinstance(part, Result) else []
        if isinstance(part, Result) and media and (part.is_error or not in_results):
            out += [Text(f"From the result of the tool call {part.call_id}:"), *media]
            texts = tuple(each for each in part.parts if isinstance(each, Text))
            part = replace(part, parts=texts or (Text("The result is attached below."),))  # noqa: PLW2901
        parts.append(part)
    return (replace(turn, parts=tuple(parts)) if out else turn), out


class Content:
    """Writes the turns of one request."""

    __slots__ = ("_losses", "_names", "_paths", "_target", "has_marks")

    def __init__(self, target: Target, losses: Losses, names: Names, paths: dict[str, str]) -> None:
        self.has_marks = False
        """Whether any block so far bears a cache mark."""
        self._target = target
        self._losses = losses
        self._names = names
        self._paths = paths

    def system(self, turns: list[Turn]) -> list[Object]:
        """Return the blocks of the system prompt."""
        return [block for turn in turns for block in self._blocks(turn)]

    def messages(self, turns: list[Turn]) -> list[Object]:
        """Return the messages. Raises `ClientError` for a medium that cannot be sent."""
        messages: list[Object] = []
        for turn in turns:
            role, parts = turn.role, turn.parts
            said_by = "assistant" if role is _ASSISTANT else "system" if role is _SYSTEM else "user"
            content = self._alone(parts[0]) if len(parts) == 1 and turn.name is None else None
            if content is None:
                content = _shortened(self._blocks(turn))
            messages.append({"role": said_by, "content": content})
        return messages

    def _alone(self, part: Part) -> object:
        """Return the content of a message with one part, as most have; None for all but plain text, calls, results."""
        if type(part) is Call:
            return [self._call(part)]
        return [self._result(part)] if type(part) is Result else _plain_text(part)

    def _blocks(self, turn: Turn) -> list[Object]:
        if turn.name is not None:
            self._note("speaker")
        return self._written(turn.parts)

    def _written(self, parts: Sequence[Part]) -> list[Object]:
        """Return the blocks of parts; blank text has none. Plain text is most of them."""
        blocks: list[Object] = []
        for part in parts:
            if type(part) is not Text:
                blocks.append(self._block(part))
            elif part.text and not part.text.isspace():
                block: Object = {"type": "text", "text": part.text}
                blocks.append(block if part.cache is None else self._marked(block, part.cache))
        return blocks

    def _marked(self, block: Object, cache: Cache | None) -> Object:
        if cache is not None:
            block["cache_control"] = cache_control(cache)
            self.has_marks = True
        return block

    def _note(self, feature: str) -> None:
        self._losses.note(feature, self._paths.get(feature, feature))

    def _block(self, part: Part) -> Object:
        match part:
            case Call():
                return self._call(part)
            case Result():
                return self._result(part)
            case Reasoning():
                return self._reasoning(part)
            case Text():
                return self._marked({"type": "text", "text": part.text}, part.cache)
            case Refusal():
                return {"type": "text", "text": part.text}
            case Media():
                return self._marked(self._media(part), part.cache)

    def _reasoning(self, part: Reasoning) -> Object:
        signature = part.signature
        if signature is None or not signature.is_for(DIALECT, self._target.scope):
            return {"type": "thinking", "thinking": part.text, "signature": ""}
        if signature.kind == REDACTED:
            return {"type": "redacted_thinking", "data": signature.value}
        return {"type": "thinking", "thinking": part.text, "signature": signature.value}

    def _call(self, call: Call) -> Object:
        arguments = custom_input.wrap(call.arguments) if call.custom else object_text(call.arguments)
        written: Object = {
            "type": "tool_use",
            "id": ids.conforming(call.id, ids.WORD),
            "name": self._names.flat(call.name, call.namespace),
            "input": Raw(arguments.encode()),
        }
        return self._marked(written, call.cache)

    def _result(self, result: Result) -> Object:
        written: Object = {"type": "tool_result", "tool_use_id": ids.conforming(result.call_id, ids.WORD)}
        parts = result.parts
        text = _plain_text(parts[0]) if len(parts) == 1 else None
        if text is not None:
            written["content"] = text
        elif blocks := self._written(parts):
            written["content"] = _shortened(blocks)
        if result.is_error:
            written["is_error"] = True
        return self._marked(written, result.cache)

    # -- media ---------------------------------------------------------------------------------------------------------

    def _media(self, media: Media) -> Object:
        if media.file_id is not None:
            self._losses.note("file_id", media.where)
        if media.kind is MediaKind.IMAGE:
            return self._image(media)
        if media.kind is MediaKind.DOCUMENT:
            return self._document(media)
        return self._refused(media)

    def _image(self, media: Media) -> Object:
        if media.detail not in {None, "auto"}:
            self._note("image_detail")
        if not self._target.capabilities.images:
            return self._refused(media)
        if media.url is not None:
            return {"type": "image", "source": {"type": "url", "url": media.url}}
        media_type = _ALIASES.get(media.media_type.lower(), media.media_type.lower())
        if media.content is None or media_type not in IMAGE_TYPES:
            return self._refused(media)
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": media.content}}

    def _document(self, media: Media) -> Object:
        source: Object | None = None
        media_type = media.media_type.lower().partition(";")[0].strip()
        text = media.text
        if text is None and media.content is not None and media_type.startswith("text/"):
            text = _decoded(media.content)
        if text is not None:
            source = {"type": "text", "media_type": _PLAIN_TEXT, "data": text}
        elif media.url is not None:
            source = {"type": "url", "url": media.url}
        elif media.content is not None and media_type in {_PDF, ""}:
            source = {"type": "base64", "media_type": _PDF, "data": media.content}
        if source is None:
            return self._refused(media)
        written: Object = {"type": "document", "source": source}
        if media.filename:
            written["title"] = media.filename
        return written

    def _refused(self, media: Media) -> Object:
        """Refuse a medium: the table of losses has no lesser treatment for any of them."""
        self._losses.note(_LOST.get(media.kind, "document_input"), media.where)
        raise AssertionError(media.kind)


_SYSTEM, _ASSISTANT = Role.SYSTEM, Role.ASSISTANT


def _plain_text(part: Part) -> str | None:
    """Return a text that is written as itself, where it stands alone; None for anything else."""
    if type(part) is not Text or part.cache is not None:
        return None
    text = part.text
    return text if text and not text.isspace() else None


def _shortened(blocks: list[Object]) -> object:
    """Return one plain text as itself."""
    if len(blocks) == 1:
        block = blocks[0]
        if len(block) == 2 and "text" in block:
            return block["text"]
    return blocks


def _decoded(content: str) -> str | None:
    try:
        return b64decode("".join(content.split()), validate=True).decode()
    except (Base64Error, ValueError):
        return None
