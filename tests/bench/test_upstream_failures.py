"""Every failure of the table, spoken in each upstream's dialect, is the same failure to the gateway in front of it."""

from typing import Any

import pytest
import trio

import engine.serve
from bench import upstream
from bench.failures import LONG, SCRIPTS
from bench.script import parse_script
from tests.engine.clients import DIALECTS, ask
from tests.engine.failure_table import ROWS, STREAM, Place, Row
from tests.engine.live import KEY, running

PLAYED = [row for row in ROWS if row.place is Place.SCRIPTED]
CHOICELESS = ("no choice in the answer", {"responses", "messages"})
"""A failure, and the dialects that do not know it: to say nothing is an answer there."""

HERE = {("gemini", "no choice in the answer", STREAM): "incomplete"}
"""Where a failure has another cause than in the table: such a stream has no reason for its end either."""


@pytest.fixture(autouse=True)
def frequent_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.serve, "SWEEP_SECONDS", 0.05)


def test_there_is_a_script_for_every_row() -> None:
    assert {row.name for row in PLAYED} == {name.replace("`", "") for name in SCRIPTS}
    for script in SCRIPTS.values():
        parse_script(script)


def name_of(row: Row, form: str) -> str:
    return f"{''.join(letter if letter.isalnum() else '-' for letter in row.name)}-{form}"


def configuration(dialect: str, base_url: str) -> dict[str, Any]:
    provider = {"base_url": base_url, "discover": False, "dialects": [dialect]}
    models = {
        name_of(row, form): {"candidates": [{"provider": "failing"}], "timeouts": row.timeouts}
        for row in PLAYED
        for form in row.forms
    }
    return {
        "server": {"environment_providers": False, "console": False},
        "keys": {"test": {"value": KEY}},
        "limits": {"answer_bytes_max": LONG - 1000, "event_bytes_max": LONG - 1000},
        "providers": {"failing": provider},
        "models": models,
    }


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_failure_is_the_same_in_every_dialect(dialect: str) -> None:
    found: dict[str, str] = {}
    expected: dict[str, str] = {}
    scripts = {name.replace("`", ""): script for name, script in SCRIPTS.items()}
    rows = [row for row in PLAYED if row.name != CHOICELESS[0] or dialect not in CHOICELESS[1]]
    async with upstream.running() as server, running(configuration(dialect, server.base_url)) as live:
        for row in rows:
            for form in row.forms:
                live.log.entries.clear()
                server.set_default(None if row.before else scripts[row.name])
                for before in row.before:
                    server.enqueue(before, scripts[row.name])
                    await ask(dialect, live.origin, name_of(row, form), stream=False)
                    await live.log.wait_entry()
                    live.log.entries.clear()
                with trio.fail_after(10):
                    await ask(dialect, live.origin, name_of(row, form), stream=form == STREAM)
                    entry = await live.log.wait_entry()
                where = f"{row.name}, {form}"
                found[where] = ", ".join(attempt.outcome for attempt in entry.attempts)
                expected[where] = HERE.get((dialect, row.name, form), row.cause)
    assert found == expected
