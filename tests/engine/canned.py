"""An upstream that answers with canned bytes, one request a connection, over h11; it keeps what it was asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h11
import msgspec
import trio

Reply = tuple[int, str, bytes]
"""Status, content type, body."""


class Upstream:
    """Say `answer` what to answer. `asked` are the requests so far: target, headers, decoded body."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    def answer(self, target: str, body: dict[str, Any]) -> Reply:
        """Return what the upstream says to a request."""
        raise NotImplementedError

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        body = b""
        target, headers = "", dict[str, str]()
        async with stream:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some())
                elif isinstance(event, h11.Request):
                    target = event.target.decode()
                    headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    asked = msgspec.json.decode(body)
                    self.asked.append((target, headers, asked))
                    status, kind, content = self.answer(target, asked)
                    out = [
                        h11.Response(status_code=status, headers=[("content-type", kind), ("connection", "close")]),
                        h11.Data(data=content),
                        h11.EndOfMessage(),
                    ]
                    await stream.send_all(b"".join(connection.send(each) or b"" for each in out))
                    return
                else:
                    return


@asynccontextmanager
async def serving(upstream: Upstream) -> AsyncIterator[str]:
    """Serve on loopback for the length of the block; yields the origin."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, upstream.serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()
