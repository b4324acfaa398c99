"""Sessions over WebSockets under test: an account before a whole gateway, a scripted realtime upstream behind it, and
clients: the official SDK on a loop and a thread of its own, wsproto where every frame counts.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import openai
import trio
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from bench import realtime_upstream
from bench.realtime_upstream import ScriptedRealtime
from engine import net
from engine.accesslog import Entry
from engine.connect import connect_tcp
from store.interface import Store
from store.memory import MemoryStore
from store.rows import LogFilter, LogRow
from tests.engine.accounts import DOLLAR, TOKEN, Shop, open_account
from tests.engine.live import Live, document, running
from tests.engine.websocket_peer import KEY, Peer

RATES = {
    "input": 4,
    "cached_input": 0.4,
    "output": 16,
    "audio_input": 32,
    "cached_audio": 0.5,
    "audio_output": 64,
    "image_input": 5,
    "cached_image": 0.6,
}
"""Dollars a million tokens: a different one for each modality, so that no two can be mixed up unnoticed."""

HEARD = {
    "heard-by-token": {"input": 2, "output": 10, "audio_input": 6},
    "whisper-like": {"input": 0, "output": 0, "audio_minute": 0.006},
}
"""What transcribes: one is paid by the token, one by the minute."""

TEXT = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
WORST = (8_192 * 32 + 4_096 * 64) * 1_000
"""What is reserved for a response by `RATES`, in nano-dollars."""


class Salon(Shop):
    """A gateway that keeps accounts, and the realtime server behind it."""

    server: ScriptedRealtime

    async def row(self) -> LogRow:
        """Return the one row of the request log, once its exchange has ended."""
        await self.live.log.wait_entry()
        treasury = self.live.gateway.treasury
        assert treasury is not None
        await treasury.log.flush()
        (row,) = await self.store.logs(LogFilter())
        return row

    async def entry(self, index: int = 0) -> Entry:
        """Return an entry of the access log, once it is there."""
        with trio.fail_after(10):
            return await self.live.log.wait_entry(index)


def configured(upstream: str, **sections: Any) -> dict[str, Any]:
    """Return the configuration of a gateway whose provider has sessions; `sections` add or replace."""
    sections.setdefault("prices", {"scripted": RATES, **HEARD})
    sections.setdefault("billing", {"tiers": []})
    made = document(upstream, **sections)
    for provider in made["providers"].values():
        provider.setdefault("sessions", ["realtime", "responses"])
    return made


@asynccontextmanager
async def salon(
    directory: Path,
    *,
    store: Store | None = None,
    credit: int = 10 * DOLLAR,
    key: dict[str, Any] | None = None,
    account: dict[str, Any] | None = None,
    session: object = None,
    **sections: Any,
) -> AsyncIterator[Salon]:
    """Serve one account for the length of the block; afterwards its books add up and nothing is left open."""
    kept = store if store is not None else MemoryStore()
    await open_account(kept, credit=credit, key=key, **(account or {}))
    async with realtime_upstream.running(session=session) as server:
        async with running(configured(server.base_url, **sections), accounts=(kept, directory)) as live:
            made = Salon(live, server, kept)
            async with made.client:
                yield made
        assert live.gateway.sessions == set()
        treasury = live.gateway.treasury
        assert treasury is not None
        assert treasury.journal.statistics().booked == 0
        with trio.fail_after(5):
            while server.connections_open:
                await trio.sleep(0.01)
    assert await kept.check() == []
    assert await kept.leases() == []
    assert await kept.holders() == ()
    assert list(directory.iterdir()) == []


class Refusal(msgspec.Struct, frozen=True):
    """What a handshake was answered with that is no session."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """The code in the error's envelope."""
        code: str | None = msgspec.json.decode(self.body)["error"]["code"]
        return code


class Visitor:
    """A client with a session."""

    def __init__(self, stream: net.Stream, peer: Peer, headers: dict[str, str]) -> None:
        self.stream = stream
        self.peer = peer
        self.headers = headers

    async def send(self, frame: str | bytes) -> None:
        """Send one message."""
        await self.peer.send(TextMessage(data=frame) if isinstance(frame, str) else BytesMessage(data=frame))

    async def say(self, *events: dict[str, Any]) -> None:
        """Send events."""
        for event in events:
            await self.send(json.dumps(event))

    async def ask(self, text: str = "hi") -> None:
        """Put a message into the conversation and order a response to it."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.say({"type": "conversation.item.create", "item": item}, {"type": "response.create"})

    async def frame(self) -> str | bytes:
        """Return the next message."""
        with trio.fail_after(10):
            message = await self.peer.next()
        assert isinstance(message, str | bytes), message
        return message

    async def hear(self, until: str) -> list[dict[str, Any]]:
        """Return every event up to the first of that type, it included."""
        events: list[dict[str, Any]] = []
        while not events or events[-1]["type"] != until:
            events.append(json.loads(await self.frame()))
        return events

    async def closed(self) -> tuple[int, str, list[dict[str, Any]]]:
        """Read to the end: the code and reason of the Close frame, which is answered, and the events before it.

        1006 when there was none.
        """
        events: list[dict[str, Any]] = []
        with trio.fail_after(10):
            while isinstance(message := await self.peer.next(), str | bytes):
                events.append(json.loads(message))
        if message is None:
            return 1006, "", events
        await self.stream.send(self.peer.protocol.send(message.response()))
        return message.code, message.reason or "", events

    async def close(self, code: int = 1000, reason: str = "") -> tuple[int, str, list[dict[str, Any]]]:
        """Close first; as `closed`, of which the code is the gateway's answer."""
        await self.peer.send(CloseConnection(code=code, reason=reason))
        events = []
        with trio.fail_after(10):
            while isinstance(message := await self.peer.next(), str | bytes):
                events.append(json.loads(message))
        return (1006, "", events) if message is None else (message.code, message.reason or "", events)


def asked(target: str, *headers: tuple[str, str], upgrade: bool = True) -> bytes:
    """Return the head of a handshake."""
    fields = [("host", "127.0.0.1"), *headers]
    if upgrade:
        fields += [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-key", KEY.decode())]
        if not any(name == "sec-websocket-version" for name, _ in headers):
            fields.append(("sec-websocket-version", "13"))
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def bearer(token: str) -> tuple[str, str]:
    """Return the header that carries a key."""
    return "authorization", f"Bearer {token}"


REALTIME = "/v1/realtime?model=fast"
SOCKETED = "/v1/responses"


@asynccontextmanager
async def knocking(
    live: Live, target: str = REALTIME, *headers: tuple[str, str], token: str | None = TOKEN, upgrade: bool = True
) -> AsyncIterator[Visitor | Refusal]:
    """Send a handshake and yield what comes of it."""
    stream = net.Stream(await connect_tcp("127.0.0.1", live.port))
    try:
        signed = (*headers, bearer(token)) if token is not None else headers
        await stream.send(asked(target, *signed, upgrade=upgrade))
        data = b""
        with trio.fail_after(10):
            while b"\r\n\r\n" not in data:
                data += (more := await stream.receive())
                assert more, data
            head, _, rest = data.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            status = int(first.split()[1])
            if status != 101:
                while len(rest) < int(fields["content-length"]):
                    rest += await stream.receive()
                yield Refusal(status, fields, rest)
                return
        peer = Peer(stream, ConnectionType.CLIENT)
        if rest:
            peer.protocol.receive_data(rest)
        yield Visitor(stream, peer, fields)
    finally:
        stream.close()


@asynccontextmanager
async def visiting(
    live: Live, target: str = REALTIME, *headers: tuple[str, str], token: str | None = TOKEN
) -> AsyncIterator[Visitor]:
    """Open a session."""
    async with knocking(live, target, *headers, token=token) as visitor:
        assert isinstance(visitor, Visitor), visitor
        yield visitor


async def refused(
    live: Live, target: str = REALTIME, *headers: tuple[str, str], token: str | None = TOKEN, upgrade: bool = True
) -> Refusal:
    """Return the refusal of a handshake."""
    async with knocking(live, target, *headers, token=token, upgrade=upgrade) as refusal:
        assert isinstance(refusal, Refusal), refusal
        return refusal


async def by_sdk(
    live: Live, talk: Callable[[openai.AsyncOpenAI], Awaitable[Any]], *, token: str = TOKEN, base_url: str | None = None
) -> Any:
    """Run a coroutine of the official SDK, which knows asyncio only."""

    async def run() -> Any:
        url = base_url or live.base_url
        async with asyncio.timeout(15), openai.AsyncOpenAI(api_key=token, base_url=url, max_retries=0) as client:
            return await talk(client)

    def on_its_own_loop() -> Any:
        # Named, since trio_asyncio, once imported, changes which loop is the default one.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(run())

    return await trio.to_thread.run_sync(on_its_own_loop)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of events."""
    return [event["type"] for event in events]


def model_query(model: str) -> str:
    """Return the target of a session with a model."""
    return f"/v1/realtime?model={quote(model, safe='')}"
