"""`python -m bench peers install | list | remove`: what there is to compare with, on this machine.

Nothing of it is a dependency: peers are measured, and live outside the repository in directories of their own.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import peers
from bench.peers import installed, litellm, portkey
from bench.peers.installed import Recipe

RECIPES = {recipe.name: recipe for recipe in (litellm.RECIPE, portkey.RECIPE)}
_SHOWN_CHARACTERS = 100


def main(words: Sequence[str], console: Console) -> int:
    """Run the command; raises PeerError, with what a tool said, when an installation fails."""
    parser = argparse.ArgumentParser(
        prog="python -m bench peers",
        description=f"Peers to measure beside the gateway: {', '.join(RECIPES)}. nginx is found where it is.",
    )
    parser.add_argument("action", choices=("install", "list", "remove"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="of whom; default: all")
    parser.add_argument(
        "--directory", type=Path, help=f"where they lie; a run finds them by {installed.VARIABLE}, or in the cache"
    )
    asked = parser.parse_args(words)
    strangers = [name for name in asked.names if name not in RECIPES]
    if strangers:
        parser.error(f"no such peer: {', '.join(strangers)} (there are {', '.join(RECIPES)})")
    directory: Path = installed.place() if asked.directory is None else asked.directory.absolute()
    recipes = [RECIPES[name] for name in dict.fromkeys(asked.names)] or list(RECIPES.values())
    for recipe in recipes:
        if asked.action == "install":
            install(recipe, directory, console)
        elif asked.action == "remove":
            gone = installed.remove(recipe, directory)
            console.print(f"{recipe.name}: {'removed' if gone else 'was not there'}", markup=False)
    if asked.action == "list":
        show(recipes, directory, console)
    elif asked.action == "install" and directory != installed.place():
        console.print(f"Let runs find them: {installed.VARIABLE}={directory}", markup=False, soft_wrap=True)
    return 0


def install(recipe: Recipe, directory: Path, console: Console) -> None:
    """Install one, and show how far it is; raises PeerError with what a tool said."""
    with console.status(recipe.name) as status:

        def say(text: str) -> None:
            status.update(f"{recipe.name}: {text[:_SHOWN_CHARACTERS]}".replace("[", r"\["))

        console.print(f"{recipe.name} {recipe.version}: {', '.join(recipe.pins)}", markup=False)
        new = installed.install(recipe, directory, say)
    where = directory / recipe.name
    console.print(f"{recipe.name}: {'installed' if new else 'was there'}, {where}", markup=False, soft_wrap=True)


def show(recipes: Sequence[Recipe], directory: Path, console: Console) -> None:
    """Say what is installed, and in which version."""
    nginx = peers.KNOWN["nginx"]
    console.print(f"nginx: {nginx.version() or f'not installed; {nginx.obtain}'}", markup=False)
    for recipe in recipes:
        there = installed.installed(recipe, directory)
        said = recipe.version if there else f"not installed; {installed.obtain(recipe)}"
        console.print(f"{recipe.name}: {said}", markup=False)
