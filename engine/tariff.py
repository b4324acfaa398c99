"""Tariff: what an answer costs and what is charged for it, by one configuration.

The cost is the upstream's, by the price of the candidate that answered; the charge is the cost times the account's
markup and its group's ratio, rounded up to a whole nano-dollar. It knows no balance.
"""

from collections.abc import Iterable

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
"""Candidates whose price is kept: names of models may come from clients."""


class Tariff:
    """The prices in force. Made anew by a reload."""

    __slots__ = ("_priced", "_prices", "output_tokens_reserved", "unpriced_is_free")

    def __init__(self, config: Config) -> None:
        self._prices = Prices(config.prices, kinds=[each.provider.name for each in config.providers.values()])
        self._priced: dict[Candidate, tuple[Price | None, tuple[Dearest, ...]]] = {}
        self.unpriced_is_free = config.billing.unpriced == "free"
        self.output_tokens_reserved = config.billing.output_tokens_reserved

    def worst_nanos(self, candidates: Iterable[Candidate], input_tokens: int, output_tokens: int) -> int | None:
        """Return the most that an answer of any of the candidates can cost; None when one has no price."""
        worst = 0
        for candidate in candidates:
            price, rates = self._priced.get(candidate) or self._price(candidate)
            if price is None and not self.unpriced_is_free:
                return None
            nanos = dearest_nanos(rates, input_tokens, output_tokens)
            worst = nanos if nanos > worst else worst
        return worst

    def answer_nanos(self, candidate: Candidate, usage: Usage) -> int | None:
        """Return what an answer of a candidate costs, None when there is no price for it."""
        price, _ = self._priced.get(candidate) or self._price(candidate)
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

    def _price(self, candidate: Candidate) -> tuple[Price | None, tuple[Dearest, ...]]:
        """Return a candidate's price and its dearest rates, and keep both: looking up and finding the dearest of ten
        rates takes as long as all of the rest of a reservation.
        """
        if len(self._priced) >= PRICED_MAX:
            self._priced.clear()
        price = self._prices.of(candidate.provider, candidate.kind, candidate.model)
        found = self._priced[candidate] = price, () if price is None else dearest(price)
        return found

    def cost_nanos(self, provider: str, kind: str, model: str, usage: Usage) -> int | None:
        """Return what a usage costs, None when there is no price for it."""
        price = self._prices.of(provider, kind, model)
        return None if price is None else cost_nanos(price, usage)
