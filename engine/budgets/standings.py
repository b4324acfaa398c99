"""Which allowances a principal's request for a model draws on, kept for an hour or until one of their windows is over.

The principal's own budgets, those of the model by the name it was asked for, and those of all models together.
"""

from enum import Enum

from engine.budgets.allowance import Unit
from engine.budgets.lender import Lender
from engine.budgets.periods import Period, end, window
from engine.budgets.reservation import Standing
from engine.config import Config
from engine.principal import EVERYTHING, Principal, rates_of_models

KEPT_MAX = 10_000
"""Standings of one worker; names of models come from clients."""

KEPT_SECONDS = 3600
"""For less time than the lender remembers an allowance that nobody uses, and other standings would get another one."""


class Draws(Enum):
    """What of its budgets a request draws on: all of them; or, of a session, what its beginning does and what each of
    its responses does.
    """

    ALL = frozenset(Unit)
    ENTRY = frozenset({Unit.REQUESTS, Unit.PLACES})
    RESPONSE = frozenset({Unit.MONEY, Unit.TOKENS})

    # An enumeration's own hashes the member's name in Python, which took a tenth of a look-up among standings.
    __hash__ = object.__hash__


class Standings:
    """Standings by key and model. Made anew by a reload."""

    __slots__ = ("_kept", "_lender", "_of_all", "_of_model")

    def __init__(self, lender: Lender, config: Config) -> None:
        self._lender = lender
        self._of_model = rates_of_models(config)
        self._of_all = self._of_model.pop(EVERYTHING, ())
        self._kept: dict[tuple[str | None, str, Draws], tuple[Principal, Standing]] = {}

    def __repr__(self) -> str:
        return f"<Standings {len(self._kept)}>"

    def are_needed(self, principal: Principal) -> bool:
        """Whether anything bounds what the principal asks for."""
        return bool(principal.budgets or self._of_model or self._of_all)

    def of(self, principal: Principal, model: str, now: float, draws: Draws = Draws.ALL) -> Standing:
        """Return what a request draws on at `now` (unix seconds)."""
        # Only a model that has rates of its own makes a difference.
        key = principal.id, model if model in self._of_model else "", draws
        kept = self._kept.get(key)
        if kept is not None:
            owner, standing = kept
            if owner is principal and now < standing.ends:
                return standing
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        standing = self._make(principal, model, now, draws)
        self._kept[key] = principal, standing
        return standing

    def _make(self, principal: Principal, model: str, now: float, draws: Draws) -> Standing:
        budgets = (*principal.budgets, *self._of_model.get(model, ()), *self._of_all)
        allowances = [self._lender.allowance(budget, now) for budget in budgets if budget.unit in draws.value]
        day, month = window(Period.DAY, now), window(Period.MONTH, now)
        ends = min([now + KEPT_SECONDS, end(Period.DAY, day), *(each.ends for each in allowances if each.ends)])
        return Standing(allowances, day=day, month=month, ends=ends)
