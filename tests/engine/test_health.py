"""The health of a candidate: its recent times, its breaker, and what counts against it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import Failure, Kind, UpstreamError
from engine.breaker import (
    FAILURES_MAX,
    OPEN_SECONDS,
    OPEN_SECONDS_MAX,
    REQUESTS_MIN,
    TRANSITIONS,
    WINDOW_SECONDS,
    Breaker,
    State,
)
from engine.health import COOLING_SECONDS_MAX, CREDENTIAL_SECONDS, Health
from engine.latency import FIRST_SECONDS, GROWTH, LAST_SECONDS, SAMPLES_MIN, Latency
from engine.latency import WINDOW_SECONDS as LATENCY_WINDOW_SECONDS


def broken(cause: str = "reset", status: int = 502, kind: Kind = Kind.UPSTREAM, code: str = "x") -> UpstreamError:
    return UpstreamError(Failure(status, kind, "broken", code=code), cause=cause, retryable=True)


# -- latency -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(FIRST_SECONDS, LAST_SECONDS), min_size=SAMPLES_MIN, max_size=200), st.floats(0.01, 1))
def test_a_percentile_is_the_rank_or_a_bucket_above_it(times: list[float], share: float) -> None:
    latency = Latency(0)
    for seconds in times:
        latency.record(seconds, 1)
    rank = -(-share * len(times) // 1)
    exact = sorted(times)[int(rank) - 1]
    found = latency.percentile(share, 1)
    assert found is not None
    assert exact <= found * 1.000001
    assert found <= exact * GROWTH * 1.000001


def test_too_few_times_say_nothing() -> None:
    latency = Latency(0)
    for _ in range(SAMPLES_MIN - 1):
        latency.record(1, 0)
    assert latency.percentile(0.95, 0) is None
    latency.record(1, 0)
    assert latency.percentile(0.95, 0) is not None


def test_a_bad_minute_is_forgotten() -> None:
    latency = Latency(0)
    for _ in range(100):
        latency.record(30, 0)
    for _ in range(100):
        latency.record(0.1, LATENCY_WINDOW_SECONDS)
    mixed = latency.percentile(0.95, LATENCY_WINDOW_SECONDS)
    later = latency.percentile(0.95, 1.5 * LATENCY_WINDOW_SECONDS)
    for _ in range(SAMPLES_MIN):
        latency.record(0.1, 2 * LATENCY_WINDOW_SECONDS)
    good = latency.percentile(0.95, 2 * LATENCY_WINDOW_SECONDS)
    assert mixed is not None
    assert mixed == later
    assert mixed >= 30
    assert good is not None
    assert good < 0.2
    assert latency.percentile(0.95, 9 * LATENCY_WINDOW_SECONDS) is None


# -- the breaker -------------------------------------------------------------------------------------------------------


def opened(now: float = 0) -> Breaker:
    breaker = Breaker(now)
    for _ in range(FAILURES_MAX):
        assert breaker.admit(now)
        breaker.fail(now)
    assert breaker.statistics(now).state == "open"
    return breaker


def test_failures_in_a_row_open_it_and_successes_between_do_not() -> None:
    breaker = Breaker(0)
    for i in range(3 * FAILURES_MAX):
        if i % (FAILURES_MAX - 1) == 0:
            breaker.succeed(i)
        breaker.fail(i)
        breaker.succeed(i)
    assert breaker.statistics(0).state == "closed"
    assert opened().statistics(0).opened_total == 1


def test_half_of_enough_requests_open_it() -> None:
    breaker = Breaker(0)
    for i in range(REQUESTS_MIN):
        assert breaker.state is State.CLOSED, i
        if i % 2:
            breaker.fail(0)
        else:
            breaker.succeed(0)
    assert breaker.statistics(0).state == "open"


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker(0)
    for i in range(REQUESTS_MIN - 2):
        if i % 2:
            breaker.fail(0)
        else:
            breaker.succeed(0)
    breaker.succeed(2 * WINDOW_SECONDS)
    breaker.fail(2 * WINDOW_SECONDS)
    breaker.fail(2 * WINDOW_SECONDS)
    assert breaker.statistics(0).state == "closed"


def test_one_probe_decides() -> None:
    breaker = opened()
    assert not breaker.admit(OPEN_SECONDS - 0.1)
    assert breaker.admit(OPEN_SECONDS)
    assert not breaker.admit(OPEN_SECONDS)
    assert breaker.statistics(OPEN_SECONDS).state == "probing"
    breaker.succeed(OPEN_SECONDS)
    assert breaker.admit(OPEN_SECONDS)
    assert breaker.statistics(OPEN_SECONDS).state == "closed"


def test_a_failed_probe_doubles_the_time_up_to_a_bound() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(6):
        wait = breaker.statistics(now).retry_seconds
        waits.append(wait)
        now += wait
        assert breaker.admit(now)
        breaker.fail(now)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, OPEN_SECONDS_MAX]


def test_an_abandoned_probe_gives_its_place_back() -> None:
    breaker = opened()
    assert breaker.admit(OPEN_SECONDS)
    breaker.abandon()
    assert breaker.would_admit(OPEN_SECONDS)
    assert breaker.admit(OPEN_SECONDS)


STEPS = st.lists(st.tuples(st.sampled_from(["admit", "succeed", "fail", "abandon", "later", "open"])), max_size=200)


@given(STEPS)
def test_whatever_happens_it_is_in_a_state_of_its_table_and_comes_back(steps: list[tuple[str]]) -> None:
    breaker, now, running = Breaker(0), 0.0, 0
    for (step,) in steps:
        if step == "admit":
            running += breaker.admit(now)
        elif step == "later":
            now += 3
        elif step == "open":
            breaker.open_for(1, now)
        elif running:
            running -= 1
            breaker.abandon() if step == "abandon" else getattr(breaker, step)(now)
        assert breaker.state in TRANSITIONS
    for _ in range(running):
        breaker.abandon()
    now += OPEN_SECONDS_MAX
    assert breaker.admit(now)
    breaker.succeed(now)
    assert breaker.statistics(now).state == "closed"


# -- health ------------------------------------------------------------------------------------------------------------


def test_attempts_are_counted_and_bounded() -> None:
    health = Health(0, in_flight_max=2)
    assert health.begin(0)
    assert health.begin(0)
    assert not health.is_available(0)
    assert not health.begin(0)
    health.answered(0.5, 1)
    assert not health.begin(1)
    health.end()
    assert health.begin(1)
    health.abandoned()
    health.end()
    health.judged(1)
    health.end()
    assert health.statistics(1) == (0, "closed", 0, 0, 0.5)


def test_a_rate_limit_cools_and_does_not_open() -> None:
    health = Health(0)
    for _ in range(2 * FAILURES_MAX):
        assert health.begin(0)
        health.failed(broken(status=429, kind=Kind.RATE_LIMIT), 0, retry_after_seconds=7)
    assert health.is_cooling(6.9)
    assert not health.is_cooling(7)
    assert health.is_available(0)
    assert health.begin(0)
    health.failed(broken(status=429, kind=Kind.RATE_LIMIT), 0, retry_after_seconds=1e9)
    assert not health.is_cooling(COOLING_SECONDS_MAX)


def test_refused_credentials_open_at_once() -> None:
    health = Health(0)
    assert health.begin(0)
    health.failed(broken(code="upstream_credentials_refused"), 0)
    assert not health.is_available(CREDENTIAL_SECONDS - 1)
    assert health.is_available(CREDENTIAL_SECONDS)


def test_our_own_full_pool_is_not_the_candidates_failure() -> None:
    health = Health(0)
    for _ in range(2 * FAILURES_MAX):
        assert health.begin(0)
        health.failed(broken("pool_full", 503, Kind.OVERLOADED), 0)
    assert health.is_available(0)


def test_other_failures_open_and_a_refused_request_is_an_answer() -> None:
    health = Health(0)
    for _ in range(FAILURES_MAX - 1):
        assert health.begin(0)
        health.failed(broken(), 0)
    assert health.begin(0)
    health.judged(0)
    for _ in range(FAILURES_MAX):
        assert health.begin(0)
        health.failed(broken(), 0)
    assert not health.begin(0)


def outrun(health: Health, seconds: float, after_seconds: float, now: float = 0) -> None:
    assert health.begin(now)
    health.outrun(seconds, now, after_seconds=after_seconds)
    health.end()


def test_one_that_was_outrun_counts_as_slow_as_it_was_waited_for() -> None:
    health = Health(0)
    outrun(health, 9.0, after_seconds=0.5)
    assert health.latency.average == 0.5
    assert health.score() == pytest.approx(0.5)


def test_losses_do_not_lengthen_the_delay_after_which_they_are_losses() -> None:
    health = Health(0)
    for _ in range(10 * SAMPLES_MIN):
        health.latency.record(0.1, 0)
    first = health.latency.percentile(0.95, 0)
    assert first is not None
    for number in range(5 * SAMPLES_MIN):
        outrun(health, 30.0, after_seconds=first)
        for _ in range(9):
            assert health.begin(0)
            health.answered(0.1, 0)
            health.end()
        assert health.latency.percentile(0.95, 0) == first, number


def test_one_that_stalls_is_opened_though_somebody_else_always_answers() -> None:
    health = Health(0)
    for _ in range(SAMPLES_MIN):
        health.latency.record(0.1, 0)
    for _ in range(FAILURES_MAX):
        assert health.is_available(0)
        outrun(health, 0.5, after_seconds=0.2)
    assert not health.is_available(0)


def test_one_that_is_merely_slower_than_others_is_not() -> None:
    health = Health(0)
    for _ in range(SAMPLES_MIN):
        health.latency.record(1.0, 0)
    for _ in range(3 * FAILURES_MAX):
        outrun(health, 0.5, after_seconds=0.2)
    assert health.is_available(0)


def test_streams_and_unary_answers_are_compared_with_their_own_kind() -> None:
    health = Health(0)
    assert health.begin(0)
    health.answered(0.1, 0)
    health.answered(20.0, 0, stream=False)
    health.end()
    assert health.latency_of(stream=True).average == 0.1
    assert health.latency_of(stream=False).average == 20.0
    assert health.score() == pytest.approx(0.1)
