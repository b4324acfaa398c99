"""History: a conversation put into the order that every upstream accepts.

Clients leave results out, send them late, twice or for no call, put system turns where they please and repeat one side.
Some upstreams take that, others refuse the whole conversation, and every later turn of it. Four steps, each a function
of the turns alone, so that a history that is sent again comes out the same and the upstream's prompt cache holds:

- `settled`: right after each turn with calls stand their results, one for each, in order (B49);
- `split_system`, then `folded` or `placed`: where system turns may stand (B50);
- `alternating`: the two sides take turns, and nobody says nothing (B51).

They are to be applied in this order; each leaves alone what is in order already, and repeating it changes nothing.
Nothing is mutated. What a dialect cannot hold of a single part is the dialect's to say; whether a system turn may stand
inside the conversation is the model's (`system_anywhere`). Parallel calls that a reader left in turns of their own stay
apart: each is settled by itself.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from msgspec.structs import replace

from adapters.conversation import Call, Media, Part, Refusal, Result, Role, Text, Turn

NO_RESULT = "no result"
"""What a call is told to have returned when the client did not say."""

PLACEHOLDER = "."
"""What the user says who said nothing: several upstreams refuse blank text, and a turn without any."""

_SIDES = {Role.SYSTEM: "system", Role.ASSISTANT: "assistant", Role.USER: "user", Role.TOOL: "user"}

_SYSTEM, _ASSISTANT, _TOOL = Role.SYSTEM, Role.ASSISTANT, Role.TOOL
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""


# -- calls and results -------------------------------------------------------------------------------------------------


class _Calls:
    """The calls of one turn and their results so far."""

    __slots__ = ("calls", "places", "results", "taken")

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls
        self.results: list[Result | None] = [None] * len(calls)
        self.places: dict[str, list[int]] = {}
        self.taken: Counter[str] = Counter()
        for place, call in enumerate(calls):
            self.places.setdefault(call.id, []).append(place)

    def take(self, result: Result) -> None:
        """Keep a result: for the first call of that id that lacks one, else in place of the last one's."""
        places = self.places[result.call_id]
        taken = self.taken[result.call_id]
        self.taken[result.call_id] = taken + 1
        self.results[places[min(taken, len(places) - 1)]] = result

    def turn(self) -> Turn:
        pairs = zip(self.calls, self.results, strict=True)
        return Turn(Role.TOOL, tuple(_missing(call) if result is None else result for call, result in pairs))


def settled(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns with one TOOL turn after each assistant's turn with calls: a result for each, in their order.

    A result belongs to the nearest call of its id before it, wherever it stands; the last of several counts. A missing
    one is made up as an error, at the end of the conversation too: no upstream answers past an open call. A result
    without a call becomes text of the user's, at its place. Other turns keep their order, so one that stood between
    calls and results comes after them.
    """
    turns = list(turns)
    return turns if _is_settled(turns) else _settled(turns)


def _is_settled(turns: list[Turn]) -> bool:
    """Whether all results stand where they belong, in turns of nothing else, as in nearly every conversation."""
    asked: list[str] = []
    for turn in turns:
        if turn.role is _TOOL:
            if not asked or turn.name is not None:
                return False
            if [part.call_id if type(part) is Result else None for part in turn.parts] != asked:
                return False
            asked = []
            continue
        if asked:
            return False
        for part in turn.parts:
            if type(part) is Text:
                continue
            if type(part) is Result:
                return False
            if type(part) is Call and turn.role is _ASSISTANT:
                asked.append(part.id)
    return not asked


def _settled(turns: list[Turn]) -> list[Turn]:
    opened: dict[int, _Calls] = {}
    orphans: dict[int, list[Result]] = {}
    nearest: dict[str, _Calls] = {}
    for index, turn in enumerate(turns):
        if turn.role is Role.ASSISTANT:
            calls = [part for part in turn.parts if isinstance(part, Call)]
            if calls:
                opened[index] = _Calls(calls)
                nearest.update({call.id: opened[index] for call in calls})
        for result in _results(turn):
            asked = nearest.get(result.call_id)
            if asked is None:
                orphans.setdefault(index, []).append(result)
            else:
                asked.take(result)
    settled_turns: list[Turn] = []
    for index, turn in enumerate(turns):
        rest = tuple(part for part in turn.parts if not isinstance(part, Result))
        if index in orphans:
            rest = (*(part for result in orphans[index] for part in _told(result)), *rest)
        if turn.role is not Role.TOOL and len(rest) == len(turn.parts):
            settled_turns.append(turn)
        elif rest:
            settled_turns.append(Turn(Role.USER if turn.role is Role.TOOL else turn.role, rest, turn.name))
        if index in opened:
            settled_turns.append(opened[index].turn())
    return settled_turns


def _results(turn: Turn) -> Iterator[Result]:
    return (part for part in turn.parts if isinstance(part, Result))


def _missing(call: Call) -> Result:
    return Result(call.id, (Text(NO_RESULT),), is_error=True, name=call.name, custom=call.custom)


def _told(result: Result) -> list[Text | Media]:
    """Return a result as what the user says: there is no call that it could answer."""
    what = "Error" if result.is_error else "Result"
    return [Text(f"{what} of the tool call {result.call_id or result.name or 'without an id'}:"), *result.parts]


# -- system turns ------------------------------------------------------------------------------------------------------


def split_system(turns: Iterable[Turn]) -> tuple[list[Turn], list[Turn]]:
    """Return the system turns that the conversation begins with, and the rest."""
    turns = list(turns)
    begin = next((index for index, turn in enumerate(turns) if turn.role is not _SYSTEM), len(turns))
    return turns[:begin], turns[begin:]


def folded(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns with each system turn as one of the user's, at its place, its text in `<system>` tags.

    Not hoisted to the top: there it would mean something else, and change the prefix that the upstream has cached.
    One that says nothing is dropped.
    """
    spoken = [turn for turn in turns if turn.role is not _SYSTEM or _without_blanks(turn).parts]
    return [_folded(turn) if turn.role is _SYSTEM else turn for turn in spoken]


def placed(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns with system turns only where models that take them inside messages do, the others folded.

    That is between the user and the assistant, or between the user and the end, and one alone: neighbours are joined
    (platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages, limitations, 2026). Blank parts,
    and turns of the assistant's and the system's left without any, are dropped: they would not keep them apart.
    """
    spoken = _spoken(turns)
    if not any(turn.role is _SYSTEM for turn in spoken):
        return spoken
    runs = [(system, list(run)) for system, run in groupby(spoken, lambda turn: turn.role is _SYSTEM)]
    placed_turns: list[Turn] = []
    for index, (system, run) in enumerate(runs):
        after_user = index > 0 and _SIDES[runs[index - 1][1][-1].role] == "user"
        before_assistant = index + 1 == len(runs) or runs[index + 1][1][0].role is Role.ASSISTANT
        if not system:
            placed_turns += run
        elif after_user and before_assistant:
            placed_turns.append(_joined(run))
        else:
            placed_turns += folded(run)
    return placed_turns


def _folded(turn: Turn) -> Turn:
    parts = (
        replace(part, text=f"<system>{part.text}</system>") if isinstance(part, Text) and part.text.strip() else part
        for part in turn.parts
    )
    return Turn(Role.USER, tuple(parts), turn.name)


# -- taking turns ------------------------------------------------------------------------------------------------------


def alternating(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns with consecutive ones of one side joined and blank text left out, the user's side first.

    Results are the user's side, and come first in it: a joined turn that holds more than results has role USER. What
    says nothing is dropped; where the user then is silent between two of the assistant's turns, before its first or
    after its last, or altogether, a placeholder stands.
    """
    turns = list(turns)
    return turns if _is_alternating(turns) else _alternated(turns)


def _is_alternating(turns: list[Turn]) -> bool:
    """Whether the user and the assistant take turns and every part says something, as in nearly every conversation."""
    before = _ASSISTANT
    for turn in turns:
        role = turn.role
        if role is _SYSTEM or not turn.parts or (role is _ASSISTANT) is (before is _ASSISTANT):
            return False
        before = role
        has_others = False
        for part in turn.parts:
            if type(part) is Text:
                if not part.text or part.text.isspace():
                    return False
                has_others = True
            elif type(part) is Result:
                if has_others:
                    return False
            elif _is_blank(part):
                return False
            else:
                has_others = True
    return bool(turns)


def _alternated(turns: list[Turn]) -> list[Turn]:
    joined = [_joined(list(run)) for _, run in groupby(_spoken(turns), lambda turn: _SIDES[turn.role])]
    alternate = [turn if turn.parts else replace(turn, role=Role.USER, parts=(Text(PLACEHOLDER),)) for turn in joined]
    if not alternate or alternate[0].role is Role.ASSISTANT:
        alternate.insert(0, Turn(Role.USER, (Text(PLACEHOLDER),)))
    return alternate


def without_trailing_space(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns with the text they end in trimmed on the right if it is the assistant's.

    An upstream that goes on from it refuses trailing whitespace.
    """
    turns = list(turns)
    if turns and turns[-1].role is Role.ASSISTANT and turns[-1].parts:
        *before, last = turns[-1].parts
        if isinstance(last, Text) and last.text != last.text.rstrip():
            turns[-1] = replace(turns[-1], parts=(*before, replace(last, text=last.text.rstrip())))
    return turns


def _spoken(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns without blank parts; of those left empty only the user's, whose side may have to stay."""
    spoken = [_without_blanks(turn) for turn in turns]
    return [turn for turn in spoken if turn.parts or _SIDES[turn.role] == "user"]


def _without_blanks(turn: Turn) -> Turn:
    for part in turn.parts:
        if _is_blank(part):
            return replace(turn, parts=tuple(part for part in turn.parts if not _is_blank(part)))
    return turn


def _is_blank(part: Part) -> bool:
    return (type(part) is Text or type(part) is Refusal) and (not part.text or part.text.isspace())


def _joined(run: list[Turn]) -> Turn:
    """Return consecutive turns of one side as one, results first."""
    parts = [part for turn in run for part in turn.parts]
    results = [part for part in parts if isinstance(part, Result)]
    rest = [part for part in parts if not isinstance(part, Result)]
    if len(run) == 1 and (not results or parts == [*results, *rest]):
        return run[0]
    role = run[0].role
    if _SIDES[role] == "user":
        role = Role.USER if rest or not results else Role.TOOL
    names = {turn.name for turn in run if turn.parts}
    return Turn(role, (*results, *rest), names.pop() if len(names) == 1 else None)
