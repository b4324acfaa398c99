"""Tariffs: the most that a route's answer can cost, and what an answer costs, by the prices of its candidates."""

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.usage import Usage
from engine import tariff as module
from engine.config import load_document
from engine.endpoint import Endpoint
from engine.route import Candidate
from engine.tariff import Tariff
from tests.engine.live import document

MILLION = 1_000_000

PRICES = {
    "flat": {"input": 1, "output": 2},
    "chatty": {"input": 0.5, "output": 50},
    "wordy": {"input": 30, "output": 0.5, "call": 0.001},
}
"""Dollars per million: a short prompt is dearest where output is, a long one where input is."""


@pytest.fixture(name="endpoint")
def open_endpoint() -> Iterator[Endpoint]:
    config = load_document(document("http://127.0.0.1:9/v1"), {})
    endpoint = Endpoint(config.providers["scripted-1"], config.limits, lambda: 0.0)
    yield endpoint
    endpoint.pool.close()


def tariff(**billing: Any) -> Tariff:
    return Tariff(load_document(document("http://127.0.0.1:9/v1", prices=PRICES, billing=billing), {}))


@pytest.mark.parametrize(
    ("input_tokens", "output_tokens", "nanos"),
    [
        (0, MILLION, 50_000_000_000),
        (MILLION, 0, 30_001_000_000),
        (0, 0, 1_000_000),
        (1, 0, 1_030_000),
        (1, 1, 1_030_500),
    ],
)
def test_a_route_can_cost_what_the_dearest_of_its_candidates_does(
    endpoint: Endpoint, input_tokens: int, output_tokens: int, nanos: int
) -> None:
    candidates = [Candidate(endpoint, name, credential=each) for name in PRICES for each in (0, 1)]
    known = tariff()
    for asked in (candidates, tuple(reversed(candidates))):
        assert known.worst_nanos(asked, input_tokens, output_tokens) == nanos
        assert known.worst_nanos(asked, input_tokens, output_tokens) == nanos, "also when it is known"


def test_candidates_of_one_price_are_as_dear_as_one(endpoint: Endpoint) -> None:
    many = [Candidate(endpoint, "wordy", credential=each) for each in range(5)]
    known = tariff()
    assert known.worst_nanos(many, 700, 80) == known.worst_nanos(many[:1], 700, 80) == 1_000_000 + 21_000_000 + 40_000


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_candidate_without_a_price_keeps_a_route_from_being_sold(endpoint: Endpoint, place: int) -> None:
    names = ["flat", "chatty"]
    names.insert(place, "of nobody")
    candidates = [Candidate(endpoint, name) for name in names]
    refusing, giving = tariff(), tariff(unpriced="free")
    for _ in range(2):
        assert refusing.worst_nanos(candidates, MILLION, 0) is None
        assert giving.worst_nanos(candidates, MILLION, 0) == 1_000_000_000
        assert giving.worst_nanos([candidates[place]], MILLION, MILLION) == 0


def test_an_answer_costs_by_the_candidate_that_gave_it(endpoint: Endpoint) -> None:
    known, usage = tariff(), Usage(1_000, 100)
    costs = {name: known.answer_nanos(Candidate(endpoint, name), usage) for name in (*PRICES, "of nobody")}
    assert costs == {"flat": 1_200_000, "chatty": 5_500_000, "wordy": 31_050_000, "of nobody": None}


def test_what_is_kept_of_names_that_clients_choose_is_bounded(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRICED_MAX", 3)
    known, usage = tariff(), Usage(1_000, 100)
    for _ in range(2):
        for candidate in [Candidate(endpoint, "flat") for _ in range(8)]:
            assert known.answer_nanos(candidate, usage) == known.worst_nanos([candidate], 1_000, 100) == 1_200_000
            assert max(len(known._priced), len(known._worst)) <= 3
