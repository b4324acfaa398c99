"""A run of the bench made by hand, for tests of what is done with runs."""

from typing import Any

import msgspec

from bench.runs import Curve, Figure, Histogram, Machine, Run, Scenario

COST, PEER, ADDED, FAILED, TAIL = "cost", "cost: peer", "added", "requests that failed", "first token, p99"


def scenario(factor: float = 1.0, *, failed: float = 0.0, **changed: Any) -> Scenario:
    """Return a scenario of which everything that costs costs `factor` times as much; its peer does not."""
    rounds = [99.0, 100.0, 101.0, 100.5, 99.5]
    figures = [
        Figure(
            name=COST,
            unit="us",
            samples=[value * factor for value in rounds],
            target=150.0,
            beside=PEER,
            ratio_max=6.0,
            headline=True,
        ),
        Figure(name=PEER, unit="us", samples=[20.0] * 5, foreign=True),
        Figure(
            name="rate", unit="/s", samples=[value * 10 / factor for value in rounds], better="higher", target=700.0
        ),
        Figure(name=ADDED, unit="us", samples=[-1.0, 2.0, 0.0, 1.0, 1.5], target=3.0),
        Figure(name=FAILED, unit="", samples=[failed], target=0.0),
        Figure(name="twice only", unit="MB", samples=[1.0 * factor, 1.1 * factor]),
        Figure(name=TAIL, unit="ms", samples=[90.0], histogram="first token", quantile=0.99),
    ]
    values = [10.0 + number * 0.1 for number in range(200)]
    found = Scenario(
        name="canned",
        method="By hand.",
        seconds=1.5,
        settings={"rounds": 5},
        figures=figures,
        histograms=[Histogram(name="first token", unit="ms", values=[v * factor for v in values], counts=[2] * 200)],
        curves=[
            Curve(name="CPU", x="s", y="cores", lines={"gateway": [(0.0, 0.5), (0.5, 0.6)]}),
            Curve(name="course", x="s", y="begun", lines={"requests": [(0.0, 3.0), (0.1, 0.0)]}, steps=True),
            Curve(name="sweep", x="requests per second", y="ms", lines={"p99": [(10.0, 0.1), (90.0, 90.0)]}),
        ],
        remarks=["A <remark>."],
    )
    return msgspec.structs.replace(found, **changed)


def run(*scenarios: Scenario, **changed: Any) -> Run:
    """Return a run of these scenarios."""
    machine = Machine(
        cpu="A <CPU>",
        cores=2,
        memory_mb=25_000,
        system="Linux 6",
        python="CPython 3.11",
        nginx=None,
        pinned=True,
        busy_share=0.01,
    )
    usual: dict[str, Any] = {
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "time": "2026-11-22T05:00:00Z",
        "machine": machine,
        "quick": False,
        "seed": 1,
        "rounds": None,
        "scenarios": list(scenarios) or [scenario()],
    }
    return Run(**(usual | changed))
