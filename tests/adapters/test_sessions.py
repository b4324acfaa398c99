"""Realtime sessions: what is paid for, once and to the token; what a policy lets a client say; nothing ever raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeErrorEvent, ResponseCancelEvent, SessionUpdateEvent

from adapters.errors import ClientError, Failure, Kind
from adapters.sessions import FREE, Began, Event, Named, Policy, Session, Spent
from adapters.sessions.counts import SECONDS_MAX
from adapters.sessions.realtime import RealtimeSession
from adapters.sessions.under_way import REMEMBERED_MAX
from adapters.usage import TOKENS_MAX, Usage
from tests.adapters.session_frames import AUDIO, created, done, frame, realtime_usage, settings, transcribed

CACHED_AUDIO = {"audio_tokens": 3}
REASONING = {"reasoning_tokens": 3}
PINNED = Policy("gpt-realtime", 500, frozenset({"fast", "voice"}))


def told(*frames: str | bytes) -> list[Event]:
    session = RealtimeSession()
    return [event for each in frames for event in session.read_server(each)]


# -- what is paid for --------------------------------------------------------------------------------------------------


def test_a_conversation_is_paid_response_by_response() -> None:
    first = realtime_usage(63, out_text=22)
    second = realtime_usage(100, 300, 50, cached=(64, 128, 32), out_text=20, out_audio=80)
    assert told(
        settings(),
        frame("response.output_audio.delta", event_id="e", response_id="resp_1", delta=AUDIO),
        created("resp_1"),
        frame("response.output_text.delta", event_id="e", response_id="resp_1", delta='"type":"response.done"'),
        done("resp_1", usage=first),
        frame("rate_limits.updated", rate_limits=[]),
        created("resp_2"),
        done("resp_2", "cancelled", second, status_details={"type": "cancelled", "reason": "turn_detected"}),
    ) == [
        Named("gpt-realtime"),
        Began("resp_1"),
        Spent("resp_1", "response", Usage(63, 22)),
        Began("resp_2"),
        Spent("resp_2", "response", Usage(450, 100, 224, 0, 0, 300, 80, 50, 128, 32), status="cancelled"),
    ]


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed", "incomplete"])
def test_a_response_is_paid_for_whatever_became_of_it(status: str) -> None:
    assert told(done(status=status, usage=realtime_usage(5, out_text=1))) == [
        Spent("resp_1", "response", Usage(5, 1), status=status)
    ]


@pytest.mark.parametrize("status", ["", "in_progress", None, 7, "x" * 5_000])
def test_a_status_that_nobody_knows_is_unknown(status: Any) -> None:
    (spent,) = told(done(status=status))
    assert isinstance(spent, Spent)
    assert spent.status == "unknown"


@pytest.mark.parametrize(
    "usage", [None, {}, [], "many", 7, {"input_tokens": None}, {"input_tokens": "7"}, {"input_token_details": {}}]
)
def test_usage_that_was_left_out_is_estimated(usage: Any) -> None:
    assert told(done(usage=usage)) == [Spent("resp_1", "response", Usage(estimated=True))]


def test_no_tokens_are_a_count_too() -> None:
    assert told(done(usage=realtime_usage())) == [Spent("resp_1", "response", Usage())]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}, Usage(9, 4)),
        ({"input_tokens": 9.0, "output_tokens": 4.0}, Usage(9, 4)),
        ({"input_tokens": 9, "total_tokens": 13}, Usage(9, 4)),
        ({"output_tokens": 4, "total_tokens": 13}, Usage(9, 4)),
        ({"input_tokens": -3, "output_tokens": 2**80}, Usage(0, TOKENS_MAX)),
        ({"input_tokens": 9, "input_token_details": None, "output_token_details": [1]}, Usage(9)),
        ({"input_tokens": 9, "input_token_details": {"cached_tokens": 40}}, Usage(9, 0, 9)),
        ({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}}, Usage(9, 0, 4)),
        (
            {
                "input_tokens": 9,
                "input_token_details": {"audio_tokens": 5, "cached_tokens_details": {"audio_tokens": 3}},
            },
            Usage(9, 0, 3, input_audio_tokens=5, cached_audio_tokens=3),
        ),
        (
            {"input_tokens": 9, "output_tokens": 5, "output_token_details": REASONING},
            Usage(9, 5, reasoning_tokens=3),
        ),
        (
            {
                "input_tokens": 9,
                "output_tokens": 5,
                "total_tokens": 17,
                "output_token_details": {"reasoning_tokens": 3},
            },
            Usage(9, 8, reasoning_tokens=3),
        ),
    ],
)
def test_odd_usage_is_read(usage: Any, expected: Usage) -> None:
    assert told(done(usage=usage)) == [Spent("resp_1", "response", expected)]


def test_each_response_is_paid_for_once() -> None:
    usage = realtime_usage(5, out_text=1)
    again = [done(usage=usage), created(), done("resp_2", usage=usage), done(usage=realtime_usage(50)), done("resp_2")]
    assert [event.id for event in told(created(), created(), *again) if isinstance(event, Spent)] == [
        "resp_1",
        "resp_2",
    ]
    assert [event for event in told(done(usage=usage), created()) if isinstance(event, Began)] == []


def test_a_response_without_an_id_is_paid_for_under_another() -> None:
    frames = [done(None), done(""), done("x" * 300), frame("response.done"), frame("response.done", response=[1])]
    ids = [event.id for event in told(*frames) if isinstance(event, Spent)]
    assert len(set(ids)) == 5


def test_a_transcription_is_paid_by_the_other_model() -> None:
    details = {"text_tokens": 0, "audio_tokens": 26}
    tokens = {"type": "tokens", "input_tokens": 26, "output_tokens": 4, "input_token_details": details}
    assert told(
        settings(transcriber="gpt-4o-transcribe"),
        transcribed(tokens),
        transcribed(tokens),
        transcribed({"type": "duration", "seconds": 6.25}, part=1),
        settings(transcriber="whisper-1", kind="session.updated"),
        transcribed({"type": "duration", "seconds": 3}, "item_2"),
        settings(transcriber=None, kind="session.updated"),
        transcribed(None, "item_3"),
    )[1:] == [
        Spent("item_1", "transcription", Usage(26, 4, input_audio_tokens=26), model="gpt-4o-transcribe"),
        Spent("item_1.1", "transcription", Usage(), 6.25, "gpt-4o-transcribe"),
        Spent("item_2", "transcription", Usage(), 3.0, "whisper-1"),
        Spent("item_3", "transcription", Usage(estimated=True), model="whisper-1"),
    ]


@pytest.mark.parametrize(
    "kind", ["transcription_session.created", "transcription_session.updated", "session.created", "session.updated"]
)
def test_the_betas_settings_are_read_too(kind: str) -> None:
    session = {"id": "sess_1", "model": "gpt-4o-realtime-preview", "input_audio_transcription": {"model": "whisper-1"}}
    named, spent = told(frame(kind, session=session), transcribed({"type": "duration", "seconds": 1}))
    assert named == Named("gpt-4o-realtime-preview")
    assert isinstance(spent, Spent)
    assert spent.model == "whisper-1"


@pytest.mark.parametrize(
    ("seconds", "read"),
    [(-1, 0.0), (10**9, SECONDS_MAX), (2**2000, SECONDS_MAX), (1e300, SECONDS_MAX), (0, 0.0), (1.5, 1.5)],
    ids=range(6),
)
def test_seconds_are_within_reason(seconds: float, read: float) -> None:
    assert told(transcribed({"type": "duration", "seconds": seconds})) == [
        Spent("item_1", "transcription", Usage(), read)
    ]


def test_seconds_that_are_no_number_are_left_out() -> None:
    for seconds in ("3", None, True, [1], float("nan"), float("inf")):
        assert told(transcribed({"type": "duration", "seconds": seconds})) == [
            Spent("item_1", "transcription", Usage(estimated=True))
        ]


def test_a_model_is_named_when_it_changes() -> None:
    frames = [
        settings("a"),
        settings("a", kind="session.updated"),
        settings(None),
        settings("b", kind="session.updated"),
    ]
    assert told(*frames) == [Named("a"), Named("b")]


@pytest.mark.parametrize(
    "written",
    [
        '{"event_id":"event_9", "type":"response.done","response":{"id":"resp_1","usage":{"input_tokens":7}}}',
        ' {\n"response":{"usage":{"input_tokens":7},"id":"resp_1"},"type" : "response.done"}',
        r'{"type":"response\u002edone","response":{"id":"resp_1","usage":{"input_tokens":7}}}',
        r'{"event_id":"\"type\"","type":"response.done","response":{"id":"resp_1","usage":{"input_tokens":7}}}',
        '{"response":{"type":"x","output":["'
        + AUDIO
        + '"],"id":"resp_1","usage":{"input_tokens":7}},"type":"response.done"}',
        r'{"type":"response.done","response":{"id":"resp_1","usage":{"input_tokens":7},"output":"\ud800"}}',
        '{"type":"response.done","response":{"id":"resp_1","usage":{"input_tokens":7},"x":NaN}}',
    ],
)
def test_the_order_of_members_means_nothing(written: str) -> None:
    written = written.replace("%s", AUDIO)
    for each in (written, written.encode()):
        assert told(each) == [Spent("resp_1", "response", Usage(7), status="unknown")]


@pytest.mark.parametrize(
    "nothing",
    [
        "",
        "{",
        "[]",
        "null",
        '"response.done"',
        '{"type":7}',
        "{}",
        AUDIO,
        "[" * 100_000,
        '{"a":' * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_event_means_nothing(nothing: str | bytes) -> None:
    assert told(nothing) == []


# -- what is under way -------------------------------------------------------------------------------------------------


def test_a_response_is_under_way_until_it_is_done() -> None:
    session = RealtimeSession()
    assert (session.responding, session.unpaid, session.cancel_frame()) == (False, (), None)
    session.read_server(created("a"))
    session.read_server(created("b"))
    assert (session.responding, session.unpaid) == (True, ("a", "b"))
    session.read_server(done("a"))
    assert (session.responding, session.unpaid) == (True, ("b",))
    session.read_server(done("b", "cancelled"))
    assert (session.responding, session.unpaid) == (False, ())


def test_each_response_under_way_can_be_cancelled() -> None:
    session = RealtimeSession()
    for name in "abc":
        session.read_server(created(name))
    session.read_server(done("a"))
    frames = [session.cancel_frame() for _ in range(3)]
    assert frames[2] is None
    assert [json.loads(each or "") for each in frames[:2]] == [
        {"type": "response.cancel", "response_id": "b"},
        {"type": "response.cancel", "response_id": "c"},
    ]
    assert session.unpaid == ("b", "c")


def test_a_session_of_any_length_takes_bounded_memory() -> None:
    session = RealtimeSession()
    for number in range(2 * REMEMBERED_MAX):
        session.read_server(created(f"open_{number}"))
        session.read_server(done(f"done_{number}"))
    assert len(session.unpaid) == REMEMBERED_MAX
    assert len(session._under_way._paid) == REMEMBERED_MAX
    assert session.read_server(done(f"done_{2 * REMEMBERED_MAX - 1}")) == ()


# -- what is said to either side ---------------------------------------------------------------------------------------


def test_a_failure_is_an_error_event() -> None:
    failure = Failure(402, Kind.BILLING, "The balance is used up \ud83d.", code="insufficient_balance")
    assert json.loads(RealtimeSession().error_frame(failure, "event_42")) == {
        "type": "error",
        "event_id": "event_42",
        "error": {
            "type": "insufficient_quota",
            "code": "insufficient_balance",
            "message": "The balance is used up ?.",
            "param": None,
            "event_id": None,
        },
    }


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_failure_has_words(kind: Kind) -> None:
    event = json.loads(RealtimeSession().error_frame(Failure(500, kind, "x"), "e"))
    assert event["error"]["type"]
    own = Failure(500, kind, "x", type="their_type", code="their_code", param="session.model")
    error = json.loads(RealtimeSession().error_frame(own, "e"))["error"]
    assert (error["type"], error["code"], error["param"]) == ("their_type", "their_code", "session.model")


def test_an_opening_says_the_settings_within_the_policy() -> None:
    session = RealtimeSession()
    opening = json.loads(session.opening_frame({"instructions": "Hi", "model": "fast"}, PINNED))
    assert opening == {
        "type": "session.update",
        "session": {"type": "realtime", "instructions": "Hi", "model": "gpt-realtime", "max_output_tokens": 500},
    }
    assert json.loads(session.opening_frame({"max_output_tokens": 20}, PINNED))["session"]["max_output_tokens"] == 20
    assert json.loads(session.opening_frame({}))["session"] == {"type": "realtime"}
    with pytest.raises(ClientError):
        session.opening_frame({"model": "gpt-realtime-2"}, PINNED)


def test_the_official_types_accept_what_is_ours_to_say() -> None:
    session = RealtimeSession()
    session.read_server(created())
    error = RealtimeErrorEvent.model_validate_json(session.error_frame(Failure(403, Kind.PERMISSION, "No."), "event_1"))
    assert (error.event_id, error.error.type, error.error.message) == ("event_1", "permission_error", "No.")
    cancel = ResponseCancelEvent.model_validate_json(session.cancel_frame() or "")
    assert cancel.response_id == "resp_1"
    update = SessionUpdateEvent.model_validate_json(session.opening_frame({}, PINNED))
    assert update.session.type == "realtime"


# -- what a client may say ---------------------------------------------------------------------------------------------


def passed(written: str, policy: Policy = PINNED) -> Any:
    """Return what comes of a client's event, the same for text and for bytes."""
    session = RealtimeSession()
    text, binary = session.read_client(written, policy), session.read_client(written.encode(), policy)
    assert isinstance(text, str)
    assert isinstance(binary, bytes)
    assert text.encode() == binary
    return json.loads(text)


@pytest.mark.parametrize(
    ("event", "members", "expected"),
    [
        ("session.update", {"max_output_tokens": 501}, {"max_output_tokens": 500}),
        ("session.update", {"max_output_tokens": "inf"}, {"max_output_tokens": 500}),
        ("session.update", {"max_output_tokens": None}, {"max_output_tokens": 500}),
        ("session.update", {"max_output_tokens": 1e30}, {"max_output_tokens": 500}),
        ("session.update", {"max_output_tokens": True}, {"max_output_tokens": 500}),
        ("session.update", {"max_response_output_tokens": 4096}, {"max_response_output_tokens": 500}),
        (
            "response.create",
            {"max_output_tokens": 1, "max_response_output_tokens": "inf"},
            {"max_output_tokens": 1, "max_response_output_tokens": 500},
        ),
        ("response.create", {"max_output_tokens": 999}, {"max_output_tokens": 500}),
        ("session.update", {"model": "fast"}, {"model": "gpt-realtime"}),
        ("response.create", {"model": "voice", "metadata": {"a": 1}}, {"model": "gpt-realtime", "metadata": {"a": 1}}),
        ("transcription_session.update", {"model": "fast"}, {"model": "gpt-realtime"}),
    ],
)
def test_a_policy_rewrites_what_goes_beyond_it(event: str, members: Any, expected: Any) -> None:
    holder = "response" if event == "response.create" else "session"
    written = frame(event, event_id="mine", **{holder: {"instructions": "Hi", **members}})
    assert passed(written) == {"type": event, "event_id": "mine", holder: {"instructions": "Hi", **expected}}


@pytest.mark.parametrize("name", ["model", "max_output_tokens"])
@pytest.mark.parametrize("holder", [None, [], "text", 7])
def test_settings_that_are_no_object_are_the_upstreams_to_refuse(name: str, holder: Any) -> None:
    written = frame("session.update", session=holder, **{name: 7_000})
    assert RealtimeSession().read_client(written, PINNED) is written


@pytest.mark.parametrize(
    "written",
    [
        frame("session.update", session={"model": "gpt-realtime", "max_output_tokens": 500, "instructions": "Hi"}),
        frame("session.update", session={"model": None}),
        frame("session.update", session={"audio": {"input": {"transcription": {"model": "whisper-1"}}}}),
        frame("response.create"),
        frame("response.create", response={"max_output_tokens": 0}),
        frame("response.create", response={"max_output_tokens": -5}),
        frame("response.create", model="anything", max_output_tokens=9_000),
        frame("response.cancel"),
        frame("conversation.item.create", item={"type": "message", "model": "x", "max_output_tokens": 9_000}),
        frame("input_audio_buffer.append", audio=AUDIO),
        frame("input_audio_buffer.append", audio="a\\/b"),
        '{ "audio" : "AAAA",\n"type" : "input_audio_buffer.append" }',
        '{"event_id":"1","type":"input_audio_buffer.append","audio":"AAAA"}',
        json.dumps(
            {"type": "session.update", "session": {"instructions": "é \u2028", "model": "gpt-realtime"}}, indent=2
        ),
        '{"type":"session.update","session":{"max_output_tokens":4.0}}',
    ],
)
def test_what_is_within_the_policy_passes_as_it_came(written: str) -> None:
    session = RealtimeSession()
    assert session.read_client(written, PINNED) is written
    binary = written.encode()
    assert session.read_client(binary, PINNED) is binary


@pytest.mark.parametrize("model", ["gpt-realtime-2", "", 7, ["gpt-realtime"], {"a": 1}, False, "FAST"])
@pytest.mark.parametrize(("event", "holder"), [("session.update", "session"), ("response.create", "response")])
def test_another_model_is_refused(event: str, holder: str, model: Any) -> None:
    with pytest.raises(ClientError) as caught:
        RealtimeSession().read_client(frame(event, **{holder: {"model": model}}), PINNED)
    failure = caught.value.failure
    assert (failure.status, failure.code, failure.param) == (403, "model_not_allowed", f"{holder}.model")


def spelt(template: str) -> str:
    return template.replace("OTHER", '"model":"gpt-realtime-2"').replace("SAME", '"model":"gpt-realtime"')


@pytest.mark.parametrize(
    "template",
    [
        '{"type":"input_audio_buffer.append","audio":"","type":"session.update","session":{OTHER}}',
        r'{"type":"input_audio_buffer.append","ty\u0070e":"session.update","session":{OTHER}}',
        r'{"type":"session\u002eupdate","session":{OTHER}}',
        '{"session":{OTHER},"type":"session.update"}',
        '{"type":"session.update","session":{SAME},"session":{OTHER}}',
        '{"type":"session.update","session":{SAME,OTHER}}',
        r'{"type":"session.update","session":{"mod\u0065l":"gpt-realtime-2"}}',
        r'{"type":"session.update","x":"\ud800","session":{OTHER}}',
        '{"type":"session.update","x":NaN,"session":{OTHER}}',
        '{"type":"session.update","session":{OTHER,"instructions":"é"}}',
    ],
)
def test_no_way_of_writing_it_gets_another_model_through(template: str) -> None:
    written = spelt(template)
    for each in (written, written.encode()):
        with pytest.raises(ClientError) as caught:
            RealtimeSession().read_client(each, PINNED)
        assert caught.value.failure.code == "model_not_allowed"


@pytest.mark.parametrize(
    "template",
    [
        '{"type":"session.update","type":"input_audio_buffer.append","session":{OTHER}}',
        '{"type":"session.update","session":{OTHER},"session":{SAME}}',
        '{"type":"session.update","session":{OTHER,SAME}}',
    ],
)
def test_what_is_said_twice_is_written_once(template: str) -> None:
    """A reader to whom the first of two members counts would see another event than this one does."""

    def first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(reversed(pairs))

    written = spelt(template)
    seen = RealtimeSession().read_client(written, PINNED)
    assert json.loads(seen, object_pairs_hook=first) == json.loads(seen) == json.loads(written)
    assert json.loads(written, object_pairs_hook=first) != json.loads(written)


def test_escapes_do_not_make_up_for_what_is_dropped() -> None:
    """Half a character makes it a document for lenient readers; written anew it may come out as long as before."""
    for other in ("other", "other-", "other--", "other---"):
        for accents in range(12):
            session = spelt('{"model":"%s",SAME,"x":"%s"}').replace("%s", other, 1).replace("%s", "é" * accents)
            written = r'{"type":"session.update","y":"\ud800","session":' + session + "}"
            assert other not in str(RealtimeSession().read_client(written, PINNED))


@pytest.mark.parametrize(
    "written", ["", "{", "[]", "null", '{"type":"session.update",}', "[" * 100_000, b"\xef\xbb\xbf{"]
)
def test_under_a_policy_an_event_must_be_readable(written: str | bytes) -> None:
    with pytest.raises(ClientError) as caught:
        RealtimeSession().read_client(written, PINNED)
    assert (caught.value.failure.status, caught.value.failure.code) == (400, "invalid_json")


def test_without_a_policy_everything_passes() -> None:
    for written in ("", "{", frame("session.update", session={"model": "x"}), b"\x00\xff", AUDIO):
        assert RealtimeSession().read_client(written, FREE) is written


def test_a_binary_frame_that_is_no_event_passes() -> None:
    for written in (b"", b"\x00\x01", b"RIFF...."):
        assert RealtimeSession().read_client(written, PINNED) is written


def test_each_half_of_a_policy_holds_alone() -> None:
    written = frame("session.update", session={"model": "other", "max_output_tokens": 9_000})
    assert passed(written, Policy(output_tokens_max=5))["session"] == {"model": "other", "max_output_tokens": 5}
    same = frame("session.update", session={"model": "other", "max_output_tokens": 9_000})
    assert RealtimeSession().read_client(same, Policy("other")) is same


# -- laws --------------------------------------------------------------------------------------------------------------

KINDS = st.sampled_from(
    ["session.update", "response.create", "input_audio_buffer.append", "response.done", "response.created", "x"]
)
NAMES = st.sampled_from(
    ["type", "session", "response", "model", "max_output_tokens", "usage", "id", "input_token_details", "audio"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("gpt-realtime"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.dictionaries(NAMES, VALUES, max_size=6)
WRITTEN = st.builds(
    lambda kind, event, spaces, ascii_only: json.dumps(
        {"type": kind, **event}, separators=(", ", ": ") if spaces else (",", ":"), ensure_ascii=ascii_only
    ),
    *(KINDS, EVENTS, st.booleans(), st.booleans()),
)


@given(WRITTEN | st.text() | st.binary())
def test_no_frame_of_an_upstream_raises(written: str | bytes) -> None:
    for event in told(written, written):
        if isinstance(event, Spent):
            assert event.usage.cached_tokens <= event.usage.input_tokens
            assert 0 <= event.seconds <= SECONDS_MAX


@given(WRITTEN | st.text() | st.binary())
def test_what_passes_a_policy_is_within_it(written: str | bytes) -> None:
    session: Session = RealtimeSession()
    try:
        seen = session.read_client(written, PINNED)
    except ClientError:
        return
    assert type(seen) is type(written)
    if isinstance(seen, bytes) and not seen.lstrip().startswith(b"{"):
        return
    event = json.loads(seen)
    holder = {"session.update": "session", "response.create": "response"}.get(str(event.get("type")), "")
    inside = event.get(holder)
    if isinstance(inside, dict):
        assert inside.get("model") in {None, "gpt-realtime"}
        assert inside.get("max_output_tokens", 0) <= 500
    assert session.read_client(seen, PINNED) == seen
