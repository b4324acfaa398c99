"""Money options: the sections about accounts, prices and limits, declared like those in `options`.

Amounts are written in dollars, ratios as numbers (0.4 is 40 %); `billing` makes whole nano-dollars and parts per
million of them. Bounds stand here, exactness is looked after there.
"""

from typing import Annotated, Literal

from msgspec import Meta

from adapters.prices.price import DOLLARS_MAX as PRICE_DOLLARS_MAX
from engine.config.declaring import Section, about
from engine.money import DOLLARS_MAX

RATIO_MAX = 1_000
DAYS_MAX = 36_500
DRAIN_SECONDS_MAX = 86_400
DRAINS_MAX = 1_000_000
LIMIT_MAX = 1_000_000_000_000
TOKENS_RESERVED_MAX = 10_000_000

Dollars = Annotated[float, Meta(ge=0, le=DOLLARS_MAX)]
PriceDollars = Annotated[float, Meta(ge=0, le=PRICE_DOLLARS_MAX)]
Ratio = Annotated[float, Meta(ge=0, le=RATIO_MAX)]
Limit = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]

PER_MILLION = "$/1M tokens"
PER_MINUTE = "$/min"


class StoreBase(Section, frozen=True, kw_only=True):
    """The options of [store] that are used as they are written."""

    enabled: Annotated[bool, about("keep accounts, the ledger and the log of requests")] = True
    durability: Annotated[
        Literal["process", "power"],
        about("what a booked answer survives: `process` the death of any process, `power` also that of the machine"),
    ] = "process"
    log_days: Annotated[
        int, Meta(ge=0, le=DAYS_MAX), about("how long the log of requests is kept; 0: there is none", unit="days")
    ] = 30


class StoreOptions(StoreBase, frozen=True, kw_only=True):
    """[store]."""

    directory: Annotated[
        str | None, about("where it lies; default: the platform's place for an application's files")
    ] = None


class AccountsOptions(Section, frozen=True, kw_only=True):
    """[accounts]."""

    required: Annotated[bool, about("ask for a key even while there is none; public addresses need no [keys] then")] = (
        False
    )
    sign_up_credit: Annotated[Dollars, about("granted to a new account", unit="$")] = 0


class TierOptions(Section, frozen=True, kw_only=True):
    """[[billing.tiers]]: what is added to the cost for accounts that spent so much."""

    spend: Annotated[
        Dollars | None, about("what an account has spent in 30 days, from which on it holds (required)", unit="$")
    ] = None
    markup: Annotated[Ratio | None, about("what is added to the cost: 0.4 is 40 % (required)")] = None


class BillingBase(Section, frozen=True, kw_only=True):
    """The options of [billing] that are used as they are written."""

    unpriced: Annotated[
        Literal["refuse", "free"], about("what becomes of a request to a model without a price: `refuse` or `free`")
    ] = "refuse"
    on_disconnect: Annotated[
        Literal["cancel", "drain"],
        about("a client left: `cancel` its answer, or `drain` it, so that the upstream's own count is charged"),
    ] = "cancel"
    drain_seconds: Annotated[
        float, Meta(ge=0, le=DRAIN_SECONDS_MAX), about("how long such an answer is read at most")
    ] = 60
    drains_max: Annotated[
        int, Meta(ge=0, le=DRAINS_MAX), about("such answers at a time, per worker; more are cancelled")
    ] = 100
    on_incomplete: Annotated[
        Literal["free", "estimate"],
        about("an answer that its upstream broke off is `free`, or charged by an `estimate` of what came"),
    ] = "free"
    output_tokens_reserved: Annotated[
        int, Meta(ge=1, le=TOKENS_RESERVED_MAX), about("reserved for an answer without a limit of its own")
    ] = 8_192


class BillingOptions(BillingBase, frozen=True, kw_only=True):
    """[billing]."""

    tiers: Annotated[
        tuple[TierOptions, ...] | None,
        about(
            "markups by spend, ascending from 0; `[]`: none; "
            "default: 40 % from $0, 30 % from $50, 22 % from $200, 15 % from $1,000, 10 % from $5,000"
        ),
    ] = None


class GroupOptions(Section, frozen=True, kw_only=True):
    """[groups.NAME]: what the accounts and keys of a group may use, at which prices."""

    models: Annotated[tuple[str, ...], about("names that may be asked for; `*` stands for any characters")] = ("*",)
    price_ratio: Annotated[Ratio, about("its charges as a multiple of everybody's")] = 1


class PriceOptions(Section, frozen=True, kw_only=True):
    """[prices."NAME"]: what a model costs, where NAME is its upstream's name for it, or PROVIDER/that."""

    input: Annotated[PriceDollars | None, about("tokens of the prompt (required)", unit=PER_MILLION)] = None
    output: Annotated[PriceDollars | None, about("tokens of the answer (required)", unit=PER_MILLION)] = None
    cached_input: Annotated[
        PriceDollars | None, about("read from the prompt cache; default: input", unit=PER_MILLION)
    ] = None
    cache_write: Annotated[
        PriceDollars | None, about("put into the prompt cache; default: input", unit=PER_MILLION)
    ] = None
    audio_input: Annotated[PriceDollars | None, about("sound in the prompt; default: input", unit=PER_MILLION)] = None
    audio_output: Annotated[PriceDollars | None, about("sound in the answer; default: output", unit=PER_MILLION)] = None
    reasoning: Annotated[PriceDollars | None, about("reasoning; default: output", unit=PER_MILLION)] = None
    cached_audio: Annotated[
        PriceDollars | None, about("sound read from the prompt cache; default: cached_input", unit=PER_MILLION)
    ] = None
    image_input: Annotated[PriceDollars | None, about("images in the prompt; default: input", unit=PER_MILLION)] = None
    cached_image: Annotated[
        PriceDollars | None, about("images read from the prompt cache; default: cached_input", unit=PER_MILLION)
    ] = None
    call: Annotated[PriceDollars, about("each request", unit="$")] = 0
    image: Annotated[PriceDollars, about("each image made", unit="$")] = 0
    audio_minute: Annotated[PriceDollars, about("sound that is transcribed and counted by time", unit=PER_MINUTE)] = 0
    session_minute: Annotated[
        PriceDollars, about("a realtime session of which its upstream counts nothing else", unit=PER_MINUTE)
    ] = 0


class Rates(Section, frozen=True, kw_only=True):
    """[rates.NAME]: what all clients together may ask of a model, or of `*`, all models together. None: no bound."""

    requests_per_minute: Annotated[Limit | None, about("requests begun; default: no bound")] = None
    tokens_per_minute: Annotated[Limit | None, about("tokens of prompts and answers; default: no bound")] = None
    in_flight_max: Annotated[Limit | None, about("requests at a time; default: no bound")] = None
