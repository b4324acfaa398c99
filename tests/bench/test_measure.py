"""How a rate is found, whose turn it is, and what relay, latency and workers make of reports that are made by hand."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import peers
from bench.jobs import AnyJob, Arrivals, Paced, Report, Streams, Unary, quantiles
from bench.load import run
from bench.measure import Distributions, Load, Part, find_load, rounds, served_share, wanted_share
from bench.process import Cores
from bench.runs import Scenario
from bench.samples import Verdict
from bench.scenarios import Profile, latency, lineup, relay, workers
from bench.scenarios.lineup import Lineup
from bench.scenarios.trial import Trial
from bench.subjects import DIRECT, GATEWAY, LOGGED, NGINX, Subject, canned

ANYWHERE = Cores(frozenset(), frozenset())
OTHER = "other"
COST_US = {NGINX: 20.0, GATEWAY: 200.0, OTHER: 30_000.0}
ADDED_S = {DIRECT: 0.0, NGINX: 0.0001, GATEWAY: 0.0006, OTHER: 0.03}
NAMES = dict(enumerate((DIRECT, NGINX, GATEWAY, OTHER), start=1))


def subject(name: str, **more: object) -> Subject:
    port = next(port for port, known in NAMES.items() if known == name)
    return Subject(name, port, (100 + port,))._replace(**more)  # type: ignore[arg-type]


class Machine:
    """Answers jobs as subjects of known cost would: everything that is asked for, up to all of their core."""

    def __init__(self, *, waking_us: float = 0.0, errors: dict[str, dict[str, int]] | None = None) -> None:
        self.jobs: list[AnyJob] = []
        self._waking_us = waking_us
        self._errors = errors or {}

    def __call__(self, job: AnyJob) -> Report:
        self.jobs.append(job)
        name = NAMES[job.port]
        errors = self._errors.get(name, {})
        cost_us = COST_US.get(name, 10.0)
        match job:
            case Unary() if "streams" not in errors:
                count = round(job.seconds * 1e6 / cost_us)
            case Paced() | Arrivals():
                cost_us += self._waking_us
                count = round(job.seconds * 1e6 / max(cost_us, job.period_us))
            case _:
                count = 1000
                cost_us /= 10
        times = quantiles([0.001 + ADDED_S[name]] * 100)
        cpu_s = count * cost_us / 1e6
        return Report(
            seconds=job.seconds,
            requests=count,
            requests_in_window=count,
            events=count,
            errors=errors,
            latency_ms=times,
            ttft_ms=times,
            gap_ms=times,
            late_ms=times,
            subject_cpu_s=cpu_s if job.subject else 0.0,
            beside_cpu_s=cpu_s / 10 if job.beside else 0.0,
        )


def said(_: str) -> None:
    """Nobody waits."""


# -- the rate ----------------------------------------------------------------------------------------------------------


def costing(cost_us: Callable[[int], float], *, known: bool = True) -> Callable[[int], Report]:
    def ask(period_us: int) -> Report:
        count = max(1, round(1e6 / max(period_us, cost_us(period_us))))
        cpu_s = count * cost_us(period_us) / 1e6 if known else 0.0
        return Report(seconds=1.0, requests_in_window=count, subject_cpu_s=cpu_s)

    return ask


@given(st.floats(300, 20_000), st.floats(0, 1), st.sampled_from([0.1, 0.5, 0.8]), st.floats(0.2, 5))
def test_the_share_is_found_also_where_rare_requests_cost_more(
    busy_us: float, waking: float, share: float, guess: float
) -> None:
    def cost_us(period_us: int) -> float:
        return busy_us * (1 + waking * min(1.0, period_us / (busy_us * 20)))

    found = find_load(costing(cost_us), share, busy_us / share * guess, tries=12)
    assert cost_us(found.period_us) / found.period_us == pytest.approx(share, rel=0.2)


def test_a_subject_that_others_keep_from_its_core_is_asked_for_less() -> None:
    def starved(period_us: int) -> Report:
        count = min(250, round(1e6 / period_us))
        return Report(seconds=1.0, requests_in_window=count, subject_cpu_s=count * 0.0004)

    assert find_load(starved, 0.5, 800) == Load(8000, 0.5), "a tenth of its core would do, which it does not get"


def test_the_bench_is_not_asked_for_more_than_it_can() -> None:
    def ask(period_us: int) -> Report:
        per_s = 1e6 / period_us
        return Report(seconds=1.0, requests_in_window=round(per_s), subject_cpu_s=per_s * 2e-5, load_cpu_s=per_s * 2e-4)

    found = find_load(ask, 0.5, 2000)
    assert 200 / found.period_us == pytest.approx(0.6, rel=0.1)
    assert found.share == pytest.approx(0.1 * 0.6, rel=0.1), "less than was meant, and it is said how much"


def test_without_cpu_time_the_share_is_that_of_the_capacity() -> None:
    found = find_load(costing(lambda _: 50.0, known=False), 0.5, 123, capacity_per_s=1000.0)
    assert found.period_us == pytest.approx(2000, rel=0.08)
    assert wanted_share(Report(seconds=1.0, requests_in_window=5), 100) is None


def test_nobody_answers_and_the_guess_stays() -> None:
    assert find_load(lambda _: None, 0.5, 700) == Load(700, 0.5)
    assert Load(700, 0.5).per_s == pytest.approx(1428.6, rel=1e-3)


def test_how_much_was_answered_in_time() -> None:
    assert served_share(Report(seconds=2.0, requests_in_window=900), 2000) == pytest.approx(0.9)
    assert served_share(Report(), 2000) == 0.0


def test_who_begins_rotates_in_every_part() -> None:
    asked: list[tuple[str, str]] = []
    three, two = [subject(name) for name in (DIRECT, NGINX, GATEWAY)], [subject(name) for name in (NGINX, GATEWAY)]
    parts = [
        Part("a", lambda each: asked.append(("a", each.name)), three),
        Part("b", lambda each: asked.append(("b", each.name)), two),
    ]
    rounds(parts, 2, said)
    assert [name for part, name in asked if part == "a"] == [DIRECT, NGINX, GATEWAY, NGINX, GATEWAY, DIRECT]
    assert [name for part, name in asked if part == "b"] == [NGINX, GATEWAY, GATEWAY, NGINX]


def test_distributions_of_rounds_become_one() -> None:
    times = Distributions()
    times.add("latency", GATEWAY, quantiles([0.001, 0.002]))
    times.add("latency", GATEWAY, quantiles([0.002, 0.003]))
    times.add("latency", NGINX, None)
    (found,) = times.histograms()
    assert (found.name, found.group, found.unit) == (f"latency: {GATEWAY}", "latency", "ms")
    assert (found.values, found.counts) == ([1.0, 2.0, 3.0], [1, 2, 1])


# -- relay -------------------------------------------------------------------------------------------------------------


def relayed(machine: Machine, *names: str) -> tuple[relay.Relay, Scenario]:
    running = [subject(name) for name in names] + [subject(GATEWAY, beside=(7,))]
    found = relay.Relay(Trial(subject(DIRECT), machine), Lineup(subject(DIRECT), running), relay.FULL)
    found.run(said)
    return found, relay.scenario(found, {})


def test_relay_holds_the_gateway_against_everybody_at_half_of_what_it_can() -> None:
    measured, found = relayed(Machine(waking_us=40.0), NGINX, OTHER)
    figures = {figure.name: figure for figure in found.figures}
    assert (240 / measured.rate.period_us) == pytest.approx(0.5, rel=0.08)
    paced, closed = figures["CPU per unary request, same rate"], figures["CPU per unary request, closed loop"]
    assert paced.samples == pytest.approx([240.0] * 5)
    assert found.ratios(paced) == pytest.approx([4.0] * 5)
    assert found.verdict(paced) is Verdict.OK
    assert found.ratios(closed) == pytest.approx([10.0] * 5)
    beside = figures["CPU per unary request, closed loop, beside other"]
    assert found.ratios(beside) == pytest.approx([1 / 150] * 5)
    assert figures[f"CPU per unary request, same rate: {LOGGED}"].foreign is False
    assert figures["CPU per unary request, same rate: nginx"].foreign
    assert figures["requests per second, one worker"].better == "higher"
    added = figures["latency added to a unary request, same rate, p50"]
    assert added.samples == pytest.approx([0.6] * 5)
    assert figures["CPU of its other processes per unary request, closed loop"].samples == pytest.approx([20.0] * 5)
    assert found.problems == []


def test_relay_leaves_out_of_the_same_rate_who_cannot_follow() -> None:
    machine = Machine()
    measured, found = relayed(machine, NGINX, OTHER)
    names = {figure.name for figure in found.figures}
    assert "CPU per unary request, same rate: other" not in names
    assert "CPU per SSE event: other" in names
    assert any("other answers 33 requests a second" in remark for remark in found.remarks)
    assert not any(isinstance(job, Paced) and NAMES[job.port] == OTHER for job in machine.jobs)
    streams = {NAMES[job.port]: job.streams for job in machine.jobs if isinstance(job, Streams)}
    assert streams == {NGINX: 100, GATEWAY: 100, OTHER: 2}
    kinds = {type(job) for job in machine.jobs if NAMES[job.port] == OTHER}
    assert kinds == {Unary, Streams}
    assert measured.trial.samples.values["unary_cpu_us"].keys() == {NGINX, OTHER, GATEWAY, LOGGED}


def test_relay_asks_one_gateway_with_both_keys() -> None:
    machine = Machine()
    relayed(machine)
    keys = {job.key for job in machine.jobs if NAMES[job.port] == GATEWAY}
    assert len(keys) == 1, "the subject here has the key of the file"
    assert "nginx was not there: no ratios to it." in relayed(Machine())[1].remarks


def test_what_fails_at_a_peer_is_told_and_at_the_gateway_is_a_problem() -> None:
    machine = Machine(errors={OTHER: {"status 500": 2}, GATEWAY: {"status 503": 3}})
    _, found = relayed(machine, OTHER)
    assert any(problem.startswith("gateway, unary, closed loop: 3 x status 503") for problem in found.problems)
    assert any(problem.startswith(f"{LOGGED}, ") for problem in found.problems)
    assert not any("other" in problem for problem in found.problems)
    assert any(remark.startswith("other, unary, closed loop: 2 x status 500") for remark in found.remarks)


# -- latency -----------------------------------------------------------------------------------------------------------


def late(machine: Machine, *running: Subject) -> tuple[latency.Latency, Scenario, list[AnyJob]]:
    trial = Trial(subject(DIRECT), machine)
    found = latency.Latency(trial, Lineup(subject(DIRECT), list(running)), latency.FULL)
    found.run(said)
    curve = found.curve(said)
    return found, latency.scenario(found, latency.FULL, [curve], {}), machine.jobs


def test_latency_is_what_is_added_at_the_same_rate_at_three_loads() -> None:
    measured, found, _ = late(Machine(), subject(NGINX), subject(GATEWAY))
    figures = {figure.name: figure for figure in found.figures}
    half = figures["time to first token added at half load, p50"]
    assert half.samples == pytest.approx([0.6] * 5)
    assert (half.target, found.verdict(half), half.headline) == (0.5, Verdict.OVER, True)
    assert figures["time to first token added at half load, p99"].target == 3.0
    assert figures["time to first token added at 10% load, p99"].samples == pytest.approx([0.6] * 5)
    assert figures["time to first token added at 80% load, p50: nginx"].foreign
    good = figures["goodput, first tokens within 50 ms at 80% load"]
    assert good.better == "higher"
    assert 0 < good.samples[0] <= 1e6 / measured.loads[latency.Level(latency.STREAMS, 0.8, GATEWAY)].period_us * 1.01
    for share, name in ((10, "10% load"), (50, "half load"), (80, "80% load")):
        assert figures[f"core used by streams at {name}"].samples == pytest.approx([share] * 5, rel=0.09)
    assert measured.loads.keys() == {
        latency.Level(kind, share, name)
        for name in (NGINX, GATEWAY)
        for kind, share in [*((latency.STREAMS, share) for share in (0.1, 0.5, 0.8)), (latency.UNARY, 0.5)]
    }


def test_latency_asks_directly_at_each_subjects_own_rate() -> None:
    measured, _, jobs = late(Machine(), subject(NGINX), subject(GATEWAY))
    straight = {job.period_us for job in jobs if isinstance(job, Arrivals) and NAMES[job.port] == DIRECT}
    assert straight == {load.period_us for level, load in measured.loads.items() if level.kind == latency.STREAMS}


def test_a_picture_of_latency_has_a_line_a_subject() -> None:
    _, found, _ = late(Machine(), subject(NGINX), subject(GATEWAY))
    groups: dict[str, list[str]] = {}
    for each in found.histograms:
        groups.setdefault(each.group, []).append(each.name.removeprefix(f"{each.group}: "))
    assert sorted(groups["time to first token at half load"]) == [DIRECT, GATEWAY, NGINX]
    assert sorted(groups["latency of a unary request at half load"]) == [DIRECT, GATEWAY, NGINX]
    (curve,) = found.curves
    assert curve.lines.keys() == {f"{name}, {q}" for name in (DIRECT, NGINX, GATEWAY) for q in ("p50", "p99")}
    rates = [rate for rate, _ in curve.lines["gateway, p50"]]
    assert rates == sorted(rates)
    assert len(rates) == 5


def test_latency_of_a_subject_whose_cpu_time_is_not_known() -> None:
    measured, found, jobs = late(Machine(), subject(OTHER, pids=()), subject(GATEWAY))
    half = measured.loads[latency.Level(latency.UNARY, 0.5, OTHER)]
    assert half.per_s == pytest.approx(0.5 * 1e6 / COST_US[OTHER], rel=0.1)
    assert any(isinstance(job, Unary) and job.events for job in jobs if NAMES[job.port] == OTHER)
    assert found.figure("core used by streams at half load: other") is None
    assert found.figure("time to first token added at half load, p50: other") is not None
    assert any("50% of what it answered in a closed loop." in remark for remark in found.remarks)


# -- workers -----------------------------------------------------------------------------------------------------------


def test_two_workers_stand_beside_one_at_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {101: 0.0, 102: 0.0}

    def read(pids: list[int]) -> float:
        clocks[pids[0]] += 3.0 if pids[0] == 101 else 1.0
        return clocks[pids[0]]

    monkeypatch.setattr("bench.scenarios.workers.cpu_seconds", read)
    machine = Machine()
    trial = Trial(subject(DIRECT), machine)
    one, two = subject(GATEWAY, pids=(101,)), subject(GATEWAY, pids=(101, 102), beside=(7,))
    measured = workers.Workers(trial, workers.FULL, {workers.ONE: one, workers.TWO: two})
    measured.run(said)
    found = workers.scenario(measured, workers.FULL)
    figures = {figure.name: figure for figure in found.figures}
    assert 200 / measured.unary_us == pytest.approx(0.5, rel=0.08)
    assert len({job.period_us for job in machine.jobs[-20:] if isinstance(job, Paced)}) == 1
    assert found.ratios(figures["CPU per unary request, same rate, two workers"]) == pytest.approx([1.0] * 5)
    assert figures["share of the busier of two workers, unary, closed loop"].samples == pytest.approx([75.0] * 5)
    assert figures["time to first token added, p50, two workers"].samples == pytest.approx([0.6] * 5)
    assert "share of the busier of two workers, unary, closed loop" in figures


def test_what_fails_with_two_workers_is_a_problem() -> None:
    trial = Trial(subject(DIRECT), Machine(errors={GATEWAY: {"status 503": 1}}))
    both = {way: subject(GATEWAY, pids=()) for way in workers.WAYS}
    workers.Workers(trial, workers.FULL._replace(rounds=1), both).run(said)
    assert "gateway, two workers, unary, closed loop: 1 x status 503" in trial.samples.problems
    assert trial.remarks == []


# -- with real ones ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif("nginx" not in peers.present(), reason="nginx is not installed")
def test_a_brief_relay_and_latency_against_nginx() -> None:
    brief = relay.QUICK._replace(rounds=1, seconds=0.05, warmup_s=0.0, streams=10, stream_interval_ms=1.0)
    with canned(ANYWHERE) as direct:
        (start,) = peers.starts([NGINX], direct.port, ANYWHERE)
        with start() as nginx:
            trial = Trial(direct, run)
            subjects = Lineup(direct, [nginx, nginx._replace(name=GATEWAY)])
            relay.Relay(trial, subjects, brief).run(said)
            assert trial.samples.problems == []
            assert {"unary_cpu_us", "paced_served", "paced_p99_ms", "event_cpu_us"} <= trial.samples.values.keys()
            short = latency.QUICK._replace(seconds=0.05, warmup_s=0.0, tries=1, events=2, interval_ms=1.0)
            measured = latency.Latency(Trial(direct, run), subjects, short)
            measured.run(said)
    found = latency.scenario(measured, short, [], {})
    assert found.problems == []
    assert found.figure("time to first token added at half load, p99") is not None


def failing() -> AbstractContextManager[Subject]:
    raise peers.PeerError("other did not start")


def test_a_peer_that_does_not_start_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def trial(*_: object) -> Iterator[tuple[Trial, list[Callable[[], AbstractContextManager[Subject]]]]]:
        yield Trial(subject(DIRECT), Machine()), [partial(running, GATEWAY), failing, partial(running, NGINX)]

    @contextmanager
    def running(name: str) -> Iterator[Subject]:
        yield subject(name)

    monkeypatch.setattr("bench.scenarios.lineup.trial", trial)
    with lineup.lineup(Profile(), said) as (found, subjects):
        assert [each.name for each in subjects.proxies] == [NGINX, GATEWAY]
        assert subjects.gateway.name == GATEWAY
        assert subjects.logged.name == LOGGED
        assert found.remarks == ["other did not start"]
