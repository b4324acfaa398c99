"""`python -m bench.scenarios NAME`: one scenario in this process; progress and result are lines of JSON on stdout.

SIGTERM unwinds as Ctrl-C does, so that whatever was started ends too. Ctrl-C reaches the jobs of the load by itself,
SIGTERM does not: they are killed, since threads that wait for them are waited for. Exit status 1, with the reason
as the last line of stderr, when something did not start.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import msgspec

from bench.perform import abandon
from bench.runs import Scenario
from bench.scenarios import (
    NAMES,
    Done,
    Profile,
    Said,
    Say,
    churn,
    failover,
    harness,
    large,
    latency,
    micro,
    money,
    realtime,
    relay,
    slow_reader,
    soak,
    streams,
    translate,
    workers,
)

RUNS: dict[str, Callable[[Profile, Say], Scenario]] = {
    "relay": relay.run,
    "latency": latency.run,
    "translate": translate.run,
    "failover": failover.run,
    "micro": micro.run,
    "money": money.run,
    "streams": streams.run,
    "slow-reader": slow_reader.run,
    "churn": churn.run,
    "large": large.run,
    "soak": soak.run,
    "realtime": realtime.run,
    "workers": workers.run,
    "harness": harness.run,
}


def main() -> int:
    """Run the scenario."""
    parser = argparse.ArgumentParser(prog="python -m bench.scenarios", description="One scenario, for `bench.drive`.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--profile", default="{}", help="a Profile as JSON")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    profile = msgspec.json.decode(arguments.profile, type=Profile)
    started_s = time.monotonic()
    try:
        found = RUNS[arguments.name](profile, _say)
    except RuntimeError as exc:
        print(exc, file=sys.stderr)
        return 1
    _write(Done(found=msgspec.structs.replace(found, seconds=round(time.monotonic() - started_s, 1))))
    return 0


def _say(text: str) -> None:
    _write(Said(text=text))


def _write(message: Said | Done) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # what unwinds is not interrupted by another one
    abandon()
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
