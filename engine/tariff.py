"""Tariff: what an answer costs and what is charged for it, by one configuration.

The cost is the upstream's, by the price of the candidate that answered; the charge is the cost times the account's
markup and its group's ratio, rounded up to a whole nano-dollar. It knows no balance.
"""

from collections.abc import Iterable

from adapters.prices import Prices, cost_nanos, seconds_nanos, session_nanos, worst_nanos
from adapters.usage import Usage
from engine.config import Config
from engine.route import Candidate


class Tariff:
    """The prices in force. Made anew by a reload."""

    __slots__ = ("_prices", "output_tokens_reserved", "unpriced_is_free")

    def __init__(self, config: Config) -> None:
        self._prices = Prices(config.prices, kinds=[each.provider.name for each in config.providers.values()])
        self.unpriced_is_free = config.billing.unpriced == "free"
        self.output_tokens_reserved = config.billing.output_tokens_reserved

    def worst_nanos(self, candidates: Iterable[Candidate], input_tokens: int, output_tokens: int) -> int | None:
        """Return the most that an answer of any of the candidates can cost; None when one has no price."""
        worst = 0
        for candidate in candidates:
            price = self._prices.of(candidate.provider, candidate.kind, candidate.model)
            if price is not None:
                worst = max(worst, worst_nanos(price, input_tokens, output_tokens))
            elif not self.unpriced_is_free:
                return None
        return worst

    def heard_nanos(self, candidate: Candidate, model: str, usage: Usage, seconds: float) -> int:
        """Return what a transcription by `model` costs, by tokens or by seconds; nothing where it has no price."""
        price = self._prices.of(candidate.provider, candidate.kind, model)
        return 0 if price is None else cost_nanos(price, usage) + seconds_nanos(price, seconds)

    def session_nanos(self, candidate: Candidate, seconds: float) -> int:
        """Return what so many seconds of a session cost of which nothing else is counted."""
        price = self._prices.of(candidate.provider, candidate.kind, candidate.model)
        return 0 if price is None else session_nanos(price, seconds)

    def cost_nanos(self, provider: str, kind: str, model: str, usage: Usage) -> int | None:
        """Return what a usage costs, None when there is no price for it."""
        price = self._prices.of(provider, kind, model)
        return None if price is None else cost_nanos(price, usage)
