"""The console: what the page promises, what it refuses to repeat, and the process around it."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse_text
from quart.typing import TestClientProtocol as Client
from quart_trio import QuartTrio

from engine.console.__main__ import listen, main
from engine.console.app import SECURITY_HEADERS, Console, create_app
from engine.console.origin import FALLBACK, fallback_origin, origin_of
from engine.console.page import KEY_PLACEHOLDER, MODEL_PLACEHOLDER, duration_text, page, state_of
from engine.console.status import FILE, SOCKET, Model, Status, Worker, read_status, write_status
from engine.http1 import RequestParser
from engine.metrics import Metrics
from engine.net import Stream
from engine.snapshots import file_of
from engine.tunnel import tunnel

NOW = 1_700_000_000.0
READY = Worker(slot=0, incarnation="0-a", pid=11, state="ready")
STATUS = Status(
    version="1.2.3",
    start_time=NOW - 90_061,
    workers=[READY, Worker(slot=1, incarnation="1-b", pid=12, state="ready", restarts=1)],
    listen=["127.0.0.1:8080"],
    models=["model-a", Model("provider/model-b", "provider")],
    providers=["provider"],
    surfaces=["chat", "models"],
)
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def changed(**fields: Any) -> Status:
    return msgspec.structs.replace(STATUS, **fields)


@pytest.fixture
def app(tmp_path: Path) -> QuartTrio:
    app = create_app(Console(tmp_path, now=lambda: NOW))
    app.testing = True
    return app


@pytest.fixture
def client(app: QuartTrio) -> Client:
    return app.test_client()


class Page(HTMLParser):
    """What tests ask of a page: its text, its tags, and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


async def quick_start(client: Client, **headers: str) -> Page:
    sent = {"host": "gateway.test", **BROWSER, **{name.replace("_", "-"): value for name, value in headers.items()}}
    answer = await client.get("/", headers=sent)
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    return Page(await answer.get_data(as_text=True))


# -- the page ----------------------------------------------------------------------------------------------------------


async def test_the_page_shows_status_models_and_snippets_with_the_visitors_address(
    client: Client, tmp_path: Path
) -> None:
    write_status(tmp_path, STATUS)
    shown = await quick_start(client, x_forwarded_host="api.example:8443", x_forwarded_proto="https")
    assert "Serving" in shown.text
    assert "1 d 1 h" in shown.text
    assert "2 of 2" in shown.text
    assert "1.2.3" in shown.text
    assert "curl -N https://api.example:8443/v1/chat/completions" in shown.text
    assert shown.text.count('"https://api.example:8443/v1"') == 2
    assert shown.text.count('"model-a"') == 3
    assert shown.text.count(KEY_PLACEHOLDER) == 4
    assert [row["data-model"] for row in shown.all("li")] == ["model-a", "provider/model-b"]


async def test_only_surfaces_that_are_served_are_promised(client: Client, tmp_path: Path) -> None:
    write_status(tmp_path, STATUS)
    shown = await quick_start(client)
    assert "http://gateway.test/v1" in shown.text
    assert "/anthropic" not in shown.text
    assert "/compatible" not in shown.text
    write_status(tmp_path, changed(surfaces=["chat", "messages", "gemini"]))
    shown = await quick_start(client)
    assert "http://gateway.test/anthropic" in shown.text
    assert "http://gateway.test/compatible" in shown.text


async def test_the_demos_key_is_shown_and_no_other(client: Client, tmp_path: Path) -> None:
    write_status(tmp_path, changed(demo_key="sk-demo-1234"))
    shown = await quick_start(client, host="localhost:8080")
    assert shown.text.count("sk-demo-1234") == 4
    assert KEY_PLACEHOLDER not in shown.text
    for foreign in ("gateway.test", "localhost.gateway.test", "192.0.2.1"):
        assert "sk-demo-1234" not in (await quick_start(client, host=foreign)).text


async def test_a_gateway_without_keys_says_so(client: Client, tmp_path: Path) -> None:
    write_status(tmp_path, changed(keys_required=False))
    assert "asks for none" in (await quick_start(client)).text


async def test_a_gateway_that_is_only_starting_has_a_page(client: Client) -> None:
    shown = await quick_start(client)
    assert "Starting" in shown.text
    assert MODEL_PLACEHOLDER in shown.text


async def test_a_status_that_cannot_be_read_is_logged_and_survived(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(b"{")
    assert "Starting" in (await quick_start(client)).text
    assert "cannot read the gateway's status" in caplog.text


@pytest.mark.parametrize(
    "hostile",
    [
        '"><script>alert(1)</script>',
        "evil.test/path",
        "user@evil.test",
        "evil.test\\",
        "a b",
        "[::1",
        "x" * 300,
        "evil.test:99999999",
        "-evil.test",
        "{{7*7}}",
        "",
    ],
)
async def test_a_hostile_host_is_not_repeated(client: Client, tmp_path: Path, hostile: str) -> None:
    write_status(tmp_path, STATUS)
    shown = await quick_start(client, x_forwarded_host=hostile or " ", x_forwarded_proto="javascript")
    assert "curl -N http://127.0.0.1:8080/v1/chat/completions" in shown.text
    assert len(shown.all("script")) == 1


async def test_hostile_model_names_are_escaped_and_kept_out_of_snippets(client: Client, tmp_path: Path) -> None:
    hostile = """'"><img src=x onerror=alert(1)>$(id)"""
    write_status(tmp_path, changed(models=[Model(hostile, '"><b>'), "plain/model"]))
    shown = await quick_start(client)
    assert not shown.all("img")
    assert shown.all("li")[0]["data-model"] == hostile
    assert shown.text.count('"plain/model"') == 3


async def test_nothing_is_loaded_from_elsewhere_or_inline(client: Client, tmp_path: Path) -> None:
    write_status(tmp_path, STATUS)
    shown = await quick_start(client)
    loaded = [tag.get("src") for tag in shown.all("script")] + [tag.get("href") for tag in shown.all("link")]
    assert len(loaded) == 3
    for url in loaded:
        assert url is not None
        assert re.match(r"/static/[a-z]+\.[a-z]+\?v=[0-9a-f]{12}$", url)
        answer = await client.get(url)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    for _, attributes in shown.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
    style = await (await client.get("/static/console.css")).get_data(as_text=True)
    assert "url(" not in style
    assert "@import" not in style


async def test_the_page_is_accessible(client: Client, tmp_path: Path) -> None:
    write_status(tmp_path, STATUS)
    shown = await quick_start(client)
    assert shown.all("html")[0]["lang"] == "en"
    assert "width=device-width" in str(shown.all("meta"))
    ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {tag["for"] for tag in shown.all("label")}
    assert {tag["id"] for tag in shown.all("input")} <= labelled
    for _, attributes in shown.tags:
        for reference in (attributes.get("aria-labelledby") or "").split():
            assert reference in ids
    for button in shown.all("button"):
        assert button.get("aria-label")
    for picture in shown.all("svg"):
        assert picture["aria-hidden"] == "true"


async def test_without_a_script_nothing_useless_is_shown(client: Client, tmp_path: Path) -> None:
    write_status(tmp_path, STATUS)
    shown = await quick_start(client)
    assert all("hidden" in button for button in shown.all("button"))
    assert all("hidden" in box for box in shown.all("div") if box.get("class") == "filter")


# -- JSON and text -----------------------------------------------------------------------------------------------------


async def test_api_status(client: Client, tmp_path: Path) -> None:
    write_status(tmp_path, changed(demo_key="sk-demo-1234"))
    answer = await client.get("/api/status", headers={"x-forwarded-host": "api.example"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = await answer.get_data(as_text=True)
    assert "sk-demo" not in body
    assert msgspec.json.decode(body) == {
        "success": True,
        "message": "",
        "data": {
            "version": "1.2.3",
            "start_time": int(NOW - 90_061),
            "uptime_seconds": 90_061,
            "system_name": "Hedgerow",
            "server_address": "http://api.example",
            "state": "serving",
            "workers": [
                {"slot": 0, "incarnation": "0-a", "pid": 11, "state": "ready", "restarts": 0},
                {"slot": 1, "incarnation": "1-b", "pid": 12, "state": "ready", "restarts": 1},
            ],
            "workers_serving": 2,
            "models": ["model-a", "provider/model-b"],
            "providers": ["provider"],
            "surfaces": ["chat", "models"],
            "keys_required": True,
            "candidates": [],
        },
    }


async def test_api_status_before_there_is_one(client: Client) -> None:
    answer = await client.get("/api/status")
    assert answer.status_code == 503
    assert (await answer.get_json())["success"] is False


async def test_metrics_of_the_runtime_directory(client: Client, tmp_path: Path) -> None:
    write_status(tmp_path, STATUS)
    metrics = Metrics(incarnation="0-a", slot=0)
    metrics.request_started("chat")
    metrics.publish(file_of(tmp_path, "0-a"))
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse_text(await answer.get_data(as_text=True))
        for sample in family.samples
    }
    assert samples["hedgerow_requests_in_flight", "chat"] == 1
    assert samples["hedgerow_worker_up", "1"] == 1
    answer = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.content_type.startswith("application/openmetrics-text")


@pytest.mark.parametrize(
    ("method", "path", "accept", "status", "content_type", "code"),
    [
        ("GET", "/nowhere", "application/json", 404, "application/json", "unknown_url"),
        ("GET", "/nowhere", "*/*", 404, "application/json", "unknown_url"),
        ("GET", "/nowhere", BROWSER["accept"], 404, "text/html; charset=utf-8", None),
        ("GET", "/v1/nowhere", BROWSER["accept"], 404, "application/json", "unknown_url"),
        ("GET", "/api/nowhere", BROWSER["accept"], 404, "application/json", "unknown_url"),
        ("GET", "/static/../app.py", "*/*", 404, "application/json", "unknown_url"),
        ("GET", "/static/app.py", "*/*", 404, "application/json", "unknown_url"),
        ("POST", "/", "*/*", 405, "application/json", "method_not_allowed"),
        ("POST", "/", BROWSER["accept"], 405, "text/html; charset=utf-8", None),
    ],
)
async def test_errors_come_in_the_readers_form(
    client: Client, method: str, path: str, accept: str, status: int, content_type: str, code: str | None
) -> None:
    ask_for = client.get if method == "GET" else client.post
    answer = await ask_for(path, headers={"accept": accept})
    assert answer.status_code == status
    assert answer.content_type == content_type
    if status == 405:
        assert "GET" in answer.headers["allow"]
    if code is not None:
        error = (await answer.get_json())["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, code)


async def test_a_path_in_an_error_page_is_escaped(client: Client) -> None:
    answer = await client.get("/%3Cscript%3Ealert(1)%3C/script%3E", headers=BROWSER)
    body = await answer.get_data(as_text=True)
    assert "<script" not in body
    assert "&lt;script&gt;" in body


async def test_a_bug_is_a_500_without_details(
    app: QuartTrio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("inner secret")

    app.testing = False
    monkeypatch.setattr("engine.console.app.render_metrics", broken)
    answer = await app.test_client().get("/metrics")
    body = await answer.get_data(as_text=True)
    assert answer.status_code == 500
    assert msgspec.json.decode(body)["error"]["type"] == "server_error"
    assert "inner secret" not in body
    assert "inner secret" in caplog.text


@pytest.mark.parametrize("path", ["/", "/api/status", "/metrics", "/static/console.js", "/nowhere"])
async def test_every_answer_carries_the_security_headers(client: Client, path: str) -> None:
    answer = await client.get(path, headers={"x-request-id": "req_1"})
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["x-request-id"] == "req_1"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


# -- values ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(host=st.text(max_size=300), scheme=st.none() | st.text())
def test_an_origin_holds_nothing_that_could_break_out(host: str, scheme: str | None) -> None:
    assert re.fullmatch(r"https?://[A-Za-z0-9_.:\[\]-]+", origin_of(scheme, host, []))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "https://localhost:8080"),
        ("API.Example", "https://api.example"),
        ("192.0.2.1", "https://192.0.2.1"),
        ("[2001:db8::1]:443", "https://[2001:db8::1]:443"),
        ("my_service-1.internal", "https://my_service-1.internal"),
        ("a.b.", "https://a.b."),
        ("x", "https://x"),
    ],
)
def test_usual_hosts_are_believed(host: str, origin: str) -> None:
    assert origin_of("https", host, []) == origin


@pytest.mark.parametrize(
    ("listen_on", "origin"),
    [
        (["127.0.0.1:8080"], "http://127.0.0.1:8080"),
        (["0.0.0.0:80"], "http://localhost:80"),
        (["[::]:8080"], "http://localhost:8080"),
        (["unix:/run/hedgerow.sock", "[::1]:9"], "http://[::1]:9"),
        ([], FALLBACK),
    ],
)
def test_the_fallback_is_an_address_that_is_listened_on(listen_on: list[str], origin: str) -> None:
    assert fallback_origin(listen_on) == origin


@pytest.mark.parametrize(
    ("workers", "state"),
    [
        ([READY], "serving"),
        ([msgspec.structs.replace(READY, state="draining")], "serving"),
        ([READY, msgspec.structs.replace(READY, state="down")], "partial"),
        ([msgspec.structs.replace(READY, state="starting")], "starting"),
        ([msgspec.structs.replace(READY, state="a new word")], "down"),
        ([], "down"),
    ],
)
def test_states(workers: list[Worker], state: str) -> None:
    assert state_of(changed(workers=workers)) == state


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0.9, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_061, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_status_of_another_version_is_understood(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(
        b'{"version":"9","start_time":1,"new":[],"workers":[{"slot":0,"incarnation":"x","y":1}]}'
    )
    status = read_status(tmp_path)
    assert status is not None
    assert status.workers == [Worker(slot=0, incarnation="x")]
    assert page(status, "http://x", NOW).state == "starting"


# -- the process -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def console_process(runtime: Path, *options: str) -> AsyncIterator[tuple[trio.Process, trio.SocketStream]]:
    """A real console that is ready, and its life line; killed at the end if it still runs."""
    ours, theirs = trio.socket.socketpair()
    command = [sys.executable, "-m", "engine.console", "--runtime", str(runtime), *options]
    command += ["--control-fd", str(theirs.fileno())]
    async with trio.SocketStream(ours) as life_line:
        with theirs:
            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), cwd=Path(__file__).parents[2]
            )
        try:
            with trio.fail_after(30):
                assert await life_line.receive_some() == b"ready\n"
            yield process, life_line
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


class Limits:
    """Limits of the parser in `ask`."""

    head_bytes_max = headers_max = target_bytes_max = body_bytes_max = 10_000


async def ask(runtime: Path, raw: bytes) -> bytes:
    """Send a request through a tunnel, as a worker does; return the whole answer."""
    parser = RequestParser(Limits())
    parser.feed(raw)
    request = parser.pop()
    assert request is not None
    ours, theirs = socket.socketpair()
    stream = Stream(ours)
    received = b""

    async def serve() -> None:
        await tunnel(stream, request, b"", socket_path=str(runtime / SOCKET), client_address="192.0.2.7", secure=True)
        stream.close()

    async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as client, trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        while data := await client.receive_some():
            received += data
    return received


async def test_the_process_serves_its_socket_and_ends_with_its_supervisor(tmp_path: Path) -> None:
    write_status(tmp_path, STATUS)
    async with console_process(tmp_path) as (process, life_line):
        with trio.fail_after(30):
            answer = await ask(tmp_path, b"GET /api/status HTTP/1.1\r\nhost: api.example\r\n\r\n")
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"hypercorn" not in head
            assert msgspec.json.decode(body)["data"]["server_address"] == "https://api.example"
            assert stat.S_IMODE((tmp_path / SOCKET).stat().st_mode) == 0o600
            old = await ask(tmp_path, b"GET / HTTP/1.0\r\naccept: text/html\r\n\r\n")
            assert b"127.0.0.1:8080" in old
            assert b"transfer-encoding" not in old.lower()
            process.send_signal(signal.SIGINT)
            assert (await ask(tmp_path, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await life_line.aclose()
            assert await process.wait() == 0


async def test_the_process_ends_on_sigterm_and_another_takes_its_place(tmp_path: Path) -> None:
    write_status(tmp_path, STATUS)
    for _ in range(2):
        async with console_process(tmp_path) as (process, _):
            with trio.fail_after(30):
                assert b" 200 " in await ask(tmp_path, b"GET /api/status HTTP/1.1\r\nhost: x\r\n\r\n")
                process.terminate()
                assert await process.wait() == 0


def test_a_socket_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["console", "--runtime", str(tmp_path / "missing")])
    assert main() == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No such file or directory" in error


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / SOCKET).write_text("precious")
    with pytest.raises(OSError, match="in use"):
        listen(tmp_path)
    assert (tmp_path / SOCKET).read_text() == "precious"


@pytest.mark.parametrize("life_line", ["999", os.devnull])
def test_a_life_line_that_cannot_be_waited_on_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], life_line: str
) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    number = str(descriptor) if life_line == os.devnull else life_line
    monkeypatch.setattr(sys, "argv", ["console", "--runtime", str(tmp_path), "--control-fd", number])
    with pytest.raises(SystemExit):
        main()
    os.close(descriptor)
    assert "--control-fd" in capsys.readouterr().err
