"""Price: what a model's tokens and minutes cost, and what a usage, a reservation and a charge come to.

Rates are whole nano-dollars per million tokens: one dollar per million is 10^9, a tenth of a cent per million 10^6.
Everything is computed in integers and rounded once, up, to a whole nano-dollar. A part is never counted beside the
total that contains it (see `adapters.usage`), and counts that contradict each other are cut to fit, so that nothing
becomes negative. Time is paid by the minute, to the fraction of a second that was reported.

It does not know which price holds for whom, nor whether a usage was counted or estimated.
"""

import decimal
from collections.abc import Mapping
from decimal import Decimal
from math import gcd
from types import MappingProxyType

import msgspec

from adapters.usage import Usage

SAME = -1
"""The rate of a part that costs what its total does."""

DOLLARS_MAX = 1_000_000
"""More than this for a million tokens, or for one piece, is a slip of the pen."""

TOTALS: Mapping[str, str] = MappingProxyType(
    {
        "cached_input": "input",
        "cache_write": "input",
        "audio_input": "input",
        "image_input": "input",
        "cached_audio": "cached_input",
        "cached_image": "cached_input",
        "audio_output": "output",
        "reasoning": "output",
    }
)
"""Which rate a part has that is left at `SAME`; each stands after the one it follows."""

_MILLION = 1_000_000
_MINUTE_SECONDS = 60
_NANOS_PER_DOLLAR = Decimal(10**9)
_EXACT = decimal.Context(
    prec=40, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.Overflow, decimal.Underflow]
)


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars per million tokens; `call` and `image` are nano-dollars per request and per image made.

    `audio_minute` and `session_minute` are nano-dollars per minute: of sound that was transcribed, and of a session of
    which nothing else is counted. A rate left at `SAME` becomes that of its total (`TOTALS`). When a request's input
    exceeds `above_tokens`, `long` holds for all of it, output and pieces included, but not time; `long` may have a
    `long` of its own. Raises `ValueError` for a negative rate and for tiers out of order. `msgspec.structs.replace`
    keeps the rates that were filled in.
    """

    input: int
    output: int
    cached_input: int = SAME
    cache_write: int = SAME
    audio_input: int = SAME
    audio_output: int = SAME
    reasoning: int = SAME
    cached_audio: int = SAME
    image_input: int = SAME
    cached_image: int = SAME
    call: int = 0
    image: int = 0
    audio_minute: int = 0
    session_minute: int = 0
    above_tokens: int = 0
    long: "Price | None" = None

    def __post_init__(self) -> None:
        for name, total in TOTALS.items():
            if getattr(self, name) == SAME:
                msgspec.structs.force_setattr(self, name, getattr(self, total))
        for name in self.__struct_fields__[:-1]:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.long is not None and self.long.long is not None and self.long.above_tokens <= self.above_tokens:
            raise ValueError("each longer tier must begin above the one before")


def cost_nanos(price: Price, usage: Usage, *, images: int = 0) -> int:
    """Return what a usage costs in nano-dollars, rounded up once.

    Input is cached, written to a cache, audio, an image or plain text. How much of the audio and of the images was
    cached is what the usage says; where it says nothing, as little as the counts allow, since what is cached is
    cheaper. Of the output, audio is told from reasoning first.
    """
    tokens = usage.input_tokens
    while price.long is not None and tokens > price.above_tokens:
        price = price.long
    output = usage.output_tokens
    total = tokens * price.input + output * price.output
    cached, written, audio = usage.cached_tokens, usage.cache_write_tokens, usage.input_audio_tokens
    if usage.input_image_tokens or (cached and audio):
        total += _modalities(price, usage)
    elif cached or written or audio:
        cached = cached if cached < tokens else tokens
        tokens -= cached
        written = written if written < tokens else tokens
        tokens -= written
        audio = audio if audio < tokens else tokens
        plain = price.input
        total += cached * (price.cached_input - plain) + written * (price.cache_write - plain)
        total += audio * (price.audio_input - plain)
    reasoning, audio = usage.reasoning_tokens, usage.output_audio_tokens
    if reasoning or audio:
        audio = audio if audio < output else output
        output -= audio
        reasoning = reasoning if reasoning < output else output
        total += audio * (price.audio_output - price.output) + reasoning * (price.reasoning - price.output)
    return -(-total // _MILLION) + price.call + images * price.image


def _modalities(price: Price, usage: Usage) -> int:
    """Return what the parts of the input add to its plain price, where some may be two at once: cached, and sound."""
    cached = min(usage.cached_tokens, usage.input_tokens)
    fresh = usage.input_tokens - cached
    written = min(usage.cache_write_tokens, fresh)
    fresh -= written
    cached_audio = min(usage.cached_audio_tokens, usage.input_audio_tokens, cached)
    cached_image = min(usage.cached_image_tokens, usage.input_image_tokens, cached - cached_audio)
    cached_text = cached - cached_audio - cached_image
    audio = min(usage.input_audio_tokens - cached_audio, fresh)
    image = min(usage.input_image_tokens - cached_image, fresh - audio)
    # What finds no place among the fresh tokens was cached, whatever was said of it.
    more_audio = min(usage.input_audio_tokens - cached_audio - audio, cached_text)
    more_image = min(usage.input_image_tokens - cached_image - image, cached_text - more_audio)
    cached_text -= more_audio + more_image
    plain = price.input
    return (
        written * (price.cache_write - plain)
        + audio * (price.audio_input - plain)
        + image * (price.image_input - plain)
        + (cached_audio + more_audio) * (price.cached_audio - plain)
        + (cached_image + more_image) * (price.cached_image - plain)
        + cached_text * (price.cached_input - plain)
    )


def seconds_nanos(price: Price, seconds: float) -> int:
    """Return what so many seconds of transcribed sound cost, rounded up once. See `session_nanos`."""
    return _timed(price.audio_minute, seconds)


def session_nanos(price: Price, seconds: float) -> int:
    """Return what so many seconds of a session cost of which nothing else is counted, rounded up once.

    A float means the shortest decimal that reads back as it, which is what the upstream wrote. Raises `ValueError` for
    a time that is negative or no finite number.
    """
    return _timed(price.session_minute, seconds)


def _timed(rate: int, seconds: float) -> int:
    exact = Decimal(repr(seconds))
    if not exact.is_finite() or exact < 0:
        raise ValueError("a time must be finite and not negative")
    numerator, denominator = exact.as_integer_ratio()
    return -(-rate * numerator // (_MINUTE_SECONDS * denominator))


def worst_nanos(price: Price, input_tokens: int, output_tokens: int, *, images: int = 0) -> int:
    """Return the most that a usage of up to so many tokens can cost, whatever they turn out to be.

    Holds at every length up to `input_tokens`, also where a longer request would be the cheaper one. Of time it knows
    nothing.
    """
    return dearest_nanos(dearest(price), input_tokens, output_tokens, images=images)


class Dearest(msgspec.Struct, frozen=True, gc=False):
    """The dearest rates that a token can have where the input exceeds `above_tokens`."""

    above_tokens: int
    input: int
    output: int
    call: int
    image: int


def dearest(price: Price) -> tuple[Dearest, ...]:
    """Return the dearest rates of a price and of its longer tiers."""
    found = []
    above_tokens, tier = -1, price
    while True:
        inputs = (
            *(tier.input, tier.cached_input, tier.cache_write),
            *(tier.audio_input, tier.cached_audio, tier.image_input, tier.cached_image),
        )
        outputs = (tier.output, tier.audio_output, tier.reasoning)
        found.append(Dearest(above_tokens, max(inputs), max(outputs), tier.call, tier.image))
        if tier.long is None:
            return tuple(found)
        above_tokens, tier = tier.above_tokens, tier.long


def dearest_nanos(rates: tuple[Dearest, ...], input_tokens: int, output_tokens: int, *, images: int = 0) -> int:
    """Return what `worst_nanos` does, of the rates that `dearest` found for a price."""
    worst = 0
    for rate in rates:
        if input_tokens > rate.above_tokens:
            total = input_tokens * rate.input + output_tokens * rate.output
            nanos = -(-total // _MILLION) + rate.call
            if images:
                nanos += images * rate.image
            worst = nanos if nanos > worst else worst
    return worst


def charge_nanos(cost: int, *ratios_ppm: int) -> int:
    """Return a cost times ratios in parts per million, rounded up once; their order does not matter."""
    return charged_nanos(cost, fraction(*ratios_ppm))


def fraction(*ratios_ppm: int) -> tuple[int, int]:
    """Return the product of ratios in parts per million as numerator and denominator, in lowest terms.

    What is charged is the same; digits are fewer, and nearly always fit a machine's word.
    """
    numerator = denominator = 1
    for ratio in ratios_ppm:
        numerator *= ratio
        denominator *= _MILLION
    divisor = gcd(numerator, denominator)
    return numerator // divisor, denominator // divisor


def charged_nanos(cost: int, ratio: tuple[int, int]) -> int:
    """Return what `charge_nanos` does, of what `fraction` made of the ratios."""
    numerator, denominator = ratio
    return -(-cost * numerator // denominator)


def nanos_of_dollars(dollars: str | float | Decimal) -> int:
    """Return dollars as nano-dollars, exactly. A float means the shortest decimal that reads back as it.

    Raises `ValueError` for what is no number, negative, above `DOLLARS_MAX`, or finer than a nano-dollar.
    """
    try:
        amount = Decimal(repr(dollars) if isinstance(dollars, float) else dollars)
    except decimal.InvalidOperation:
        raise ValueError("must be a decimal number of dollars") from None
    if isinstance(dollars, bool) or not amount.is_finite():
        raise ValueError("must be a decimal number of dollars")
    if amount < 0:
        raise ValueError("must not be negative")
    if amount > DOLLARS_MAX:
        raise ValueError(f"must be at most {DOLLARS_MAX} dollars")
    try:
        nanos = _EXACT.multiply(amount, _NANOS_PER_DOLLAR)
        return int(_EXACT.to_integral_exact(nanos))
    except (decimal.Inexact, decimal.InvalidOperation):
        raise ValueError("must not be finer than a nano-dollar (nine decimal places)") from None


def price_from_dollars(
    *,
    input: str | float | Decimal,  # noqa: A002 - what it is in the row
    output: str | float | Decimal,
    cached_input: str | float | Decimal | None = None,
    cache_write: str | float | Decimal | None = None,
    audio_input: str | float | Decimal | None = None,
    audio_output: str | float | Decimal | None = None,
    reasoning: str | float | Decimal | None = None,
    cached_audio: str | float | Decimal | None = None,
    image_input: str | float | Decimal | None = None,
    cached_image: str | float | Decimal | None = None,
    call: str | float | Decimal = 0,
    image: str | float | Decimal = 0,
    audio_minute: str | float | Decimal = 0,
    session_minute: str | float | Decimal = 0,
    above_tokens: int = 0,
    long: Price | None = None,
) -> Price:
    """Return the price of dollars per million tokens, of a piece, and of a minute. None means `SAME`.

    Raises `ValueError` as `nanos_of_dollars` and `Price` do, with the name of the rate in front.
    """
    given = {
        "input": input,
        "output": output,
        "cached_input": cached_input,
        "cache_write": cache_write,
        "audio_input": audio_input,
        "audio_output": audio_output,
        "reasoning": reasoning,
        "cached_audio": cached_audio,
        "image_input": image_input,
        "cached_image": cached_image,
        "call": call,
        "image": image,
        "audio_minute": audio_minute,
        "session_minute": session_minute,
    }
    rates: dict[str, int] = {}
    for name, dollars in given.items():
        if dollars is None:
            continue
        try:
            rates[name] = nanos_of_dollars(dollars)
        except ValueError as exc:
            raise ValueError(f"{name} {exc}") from None
    return Price(**rates, above_tokens=above_tokens, long=long)
