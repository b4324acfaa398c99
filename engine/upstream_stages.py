"""The stages of one attempt at an upstream, and which may follow which.

    CONNECT ──> SEND ──> HEAD ──┬──> BODY ──> ENDED
      ^          │        │     └──> REFUSED
      └──────────┴────────┘  a kept connection had died        every one ──> CLOSED

It says no more than that: what moves an attempt from one to the next is `engine.upstream`'s.
"""

from enum import IntEnum


class Stage(IntEnum):
    """How far an attempt has come. An IntEnum: five transitions a request, and only its members hash in C."""

    CONNECT = 0
    SEND = 1
    HEAD = 2
    REFUSED = 3
    BODY = 4
    ENDED = 5
    CLOSED = 6


TRANSITIONS: dict[Stage, frozenset[Stage]] = {
    Stage.CONNECT: frozenset({Stage.SEND, Stage.CLOSED}),
    Stage.SEND: frozenset({Stage.HEAD, Stage.CONNECT, Stage.CLOSED}),
    Stage.HEAD: frozenset({Stage.BODY, Stage.REFUSED, Stage.CONNECT, Stage.CLOSED}),
    Stage.REFUSED: frozenset({Stage.CLOSED}),
    Stage.BODY: frozenset({Stage.ENDED, Stage.CLOSED}),
    Stage.ENDED: frozenset({Stage.CLOSED}),
    Stage.CLOSED: frozenset(),
}
