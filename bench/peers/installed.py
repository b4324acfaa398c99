"""Where peers are installed, and whether one is whole.

Each has a directory of its own under one of the cache, or under what HEDGEROW_BENCH_PEERS names: never the repository,
never the environment of the gateway, and gone with `rm -r`. Its stamp is written last and holds everything that was
pinned: without one, or with another's, the directory is half finished or outdated, and counts for nothing.
"""

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import platformdirs

from bench.peers.peer import PeerError

VARIABLE = "HEDGEROW_BENCH_PEERS"
_STAMP = "installed"
_SHOWN_LINES = 20


class Recipe(NamedTuple):
    """How a peer is installed into its directory.

    `pins` name everything that decides what is installed. `files` are written first, then come the `steps`, each a
    command; they are asked for one by one, so that a later one may look at what an earlier one left.
    """

    name: str
    version: str
    pins: Sequence[str]
    steps: Callable[[Path], Iterator[Sequence[str]]]
    files: Mapping[str, str] = {}

    @property
    def stamp(self) -> str:
        """What is written when all is done."""
        return "".join(f"{pin}\n" for pin in self.pins)


def place() -> Path:
    """Give the directory that holds them all; it need not exist."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else platformdirs.user_cache_path("hedgerow") / "bench-peers"


def installed(recipe: Recipe, directory: Path) -> bool:
    """Say whether exactly this was installed there, to its end."""
    try:
        return (directory / recipe.name / _STAMP).read_text(encoding="utf-8") == recipe.stamp
    except OSError:
        return False


def version(recipe: Recipe) -> str | None:
    """Give the version that is installed in the usual place; None when there is none."""
    return recipe.version if installed(recipe, place()) else None


def home(recipe: Recipe) -> Path:
    """Give the directory of one that is installed in the usual place; raises PeerError when it is not."""
    if not installed(recipe, place()):
        raise PeerError(f"{recipe.name} {recipe.version} is not installed: {obtain(recipe)}")
    return place() / recipe.name


def obtain(recipe: Recipe) -> str:
    """Say how to get it."""
    return f"python -m bench peers install {recipe.name}"


def install(recipe: Recipe, directory: Path, say: Callable[[str], None]) -> bool:
    """Install it, from the beginning if need be; False when it was there. Raises PeerError with what a tool said."""
    if installed(recipe, directory):
        return False
    remove(recipe, directory)
    inside = directory / recipe.name
    inside.mkdir(parents=True)
    for name, text in recipe.files.items():
        (inside / name).write_text(text, encoding="utf-8")
    for command in recipe.steps(inside):
        carry_out(command, inside, say)
    (inside / _STAMP).write_text(recipe.stamp, encoding="utf-8")
    return True


def remove(recipe: Recipe, directory: Path) -> bool:
    """Remove what is there of it; False when there was nothing."""
    inside = directory / recipe.name
    if not inside.exists():
        return False
    (inside / _STAMP).unlink(missing_ok=True)
    shutil.rmtree(inside)
    return True


def carry_out(command: Sequence[str], inside: Path, say: Callable[[str], None]) -> None:
    """Run one command, and tell what it says line by line; raises PeerError, with the last lines, when it fails."""
    shown = " ".join(command)
    last: deque[str] = deque(maxlen=_SHOWN_LINES)
    say(shown)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command, cwd=inside, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as exc:
        raise PeerError(f"{shown}: {exc.strerror}") from exc
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.decode(errors="replace").rstrip())
                say(last[-1])
        except BaseException:  # whoever is interrupted here leaves no installer behind
            process.terminate()
            raise
    if process.returncode:
        said = "\n".join(last)
        raise PeerError(f"{shown}: exit status {process.returncode}\n{said}".rstrip())
