"""Price: what a model's tokens cost, and what a usage, a reservation and a charge come to.

Rates are whole nano-dollars per million tokens: one dollar per million is 10^9, a tenth of a cent per million 10^6.
Everything is computed in integers and rounded once, up, to a whole nano-dollar. A part is never counted beside the
total that contains it (see `adapters.usage`), and counts that contradict each other are cut to fit, so that nothing
becomes negative.

It does not know which price holds for whom, nor whether a usage was counted or estimated.
"""

import decimal
from decimal import Decimal

import msgspec

from adapters.usage import Usage

SAME = -1
"""The rate of a part that costs what its total does."""

DOLLARS_MAX = 1_000_000
"""More than this for a million tokens, or for one piece, is a slip of the pen."""

_MILLION = 1_000_000
_NANOS_PER_DOLLAR = Decimal(10**9)
_EXACT = decimal.Context(
    prec=40, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.Overflow, decimal.Underflow]
)


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars per million tokens; `call` and `image` are nano-dollars per request and per image.

    A rate left at `SAME` becomes that of its total. When a request's input exceeds `above_tokens`, `long` holds for all
    of it, output and pieces included; `long` may have a `long` of its own. Raises `ValueError` for a negative rate and
    for tiers out of order. `msgspec.structs.replace` keeps the rates that were filled in.
    """

    input: int
    output: int
    cached_input: int = SAME
    cache_write: int = SAME
    audio_input: int = SAME
    audio_output: int = SAME
    reasoning: int = SAME
    call: int = 0
    image: int = 0
    above_tokens: int = 0
    long: "Price | None" = None

    def __post_init__(self) -> None:
        fill = msgspec.structs.force_setattr
        for name in ("cached_input", "cache_write", "audio_input"):
            if getattr(self, name) == SAME:
                fill(self, name, self.input)
        for name in ("audio_output", "reasoning"):
            if getattr(self, name) == SAME:
                fill(self, name, self.output)
        for name in self.__struct_fields__[:-1]:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.long is not None and self.long.long is not None and self.long.above_tokens <= self.above_tokens:
            raise ValueError("each longer tier must begin above the one before")


def cost_nanos(price: Price, usage: Usage, *, images: int = 0) -> int:
    """Return what a usage costs in nano-dollars, rounded up once.

    Input is cached, written to a cache, audio or plain text. How much of the audio was cached no usage says: as little
    as the counts allow, since what is cached is cheaper. Of the output, audio is told from reasoning first.
    """
    tokens = usage.input_tokens
    while price.long is not None and tokens > price.above_tokens:
        price = price.long
    output = usage.output_tokens
    total = tokens * price.input + output * price.output
    cached, written, audio = usage.cached_tokens, usage.cache_write_tokens, usage.input_audio_tokens
    if cached or written or audio:
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


def worst_nanos(price: Price, input_tokens: int, output_tokens: int, *, images: int = 0) -> int:
    """Return the most that a usage of up to so many tokens can cost, whatever they turn out to be.

    Holds at every length up to `input_tokens`, also where a longer request would be the cheaper one.
    """
    dearest_input = max(price.input, price.cached_input, price.cache_write, price.audio_input)
    dearest_output = max(price.output, price.audio_output, price.reasoning)
    total = input_tokens * dearest_input + output_tokens * dearest_output
    worst = -(-total // _MILLION) + price.call + images * price.image
    if price.long is not None and input_tokens > price.above_tokens:
        return max(worst, worst_nanos(price.long, input_tokens, output_tokens, images=images))
    return worst


def charge_nanos(cost: int, *ratios_ppm: int) -> int:
    """Return a cost times ratios in parts per million, rounded up once; their order does not matter."""
    product, scale = cost, 1
    for ratio in ratios_ppm:
        product *= ratio
        scale *= _MILLION
    return -(-product // scale)


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
    call: str | float | Decimal = 0,
    image: str | float | Decimal = 0,
    above_tokens: int = 0,
    long: Price | None = None,
) -> Price:
    """Return the price of dollars per million tokens; `call` and `image` are dollars each. None means `SAME`.

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
        "call": call,
        "image": image,
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
