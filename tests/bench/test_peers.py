"""Peers: how they are named, installed, started and verified. No test installs anything or asks the network.

The real ones are started where they are installed: nginx, and what lies in the directory that HEDGEROW_BENCH_PEERS
names (the usual place is the user's, and stays untouched).
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st
from rich.console import Console

from bench import __main__ as program
from bench import peers
from bench.peers import answering, choice, command, given, installed, litellm, portkey
from bench.peers.installed import Recipe
from bench.peers.peer import PeerError, bare_environment
from bench.process import Cores, cpu_seconds, free_port
from bench.subjects import KEY, Subject, canned
from bench.watch import part

ANYWHERE = Cores(frozenset(), frozenset())
TEXT = " token" * 20


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(installed.VARIABLE, str(tmp_path / "peers"))


@pytest.fixture(scope="module")
def upstream() -> Iterator[Subject]:
    with canned(ANYWHERE) as subject:
        yield subject


# -- NAME=URL ----------------------------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,31}", fullmatch=True)
SEGMENTS = st.lists(st.text("abcXYZ019._~-", min_size=1), max_size=4)
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@generated(NAMES, st.sampled_from(["127.0.0.1", "localhost"]), st.integers(1, 65_535), SEGMENTS, WORDS, WORDS)
def test_what_is_written_is_what_is_read(
    name: str, host: str, port: int, segments: Sequence[str], key: str, model: str
) -> None:
    prefix = "".join(f"/{segment}" for segment in segments)
    url = f"http://{host}:{port}{prefix}"
    assert given.parse(f"{name}={url}") == given.Given(name, port, prefix, KEY, "canned")
    assert given.parse(f"{name}={url}/").prefix == prefix
    options = f"#key={quote(key, safe='')},model={quote(model, safe='')}"
    assert given.parse(f"{name}={url}{options}") == given.Given(name, port, prefix, key, model)


@generated(st.builds("{}{}".format, st.sampled_from(["", "x=http://", "x=http://localhost"]), st.text()))
def test_anything_else_is_refused_and_nothing_breaks(text: str) -> None:
    try:
        found = given.parse(text)
    except PeerError:
        return
    assert 0 < found.port < 65_536
    assert found.key.isascii()
    assert found.key.isprintable()
    assert found.prefix.isascii()
    assert " " not in found.prefix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Other=http://127.0.0.1:1/v1", "no name"),
        ("=http://127.0.0.1:1/v1", "no name"),
        ("other=https://127.0.0.1:1/v1", "not of the form"),
        ("other=127.0.0.1:1/v1", "not of the form"),
        ("other=", "not of the form"),
        ("other=http://192.0.2.1:1/v1", "192.0.2.1 is not 127.0.0.1 or localhost"),
        ("other=http://[::1]:1/v1", "::1 is not"),
        ("other=http://[::1/v1", "is no URL"),
        ("other=http://127.0.0.1:65536/v1", "is no URL"),
        ("other=http://127.0.0.1:0/v1", "port 0"),
        ("other=http://me:secret@127.0.0.1:1/v1", "#key="),
        ("other=http://127.0.0.1:1/v1?x=1", "#key="),
        ("other=http://127.0.0.1:1/a b", "cannot be sent"),
        ("other=http://127.0.0.1:1/v1#secret", "key=KEY,model=MODEL"),
        ("other=http://127.0.0.1:1/v1#token=x", "no such option: token"),
        ("other=http://127.0.0.1:1/v1#key=a%0Ab", "cannot stand in a header"),
    ],
)
def test_the_refusal_says_why(text: str, said: str) -> None:
    with pytest.raises(PeerError) as refused:
        given.parse(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["apache"], "no such peer: apache (there are nginx, litellm, portkey, and NAME=URL"),
        (["litellm"], "litellm is not installed: use python -m bench peers install litellm"),
        (["portkey"], "portkey is not installed: use python -m bench peers install portkey"),
        (["a=http://localhost/v1", "a=http://localhost:81/v1"], "named twice: a"),
        (["gateway=http://localhost/v1"], "gateway is whom the bench starts itself"),
        (["nginx=http://localhost/v1"], "nginx is whom the bench starts itself"),
    ],
)
def test_who_cannot_be_had_is_told_before_anything_starts(names: list[str], said: str) -> None:
    with pytest.raises(PeerError) as refused:
        peers.starts(names, 1, ANYWHERE)
    assert said in str(refused.value)


def test_the_report_says_no_key() -> None:
    found = peers.settings(["other=http://127.0.0.1:81/v1#key=secret,model=m"])
    assert found == {
        "other": {
            "version": None,
            "base_url": "http://127.0.0.1:81/v1",
            "model": "m",
            "placement": "as it was started",
        }
    }


def test_one_that_runs_is_a_subject_with_its_processes(upstream: Subject) -> None:
    [start] = peers.starts([f"other=http://127.0.0.1:{upstream.port}/v1#key=k,model=m"], 1, ANYWHERE)
    with start() as subject:
        assert subject == Subject("other", upstream.port, upstream.pids, key="k", model="m")


def test_nobody_listens(upstream: Subject) -> None:
    port = free_port()
    assert given.listeners(port) == ()
    [start] = peers.starts([f"other=http://127.0.0.1:{port}/v1"], 1, ANYWHERE)
    with pytest.raises(PeerError, match="other, asked for the upstream's text in one piece, answered nothing"), start():
        pass


# -- what counts as an answer ------------------------------------------------------------------------------------------


def whole(text: Any) -> str:
    return json.dumps({"choices": [{"message": {"content": text}}]}, separators=(",", ":"))


def event(text: str | None, **how: Any) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]}, **how)}\n\n"


COMPACT: dict[str, Any] = {"separators": (",", ":")}
STREAM = [event("", **COMPACT), *[event(" token", **COMPACT)] * 3, event(None, **COMPACT), "data: [DONE]\n\n"]


@contextmanager
def tiny(unary: str, stream: Sequence[str], status: int = 200) -> Iterator[int]:
    """Serve these answers on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            if asked.get("stream"):
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for each in stream:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(each), each.encode()))
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.send_header("content-length", str(len(unary)))
                self.end_headers()
                self.wfile.write(unary.encode())

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_the_upstreams_text_counts() -> None:
    with tiny(whole(TEXT), STREAM) as port:
        answering.verify(Subject("other", port, ()))


@pytest.mark.parametrize(
    ("unary", "stream", "status", "said"),
    [
        (whole(TEXT), STREAM, 500, "in one piece, answered with 500"),
        (whole("Hello"), STREAM, 200, "in one piece, answered with 200"),
        (whole(None), STREAM, 200, "in one piece, answered with 200"),
        ('{"choices":[]}', STREAM, 200, "in one piece, answered with 200"),
        ("<html>", STREAM, 200, "in one piece, answered with 200: <html>"),
        (whole(TEXT), STREAM[:-1], 200, "as a stream, answered with 200"),
        (whole(TEXT), STREAM[-1:], 200, "as a stream, answered with 200"),
        (whole(TEXT), [event("other"), *STREAM[-1:]], 200, "as a stream, answered with 200"),
        (whole(TEXT), ["data: x\n\n", *STREAM], 200, "as a stream, answered with 200"),
        (whole(TEXT), [event(" token"), *STREAM[-1:]], 200, "as a stream, but the load generator cannot read it"),
    ],
)
def test_another_answer_does_not(
    monkeypatch: pytest.MonkeyPatch, unary: str, stream: Sequence[str], status: int, said: str
) -> None:
    monkeypatch.setattr(answering, "_ANSWER_SECONDS_MAX", 1.0)
    with tiny(unary, stream, status) as port, pytest.raises(PeerError) as refused:
        answering.verify(Subject("other", port, ()))
    assert said in str(refused.value)


# -- installing --------------------------------------------------------------------------------------------------------


def recipe(*scripts: str, pins: Sequence[str] = ("fake==1",)) -> Recipe:
    def steps(inside: Path) -> Iterator[Sequence[str]]:
        for script in scripts:
            yield [sys.executable, "-c", script]

    return Recipe("fake", "1", pins, steps, {"package.json": "{}"})


COUNTED = "from pathlib import Path; Path('../times').open('a').write('x'); Path('part').write_text('whole')"


def quiet(_: str) -> None:
    pass


def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    once = recipe(COUNTED)
    assert not installed.installed(once, tmp_path)
    assert installed.install(once, tmp_path, quiet)
    assert installed.installed(once, tmp_path)
    assert not installed.install(once, tmp_path, quiet)
    assert (tmp_path / "times").read_text() == "x"
    assert (tmp_path / "fake" / "package.json").read_text() == "{}"


def test_other_pins_are_another_installation(tmp_path: Path) -> None:
    installed.install(recipe(COUNTED), tmp_path, quiet)
    (tmp_path / "fake" / "old").touch()
    newer = recipe(COUNTED, pins=("fake==2",))
    assert not installed.installed(newer, tmp_path)
    assert installed.install(newer, tmp_path, quiet)
    assert not (tmp_path / "fake" / "old").exists()
    assert not installed.installed(recipe(COUNTED), tmp_path)


def test_half_an_installation_is_none_and_is_done_again(tmp_path: Path) -> None:
    said: list[str] = []
    failing = recipe(COUNTED, "import sys; print('step two'); print('no such package'); sys.exit(7)")
    with pytest.raises(PeerError) as failed:
        installed.install(failing, tmp_path, said.append)
    assert "exit status 7\nstep two\nno such package" in str(failed.value)
    assert said[-1] == "no such package"
    assert (tmp_path / "fake" / "part").exists()
    assert not installed.installed(failing, tmp_path)
    assert installed.install(recipe(COUNTED), tmp_path, quiet)
    assert (tmp_path / "times").read_text() == "xx"


def test_a_tool_that_is_not_there(tmp_path: Path) -> None:
    missing = Recipe("fake", "1", ("fake==1",), lambda _: iter([["no-such-tool-anywhere", "install"]]))
    with pytest.raises(PeerError, match="no-such-tool-anywhere install: No such file"):
        installed.install(missing, tmp_path, quiet)
    assert not installed.installed(missing, tmp_path)


def test_the_place_is_named_or_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert installed.place() == tmp_path / "peers"
    monkeypatch.delenv(installed.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert installed.place().parts[-2:] == ("hedgerow", "bench-peers")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    found = recipe(COUNTED)
    monkeypatch.setattr(command, "RECIPES", {"fake": found})
    return found


def told(*words: str) -> str:
    out = StringIO()
    assert command.main(words, Console(file=out, width=200)) == 0
    return out.getvalue()


def test_the_command(fake: Recipe, tmp_path: Path) -> None:
    assert "fake: not installed; python -m bench peers install fake" in told("list")
    assert "fake: installed" in told("install")
    assert installed.version(fake) == "1"
    assert "fake: was there" in told("install", "fake")
    assert "fake: 1" in told("list")
    assert "fake: removed" in told("remove", "fake")
    assert "fake: was not there" in told("remove")
    assert installed.version(fake) is None
    elsewhere = tmp_path / "elsewhere"
    assert f"{installed.VARIABLE}={elsewhere}" in told("install", "--directory", str(elsewhere))
    assert installed.installed(fake, elsewhere)


def test_the_command_fails_clearly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "RECIPES", {"fake": recipe("raise SystemExit('no route to the index')")})
    assert program.main(["peers", "install"]) == 1
    assert "no route to the index" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        program.main(["peers", "install", "bifrost"])
    assert ended.value.code == 2


def test_what_is_pinned_stands_in_the_commands(tmp_path: Path) -> None:
    [_, pip] = litellm.steps(tmp_path)
    assert pip[-1] == f"litellm[proxy]=={litellm.RECIPE.version}"
    package = json.loads(portkey.RECIPE.files["package.json"])
    assert package["dependencies"] == {"@portkey-ai/gateway": portkey.RECIPE.version}
    assert [f"{name}@{pin}" for name, pin in (package["dependencies"] | package["overrides"]).items()] == list(
        portkey.RECIPE.pins
    )


@pytest.mark.parametrize(
    ("version", "usable"), [("v20.1.0", True), ("v24.0.0", False), ("v9.0.0", False), ("?", False)]
)
def test_node_of_this_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, usable: bool) -> None:
    for name in ("node", "npm"):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\necho {version}\n")
        script.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    commands = list(portkey.steps(tmp_path / "home"))
    assert (portkey.node_of_system() == str(tmp_path / "node")) is usable
    assert len(commands) == (1 if usable else 3)
    assert commands[-1][:2] == ["npm" if usable else str(tmp_path / "home/venv/bin/npm"), "install"]
    if not usable:
        with pytest.raises(PeerError, match="Node is gone"):
            portkey.node_for(tmp_path / "home")


# -- who is chosen -----------------------------------------------------------------------------------------------------


def choose(*words: str) -> tuple[str, ...]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    choice.add_options(parser)
    return choice.chosen(parser, parser.parse_args(words))


def test_the_default_is_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "present", lambda: ["nginx", "litellm"])
    assert choose() == ("nginx", "litellm")
    assert choose("--quick") == ("nginx",)
    assert choose("--no-peers") == ()
    monkeypatch.setattr(peers, "present", lambda: ["litellm"])
    assert choose("--quick") == ()


@pytest.mark.parametrize(
    "words",
    [
        ["--no-peers", "--peer", "nginx"],
        ["--peer", "other=http://127.0.0.1:1/v1"],
        ["--upstream-port", "0"],
        ["--upstream-port", "65536"],
        ["--upstream-port", "x"],
    ],
)
def test_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        choose(*words)
    assert ended.value.code == 2


def test_one_that_runs_is_asked_before_the_run() -> None:
    port = str(free_port())
    other = f"other=http://127.0.0.1:{port}/v1"  # the upstream itself, which answers as one would that passes on to it
    assert choose("--peer", other, "--upstream-port", port) == (other,)
    away = f"away=http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(PeerError, match="away, asked for"):
        choose("--peer", away, "--upstream-port", port)


def test_an_upstream_port_that_is_taken(upstream: Subject) -> None:
    other = f"other=http://127.0.0.1:{upstream.port}/v1"
    with pytest.raises(PeerError, match=f"port {upstream.port}: is it in use"):
        choose("--peer", other, "--upstream-port", str(upstream.port))


def test_a_run_ends_before_it_begins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "results"
    assert program.main(["micro", "--peer", "litellm", "--output", str(output)]) == 1
    assert "litellm is not installed" in capsys.readouterr().err
    assert not output.exists()


# -- processes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["nginx: worker process"], "nginx"),
        (["/usr/sbin/nginx", "-p", "x"], "nginx"),
        (["/x/venv/bin/python", "/x/venv/bin/litellm", "--config", "c"], "litellm"),
        (["/usr/bin/node", "/x/node_modules/@portkey-ai/gateway/build/start-server.js", "--headless"], "portkey"),
        (["python", "-m", "bench.load"], "load"),
        (["python", "-m", "engine", "serve"], "gateway"),
        (["python", "-m", "bench.canned"], "upstream"),
        (["/bin/cat", "nginx.conf"], "other"),
        ([], "other"),
    ],
)
def test_the_watch_knows_whose_a_process_is(words: list[str], name: str) -> None:
    assert part(words) == name


def test_a_peer_is_configured_by_nobodys_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "REDIS_HOST", "LITELLM_LOG", "OPENAI_API_KEY", "HTTP_PROXY", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    found = bare_environment(tmp_path, ADDED="y")
    assert found["PATH"] == os.environ["PATH"]
    assert found["HOME"] == str(tmp_path)
    assert found["ADDED"] == "y"
    assert "x" not in found.values()


REAL = os.environ.get(installed.VARIABLE)


def missing(name: str) -> bool:
    recipes = {each.name: each for each in (litellm.RECIPE, portkey.RECIPE)}
    if name in recipes:
        return REAL is None or not installed.installed(recipes[name], Path(REAL).absolute())
    return peers.KNOWN[name].version() is None


@pytest.mark.parametrize("name", list(peers.KNOWN))
def test_the_real_one_answers_as_the_others_do(name: str, monkeypatch: pytest.MonkeyPatch, upstream: Subject) -> None:
    if missing(name):
        pytest.skip(f"{name} is not installed, or {installed.VARIABLE} does not say where")
    if REAL is not None:
        monkeypatch.setenv(installed.VARIABLE, REAL)
    assert peers.settings([name])[name]["version"]
    [start] = peers.starts([name], upstream.port, ANYWHERE)
    with start() as subject:
        before_s = cpu_seconds(subject.pids)
        answering.verify(subject)
        assert cpu_seconds(subject.pids) > before_s
        assert subject.name == name
    assert answering.post(subject, stream=False)[0] == 0
