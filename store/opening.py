"""How the file is found, made and made ready: its place, its rights, its mode, its version.

Blocking, for a thread. Everything may be done by many processes at once, for the first time too: the file is made by
one of them, its mode is changed under SQLite's own lock (which does not always wait: so it is tried again), its tables
are made under the lock of a transaction.

Nothing here opens the file but to make it: to close any descriptor of it would let go of the locks that other
connections of this process hold on it (https://www.sqlite.org/howtocorrupt.html, 2.2).
"""

import os
import sqlite3
import time
from pathlib import Path

from store.failures import BUSY_SECONDS_MAX, primary_code, translated
from store.interface import StoreError, UnavailableError
from store.migrations import migrate, version_of

_RETRY_SECONDS = 0.02

_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    # Pages in KiB, for the upper levels of the indexes over some million rows.
    "PRAGMA cache_size = -16384",
    # What the write-ahead log is cut back to once it is in the database.
    "PRAGMA journal_size_limit = 67108864",
)

_STATEMENTS_KEPT = 256
"""Compiled statements kept by a connection: all that there are."""


def connect(path: Path, *, power: bool, reading: bool = False) -> sqlite3.Connection:
    """Open a connection to the store in `path`, made and migrated if need be; one that is `reading` cannot write.

    Raises `UnavailableError` when the file cannot be made, opened, locked or written; `StoreError` when it is no
    database, another program's, or of a newer release.
    """
    _make(path)
    connection: sqlite3.Connection | None = None
    try:
        # It is used by one thread at a time, though not by this one.
        connection = sqlite3.connect(
            path,
            timeout=BUSY_SECONDS_MAX,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS_KEPT,
        )
        _prepare_patiently(connection, path)
        # What NORMAL may lose in a power cut is the end of the log, never the file.
        connection.execute("PRAGMA synchronous = FULL" if power else "PRAGMA synchronous = NORMAL")
        # Readers wait for SQLite's own locks, which are short; a writer looks itself when it is its turn (`writer`).
        connection.execute("PRAGMA query_only = ON" if reading else "PRAGMA busy_timeout = 0")
    except BaseException as error:
        if connection is not None:
            connection.close()
        failure = translated(error, str(path))
        if failure is not None:
            raise failure from error
        raise
    return connection


def _make(path: Path) -> None:
    """Make the directory and the file if they are missing, for their owner alone whatever the umask."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.chmod(0o700)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            _close_to_others(path)
        else:
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
    except OSError as error:
        raise UnavailableError(f"The store {path} cannot be made: {error.strerror}.") from error


def _close_to_others(path: Path) -> None:
    """Take the rights of others on a file of ours that somebody copied here; SQLite's own files take after it."""
    for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        try:
            found = each.stat()
        except FileNotFoundError:
            continue
        if found.st_uid == os.geteuid() and found.st_mode & 0o077:
            each.chmod(0o600)


def _prepare_patiently(connection: sqlite3.Connection, path: Path) -> None:
    until = time.monotonic() + BUSY_SECONDS_MAX
    while True:
        try:
            _prepare(connection, str(path))
        except sqlite3.OperationalError as error:
            # Where waiting might be a deadlock SQLite reports a lock at once: two that change the mode of a new file.
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _prepare(connection: sqlite3.Connection, place: str) -> None:
    version_of(connection, place)  # before anything is changed: the file may be somebody else's
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"The store {place} cannot be used: its file system does not allow a write-ahead log.")
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    migrate(connection, place)
