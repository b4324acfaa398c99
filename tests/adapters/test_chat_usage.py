"""Usage is read by two readers, a quick one and a lenient one: whatever the quick one accepts, both read alike."""

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.dialects import chat_usage

COUNTS: st.SearchStrategy[object] = st.one_of(
    st.integers(-2, 5), st.sampled_from([0, 1, 10, 2**53 - 1, 2**53, 1.0, 2.5, None, "7", True, {}, []])
)
DETAILS = st.one_of(
    st.none(),
    st.just("x"),
    st.dictionaries(
        st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens", "other"]), COUNTS
    ),
)
USAGE = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "total_tokens": COUNTS,
        "prompt_tokens_details": DETAILS,
        "completion_tokens_details": DETAILS,
        "prompt_cache_hit_tokens": COUNTS,
        "cached_tokens": COUNTS,
        "vendor": COUNTS,
    },
)


@given(USAGE)
@example({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
@example({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_cache_hit_tokens": 3})
@example({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "cached_tokens": 3})
def test_both_readers_agree(usage: dict[str, object]) -> None:
    raw = msgspec.json.encode(usage)
    assert chat_usage.read_usage(raw) == chat_usage._read_leniently(raw)


def test_a_documented_object_takes_the_quick_way() -> None:
    raw = b'{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4}}'
    usage = chat_usage.read_usage(raw)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (10, 5, 4)
