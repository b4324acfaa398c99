"""The same seed gives the same requests and the same faults, in processes that know nothing of each other."""

import ast
import http.client
import json
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import bench
from bench.canned import Server
from bench.client import chat_request
from bench.faults import Faults, Pace, faulty
from bench.jobs import Numbered
from bench.load import run
from bench.process import Cores, announcement, running
from bench.scenarios import Profile, failover, harness
from bench.subjects import fetch

ANYWHERE = Cores(frozenset(), frozenset())
REQUESTS = 60
NUMBERS = range(1000, 1000 + REQUESTS)
PACE = Pace(median_ms=2.0, sigma=0.8, ms_max=10.0)
FAULTS = Faults(refusals=0.3, stalls=0.1, cuts=0.2, stall_seconds=0.05)
ID = re.compile(rb'"id":"[^"]*"')
"""An answer is numbered by when its request arrived."""

SOURCES = sorted(Path(bench.__file__).parent.rglob("*.py"))
UNSEEDED = {"os.urandom", "random.SystemRandom", "uuid.uuid1", "uuid.uuid4"}


class Came(NamedTuple):
    """What the upstream got of one request; nothing of it is a time."""

    target: str
    headers: tuple[tuple[str, str], ...]
    body: str


class Fate(NamedTuple):
    """What its client got: the status, the body as far as it came but for its id, and whether that was all."""

    status: int
    body: bytes
    whole: bool


class Outcome(NamedTuple):
    """What came and what became of it by number, and what a load counted of as many others."""

    came: dict[int, Came]
    fates: dict[int, Fate]
    answered: int
    errors: dict[str, int]


def script() -> list[dict[str, Any]]:
    """Give the failover scenario's script, but so that the answer after a stall can be told from the others."""
    steps = faulty(PACE, FAULTS)
    steps[0]["choose"][1]["steps"][-1] = {"answer": {"content": " late"}}
    return steps


def ask(port: int, number: int) -> Fate:
    headers, body = chat_request(key="k", model="canned", canned=None, number=number)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        try:
            return Fate(answer.status, ID.sub(b"", answer.read()), whole=True)
        except http.client.IncompleteRead as exc:
            return Fate(answer.status, ID.sub(b"", exc.partial), whole=False)


def outcome(seed: int, path: Path, order: Sequence[int]) -> Outcome:
    """Run the upstream in a process of its own; ask in this order, several at a time, and then let the load ask."""
    command = [sys.executable, "-m", "bench.upstream", "--follow-stdin", "--script", str(path), "--seed", str(seed)]
    with running(command, on=ANYWHERE.others, piped=True) as process:
        port = announcement(process)["port"]
        with ThreadPoolExecutor(8) as pool:
            fates = dict(zip(order, pool.map(partial(ask, port), order), strict=True))
        status, log = fetch(port, "/_log")
        report = run(Numbered(port=port, requests=REQUESTS, first=max(order) + 1, period_us=2000))
    assert status == 200
    came = {
        json.loads(record["body"])["seed"]: Came(
            record["target"], tuple((name, value) for name, value in record["headers"]), record["body"]
        )
        for record in json.loads(log)
    }
    return Outcome(came, fates, report.requests, report.errors)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Two runs with one seed, of which one asks in reverse, and one with another seed."""
    path = tmp_path_factory.mktemp("script") / "script.json"
    path.write_text(json.dumps(script()))
    return [outcome(5, path, NUMBERS), outcome(5, path, NUMBERS[::-1]), outcome(6, path, NUMBERS)]


def test_the_same_seed_gives_the_same_requests_and_the_same_fates(outcomes: list[Outcome]) -> None:
    first, again, _ = outcomes
    assert sorted(first.came) == list(NUMBERS)
    assert first.came == again.came
    assert first.fates == again.fates
    assert (first.answered, first.errors) == (again.answered, again.errors)


def test_another_seed_gives_other_fates_to_the_same_requests(outcomes: list[Outcome]) -> None:
    first, _, other = outcomes
    assert first.came == other.came
    assert first.fates != other.fates


def test_every_fault_was_drawn_and_every_request_accounted_for(outcomes: list[Outcome]) -> None:
    for found in outcomes:
        kinds = Counter((fate.status, fate.whole) for fate in found.fates.values())
        assert set(kinds) == {(200, True), (503, True), (200, False)}
        assert min(kinds.values()) > 1
        assert 1 < sum(b'"content":" late"' in fate.body for fate in found.fates.values()) < kinds[200, True]
        assert found.answered + sum(found.errors.values()) == REQUESTS
        assert found.errors["status 503"] > 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_is_drawn_without_a_seed(path: Path) -> None:
    assert list(unseeded(ast.parse(path.read_text(encoding="utf-8")))) == []


def unseeded(tree: ast.AST) -> Iterator[str]:
    """Yield what is drawn from the system, from the module's own generator, or from one that nobody seeded."""
    modules = {"random", "secrets"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in modules:
            yield from (alias.name for alias in node.names if alias.name != "Random")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in UNSEEDED or (node.value.id in modules and node.attr != "Random"):
                yield name
        if isinstance(node, ast.Call) and not node.args and ast.unparse(node.func).endswith("Random"):
            yield "Random()"


@pytest.mark.parametrize(
    "text",
    ["random.random()", "from random import choice", "os.urandom(4)", "Random()", "random.Random()", "uuid.uuid4()"],
)
def test_what_is_drawn_without_a_seed_is_found(text: str) -> None:
    assert list(unseeded(ast.parse(text)))


def test_seeded_dice_are_let_pass() -> None:
    assert list(unseeded(ast.parse("from random import Random\nRandom(1).random()\nself.dice.random()"))) == []


def test_spread_streams_begin_where_the_seed_says() -> None:
    def first(seed: int) -> list[float]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = Server(listener, seed)
            drawn = [server.dice.random() for _ in range(5)]
            server.selector.close()
            return drawn

    assert first(1) == first(1) != first(2)


def test_sound_is_the_same_in_every_process() -> None:
    asked = [
        sys.executable,
        "-c",
        "from bench.realtime_frames import append_frame; print(append_frame(b'echo', 1).hex())",
    ]
    heard = {subprocess.run(asked, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(heard) == 1
    assert len(heard.pop()) > 1000


@pytest.mark.parametrize("quick", [True, False])
def test_the_seed_of_the_run_reaches_what_draws(quick: bool) -> None:
    profile = Profile(quick=quick, seed=41)
    assert failover._settings(profile).seed == 41
    assert harness._settings(profile).seed == 41
