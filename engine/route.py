"""What a model's name stands for: tiers of candidates, and which of them is asked next.

The first tier that has a candidate which can be asked is the one that is asked. Within it a request with an affinity (a
prompt that the upstream may have cached) goes where all requests of that affinity go, unless that one is much busier or
much slower than the others; any other goes to the better one of two drawn by weight. Both draws may hit the same, so
that nobody is judged for ever by one slow answer. A candidate at its rate limit is asked only when there is no other.

A route does not ask anybody; what became of an attempt is told to the candidate's health.
"""

import random
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from math import ceil, inf, log
from typing import NamedTuple
from zlib import crc32

from adapters.losses import Policy as LossPolicy
from engine.config import Race, Timeouts
from engine.endpoint import Endpoint
from engine.health import Health
from engine.hedge import Budget, Policy

BUDGET_TOKENS_MAX = 10.0
"""How many extra attempts a budget saves up: as many may come at once, and no more, before the share counts."""

BUSY_FACTOR = 2.0
BUSY_MARGIN = 2
SLOW_FACTOR = 3.0
"""What makes affinity yield: so many times as many attempts in flight, and some, or as long a wait as elsewhere."""


_MASK = (1 << 64) - 1


def _digest(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest())


class Candidate:
    """One (provider, upstream model, credential) that may serve an exchange, with the patience it is owed."""

    __slots__ = (
        "_seed",
        "credential",
        "endpoint",
        "health",
        "kind",
        "model",
        "on_loss",
        "provider",
        "timeouts",
        "weight",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        *,
        credential: int = 0,
        health: Health | None = None,
        timeouts: Timeouts | None = None,
        on_loss: LossPolicy | None = None,
        weight: float = 1.0,
    ) -> None:
        """`timeouts` and `on_loss` are the provider's own unless given; without `health` it starts with a clean one."""
        self.endpoint = endpoint
        self.provider = endpoint.name
        """The operator's name for the provider."""
        self.kind = endpoint.config.provider.name
        """What it is known as: prices go by it."""
        self.model = model
        self.credential = credential
        """Which of the provider's credentials, from 0."""
        self.health = health or Health(0.0)
        self.timeouts = timeouts or endpoint.config.timeouts
        self.on_loss = on_loss or endpoint.config.on_loss
        """What is done about what cannot be translated."""
        self.weight = weight
        self._seed = _digest(f"{self.provider}/{model}/{credential}".encode()) | 1
        """The same in every process that has the same configuration."""

    def __repr__(self) -> str:
        return f"<Candidate {self.provider}/{self.model} #{self.credential}>"

    def cost(self) -> float:
        """Return what one more request costs there, in the time it may take: the smaller, the better."""
        return self.health.score() / self.weight

    def attraction(self, affinity: int) -> float:
        """Return how strongly it draws the requests of an affinity: rendezvous hashing, in proportion to its weight.

        `affinity` is a checksum. Multiplied with an odd random number its upper bits are as good as drawn
        (multiply-shift hashing, Dietzfelbinger 1997), at half the price of the end of splitmix64; Python's hash of the
        pair is cheaper still, and far from even.
        """
        # 52 bits and a half, so that it is exact, and neither 0 nor 1.
        return self.weight / -log(((self.lot(affinity) >> 12) + 0.5) / (1 << 52))

    def lot(self, affinity: int) -> int:
        """Return what decides between candidates of equal weight: of two the same has the greater attraction."""
        return affinity * self._seed & _MASK


class Budgets(NamedTuple):
    """The extra attempts that are left: beside slow ones, and after failed ones."""

    hedge: Budget
    retry: Budget

    @classmethod
    def of(cls, race: Race, before: "Budgets | None" = None) -> "Budgets":
        """Return the budgets that a race asks for: those of before where their share is still the same."""
        hedge, retry = before or (None, None)
        if hedge is None or hedge.share != race.hedge_share:
            hedge = Budget(race.hedge_share, tokens_max=BUDGET_TOKENS_MAX)
        if retry is None or retry.share != race.retry_share:
            retry = Budget(race.retry_share, tokens_max=BUDGET_TOKENS_MAX)
        return cls(hedge, retry)


class Route:
    """What one name resolves to. `tiers` are never empty, nor is any of them."""

    __slots__ = (
        "_attraction",
        "_random",
        "candidates",
        "hedge_budget",
        "name",
        "policy",
        "race",
        "retry_budget",
        "tiers",
        "unary_policy",
    )

    def __init__(
        self,
        name: str,
        tiers: Sequence[Sequence[Candidate]],
        race: Race,
        budgets: Budgets | None = None,
        *,
        random: Callable[[], float] = random.random,
    ) -> None:
        """`random` returns numbers from 0 to 1, without 1."""
        self.name = name
        """An alias, or `provider/model`."""
        self.tiers = tuple(map(tuple, tiers))
        self.candidates = tuple(candidate for tier in tiers for candidate in tier)
        self.race = race
        self.hedge_budget, self.retry_budget = budgets = budgets or Budgets.of(race)
        attempts_max = min(race.attempts_max, len(self.candidates))
        self.policy = Policy(attempts_max, race.attempt_seconds, *budgets)
        """How the race for a stream is run."""
        self.unary_policy = Policy(attempts_max, race.unary_attempt_seconds, *budgets)
        self._random = random
        is_even = len({candidate.weight for candidate in self.candidates}) == 1
        self._attraction: Callable[[Candidate, int], float] = Candidate.lot if is_even else Candidate.attraction

    def __repr__(self) -> str:
        return f"<Route {self.name} {self.tiers!r}>"

    @property
    def is_idle(self) -> bool:
        """Whether no candidate is being asked."""
        return not any(candidate.health.in_flight for candidate in self.candidates)

    def pick(self, now: float, tried: Collection[Candidate] = (), affinity: bytes | None = None) -> Candidate | None:
        """Return who is to be asked next, None when nobody is left who can be. It is not taken by that."""
        if len(self.candidates) == 1:
            only = self.candidates[0]
            return only if only not in tried and only.health.is_available(now) else None
        cooling: list[Candidate] = []
        for tier in self.tiers:
            ready: list[Candidate] = []
            tiring: list[Candidate] = []
            for candidate in tier:
                health = candidate.health
                if candidate not in tried and health.is_available(now):
                    (tiring if health.is_cooling(now) else ready).append(candidate)
            if ready:
                return self._choose(ready, affinity)
            cooling = cooling or tiring
        return self._choose(cooling, affinity) if cooling else None

    def retry_seconds(self, now: float) -> int:
        """Return when to come back if nobody can be asked: when the first breaker lets one through, at least 1."""
        waits = (candidate.health.breaker.statistics(now).retry_seconds for candidate in self.candidates)
        return max(ceil(min(waits)), 1)

    def hedge_seconds(self, candidate: Candidate, now: float, *, stream: bool = True) -> float:
        """Return how long an attempt runs alone; infinite when slowness starts nothing, or none can be told yet."""
        race = self.race
        if race.hedge_delay_seconds is not None:
            return race.hedge_delay_seconds
        if race.hedge_percentile is None:
            return inf
        seconds = candidate.health.latency_of(stream=stream).percentile(race.hedge_percentile, now)
        return inf if seconds is None else max(seconds, race.hedge_floor_seconds)

    def _choose(self, ready: list[Candidate], affinity: bytes | None) -> Candidate:
        if len(ready) == 1:
            return ready[0]
        if affinity is not None:
            checksum = crc32(affinity)
            attraction = self._attraction
            attractions = [attraction(candidate, checksum) for candidate in ready]
            favourite = ready[attractions.index(max(attractions))]
            if not _is_much_worse(favourite, ready):
                return favourite
        first, second = self._draw(ready), self._draw(ready)
        return second if second.cost() < first.cost() else first

    def _draw(self, ready: list[Candidate]) -> Candidate:
        """Return one at random, by weight."""
        at = self._random() * sum(candidate.weight for candidate in ready)
        for candidate in ready:
            at -= candidate.weight
            if at < 0:
                return candidate
        return ready[-1]


def _is_much_worse(favourite: Candidate, ready: list[Candidate]) -> bool:
    """Whether others would serve so much sooner that a cached prompt is not worth the wait."""
    in_flight, least = 0, inf
    for candidate in ready:
        health = candidate.health
        in_flight += health.in_flight
        score = health.score()
        # A score of 0 is one that nobody knows yet.
        if 0 < score < least:
            least = score
    health = favourite.health
    others = in_flight - health.in_flight
    busy = health.in_flight > BUSY_FACTOR * others / (len(ready) - 1) + BUSY_MARGIN
    return busy or health.score() > SLOW_FACTOR * least
