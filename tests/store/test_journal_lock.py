"""Tests of who may touch a journal: its holder while it lives, after that one undertaker, after that nobody."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store.journal import Journal, JournalError, holders, is_held, remove, take
from tests.store.journals import HOLDER, note, opened, read_all

ROOT = Path(__file__).parents[2]

APPEND_FOR_EVER = """
import itertools, os, sys
from pathlib import Path
from tests.store.journals import note, opened

with opened(Path(sys.argv[1]), file_bytes_max=20_000) as journal:
    for number in itertools.count():
        note(journal, number, "x" * (number % 700))
        os.write(1, b"%d\\n" % number)
"""

HOLD = """
import sys
from pathlib import Path
from store.journal import take

lock = take(Path(sys.argv[1]), sys.argv[2])
print(lock is not None, flush=True)
sys.stdin.read()
"""


@contextmanager
def child(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("lines", [1, 30, 1000, 5000])
def test_what_a_killed_process_had_appended_is_read(tmp_path: Path, lines: int) -> None:
    with child(APPEND_FOR_EVER, str(tmp_path)) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        assert is_held(tmp_path, HOLDER)
        assert take(tmp_path, HOLDER) is None
        with pytest.raises(JournalError, match="locked"):
            remove(tmp_path, HOLDER)
        process.kill()
        told = lines + len([line for line in process.stdout if line.endswith("\n")])
        assert process.wait() == -signal.SIGKILL
    assert not is_held(tmp_path, HOLDER)
    lock = take(tmp_path, HOLDER)
    assert lock is not None
    with lock:
        found, damage = read_all(tmp_path, final=True)
        assert len(found) in {told, told + 1}  # killed before it could tell
        assert [row.id for row in found] == [str(number) for number in range(len(found))]
        assert sum(part.bytes for part in damage) < 1024
        lock.remove()
    assert list(tmp_path.iterdir()) == []


def test_one_undertaker_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        note(journal, 1)
        assert take(tmp_path, HOLDER) is None
    with child(HOLD, str(tmp_path), HOLDER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert is_held(tmp_path, HOLDER)
        assert take(tmp_path, HOLDER) is None
        with pytest.raises(JournalError, match="locked"):
            remove(tmp_path, HOLDER)
    lock = take(tmp_path, HOLDER)
    assert lock is not None
    with lock:
        assert take(tmp_path, HOLDER) is None
        with pytest.raises(JournalError, match="locked"):
            remove(tmp_path, HOLDER)
        with child(HOLD, str(tmp_path), HOLDER) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "False\n"
        assert repr(lock) == f"<Lock {HOLDER} held>"
    assert repr(lock) == f"<Lock {HOLDER} free>"
    remove(tmp_path, HOLDER)


def test_who_waits_at_a_lock_that_is_removed_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the opening of the file and its locking the other undertaker is done."""
    with opened(tmp_path):
        pass
    first = take(tmp_path, HOLDER)
    assert first is not None
    real = os.open

    def slow(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        first.remove()
        return descriptor

    with first:
        monkeypatch.setattr(os, "open", slow)
        assert take(tmp_path, HOLDER) is None
    assert list(tmp_path.iterdir()) == []


def test_asking_changes_nothing(tmp_path: Path) -> None:
    assert not is_held(tmp_path, HOLDER)
    assert list(tmp_path.iterdir()) == []
    assert holders(tmp_path) == []
    assert holders(tmp_path / "absent") == []
    with opened(tmp_path):
        assert [is_held(tmp_path, HOLDER) for _ in range(3)] == [True] * 3
    assert [is_held(tmp_path, HOLDER) for _ in range(3)] == [False] * 3
    assert holders(tmp_path) == [HOLDER]


def test_a_removal_that_was_killed_is_done_again(tmp_path: Path) -> None:
    with opened(tmp_path, file_bytes_max=1000) as journal:
        while note(journal, 1).file < 3:
            pass
    (tmp_path / f"{HOLDER}-1.journal").unlink()
    (tmp_path / f"{HOLDER}-4.journal.new").touch()
    remove(tmp_path, HOLDER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [f"{HOLDER}.lock", f"{HOLDER}-1.journal", f"{HOLDER}-2.journal.new"])
def test_whatever_is_left_of_a_holder_shows_it(tmp_path: Path, left: str) -> None:
    (tmp_path / left).touch()
    assert holders(tmp_path) == [HOLDER]
    remove(tmp_path, HOLDER)
    assert list(tmp_path.iterdir()) == []


def test_removing_one_leaves_the_others(tmp_path: Path) -> None:
    for holder in ("a", "a-1", "b"):
        Journal.create(tmp_path, holder, step_bytes=1024).close()
    (tmp_path / "a-1-2.journal.new").touch()
    remove(tmp_path, "a")
    assert holders(tmp_path) == ["a-1", "b"]
    assert sorted(path.name for path in tmp_path.glob("a-1*")) == ["a-1-1.journal", "a-1-2.journal.new", "a-1.lock"]


def test_a_new_holder_whose_lock_was_taken_first_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is known to the store and not locked yet is taken for dead."""
    real, taken = os.open, []

    def slow(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        monkeypatch.setattr(os, "open", real)
        taken.append(take(tmp_path, HOLDER))
        return descriptor

    monkeypatch.setattr(os, "open", slow)
    with pytest.raises(BlockingIOError):
        Journal.create(tmp_path, HOLDER)
    assert taken[0] is not None
    with taken[0] as lock:
        lock.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_not_inherited_by_a_program_that_is_started(tmp_path: Path) -> None:
    with opened(tmp_path) as journal, child("import sys; sys.stdin.read()"):
        assert is_held(tmp_path, HOLDER)
        journal.close()
        assert not is_held(tmp_path, HOLDER)
