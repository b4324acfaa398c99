"""The demo's course: a model, the gateway before it, one answer through both, its price, and on until Ctrl-C.

    open_account()     an account with credit and a key, in a store of the demo's own
    _best_upstream()   the local model, or where there is none the scripted upstream   a child process
    _gateway()         `hedgerow serve` with a configuration made for this moment      a child process
    _ask()             one streamed chat completion through the gateway, as any client would ask it
    first_bill()       what the gateway charged for it, as it tells any holder of a key

The rule: every wait is bounded, and every way out, Ctrl-C at any moment included, goes through the ends of those
blocks, which stop their child. A demo that is killed has no way out, but its children follow the pipe it held, which
is their stdin, and end by themselves. Nothing is kept, and no data of the visitor's is touched: the configuration and
the store live in a temporary directory, the key in memory. The gateway is a process like any other here, so what one
sees is what one gets.
"""

import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio

from adapters.providers import local, scripted
from engine.demo.account import INPUT_NANOS, OUTPUT_NANOS, AccountError, first_bill, open_account
from engine.demo.child import Child, ChildError
from engine.demo.local_model import LocalModelError, Progress, local_model
from engine.demo.screen import Access, Figures, OutputClosed, Screen
from engine.money import plain_dollars
from store.interface import StoreError

HOST = "127.0.0.1"
ALIAS = "demo"
DATA = "data"
"""The store's directory, in the temporary one."""

QUESTION = "Explain in one paragraph why the sky is blue."
ANSWER_TOKENS_MAX = 160

SCRIPTED_MODULE = "bench.upstream"
"""Run, not imported: the bench is outside the engine. Its one model is called as its provider is."""

UPSTREAM_SECONDS_MAX = 20.0
GATEWAY_SECONDS_MAX = 30.0
ANSWER_SECONDS_MAX = 120.0
"""160 tokens from a model of this size on one slow core take a quarter of it."""

READY_SECONDS = 0.05
"""Between two looks at whether the gateway is ready."""

PORT_TRIES = 3
"""A port that was free when looked at may be taken when the gateway binds it."""

INTERRUPTED = 130
"""The exit code shells give Ctrl-C: 128 and the number of SIGINT."""


class DemoError(Exception):
    """The demo cannot go on; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """What stands behind the gateway: the provider's name in the configuration, where it is, and its model."""

    provider: str
    base_url: str
    model: str
    child: Child


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway as its client sees it."""

    access: Access
    child: Child


def run(*, port: int = 8080, once: bool = False, screen: Screen | None = None) -> int:
    """Run the demo and return the exit code: 0 when it was seen to work, 1 when not, 130 when interrupted before.

    Serves on `port`, or on another when that is in use or 0, until Ctrl-C; with `once` until the first answer is there.
    No child is left behind.
    """
    try:
        return trio.run(_run, port, once, screen or Screen())
    except KeyboardInterrupt:  # in the instant before the signals are ours
        return INTERRUPTED


async def _run(port: int, once: bool, screen: Screen) -> int:
    code = INTERRUPTED
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_when_told, signals, nursery.cancel_scope)
            try:
                async with AsyncExitStack() as stack:
                    gateway, upstream, models = await _show(stack, port, screen)
                    code = 0
                    if not once:
                        screen.access(gateway.access, models)
                        screen.say("\nServing. Ctrl-C ends it.")
                        await _first_to_end(gateway.child, upstream.child)
            except (DemoError, AccountError, ChildError, LocalModelError, StoreError, OSError, httpx.HTTPError) as exc:
                screen.say(f"\nhedgerow demo: {exc}")
                code = 1
            except OutputClosed:
                code = 1
            nursery.cancel_scope.cancel()
    return code


async def _end_when_told(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    """Cancel everything at the first signal. Later ones are heard and change nothing: the end is bounded."""
    async for _ in signals:
        scope.cancel()


async def _show(stack: AsyncExitStack, port: int, screen: Screen) -> tuple[Gateway, Upstream, list[str]]:
    """Start everything, ask, print the answer and its price, return the models' names too.

    What was started ends with `stack`.
    """
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hedgerow-", ignore_cleanup_errors=True)))
    key = await open_account(directory / DATA)
    upstream = await _best_upstream(stack, screen)
    gateway = await stack.enter_async_context(_gateway(directory, key, upstream, port, screen))
    async with httpx.AsyncClient(
        base_url=gateway.access.address,
        headers={"authorization": f"Bearer {gateway.access.key}"},
        timeout=ANSWER_SECONDS_MAX,
        trust_env=False,
    ) as client:
        with trio.move_on_after(ANSWER_SECONDS_MAX) as patience:
            screen.figures(await _ask(client, upstream.model, screen))
            screen.bill(await first_bill(client))
            listed = (await client.get("/v1/models")).raise_for_status().json()
    if patience.cancelled_caught:
        raise DemoError(f"the answer took longer than {ANSWER_SECONDS_MAX:g} s")
    return gateway, upstream, [entry["id"] for entry in listed["data"]]


# -- the children ------------------------------------------------------------------------------------------------------


async def _best_upstream(stack: AsyncExitStack, screen: Screen) -> Upstream:
    """Enter the local model, or say in one line why not and enter the scripted upstream."""
    try:
        return await stack.enter_async_context(_local(screen))
    except LocalModelError as exc:
        screen.say(f"No local model, {exc}. A scripted upstream answers instead.")
    return await stack.enter_async_context(_scripted())


@asynccontextmanager
async def _local(screen: Screen) -> AsyncIterator[Upstream]:
    async with AsyncExitStack() as stack:
        with screen.waiting(f"Loading {local.MODEL}") as waiting:

            def tell(progress: Progress) -> None:
                waiting.tell(f"({progress.phase.value}, {progress.seconds:.1f} s)")

            model = await stack.enter_async_context(local_model(tell))
        screen.say(f"{model.model} loaded in {model.load_seconds:.1f} s")
        yield Upstream(local.PROVIDER.name, model.base_url, model.model, model.child)


@asynccontextmanager
async def _scripted() -> AsyncIterator[Upstream]:
    command = [sys.executable, "-m", SCRIPTED_MODULE, "--port", "0", "--follow-stdin"]
    child = await Child.start("the scripted upstream", command, announces=True)
    try:
        line: bytes | None = None
        with trio.move_on_after(UPSTREAM_SECONDS_MAX):
            line = await child.next_line()
        if line is None:
            raise DemoError(f"{child.name} did not start{_last_words(child)}")
        name = scripted.PROVIDER.name
        yield Upstream(name, json.loads(line)["base_url"], name, child)
    finally:
        await child.stop()


@asynccontextmanager
async def _gateway(directory: Path, key: str, upstream: Upstream, port: int, screen: Screen) -> AsyncIterator[Gateway]:
    """Run the gateway for the length of the block, on `port` or another. Raises DemoError when it never gets ready."""
    data = directory / DATA
    for tries_left in reversed(range(PORT_TRIES)):
        chosen = free_port(port)
        path = directory / "hedgerow.toml"
        path.write_text(configuration(chosen, upstream), encoding="utf-8")
        child = await Child.start(
            "the gateway",
            # On the command line: the file's word for the directory gives way to a variable of the visitor's.
            [sys.executable, "-m", "engine", "serve", "--config", str(path), "--data", str(data), "--follow-stdin"],
            announces=False,
            environ={**os.environ, "HEDGEROW_DEMO_KEY": key},
        )
        try:
            with screen.waiting("Starting the gateway"):
                ready = await _ready(child, chosen)
            if ready:
                if chosen != port and port:
                    screen.say(f"Port {port} is in use: serving on {chosen}")
                yield Gateway(Access(f"http://{HOST}:{chosen}", key, ALIAS, data), child)
                return
            if not tries_left or free_port(chosen) == chosen:
                raise DemoError(f"{child.name} {await child.wait()} before it was ready{_last_words(child)}")
        finally:
            await child.stop()


async def _ready(child: Child, port: int) -> bool:
    """Wait until the gateway is ready: True. False when it ended instead. Raises DemoError after a while."""
    async with httpx.AsyncClient(trust_env=False, timeout=GATEWAY_SECONDS_MAX) as client:
        with trio.move_on_after(GATEWAY_SECONDS_MAX):
            while child.running:
                try:
                    answer = await client.get(f"http://{HOST}:{port}/health/ready")
                except httpx.TransportError:  # nobody listens yet
                    answer = None
                if answer is not None and answer.status_code == httpx.codes.OK and child.running:
                    return True
                await trio.sleep(READY_SECONDS)
            return False
    raise DemoError(f"{child.name} was not ready after {GATEWAY_SECONDS_MAX:g} s{_last_words(child)}")


def configuration(port: int, upstream: Upstream) -> str:
    """Return the gateway's configuration. No key is in it: there is one in the store.

    The upstream's price is charged as it is. Models that a visitor's environment adds answer too, priced or not.
    """
    text = json.dumps  # a JSON string of ASCII characters is a TOML basic string
    model = text(upstream.model)
    return f"""\
[server]
listen = [{text(f"{HOST}:{port}")}]
access_log = "none"
drain_seconds = 1

[accounts]
required = true

[billing]
tiers = []
unpriced = "free"

[prices.{text(f"{upstream.provider}/{upstream.model}")}]
input = {plain_dollars(INPUT_NANOS)}
output = {plain_dollars(OUTPUT_NANOS)}

[providers.{upstream.provider}]
base_url = {text(upstream.base_url)}
models = [{model}]
proxy = "none"

[models.{ALIAS}]
provider = {text(upstream.provider)}
model = {model}
"""


def free_port(preferred: int) -> int:
    """Return `preferred` when nobody listens there, else a port that is free now."""
    with socket.socket() as probe:
        # Connections of an earlier demo that linger must not make its port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, preferred))
        except (OSError, OverflowError):
            probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def _first_to_end(*children: Child) -> None:
    """Wait until a child ends by itself, which none should. Raises ChildError."""
    ended: list[str] = []
    async with trio.open_nursery() as nursery:

        async def watch(child: Child) -> None:
            ended.append(f"{child.name} {await child.wait()}{_last_words(child)}")
            nursery.cancel_scope.cancel()

        for child in children:
            nursery.start_soon(watch, child)
    raise ChildError(ended[0])


def _last_words(child: Child) -> str:
    lines = child.log_lines()
    return f": {lines[-1].strip()}" if lines else ""


# -- the client --------------------------------------------------------------------------------------------------------


async def _ask(client: httpx.AsyncClient, name: str, screen: Screen) -> Figures:
    """Ask the question and print the answer as it comes. Raises DemoError when it is not an answer, httpx.HTTPError."""
    body = {
        "model": ALIAS,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": ANSWER_TOKENS_MAX,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    screen.question(name, QUESTION)
    start = trio.current_time()
    first = last = None
    tokens: int | None = None
    pieces = 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code != httpx.codes.OK:
            text = (await answer.aread()).decode(errors="replace")
            raise DemoError(f"the gateway answered {answer.status_code}: {text}")
        async for line in answer.aiter_lines():
            event = _event(line)
            if event is None:
                continue
            if event.get("error"):
                raise DemoError(f"the answer broke off: {event['error'].get('message')}")
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
            for choice in event.get("choices", ()):
                content = choice["delta"].get("content")
                if content:
                    last = trio.current_time()
                    first = first or last
                    pieces += 1
                    screen.token(content)
    if first is None or last is None:
        raise DemoError("the answer was empty")
    return Figures(tokens or pieces, first - start, last - first)


def _event(line: str) -> dict[str, Any] | None:
    """Return the JSON object of a data line, None for any other line and for the end marker."""
    field, _, payload = line.partition(":")
    payload = payload.strip()
    if field != "data" or payload == "[DONE]":
        return None
    event: dict[str, Any] = json.loads(payload)
    return event
