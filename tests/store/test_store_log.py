"""Tests of what both stores promise of the request log."""

import pytest

from store.interface import Store
from store.rows import LogFilter, LogRow, UsageRow
from tests.store.samples import NOW, log_row

ALL = LogFilter()
DAY = 86_400


async def ids(store: Store, which: LogFilter = ALL, **page: int) -> list[str]:
    return [row.id for row in await store.logs(which, **page)]


async def test_every_field_of_a_row_comes_back(store: Store) -> None:
    full = log_row(hedged=True, estimated=True, stream=False, waste_nanos=2**60, attempts=3, time=NOW + 0.25)
    bare = log_row(
        "log_2",
        account=None,
        key=None,
        model=None,
        provider=None,
        upstream_model=None,
        upstream_dialect=None,
        cost_nanos=None,
        ttft_ms=None,
        status=499,
        outcome="cancelled",
    )
    await store.log([full, bare])
    assert await store.logs(ALL) == [full, bare]
    [read] = await store.logs(LogFilter(since=NOW + 0.1))
    assert (read.hedged, read.estimated, read.stream) == (True, True, False)
    assert isinstance(read.hedged, bool)


async def test_an_id_that_is_there_is_passed_by(store: Store) -> None:
    await store.log([log_row("log_1", status=200)])
    await store.log([log_row("log_1", status=500), log_row("log_2"), log_row("log_2", status=500)])
    assert await store.log_count(ALL) == 2
    assert {row.status for row in await store.logs(ALL)} == {200}
    await store.log([])
    assert await store.log_count(ALL) == 2


async def test_rows_are_shown_the_newest_first_in_pages(store: Store) -> None:
    await store.log([log_row(f"log_{n}", time=NOW + n) for n in (3, 1, 4, 0, 2)])
    assert await ids(store) == ["log_4", "log_3", "log_2", "log_1", "log_0"]
    assert await ids(store, limit=2) == ["log_4", "log_3"]
    assert await ids(store, limit=2, offset=3) == ["log_1", "log_0"]
    assert await ids(store, limit=2, offset=5) == []


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (ALL, "dcba"),
        (LogFilter(account="acc_1"), "cba"),
        (LogFilter(account="acc_2"), "d"),
        (LogFilter(key="key_2"), "dc"),
        (LogFilter(model="x"), "ca"),
        (LogFilter(model="x%"), ""),
        (LogFilter(since=NOW + 1), "dcb"),
        (LogFilter(until=NOW + 1), "a"),
        (LogFilter(since=NOW + 1, until=NOW + 3), "cb"),
        (LogFilter(account="acc_1", key="key_2", model="x", since=NOW, until=NOW + 9), "c"),
        (LogFilter(account="acc_2", model="x"), ""),
        (LogFilter(account=""), ""),
        (LogFilter(since=0.0, until=0.0), ""),
    ],
)
async def test_rows_are_found(store: Store, which: LogFilter, found: str) -> None:
    await store.log(
        [
            log_row("a", time=NOW, model="x"),
            log_row("b", time=NOW + 1, model="y"),
            log_row("c", time=NOW + 2, model="x", key="key_2"),
            log_row("d", time=NOW + 3, model=None, key="key_2", account="acc_2"),
        ]
    )
    assert "".join(await ids(store, which)) == found
    assert await store.log_count(which) == len(found)
    assert sum(row.requests for row in await store.usage(which, "model")) == len(found)


def usage_rows() -> list[LogRow]:
    return [
        log_row("a", amount_nanos=100, cost_nanos=50, input_tokens=1, output_tokens=2, model="x", provider="p"),
        log_row(
            "b", amount_nanos=7, cost_nanos=5, input_tokens=10, output_tokens=20, model="y", provider="q", key="k2"
        ),
        log_row("c", amount_nanos=1, cost_nanos=None, model="x", provider="p", time=NOW + DAY - 0.5, key="k2"),
        log_row("d", amount_nanos=900, cost_nanos=9, model="y", provider="p", time=NOW + DAY, account="acc_2"),
    ]


@pytest.mark.parametrize(
    ("by", "sums"),
    [
        ("day", {"2030-01-01": (3, 21, 42, 55, 108), "2030-01-02": (1, 10, 20, 9, 900)}),
        ("model", {"y": (2, 20, 40, 14, 907), "x": (2, 11, 22, 50, 101)}),
        ("provider", {"p": (3, 21, 42, 59, 1_001), "q": (1, 10, 20, 5, 7)}),
        ("key", {"key_1": (2, 11, 22, 59, 1_000), "k2": (2, 20, 40, 5, 8)}),
        ("account", {"acc_2": (1, 10, 20, 9, 900), "acc_1": (3, 21, 42, 55, 108)}),
    ],
)
async def test_use_is_summed(store: Store, by: str, sums: dict[str, tuple[int, int, int, int, int]]) -> None:
    await store.log(usage_rows())
    assert await store.usage(ALL, by) == [
        UsageRow(name=name, requests=r, input_tokens=i, output_tokens=o, cost_nanos=cost, amount_nanos=amount)
        for name, (r, i, o, cost, amount) in sums.items()
    ]
    assert await store.usage(LogFilter(account="acc_9"), by) == []


async def test_use_of_what_has_no_name_is_summed_too(store: Store) -> None:
    await store.log([log_row("a", model=None, account=None, amount_nanos=0), log_row("b", model="x")])
    assert [(row.name, row.requests) for row in await store.usage(ALL, "model")] == [("x", 1), ("", 1)]
    assert [(row.name, row.requests) for row in await store.usage(ALL, "account")] == [("acc_1", 1), ("", 1)]


async def test_a_cost_that_nobody_knows_is_none(store: Store) -> None:
    await store.log([log_row("a", cost_nanos=None), log_row("b", cost_nanos=None)])
    [row] = await store.usage(ALL, "model")
    assert (row.requests, row.cost_nanos, row.amount_nanos) == (2, 0, 200)


@pytest.mark.parametrize("by", ["address", "id; DROP TABLE", ""])
async def test_there_is_no_sum_by_anything_else(store: Store, by: str) -> None:
    await store.log([log_row()])
    with pytest.raises(ValueError, match="sum"):
        await store.usage(ALL, by)


async def test_old_rows_are_forgotten_the_oldest_first(store: Store) -> None:
    await store.log([log_row(f"log_{n}", time=NOW + n) for n in (4, 0, 3, 1, 2)])
    assert await store.forget(NOW + 3, limit=2) == 2
    assert await ids(store) == ["log_4", "log_3", "log_2"]
    assert await store.forget(NOW + 3, limit=2) == 1
    assert await store.forget(NOW + 3) == 0
    assert await ids(store) == ["log_4", "log_3"]
    assert await store.forget(NOW + 9) == 2
    assert await store.log_count(ALL) == 0
