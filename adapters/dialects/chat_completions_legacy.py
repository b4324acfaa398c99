"""The Completions API before Chat Completions: its requests as ones of today, its answers in their old shape.

A prompt becomes one message of the user's, an answer its text alone. What has no equivalent (several prompts, token
arrays, `suffix`, `echo`, `best_of`, `logprobs`) is refused by name. The API's old default of 16 tokens is not kept: it
would cut every answer of a model that thinks. Reasoning, calls and sources are left out, since there is no place for
them; a client of this API cannot have asked for tools.
"""

import msgspec
from msgspec import Raw

from adapters import json_body
from adapters.body_fields import field, refusal, unreadable, wrong_type
from adapters.collector import Collected, Collector
from adapters.conversation import Refusal, Text
from adapters.dialects import Request
from adapters.dialects.chat_emitter import answer_id, finish_reason, written_usage
from adapters.dialects.chat_errors import error_event
from adapters.dialects.chat_message import MESSAGES
from adapters.dialects.chat_request import parse_request
from adapters.dialects.chat_tap import DONE
from adapters.emitter import Emitter, Lane, OpenCall, Opening
from adapters.errors import ClientError, Failure
from adapters.json_body import Members
from adapters.operations import Reason
from adapters.raw import says
from adapters.signatures import Signature

OBJECT = "text_completion"
_REFUSED = ("suffix", "echo", "logprobs")
_OWN = frozenset({"prompt", "best_of", *_REFUSED})
_ENCODER = msgspec.json.Encoder()
_encode = _ENCODER.encode
_END = b"}\n\n"


def read_legacy(body: bytes) -> Request:
    """Return the Chat Completions request that asks for the same. Raises `ClientError` 400 that names what is not."""
    fields, _ = json_body.read(body, unreadable)
    prompt = _prompt(fields)
    for name in _REFUSED:
        if name in fields and (says(fields[name]) or (name == "logprobs" and bytes(fields[name]) == b"0")):
            raise _unsupported(name)
    best_of = field(fields, "best_of")
    if best_of is not None and best_of != (field(fields, "n") or 1):
        raise _unsupported("best_of")
    members = {name: raw for name, raw in fields.items() if name not in _OWN}
    members[MESSAGES] = Raw(_encode([{"role": "user", "content": prompt}]))
    return parse_request(_encode(members))


def _prompt(fields: Members) -> str:
    prompt = field(fields, "prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if prompt is None:
        raise refusal("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter")
    if not isinstance(prompt, list):
        raise wrong_type("prompt", "a string or an array of one string", prompt)
    what = "an array of several prompts" if prompt and isinstance(prompt[0], str) else "an array of tokens"
    message = f"Unsupported value: 'prompt' is {what}. Send one prompt, as text."
    raise refusal(message, "prompt", "unsupported_value")


def _unsupported(name: str) -> ClientError:
    return refusal(f"Unsupported parameter: '{name}' is not supported with this model.", name, "unsupported_parameter")


def _finish(reason: Reason) -> str:
    """There is no call to end for, nor anything but a filter that declines."""
    return "stop" if reason is Reason.TOOL else finish_reason(reason, declined=False, legacy=False)


class LegacyEmitter(Emitter):
    """One stream of `text_completion` chunks: the text of each alternative, and how it ended."""

    __slots__ = ("_head", "_tail")

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self._head = b""
        self._tail = (b',"usage":null' if opening.request.usage_wanted else b"") + _END

    def error(self, failure: Failure) -> bytes:
        """Return the chunk that says it; nothing follows it."""
        return error_event(failure)

    def _begin(self) -> None:
        head = {"id": answer_id(self), "object": OBJECT, "created": self.created, "model": self.model}
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['

    def _chunk(self, lane: Lane, text: bytes, finish: bytes) -> None:
        choice = b'{"index":%d,"text":%b,"logprobs":null,"finish_reason":%b}]' % (lane.index, text, finish)
        self._out.append(self._head + choice + self._tail)

    def _text(self, lane: Lane, text: str) -> None:
        self._chunk(lane, _encode(text), b"null")

    def _refusal(self, lane: Lane, text: str) -> None:
        self._chunk(lane, _encode(text), b"null")

    def _text_open(self, lane: Lane) -> None: ...

    def _text_close(self, lane: Lane) -> None: ...

    def _refusal_open(self, lane: Lane) -> None: ...

    def _refusal_close(self, lane: Lane) -> None: ...

    def _reasoning_open(self, lane: Lane) -> None: ...

    def _reasoning(self, lane: Lane, text: str) -> None: ...

    def _reasoning_close(self, lane: Lane, signature: Signature | None) -> None: ...

    def _call_open(self, lane: Lane, call: OpenCall) -> None: ...

    def _call_delta(self, lane: Lane, call: OpenCall, fragment: str) -> None: ...

    def _call_close(self, lane: Lane, call: OpenCall, *, whole: bool) -> None: ...

    def _end_lane(self, lane: Lane, reason: Reason) -> None:
        self._chunk(lane, b'""', _encode(_finish(reason)))

    def _end(self) -> None:
        if self.opening.request.usage_wanted:
            self._out.append(self._head + b'],"usage":' + _encode(written_usage(self.usage)) + _END)
        self._out.append(DONE)


def open_legacy_emitter(opening: Opening) -> LegacyEmitter:
    """Return the emitter of one stream."""
    return LegacyEmitter(opening)


def render_legacy_answer(collector: Collector) -> bytes:
    """Return the body of a unary answer."""
    return _encode(
        {
            "id": answer_id(collector),
            "object": OBJECT,
            "created": collector.created,
            "model": collector.model,
            "choices": [_choice(answer) for answer in collector.answers() or [Collected(0)]],
            "usage": written_usage(collector.usage),
        }
    )


def _choice(answer: Collected) -> dict[str, object]:
    text = "".join(part.text for part in answer.parts if isinstance(part, Text | Refusal))
    return {"index": answer.index, "text": text, "logprobs": None, "finish_reason": _finish(answer.reason)}
