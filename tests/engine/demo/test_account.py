"""The demo's account: what is in its store, and when its first answer counts as paid."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from engine.datadir import database
from engine.demo import account
from engine.demo.account import CREDIT_NANOS, AccountError, Bill, first_bill, open_account
from engine.keys import digest_of
from store.db import open_store

ROW = {"prompt_tokens": 40, "completion_tokens": 77}
PAID_NANOS = CREDIT_NANOS - 34_800

Answers = Callable[[str], httpx.Response]


def client(answers: Answers) -> httpx.AsyncClient:
    """A client of a gateway that answers a path as it is told to."""
    transport = httpx.MockTransport(lambda request: answers(request.url.path))
    return httpx.AsyncClient(base_url="http://gateway", transport=transport)


def says(balance_nanos: int, rows: list[dict[str, int]]) -> Answers:
    bodies = {"/v1/me": {"balance_nanos": balance_nanos}, "/api/log/self": {"data": {"items": rows}}}
    return lambda path: httpx.Response(200, json=bodies[path], request=httpx.Request("GET", path))


def in_turn(*stages: Answers) -> Answers:
    """Each stage answers once for each path, the last one for good."""
    asked: dict[str, int] = {}

    def answers(path: str) -> httpx.Response:
        turn = asked[path] = asked.get(path, -1) + 1
        return stages[min(turn, len(stages) - 1)](path)

    return answers


def refuses(status: int) -> Answers:
    return lambda path: httpx.Response(status, request=httpx.Request("GET", f"http://gateway{path}"))


async def test_the_store_has_the_account_its_credit_and_its_key(tmp_path: Path) -> None:
    token = await open_account(tmp_path / "data")
    async with open_store(database(tmp_path / "data")) as store:
        news = await store.news(None, 0)
        (owner,), (key,) = news.accounts, news.keys
        assert (owner.name, key.name, key.account) == ("demo", "demo", owner.id)
        assert key.digest == digest_of(token.encode())
        assert (await store.balance(owner.id)).balance_nanos == CREDIT_NANOS
        assert await store.check() == []


async def test_every_account_has_a_key_of_its_own(tmp_path: Path) -> None:
    assert await open_account(tmp_path / "one") != await open_account(tmp_path / "two")


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize(
    "before",
    [refuses(503), says(CREDIT_NANOS, []), says(PAID_NANOS, []), says(CREDIT_NANOS, [ROW])],
    ids=["nobody answers", "nothing booked", "booked before it is logged", "logged before it is booked"],
)
async def test_the_bill_waits_until_both_the_ledger_and_the_log_have_it(before: Answers) -> None:
    async with client(in_turn(before, before, says(PAID_NANOS, [ROW]))) as http:
        assert await first_bill(http) == Bill(40, 77, 34_800, PAID_NANOS)


@pytest.mark.usefixtures("autojump_clock")
async def test_an_answer_that_is_never_booked_is_told() -> None:
    async with client(says(CREDIT_NANOS, [ROW])) as http:
        with pytest.raises(AccountError, match=f"within {account.BOOKED_SECONDS_MAX:g} s"):
            await first_bill(http)


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_another_refusal_is_not_waited_out(status: int) -> None:
    async with client(refuses(status)) as http:
        with pytest.raises(httpx.HTTPStatusError, match=str(status)):
            await first_bill(http)
