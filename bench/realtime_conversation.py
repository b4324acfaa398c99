"""The realtime conversation that the scripted server keeps: its session, its items, the audio that was not said yet.

The rule: the server's half of the Realtime API (GA), as far as a client can tell from events: `session.created` first,
each item added and done, server VAD over appended audio, one response at a time, errors that keep the session open.
Two simplifications make it deterministic: all audio is speech, an utterance being over after the script's `vad_bytes`
of it, and what was in the prompt of one response is cached for the next. Pure: no waiting, no sockets.
"""

import base64
import binascii
import json
from collections import deque
from collections.abc import Callable

from bench.answers import CREATED
from bench.realtime_script import Session, Turn
from bench.realtime_speech import Event, Place, Utterance
from bench.realtime_usage import BYTES_PER_MS, IMAGE_TOKENS, Charge, Tokens, heard, words

_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
_TEXTS = ("text", "transcript", "arguments", "output")


def _session(identifier: str, model: str, kind: str) -> Event:
    sound = {"type": "audio/pcm", "rate": 24000}
    vad = {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }
    listening = {"format": sound, "transcription": None, "noise_reduction": None, "turn_detection": vad}
    session: Event = {"type": kind, "object": f"realtime.{kind}_session", "id": identifier, "include": None}
    if kind == "transcription":
        return session | {"audio": {"input": listening}}
    return session | {
        "object": "realtime.session",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": CREATED + 3600,
        "audio": {"input": listening, "output": {"format": sound, "voice": "marin", "speed": 1.0}},
    }


class Conversation:
    """One session's state; `hear` and `begin` are called in the order of the wire (`bench.realtime_speech.Talk`)."""

    def __init__(self, script: Session, *, number: int, model: str, transcription: bool = False) -> None:
        self._script = script
        self._model = model
        self._prefix = f"{number:04d}"
        self.session = _session(f"sess_{self._prefix}", model, "transcription" if transcription else "realtime")
        self._items: dict[str, tuple[Event, Tokens]] = {}
        self._counts: dict[str, int] = {}
        self._orders: deque[Event] = deque()
        self._speaking: Utterance | None = None
        self._responses = 0
        self._prompt_before = Tokens()
        self._buffered_bytes = 0
        self._heard_bytes = 0
        self._utterance_item: str | None = None
        self._hears: dict[str, Callable[[Event], list[Event]]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.truncate": self._truncate_item,
            "conversation.item.delete": self._delete_item,
            "response.create": self._order,
            "response.cancel": self._cancel,
        }

    def opening(self) -> list[Event]:
        """Give session.created."""
        return [{"type": "session.created", "session": self.session}]

    def hear(self, event: Event) -> list[Event]:
        """Take one client event; every mistake becomes an `error` event, and the session goes on."""
        hears = self._hears.get(str(event.get("type")))
        if hears is None:
            return [_error(event, "invalid_value", f"Invalid value: {event.get('type')!r}.", "type")]
        try:
            return hears(event)
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            return [_error(event, "invalid_value", f"Not a valid {event['type']}: {exc!r}.")]

    def undecodable(self) -> list[Event]:
        """Give the error of a frame that is no JSON object."""
        return [_error({}, "invalid_json", "The frame is no JSON object.")]

    def stamp(self, event: Event) -> Event:
        """Give the event its `event_id`."""
        return {"type": event["type"], "event_id": self._next("event")} | event

    def charge(self, event: Event) -> Charge | None:
        """Give what response.done and a completed transcription say."""
        if event["type"] == "response.done":
            response = event["response"]
            return Charge(response["id"], "response", response["status"], self._model, response["usage"])
        if event["type"] == _TRANSCRIBED:
            return Charge(event["item_id"], "transcription", "completed", self._transcribes(), event["usage"])
        return None

    # -- responses -----------------------------------------------------------------------------------------------------

    def begin(self) -> Utterance | None:
        """Give the next response that was ordered."""
        if not self._orders:
            return None
        request = self._orders.popleft()
        turn = self._script.turn(self._responses)
        self._responses += 1
        inside = request.get("conversation") != "none"
        prompt = self._prompt(request)
        cached = self._prompt_before.within(prompt)
        if inside:
            self._prompt_before = prompt
        limit = request.get("max_output_tokens", self.session.get("max_output_tokens"))
        place = Place(
            self._next("resp"),
            self._next("item"),
            self._next("call"),
            f"conv_{self._prefix}" if inside else None,
            self._last_item(),
            self._adopt,
        )
        self._speaking = Utterance(
            turn,
            place,
            kind=self._kind(turn, request),
            usual=f"The scripted upstream heard: {self._last_words()}",
            prompt=prompt,
            cached=cached,
            output_tokens_max=limit if isinstance(limit, int) else None,
            metadata=request.get("metadata"),
        )
        return self._speaking

    def end(self) -> None:
        """Let the response be over, so that another may be ordered."""
        self._speaking = None

    def _kind(self, turn: Turn, request: Event) -> str:
        modalities = request.get("output_modalities") or self.session.get("output_modalities") or ["audio"]
        choice = request.get("tool_choice") or self.session.get("tool_choice")
        if turn.kind is None and (choice == "required" or isinstance(choice, dict)):
            return "function"
        return turn.kind or ("audio" if "audio" in modalities else "text")

    def _order(self, event: Event) -> list[Event]:
        if self._speaking or self._orders:
            message = "Conversation already has an active response in progress."
            return [_error(event, "conversation_already_has_active_response", message)]
        self._orders.append(event.get("response") or {})
        return []

    def _cancel(self, event: Event) -> list[Event]:
        speaking = self._speaking
        if speaking is None or event.get("response_id") not in {None, speaking.response_id}:
            return [_error(event, "response_cancel_not_active", "Cancellation failed: no active response found")]
        speaking.interrupt("client_cancelled")
        return []

    def _prompt(self, request: Event) -> Tokens:
        prompt = Tokens(text=words(str(request.get("instructions") or self.session.get("instructions") or "")))
        if isinstance(request.get("input"), list):
            own = [self._items[item["id"]][1] if _refers(item) else item_tokens(item) for item in request["input"]]
            return sum(own, prompt)
        return sum((tokens for _, tokens in self._items.values()), prompt)

    # -- audio ---------------------------------------------------------------------------------------------------------

    def _append(self, event: Event) -> list[Event]:
        try:
            audio_bytes = len(binascii.a2b_base64(event["audio"], strict_mode=True))
        except (KeyError, TypeError, ValueError):
            return [_error(event, "invalid_value", "Invalid 'audio': expected base64 audio bytes.", "audio")]
        replies: list[Event] = []
        vad = self.session["audio"]["input"]["turn_detection"]
        if vad and not self._buffered_bytes and audio_bytes:
            self._utterance_item = self._next("item")
            at = {"audio_start_ms": self._heard_bytes // BYTES_PER_MS, "item_id": self._utterance_item}
            replies.append({"type": "input_audio_buffer.speech_started", **at})
            if self._speaking and vad.get("interrupt_response", True):
                self._speaking.interrupt("turn_detected")
        self._buffered_bytes += audio_bytes
        self._heard_bytes += audio_bytes
        if vad and self._buffered_bytes >= self._script.vad_bytes:
            at = {"audio_end_ms": self._heard_bytes // BYTES_PER_MS, "item_id": self._utterance_item}
            replies += [{"type": "input_audio_buffer.speech_stopped", **at}, *self._committed()]
            if vad.get("create_response", True) and self.session["type"] == "realtime":
                self._orders.append({})
        return replies

    def _commit(self, event: Event) -> list[Event]:
        if not self._buffered_bytes:
            message = "Error committing input audio buffer: the buffer is empty."
            return [_error(event, "input_audio_buffer_commit_empty", message)]
        return self._committed()

    def _committed(self) -> list[Event]:
        audio_bytes, self._buffered_bytes = self._buffered_bytes, 0
        identifier, self._utterance_item = self._utterance_item or self._next("item"), None
        previous = self._last_item()
        transcript = f"{audio_bytes // BYTES_PER_MS} ms of speech"
        model = self._transcribes()
        content = [{"type": "input_audio", "transcript": transcript if model else None}]
        item: Event = {"id": identifier, "object": "realtime.item", "type": "message", "status": "completed"}
        item |= {"role": "user", "content": content}
        self._adopt(item, Tokens(audio=heard(audio_bytes)))
        committed = {"type": "input_audio_buffer.committed", "previous_item_id": previous, "item_id": identifier}
        replies = [committed, *_added(item, previous)]
        if model:
            name = _TRANSCRIBED.removesuffix("completed")
            about = {"item_id": identifier, "content_index": 0}
            usage = _transcription_usage(model, audio_bytes, transcript)
            replies.append({"type": f"{name}delta", **about, "delta": transcript})
            replies.append({"type": f"{name}completed", **about, "transcript": transcript, "usage": usage})
        return replies

    def _clear(self, _event: Event) -> list[Event]:
        self._buffered_bytes, self._utterance_item = 0, None
        return [{"type": "input_audio_buffer.cleared"}]

    def _transcribes(self) -> str:
        return str((self.session["audio"]["input"]["transcription"] or {}).get("model") or "")

    # -- session and items ---------------------------------------------------------------------------------------------

    def _update(self, event: Event) -> list[Event]:
        changes = event.get("session")
        if not isinstance(changes, dict):
            return [_error(event, "missing_required_parameter", "Missing required parameter: 'session'.", "session")]
        if changes.get("model", self._model) != self._model:
            return [_error(event, "invalid_value", "The model of a session cannot be changed.", "session.model")]
        if changes.get("type", self.session["type"]) != self.session["type"]:
            return [_error(event, "invalid_value", "The type of a session cannot be changed.", "session.type")]
        self.session = _merged(self.session, changes)
        return [{"type": "session.updated", "session": self.session}]

    def _create_item(self, event: Event) -> list[Event]:
        given = event.get("item")
        if not isinstance(given, dict):
            return [_error(event, "missing_required_parameter", "Missing required parameter: 'item'.", "item")]
        tokens, previous = item_tokens(given), self._last_item()
        parts = given.get("content")
        if isinstance(parts, list):  # audio that went in is not given back
            given = given | {"content": [{key: part[key] for key in part if key != "audio"} for part in parts]}
        item = {"id": self._next("item"), "object": "realtime.item", "status": "completed"} | given
        self._adopt(item, tokens)
        return _added(item, previous)

    def _retrieve_item(self, event: Event) -> list[Event]:
        if event.get("item_id") not in self._items:
            return [_missing(event)]
        return [{"type": "conversation.item.retrieved", "item": self._items[event["item_id"]][0]}]

    def _truncate_item(self, event: Event) -> list[Event]:
        if event.get("item_id") not in self._items:
            return [_missing(event)]
        about = {key: event.get(key) for key in ("item_id", "content_index", "audio_end_ms")}
        return [{"type": "conversation.item.truncated", **about}]

    def _delete_item(self, event: Event) -> list[Event]:
        if self._items.pop(event.get("item_id", ""), None) is None:
            return [_missing(event)]
        return [{"type": "conversation.item.deleted", "item_id": event["item_id"]}]

    def _adopt(self, item: Event, tokens: Tokens) -> None:
        self._items[item["id"]] = (item, tokens)

    def _last_item(self) -> str | None:
        return next(reversed(self._items), None)

    def _last_words(self) -> str:
        users = (item for item, _ in reversed(self._items.values()) if item.get("role") == "user")
        parts = next(users, {}).get("content") or [{}]
        return str(parts[-1].get("text") or parts[-1].get("transcript") or "something")

    def _next(self, kind: str) -> str:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"{kind}_{self._prefix}_{self._counts[kind]:06d}"


def item_tokens(item: Event) -> Tokens:
    """Count an item as part of a prompt."""
    tokens = Tokens(text=sum(words(str(item[key])) for key in _TEXTS if isinstance(item.get(key), str)))
    for part in item.get("content") or []:
        if part.get("type") == "input_image":
            tokens += Tokens(image=IMAGE_TOKENS)
        elif "audio" in part:
            tokens += Tokens(audio=heard(len(base64.b64decode(part["audio"]))))
        else:
            tokens += Tokens(text=words(str(part.get("text") or part.get("transcript") or "")))
    return tokens


def rate_limits() -> Event:
    """Give the event that follows a response."""
    limits = [
        {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06},
        {"name": "tokens", "limit": 50000, "remaining": 49900, "reset_seconds": 0.12},
    ]
    return {"type": "rate_limits.updated", "rate_limits": limits}


def _transcription_usage(model: str, audio_bytes: int, transcript: str) -> Event:
    """Whisper is paid by the second, its successors by the token."""
    if "whisper" in model:
        return {"type": "duration", "seconds": audio_bytes // BYTES_PER_MS / 1000}
    prompt, output = heard(audio_bytes), words(transcript)
    details = {"text_tokens": 0, "audio_tokens": prompt}
    counts = {"input_tokens": prompt, "output_tokens": output, "total_tokens": prompt + output}
    return {"type": "tokens", **counts, "input_token_details": details}


def _added(item: Event, previous: str | None) -> list[Event]:
    about = {"previous_item_id": previous, "item": item}
    return [{"type": "conversation.item.added", **about}, {"type": "conversation.item.done", **about}]


def _refers(item: Event) -> bool:
    return item.get("type") == "item_reference"


def _missing(event: Event) -> Event:
    return _error(event, "item_not_found", f"There is no item {json.dumps(event.get('item_id'))}.", "item_id")


def _error(event: Event, code: str, message: str, param: str | None = None) -> Event:
    error = {"type": "invalid_request_error", "code": code, "message": message, "param": param}
    return {"type": "error", "error": error | {"event_id": event.get("event_id")}}


def _merged(old: Event, changes: Event) -> Event:
    """Change what is named, object within object."""
    merged = dict(old)
    for key, value in changes.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
