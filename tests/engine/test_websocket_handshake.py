"""The opening handshake, with answers by wsproto, by hand, and by upstreams that do not play."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto import events as wsproto_events

from engine.config import Limits
from engine.http1 import ProtocolError, RequestParser
from engine.net import Broken
from engine.websocket import Refused, accept, check_upgrade, connect, offered_subprotocols
from engine.websocket_handshake import BODY_BYTES_MAX, BODY_SECONDS_MAX, answer_of, open_upgrade
from tests.engine.fakes import Line
from tests.engine.websocket_peer import KEY, UPGRADE, Peer, pair, request

SECRET = "openai-insecure-api-key.sk-secret"


def changed(old: bytes, new: bytes) -> bytes:
    assert old in UPGRADE
    return UPGRADE.replace(old, new) + b"\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (changed(b"GET", b"POST"), 400),
        (changed(b"HTTP/1.1", b"HTTP/1.0"), 400),
        (changed(b"upgrade: WebSocket\r\n", b""), 426),
        (changed(b"upgrade: WebSocket", b"upgrade: h2c"), 426),
        (changed(b"connection: keep-alive, Upgrade", b"connection: keep-alive"), 426),
        (changed(b"version: 13", b"version: 8"), 426),
        (changed(b"sec-websocket-version: 13\r\n", b""), 426),
        (changed(b"sec-websocket-key: " + KEY + b"\r\n", b""), 400),
        (changed(KEY, b"c2hvcnQ="), 400),
        (changed(KEY, b"dGhlIHNhbXBsZSBub25jZ!"), 400),
        (changed(KEY, KEY + b"\r\nsec-websocket-key: " + KEY), 400),
        (UPGRADE + b"content-length: 1\r\n\r\nx", 400),
    ],
)
def test_what_is_no_handshake_gets_a_status(head: bytes, status: int) -> None:
    parser = RequestParser(Limits())
    parser.feed(head)
    parsed = parser.pop()
    assert parsed is not None
    with pytest.raises(ProtocolError) as caught:
        check_upgrade(parsed)
    assert caught.value.status == status


def test_a_proper_handshake_is_granted_and_the_secret_is_not_echoed() -> None:
    asked = request(b"sec-websocket-protocol: realtime, " + SECRET.encode() + b"\r\n")
    check_upgrade(asked)
    assert offered_subprotocols(asked) == ("realtime", SECRET)
    answer = answer_of(asked, "realtime", [(b"x-request-id", b"req_1")])
    # The example of RFC 6455, section 1.3.
    assert b"\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert b"\r\nsec-websocket-protocol: realtime\r\n" in answer
    assert b"\r\nx-request-id: req_1\r\n" in answer
    assert b"secret" not in answer
    assert b"sec-websocket-protocol" not in answer_of(asked, None, [])


def test_wsproto_takes_our_answer() -> None:
    client = WSConnection(ConnectionType.CLIENT)
    head = client.send(wsproto_events.Request(host="gateway", target="/", subprotocols=["realtime", "x"]))
    parser = RequestParser(Limits())
    parser.feed(head)
    asked = parser.pop()
    assert asked is not None
    check_upgrade(asked)
    client.receive_data(answer_of(asked, "realtime", []))
    (event,) = client.events()
    assert isinstance(event, wsproto_events.AcceptConnection)
    assert event.subprotocol == "realtime"


def test_what_was_not_offered_is_not_granted() -> None:
    with pytest.raises(ValueError, match="not offered"):
        answer_of(request(), "realtime", [])
    with pytest.raises(ValueError, match="handshake's own"):
        answer_of(request(), None, [(b"Sec-WebSocket-Extensions", b"permessage-deflate")])
    with pytest.raises(ValueError, match="line end"):
        answer_of(request(), None, [(b"x-request-id", b"a\r\nb")])


async def granted_by(answer: bytes, *more: bytes) -> None:
    line = Line((0, answer), *((1, data) for data in more), (2, b""))
    await open_upgrade(line, host="h", resource="/", headers=[], subprotocols=["realtime"])  # type: ignore[arg-type]


async def test_the_upstreams_side_sees_what_is_asked() -> None:
    ours, theirs = pair()
    server = WSConnection(ConnectionType.SERVER)
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            server.receive_data(await theirs.receive())
            (event,) = server.events()
            assert isinstance(event, wsproto_events.Request)
            assert event.target == "/v1/realtime?model=m"
            assert event.host == "api.test:8443"
            assert event.subprotocols == ["realtime"]
            assert event.extensions == []
            assert (b"authorization", b"Bearer k") in event.extra_headers
            reply = wsproto_events.AcceptConnection(subprotocol="realtime", extra_headers=[(b"x-id", b"7")])
            await theirs.send(server.send(reply))
            await theirs.send(server.send(wsproto_events.TextMessage(data="session.created")))

        nursery.start_soon(serve)
        async with connect(
            ours,
            host="api.test:8443",
            resource="/v1/realtime?model=m",
            headers=[(b"authorization", b"Bearer k")],
            subprotocols=["realtime"],
        ) as socket:
            assert socket.subprotocol == "realtime"
            assert socket.headers == [(b"x-id", b"7")]
            assert await socket.receive() == "session.created"
            theirs.close()


async def test_frames_that_come_with_the_upstreams_answer_are_not_lost() -> None:
    ours, theirs = pair()
    peer = Peer(theirs, ConnectionType.SERVER)
    frames = peer.protocol.send(wsproto_events.TextMessage(data="first"))
    frames += peer.protocol.send(wsproto_events.BytesMessage(data=b"second"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.grant, b"", frames)
        async with connect(ours, host="h", resource="/") as socket:
            assert await socket.receive() == "first"
            assert await socket.receive() == b"second"
            theirs.close()


async def test_frames_that_come_with_the_clients_request_are_not_lost() -> None:
    ours, theirs = pair()
    peer = Peer(theirs, ConnectionType.CLIENT)
    leftover = peer.protocol.send(wsproto_events.TextMessage(data="early"))
    async with accept(ours, request(), leftover[:3]) as socket:
        await theirs.send(leftover[3:])
        assert await socket.receive() == "early"
        theirs.close()


async def test_a_refusal_keeps_status_headers_and_body() -> None:
    ours, theirs = pair()
    body = b'{"error":{"message":"no"}}'
    await theirs.send(
        b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n" + body
    )
    with pytest.raises(Refused) as caught:
        async with connect(ours, host="h", resource="/"):
            pass
    assert caught.value.status == 401
    assert (b"content-type", b"application/json") in caught.value.headers
    assert caught.value.body == body
    assert ours.fileno() == -1
    theirs.close()


async def test_a_refusal_without_an_end_is_read_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    line = Line((0, b"HTTP/1.1 503 Busy\r\ncontent-length: 99\r\n\r\nbu"), (1, b"sy"))
    with pytest.raises(Refused) as caught:
        await open_upgrade(line, host="h", resource="/", headers=[])  # type: ignore[arg-type]
    assert (caught.value.status, caught.value.body) == (503, b"busy")
    assert trio.current_time() == line.opened + BODY_SECONDS_MAX


@pytest.mark.parametrize("framing", [b"", b"transfer-encoding: chunked\r\n"])
async def test_a_refusal_as_large_as_a_download_is_cut(framing: bytes) -> None:
    chunk = bytes(50_000)
    data = b"%x\r\n%b\r\n" % (len(chunk), chunk) if framing else chunk
    line = Line((0, b"HTTP/1.1 500 Oops\r\n" + framing + b"\r\n"), (0, data), (0, data), (0, data))
    with pytest.raises(Refused) as caught:
        await open_upgrade(line, host="h", resource="/", headers=[])  # type: ignore[arg-type]
    assert len(caught.value.body) == BODY_BYTES_MAX
    assert len(line.rows) == 1


async def test_early_hints_are_no_answer() -> None:
    with pytest.raises(Refused) as caught:
        await granted_by(
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 4", b"04 No\r\n\r\n"
        )
    assert caught.value.status == 404


GRANT = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        GRANT + b"sec-websocket-accept: wrong\r\n\r\n",
        GRANT + b"\r\n",
        GRANT + b"bad name: x\r\n\r\n",
        b"HTTP/1.1 101 \r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 \r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.0 101 \r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"x" * 70_000,
    ],
)
async def test_an_answer_that_is_none_of_the_protocols(answer: bytes, autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ProtocolError) as caught:
        await granted_by(answer)
    assert caught.value.status == 502


@pytest.mark.parametrize(
    "fields",
    [
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
        b"Sec-WebSocket-Protocol: \xff\r\n",
        b"Sec-WebSocket-Protocol: realtime, realtime\r\n",
    ],
)
async def test_an_upstream_may_not_choose_what_was_not_offered(fields: bytes) -> None:
    ours, theirs = pair()
    peer = Peer(theirs, ConnectionType.SERVER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.grant, fields)
        with pytest.raises(ProtocolError, match="not offered"):
            await open_upgrade(ours, host="h", resource="/", headers=[], subprotocols=["realtime"])
    ours.close()
    theirs.close()


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 101 Switching Protocols\r\nupgr"])
async def test_an_upstream_that_closes_before_it_answers(beginning: bytes) -> None:
    ours, theirs = pair()
    if beginning:
        await theirs.send(beginning)
    theirs.send_eof()
    with pytest.raises(Broken):
        async with connect(ours, host="h", resource="/"):
            pass
    assert ours.fileno() == -1
    theirs.close()


async def test_an_upstream_that_never_answers_is_the_callers_to_leave(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = pair()
    with trio.move_on_after(10) as scope:
        async with connect(ours, host="h", resource="/"):
            pass
    assert scope.cancelled_caught
    assert ours.fileno() == -1
    theirs.close()


@pytest.mark.parametrize("header", [(b"Host", b"other"), (b"x-a", b"b\r\nc: d"), (b"Sec-WebSocket-Key", b"mine")])
async def test_no_header_can_change_the_handshake(header: tuple[bytes, bytes]) -> None:
    ours, theirs = pair()
    with pytest.raises(ValueError, match=r"handshake"):
        async with connect(ours, host="h", resource="/", headers=[header]):
            pass
    theirs.close()


@given(st.binary(max_size=300))
def test_any_answer_is_one_of_three(data: bytes) -> None:
    async def main() -> None:
        for answer in (data, b"HTTP/1.1 101 " + data, GRANT + data + b"\r\n\r\n"):
            with pytest.raises((Refused, ProtocolError, Broken)):
                await granted_by(answer)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
