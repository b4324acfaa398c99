"""The `hedgerow` command.

Decides what a person sees: options, messages, exit codes (0 done, 1 a problem that was named, 2 wrong usage). The work
is done elsewhere, and imported when it is asked for, so that `--help` is quick.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from engine import logs
from engine.commands import accounts, credit, keys, ledger, teams, usage
from engine.config import Config, ConfigError, describe, load_text, read

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(accounts.app, name="accounts")
app.add_typer(teams.app, name="teams")
app.add_typer(keys.app, name="keys")
app.add_typer(credit.app, name="credit")
app.add_typer(ledger.app, name="ledger")
app.add_typer(usage.app)  # without a name: its commands stand beside the others

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The TOML file; without one, providers come from the environment.", dir_okay=False
    ),
]


@app.callback()
def hedgerow() -> None:
    """Hedgerow: one address and one key in front of many model providers."""


@app.command()
def serve(
    *,
    config: ConfigOption = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Worker processes; overrides the file.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(envvar="HEDGEROW_DATA", file_okay=False, help="The data directory; overrides the file."),
    ] = None,
    follow_stdin: Annotated[bool, typer.Option("--follow-stdin", hidden=True)] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C (which drain; Ctrl-C twice stops at once). SIGHUP reloads the configuration."""
    # --follow-stdin is for a program that starts the server and holds its standard input: when that program is gone,
    # however it went, its end of the pipe is closed, and the server drains.
    import trio  # noqa: PLC0415 - `--help` need not load it

    from engine.datadir import data_directory  # noqa: PLC0415
    from engine.listeners import ListenError  # noqa: PLC0415
    from engine.supervisor import StartError, Supervisor  # noqa: PLC0415
    from store.interface import StoreError  # noqa: PLC0415

    if follow_stdin and sys.stdin is None:
        fail("there is no standard input to follow")
    text, loaded = load_or_exit(config)
    logs.configure(loaded.server.log_level)
    for warning in loaded.warnings:
        logging.warning("%s", warning)
    demo_key = os.environ.pop("HEDGEROW_DEMO_KEY", None)
    directory = data_directory(data, loaded.store.directory) if loaded.store.enabled else None
    if directory is not None:
        try:
            trio.run(try_store, directory)
        except StoreError as exc:
            fail(f"{exc} Name another place with --data DIR, or keep no accounts: [store] enabled = false.")
    try:
        supervisor = Supervisor(
            loaded, text, workers=workers, demo_key=demo_key, data=directory, ready=announce(loaded)
        )
        trio.run(supervisor.run, sys.stdin.fileno() if follow_stdin else None)
    except* (ListenError, StartError) as group:
        fail(str(next(leaves(group))))


@app.command()
def check(config: ConfigOption = None) -> None:
    """Validate the configuration: every problem with its path, exit 1 if there is any."""
    for line in describe(load_or_exit(config)[1]):
        typer.echo(line)


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="Port to serve on; another is taken when it is in use.")] = 8080,
    once: Annotated[bool, typer.Option("--once", help="End after the first answer instead of serving on.")] = False,
) -> None:
    """Stream a real answer through the gateway, then keep serving."""
    from engine.demo import run  # noqa: PLC0415

    raise typer.Exit(run(port=port, once=once))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def bench(context: typer.Context) -> None:
    """Measure this machine's gateway, or compare two runs: `hedgerow bench --help`."""
    # The bench in this process's place: it drives the engine from outside, and neither imports the other.
    os.execv(sys.executable, [sys.executable, "-m", "bench", *context.args])  # noqa: S606 - our own command


@app.command()
def upstream(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0 for any free one.")] = 0,
    seed: Annotated[int, typer.Option(help="Decides what a script leaves to chance.")] = 0,
    script: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON file: what every request gets.")
    ] = None,
    fault: Annotated[str | None, typer.Option(help="A failure of README's table, by its name.")] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Realtime sessions over WebSocket; a script is of one session.")
    ] = False,
) -> None:
    """Run a scripted upstream by hand: all four dialects, at a programmed pace, with programmed faults."""
    if realtime and fault is not None:
        raise typer.BadParameter("a failure of README's table is one of HTTP: give --realtime a --script")
    # Run, not imported: the bench is outside the engine.
    given = {"--script": None if script is None else str(script), "--fault": fault}
    options = [word for name, value in given.items() if value is not None for word in (name, value)]
    # What a session does is all in its script: nothing is drawn.
    module = ["bench.realtime_upstream"] if realtime else ["bench.upstream", "--seed", str(seed)]
    command = [sys.executable, "-m", *module, "--port", str(port), *options]
    os.execv(command[0], command)  # noqa: S606 - our own command


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """Yield what went wrong, however deep in nurseries it happened."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


async def try_store(directory: Path) -> None:
    """Open the store once, which makes or migrates it, before any process needs it. Raises `StoreError`."""
    from engine.datadir import database  # noqa: PLC0415
    from store.db import open_store  # noqa: PLC0415

    async with open_store(database(directory)):
        pass


def load_or_exit(path: Path | None) -> tuple[str, Config]:
    """Return the configuration and the text it was read from, or print every problem and exit 1."""
    try:
        text = read(path)
        return text, load_text(text, path, os.environ)
    except ConfigError as exc:
        for problem in exc.problems:
            typer.echo(f"{problem}", err=True)
        count = len(exc.problems)
        fail(f"{count} problem{'s' if count > 1 else ''} in {path or 'the environment'}")


NO_KEYS = "no keys in the file; while there is none in the store either, loopback only"


def announce(config: Config) -> Callable[[tuple[str, ...]], None]:
    """Return what says, once, where the server is and who may use it."""

    def say(addresses: tuple[str, ...]) -> None:
        who = (
            f"keys: {len(config.keys)}" if config.keys else "keys of accounts" if config.accounts.required else NO_KEYS
        )
        typer.echo(f"Hedgerow serves on {', '.join(addresses)} ({who})", err=True)

    return say


def fail(message: str) -> NoReturn:
    """Say what went wrong and exit 1."""
    typer.echo(f"hedgerow: {message}", err=True)
    raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
