"""Conversations that are in order pass in one look, and come out as the careful way leaves them."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters import history
from adapters.conversation import Call, Media, MediaKind, Part, Reasoning, Refusal, Result, Role, Text, Turn

IMAGE = Media(MediaKind.IMAGE, "here", url="https://example.com/a.png")

_ids = st.sampled_from(["a", "b"])
_texts = st.sampled_from(["", " ", "\u2003\n", "hi", " so\n"]).map(Text)
_calls = st.builds(Call, _ids, st.just("tool"), st.just("{}"))
_results = st.builds(Result, _ids, st.tuples(_texts), st.booleans())
_others = st.sampled_from([IMAGE, Reasoning("hm"), Refusal(""), Refusal("no")])
_parts: st.SearchStrategy[Part] = st.one_of(_texts, _calls, _results, _others)


def _turns_of(*rows: tuple[Role, st.SearchStrategy[Part]]) -> st.SearchStrategy[Turn]:
    names = st.none() | st.just("ann")
    return st.one_of(
        *(st.builds(Turn, st.just(role), st.lists(part, max_size=3).map(tuple), names) for role, part in rows)
    )


_call, _result = Call("a", "tool", "{}"), Result("a", (Text("done"),))
_likely = st.sampled_from(
    [
        Turn(Role.USER, (Text("go"),)),
        Turn(Role.ASSISTANT, (Text("well"),)),
        Turn(Role.ASSISTANT, (Text("well"), _call)),
        Turn(Role.ASSISTANT, (_call, _call)),
        Turn(Role.TOOL, (_result,)),
        Turn(Role.TOOL, (_result, _result)),
        Turn(Role.TOOL, (_result,), "ann"),
        Turn(Role.USER, (_result, Text("go on"))),
        Turn(Role.USER, (Text("go on"), _result)),
        Turn(Role.ASSISTANT, ()),
    ]
)
_any = _turns_of(*((role, _parts) for role in Role))


@st.composite
def _nearly_in_order(draw: st.DrawFn) -> list[Turn]:
    """Draw a conversation that is in order but for a turn or two."""
    turns = [
        Turn(Role.USER, (Text("go"),)),
        Turn(Role.ASSISTANT, (Text("well"), _call)),
        Turn(Role.TOOL, (_result,)),
        Turn(Role.ASSISTANT, (_call, _call)),
        Turn(Role.TOOL, (_result, _result)),
        Turn(Role.ASSISTANT, (Text("there"),)),
    ]
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(turns) - 1))
        turns[at : at + draw(st.integers(0, 1))] = draw(st.lists(_likely, max_size=1))
    return turns


_conversations = _nearly_in_order() | st.lists(_any, max_size=6)


@settings(max_examples=400)
@given(_conversations)
@example([Turn(Role.ASSISTANT, (_call,))])
@example([Turn(Role.ASSISTANT, (_call,)), Turn(Role.TOOL, (_result,), "ann")])
def test_results_are_settled_as_the_careful_way_settles_them(turns: list[Turn]) -> None:
    assert history.settled(turns) == history._settled(turns)


@settings(max_examples=400)
@given(_conversations)
def test_sides_take_turns_as_the_careful_way_has_it(turns: list[Turn]) -> None:
    assert history.alternating(turns) == history._alternated(turns)


def test_what_is_in_order_is_not_made_anew() -> None:
    call, result = Call("a", "tool", "{}"), Result("a", (Text("done"),))
    turns = [
        Turn(Role.USER, (Text("go"),)),
        Turn(Role.ASSISTANT, (Text("well"), call)),
        Turn(Role.TOOL, (result,)),
        Turn(Role.ASSISTANT, (Text("there"),)),
    ]
    for step in (history.settled, history.alternating):
        assert all(after is before for before, after in zip(turns, step(turns), strict=True))
