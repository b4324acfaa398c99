"""What one exchange has taken of every budget it falls under: reserved whole, then settled or voided, once.

Never more than was leased is ever charged: a charge beyond what was reserved takes what is still free in the worker's
leases, of all budgets the same, and what remains is *uncollected*: the house's loss, written down as such. That is what
keeps every balance and every cap whole when an estimate was too low.

Requests count however the exchange ends. Tokens are corrected to what they came to, places are given back.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from msgspec import Struct

from engine.budgets.allowance import Allowance, Unit

TOUCH_SECONDS = 1.0
"""How exactly it is known when something was taken of an allowance last."""


class State(IntEnum):
    """A reservation's state: OPEN becomes SETTLED or VOIDED, and stays so; resolving one twice is a bug."""

    OPEN = 0
    SETTLED = 1
    VOIDED = 2


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
        "is_low",
        "leases",
        "money",
        "month",
        "parts",
        "places",
        "rates",
        "requests",
        "singles",
        "tokens",
        "tokens_max",
        "touched",
    )

    def __init__(self, allowances: Iterable[Allowance], *, day: int, month: int, ends: float) -> None:
        by_unit: dict[Unit, list[Allowance]] = {unit: [] for unit in Unit}
        for allowance in allowances:
            by_unit[allowance.budget.unit].append(allowance)
        self.parts = tuple(tuple(by_unit[unit]) for unit in (Unit.MONEY, Unit.REQUESTS, Unit.TOKENS, Unit.PLACES))
        self.money, self.requests, self.tokens, self.places = self.parts
        self.has_rates = bool(self.requests or self.tokens or self.places)
        self.singles = self.requests + self.places
        """Of which a request takes one."""
        told = ((b"requests", self.requests), (b"tokens", self.tokens))
        self.rates = tuple((what, allowances) for what, allowances in told if allowances)
        """What clients are told of, by the name that they know it by."""
        self.is_low = False
        """Whether something is running low since more was asked for last."""
        self.touched = 0.0
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


class Charge(Struct, frozen=True, gc=False):
    """What came of a settlement: what is charged, and what it should have been beyond."""

    amount_nanos: int
    uncollected_nanos: int


class Reservation(Struct, eq=False, gc=False):
    """Taken of `standing`; exactly one of `settle` and `void` ends it."""

    standing: Standing
    nanos: int
    tokens: int
    state: State = _OPEN

    def __repr__(self) -> str:
        return f"<Reservation {self.nanos} n$ {self.state.name}>"

    def charge(self, nanos: int) -> Charge:
        """Return what of `nanos` there is to settle now. Nothing changes: it has to be written down first."""
        if nanos <= self.nanos:
            return Charge(nanos, 0)
        charged = min(nanos, *(self.nanos + allowance.free for allowance in self.standing.money))
        return Charge(charged, nanos - charged)

    def settle(self, nanos: int, tokens: int) -> None:
        """Charge `nanos`, as much as `charge` said, and give the rest back."""
        assert self.state is _OPEN, f"{self.state} -> {_SETTLED}"
        self.state = _SETTLED
        standing, back = self.standing, self.nanos - nanos
        for allowance in standing.money:
            allowance.free = free = allowance.free + back
            assert free >= 0
        if standing.has_rates:
            back = self.tokens - tokens
            for allowance in standing.tokens:
                # More tokens than were reserved use up what there is; a rate owes nothing to the next minute.
                allowance.free = free = allowance.free + back
                if free < 0:
                    allowance.free = 0
            for allowance in standing.places:
                allowance.leave_place()

    def void(self) -> None:
        """Give everything back but the request's count."""
        self.settle(0, 0)
        self.state = _VOIDED


def reserve(standing: Standing, nanos: int, tokens: int, now: float) -> Reservation | list[Lack]:
    """Take `nanos`, `tokens`, a request and a place of every budget in `standing`; or nothing, and say what lacks."""
    if standing.tokens_max is not None and tokens > standing.tokens_max:
        tokens = standing.tokens_max
    # Taken at once, and put back in the rare case that something lacks; that is low then, for `low` is not negative.
    is_low = False
    for allowance in standing.money:
        allowance.free = free = allowance.free - nanos
        if free < allowance.low:
            is_low = True
    for allowance in standing.singles:
        allowance.free = free = allowance.free - 1
        if free < allowance.low:
            is_low = True
    for allowance in standing.tokens:
        allowance.free = free = allowance.free - tokens
        if free < allowance.low:
            is_low = True
    if is_low:
        if _is_overdrawn(standing):
            return _put_back(standing, (nanos, 1, tokens, 1))
        standing.is_low = True
    for allowance in standing.places:
        allowance.in_use += 1
    if now - standing.touched >= TOUCH_SECONDS:
        _touch(standing, now)
    return Reservation(standing, nanos, tokens)


def _is_overdrawn(standing: Standing) -> bool:
    return any(allowance.free < 0 for allowances in standing.parts for allowance in allowances)


def _put_back(standing: Standing, amounts: tuple[int, int, int, int]) -> list[Lack]:
    """Put back what was taken of each part, and return what lacked."""
    lacks = []
    for allowances, amount in zip(standing.parts, amounts, strict=True):
        for allowance in allowances:
            allowance.free += amount
            if allowance.free < amount:
                lacks.append(Lack(allowance, amount))
    return lacks


def _touch(standing: Standing, now: float) -> None:
    standing.touched = now
    for allowances in standing.parts:
        for allowance in allowances:
            allowance.touched = now
