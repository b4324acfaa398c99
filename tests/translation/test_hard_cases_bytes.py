"""Hard cases of bytes and framing: how streams are cut, disturbed, ended too early, and how errors hide in them."""

import gzip
import json
from base64 import b64encode
from typing import Any

import pytest

from adapters import sse as framing
from adapters.errors import Kind
from tests.adapters.streams import byte_by_byte, two_part_splits
from tests.translation import oracle, upstream_gemini, upstream_messages, upstream_responses
from tests.translation.exchange import MODELS, Told, exchange, relayed, sse, told, told_bytes
from tests.translation.seen import DIALECTS, blob, text
from tests.translation.translate import dialect
from tests.translation.upstreams import Raw, written

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*")

Payload = dict[str, Any]

FINISHED = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
HELLO = {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}
DONE = "[DONE]"
OTHERS = {name: [other for other in DIALECTS if other != name] for name in DIALECTS}


def framed(*chunks: bytes) -> list[bytes]:
    """Return the data of the events that these reads hold."""
    decoder = framing.Decoder(1 << 20)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return [event.data for event in (*events, *decoder.end())]


# -- B1 to B3: where a stream is cut, and how it may be written --

EURO = (b'data: {"choices":[{"index":0,"delta":{"content":"\xe2\x82', b'\xac"}}]}\n\n')


@pytest.mark.parametrize("client", OTHERS["chat"])
def test_b01_a_character_split_between_two_reads(client: str) -> None:
    parser = exchange(client, "chat").parser()
    assert parser.feed(EURO[0]) == b""
    assert "€".encode() in parser.feed(EURO[1])
    got = told_bytes("chat", client, *EURO, sse(FINISHED, DONE))
    assert got.seen.blocks == (text("€"),)
    assert got.failure is None
    assert "\ufffd".encode() not in got.written


def test_b01_a_split_character_is_relayed_untouched() -> None:
    passed = relayed("chat", [*EURO, sse(FINISHED, DONE)])
    assert passed.written == b"".join(EURO) + sse(FINISHED, DONE)


def test_b02_an_event_cut_between_cr_and_lf_and_inside_its_end_mark() -> None:
    reads = (b'data: {"a":1}\r', b"\n\r", b"\ndata: [DO", b"NE]\r\n\r\n")
    assert framed(*reads) == [b'{"a":1}', b"[DONE]"]
    for cut in (byte_by_byte(b"".join(reads)), *two_part_splits(b"".join(reads))):
        assert framed(*cut) == [b'{"a":1}', b"[DONE]"]


@pytest.mark.parametrize("client", OTHERS["chat"])
def test_b02_the_client_gets_the_same_however_it_is_cut(client: str) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    plain = sse(HELLO, FINISHED, {"choices": [], "usage": usage}, DONE).replace(b"\n", b"\r\n")
    whole = exchange(client, "chat").feed([plain])
    assert whole.seen.usage is not None
    assert (whole.seen.usage.input, whole.seen.usage.output) == (3, 1)
    opened = exchange(client, "chat")
    for cut in (byte_by_byte(plain), *two_part_splits(plain)):
        parser = opened.parser()
        assert b"".join([*map(parser.feed, cut), parser.end()]) == whole.written


def test_b03_many_data_lines_without_spaces_behind_a_bom() -> None:
    payload = framed(b'\xef\xbb\xbfdata:{"a":\ndata: 1}\n\n')
    assert payload == [b'{"a":\n1}']
    assert json.loads(payload[0]) == {"a": 1}
    assert framed(b'data: {"last":1}') == [b'{"last":1}']


MANY_LINES = b'\xef\xbb\xbfdata:{"choices":\ndata: [{"index":0,"delta":{"content":"Hello"}}]}\n\n'
ODD_FORMS = {
    "bom, no space, many data lines": MANY_LINES + sse(FINISHED),
    "cr": sse(HELLO, FINISHED, DONE).replace(b"\n", b"\r"),
    "no final blank line": (sse(HELLO) + sse(FINISHED))[:-2],
}


@pytest.mark.parametrize("client", OTHERS["chat"])
@pytest.mark.parametrize("stream", ODD_FORMS.values(), ids=ODD_FORMS)
def test_b03_what_is_emitted_has_one_form(stream: bytes, client: str) -> None:
    """One line of data, LF, a blank line: `conform` takes no other."""
    got = told_bytes("chat", client, stream)
    assert got.failure is None
    assert got.written == told("chat", client, HELLO, FINISHED).written


# -- B4 to B7: comments, sizes, encodings --


@pytest.mark.parametrize("client", OTHERS["chat"])
def test_b04_comments_before_the_first_token(client: str) -> None:
    parser = exchange(client, "chat").parser()
    for _ in range(3):
        assert parser.feed(b": OPENROUTER PROCESSING\n\n") == b""
    assert (parser.content, parser.failure) == (False, None)
    parser.feed(sse(HELLO))
    assert parser.content
    assert b"OPENROUTER" not in told_bytes("chat", client, b": OPENROUTER PROCESSING\n\n", sse(HELLO, FINISHED)).written


def test_b04_keepalives_are_in_the_clients_form() -> None:
    assert dialect("messages").KEEPALIVE == b'event: ping\ndata: {"type": "ping"}\n\n'
    assert dialect("gemini").KEEPALIVE == b""
    for name in ("chat", "responses"):
        assert dialect(name).KEEPALIVE.startswith(b":")
        assert dialect(name).KEEPALIVE.count(b"\n") == 1


WITH_IDS = b"id: 1\n" + sse(HELLO) + b": ping\n\n" + b"retry: 10\nid: 2\n" + sse(FINISHED, DONE)


@pytest.mark.parametrize("client", OTHERS["chat"])
def test_b05_ids_are_dropped_when_events_are_framed_anew(client: str) -> None:
    got = told_bytes("chat", client, WITH_IDS)
    assert got.written == told("chat", client, HELLO, FINISHED, DONE).written


def test_b05_a_keepalive_behind_an_id_is_no_event() -> None:
    """A comment with a blank line behind it makes openai-python decode nothing, once it has seen an id."""
    keepalive = dialect("chat").KEEPALIVE
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [b"id: 1\n" + sse({**chunk, **each}) for each in (HELLO, FINISHED)]
    seen = oracle.streamed("chat", [keepalive.join([*events, sse(DONE)])])
    assert (seen.blocks, seen.finish) == ((text("Hello"),), "stop")


MEGABYTES = b64encode(bytes(range(256)) * 6144).decode()
"""Two megabytes of base64."""


@pytest.mark.parametrize("client", ["chat", "responses"])
def test_b06_a_huge_event_arrives_intact(client: str) -> None:
    inline = {"inlineData": {"mimeType": "image/png", "data": MEGABYTES}}
    data = written("gemini", (upstream_gemini.chunk(inline), upstream_gemini.END))
    got = told_bytes("gemini", client, *(data[at : at + 65_536] for at in range(0, len(data), 65_536)))
    assert got.seen.blocks == (blob("image/png", 256 * 6144),)
    assert MEGABYTES.encode() in got.written


def test_b06_a_huge_image_of_an_item_arrives_once() -> None:
    """Partial images are nothing that another dialect has a word for, the whole one is."""
    drawn = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": MEGABYTES}
    partial = upstream_responses.event(
        "image_generation_call.partial_image", partial_image_index=0, partial_image_b64=MEGABYTES
    )
    stream = upstream_responses.stream(upstream_responses.Item(drawn, partial, added={**drawn, "result": None}))
    got = told("responses", "gemini", *stream)
    assert got.seen.blocks == (blob("image/png", 256 * 6144),)
    assert got.written.count(MEGABYTES.encode()) == 1


@pytest.mark.parametrize("client", OTHERS["gemini"])
def test_b06_an_event_beyond_the_limit_is_an_error_not_silence(client: str) -> None:
    data = written("gemini", (upstream_gemini.chunk({"text": "x" * 5000}), upstream_gemini.END))
    got = exchange(client, "gemini").feed([data[:3000], data[3000:]], 4000)
    assert got.failure is not None
    assert got.failure.code == "event_too_large"
    assert got.seen.error is not None
    assert "4000 bytes" in got.seen.error.message
    assert exchange(client, "gemini").feed([data[:3000], data[3000:]], 6000).failure is None


@pytest.mark.parametrize("client", OTHERS["chat"])
def test_b07_a_compressed_stream_that_nobody_inflated_is_an_error(client: str) -> None:
    """The engine asks for identity and inflates what comes compressed all the same; this is what else would come."""
    got = told_bytes("chat", client, gzip.compress(sse(HELLO, FINISHED, DONE), mtime=0))
    assert got.failure is not None
    assert got.failure.status == 502
    assert got.seen.blocks == ()


# -- B8 and B9: how streams end, and how they do not --


def test_b08_a_finish_without_an_end_mark_is_success() -> None:
    got = told("chat", "messages", HELLO, FINISHED)
    assert got.kinds[-2:] == ["message_delta", "message_stop"]
    assert got.failure is None
    assert relayed("chat", [sse(HELLO, FINISHED)]).written == sse(HELLO, FINISHED, DONE)


@pytest.mark.parametrize("client", OTHERS["chat"])
def test_b08_chunks_behind_the_end_mark_are_dropped(client: str) -> None:
    got = told("chat", client, HELLO, FINISHED, DONE, HELLO, {"error": "late"})
    assert got.written == told("chat", client, HELLO, FINISHED, DONE).written
    assert relayed("chat", [sse(HELLO, FINISHED, DONE, HELLO)]).written == sse(HELLO, FINISHED, DONE)


@pytest.mark.parametrize(("upstream", "client"), [("messages", "gemini"), ("gemini", "messages")])
@pytest.mark.parametrize("mark", [b"data: [DONE]\n\n", b"event: done\ndata: [DONE]\n\n"])
def test_b08_an_end_mark_where_the_dialect_has_none_is_swallowed(upstream: str, client: str, mark: bytes) -> None:
    case = {"messages": upstream_messages.CASES, "gemini": upstream_gemini.CASES}[upstream][0]
    assert b"[DONE]" not in told_bytes(upstream, client, case.stream() + mark).written
    assert relayed(upstream, [case.stream() + mark]).written == case.stream()


@pytest.mark.parametrize("mark", [b"data: [DONE]\r\n\r\n", b"data: [DONE]  \n\n", b"data: [DONE]\r\r"])
@pytest.mark.parametrize("client", OTHERS["chat"])
def test_b08_an_end_mark_with_space_behind_it(client: str, mark: bytes) -> None:
    """Without any finish_reason, so that the mark alone tells the end."""
    got = told_bytes("chat", client, sse(HELLO) + mark)
    assert got.failure is None
    assert got.written == told("chat", client, HELLO, DONE).written
    assert relayed("chat", [sse(HELLO) + mark]).written == sse(HELLO, DONE)


ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant"}}]}
HELLO_WOR = {"choices": [{"index": 0, "delta": {"content": "Hello wor"}}]}


def test_b09_a_cut_stream_ends_in_an_error() -> None:
    got = told("chat", "messages", ROLE, HELLO_WOR)
    assert got.kinds == ["message_start", "content_block_start", "content_block_delta", "error"]
    error = got.of("error")[0]
    assert error["error"]["type"] == "api_error"
    assert "ended before" in error["error"]["message"]
    assert b"end_turn" not in got.written
    assert b"message_stop" not in got.written
    assert got.usage is not None
    assert (got.usage.estimated, got.usage.output_tokens) == (True, 3)


def test_b09_the_cut_in_other_dialects() -> None:
    to_responses, to_gemini = (told("chat", client, ROLE, HELLO_WOR) for client in ("responses", "gemini"))
    assert to_responses.kinds[-2:] == ["error", "response.failed"]
    assert to_responses.events[-2]["error"]["code"] == "stream_incomplete"
    assert to_responses.seen.blocks == to_gemini.seen.blocks == (text("Hello wor"),)
    assert to_gemini.events[-1]["error"]["code"] == 502
    stream = upstream_messages.stream(*upstream_messages.texts(0, "Hello wor"))
    to_chat = told("messages", "chat", *stream[:4])
    assert to_chat.events[-1]["error"]["code"] == "stream_incomplete"
    assert DONE not in to_chat.events


MESSAGES_TEXT = upstream_messages.stream(*upstream_messages.texts(0, "Hi"))
RESPONSES_TEXT = upstream_responses.stream(upstream_responses.said("Hi"))
GEMINI_TEXT = (upstream_gemini.chunk({"text": "Hi"}), upstream_gemini.END)
EVIDENCE: dict[str, tuple[str, tuple[Any, ...], bool]] = {
    "finish_reason": ("chat", (HELLO, FINISHED), True),
    "[DONE] alone": ("chat", (HELLO, DONE), True),
    "no finish_reason": ("chat", (HELLO,), False),
    "terminal event": ("responses", RESPONSES_TEXT, True),
    "no terminal event": ("responses", RESPONSES_TEXT[:-1], False),
    "message_stop": ("messages", MESSAGES_TEXT, True),
    "Bedrock ends at message_delta": ("messages", MESSAGES_TEXT[:-1], True),
    "no message_delta": ("messages", MESSAGES_TEXT[:-2], False),
    "finishReason": ("gemini", GEMINI_TEXT, True),
    "no finishReason": ("gemini", GEMINI_TEXT[:-1], False),
}


@pytest.mark.parametrize(("upstream", "said", "whole"), EVIDENCE.values(), ids=EVIDENCE)
def test_b09_what_is_evidence_of_an_end(upstream: str, said: tuple[Any, ...], whole: bool) -> None:
    for client in OTHERS[upstream]:
        got = told(upstream, client, *said)
        assert (got.failure is None, got.seen.error is None, got.seen.finish is not None) == (whole, whole, whole)


# -- B10 to B12: errors --

OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
SOME_TEXT = MESSAGES_TEXT[:4]


def test_b10_an_error_in_the_middle_of_a_stream() -> None:
    to_chat = told("messages", "chat", *SOME_TEXT, OVERLOADED)
    assert to_chat.events[-1] == {
        "error": {"message": "Overloaded", "type": "overloaded_error", "code": "overloaded", "param": None}
    }
    to_responses = told("messages", "responses", *SOME_TEXT, OVERLOADED)
    nested, failed = to_responses.events[-2:]
    assert (nested["type"], nested["error"]["message"]) == ("error", "Overloaded")
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["code"] == "server_error"
    assert failed["response"]["output"][0]["content"][0]["text"] == "Hi"
    to_gemini = told("messages", "gemini", *SOME_TEXT, OVERLOADED)
    error = to_gemini.events[-1]["error"]
    assert {name: error[name] for name in ("code", "message", "status")} == {
        "code": 503,
        "message": "Overloaded",
        "status": "UNAVAILABLE",
    }
    assert to_gemini.last.startswith(b'data: {"error":')
    for got in (to_chat, to_responses, to_gemini):
        assert got.seen.blocks == (text("Hi"),)


@pytest.mark.parametrize(("client", "status"), [("chat", 503), ("responses", 503), ("gemini", 503)])
def test_b10_an_error_as_the_first_event_is_a_status(client: str, status: int) -> None:
    """Nothing was sent, so the engine answers with the status, or asks the next provider."""
    got = told("messages", client, OVERLOADED)
    assert (got.head, got.content) == (b"", False)
    assert got.failure is not None
    assert (got.failure.status, got.failure.kind) == (529, Kind.OVERLOADED)
    assert dialect(client).error_status(got.failure) == status
    assert dialect("messages").error_status(got.failure) == 529


HIDDEN: dict[str, list[bytes]] = {
    "a": [sse({"id": "gen-1", "choices": [], "error": {"code": 502, "message": "Provider disconnected"}})],
    "b": [sse(HELLO, {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]})],
    "c": [sse({"error": "boom"})],
    "e": [b'{"error":{"message":"boom"}}'],
}


@pytest.mark.parametrize("client", OTHERS["chat"])
@pytest.mark.parametrize("form", HIDDEN)
def test_b11_errors_hidden_in_success_shapes(form: str, client: str) -> None:
    got = told_bytes("chat", client, *HIDDEN[form])
    assert got.failure is not None
    assert got.failure.status == 502
    assert got.seen.error is not None
    assert {"a": "Provider disconnected", "b": "error", "c": "boom", "e": "boom"}[form] in got.seen.error.message
    assert got.seen.finish is None


@pytest.mark.parametrize("client", OTHERS["chat"])
def test_b11_an_error_that_is_null_is_none(client: str) -> None:
    got = told("chat", client, {"error": None, **HELLO}, {"error": None, **FINISHED}, DONE)
    assert got.written == told("chat", client, HELLO, FINISHED, DONE).written


@pytest.mark.parametrize("client", OTHERS["gemini"])
def test_b11_raw_lines_of_json_are_an_error(client: str) -> None:
    raw = '{\n  "error": {\n    "code": 503,\n    "message": "boom",\n    "status": "UNAVAILABLE"\n  }\n}\n'
    for begin in ((), (upstream_gemini.chunk({"text": "Hi"}),)):
        got = told("gemini", client, *begin, Raw(raw))
        assert got.failure is not None
        assert (got.failure.status, got.failure.message) == (503, "boom")
        assert got.seen.error is not None


WIRE_ERROR = {
    "type": "error",
    "sequence_number": 2,
    "error": {"type": "server_error", "code": "server_error", "message": "boom"},
}
FLAT_ERROR = {"type": "error", "sequence_number": 2, "code": "server_error", "message": "boom", "param": None}
FAILED = {
    "type": "response.failed",
    "sequence_number": 3,
    "response": upstream_responses.response("failed", usage=None, error={"code": "server_error", "message": "boom"}),
}


@pytest.mark.parametrize("client", OTHERS["responses"])
@pytest.mark.parametrize(
    "errors", [(WIRE_ERROR, FAILED), (WIRE_ERROR,), (FLAT_ERROR, FAILED), (FLAT_ERROR,), (FAILED,)]
)
def test_b12_one_error_whatever_the_form(errors: tuple[Payload, ...], client: str) -> None:
    got = told("responses", client, *upstream_responses.OPENING, *errors)
    assert got.failure is not None
    assert got.failure.message == "boom"
    assert got.written.count(b"boom") == 1
    assert got.seen.error is not None


def failing(upstream: str) -> Told:
    errors: dict[str, tuple[Any, ...]] = {
        "chat": (HELLO, {"error": {"message": "boom"}}),
        "messages": (*SOME_TEXT, OVERLOADED),
        "gemini": (GEMINI_TEXT[0], {"error": {"code": 503, "message": "boom"}}),
    }
    return told(upstream, "responses", *errors[upstream])


def test_b12_a_failed_response_is_the_last_event() -> None:
    """Codex ignores `error`."""
    for upstream in set(MODELS) - {"responses"}:
        assert failing(upstream).kinds[-2:] == ["error", "response.failed"]
    for errors in ((WIRE_ERROR,), (FLAT_ERROR,), (WIRE_ERROR, FAILED), (FAILED,)):
        passed = relayed(
            "responses", [written("responses", (*upstream_responses.numbered(*upstream_responses.OPENING), *errors))]
        )
        kinds = [json.loads(line[6:])["type"] for line in passed.written.splitlines() if line.startswith(b"data: ")]
        assert kinds == ["response.created", "response.in_progress", "error", "response.failed"]
