"""Tariff: what an answer costs and what is charged for it, by one configuration.

The cost is the upstream's, by the price of the candidate that answered; the charge is the cost times the account's
markup and its group's ratio, rounded up to a whole nano-dollar. It knows no balance.
"""

from collections.abc import Sequence

from adapters.prices import (
    Dearest,
    Price,
    Prices,
    cost_nanos,
    dearest,
    dearest_nanos,
    seconds_nanos,
    session_nanos,
)
from adapters.usage import Usage
from engine.config import Config
from engine.route import Candidate

PRICED_MAX = 4096
"""Candidates whose price is kept, and routes: names of models may come from clients."""


class Tariff:
    """The prices in force. Made anew by a reload."""

    __slots__ = ("_priced", "_prices", "_worst", "output_tokens_reserved", "unpriced_is_free")

    def __init__(self, config: Config) -> None:
        self._prices = Prices(config.prices, kinds=[each.provider.name for each in config.providers.values()])
        self._priced: dict[Candidate, Price | None] = {}
        self._worst: dict[tuple[Candidate, ...], tuple[Dearest, ...] | None] = {}
        """The dearest rates of all of a route's candidates together, None where one has no price."""
        self.unpriced_is_free = config.billing.unpriced == "free"
        self.output_tokens_reserved = config.billing.output_tokens_reserved

    def worst_nanos(self, candidates: Sequence[Candidate], input_tokens: int, output_tokens: int) -> int | None:
        """Return the most that an answer of any of the candidates can cost; None when one has no price."""
        candidates = tuple(candidates)
        try:
            rates = self._worst[candidates]
        except KeyError:
            rates = self._find_worst(candidates)
        return None if rates is None else dearest_nanos(rates, input_tokens, output_tokens)

    def answer_nanos(self, candidate: Candidate, usage: Usage) -> int | None:
        """Return what an answer of a candidate costs, None when there is no price for it."""
        try:
            price = self._priced[candidate]
        except KeyError:
            price = self._find(candidate)
        return None if price is None else cost_nanos(price, usage)

    def heard_nanos(self, candidate: Candidate, model: str, usage: Usage, seconds: float) -> int:
        """Return what a transcription by `model` costs, by tokens or by seconds.

        Clients choose it: one without a price costs what the session's own model does, so that it is no way round.
        """
        of, provider, kind = self._prices.of, candidate.provider, candidate.kind
        price = of(provider, kind, model) or of(provider, kind, candidate.model)
        return 0 if price is None else cost_nanos(price, usage) + seconds_nanos(price, seconds)

    def session_nanos(self, candidate: Candidate, seconds: float) -> int:
        """Return what so many seconds of a session cost of which nothing else is counted."""
        price = self._prices.of(candidate.provider, candidate.kind, candidate.model)
        return 0 if price is None else session_nanos(price, seconds)

    def _find(self, candidate: Candidate) -> Price | None:
        """Return a candidate's price, and keep it."""
        if len(self._priced) >= PRICED_MAX:
            self._priced.clear()
        price = self._priced[candidate] = self._prices.of(candidate.provider, candidate.kind, candidate.model)
        return price

    def _find_worst(self, candidates: tuple[Candidate, ...]) -> tuple[Dearest, ...] | None:
        """Return what `_worst` holds of a route, and keep it: finding the dearest of ten rates of each candidate takes
        as long as all of the rest of a reservation.
        """
        if len(self._worst) >= PRICED_MAX:
            self._worst.clear()
        prices = [self._prices.of(each.provider, each.kind, each.model) for each in candidates]
        rates: tuple[Dearest, ...] | None = None
        if self.unpriced_is_free or None not in prices:
            # Credentials of one provider cost the same: what is there twice is looked at once.
            rates = tuple({rate: None for price in prices if price is not None for rate in dearest(price)})
        self._worst[candidates] = rates
        return rates

    def cost_nanos(self, provider: str, kind: str, model: str, usage: Usage) -> int | None:
        """Return what a usage costs, None when there is no price for it."""
        price = self._prices.of(provider, kind, model)
        return None if price is None else cost_nanos(price, usage)
