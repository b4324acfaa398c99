"""Model name -> candidate: who may serve a request.

A name is looked up in this order: an operator's alias; a name that a catalogue (configured or fetched) lists, the first
provider in configuration order winning; `provider/anything`, passed to that provider whether or not a catalogue knows
it, unless the operator restricted it; and last the default provider: the configured one, or the only one there is. The
router does not connect, retry or measure; what it hands out is a `Candidate`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from adapters.dialects import ModelEntry
from adapters.errors import ClientError, Failure, Kind
from engine.config import Config, Timeouts
from engine.endpoint import Endpoint


class Candidate:
    """One (provider, upstream model, credential) that may serve an exchange, with the patience it is owed."""

    __slots__ = ("endpoint", "model", "provider", "timeouts")

    def __init__(self, endpoint: Endpoint, model: str, timeouts: Timeouts) -> None:
        self.endpoint = endpoint
        self.provider = endpoint.name
        """The operator's name for the provider."""
        self.model = model
        self.timeouts = timeouts

    def __repr__(self) -> str:
        return f"<Candidate {self.provider}/{self.model}>"


class PoolTotals(NamedTuple):
    """The upstream connections of a router: as of now, and opened and reused since the worker began."""

    idle: int = 0
    leased: int = 0
    opened: int = 0
    reused: int = 0


class Router:
    """The providers and names of one configuration. Replaced as a whole on reload; only catalogues change in place."""

    __slots__ = ("_aliases", "_before", "_by_model", "_default", "_now", "_retired", "endpoints")

    def __init__(
        self,
        config: Config,
        *,
        now: Callable[[], float],
        predecessor: "Router | None" = None,
    ) -> None:
        """`predecessor` hands over what stays: endpoints that did not change, catalogues, and counts."""
        self._now = now
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
        self._aliases = {
            alias.name: Candidate(self.endpoints[alias.provider], alias.model, alias.timeouts)
            for alias in config.models.values()
        }
        self._by_model: dict[str, Candidate] = {}
        self.index()

    def __repr__(self) -> str:
        return f"<Router {len(self.endpoints)} providers, {len(self._aliases)} aliases, {len(self._by_model)} models>"

    def index(self) -> None:
        """Take the endpoints' catalogues as they are now; called again whenever one was fetched."""
        self._by_model = {}
        for endpoint in self.endpoints.values():
            for model in endpoint.catalogue:
                self._by_model.setdefault(model, Candidate(endpoint, model, endpoint.config.timeouts))

    def resolve(self, name: str) -> Candidate:
        """Return who serves `name`. Raises `ClientError` 404 (`model_not_found`)."""
        candidate = self._aliases.get(name) or self._by_model.get(name)
        if candidate is not None:
            return candidate
        provider, slash, model = name.partition("/")
        endpoint = self.endpoints.get(provider) if slash and model else None
        if endpoint is None:
            endpoint, model = self._default, name
        if endpoint is None or not endpoint.serves(model):
            message = f"the model {name!r} does not exist, or no configured provider serves it"
            raise ClientError(Failure(404, Kind.NOT_FOUND, message, code="model_not_found", param="model"))
        return Candidate(endpoint, model, endpoint.config.timeouts)

    def models(self) -> Iterator[ModelEntry]:
        """Yield every name of the model list: aliases, then the catalogues, bare where that is unambiguous."""
        for name, candidate in self._aliases.items():
            yield ModelEntry(name, candidate.provider)
        for endpoint in self.endpoints.values():
            for model in endpoint.catalogue:
                mine = model not in self._aliases and self._by_model[model].endpoint is endpoint
                yield ModelEntry(model if mine else f"{endpoint.name}/{model}", endpoint.name)

    @property
    def can_serve(self) -> bool:
        """Whether there is any provider at all."""
        return bool(self.endpoints)

    def replaced(self, config: Config) -> "Router":
        """Return the router of `config`, keeping the endpoints (and connections) of providers that did not change."""
        return Router(config, now=self._now, predecessor=self)

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
