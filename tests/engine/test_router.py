"""The router: which route a name has, whose health it shares, and what of both outlives a reload."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import ClientError
from engine import router as router_module
from engine.config import load_document
from engine.endpoint import Endpoint
from engine.health import Health
from engine.recent import CANDIDATES_MAX, PASSED_OVER_MAX, RecentRoutes
from engine.route import Candidate, Route
from engine.router import Router

URL = "http://127.0.0.1:9/v1"


def made(
    models: dict[str, Any] | None = None, race: dict[str, Any] | None = None, **providers: dict[str, Any]
) -> dict[str, Any]:
    """A document with the providers `p` and `q` (two keys), or with `providers` beside or instead of them."""
    sections = {"p": {"base_url": URL}, "q": {"base_url": URL, "keys": ["sk-1-012345678", "sk-2-012345678"]}}
    return {
        "server": {"environment_providers": False},
        "race": race or {},
        "providers": sections | providers,
        "models": models or {},
    }


def open_router(document: dict[str, Any], predecessor: Router | None = None) -> Router:
    config = load_document(document, {})
    return Router(config, now=lambda: 0.0) if predecessor is None else predecessor.replaced(config)


def shown(route: Route) -> list[list[tuple[str, str, int, float]]]:
    return [[(one.provider, one.model, one.credential, one.weight) for one in tier] for tier in route.tiers]


GROUP = {
    "fast": {
        "race": {"attempts_max": 2},
        "timeouts": {"idle_seconds": 7},
        "candidates": [
            {"provider": "p", "tier": 2, "model": "late"},
            {"provider": "q", "weight": 3, "model": "m"},
            {"provider": "p", "model": "m", "in_flight_max": 5},
        ],
    }
}


# -- names -------------------------------------------------------------------------------------------------------------


def test_an_alias_is_its_tiers_with_one_candidate_a_key() -> None:
    route = open_router(made(GROUP)).resolve("fast")
    assert shown(route) == [[("q", "m", 0, 1.5), ("q", "m", 1, 1.5), ("p", "m", 0, 1)], [("p", "late", 0, 1)]]
    assert (route.name, route.race.attempts_max) == ("fast", 2)
    assert {candidate.timeouts.idle_seconds for candidate in route.candidates} == {7}
    assert [candidate.health.in_flight_max for candidate in route.candidates] == [0, 0, 5, 0]


def test_other_names_are_routes_of_one_tier() -> None:
    document = made(race={"attempts_max": 9}, p={"base_url": URL, "models": ["listed"]})
    document["server"]["default_provider"] = "q"
    router = open_router(document)
    assert shown(router.resolve("listed")) == [[("p", "listed", 0, 1)]]
    assert shown(router.resolve("q/any/thing")) == [[("q", "any/thing", 0, 0.5), ("q", "any/thing", 1, 0.5)]]
    assert shown(router.resolve("unheard-of")) == [[("q", "unheard-of", 0, 0.5), ("q", "unheard-of", 1, 0.5)]]
    assert router.resolve("listed").race.attempts_max == 9


def test_names_that_mean_the_same_have_one_route() -> None:
    router = open_router(made(p={"base_url": URL, "models": ["listed"]}))
    assert router.resolve("p/listed") is router.resolve("listed") is router.resolve("listed")
    assert router.resolve("listed").name == "p/listed"


def test_nobody_and_the_restricted() -> None:
    router = open_router(made(p={"base_url": URL, "models": ["listed"], "restrict": True}))
    for name in ("unheard-of", "p/other", "x/y", "/", ""):
        with pytest.raises(ClientError) as caught:
            router.resolve(name)
        assert (caught.value.failure.status, caught.value.failure.code) == (404, "model_not_found")
    assert [entry.id for entry in router.models()] == ["listed"]


# -- health ------------------------------------------------------------------------------------------------------------


def test_one_candidate_has_one_health_whichever_name_leads_to_it() -> None:
    models = {**GROUP, "other": {"provider": "p", "model": "m"}}
    router = open_router(made(models))
    fast, other, direct = router.resolve("fast"), router.resolve("other"), router.resolve("p/m")
    assert fast.tiers[0][2].health is other.candidates[0].health is direct.candidates[0].health
    keyed = router.resolve("q/m").candidates
    assert [one.health for one in keyed] == [one.health for one in fast.tiers[0][:2]]
    assert keyed[0].health is not keyed[1].health


def test_of_two_bounds_the_tighter_one_holds() -> None:
    models = {
        name: {"candidates": [{"provider": "p", "model": "m", "in_flight_max": bound}]}
        for name, bound in (("a", 9), ("b", 4), ("c", 0))
    }
    router = open_router(made(models))
    assert router.resolve("p/m").candidates[0].health.in_flight_max == 4
    del models["b"]
    after = open_router(made(models), router)
    assert after.resolve("p/m").candidates[0].health is router.resolve("a").candidates[0].health
    assert after.resolve("p/m").candidates[0].health.in_flight_max == 9
    assert open_router(made(), after).resolve("p/m").candidates[0].health.in_flight_max == 0


def test_a_reload_keeps_health_where_the_provider_stays() -> None:
    before = open_router(made(GROUP))
    for name in ("fast", "p/direct", "q/direct"):
        for candidate in before.resolve(name).candidates:
            candidate.health.latency.average = 1.0
    changed = made({"quick": GROUP["fast"]}, {"attempts_max": 5}, q={"base_url": URL, "key": "sk-3-012345678"})
    after = open_router(changed, before)
    known = {
        name: [one.health.latency.average for one in after.resolve(name).candidates] for name in ("p/direct", "quick")
    }
    assert known == {"p/direct": [1.0], "quick": [None, 1.0, 1.0]}
    assert after.resolve("p/direct").candidates[0].health is before.resolve("p/direct").candidates[0].health
    assert after.resolve("p/direct").race.attempts_max == 5
    assert [one.health.latency.average for one in after.resolve("q/direct").candidates] == [None]
    assert {one.endpoint for one in after.resolve("quick").candidates} == set(after.endpoints.values())


def test_a_candidate_keeps_its_health_when_it_comes_into_an_alias_and_leaves_it() -> None:
    before = open_router(made())
    health = before.resolve("p/m").candidates[0].health
    inside = open_router(made({"fast": {"provider": "p", "model": "m"}}), before)
    assert inside.resolve("fast").candidates[0].health is inside.resolve("p/m").candidates[0].health is health
    assert open_router(made(), inside).resolve("p/m").candidates[0].health is health


def test_budgets_live_as_long_as_the_configuration_has_the_route() -> None:
    before = open_router(made(GROUP))
    after = open_router(made(GROUP), before)
    for name in ("fast", "p/m"):
        assert after.resolve(name).hedge_budget is before.resolve(name).hedge_budget
        assert after.resolve(name).retry_budget is before.resolve(name).retry_budget
    assert before.resolve("fast").hedge_budget is not before.resolve("p/m").hedge_budget
    without = open_router(made(), after)
    assert open_router(made(GROUP), without).resolve("fast").hedge_budget is not before.resolve("fast").hedge_budget
    richer = open_router(made(GROUP, {"hedge_share": 0.5}), before)
    assert richer.resolve("p/m").hedge_budget.share == 0.5
    assert richer.resolve("p/m").retry_budget is before.resolve("p/m").retry_budget


def test_a_name_that_a_client_makes_up_is_no_new_budget() -> None:
    router = open_router(made())
    assert router.resolve("q/m-1").retry_budget is router.resolve("q/m-2").retry_budget
    assert router.resolve("q/m-1").retry_budget is not router.resolve("p/m-1").retry_budget


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_names_that_clients_make_up_are_not_kept_for_ever() -> None:
    router = open_router(made(GROUP))
    asked = router.resolve("q/asked")
    assert asked.candidates[1].health.begin(0.0)
    group = router.resolve("fast")
    for number in range(3 * CANDIDATES_MAX):
        router.resolve(f"p/m-{number}")
    assert router.resolve("q/asked") is asked
    assert router.resolve("fast") is group
    kept = router.statistics(0.0)
    assert len(kept) == len(group.candidates) + router_module.SHOWN_MAX


@pytest.fixture(name="endpoint")
def open_endpoint() -> Iterator[Endpoint]:
    config = load_document(made(), {})
    endpoint = Endpoint(config.providers["p"], config.limits, lambda: 0.0)
    yield endpoint
    endpoint.pool.close()


def direct(endpoint: Endpoint, model: str, candidates: int = 1) -> Route:
    race = load_document(made(), {}).race
    return Route(f"p/{model}", [[Candidate(endpoint, model, credential=each) for each in range(candidates)]], race)


def test_the_least_recently_used_goes_first(endpoint: Endpoint) -> None:
    recent = RecentRoutes(3)
    for model in "abc":
        recent.add("p", model, direct(endpoint, model))
    assert recent.find("p", "a") is not None
    recent.add("p", "d", direct(endpoint, "d"))
    assert [route.name for route in recent] == ["p/c", "p/a", "p/d"]
    assert [route.name for route in reversed(recent)] == ["p/d", "p/a", "p/c"]
    assert recent.find("p", "b") is None
    recent.add("p", "e", direct(endpoint, "e", candidates=9))
    assert [route.name for route in recent] == ["p/e"]


def test_the_bound_gives_way_to_what_is_in_use_and_comes_back(endpoint: Endpoint) -> None:
    recent = RecentRoutes(3)
    busy = [direct(endpoint, str(number)) for number in range(2 * PASSED_OVER_MAX)]
    for number, route in enumerate(busy):
        route.candidates[0].health.begin(0.0)
        recent.add("p", str(number), route)
    assert len(recent) == len(busy)
    for route in busy:
        route.candidates[0].health.end()
    for number in range(3):
        recent.add("p", f"new-{number}", direct(endpoint, f"new-{number}"))
    assert len(recent) == 3


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 3), st.booleans()), max_size=60), st.integers(1, 8))
def test_recent_routes_are_bounded_and_what_is_in_use_stays(steps: list[tuple[int, int, bool]], most: int) -> None:
    config = load_document(made(), {})
    endpoint = Endpoint(config.providers["p"], config.limits, lambda: 0.0)
    recent, busy = RecentRoutes(most), dict[str, Route]()
    for number, credentials, starts in steps:
        model = str(number)
        route = recent.find("p", model)
        assert model not in busy or route is busy[model]
        if route is None:
            route = direct(endpoint, model, candidates=credentials)
            recent.add("p", model, route)
            idle = [each for each in recent if each.is_idle]
            held = sum(len(each.candidates) for each in recent)
            assert held <= most or idle == [route] or len(busy) >= PASSED_OVER_MAX
            assert recent.find("p", model) is route
        if starts:
            route.candidates[-1].health.begin(0.0)
            busy[model] = route
    assert {id(route) for route in busy.values()} <= {id(route) for route in recent}


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_statistics_show_each_candidate_once_the_aliases_first() -> None:
    router = open_router(made({"fast": {"provider": "q", "model": "m"}, "same": {"provider": "q", "model": "m"}}))
    for name in ("q/m", "p/old", "p/new"):
        router.resolve(name)
    router.resolve("fast").candidates[1].health.begin(0.0)
    statistics = router.statistics(0.0)
    assert [(one.provider, one.credential, one.model) for one in statistics] == [
        ("q", 0, "m"),
        ("q", 1, "m"),
        ("p", 0, "new"),
        ("p", 0, "old"),
    ]
    assert [one.health.in_flight for one in statistics] == [0, 1, 0, 0]
    assert statistics[0].health == Health(0.0).statistics(0.0)
