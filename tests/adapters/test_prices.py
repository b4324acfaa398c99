"""Prices: what a usage comes to, to the nano-dollar; that reservations hold; that names find their rows."""

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.prices import (
    Price,
    Prices,
    catalogue,
    charge_nanos,
    cost_nanos,
    nanos_of_dollars,
    output_tokens_max,
    price,
    price_from_dollars,
    seconds_nanos,
    session_nanos,
    worst_nanos,
)
from adapters.registry import providers
from adapters.usage import Usage, of_counts

DOLLAR = 10**9

FREE_OF_CHARGE = {"compatible", "local", "ollama", "scripted"}
"""The kinds without list prices: servers of one's own, or of anybody."""


def listed(kind: str, model: str) -> Price:
    found = Prices().of("any", kind, model)
    assert found is not None
    return found


# -- figures by hand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "model", "usage", "dollars"),
    [
        # The vendor's example of a session: 50,000 tokens in at $5, 15,000 out at $25; then 40,000 of the input cached.
        ("anthropic", "claude-opus-4-6", Usage(50_000, 15_000), "0.625"),
        ("anthropic", "claude-opus-4-6", Usage(50_000, 15_000, cached_tokens=40_000), "0.445"),
        # 1,000 plain, 2,000 read, 3,000 written: 0.003 + 0.0006 + 0.01125; 500 out: 0.0075.
        ("anthropic", "claude-sonnet-4-5", Usage(6_000, 500, 2_000, 3_000), "0.02235"),
        # The same model at its limit and one token beyond, where everything is dearer.
        ("anthropic", "claude-sonnet-4-5", Usage(200_000, 1_000), "0.615"),
        ("anthropic", "claude-sonnet-4-5", Usage(200_001, 1_000), "1.222506"),
        ("anthropic", "claude-sonnet-4-6", Usage(900_000, 1_000), "2.715"),
        ("anthropic", "claude-haiku-5-5", Usage(100_001, 0, 100_001), "0.00500005"),
        ("openai", "gpt-4.1", Usage(1_000, 1_000), "0.01"),
        ("openai", "gpt-4.1", Usage(1_000, 1_000, cached_tokens=800), "0.0088"),
        ("openai", "gpt-5.6-luna", Usage(300_000, 10_000), "0.138"),
        ("openai", "o4-mini", Usage(1_000, 2_000, reasoning_tokens=1_500), "0.0099"),
        # 100 of text and 900 of sound in, 50 and 450 out.
        ("openai", "gpt-audio", Usage(1_000, 500, input_audio_tokens=900, output_audio_tokens=450), "0.05835"),
        ("gemini", "gemini-2.5-pro", Usage(200_000, 1_000), "0.26"),
        ("gemini", "gemini-2.5-pro", Usage(250_000, 1_000, cached_tokens=50_000), "0.5275"),
        ("gemini", "gemini-2.5-flash", Usage(2_000, 100, input_audio_tokens=1_000), "0.00155"),
        ("xai", "grok-4.6", Usage(199_999, 0), "0.399998"),
        ("xai", "grok-4.6", Usage(200_000, 0), "0.8"),
        ("deepseek", "deepseek-flash", Usage(1_000_000, 1_000_000, cached_tokens=1_000_000), "1.206"),
        # 100 of text, 900 of sound and 200 of images in: 0.0004 + 0.0288 + 0.001; 50 and 450 out: 0.0008 + 0.0288.
        ("openai", "gpt-realtime", Usage(1_200, 500, 0, 0, 0, 900, 450, 200), "0.0598"),
        # The same after a turn: 60 of text, 700 of sound and 150 of images cached; 40, 200 and 50 are new.
        ("openai", "gpt-realtime", Usage(1_200, 0, 910, 0, 0, 900, 0, 200, 700, 150), "0.007189"),
        ("openai", "gpt-realtime-mini", Usage(1_200, 0, 910, 0, 0, 900, 0, 200, 700, 150), "0.0022896"),
        ("openai", "gpt-realtime-mini", Usage(100, 0, 100, 0, 0, 40, 0, 0, 40), "0.0000156"),
        ("openai", "gpt-4o-transcribe", Usage(100, 20, input_audio_tokens=90), "0.00045"),
        ("openai", "text-embedding-3-small", Usage(1), "0.00000002"),
        ("openai", "gpt-4.1", Usage(), "0"),
    ],
)
def test_a_usage_costs_what_the_vendor_says(kind: str, model: str, usage: Usage, dollars: str) -> None:
    assert cost_nanos(listed(kind, model), usage) == Decimal(dollars) * DOLLAR


def test_the_sum_is_rounded_once_and_up() -> None:
    third = Price(input=1, output=1, cached_input=1, reasoning=1)
    assert cost_nanos(third, Usage(1, 1)) == 1
    assert cost_nanos(third, Usage(500_000, 500_000)) == 1
    assert cost_nanos(third, Usage(500_000, 500_001)) == 2
    assert cost_nanos(third, Usage()) == 0


def test_pieces_are_paid_beside_the_tokens() -> None:
    pieces = Price(input=DOLLAR, output=0, call=7, image=100)
    assert cost_nanos(pieces, Usage()) == 7
    assert cost_nanos(pieces, Usage(1), images=3) == 1_000 + 7 + 300
    assert worst_nanos(pieces, 1, 9, images=3) == 1_000 + 7 + 300


def test_a_rate_left_out_is_that_of_its_total() -> None:
    plain = Price(input=3, output=5)
    assert (plain.cached_input, plain.cache_write, plain.audio_input) == (3, 3, 3)
    assert (plain.audio_output, plain.reasoning) == (5, 5)
    assert (plain.image_input, plain.cached_audio, plain.cached_image) == (3, 3, 3)
    cheaper = Price(input=3, output=5, cached_input=1)
    assert (cheaper.image_input, cheaper.cached_audio, cheaper.cached_image) == (3, 1, 1)
    assert (plain.audio_minute, plain.session_minute) == (0, 0)
    assert Price(input=3, output=5, cached_input=0).cached_input == 0


def test_audio_counts_as_cached_only_where_it_must() -> None:
    rates = Price(input=100 * 10**6, output=0, cached_input=10**6, audio_input=1000 * 10**6)
    assert cost_nanos(rates, Usage(10, 0, cached_tokens=6, input_audio_tokens=4)) == 6 + 4_000
    assert cost_nanos(rates, Usage(10, 0, cached_tokens=6, input_audio_tokens=10)) == 6 + 4_000


@pytest.mark.parametrize(
    "usage",
    [
        Usage(5, 5, 9, 9, 9, 9, 9),
        Usage(0, 0, 9, 9, 9, 9, 9),
        Usage(5, 5, 9, 9, 9, 9, 9, 9, 9, 9),
        Usage(5, 5, 9, 9, 9, 9, 9, 9, 0, 2),
        Usage(5, 5, 9, 9, 9, 9, 9, 2, 2, 9),
    ],
)
def test_counts_that_contradict_each_other_are_cut(usage: Usage) -> None:
    dear = Price(input=10**6, output=10**6, cached_input=0, cache_write=9 * 10**6, reasoning=0, audio_output=2 * 10**6)
    assert cost_nanos(dear, usage) == usage.output_tokens * 2


MODAL = Price(
    input=1 * 10**6,
    output=0,
    cached_input=10 * 10**6,
    cache_write=100 * 10**6,
    audio_input=1_000 * 10**6,
    image_input=10_000 * 10**6,
    cached_audio=100_000 * 10**6,
    cached_image=1_000_000 * 10**6,
)
"""Each digit of a cost counts the tokens of one rate."""


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        (Usage(9, input_audio_tokens=3, input_image_tokens=2), 2_3_0_0_4),
        (Usage(9, cached_tokens=4, input_audio_tokens=3, input_image_tokens=2), 2_3_0_4_0),
        (Usage(9, 0, 4, 0, 0, 3, 0, 2, 2, 1), 1_2_1_1_0_1_3),
        (Usage(9, 0, 4, 2, 0, 3, 0, 2, 2, 1), 1_2_1_1_2_1_1),
        (Usage(9, 0, 4, 0, 0, 3, 0, 2, 3, 0), 3_2_0_0_1_3),
        (Usage(9, 0, 4, 0, 0, 3, 0, 2, 0, 2), 2_0_0_3_0_2_2),
        # What was cached is not told by modality: sound is taken for new first, then images, as far as there is room.
        (Usage(9, 0, 7, 0, 0, 3, 0, 2), 2_1_0_2_0_4_0),
        (Usage(9, 0, 9, 0, 0, 3, 0, 2), 2_3_0_0_0_4_0),
        (Usage(9, 0, 5, 4, 0, 3, 0, 2), 2_3_0_0_4_0_0),
        (Usage(5, 0, 2, 0, 0, 5), 2_0_3_0_0_0),
    ],
)
def test_every_modality_has_its_rate_cached_or_not(usage: Usage, nanos: int) -> None:
    assert cost_nanos(MODAL, usage) == nanos


@pytest.mark.parametrize("name", ["input", "output", "cached_input", "cached_audio", "call", "image", "above_tokens"])
def test_no_rate_is_negative(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        msgspec.structs.replace(Price(input=1, output=1), **{name: -2})


def test_tiers_stand_in_order() -> None:
    longest = Price(input=3, output=3)
    longer = Price(input=2, output=2, above_tokens=100, long=longest)
    three = Price(input=1, output=1, above_tokens=10, long=longer)
    million = 10**6
    costs = [cost_nanos(three, Usage(tokens, million)) for tokens in (10, 11, 100, 101)]
    assert costs == [2, 3, 3, 4]
    with pytest.raises(ValueError, match="begin above"):
        Price(input=1, output=1, above_tokens=100, long=longer)


# -- laws --------------------------------------------------------------------------------------------------------------

TOKENS = st.integers(0, 2_000_000)

FLAT = st.builds(
    Price,
    **{name: st.integers(0, 10**12) for name in Price.__struct_fields__ if name not in {"above_tokens", "long"}},
)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """Draw a price with up to three tiers, which may be cheaper than those before."""
    tier = draw(FLAT)
    for above_tokens in sorted(draw(st.sets(st.integers(0, 2_000_000), max_size=2)), reverse=True):
        tier = msgspec.structs.replace(draw(FLAT), above_tokens=above_tokens, long=tier)
    return tier


USAGES = st.builds(Usage, *[TOKENS] * 10)


PARTS_OF_INPUT = ("input_tokens", "cached_tokens", "cache_write_tokens", "input_audio_tokens", "input_image_tokens")


@given(prices(), USAGES, st.integers(0, 1000), st.integers(0, 1000))
def test_the_worst_is_never_exceeded(rates: Price, usage: Usage, more_in: int, more_out: int) -> None:
    worst = worst_nanos(rates, usage.input_tokens + more_in, usage.output_tokens + more_out)
    assert 0 <= cost_nanos(rates, usage) <= worst


@given(FLAT, USAGES, TOKENS, TOKENS)
def test_more_tokens_never_cost_less(rates: Price, usage: Usage, more_in: int, more_out: int) -> None:
    # A cheaper part may take the place of a dearer one when a total grows that cuts it.
    whole = msgspec.structs.replace(
        usage,
        input_tokens=sum(getattr(usage, name) for name in PARTS_OF_INPUT),
        cached_audio_tokens=min(usage.cached_audio_tokens, usage.cached_tokens, usage.input_audio_tokens),
        cached_image_tokens=0,
        output_tokens=usage.output_tokens + usage.reasoning_tokens + usage.output_audio_tokens,
    )
    more = msgspec.structs.replace(
        whole, input_tokens=whole.input_tokens + more_in, output_tokens=whole.output_tokens + more_out
    )
    assert cost_nanos(rates, whole) <= cost_nanos(rates, more)


@given(FLAT, USAGES)
def test_parts_are_never_counted_beside_their_totals(rates: Price, usage: Usage) -> None:
    flat = Price(input=rates.input, output=rates.output)
    bare = Usage(usage.input_tokens, usage.output_tokens)
    assert cost_nanos(flat, usage) == cost_nanos(flat, bare)


@given(FLAT, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.data())
def test_told_apart_whole_modalities_cost_their_sum(
    rates: Price, text: int, audio: int, image: int, draws: st.DataObject
) -> None:
    cached = [draws.draw(st.integers(0, each)) for each in (text, audio, image)]
    usage = of_counts(
        input_tokens=text + audio + image,
        output_tokens=0,
        cached_tokens=sum(cached),
        input_audio_tokens=audio,
        input_image_tokens=image,
        cached_audio_tokens=cached[1],
        cached_image_tokens=cached[2],
    )
    exact = (
        (text - cached[0]) * rates.input
        + (audio - cached[1]) * rates.audio_input
        + (image - cached[2]) * rates.image_input
        + cached[0] * rates.cached_input
        + cached[1] * rates.cached_audio
        + cached[2] * rates.cached_image
    )
    # Where neither sound nor images are said to be cached, and all text is, nothing was said of it: the same comes out.
    assert cost_nanos(rates, usage) == -(-exact // 10**6) + rates.call


@pytest.mark.parametrize(
    ("kind", "model", "seconds", "dollars"),
    [
        ("openai", "whisper-1", 60, "0.006"),
        ("openai", "whisper-1", 0.1, "0.00001"),
        ("openai", "gpt-transcribe", 90.5, "0.0067875"),
        ("openai", "gpt-live-transcribe", 3600, "1.02"),
        ("openai", "gpt-realtime-whisper", 0.0, "0"),
        ("openai", "gpt-realtime", 60, "0"),
    ],
)
def test_transcribed_sound_is_paid_by_the_minute(kind: str, model: str, seconds: float, dollars: str) -> None:
    assert seconds_nanos(listed(kind, model), seconds) == Decimal(dollars) * DOLLAR


def test_a_session_of_which_nothing_is_counted_is_paid_by_the_minute() -> None:
    assert session_nanos(listed("openai", "gpt-realtime-translate"), 1_800) == Decimal("1.02") * DOLLAR
    assert session_nanos(listed("openai", "gpt-realtime"), 1_800) == 0
    assert session_nanos(Price(input=0, output=0, session_minute=60), 0.01) == 1
    assert session_nanos(Price(input=0, output=0, session_minute=60), 1e300) == 10**300


@given(st.integers(0, 10**15), st.floats(0, 10**9))
def test_time_is_rounded_once_and_up(rate: int, seconds: float) -> None:
    exact = rate * Fraction(repr(seconds)) / 60
    assert 0 <= seconds_nanos(Price(input=0, output=0, audio_minute=rate), seconds) - exact < 1


@pytest.mark.parametrize("seconds", [-1, -1e-9, float("nan"), float("inf")])
def test_no_time_is_negative_or_endless(seconds: float) -> None:
    with pytest.raises(ValueError, match="time"):
        seconds_nanos(Price(input=0, output=0), seconds)


@given(FLAT, USAGES)
def test_rounding_adds_less_than_a_nano_dollar(rates: Price, usage: Usage) -> None:
    whole = Usage(usage.input_tokens, usage.output_tokens)
    exact = Fraction(whole.input_tokens * rates.input + whole.output_tokens * rates.output, 10**6) + rates.call
    assert 0 <= cost_nanos(rates, whole) - exact < 1


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**8), max_size=4), st.data())
def test_the_order_of_ratios_does_not_matter(cost: int, ratios: list[int], draws: st.DataObject) -> None:
    other = draws.draw(st.permutations(ratios))
    charged = charge_nanos(cost, *ratios)
    exact = Fraction(cost)
    for ratio in ratios:
        exact *= Fraction(ratio, 10**6)
    assert charged == charge_nanos(cost, *other)
    assert 0 <= charged - exact < 1


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**8), max_size=4))
def test_a_fraction_charges_what_its_ratios_do_in_lowest_terms(cost: int, ratios: list[int]) -> None:
    numerator, denominator = price.fraction(*ratios)
    assert Fraction(numerator, denominator).as_integer_ratio() == (numerator, denominator)
    assert price.charged_nanos(cost, (numerator, denominator)) == charge_nanos(cost, *ratios)


@pytest.mark.parametrize(
    ("cost", "ratios", "charged"),
    [
        (1_000, (), 1_000),
        (1_000, (1_200_000,), 1_200),
        (1_000, (1_200_000, 900_000), 1_080),
        (1, (1_000_001,), 2),
        (1, (500_000, 500_000), 1),
        (10, (0,), 0),
    ],
)
def test_a_charge_is_the_cost_times_its_ratios(cost: int, ratios: tuple[int, ...], charged: int) -> None:
    assert charge_nanos(cost, *ratios) == charged


# -- dollars -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dollars", "nanos"),
    [
        ("0.30", 300_000_000),
        (0.3, 300_000_000),
        (3, 3 * DOLLAR),
        ("1e-9", 1),
        (1e-9, 1),
        ("0.000000001000", 1),
        ("0", 0),
        (0.0, 0),
        ("1E6", 10**15),
        (Decimal("6.5625"), 6_562_500_000),
    ],
)
def test_dollars_become_nano_dollars_exactly(dollars: str | float | Decimal, nanos: int) -> None:
    assert nanos_of_dollars(dollars) == nanos


@pytest.mark.parametrize(
    "dollars",
    [
        *("-1", -0.01, "nan", float("nan"), "inf", float("inf"), "sNaN", "1000001", "1e999999999", "", "cheap", "1,5"),
        *(True, "0.0000000001", "1e-999999999", 1e-10, 0.1 + 0.2, "1.0000000001", "9." + "9" * 60),
    ],
)
def test_what_is_no_price_is_refused(dollars: str | float) -> None:
    with pytest.raises(ValueError, match="must"):
        nanos_of_dollars(dollars)


def test_a_refusal_names_the_rate() -> None:
    with pytest.raises(ValueError, match=r"^cached_input must not be negative"):
        price_from_dollars(input="1", output="2", cached_input="-1")


def test_a_price_is_made_of_dollars() -> None:
    long = price_from_dollars(input=2, output=4)
    made = price_from_dollars(input="1", output=2.5, call="0.01", above_tokens=5, long=long)
    assert made == Price(input=DOLLAR, output=2_500_000_000, call=10_000_000, above_tokens=5, long=long)


@given(st.integers(0, price.DOLLARS_MAX * DOLLAR))
def test_every_nano_dollar_can_be_said(nanos: int) -> None:
    assert nanos_of_dollars(str(Decimal(nanos).scaleb(-9))) == nanos


# -- who costs what ----------------------------------------------------------------------------------------------------


def test_the_operators_prices_win() -> None:
    mine, everywhere = Price(input=1, output=1), Price(input=2, output=2)
    asked = Prices({"main/gpt-4.1": mine, "gpt-4.1": everywhere, "house-model": everywhere})
    assert asked.of("main", "openai", "gpt-4.1") is mine
    assert asked.of("spare", "openai", "gpt-4.1") is everywhere
    assert asked.of("own", "compatible", "house-model") is everywhere
    assert asked.of("main", "openai", "gpt-4.1-mini") == listed("openai", "gpt-4.1-mini")
    assert asked.of("own", "compatible", "gpt-4.1-mini") is None


def test_an_override_with_folders_in_its_name_is_found() -> None:
    mine = Price(input=1, output=1)
    assert Prices({"hub/acme/big": mine}).of("hub", "compatible", "acme/big") is mine
    assert Prices({"acme/big": mine}).of("hub", "compatible", "acme/big") is mine


def test_answers_are_kept_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.prices.FOUND_MAX", 3)
    asked = Prices()
    for number in range(20):
        assert asked.of("p", "openai", f"no-such-{number}") is None
    assert asked.of("p", "openai", "gpt-4.1") is asked.of("p", "openai", "gpt-4.1")
    assert len(asked._found) <= 3


@pytest.mark.parametrize(
    ("kind", "spelling", "row"),
    [
        ("openai", "gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("openai", "GPT-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-11-20", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "gpt-4-turbo-preview", "gpt-4-turbo"),
        ("openai", "gpt-4-0125-preview", "gpt-4-turbo"),
        ("openai", "gpt-4-0613", "gpt-4"),
        ("openai", "gpt-5.3-chat-latest", "gpt-5.3-chat"),
        ("openai", "o3-pro-2025-06-10", "o3-pro"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", "ft:gpt-4o-mini-2024-*"),
        ("openai", "ft:gpt-4o-2024-08-06:acme::abc123", "ft:gpt-4o-2024-*"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
        ("anthropic", "claude-opus-4-20250514", "claude-opus-4"),
        ("anthropic", "claude-opus-5-5", "claude-opus-5-5"),
        ("gemini", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini", "gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("gemini", "gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
        ("gemini", "gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("gemini", "gemini-3-flash-preview", "gemini-3-flash"),
        ("mistral", "codestral-latest", "codestral"),
        ("mistral", "ministral-8b-2512", "ministral-8b"),
        ("xai", "grok-4-0709", "grok-4"),
        ("deepseek", "deepseek-v4-pro-0813", "deepseek-v4-pro"),
        ("fireworks", "accounts/fireworks/models/kimi-k2p6", "kimi-k2p6"),
        ("fireworks", "accounts/fireworks/routers/glm-5p2-fast", "glm-5p2-fast"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta-llama/llama-3.3-70b-instruct-turbo"),
        ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("cerebras", "gpt-oss-120b", "gpt-oss-120b"),
        ("openrouter", "anthropic/claude-opus-4.7", "anthropic/claude-opus-4.7"),
        ("openrouter", "openai/gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        ("openrouter", "meta-llama/llama-3.3-70b-instruct:free", "*:free"),
    ],
)
def test_a_name_finds_its_row_however_it_is_spelt(kind: str, spelling: str, row: str) -> None:
    assert catalogue.find(kind, spelling) is catalogue.rows(kind)[row]


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai", "gpt-4.1-ultra"),
        ("openai", "gpt-9"),
        ("openai", "gpt-5.5-pro-max"),
        ("openai", "ft:gpt-9-2030-01-01:acme::abc123"),
        ("anthropic", "claude-opus-7"),
        ("anthropic", "claude-opus-4-5-turbo"),
        ("groq", "gpt-oss-120b"),
        ("openrouter", "anthropic/claude-opus-4.7:nitro"),
        ("openai", ""),
        ("openai", "/"),
        ("openai", "*"),
        ("openai", "-latest"),
        ("no-such-kind", "gpt-4.1"),
        ("../prices/openai", "gpt-4.1"),
    ],
)
def test_a_model_that_is_not_listed_has_no_price(kind: str, model: str) -> None:
    assert Prices().of("any", kind, model) is None
    assert output_tokens_max(kind, model) is None


def test_the_longest_answer_is_known_where_it_is_listed() -> None:
    assert output_tokens_max("openai", "gpt-4.1-2025-04-14") == 32_768
    assert output_tokens_max("together", "moonshotai/Kimi-K3") is None


# -- the files ---------------------------------------------------------------------------------------------------------


def test_lists_are_read_when_they_are_asked_for() -> None:
    catalogue.rows.cache_clear()
    asked = Prices(kinds=["cerebras", "compatible"])
    assert catalogue.rows.cache_info().currsize == 2
    asked.of("any", "groq", "openai/gpt-oss-20b")
    assert catalogue.rows.cache_info().currsize == 3


def test_every_kind_that_charges_has_its_file() -> None:
    assert catalogue.kinds() == set(providers()) - FREE_OF_CHARGE


@pytest.mark.parametrize("kind", sorted(catalogue.kinds()))
def test_every_row_is_sane(kind: str) -> None:
    assert catalogue.rows(kind)
    for name, row in catalogue.rows(kind).items():
        tiers = [row.price] if row.price.long is None else [row.price, row.price.long]
        for tier in tiers:
            assert tier.cached_input <= tier.input, name
            assert tier.output >= tier.input or tier.output == 0, name  # embeddings have none
            assert tier.input < 200 * DOLLAR, name
            assert tier.output <= 600 * DOLLAR, name
            assert tier.input <= tier.cache_write <= 2 * tier.input, name
        for longer in tiers[1:]:
            rates = [field for field in Price.__struct_fields__ if field not in {"above_tokens", "long"}]
            assert all(getattr(longer, rate) >= getattr(row.price, rate) for rate in rates), name
            assert row.price.above_tokens >= 100_000, name
        assert row.output_tokens_max is None or 1_000 <= row.output_tokens_max <= 1_000_000, name


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[models]\na = 1", "a: "),
        ('[models]\na = { input = "1" }', "a: .*output"),
        ('[models]\na = { input = "1", output = "x" }', "a: output must"),
        ('[models]\na = { input = "1", output = "2", cached = "1" }', "a: .*cached"),
        ('[models]\na = { input = 1.5, output = "2" }', "a: .*str"),
        ('[models]\na = { input = "1", output = "2", above_tokens = 5 }', "go together"),
        ('[models]\na = { input = "1", output = "2", long = { input = "2", output = "3" } }', "go together"),
        ('[models]\na = { input = "1", output = "2", also = ["A"] }', "A stands there twice"),
        ("[models", "declaration"),
        ("", "models"),
        ("[models]\n[other]", "other"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(text: str, complaint: str) -> None:
    with pytest.raises(catalogue.CatalogueError, match=complaint):
        catalogue.read(text)
