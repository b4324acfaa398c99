"""Tests of what SQLite's errors are told as: by their codes, extended ones too."""

import sqlite3

import pytest

from store.failures import primary_code, translated
from store.interface import ConflictError, StoreError, UnavailableError


def failed(code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind("whatever the text")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "code",
    [
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_BUSY_SNAPSHOT,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_READONLY_DIRECTORY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
    ],
)
def test_what_may_pass_is_unavailable(code: int) -> None:
    told = translated(failed(code), "DATA/hedgerow.db")
    assert isinstance(told, UnavailableError)
    assert "DATA/hedgerow.db" in str(told)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CORRUPT_INDEX, sqlite3.SQLITE_NOTADB])
def test_what_does_not_pass_is_not(code: int) -> None:
    assert type(translated(failed(code, sqlite3.DatabaseError), "x")) is StoreError


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_CONSTRAINT_CHECK])
def test_a_constraint_is_a_conflict(code: int) -> None:
    assert isinstance(translated(failed(code, sqlite3.IntegrityError), "x"), ConflictError)


@pytest.mark.parametrize(
    "error",
    [
        failed(sqlite3.SQLITE_ERROR),
        failed(sqlite3.SQLITE_MISUSE),
        sqlite3.ProgrammingError("Cannot operate on a closed database."),  # Python's own, without a code
        KeyError("locked"),
    ],
)
def test_mistakes_stay_what_they_are(error: BaseException) -> None:
    assert translated(error, "x") is None


def test_an_extended_code_tells_its_primary_one() -> None:
    assert primary_code(failed(sqlite3.SQLITE_IOERR_WRITE)) == sqlite3.SQLITE_IOERR
    assert primary_code(OSError()) is None
