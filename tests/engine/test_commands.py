"""Commands on accounts, teams and keys: what they store, what they print, and how they refuse."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import trio

from engine.datadir import data_directory, database, journal
from engine.keys import digest_of
from store.db import open_store
from store.rows import Account
from tests.engine.command_line import CommandLine


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "data")


@pytest.fixture
def ada(cli: CommandLine) -> dict[str, Any]:
    """An account called ada, with ten dollars."""
    account: dict[str, Any] = cli.json("accounts", "create", "ada", "--credit", "10")
    return account


@pytest.fixture(scope="module")
def unchanging(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """An account ada with a key ci, for tests in which nothing may change."""
    cli = CommandLine(tmp_path_factory.mktemp("unchanging"))
    cli.text("accounts", "create", "ada")
    cli.text("keys", "create", "ada", "--name", "ci")
    return cli


def stored(cli: CommandLine, name: str) -> Account:
    account = cli.in_store(lambda store: store.account(name))
    assert account is not None
    return account


# -- accounts ----------------------------------------------------------------------------------------------------------


def test_a_new_account_is_what_was_asked_for(cli: CommandLine) -> None:
    team = cli.json("teams", "create", "blue")
    words = ("--team", "blue", "--role", "admin", "--group", "gold", "--cap-day", "5", "--cap-month", "$1,000.50")
    document = cli.json("accounts", "create", "ada", *words)
    assert re.fullmatch(r"acc_[0-9a-f]{16}", document["id"])
    assert abs(datetime.fromisoformat(document["created"]) - datetime.now(UTC)) < timedelta(minutes=5)
    del document["id"], document["created"]
    assert document == {
        "name": "ada",
        "role": "admin",
        "team": team["id"],
        "group": "gold",
        "disabled": False,
        "state": "active",
        "cap_day_nanos": 5_000_000_000,
        "cap_day": "5.00",
        "cap_month_nanos": 1_000_500_000_000,
        "cap_month": "1000.50",
        "markup_ppm": None,
        "rolling_nanos": 0,
        "rolling": "0.00",
        "balance_nanos": 0,
        "balance": "0.00",
        "leased_nanos": 0,
        "leased": "0.00",
        "spent_day_nanos": 0,
        "spent_day": "0.00",
        "spent_month_nanos": 0,
        "spent_month": "0.00",
        "keys": [],
    }


def test_credit_to_begin_with_is_a_grant(cli: CommandLine, ada: dict[str, Any]) -> None:
    assert ada["balance_nanos"] == 10_000_000_000
    [transfer] = cli.json("ledger", "list", "ada")
    assert (transfer["kind"], transfer["amount"]) == ("grant", "10.00")


def test_the_configuration_grants_to_new_accounts_and_says_where(cli: CommandLine, tmp_path: Path) -> None:
    config = tmp_path / "hedgerow.toml"
    config.write_text(
        '[store]\ndirectory = "elsewhere"\n[accounts]\nsign_up_credit = 0.3\n'
        '[providers.p]\nkind = "no such kind"\napi_key = "env:NOT_SET"\n'
    )
    granted = cli.json("accounts", "create", "ada", "--config", config)
    assert granted["balance_nanos"] == 300_000_000
    assert cli.json("accounts", "create", "bob", "--credit", "0", "--config", config)["balance_nanos"] == 0
    assert not (tmp_path / "elsewhere").exists(), "--data comes first"
    words = [sys.executable, "-m", "engine", "accounts", "create", "eve", "--config", str(config)]
    environ = {name: value for name, value in os.environ.items() if name != "HEDGEROW_DATA"}
    subprocess.run(words, check=True, env=environ, capture_output=True, timeout=60)
    assert CommandLine(tmp_path / "elsewhere").json("accounts", "list")[0]["name"] == "eve"


def test_a_group_must_be_one_of_the_configuration_when_there_is_one(cli: CommandLine, tmp_path: Path) -> None:
    config = tmp_path / "hedgerow.toml"
    config.write_text("[groups.gold]\nprice_ratio = 2\n")
    assert "--group" in cli.refused("accounts", "create", "ada", "--group", "lead", "--config", config)
    assert cli.json("accounts", "create", "ada", "--group", "gold", "--config", config)["group"] == "gold"


@pytest.mark.parametrize("text", ["[store", "[store]\ndirectory = 5\n", "[accounts]\nno_such_option = 1\n"])
def test_a_configuration_that_cannot_be_read_is_one_refusal(cli: CommandLine, tmp_path: Path, text: str) -> None:
    config = tmp_path / "hedgerow.toml"
    config.write_text(text)
    result = cli.run("accounts", "create", "ada", "--config", config)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert not cli.directory.exists()


def test_accounts_are_changed_by_id_or_name_and_only_where_said(cli: CommandLine, ada: dict[str, Any]) -> None:
    cli.text("accounts", "set", "ada", "--cap-day", "5", "--cap-month", "50", "--group", "gold")
    cli.text("accounts", "set", ada["id"], "--cap-day", "none", "--role", "admin", "--name", "lady ada")
    account = stored(cli, "lady ada")
    assert (account.id, account.cap_day_nanos, account.cap_month_nanos) == (ada["id"], None, 50_000_000_000)
    assert (account.role, account.group) == ("admin", "gold")
    cli.text("accounts", "set", "lady ada", "--group", "none")
    assert stored(cli, ada["id"]).group == "default"


def test_an_account_joins_and_leaves_a_team(cli: CommandLine, ada: dict[str, Any]) -> None:
    team = cli.json("teams", "create", "blue", "--cap-day", "2")
    assert cli.json("accounts", "set", "ada", "--team", "blue")["team"] == team["id"]
    assert cli.json("accounts", "set", "ada", "--team", "none")["team"] is None
    assert "no team 'green'" in cli.refused("accounts", "set", ada["id"], "--team", "green")


def test_an_account_is_disabled_and_enabled(cli: CommandLine, ada: dict[str, Any]) -> None:
    assert cli.json("accounts", "disable", ada["id"])["state"] == "disabled"
    assert stored(cli, "ada").disabled
    assert "disabled" in cli.text("accounts", "list")
    assert cli.json("accounts", "enable", "ada")["state"] == "active"
    assert not stored(cli, "ada").disabled


def test_a_list_of_accounts_has_every_account(cli: CommandLine, ada: dict[str, Any]) -> None:
    bob = cli.json("accounts", "create", "bob")
    listed = {row["id"]: row for row in cli.json("accounts", "list")}
    assert {row["name"] for row in listed.values()} == {"ada", "bob"}
    assert listed[ada["id"]]["balance"] == "10.00"
    text = cli.text("accounts", "list")
    assert re.search(rf"{ada['id']} +ada .* \$10\.00 ", text)
    assert bob["id"] in text, "a column is not cut where no terminal is"
    shown = cli.text("accounts", "show", "ada")
    assert "$10.00" in shown
    assert ada["id"] in shown


# -- teams -------------------------------------------------------------------------------------------------------------


def test_a_team_is_made_listed_and_changed(cli: CommandLine) -> None:
    team = cli.json("teams", "create", "blue", "--cap-day", "2", "--cap-month", "20")
    assert re.fullmatch(r"team_[0-9a-f]{16}", team["id"])
    assert (team["cap_day"], team["cap_month_nanos"], team["spent_day"]) == ("2.00", 20_000_000_000, "0.00")
    changed = cli.json("teams", "set", "blue", "--cap-day", "none", "--name", "red")
    assert (changed["id"], changed["name"], changed["cap_day_nanos"]) == (team["id"], "red", None)
    assert changed["cap_month"] == "20.00"
    assert cli.json("teams", "list") == [changed]
    assert "red" in cli.text("teams", "list")


def test_no_two_teams_share_a_name(cli: CommandLine) -> None:
    cli.text("teams", "create", "blue")
    cli.text("teams", "create", "red")
    assert "another team" in cli.refused("teams", "create", "blue")
    assert "another team" in cli.refused("teams", "set", "red", "--name", "blue")
    cli.text("teams", "set", "red", "--name", "red")


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_is_printed_once_and_stored_nowhere(cli: CommandLine, ada: dict[str, Any]) -> None:
    made = cli.json("keys", "create", "ada")
    token = made["token"]
    assert re.fullmatch(r"sk-hr-[A-Za-z0-9]{43}", token)
    printed = cli.text("keys", "create", ada["id"], "--name", "second")
    [second] = re.findall(r"sk-hr-[A-Za-z0-9]{43}", printed)
    assert printed.splitlines()[0] == second, "the first line is the key, for scripts without --json"
    later = [
        *(cli.text("keys", "list"), cli.text("keys", "list", "--json"), cli.text("keys", "show", made["id"])),
        *(cli.text("keys", "set", made["id"], "--rpm", "5", "--json"), cli.text("accounts", "show", "ada", "--json")),
    ]
    for text in later:
        assert token[6:] not in text
        assert second[6:] not in text
        assert "digest" not in text
    files = list(cli.directory.rglob("*"))
    assert cli.file in files
    for file in files:
        content = file.read_bytes() if file.is_file() else b""
        assert token[6:].encode() not in content
        assert second[6:].encode() not in content
    assert digest_of(token.encode()) in {key.digest for key in cli.in_store(lambda store: store.news(None, 0)).keys}


def test_a_new_key_is_what_was_asked_for(cli: CommandLine, ada: dict[str, Any]) -> None:
    words = ("--name", "ci", "--models", "gpt-4*, claude-*,gpt-4*", "--surfaces", "chat,messages", "--group", "gold")
    places = ("--addresses", "10.0.0.0/8,192.0.2.7,2001:db8::/32", "--expires", "2100-01-31")
    limits = ("--cap-day", "5", "--cap-month", "50", "--rpm", "60", "--tpm", "100000", "--in-flight", "4")
    made = cli.json("keys", "create", "ada", *words, *places, *limits)
    assert re.fullmatch(r"key_[0-9a-f]{16}", made["id"])
    assert made["shown"] == made["token"][-4:]
    del made["id"], made["shown"], made["token"], made["created"]
    assert made == {
        "account": ada["id"],
        "name": "ci",
        "models": ["gpt-4*", "claude-*"],
        "surfaces": ["chat", "messages"],
        "addresses": ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"],
        "group": "gold",
        "expires": "2100-01-31T00:00:00Z",
        "disabled": False,
        "state": "active",
        "cap_day_nanos": 5_000_000_000,
        "cap_day": "5.00",
        "cap_month_nanos": 50_000_000_000,
        "cap_month": "50.00",
        "requests_per_minute": 60,
        "tokens_per_minute": 100_000,
        "in_flight_max": 4,
        "spent_day_nanos": 0,
        "spent_day": "0.00",
        "spent_month_nanos": 0,
        "spent_month": "0.00",
    }


def test_a_key_without_limits_has_none(cli: CommandLine, ada: dict[str, Any]) -> None:
    made = cli.json("keys", "create", "ada")
    assert made["name"] == f"key-{made['shown']}"
    unlimited = (
        "cap_day",
        "cap_month",
        "requests_per_minute",
        "tokens_per_minute",
        "in_flight_max",
        "expires",
        "group",
    )
    assert [made[field] for field in unlimited] == [None] * 7
    assert made["models"] == made["surfaces"] == made["addresses"] == []


def test_every_limit_of_a_key_is_changed_and_taken_away(cli: CommandLine, ada: dict[str, Any]) -> None:
    cli.text("keys", "create", "ada", "--name", "ci")
    before = cli.json("keys", "show", "ci")
    changes = {
        "--models": "m",
        "--surfaces": "responses",
        "--addresses": "::1",
        "--expires": "30d",
        "--cap-day": "1",
        "--cap-month": "2",
        "--rpm": "3",
        "--tpm": "4",
        "--in-flight": "5",
        "--group": "gold",
    }
    for option, value in changes.items():
        changed = cli.json("keys", "set", "ci", option, value)
        assert changed != before, option
        assert cli.json("keys", "set", "ci", option, "none") == before, option
    after = cli.json("keys", "set", "ci", *(word for change in changes.items() for word in change))
    assert sum(after[field] != before[field] for field in before) == 12, "both forms of two caps"
    assert cli.json("keys", "set", "ci", "--name", "cd") == {**after, "name": "cd"}


def test_a_span_ends_so_much_later(cli: CommandLine, ada: dict[str, Any]) -> None:
    expires = datetime.fromisoformat(cli.json("keys", "create", "ada", "--expires", "30d")["expires"])
    assert abs(expires - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)


def test_a_key_is_disabled_and_enabled(cli: CommandLine, ada: dict[str, Any]) -> None:
    cli.text("keys", "create", "ada", "--name", "ci")
    assert cli.json("keys", "disable", "ci")["state"] == "disabled"
    assert [key["disabled"] for key in cli.json("keys", "list")] == [True]
    assert cli.json("keys", "enable", "ada/ci")["state"] == "active"


def test_names_of_keys_are_an_accounts_own(cli: CommandLine, ada: dict[str, Any]) -> None:
    cli.text("accounts", "create", "bob")
    first = cli.json("keys", "create", "ada", "--name", "ci")
    second = cli.json("keys", "create", "bob", "--name", "ci")
    assert "ACCOUNT/NAME" in cli.refused("keys", "show", "ci")
    assert cli.json("keys", "show", "bob/ci")["id"] == second["id"]
    assert cli.json("keys", "show", f"{ada['id']}/ci")["id"] == first["id"]
    assert cli.json("keys", "show", first["id"])["account"] == ada["id"]
    assert [key["id"] for key in cli.json("keys", "list", "--account", "bob")] == [second["id"]]
    assert {key["id"] for key in cli.json("keys", "list")} == {first["id"], second["id"]}


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("accounts create ada", "ada"),
        ("accounts create x --credit ten", "--credit must be in dollars"),
        ("accounts create x --credit -1", "--credit must be in dollars"),
        ("accounts create x --cap-day 0.0000000001", "--cap-day must have 9 decimals"),
        ("accounts create x --team nobody", "no team 'nobody'"),
        ("accounts create acc_0123456789abcdef", "the name must not"),
        ("accounts create none", "the name must not"),
        ("accounts create a/b", "the name must not"),
        ("accounts show nobody", "no account 'nobody'"),
        ("accounts set ada", "nothing was given"),
        ("accounts set nobody --cap-day 1", "no account 'nobody'"),
        ("accounts disable nobody", "no account 'nobody'"),
        ("teams set nobody --cap-day 1", "no team 'nobody'"),
        ("keys create nobody", "no account 'nobody'"),
        ("keys create ada --name ci", "ci"),
        ("keys create ada --surfaces chat,smoke", "--surfaces must be of chat"),
        ("keys create ada --addresses 10.0.0.1/8", "--addresses must be addresses"),
        ("keys create ada --addresses example.com", "--addresses must be addresses"),
        ("keys create ada --models ,", "--models must be a list"),
        ("keys create ada --expires 2001-01-01", "--expires must lie in the future"),
        ("keys create ada --expires soon", "--expires must be a date"),
        ("keys create ada --rpm 0", "--rpm must be a whole number"),
        ("keys create ada --rpm many", "--rpm must be a whole number"),
        ("keys create ada --in-flight -1", "--in-flight must be a whole number"),
        ("keys show nothing", "no key 'nothing'"),
        ("keys show ada/nothing", "no key 'ada/nothing'"),
        ("keys set ci", "nothing was given"),
        ("keys list --account nobody", "no account 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(
    unchanging: CommandLine, words: str, expected: str
) -> None:
    before = unchanging.in_store(lambda store: store.news(None, 0))
    assert expected in unchanging.refused(*words.split())
    assert unchanging.in_store(lambda store: store.news(None, 0)) == before


@pytest.mark.parametrize("name", ["", " ada", "ada\n", "a\x1b[31m", "x" * 101])
def test_a_name_is_printable(cli: CommandLine, name: str) -> None:
    assert "the name must be" in cli.refused("accounts", "create", name)


@pytest.mark.parametrize(
    "words",
    [
        *("accounts", "accounts create", "accounts create x --no-such", "accounts create x --role king"),
        *("keys create", "credit add ada", "usage --by moon", "logs --limit 0", "ledger list --limit many", "nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2(cli: CommandLine, words: str) -> None:
    result = cli.run(*words.split())
    assert result.exit_code == 2
    assert not cli.directory.exists()


@pytest.mark.parametrize(
    "words",
    ["accounts list", "accounts show x", "teams list", "keys create x", "credit show x", "ledger check", "logs"],
)
def test_a_directory_without_a_store_is_a_mistake_not_a_new_store(cli: CommandLine, words: str) -> None:
    assert "there is no store" in cli.refused(*words.split())
    assert not cli.directory.exists()


def test_a_file_that_is_no_store_is_one_refusal(cli: CommandLine) -> None:
    cli.directory.mkdir()
    cli.file.write_bytes(b"certainly no database" * 1_000)
    assert cli.refused("accounts", "list")
    assert cli.file.read_bytes() == b"certainly no database" * 1_000


# -- the file, and who else has it open --------------------------------------------------------------------------------


def test_nobody_else_may_read_the_store(cli: CommandLine) -> None:
    before = os.umask(0)
    try:
        cli.text("accounts", "create", "ada")
    finally:
        os.umask(before)
    assert stat.S_IMODE(cli.directory.stat().st_mode) == 0o700
    for file in cli.directory.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_a_command_works_beside_a_server_that_has_news_of_it(cli: CommandLine, ada: dict[str, Any]) -> None:
    async with open_store(cli.file) as server:
        seen = (await server.news(None, 0)).version
        await server.enter("worker", int(time.time()))
        words = [sys.executable, "-m", "engine", "keys", "create", "ada", "--json", "--data", str(cli.directory)]
        done = await trio.run_process(words, capture_stdout=True, capture_stderr=True)
        assert not done.stderr
        news = await server.news("worker", seen)
        token = json.loads(done.stdout)["token"]
        assert [key.digest for key in news.keys] == [digest_of(token.encode())]
        assert not news.accounts
        await server.leave("worker")


async def test_the_first_commands_of_a_store_may_come_at_once(cli: CommandLine) -> None:
    names = ["ada", "bob", "eve"]

    async def create(name: str) -> None:
        words = [sys.executable, "-m", "engine", "accounts", "create", name, "--credit", "1", "--data"]
        await trio.run_process([*words, str(cli.directory)], capture_stdout=True)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(create, name)
    async with open_store(cli.file) as store:
        accounts = (await store.news(None, 0)).accounts
        assert sorted(account.name for account in accounts) == names
        assert [(await store.balance(account.id)).balance_nanos for account in accounts] == [1_000_000_000] * 3
        assert await store.check() == []


def test_who_names_the_directory_first_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_directory(Path("given"), Path("/configured")) == tmp_path / "given"
    assert data_directory(None, Path("/configured")) == Path("/configured")
    assert data_directory(None, None) == platformdirs.user_data_path("hedgerow")
    assert database(Path("/d")).parent == journal(Path("/d")).parent == Path("/d")


def test_the_directory_is_taken_from_the_environment(cli: CommandLine, ada: dict[str, Any]) -> None:
    words = [sys.executable, "-m", "engine", "accounts", "list", "--json"]
    environ = {**os.environ, "HEDGEROW_DATA": str(cli.directory)}
    done = subprocess.run(words, check=True, env=environ, capture_output=True, timeout=60)
    assert [account["id"] for account in json.loads(done.stdout)] == [ada["id"]]


def test_help_loads_neither_the_loop_nor_the_store() -> None:
    program = (
        "import sys; from engine.__main__ import app; app(['keys', 'create', '--help'], standalone_mode=False);"
        "sys.exit(bool({'trio', 'aiosqlite', 'sqlite3', 'store.db', 'httptools', 'platformdirs'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
