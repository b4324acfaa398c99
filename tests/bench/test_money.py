"""The figures of money are taken as they say: who pays, in which order, from whose directory. None is asserted here."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import money, subjects
from bench.account import TOKEN, open_account
from bench.jobs import AnyJob, Paced, Quantiles, Report, Unary
from bench.money import CHARGED, LOGGED, PLAIN, Requests, Settings
from bench.process import Cores
from bench.runs import Figure
from bench.samples import Samples, Verdict
from bench.scenarios.money import scenario
from bench.settlements import Load, settle
from bench.subjects import KEY, Subject
from engine.config import load_document
from engine.keyring import Keyring
from store.db import open_store
from store.rows import TransferKind

ANYWHERE = Cores(frozenset(), frozenset())
BRIEF = Settings(
    rounds=1, seconds=0.3, settlements=Load(rounds=1, batches=1, keys=10, batch_records=20), warmup_s=0.1, connections=2
)
LATENCY = Quantiles(count=10, p50=1.0, p99=2.0, max=3.0)
CPU_S = {KEY: 0.001, TOKEN: 0.0015}


class Performed:
    """Answers every job as a worker would that takes 100 us for a request, and 150 us for one that is paid for."""

    def __init__(self, **report: Any) -> None:
        self.jobs: list[AnyJob] = []
        self._report = report

    def __call__(self, job: AnyJob) -> Report:
        self.jobs.append(job)
        usual: dict[str, Any] = {
            "seconds": 1.0,
            "requests_in_window": 10,
            "latency_ms": LATENCY,
            "subject_cpu_s": CPU_S[job.key],
        }
        return Report(**(usual | self._report))


def requests(performed: Performed, *, rounds: int = 3) -> Requests:
    me = (os.getpid(),)
    gateways = Subject("gateway", 1, me), Subject("gateway", 2, me)
    settings = BRIEF._replace(rounds=rounds)
    return Requests(settings, gateways, Subject("direct", 3, me), perform=performed, say=lambda _: None)


def test_every_way_is_asked_with_its_key_at_its_port_and_who_begins_takes_turns() -> None:
    performed = Performed()
    asking = requests(performed)
    asking.run()
    paced = [(job.port, job.key) for job in performed.jobs if isinstance(job, Paced)][3:]
    plain, logged, charged = (1, KEY), (2, KEY), (2, TOKEN)
    assert paced == [plain, logged, charged, logged, charged, plain, charged, plain, logged]
    assert {job.period_us for job in performed.jobs if isinstance(job, Paced)} == {300}, "half load, the dearest way"
    assert {job.connections for job in performed.jobs if isinstance(job, Unary)} == {BRIEF.connections}
    assert all(len(each) == 3 for each in asking.samples.values["paced_cpu_us"].values())


@pytest.mark.parametrize(("paid_s", "verdict"), [(0.0013, Verdict.OK), (0.0015, Verdict.OVER)])
def test_what_was_added_is_held_against_its_target(
    monkeypatch: pytest.MonkeyPatch, paid_s: float, verdict: Verdict
) -> None:
    monkeypatch.setitem(CPU_S, TOKEN, paid_s)
    asking = requests(Performed())
    asking.run()
    added = "CPU per request, same rate, added by an account's key"
    assert judged(asking.samples) == {added: verdict}
    assert shown(asking.samples)[added].samples == pytest.approx([(paid_s - CPU_S[KEY]) * 1e5] * 3)
    assert shown(asking.samples)[added].target == 40


def shown(samples: Samples) -> dict[str, Figure]:
    return {figure.name: figure for figure in scenario(samples, BRIEF).figures}


def judged(samples: Samples) -> dict[str, Verdict]:
    found = scenario(samples, BRIEF)
    verdicts = {figure.name: found.verdict(figure) for figure in found.figures}
    return {name: verdict for name, verdict in verdicts.items() if verdict is not Verdict.UNKNOWN}


@pytest.mark.parametrize(("per_s", "verdict"), [(20_000.0, Verdict.OK), (19_999.0, Verdict.OVER)])
def test_the_rate_of_settlements_is_held_against_its_target(per_s: float, verdict: Verdict) -> None:
    samples = Samples()
    samples.add("settled_per_s", "", per_s)
    assert judged(samples) == {"settlements booked per second": verdict}


def test_what_a_store_and_an_account_add_is_taken_round_by_round() -> None:
    samples = Samples()
    for way, values in ((PLAIN, (100.0, 200.0)), (LOGGED, (110.0, 220.0)), (CHARGED, (130.0, 250.0))):
        for each in values:
            samples.add("paced_cpu_us", way, each)
    found, figures = scenario(samples, BRIEF), shown(samples)
    assert figures["CPU per request, same rate, added by a store"].samples == [10.0, 20.0]
    assert figures["CPU per request, same rate, added by an account's key"].samples == [30.0, 50.0]
    assert found.ratios(figures["CPU per request, same rate, an account's key"]) == [1.3, 1.25]


def test_a_request_that_failed_is_a_problem_and_none_at_all_ends_the_run() -> None:
    asking = requests(Performed(errors={"status 402": 2}), rounds=1)
    asking.run()
    assert f"{CHARGED}, paced: 2 x status 402" in asking.samples.problems
    with pytest.raises(RuntimeError, match=r"no store, closed: nothing was answered.*status 401"):
        requests(Performed(requests_in_window=0, errors={"status 401": 1})).run()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the threads of another process apart")
def test_the_time_of_the_own_thread_is_a_part_of_all() -> None:
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        pass
    own = money.own_seconds([os.getpid()])
    assert own is not None
    assert 0 < own <= money.all_seconds([os.getpid()])
    assert money.own_seconds([2**22 + 1]) is None


async def test_the_account_can_pay(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await open_account(data)
    keyring = Keyring(load_document({}, {}))
    async with open_store(data / "hedgerow.db") as store:
        keyring.learn(await store.news(None, 0))
        assert (await store.balance("acc_bench")).balance_nanos > 0
    principal = keyring.authenticate(TOKEN.encode())
    assert principal is not None
    assert principal.budgets[0].called == "balance"
    assert len(principal.budgets) == 5, "the wallet, two caps and two rates"


async def test_what_is_settled_is_in_the_ledger_and_adds_up(tmp_path: Path) -> None:
    samples, load = Samples(), Load(rounds=2, batches=2, holders=3, keys=10, batch_records=25)
    await settle(load, tmp_path / "ledger.db", samples, lambda _: None)
    assert samples.problems == []
    assert [len(samples.values[name][""]) for name in ("settled_per_s", "settled_per_cpu_s")] == [2, 2]
    async with open_store(tmp_path / "ledger.db") as store:
        assert await store.check() == []
        rows = await store.transfers(limit=10_000)
        settled = [row for row in rows if row.kind == TransferKind.SETTLEMENT]
        assert len(settled) == 3 * 3 * 2 * 25, "of three rounds, the first is not counted"
        assert {row.key for row in settled} == {f"key-{number}" for number in range(10)}
        assert json.loads(settled[0].detail)["usage"]["input_tokens"] == 32


@pytest.mark.parametrize("given", [False, True])
def test_a_gateway_that_is_measured_keeps_its_data_in_a_directory_of_the_bench(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: bool
) -> None:
    started: list[Sequence[str]] = []
    environments: list[Mapping[str, str]] = []

    @contextmanager
    def running(command: Sequence[str], *, environ: Mapping[str, str], **_: object) -> Iterator[SimpleNamespace]:
        started.append(command)
        environments.append(environ)
        yield SimpleNamespace(pid=os.getpid())

    monkeypatch.setattr(subjects, "running", running)
    monkeypatch.setattr(subjects, "wait_ready", lambda *_: None)
    monkeypatch.setattr(subjects, "worker_pids", lambda _: [1])
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "of-the-user"))
    with subjects.serving("", ANYWHERE, data=tmp_path / "data" if given else None) as served:
        data = Path(started[0][started[0].index("--data") + 1])
        assert data == (tmp_path / "data" if given else served.access_log.parent / "data")
        assert "HEDGEROW_DATA" not in environments[0]
        assert served.subject.pids == (1,)
        assert os.getpid() in served.subject.beside
        assert 1 not in served.subject.beside


def test_a_whole_run_in_brief() -> None:
    said: list[str] = []
    samples = money.measure(BRIEF, ANYWHERE, said.append)
    assert (samples.problems, said[0]) == ([], "starting")
    figures = shown(samples)
    for way in (PLAIN, LOGGED, CHARGED):
        assert len(figures[f"CPU per request, same rate, {way}"].samples) == 1
        assert figures[f"requests per second, closed loop, {way}"].samples[0] > 0
    for title in ("settlements booked per second", "settlements booked per second of CPU"):
        assert figures[title].samples[0] > 0
