"""Operations as a Chat Completions stream: its chunks one by one, and what OpenAI's own SDK gathers from them."""

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion

from adapters import signatures, sse
from adapters.conversation import Tool
from adapters.dialects import chat
from adapters.errors import Failure, Kind
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.usage import Usage
from tests.adapters.recorder import drive, opening

START = ("start", "c-1", "m", 1)
FOREIGN = Signature("other", "scope", "S")
Operation = tuple[Any, ...]


def emitted(*operations: Operation, **changes: Any) -> bytes:
    changes.setdefault("usage_wanted", False)
    return drive(chat.open_emitter(opening(**changes)), [START, *operations, ("end",)])


def payloads(data: bytes) -> list[Any]:
    decoder = sse.Decoder(event_bytes_max=1_000_000)
    events = [event.data for event in decoder.feed(data)]
    assert events[-1] == b"[DONE]"
    return [json.loads(event) for event in events[:-1]]


def deltas(data: bytes) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in payloads(data) if chunk["choices"]]


def gathered(data: bytes) -> ChatCompletion:
    """What the official SDK makes of a stream, chunk by chunk."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data)

    transport = httpx2.MockTransport(answer)
    state = ChatCompletionStreamState()
    with openai.OpenAI(api_key="k", base_url="http://t", http_client=httpx2.Client(transport=transport)) as client:
        for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
            list(state.handle_chunk(chunk))
    return state.current_completion_snapshot


# -- chunks ------------------------------------------------------------------------------------------------------------


def test_text_as_bytes() -> None:
    head = b'data: {"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{'
    assert emitted(("text", "Hi é"), ("finish", Reason.END)) == (
        head + b'"role":"assistant","content":""},"finish_reason":null}]}\n\n'
        + head + '"content":"Hi é"},"finish_reason":null}]}\n\n'.encode()
        + head + b'},"finish_reason":"stop"}]}\n\n'
        + b"data: [DONE]\n\n"
    )  # fmt: skip


def test_usage_is_the_last_chunk_and_null_before() -> None:
    usage = Usage(1000, 10, 900, 90, 4)
    data = emitted(("text", "Hi"), ("usage_report", usage), ("finish", Reason.END), usage_wanted=True)
    *before, last = payloads(data)
    assert all(chunk["usage"] is None for chunk in before)
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 1000,
        "completion_tokens": 10,
        "total_tokens": 1010,
        "prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 90},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    assert not any("usage" in chunk for chunk in payloads(emitted(("text", "Hi"), ("usage_report", usage))))


def test_b35_an_estimate_where_nobody_counted() -> None:
    last = payloads(emitted(("text", "12345678"), ("finish", Reason.END), usage_wanted=True))[-1]
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (7, 2)


def test_b44_the_role_comes_once() -> None:
    data = emitted(("text", "a"), ("reasoning", "b"), ("call_open", 0, "x", "f"), ("text", "c"))
    assert ["role" in delta for delta in deltas(data)].count(True) == 1
    assert deltas(data)[0] == {"role": "assistant", "content": ""}
    assert deltas(emitted(("call_open", 0, "x", "f")))[0] == {"role": "assistant", "content": None}


def test_b13_calls_have_indexes_from_zero_and_one_identity() -> None:
    data = emitted(
        ("text", "Hi"),
        ("call_open", "k1", "a", "f"),
        ("call_arguments", "k1", "{}"),
        ("call_open", "k2", "b", "g"),
        ("call_arguments", "k2", '{"x":'),
        ("call_arguments", "k2", "1}"),
        ("finish", Reason.TOOL),
    )
    calls = [delta["tool_calls"][0] for delta in deltas(data) if "tool_calls" in delta]
    assert calls == [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": "{}"}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"index": 1, "function": {"arguments": '{"x":'}},
        {"index": 1, "function": {"arguments": "1}"}},
    ]
    assert payloads(data)[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_b18_a_call_without_arguments_has_an_object() -> None:
    message = gathered(emitted(("call_open", 0, "a", "f"), ("finish", Reason.TOOL))).choices[0].message
    assert message.tool_calls is not None
    assert message.tool_calls[0].type == "function"
    assert message.tool_calls[0].function.arguments == "{}"


def test_b27_a_wrapped_custom_call_comes_unwrapped() -> None:
    data = emitted(
        ("call_open", 0, "a", "patch"),
        ("call_arguments", 0, '{"input":"a\\'),
        ("call_arguments", 0, 'nb"}'),
        tools=(Tool("patch", custom=True),),
    )
    calls = [delta["tool_calls"][0] for delta in deltas(data) if "tool_calls" in delta]
    assert calls[0] == {"index": 0, "id": "a", "type": "custom", "custom": {"name": "patch", "input": ""}}
    assert "".join(call["custom"]["input"] for call in calls) == "a\nb"


def test_a_client_of_functions_gets_a_function_call() -> None:
    request = chat.parse_request(b'{"model":"m","functions":[{"name":"f"}]}')
    emitter = chat.open_emitter(opening(request))
    calls = [("call_open", 0, "a", "f"), ("call_arguments", 0, "{}"), ("call_open", 1, "b", "f"), ("end",)]
    data = drive(emitter, [START, *calls])
    message = gathered(data).choices[0].message
    assert message.function_call is not None
    assert (message.function_call.name, message.function_call.arguments) == ("f", "{}")
    assert message.tool_calls is not None
    assert message.tool_calls[0].id == "b"
    assert payloads(data)[-1]["choices"][0]["finish_reason"] == "function_call"


def test_b28_signatures_go_into_details_with_their_places() -> None:
    data = emitted(
        ("reasoning", "One."),
        ("reasoning_sign", FOREIGN),
        ("text", "Hi"),
        ("call_open", 0, "a", "f"),
        ("call_arguments", 0, "{}"),
        ("call_close", 0),
        ("reasoning_sign", FOREIGN),
        ("call_open", 1, "b", "f"),
    )
    entries = [delta["reasoning_details"][0] for delta in deltas(data) if "reasoning_details" in delta]
    token = {"type": "reasoning.encrypted", "data": signatures.pack(FOREIGN), "format": "hedgerow"}
    assert entries == [
        {**token, "index": 0, "after_calls": 0, "after_text": 0, "start_index": 0, "end_index": 4},
        {**token, "index": 1, "after_calls": 1, "after_text": 2, "start_index": 4, "end_index": 4},
    ]
    assert gathered(data).choices[0].message.to_dict()["reasoning_details"] == entries


def test_b58_sources_come_all_at_once_before_the_finish() -> None:
    cited = [("cite", Citation("u", "t", 0, 2)), ("text", "Hi"), ("finish", Reason.END), ("cite", Citation("v"))]
    data = emitted(*cited)
    assert [note["url_citation"]["url"] for note in deltas(data)[-2]["annotations"]] == ["u", "v"]
    annotations = gathered(data).choices[0].message.annotations
    assert annotations is not None
    assert annotations[0].url_citation.end_index == 2


def test_images_and_sounds() -> None:
    data = emitted(("blob", "image/png", "AA"), ("blob", "image/png", "BB"), ("blob", "audio/wav", "CC"))
    message = gathered(data).choices[0].message.to_dict()
    assert message["images"] == [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{content}"}, "index": index}
        for index, content in enumerate(["AA", "BB"])
    ]
    sound: Any = message["audio"]
    assert (sound["id"], sound["data"]) == ("audio-c-1", "CC")


@pytest.mark.parametrize(
    ("operations", "said", "refusal"),
    [
        ([("finish", Reason.STOP_SEQUENCE, "X")], "stop", None),
        ([("finish", Reason.CONTEXT_FULL)], "length", None),
        ([("finish", Reason.FILTER)], "content_filter", None),
        ([("finish", Reason.REFUSAL, None, "Not this.")], "content_filter", "Not this."),
        ([("finish", Reason.REFUSAL)], "content_filter", None),
        ([("refusal", "No."), ("finish", Reason.REFUSAL)], "stop", "No."),
        ([("text", "a"), ("finish", Reason.PAUSE)], "stop", None),
        ([("text", "a")], "stop", None),
    ],
)
def test_b41_b43_ends(operations: list[Operation], said: str, refusal: str | None) -> None:
    choice = gathered(emitted(*operations)).choices[0]
    assert (choice.finish_reason, choice.message.refusal) == (said, refusal)
    assert choice.message.role == "assistant"


def test_b21_a_call_that_was_cut_ends_for_length() -> None:
    data = emitted(("call_open", 0, "a", "f"), ("call_arguments", 0, '{"c":"Par'), ("finish", Reason.LENGTH))
    assert payloads(data)[-1]["choices"][0]["finish_reason"] == "length"
    assert deltas(data)[-2]["tool_calls"][0]["function"]["arguments"] == '{"c":"Par'


def test_alternatives_interleave() -> None:
    data = emitted(("text", "a"), ("alternative", 1), ("text", "x"), ("alternative", 0), ("text", "b"), choices=2)
    assert [choice.message.content for choice in gathered(data).choices] == ["ab", "x"]


def test_an_answer_without_an_id_gets_one() -> None:
    data = drive(chat.open_emitter(opening()), [("start", "", "", 0), ("text", "a"), ("end",)])
    assert {(chunk["id"], chunk["model"], chunk["created"]) for chunk in payloads(data)} == {
        ("chatcmpl-seed", "asked", 1_700_000_000)
    }


def test_b10_an_error_ends_the_stream() -> None:
    emitter = chat.open_emitter(opening())
    data = drive(emitter, [START, ("text", "Hi")]) + emitter.error(Failure(529, Kind.OVERLOADED, "Overloaded"))
    with pytest.raises(openai.APIError, match="Overloaded"):
        gathered(data)


PIECES = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), PIECES),
        st.tuples(st.just("reasoning"), PIECES),
        st.tuples(st.just("refusal"), PIECES),
        st.tuples(st.just("reasoning_sign"), st.just(FOREIGN)),
        st.tuples(st.just("cite"), st.just(Citation("u"))),
        st.tuples(st.just("blob"), st.just("image/png"), st.just("AA")),
        st.tuples(st.just("alternative"), st.just(0)),
        st.tuples(st.just("call_open"), st.integers(0, 10**6), st.just(""), st.just("f")),
    ),
    max_size=12,
)


@given(OPERATIONS)
@settings(max_examples=100, deadline=None)
def test_whatever_is_told_the_sdk_gathers_it(operations: list[Operation]) -> None:
    unique = [each for at, each in enumerate(operations) if each[0] != "call_open" or each not in operations[:at]]
    message = gathered(emitted(*unique)).choices[0].message
    said = {name: "".join(each[1] for each in unique if each[0] == name) for name in ("text", "refusal", "reasoning")}
    assert (message.content or "", message.refusal or "") == (said["text"], said["refusal"])
    assert message.to_dict().get("reasoning_content", "") == said["reasoning"]
    assert len(message.tool_calls or []) == [each[0] for each in unique].count("call_open")


# -- the API before this one -------------------------------------------------------------------------------------------


def test_a_legacy_stream_has_text_alone() -> None:
    emitter = chat.open_legacy_emitter(opening())
    told = [("reasoning", "hm"), ("text", "Hi"), ("finish", Reason.LENGTH), ("usage_report", Usage(1, 2)), ("end",)]
    chunks = payloads(drive(emitter, [START, *told]))
    assert [(chunk["choices"][0]["text"], chunk["choices"][0]["finish_reason"]) for chunk in chunks[:-1]] == [
        ("Hi", None),
        ("", "length"),
    ]
    head = {"id": "c-1", "object": "text_completion", "created": 1, "model": "m"}
    assert chunks[0] == {**head, "choices": chunks[0]["choices"], "usage": None}
    assert chunks[-1]["usage"]["total_tokens"] == 3


def test_the_sdk_reads_a_legacy_stream() -> None:
    data = drive(chat.open_legacy_emitter(opening(usage_wanted=False)), [START, ("text", "Hi"), ("end",)])
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data)
    )
    with openai.OpenAI(api_key="k", base_url="http://t", http_client=httpx2.Client(transport=transport)) as client:
        parts = list(client.completions.create(model="m", prompt="x", stream=True))
    assert "".join(part.choices[0].text for part in parts) == "Hi"
