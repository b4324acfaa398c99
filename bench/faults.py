"""The upstreams of the failover scenario, what is wrong with them, and the gateway's configuration in front of them.

Four scripted upstreams. Each route of the gateway has three of them as candidates, the first two and one more: where
nothing is to fail the third one, where something is, the fourth, which can be told to misbehave. Both are drawn from
the same law, so that routes differ in nothing else. An upstream draws the fate of a request from its seed and the
request's number (`bench.reply`): a run can be repeated, and two attempts at the same request differ.

All candidates of a route bear its name as their model's, so that no route learns from another's traffic.
"""

import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.client import chat_request
from bench.process import Cores, announcement, running

UPSTREAMS = ("first", "second", "third", "fourth")
TROUBLED = "fourth"
STOPPED = "third"

STEADY, STEADY_HEDGED, FAILING, FAILING_HEDGED = ("steady", "steady-hedged", "failing", "failing-hedged")
REFUSED, STALLED = "refused", "stalled"
PLAIN, RACED = "plain", "raced"
_CHARACTERS_PER_TOKEN = 4
_OUTPUT_TOKENS = 3


class Pace(NamedTuple):
    """The time to the first token of a healthy upstream: log-normal, cut off at `ms_max`."""

    median_ms: float = 60.0
    sigma: float = 0.8
    ms_max: float = 3000.0


class Faults(NamedTuple):
    """Shares of requests that end badly."""

    refusals: float = 0.30
    stalls: float = 0.05
    cuts: float = 0.05
    stall_seconds: float = 30.0


class Route(NamedTuple):
    """One name for three upstreams, and whether slow ones get company."""

    name: str
    upstreams: tuple[str, str, str]
    hedge: str


_SOUND, _UNSOUND = ("first", "second", STOPPED), ("first", "second", TROUBLED)
ROUTES = (
    Route(STEADY, _SOUND, "off"),
    Route(STEADY_HEDGED, _SOUND, "p95"),
    Route(FAILING, _UNSOUND, "off"),
    Route(FAILING_HEDGED, _UNSOUND, "p95"),
    Route(REFUSED, _SOUND, "p95"),
    Route(STALLED, _UNSOUND, "p95"),
)


class Upstream(NamedTuple):
    """A running scripted upstream."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def play(self, script: list[dict[str, Any]]) -> None:
        """Let every further request get this script; raises OSError when nobody listens, RuntimeError on a refusal."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("PUT", "/_script", json.dumps({"default": script}))
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"{self.name} refused its script: {answer.read().decode()}")
        finally:
            connection.close()

    def stop(self) -> None:
        """End it, so that connections to it are refused."""
        self.process.terminate()
        self.process.wait()


def healthy(pace: Pace) -> list[dict[str, Any]]:
    """Give the script of an upstream that is well: a drawn time, then a short answer.

    Its usage counts the prompt as the gateway estimates that of an attempt which lost, four characters to a token.
    """
    prompt = len(chat_request(key="", model=FAILING_HEDGED, canned=None, number=1000)[1]) // _CHARACTERS_PER_TOKEN
    usage = {"prompt_tokens": prompt, "completion_tokens": _OUTPUT_TOKENS, "total_tokens": prompt + _OUTPUT_TOKENS}
    return [_pause(pace), {"answer": {"content": " token" * _OUTPUT_TOKENS, "usage": usage}}]


def faulty(pace: Pace, faults: Faults) -> list[dict[str, Any]]:
    """Give the script of one that fails: by status, by silence, and by a cut before content, the rest is well.

    A status and a cut come after the time that an answer would take, which is the worst moment for them.
    """
    pause, *answer = healthy(pace)
    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    choices = [
        {"share": faults.refusals, "steps": [pause, {"status": 503}]},
        {"share": faults.stalls, "steps": [{"sleep_ms": faults.stall_seconds * 1000}, *answer]},
        {"share": faults.cuts, "steps": [pause, {"event": role}, {"close": True}]},
        {"share": 1 - faults.refusals - faults.stalls - faults.cuts, "steps": [pause, *answer]},
    ]
    return [{"choose": choices}]


def stalled() -> list[dict[str, Any]]:
    """Give the script of an upstream that accepts everything and never says a byte."""
    return [{"stall": True}]


@contextmanager
def upstreams(pace: Pace, seed: int, cores: Cores) -> Iterator[dict[str, Upstream]]:
    """Run the four, all of them well; each has a seed of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        script = Path(directory) / "script.json"
        script.write_text(json.dumps(healthy(pace)))
        started = {}
        for number, name in enumerate(UPSTREAMS):
            command = [sys.executable, "-m", "bench.upstream", "--follow-stdin", "--script", str(script)]
            process = stack.enter_context(
                running([*command, "--seed", str(seed + number)], on=cores.others, piped=True)
            )
            started[name] = Upstream(name, announcement(process)["port"], process)
        yield started


def configuration(ports: Mapping[str, int], canned_port: int, attempt_seconds: float) -> str:
    """Give the gateway's providers and routes; the race is as it comes, but for the patience with one attempt."""
    canned = {f"canned-{number}": canned_port for number in range(3)}
    raced = Route(RACED, ("canned-0", "canned-1", "canned-2"), "p95")
    race = f"\n[race]\nattempt_seconds = {attempt_seconds:g}\n"
    providers = [
        f'[providers.{name}]\nbase_url = "http://127.0.0.1:{port}/v1"\ndiscover = false\n'
        for name, port in {**ports, **canned}.items()
    ]
    plain = f'[models.{PLAIN}]\nprovider = "canned-0"\n'
    return "\n".join([race, *providers, plain, *map(_model, (*ROUTES, raced))])


def _model(route: Route) -> str:
    candidates = [f'[[models.{route.name}.candidates]]\nprovider = "{name}"\n' for name in route.upstreams]
    return "\n".join([f'[models.{route.name}]\nrace.hedge = "{route.hedge}"\n', *candidates])


def _pause(pace: Pace) -> dict[str, Any]:
    return {"sleep_ms": {"median": pace.median_ms, "sigma": pace.sigma, "max": pace.ms_max}}
