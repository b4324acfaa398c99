"""Endpoints: what a request to a provider looks like on the wire, and what an endpoint keeps of it."""

import sys

import h11

from engine.config import load_document
from engine.endpoint import Endpoint


def endpoint(**options: object) -> Endpoint:
    section = {
        "kind": "compatible",
        "base_url": "https://up.test:8443/base",
        "key": "sk-upstream-0123456789",
        **options,
    }
    section = {name: value for name, value in section.items() if value is not None}
    config = load_document({"server": {"environment_providers": False}, "providers": {"p": section}}, {})
    return Endpoint(config.providers["p"], config.limits, lambda: 0.0)


def parsed(message: bytes) -> tuple[h11.Request, bytes]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(message)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = connection.next_event()
    return request, body.data if isinstance(body, h11.Data) else b""


async def test_a_request_is_whole_and_signed() -> None:
    request, body = parsed(
        endpoint().message("POST", "/chat/completions", b"{}", stream=True, headers=[(b"x-a", b"1")])
    )
    headers = dict(request.headers)
    assert (request.method, request.target, body) == (b"POST", b"/base/chat/completions", b"{}")
    assert headers[b"host"] == b"up.test:8443"
    assert headers[b"authorization"] == b"Bearer sk-upstream-0123456789"
    assert (headers[b"accept"], headers[b"x-a"]) == (b"text/event-stream", b"1")


async def test_each_credential_signs_for_itself() -> None:
    two = endpoint(key=None, keys=["sk-first-0123456789", "sk-second-0123456789"])
    assert two.credentials == 2
    signed = [
        dict(parsed(two.message("POST", "/x", b"{}", stream=False, headers=[], credential=credential))[0].headers)
        for credential in (0, 1, 0)
    ]
    assert [headers[b"authorization"][-19:] for headers in signed] == [
        b"sk-first-0123456789",
        b"k-second-0123456789",
        b"sk-first-0123456789",
    ]


async def test_without_any_key_there_is_one_way_to_ask() -> None:
    one = endpoint(key=None)
    assert one.credentials == 1
    request, _ = parsed(one.message("POST", "/x", b"{}", stream=False, headers=[]))
    assert b"authorization" not in dict(request.headers)


async def test_a_server_is_asked_in_what_it_is_said_to_speak() -> None:
    said = endpoint(dialects=["messages", "chat"])
    assert (said.spoken("chat"), said.spoken("responses")) == ("chat", "messages")
    assert (said.path("messages"), said.path("chat")) == ("/messages", "/chat/completions")


async def test_a_look_at_the_list_has_no_body() -> None:
    request, body = parsed(endpoint().message("GET", "/models?limit=1", b"", stream=False, headers=[]))
    assert (request.method, request.target, body) == (b"GET", b"/base/models?limit=1", b"")
    assert b"content-length" not in dict(request.headers)


async def test_what_the_operator_set_stands_once_and_over_what_a_client_sends() -> None:
    own = endpoint(headers={"Openai-Beta": "operator"})
    request, _ = parsed(own.message("POST", "/x", b"{}", stream=False, headers=[(b"openai-beta", b"client")]))
    assert [value for name, value in request.headers if name == b"openai-beta"] == [b"operator"]


async def test_names_that_clients_make_up_are_not_kept() -> None:
    # In one dialect the model's name is a part of the path, so clients decide how many paths there are.
    one = endpoint()

    def kept() -> int:
        values = [getattr(one, name) for name in one.__slots__]
        return sum(sys.getsizeof(value) + (len(value) if isinstance(value, dict) else 0) for value in values)

    one.message("POST", "/models/m:generateContent", b"{}", stream=False, headers=[])
    before = kept()
    for number in range(1000):
        one.message("POST", f"/models/m-{number}:generateContent", b"{}", stream=False, headers=[])
    assert kept() == before
