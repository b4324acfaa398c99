"""One response of the scripted realtime server: its events, in the order of recordings of the Realtime API (GA).

The rule: it is an iterator of beats, so that who plays it decides the pace and can interrupt it between two of them;
an interrupted response ends properly, with what was said until then, and is paid for. Pure: no waiting, no sockets.
Events bear no `event_id` yet; it is given where they are sent.
"""

import base64
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple, Protocol

from bench.realtime_script import Turn
from bench.realtime_usage import Charge, Tokens, said, usage_object

Event = dict[str, Any]


class Beat(NamedTuple):
    """Events that go together; `paced` ones are deltas, after which the turn's interval passes."""

    events: tuple[Event, ...]
    paced: bool = False


class Speech(Protocol):
    """A response being said."""

    turn: Turn

    def beats(self) -> Iterator[Beat]:
        """Give it beat by beat, to its end."""
        ...

    @property
    def interrupted(self) -> bool:
        """Whether it is to end before its next delta."""
        ...


class Talk(Protocol):
    """One side of a WebSocket protocol, without the socket."""

    def opening(self) -> list[Event]:
        """Give what is said before anything was heard."""
        ...

    def hear(self, event: Event) -> list[Event]:
        """Take one event of the client's and give the immediate replies; a response is ordered, not begun."""
        ...

    def undecodable(self) -> list[Event]:
        """Give the reply to a frame that is no JSON object."""
        ...

    def begin(self) -> Speech | None:
        """Give the next response that was ordered, and let it count as under way."""
        ...

    def end(self) -> None:
        """Let the response under way be over."""
        ...

    def stamp(self, event: Event) -> Event:
        """Give the event with what only its place in the stream decides."""
        ...

    def charge(self, event: Event) -> Charge | None:
        """Give what an event that is sent says is to be paid."""
        ...


class Place(NamedTuple):
    """Where a response stands: its ids, the item before it, and how its item gets into the conversation."""

    response_id: str
    item_id: str
    call_id: str
    conversation_id: str | None
    previous_item_id: str | None
    adopt: Callable[[Event, Tokens], None]


class Utterance:
    """A realtime response: text, audio with its transcript, or a function call.

    `output_tokens_max` cuts it as the API does. Only a response of the conversation leaves its item there.
    """

    def __init__(
        self,
        turn: Turn,
        place: Place,
        *,
        kind: str,
        usual: str,
        prompt: Tokens,
        cached: Tokens,
        output_tokens_max: int | None,
        metadata: Any = None,
    ) -> None:
        self.turn = turn
        self.response_id = place.response_id
        self._place = place
        self._kind = kind
        self._pieces = turn.argument_pieces() if kind == "function" else turn.pieces(usual)
        self._prompt = prompt
        self._cached = cached
        self._output_tokens_max = output_tokens_max
        self._metadata = metadata
        self._said: list[str] = []
        self._output = Tokens()
        self._interrupted: str | None = None
        self._begun = False
        self._status, self._reason = turn.status, turn.reason if turn.status == "incomplete" else ""

    def interrupt(self, reason: str) -> None:
        """Let it end before the next delta; the first reason counts."""
        self._interrupted = self._interrupted or reason

    @property
    def interrupted(self) -> bool:
        """See `Speech.interrupted`."""
        return self._interrupted is not None

    def beats(self) -> Iterator[Beat]:
        """See `Speech.beats`."""
        yield Beat((self._of_response("response.created", "in_progress", []),))
        if (self._pieces or self._status == "completed") and not self._interrupted:
            yield Beat(tuple(self._beginning()))
            yield from self._deltas()
            yield Beat(tuple(self._closing()))
        status = "cancelled" if self._interrupted else self._status
        output = [self._item()] if self._begun else []
        if output and self._place.conversation_id:
            self._place.adopt(output[0], self._output)
        done = self._of_response("response.done", status, output)
        yield Beat((done,) * self.turn.done_times)

    def _beginning(self) -> Iterator[Event]:
        self._begun = True
        item = self._item("in_progress")
        yield self._of_item("response.output_item.added", item=item)
        yield from self._of_conversation("conversation.item.added", item)
        if self._kind != "function":
            part = {"type": "text", "text": ""} if self._kind == "text" else {"type": "audio", "transcript": ""}
            yield self._of_part("response.content_part.added", part=part)

    def _deltas(self) -> Iterator[Beat]:
        for piece in self._pieces:
            # A word's token and, beside it, its audio; checked before it is said, as a limit is.
            audio_bytes = self.turn.audio_bytes * (len(self._said) + 1) if self._kind == "audio" else 0
            output = Tokens(text=len(self._said) + 1, audio=said(audio_bytes))
            if self._interrupted:
                return
            if self._output_tokens_max is not None and output.total > self._output_tokens_max:
                self._status, self._reason = "incomplete", "max_output_tokens"
                return
            self._said.append(piece)
            self._output = output
            yield Beat(tuple(self._delta(piece)), paced=True)

    def _delta(self, piece: str) -> Iterator[Event]:
        if self._kind == "function":
            yield self._of_call("response.function_call_arguments.delta", delta=piece)
        elif self._kind == "text":
            yield self._of_part("response.output_text.delta", delta=piece)
        else:
            yield self._of_part("response.output_audio_transcript.delta", delta=piece)
            yield self._of_part("response.output_audio.delta", delta=sound(self.turn.audio_bytes))

    def _closing(self) -> Iterator[Event]:
        whole = "".join(self._said)
        if self._kind == "function":
            name = self.turn.name
            yield self._of_call("response.function_call_arguments.done", name=name, arguments=whole)
        elif self._kind == "text":
            yield self._of_part("response.output_text.done", text=whole)
            yield self._of_part("response.content_part.done", part={"type": "text", "text": whole})
        else:
            yield self._of_part("response.output_audio.done")
            yield self._of_part("response.output_audio_transcript.done", transcript=whole)
            yield self._of_part("response.content_part.done", part={"type": "audio", "transcript": whole})
        item = self._item()
        yield from self._of_conversation("conversation.item.done", item)
        yield self._of_item("response.output_item.done", item=item)

    def _item(self, status: str | None = None) -> Event:
        whole = "".join(self._said)
        if status is None:
            status = "completed" if self._status == "completed" and not self._interrupted else "incomplete"
        item: Event = {"id": self._place.item_id, "object": "realtime.item", "status": status}
        if self._kind == "function":
            call = {"name": self.turn.name, "call_id": self._place.call_id, "arguments": whole}
            return item | {"type": "function_call"} | call
        key, part = ("text", "output_text") if self._kind == "text" else ("transcript", "output_audio")
        content = [] if status == "in_progress" else [{"type": part, key: whole}]
        return item | {"type": "message", "role": "assistant", "content": content}

    def _of_response(self, name: str, status: str, output: list[Event]) -> Event:
        details: Event | None = None
        if status not in {"in_progress", "completed"}:
            details = {"type": status, "reason": self._interrupted or self._reason or None}
        if details is not None and status == "failed":
            error = {"type": "server_error", "code": self.turn.code, "message": "The scripted response failed."}
            details = {"type": status, "error": error}
        response = {
            "object": "realtime.response",
            "id": self.response_id,
            "status": status,
            "status_details": details,
            "output": output,
            "conversation_id": self._place.conversation_id,
            "output_modalities": ["audio" if self._kind == "audio" else "text"],
            "max_output_tokens": "inf" if self._output_tokens_max is None else self._output_tokens_max,
            "usage": None if status == "in_progress" else self._usage(),
            "metadata": self._metadata,
        }
        return {"type": name, "response": response}

    def _usage(self) -> dict[str, Any] | None:
        if self.turn.usage is None or isinstance(self.turn.usage, dict):
            return self.turn.usage
        return usage_object(self._prompt, self._cached, self._output)

    def _of_item(self, name: str, /, **fields: Any) -> Event:
        return {"type": name, "response_id": self.response_id, "output_index": 0, **fields}

    def _of_part(self, name: str, /, **fields: Any) -> Event:
        return self._of_item(name, item_id=self._place.item_id, content_index=0, **fields)

    def _of_call(self, name: str, /, **fields: Any) -> Event:
        return self._of_item(name, item_id=self._place.item_id, call_id=self._place.call_id, **fields)

    def _of_conversation(self, name: str, item: Event) -> Iterator[Event]:
        if self._place.conversation_id is not None:
            yield {"type": name, "previous_item_id": self._place.previous_item_id, "item": item}


@cache
def sound(audio_bytes: int) -> str:
    """Give so many bytes of audio in base64, the same ones each time."""
    return base64.b64encode(bytes(number * 7 % 256 for number in range(audio_bytes))).decode()
