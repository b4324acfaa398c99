"""The command line in tests: one data directory, and a command at a time."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import trio
from typer.testing import CliRunner, Result

from engine.__main__ import app
from engine.datadir import database
from store.db import open_store
from store.interface import Store

T = TypeVar("T")


class CommandLine:
    """Runs commands on one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = database(directory)

    def run(self, *arguments: object) -> Result:
        """Run a command to its end, whatever that is; only an exception of ours may get out."""
        words = [*map(str, arguments), "--data", str(self.directory)]
        result = CliRunner().invoke(app, words, env={"HEDGEROW_DATA": None, "COLUMNS": "80"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def text(self, *arguments: object) -> str:
        """Return what a command prints that must succeed."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.stderr
        assert not result.stderr
        return result.stdout

    def json(self, *arguments: object) -> Any:
        """Return the document that a command prints that must succeed."""
        return json.loads(self.text(*arguments, "--json"))

    def refused(self, *arguments: object) -> str:
        """Return the one sentence with which a command must fail."""
        result = self.run(*arguments)
        assert result.exit_code == 1, result.output
        assert not result.stdout
        [line] = result.stderr.splitlines()
        assert line.startswith("hedgerow: ")
        return line.removeprefix("hedgerow: ")

    def in_store(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Return what `work` makes of the open store."""

        async def opened() -> T:
            async with open_store(self.file) as store:
                return await work(store)

        return trio.run(opened)
