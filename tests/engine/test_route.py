"""Routes: who is asked next, with a fake random source and candidates whose health is set by hand."""

from collections import Counter
from collections.abc import Iterator
from math import inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import Failure, Kind, UpstreamError
from engine.breaker import FAILURES_MAX, OPEN_SECONDS
from engine.config import Race, load_document
from engine.endpoint import Endpoint
from engine.hedge import Policy
from engine.latency import SAMPLES_MIN
from engine.route import BUDGET_TOKENS_MAX, Budgets, Candidate, Route

CONFIG = load_document(
    {"server": {"environment_providers": False}, "providers": {"p": {"base_url": "http://127.0.0.1:9/v1"}}}, {}
)


@pytest.fixture(name="endpoint")
def open_endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint(CONFIG.providers["p"], CONFIG.limits, lambda: 0.0)
    yield endpoint
    endpoint.pool.close()


def tier(endpoint: Endpoint, *names: str, weights: tuple[float, ...] = ()) -> list[Candidate]:
    pairs = zip(names, weights or (1.0,) * len(names), strict=True)
    return [Candidate(endpoint, name, weight=weight) for name, weight in pairs]


class Numbers:
    """A random source that gives what it is told, over and over."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = numbers
        self.given = 0

    def __call__(self) -> float:
        self.given += 1
        return self.numbers[(self.given - 1) % len(self.numbers)]


def route(*tiers: list[Candidate], race: Race | None = None, numbers: tuple[float, ...] = (0.0,)) -> Route:
    return Route("m", tiers, race or Race(), random=Numbers(*numbers))


def known(candidate: Candidate, seconds: float, *, in_flight: int = 0) -> Candidate:
    candidate.health.latency.average = seconds
    candidate.health.in_flight = in_flight
    return candidate


def open_breaker(candidate: Candidate, now: float = 0.0) -> None:
    for _ in range(FAILURES_MAX):
        candidate.health.failed(failure(Kind.UPSTREAM), now)


def failure(kind: Kind) -> UpstreamError:
    return UpstreamError(Failure(503, kind, "no", code="x"), cause="status", retryable=True)


def names(found: Candidate | None) -> str:
    return "" if found is None else found.model


# -- tiers and availability --------------------------------------------------------------------------------------------


def test_the_first_tier_that_can_be_asked_is_asked(endpoint: Endpoint) -> None:
    first, second, third = tier(endpoint, "a", "b", "c")
    one = route([first], [second], [third])
    assert one.pick(0.0) is first
    assert one.pick(0.0, {first}) is second
    assert one.pick(0.0, {first, third}) is second
    assert one.pick(0.0, {first, second, third}) is None
    open_breaker(first)
    assert one.pick(0.0) is second


def test_picking_takes_nothing_and_a_breaker_is_asked_again_when_its_time_is_over(endpoint: Endpoint) -> None:
    (only,) = tier(endpoint, "a")
    one = route([only])
    open_breaker(only)
    assert one.pick(1.0) is None
    assert one.pick(OPEN_SECONDS) is only
    assert one.pick(OPEN_SECONDS) is only
    assert only.health.begin(OPEN_SECONDS)
    assert one.pick(OPEN_SECONDS) is None


def test_who_has_no_room_is_passed_over(endpoint: Endpoint) -> None:
    first, second = tier(endpoint, "a", "b")
    first.health.in_flight_max = 1
    one = route([first, second])
    assert first.health.begin(0.0)
    assert one.pick(0.0) is second
    first.health.end()
    assert one.pick(0.0) is first


def test_a_cooling_one_comes_after_every_other_tier(endpoint: Endpoint) -> None:
    first, second, third = tier(endpoint, "a", "b", "c")
    one = route([first, second], [third])
    first.health.failed(failure(Kind.RATE_LIMIT), 0.0, retry_after_seconds=10)
    assert one.pick(1.0) is second
    second.health.failed(failure(Kind.RATE_LIMIT), 0.0, retry_after_seconds=10)
    assert one.pick(1.0) is third
    open_breaker(third)
    assert one.pick(1.0) is first
    assert one.pick(1.0, {first}) is second
    assert one.pick(11.0) is first


def test_when_to_come_back(endpoint: Endpoint) -> None:
    first, second = tier(endpoint, "a", "b")
    one = route([first], [second])
    open_breaker(first, now=0.0)
    open_breaker(second, now=1.5)
    assert one.pick(2.0) is None
    assert one.retry_seconds(2.0) == OPEN_SECONDS - 2
    assert one.retry_seconds(2.4) == OPEN_SECONDS - 2
    assert one.retry_seconds(OPEN_SECONDS - 0.1) == 1
    second.health.breaker.open_for(60, 2.0)
    assert one.retry_seconds(OPEN_SECONDS + 1) == 1


# -- the choice within a tier ------------------------------------------------------------------------------------------


def test_draws_go_by_weight_exactly(endpoint: Endpoint) -> None:
    candidates = tier(endpoint, "a", "b", "c", weights=(2, 1, 1))
    steps = 400
    drawn = Counter(names(route(candidates, numbers=(step / steps,)).pick(0.0)) for step in range(steps))
    # Nobody's time is known, so the first draw decides.
    assert drawn == {"a": 200, "b": 100, "c": 100}


def test_the_better_one_of_two_draws_is_asked(endpoint: Endpoint) -> None:
    slow, fast = tier(endpoint, "slow", "fast")
    known(slow, 2.0)
    known(fast, 1.0)
    assert route([slow, fast], numbers=(0.0, 0.9)).pick(0.0) is fast
    assert route([slow, fast], numbers=(0.9, 0.0)).pick(0.0) is fast
    assert route([slow, fast], numbers=(0.0, 0.1)).pick(0.0) is slow
    fast.health.in_flight = 2
    assert route([slow, fast], numbers=(0.9, 0.0)).pick(0.0) is slow


def test_twice_the_weight_bears_twice_the_load(endpoint: Endpoint) -> None:
    big, small = tier(endpoint, "big", "small", weights=(2, 1))
    known(big, 1.0, in_flight=2)
    known(small, 1.0, in_flight=0)
    assert route([big, small], numbers=(0.0, 0.9)).pick(0.0) is small
    small.health.in_flight = 1
    assert route([big, small], numbers=(0.9, 0.0)).pick(0.0) is big


def test_one_that_nobody_knows_is_tried(endpoint: Endpoint) -> None:
    old, new = tier(endpoint, "old", "new")
    known(old, 0.1)
    assert route([old, new], numbers=(0.0, 0.9)).pick(0.0) is new


def test_streams_and_whole_answers_are_raced_with_their_own_patience(endpoint: Endpoint) -> None:
    race = Race(attempts_max=3, attempt_seconds=7.0, unary_attempt_seconds=70.0)
    two = route(tier(endpoint, "a", "b"), race=race)
    assert two.policy == Policy(2, 7.0, two.hedge_budget, two.retry_budget)
    assert two.unary_policy == Policy(2, 70.0, two.hedge_budget, two.retry_budget)


def test_the_only_candidate_is_not_asked_twice_nor_while_it_fails(endpoint: Endpoint) -> None:
    only = tier(endpoint, "a")[0]
    assert route([only]).pick(0.0, [only]) is None
    open_breaker(only)
    assert route([only]).pick(0.0) is None


def test_one_candidate_needs_no_dice(endpoint: Endpoint) -> None:
    numbers = Numbers(0.5)
    one = Route("m", [tier(endpoint, "a")], Race(), random=numbers)
    assert names(one.pick(0.0)) == names(one.pick(0.0, affinity=b"k")) == "a"
    assert numbers.given == 0


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    numbers=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2),
    averages=st.lists(st.none() | st.floats(0.001, 100), min_size=6, max_size=6),
    tried=st.sets(st.integers(0, 5)),
    affinity=st.none() | st.binary(max_size=100),
)
def test_whoever_is_left_is_picked_whatever_the_dice_say(
    weights: list[float],
    numbers: list[float],
    averages: list[float | None],
    tried: set[int],
    affinity: bytes | None,
) -> None:
    endpoint = Endpoint(CONFIG.providers["p"], CONFIG.limits, lambda: 0.0)
    candidates = tier(endpoint, *map(str, range(len(weights))), weights=tuple(weights))
    for candidate, average in zip(candidates, averages, strict=False):
        candidate.health.latency.average = average
    gone = [candidate for number, candidate in enumerate(candidates) if number in tried]
    found = route(candidates, numbers=tuple(numbers)).pick(0.0, gone, affinity)
    if len(gone) == len(candidates):
        assert found is None
    else:
        assert found in candidates
        assert found not in gone


# -- affinity ----------------------------------------------------------------------------------------------------------


def favourites(one: Route, count: int = 300) -> dict[bytes, str]:
    return {key: names(one.pick(0.0, affinity=key)) for key in (b"key-%d" % number for number in range(count))}


def test_affinity_is_stable_and_only_who_is_gone_moves(endpoint: Endpoint) -> None:
    candidates = tier(endpoint, "a", "b", "c")
    before = favourites(route(candidates))
    assert set(before.values()) == {"a", "b", "c"}
    assert before == favourites(route(tier(endpoint, "a", "b", "c"), numbers=(0.99,)))
    assert before == favourites(route(candidates[::-1]))
    open_breaker(candidates[1])
    after = favourites(route(candidates))
    assert {key for key in before if before[key] != after[key]} == {key for key in before if before[key] == "b"}


def test_affinity_is_even_among_equals(endpoint: Endpoint) -> None:
    one = route(tier(endpoint, "a", "b", "c"))
    found = Counter(favourites(one, 3000).values())
    assert all(900 < found[name] < 1100 for name in ("a", "b", "c"))
    first = one.candidates[0]
    gone = Counter(names(one.pick(0.0, [first], b"key-%d" % number)) for number in range(3000))
    assert all(1400 < gone[name] < 1600 for name in ("b", "c"))


def test_affinity_respects_weights(endpoint: Endpoint) -> None:
    found = Counter(favourites(route(tier(endpoint, "a", "b", weights=(3, 1))), 2000).values())
    assert 1400 < found["a"] < 1600


@given(st.integers(0, (1 << 64) - 1), st.floats(0.001, 1000))
def test_attraction_is_a_positive_number_in_proportion_to_the_weight(affinity: int, weight: float) -> None:
    endpoint = Endpoint(CONFIG.providers["p"], CONFIG.limits, lambda: 0.0)
    one, heavy = Candidate(endpoint, "a"), Candidate(endpoint, "a", weight=weight)
    assert 0 < one.attraction(affinity) <= 1 / -log(1 - 1 / (1 << 53))
    assert heavy.attraction(affinity) == pytest.approx(weight * one.attraction(affinity))


def test_the_next_attempt_of_an_affinity_is_as_stable(endpoint: Endpoint) -> None:
    one = route(tier(endpoint, "a", "b", "c"))
    first = one.pick(0.0, affinity=b"k")
    assert first is not None
    second = one.pick(0.0, [first], affinity=b"k")
    assert second not in {None, first}
    assert route(tier(endpoint, "a", "b", "c"), numbers=(0.9,)).pick(0.0, affinity=b"k").model == first.model  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("mine", "others", "yields"),
    [
        ((0.1, 2), (0.1, 0), False),  # busy, and within the margin
        ((0.1, 3), (0.1, 0), True),  # over it
        ((0.1, 6), (0.1, 2), False),
        ((0.1, 7), (0.1, 2), True),
        ((0.3, 0), (0.1, 0), False),  # three times as slow, and no more
        ((0.31, 0), (0.1, 0), True),
        ((5.0, 0), (None, 0), False),  # what nobody knows is no better
        ((None, 0), (0.1, 0), False),
    ],
)
def test_affinity_yields_to_health(
    mine: tuple[float | None, int], others: tuple[float | None, int], *, yields: bool, endpoint: Endpoint
) -> None:
    candidates = tier(endpoint, "a", "b", "c")
    favourite = route(candidates).pick(0.0, affinity=b"k")
    assert favourite is not None
    for candidate in candidates:
        average, in_flight = mine if candidate is favourite else others
        candidate.health.latency.average, candidate.health.in_flight = average, in_flight
    at = next(number for number, candidate in enumerate(candidates) if candidate is not favourite)
    found = route(candidates, numbers=((at + 0.5) / 3,)).pick(0.0, affinity=b"k")
    assert found is (candidates[at] if yields else favourite)


# -- the race's figures ------------------------------------------------------------------------------------------------


def test_hedge_delays(endpoint: Endpoint) -> None:
    (only,) = tier(endpoint, "a")
    assert route([only]).hedge_seconds(only, 0.0) == inf
    assert route([only], race=Race(hedge_delay_seconds=0.05)).hedge_seconds(only, 0.0) == 0.05
    by_rank = route([only], race=Race(hedge_percentile=0.95, hedge_floor_seconds=0.2))
    assert by_rank.hedge_seconds(only, 0.0) == inf
    for _ in range(SAMPLES_MIN):
        only.health.latency.record(0.1, 0.0)
    assert by_rank.hedge_seconds(only, 0.0) == 0.2
    for _ in range(SAMPLES_MIN):
        only.health.latency.record(1.0, 0.0)
    assert by_rank.hedge_seconds(only, 0.0) == pytest.approx(1.0, rel=0.11)


def test_budgets_stay_while_their_share_does() -> None:
    first = Budgets.of(Race())
    assert (first.hedge.share, first.retry.share, first.hedge.tokens) == (0.1, 0.2, BUDGET_TOKENS_MAX)
    again = Budgets.of(Race(retry_share=0.5), first)
    assert again.hedge is first.hedge
    assert again.retry.share == 0.5
