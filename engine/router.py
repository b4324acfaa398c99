"""Model name -> route: who may serve a request.

A name is looked up in this order: an operator's alias; a name that a catalogue (configured or fetched) lists, the first
provider in configuration order winning; `provider/anything`, passed to that provider whether or not a catalogue knows
it, unless the operator restricted it; and last the default provider: the configured one, or the only one there is. What
is no alias is a route of one tier, the provider's credentials.

Each (provider, credential, upstream model) has one health, whichever names lead to it; those of a provider that a
reload leaves alone are kept, and so are a route's budgets. The router does not connect, retry or measure.
"""

import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from adapters.dialects import ModelEntry
from adapters.errors import ClientError, Failure, Kind
from engine.config import Alias, Config
from engine.endpoint import Endpoint
from engine.health import Health, HealthStatistics
from engine.recent import RecentRoutes
from engine.route import Budgets, Candidate, Route

__all__ = ["Candidate", "CandidateStatistics", "PoolTotals", "Router", "no_such_model"]

SHOWN_MAX = 50
"""How many candidates that no alias names are shown: names come from clients."""

HealthKey = tuple[str, int, str]
"""Provider, credential, upstream model: what has a health of its own."""


class CandidateStatistics(NamedTuple):
    """What is shown of one candidate."""

    provider: str
    credential: int
    model: str
    health: HealthStatistics


class PoolTotals(NamedTuple):
    """The upstream connections of a router: as of now, and opened and reused since the worker began."""

    idle: int = 0
    leased: int = 0
    opened: int = 0
    reused: int = 0


class Router:
    """The providers and names of one configuration. Replaced as a whole on reload; only catalogues change in place."""

    __slots__ = (
        "_aliases",
        "_before",
        "_budgets",
        "_by_model",
        "_default",
        "_healths",
        "_now",
        "_race",
        "_random",
        "_recent",
        "_retired",
        "endpoints",
    )

    def __init__(
        self,
        config: Config,
        *,
        now: Callable[[], float],
        random: Callable[[], float] = random.random,
        predecessor: "Router | None" = None,
    ) -> None:
        """`predecessor` hands over what stays: endpoints that did not change, their health, catalogues, and counts."""
        self._now = now
        self._random = random
        self._before: PoolTotals = predecessor._before if predecessor is not None else PoolTotals()
        self._retired: list[Endpoint] = list(predecessor._retired) if predecessor is not None else []
        old = predecessor.endpoints if predecessor is not None else {}
        self.endpoints: dict[str, Endpoint] = {}
        for name, provider in config.providers.items():
            endpoint = old.get(name)
            if endpoint is None or not endpoint.is_for(provider, config.limits):
                endpoint = Endpoint(provider, config.limits, now, predecessor=endpoint)
            self.endpoints[name] = endpoint
        for name, endpoint in old.items():
            if self.endpoints.get(name) is not endpoint:
                endpoint.pool.close()
                self._retired.append(endpoint)
        default = config.server.default_provider
        if default is None and len(self.endpoints) == 1:
            default = next(iter(self.endpoints))
        self._default = self.endpoints.get(default) if default is not None else None
        self._race = config.race
        before: dict[tuple[str, str], Budgets] = predecessor._budgets if predecessor is not None else {}
        races = {("", provider): config.race for provider in self.endpoints}
        races |= {("alias", alias.name): alias.race for alias in config.models.values()}
        self._budgets: dict[tuple[str, str], Budgets] = {
            key: Budgets.of(race, before.get(key)) for key, race in races.items()
        }
        known = predecessor._known_to(self) if predecessor is not None else {}
        self._healths = self._healths_of_aliases(config, known)
        self._aliases = {alias.name: self._route_of_alias(alias) for alias in config.models.values()}
        self._recent = RecentRoutes()
        for route in predecessor._recent if predecessor is not None else ():
            first = route.candidates[0]
            if self.endpoints.get(first.provider) is first.endpoint:
                self._recent.add(first.provider, first.model, self._direct_route(first.endpoint, first.model, known))
        self._by_model: dict[str, Endpoint] = {}
        self.index()

    def __repr__(self) -> str:
        return f"<Router {len(self.endpoints)} providers, {len(self._aliases)} aliases, {len(self._by_model)} models>"

    def index(self) -> None:
        """Take the endpoints' catalogues as they are now; called again whenever one was fetched."""
        self._by_model = {}
        for endpoint in self.endpoints.values():
            for model in endpoint.catalogue:
                self._by_model.setdefault(model, endpoint)

    def resolve(self, name: str) -> Route:
        """Return who may serve `name`. Raises `ClientError` 404 (`model_not_found`)."""
        route = self._aliases.get(name)
        if route is not None:
            return route
        model, endpoint = name, self._by_model.get(name)
        if endpoint is None:
            provider, slash, rest = name.partition("/")
            endpoint = self.endpoints.get(provider) if slash and rest else None
            if endpoint is not None:
                model = rest
            else:
                endpoint = self._default
            if endpoint is None or not endpoint.serves(model):
                raise no_such_model(name)
        route = self._recent.find(endpoint.name, model)
        if route is None:
            route = self._direct_route(endpoint, model, {})
            self._recent.add(endpoint.name, model, route)
        return route

    def statistics(self, now: float) -> list[CandidateStatistics]:
        """Return the state of every candidate of the aliases, then of the most recent others, up to `SHOWN_MAX`."""
        others = (
            (_key(candidate), candidate.health)
            for route in reversed(self._recent)
            for candidate in route.candidates
            if _key(candidate) not in self._healths
        )
        shown = (*self._healths.items(), *islice(others, SHOWN_MAX))
        return [CandidateStatistics(*key, health.statistics(now)) for key, health in shown]

    def models(self) -> Iterator[ModelEntry]:
        """Yield every name of the model list: aliases, then the catalogues, bare where that is unambiguous."""
        for name, route in self._aliases.items():
            yield ModelEntry(name, route.candidates[0].provider)
        for endpoint in self.endpoints.values():
            for model in endpoint.catalogue:
                mine = model not in self._aliases and self._by_model[model] is endpoint
                yield ModelEntry(model if mine else f"{endpoint.name}/{model}", endpoint.name)

    @property
    def can_serve(self) -> bool:
        """Whether there is any provider at all."""
        return bool(self.endpoints)

    def replaced(self, config: Config) -> "Router":
        """Return the router of `config`, keeping the endpoints (and connections) of providers that did not change."""
        return Router(config, now=self._now, random=self._random, predecessor=self)

    def pool_totals(self) -> PoolTotals:
        """Return the connections of all providers together, those of replaced configurations included."""
        pools = [endpoint.pool.statistics() for endpoint in (*self.endpoints.values(), *self._retired)]
        return PoolTotals(
            idle=sum(pool.idle for pool in pools),
            leased=sum(pool.leased for pool in pools),
            opened=self._before.opened + sum(pool.opened_total for pool in pools),
            reused=self._before.reused + sum(pool.reused_total for pool in pools),
        )

    def expire(self) -> None:
        """Close connections that have idled too long, and forget replaced providers that nobody uses any more."""
        for endpoint in self.endpoints.values():
            endpoint.pool.expire()
        for endpoint in list(self._retired):
            statistics = endpoint.pool.statistics()
            if not statistics.leased and not statistics.connecting:
                self._retired.remove(endpoint)
                opened = self._before.opened + statistics.opened_total
                reused = self._before.reused + statistics.reused_total
                self._before = PoolTotals(opened=opened, reused=reused)

    def close(self) -> None:
        """Close every idle upstream connection."""
        for endpoint in self.endpoints.values():
            endpoint.pool.close()

    def _known_to(self, successor: "Router") -> dict[HealthKey, Health]:
        """Return the health of every candidate whose provider the successor took over as it is."""
        candidates = (candidate for route in (*self._aliases.values(), *self._recent) for candidate in route.candidates)
        return {
            _key(candidate): candidate.health
            for candidate in candidates
            if successor.endpoints.get(candidate.provider) is candidate.endpoint
        }

    def _healths_of_aliases(self, config: Config, known: dict[HealthKey, Health]) -> dict[HealthKey, Health]:
        """Return the health of all that aliases name, with their bounds; of two for the same the tighter one holds."""
        for health in known.values():
            health.in_flight_max = 0
        healths: dict[HealthKey, Health] = {}
        for listed in (candidate for alias in config.models.values() for candidate in alias.candidates):
            for credential in range(self.endpoints[listed.provider].credentials):
                key = listed.provider, credential, listed.model
                health = healths.setdefault(key, known.get(key) or Health(self._now()))
                if listed.in_flight_max:
                    health.in_flight_max = min(health.in_flight_max or listed.in_flight_max, listed.in_flight_max)
        return healths

    def _route_of_alias(self, alias: Alias) -> Route:
        tiers: dict[int, list[Candidate]] = {}
        for listed in alias.candidates:
            endpoint = self.endpoints[listed.provider]
            tiers.setdefault(listed.tier, []).extend(
                Candidate(
                    endpoint,
                    listed.model,
                    credential=credential,
                    health=self._healths[listed.provider, credential, listed.model],
                    timeouts=listed.timeouts,
                    on_loss=listed.on_loss,
                    weight=listed.weight / endpoint.credentials,
                )
                for credential in range(endpoint.credentials)
            )
        ordered = [tiers[number] for number in sorted(tiers)]
        return Route(alias.name, ordered, alias.race, self._budgets["alias", alias.name], random=self._random)

    def _direct_route(self, endpoint: Endpoint, model: str, known: dict[HealthKey, Health]) -> Route:
        """Return the route to one model of one provider; a health that an alias has is shared with it."""
        keys = [(endpoint.name, credential, model) for credential in range(endpoint.credentials)]
        tier = [
            Candidate(
                endpoint,
                model,
                credential=key[1],
                health=self._healths.get(key) or known.get(key) or Health(self._now()),
                weight=1 / endpoint.credentials,
            )
            for key in keys
        ]
        # The names are the clients', the budget is the provider's: a new name is no new budget.
        budgets = self._budgets["", endpoint.name]
        return Route(f"{endpoint.name}/{model}", [tier], self._race, budgets, random=self._random)


def no_such_model(name: str) -> ClientError:
    """Return the refusal of a model that does not exist for who asks; the sentence is the same if it does for some."""
    message = f"the model {name!r} does not exist, or you have no access to it"
    return ClientError(Failure(404, Kind.NOT_FOUND, message, code="model_not_found", param="model"))


def _key(candidate: Candidate) -> HealthKey:
    return candidate.provider, candidate.credential, candidate.model
