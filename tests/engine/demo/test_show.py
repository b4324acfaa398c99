"""The demo: what it prints and writes, and the whole of it as a process, with its children counted at the end."""

import io
import json
import os
import queue
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import cast

import psutil
import pytest
from rich.console import Console

from adapters.prices import Price
from adapters.providers import local, scripted
from engine.config import load
from engine.demo import show
from engine.demo.account import CREDIT_NANOS, INPUT_NANOS, OUTPUT_NANOS, Bill
from engine.demo.child import Child
from engine.demo.screen import MODELS_SHOWN_MAX, Access, Figures, Screen, commands, snippets
from engine.demo.show import Upstream, configuration, free_port
from engine.money import dollars

ACCESS = Access("http://127.0.0.1:8080", "sk-hr-key", "demo", Path("/the place/data"))
SECONDS_MAX = 120.0

NO_CHILD = cast("Child", None)
"""Rendering a configuration looks at no process."""


BILL = re.compile(r"(\d+) tokens in at \$0\.10 a million, (\d+) out at \$0\.40: (\$\S+), (\$\S+) left of \$5\.00")


def charge_nanos(input_tokens: int, output_tokens: int) -> int:
    """What the price makes of tokens; divides without a rest."""
    return (input_tokens * INPUT_NANOS + output_tokens * OUTPUT_NANOS) // 1_000_000


def assert_billed(text: str) -> None:
    """The line about money is there, and its sums are right."""
    found = BILL.search(text)
    assert found is not None, text
    charged_nanos = charge_nanos(int(found[1]), int(found[2]))
    assert charged_nanos > 0
    assert found[3] == dollars(charged_nanos)
    assert found[4] == dollars(CREDIT_NANOS - charged_nanos)


def screen() -> tuple[Screen, io.StringIO]:
    output = io.StringIO()
    return Screen(Console(file=output, highlight=False, soft_wrap=True)), output


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_the_curl_snippet_is_one_command_with_a_json_body() -> None:
    words = shlex.split(snippets(ACCESS)["curl"].replace("\\\n", " "))
    assert words[:3] == ["curl", "-N", "http://127.0.0.1:8080/v1/chat/completions"]
    assert "Authorization: Bearer sk-hr-key" in words
    body = json.loads(words[words.index("-d") + 1])
    assert (body["model"], body["stream"]) == ("demo", True)


def test_the_python_snippet_compiles_and_carries_the_access() -> None:
    (code,) = (code for name, code in snippets(ACCESS).items() if name.startswith("Python"))
    compile(code, "snippet", "exec")
    assert all(repr(word).replace("'", '"') in code for word in (ACCESS.base_url, ACCESS.key, ACCESS.model))


def test_the_javascript_snippet_carries_the_access() -> None:
    (code,) = (code for name, code in snippets(ACCESS).items() if name.startswith("JavaScript"))
    assert all(json.dumps(word) in code for word in (ACCESS.base_url, ACCESS.key, ACCESS.model))
    assert code.count("{") == code.count("}")


def test_without_a_terminal_nothing_but_lines_is_written() -> None:
    shown, output = screen()
    with shown.waiting("Loading") as waiting:
        waiting.tell("1.0 s")
        waiting.tell("2.0 s")
    shown.question("model", "Why?")
    shown.token("Because [bold]it[/bold] is.")
    shown.figures(Figures(3, 0.25, 0.5))
    shown.access(ACCESS, ["a", "b"])
    text = output.getvalue()
    assert text.startswith("Loading ...\n\nyou > Why?\nmodel > Because [bold]it[/bold] is.\n\nfirst token after 250 ms")
    assert "3 tokens, 4 tokens/s" in text
    assert all(code in text for code in (*snippets(ACCESS).values(), *commands(ACCESS.data).values()))
    assert "\x1b" not in text


def test_the_commands_name_the_store_for_a_shell() -> None:
    (lines,) = commands(ACCESS.data).values()
    asked = [shlex.split(line) for line in lines.splitlines()]
    assert all(words[-2:] == ["--data", "/the place/data"] for words in asked)
    assert [set(words) & {"accounts", "keys", "usage"} for words in asked] == [{"accounts"}, {"keys"}, {"usage"}]


def test_the_bill_can_be_worked_out_by_hand() -> None:
    shown, output = screen()
    charged_nanos = charge_nanos(40, 77)
    shown.bill(Bill(40, 77, charged_nanos, CREDIT_NANOS - charged_nanos))
    said = "40 tokens in at $0.10 a million, 77 out at $0.40: $0.0000348, $4.9999652 left of $5.00\n"
    assert output.getvalue() == said


def test_an_answer_cannot_control_the_terminal() -> None:
    shown, output = screen()
    shown.token("a\x1b[31mb\x9bc\x07\td\n")
    assert output.getvalue() == "a[31mbc\td\n"


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_in_a_terminal_lines_break_between_words(pieces: int) -> None:
    output = io.StringIO()
    shown = Screen(
        Console(file=output, highlight=False, soft_wrap=True, force_terminal=True, color_system=None, width=20)
    )
    shown.question("m", "Why?")
    text = "It is scattered\n\nby molecules, 空は青いの。 " + "あ" * 40 + " twelve more."
    for start in range(0, len(text), pieces):
        shown.token(text[start : start + pieces])
    shown.figures(Figures(3, 0.25, 0.5))
    said, _, _ = output.getvalue().partition("first token")
    answer = said.partition("m > ")[2]
    assert re.sub(r"\s", "", answer) == re.sub(r"\s", "", text)
    lines = answer.rstrip().split("\n")
    assert [line.rstrip() for line in lines[:4]] == ["It is scattered", "", "by molecules,", "空は青いの。"]
    assert answer.split()[-1] == "more."


def test_of_many_models_some_are_shown() -> None:
    shown, output = screen()
    shown.access(ACCESS, [f"model-{number}" for number in range(MODELS_SHOWN_MAX + 5)])
    assert f"model-{MODELS_SHOWN_MAX - 1} and 5 more\n" in output.getvalue()


@pytest.mark.parametrize(
    ("figures", "speed"), [(Figures(1, 0.1, 0.0), 0.0), (Figures(0, 0.1, 1.0), 0.0), (Figures(11, 0.1, 0.5), 20.0)]
)
def test_speed_counts_the_gaps_between_tokens(figures: Figures, speed: float) -> None:
    assert figures.tokens_per_second == speed


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("", None),
        (": comment", None),
        ("event: x", None),
        ("data: [DONE]", None),
        ('data: {"a":1}', {"a": 1}),
        ('data:{"a":1}', {"a": 1}),
    ],
)
def test_lines_of_a_stream(line: str, event: object) -> None:
    assert show._event(line) == event


# -- what is written and chosen ----------------------------------------------------------------------------------------


def test_the_configuration_is_valid_and_prices_the_model(tmp_path: Path) -> None:
    upstream = Upstream(local.PROVIDER.name, "http://127.0.0.1:40001/v1", local.MODEL, NO_CHILD)
    text = configuration(8099, upstream)
    assert tomllib.loads(text)["models"] == {"demo": {"provider": "local", "model": local.MODEL}}
    path = tmp_path / "hedgerow.toml"
    path.write_text(text)
    config = load(path, {"OPENAI_API_KEY": "sk-from-the-environment"})
    assert config.warnings == ()
    assert set(config.providers) == {local.PROVIDER.name, "openai"}
    assert config.providers[local.PROVIDER.name].models == (local.MODEL,)
    assert config.keys == ()
    assert config.accounts.required
    assert config.prices == {f"local/{local.MODEL}": Price(input=INPUT_NANOS, output=OUTPUT_NANOS)}
    assert [tier.markup_ppm for tier in config.billing.tiers] == [0]


def test_a_port_in_use_is_not_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


@pytest.mark.parametrize("port", [0, -1, 70_000])
def test_no_port_and_an_impossible_one_give_a_free_one(port: int) -> None:
    assert 1024 <= free_port(port) <= 65_535


# -- the whole ---------------------------------------------------------------------------------------------------------


class Running:
    """A demo as a process, read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._arriving: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._arriving.put(line.rstrip("\n"))
        self._arriving.put("<end>")

    def read_until(self, found: Callable[[str], bool]) -> str:
        """Return the next line that is `found`; fails at the end of the output."""
        while True:
            line = self._arriving.get(timeout=SECONDS_MAX)
            self.lines.append(line)
            if found(line):
                return line
            assert line != "<end>", "\n".join(self.lines)

    def close(self) -> None:
        """Wait for the process's end and put its output away."""
        self.process.wait(SECONDS_MAX)
        self._reader.join(SECONDS_MAX)
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@contextmanager
def running(*arguments: str, **environ: str) -> Iterator[Running]:
    """Run `hedgerow demo`; afterwards asserts that it left no process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environ},
    )
    demo_process = Running(process)
    seen: list[psutil.Process] = []
    try:
        yield demo_process
        if process.poll() is None:
            seen = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
        process.wait(SECONDS_MAX)
    finally:
        process.kill()
        demo_process.close()
    _, alive = psutil.wait_procs(seen, timeout=5)
    assert alive == []


@pytest.fixture
def without_model(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine whose wheel does not work."""
    package = tmp_path / local.MODEL_PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    (package / local.MODEL_FILE).touch()
    (tmp_path / f"{local.SERVER_PACKAGE}.py").write_text("raise ImportError('no such wheel')")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}


@pytest.mark.usefixtures("local_model_url")
def test_a_real_model_answers_through_the_gateway() -> None:
    with running("--port", "0", "--once") as demo_process:
        demo_process.read_until(lambda line: line == "<end>")
        code = demo_process.process.wait(SECONDS_MAX)
    assert code == 0, demo_process.text
    assert f"{local.MODEL} > " in demo_process.text
    assert "tokens/s" in demo_process.text
    assert_billed(demo_process.text)


def test_it_serves_on_with_snippets_that_work_and_ends_at_ctrl_c(without_model: dict[str, str], tmp_path: Path) -> None:
    users = {"HEDGEROW_DATA": str(tmp_path / "user"), "XDG_DATA_HOME": str(tmp_path / "user"), "HOME": str(tmp_path)}
    before = set(tmp_path.iterdir())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running("--port", str(port), **without_model, **users) as demo_process:
            demo_process.read_until(lambda line: "Ctrl-C" in line)
            text = demo_process.text
            code = text[text.index("from openai import") : text.index("JavaScript")]
            answer = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
            )
            assert "Say hello" in answer.stdout, answer.stderr
            asked = [shlex.split(line) for line in text.splitlines() if " --data " in line]
            told = [
                subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout for words in asked
            ]
            assert len(psutil.Process(demo_process.process.pid).children()) == 2
    assert f"No local model, {local.SERVER_PACKAGE} does not work on this platform (no such wheel)." in text
    assert f"Port {port} is in use: serving on " in text
    assert demo_process.process.returncode == 0
    assert_billed(text)
    account, keys, usage = told
    assert "of which workers hold" in account
    assert text[text.index("API key") :].splitlines()[0][-4:] in keys
    assert usage.splitlines()[-1].split()[0] == "demo"
    assert not Path(asked[0][-1]).parent.exists()
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("moment", ["Loading", "Starting the gateway"])
def test_ctrl_c_at_any_moment_leaves_nothing(moment: str, without_model: dict[str, str]) -> None:
    with running("--port", "0", **without_model) as demo_process:
        demo_process.read_until(lambda line: moment in line)
    assert demo_process.process.returncode == show.INTERRUPTED


def test_a_reader_that_leaves_ends_the_demo_quietly(without_model: dict[str, str]) -> None:
    command = [sys.executable, "-m", "engine", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, env={**os.environ, **without_model}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(SECONDS_MAX) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_gateway_that_dies_ends_the_demo_with_its_name(without_model: dict[str, str]) -> None:
    with running("--port", "0", **without_model) as demo_process:
        demo_process.read_until(lambda line: "Ctrl-C" in line)
        (gateway,) = (
            child for child in psutil.Process(demo_process.process.pid).children() if "serve" in child.cmdline()
        )
        gateway.send_signal(signal.SIGKILL)
        demo_process.read_until(lambda line: line.startswith("hedgerow demo: the gateway was ended by SIGKILL"))
        assert demo_process.process.wait(SECONDS_MAX) == 1


@pytest.mark.parametrize("moment", ["Starting the gateway", "Ctrl-C"])
def test_a_demo_that_is_killed_leaves_no_process(moment: str, without_model: dict[str, str]) -> None:
    with running("--port", "0", **without_model) as demo_process:
        demo_process.read_until(lambda line: moment in line)
        left = psutil.Process(demo_process.process.pid).children(recursive=True)
        demo_process.process.kill()
        _, alive = psutil.wait_procs(left, timeout=20)
    assert left
    assert alive == []


def test_the_scripted_upstream_has_the_name_the_demo_gives_it() -> None:
    assert scripted.PROVIDER.name == "scripted"
