"""What SQLite's errors mean to a caller: by their code, never by their text.

Codes say whose fault it is. Locked, full, unreadable and the like may pass: `UnavailableError`. A file that is no
database, or a broken one, does not pass: `StoreError`. A constraint that refuses what was asked is a `ConflictError`.
Everything else (a misspelt statement, a closed connection) is a mistake of ours and is not translated.

Codes: https://www.sqlite.org/rescode.html. The primary code is the low byte of the extended one that Python reports.
"""

import sqlite3

from store.interface import ConflictError, StoreError, UnavailableError

BUSY_SECONDS_MAX = 5.0
"""How long a lock of another process is waited for before it is an error."""

UNAVAILABLE = {
    sqlite3.SQLITE_PERM: "its file may not be used by this user",
    sqlite3.SQLITE_BUSY: "its file is locked by another process",
    sqlite3.SQLITE_LOCKED: "its file is locked by another process",
    sqlite3.SQLITE_NOMEM: "the system is out of memory",
    sqlite3.SQLITE_READONLY: "its file or directory is not writable",
    sqlite3.SQLITE_INTERRUPT: "it is closing",
    sqlite3.SQLITE_IOERR: "reading or writing its file failed",
    sqlite3.SQLITE_FULL: "there is no space left for its file",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "its file is locked by another process",
}

BROKEN = {
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_NOTADB: "its file is no database",
}


def translated(error: BaseException, place: str) -> StoreError | None:
    """Return what to raise in place of `error`, with a sentence naming `place`; None if it is a mistake of ours."""
    code = primary_code(error)
    if code in UNAVAILABLE:
        return UnavailableError(f"The store {place} cannot be used: {UNAVAILABLE[code]}.")
    if code in BROKEN:
        return StoreError(f"The store {place} cannot be used: {BROKEN[code]}.")
    if code == sqlite3.SQLITE_CONSTRAINT:
        return ConflictError(f"The store refuses what contradicts its rules ({error}).")
    return None


def primary_code(error: BaseException) -> int | None:
    """Return SQLite's code of an error that SQLite reported, None of any other."""
    # Python's own complaints about a misused connection are sqlite3.Error too, and carry no code.
    code = getattr(error, "sqlite_errorcode", None) if isinstance(error, sqlite3.Error) else None
    return None if code is None else int(code) & 0xFF
