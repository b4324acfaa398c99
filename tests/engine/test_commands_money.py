"""Commands on money and the log: credit counts once, the ledger is checked, sums are what the rows are."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from store.interface import Store
from store.rows import DAY, NO_WINDOW, Want, cap_budget, day_of, wallet_of
from tests.engine.command_line import CommandLine
from tests.store.samples import log_row, settlement, spend

DOLLAR = 1_000_000_000

LEASE_OF_NOBODY = (
    "INSERT INTO leases (holder, budget, window_number, amount, ends, counted) VALUES ('nobody', ?, 0, 5, 0, 0)"
)


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "data")


@pytest.fixture
def ada(cli: CommandLine) -> dict[str, Any]:
    """An account called ada without money, and its key `ci`."""
    account: dict[str, Any] = cli.json("accounts", "create", "ada")
    cli.text("keys", "create", "ada", "--name", "ci")
    return account


@pytest.fixture(scope="module")
def unchanging(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """An account ada, for tests in which nothing may change."""
    cli = CommandLine(tmp_path_factory.mktemp("unchanging"))
    cli.text("accounts", "create", "ada")
    return cli


def charge(cli: CommandLine, account: str, amount_nanos: int, id: str = "set_1") -> None:  # noqa: A002
    """Let a worker charge so much for an answer that the account's first key asked for now."""

    async def work(store: Store) -> None:
        [key] = [key for key in (await store.news(None, 0)).keys if key.account == account]
        now = int(time.time())
        one = settlement(id, amount_nanos, account=account, key=key.id, time=now, day=day_of(now))
        assert await spend(store, one) == 1

    cli.in_store(work)


# -- credit ------------------------------------------------------------------------------------------------------------


def test_a_top_up_comes_from_cash_and_a_grant_does_not(cli: CommandLine, ada: dict[str, Any]) -> None:
    paid = cli.json("credit", "add", "ada", "10.50", "--note", "invoice 7")
    given = cli.json("credit", "grant", ada["id"], "$1")
    assert (paid["kind"], paid["amount_nanos"], paid["note"]) == ("top_up", 10_500_000_000, "invoice 7")
    assert (paid["debit"], paid["credit"]) == ("cash", f"wallet:{ada['id']}")
    assert (given["kind"], given["debit"], given["amount"]) == ("grant", "grants", "1.00")
    assert given["balance"] == "11.50"
    assert cli.json("credit", "show", "ada") == {
        "account": ada["id"],
        "balance_nanos": 11_500_000_000,
        "balance": "11.50",
        "leased_nanos": 0,
        "leased": "0.00",
    }
    assert "$11.50" in cli.text("credit", "show", "ada")


def test_the_same_id_again_tops_up_once(cli: CommandLine, ada: dict[str, Any]) -> None:
    first = cli.json("credit", "add", "ada", "10", "--id", "payment 1")
    again = cli.json("credit", "add", "ada", "10", "--id", "payment 1")
    assert again == first
    assert first["reference"] == "payment 1"
    assert again["balance"] == "10.00"
    assert cli.refused("credit", "add", "ada", "11", "--id", "payment 1"), "an id that stands for something else"
    assert cli.json("credit", "add", "ada", "10", "--id", "payment 2")["balance"] == "20.00"
    assert cli.json("credit", "add", "ada", "10")["balance"] == "30.00"
    assert cli.json("credit", "add", "ada", "10")["balance"] == "40.00", "without an id each is its own"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("credit add nobody 10", "no account 'nobody'"),
        ("credit add ada ten", "the amount must be"),
        ("credit add ada 10,5", "the amount must be"),
        ("credit add ada 1000000001", "the amount must be"),
        ("credit add ada 0", ""),
        ("credit grant ada NaN", "the amount must be"),
        ("credit refund no-such-settlement", "no-such-settlement"),
        ("credit add ada 10 --id=", "--id must be"),
        ("credit show nobody", "no account 'nobody'"),
        ("ledger list nobody", "no account 'nobody'"),
        ("usage --account nobody", "no account 'nobody'"),
        ("usage --since yesterday", "--since must be a date"),
        ("logs --key nothing", "no key 'nothing'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(unchanging: CommandLine, words: str, expected: str) -> None:
    assert expected in unchanging.refused(*words.split())
    assert unchanging.json("ledger", "list") == []


def test_a_charge_is_given_back_in_parts_and_never_more_of_it(cli: CommandLine, ada: dict[str, Any]) -> None:
    cli.text("credit", "add", "ada", "10")
    charge(cli, ada["id"], 4 * DOLLAR)
    part = cli.json("credit", "refund", "set_1", "--amount", "1.50", "--id", "r1", "--note", "slow")
    assert (part["kind"], part["reference"], part["amount"], part["balance"]) == ("refund", "set_1", "1.50", "7.50")
    assert cli.json("credit", "refund", "set_1", "--amount", "1.50", "--id", "r1") == part
    assert cli.refused("credit", "refund", "set_1", "--amount", "2.51")
    assert cli.json("credit", "refund", "set_1")["amount"] == "2.50"
    assert cli.json("credit", "show", "ada")["balance"] == "10.00"
    assert cli.refused("credit", "refund", "set_1", "--amount", "0.01")


# -- what was spent ----------------------------------------------------------------------------------------------------


def test_what_was_spent_is_shown_with_who_spent_it(cli: CommandLine, ada: dict[str, Any]) -> None:
    cli.text("credit", "add", "ada", "10")
    cli.text("accounts", "set", "ada", "--cap-day", "5")
    charge(cli, ada["id"], 4 * DOLLAR)
    assert cli.json("accounts", "show", "ada")["spent_day"] == "4.00"
    assert cli.json("keys", "show", "ci")["spent_day_nanos"] == 4 * DOLLAR
    assert "$4.00" in cli.text("keys", "list")
    assert "$4.00 of $5.00" in cli.text("accounts", "show", "ada")


# -- the ledger --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transfers", range(6))
def test_a_ledger_that_adds_up_says_how_much_there_is(cli: CommandLine, ada: dict[str, Any], transfers: int) -> None:
    for _ in range(transfers):
        cli.text("credit", "add", "ada", "10")
    said = cli.text("ledger", "check")
    assert said.startswith("adds up: ")
    assert f" {transfers} transfer" in said
    assert " 1 account, 1 key, " in said
    document = cli.json("ledger", "check")
    assert (document["adds_up"], document["findings"], document["transfers"]) == (True, [], transfers)


def test_a_ledger_that_does_not_add_up_is_a_table_and_exit_code_1(cli: CommandLine, ada: dict[str, Any]) -> None:
    cli.text("credit", "add", "ada", "10")
    with closing(sqlite3.connect(cli.file)) as file:
        # A lease whose holder nobody knows: the constraint that forbids it binds those who ask for it only.
        file.execute(LEASE_OF_NOBODY, (wallet_of(ada["id"]),))
        file.commit()
    result = cli.run("ledger", "check")
    assert result.exit_code == 1
    assert "adds up" not in result.stdout
    assert "nobody" in result.stdout
    result = cli.run("ledger", "check", "--json")
    assert result.exit_code == 1
    assert '"adds_up": false' in result.stdout


def test_transfers_are_listed_the_newest_first_and_in_pages(cli: CommandLine, ada: dict[str, Any]) -> None:
    cli.text("accounts", "create", "bob")
    for name, amount in (("ada", 1), ("bob", 2), ("ada", 3)):
        cli.text("credit", "add", name, amount, "--id", f"{name}-{amount}")
    everyones = {row["id"] for row in cli.json("ledger", "list")}
    assert everyones == {"ada-1", "bob-2", "ada-3"}
    assert {row["id"] for row in cli.json("ledger", "list", "ada")} == {"ada-1", "ada-3"}
    pages = [cli.json("ledger", "list", "--limit", 1, "--offset", offset) for offset in range(4)]
    assert [len(page) for page in pages] == [1, 1, 1, 0]
    assert {page[0]["id"] for page in pages[:3]} == everyones
    assert "bob-2" in cli.text("ledger", "list")


def test_leases_are_shown_in_their_unit(cli: CommandLine, ada: dict[str, Any]) -> None:
    cli.text("credit", "add", "ada", "10")

    async def work(store: Store) -> None:
        now = int(time.time())
        await store.enter("worker-1", now)
        wants = [
            Want(wallet_of(ada["id"]), NO_WINDOW, None, 3 * DOLLAR, 3 * DOLLAR),
            Want(cap_budget(DAY, "account", ada["id"]), day_of(now), 5 * DOLLAR, DOLLAR, DOLLAR, ends=now + 60),
            Want("requests:key:k", now // 60, 1_000_000, 2_500, 2_500, ends=now + 60, counted=True),
        ]
        assert [grant.granted for grant in await store.lease("worker-1", wants, [], now)] == [
            *(3 * DOLLAR, DOLLAR, 2_500)
        ]

    cli.in_store(work)
    text = cli.text("ledger", "leases")
    for shown in ("worker-1", "$3.00", "$1.00", "2,500"):
        assert shown in text
    assert {lease["amount"] for lease in cli.json("ledger", "leases")} == {3 * DOLLAR, DOLLAR, 2_500}
    assert cli.json("accounts", "show", "ada")["leased"] == "3.00"
    assert cli.json("ledger", "check")["leases"] == 3


# -- the log -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(cli: CommandLine, ada: dict[str, Any]) -> dict[str, str]:
    """Three requests: ada's yesterday and now, nobody's now. Returns ids by name."""
    bob = cli.json("accounts", "create", "bob")["id"]
    [key] = cli.json("keys", "list")
    now = time.time()

    async def work(store: Store) -> None:
        own = {"account": ada["id"], "key": key["id"]}
        await store.log(
            [
                log_row("log_1", time=now - 90_000, model="model-a", amount_nanos=DOLLAR, **own),
                log_row("log_2", time=now - 60, model="model-b", amount_nanos=2 * DOLLAR, cost_nanos=None, **own),
                log_row("log_3", time=now - 30, model="evil\x1b[31m", account=bob, key=None, ttft_ms=None),
            ]
        )

    cli.in_store(work)
    return {"ada": ada["id"], "bob": bob, "ci": key["id"]}


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def test_requests_are_listed_the_newest_first_by_what_was_asked(cli: CommandLine, logged: dict[str, str]) -> None:
    assert ids(cli.json("logs")) == ["log_3", "log_2", "log_1"]
    assert ids(cli.json("logs", "--account", "ada")) == ["log_2", "log_1"]
    assert ids(cli.json("logs", "--key", "ada/ci", "--limit", 1, "--offset", 1)) == ["log_1"]
    assert ids(cli.json("logs", "--model", "model-a")) == ["log_1"]
    assert ids(cli.json("logs", "--since", "24h")) == ["log_3", "log_2"]
    assert ids(cli.json("logs", "--until", "1d")) == ["log_1"]
    assert ids(cli.json("logs", "--since", "2001-01-01", "--until", "2001-01-02T12:00:00+02:00")) == []


def test_a_row_of_the_log_is_whole_for_programs(cli: CommandLine, logged: dict[str, str]) -> None:
    row = cli.json("logs", "--model", "model-b")[0]
    assert (row["account"], row["key"], row["status"], row["ttft_ms"]) == (logged["ada"], logged["ci"], 200, 12.5)
    assert (row["amount_nanos"], row["amount"], row["cost_nanos"], row["cost"]) == (2 * DOLLAR, "2.00", None, None)


def test_a_models_name_cannot_steer_the_terminal(cli: CommandLine, logged: dict[str, str]) -> None:
    for text in (cli.text("logs"), cli.text("usage", "--by", "model")):
        assert "\x1b" not in text
        assert "evil\N{REPLACEMENT CHARACTER}[31m" in text
    assert "ada/ci" in cli.text("logs")


def test_sums_are_by_what_was_asked(cli: CommandLine, logged: dict[str, str]) -> None:
    by_model = {row["name"]: row for row in cli.json("usage", "--by", "model")}
    assert by_model["model-b"] == {
        "name": "model-b",
        "requests": 1,
        "input_tokens": 10,
        "output_tokens": 20,
        "cost_nanos": 0,
        "cost": "0.00",
        "amount_nanos": 2 * DOLLAR,
        "amount": "2.00",
    }
    assert {row["name"]: row["requests"] for row in cli.json("usage", "--by", "account")} == {
        logged["ada"]: 2,
        logged["bob"]: 1,
    }
    assert [row["requests"] for row in cli.json("usage", "--by", "key", "--account", "ada")] == [2]
    assert [row["name"] for row in cli.json("usage", "--by", "provider")] == ["p"]
    assert sum(row["requests"] for row in cli.json("usage")) == 3
    assert sum(row["requests"] for row in cli.json("usage", "--since", "1d")) == 2
    assert "ada/ci" in cli.text("usage", "--by", "key", "--account", "ada")
    assert "$3.00" in cli.text("usage", "--by", "account")
