"""All sixteen pairs: what the client's official SDK understands of a translated answer is what the upstream said.

Every composed stream of every upstream dialect goes to a client of every other dialect, however it was written, cut,
broken off or failed. The harness itself is judged in `test_oracle`.
"""

import dataclasses
from typing import Any

import pytest

from adapters import signatures
from tests.translation import conform, oracle
from tests.translation.cases import CASES
from tests.translation.cuts import FEEDINGS, WRITINGS, every_two_parts, some_two_parts
from tests.translation.seen import CALL, DIALECTS, REASONING, REFUSAL, TEXT, Block, Seen, refusal
from tests.translation.translate import Translated, answered, collected, streamed
from tests.translation.understood import understood
from tests.translation.upstreams import Case, is_cut_call, read_as, written

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*")

Pair = tuple[Case, str]
"""What an upstream said, and the dialect of the client it goes to."""

ONE_CHOICE = {"responses", "messages"}
"""Dialects whose clients cannot ask for several answers."""

PAIRS: list[Pair] = [
    (case, client)
    for case in CASES
    for client in DIALECTS
    if client != case.dialect and not (case.seen.choices and client in ONE_CHOICE)
]


def each(pairs: list[Pair]) -> pytest.MarkDecorator:
    """Return the mark of a test of these pairs."""
    return pytest.mark.parametrize(("case", "client"), pairs, ids=[f"{case} -> {client}" for case, client in pairs])


def alike(case: Case, client: str, got: Seen) -> Seen:
    """Return what was got in the words of the case where those leave something open: ids, tokens, uncounted usage."""
    expected = read_as(client, case.seen)
    tokens = [signatures.unpack(token) for token in got.signatures]
    tokens = [token for token in tokens if token != signatures.UNSIGNED]
    return dataclasses.replace(
        got,
        blocks=tuple(map(_like, got.blocks, (*expected.blocks, *[None] * len(got.blocks)))),
        signatures=tuple(token.value if token is not None else "not packed" for token in tokens),
        usage=got.usage if case.seen.usage is not None else None,
    )


def _like(got: Block, expected: Block | None) -> Block:
    if expected is None or expected[0] != CALL or got[0] != CALL or expected[1] is not None:
        return got
    assert got[1], "a call without an id"
    return (CALL, None, *got[2:])


EXPLAINED = (refusal("Not this."),)
"""The one dialect with a member for it says why the model declined."""


def meant(case: Case, client: str) -> Seen:
    """Return what the client must understand."""
    seen = read_as(client, case.seen)
    return dataclasses.replace(
        seen,
        blocks=EXPLAINED if (case.name, client) == ("refusal explained", "chat") else seen.blocks,
        citations=() if client == "messages" else seen.citations,  # they need the vendor's own handles
    )


def without_calls(blocks: tuple[Block, ...]) -> list[Block]:
    """Leave out calls: of one that an error interrupts, some of the arguments may not have been sent."""
    return [block for block in blocks if block[0] != CALL]


def read(client: str, translated: Translated) -> Seen:
    """Return what our fast reader understands."""
    return understood(client, translated.written)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_operations_say_what_the_upstream_said(case: Case) -> None:
    got = collected(case.dialect, [case.stream()])
    if case.seen.finish is None:
        assert isinstance(got, Translated)
        return
    assert isinstance(got, Seen)
    plain = dataclasses.replace(got, blocks=tuple(map(_like, got.blocks, case.seen.blocks)))
    assert plain == case.seen


@each(PAIRS)
def test_the_clients_sdk_understands_the_stream(case: Case, client: str) -> None:
    translated = streamed(case.dialect, client, [case.stream()])
    conform.check(client, translated.written)
    got = oracle.streamed(client, [translated.written])
    assert got == read(client, translated)
    if case.seen.finish is not None:
        assert alike(case, client, got) == meant(case, client)
        return
    assert translated.failure is not None
    assert got.error is not None
    assert got.finish is None
    assert is_begun_as(got.blocks, read_as(client, case.seen).blocks)
    assert without_calls(got.blocks) == without_calls(read_as(client, case.seen).blocks)
    if case.seen.error is not None:
        assert case.seen.error.message in got.error.message
    else:
        assert translated.failure.code == "stream_incomplete"


@each([pair for pair in PAIRS if pair[0].unary is not None])
def test_the_whole_answer_says_the_same(case: Case, client: str) -> None:
    assert case.unary is not None
    translated = answered(case.dialect, client, case.body)
    assert translated.failure is None
    whole = oracle.whole(client, translated.written)
    stream = oracle.streamed(client, [streamed(case.dialect, client, [case.stream()]).written])
    assert without_cut_arguments(whole) == without_cut_arguments(stream)


def without_cut_arguments(seen: Seen) -> Seen:
    """Leave out the arguments of a call that was cut: not every whole answer has a place for half of them."""
    if seen.finish not in {"length", "max_tokens", "incomplete/max_output_tokens", "MAX_TOKENS"}:
        return seen
    return dataclasses.replace(seen, blocks=tuple(block[:3] if block[0] == CALL else block for block in seen.blocks))


# -- however it is written and cut --


@each(PAIRS)
def test_every_writing_says_the_same(case: Case, client: str) -> None:
    plain = streamed(case.dialect, client, [case.stream()])
    for name, write in WRITINGS.items():
        translated = streamed(case.dialect, client, [write(case)])
        if name in {"padded json", "escaped json"}:  # arguments are kept as they are written
            assert read(client, translated) == read(client, plain), name
        else:
            assert translated == plain, name


@each(PAIRS)
def test_every_feeding_gives_the_same_bytes(case: Case, client: str) -> None:
    plain = streamed(case.dialect, client, [case.stream()])
    for name, feed in FEEDINGS.items():
        for end in ("\n", "\r\n", "\r"):
            data = written(case.dialect, case.payloads, end=end)
            assert streamed(case.dialect, client, feed(data)) == plain, (name, end)


CUT_EVERYWHERE = {
    "plain",
    "parallel calls",
    "text and call",
    "reasoning, then text",
    "thinking, then text",
    "encrypted with a summary",
    "thoughts and a signed call",
    "error in the middle",
}
STEP = 17


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_two_part_split_gives_the_same_bytes(case: Case) -> None:
    """The splits of a case go to one client: what was cut is mended before anything is known of clients."""
    number = CASES.index(case)
    clients = [client for client in DIALECTS if client != case.dialect]
    client = clients[number % len(clients)]
    data = written(case.dialect, case.payloads, end=("\n", "\r\n")[number % 2])
    plain = streamed(case.dialect, client, [data])
    splits = every_two_parts(data) if case.name in CUT_EVERYWHERE else some_two_parts(data, STEP)
    for chunks in splits:
        assert streamed(case.dialect, client, chunks) == plain, len(chunks[0])


# -- ends too early, errors, what is unknown --


def is_evident(case: Case, until: int) -> bool | None:
    """Whether the first `until` payloads show the answer's end; None where some of several answers are over."""
    told = [_tells_end(case.dialect, payload) for payload in case.payloads[:until]]
    answers = 1 + len(case.seen.choices)
    return None if 0 < sum(told) < answers else sum(told) >= answers


def _tells_end(dialect: str, payload: Any) -> bool:
    if payload == "[DONE]":
        return dialect == "chat"
    if not isinstance(payload, dict):
        return False
    if dialect == "messages":
        reason = (payload.get("delta") or {}).get("stop_reason") if payload["type"] == "message_delta" else None
        return payload["type"] == "message_stop" or bool(reason)
    if dialect == "responses":
        return payload["type"] in {"response.completed", "response.incomplete"}
    blocked = bool((payload.get("promptFeedback") or {}).get("blockReason"))
    answers = payload.get("choices") or payload.get("candidates") or []
    return blocked or any(answer.get("finish_reason") or answer.get("finishReason") for answer in answers)


def is_over(case: Case, until: int) -> bool:
    """Whether nothing counts any more that comes behind the first `until` payloads."""
    payloads = case.payloads[:until]
    if case.dialect == "chat":
        return "[DONE]" in payloads
    if case.dialect == "messages":
        return {"type": "message_stop"} in payloads
    if case.dialect == "gemini":
        return "[DONE]" in payloads and is_evident(case, until) is True
    return is_evident(case, until) is True


FINISHED = [pair for pair in PAIRS if pair[0].seen.finish is not None]


@each(FINISHED)
def test_an_end_too_early_is_an_error(case: Case, client: str) -> None:
    for until in range(len(case.payloads)):
        evident = is_evident(case, until)
        if evident is None:
            continue
        translated = streamed(case.dialect, client, [case.stream(until)])
        got = read(client, translated)
        if evident:
            assert (translated.failure, got.error) == (None, None), until
            assert got.finish is not None, until
        else:
            assert translated.failure is not None, until
            assert translated.failure.code == "stream_incomplete", until
            assert (got.error is None, got.finish) == (False, None), until


ERROR_EVENTS: dict[str, dict[str, Any]] = {
    "chat": {"error": {"message": "Injected", "type": "server_error", "param": None, "code": None}},
    "responses": {"type": "error", "error": {"type": "server_error", "code": "server_error", "message": "Injected"}},
    "messages": {"type": "error", "error": {"type": "overloaded_error", "message": "Injected"}},
    "gemini": {"error": {"code": 503, "message": "Injected", "status": "UNAVAILABLE"}},
}


@each(FINISHED)
def test_an_error_anywhere_is_an_error(case: Case, client: str) -> None:
    whole = read(client, streamed(case.dialect, client, [case.stream()]))
    for at in range(len(case.payloads) + 1):
        payloads = (*case.payloads[:at], ERROR_EVENTS[case.dialect], *case.payloads[at:])
        translated = streamed(case.dialect, client, [written(case.dialect, payloads)])
        got = read(client, translated)
        if is_over(case, at):
            assert got == whole, at
        else:
            assert got.error is not None, at
            assert "Injected" in got.error.message, at
            assert got.finish is None, at
            assert is_begun_as(got.blocks, whole.blocks), at


def is_begun_as(part: tuple[Block, ...], whole: tuple[Block, ...]) -> bool:
    """Whether what was understood before an error is how the whole begins; the last call may lack arguments."""
    for kind in (TEXT, REASONING, REFUSAL):
        texts = ["".join(block[1] for block in blocks if block[0] == kind) for blocks in (part, whole)]
        if not texts[1].startswith(texts[0]):
            return False
    calls, all_calls = ([block for block in blocks if block[0] == CALL] for blocks in (part, whole))
    last = len(calls) - 1
    return not calls or (calls[:last] == all_calls[:last] and calls[last][:3] == all_calls[last][:3])


UNKNOWN: dict[str, dict[str, Any]] = {
    "chat": {"id": "x", "object": "weather", "choices": [], "weather": {"error": None}},
    "responses": {"type": "response.weather.delta", "output_index": 0, "delta": "x"},
    "messages": {"type": "weather_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
    "gemini": {"weather": {"candidates": [{"finishReason": "STOP"}]}},
}


@each(FINISHED)
def test_what_is_unknown_changes_nothing(case: Case, client: str) -> None:
    plain = streamed(case.dialect, client, [case.stream()])
    first = 1 if case.payloads and case.dialect != "gemini" else 0  # the first event says who answers
    for at in range(first, len(case.payloads) + 1):
        payloads = (*case.payloads[:at], UNKNOWN[case.dialect], *case.payloads[at:])
        assert streamed(case.dialect, client, [written(case.dialect, payloads)]) == plain, at


@each([pair for pair in PAIRS if pair[0].name == "free-form call"])
def test_free_form_calls_are_what_the_client_declared(case: Case, client: str) -> None:
    """Upstreams without free-form tools get a function in their place, and the client must not see it."""
    for written_to in (streamed(case.dialect, client, [case.stream()]), answered(case.dialect, client, case.body)):
        for mark, clients in FREE_FORM.items():
            assert (mark in written_to.written) == (client in clients), mark


FREE_FORM = {
    b'"type":"custom"': {"chat", "responses"},  # the latter echoes what it offered
    b'"type":"function"': set[str](),
    b'"type":"custom_tool_call"': {"responses"},
    b'"type":"function_call"': set[str](),
    b'"type":"tool_use"': {"messages"},
    b'"functionCall":': {"gemini"},
}


def test_cut_calls_are_never_called_whole() -> None:
    """Half a call looks whole to an SDK; only how the answer ended tells."""
    cut = [pair for pair in PAIRS if any(map(is_cut_call, pair[0].seen.blocks))]
    assert len(cut) >= 3 * len(DIALECTS)
    for case, client in cut:
        got = read(client, streamed(case.dialect, client, [case.stream()]))
        assert got.finish in {None, "length", "max_tokens", "incomplete/max_output_tokens", "MAX_TOKENS"}
