"""[store], [accounts], [billing], [groups], [prices], [rates]: who pays what, within which limits, and what is kept.

Amounts become whole nano-dollars and ratios parts per million, exactly as they are written: nothing is rounded, and a
number that is finer is a problem. A number arrives as the float that tomllib makes of it, which tells numbers of up to
`DIGITS_MAX` digits apart; one that reads back with more digits is a problem too. Nothing is made or opened here, no
directory and no database; what a price or a limit does to a request is not known here either.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

from adapters.prices import Price
from engine import secrets
from engine.config.context import Context
from engine.config.findings import MalformedError, below
from engine.config.model import DEFAULT_GROUP, TIERS, Accounts, Billing, Group, Store, Tier
from engine.config.money_options import (
    AccountsOptions,
    BillingBase,
    BillingOptions,
    GroupOptions,
    PriceOptions,
    Rates,
    StoreBase,
    StoreOptions,
    TierOptions,
)
from engine.config.providers import MODEL, MODEL_RULE

DIGITS_MAX = 15
"""As many decimal digits come back from a binary64 as they went in (DBL_DIG of C); of more, some are a guess."""

EVERYTHING = "*"
"""The name of the rates of all models together."""

PATTERN_RULE = "must be a model's name, in which * stands for any characters: 1 to 256 characters without spaces"


def nanos_of(text: str) -> int:
    """Read the shortest text of a number of dollars as whole nano-dollars. Raises `MalformedError`."""
    return _scaled(text, 9)


def ppm_of(text: str) -> int:
    """Read the shortest text of a ratio as parts per million. Raises `MalformedError`."""
    return _scaled(text, 6)


def _scaled(text: str, places: int) -> int:
    number = Decimal(text).normalize()
    if len(number.as_tuple().digits) > DIGITS_MAX:
        raise MalformedError(f"must have at most {DIGITS_MAX} digits: a number of more cannot be read exactly")
    scaled = number.scaleb(places)
    if scaled != scaled.to_integral_value():
        raise MalformedError(f"must have at most {places} digits after the point")
    return int(scaled)


def build_store(options: StoreOptions, context: Context) -> Store:
    """Return where things are kept and for how long. The directory need not be there yet."""
    common = {name: getattr(options, name) for name in StoreBase.__struct_fields__}
    return Store(**common, directory=None if options.directory is None else _directory(options.directory, context))


def _directory(name: str, context: Context) -> Path | None:
    place = secrets.place(name, environ=context.environ, directory=context.directory)
    if place is None or (os.path.lexists(place) and not os.path.isdir(place)):
        context.findings.problem("store.directory", "must be the path of a directory, which need not exist yet")
        return None
    return place


def build_accounts(options: AccountsOptions, store: Store, context: Context) -> Accounts:
    """Return what holds for accounts, which are in the store."""
    if options.required and not store.enabled:
        context.findings.problem("accounts.required", "needs the store: with store.enabled = false there is no account")
    return Accounts(options.required, _number(nanos_of, options.sign_up_credit, "accounts.sign_up_credit", context))


def build_billing(options: BillingOptions, context: Context) -> Billing:
    """Return what is charged for, and the markups."""
    common = {name: getattr(options, name) for name in BillingBase.__struct_fields__}
    return Billing(**common, tiers=_tiers(options.tiers, context))


def _tiers(options: tuple[TierOptions, ...] | None, context: Context) -> tuple[Tier, ...]:
    """Return the tiers, or those that hold where the file names none; an empty list is one tier of nothing."""
    if options is None:
        return TIERS
    tiers: list[Tier] = []
    for i, option in enumerate(options):
        path = f"billing.tiers[{i}]"
        spend = _required(nanos_of, option.spend, f"{path}.spend", context)
        markup = _required(ppm_of, option.markup, f"{path}.markup", context)
        if spend is None:
            continue
        if i == 0 and spend:
            context.findings.problem(f"{path}.spend", "must be 0: the first tier is that of whoever spent nothing")
        elif tiers and spend <= tiers[-1].spend_nanos:
            context.findings.problem(f"{path}.spend", "must be more than that of the tier before")
        tiers.append(Tier(spend, markup or 0))
    return tuple(tiers) or (Tier(0, 0),)


def build_groups(options: Mapping[str, GroupOptions], context: Context) -> dict[str, Group]:
    """Return the groups by name. The default one is always there."""
    groups = {DEFAULT_GROUP.name: DEFAULT_GROUP}
    for name, option in options.items():
        path = below("groups", name)
        context.named(name, path)
        if not option.models:
            context.findings.problem(f"{path}.models", "must hold at least one name or pattern")
        for i, pattern in enumerate(option.models):
            if not MODEL.match(pattern):
                context.findings.problem(f"{path}.models[{i}]", PATTERN_RULE)
        groups[name] = Group(name, option.models, _number(ppm_of, option.price_ratio, f"{path}.price_ratio", context))
    return groups


def build_prices(options: Mapping[str, PriceOptions], context: Context) -> dict[str, Price]:
    """Return the operator's own prices by `MODEL` or `PROVIDER/MODEL`."""
    prices = {}
    for name, option in options.items():
        path = below("prices", name)
        if not MODEL.match(name):
            context.findings.problem(path, MODEL_RULE)
        if option == PriceOptions() and context.findings.within(path):
            continue  # [prices.gpt-4.1] without quotes is a table "1" in a table "gpt-4": nothing is missing there
        for required in ("input", "output"):
            _required(nanos_of, getattr(option, required), f"{path}.{required}", context)
        rates = dict(_rates_of(option, path, context))
        if not context.findings.within(path):
            prices[name] = Price(**rates, above_tokens=0, long=None)
    return prices


def _rates_of(option: PriceOptions, path: str, context: Context) -> Iterator[tuple[str, int]]:
    for rate in option.__struct_fields__:
        value = getattr(option, rate)
        if value is not None:
            yield rate, _number(nanos_of, value, f"{path}.{rate}", context)


def build_rates(options: Mapping[str, Rates], context: Context) -> dict[str, Rates]:
    """Return the limits by the model's name as clients write it, or `*`."""
    for name, rates in options.items():
        path = below("rates", name)
        if name != EVERYTHING and ("*" in name or not MODEL.match(name)):
            context.findings.problem(path, f'{MODEL_RULE}, or "*" for all models together')
        if rates == Rates() and not context.findings.within(path):
            context.findings.problem(path, f"needs one of {', '.join(Rates.__struct_fields__)}")
    return dict(options)


def _number(read: Callable[[str], int], value: float, path: str, context: Context) -> int:
    """Return the number exactly, or 0 after noting why that cannot be."""
    return context.parsed(read, repr(value), path) or 0


def _required(read: Callable[[str], int], value: float | None, path: str, context: Context) -> int | None:
    if value is None:
        context.findings.problem(path, "is missing")
        return None
    return context.parsed(read, repr(value), path)
