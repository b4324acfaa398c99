"""Unary Chat Completions answers out of collected ones, as OpenAI's SDK understands them."""

import json
from typing import Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion

from adapters import signatures
from adapters.collector import Collector
from adapters.conversation import Thought
from adapters.dialects import chat
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.usage import Usage
from tests.adapters.recorder import drive, opening
from tests.adapters.test_chat_emitter import gathered

START = ("start", "c-1", "m", 1)
FOREIGN = Signature("other", "scope", "S")
Operation = tuple[Any, ...]

TOLD: list[Operation] = [
    ("reasoning", "One."),
    ("reasoning_sign", FOREIGN),
    ("text", "Hi"),
    ("cite", Citation("u", "t", 0, 2, "words")),
    ("call_open", 0, "a", "f"),
    ("call_arguments", 0, '{"x":1}'),
    ("call_close", 0),
    ("reasoning_sign", FOREIGN),
    ("call_open", 1, "b", "p", True),
    ("call_arguments", 1, "free"),
    ("call_close", 1),
    ("blob", "image/png", "AA"),
    ("usage_report", Usage(10, 5, 3)),
    ("finish", Reason.TOOL),
]


def collected(operations: list[Operation], **changes: Any) -> Collector:
    collector = Collector(opening(**changes))
    drive(collector, [START, *operations, ("end",)])
    return collector


def message_of(operations: list[Operation]) -> dict[str, Any]:
    rendered: dict[str, Any] = json.loads(chat.render_answer(collected(operations)))
    ChatCompletion.model_validate(rendered)
    message: dict[str, Any] = rendered["choices"][0]["message"]
    return message


def test_a_whole_answer() -> None:
    rendered = json.loads(chat.render_answer(collected(TOLD)))
    completion = ChatCompletion.model_validate(rendered)
    assert (completion.id, completion.object, completion.created, completion.model) == (
        "c-1",
        "chat.completion",
        1,
        "m",
    )
    assert completion.choices[0].finish_reason == "tool_calls"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 3
    token = {"type": "reasoning.encrypted", "data": signatures.pack(FOREIGN), "format": "hedgerow"}
    assert rendered["choices"][0]["message"] == {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "reasoning_content": "One.",
        "reasoning_details": [
            {**token, "index": 0, "after_calls": 0, "after_text": 0, "start_index": 0, "end_index": 4},
            {**token, "index": 1, "after_calls": 1, "after_text": 2, "start_index": 4, "end_index": 4},
        ],
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 2, "content": "words"},
            }
        ],
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}, "index": 0}],
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "custom", "custom": {"name": "p", "input": "free"}},
        ],
    }


def test_the_stream_of_the_same_answer_says_the_same() -> None:
    told = [each for each in TOLD if each[:2] not in {("call_open", 1), ("call_arguments", 1), ("call_close", 1)}]
    streamed = gathered(drive(chat.open_emitter(opening()), [START, *told, ("end",)]))
    message = streamed.choices[0].message.to_dict()
    said = message_of(told)
    del said["tool_calls"]
    assert {name: message.get(name) for name in said} == said
    calls: Any = message["tool_calls"]
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
        ("a", "f", '{"x":1}')
    ]


@pytest.mark.parametrize(
    ("operations", "content", "refusal", "finish"),
    [
        ([], "", None, "stop"),
        ([("refusal", "No."), ("finish", Reason.REFUSAL)], None, "No.", "stop"),
        ([("finish", Reason.REFUSAL, None, "Why.")], None, "Why.", "content_filter"),
        ([("call_open", 0, "a", "f"), ("finish", Reason.END)], None, None, "tool_calls"),
        ([("text", "a"), ("call_open", 0, "a", "f"), ("text", "b")], "ab", None, "tool_calls"),
    ],
)
def test_what_a_message_without_text_says(
    operations: list[Operation], content: str | None, refusal: str | None, finish: str
) -> None:
    choice = json.loads(chat.render_answer(collected(operations)))["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (content, refusal)
    assert choice["finish_reason"] == finish


def test_hidden_reasoning_leaves_its_signature() -> None:
    told: list[Operation] = [("reasoning", "One."), ("reasoning_sign", FOREIGN), ("text", "Hi")]
    hidden: dict[str, Any] = {"thought": Thought(show=False)}
    rendered = json.loads(chat.render_answer(collected(told, **hidden)))["choices"][0]["message"]
    streamed = gathered(drive(chat.open_emitter(opening(**hidden)), [START, *told, ("end",)]))
    messages: list[dict[str, Any]] = [rendered, streamed.choices[0].message.to_dict()]
    for message in messages:
        assert "reasoning_content" not in message
        assert message["reasoning_details"][0]["data"] == signatures.pack(FOREIGN)
        assert message["reasoning_details"][0]["end_index"] == 0


def test_several_alternatives() -> None:
    operations: list[Operation] = [("text", "a"), ("alternative", 1), ("text", "b")]
    choices = json.loads(chat.render_answer(collected(operations, choices=2)))["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [(0, "a"), (1, "b")]


def test_sounds_are_one_audio_member() -> None:
    message = message_of([("blob", "audio/wav", "AA"), ("blob", "audio/wav", "BB")])
    assert message["audio"]["data"] == "AABB"


def test_the_older_function_call() -> None:
    request = chat.parse_request(b'{"model":"m","functions":[{"name":"f"}]}')
    collector = Collector(opening(request))
    drive(collector, [START, ("call_open", 0, "a", "f"), ("end",)])
    choice = json.loads(chat.render_answer(collector))["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"


def test_there_is_no_count() -> None:
    assert chat.estimated_count(b"input_tokens", 7) is None


def test_a_legacy_answer() -> None:
    told: list[Operation] = [("reasoning", "hm"), ("text", "Hi"), ("finish", Reason.END), ("usage_report", Usage(1, 2))]
    completion = Completion.model_validate_json(chat.render_legacy_answer(collected(told)))
    assert completion.object == "text_completion"
    assert (completion.choices[0].text, completion.choices[0].finish_reason) == ("Hi", "stop")
    assert completion.usage is not None
    assert completion.usage.total_tokens == 3
