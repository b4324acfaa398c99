"""The desk: what every command stands on.

A command is an async function of a `Desk` that returns an `Answer`. `command` gives it the options all of them have
(`--data`, `--config`, `--json`), opens the store around it, prints what it returns, and turns what it may fail with
into one sentence and exit code 1. Printing happens when the store is closed: a reader who goes away undoes nothing.

Of the configuration only the sections named in `SECTIONS` are read, so that a command needs no upstream's credentials.
"""

import inspect
import os
import time
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Concatenate, NoReturn, ParamSpec

import typer

from engine.commands.answer import Answer, print_answer
from engine.config import Config, ConfigError, load_document, read
from engine.datadir import VARIABLE, data_directory, database
from engine.secrets import quoted
from store.interface import Store, StoreError

P = ParamSpec("P")
Function = Callable[Concatenate["Desk", P], Awaitable[Answer]]

SECTIONS = ("store", "accounts", "groups")


class CommandError(Exception):
    """What was asked cannot be done; the text is one sentence for who asked."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One command's surroundings: the open store, the configuration, what time it is (unix seconds)."""

    store: Store
    config: Config
    now: int


_COMMON: tuple[tuple[str, Any, object], ...] = (
    (
        "data",
        Annotated[
            Path | None,
            typer.Option(envvar=VARIABLE, file_okay=False, help="The data directory; overrides the file."),
        ],
        None,
    ),
    (
        "config",
        Annotated[
            Path | None,
            typer.Option(
                "--config",
                "-c",
                dir_okay=False,
                help="The TOML file: where the data lies, what accounts begin with, which groups there are.",
            ),
        ],
        None,
    ),
    ("as_json", Annotated[bool, typer.Option("--json", help="Print a JSON document.")], False),
)


def command(app: typer.Typer, name: str, *, begins: bool = False) -> Callable[[Function[P]], Function[P]]:
    """Make a function the command `name` of `app`. One that `begins` may be the first to open a store; for the others
    a directory without one is a mistake, most likely a mistyped one.
    """

    def register(function: Function[P]) -> Function[P]:
        def run(*, data: Path | None, config: Path | None, as_json: bool, **values: Any) -> None:
            answer = _answer(partial(function, **values), data, config, begins=begins)
            print_answer(answer, as_json=as_json)
            raise typer.Exit(answer.exit_code)

        # What typer reads is the function's own signature, with the common options in the place of the desk.
        own = list(inspect.signature(function).parameters.values())[1:]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        parameters += [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for option, annotation, default in _COMMON
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks for first
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        app.command(name)(run)
        return function

    return register


def _answer(
    function: Callable[[Desk], Awaitable[Answer]], data: Path | None, config: Path | None, *, begins: bool
) -> Answer:
    """Run the command to its end, or say why not and exit 1."""
    import trio  # noqa: PLC0415 - `--help` need not load it

    try:
        loaded = _load(config)
        file = database(data_directory(data, loaded.store.directory))
        return trio.run(_with_store, function, file, loaded, begins)
    except ConfigError as exc:
        for problem in exc.problems:
            typer.echo(f"{problem}", err=True)
        fail(f"{config} cannot be used")
    except (StoreError, CommandError) as exc:
        fail(str(exc))


async def _with_store(
    function: Callable[[Desk], Awaitable[Answer]], file: Path, config: Config, begins: bool
) -> Answer:
    from store.db import open_store  # noqa: PLC0415

    if not begins and not os.path.exists(file):  # noqa: ASYNC240 - nothing else runs that could wait for it
        raise CommandError(f"there is no store in {quoted(str(file.parent))}: the first account or team makes one")
    async with open_store(file) as store:
        return await function(Desk(store, config, int(time.time())))


def _load(path: Path | None) -> Config:
    """Return what the file's `SECTIONS` say. Raises `ConfigError` and `CommandError`."""
    try:
        document = tomllib.loads(read(path))
    except (ValueError, RecursionError) as exc:
        raise CommandError(f"{path} is not TOML: {exc}") from exc
    sections = {name: document[name] for name in SECTIONS if name in document}
    home = {"HOME": os.environ["HOME"]} if "HOME" in os.environ else {}
    return load_document(sections, home, path=None if path is None else path.absolute())


def fail(message: str) -> NoReturn:
    """Say what went wrong and exit 1."""
    typer.echo(f"hedgerow: {message}", err=True)
    raise typer.Exit(1)
