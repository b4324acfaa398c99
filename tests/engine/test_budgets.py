"""Budgets without a store: windows against the calendar, reservations against a model of their sums, standings."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.budgets.allowance import (
    PACE_FACTOR_MAX,
    PACE_SECONDS,
    SHARE_OF_REST,
    SLICE_FIRST,
    SLICE_MIN,
    Allowance,
    Budget,
    Unit,
)
from engine.budgets.lender import Lender
from engine.budgets.periods import Period, end, window
from engine.budgets.reservation import Charge, Lack, Reservation, Standing, State, reserve
from engine.budgets.standings import KEPT_MAX, KEPT_SECONDS, Standings
from engine.config import Config, load_document
from engine.principal import NOBODY, Principal
from store.memory import MemoryStore
from store.rows import Account, Grant, Key, Team, cap_budget, wallet_of
from tests.engine.live import document

NOON = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())
"""In the middle of a day, and at the beginning of a minute."""

times = st.integers(0, int(datetime(9998, 12, 31, tzinfo=UTC).timestamp())) | st.floats(0, 4e9)


# -- periods -----------------------------------------------------------------------------------------------------------


@given(times)
def test_windows_are_those_of_the_calendar(time: float) -> None:
    date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(time))
    assert window(Period.ALWAYS, time) == 0
    assert window(Period.MINUTE, time) == int(time) // 60
    assert window(Period.DAY, time) == (date.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days
    year, month = divmod(window(Period.MONTH, time), 12)
    assert (year, month + 1) == (date.year, date.month)


@given(times, st.sampled_from([Period.MINUTE, Period.DAY, Period.MONTH]))
def test_a_window_ends_where_the_next_one_begins(time: float, period: Period) -> None:
    number = window(period, time)
    ends = end(period, number)
    assert time < ends
    assert window(period, ends - 1) == number
    assert window(period, ends) == number + 1


def test_what_has_no_window_never_ends() -> None:
    assert end(Period.ALWAYS, 0) == 0


@pytest.mark.parametrize(
    ("period", "date", "ends"),
    [
        (Period.DAY, datetime(2024, 2, 28, 23, 59, 59, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)),
        (Period.MONTH, datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        (Period.MONTH, datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_ends_of_leap_days_and_years(period: Period, date: datetime, ends: datetime) -> None:
    assert end(period, window(period, date.timestamp())) == ends.timestamp()


# -- reservations ------------------------------------------------------------------------------------------------------


def allowance(unit: Unit, free: int, *, limit: int | None = 1_000, name: str = "") -> Allowance:
    """Return one of which so much is leased."""
    period = Period.MINUTE if unit in {Unit.REQUESTS, Unit.TOKENS} else Period.ALWAYS
    made = Allowance(Budget(name or unit.value, unit, period, limit, unit.value), window(period, NOON))
    made.take_in(Grant(made.budget.id, made.window, free, 0, 0, 0))
    return made


def standing(*allowances: Allowance) -> Standing:
    return Standing(allowances, day=1, month=1, ends=NOON + 60)


def taken(standing: Standing, nanos: int, tokens: int = 0) -> Reservation:
    outcome = reserve(standing, nanos, tokens, NOON)
    assert isinstance(outcome, Reservation)
    return outcome


class Reservations(RuleBasedStateMachine):
    """One wallet, two caps, a rate of either kind and places: any order of taking, settling, voiding and granting."""

    def __init__(self) -> None:
        super().__init__()
        self.wallet = allowance(Unit.MONEY, 5_000, limit=None, name="wallet")
        self.caps = [allowance(Unit.MONEY, amount, name=f"cap {amount}") for amount in (3_000, 8_000)]
        self.requests = allowance(Unit.REQUESTS, 10)
        self.tokens = allowance(Unit.TOKENS, 900)
        self.places = allowance(Unit.PLACES, 3)
        self.money = [self.wallet, *self.caps]
        self.all = [*self.money, self.requests, self.tokens, self.places]
        self.standing = standing(*self.all)
        self.leased = {each: each.free for each in self.all}
        self.charged = self.started = 0
        self.open: list[Reservation] = []

    @rule(nanos=st.integers(0, 4_000), tokens=st.integers(0, 1_500))
    def take(self, nanos: int, tokens: int) -> None:
        before = [each.free for each in self.all]
        amounts = [nanos, nanos, nanos, 1, min(tokens, 1_000), 1]
        self.standing.is_low = False
        outcome = reserve(self.standing, nanos, tokens, NOON)
        if isinstance(outcome, Reservation):
            self.open.append(outcome)
            self.started += 1
            assert self.standing.is_low == any(each.free < each.low for each in self.all)
            return
        assert [each.free for each in self.all] == before, "all or nothing"
        assert outcome == [
            Lack(each, amount) for each, amount in zip(self.all, amounts, strict=True) if each.free < amount
        ]
        assert not self.standing.is_low, "what lacks is asked for by whoever lacks it"

    @precondition(lambda self: self.open)
    @rule(nanos=st.integers(0, 12_000), tokens=st.integers(0, 3_000), which=st.integers(0, 100))
    def settle(self, nanos: int, tokens: int, which: int) -> None:
        reservation = self.open.pop(which % len(self.open))
        charge = reservation.charge(nanos)
        assert charge.amount_nanos + charge.uncollected_nanos == nanos
        assert charge.uncollected_nanos == 0 or any(
            each.free + reservation.nanos == charge.amount_nanos for each in self.money
        ), "what is uncollected was not to be had"
        reservation.settle(charge.amount_nanos, tokens)
        self.charged += charge.amount_nanos

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 100))
    def void(self, which: int) -> None:
        self.open.pop(which % len(self.open)).void()

    @rule(which=st.integers(0, 5), amount=st.integers(0, 2_000))
    def grant(self, which: int, amount: int) -> None:
        each = self.all[which]
        each.take_in(Grant(each.budget.id, each.window, amount, 0, 0, 0))
        self.leased[each] += amount

    @rule(which=st.integers(0, 5))
    def give_up(self, which: int) -> None:
        each = self.all[which]
        self.leased[each] -= each.give_up()

    @invariant()
    def nothing_is_below_zero(self) -> None:
        assert all(each.free >= 0 for each in self.all)

    @invariant()
    def money_is_free_or_reserved_or_charged(self) -> None:
        reserved = sum(each.nanos for each in self.open)
        for each in self.money:
            assert self.leased[each] == each.free + reserved + self.charged

    @invariant()
    def requests_count_and_places_come_back(self) -> None:
        assert self.leased[self.requests] == self.requests.free + self.started
        assert self.leased[self.places] == self.places.free + len(self.open)
        assert self.places.in_use == len(self.open)

    @invariant()
    def tokens_are_never_more_than_leased(self) -> None:
        assert self.tokens.free + sum(each.tokens for each in self.open) <= self.leased[self.tokens]


TestReservations = Reservations.TestCase
TestReservations.settings = settings(max_examples=50)


@pytest.mark.parametrize("first", ["settle", "void"])
@pytest.mark.parametrize("second", ["settle", "void"])
def test_a_reservation_is_resolved_once(first: str, second: str) -> None:
    reservation = taken(standing(allowance(Unit.MONEY, 100)), 10)
    ends = {"settle": lambda: reservation.settle(5, 0), "void": reservation.void}
    ends[first]()
    assert reservation.state is {"settle": State.SETTLED, "void": State.VOIDED}[first]
    with pytest.raises(AssertionError, match="->"):
        ends[second]()


def test_what_is_charged_beyond_is_taken_of_all_budgets_alike() -> None:
    wallet, cap = allowance(Unit.MONEY, 500), allowance(Unit.MONEY, 130)
    reservation = taken(standing(wallet, cap), 100)
    charge = reservation.charge(400)
    assert charge == Charge(130, 270)
    reservation.settle(charge.amount_nanos, 0)
    assert (wallet.free, cap.free) == (370, 0)
    assert reservation.state is State.SETTLED


def test_more_tokens_than_reserved_use_up_the_minute_and_owe_nothing() -> None:
    tokens = allowance(Unit.TOKENS, 100)
    reservation = taken(standing(tokens), 0, 40)
    reservation.settle(0, 1_000)
    assert tokens.free == 0
    fewer = allowance(Unit.TOKENS, 100)
    taken(standing(fewer), 0, 40).settle(0, 15)
    assert fewer.free == 85


def test_a_request_of_more_tokens_than_a_minute_has_takes_the_minute() -> None:
    tokens = allowance(Unit.TOKENS, 1_000, limit=1_000)
    reservation = taken(standing(tokens), 0, 5_000)
    assert (reservation.tokens, tokens.free) == (1_000, 0)


def test_everything_that_lacks_is_named_at_once() -> None:
    wallet, places = allowance(Unit.MONEY, 5), allowance(Unit.PLACES, 0)
    assert reserve(standing(wallet, allowance(Unit.REQUESTS, 1), places), 10, 0, NOON) == [
        Lack(wallet, 10),
        Lack(places, 1),
    ]


def test_leases_of_a_settlement_are_the_caps_and_not_the_wallet() -> None:
    wallet, cap = allowance(Unit.MONEY, 5, limit=None, name="wallet:a"), allowance(Unit.MONEY, 5, name="day:key:k")
    assert standing(wallet, cap, allowance(Unit.REQUESTS, 5)).leases == (("day:key:k", 0),)


def test_a_slice_grows_in_a_hurry_and_shrinks_at_leisure() -> None:
    each = allowance(Unit.PLACES, 0)
    assert each.slice_for(10, 100.0) == 80
    assert each.slice_for(10, 101.0) == 160
    assert each.slice_for(0, 102.0) == 320
    assert each.slice_for(0, 110.0) == 160
    assert each.slice_for(0, 120.0) == 80
    assert each.slice_for(0, 130.0) == 80, "never below some of what is needed"


def test_the_first_lease_of_money_is_for_a_load_that_nobody_has_seen() -> None:
    each = allowance(Unit.MONEY, 0)
    assert each.slice_for(10, 100.0) == 10 * SLICE_FIRST
    assert each.slice_for(10, 110.0) == 5 * SLICE_FIRST


@pytest.mark.parametrize("unit", [Unit.REQUESTS, Unit.TOKENS])
def test_a_slice_of_a_rate_is_two_seconds_of_its_limit_or_some_of_what_is_needed(unit: Unit) -> None:
    assert allowance(unit, 0, limit=6_000).slice_for(10, 100.0) == 200
    assert allowance(unit, 0, limit=60).slice_for(10, 100.0) == 80


def test_a_slice_of_money_is_a_small_part_of_what_is_left() -> None:
    each = allowance(Unit.MONEY, 0)
    each.slice_for(10, 100.0)
    each.take_in(Grant("money", 0, 1_280, 10**9, 0, 0), 100.0)
    assert each.slice_for(0, 110.0) == 10**9 // SHARE_OF_REST


def test_a_slice_becomes_what_some_seconds_take_at_its_pace() -> None:
    each = allowance(Unit.PLACES, 0)
    each.slice_for(100, 100.0)
    each.take_in(Grant("places", 0, 800, 0, 0, 0), 110.0)
    each.free -= 700
    each.see_pace(0, 112.0)
    assert each.slice_for(0, 115.0) == 350 * PACE_SECONDS, "what passed since it was seen does not count"
    assert each.slice_for(0, 125.0) == 100 * SLICE_MIN, "a pace counts once"


def test_a_burst_has_no_pace_and_a_pace_no_more_weight_than_a_slice() -> None:
    each = allowance(Unit.PLACES, 0)
    each.slice_for(1, 100.0)
    each.take_in(Grant("places", 0, 8, 0, 0, 0), 110.0)
    each.free -= 8
    each.see_pace(50, 110.0)
    assert each.slice_for(1, 110.0) == 8 * PACE_FACTOR_MAX
    each.take_in(Grant("places", 0, 8 * PACE_FACTOR_MAX, 0, 0, 0), 111.0)
    each.free += 5
    each.see_pace(0, 111.0)
    assert each.slice_for(0, 120.0) == 4 * PACE_FACTOR_MAX, "what came back is no use"


def test_what_was_given_back_was_not_used() -> None:
    each = allowance(Unit.PLACES, 0)
    each.slice_for(10, 100.0)
    each.take_in(Grant("places", 0, 80, 0, 0, 0), 110.0)
    each.give_up()
    each.see_pace(10, 111.0)
    assert each.slice_for(10, 111.0) == 80


def test_a_window_goes_on_with_the_slices_of_the_one_before() -> None:
    each, after = allowance(Unit.REQUESTS, 0), allowance(Unit.REQUESTS, 0)
    each.slice_for(100, 100.0)
    each.slice_for(100, 101.0)
    after.follow(each)
    assert after.slice_for(0, 160.0) == 1_600


def test_what_was_asked_in_vain_does_not_swell_the_next_slice() -> None:
    each = allowance(Unit.MONEY, 0)
    each.slice_for(10**12, 100.0)
    each.take_in(Grant("money", 0, 0, 50, 0, 0))
    assert each.slice_for(10, 110.0) == 10 * SLICE_MIN


def test_places_beyond_a_lowered_limit_are_owed_as_they_end() -> None:
    each = allowance(Unit.PLACES, 4, limit=4)
    where = standing(each)
    under_way = [taken(where, 0) for _ in range(3)]
    assert each.limit_by(Budget("places", Unit.PLACES, Period.ALWAYS, 1, "places"))
    assert each.give_up() == 1
    under_way[0].void()
    assert (each.free, each.owed, each.in_use) == (0, 1, 2)
    assert isinstance(reserve(where, 0, 0, NOON), list), "what came back is not to be taken again"
    under_way[1].settle(0, 0)
    under_way[2].void()
    assert each.give_up() == 3
    each.take_in(Grant("places", 0, 1, 0, 0, 0))
    taken(where, 0).void()
    assert (each.free, each.owed) == (1, 0), "what is leased under the new limit comes back as ever"


@pytest.mark.parametrize(
    ("before", "after", "lower"), [(5, 4, True), (5, 5, False), (5, 6, False), (None, None, False)]
)
def test_only_a_lower_limit_calls_leases_back(before: int | None, after: int | None, lower: bool) -> None:
    each = allowance(Unit.MONEY, 5, limit=before)
    budget = Budget("money", Unit.MONEY, Period.ALWAYS, after, "money")
    assert each.limit_by(budget) is lower
    assert each.budget is budget


# -- standings ---------------------------------------------------------------------------------------------------------


def configured(**sections: Any) -> Config:
    return load_document(document("http://127.0.0.1:9", **sections), {})


def payer(key: dict[str, Any] | None = None, **account: Any) -> Principal:
    return Principal(
        "k",
        key=Key(id="k", account="a", name="k", digest=b"", **(key or {})),
        account=Account(id="a", name="a", **account),
        team=Team(id="t", name="t", cap_month_nanos=7) if account.get("team") else None,
    )


def budgets_of(where: Standing) -> list[str]:
    return [each.budget.id for part in where.parts for each in part]


def standings(config: Config | None = None) -> Standings:
    return Standings(Lender(MemoryStore(), "h", clock=lambda: NOON), config or configured())


def test_a_standing_has_the_principals_budgets_and_the_models_and_everybodys() -> None:
    rates = {"fast": {"requests_per_minute": 5}, "*": {"in_flight_max": 3}}
    of = standings(configured(rates=rates)).of
    principal = payer({"cap_day_nanos": 9, "tokens_per_minute": 50}, team="t", cap_month_nanos=8)
    own = [
        wallet_of("a"),
        cap_budget("day", "key", "k"),
        cap_budget("month", "account", "a"),
        cap_budget("month", "team", "t"),
    ]
    assert budgets_of(of(principal, "fast", NOON)) == [*own, "rpm:model:fast", "tpm:key:k", "places:model:*"]
    assert budgets_of(of(principal, "slow", NOON)) == [*own, "tpm:key:k", "places:model:*"]
    assert budgets_of(of(NOBODY, "fast", NOON)) == ["rpm:model:fast", "places:model:*"]


def test_a_standing_is_kept_until_its_first_window_is_over() -> None:
    of = standings().of
    principal = payer({"cap_day_nanos": 9, "requests_per_minute": 5})
    first = of(principal, "fast", NOON)
    assert of(principal, "slow", NOON + 59.9) is first, "models without rates of their own share it"
    second = of(principal, "fast", NOON + 60)
    assert second is not first
    assert second.requests[0].window == first.requests[0].window + 1
    assert second.money == first.money, "the day goes on"
    tomorrow = of(principal, "fast", NOON + 12 * 3600)
    assert tomorrow.day == first.day + 1
    assert tomorrow.money[0] is first.money[0]
    assert tomorrow.money[1].window == first.money[1].window + 1


def test_without_a_window_a_standing_ends_with_its_hour_and_with_the_day_it_counts_in() -> None:
    of = standings().of
    assert of(payer(), "fast", NOON).ends == NOON + KEPT_SECONDS
    midnight = NOON + 12 * 3600
    late = of(payer(), "fast", midnight - 5)
    assert late.ends == midnight
    assert of(NOBODY, "fast", midnight).day == late.day + 1


def test_another_principal_of_the_same_key_gets_another_standing() -> None:
    of = standings().of
    before, after = payer(), payer({"cap_day_nanos": 9})
    assert budgets_of(of(before, "fast", NOON)) == [wallet_of("a")]
    assert budgets_of(of(after, "fast", NOON)) == [wallet_of("a"), cap_budget("day", "key", "k")]


def test_a_reload_changes_rates_and_keeps_what_is_leased() -> None:
    lender = Lender(MemoryStore(), "h", clock=lambda: NOON)
    before = Standings(lender, configured(rates={"*": {"requests_per_minute": 5}})).of(payer(), "fast", NOON)
    after = Standings(lender, configured(rates={"*": {"requests_per_minute": 2}})).of(payer(), "fast", NOON)
    assert after.money == before.money
    assert after.requests == before.requests
    assert after.requests[0].budget.limit == 2
    assert Standings(lender, configured()).of(payer(), "fast", NOON).requests == ()


def test_so_many_standings_are_kept_and_no_more() -> None:
    kept = standings()
    for i in range(KEPT_MAX + 5):
        kept.of(Principal(str(i)), "fast", NOON)
    assert repr(kept) == "<Standings 5>"
