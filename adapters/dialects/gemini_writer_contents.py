"""Gemini requests, written: turns as `contents`, in the order and the pairs this vendor insists on.

- Contents of user and model alternate; all results of a group of calls stand in one content, in the order of the calls,
  and as many as there were calls (API reference, function calling).
- A signature made in this scope returns to where it stood: on the part behind its reasoning, on the thought, or on an
  empty text. Models that take a thinking level refuse calls without one: there the first call of a group that came
  from elsewhere bears the documented stand-in (B33).
- A result is an object: its own, or its text as `output`; an error's text as `error`. Media in it stand inside where
  the model takes them so, else behind all results, named by their call. Addresses never stand inside.
- Ids and names are rewritten by the target's rules, in calls and results alike.
"""

import re
from base64 import b64encode

from msgspec import Raw

from adapters.capabilities import Capabilities, Thinking
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
from adapters.dialects.gemini_signatures import DIALECT, DUMMY, ON_EMPTY, ON_THOUGHT
from adapters.losses import Losses
from adapters.signatures import Signature
from adapters.target import Target
from adapters.tool_calls import custom_input, ids
from adapters.tool_calls.arguments import object_text

Members = dict[str, object]

_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?:;[^,]*)?;base64,(?P<content>.*)", re.DOTALL)
_OWN_FILES = ("files/", "gs://", "https://generativelanguage.googleapis.com/")
_IN_RESULTS = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})
"""What a result may hold itself (ai.google.dev, function calling, multimodal function responses, 2026)."""

_TYPES = {
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}
_TYPE_OF_KIND = {
    MediaKind.IMAGE: "image/jpeg",
    MediaKind.DOCUMENT: "application/pdf",
    MediaKind.AUDIO: "audio/mpeg",
    MediaKind.VIDEO: "video/mp4",
}
_FEATURE_OF_KIND = {
    MediaKind.IMAGE: "image_input",
    MediaKind.DOCUMENT: "document_input",
    MediaKind.AUDIO: "audio_input",
    MediaKind.VIDEO: "video_input",
}
_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


_MODEL = Role.ASSISTANT


class ContentsWriter:
    """Writes the turns of one request, in order."""

    __slots__ = ("_conversation", "_flat_names", "_is_levelled", "_losses", "_target", "details")

    def __init__(self, conversation: Conversation, target: Target, losses: Losses) -> None:
        self.details: set[str | None] = set()
        """The details of all images."""
        self._conversation = conversation
        self._flat_names: dict[str, str] = {}
        self._is_levelled = target.capabilities.thinking is Thinking.LEVEL
        self._losses = losses
        self._target = target

    def without_foreign_reasoning(self, turn: Turn) -> Turn:
        """Return the turn without the reasoning that this upstream cannot read."""
        if not any(isinstance(part, Reasoning) for part in turn.parts):
            return turn
        parts = tuple(part for part in turn.parts if not isinstance(part, Reasoning) or self._is_readable(part))
        if len(parts) == len(turn.parts):
            return turn
        self._losses.note("reasoning_history", self._path("reasoning_history"))
        return Turn(turn.role, parts, turn.name)

    def write(self, turns: list[Turn]) -> list[Members]:
        """Return the contents of turns that alternate."""
        contents: list[Members] = []
        for turn in turns:
            if turn.name is not None:
                self._losses.note("speaker", self._path("speaker"))
            is_model, said = turn.role is _MODEL, turn.parts
            if len(said) == 1 and type(said[0]) is Text:
                parts: list[Members] = [{"text": said[0].text}]
            else:
                parts = self._model_parts(turn) if is_model else self._user_parts(turn)
            if parts:
                contents.append({"role": "model" if is_model else "user", "parts": parts})
        return contents

    def resolution(self) -> str | None:
        """Return the media resolution that all images ask for; None, and a note, when they differ."""
        asked = {detail for detail in self.details if detail not in {None, "auto"}}
        if not asked:
            return None
        if len(self.details) == 1:
            word = _RESOLUTIONS.get(next(iter(asked)) or "")
            if word is not None:
                return word
        self._losses.note("image_detail", self._path("image_detail"))
        return None

    def _path(self, feature: str) -> str:
        return self._conversation.paths.get(feature, feature)

    @property
    def _capabilities(self) -> Capabilities:
        return self._target.capabilities

    def _is_readable(self, part: Reasoning) -> bool:
        signature = part.signature
        if signature is not None and signature.is_for(DIALECT, self._target.scope):
            return True
        return self._capabilities.reasoning_back and bool(part.text)

    # -- the model -----------------------------------------------------------------------------------------------------

    def _model_parts(self, turn: Turn) -> list[Members]:
        parts: list[Members] = []
        waiting: Signature | None = None
        first_call, is_levelled = True, self._is_levelled
        for part in turn.parts:
            if isinstance(part, Reasoning):
                if waiting is not None:
                    parts.append(_signed({"text": ""}, waiting.value))
                waiting = self._think(parts, part)
                continue
            written = self._call(part) if isinstance(part, Call) else self._part(part)
            if waiting is not None:
                written = _signed(written, waiting.value)
                waiting = None
            elif is_levelled and first_call and isinstance(part, Call):
                written = _signed(written, DUMMY)
            first_call = first_call and not isinstance(part, Call)
            parts.append(written)
        if waiting is not None:
            parts.append(_signed({"text": ""}, waiting.value))
        return parts

    def _think(self, parts: list[Members], part: Reasoning) -> Signature | None:
        """Write an item of reasoning, return its signature if it belongs to the part behind."""
        signature = part.signature
        if signature is not None and not signature.is_for(DIALECT, self._target.scope):
            signature = None
        thought: Members = {"text": part.text, "thought": True}
        if signature is not None and signature.kind == ON_THOUGHT:
            parts.append(_signed(thought, signature.value))
            return None
        if part.text:
            parts.append(thought)
        if signature is not None and signature.kind == ON_EMPTY:
            parts.append(_signed({"text": ""}, signature.value))
            return None
        return signature

    def _call(self, call: Call) -> Members:
        name = self._conversation.names.flat(call.name, call.namespace)
        self._flat_names[call.id] = name
        text = custom_input.wrap(call.arguments) if call.custom else object_text(call.arguments)
        call_id = ids.conforming(call.id, self._target.capabilities.call_ids)
        return {"functionCall": {"id": call_id, "name": name, "args": Raw(text.encode())}}

    # -- the user ------------------------------------------------------------------------------------------------------

    def _user_parts(self, turn: Turn) -> list[Members]:
        results: list[Members] = []
        others: list[Members] = []
        for part in turn.parts:
            if isinstance(part, Result):
                results.append(self._result(part, others))
            else:
                others.append(self._part(part))
        return results + others

    def _result(self, result: Result, others: list[Members]) -> Members:
        """Return a result; what of its media cannot stand inside is added to `others`."""
        call_id = ids.conforming(result.call_id, self._target.capabilities.call_ids)
        name = self._flat_names.get(result.call_id) or self._conversation.names.flat(result.name or "unknown")
        parts = result.parts
        if len(parts) == 1 and type(parts[0]) is Text:
            written = _response(parts[0].text, is_error=result.is_error)
            return {"functionResponse": {"id": call_id, "name": name, "response": written}}
        text = "\n".join(part.text for part in parts if isinstance(part, Text))
        response: Members = {"id": call_id, "name": name, "response": _response(text, is_error=result.is_error)}
        inside: list[Members] = []
        beside: list[Members] = []
        for part in parts:
            if isinstance(part, Media):
                medium = self._media(part)
                (inside if self._fits_inside(medium) else beside).append(medium)
        if inside:
            response["parts"] = inside
        if beside:
            others += [{"text": f"Part of the result of {name} ({call_id}):"}, *beside]
        return {"functionResponse": response}

    def _fits_inside(self, media: Members) -> bool:
        blob = media.get("inlineData")
        return self._capabilities.result_media and isinstance(blob, dict) and blob["mimeType"] in _IN_RESULTS

    # -- text and media ------------------------------------------------------------------------------------------------

    def _part(self, part: Part) -> Members:
        match part:
            case Text() | Refusal():
                return {"text": part.text}
            case Media():
                return self._media(part)
            case _:
                raise AssertionError(part)  # history has put calls, results and reasoning where they are expected

    def _media(self, media: Media) -> Members:
        if media.kind is MediaKind.IMAGE:
            self.details.add(media.detail)
            if not self._capabilities.images:
                self._losses.note("image_input", media.where)
        if media.text is not None:
            content = b64encode(media.text.encode()).decode()
            return _inline(media.media_type or "text/plain", content)
        if media.content is not None:
            return _inline(media.media_type or _TYPE_OF_KIND[media.kind], media.content)
        if media.url is not None:
            data = _DATA_URL.fullmatch(media.url)
            if data is not None:
                return _inline(data["type"] or _TYPE_OF_KIND[media.kind], data["content"])
            if media.url.startswith(("https://", "http://")):
                return _file(media.url, media.media_type or _type_of(media))
            self._losses.note(_FEATURE_OF_KIND[media.kind], media.where)
        if media.file_id is not None and media.file_id.startswith(_OWN_FILES):
            return _file(media.file_id, media.media_type or _TYPE_OF_KIND[media.kind])
        self._losses.note("file_id" if media.file_id is not None else _FEATURE_OF_KIND[media.kind], media.where)
        raise AssertionError(media)  # the table refuses all of these


def _signed(part: Members, signature: str) -> Members:
    return {**part, "thoughtSignature": signature}


def _inline(media_type: str, content: str) -> Members:
    return {"inlineData": {"mimeType": media_type, "data": content}}


def _file(uri: str, media_type: str) -> Members:
    return {"fileData": {"mimeType": media_type, "fileUri": uri}}


def _type_of(media: Media) -> str:
    assert media.url is not None
    extension = media.url.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
    return _TYPES.get(extension, _TYPE_OF_KIND[media.kind])


def _response(text: str, *, is_error: bool) -> object:
    """Return a result's object; one that was an object keeps its spelling."""
    if is_error:
        return {"error": text}
    if text.lstrip()[:1] == "{" and object_text(text) == text:
        return Raw(text.encode())
    return {"output": text}
