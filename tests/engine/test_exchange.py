"""Exchanges: the ids they are given, and durations as they are logged."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.exchange import IDS_PER_BLOCK, REQUEST_ID_LENGTH_MAX, fresh_id, milliseconds, request_id
from engine.http1 import Request


def asked(given_id: bytes | None = None) -> Request:
    return Request("POST", b"/", b"/", b"", [] if given_id is None else [(b"x-request-id", given_id)])


def test_made_ids_are_whole_and_never_the_same() -> None:
    made = [request_id(asked()) for _ in range(3 * IDS_PER_BLOCK)] + [b"req_" + fresh_id().encode() for _ in range(3)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(rb"req_[0-9a-f]{24}", each) for each in made)


@pytest.mark.parametrize("own", [b"a", b"trace/1:2", b"~" * REQUEST_ID_LENGTH_MAX])
def test_a_short_printable_id_of_the_client_is_kept(own: bytes) -> None:
    assert request_id(asked(own)) == own


@pytest.mark.parametrize("own", [b"", b"a b", b"a\tb", b"\xe4", b"~" * (REQUEST_ID_LENGTH_MAX + 1)])
def test_any_other_is_replaced(own: bytes) -> None:
    assert request_id(asked(own)).startswith(b"req_")


@given(st.integers(0, 10**12), st.floats(0.1, 0.9))
def test_durations_are_cut_to_whole_microseconds(microseconds: int, beyond: float) -> None:
    assert milliseconds((microseconds + beyond) / 1e6) == microseconds / 1e3
