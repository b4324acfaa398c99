"""One connection of the scripted upstream: request after request, with a watch on the peer while it is answered.

The watch is a second task that reads for the length of one response: a peer that leaves, by FIN or RST, is noticed at
once even while the script is silent, and its bytes that come early (pipelining) are kept for the next request. Closing
is left to the end of `run`, when nobody else touches the stream.
"""

import sys
from contextlib import suppress

import h11
import trio

from bench import answers
from bench.playbook import JSON_HEADERS, Call, Ending, Playbook, Record, decode
from bench.reply import After, Reply, State
from bench.script import ScriptError

HEAD_BYTES_MAX = 1 << 20
_READ_BYTES = 65536


class Connection:
    """Serves one stream, of whatever kind, from a playbook."""

    def __init__(self, playbook: Playbook, stream: trio.abc.Stream, number: int) -> None:
        self._playbook = playbook
        self._stream = stream
        self._number = number
        self._requests = 0
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)

    async def run(self) -> None:
        """Serve until the peer or a script ends the connection; the caller closes the stream, also when cancelled."""
        after = After.KEEP
        try:
            while after is After.KEEP:
                request = await self._receive()
                if request is None:
                    return
                after = await self._exchange(*request)
                if after is After.KEEP:
                    if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                        return
                    self._h11.start_next_cycle()
        except h11.RemoteProtocolError as exc:
            await self._refuse(exc)
        except trio.BrokenResourceError:
            return  # the peer reset between two requests: nothing was asked of us
        if after is After.RESET:
            _reset(self._stream)
        elif isinstance(self._stream, trio.SSLStream):
            with trio.move_on_after(1):
                await self._stream.aclose()

    async def _receive(self) -> tuple[h11.Request, bytes] | None:
        """Give the next whole request, or None when the peer has closed."""
        request, body = None, bytearray()
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    proceed = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                    await self._stream.send_all(self._h11.send(proceed))
                self._h11.receive_data(bytes(await self._stream.receive_some(_READ_BYTES)))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return request, bytes(body)
            else:
                return None

    async def _exchange(self, request: h11.Request, body: bytes) -> After:
        """Answer one request while watching its peer; whatever happens, its record is ended."""
        record = Record(
            number=len(self._playbook.log),
            connection=self._number,
            connection_request=self._requests,
            method=request.method.decode(),
            target=request.target.decode("latin-1"),
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers],
            body=body,
            started_s=self._playbook.clock(),
        )
        after = After.CLOSE
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, record, nursery.cancel_scope)
                after = await self._respond(record)
                nursery.cancel_scope.cancel()
            if record.ending is Ending.OPEN:
                record.ending = Ending.FAULT
        finally:
            record.ended_s = self._playbook.clock()
            record.ended.set()
        return After.CLOSE if record.ending is Ending.PEER_CLOSED else after

    async def _watch(self, record: Record, scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError):  # a reset is a departure like any other
            while data := await self._stream.receive_some(_READ_BYTES):
                self._h11.receive_data(bytes(data))
        self._peer_closed(record)
        scope.cancel()

    async def _respond(self, record: Record) -> After:
        control = record.target.startswith("/_")
        if not control:
            self._requests += 1
            self._playbook.add(record)
        call = Call() if control or record.method != "POST" else decode(record)
        playbook = self._playbook
        reply = Reply(
            self._stream,
            self._h11,
            call=call,
            digest=record.digest,
            number=record.number,
            gate=playbook.gate,
            seed=playbook.seed,
        )
        try:
            if control:
                await reply.whole(*self._playbook.control(record))
            elif call.refusal is not None:
                await reply.whole(*call.refusal)
            elif record.method != "POST":
                await reply.whole(*self._playbook.listing(record))
            else:
                return await reply.perform(self._playbook.script_for(call.fields))
        except ScriptError as exc:
            await reply.whole(400, JSON_HEADERS, call.dialect.error(400, str(exc), code="bad_script").encode())
        except trio.BrokenResourceError:
            self._peer_closed(record)
            return After.CLOSE
        finally:
            record.body_bytes_sent = reply.body_bytes
            if reply.state is State.COMPLETE:  # a peer that left after the last byte did not leave early
                record.ending = Ending.COMPLETE
        return After.KEEP

    def _peer_closed(self, record: Record) -> None:
        if record.peer_closed_s is None:
            record.peer_closed_s = self._playbook.clock()
            record.ending = Ending.PEER_CLOSED

    async def _refuse(self, exc: h11.RemoteProtocolError) -> None:
        """Log a request that is no valid HTTP, and answer it where h11 still allows an answer."""
        now, number = self._playbook.clock(), len(self._playbook.log)
        record = Record(number, self._number, self._requests, "", "", [], b"", now, Ending.MALFORMED, now)
        record.ended.set()
        self._playbook.add(record)
        if self._h11.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        body = answers.error(exc.error_status_hint, str(exc)).encode()
        head = h11.Response(
            status_code=exc.error_status_hint,
            headers=[*JSON_HEADERS.items(), ("content-length", str(len(body))), ("connection", "close")],
        )
        events = (head, h11.Data(data=body), h11.EndOfMessage())
        await self._stream.send_all(b"".join(self._h11.send(event) or b"" for event in events))


def _reset(stream: trio.abc.Stream) -> None:
    """Make the coming close an RST (SO_LINGER 0). A Unix socket has no reset: its close stays a plain one."""
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if isinstance(stream, trio.SocketStream):
        linger = (1).to_bytes(4, sys.byteorder) + (0).to_bytes(4, sys.byteorder)
        stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
