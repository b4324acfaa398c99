"""What a command prints: lines and tables for people, or with `--json` one document for programs.

Members of the document are stable. An amount stands there twice, as whole nano-dollars (`amount_nanos`) and as dollars
(`amount`); times are ISO 8601 in UTC; what has no value is null. In a table every character that could steer a terminal
is gone: names of models come from clients.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from engine.money import dollars, plain_dollars

COLUMNS_PIPED = 10_000
"""The width where there is no terminal: nothing is folded that another program reads."""

ID = "ID"
"""The heading of the column that is whole in a narrow terminal too: it is there to be copied."""

_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under their headings; numbers to the right. Without headings the first column is one."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found or did, for programs (`document`) and for people (`parts`), and how it ends."""

    document: object
    parts: tuple[str | Table, ...]
    exit_code: int = 0


def print_answer(answer: Answer, *, as_json: bool) -> None:
    """Print to standard output. A table without rows is left out."""
    if as_json:
        sys.stdout.write(json.dumps(answer.document, indent=2) + "\n")
        return
    for part in answer.parts:
        if isinstance(part, str):
            sys.stdout.write(clean(part) + "\n")
        else:
            _print_table(part)


def _print_table(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415 - `--help` need not load it
    from rich.table import Table as Grid  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not table.rows:
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = COLUMNS_PIPED
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(table.headings))
    for heading in table.headings or table.rows[0]:
        title = heading if table.headings else ""
        justify: Literal["right", "left"] = "right" if heading in table.right else "left"
        grid.add_column(title, justify=justify, overflow="fold", no_wrap=heading == ID)
    for row in table.rows:
        grid.add_row(*(Text(clean(cell)) for cell in row))
    console.print(grid)


def clean(text: str) -> str:
    """Return `text` with a mark in the place of each control character."""
    return text.translate(_CONTROL)


def amounts(**nanos: int | None) -> dict[str, int | str | None]:
    """Return the members of each amount: `NAME_nanos` and `NAME`, the latter in dollars."""
    members: dict[str, int | str | None] = {}
    for name, value in nanos.items():
        members[f"{name}_nanos"] = value
        members[name] = None if value is None else plain_dollars(value)
    return members


def moment(time: float | None) -> str | None:
    """Return unix seconds as ISO 8601 in UTC, whole seconds; None and 0 are no time."""
    return datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time else None


def limit_text(nanos: int | None) -> str:
    """Return a cap for people."""
    return "-" if nanos is None else dollars(nanos)


def spent_text(nanos: int, cap_nanos: int | None) -> str:
    """Return what was spent for people, and of how much."""
    return dollars(nanos) if cap_nanos is None else f"{dollars(nanos)} of {dollars(cap_nanos)}"


def listed(words: Iterable[object]) -> str:
    """Return words for people, or what stands for none."""
    return ", ".join(map(str, words)) or "-"
