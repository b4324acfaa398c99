"""The codes and reasons that a WebSocket closes with (RFC 6455, section 7.4).

Decides which may be sent, and what a relay sends in place of those that may not. It knows no connection.
"""

from typing import Final

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PAYLOAD",
    "NORMAL",
    "NO_CLOSE_FRAME",
    "NO_CODE",
    "PROTOCOL_ERROR",
    "REASON_BYTES_MAX",
    "TOO_BIG",
    "fitting",
    "is_code",
    "sendable",
]

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NO_CODE: Final = 1005
NO_CLOSE_FRAME: Final = 1006
INVALID_PAYLOAD: Final = 1007
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011

REASON_BYTES_MAX: Final = 123
"""What a control frame of 125 bytes leaves for a reason, beside the code (RFC 6455, section 5.5)."""


def is_code(code: int) -> bool:
    """Whether a Close frame may carry `code`: RFC 6455 section 7.4, and what IANA registered since."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def sendable(code: int) -> int:
    """Return what to close one hop with after the other ended with `code`.

    1005 (no code was given) becomes 1000. 1006 and 1015 (no Close frame ever came), reserved and invalid codes become
    1011, after which clients connect again.
    """
    if code == NO_CODE:
        return NORMAL
    return code if is_code(code) else INTERNAL_ERROR


def fitting(reason: str) -> str:
    """Cut `reason` to what a Close frame holds, at a character."""
    return reason.encode(errors="replace")[:REASON_BYTES_MAX].decode(errors="ignore")
