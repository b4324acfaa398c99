"""One session of the scripted realtime server: performs a script on a WebSocket.

Three tasks share it. One hears: it takes the client's frames in order, also while nothing is said. One says the
immediate replies. One speaks: it plays the responses that were ordered, at their turn's pace, each after the replies to
what ordered it. What is said goes through one place, where its event is numbered, kept, charged and followed by its
cues; so a cue holds at the same point whoever said the event before it.

Whatever the script does to the connection, the owner of the stream closes it afterwards. Cancellation is safe anywhere.
"""

import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio
import trio_websocket

from bench.realtime_conversation import rate_limits
from bench.realtime_record import SessionRecord
from bench.realtime_script import HANDSHAKE, MALFORMED_FRAME, Cue, Session
from bench.realtime_speech import Event, Speech, Talk
from bench.realtime_wire import Wire, message_frames

CLOSE_SECONDS = 5.0
MESSAGE_BYTES_MAX = 1 << 28
_READ_BYTES = 65536


class Performance:
    """Plays one script with one peer. `gate` gives the event a cue or a turn waits for; without `keep` no frame is."""

    def __init__(
        self,
        script: Session,
        talk: Talk,
        wire: Wire,
        record: SessionRecord,
        *,
        gate: Callable[[str], trio.Event],
        keep: bool = True,
    ) -> None:
        self._script = script
        self._talk = talk
        self._wire = wire
        self._record = record
        self._gate = gate
        self._keep = keep
        self._saying = trio.Lock()
        self._quiet: trio.Event | None = None
        self._replies: deque[list[Event]] = deque()
        self._stirred = trio.Event()
        self._over = trio.CancelScope()

    async def run(self, protocol: str | None) -> None:
        """Accept the handshake, which the wire gives, and play until either side has ended the session."""
        try:
            async with trio.open_nursery() as nursery:
                socket = await self._accept(nursery, protocol)
                if socket is not None:
                    with self._over:
                        await self._play(socket)
                    self._note_end(socket)
                nursery.cancel_scope.cancel()
        except* trio_websocket.ConnectionClosed:
            # While it was accepted, or from the library's own reader, answering a broken frame of a peer that is gone.
            self._record.close_code = 1006

    async def _accept(self, nursery: trio.Nursery, protocol: str | None) -> trio_websocket.WebSocketConnection | None:
        headers = [(name.encode(), value.encode()) for name, value in self._script.headers.items()]
        # The library answers a faulty handshake itself, and goes on waiting for a better one.
        with trio.move_on_after(CLOSE_SECONDS):
            request = await trio_websocket.wrap_server_stream(
                nursery, self._wire, max_message_size=MESSAGE_BYTES_MAX, receive_buffer_size=_READ_BYTES
            )
            socket = await request.accept(subprotocol=protocol, extra_headers=headers)
            self._record.accepted, self._record.protocol = True, protocol
            return socket
        return None

    async def _play(self, socket: trio_websocket.WebSocketConnection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speak)
            nursery.start_soon(self._reply)
            # A send after the peer's Close raises, as a receive does; the peer's leaving is noted in either case.
            with suppress(trio_websocket.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
                await self._passed(HANDSHAKE)
                self._replies.append(self._talk.opening())
                self._stir()
                await self._hear(socket)
            nursery.cancel_scope.cancel()

    def _note_end(self, socket: trio_websocket.WebSocketConnection) -> None:
        closed = socket.closed
        self._record.close_code = 1006 if closed is None else int(closed.code)
        self._record.close_reason = (closed.reason if closed is not None else None) or ""

    # -- hearing -------------------------------------------------------------------------------------------------------

    async def _hear(self, socket: trio_websocket.WebSocketConnection) -> None:
        while True:
            frame = await socket.get_message()
            if self._script.read_interval_ms:
                await trio.sleep(self._script.read_interval_ms / 1000)
            if self._keep:
                self._record.heard.append(frame)
            event = _decoded(frame)
            replies = self._talk.undecodable() if event is None else self._talk.hear(event)
            if event is not None:
                await self._passed(str(event.get("type")))
            self._replies.append(replies)
            self._stir()

    def _stir(self) -> None:
        """Wake whoever waits for something to be heard or said."""
        self._stirred.set()
        self._stirred = trio.Event()

    # -- speaking ------------------------------------------------------------------------------------------------------

    async def _reply(self) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the peer left: hearing notices it too
            while True:
                while not self._replies:
                    await self._stirred.wait()
                for event in self._replies[0]:
                    await self._say(event)
                self._replies.popleft()
                self._stir()

    async def _speak(self) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                while self._replies or (speech := self._talk.begin()) is None:
                    await self._stirred.wait()
                await self._perform(speech)

    async def _perform(self, speech: Speech) -> None:
        turn, deltas, begun = speech.turn, 0, False
        for beat in speech.beats():
            for event in beat.events:
                if event["type"] == "response.done":
                    self._talk.end()
                await self._say(event)
            deltas += beat.paced
            if deltas == turn.hold_after and (beat.paced or not begun):
                await self._until_interrupted(speech, self._gate(turn.gate) if turn.gate else trio.Event())
            elif beat.paced or not begun:
                await self._pause(speech, turn.interval_ms if begun else turn.delay_ms)
            begun = True
        self._talk.end()
        if self._script.rate_limits and self._record.counts["response.done"]:
            await self._say(rate_limits())

    async def _pause(self, speech: Speech, milliseconds: float) -> None:
        if milliseconds:
            with trio.move_on_after(milliseconds / 1000):
                await self._until_interrupted(speech)

    async def _until_interrupted(self, speech: Speech, gate: trio.Event | None = None) -> None:
        async with trio.open_nursery() as nursery:
            if gate is not None:
                nursery.start_soon(_cancel_after, gate, nursery.cancel_scope)
            while not speech.interrupted:
                await self._stirred.wait()
            nursery.cancel_scope.cancel()

    async def _say(self, event: Event) -> None:
        async with self._saying:
            while self._quiet is not None and not self._quiet.is_set():
                await self._quiet.wait()
            event = self._talk.stamp(event)
            await self._send(json.dumps(event, separators=(",", ":")))
            charge = self._talk.charge(event)
            if charge is not None:
                self._record.charge(charge)
        await self._passed(event["type"])

    async def _send(self, message: str | bytes) -> None:
        await self._wire.send_frames(message_frames(message, self._script.fragments))
        if self._keep:
            self._record.said.append(message)

    # -- cues ----------------------------------------------------------------------------------------------------------

    async def _passed(self, kind: str) -> None:
        number = self._record.passed(kind)
        for cue in self._script.cues:
            if cue.after == kind and cue.count == number:
                await self._do(cue)

    async def _do(self, cue: Cue) -> None:
        held = self._gate(cue.gate) if cue.gate else trio.Event()
        match cue.do:
            case "close":
                self._quiet = held
                await self._wire.send_close(cue.code, cue.reason)
                self._over.deadline = trio.current_time() + CLOSE_SECONDS
            case "leave":
                self._quiet = held
                await self._wire.leave()
                self._over.deadline = trio.current_time() + CLOSE_SECONDS
            case "abort":
                self._over.cancel()
                await self._wire.abort()
            case "quiet":
                self._quiet = held
            case "deaf":
                self._wire.deaf = held
            case "half_open":
                self._quiet = self._wire.deaf = held
            case "send":
                await self._send(cue.frame if cue.frame is not None else bytes.fromhex(cue.binary or ""))
            case "raw":
                await self._wire.send_frames([bytes.fromhex(cue.hex)])
            case "malformed":
                await self._wire.send_frames([MALFORMED_FRAME])
            case "oversized":
                await self._wire.send_frames(message_frames(" " * cue.size))


def _decoded(frame: str | bytes) -> Event | None:
    try:
        event = json.loads(frame)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


async def _cancel_after(gate: trio.Event, scope: trio.CancelScope) -> None:
    await gate.wait()
    scope.cancel()
