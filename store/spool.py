"""The spool: rows of the request log on their way from a worker to the store, as files in a directory.

A batch is one file, written under another name and then renamed: whoever lists the directory sees whole batches only,
and they survive their writer. Who takes a batch to the store deletes its file afterwards; killed in between, it does so
again, and the store passes by the rows that it has. Rows are JSON arrays, one a line: `store.rows.LogRow` in its order.

Functions of the file system, all of which block. No money depends on it, so nothing is synced. It does not know the
store.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec.structs import astuple

from store.rows import LogRow

ROWS = ".rows"
BEGUN = ".begun"
"""What a file is called by while it is written."""

DAMAGED = ".damaged"
"""What is no batch is kept under such a name; nothing reads it but people."""

BEGUN_SECONDS_MAX = 600.0
"""How old what was begun may get: its writer is dead."""

_NUMBERS = range(-(2**63), 2**63)
"""What a column holds: one number beyond it, and the store takes none of the rows that it comes with."""

_ENCODED_AT_ONCE = 64
"""Encoding keeps the interpreter, and so the thread of somebody who waits for an answer, for about 0.1 ms then."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LogRow)


class SpoolError(Exception):
    """A file that is no batch."""


def write(directory: Path, name: str, rows: Sequence[LogRow]) -> None:
    """Write a batch; `name` is the writer's own, and names that come later sort behind it.

    The directory is made if need be (mode 0700, files 0600). Raises `OSError`, and then there is no batch; rows whose
    text is no Unicode raise `UnicodeEncodeError`.
    """
    chunks = [_encoder.encode_lines(rows[at : at + _ENCODED_AT_ONCE]) for at in range(0, len(rows), _ENCODED_AT_ONCE)]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    begun = directory / f"{name}{BEGUN}"
    try:
        with open(os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(chunks)
        begun.rename(directory / f"{name}{ROWS}")
    except OSError:
        begun.unlink(missing_ok=True)
        raise


def batches(directory: Path) -> list[Path]:
    """Return the batches that wait, in the order of their names; none when there is no directory. Raises `OSError`."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(ROWS))
    except FileNotFoundError:
        return []
    return [directory / name for name in names]


def read(batch: Path) -> list[LogRow]:
    """Return a batch's rows. Raises `SpoolError` when it is none, `OSError` when it cannot be read."""
    content = batch.read_bytes()
    try:
        rows = [_decoder.decode(line) for line in content.splitlines()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise SpoolError(f"{batch.name} is no batch of rows: {exc}") from exc
    if not all(_is_storable(row) for row in rows):
        raise SpoolError(f"{batch.name} is no batch of rows: it has a number that no column holds")
    return rows


def remove(batch: Path) -> None:
    """Delete a batch that is in the store; one that is gone was taken by another. Raises `OSError`."""
    batch.unlink(missing_ok=True)


def put_aside(batch: Path) -> None:
    """Keep what is no batch under another name. Raises `OSError`."""
    with suppress(FileNotFoundError):
        batch.rename(batch.with_suffix(DAMAGED))


def sweep(directory: Path) -> None:
    """Delete what was begun by who died before he could finish it. Raises `OSError`."""
    oldest = time.time() - BEGUN_SECONDS_MAX
    if not directory.exists():
        return
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # finished or swept meanwhile
                if entry.name.endswith(BEGUN) and entry.stat().st_mtime < oldest:
                    os.unlink(entry.path)


def _is_storable(row: LogRow) -> bool:
    # The day, which is a column too, is computed from the time.
    return int(row.time) in _NUMBERS and all(value in _NUMBERS for value in astuple(row) if isinstance(value, int))
