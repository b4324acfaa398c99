"""Responses over a WebSocket: responses side by side, paid for once each; a policy that holds for every request."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import ClientError, Failure, Kind
from adapters.sessions import FREE, Began, Event, Named, Policy, Session, Spent
from adapters.sessions.socketed import SocketedSession
from adapters.usage import Usage
from tests.adapters.session_frames import AUDIO, frame

PINNED = Policy("gpt-5.5", 500, frozenset({"fast"}))
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 150,
}
COUNTED = Usage(100, 50, 60, 30, 40)


def told(session: SocketedSession, *frames: str | bytes) -> list[Event]:
    return [event for each in frames for event in session.read_server(each)]


def event(kind: str, name: str = "resp_1", *, lane: str | None = None, model: str = "gpt-5.5", **members: Any) -> str:
    lanes = {} if lane is None else {"stream_id": lane}
    response = {"id": name, "object": "response", "model": model, "usage": None, **members}
    return frame(f"response.{kind}", **lanes, sequence_number=0, response=response)


def error(sequence_number: int | None = None, **members: Any) -> str:
    numbered = {} if sequence_number is None else {"sequence_number": sequence_number}
    return frame("error", **numbered, error={"type": "server_error", "message": "no"}, **members)


def test_a_turn_is_paid_for_when_it_is_completed() -> None:
    session = SocketedSession()
    assert told(
        session,
        event("created"),
        event("in_progress"),
        frame("response.output_text.delta", delta='"type":"response.completed"', sequence_number=2),
        frame("response.output_item.done", item={"type": "message", "content": [{"text": AUDIO}]}),
        event("completed", usage=USAGE),
        event("created", "resp_2"),
        event("completed", "resp_2", usage=USAGE),
        event("completed", "resp_2", usage=USAGE),
    ) == [
        Began("resp_1"),
        Named("gpt-5.5"),
        Spent("resp_1", "response", COUNTED),
        Began("resp_2"),
        Spent("resp_2", "response", COUNTED),
    ]
    assert not session.responding


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete", "cancelled"])
def test_a_response_is_paid_for_whatever_became_of_it(status: str) -> None:
    assert told(SocketedSession(), event(status, usage=USAGE)) == [Spent("resp_1", "response", COUNTED, status=status)]
    assert told(SocketedSession(), event(status)) == [Spent("resp_1", "response", Usage(estimated=True), status=status)]


def test_warming_up_costs_no_tokens() -> None:
    zero = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert told(SocketedSession(), event("completed", usage=zero)) == [Spent("resp_1", "response", Usage())]


def test_responses_in_several_lanes_are_under_way_together() -> None:
    session = SocketedSession()
    told(session, event("created", "a"), event("created", "b", lane="left"), event("created", "c", lane="right"))
    told(session, event("completed", "b", lane="left", usage=USAGE))
    assert (session.responding, session.unpaid) == (True, ("a", "c"))


def test_an_error_in_a_stream_ends_its_lane() -> None:
    session = SocketedSession()
    told(session, event("created", "a"), event("created", "b", lane="left"))
    assert told(session, error(3, stream_id="left")) == []
    assert (session.responding, session.unpaid) == (True, ("a", "b"))
    assert told(session, error(0)) == []
    assert (session.responding, session.unpaid) == (False, ("a", "b"))
    assert told(session, event("failed", "a", usage=USAGE)) == [Spent("a", "response", COUNTED, status="failed")]
    assert (session.responding, session.unpaid) == (False, ("b",))
    told(session, event("created", "c"))
    assert session.responding


def test_an_error_about_a_request_ends_nothing() -> None:
    session = SocketedSession()
    told(
        session, event("created"), error(status=400), error(sequence_number=None), frame("error", sequence_number=None)
    )
    assert session.responding


def test_nothing_can_be_cancelled() -> None:
    session = SocketedSession()
    told(session, event("created"))
    assert session.cancel_frame() is None


def test_a_failure_is_an_error_event_with_a_status() -> None:
    failure = Failure(429, Kind.RATE_LIMIT, "Slow down.")
    assert json.loads(SocketedSession().error_frame(failure, "event_1")) == {
        "type": "error",
        "status": 429,
        "error": {"type": "requests", "code": "rate_limit_exceeded", "message": "Slow down.", "param": None},
    }


# -- what a client may say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "asked"),
    [
        ({"model": "gpt-5.5", "max_output_tokens": 9}, ("gpt-5.5", 9)),
        ({"model": "anything"}, ("anything", None)),
        ({"response": {"model": "inside", "max_output_tokens": 7}}, ("inside", 7)),
        ({"model": 7, "max_output_tokens": "many"}, (None, None)),
        ({"max_output_tokens": 5, "response": {"max_output_tokens": 7}}, (None, 7)),
        ({}, (None, None)),
    ],
)
def test_what_was_asked_for_can_be_read(members: Any, asked: Any) -> None:
    session = SocketedSession()
    for written in (frame("response.create", **members), json.dumps({**members, "type": "response.create"}).encode()):
        assert session.read_client(written, FREE) is written
        assert (session.model, session.output_tokens_max) == asked
    session.read_client(frame("response.steer", model="x"), FREE)
    session.read_client("no JSON", FREE)
    assert (session.model, session.output_tokens_max) == asked


def test_under_a_policy_what_the_client_asked_for_stays_readable() -> None:
    session = SocketedSession()
    seen = session.read_client(frame("response.create", model="fast", max_output_tokens=9_000), PINNED)
    assert json.loads(seen) == {"type": "response.create", "model": "gpt-5.5", "max_output_tokens": 500}
    assert (session.model, session.output_tokens_max) == ("fast", 9_000)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {"model": "gpt-5.5", "max_output_tokens": 500}),
        ({"model": None, "max_output_tokens": None}, {"model": "gpt-5.5", "max_output_tokens": 500}),
        ({"model": "fast", "max_output_tokens": 20}, {"model": "gpt-5.5", "max_output_tokens": 20}),
        ({"response": {"input": "Hi"}}, {"response": {"input": "Hi", "model": "gpt-5.5", "max_output_tokens": 500}}),
        (
            {"response": {"model": "fast", "max_output_tokens": 501}, "max_output_tokens": 501},
            {"response": {"model": "gpt-5.5", "max_output_tokens": 500}, "max_output_tokens": 500},
        ),
    ],
)
def test_a_request_gets_what_the_policy_says(members: Any, expected: Any) -> None:
    seen = SocketedSession().read_client(frame("response.create", **members, store=False), PINNED)
    assert json.loads(seen) == {"type": "response.create", "store": False, **expected}


@pytest.mark.parametrize(
    "written",
    [
        frame(
            "response.create", model="gpt-5.5", max_output_tokens=500, input=[{"model": "x", "max_output_tokens": 9000}]
        ),
        frame("response.steer", previous_response_id="resp_1", input="and now?", model="x"),
        frame("response.create", model="gpt-5.5", max_output_tokens=1, generate=False),
    ],
)
def test_what_is_within_the_policy_passes_as_it_came(written: str) -> None:
    assert SocketedSession().read_client(written, PINNED) is written


@pytest.mark.parametrize("members", [{"model": "gpt-4.1"}, {"response": {"model": "gpt-4.1"}, "model": "gpt-5.5"}])
def test_another_model_is_refused(members: Any) -> None:
    with pytest.raises(ClientError) as caught:
        SocketedSession().read_client(frame("response.create", **members), PINNED)
    assert caught.value.failure.code == "model_not_allowed"
    assert caught.value.failure.param == ("response.model" if "response" in members else "model")


# -- laws --------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    ["type", "response", "model", "max_output_tokens", "usage", "id", "stream_id", "sequence_number"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("gpt-5.5"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(["response.create", "response.created", "response.completed", "response.failed", "error", "x"])
WRITTEN = st.builds(lambda kind, members: json.dumps({"type": kind, **members}), KINDS, st.dictionaries(NAMES, VALUES))


@given(st.lists(WRITTEN | st.text() | st.binary(), max_size=6))
def test_no_frame_of_an_upstream_raises(frames: list[str | bytes]) -> None:
    session = SocketedSession()
    paid = [event.id for event in told(session, *frames, *frames) if isinstance(event, Spent)]
    assert len(paid) == len(set(paid))
    assert not set(paid) & set(session.unpaid)


@given(WRITTEN | st.text() | st.binary())
def test_what_passes_a_policy_is_within_it(written: str | bytes) -> None:
    session: Session = SocketedSession()
    try:
        seen = session.read_client(written, PINNED)
    except ClientError:
        return
    if isinstance(seen, bytes) and not seen.lstrip().startswith(b"{"):
        return
    request = json.loads(seen)
    if request.get("type") == "response.create":
        inside = request["response"] if isinstance(request.get("response"), dict) else request
        assert inside["model"] == "gpt-5.5"
        assert inside["max_output_tokens"] <= 500
    assert session.read_client(seen, PINNED) == seen
