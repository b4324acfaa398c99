"""Under way: which responses of a session began, and what was paid for, so that each is paid for once.

Ids are the upstream's. What was paid for long ago is forgotten, so that a session of any length takes bounded memory:
an upstream that repeats an event does so at once, not thousands of responses later.
"""

REMEMBERED_MAX = 4_096
"""So many ids are known at a time: of responses under way, and of what was paid for."""

ID_CHARACTERS_MAX = 256
"""A longer id is none."""


class UnderWay:
    """The responses of one session. In a lane responses follow each other; "" is the one without a name."""

    __slots__ = ("_cancelled", "_ended", "_lanes", "_paid", "_unnamed")

    def __init__(self) -> None:
        self._lanes: dict[str, str] = {}
        self._ended: set[str] = set()
        self._cancelled: set[str] = set()
        self._paid: dict[tuple[str, str], None] = {}
        self._unnamed = 0

    def __repr__(self) -> str:
        return f"<UnderWay {len(self._lanes)} unpaid, {len(self._paid)} paid>"

    @property
    def responding(self) -> bool:
        """Whether any response has begun that has not ended."""
        return len(self._lanes) > len(self._ended)

    @property
    def unpaid(self) -> tuple[str, ...]:
        """The ids of what began and was not paid for, oldest first."""
        return tuple(self._lanes)

    def begin(self, response_id: str, lane: str = "") -> bool:
        """Note that a response began; whether that is news."""
        known = response_id in self._lanes or ("response", response_id) in self._paid
        if known or not _is_id(response_id):
            return False
        if len(self._lanes) >= REMEMBERED_MAX:
            self._forget(next(iter(self._lanes)))
        self._lanes[response_id] = lane[:ID_CHARACTERS_MAX]
        return True

    def end(self, lane: str) -> None:
        """Note that the responses of a lane will say nothing more, except perhaps what they cost."""
        self._ended.update(each for each, its in self._lanes.items() if its == lane[:ID_CHARACTERS_MAX])

    def pay(self, what: str, given_id: str) -> str | None:
        """Note that something is to be paid for; return its id, one of our own where it had none. None: not again."""
        if not _is_id(given_id):
            self._unnamed += 1
            return f"unnamed_{self._unnamed}"
        if (what, given_id) in self._paid:
            return None
        if len(self._paid) >= REMEMBERED_MAX:
            del self._paid[next(iter(self._paid))]
        self._paid[what, given_id] = None
        if what == "response":
            self._forget(given_id)
        return given_id

    def cancel(self) -> str | None:
        """Return the id of the oldest response that was not returned before and has not ended, None without one."""
        for response_id in self._lanes:
            if response_id not in self._cancelled and response_id not in self._ended:
                self._cancelled.add(response_id)
                return response_id
        return None

    def _forget(self, response_id: str) -> None:
        self._lanes.pop(response_id, None)
        self._ended.discard(response_id)
        self._cancelled.discard(response_id)


def _is_id(given: str) -> bool:
    return 0 < len(given) <= ID_CHARACTERS_MAX
