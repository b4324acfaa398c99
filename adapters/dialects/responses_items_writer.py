"""Turns as the items of a request's `input`, in their order: messages, reasoning, calls, results.

What the assistant said between two calls is one message; each piece of reasoning and each call is an item of its own.
A message of several parts must have an id: its position in the request, which is the same each time.
Reasoning goes back only with the encrypted form that this upstream's scope made, and only in front of something: the
vendor refuses reasoning that nothing follows. It has no id: nothing is stored that an id could find (B32). A result's
error is said in its text, as the dialect has no mark for it.
"""

from collections.abc import Iterable

from adapters.conversation import (
    Call,
    Conversation,
    Media,
    MediaKind,
    Part,
    Reasoning,
    Refusal,
    Result,
    Role,
    Text,
    Turn,
)
from adapters.losses import Losses
from adapters.signatures import Signature
from adapters.target import Target
from adapters.tool_calls import ids

Object = dict[str, object]

_USER, _ASSISTANT, _TOOL = Role.USER, Role.ASSISTANT, Role.TOOL
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""

FILENAME = "document.pdf"
ERROR = "Error: "


class Items:
    """Collects the items of one request in `written`."""

    __slots__ = ("_conversation", "_customs", "_losses", "_system", "_target", "written")

    def __init__(self, conversation: Conversation, target: Target, losses: Losses) -> None:
        self.written: list[Object] = []
        self._conversation = conversation
        self._customs: dict[str, bool] = {}
        """Of each call, by its id, whether it was a free-form one: its result must be of the same kind."""
        self._target = target
        self._losses = losses
        self._system = "developer" if target.capabilities.developer_role else "system"

    def add(self, turn: Turn) -> None:
        """Add a turn. Raises `ClientError` for what the dialect cannot hold."""
        if turn.name is not None:
            self._note("speaker")
        role = turn.role
        if role is _ASSISTANT:
            self._assistant(turn.parts)
        elif role is _TOOL:
            for part in turn.parts:
                if isinstance(part, Result):
                    self.written.append(self._result(part))
        else:
            word, text = "user" if role is _USER else self._system, _plain_text(turn.parts)
            if text:
                self.written.append({"type": "message", "role": word, "content": text})
            else:
                self._message(word, self._content(turn.parts))

    def tell(self, text: str) -> None:
        """Put a system message of our own in front."""
        self.written.insert(0, {"type": "message", "role": self._system, "content": text})

    def _note(self, feature: str) -> None:
        self._losses.note(feature, self._conversation.paths.get(feature, feature))

    def _message(self, role: str, content: list[Object]) -> None:
        if not content:
            return
        alone = content[0].get("text") if len(content) == 1 and content[0]["type"] == "input_text" else None
        self.written.append({"type": "message", "role": role, "content": content if alone is None else alone})

    # -- the assistant -------------------------------------------------------------------------------------------------

    def _assistant(self, parts: tuple[Part, ...]) -> None:
        text = _plain_text(parts)
        if text:
            self.written.append({"type": "message", "role": "assistant", "content": text})
            return
        said: list[Object] = []
        thoughts: list[Object] = []
        for part in parts:
            if isinstance(part, Reasoning):
                self._say(said)
                thought = self._reasoning(part)
                if thought is not None:
                    thoughts.append(thought)
                continue
            written = self._said(part)
            if written is None:
                continue
            self.written += thoughts
            thoughts.clear()
            if isinstance(part, Call):
                self._say(said)
                self.written.append(written)
            else:
                said.append(written)
        self._say(said)
        if thoughts:
            self._note("reasoning_history")

    def _say(self, said: list[Object]) -> None:
        """Add what was said as one message: as mere text if it is that, which every server takes."""
        if not said:
            return
        message: Object = {"type": "message", "role": "assistant"}
        if len(said) == 1 and "text" in said[0]:
            message["content"] = said[0]["text"]
        else:
            message |= {"id": f"msg_{len(self.written)}", "status": "completed", "content": said.copy()}
        self.written.append(message)
        said.clear()

    def _said(self, part: Part) -> Object | None:
        if isinstance(part, Call):
            return self._call(part)
        if isinstance(part, Text) and part.text:
            if part.cache is not None:
                self._note("cache")
            return {"type": "output_text", "text": part.text, "annotations": []}
        if isinstance(part, Refusal) and part.text:
            return {"type": "refusal", "refusal": part.text}
        if isinstance(part, Media):
            self._losses.note("hosted_history", part.where)
        return None

    def _call(self, call: Call) -> Object:
        if call.cache is not None:
            self._note("cache")
        self._customs[call.id] = call.custom
        call_id, name = self._call_id(call.id), self._conversation.names.flat(call.name, call.namespace)
        arguments = call.arguments
        if call.custom:
            return {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": arguments}
        if not arguments or arguments.isspace():
            arguments = "{}"
        return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}

    def _call_id(self, call_id: str) -> str:
        return ids.conforming(call_id, self._target.capabilities.call_ids)

    def _reasoning(self, part: Reasoning) -> Object | None:
        signature = part.signature
        if signature is None or not signature.is_for("responses", self._target.scope):
            self._note("reasoning_history")
            return None
        return _reasoning(part.text, signature)

    # -- users, results ------------------------------------------------------------------------------------------------

    def _result(self, result: Result) -> Object:
        if result.cache is not None:
            self._note("cache")
        output: object = None if result.is_error else _plain_text(result.parts)
        if output is None:
            content = self._content(result.parts)
            if result.is_error:
                _mark_error(content)
            alone = content[0].get("text") if len(content) == 1 else "" if not content else None
            output = content if alone is None else alone
        custom = self._customs.get(result.call_id, result.custom)
        kind = "custom_tool_call_output" if custom else "function_call_output"
        return {"type": kind, "call_id": self._call_id(result.call_id), "output": output}

    def _content(self, parts: Iterable[Part]) -> list[Object]:
        content: list[Object] = []
        for part in parts:
            if isinstance(part, (Text, Media)) and part.cache is not None:
                self._note("cache")
            if isinstance(part, (Text, Refusal)):
                if part.text:
                    content.append({"type": "input_text", "text": part.text})
            elif isinstance(part, Media):
                content.append(self._media(part))
        return content

    def _media(self, media: Media) -> Object:
        if media.file_id is not None:
            self._losses.note("file_id", media.where)
        if media.kind is MediaKind.AUDIO:
            self._losses.note("audio_input", media.where)
        if media.kind is MediaKind.VIDEO:
            self._losses.note("video_input", media.where)
        if media.kind is MediaKind.DOCUMENT:
            return _document(media)
        if not self._target.capabilities.images:
            self._losses.note("image_input", media.where)
        url = media.url or f"data:{media.media_type or 'image/png'};base64,{media.content or ''}"
        return {"type": "input_image", "detail": media.detail or "auto", "image_url": url}


def _plain_text(parts: tuple[Part, ...]) -> str | None:
    """Return the text of parts that are one mere text, None for all others: what dialects make of nearly all content.

    A mark for caching leaves it to `Items._content` and `Items._said`, which note it.
    """
    if len(parts) == 1:
        part = parts[0]
        if isinstance(part, Text) and part.cache is None:
            return part.text
    return None


def _reasoning(text: str, signature: Signature) -> Object:
    written: Object = {"type": "reasoning"}
    raw = signature.kind == "content"
    written["summary"] = [{"type": "summary_text", "text": text}] if text and not raw else []
    if text and raw:
        written["content"] = [{"type": "reasoning_text", "text": text}]
    return written | {"encrypted_content": signature.value}


def _mark_error(content: list[Object]) -> None:
    """Say in words that a result is an error, unless it says so itself."""
    first = content[0].get("text") if content else None
    if not isinstance(first, str):
        content.insert(0, {"type": "input_text", "text": ERROR.strip()})
    elif not first.lower().startswith("error"):
        content[0] = {"type": "input_text", "text": ERROR + first}


def _document(media: Media) -> Object:
    if media.text is not None:
        return {"type": "input_text", "text": media.text}
    if media.url is not None:
        return {"type": "input_file", "file_url": media.url}
    data = f"data:{media.media_type or 'application/pdf'};base64,{media.content or ''}"
    return {"type": "input_file", "filename": media.filename or FILENAME, "file_data": data}
