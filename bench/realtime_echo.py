"""The echo: a realtime upstream as cheap as Python can serve it, so that the gateway is the bottleneck.

One thread, one selector, as `bench.canned`. It accepts every handshake, says `session.created`, and answers each frame
of sound with one small frame that says when the sound came and when the answer went (`bench.realtime_frames`). It knows
nothing else of the protocol: what a session says and suffers is the scripted server's (`bench.realtime_upstream`).

An answer that the kernel does not take whole ends its session: a peer that far behind would be measured as something
else than it is, and the load counts the session as lost.
"""

import argparse
import gc
import json
import selectors
import socket
import sys
from base64 import b64encode
from hashlib import sha1
from time import monotonic_ns

from bench.process import raise_open_files
from bench.realtime_frames import CLOSE, CREATED, PING, TEXT, Frames, answer_frame
from bench.realtime_wire import Head, frame_bytes

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_READ_BYTES = 16_384
_MODELS = b'{"object":"list","data":[{"id":"canned","object":"model","created":0,"owned_by":"bench"}]}'


def switching(key: str) -> bytes:
    """Give the answer that accepts a handshake (RFC 6455, section 4.2.2)."""
    accept = b64encode(sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    fields = b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: " + accept
    return b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n\r\n"


class _Peer:
    __slots__ = ("_frames", "_head", "_heard", "_selector", "_socket", "_upgraded")

    def __init__(self, selector: selectors.BaseSelector, accepted: socket.socket) -> None:
        self._selector = selector
        self._socket = accepted
        self._frames = Frames()
        self._head = b""
        self._upgraded = False
        self._heard = 0

    def ready(self, _: int) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        came_ns = monotonic_ns()
        if not data:
            self._close()
        elif self._upgraded:
            self._hear(data, came_ns)
        else:
            self._head += data
            if b"\r\n\r\n" in self._head:
                self._greet()

    def _greet(self) -> None:
        head, _, rest = self._head.partition(b"\r\n\r\n")
        self._head = b""
        asked = Head(head)
        if not asked.is_upgrade:  # the gateway asks for the list of models
            length = b"content-length: %d\r\n" % len(_MODELS)
            self._send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + length + b"\r\n" + _MODELS)
            return
        self._upgraded = True
        self._send(switching(asked.values("sec-websocket-key")[0]) + frame_bytes(TEXT, CREATED))
        if rest:
            self._hear(rest, monotonic_ns())

    def _hear(self, data: bytes, came_ns: int) -> None:
        for opcode, payload in self._frames.take(data):
            if opcode == TEXT:
                self._heard += 1
                answer = answer_frame(payload, self._heard, came_ns, monotonic_ns())
                if answer is not None:
                    self._send(answer)
            elif opcode == PING:
                self._send(frame_bytes(PING + 1, payload))
            elif opcode == CLOSE:
                self._send(frame_bytes(CLOSE, payload))
                self._close()

    def _send(self, data: bytes) -> None:
        if self._socket.fileno() < 0:
            return
        try:
            sent = self._socket.send(data)
        except OSError:  # a full buffer too: see above
            sent = 0
        if sent != len(data):
            self._close()

    def _close(self) -> None:
        if self._socket.fileno() >= 0:
            self._selector.unregister(self._socket)
            self._socket.close()


class Echo:
    """Serves one listening socket until its stdin ends, or the process does."""

    def __init__(self, listener: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._running = True
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def follow(self, file: int) -> None:
        """Stop when this file descriptor becomes readable, as a pipe does that is closed at its other end."""
        self._selector.register(file, selectors.EVENT_READ, self._stop)

    def run(self) -> None:
        """Serve; blocks the thread."""
        select = self._selector.select
        while self._running:
            for key, mask in select():
                key.data(mask)

    def _stop(self, _: int) -> None:
        self._running = False

    def _accept(self, _: int) -> None:
        while True:
            try:
                accepted, _address = self._listener.accept()
            except BlockingIOError:
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(accepted, selectors.EVENT_READ, _Peer(self._selector, accepted).ready)


def main() -> None:
    """Run the echo as a process: prints one JSON line when it listens."""
    parser = argparse.ArgumentParser(prog="python -m bench.realtime_echo", description="The echo of realtime frames.")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1 (0: any free one)")
    parser.add_argument("--follow-stdin", action="store_true", help="exit when stdin closes")
    arguments = parser.parse_args()
    raise_open_files()
    gc.disable()  # its pauses would count as the subject's
    with socket.create_server(("127.0.0.1", arguments.port), backlog=4096) as listener:
        echo = Echo(listener)
        if arguments.follow_stdin:
            echo.follow(sys.stdin.fileno())
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        echo.run()


if __name__ == "__main__":
    main()
