"""[race] and [models]: the operator's names for models, who may serve each, and when more than one of them is asked.

A name has one candidate, written into its table, or a list of them. What an alias says of timeouts, losses and the race
goes over what its providers and [race] say. Who is asked when is `engine.route`'s business.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

from adapters.losses import Policy
from engine.config.context import Context
from engine.config.findings import MalformedError, below
from engine.config.model import Alias, AliasCandidate, ProviderConfig, Race
from engine.config.options import (
    SECONDS_MAX,
    AliasOptions,
    CandidateOptions,
    Document,
    RaceOptions,
    RaceOverrides,
)
from engine.config.providers import MODEL, MODEL_RULE, overlaid, unknown_provider

HEDGE_RULE = 'must be "off", a time such as "800ms" or "1.5s", or a percentile such as "p95"'
_HEDGE = re.compile(r"p(?P<percent>\d{1,2}(?:\.\d{1,3})?)|(?P<time>\d{1,8}(?:\.\d{1,3})?)(?P<unit>ms|s)", re.ASCII)


def parse_hedge(text: str) -> tuple[float | None, float | None]:
    """Read `off`, `p95`, `800ms` or `1.5s` as a share and as seconds, one of them at most. Raises `MalformedError`."""
    if text == "off":
        return None, None
    found = _HEDGE.fullmatch(text)
    if found is None:
        raise MalformedError(HEDGE_RULE)
    value = float(found["percent"] or found["time"])
    seconds = value / 1e3 if found["unit"] == "ms" else value
    if not 0 < seconds <= SECONDS_MAX:
        raise MalformedError(HEDGE_RULE)
    return (value / 100, None) if found["percent"] else (None, seconds)


def build_race(document: Document, context: Context) -> Race:
    """Return what holds where an alias says nothing else."""
    return _race(document.race, "race", context)


def build_aliases(document: Document, providers: Mapping[str, ProviderConfig], context: Context) -> dict[str, Alias]:
    """Return the operator's model names. An alias never hides a provider's own `provider/model` names."""
    known = {*document.providers, *providers}
    aliases = {}
    for name, options in document.models.items():
        path = below("models", name)
        if not MODEL.match(name):
            context.findings.problem(path, MODEL_RULE)
        if name.partition("/")[0] in known:
            message = "shadows a provider: NAME and NAME/anything belong to the provider of that name"
            context.findings.problem(path, message)
        race = _overridden(document.race, options.race, f"{path}.race", context)
        candidates = tuple(_Candidates(name, options, path, known=known, providers=providers, context=context).build())
        if candidates:
            aliases[name] = Alias(name=name, candidates=candidates, race=race)
    return aliases


def _race(options: RaceOptions, path: str, context: Context) -> Race:
    percentile, delay = context.parsed(parse_hedge, options.hedge, f"{path}.hedge") or (None, None)
    return Race(
        attempts_max=options.attempts_max,
        attempt_seconds=options.attempt_seconds,
        unary_attempt_seconds=options.unary_attempt_seconds,
        hedge_percentile=percentile,
        hedge_delay_seconds=delay,
        hedge_floor_seconds=options.hedge_floor_ms / 1e3,
        hedge_share=options.hedge_share,
        retry_share=options.retry_share,
        hedge_side_effects=options.hedge_side_effects,
    )


def _overridden(options: RaceOptions, overrides: RaceOverrides, path: str, context: Context) -> Race:
    named = {name: value for name, value in msgspec.structs.asdict(overrides).items() if value is not None}
    if "hedge" not in named and context.findings.within("race.hedge"):
        # It is a problem already, and not of this alias.
        named["hedge"] = RaceOptions().hedge
    return _race(msgspec.structs.replace(options, **named), path, context)


class _Candidates:
    """The candidates of one [models.ALIAS] being read."""

    __slots__ = ("context", "known", "name", "options", "path", "providers")

    def __init__(
        self,
        name: str,
        options: AliasOptions,
        path: str,
        *,
        known: set[str],
        providers: Mapping[str, ProviderConfig],
        context: Context,
    ) -> None:
        self.name = name
        self.options = options
        self.path = path
        self.known = known
        """The names of all providers, also of those that have a problem."""
        self.providers = providers
        self.context = context

    def build(self) -> Iterator[AliasCandidate]:
        """Yield those without a problem, in their order."""
        listed, path = self.options.candidates, f"{self.path}.candidates"
        if listed is None:
            if self.context.findings.within(path):
                return
            short = CandidateOptions(provider=self.options.provider, model=self.options.model)
            yield from self._one(short, self.path)
            return
        if not listed:
            self.context.findings.problem(path, "must hold at least one candidate")
        for name, value in (("provider", self.options.provider), ("model", self.options.model)):
            if value is not None:
                self.context.findings.problem(f"{self.path}.{name}", "is there beside candidates; write it into them")
        first: dict[tuple[str | None, str], int] = {}
        for i, options in enumerate(listed):
            who = options.provider, options.model or self.name
            if who in first:
                self.context.findings.problem(f"{path}[{i}]", f"is the same as [{first[who]}]: provider and model")
            first.setdefault(who, i)
            yield from self._one(options, f"{path}[{i}]")

    def _one(self, options: CandidateOptions, path: str) -> Iterator[AliasCandidate]:
        findings = self.context.findings
        if options.provider is None:
            findings.problem(f"{path}.provider", "is missing")
        elif options.provider not in self.known:
            unknown_provider(f"{path}.provider", options.provider, self.known, self.context)
        model = self.name if options.model is None else options.model
        if not MODEL.match(model):
            findings.problem(f"{path}.model", MODEL_RULE)
        provider = None if options.provider is None else self.providers.get(options.provider)
        if provider is None:
            return
        if provider.restrict and model not in provider.models:
            findings.problem(f"{path}.model", "is not among the models that its provider is restricted to")
        yield AliasCandidate(
            provider=provider.name,
            model=model,
            timeouts=overlaid(provider.timeouts, self.options.timeouts),
            on_loss=provider.on_loss if self.options.on_loss is None else Policy(self.options.on_loss),
            weight=options.weight,
            tier=options.tier,
            in_flight_max=options.in_flight_max,
        )
