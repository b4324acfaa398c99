"""The Gemini emitter: what it writes, byte for byte where clients are strict, and what the official SDK reads of it."""

import json
from base64 import b64decode
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import signatures
from adapters.conversation import Thought, Tool, WebSearch
from adapters.dialects.gemini_emitter import Emitter, open_emitter
from adapters.dialects.gemini_request import parse_request
from adapters.errors import Failure, Kind
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.tool_calls.names import Names, ToolName
from adapters.usage import Usage
from tests.adapters.recorder import drive, opening

Operation = tuple[Any, ...]
USAGE = Usage(input_tokens=9, output_tokens=104, cached_tokens=3, reasoning_tokens=100)
SIGNATURE = Signature("messages", "anthropic/claude-opus-4", "c2ln")
TOKEN = signatures.pack(SIGNATURE)
START: Operation = ("start", "r-1", "claude", 1)
STOP: tuple[Operation, ...] = (("finish", Reason.END), ("usage_report", USAGE), ("end",))
FAILURE = Failure(502, Kind.UPSTREAM, "Broken.", code="stream_incomplete")


def emitter(*, array: bool = False, **asked: Any) -> Emitter:
    request = parse_request(b"{}", b"m:streamGenerateContent", b"" if array else b"alt=sse")
    return open_emitter(opening(request, **asked))


def written(*operations: Operation, array: bool = False, **asked: Any) -> bytes:
    return drive(emitter(array=array, **asked), [START, *operations])


def chunks_of(stream: bytes) -> list[Any]:
    """The chunks, checked: one `data: ` line each, a blank line behind it, nothing else."""
    blocks = stream.split(b"\n\n")
    assert blocks.pop() == b""
    assert all(block.startswith(b"data: {") and b"\n" not in block and b"\r" not in block for block in blocks)
    return [json.loads(block[6:]) for block in blocks]


def parts(*operations: Operation, **asked: Any) -> list[Any]:
    """The parts of all chunks but the last, and of that one what is more than an empty text."""
    *chunks, last = chunks_of(written(*operations, *STOP, **asked))
    found = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    return found + [part for part in last["candidates"][0]["content"]["parts"] if part != {"text": ""}]


def last(*operations: Operation, **asked: Any) -> Any:
    return chunks_of(written(*operations, **asked))[-1]


def one_call(*fragments: str, name: str = "f", close: bool = True) -> list[Operation]:
    pieces: list[Operation] = [("call_open", 1, "c1", name)]
    pieces += [("call_arguments", 1, fragment) for fragment in fragments]
    return [*pieces, ("call_close", 1)] if close else pieces


# -- bytes -------------------------------------------------------------------------------------------------------------


def test_text_to_the_byte() -> None:
    head = b'"modelVersion":"claude","responseId":"r-1"}\n\n'
    assert written(("text", "H\u2028i\n"), ("text", '"€')) == (
        b'data: {"candidates":[{"content":{"parts":[{"text":"H\xe2\x80\xa8i\\n"}],"role":"model"},"index":0}],'
        + head
        + b'data: {"candidates":[{"content":{"parts":[{"text":"\\"\xe2\x82\xac"}],"role":"model"},"index":0}],'
        + head
    )


def test_the_finish_chunk_is_last_and_has_the_usage() -> None:
    assert chunks_of(written(("text", "Hi"), *STOP))[-1] == {
        "candidates": [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "index": 0},
        ],
        "usageMetadata": {
            "promptTokenCount": 9,
            "candidatesTokenCount": 4,
            "totalTokenCount": 113,
            "thoughtsTokenCount": 100,
            "cachedContentTokenCount": 3,
        },
        "modelVersion": "claude",
        "responseId": "r-1",
    }


def test_the_array_is_framed_as_google_frames_it() -> None:
    stream = written(("text", "Hi"), *one_call("{}"), *STOP, array=True)
    assert stream.startswith(b'[{"candidates"')
    assert stream.endswith(b"}\n]")
    assert stream.count(b"\n,\r\n{") == 2
    events = chunks_of(written(("text", "Hi"), *one_call("{}"), *STOP))
    assert json.loads(stream) == events


@pytest.mark.parametrize("before", [(), (("text", "Hi"),)], ids=["first", "late"])
def test_an_error_is_a_chunk_with_error_first_and_the_end_of_the_array(before: tuple[Operation, ...]) -> None:
    for array in (False, True):
        one = emitter(array=array)
        stream = drive(one, [START, *before]) + one.error(FAILURE)
        error = (json.loads(stream) if array else chunks_of(stream))[-1]
        assert next(iter(error)) == "error"
        assert (error["error"]["code"], error["error"]["status"]) == (502, "UNAVAILABLE")


def test_alternatives_have_their_index_and_one_finish_chunk() -> None:
    stream = written(("text", "a"), ("alternative", 1), ("text", "b"), ("alternative", 0), ("text", "c"), *STOP)
    chunks = chunks_of(stream)
    assert [(c["candidates"][0]["index"], c["candidates"][0]["content"]["parts"]) for c in chunks[:-1]] == [
        (0, [{"text": "a"}]),
        (1, [{"text": "b"}]),
        (0, [{"text": "c"}]),
    ]
    assert [candidate["index"] for candidate in chunks[-1]["candidates"]] == [0, 1]


# -- calls -------------------------------------------------------------------------------------------------------------


def test_b19_a_call_is_one_part_with_its_arguments_as_written() -> None:
    fragments = ('{"p":"C:\\\\', "n\\u00", "e9 \\ud83d", '\\ude00","n":1', "e3}")
    stream = written(*one_call(*fragments), *STOP)
    assert b'"args":{"p":"C:\\\\n\\u00e9 \\ud83d\\ude00","n":1e3}' in stream
    assert parts(*one_call(*fragments)) == [
        {"functionCall": {"id": "c1", "name": "f", "args": {"p": "C:\\né \U0001f600", "n": 1000.0}}}
    ]


def test_line_ends_between_tokens_do_not_end_the_event() -> None:
    assert parts(*one_call('{\n  "a": "x\\ny",\r\n  "b": 1\n}'))[0]["functionCall"]["args"] == {"a": "x\ny", "b": 1}


@pytest.mark.parametrize("arguments", ["", " ", "null", "{}"])
def test_b18_a_call_without_arguments_has_an_empty_object(arguments: str) -> None:
    assert parts(*one_call(arguments))[0]["functionCall"]["args"] == {}


def test_b48_arguments_that_are_no_object_become_one() -> None:
    assert parts(*one_call("[1]"))[0]["functionCall"]["args"] == {"value": [1]}
    assert parts(*one_call('{"a":'))[0]["functionCall"]["args"] == {"_raw": '{"a":'}


def test_b13_b14_interleaved_calls_are_whole_parts_in_order() -> None:
    operations: list[Operation] = [("call_open", 0, "a", "f"), ("call_open", 1, "b", "g")]
    operations += [("call_arguments", 0, '{"x":'), ("call_arguments", 1, "{}"), ("call_arguments", 0, "1}")]
    assert [(p["functionCall"]["id"], p["functionCall"]["args"]) for p in parts(*operations)] == [
        ("a", {"x": 1}),
        ("b", {}),
    ]


def test_b21_a_call_that_the_end_cut_is_left_out() -> None:
    cut = one_call('{"city":"Par', close=False)
    chunks = chunks_of(written(("text", "Hi"), *cut, ("finish", Reason.LENGTH), ("end",)))
    assert b"functionCall" not in json.dumps(chunks).encode()
    assert chunks[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_b27_a_free_form_call_is_wrapped() -> None:
    names = Names([ToolName("patch", None, custom=True)])
    operations = [("call_open", 1, "c1", "patch", True), ("call_arguments", 1, "*** Begin"), ("call_close", 1)]
    found = parts(*operations, tools=(Tool("patch", custom=True),), names=names)
    assert found[0]["functionCall"]["args"] == {"input": "*** Begin"}


# -- reasoning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("show", [True, False, None])
def test_thoughts_are_for_who_asked(show: bool | None) -> None:
    found = parts(("reasoning", "hm"), ("text", "Hi"), thought=Thought(show=show))
    assert found == ([{"text": "hm", "thought": True}] if show else []) + [{"text": "Hi"}]


def test_b33_a_signature_stands_on_the_next_part() -> None:
    signed: list[Operation] = [("reasoning", "hm"), ("reasoning_sign", SIGNATURE), ("reasoning_close",)]
    assert parts(*signed, *one_call("{}"))[0]["thoughtSignature"] == TOKEN
    assert parts(*signed, ("text", "Hi"), ("text", "!")) == [{"text": "Hi", "thoughtSignature": TOKEN}, {"text": "!"}]
    assert parts(*signed, ("blob", "image/png", "iVBO"))[0]["thoughtSignature"] == TOKEN


def test_b33_a_signature_with_nothing_behind_it_stands_on_an_empty_text() -> None:
    other = SIGNATURE._replace(value="b3RoZXI=")
    items: list[Operation] = [("reasoning_open",), ("reasoning_sign", SIGNATURE), ("reasoning_close",)]
    items += [("reasoning_open",), ("reasoning_sign", other), ("reasoning_close",)]
    assert parts(("text", "Hi"), *items) == [
        {"text": "Hi"},
        {"text": "", "thoughtSignature": TOKEN},
        {"text": "", "thoughtSignature": signatures.pack(other)},
    ]


# -- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (Reason.END, "STOP"),
        (Reason.STOP_SEQUENCE, "STOP"),
        (Reason.LENGTH, "MAX_TOKENS"),
        (Reason.CONTEXT_FULL, "MAX_TOKENS"),
        (Reason.FILTER, "SAFETY"),
        (Reason.REFUSAL, "SAFETY"),
        (Reason.PAUSE, "STOP"),
        (Reason.OTHER, "OTHER"),
    ],
)
def test_reasons(reason: Reason, word: str) -> None:
    end = last(("text", "Hi"), ("finish", reason, None, "Why."), ("end",))
    assert end["candidates"][0]["finishReason"] == word
    assert end["candidates"][0]["finishMessage"] == "Why."


def test_b41_a_refusal_is_text_and_its_reason_says_so() -> None:
    chunks = chunks_of(written(("refusal", "I can't"), ("finish", Reason.END), ("end",)))
    assert chunks[0]["candidates"][0]["content"]["parts"] == [{"text": "I can't"}]
    assert chunks[-1]["candidates"][0]["finishReason"] == "SAFETY"
    assert last(("finish", Reason.REFUSAL), ("end",))["candidates"][0]["finishReason"] == "SAFETY"


def test_b58_sources_are_in_the_finish_chunk_and_count_bytes() -> None:
    sources = [
        ("cite", Citation("https://a", "A", 2, 6)),
        ("cite", Citation("https://b", "", 2, 6)),
        ("cite", Citation("https://a", "A")),
        ("hosted", "web_search", {"query": "q"}),
    ]
    end = last(("text", "é€"), ("text", "x wörld"), *sources, *STOP, web_search=WebSearch())
    assert end["candidates"][0]["groundingMetadata"] == {
        "webSearchQueries": ["q"],
        "groundingChunks": [
            {"web": {"uri": "https://a", "title": "A"}},
            {"web": {"uri": "https://b", "title": "https://b"}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": 5, "endIndex": 10, "text": "x wö"}, "groundingChunkIndices": [0, 1]}
        ],
    }


def test_usage_is_estimated_when_nobody_counted() -> None:
    end = last(("text", "x" * 40), ("finish", Reason.END), ("end",))
    assert end["usageMetadata"] == {"promptTokenCount": 7, "candidatesTokenCount": 10, "totalTokenCount": 17}


# -- the official SDK as oracle ----------------------------------------------------------------------------------------


def sdk(stream: bytes) -> list[genai_types.GenerateContentResponse]:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=stream, headers={"content-type": "text/event-stream"})

    options = genai_types.HttpOptions(httpx_client=httpx2.Client(transport=httpx2.MockTransport(answer)))
    client = genai.Client(api_key="k", http_options=options)
    return list(client.models.generate_content_stream(model="m", contents="Hi"))


def test_the_sdk_reads_every_chunk() -> None:
    stream = written(
        ("reasoning", "hm"),
        ("reasoning_sign", SIGNATURE),
        *one_call('{"a":[1,2]}'),
        ("text", "Hi€"),
        ("blob", "image/png", "iVBORw0KGgo="),
        *STOP,
        thought=Thought(show=True),
    )
    read = sdk(stream)
    found = [part for chunk in read for part in (chunk.candidates or [])[0].content.parts or []]  # type: ignore[union-attr]
    assert found[0].thought
    assert found[1].function_call is not None
    assert found[1].function_call.args == {"a": [1, 2]}
    assert found[1].thought_signature == b64decode(TOKEN)
    assert found[2].text == "Hi€"
    assert {chunk.response_id for chunk in read} == {"r-1"}
    assert read[-1].usage_metadata is not None
    assert read[-1].usage_metadata.total_token_count == 113
    assert (read[-1].candidates or [])[0].finish_reason == genai_types.FinishReason.STOP


def test_b9_the_sdk_raises_on_our_error() -> None:
    one = emitter()
    with pytest.raises(genai_errors.APIError) as raised:
        sdk(drive(one, [START, ("text", "Hello wor")]) + one.error(FAILURE))
    assert raised.value.code == 502


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(max_size=5)),
        st.tuples(st.just("refusal"), st.text(max_size=5)),
        st.tuples(st.just("reasoning"), st.text(max_size=5)),
        st.tuples(st.just("reasoning_sign"), st.just(SIGNATURE)),
        st.tuples(st.just("reasoning_close")),
        st.tuples(st.just("blob"), st.just("image/png"), st.just("aWE=")),
        st.integers(0, 2).map(lambda key: ("call_arguments", key, '{"x":1}')),
        st.tuples(st.just("alternative"), st.integers(0, 1)),
        st.tuples(st.just("cite"), st.just(Citation("https://a", "A", 0, 1))),
    ),
    max_size=12,
)


@given(OPERATIONS, st.booleans(), st.sampled_from(Reason))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_is_a_stream_with_all_the_text(operations: list[Operation], array: bool, reason: Reason) -> None:
    usual = [("call_open", key, f"c{key}", "f") for key in range(3)]
    everything = [*usual, *(o for o in operations if o[0] != "call_arguments"), ("finish", reason), ("end",)]
    stream = written(*everything, array=array, thought=Thought(show=True))
    chunks = json.loads(stream) if array else chunks_of(stream)
    told: dict[int, str] = {}
    for chunk in chunks:
        for candidate in chunk["candidates"]:
            for part in candidate["content"]["parts"]:
                if not part.get("thought"):
                    told[candidate["index"]] = told.get(candidate["index"], "") + part.get("text", "")
    expected: dict[int, str] = {}
    lane = 0
    for name, *rest in operations:
        if name == "alternative":
            lane = rest[0]
        elif name in {"text", "refusal"}:
            expected[lane] = expected.get(lane, "") + rest[0]
    assert {index: text for index, text in told.items() if text} == {i: t for i, t in expected.items() if t}
