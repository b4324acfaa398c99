"""Thousands of raced requests, upstreams that fail at random, clients that leave at random; then nothing is left.

    python -m tests.engine.soak [--requests 10000] [--seed 1] [--side-by-side 50]

Everything is on real sockets in one process: three scripted upstreams, one gateway, raw clients. `soak` asserts on
counters when the last client is gone: no task, socket, lease, connection or in-flight count more than before, and as
many log entries and counted attempts as there were. What the answers say is `test_failures`' matter.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import msgspec
import psutil
import trio

from bench.script import Script, parse_script
from bench.upstream import ScriptedUpstream
from tests.engine.live import KEY, Live, running

CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
ROLE = {"event": {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}}
HEL = {"event": {**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hel"}}]}}
ERROR = {"event": {"error": {"message": "because", "type": "overloaded"}}}
STALL = {"stall": True}
PAUSE = {"sleep_ms": 5}

FAULTS: tuple[list[dict[str, Any]], ...] = (
    [{"status": 500}],
    [{"status": 429, "headers": {"retry-after-ms": "20"}}],
    [{"status": 200, "body": {"error": {"message": "because"}}}],
    [{"status": 400}],
    [STALL],
    [{"close": True}],
    [{"reset": True}],
    [{"garbage": True}],
    [ROLE, STALL],
    [ROLE, ERROR],
    [ROLE, {"chunked_cut": True}],
    [ROLE, HEL, PAUSE, STALL],
    [ROLE, HEL, PAUSE, {"reset": True}],
    [ROLE, HEL, PAUSE, {"chunked_cut": True}],
    [ROLE, HEL, PAUSE, ERROR],
)
FAULT_SHARE = 0.35
LEAVING_SHARE = 0.3
LEAVING_SECONDS_MAX = 0.08

RACE = {"hedge": "8ms", "hedge_share": 1, "retry_share": 1, "attempt_seconds": 0.03, "unary_attempt_seconds": 0.03}
TIMEOUTS = {"first_content_seconds": 0.5, "unary_seconds": 0.5, "idle_seconds": 0.05, "total_seconds": 2}

PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


class Faulty(ScriptedUpstream):
    """An upstream that plays one of the faults, or its usual answer after a while."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._faults = [parse_script(fault) for fault in FAULTS]
        self._usual = [parse_script([{"sleep_ms": delay}, {"answer": {"interval_ms": 1}}]) for delay in (0, 2, 15, 40)]

    def script_for(self, request: dict[str, Any]) -> Script:
        """Draw a script, whatever the request says."""
        del request
        return self._chance.choice(self._faults if self._chance.random() < FAULT_SHARE else self._usual)


@asynccontextmanager
async def faulty(chance: random.Random) -> AsyncIterator[Faulty]:
    """Run one on a free port for the length of the block."""
    server = Faulty(chance)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        nursery.cancel_scope.cancel()


def configuration(upstreams: list[Faulty]) -> dict[str, Any]:
    """Return a gateway with one name for all of them, two of which share the work."""
    return {
        "server": {"environment_providers": False, "console": False, "keepalive_comment_seconds": 0.02},
        "keys": {"test": {"value": KEY}},
        "timeouts": TIMEOUTS,
        "race": RACE,
        "providers": {
            f"up-{number}": {"kind": "compatible", "base_url": each.base_url, "key": "sk-up", "discover": False}
            for number, each in enumerate(upstreams)
        },
        "models": {
            "fast": {
                "candidates": [
                    {"provider": f"up-{number}", "model": "m", "tier": 1 + number // 2}
                    for number, _ in enumerate(upstreams)
                ]
            }
        },
    }


def request_of(chance: random.Random) -> bytes:
    """Return one request as bytes."""
    path = chance.choice(PATHS)
    said: dict[str, Any] = (
        {"input": "hi"} if path.endswith("responses") else {"messages": [{"role": "user", "content": "hi"}]}
    )
    body = msgspec.json.encode({"model": "fast", "stream": chance.random() < 0.7, "max_tokens": 5, **said})
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


async def exchange(live: Live, request: bytes, leaving_after: float) -> bool:
    """Send one request and read its answer to the end, or leave before; return whether the end was seen."""
    stream = await trio.open_tcp_stream("127.0.0.1", live.port)
    with trio.move_on_after(leaving_after) as patience, suppress(trio.BrokenResourceError):
        await stream.send_all(request)
        while await stream.receive_some():
            pass
    await trio.aclose_forcefully(stream)
    return not patience.cancelled_caught


async def soak(requests: int, *, seed: int, side_by_side: int) -> Counter[str]:
    """Play so many requests and assert that nothing is left of them; return what became of them."""
    chance = random.Random(seed)
    files = psutil.Process().num_fds()
    tasks = trio.lowlevel.current_statistics().tasks_living
    stayed = 0
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(faulty(chance)) for _ in range(3)]
        async with running(configuration(upstreams)) as live:
            room = trio.CapacityLimiter(side_by_side)

            async def one(request: bytes, leaving_after: float) -> None:
                nonlocal stayed
                async with room:
                    stayed += await exchange(live, request, leaving_after)

            async with trio.open_nursery() as nursery:
                for _ in range(requests):
                    leaves = chance.random() < LEAVING_SHARE
                    nursery.start_soon(
                        one, request_of(chance), chance.uniform(0, LEAVING_SECONDS_MAX) if leaves else 20
                    )
            with trio.fail_after(10):
                while live.server.connections:
                    await trio.sleep(0.01)
            # A client that left before its request was read never became an exchange.
            assert stayed <= len(live.log.entries) <= requests
            values = live.gateway.metrics.snapshot().values
            assert not any(count for _, count in values["hedgerow_requests_in_flight"])
            counted = sum(count for _, count in values["hedgerow_attempts_total"])
            assert counted == sum(len(entry.attempts) for entry in live.log.entries)
            became = Counter(f"outcome {entry.outcome}" for entry in live.log.entries)
            became.update(f"attempt {attempt.outcome}" for entry in live.log.entries for attempt in entry.attempts)
            became.update(f"status {entry.status}" for entry in live.log.entries)
            became["hedged"] = int(dict(values["hedgerow_hedged_requests_total"])[()])
        # `running` has asserted that no lease, in-flight count or watched connection is left.
        with trio.fail_after(5):
            while any(each.connections_open for each in upstreams):
                await trio.sleep(0.01)
    with trio.fail_after(5):
        while psutil.Process().num_fds() > files:
            await trio.sleep(0.01)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert not became["outcome internal_error"]
    return became


def main() -> None:
    """Run it from the command line and print what became of the requests."""
    parser = argparse.ArgumentParser(prog="python -m tests.engine.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, default=50)
    given = parser.parse_args()
    began = time.perf_counter()
    became = trio.run(lambda: soak(given.requests, seed=given.seed, side_by_side=given.side_by_side))
    for name, count in sorted(became.items()):
        sys.stdout.write(f"{count:8} {name}\n")
    sys.stdout.write(f"{given.requests} requests in {time.perf_counter() - began:.1f} s: nothing is left of them\n")


if __name__ == "__main__":
    main()
