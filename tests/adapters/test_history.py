"""History: whatever order a client sends, upstreams get one they accept, and nothing said is lost."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.conversation import Call, Media, MediaKind, Part, Reasoning, Refusal, Result, Role, Text, Turn
from adapters.history import (
    NO_RESULT,
    PLACEHOLDER,
    alternating,
    folded,
    placed,
    settled,
    split_system,
    without_trailing_space,
)

Kind = TypeVar("Kind", Text, Call, Result)

IMAGE = Media(MediaKind.IMAGE, "messages.0", media_type="image/png", content="AA==")


def system(*parts: Part | str) -> Turn:
    return turn(Role.SYSTEM, *parts)


def user(*parts: Part | str) -> Turn:
    return turn(Role.USER, *parts)


def assistant(*parts: Part | str) -> Turn:
    return turn(Role.ASSISTANT, *parts)


def tool(*parts: Part) -> Turn:
    return turn(Role.TOOL, *parts)


def turn(role: Role, *parts: Part | str) -> Turn:
    return Turn(role, tuple(Text(part) if isinstance(part, str) else part for part in parts))


def call(call_id: str) -> Call:
    return Call(call_id, f"tool_{call_id}", "{}")


def result(call_id: str, text: str = "") -> Result:
    return Result(call_id, (Text(text or f"result of {call_id}"),))


def missing(call_id: str) -> Result:
    return Result(call_id, (Text(NO_RESULT),), is_error=True, name=f"tool_{call_id}")


# -- B49: calls and results --------------------------------------------------------------------------------------------


def test_b49_results_come_right_after_their_calls_in_call_order() -> None:
    turns = [
        user("go"),
        assistant(call("a"), call("b")),
        tool(result("b")),
        user("hi"),
        tool(result("a")),
        tool(result("c")),
    ]
    assert settled(turns) == [
        user("go"),
        assistant(call("a"), call("b")),
        tool(result("a"), result("b")),
        user("hi"),
        user("Result of the tool call c:", "result of c"),
    ]
    assert alternating(settled(turns))[2:] == [
        user(result("a"), result("b"), "hi", "Result of the tool call c:", "result of c"),
    ]


def test_b49_a_missing_result_is_an_error_also_at_the_end() -> None:
    turns = [user("go"), assistant("one moment", call("a"), call("b")), tool(result("b"))]
    assert settled(turns) == [*turns[:2], tool(missing("a"), result("b"))]
    assert settled(turns[:2]) == [*turns[:2], tool(missing("a"), missing("b"))]


def test_b49_of_duplicates_the_last_is_kept() -> None:
    turns = [user("go"), assistant(call("a")), tool(result("a", "first")), tool(result("a", "second"))]
    assert settled(turns) == [*turns[:2], tool(result("a", "second"))]


def test_b49_an_id_in_several_turns_means_the_nearest_call_before() -> None:
    turns = [
        assistant(call("a")),
        tool(result("a", "one")),
        assistant(call("a")),
        tool(result("a", "two")),
        assistant(call("a")),
    ]
    assert settled(turns) == [*turns, tool(missing("a"))]


def test_b49_calls_of_one_turn_that_share_an_id_take_their_results_in_order() -> None:
    turns = [assistant(call("a"), call("a")), tool(result("a", "one")), tool(result("a", "two"))]
    assert settled(turns) == [turns[0], tool(result("a", "one"), result("a", "two"))]


def test_b49_a_result_before_its_call_is_none() -> None:
    turns = [tool(result("a")), assistant(call("a"))]
    assert settled(turns) == [
        user("Result of the tool call a:", "result of a"),
        assistant(call("a")),
        tool(missing("a")),
    ]


def test_b49_an_orphan_keeps_its_media_and_says_that_it_is_an_error() -> None:
    turns = [user("go"), tool(Result("a", (Text("see"), IMAGE), is_error=True), Result("", (), name="look"))]
    assert settled(turns) == [
        user("go"),
        user("Error of the tool call a:", "see", IMAGE, "Result of the tool call look:"),
    ]


def test_b49_a_free_form_call_gets_a_free_form_result() -> None:
    turns = [assistant(Call("a", "patch", "*** Begin", custom=True))]
    assert settled(turns)[1].parts == (Result("a", (Text(NO_RESULT),), is_error=True, name="patch", custom=True),)


def test_b49_results_among_the_users_words_are_taken_out() -> None:
    turns = [assistant(call("a")), user("so", result("a"), "well")]
    assert settled(turns) == [assistant(call("a")), tool(result("a")), user("so", "well")]


def test_results_that_were_sent_before_the_assistant_went_on_are_moved_up() -> None:
    turns = [assistant(call("a")), assistant("waiting"), tool(result("a"))]
    assert settled(turns) == [assistant(call("a")), tool(result("a")), assistant("waiting")]


# -- B50: system turns -------------------------------------------------------------------------------------------------


def test_b50_only_the_leading_system_turns_are_the_top() -> None:
    turns = [system("A"), user("hi"), assistant(call("a")), system("B"), tool(result("a")), system("C")]
    top, rest = split_system(settled(turns))
    assert top == [system("A")]
    assert rest == [user("hi"), assistant(call("a")), tool(result("a")), system("B"), system("C")]
    assert folded(rest) == [*rest[:3], user("<system>B</system>"), user("<system>C</system>")]
    assert alternating(folded(rest)) == [
        *rest[:2],
        user(result("a"), "<system>B</system>", "<system>C</system>"),
    ]


def test_b50_a_model_that_takes_them_gets_system_turns_where_it_does() -> None:
    rest = [user("hi"), assistant(call("a")), tool(result("a")), system("B"), system("C")]
    assert placed(rest) == [*rest[:3], system("B", "C")]
    assert placed([user("hi"), system("B"), assistant("so")]) == [user("hi"), system("B"), assistant("so")]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([system("A"), user("hi")], [user("<system>A</system>"), user("hi")]),
        ([user("hi"), system("A"), user("so")], [user("hi"), user("<system>A</system>"), user("so")]),
        ([assistant("hi"), system("A")], [assistant("hi"), user("<system>A</system>")]),
        ([user("hi"), assistant(""), system("A")], [user("hi"), system("A")]),
        ([user("hi"), system("A"), assistant(""), user("so")], [user("hi"), user("<system>A</system>"), user("so")]),
        ([user("hi"), system(""), assistant("so")], [user("hi"), assistant("so")]),
    ],
)
def test_b50_elsewhere_they_are_folded(turns: list[Turn], expected: list[Turn]) -> None:
    assert placed(turns) == expected


def test_b50_nothing_but_system_turns_leaves_no_rest() -> None:
    assert split_system([system("A"), system("B")]) == ([system("A"), system("B")], [])
    assert split_system([user("hi"), system("A")]) == ([], [user("hi"), system("A")])
    assert split_system([]) == ([], [])


def test_b50_a_folded_turn_keeps_what_is_no_text_and_one_that_says_nothing_is_gone() -> None:
    assert folded([system("A", IMAGE, " "), system(""), system()]) == [user("<system>A</system>", IMAGE, " ")]


# -- B51: taking turns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([user("a"), user("b")], [user("a", "b")]),
        ([user("a"), user(""), user("b")], [user("a", "b")]),
        ([user(""), user("b")], [user("b")]),
        ([user(" \n"), assistant("a")], [user(PLACEHOLDER), assistant("a")]),
        ([assistant("a")], [user(PLACEHOLDER), assistant("a")]),
        ([user("a"), assistant("b"), user(), assistant("c")], None),
        ([user("a"), assistant("b"), user("")], [user("a"), assistant("b"), user(PLACEHOLDER)]),
        ([user("a"), assistant(""), user("b")], [user("a", "b")]),
        (
            [user("a"), assistant("", call("x")), tool(result("x"))],
            [user("a"), assistant(call("x")), tool(result("x"))],
        ),
        ([user("a"), assistant("b"), assistant("c")], [user("a"), assistant("b", "c")]),
        ([user("a"), assistant(Refusal("")), user("b")], [user("a", "b")]),
        ([], [user(PLACEHOLDER)]),
        ([user("")], [user(PLACEHOLDER)]),
        ([user("a"), system("b"), system("c"), assistant("d")], [user("a"), system("b", "c"), assistant("d")]),
        ([user("a"), system(""), user("b")], [user("a", "b")]),
    ],
)
def test_b51_sides_take_turns_and_say_something(turns: list[Turn], expected: list[Turn] | None) -> None:
    expected = expected or [user("a"), assistant("b"), user(PLACEHOLDER), assistant("c")]
    assert alternating(turns) == expected


def test_b51_reasoning_and_results_without_text_are_something() -> None:
    turns = [user("a"), assistant(Reasoning()), tool(Result("x", (Text(""),)))]
    assert alternating(turns) == turns


def test_results_come_first_in_the_users_side() -> None:
    turns = [user("a"), assistant(call("x"), call("y")), user("b"), tool(result("x")), user(IMAGE), tool(result("y"))]
    assert alternating(turns)[2] == user(result("x"), result("y"), "b", IMAGE)
    assert alternating([user("a"), assistant(call("x")), user("b", result("x"))])[2] == user(result("x"), "b")


def test_a_joined_turn_keeps_the_name_they_share() -> None:
    ann, bob = Turn(Role.USER, (Text("a"),), "ann"), Turn(Role.USER, (Text("b"),), "bob")
    assert [turn.name for turn in alternating([ann, ann])] == ["ann"]
    assert [turn.name for turn in alternating([ann, bob])] == [None]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (assistant("a", "b \n"), assistant("a", "b")),
        (assistant("a "), assistant("a")),
        (assistant("a ", IMAGE), None),
        (assistant(), None),
        (user("a "), None),
    ],
)
def test_b51_the_text_to_go_on_from_has_no_trailing_space(last: Turn, expected: Turn | None) -> None:
    turns = [user("hi "), last]
    assert without_trailing_space(turns) == [user("hi "), expected or last]
    assert without_trailing_space([]) == []


# -- for every conversation --------------------------------------------------------------------------------------------

_ids = st.sampled_from(["a", "b", "c", ""])
_words = st.sampled_from(["", " ", "hi", "so\n"])
_texts = _words.map(Text)
_calls = st.builds(Call, _ids, st.just("tool"), st.just("{}"))
_results = st.builds(Result, _ids, st.tuples(_texts), st.booleans())
_turns = st.lists(
    st.one_of(
        st.builds(Turn, st.just(Role.SYSTEM), st.lists(_texts, max_size=2).map(tuple)),
        st.builds(Turn, st.just(Role.USER), st.lists(_texts | st.just(IMAGE), max_size=2).map(tuple)),
        st.builds(
            Turn,
            st.just(Role.ASSISTANT),
            st.lists(_texts | _calls | st.just(Reasoning("hm")), max_size=4).map(tuple),
        ),
        st.builds(Turn, st.just(Role.TOOL), st.lists(_results, max_size=3).map(tuple)),
    ),
    max_size=8,
)

_STEPS: list[Callable[[Iterable[Turn]], list[Turn]]] = [settled, folded, placed, alternating, without_trailing_space]


def parts(turns: Iterable[Turn], kind: type[Kind]) -> list[Kind]:
    return [part for turn in turns for part in turn.parts if isinstance(part, kind)]


@st.composite
def well_formed(draw: st.DrawFn) -> list[Turn]:
    """Draw a conversation that is in order: sides take turns, every call has its result right after it."""
    turns: list[Turn] = []
    for ordinal in range(draw(st.integers(1, 4))):
        said = draw(st.lists(st.sampled_from(["hi", "so\nwell"]), min_size=1, max_size=2))
        if ordinal == 0 or turns[-1].role is not Role.TOOL:
            turns.append(user(*said))
        calls = [call(f"{ordinal}.{n}") for n in range(draw(st.integers(0, 3)))]
        turns.append(assistant(Reasoning("hm"), "yes", *calls))
        if calls:
            turns.append(tool(*(result(each.id) for each in calls)))
    return turns


@given(well_formed())
def test_what_is_in_order_comes_back_equal(turns: list[Turn]) -> None:
    for step in _STEPS:
        assert step(turns) == turns


@given(_turns)
@pytest.mark.parametrize("step", _STEPS, ids=lambda step: step.__name__)
def test_doing_it_again_changes_nothing_and_the_input_stays(
    step: Callable[[Iterable[Turn]], list[Turn]], turns: list[Turn]
) -> None:
    before = list(turns)
    once = step(turns)
    assert turns == before
    assert step(once) == once


@given(_turns)
def test_every_call_has_one_result_right_after_it(turns: list[Turn]) -> None:
    after = settled(turns)
    assert parts(after, Call) == parts(turns, Call)
    for index, each in enumerate(after):
        calls = parts([each], Call)
        answers = [answer.call_id for answer in parts([after[index + 1]], Result)] if calls else []
        assert answers == [asked.id for asked in calls]
        assert (each.role is Role.TOOL) == bool(parts([each], Result)), "results stand there and nowhere else"
        assert each.role is not Role.TOOL or parts([after[index - 1]], Call)


@given(_turns)
def test_no_result_is_made_up_or_lost_without_need(turns: list[Turn]) -> None:
    """One result for each call; what is over is text, or a duplicate of a result that is kept."""
    after = settled(turns)
    made_up = [each for each in parts(after, Result) if each.parts == (Text(NO_RESULT),)]
    kept = Counter(map(repr, parts(after, Result))) - Counter(map(repr, made_up))
    assert not kept - Counter(map(repr, parts(turns, Result))), "each was sent by the client"
    sent = {each.call_id for each in parts(turns, Result)}
    told = " ".join(text.text for text in parts(after, Text))
    here = {each.call_id for each in parts(after, Result)}
    assert all(sent_id in here or f"call {sent_id or 'without an id'}:" in told for sent_id in sent)


@given(_turns)
def test_everything_else_keeps_its_order(turns: list[Turn]) -> None:
    def said(turns: list[Turn]) -> list[Part]:
        return [part for turn in turns for part in turn.parts if not isinstance(part, Result)]

    without_orphans = [each for each in turns if each.role is not Role.TOOL]
    assert said(settled(without_orphans)) == said(without_orphans)
    without_system = [each for each in turns if each.role is not Role.SYSTEM]
    assert folded(without_system) == without_system
    assert [part for part in said(placed(without_system)) if part != Text(PLACEHOLDER)] == [
        part for part in said(without_system) if not isinstance(part, Text) or part.text.strip()
    ]


@given(_turns)
def test_in_the_end_the_sides_take_turns(turns: list[Turn]) -> None:
    top, rest = split_system(settled(turns))
    assert all(each.role is Role.SYSTEM for each in top)
    after = alternating(folded(rest))
    assert [each.role is Role.ASSISTANT for each in after] == [index % 2 == 1 for index in range(len(after))]
    assert after[0].role in {Role.USER, Role.TOOL}
    assert all(each.parts for each in after)
    assert all(text.text.strip() for text in parts(after, Text))
    assert parts(after, Call) == parts(turns, Call)
    for each in after:
        kinds = [isinstance(part, Result) for part in each.parts]
        assert kinds == sorted(kinds, reverse=True), "results first"


@given(_turns)
def test_in_the_end_system_turns_stand_between_the_user_and_the_assistant(turns: list[Turn]) -> None:
    after = alternating(placed(split_system(settled(turns))[1]))
    for index, each in enumerate(after):
        if each.role is Role.SYSTEM:
            assert after[index - 1].role in {Role.USER, Role.TOOL}
            assert index + 1 == len(after) or after[index + 1].role is Role.ASSISTANT
    sides = [each.role is Role.ASSISTANT for each in after if each.role is not Role.SYSTEM]
    assert sides == [index % 2 == 1 for index in range(len(sides))]
