"""The scripted realtime server: WebSocket sessions that go well, or wrong exactly as told, on trio-websocket.

Embedded in a test:

    async with realtime_upstream.running() as server:
        server.enqueue_sessions({"turns": [{"kind": "text", "text": "Hello there."}]}, {"status": 429})
        ...                                                     # talk to server.websocket_url + "/realtime?model=..."
        record = await server.wait_session(0)                   # no sleeping: until it is there,
        await record.wait_passed("response.create")             # until that event has come,
        await record.ended.wait()                               # and until the session is over
        assert server.totals("response").output_tokens == ...   # what it said is to be paid for

It speaks the Realtime API (GA) on any path that ends in /realtime, and the Responses API over WebSocket on any that
ends in /responses. Everything else is the scripted upstream's of `bench.upstream`: one address can be a provider as a
whole. (Only its step `reset` is a plain close here.)

As a process: `python -m bench.realtime_upstream --port 0 [--script FILE] [--forget] [--follow-stdin]` prints one JSON
line when it listens; the file holds the session that everybody gets, `--forget` keeps no frames. GET /_sessions,
GET /_totals, DELETE /_sessions, PUT /_sessions {"default": {...}, "queue": [{...}, ...]} and PUT /_gate/NAME do from
outside what methods do from inside.

What a session may be told is `bench.realtime_script`'s, what it says is `bench.realtime_conversation`'s and
`bench.socketed_turns`', what is kept of it `bench.realtime_record`'s; `bench.realtime_session` performs it. This file
listens and answers handshakes.
"""

import argparse
import json
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

from bench import answers
from bench.connection import Connection
from bench.playbook import JSON_HEADERS, Record, Whole
from bench.realtime_conversation import Conversation
from bench.realtime_record import SessionRecord
from bench.realtime_script import Cue, Session, parse_session
from bench.realtime_session import Performance
from bench.realtime_speech import Talk
from bench.realtime_usage import Totals, totals
from bench.realtime_wire import Head, Wire, read_head, refusal
from bench.socketed_turns import SocketedTurns
from bench.upstream import ScriptedUpstream

__all__ = ["ScriptedRealtime", "SessionRecord", "main", "running"]

SUBPROTOCOL = "realtime"
_BETA_HEADER, _BETA_PROTOCOL = "realtime=v1", "realtime-v1"
_BETA_ERROR = {
    "type": "invalid_request_error",
    "code": "beta_api_shape_disabled",
    "message": "The Realtime Beta API is no longer supported.",
    "param": None,
}
_BETA_REFUSED = Session(
    cues=(
        Cue(after="handshake", do="send", frame=json.dumps({"type": "error", "event_id": "", "error": _BETA_ERROR})),
        Cue(after="handshake", do="close", code=4000, reason="invalid_request_error.beta_api_shape_disabled"),
    )
)


class ScriptedRealtime(ScriptedUpstream):
    """A scripted upstream that has WebSockets too. `sessions` are all handshakes, in the order of their arrival."""

    def __init__(self, *, session: object = None, keep: bool = True) -> None:
        super().__init__()
        self.sessions: list[SessionRecord] = []
        self._sessions_queue: deque[Session] = deque()
        self._session_default = Session()
        self._session_arrival = trio.Event()
        self._sessions_counted = 0
        self._keep = keep
        self.set_session(session)

    @property
    def websocket_url(self) -> str:
        """The base URL for WebSockets, which ends in /v1."""
        return self.base_url.replace("http", "ws", 1)

    def set_session(self, session: object) -> None:
        """Let every session without a script of its own be like this; None restores the usual one."""
        self._session_default = Session() if session is None else parse_session(session)

    def enqueue_sessions(self, *sessions: object) -> None:
        """Give the next sessions these scripts; raises bench.script.ScriptError and enqueues none when one is wrong."""
        self._sessions_queue.extend([parse_session(session) for session in sessions])

    async def wait_session(self, index: int = 0) -> SessionRecord:
        """Wait until the session with this index has knocked, and give it."""
        while len(self.sessions) <= index:
            await self._session_arrival.wait()
        return self.sessions[index]

    def totals(self, what: str) -> Totals:
        """Sum what all sessions said is to be paid for, as "response" or as "transcription"."""
        return totals((charge for record in self.sessions for charge in record.charges), what)

    def control(self, record: Record) -> Whole:
        """See `bench.playbook.Playbook.control`."""
        match (record.method, record.path):
            case ("GET", "/_sessions"):
                return 200, JSON_HEADERS, json.dumps([entry.summary() for entry in self.sessions]).encode()
            case ("GET", "/_totals"):
                kinds = ("response", "transcription")
                return 200, JSON_HEADERS, msgspec.json.encode({kind: self.totals(kind) for kind in kinds})
            case ("DELETE", "/_sessions"):
                self.sessions.clear()
            case ("PUT", "/_sessions"):
                self.enqueue_sessions(*record.json.get("queue", []))
                self.set_session(record.json.get("default"))
            case _:
                return super().control(record)
        return 200, JSON_HEADERS, b"{}"

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serve one connection, a WebSocket or HTTP as its first request asks, and close it."""
        self.connections += 1
        self.connections_open += 1
        try:
            received = await read_head(stream)
            head = Head(received.partition(b"\r\n\r\n")[0])
            wire = Wire(stream, received)
            if head.is_upgrade:
                await self._serve_websocket(head, wire)
            else:
                await Connection(self, wire, self.connections).run()
        except trio.BrokenResourceError:
            return  # the peer reset before it had asked for anything
        finally:
            self.connections_open -= 1
            await trio.aclose_forcefully(stream)

    async def _serve_websocket(self, head: Head, wire: Wire) -> None:
        record = SessionRecord(
            number=self._sessions_counted,
            target=head.target,
            headers=head.headers,
            offered=head.values("sec-websocket-protocol"),
        )
        self._sessions_counted += 1
        self.sessions.append(record)
        self._session_arrival.set()
        self._session_arrival = trio.Event()
        script = self._sessions_queue.popleft() if self._sessions_queue else self._session_default
        try:
            await self._answer(script, record, wire)
        finally:
            record.ended.set()

    async def _answer(self, script: Session, record: SessionRecord, wire: Wire) -> None:
        whole = _refusal(script, record)
        if whole is not None:
            await wire.send_all(refusal(*whole))
        elif script.handshake == "silent":
            await _until_left(wire)
        elif script.handshake == "abort":
            await wire.abort()
        elif script.handshake == "accept":
            if _is_beta(record):
                script = _BETA_REFUSED
            protocol = SUBPROTOCOL if SUBPROTOCOL in record.offered else None
            talk = _talk(script, record)
            await Performance(script, talk, wire, record, gate=self.gate, keep=self._keep).run(protocol)


def _refusal(script: Session, record: SessionRecord) -> tuple[int, list[tuple[str, str]], bytes] | None:
    """Give the response to a handshake that is no session: as scripted, or because nothing is there."""
    if script.status is not None:
        body = answers.error(script.status, "Refused by the script.") if script.body is None else script.body
        text = body if isinstance(body, str) else json.dumps(body)
        return script.status, list({**JSON_HEADERS, **script.headers}.items()), text.encode()
    message = ""
    if not record.path.endswith(("/realtime", "/responses")):
        message = f"Invalid URL (GET {record.target})"
    elif record.path.endswith("/realtime") and not {"model", "call_id", "intent"} & record.query.keys():
        message = "You must provide a model parameter."
    if not message:
        return None
    status = 404 if message.startswith("Invalid") else 400
    return status, list(JSON_HEADERS.items()), answers.error(status, message).encode()


def _talk(script: Session, record: SessionRecord) -> Talk:
    if record.path.endswith("/responses"):
        return SocketedTurns(script, number=record.number)
    transcription = record.query.get("intent") == "transcription"
    model = record.query.get("model", "")
    return Conversation(script, number=record.number, model=model, transcription=transcription)


def _is_beta(record: SessionRecord) -> bool:
    """Whether the beta API is asked for, which GA refuses: an error, then a Close of 4000."""
    values = [value for _, value in record.headers]
    return _BETA_HEADER in values or any(offer.endswith(_BETA_PROTOCOL) for offer in record.offered)


async def _until_left(wire: Wire) -> None:
    with suppress(trio.BrokenResourceError):  # a reset is a departure like any other
        while await wire.receive_some(65536):
            pass


@asynccontextmanager
async def running(*, session: object = None, keep: bool = True) -> AsyncIterator[ScriptedRealtime]:
    """Run a scripted realtime server on a free loopback port for the length of the block."""
    server = ScriptedRealtime(session=session, keep=keep)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        nursery.cancel_scope.cancel()


async def _main(arguments: argparse.Namespace) -> None:
    session = json.loads(arguments.script.read_text()) if arguments.script else None
    server = ScriptedRealtime(session=session, keep=not arguments.forget)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, port=arguments.port))
        listening = {"port": server.port, "base_url": server.base_url, "websocket_url": server.websocket_url}
        print(json.dumps(listening), flush=True)
        if arguments.follow_stdin:
            # The abandoned read holds nothing but its thread, which ends with the process.
            await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()


def main() -> None:
    """Run the scripted realtime server as a process."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.realtime_upstream", description="The scripted realtime server."
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1 (0: any free one)")
    parser.add_argument("--script", type=Path, help="JSON file: the session that everybody gets")
    parser.add_argument("--forget", action="store_true", help="keep no frames, for long loads")
    parser.add_argument("--follow-stdin", action="store_true", help="exit when stdin closes")
    trio.run(_main, parser.parse_args())


if __name__ == "__main__":
    main()
