"""What `hedgerow demo` shows: lines, a spinner while one waits, the answer as it comes, and what to copy.

The rule: everything can be piped. Without a terminal there is no spinner, no colour and no wrapping, and each thing is
said once. What comes from a model is text and nothing else: no markup of ours, no control sequence of its own. Snippets
stand without a frame, so that a mouse can take them.

What happens, and when, is `show`'s.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from engine.demo.account import CREDIT_NANOS, INPUT_NANOS, NAME, OUTPUT_NANOS, Bill
from engine.money import dollars

MODELS_SHOWN_MAX = 8
"""Model names printed; a provider from the environment may list hundreds."""

CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""C0 and C1 control characters: in an answer they would move the reader's cursor or recolour the terminal."""


WORD_CELLS_MAX = 30
"""What is longer is no word but a script without spaces, which may be broken anywhere."""


class OutputClosed(Exception):  # noqa: N818 - the reader has gone, which is no error of anybody's
    """Nobody reads the output any more."""


class PipedConsole(Console):
    """A console whose closed pipe is an exception to clean up after, not the end of the process."""

    def on_broken_pipe(self) -> None:
        """Raise OutputClosed, and let what is still buffered go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise OutputClosed


@dataclass(frozen=True, slots=True)
class Figures:
    """How the answer came: tokens of the answer, seconds to its first and from its first to its last."""

    tokens: int
    ttft_seconds: float
    answer_seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first over the time they took; 0 when there is none."""
        return (self.tokens - 1) / self.answer_seconds if self.tokens > 1 and self.answer_seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Access:
    """What a client needs, and where its account lies."""

    address: str
    key: str
    model: str
    data: Path

    @property
    def base_url(self) -> str:
        """The address SDKs are given."""
        return f"{self.address}/v1"


class Screen:
    """The demo's standard output. Every method raises OutputClosed when nobody reads it any more."""

    __slots__ = ("_console", "_lines")

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or PipedConsole(highlight=False, soft_wrap=True)
        self._lines: Lines | None = None

    def say(self, line: str) -> None:
        """Print one line as it is."""
        self._console.print(Text(line))

    @contextmanager
    def waiting(self, title: str) -> Iterator["Waiting"]:
        """Show that something takes time: a spinner in a terminal, one line elsewhere."""
        if not self._console.is_terminal:
            self.say(f"{title} ...")
            yield Waiting(title, None)
            return
        with self._console.status(Text(title), spinner="dots") as status:
            yield Waiting(title, status.update)

    def question(self, model: str, text: str) -> None:
        """Print what is asked, before the answer."""
        self._console.print()
        self._console.print(Text.assemble(("you > ", "dim"), (text, "bold")))
        prompt = f"{model} > "
        self._console.print(Text(prompt, style="dim"), end="")
        self._lines = Lines(self._console.width, len(prompt)) if self._console.is_terminal else None

    def token(self, text: str) -> None:
        """Print the next piece of the answer at once, as it is but for control characters, a terminal's whole words."""
        text = text.translate(CONTROL)
        self._write(text if self._lines is None else self._lines.feed(text))

    def _write(self, text: str) -> None:
        try:
            self._console.file.write(text)
            self._console.file.flush()
        except BrokenPipeError:
            self._console.on_broken_pipe()

    def figures(self, figures: Figures) -> None:
        """End the answer and say how fast it came."""
        self._write("" if self._lines is None else self._lines.end())
        self._console.print()
        self._console.print()
        line = (
            f"first token after {figures.ttft_seconds * 1000:.0f} ms, {figures.tokens} tokens, "
            f"{figures.tokens_per_second:.0f} tokens/s"
        )
        self._console.print(Text(line, style="green"))

    def bill(self, bill: Bill) -> None:
        """Say what the answer cost, so that it can be worked out by hand."""
        line = (
            f"{bill.input_tokens} tokens in at {dollars(INPUT_NANOS)} a million, "
            f"{bill.output_tokens} out at {dollars(OUTPUT_NANOS)}: {dollars(bill.charged_nanos)}, "
            f"{dollars(bill.left_nanos)} left of {dollars(CREDIT_NANOS)}"
        )
        self._console.print(Text(line, style="green"))

    def access(self, access: Access, models: Sequence[str]) -> None:
        """Print where the gateway is, how to enter it, and what to copy."""
        more = f" and {len(models) - MODELS_SHOWN_MAX} more" if len(models) > MODELS_SHOWN_MAX else ""
        rows = (
            ("Base URL", access.base_url),
            ("API key", access.key),
            ("Models", ", ".join(models[:MODELS_SHOWN_MAX]) + more),
            ("Page", f"{access.address}/"),
        )
        self._console.print()
        for name, value in rows:
            self._console.print(Text.assemble((f"{name:<10}", "bold"), value.translate(CONTROL)))
        for name, code in (snippets(access) | commands(access.data)).items():
            self._console.print()
            self._console.print(Text(name, style="bold"))
            self._console.print(Text(code))


class Lines:
    """Breaks text that comes in pieces between its words, and for that holds back a word until it is whole."""

    __slots__ = ("_column", "_columns", "_held")

    def __init__(self, columns: int, column: int) -> None:
        """`column` is where the first piece begins."""
        self._columns = columns - 1  # the space after a word that fits exactly would stand on the next line
        self._column = column
        self._held = ""

    def feed(self, text: str) -> str:
        """Return what can be written now."""
        *words, self._held = re.split(r"(?<=\s)", self._held + text)
        if cell_len(self._held) > WORD_CELLS_MAX:
            words.append(self._held)
            self._held = ""
        return "".join(map(self._place, words))

    def end(self) -> str:
        """Return what was held back."""
        word, self._held = self._held, ""
        return self._place(word)

    def _place(self, word: str) -> str:
        broken = self._column > 0 and self._column + cell_len(word.rstrip()) > self._columns
        column = 0 if broken else self._column
        self._column = 0 if word.endswith("\n") else column + cell_len(word)
        return f"\n{word}" if broken else word


class Waiting:
    """A title that can be told more while one waits."""

    __slots__ = ("_title", "_update")

    def __init__(self, title: str, update: Callable[[Text], None] | None) -> None:
        self._title = title
        self._update = update

    def tell(self, detail: str) -> None:
        """Show `detail` beside the title; without a terminal it is not worth a line."""
        if self._update is not None:
            self._update(Text(f"{self._title} {detail}"))


def snippets(access: Access) -> dict[str, str]:
    """Return, by language, programs that ask the gateway something and print the answer as it streams."""
    body = {"model": access.model, "stream": True, "messages": [{"role": "user", "content": "Say hello."}]}
    model, base_url, key = json.dumps(access.model), json.dumps(access.base_url), json.dumps(access.key)
    return {
        "curl": (
            f"curl -N {access.base_url}/chat/completions \\\n"
            f"  -H 'Authorization: Bearer {access.key}' \\\n"
            f"  -H 'Content-Type: application/json' \\\n"
            f"  -d '{json.dumps(body)}'"
        ),
        "Python (pip install openai)": (
            "from openai import OpenAI\n"
            "\n"
            f"client = OpenAI(\n    base_url={base_url},\n    api_key={key},\n)\n"
            'messages = [{"role": "user", "content": "Say hello."}]\n'
            f"for chunk in client.chat.completions.create(model={model}, messages=messages, stream=True):\n"
            "    if chunk.choices:\n"
            '        print(chunk.choices[0].delta.content or "", end="", flush=True)'
        ),
        "JavaScript (npm install openai)": (
            'import OpenAI from "openai";\n'
            "\n"
            f"const client = new OpenAI({{\n  baseURL: {base_url},\n  apiKey: {key},\n}});\n"
            'const messages = [{ role: "user", content: "Say hello." }];\n'
            f"const stream = await client.chat.completions.create({{ model: {model}, messages, stream: true }});\n"
            'for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");'
        ),
    }


def commands(data: Path) -> dict[str, str]:
    """Return, by what they are for, commands that look into the store in `data`. They are of this interpreter."""
    script = Path(sys.executable).with_name("hedgerow")
    words = [_from_here(script)] if script.is_file() else [_from_here(Path(sys.executable)), "-m", "engine"]
    asked = (["accounts", "show", NAME], ["keys", "list"], ["usage", "--by", "model"])
    lines = [shlex.join([*words, *each, "--data", str(data)]) for each in asked]
    return {"Account, keys and usage, in another terminal": "\n".join(lines)}


def _from_here(path: Path) -> str:
    """Return a path as one would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
