"""Every row of the failure table, on real sockets: four clients' SDKs, unary and streamed, with and without a way out.

In each test one upstream fails as the row says, and three names lead to it: alone, with a healthy candidate behind it,
and with one behind it that speaks another dialect. All of them are asked side by side.
"""

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import engine.serve
from bench import upstream
from bench.upstream import ScriptedUpstream
from engine.accesslog import Entry
from tests.engine.canned import Reply, Upstream, serving
from tests.engine.clients import DIALECTS, Heard, ask
from tests.engine.failure_table import HEARD, PARTIAL, ROWS, STREAM, Place, Row, Then, shown
from tests.engine.live import KEY, Live, running
from tests.translation.cases import BY_DIALECT

README = Path(__file__).parents[2] / "README.md"
HEADING = "### What happens when an upstream fails\n"

ALONE, BEHIND, ABROAD = COMPANIES = ("alone", "behind", "abroad")
"""Who is there beside the failing candidate: nobody, another one, one of another dialect."""

HEALTHY = "The scripted upstream heard: Say hello"
FOREIGN = next(case for case in BY_DIALECT["messages"] if case.name == "text and call")
FOREIGN_TEXT = "".join(block[1] for block in FOREIGN.seen.blocks if block[0] == "text")

ATTEMPT_SECONDS = 0.1
"""After which a stalled attempt is replaced here. A candidate that nobody can replace goes on, however slow we are."""


class Abroad(Upstream):
    """A healthy upstream of another dialect."""

    def answer(self, target: str, body: dict[str, Any]) -> Reply:
        if body.get("stream"):
            return 200, "text/event-stream", FOREIGN.stream()
        return 200, "application/json", FOREIGN.body


class Nameless(trio.abc.HostnameResolver):
    """Knows no name."""

    async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def frequent_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.serve, "SWEEP_SECONDS", 0.05)


@asynccontextmanager
async def address(row: Row, scripted: ScriptedUpstream) -> AsyncIterator[str]:
    """Give the base URL of the failing candidate."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listening
        nobodys = f"127.0.0.1:{nobody.getsockname()[1]}"
        with socket.create_server(("127.0.0.1", 0)) as mute:
            mutes = f"127.0.0.1:{mute.getsockname()[1]}"
            trio.socket.set_custom_hostname_resolver(Nameless())
            yield {
                Place.SCRIPTED: scripted.base_url,
                Place.REFUSING: f"http://{nobodys}/v1",
                Place.NAMELESS: "http://upstream.test/v1",
                Place.PLAIN: f"https://127.0.0.1:{scripted.port}/v1",
                Place.MUTE: f"https://{mutes}/v1",
            }[row.place]


def name_of(dialect: str, form: str, company: str) -> str:
    """Return the name that one client asks for: each has a health of its own, so that none spoils another's test."""
    return f"{dialect}-{form}-{company}"


def configuration(row: Row, dialect: str, urls: dict[str, str], **race: Any) -> dict[str, Any]:
    """Return a configuration with a name for each form and company of one dialect."""
    models: dict[str, Any] = {}
    for form in row.forms:
        for company in COMPANIES:
            name = name_of(dialect, form, company)
            candidates: list[dict[str, Any]] = [{"provider": "failing", "model": name}]
            if company != ALONE:
                candidates.append({"provider": company, "model": "healthy", "tier": 2})
            # The deadlines of the whole request are for those who have nobody else; they would race with a replacement.
            given = {
                timeout: seconds
                for timeout, seconds in row.timeouts.items()
                if company == ALONE or timeout in {"connect_seconds", "idle_seconds"}
            }
            models[name] = {"candidates": candidates, "timeouts": given}
    kinds = {"failing": "compatible", BEHIND: "compatible", ABROAD: "anthropic"}
    # One that stalls behind its first content has all the time for that.
    seconds = ATTEMPT_SECONDS if row.cause == "timeout" and row.then is not Then.TOLD else 30
    return {
        "server": {"environment_providers": False, "console": False},
        "keys": {"test": {"value": KEY}},
        "race": {"attempt_seconds": seconds, "unary_attempt_seconds": seconds, **race},
        "limits": row.limits,
        "providers": {
            name: {"kind": kind, "base_url": urls[name], "key": "sk-upstream", "discover": False}
            for name, kind in kinds.items()
        },
        "models": models,
    }


async def play(row: Row, dialect: str, live: Live, scripted: ScriptedUpstream) -> None:
    """Ask for every name, side by side, and check what was heard."""
    heard: dict[str, Heard] = {}

    async def one(form: str, company: str) -> None:
        name = name_of(dialect, form, company)
        heard[name] = Heard()
        await ask(dialect, live.origin, name, stream=form == STREAM, heard=heard[name])

    async def go_on_when_heard() -> None:
        while len(heard) < len(COMPANIES) or not all(each.text for each in heard.values()):
            await trio.sleep(0.005)
        scripted.gate(HEARD).set()

    for form in row.forms:
        scripted.set_default(row.script_for(form) or None)
        async with trio.open_nursery() as nursery:
            for company in COMPANIES:
                nursery.start_soon(one, form, company)
            if row.then is Then.TOLD:
                nursery.start_soon(go_on_when_heard)
    await live.log.wait_entry(len(heard) - 1)
    entries = {entry.model: entry for entry in live.log.entries}
    for form in row.forms:
        for company in COMPANIES:
            name = name_of(dialect, form, company)
            check(row, dialect, form, company, heard[name], entries[name])


async def play_in_turn(row: Row, dialect: str, live: Live, scripted: ScriptedUpstream) -> None:
    """The same where one request prepares the next: what is played before, the row's script, then usual answers."""
    for form in row.forms:
        for company in COMPANIES:
            name = name_of(dialect, form, company)
            for script in row.before:
                scripted.enqueue(script)
                await ask(dialect, live.origin, name, stream=False)
                await live.log.wait_entry()
                live.log.entries.clear()
            scripted.enqueue(row.script)
            heard = await ask(dialect, live.origin, name, stream=form == STREAM)
            entry = await live.log.wait_entry()
            check(row, dialect, form, company, heard, entry)
            assert entry.attempts[0].reused is False, "it was tried again, on a connection of its own"
            live.log.entries.clear()


def check(row: Row, dialect: str, form: str, company: str, heard: Heard, entry: Entry) -> None:
    """Compare what one client got, and what was logged, with what the row says."""
    asked = [(attempt.provider, attempt.outcome) for attempt in entry.attempts]
    failed = ("failing", row.cause)
    where = f"{dialect}, {form}, {company}: {heard} {asked}"
    answered = row.then is Then.MENDED or (row.then is Then.NEXT and company != ALONE)
    if answered:
        provider = "failing" if row.then is Then.MENDED else company
        assert not heard.failed, where
        assert heard.text == (FOREIGN_TEXT if provider == ABROAD else HEALTHY), where
        assert heard.headers["x-hedgerow-provider"] == provider, where
        assert heard.headers["x-hedgerow-attempts"] == ("1" if provider == "failing" else "2"), where
        assert heard.headers["x-hedgerow-hedged"] == "false", where
        assert asked == ([failed] if provider == "failing" else [failed, (provider, "ok")]), where
        assert (entry.outcome, entry.provider, entry.upstream_model) == (
            "ok",
            provider,
            entry.model if provider == "failing" else "healthy",
        ), where
        return
    words = row.words
    assert words is not None
    assert heard.failed, where
    assert (heard.status, heard.word) == (words.status_for(dialect), words.word_for(dialect)), where
    race = [heard.headers[f"x-hedgerow-{name}"] for name in ("provider", "attempts", "hedged")]
    assert race == ["failing", "1", "false"], where
    assert asked == [failed], where
    assert heard.text == (PARTIAL if row.then is Then.TOLD else ""), where
    refused = row.then is Then.REFUSED or words.status == 404
    outcome = "incomplete" if row.then is Then.TOLD else "client_error" if refused else "upstream_error"
    assert (entry.outcome, entry.status) == (outcome, words.status_for(dialect) or 200), where


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}, {' and '.join(row.forms)}")
async def test_a_failure_is_what_the_table_says(row: Row, dialect: str) -> None:
    async with (
        upstream.running() as scripted,
        upstream.running() as healthy,
        serving(Abroad()) as abroad,
        address(row, scripted) as failing,
    ):
        urls = {"failing": failing, BEHIND: healthy.base_url, ABROAD: f"{abroad}/v1"}
        async with running(configuration(row, dialect, urls)) as live:
            await (play_in_turn if row.before else play)(row, dialect, live, scripted)
        # `running` has seen to leases and counts; the upstreams see that every connection was closed as well.
        with trio.fail_after(5):
            while scripted.connections_open or healthy.connections_open:
                await trio.sleep(0.005)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.failure.startswith("stall before")], ids=lambda row: row.name
)
async def test_a_stall_gets_company_where_hedging_is_on(row: Row, dialect: str) -> None:
    async with (
        upstream.running() as scripted,
        upstream.running() as healthy,
        serving(Abroad()) as abroad,
    ):
        urls = {"failing": scripted.base_url, BEHIND: healthy.base_url, ABROAD: f"{abroad}/v1"}
        # Of one of the dialects every answer is stored unless the request says otherwise.
        hedged = configuration(
            row, dialect, urls, hedge="20ms", attempt_seconds=30, unary_attempt_seconds=30, hedge_side_effects=True
        )
        async with running(hedged) as live:
            for number, (form, company) in enumerate(
                (form, company) for form in row.forms for company in (BEHIND, ABROAD)
            ):
                scripted.set_default(row.script_for(form))
                heard = await ask(dialect, live.origin, name_of(dialect, form, company), stream=form == STREAM)
                assert heard.text == (FOREIGN_TEXT if company == ABROAD else HEALTHY)
                race = [heard.headers[f"x-hedgerow-{name}"] for name in ("provider", "attempts", "hedged")]
                assert race == [company, "2", "true"]
                entry = await live.log.wait_entry(number)
                became = [(attempt.provider, attempt.outcome) for attempt in entry.attempts]
                assert became == [("failing", "lost"), (company, "ok")]
                assert entry.attempts[0].usage is not None
        with trio.fail_after(5):
            while scripted.connections_open or healthy.connections_open:
                await trio.sleep(0.005)


def test_readme_shows_the_table() -> None:
    _, _, section = README.read_text().partition(HEADING)
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert lines == list(shown(ROWS))


def test_every_failure_of_a_stream_in_the_middle_is_told_in_every_dialects_own_words() -> None:
    for row in ROWS:
        if row.then is Then.TOLD:
            assert row.words is not None
            assert row.words.status is None
            assert all(row.words.word_for(dialect) for dialect in DIALECTS)
