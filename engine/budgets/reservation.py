"""What one exchange has taken of every budget it falls under: reserved whole, then settled or voided, once.

Never more than was leased is ever charged: a charge beyond what was reserved takes what is still free in the worker's
leases, of all budgets the same, and what remains is *uncollected*: the house's loss, written down as such. That is what
keeps every balance and every cap whole when an estimate was too low.

Requests count however the exchange ends. Tokens are corrected to what they came to, places are given back.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from engine.budgets.allowance import Allowance, Unit


class State(IntEnum):
    """A reservation's state; resolving one twice is a bug."""

    OPEN = 0
    SETTLED = 1
    VOIDED = 2


TRANSITIONS: dict[State, frozenset[State]] = {
    State.OPEN: frozenset({State.SETTLED, State.VOIDED}),
    State.SETTLED: frozenset(),
    State.VOIDED: frozenset(),
}


# Bound once: on Python 3.11 a look-up of a member in its class takes ten times as long as one in the module.
_OPEN, _SETTLED, _VOIDED = State


class Standing:
    """The allowances that one request draws on, by what they count, and the windows it is counted in.

    `ends` is until when it holds (unix seconds): then a window is over, and another standing begins.
    """

    __slots__ = (
        "day",
        "ends",
        "has_rates",
        "leases",
        "money",
        "month",
        "parts",
        "places",
        "requests",
        "tokens",
        "tokens_max",
    )

    def __init__(self, allowances: Iterable[Allowance], *, day: int, month: int, ends: float) -> None:
        by_unit: dict[Unit, list[Allowance]] = {unit: [] for unit in Unit}
        for allowance in allowances:
            by_unit[allowance.budget.unit].append(allowance)
        self.parts = tuple(tuple(by_unit[unit]) for unit in (Unit.MONEY, Unit.REQUESTS, Unit.TOKENS, Unit.PLACES))
        self.money, self.requests, self.tokens, self.places = self.parts
        self.has_rates = bool(self.requests or self.tokens or self.places)
        self.leases = tuple((each.budget.id, each.window) for each in self.money if each.budget.limit is not None)
        """Of money but the wallet's, as a settlement names them."""
        limits = [each.budget.limit for each in self.tokens if each.budget.limit is not None]
        self.tokens_max = min(limits) if limits else None
        """More than a whole minute's tokens can never be reserved: then the minute is."""
        self.day = day
        self.month = month
        self.ends = ends


class Lack(NamedTuple):
    """An allowance that has too little, and how much was to be taken of it."""

    allowance: Allowance
    amount: int


class Charge(NamedTuple):
    """What came of a settlement: what is charged, and what it should have been beyond."""

    amount_nanos: int
    uncollected_nanos: int


class Reservation:
    """Taken of `standing`; exactly one of `settle` and `void` ends it."""

    __slots__ = ("nanos", "standing", "state", "tokens")

    def __init__(self, standing: Standing, nanos: int, tokens: int) -> None:
        self.standing = standing
        self.nanos = nanos
        self.tokens = tokens
        self.state = _OPEN

    def __repr__(self) -> str:
        return f"<Reservation {self.nanos} n$ {self.state.name}>"

    def charge(self, nanos: int) -> Charge:
        """Return what of `nanos` there is to settle now. Nothing changes: it has to be written down first."""
        if nanos <= self.nanos:
            return Charge(nanos, 0)
        charged = min([nanos, *(self.nanos + allowance.free for allowance in self.standing.money)])
        return Charge(charged, nanos - charged)

    def settle(self, nanos: int, tokens: int) -> None:
        """Charge `nanos`, as much as `charge` said, and give the rest back."""
        self._become(_SETTLED)
        back = self.nanos - nanos
        for allowance in self.standing.money:
            allowance.free += back
            assert allowance.free >= 0
        if self.standing.has_rates:
            self._release(tokens)

    def void(self) -> None:
        """Give everything back but the request's count."""
        self._become(_VOIDED)
        for allowance in self.standing.money:
            allowance.free += self.nanos
        if self.standing.has_rates:
            self._release(0)

    def _release(self, tokens: int) -> None:
        for allowance in self.standing.tokens:
            # More tokens than were reserved use up what there is; a rate owes nothing to the next minute.
            allowance.free = max(allowance.free + self.tokens - tokens, 0)
        for allowance in self.standing.places:
            allowance.leave_place()

    def _become(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"
        self.state = state


def reserve(standing: Standing, nanos: int, tokens: int, now: float) -> Reservation | list[Lack]:
    """Take `nanos`, `tokens`, a request and a place of every budget in `standing`; or nothing, and say what lacks."""
    if standing.tokens_max is not None:
        tokens = min(tokens, standing.tokens_max)
    for allowance in standing.money:
        if allowance.free < nanos:
            return _lacks(standing, nanos, tokens)
    if standing.has_rates:
        for allowances, amount in ((standing.requests, 1), (standing.tokens, tokens), (standing.places, 1)):
            for allowance in allowances:
                if allowance.free < amount:
                    return _lacks(standing, nanos, tokens)
        for allowances, amount in ((standing.requests, 1), (standing.tokens, tokens), (standing.places, 1)):
            for allowance in allowances:
                allowance.free -= amount
                allowance.touched = now
        for allowance in standing.places:
            allowance.in_use += 1
    for allowance in standing.money:
        allowance.free -= nanos
        allowance.touched = now
    return Reservation(standing, nanos, tokens)


def _lacks(standing: Standing, nanos: int, tokens: int) -> list[Lack]:
    amounts = (nanos, 1, tokens, 1)
    return [
        Lack(allowance, amount)
        for allowances, amount in zip(standing.parts, amounts, strict=True)
        for allowance in allowances
        if allowance.free < amount
    ]
