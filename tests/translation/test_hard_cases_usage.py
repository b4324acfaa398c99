"""Hard cases of usage: where it comes, what it counts in, and what is told where nobody has counted."""

import json
from typing import Any

import pytest

from tests.translation import upstream_chat, upstream_gemini, upstream_messages, upstream_responses
from tests.translation.exchange import Told, exchange, relayed, sse, told
from tests.translation.seen import Counts, text
from tests.translation.upstream_chat import chunk

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*")

Payload = dict[str, Any]

HELLO = chunk({"role": "assistant", "content": "Hello"})
STOP = chunk({}, "stop")
DONE = "[DONE]"


def usage(prompt: int, completion: int, **members: Any) -> Payload:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **members}


def last_usage(got: Told) -> Payload:
    """Return the usage of the one `message_delta` there may be."""
    (event,) = got.of("message_delta")
    counts: Payload = event["usage"]
    return counts


# -- B35 and B36: where usage comes in chunks --

FINAL = usage(20, 5)
IN_THE_CHOICE = {**STOP, "choices": [{**STOP["choices"][0], "usage": FINAL}]}
PLACES: dict[str, tuple[Any, ...]] = {
    "a chunk of its own": (HELLO, STOP, upstream_chat.usage_chunk(FINAL), DONE),
    "a chunk of its own, no end mark": (HELLO, STOP, upstream_chat.usage_chunk(FINAL)),
    "inside the finish chunk": (HELLO, {**STOP, "usage": FINAL}, DONE),
    "on every chunk, cumulative": ({**HELLO, "usage": usage(20, 1)}, {**STOP, "usage": FINAL}, DONE),
    "on every chunk and once more": (
        {**HELLO, "usage": usage(20, 1)},
        {**STOP, "usage": usage(20, 4)},
        upstream_chat.usage_chunk(FINAL),
        DONE,
    ),
    "inside the choice": (HELLO, IN_THE_CHOICE, DONE),
}


@pytest.mark.parametrize("client", ["responses", "messages", "gemini"])
@pytest.mark.parametrize("said", PLACES.values(), ids=PLACES)
def test_b35_usage_wherever_it_comes(said: tuple[Any, ...], client: str) -> None:
    assert told("chat", client, *said).seen.usage == Counts(20, 5)


@pytest.mark.parametrize("said", PLACES.values(), ids=PLACES)
def test_b35_one_message_delta_behind_the_finish(said: tuple[Any, ...]) -> None:
    parser = exchange("messages", "chat").parser()
    for each in said[:-1]:
        if b"message_delta" in parser.feed(sse(each)):
            assert each is said[-2]
    parser.feed(sse(said[-1]))
    parser.end()
    assert last_usage(told("chat", "messages", *said))["output_tokens"] == 5


def test_b35_without_usage_an_estimate_is_told() -> None:
    got = told("chat", "messages", HELLO, STOP, DONE)
    assert last_usage(got)["output_tokens"] == 2
    assert last_usage(got)["input_tokens"] > 0
    assert got.usage is not None
    assert got.usage.estimated


def test_b35_usage_that_only_the_gateway_asked_for_is_taken_out() -> None:
    said = sse(HELLO, STOP, upstream_chat.usage_chunk(FINAL), DONE)
    passed = relayed("chat", [said], strip_usage=True)
    assert passed.written == sse(HELLO, STOP, DONE)
    assert passed.usage is not None
    assert passed.usage.output_tokens == 5


def test_b35_usage_is_in_the_very_last_chunk() -> None:
    """In openai-python any later chunk without it makes it None."""
    got = told("messages", "chat", *upstream_messages.stream(*upstream_messages.texts(0, "Hi")))
    assert got.events[-2]["usage"]["completion_tokens"] == 4
    assert got.events[-1] == DONE


AZURE = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
WITHOUT_CHOICE: dict[str, Payload] = {
    "azure": AZURE,
    "null": {"id": "x", "choices": None},
    "keepalive": {"id": "x", "choices": []},
}


@pytest.mark.parametrize("client", ["responses", "messages", "gemini"])
@pytest.mark.parametrize("odd", WITHOUT_CHOICE.values(), ids=WITHOUT_CHOICE)
def test_b36_chunks_with_no_choice(odd: Payload, client: str) -> None:
    said = (HELLO, STOP, upstream_chat.usage_chunk(), DONE)
    assert exchange(client, "chat").parser().feed(sse(odd)) == b""
    got = told("chat", client, odd, *said)
    assert got.written == told("chat", client, *said).written
    assert b"gpt-x" in got.written
    assert told("chat", client, HELLO, odd, *said[1:]).written == got.written


def test_b36_chunks_always_have_a_list_of_choices() -> None:
    for upstream, case in (("messages", upstream_messages.CASES[0]), ("gemini", upstream_gemini.CASES[0])):
        got = told(upstream, "chat", *case.payloads)
        assert all(isinstance(event["choices"], list) for event in got.events if event != DONE)


# -- B37 to B39: what counts contain --

HI = upstream_messages.texts(0, "Hi")


def from_messages(client: str, **counts: Any) -> Told:
    events = (upstream_messages.start(**counts), *HI, upstream_messages.finish(), upstream_messages.STOP)
    return told("messages", client, *events)


def test_b37_cached_tokens_are_part_of_the_prompt() -> None:
    got = from_messages("chat", input_tokens=10, cache_read_input_tokens=900, cache_creation_input_tokens=90)
    counts = got.events[-2]["usage"]
    assert counts["prompt_tokens"] == 1000
    assert counts["prompt_tokens_details"] == {"cached_tokens": 900, "cache_write_tokens": 90}


def test_b37_cached_tokens_are_no_input_tokens() -> None:
    given = usage(1000, 5, prompt_tokens_details={"cached_tokens": 900})
    counts = last_usage(told("chat", "messages", HELLO, STOP, upstream_chat.usage_chunk(given), DONE))
    assert (counts["input_tokens"], counts["cache_read_input_tokens"]) == (100, 900)
    assert counts["cache_creation_input_tokens"] == 0


def test_b37_inconsistent_counts_are_never_negative() -> None:
    given = usage(10, 5, prompt_tokens_details={"cached_tokens": 900})
    counts = last_usage(told("chat", "messages", HELLO, STOP, upstream_chat.usage_chunk(given), DONE))
    assert counts["input_tokens"] == 0


LATE_COUNTS: dict[str, tuple[Any, ...]] = {
    "chat": (
        HELLO,
        STOP,
        upstream_chat.usage_chunk(usage(1000, 5, prompt_tokens_details={"cached_tokens": 900})),
        DONE,
    ),
    "responses": upstream_responses.stream(
        upstream_responses.said("Hi"),
        usage={
            **upstream_responses.USAGE,
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 900},
            "output_tokens": 5,
            "total_tokens": 1005,
        },
    ),
    "gemini": (
        {"candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}}]},
        upstream_gemini.chunk(
            finish="STOP",
            usage={"promptTokenCount": 1000, "cachedContentTokenCount": 900, "candidatesTokenCount": 5},
        ),
    ),
}


@pytest.mark.parametrize("upstream", LATE_COUNTS)
def test_b38_the_start_has_an_estimate_and_the_end_the_truth(upstream: str) -> None:
    got = told(upstream, "messages", *LATE_COUNTS[upstream])
    assert got.of("message_start")[0]["message"]["usage"]["input_tokens"] > 0
    counts = last_usage(got)
    assert {name: counts[name] for name in counts if name.endswith("_tokens")} == {
        "input_tokens": 100,
        "cache_read_input_tokens": 900,
        "cache_creation_input_tokens": 0,
        "output_tokens": 5,
    }


def test_b38_the_estimate_grows_with_the_prompt() -> None:
    long = [{"role": "user", "content": "word " * 4000}]
    got = told("chat", "messages", *LATE_COUNTS["chat"], messages=long)
    assert got.of("message_start")[0]["message"]["usage"]["input_tokens"] >= 5000


def test_b39_thoughts_are_part_of_the_completion() -> None:
    given = {
        "promptTokenCount": 10,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 100,
        "toolUsePromptTokenCount": 7,
        "totalTokenCount": 122,
    }
    got = told("gemini", "chat", upstream_gemini.chunk({"text": "Hi"}, finish="STOP", usage=given))
    counts = got.events[-2]["usage"]
    assert (counts["prompt_tokens"], counts["completion_tokens"], counts["total_tokens"]) == (17, 105, 122)
    assert counts["completion_tokens_details"]["reasoning_tokens"] == 100


@pytest.mark.parametrize("client", ["responses", "messages", "gemini"])
def test_b39_reasoning_that_stands_outside_is_added(client: str) -> None:
    outside = {**usage(10, 5), "total_tokens": 115, "completion_tokens_details": {"reasoning_tokens": 100}}
    inside = {**usage(10, 105), "completion_tokens_details": {"reasoning_tokens": 100}}
    for given in (outside, inside):
        got = told("chat", client, HELLO, STOP, upstream_chat.usage_chunk(given), DONE)
        assert got.seen.usage is not None
        assert (got.seen.usage.output, got.seen.usage.reasoning) == (105, 100)


# -- B40: usage that grows --


@pytest.mark.parametrize("client", ["chat", "responses", "gemini"])
@pytest.mark.parametrize("again", [False, True])
def test_b40_usage_is_overwritten_key_by_key(client: str, again: bool) -> None:
    begin = upstream_messages.start(input_tokens=10, output_tokens=1)
    got = told(
        "messages",
        client,
        begin,
        *((begin,) if again else ()),
        *HI,
        upstream_messages.finish(usage={"output_tokens": 15}),
        upstream_messages.finish(usage={"input_tokens": 2300, "output_tokens": 400}),
        upstream_messages.STOP,
    )
    assert got.seen.usage == Counts(2300, 400)
    assert got.seen.blocks == (text("Hi"),)


@pytest.mark.parametrize("upstream", ["chat", "responses", "gemini"])
def test_b40_output_tokens_are_always_there(upstream: str) -> None:
    without: dict[str, tuple[Any, ...]] = {
        "chat": (HELLO, STOP),
        "responses": (
            *upstream_responses.stream(upstream_responses.said("Hello"))[:-1],
            upstream_responses.event("completed", response=upstream_responses.response("completed", usage=None)),
        ),
        "gemini": ({"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]},),
    }
    assert last_usage(told(upstream, "messages", *without[upstream]))["output_tokens"] == 2


@pytest.mark.parametrize("status", ["incomplete", "failed"])
def test_b40_unfinished_responses_are_billed(status: str) -> None:
    members: Payload = {"incomplete_details": {"reason": "max_output_tokens"}}
    if status == "failed":
        members = {"error": {"code": "server_error", "message": "boom"}}
    for client in ("chat", "messages", "gemini"):
        got = told("responses", client, *upstream_responses.stream(status=status, **members))
        assert got.usage is not None
        assert (got.usage.input_tokens, got.usage.output_tokens, got.usage.estimated) == (9, 4, False)


def test_b40_details_that_strict_clients_require() -> None:
    got = told("chat", "responses", HELLO, STOP)
    counts = json.loads(json.dumps(got.events[-1]["response"]["usage"]))
    assert counts["input_tokens_details"]["cached_tokens"] == 0
    assert counts["output_tokens_details"]["reasoning_tokens"] == 0
