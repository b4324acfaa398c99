"""Frames of sessions as upstreams and clients write them, for the tests of sessions."""

import json
from typing import Any

AUDIO = "A" * 4_000


def frame(kind: str, /, **members: Any) -> str:
    """Return an event with its type first, as servers write it."""
    return json.dumps({"type": kind, **members}, separators=(",", ":"))


def realtime_usage(
    text: int = 0,
    audio: int = 0,
    image: int = 0,
    *,
    cached: tuple[int, int, int] = (0, 0, 0),
    out_text: int = 0,
    out_audio: int = 0,
) -> dict[str, Any]:
    """Return the usage of a `response.done`, with everything said that the interface has words for."""
    names = ("text_tokens", "audio_tokens", "image_tokens")
    return {
        "total_tokens": text + audio + image + out_text + out_audio,
        "input_tokens": text + audio + image,
        "output_tokens": out_text + out_audio,
        "input_token_details": {
            **dict(zip(names, (text, audio, image), strict=True)),
            "cached_tokens": sum(cached),
            "cached_tokens_details": dict(zip(names, cached, strict=True)),
        },
        "output_token_details": {"text_tokens": out_text, "audio_tokens": out_audio},
    }


def created(name: str = "resp_1") -> str:
    return frame("response.created", event_id="event_1", response={"id": name, "object": "realtime.response"})


def done(name: str | None = "resp_1", status: str = "completed", usage: Any = None, **members: Any) -> str:
    response = {"object": "realtime.response", "id": name, "status": status, "usage": usage, **members}
    return frame("response.done", event_id="event_9", response=response)


def transcribed(usage: Any, item: str = "item_1", part: int = 0) -> str:
    return frame(
        "conversation.item.input_audio_transcription.completed",
        event_id="event_7",
        item_id=item,
        content_index=part,
        transcript='Hello, "type": there',
        usage=usage,
    )


def settings(model: str | None = "gpt-realtime", transcriber: str | None = None, kind: str = "session.created") -> str:
    """Return the settings of a session, as the GA interface tells them."""
    heard = None if transcriber is None else {"model": transcriber, "language": None}
    session = {
        "type": "realtime",
        "model": model,
        "id": "sess_1",
        "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24_000}, "transcription": heard}},
        "max_output_tokens": "inf",
    }
    return frame(kind, event_id="event_0", session=session)
