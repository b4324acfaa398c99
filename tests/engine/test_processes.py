"""The server as an operator runs it: real processes, real signals, killed workers, drains and reloads under load."""

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest
import trio

from bench import upstream
from bench.upstream import ScriptedUpstream
from engine.console.status import SOCKET_PATH_BYTES_MAX

KEY = "sk-test-0123456789"
DELTA: dict[str, Any] = {"event": {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hel"}}]}}
CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}


def toml(base_url: str, *, drain_seconds: float = 20, console: bool = True, alias: str = "fast") -> str:
    return f"""
[server]
listen = ["127.0.0.1:0"]
environment_providers = false
drain_seconds = {drain_seconds}
console = {str(console).lower()}
access_log = "access.log"
[keys.test]
value = "{KEY}"
[providers.scripted-1]
base_url = "{base_url}"
models = ["scripted"]
[models.{alias}]
provider = "scripted-1"
model = "scripted"
"""


class Serving:
    """A running `hedgerow serve`."""

    def __init__(self, process: trio.Process, origin: str, config: Path, client: httpx.AsyncClient) -> None:
        self.process = process
        self.origin = origin
        self.config = config
        self.client = client
        self.stderr: list[str] = []

    async def workers(self) -> list[dict[str, Any]]:
        """The workers as /api/status shows them; waits while the console starts."""
        with trio.fail_after(20):
            while True:
                answer = await self.client.get("/api/status")
                if answer.status_code == 200:
                    return list(answer.json()["data"]["workers"])
                await trio.sleep(0.05)

    async def wait_log(self, pattern: str) -> str:
        """Wait for a line of stderr."""
        with trio.fail_after(20):
            while True:
                for line in self.stderr:
                    if re.search(pattern, line):
                        return line
                await trio.sleep(0.02)


@asynccontextmanager
async def serving(
    config: Path,
    *,
    workers: int = 1,
    preexec: Any = None,
    follow_stdin: bool = False,
    environ: dict[str, str] | None = None,
) -> AsyncIterator[Serving]:
    """Run the server; whatever a test does, every process of it must be gone afterwards."""
    command = [sys.executable, "-m", "engine", "serve", "--config", str(config), "--workers", str(workers)]
    if follow_stdin:
        command.append("--follow-stdin")
    stdin = subprocess.PIPE if follow_stdin else None
    process = await trio.lowlevel.open_process(
        command, stdin=stdin, stderr=subprocess.PIPE, preexec_fn=preexec, env={**os.environ, **(environ or {})}
    )
    assert process.stderr is not None
    lines: list[str] = []
    origin = ""
    async with trio.open_nursery() as nursery:
        started = trio.Event()

        async def read() -> None:
            nonlocal origin
            buffer = b""
            assert process.stderr is not None
            async for data in process.stderr:
                *whole, buffer = (buffer + data).split(b"\n")
                lines.extend(line.decode() for line in whole)
                for line in whole:
                    if match := re.search(rb"serves on (http\S+)", line):
                        origin = match[1].decode().rstrip(",")
                        started.set()
            started.set()

        nursery.start_soon(read)
        try:
            with trio.fail_after(30):
                await started.wait()
            assert origin, lines
            headers = {"authorization": f"Bearer {KEY}"}
            async with httpx.AsyncClient(base_url=origin, headers=headers, timeout=20, trust_env=False) as client:
                server = Serving(process, origin, config, client)
                server.stderr = lines
                yield server
        finally:
            if process.returncode is None:
                process.terminate()
            with trio.move_on_after(15):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
        nursery.cancel_scope.cancel()


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    async with upstream.running() as server:
        yield server


@pytest.fixture
def config(tmp_path: Path, scripted: ScriptedUpstream) -> Path:
    path = tmp_path / "hedgerow.toml"
    path.write_text(toml(scripted.base_url))
    return path


async def stream_text(server: Serving) -> str:
    """Read one stream to its end."""
    async with server.client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
        assert answer.status_code == 200
        return (await answer.aread()).decode()


async def test_serves_logs_and_ends_on_sigterm(config: Path) -> None:
    async with serving(config, workers=2) as server:
        answer = await server.client.post("/v1/chat/completions", json=CHAT)
        assert answer.json()["object"] == "chat.completion"
        assert "data: [DONE]" in await stream_text(server)
        states = [worker["state"] for worker in await server.workers()]
        assert states == ["ready", "ready"]
        process = server.process
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            assert await process.wait() == 0
    lines = [msgspec.json.decode(line) for line in (config.parent / "access.log").read_bytes().splitlines()]
    chat = [line for line in lines if line["surface"] == "chat"]
    assert [line["outcome"] for line in chat] == ["ok", "ok"]
    assert all(line["key"] == "test" for line in chat)
    assert KEY not in (config.parent / "access.log").read_text()


async def test_how_requests_are_spread_over_workers_is_shown(config: Path) -> None:
    async with serving(config, workers=2) as server:
        for _ in range(3):
            assert (await server.client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        with trio.fail_after(20):
            while True:  # each worker tells once a second
                text = (await server.client.get("/metrics")).text
                found = re.findall(r'^hedgerow_worker_requests_total\{worker="(\w+)"\} (\S+)$', text, re.MULTILINE)
                requests = re.findall(r"^hedgerow_requests_total\{\S+ (\S+)$", text, re.MULTILINE)
                if len(found) == 2 and sum(map(float, requests)) >= 3:
                    break
                await trio.sleep(0.05)
        assert [worker for worker, _ in found] == ["0", "1"], "the clerk and the console serve none"
        assert sum(float(count) for _, count in found) == sum(map(float, requests))


def _connections(pid: int, port: int) -> int:
    """Return how many client connections a worker holds."""
    found = psutil.Process(pid).net_connections(kind="tcp")
    return sum(each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED for each in found)


async def test_a_killed_worker_is_replaced_and_the_others_keep_their_streams(
    config: Path, scripted: ScriptedUpstream
) -> None:
    scripted.set_default([DELTA, {"wait": "go"}, {"answer": True}])
    config.write_text(config.read_text().replace("console = true", "console = false"))
    async with serving(config, workers=2) as server:
        outcomes: list[str] = []
        port = int(server.origin.rsplit(":", 1)[1])

        async def hold() -> None:
            # A client of its own, so that each stream is a connection of its own and the kernel spreads them.
            headers = {"authorization": f"Bearer {KEY}"}
            async with httpx.AsyncClient(
                base_url=server.origin, headers=headers, timeout=20, trust_env=False
            ) as client:
                try:
                    async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
                        outcomes.append("whole" if b"[DONE]" in await answer.aread() else "ended")
                except (httpx.RemoteProtocolError, httpx.ReadError):
                    outcomes.append("cut")

        async with trio.open_nursery() as nursery:
            pids = _workers_of(server.process.pid)
            held = 0
            while held < 40 and not all(_connections(pid, port) for pid in pids):
                nursery.start_soon(hold)
                await scripted.wait_request(held)
                held += 1
            lost = _connections(pids[0], port)
            assert 0 < lost < held
            os.kill(pids[0], signal.SIGKILL)
            await server.wait_log(r"worker \d .* ended with code -9")
            with trio.fail_after(20):
                while not (len(now := _workers_of(server.process.pid)) == 2 and pids[0] not in now):
                    await trio.sleep(0.05)
            assert pids[1] in now
            scripted.gate("go").set()
        assert (outcomes.count("cut"), outcomes.count("whole")) == (lost, held - lost)
        scripted.set_default(None)
        for _ in range(20):
            assert (await server.client.post("/v1/chat/completions", json=CHAT)).status_code == 200


async def test_a_drain_under_a_flood_of_connections_cuts_no_stream(config: Path, scripted: ScriptedUpstream) -> None:
    scripted.enqueue([DELTA, {"wait": "go"}, {"answer": True}])
    async with serving(config) as server:
        port = int(server.origin.rsplit(":", 1)[1])
        text: list[str] = []
        refused = trio.Event()

        async def flood() -> None:
            while not refused.is_set():
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                except OSError:
                    refused.set()
                    return
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
                    await stream.receive_some()
                await trio.aclose_forcefully(stream)

        async def read() -> None:
            text.append(await stream_text(server))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await scripted.wait_request()
            for _ in range(8):
                nursery.start_soon(flood)
            await trio.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            with trio.fail_after(10):
                await refused.wait()
            scripted.gate("go").set()
        assert "data: [DONE]" in text[0]
        with trio.fail_after(10):
            assert await server.process.wait() == 0
        assert not any("Traceback" in line for line in server.stderr)


async def test_sighup_takes_a_new_configuration_without_cutting_a_stream(
    config: Path, scripted: ScriptedUpstream
) -> None:
    scripted.enqueue([DELTA, {"wait": "go"}, {"answer": True}])
    async with serving(config) as server:
        text: list[str] = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                text.append(await stream_text(server))

            nursery.start_soon(read)
            await scripted.wait_request()
            config.write_text(toml(scripted.base_url, alias="slow"))
            server.process.send_signal(signal.SIGHUP)
            with trio.fail_after(10):
                while (await server.client.get("/v1/models/slow")).status_code != 200:
                    await trio.sleep(0.02)
            assert (await server.client.get("/v1/models/fast")).status_code == 404
            scripted.gate("go").set()
        assert "data: [DONE]" in text[0]


async def test_an_invalid_configuration_changes_nothing(config: Path) -> None:
    async with serving(config) as server:
        config.write_text("[server]\nlisten = 8\n[provider]")
        server.process.send_signal(signal.SIGHUP)
        await server.wait_log("not valid, the old one stays")
        assert (await server.client.get("/v1/models/fast")).status_code == 200


async def restarted(server: Serving, slot: int = 0) -> None:
    """Kill a worker and wait for its replacement."""
    before = (await server.workers())[slot]
    os.kill(before["pid"], signal.SIGKILL)
    with trio.fail_after(20):
        while True:
            now = (await server.workers())[slot]
            if now["pid"] != before["pid"] and now["state"] == "ready":
                return
            await trio.sleep(0.05)


async def test_a_restarted_worker_runs_on_what_was_accepted_and_not_on_the_file(config: Path) -> None:
    async with serving(config) as server:
        config.write_text("not TOML at all")
        await restarted(server)
        assert (await server.client.get("/v1/models/fast")).status_code == 200


async def test_a_reload_cannot_take_the_last_key_from_a_server_that_others_can_reach(config: Path) -> None:
    text = config.read_text().replace('"127.0.0.1:0"', '"0.0.0.0:0"')
    config.write_text(text)
    async with serving(config) as server:
        keyless = text.replace('"0.0.0.0:0"', '"127.0.0.1:0"').replace(f'[keys.test]\nvalue = "{KEY}"\n', "")
        assert "[keys" not in keyless
        config.write_text(keyless)
        server.process.send_signal(signal.SIGHUP)
        await server.wait_log("the last one is gone")
        port = server.origin.rsplit(":", 1)[1]
        answer = await server.client.get(f"http://127.0.0.1:{port}/v1/models", headers={"authorization": "Bearer x"})
        assert answer.status_code == 401


async def test_without_its_runtime_directory_the_server_serves_on(config: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    config.write_text(config.read_text().replace("console = true", "console = false"))
    scratch.mkdir()
    async with serving(config, environ={"TMPDIR": str(scratch)}) as server:
        (runtime,) = scratch.iterdir()
        shutil.rmtree(runtime)
        (pid,) = _workers_of(server.process.pid)
        os.kill(pid, signal.SIGKILL)
        await server.wait_log("status.json cannot be written")
        with trio.fail_after(20):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await server.client.post("/v1/chat/completions", json=CHAT)).status_code == 200:
                        break
                await trio.sleep(0.05)


def _workers_of(supervisor: int) -> list[int]:
    children = psutil.Process(supervisor).children()
    return [child.pid for child in children if "engine.worker" in " ".join(child.cmdline())]


async def test_what_a_killed_supervisor_left_behind_is_removed_by_the_next(config: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    config.write_text(config.read_text().replace("console = true", "console = false"))
    scratch.mkdir()
    async with serving(config, environ={"TMPDIR": str(scratch)}) as server:
        server.process.kill()
        await server.process.wait()
    (left,) = scratch.iterdir()
    async with serving(config, environ={"TMPDIR": str(scratch)}) as server:
        assert (await server.client.get("/health")).status_code == 200
        (there,) = scratch.iterdir()
        assert there != left


async def test_sigterm_lets_open_streams_end(config: Path, scripted: ScriptedUpstream) -> None:
    scripted.enqueue([DELTA, {"wait": "go"}, {"answer": True}])
    async with serving(config) as server:
        text: list[str] = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                text.append(await stream_text(server))

            nursery.start_soon(read)
            await scripted.wait_request()
            server.process.send_signal(signal.SIGTERM)
            await server.wait_log("draining")
            with trio.fail_after(10):
                while True:
                    try:
                        await (await trio.open_tcp_stream("127.0.0.1", int(server.origin.rsplit(":", 1)[1]))).aclose()
                    except OSError:
                        break
                    await trio.sleep(0.02)
            scripted.gate("go").set()
        assert "data: [DONE]" in text[0]
        with trio.fail_after(10):
            assert await server.process.wait() == 0


async def test_a_drain_ends_after_drain_seconds(config: Path, scripted: ScriptedUpstream) -> None:
    config.write_text(toml(scripted.base_url, drain_seconds=0.3))
    scripted.enqueue([DELTA, {"stall": True}])
    streamed = {**CHAT, "stream": True}
    async with serving(config) as server, server.client.stream("POST", "/v1/chat/completions", json=streamed):
        server.process.send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            assert await server.process.wait() == 0


async def test_the_end_of_a_followed_stdin_drains(config: Path, scripted: ScriptedUpstream) -> None:
    scripted.enqueue([DELTA, {"wait": "go"}, {"answer": True}])
    async with serving(config, follow_stdin=True) as server:
        text: list[str] = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                text.append(await stream_text(server))

            nursery.start_soon(read)
            await scripted.wait_request()
            assert server.process.stdin is not None
            await server.process.stdin.send_all(b"what comes in means nothing\n")
            assert (await server.client.get("/health")).status_code == 200
            await server.process.stdin.aclose()
            await server.wait_log("draining")
            scripted.gate("go").set()
        assert "data: [DONE]" in text[0]
        with trio.fail_after(10):
            assert await server.process.wait() == 0


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, b""], ids=["device", "pipe"])
async def test_a_server_that_is_told_to_end_before_it_serves_does(config: Path, stdin: int | bytes) -> None:
    config.write_text(toml("http://127.0.0.1:9/v1", drain_seconds=600))
    with trio.fail_after(20):
        done = await trio.run_process(
            [sys.executable, "-m", "engine", "serve", "--config", str(config), "--follow-stdin"],
            stdin=stdin,
            capture_stderr=True,
        )
    assert b"Traceback" not in done.stderr
    assert b"serves on" not in done.stderr


async def test_sigterm_while_the_first_worker_starts_waits_for_nothing(config: Path) -> None:
    config.write_text(toml("http://127.0.0.1:9/v1", drain_seconds=600, console=False))
    command = [sys.executable, "-m", "engine", "serve", "--config", str(config)]
    with trio.fail_after(20):
        process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE)
        while not any(map(_is_worker, psutil.Process(process.pid).children())):
            await trio.sleep(0.005)
        process.terminate()
        assert process.stderr is not None
        said = b"".join([data async for data in process.stderr])
        assert await process.wait() == 0
    assert b"Traceback" not in said


async def test_sigint_twice_stops_at_once(config: Path, scripted: ScriptedUpstream) -> None:
    scripted.enqueue([DELTA, {"stall": True}])
    async with serving(config) as server:
        pids = [worker["pid"] for worker in await server.workers()]
        async with server.client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}):
            server.process.send_signal(signal.SIGINT)
            await server.wait_log("draining")
            server.process.send_signal(signal.SIGINT)
            with trio.fail_after(10):
                await server.process.wait()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_workers_do_not_outlive_a_killed_supervisor(config: Path) -> None:
    async with serving(config) as server:
        pids = [worker["pid"] for worker in await server.workers()]
        server.process.kill()
        await server.process.wait()
        with trio.fail_after(10):
            while any(_alive(pid) for pid in pids):
                await trio.sleep(0.02)


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "engine.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # or a zombie: not every child is one of ours
        return False


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_running_out_of_file_descriptors_is_survived_with_one_line(
    tmp_path: Path, scripted: ScriptedUpstream
) -> None:
    config = tmp_path / "hedgerow.toml"
    config.write_text(toml(scripted.base_url, console=False))

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    async with serving(config, preexec=few) as server:
        port = int(server.origin.rsplit(":", 1)[1])
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(100)]
        await server.wait_log("out of descriptors")
        for stream in streams:
            await stream.aclose()
        assert (await server.client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert sum("out of descriptors" in line for line in server.stderr) == 1


def test_a_taken_port_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    config = tmp_path / "hedgerow.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(toml("http://127.0.0.1:9/v1").replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        command = [sys.executable, "-m", "engine", "serve", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_too_deep_for_the_consoles_socket_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    config, deep = tmp_path / "hedgerow.toml", tmp_path / ("deep" * 25)
    deep.mkdir()
    config.write_text(toml("http://127.0.0.1:9/v1"))
    done = subprocess.run(
        [sys.executable, "-m", "engine", "serve", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "TMPDIR": str(deep)},
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert str(deep) in line
    assert f"{SOCKET_PATH_BYTES_MAX} are the most" in line
    assert list(deep.iterdir()) == []


async def test_without_a_console_a_deep_place_will_do(config: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 25)
    deep.mkdir()
    config.write_text(config.read_text().replace("console = true", "console = false"))
    async with serving(config, environ={"TMPDIR": str(deep)}) as server:
        assert (await server.client.post("/v1/chat/completions", json=CHAT)).status_code == 200


def test_check_lists_every_problem_with_its_path(tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(
        '[server]\nlistem = ["127.0.0.1:1"]\n[providers.mine]\nbase_url = "ftp://x"\n[models.a]\nprovider = "none"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "engine", "check", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    for path in ("server.listem", "providers.mine.base_url", "models.a.provider"):
        assert path in done.stderr
    assert "Traceback" not in done.stderr


def test_who_gives_way_does_so_as_a_process_and_as_a_session() -> None:
    script = (
        "import os, pathlib, engine.processes as p; p.give_way(7); print(os.nice(0));"
        "group = pathlib.Path('/proc/self/autogroup'); print(group.read_text() if group.exists() else 'nice 7')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, start_new_session=True
    )
    nice, group = ended.stdout.splitlines()[:2]
    assert nice == "7"
    assert group.endswith("nice 7") or not Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().startswith("1")
