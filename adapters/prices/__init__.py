"""Prices: what a model costs at a provider, by what its operator says or else by what its vendor lists.

`Prices.of` answers who costs what, `cost_nanos` and its neighbours what that comes to, `prompt_tokens_bound` how much
to reserve before anybody has counted. List prices are data with a date (`catalogue`): they hold for the vendor's
standard service, without discounts for batches, premiums for priority or fees for the vendor's own tools. A model
without a price is not free; what becomes of it is the asker's to decide.
"""

from collections.abc import Iterable, Mapping

from adapters.prices import catalogue
from adapters.prices.bound import prompt_tokens_bound
from adapters.prices.price import (
    SAME,
    TOTALS,
    Dearest,
    Price,
    charge_nanos,
    cost_nanos,
    dearest,
    dearest_nanos,
    nanos_of_dollars,
    price_from_dollars,
    seconds_nanos,
    session_nanos,
    worst_nanos,
)

__all__ = [
    "SAME",
    "TOTALS",
    "Dearest",
    "Price",
    "Prices",
    "charge_nanos",
    "cost_nanos",
    "dearest",
    "dearest_nanos",
    "nanos_of_dollars",
    "output_tokens_max",
    "price_from_dollars",
    "prompt_tokens_bound",
    "seconds_nanos",
    "session_nanos",
    "worst_nanos",
]

FOUND_MAX = 4096
"""So many answers are kept: clients may ask for any name."""


class Prices:
    """The prices of one configuration. Never changes; a new configuration makes a new one.

    The lists of `kinds` are read at once, which takes some milliseconds each; other lists when they are first asked.
    """

    def __init__(self, overrides: Mapping[str, Price] | None = None, kinds: Iterable[str] = ()) -> None:
        self._overrides = dict(overrides or {})
        for kind in kinds:
            catalogue.rows(kind)
        self._found: dict[tuple[str, str, str], Price | None] = {}

    def of(self, provider: str, kind: str, model: str) -> Price | None:
        """Return what `model` costs at the operator's `provider`, which is of `kind`; None when nobody says.

        An override of `PROVIDER/MODEL` wins, then one of `MODEL`, each spelled exactly so, then the vendor's list.
        """
        asked = (provider, kind, model)
        try:
            return self._found[asked]
        except KeyError:
            if len(self._found) >= FOUND_MAX:
                self._found.clear()
            price = self._found[asked] = self._look_up(provider, kind, model)
            return price

    def _look_up(self, provider: str, kind: str, model: str) -> Price | None:
        for name in (f"{provider}/{model}", model):
            if name in self._overrides:
                return self._overrides[name]
        row = catalogue.find(kind, model)
        return None if row is None else row.price


def output_tokens_max(kind: str, model: str) -> int | None:
    """Return how many tokens an answer of the model may have, None when the list does not say."""
    row = catalogue.find(kind, model)
    return None if row is None else row.output_tokens_max
