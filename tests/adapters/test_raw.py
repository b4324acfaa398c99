"""Members as bytes: which say something, and what a decoded value is as one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from adapters.raw import NOTHING, says, written

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@given(_VALUES, st.sampled_from([None, 1, 80]))
def test_a_member_says_something_when_its_value_is_truthy(value: object, indent: int | None) -> None:
    assert says(Raw(json.dumps(value, indent=indent).encode())) is bool(value)


@pytest.mark.parametrize("hollow", [b"[ ]", b"{\r\n\t}", b"[" + b" " * 100_000 + b"]"])
def test_an_empty_array_or_object_says_nothing_however_it_is_padded(hollow: bytes) -> None:
    assert not says(Raw(hollow))


def test_an_absent_member_says_nothing() -> None:
    assert not says(NOTHING)


@given(_VALUES)
def test_a_value_written_is_read_again(value: object) -> None:
    assert written(value) == NOTHING if value is None else json.loads(bytes(written(value))) == value
