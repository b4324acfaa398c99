"""Catalogues: what a provider lists is served by name, at once and never half; what it cannot list costs nobody."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from adapters.errors import ClientError
from engine import catalogue
from engine.catalogue import Catalogue
from engine.config import load_document
from tests.engine.live import document, running


@asynccontextmanager
async def listing(status: int = 200, body: object = None) -> AsyncIterator[str]:
    """An upstream that answers everything with `body`; None: with nothing, ever."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if body is None:
            await trio.sleep_forever()
        content = msgspec.json.encode(body)
        await stream.send_all(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(content), content))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        nursery.cancel_scope.cancel()


def models(*names: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name} for name in names]}


def discovering(*base_urls: str) -> dict[str, Any]:
    providers = {f"p{number}": {"kind": "compatible", "base_url": url} for number, url in enumerate(base_urls)}
    return {**document("http://127.0.0.1:9/v1"), "providers": providers, "models": {}}


async def test_a_stalled_provider_does_not_hold_up_the_others_and_no_listing_is_ever_half() -> None:
    told: list[list[str]] = []

    async def changed(names: list[str]) -> None:
        told.append(names)

    async with (
        listing() as silent,
        listing(body=models("m-1", "m-2")) as quick,
        running(discovering(silent, quick)) as live,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(Catalogue(live.gateway, changed).run)
        router = live.gateway.router
        with trio.fail_after(10):
            while not list(router.models()):
                await trio.sleep(0.01)
        assert [entry.id for entry in router.models()] == ["m-1", "m-2"]
        assert router.resolve("m-1").candidates[0].provider == "p1"
        with pytest.raises(ClientError):
            router.resolve("m-3")
        nursery.cancel_scope.cancel()
    assert told == [[], ["m-1", "m-2"]]


async def test_an_endless_list_is_cut_and_long_names_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MODELS_MAX", 3)
    async with listing(body=models("x" * 300, "a", "b", "c", "d")) as url, running(discovering(url)) as live:
        assert await catalogue.fetch(live.gateway.router.endpoints["p0"]) == ("a", "b", "c")


async def test_a_list_has_the_shape_of_the_dialect_that_its_server_speaks() -> None:
    body = {"models": [{"name": "models/g-1", "supportedGenerationMethods": ["generateContent"]}]}
    async with listing(body=body) as url:
        said = discovering(url)
        said["providers"]["p0"]["dialects"] = ["gemini"]
        async with running(said) as live:
            assert await catalogue.fetch(live.gateway.router.endpoints["p0"]) == ("g-1",)


@pytest.mark.parametrize("status", [404, 200])
async def test_a_list_that_is_none_is_one_harmless_line_in_the_log(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    body = {"error": {"message": "forged\nline \x1b[31m"}}
    async with listing(status, body) as url, running(discovering(url)) as live:
        assert await catalogue.fetch(live.gateway.router.endpoints["p0"]) is None
    (record,) = [record for record in caplog.records if "model list" in record.getMessage()]
    assert "\n" not in record.getMessage()
    assert "\x1b" not in record.getMessage()


async def test_a_reload_keeps_connections_and_lists_where_nothing_of_theirs_changed() -> None:
    async with listing(body=models("m-1")) as url, running(discovering(url)) as live:
        gateway, environ = live.gateway, dict[str, str]()
        before = gateway.router.endpoints["p0"]
        before.catalogue = ("m-1",)
        gateway.router.index()
        patient = {**discovering(url), "limits": {"head_seconds_max": 5}}
        gateway.reconfigure(load_document(patient, environ))
        assert gateway.router.endpoints["p0"] is before
        pooled = {**discovering(url), "limits": {"upstream_idle_seconds_max": 5}}
        gateway.reconfigure(load_document(pooled, environ))
        after = gateway.router.endpoints["p0"]
        assert after is not before
        assert gateway.router.resolve("m-1").candidates[0].endpoint is after
