"""A gateway that does nothing, or exactly one known thing: what the bench itself is held against.

Bytes go from a client's connection to one of its own to the upstream, and back: one thread, one selector, no HTTP
library. Of a request it finds only where it ends, and trusts its clients (the bench's own) not to send the next one
before the answer to this one. What can be asked of it:

- a delay: each request is held for so many milliseconds before it goes on, so that its answer comes later by as much;
- failures: a share of the requests is answered here, with a 500. Which ones is drawn from a seed, request by request in
  order of arrival, so that the same seed gives the same failures (`drawn`);
- one stall: so long after the first request nothing is read, written or accepted.

GET /_seen says how many requests came, which of them failed (by number, from 0), and how long the stall was in truth. A
connection that ends takes its other end with it, and what was not written by then.
"""

import argparse
import heapq
import json
import select
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from random import Random
from time import perf_counter
from typing import NamedTuple

import msgspec

from bench.process import raise_open_files

REFUSAL_STATUS = 500
SEEN = "/_seen"
_ASKED_SEEN = f"GET {SEEN} ".encode()
_READ_BYTES = 16_384
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_TAIL_S = 200e-6
"""How long before a due time waiting becomes looking: a core takes up to about so long to wake up."""


class Options(NamedTuple):
    """What it does to those who ask. Without a length there is no stall."""

    delay_ms: float = 0.0
    error_share: float = 0.0
    seed: int = 1
    stall_at_s: float = 0.0
    stall_ms: float = 0.0


NOTHING = Options()


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What it saw and did so far."""

    requests: int
    failed: list[int]
    stalled_ms: float


def drawn(share: float, seed: int) -> Iterator[bool]:
    """Say of each request in turn whether it fails, without end."""
    dice = Random(seed)
    while True:
        yield dice.random() < share


def failing(share: float, seed: int, requests: int) -> list[int]:
    """Give the numbers of those that fail among the first so many requests."""
    return [number for number, fails in enumerate(islice(drawn(share, seed), requests)) if fails]


def answer(status: str, body: bytes) -> bytes:
    """Give a whole answer of JSON."""
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status.encode(),
        len(body),
        body,
    )


_REFUSAL = answer(f"{REFUSAL_STATUS} Internal Server Error", b'{"error":{"message":"As asked.","type":"null"}}')


def first_request(buffer: bytes) -> int:
    """Give the length of the request at the beginning, 0 while it is not whole."""
    head_end = buffer.find(b"\r\n\r\n") + 4
    if head_end < 4:
        return 0
    head = buffer[:head_end].lower()
    at = head.find(b"\r\ncontent-length:")
    length = int(head[at + 17 : head.index(b"\r\n", at + 17)]) if at >= 0 else 0
    return head_end + length if len(buffer) >= head_end + length else 0


class _End:
    """One of two sockets whose bytes go to each other; it is not read from while the other cannot write."""

    __slots__ = ("_selector", "_socket", "_unsent", "_watched", "closed", "peer")

    def __init__(self, selector: selectors.BaseSelector, connected: socket.socket) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = self
        self.closed = False
        self._selector = selector
        self._socket = connected
        self._unsent = memoryview(b"")
        self._watched = _READ
        selector.register(connected, _READ, self.ready)

    def ready(self, mask: int) -> None:
        if mask & _WRITE:
            unsent, self._unsent = self._unsent, memoryview(b"")
            self.write(unsent)
        if mask & _READ and not self.closed:
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.received(data)
        else:
            self.close()
            self.peer.close()

    def received(self, data: bytes) -> None:
        self.peer.write(data)

    def write(self, data: bytes | memoryview) -> None:
        if self.closed:
            return
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + data)
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            self.peer.close()
            return
        self._unsent = memoryview(data)[sent:]
        if self._unsent or self._watched & _WRITE:
            self.watch()
            self.peer.watch()

    def watch(self) -> None:
        """Wait for what can be done now, which may be nothing."""
        if self.closed:
            return
        wanted = (0 if self.peer._unsent else _READ) | (_WRITE if self._unsent else 0)
        if wanted == self._watched:
            return
        if not wanted:
            self._selector.unregister(self._socket)
        elif self._watched:
            self._selector.modify(self._socket, wanted, self.ready)
        else:
            self._selector.register(self._socket, wanted, self.ready)
        self._watched = wanted

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._watched:
                self._selector.unregister(self._socket)
            self._socket.close()


class _Client(_End):
    """The end that asks."""

    __slots__ = ("_asked", "_buffer")

    def __init__(
        self,
        selector: selectors.BaseSelector,
        connected: socket.socket,
        asked: Callable[["_Client", bytes], None],
    ) -> None:
        super().__init__(selector, connected)
        self._asked = asked
        self._buffer = b""

    def received(self, data: bytes) -> None:
        buffer = self._buffer + data
        while length := first_request(buffer):
            self._asked(self, buffer[:length])
            buffer = buffer[length:]
        self._buffer = buffer


class Pump:
    """Serves one listening socket until the file that it follows becomes readable, or the process ends."""

    def __init__(self, listener: socket.socket, upstream_port: int, options: Options) -> None:
        self.selector = selectors.DefaultSelector()
        self._listener = listener
        self._upstream = ("127.0.0.1", upstream_port)
        self._options = options
        self._fates = drawn(options.error_share, options.seed)
        self._requests = 0
        self._failed: list[int] = []
        self._stalled_ms = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._running = True
        listener.setblocking(False)
        self.selector.register(listener, _READ, self._accept)

    def follow(self, file: int) -> None:
        """Stop when this file descriptor becomes readable, as a pipe does that is closed at its other end."""
        self.selector.register(file, _READ, self._stop)

    def run(self) -> None:
        """Serve; blocks the thread."""
        while self._running:
            for key, mask in self._wait():
                callback: Callable[[int], None] = key.data
                callback(mask)
            while self._due and self._due[0][0] <= perf_counter():
                heapq.heappop(self._due)[2]()

    def seen(self) -> Seen:
        """Give what came so far."""
        return Seen(requests=self._requests, failed=self._failed, stalled_ms=self._stalled_ms)

    def _wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for sockets or the next due time; the selector itself would round that to milliseconds."""
        if not self._due:
            return self.selector.select()
        left_s = self._due[0][0] - perf_counter() - _TAIL_S
        if left_s > 0:
            select.select([self.selector.fileno()], [], [], left_s)
        return self.selector.select(0)

    def _accept(self, _: int) -> None:
        while True:
            try:
                accepted, _address = self._listener.accept()
            except BlockingIOError:
                return
            try:
                connected = socket.create_connection(self._upstream)
            except OSError:
                accepted.close()
                continue
            client, upstream = _Client(self.selector, accepted, self._asked), _End(self.selector, connected)
            client.peer, upstream.peer = upstream, client

    def _asked(self, client: _Client, request: bytes) -> None:
        options = self._options
        if request.startswith(_ASKED_SEEN):
            client.write(answer("200 OK", msgspec.json.encode(self.seen())))
            return
        if not self._requests and options.stall_ms:
            self._later(options.stall_at_s, self._stall)
        act = partial(client.peer.write, request)
        if options.error_share and next(self._fates):
            self._failed.append(self._requests)
            act = partial(client.write, _REFUSAL)
        self._requests += 1
        if options.delay_ms:
            self._later(options.delay_ms / 1000, act)
        else:
            act()

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (perf_counter() + seconds, next(self._order), act))

    def _stall(self) -> None:
        began_s = perf_counter()
        time.sleep(self._options.stall_ms / 1000)
        self._stalled_ms = (perf_counter() - began_s) * 1000

    def _stop(self, _: int) -> None:
        self._running = False


def main() -> None:
    """Run it as a process: prints one JSON line when it listens."""
    parser = argparse.ArgumentParser(prog="python -m bench.null", description="A gateway that does nothing.")
    parser.add_argument("--upstream", type=int, required=True, help="TCP port of the upstream on 127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1 (0: any free one)")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="hold each request for so long")
    parser.add_argument("--error-share", type=float, default=0.0, help="answer this share of the requests with a 500")
    parser.add_argument("--seed", type=int, default=1, help="decides which ones")
    parser.add_argument("--stall-at-s", type=float, default=0.0, help="so long after the first request do nothing")
    parser.add_argument("--stall-ms", type=float, default=0.0, help="for so long")
    parser.add_argument("--follow-stdin", action="store_true", help="exit when stdin closes")
    asked = parser.parse_args()
    options = Options(asked.delay_ms, asked.error_share, asked.seed, asked.stall_at_s, asked.stall_ms)
    raise_open_files()
    with socket.create_server(("127.0.0.1", asked.port), backlog=4096) as listener:
        pump = Pump(listener, asked.upstream, options)
        if asked.follow_stdin:
            pump.follow(sys.stdin.fileno())
        port = listener.getsockname()[1]
        print(json.dumps({"port": port, "base_url": f"http://127.0.0.1:{port}/v1"}), flush=True)
        pump.run()


if __name__ == "__main__":
    main()
