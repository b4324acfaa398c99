"""Turns of the Responses API over a WebSocket, as the scripted realtime server takes them.

The rule: the server's half of that protocol as its clients use it (the official SDK's `responses.connect`, Codex): each
`response.create` frame holds a request; it is answered with the events of the HTTP stream; requests are taken in the
order of their coming; a `previous_response_id` is found only among the socket's own responses, `store: false` or not;
`generate: false` warms up and says nothing; a `stream_id` comes back in every event. A mistake is an `error` event with
a status, and the socket stays open. Tokens are words (`bench.realtime_usage`). Pure: no waiting, no sockets.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

from bench.answers import CREATED
from bench.realtime_conversation import item_tokens
from bench.realtime_script import Session, Turn
from bench.realtime_speech import Beat, Event
from bench.realtime_usage import Charge, words

_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete"})


class SocketedTurns:
    """The responses of one socket, one after the other (`bench.realtime_speech.Talk`)."""

    def __init__(self, script: Session, *, number: int) -> None:
        self._script = script
        self._prefix = f"{number:04d}"
        self._orders: deque[Event] = deque()
        self._context_tokens: dict[str, int] = {}
        self._responses = 0

    def opening(self) -> list[Event]:
        """Give nothing: the client speaks first."""
        return []

    def hear(self, event: Event) -> list[Event]:
        """Take one client event."""
        lane = event.get("stream_id")
        if event.get("type") != "response.create":
            return [_error(400, "invalid_value", f"Invalid value: {event.get('type')!r}.", "type", lane)]
        if not isinstance(event.get("model"), str):
            return [_error(400, "missing_required_parameter", "Missing required parameter: 'model'.", "model", lane)]
        previous = event.get("previous_response_id")
        if previous is not None and previous not in self._context_tokens:
            message = f"Previous response with id '{previous}' not found."
            return [_error(400, "previous_response_not_found", message, "previous_response_id", lane)]
        self._orders.append(event)
        return []

    def undecodable(self) -> list[Event]:
        """Give the error of a frame that is no JSON object."""
        return [_error(400, "invalid_json", "The frame is no JSON object.", None, None)]

    def begin(self) -> "Reply | None":
        """Give the next response that was asked for."""
        if not self._orders:
            return None
        request = self._orders.popleft()
        identifier = f"resp_{self._prefix}_{self._responses:06d}"
        turn = self._script.turn(self._responses)
        self._responses += 1
        cached = self._context_tokens.get(request.get("previous_response_id") or "", 0)
        reply = Reply(turn, request, identifier, cached)
        self._context_tokens[identifier] = reply.context_tokens
        return reply

    def end(self) -> None:
        """Do nothing: the next request may be waiting already."""

    def stamp(self, event: Event) -> Event:
        """Give it back: its reply has numbered it."""
        return event

    def charge(self, event: Event) -> Charge | None:
        """Give what the end of a response says."""
        if event["type"] not in _ENDS:
            return None
        response = event["response"]
        return Charge(response["id"], "response", response["status"], response["model"], response["usage"])


class Reply:
    """The events of one response. No frame of this protocol interrupts it."""

    interrupted = False

    def __init__(self, turn: Turn, request: Event, identifier: str, cached_tokens: int) -> None:
        self.turn = turn
        self._request = request
        self._id = identifier
        self._cached_tokens = cached_tokens
        self._prompt_tokens = cached_tokens + _prompt_tokens(request)
        self._silent = request.get("generate") is False
        self._function = turn.kind == "function"
        usual = f"The scripted upstream heard: {_last_words(request)}"
        pieces = turn.argument_pieces() if self._function else turn.pieces(usual)
        limit = request.get("max_output_tokens")
        self._cut = isinstance(limit, int) and len(pieces) > limit and not self._silent
        self._pieces = [] if self._silent else pieces[:limit] if self._cut else pieces
        self._sequence = -1

    @property
    def context_tokens(self) -> int:
        """What a request that continues this one has in its prompt already."""
        return self._prompt_tokens + len(self._pieces)

    def beats(self) -> Iterator[Beat]:
        """Give it beat by beat."""
        yield Beat(tuple(self._response(name, "in_progress") for name in ("response.created", "response.in_progress")))
        speaks = bool(self._pieces) or (self.turn.status == "completed" and not self._silent)
        if speaks:
            yield Beat(tuple(self._beginning()))
            for piece in self._pieces:
                yield Beat((self._part(f"{self._of_what}.delta", delta=piece),), paced=True)
            yield Beat(tuple(self._closing()))
        status = "incomplete" if self._cut else self.turn.status
        done = self._response(f"response.{status}", status, [self._item("completed")] if speaks else [])
        yield Beat((done,) * self.turn.done_times)

    @property
    def _of_what(self) -> str:
        return "response.function_call_arguments" if self._function else "response.output_text"

    def _beginning(self) -> Iterator[Event]:
        yield self._event("response.output_item.added", output_index=0, item=self._item("in_progress"))
        if not self._function:
            yield self._part("response.content_part.added", part=_text_part(""))

    def _closing(self) -> Iterator[Event]:
        whole = "".join(self._pieces)
        if self._function:
            yield self._part(f"{self._of_what}.done", name=self.turn.name, arguments=whole)
        else:
            yield self._part(f"{self._of_what}.done", text=whole, logprobs=[])
            yield self._part("response.content_part.done", part=_text_part(whole))
        yield self._event("response.output_item.done", output_index=0, item=self._item("completed"))

    def _item(self, status: str) -> Event:
        whole = "" if status == "in_progress" else "".join(self._pieces)
        if self._function:
            call = {"call_id": f"call_{self._id}", "name": self.turn.name, "arguments": whole}
            return {"id": f"fc_{self._id}", "type": "function_call", "status": status, **call}
        content = [] if status == "in_progress" else [_text_part(whole)]
        message = {"role": "assistant", "content": content}
        return {"id": f"msg_{self._id}", "type": "message", "status": status, **message}

    def _event(self, name: str, /, **fields: Any) -> Event:
        self._sequence += 1
        lane = self._request.get("stream_id")
        event = {"type": name, "sequence_number": self._sequence, **fields}
        return event if lane is None else event | {"stream_id": lane}

    def _part(self, name: str, /, **fields: Any) -> Event:
        about = {"item_id": self._item("in_progress")["id"], "output_index": 0}
        if not self._function:
            about["content_index"] = 0
        if name.endswith("output_text.delta"):
            fields["logprobs"] = []
        return self._event(name, **about, **fields)

    def _response(self, name: str, status: str, output: list[Event] | None = None) -> Event:
        over = status != "in_progress"
        reason = "max_output_tokens" if self._cut else self.turn.reason
        error = {"code": self.turn.code, "message": "The scripted response failed."}
        response = {
            "id": self._id,
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "background": False,
            "error": error if status == "failed" else None,
            "incomplete_details": {"reason": reason} if status == "incomplete" else None,
            "instructions": self._request.get("instructions"),
            "max_output_tokens": self._request.get("max_output_tokens"),
            "model": self._request["model"],
            "output": output or [],
            "parallel_tool_calls": True,
            "previous_response_id": self._request.get("previous_response_id"),
            "store": self._request.get("store", True),
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": self._request.get("tools") or [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": self._usage() if over else None,
            "metadata": {},
        }
        return self._event(name, response=response)

    def _usage(self) -> dict[str, Any] | None:
        if self.turn.usage is None or isinstance(self.turn.usage, dict):
            return self.turn.usage
        output = len(self._pieces)
        return {
            "input_tokens": self._prompt_tokens,
            "input_tokens_details": {"cached_tokens": self._cached_tokens, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._prompt_tokens + output,
        }


def _text_part(text: str) -> Event:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _items(request: Event) -> list[Event]:
    given = request.get("input") or []
    if isinstance(given, str):
        return [{"role": "user", "content": [{"type": "input_text", "text": given}]}]
    return [item | {"content": _parts(item)} for item in given if isinstance(item, dict)]


def _parts(item: Event) -> list[Event]:
    content = item.get("content") or []
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


def _prompt_tokens(request: Event) -> int:
    return words(str(request.get("instructions") or "")) + sum(item_tokens(item).total for item in _items(request))


def _last_words(request: Event) -> str:
    users = [part for item in _items(request) if item.get("role") == "user" for part in item["content"]]
    return str((users or [{}])[-1].get("text") or "nothing")


def _error(status: int, code: str, message: str, param: str | None, lane: str | None) -> Event:
    error = {"type": "invalid_request_error", "code": code, "message": message, "param": param}
    event: Event = {"type": "error", "status": status, "error": error}
    return event if lane is None else event | {"stream_id": lane}
