"""Realtime options: [realtime], the sessions over WebSockets, declared like the sections in `options`."""

from typing import Annotated

from msgspec import Meta

from engine.config.declaring import Section, about

SECONDS_MAX = 31_536_000
TOKENS_MAX = 10_000_000
FRAME_BYTES_MAX = 1 << 30

Seconds = Annotated[float, Meta(gt=0, le=SECONDS_MAX)]
Tokens = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]


class RealtimeOptions(Section, frozen=True, kw_only=True):
    """[realtime]."""

    enabled: Annotated[bool, about("serve realtime sessions; otherwise 501")] = True
    idle_seconds: Annotated[Seconds, about("a session in which neither side says anything for so long is closed")] = 600
    session_seconds: Annotated[Seconds, about("the whole of a session; OpenAI ends its own after an hour")] = 3_600
    ping_seconds: Annotated[
        Seconds, about("between two pings to either side; one that leaves two of them unanswered is gone")
    ] = 20
    frame_bytes_max: Annotated[
        int, Meta(ge=1024, le=FRAME_BYTES_MAX), about("one message of either side; over it close code 1009")
    ] = 16 * 1024 * 1024
    pin_model: Annotated[bool, about("refuse frames that ask for a model which the session was not opened with")] = True
    output_tokens_max: Annotated[Tokens, about("of a response at most, whatever the client asks for; 0: no bound")] = 0
    input_tokens_reserved: Annotated[Tokens, about("reserved for the prompt of the next response of a session")] = 8_192
    output_tokens_reserved: Annotated[Tokens, about("reserved for the next response of a session")] = 4_096
    secret_seconds_max: Annotated[Seconds, about("how long a client secret may be good for at most")] = 7_200
