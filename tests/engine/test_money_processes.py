"""Money in real processes: a cap that a crowd runs into, and workers and supervisors killed at random moments."""

import random
from pathlib import Path

import pytest
import trio

from adapters.prices.bound import prompt_tokens_bound
from store.rows import MONTH, TransferKind, cap_budget
from tests.engine.money_fire import (
    INPUT_NANOS,
    OUTPUT_NANOS,
    TOKENS_MAX,
    Fire,
    Kind,
    Told,
    ask,
    audit,
    fire,
    play_rounds,
    settlements,
)

WORKERS = 4
CROWD = 200
ASKED_BY_EACH = 4
WORDS = 5
PRICE = (1 + WORDS) * INPUT_NANOS + (5 + WORDS) * OUTPUT_NANOS
"""Of one answer of the scripted upstream to an id and so many words."""


async def use_up(target: Fire, cap: int) -> list[Told]:
    """Ask alone until no further answer fits under the cap; return what was said."""
    told: list[Told] = []
    worst = prompt_tokens_bound(Told("last-000", words=WORDS).body()) * INPUT_NANOS + TOKENS_MAX * OUTPUT_NANOS
    with trio.fail_after(30):
        while True:
            told.append(await ask(target.port, Told(f"last-{len(told):03}", words=WORDS)))
            spent = sum(each.amount_nanos for each in await settlements(target.store))
            if told[-1].status == 402 and cap - spent < worst:
                return told
            await trio.sleep(0.05)


async def test_a_crowd_on_one_key_never_spends_beyond_its_cap(tmp_path: Path) -> None:
    cap = CROWD * ASKED_BY_EACH * PRICE // 10
    async with fire(tmp_path, workers=WORKERS, key={"cap_month_nanos": cap}) as target:
        target.upstream.is_steady = True
        await target.start()
        told = [
            Told(f"c{number}-{serial}", words=WORDS, stream=serial % 2 == 0)
            for number in range(CROWD)
            for serial in range(ASKED_BY_EACH)
        ]

        async def ask_in_turn(number: int) -> None:
            for each in told[number * ASKED_BY_EACH : (number + 1) * ASKED_BY_EACH]:
                await ask(target.port, each)

        async with trio.open_nursery() as nursery:
            for number in range(CROWD):
                nursery.start_soon(ask_in_turn, number)
        told += await use_up(target, cap)
        await target.wait_buried()
        await target.stop()

        totals = await audit(target, told)
        assert {each.status for each in told} == {200, 402}
        assert {each.code for each in told if each.status == 402} == {"cap_exceeded"}
        assert totals["nano-dollars uncollected"] == 0
        assert target.upstream.reached == {each.id for each in told if each.status == 200}
        booked = await settlements(target.store)
        assert {each.amount_nanos for each in booked} == {PRICE}
        for month in {each.month for each in booked}:
            (spent,) = await target.store.used([(cap_budget(MONTH, "key", "key_1"), month)])
            assert spent == sum(each.amount_nanos for each in booked if each.month == month) <= cap


@pytest.mark.parametrize(
    "kinds",
    [
        [Kind.WORKER, Kind.SOME, Kind.WORKER],
        [Kind.ALL, Kind.STARTING],
        [Kind.SUPERVISOR, Kind.ORPHANS],
    ],
    ids=["workers", "everybody", "supervisor"],
)
async def test_what_is_killed_loses_nothing_and_charges_nothing_twice(tmp_path: Path, kinds: list[Kind]) -> None:
    seed = random.randrange(1_000_000)
    print("seed", seed)
    async with fire(tmp_path, seed=seed, workers=2) as target:
        totals = await play_rounds(target, kinds, seed=seed, clients=16)
        assert totals["complete, charged"] > 10


async def test_a_clean_stop_under_load_books_all_and_gives_everything_back(tmp_path: Path) -> None:
    async with fire(tmp_path, workers=2) as target:
        await target.start()
        told = [Told(f"c{number}", stream=number % 2 == 0, words=number) for number in range(40)]
        async with trio.open_nursery() as nursery:
            for each in told:
                nursery.start_soon(ask, target.port, each)
            with trio.fail_after(30):
                while not target.upstream.reached:
                    await trio.sleep(0.001)
            await target.stop()
        totals = await audit(target, told)
        assert totals["complete, charged"] > 0
        (transfer, *_) = await target.store.transfers(limit=1, offset=totals["settlements"])
        assert transfer.kind == TransferKind.TOP_UP
