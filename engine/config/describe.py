"""Describe: a configuration in lines for people, as `hedgerow check` prints it.

Shows where secrets come from, never one. What was not changed is not repeated: of limits and timeouts only what
differs from the defaults is shown. Names, paths and addresses are shown as they are, escaped where they could disturb
a terminal.
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from adapters.prices import TOTALS, Price
from engine.config.addresses import TcpListen
from engine.config.model import (
    DEFAULT_GROUP,
    PPM,
    AccessLog,
    Alias,
    AliasCandidate,
    Billing,
    Config,
    Group,
    ProviderConfig,
    ProxyMode,
    Race,
    Store,
)
from engine.config.money_options import BillingBase, Rates, StoreBase
from engine.config.options import ServerBase, Timeouts
from engine.money import dollars

NAME_WIDTH = 12


def describe(config: Config) -> list[str]:
    """Return what the configuration amounts to, one statement a line, warnings last."""
    lines = [*_server(config), *_keys(config)]
    lines += [_line("provider", _provider(provider)) for provider in config.providers.values()]
    lines += [_line("model", _alias(alias, config)) for alias in config.models.values()]
    lines += [_line("limit", text) for text in _changed(config.limits, type(config.limits)())]
    lines += [_line("timeout", text) for text in _changed(config.timeouts, Timeouts())]
    lines += [_line("race", text) for text in _changed(config.race, Race())]
    lines += _money(config)
    lines += [_line("warning", str(warning)) for warning in config.warnings]
    return lines


def _line(name: str, text: str) -> str:
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return f"{name:<{NAME_WIDTH}}{shown}"


def _server(config: Config) -> Iterator[str]:
    server = config.server
    yield _line("file", str(config.path) if config.path is not None else "none: everything comes from the environment")
    for address in server.listen:
        secure = server.tls is not None and isinstance(address, TcpListen)
        yield _line("listen", f"{address} (TLS)" if secure else str(address))
    if server.tls is not None:
        yield _line("tls", f"certificate {server.tls.cert}, key {server.tls.key}")
    log = server.access_log
    yield _line("access log", log.value if isinstance(log, AccessLog) else str(log))
    for text in _changed(server, ServerBase(), ServerBase.__struct_fields__):
        yield _line("server", text)


def _keys(config: Config) -> Iterator[str]:
    if config.keys:
        yield _line("keys", f"{len(config.keys)}: {', '.join(key.id for key in config.keys)}")
    elif config.accounts.required:
        yield _line("keys", "none here: only keys of accounts may use the gateway")
    else:
        yield _line("keys", "none: whoever reaches this machine's loopback address may use the gateway")


def _provider(provider: ProviderConfig) -> str:
    facts = [f"{provider.name} ({provider.provider.name}) at {provider.base_url}"]
    facts.append(_keys_of(provider))
    if provider.dialects != provider.provider.dialects:
        facts.append("asked in " + " or ".join(name for name, _ in provider.dialects))
    if provider.from_environment:
        facts.append("registered by the environment")
    if provider.models:
        count = len(provider.models)
        facts.append(f"{'only ' if provider.restrict else ''}{count} listed model{'s' if count > 1 else ''}")
    if provider.headers:
        facts.append("headers " + " ".join(name for name, _ in provider.headers))
    if provider.ca_file is not None:
        facts.append(f"trusts {provider.ca_file}")
    if provider.proxy is not ProxyMode.ENVIRONMENT:
        facts.append("no proxy" if provider.proxy is ProxyMode.NONE else "its own proxy")
    if not provider.discover:
        facts.append("not asked for its models")
    return ", ".join(facts)


def _keys_of(provider: ProviderConfig) -> str:
    if not provider.keys:
        return "no key"
    sources = ("the file itself" if key.literal else key.source for key in provider.keys)
    return f"{'key' if len(provider.keys) == 1 else 'keys'} from {', '.join(dict.fromkeys(sources))}"


def _alias(alias: Alias, config: Config) -> str:
    """Name the candidates tier by tier, then what is special about the alias."""
    tiers = sorted({candidate.tier for candidate in alias.candidates})
    named = ("; ".join(_candidate(each, alias) for each in alias.candidates if each.tier == tier) for tier in tiers)
    own = [
        text
        for candidate in alias.candidates
        for text in _changed(candidate.timeouts, config.providers[candidate.provider].timeouts)
    ]
    special = [*dict.fromkeys(own), *_changed(alias.race, config.race)]
    return ", ".join([f"{alias.name} -> {', then '.join(named)}", *special])


def _candidate(candidate: AliasCandidate, alias: Alias) -> str:
    weighted = len({each.weight for each in alias.candidates if each.tier == candidate.tier}) > 1
    weight = f" (weight {candidate.weight:g})" if weighted else ""
    bound = f" ({candidate.in_flight_max} at a time)" if candidate.in_flight_max else ""
    return f"{candidate.provider}/{candidate.model}{weight}{bound}"


def _money(config: Config) -> Iterator[str]:
    """Yield what is said of the store, accounts, prices and limits."""
    if config.store.directory is not None:
        yield _line("store", str(config.store.directory))
    for text in _changed(config.store, Store(), StoreBase.__struct_fields__):
        yield _line("store", text)
    if config.accounts.required:
        yield _line("accounts", "a key is always asked for")
    if config.accounts.sign_up_nanos:
        yield _line("accounts", f"a new one is granted {dollars(config.accounts.sign_up_nanos)}")
    for text in _changed(config.billing, Billing(), BillingBase.__struct_fields__):
        yield _line("billing", text)
    if config.billing.tiers != Billing().tiers:
        yield _line("billing", _tiers(config.billing))
    yield from (_line("group", _group(group)) for group in config.groups.values() if group != DEFAULT_GROUP)
    yield from (_line("price", _price(name, price)) for name, price in config.prices.items())
    for name, rates in config.rates.items():
        whose = "all models together" if name == "*" else name
        yield _line("rate", ", ".join([whose, *_changed(rates, Rates())]))


def _tiers(billing: Billing) -> str:
    if not any(tier.markup_ppm for tier in billing.tiers):
        return "no markup"
    tiers = (f"{_shown(tier.markup_ppm, PPM // 100)} % from {dollars(tier.spend_nanos)}" for tier in billing.tiers)
    return f"markup {', '.join(tiers)}"


def _group(group: Group) -> str:
    ratio = f", prices x {_shown(group.price_ratio_ppm, PPM)}" if group.price_ratio_ppm != PPM else ""
    return f"{group.name} may use {', '.join(group.models)}{ratio}"


def _price(name: str, price: Price) -> str:
    """Name the two rates that everybody asks for, and of the others those that do not follow from them."""
    rates = [f"{rate} {dollars(getattr(price, rate))}" for rate in ("input", "output")]
    rates += [
        f"{rate} {dollars(getattr(price, rate))}"
        for rate, total in TOTALS.items()
        if getattr(price, rate) != getattr(price, total)
    ]
    rates[-1] += " per million tokens"
    rates += [f"{dollars(amount)} per {piece}" for piece, amount in _pieces(price) if amount]
    return f"{name}: {', '.join(rates)}"


def _pieces(price: Price) -> Iterator[tuple[str, int]]:
    yield "call", price.call
    yield "image", price.image
    yield "minute of transcribed sound", price.audio_minute
    yield "minute of session", price.session_minute


def _shown(number: int, one: int) -> str:
    """Return `number / one` with as many digits as it has."""
    return f"{(Decimal(number) / one).normalize():f}"


def _changed(section: msgspec.Struct, default: msgspec.Struct, names: tuple[str, ...] | None = None) -> Iterator[str]:
    """Yield what of `section` (of its fields `names`, when given) differs from `default`."""
    for name in names or section.__struct_fields__:
        value = getattr(section, name)
        if value != getattr(default, name):
            yield f"{name} = {_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
