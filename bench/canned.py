"""The canned upstream: one fixed answer, as cheap as Python can serve it, so that the subject is the bottleneck.

One thread, one selector, no HTTP library: it trusts its clients (the bench's own), and reads from a request only its
length, `stream`, `stream_options.include_usage` and (`bench.plan`)

    "x_canned": {"events": 20, "interval_ms": 20, "spread": true}

(or the same as JSON in `stop`, which they pass on who drop what they do not know) for a stream of that many events (0:
without end), one every interval (0: as fast as the peer reads), the first at once; with `spread` the second comes after
a random part of the interval, so that many streams do not tick together; or `{"status": 503}` for that error. Due
events of thousands of streams hang in one wheel of 1 ms ticks. A peer that does not read stops its own stream: nothing
piles up. A body of more than 64 KB is counted and thrown away as it comes, so that a prompt of megabytes costs little
more here than the kernel's copy of it, and gets the unary answer.
"""

import argparse
import heapq
import json
import selectors
import socket
import sys
from collections.abc import Callable
from enum import Enum
from random import Random
from time import perf_counter

from bench.plan import Plan, listing, plan_for
from bench.process import raise_open_files

_BLOCK_EVENTS = 64
_READ_BYTES = 16_384
_SKIPPED_READ_BYTES = 262_144
_BODY_BYTES_MAX = 65_536
_PLANS_MAX = 256
_READ, _BOTH = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE


class _State(Enum):
    READING = "reading a request"
    SKIPPING = "counting the bytes of a long body"
    STREAMING = "an event hangs in the wheel"
    FLOODING = "writing whenever the peer reads"
    CLOSED = "closed"


class _Wheel:
    """Due streams by tick of 1 ms; a heap orders the ticks that have any."""

    def __init__(self) -> None:
        self._ticks: list[int] = []
        self._buckets: dict[int, list[_Connection]] = {}

    def add(self, due_s: float, connection: "_Connection") -> None:
        tick = int(due_s * 1000)
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [connection]
            heapq.heappush(self._ticks, tick)
        else:
            bucket.append(connection)

    def timeout_s(self) -> float | None:
        return max(0.0, (self._ticks[0] + 1) / 1000 - perf_counter()) if self._ticks else None

    def turn(self) -> None:
        """Let every stream whose tick has passed write its event."""
        now_tick = int(perf_counter() * 1000)
        while self._ticks and self._ticks[0] < now_tick:
            for connection in self._buckets.pop(heapq.heappop(self._ticks)):
                connection.tick()


class _Connection:
    __slots__ = ("_buffer", "_due_s", "_left", "_plan", "_server", "_skipped", "_socket", "_state", "_unsent")

    def __init__(self, server: "Server", accepted: socket.socket) -> None:
        self._server = server
        self._socket = accepted
        self._buffer = b""
        self._unsent = b""
        self._state = _State.READING
        self._due_s = 0.0
        self._left = 0
        self._skipped = 0
        self._plan: Plan | None = None

    def ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & _READ and self._state is not _State.CLOSED:
            self._read()

    def _read(self) -> None:
        if self._state is _State.SKIPPING:
            self._skip()
            return
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        self._buffer += data
        if self._state is _State.READING:
            self._next_request()

    def _next_request(self) -> None:
        head_end = self._buffer.find(b"\r\n\r\n") + 4
        if head_end < 4:
            return
        head = self._buffer[:head_end].lower()
        at = head.find(b"\r\ncontent-length:")
        length = int(head[at + 17 : head.index(b"\r\n", at + 17)]) if at >= 0 else 0
        if length > _BODY_BYTES_MAX:
            self._skipped = length - (len(self._buffer) - head_end)
            self._buffer = b""
            self._state = _State.SKIPPING
            self._skip()
            return
        if len(self._buffer) < head_end + length:
            return
        body = self._buffer[head_end : head_end + length]
        self._buffer = self._buffer[head_end + length :]
        self._begin(self._server.models if head.startswith(b"get ") else self._server.plan(body))

    def _skip(self) -> None:
        """Take a piece of a long body; only a piece, so that the events of others are not late for it."""
        scrap = self._server.scrap
        try:
            received = self._socket.recv_into(scrap, min(self._skipped, len(scrap)))
        except BlockingIOError:
            return
        except OSError:
            received = 0
        if not received:
            self._close()
            return
        self._skipped -= received
        if not self._skipped:
            self._state = _State.READING
            self._begin(self._server.plan(b""))

    def _begin(self, plan: Plan) -> None:
        self._plan = plan
        if not plan.event:
            self._write(plan.head)
            return
        self._left = plan.events or sys.maxsize
        if not plan.interval_s:
            self._state = _State.FLOODING
            self._write(plan.head)
            self._server.selector.modify(self._socket, _BOTH, self.ready)
            return
        self._state = _State.STREAMING
        self._due_s = perf_counter()
        if plan.spread:
            self._due_s -= self._server.dice.random() * plan.interval_s
        self._event(plan.head)

    def tick(self) -> None:
        if self._state is _State.STREAMING:
            self._event(b"")

    def _event(self, before: bytes) -> None:
        """Write the next event, and hang the one after it in the wheel; a blocked stream skips its turn."""
        plan = self._plan
        if plan is None:
            return
        if not self._unsent:
            self._left -= 1
            if not self._left:
                self._state = _State.READING
                self._write(before + plan.event + plan.end)
                self._next_request()
                return
            self._write(before + plan.event if before else plan.event)
        self._due_s += plan.interval_s
        self._server.wheel.add(self._due_s, self)

    def _flood(self) -> None:
        plan, count = self._plan, min(self._left, _BLOCK_EVENTS)
        if plan is None:
            return
        self._left -= count
        if self._left:
            self._write(plan.event * count)
            return
        self._state = _State.READING
        self._server.selector.modify(self._socket, _READ, self.ready)
        self._write(plan.event * count + plan.end)
        self._next_request()

    def _write(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close()
            return
        if sent != len(data):
            self._unsent = data[sent:]
            self._server.selector.modify(self._socket, _BOTH, self.ready)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent:
            self._write(unsent)
        if self._state is _State.CLOSED or self._unsent:
            return
        if self._state is _State.FLOODING:
            self._flood()
        else:
            self._server.selector.modify(self._socket, _READ, self.ready)

    def _close(self) -> None:
        if self._state is not _State.CLOSED:
            self._state = _State.CLOSED
            self._server.selector.unregister(self._socket)
            self._socket.close()


class Server:
    """Serves one listening socket until `stop` is called from one of its own callbacks, or the process ends."""

    def __init__(self, listener: socket.socket, seed: int = 0) -> None:
        self.selector = selectors.DefaultSelector()
        self.wheel = _Wheel()
        self.models = listing()
        self.dice = Random(seed)
        self.scrap = bytearray(_SKIPPED_READ_BYTES)
        self._plans: dict[bytes, Plan] = {}
        self._listener = listener
        self._running = True
        listener.setblocking(False)
        self.selector.register(listener, _READ, self._accept)

    def plan(self, body: bytes) -> Plan:
        """Give the plan of a request's body, made once per distinct body."""
        plan = self._plans.get(body)
        if plan is None:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            plan = self._plans[body] = plan_for(body)
        return plan

    def follow(self, file: int) -> None:
        """Stop when this file descriptor becomes readable, as a pipe does that is closed at its other end."""
        self.selector.register(file, _READ, self._stop)

    def run(self) -> None:
        """Serve; blocks the thread."""
        select, wheel = self.selector.select, self.wheel
        while self._running:
            for key, mask in select(wheel.timeout_s()):
                callback: Callable[[int], None] = key.data
                callback(mask)
            wheel.turn()

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
            self.selector.register(accepted, _READ, _Connection(self, accepted).ready)


def main() -> None:
    """Run the canned upstream as a process: prints one JSON line when it listens."""
    parser = argparse.ArgumentParser(prog="python -m bench.canned", description="The canned upstream.")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1 (0: any free one)")
    parser.add_argument("--seed", type=int, default=0, help="decides where in its interval a spread stream begins")
    parser.add_argument("--follow-stdin", action="store_true", help="exit when stdin closes")
    arguments = parser.parse_args()
    raise_open_files()
    with socket.create_server(("127.0.0.1", arguments.port), backlog=4096) as listener:
        server = Server(listener, arguments.seed)
        if arguments.follow_stdin:
            server.follow(sys.stdin.fileno())
        port = listener.getsockname()[1]
        print(json.dumps({"port": port, "base_url": f"http://127.0.0.1:{port}/v1"}), flush=True)
        server.run()


if __name__ == "__main__":
    main()
