"""Usage: parts never exceed what contains them, however odd the counts; usages add up."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.usage import TOKENS_MAX, Usage, added, count, of_counts

COUNTS = st.integers(0, 40) | st.integers(0, TOKENS_MAX)
NAMES = [name for name in Usage.__struct_fields__ if name != "estimated"]
USAGES = st.builds(of_counts, **dict.fromkeys(NAMES, COUNTS))


@given(USAGES)
def test_no_part_exceeds_its_total(usage: Usage) -> None:
    assert all(getattr(usage, name) >= 0 for name in NAMES)
    assert usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens
    assert usage.input_audio_tokens + usage.input_image_tokens <= usage.input_tokens or not usage.input_image_tokens
    assert usage.cached_audio_tokens + usage.cached_image_tokens <= usage.cached_tokens
    assert usage.cached_audio_tokens <= usage.input_audio_tokens <= usage.input_tokens
    assert usage.cached_image_tokens <= usage.input_image_tokens <= usage.input_tokens
    assert max(usage.reasoning_tokens, usage.output_audio_tokens) <= usage.output_tokens


@given(USAGES)
def test_the_normal_form_stays_as_it_is(usage: Usage) -> None:
    assert of_counts(**{name: getattr(usage, name) for name in NAMES}) == usage


def test_counts_that_agree_are_kept() -> None:
    usage = of_counts(
        input_tokens=1_200,
        output_tokens=500,
        cached_tokens=910,
        input_audio_tokens=900,
        output_audio_tokens=450,
        input_image_tokens=200,
        cached_audio_tokens=700,
        cached_image_tokens=150,
    )
    assert usage == Usage(1_200, 500, 910, 0, 0, 900, 450, 200, 700, 150)


def test_cached_images_need_images_even_where_no_sound_is() -> None:
    usage = of_counts(input_tokens=9, output_tokens=0, cached_tokens=5, cached_image_tokens=3)
    assert usage.cached_image_tokens == 0
    usage = of_counts(input_tokens=9, output_tokens=0, cached_tokens=5, input_image_tokens=4, cached_image_tokens=3)
    assert (usage.input_image_tokens, usage.cached_image_tokens) == (4, 3)


def test_usages_add_up() -> None:
    assert added(None, Usage(3, 2, 1)) == Usage(3, 2, 1)
    assert added(Usage(3, 2, 1, input_image_tokens=1), Usage(4, 1, cached_audio_tokens=2)) == Usage(
        7, 3, 1, input_image_tokens=1, cached_audio_tokens=2
    )
    assert added(Usage(1), Usage(estimated=True)) == Usage(1, estimated=True)
    assert added(Usage(1, estimated=True), Usage(1)) == Usage(2, estimated=True)
    assert added(Usage(TOKENS_MAX), Usage(5)) == Usage(TOKENS_MAX)


@given(st.none() | st.booleans() | st.floats() | st.integers() | st.text())
def test_any_value_is_a_count(value: object) -> None:
    assert 0 <= count(value) <= TOKENS_MAX
