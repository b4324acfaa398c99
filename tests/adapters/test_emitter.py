"""The emitters' common half: the order of segments, names and ids, stop sequences, estimates, and the collector."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.collector import Collected, CollectedCall, Collector
from adapters.conversation import Reasoning, Text, Tool
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.usage import Usage
from tests.adapters.recorder import Recorder, drive, opening

SIGNATURE = Signature("elsewhere", "there/model", "sig")


def told(*operations: tuple[Any, ...], **of_opening: Any) -> list[tuple[Any, ...]]:
    """Return what is written of operations between a start and an end, without those two."""
    recorder = Recorder(opening(**of_opening))
    drive(recorder, [("start", "id", "model", 5), *operations, ("end",)])
    assert recorder.log[0] == ("start", "id", "model", 5)
    assert recorder.log[-1][0] == "end"
    return recorder.log[1:-1]


def calls(log: list[tuple[Any, ...]]) -> list[tuple[str, str, str]]:
    """Return (id, name, arguments) of the calls in a log; fails unless each was open alone."""
    found: list[tuple[str, str, str]] = []
    is_open = False
    for entry in log:
        if entry[0] == "call_open":
            assert not is_open
            is_open = True
            found.append((entry[2], entry[3], ""))
        elif entry[0] == "arguments":
            assert is_open
            found[-1] = (*found[-1][:2], found[-1][2] + entry[2])
        elif entry[0] == "call_close":
            is_open = False
        else:
            assert not is_open
    return found


def test_one_segment_at_a_time() -> None:
    log = told(
        ("reasoning", "Hm"), ("text", "A"), ("text", "B"), ("text", ""), ("refusal", "no"), ("finish", Reason.END)
    )
    assert [entry[0] for entry in log] == [
        *("reasoning_open", "reasoning", "reasoning_close"),
        *("text_open", "text", "text_close"),
        *("refusal_open", "refusal", "refusal_close", "finish"),
    ]


def test_b13_parallel_calls_back_to_back() -> None:
    log = told(
        *(("call_open", 0, "a", "f"), ("call_arguments", 0, "{}")),
        *(("call_open", 1, "b", "g"), ("call_arguments", 1, '{"x":1}')),
        ("finish", Reason.TOOL),
    )
    assert calls(log[:-1]) == [("a", "f", "{}"), ("b", "g", '{"x":1}')]
    assert log[-1][2] is Reason.TOOL


def test_b14_fragments_of_two_calls_interleaved() -> None:
    log = told(
        *(("call_open", 0, "a", "f"), ("call_open", 1, "b", "g")),
        *(("call_arguments", 0, '{"x":'), ("call_arguments", 1, "{}"), ("call_arguments", 0, "1}")),
        ("finish", Reason.TOOL),
    )
    assert calls(log[:-1]) == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_the_current_call_is_live_and_the_next_follows_when_it_is_whole() -> None:
    recorder = Recorder()
    drive(recorder, [("start",), ("call_open", 0, "a", "f"), ("call_open", 1, "b", "g"), ("call_arguments", 0, "{")])
    assert recorder.log[-1] == ("arguments", 0, "{")
    drive(recorder, [("call_arguments", 1, '{"y":'), ("call_arguments", 0, "}"), ("call_arguments", 1, "2")])
    assert calls(recorder.log[1:]) == [("a", "f", "{}"), ("b", "g", '{"y":2')]
    drive(recorder, [("call_arguments", 1, "}")])
    assert recorder.log[-1] == ("arguments", 0, '{"y":2}')


def test_b18_a_call_without_arguments_has_an_empty_object() -> None:
    assert calls(told(("call_open", 0, "a", "f"), ("call_arguments", 0, ""))[:-1]) == [("a", "f", "{}")]


def test_b21_a_call_cut_by_the_end_is_not_whole_and_not_repaired() -> None:
    log = told(("call_open", 0, "a", "f"), ("call_arguments", 0, '{"city":"Par'), ("finish", Reason.LENGTH))
    assert calls(log[:-1]) == [("a", "f", '{"city":"Par')]
    assert log[-2] == ("call_close", 0, False)
    assert log[-1][2] is Reason.LENGTH


def test_b30_reasoning_and_text_while_a_call_is_open_wait_for_it() -> None:
    log = told(
        *(("call_open", 0, "a", "f"), ("call_arguments", 0, '{"x"')),
        *(
            ("reasoning", "late"),
            ("reasoning_sign", SIGNATURE),
            ("reasoning_close",),
            ("reasoning", "more"),
            ("text", "T"),
        ),
        ("call_arguments", 0, ":1}"),
    )
    assert [entry for entry in log if entry[0] in {"reasoning", "text", "reasoning_close", "call_close"}] == [
        ("call_close", 0, True),
        *(("reasoning", 0, "late"), ("reasoning_close", 0, SIGNATURE)),
        *(("reasoning", 0, "more"), ("reasoning_close", 0, None)),
        ("text", 0, "T"),
    ]


def test_b23_an_end_after_a_call_is_a_tool_call_and_length_stays() -> None:
    assert told(("call_open", 0, "a", "f"), ("finish", Reason.END))[-1][2] is Reason.TOOL
    assert told(("text", "a"), ("finish", Reason.TOOL))[-1][2] is Reason.END
    assert told(("call_open", 0, "a", "f"), ("finish", Reason.FILTER))[-1][2] is Reason.FILTER


def test_the_first_reason_that_says_anything_counts() -> None:
    log = told(("text", "a"), ("finish", Reason.OTHER), ("finish", Reason.LENGTH), ("finish", Reason.END))
    assert log[-1][2] is Reason.LENGTH


def test_b28_a_late_signature_makes_an_item_of_its_own() -> None:
    log = told(("reasoning", "T"), ("text", "A"), ("reasoning_sign", SIGNATURE), ("text", "B"))
    assert [entry[0] for entry in log].count("reasoning") == 1
    assert [entry[2] for entry in log if entry[0] == "reasoning_close"] == [None, SIGNATURE]
    assert "".join(entry[2] for entry in log if entry[0] == "text") == "AB"


def test_an_empty_reasoning_item_is_not_written() -> None:
    assert told(("reasoning_open",), ("reasoning_close",), ("text", "A"))[0] == ("text_open", 0)


def test_arguments_for_a_completed_call_are_the_upstreams_mistake() -> None:
    recorder = Recorder()
    drive(recorder, [("start",), ("call_open", 0, "a", "f"), ("call_close", 0)])
    drive(recorder, [("call_arguments", 0, "{}")])
    failure = recorder.failure
    assert failure is not None
    assert failure.code == "upstream_protocol_error"


def test_white_space_behind_a_completed_call_is_nothing() -> None:
    recorder = Recorder()
    drive(recorder, [("start",), ("call_open", 0, "a", "f"), ("call_close", 0), ("call_arguments", 0, " \n")])
    assert recorder.failure is None


def test_missing_ids_are_made_distinct_and_stable() -> None:
    first = calls(told(("call_open", 0, "", "f"), ("call_close", 0), ("call_open", 1, "", "f"))[:-1])
    again = calls(told(("call_open", 0, "", "f"), ("call_close", 0), ("call_open", 1, "", "f"))[:-1])
    assert first == again
    assert first[0][0] != first[1][0]


def test_b27_free_form_input_comes_unwrapped_under_its_own_name() -> None:
    tools = (Tool("apply_patch", custom=True), Tool("run", namespace="shell"))
    recorder = Recorder(opening(tools=tools))
    flat = recorder.opening.conversation.names.flat("run", "shell")
    drive(
        recorder,
        [
            ("start",),
            *(("call_open", 0, "a", "apply_patch"), ("call_arguments", 0, '{"input": "*** Be')),
            *(("call_arguments", 0, "gin\\n"), ("call_arguments", 0, 'x"}')),
            *(("call_open", 1, "b", flat), ("call_arguments", 1, "{}"), ("end",)),
        ],
    )
    assert recorder.named("call_open") == [
        ("call_open", 0, "a", "apply_patch", None, True),
        ("call_open", 0, "b", "run", "shell", False),
    ]
    assert recorder.named("arguments")[0] == ("arguments", 0, "*** Begin\nx")


def test_b43_a_stop_sequence_is_looked_for_where_the_upstream_has_none() -> None:
    log = told(
        *(("text", "one E"), ("text", "ND two"), ("reasoning", "x"), ("call_open", 0, "a", "f")),
        *(("call_arguments", 0, "{}"), ("finish", Reason.END)),
        stops=("END",),
    )
    assert log == [
        ("text_open", 0),
        ("text", 0, "one "),
        ("text_close", 0),
        ("finish", 0, Reason.STOP_SEQUENCE, "END", None),
    ]
    assert told(("text", "one E"), stops=("END",))[1] == ("text", 0, "one E")


def test_b55_an_answer_tools_arguments_are_the_text() -> None:
    log = told(
        *(("call_open", 0, "a", "answer"), ("call_arguments", 0, '{"x"'), ("call_arguments", 0, ":1}")),
        *(("call_close", 0), ("finish", Reason.TOOL)),
        answer_tool="answer",
    )
    assert log == [
        ("text_open", 0),
        ("text", 0, '{"x":1}'),
        ("text_close", 0),
        ("finish", 0, Reason.END, None, None),
    ]


def test_alternatives_are_kept_apart() -> None:
    log = told(
        *(("text", "A"), ("alternative", 1), ("text", "B"), ("alternative", 0), ("text", "a"), ("finish", Reason.END)),
        *(("alternative", 1), ("finish", Reason.LENGTH)),
    )
    for index, text, reason in ((0, "Aa", Reason.END), (1, "B", Reason.LENGTH)):
        assert "".join(entry[2] for entry in log if entry[:2] == ("text", index)) == text
        assert ("finish", index, reason, None, None) in log


def test_usage_is_what_was_reported_last_or_else_an_estimate() -> None:
    recorder = Recorder(opening(input_tokens=9))
    drive(recorder, [("start",), ("text", "12345")])
    assert recorder.usage == Usage(9, 2, estimated=True)
    drive(recorder, [("usage_report", Usage(1, 1)), ("usage_report", Usage(3, 4))])
    assert recorder.usage == Usage(3, 4)


def test_nothing_may_come_before_the_start_nor_after_the_end() -> None:
    with pytest.raises(AssertionError):
        drive(Recorder(), [("text", "A")])
    with pytest.raises(KeyError):
        drive(Recorder(), [("start",), ("end",), ("end",)])


PIECES = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(max_size=3)),
        st.tuples(st.just("reasoning"), st.text(max_size=3)),
        st.tuples(st.just("refusal"), st.text(max_size=3)),
        st.just(("reasoning_close",)),
        st.tuples(st.just("argument"), st.integers(0, 3)),
    ),
    max_size=40,
)
ARGUMENTS = '{"a":[1,{"b":"}{\\""}],"c":"\\\\"}'


@given(PIECES)
def test_whatever_interleaves_nothing_is_lost_and_every_call_is_alone(pieces: list[tuple[Any, ...]]) -> None:
    operations: list[tuple[Any, ...]] = []
    given_to: dict[int, int] = {}
    for name, *rest in pieces:
        if name != "argument":
            operations.append((name, *rest))
            continue
        key = rest[0]
        if key not in given_to:
            operations.append(("call_open", key, f"id{key}", f"tool{key}"))
            given_to[key] = 0
        elif given_to[key] < len(ARGUMENTS):
            operations.append(("call_arguments", key, ARGUMENTS[given_to[key] : given_to[key] + 5]))
            given_to[key] += 5
    log = told(*operations)
    found = calls([entry for entry in log if entry[0] in {"call_open", "arguments", "call_close"}])
    assert [each[0] for each in found] == [f"id{key}" for key in given_to]
    for call_id, _, arguments in found:
        assert arguments == (ARGUMENTS[: given_to[int(call_id[2:])]] or "{}")
    for name in ("text", "reasoning", "refusal"):
        said = "".join(piece[1] for piece in pieces if piece[0] == name)
        assert "".join(entry[2] for entry in log if entry[0] == name) == said
    opened = [entry[0] for entry in log if entry[0].endswith(("_open", "_close"))]
    assert opened[1::2] == [name.replace("_open", "_close") for name in opened[::2]]


def test_the_collector_keeps_parts_in_order() -> None:
    collector = Collector(opening())
    drive(
        collector,
        [
            *(("start", "id"), ("reasoning", "Hm"), ("reasoning_sign", SIGNATURE), ("text", "A")),
            *(("cite", Citation("https://a")), ("text", "B"), ("call_open", 0, "a", "f"), ("call_arguments", 0, "{}")),
            *(("cite", Citation("https://b")), ("finish", Reason.TOOL), ("end",)),
        ],
    )
    (answer,) = collector.answers()
    assert isinstance(answer, Collected)
    assert answer.parts == [
        Reasoning("Hm", SIGNATURE),
        Text("AB", citations=(Citation("https://a"), Citation("https://b"))),
        CollectedCall("a", "f", "{}"),
    ]
    assert answer.reason is Reason.TOOL
