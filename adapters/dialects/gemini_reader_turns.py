"""Gemini requests, read: `contents` and `systemInstruction` into turns.

Decided here, beside names and places:

- Consecutive contents of the model are one turn: SDKs send every chunk of an earlier stream as a content of its own.
  Text that was cut between two of them is one text again, and so is a thought.
- A signature on a part is a signed reasoning item right before it; thoughts in front of it are that item's text.
- Calls and results need no ids here (SDKs drop them). A call without one gets an id made of its place in the
  conversation, which stays the same when the conversation grows. A result without one belongs to the first open call
  of its name, the latest group first, and to the first open call of all when none has its name.
- A result's text is what the API reference says that the model sees: a text in `output` alone, an `error`, else the
  whole object as it was written.
- Blobs may be in the URL-safe alphabet, which other vendors refuse: it is replaced.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Raw

from adapters.conversation import Call, Media, MediaKind, Part, Reasoning, Result, Role, Text, Turn
from adapters.dialects import gemini_signatures
from adapters.dialects.gemini_members import Members, begins, invalid, opened
from adapters.dialects.gemini_plain import Plain, PlainModel, PlainUser, plain_content
from adapters.dialects.gemini_reader_parts import Parts
from adapters.losses import Losses
from adapters.tool_calls import ids

ID_SEED = "contents"
"""What ids of calls are made of that have none, with their ordinal in the conversation."""

GROUPS_MAX = 8
"""So many groups of open calls are looked through for a result without an id."""

_ROLES = {"user": Role.USER, "model": Role.ASSISTANT, "function": Role.TOOL, "tool": Role.TOOL}
_USER, _MODEL, _TOOL = Role.USER, Role.ASSISTANT, Role.TOOL
_HOSTED = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
_PART = frozenset(
    {
        *("text", "thought", "thoughtSignature", "inlineData", "fileData", "functionCall", "functionResponse"),
        *("mediaResolution", "videoMetadata", "partMetadata"),
        *_HOSTED,
    }
)
_FILES = ("gs://", "files/", "https://generativelanguage.googleapis.com/")
_EXTENSIONS = {
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "heic", "heif"), MediaKind.IMAGE),
    **dict.fromkeys(("mp3", "wav", "ogg", "flac", "m4a"), MediaKind.AUDIO),
    **dict.fromkeys(("mp4", "mov", "webm", "mpeg", "avi"), MediaKind.VIDEO),
}
_VIDEO_HOSTS = ("https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/")
_DETAILS = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_MEDIUM": "auto",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "high",
}


def detail_of(word: str | None) -> str | None:
    """Return a media resolution as the detail of an image."""
    return _DETAILS.get(word or "")


def read_system(instruction: Members | None) -> list[Turn]:
    """Return the system instruction as a turn, none when it says nothing."""
    if instruction is None:
        return []
    texts = (part.text("text") for part in instruction.objects("parts"))
    parts = tuple(Text(text) for text in texts if text)
    return [Turn(Role.SYSTEM, parts)] if parts else []


class _Group:
    """The open calls of one turn of the model's; finding the first one takes constant time."""

    __slots__ = ("_added", "_by_name", "calls")

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self._added: list[Call] = []
        self._by_name: dict[str | None, deque[str]] | None = None
        """The ids by the names of their calls, and in order; made when a result without an id asks."""

    def add(self, call: Call) -> None:
        """Take a call."""
        self.calls[call.id] = call
        self._added.append(call)

    def first(self, name: str | None = None) -> Call | None:
        """Return the first call that is still open, of that name if one is given."""
        if self._by_name is None:
            self._by_name = {None: deque(call.id for call in self._added)}
            for call in self._added:
                self._by_name.setdefault(call.name, deque()).append(call.id)
        waiting = self._by_name.get(name, deque())
        while waiting and waiting[0] not in self.calls:
            waiting.popleft()
        return self.calls[waiting[0]] if waiting else None


class TurnsReader:
    """Reads the contents of one request, in order."""

    __slots__ = ("_calls", "_group", "_groups", "_losses", "_open", "_turns", "detail", "detail_path")

    def __init__(self, losses: Losses, detail: str | None) -> None:
        self.detail = detail
        """Of every image that has none of its own."""
        self.detail_path: str | None = None
        """Where an image's own detail stood."""
        self._calls = 0
        self._group: _Group | None = None
        """Of the turn that is being read."""
        self._groups: list[_Group] = []
        """Of calls without a result, by turn."""
        self._losses = losses
        self._open: dict[str, Call] = {}
        self._turns: list[Turn] = []

    def read(self, contents: Sequence[Raw | Plain], path: Callable[[int], str]) -> list[Turn]:
        """Return the turns; `path` says where a content stands. Raises `ClientError` for what no model could read."""
        model: list[Members | PlainModel] = []
        for number, given in enumerate(contents):
            content: Members | Plain
            content = (plain_content(given) or opened(given, path(number))) if isinstance(given, Raw) else given
            if isinstance(content, PlainModel) or (isinstance(content, Members) and self._role(content) is _MODEL):
                model.append(content)
                continue
            if model:
                self._model_turn(model)
                model = []
            if isinstance(content, PlainUser):
                self._plain_user_turns(content)
            else:
                self._user_turns(content)
        if model:
            self._model_turn(model)
        return self._turns

    def _role(self, content: Members) -> Role:
        word = content.text("role") or "user"
        role = _ROLES.get(word.lower())
        if role is None:
            raise invalid(content.path_of("role"), "one of user, model and function")
        content.note_others(self._losses, ("role", "parts"))
        return role

    # -- the model -----------------------------------------------------------------------------------------------------

    def _model_turn(self, contents: list[Members | PlainModel]) -> None:
        first = contents[0]
        if len(contents) == 1 and type(first) is PlainModel:
            said = tuple(self._plain_model_parts(first))
        else:
            said = self._model_said(contents)
        if self._group is not None:
            self._groups.append(self._group)
            self._group = None
            del self._groups[:-GROUPS_MAX]
        if said:
            self._turns.append(Turn(_MODEL, said))

    def _model_said(self, contents: list[Members | PlainModel]) -> tuple[Part, ...]:
        parts = Parts()
        for content in contents:
            goes_on = True
            if isinstance(content, PlainModel):
                for part in self._plain_model_parts(content):
                    if isinstance(part, Reasoning):
                        parts.think("", part.signature)
                    else:
                        is_text = isinstance(part, Text) and isinstance(parts.last, Text)
                        parts.add(part, goes_on=goes_on and is_text)
                    goes_on = False
                continue
            for member in content.objects("parts"):
                self._model_part(member, parts, goes_on=goes_on)
                goes_on = False
        return parts.whole()

    def _plain_model_parts(self, content: PlainModel) -> list[Part]:
        parts: list[Part] = []
        for part in content.parts:
            signature = part.thought_signature
            if signature is not None and (read := gemini_signatures.read(signature)) is not None:
                parts.append(Reasoning("", read))
            call = part.function_call
            if call is None:
                parts.append(Text(part.text))
            else:
                parts.append(self._called(call.id, call.name, call.arguments()))
        return parts

    def _model_part(self, member: Members, parts: Parts, *, goes_on: bool) -> None:
        """Read one part; `goes_on` when it may continue the text before it, which another content holds."""
        self._note_odd_members(member)
        signature = gemini_signatures.read(member.text("thoughtSignature"))
        text, call = member.text("text"), member.object("functionCall")
        if member.flag("thought"):
            parts.think(text or "", signature)
            return
        if signature is not None:
            parts.think("", signature)
        if text:
            parts.add(Text(text), goes_on=goes_on and isinstance(parts.last, Text))
        elif call is not None:
            parts.add(self._call(call))
        else:
            media = self._media(member)
            if media is not None:
                parts.add(media)

    def _call(self, member: Members) -> Call:
        name = member.text("name")
        if not name:
            raise invalid(member.path_of("name"), "the name of a function")
        member.note_others(self._losses, ("id", "name", "args", "partialArgs", "willContinue"))
        args = member.raw("args")
        return self._called(member.text("id"), name, "{}" if args is None else bytes(args).decode())

    def _called(self, given: str | None, name: str, arguments: str) -> Call:
        self._calls += 1
        call = Call(given or ids.made(ID_SEED, self._calls), name, arguments)
        if self._group is None:
            self._group = _Group()
        self._group.add(call)
        self._open[call.id] = call
        return call

    # -- the user ------------------------------------------------------------------------------------------------------

    def _user_turns(self, content: Members) -> None:
        results: list[Part] = []
        parts: list[Part] = []
        for member in content.objects("parts"):
            self._note_odd_members(member)
            response, text = member.object("functionResponse"), member.text("text")
            if response is not None:
                results.append(self._result(response))
            elif text is not None:
                parts.append(Text(text))
            else:
                media = self._media(member)
                if media is not None:
                    parts.append(media)
        self._say(results, parts)

    def _plain_user_turns(self, content: PlainUser) -> None:
        results: list[Part] = []
        parts: list[Part] = []
        for part in content.parts:
            result = part.function_response
            if result is None:
                assert part.text is not None
                parts.append(Text(part.text))
                continue
            text = result.text()
            said = (Text(text),) if text else ()
            results.append(self._answer(result.id, result.name, said, is_error=result.is_error))
        self._say(results, parts)

    def _say(self, results: list[Part], parts: list[Part]) -> None:
        if results:
            self._turns.append(Turn(_TOOL, tuple(results)))
        if parts:
            self._turns.append(Turn(_USER, tuple(parts)))

    def _result(self, member: Members) -> Result:
        name, given = member.text("name"), member.text("id")
        member.note_others(self._losses, ("id", "name", "response", "parts", "willContinue", "scheduling"))
        text, is_error = _outcome(member)
        parts: tuple[Text | Media, ...] = (Text(text),) if text else ()
        parts += tuple(media for media in map(self._media, member.objects("parts")) if media is not None)
        return self._answer(given, name, parts, is_error=is_error)

    def _answer(
        self, given: str | None, name: str | None, parts: tuple[Text | Media, ...], *, is_error: bool
    ) -> Result:
        call = self._answered(given, name or "")
        if call is None:
            self._calls += 1
            return Result(given or ids.made(ID_SEED, self._calls), parts, is_error, name)
        return Result(call.id, parts, is_error, call.name)

    def _answered(self, given: str | None, name: str) -> Call | None:
        """Return the call that a result answers."""
        call = self._open.get(given) if given else None
        if call is None:
            groups = self._groups[::-1]
            call = next(filter(None, (group.first(name) for group in groups)), None)
            if call is None and not given:
                call = next(filter(None, (group.first() for group in groups)), None)
        if call is not None:
            for group in self._groups:
                group.calls.pop(call.id, None)
            self._groups = [group for group in self._groups if group.calls]
        return call

    # -- media ---------------------------------------------------------------------------------------------------------

    def _note_odd_members(self, member: Members) -> None:
        member.note_others(self._losses, _PART)
        for name in _HOSTED:
            if name in member:
                self._losses.note("hosted_history", member.path_of(name))

    def _media(self, member: Members) -> Media | None:
        resolution = member.object("mediaResolution")
        detail = detail_of(resolution.word("level")) if resolution is not None else None
        if detail is not None:
            self.detail_path = member.path_of("mediaResolution")
        detail = detail or self.detail
        blob, file = member.object("inlineData"), member.object("fileData")
        if blob is not None:
            return _blob(blob, detail)
        return _file(file, detail) if file is not None else None


def _outcome(member: Members) -> tuple[str, bool]:
    """Return a result's text, and whether it is an error."""
    raw = member.raw("response")
    if raw is None:
        return "", False
    if not begins(raw, b"{"):
        raise invalid(member.path_of("response"), "an object")
    response = member.value("response")
    assert isinstance(response, dict)
    if len(response) == 1:
        (name, value), *_ = response.items()
        if isinstance(value, str) and name in {"output", "error"}:
            return value, name == "error"
    return bytes(raw).decode(), bool(response.get("error"))


def _blob(member: Members, detail: str | None) -> Media:
    media_type = (member.text("mimeType") or "").lower()
    content = member.text("data") or ""
    if "-" in content or "_" in content:
        content = content.replace("-", "+").replace("_", "/")
    if len(content) % 4:
        content += "=" * (-len(content) % 4)
    text = _decoded_text(content) if media_type.startswith("text/") else None
    return Media(
        _kind(media_type, ""),
        member.path,
        media_type,
        content=content if text is None else None,
        text=text,
        filename=member.text("displayName"),
        detail=detail,
    )


def _file(member: Members, detail: str | None) -> Media:
    media_type, uri = (member.text("mimeType") or "").lower(), member.text("fileUri") or ""
    if not uri:
        raise invalid(member.path_of("fileUri"), "the address of a file")
    kind, name = _kind(media_type, uri), member.text("displayName")
    if uri.startswith(_FILES):
        return Media(kind, member.path, media_type, file_id=uri, filename=name, detail=detail)
    return Media(kind, member.path, media_type, url=uri, filename=name, detail=detail)


def _kind(media_type: str, uri: str) -> MediaKind:
    family = media_type.partition("/")[0]
    if family in {"image", "audio", "video"}:
        return MediaKind(family)
    if not media_type and uri.startswith(_VIDEO_HOSTS):
        return MediaKind.VIDEO
    extension = uri.partition("?")[0].rpartition(".")[2].lower() if not media_type else ""
    return _EXTENSIONS.get(extension, MediaKind.DOCUMENT)


def _decoded_text(content: str) -> str | None:
    try:
        return b64decode(content, validate=True).decode()
    except (Base64Error, ValueError):
        return None
