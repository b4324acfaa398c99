"""Turns out of Chat Completions messages: who said what, in which order, and which result answers which call.

A message of the assistant's has one text, one reasoning and a list of calls; the order in which they were made is
lost, unless tokens of ours keep it (`chat_tokens`), and is taken to be reasoning, text, calls. The older `function`
messages name a function instead of a call: each answers the last `function_call` of that name, and both get an id
made of the call's place, so that the same history has the same ids.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from adapters import lenient
from adapters.conversation import Call, Media, Part, Reasoning, Refusal, Result, Role, Text, Turn
from adapters.dialects import chat_parts, chat_tokens
from adapters.dialects.chat_message import Message, MessageCall, invalid, missing
from adapters.dialects.chat_reasoning import DIALECT, ENCRYPTED, SIGNED, entries, word
from adapters.losses import Losses
from adapters.operations import Citation
from adapters.raw import NOTHING, says
from adapters.signatures import Signature, is_token
from adapters.tool_calls import ids
from adapters.usage import count

ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
FUNCTION_CALL = "function_call"

_ASSISTANT, _TOOL = Role.ASSISTANT, Role.TOOL
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""


class Turns:
    """Reads messages one by one. `paths` gets the places of what writers may have to refuse."""

    def __init__(self, losses: Losses, paths: dict[str, str]) -> None:
        self._losses = losses
        self._paths = paths
        self._turns: list[Turn] = []
        self._calls: dict[str, Call] = {}
        """Of each id the last call so far."""
        self._older: dict[str, str] = {}
        """The id of the last `function_call` of each name."""

    def read(self, messages: Iterable[Message]) -> tuple[Turn, ...]:
        """Return the turns. Raises `ClientError` 400 that names the message and the member."""
        results: list[Part] = []
        for index, message in enumerate(messages):
            role = ROLES.get(message.role)
            if role is _TOOL:
                result = self._plain_result(message)
                if result is not None:
                    results.append(result)
                    continue
            elif role is not None:
                turn = self._plain_turn(role, message)
                if turn is not None:
                    if results:
                        self._close(results)
                    self._turns.append(turn)
                    continue
            path = f"messages[{index}]"
            if role is None:
                raise invalid(f"{path}.role", message.role, ", ".join(f"'{known}'" for known in ROLES))
            if role is _TOOL:
                results.append(self._result(message, index, path))
                continue
            self._close(results)
            parts = self._assistant(message, index, path) if role is _ASSISTANT else self._content(message, path)
            if message.name:
                self._paths.setdefault("speaker", f"{path}.name")
            self._turns.append(Turn(role, tuple(parts), message.name or None))
        self._close(results)
        return tuple(self._turns)

    def _plain_turn(self, role: Role, message: Message) -> Turn | None:
        """Return the turn of a nameless message that holds plain text, and the assistant's calls of functions.

        None leaves it to `_content` and `_assistant`: content in parts, what vendors have added, what is wrong.
        """
        content = message.content
        if (content is not None and type(content) is not str) or message.name:
            return None
        if role is not _ASSISTANT:
            return Turn(role, (Text(content or ""),))
        if (
            message.refusal
            or message.function_call is not None
            or message.audio is not None
            or message.reasoning_content is not NOTHING
            or message.reasoning is not NOTHING
            or message.reasoning_details is not NOTHING
            or message.annotations is not NOTHING
            or message.images is not NOTHING
        ):
            return None
        if not message.tool_calls:
            return Turn(role, (Text(content or ""),))
        parts: list[Part] = [Text(content)] if content else []
        calls: dict[str, Call] = {}
        for given in message.tool_calls:
            call_id, function = given.id, given.function
            if not call_id or function is None or given.custom is not None:
                return None
            call = calls[call_id] = Call(call_id, function.name, function.arguments or "")
            parts.append(call)
        self._calls.update(calls)
        return Turn(role, tuple(parts))

    def _plain_result(self, message: Message) -> Result | None:
        """Return a result that is plain text; None leaves it to `_result`: older forms, content in parts."""
        content, call_id = message.content, message.tool_call_id
        if type(content) is not str or call_id is None or message.role != "tool":
            return None
        call = self._calls.get(call_id)
        if call is None:
            return Result(call_id, (Text(content),), name=message.name)
        return Result(call_id, (Text(content),), name=call.name, custom=call.custom)

    def _close(self, results: list[Part]) -> None:
        if results:
            self._turns.append(Turn(Role.TOOL, tuple(results)))
            results.clear()

    # -- messages ------------------------------------------------------------------------------------------------------

    def _result(self, message: Message, index: int, path: str) -> Result:
        if message.role == "function":
            if not message.name:
                raise missing(f"{path}.name")
            call_id = self._older.get(message.name) or ids.made(FUNCTION_CALL, index)
        elif message.tool_call_id is None:
            raise missing(f"{path}.tool_call_id")
        else:
            call_id = message.tool_call_id
        call = self._calls.get(call_id)
        parts = [part for part in self._content(message, path) if isinstance(part, Text | Media)]
        return Result(
            call_id,
            tuple(parts),
            name=call.name if call is not None else message.name,
            custom=call is not None and call.custom,
        )

    def _assistant(self, message: Message, index: int, path: str) -> list[Part]:
        if message.audio is not None:
            self._losses.note("stored_state", f"{path}.audio")
        text = [part for part in self._content(message, path) if not isinstance(part, Text) or part.text]
        citations = _citations(message.annotations)
        if citations and text and isinstance(text[0], Text):
            text[0] = Text(text[0].text, text[0].cache, citations)
        if message.refusal:
            text.append(Refusal(message.refusal))
        for place, each in enumerate(entries(message.images)):
            media = chat_parts.image(chat_parts.address(each.get("image_url")), None, f"{path}.images[{place}]")
            text += [media] if media is not None else []
        calls = [self._call(call, f"{path}.tool_calls[{at}]") for at, call in enumerate(message.tool_calls or ())]
        if message.function_call is not None:
            made = ids.made(FUNCTION_CALL, index)
            self._older[message.function_call.name] = made
            calls.append(Call(made, message.function_call.name, message.function_call.arguments or ""))
        self._calls.update({call.id: call for call in calls})
        parts = _thoughtful(message, tuple(text), tuple(calls))
        return parts or [Text("")]

    def _call(self, call: MessageCall, path: str) -> Call:
        if not call.id:
            raise missing(f"{path}.id")
        if call.custom is not None:
            return Call(call.id, call.custom.name, call.custom.input or "", custom=True)
        if call.function is None:
            raise missing(f"{path}.function")
        return Call(call.id, call.function.name, call.function.arguments or "")

    # -- content -------------------------------------------------------------------------------------------------------

    def _content(self, message: Message, path: str) -> list[Part]:
        content = message.content
        if content is None or isinstance(content, str):
            return [Text(content or "")]
        parts: list[Part] = []
        for index, part in enumerate(content):
            read = chat_parts.read(part, f"{path}.content[{index}]", self._losses, self._paths)
            parts += [read] if read is not None else []
        return parts


# -- what vendors have added -------------------------------------------------------------------------------------------


def _citations(raw: Raw) -> tuple[Citation, ...]:
    sources: list[dict[str, Any]] = [each["url_citation"] for each in entries(raw) if _is_object(each, "url_citation")]
    return tuple(
        Citation(
            word(source.get("url")),
            word(source.get("title")),
            count(source.get("start_index")),
            count(source.get("end_index")),
            word(source.get("content")),
        )
        for source in sources
    )


def _is_object(entry: dict[str, Any], name: str) -> bool:
    return isinstance(entry.get(name), dict)


def _thoughtful(message: Message, text: tuple[Part, ...], calls: tuple[Part, ...]) -> list[Part]:
    """Return a message's parts with its reasoning where it belongs."""
    thought = _plain_text(message.reasoning_content) or _plain_text(message.reasoning)
    details = entries(message.reasoning_details)
    if details:
        restored = chat_tokens.restored(details, thought, text, calls)
        if restored is not None:
            return restored
    return [*_reasoning(details, thought), *text, *calls]


def _reasoning(details: list[dict[str, Any]], thought: str) -> list[Part]:
    """Return the reasoning that another server of this dialect said, item by item if it said which is which."""
    texts: dict[str, list[str]] = {}
    signatures: dict[str, Signature] = {}
    for position, detail in enumerate(details):
        key = str(detail.get("index", position))
        texts.setdefault(key, []).append(word(detail.get("text")) or word(detail.get("summary")))
        kind, value = (SIGNED, word(detail.get("signature"))) if detail.get("signature") else (ENCRYPTED, "")
        value = value or word(detail.get("data"))
        if value and not is_token(value):
            kind = f"{kind}:{word(detail.get('format'))}"
            signatures[key] = Signature(DIALECT, "", value, kind, word(detail.get("id")))
    items = ((signatures.get(key), "".join(pieces)) for key, pieces in texts.items())
    found = [Reasoning(text, signature, hidden=not text) for signature, text in items if text or signature]
    if thought and not any(item.text for item in found):
        found.insert(0, Reasoning(thought))
    return list(found)


def _plain_text(raw: Raw) -> str:
    if raw is NOTHING or not says(raw):
        return ""
    try:
        return word(lenient.decode(raw))
    except lenient.NotJsonError:
        return ""
