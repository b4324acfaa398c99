"""Gemini's unary answers: the same things in the same places as the stream has them."""

import json
from typing import Any

import pytest
from google.genai import types as genai_types

from adapters import signatures
from adapters.collector import Collector
from adapters.conversation import Thought, WebSearch
from adapters.dialects.gemini_answer import estimated_count, render_answer
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.usage import Usage
from tests.adapters.recorder import drive, opening
from tests.adapters.test_gemini_emitter import chunks_of, written

SIGNATURE = Signature("chat", "x/y", "c2ln")
TOKEN = signatures.pack(SIGNATURE)
START: tuple[Any, ...] = ("start", "r-1", "claude", 1)
END: list[tuple[Any, ...]] = [("finish", Reason.END), ("usage_report", Usage(5, 7, reasoning_tokens=2)), ("end",)]
SIGNED: list[tuple[Any, ...]] = [("reasoning", "hm"), ("reasoning_sign", SIGNATURE), ("reasoning_close",)]
CALL: list[tuple[Any, ...]] = [("call_open", 1, "c1", "f"), ("call_arguments", 1, '{"a": 1}'), ("call_close", 1)]

ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "text": [("text", "Hi"), *END],
    "nothing": [*END],
    "signed call": [*SIGNED, *CALL, *END],
    "signed text": [*SIGNED, ("text", "Hi"), *END],
    "signed end": [("text", "Hi"), *SIGNED, *END],
    "two signatures": [*SIGNED, ("reasoning_open",), ("reasoning_sign", SIGNATURE), *CALL, *END],
    "cut call": [*CALL[:1], ("call_arguments", 1, '{"a'), ("finish", Reason.LENGTH), ("end",)],
    "picture": [("blob", "image/png", "iVBO"), *END],
    "refusal": [("refusal", "No."), *END],
    "blocked": [("finish", Reason.FILTER, None, "Policy."), ("end",)],
    "two": [("text", "a"), ("alternative", 1), ("text", "b"), *END],
    "sources": [("text", "é€x"), ("cite", Citation("https://a", "A", 1, 3)), *END],
    "search": [("text", "Hi"), ("hosted", "web_search", {"query": "q"}), *END],
}


def answer(operations: list[tuple[Any, ...]], **asked: Any) -> Any:
    collector = Collector(opening(web_search=WebSearch(), **asked))
    drive(collector, [START, *operations])
    return json.loads(render_answer(collector))


@pytest.mark.parametrize("show", [True, None])
@pytest.mark.parametrize("operations", ANSWERS.values(), ids=ANSWERS)
def test_it_says_what_the_stream_says(operations: list[tuple[Any, ...]], show: bool | None) -> None:
    thought = Thought(show=show)
    whole = answer(operations, thought=thought)
    chunks = chunks_of(written(*operations, thought=thought, web_search=WebSearch()))
    assert {name: value for name, value in whole.items() if name != "candidates"} == {
        name: value for name, value in chunks[-1].items() if name != "candidates"
    }
    for candidate in whole["candidates"]:
        index = candidate["index"]
        streamed = [each for chunk in chunks for each in chunk["candidates"] if each["index"] == index]
        parts = [part for each in streamed for part in each["content"]["parts"] if part != {"text": ""}]
        assert candidate == {**streamed[-1], "content": {"parts": parts or [{"text": ""}], "role": "model"}}


@pytest.mark.parametrize("operations", ANSWERS.values(), ids=ANSWERS)
def test_the_sdk_reads_it(operations: list[tuple[Any, ...]]) -> None:
    read = genai_types.GenerateContentResponse.model_validate(answer(operations))
    assert read.response_id == "r-1"
    assert read.candidates is not None
    assert read.candidates[0].finish_reason is not None


def test_an_answer_to_the_letter() -> None:
    assert answer([*SIGNED, *CALL, *END], thought=Thought(show=True)) == {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": TOKEN},
                    ],
                    "role": "model",
                },
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 5,
            "candidatesTokenCount": 5,
            "totalTokenCount": 12,
            "thoughtsTokenCount": 2,
        },
        "modelVersion": "claude",
        "responseId": "r-1",
    }


def test_b21_a_call_that_looks_whole_but_was_cut_is_left_out() -> None:
    cut = [*CALL[:1], ("call_arguments", 1, '{"a'), ("call_close", 1), ("finish", Reason.LENGTH), ("end",)]
    assert answer(cut)["candidates"][0]["content"]["parts"] == [{"text": ""}]
    whole = [*CALL, ("finish", Reason.LENGTH), ("end",)]
    assert "functionCall" in answer(whole)["candidates"][0]["content"]["parts"][0]


def test_a_count() -> None:
    assert estimated_count(b"m:countTokens", 7) == b'{"totalTokens":7}'
    assert estimated_count(b"m:generateContent", 7) is None
