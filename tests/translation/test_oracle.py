"""The oracle and the fixtures, judged without any translation: every upstream's stream through its own vendor's SDK.

If these fail, the harness is wrong, not the gateway.
"""

import dataclasses
import json
import logging
from typing import Any

import httpx2
import pytest
from google.genai import errors as genai_errors
from pydantic import ValidationError

from tests.translation import oracle
from tests.translation.cases import BY_DIALECT, CASES
from tests.translation.cuts import FEEDINGS, UNREAD, WRITINGS
from tests.translation.seen import DIALECTS, Counts, Fault, MisunderstoodError, Seen, call, merged, parsed, text
from tests.translation.understood import understood
from tests.translation.upstreams import FINISH, Case, is_cut_call, read_as, written

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*"),
    pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason:UserWarning"),  # upstreams have their own
]

READ = [case for case in CASES if case.sdk]
UNREAD_CASES = [case for case in CASES if not case.sdk]
WHOLE = [case for case in CASES if case.unary is not None]
CRASHES = (AssertionError, LookupError, RuntimeError, TypeError, genai_errors.UnknownApiResponseError)
"""What the SDKs raise over what they do not understand; none of it is an API error."""

NEUTRAL = set(FINISH["chat"])


@pytest.mark.parametrize("case", READ, ids=str)
def test_the_vendors_sdk_reads_the_stream_as_meant(case: Case) -> None:
    assert oracle.streamed(case.dialect, [case.stream()]) == read_as(case.dialect, case.seen)


@pytest.mark.parametrize("case", [case for case in WHOLE if case.sdk], ids=str)
def test_the_vendors_sdk_reads_the_whole_answer_as_meant(case: Case) -> None:
    assert oracle.whole(case.dialect, case.body) == read_as(case.dialect, case.seen)


@pytest.mark.parametrize("case", UNREAD_CASES, ids=str)
def test_what_is_marked_as_not_for_the_sdk_is_not(case: Case) -> None:
    try:
        seen = oracle.streamed(case.dialect, [case.stream()])
    except CRASHES:
        return
    assert seen != read_as(case.dialect, case.seen)


@pytest.mark.parametrize("case", READ, ids=str)
def test_our_reader_agrees_with_the_sdk(case: Case) -> None:
    assert understood(case.dialect, case.stream()) == oracle.streamed(case.dialect, [case.stream()])


@pytest.mark.parametrize("case", [case for case in READ if "error" not in case.name], ids=str)
def test_our_reader_agrees_with_the_sdk_wherever_the_stream_is_cut(case: Case) -> None:
    """An end too early must look the same to both: the loops over all cuts ask our reader alone."""
    for until in {0, 1, len(case.payloads) // 2, len(case.payloads) - 1}:
        stream = case.stream(until)
        assert understood(case.dialect, stream) == oracle.streamed(case.dialect, [stream])


@pytest.mark.parametrize("case", [case for case in CASES if case.sdk and "unknown" not in case.name], ids=str)
def test_fixtures_are_of_the_sdks_types(case: Case) -> None:
    for payload in case.payloads:
        if isinstance(payload, dict) and not payload.get("error") and payload.get("type") != "error":
            oracle.check_types(case.dialect, payload, stream=True)
    if case.unary is not None:
        oracle.check_types(case.dialect, case.unary, stream=False)


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_sdk_gets_the_pieces_as_they_were_cut(dialect: str, feeding: str) -> None:
    case = next(case for case in BY_DIALECT[dialect] if case.name == "tricky characters")
    assert oracle.streamed(dialect, FEEDINGS[feeding](case.stream())) == read_as(dialect, case.seen)


@pytest.mark.parametrize("writing", WRITINGS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_writings_are_read_or_known_not_to_be(dialect: str, writing: str) -> None:
    name = "no role" if dialect == "chat" else "plain"  # content in the first event
    case = next(case for case in BY_DIALECT[dialect] if case.name == name)
    expected = read_as(dialect, case.seen)
    if dialect not in UNREAD.get(writing, ()):
        assert oracle.streamed(dialect, [WRITINGS[writing](case)]) == expected
        return
    try:
        seen = oracle.streamed(dialect, [WRITINGS[writing](case)])
    except CRASHES:
        return
    assert seen != expected


# -- the fixtures cover what they are to cover --

KINDS = {
    "plain": "plain",
    "tricky": "tricky characters",
    "empty": "empty",
    "length": "length",
    "call": "call",
    "text and call": "text and call",
    "call without arguments": "call without arguments",
    "usage in full": "usage in full",
    "error first": "error first",
    "error in the middle": "error in the middle",
    "cut": "cut",
    "cut at once": "cut at once",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_has_the_common_cases(dialect: str) -> None:
    names = [case.name for case in BY_DIALECT[dialect]]
    assert len(names) == len(set(names))
    assert set(KINDS.values()) <= set(names)
    assert {case.dialect for case in BY_DIALECT[dialect]} == {dialect}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_common_cases_mean_the_same_in_every_dialect(dialect: str) -> None:
    """So that a client cannot tell which upstream it had."""
    ours = {case.name: case.seen for case in BY_DIALECT[dialect]}
    for name in ("plain", "tricky characters", "empty", "length", "call", "text and call", "cut"):
        theirs = next(case.seen for case in BY_DIALECT["chat"] if case.name == name)
        assert (ours[name].blocks, ours[name].finish) == (theirs.blocks, theirs.finish)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_to_be_understood_is_in_neutral_words(case: Case) -> None:
    assert case.seen.finish in NEUTRAL | {None}
    assert merged(case.seen.blocks) == case.seen.blocks
    assert case.seen.finish is None or case.seen.error is None
    assert not [block for block in case.seen.blocks if is_cut_call(block)] or case.seen.finish in {"length", None}


def test_words_for_every_reason() -> None:
    assert all(set(words) == NEUTRAL for words in FINISH.values())
    assert len(NEUTRAL) == 9


# -- the oracle notices --

CHAT = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
MESSAGE: dict[str, Any] = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
}
START = {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 1, "output_tokens": 1}}}
CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}
TEXT_DELTA = {"type": "text_delta", "text": "x"}
NOTICED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "chat, choices null": ("chat", ({**CHAT, "choices": []}, {**CHAT, "choices": None})),
    "chat, role twice": (
        "chat",
        tuple({**CHAT, "choices": [{"index": 0, "delta": {"role": "assistant"}}]} for _ in range(2)),
    ),
    "messages, no start": ("messages", ({"type": "message_stop"},)),
    "messages, index 1 first": (
        "messages",
        (START, {"type": "content_block_delta", "index": 1, "delta": TEXT_DELTA}),
    ),
    "responses, no created": ("responses", ({"type": "response.in_progress", "response": CREATED["response"]},)),
    "responses, delta for nothing": (
        "responses",
        (
            CREATED,
            {
                "type": "response.output_text.delta",
                "item_id": "i",
                "output_index": 0,
                "content_index": 0,
                "delta": "x",
                "logprobs": [],
                "sequence_number": 1,
            },
        ),
    ),
}


@pytest.mark.parametrize("what", NOTICED)
def test_what_breaks_a_client_is_noticed_by_both_readers(what: str) -> None:
    dialect, payloads = NOTICED[what]
    stream = written(dialect, payloads)
    with pytest.raises(CRASHES):
        oracle.streamed(dialect, [stream])
    with pytest.raises(MisunderstoodError):
        understood(dialect, stream)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_read_of_one_answer_says_the_same_again(dialect: str) -> None:
    """The clients are kept, and so nothing of one answer may stay for the next."""
    first, second = (case for case in BY_DIALECT[dialect] if case.name in {"plain", "call"})
    for case in (first, second, first):
        assert oracle.streamed(dialect, [case.stream()]) == read_as(dialect, case.seen)


REFUSED = {
    "chat": {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": "no_such"}},
    "responses": {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": "no_such"}},
    "messages": {"type": "error", "error": {"type": "invalid_request_error", "message": "No."}},
    "gemini": {"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT"}},
}
UNDERSTOOD = {
    "chat": Fault("No.", "invalid_request_error", "no_such", 400),
    "responses": Fault("No.", "invalid_request_error", "no_such", 400),
    "messages": Fault("No.", "invalid_request_error", None, 400),
    "gemini": Fault("No.", "INVALID_ARGUMENT", 400, 400),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_answer_is_read_with_its_status(dialect: str) -> None:
    assert oracle.whole(dialect, json.dumps(REFUSED[dialect]).encode(), 400) == Seen(error=UNDERSTOOD[dialect])


def test_types_are_checked() -> None:
    with pytest.raises(ValidationError):
        oracle.check_types("messages", {"type": "content_block_delta", "index": "x"}, stream=True)


def test_a_warning_of_an_sdk_fails() -> None:
    def warn() -> Seen:
        logging.getLogger("openai").warning("odd")
        return Seen()

    with pytest.raises(MisunderstoodError, match="odd"), oracle.sdks().answering(lambda: httpx2.Response(500)):
        warn()


# -- the words themselves --


def test_neighbours_are_joined_and_the_empty_left_out() -> None:
    assert merged([text(""), text("a"), text("b"), call("1", "f", "{}"), text("c")]) == (
        text("ab"),
        ("call", "1", "f", {}),
        text("c"),
    )


def test_broken_arguments_stay_text() -> None:
    assert parsed('{"a":') == '{"a":'
    assert parsed('{"a":1e3}') == {"a": 1000.0}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_dialect_cannot_say(dialect: str) -> None:
    seen = Seen(
        (text("a"), ("refusal", "no"), call("1", "f", '{"x'), text("b")),
        "refusal",
        usage=Counts(10, 2, 5, 3, 1),
        stop_sequence="x",
    )
    expected: dict[str, tuple[Any, ...]] = {
        "chat": ((text("ab"), ("refusal", "no"), call("1", "f", '{"x')), "stop", 3, None),
        "responses": (seen.blocks, "completed", 3, None),
        "messages": ((text("ano"), call("1", "f", '{"x'), text("b")), "refusal", 3, "x"),
        "gemini": ((text("anob"),), "SAFETY", 0, None),
    }
    got = read_as(dialect, seen)
    assert got.usage is not None
    assert (got.blocks, got.finish, got.usage.cache_write, got.stop_sequence) == expected[dialect]
    assert dataclasses.replace(got.usage, cache_write=3) == seen.usage
