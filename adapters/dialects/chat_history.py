"""Turns into Chat Completions messages, as strictly as any server of the dialect wants them.

Each result is a message of its own, right behind the calls; what is no text in one follows all of them in a message of
the user's, labelled with its call, for a tool's message holds text alone (B46). A failed result says so in words.
System turns stand where they stood if the model takes them anywhere, else the leading ones are one message and the
others the user's (`adapters.history`). A message of the assistant's has one text: several are put together as they are.

Reasoning goes back to who signed it, and as text to models that want it with the calls it led to (B31); there an empty
one stands for what a client has dropped, since the member may not be missing. No other upstream gets any.
"""

import re
from collections.abc import Iterable
from itertools import groupby, pairwise

from msgspec.structs import replace

from adapters import history
from adapters.conversation import Call, Conversation, Media, Part, Reasoning, Refusal, Result, Role, Text, Turn
from adapters.dialects import chat_media
from adapters.dialects.chat_message import MESSAGES
from adapters.dialects.chat_reasoning import DIALECT, ON_CALL, details
from adapters.losses import Losses
from adapters.target import Target
from adapters.tool_calls import custom_input, ids

Message = dict[str, object]

_SYSTEM, _ASSISTANT, _TOOL = Role.SYSTEM, Role.ASSISTANT, Role.TOOL
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""

ERROR = "Error: "
NO_TEXT = "(The result follows in the next message.)"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a speaker's name may be (API reference)."""


class History:
    """Writes the turns of one conversation for one target."""

    def __init__(self, conversation: Conversation, target: Target, losses: Losses) -> None:
        self._conversation = conversation
        self._capabilities = target.capabilities
        self._losses = losses
        self._scope = target.scope

    def messages(self) -> list[Message]:
        """Return the messages."""
        turns = history.settled(self._conversation.turns)
        if not self._capabilities.system_anywhere:
            system, rest = history.split_system(turns)
            turns = [*_one_system(system), *history.folded(rest)]
        messages: list[Message] = []
        for turn in _joined(turns):
            role = turn.role
            if role is _TOOL:
                messages += self._results(turn)
            elif role is _ASSISTANT:
                plain = self._plain_assistant(turn)
                messages += self._assistant(turn) if plain is None else [plain]
            elif role is _SYSTEM:
                word = "developer" if self._capabilities.developer_role else "system"
                messages.append({"role": word, "content": _text(turn.parts, "\n\n"), **self._speaker(turn)})
            else:
                text = _plain_text(turn.parts)
                content = self._content(turn.parts) if text is None else text
                messages.append({"role": "user", "content": content, **self._speaker(turn)})
        return messages

    def _speaker(self, turn: Turn) -> Message:
        if turn.name is None:
            return {}
        if NAME.fullmatch(turn.name):
            return {"name": turn.name}
        self._losses.note("speaker", self._conversation.paths.get("speaker", "speaker"))
        return {}

    def _content(self, parts: Iterable[Part]) -> str | list[Message]:
        """Return a content: a plain text where it is one, which every server takes."""
        written: list[Message] = []
        for part in parts:
            if isinstance(part, Text | Refusal):
                written.append({"type": "text", "text": part.text})
            elif isinstance(part, Media):
                media = chat_media.written(part, self._losses, images=self._capabilities.images)
                written += [media] if media is not None else []
        if len(written) == 1 and written[0]["type"] == "text":
            return str(written[0]["text"])
        return written or ""

    # -- the assistant's -----------------------------------------------------------------------------------------------

    def _plain_assistant(self, turn: Turn) -> Message | None:
        """Return the message of text and calls alone; None leaves it to `_assistant`: reasoning, refusals, media."""
        texts: list[str] = []
        calls: list[Message] = []
        for part in turn.parts:
            if isinstance(part, Text):
                texts.append(part.text)
            elif isinstance(part, Call):
                calls.append(self._call(part))
            else:
                return None
        text = "".join(texts)
        if turn.name is not None or not (text or calls) or (calls and self._capabilities.reasoning_back):
            return None
        if not calls:
            return {"role": "assistant", "content": text}
        return {"role": "assistant", "content": text or None, "tool_calls": calls}

    def _assistant(self, turn: Turn) -> list[Message]:
        calls = [part for part in turn.parts if isinstance(part, Call)]
        refusal = "".join(part.text for part in turn.parts if isinstance(part, Refusal))
        text = "".join(part.text for part in turn.parts if isinstance(part, Text))
        if not self._capabilities.developer_role:
            text, refusal = text + refusal, ""
        for part in turn.parts:
            if isinstance(part, Media):
                self._losses.note("image_input", part.where)
        thoughts = self._thoughts(turn, calls)
        if not (text or refusal or calls or thoughts):
            return []
        message: Message = {"role": "assistant", "content": text if text or not (calls or refusal) else None}
        if refusal:
            message["refusal"] = refusal
        message |= self._speaker(turn) | thoughts
        signed = self._on_calls(turn)
        message |= signed.pop(len(calls), {})
        if calls:
            message["tool_calls"] = [self._call(call) | signed.get(at, {}) for at, call in enumerate(calls)]
        return [message]

    def _call(self, call: Call) -> Message:
        arguments = call.arguments
        if call.custom:
            arguments = custom_input.wrap(arguments)
        elif not arguments or arguments.isspace():
            arguments = "{}"
        return {
            "id": ids.conforming(call.id, self._capabilities.call_ids),
            "type": "function",
            "function": {"name": self._conversation.names.flat(call.name, call.namespace), "arguments": arguments},
        }

    def _thoughts(self, turn: Turn, calls: list[Call]) -> Message:
        reasoning = [part for part in turn.parts if isinstance(part, Reasoning)]
        own = [part for part in reasoning if self._is_own(part)]
        message: Message = {}
        entries = list(details(part for part in own if not _is_on_call(part)))
        if entries:
            message["reasoning_details"] = entries
        elif calls and self._capabilities.reasoning_back:
            return {"reasoning_content": "".join(part.text for part in reasoning)}
        if len(own) < len(reasoning):
            self._losses.note("reasoning_history", MESSAGES)
        return message

    def _on_calls(self, turn: Turn) -> dict[int, Message]:
        """Return what goes beside calls, by the place of the call: the signature that stands in front of it.

        Behind the last call is the message's own place.
        """
        found: dict[int, Message] = {}
        at = 0
        for part in turn.parts:
            at += isinstance(part, Call)
            if isinstance(part, Reasoning) and self._is_own(part) and _is_on_call(part):
                assert part.signature is not None
                found[at] = {"extra_content": {"google": {"thought_signature": part.signature.value}}}
        return found

    def _is_own(self, part: Reasoning) -> bool:
        return part.signature is not None and part.signature.is_for(DIALECT, self._scope)

    # -- results -------------------------------------------------------------------------------------------------------

    def _results(self, turn: Turn) -> list[Message]:
        messages: list[Message] = []
        shown: list[Part] = []
        for result in turn.parts:
            if not isinstance(result, Result):
                continue
            call_id = ids.conforming(result.call_id, self._capabilities.call_ids)
            text = None if result.is_error else _plain_text(result.parts)
            if text is not None:
                messages.append({"role": "tool", "tool_call_id": call_id, "content": text})
                continue
            media = [part for part in result.parts if isinstance(part, Media) and part.text is None]
            messages.append({"role": "tool", "tool_call_id": call_id, "content": self._told(result, bool(media))})
            if media:
                named = f" ({result.name})" if result.name else ""
                shown += [Text(f"From the result of the tool call {call_id}{named}:"), *media]
        if shown:
            messages.append({"role": "user", "content": self._content(shown)})
        return messages

    def _told(self, result: Result, has_media: bool) -> str | list[Message]:
        texts = [part.text or "" for part in result.parts if isinstance(part, Text) or part.text is not None]
        if result.is_error:
            texts = [ERROR + texts[0], *texts[1:]] if texts else [ERROR.strip()]
        if has_media and not any(texts):
            texts = [NO_TEXT]
        if len(texts) > 1 and self._capabilities.developer_role:
            return [{"type": "text", "text": text} for text in texts]
        return "\n\n".join(texts)


def _plain_text(parts: tuple[Part, ...]) -> str | None:
    """Return the text of parts that are one text, as nearly all are; None for all others."""
    if len(parts) == 1:
        part = parts[0]
        if isinstance(part, Text):
            return part.text
    return None


def _is_on_call(part: Reasoning) -> bool:
    return part.signature is not None and part.signature.kind == ON_CALL


def _text(parts: Iterable[Part], between: str) -> str:
    return between.join(part.text for part in parts if isinstance(part, Text))


def _one_system(turns: list[Turn]) -> list[Turn]:
    """Return the leading system turns as one: servers whose templates know of a single one refuse a second."""
    if len(turns) < 2:
        return turns
    return [Turn(Role.SYSTEM, tuple(part for turn in turns for part in turn.parts), turns[0].name)]


def _joined(turns: list[Turn]) -> list[Turn]:
    """Return the turns with consecutive ones of the assistant's as one; behind calls their results stand."""
    if not any(turn.role is _ASSISTANT and next_one.role is _ASSISTANT for turn, next_one in pairwise(turns)):
        return turns
    joined: list[Turn] = []
    for is_assistant, run in groupby(turns, lambda turn: turn.role is _ASSISTANT):
        listed = list(run)
        if is_assistant and len(listed) > 1:
            listed = [replace(listed[0], parts=tuple(part for turn in listed for part in turn.parts))]
        joined += listed
    return joined
