"""Tests of writing a journal: slots are exact, files follow each other, and what was appended is read."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.journal import RECORD_BYTES_MAX, Journal, JournalFullError, holders, is_held, read
from store.rows import Position, Settlement
from tests.store.journals import HOLDER, note, opened, read_all, read_on, settlement, settlements


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@settings(max_examples=40)
@given(st.lists(settlements, max_size=20), st.integers(1, 8000), st.integers(1, 5000), st.integers(1, 40))
def test_what_is_appended_is_read_once_in_order(
    rows: list[Settlement], file_bytes_max: int, step_bytes: int, records_max: int
) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        with opened(directory, file_bytes_max=file_bytes_max, step_bytes=step_bytes) as journal:
            for row in rows:
                journal.book()
                assert journal.append(row) == journal.position
            batches = list(read_on(directory, records_max=records_max))
            assert batches[-1].after == journal.position
        assert [row for batch in batches for row in batch.settlements] == rows
        assert read_all(directory, final=True) == (rows, [])


def test_an_empty_journal_says_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        assert read(tmp_path, HOLDER, Position(), records_max=10).after == journal.position == Position(1, 0)
        assert read_all(tmp_path, final=True) == ([], [])


def test_a_reader_that_was_at_the_end_goes_on_from_there(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        position = Position()
        for number in range(300):
            note(journal, number)
            batch = read(tmp_path, HOLDER, position, records_max=10)
            assert batch.settlements == (settlement(number),)
            position = batch.after
        assert position == journal.position


def test_a_record_that_is_too_long_loses_its_detail(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        note(journal, 1, "x" * 900)
        note(journal, 2, "x" * RECORD_BYTES_MAX)
    assert read_all(tmp_path)[0] == [settlement(1, "x" * 900), settlement(2)]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (settlement(1, "\ud800"), ValueError),
        (Settlement("1", 0, "a" * 2000, "k", None, 0, 0, 0, 0, 0, (), ""), ValueError),
        (settlement(2**64), OverflowError),
    ],
)
def test_what_cannot_be_noted_leaves_its_slot_booked(tmp_path: Path, row: Settlement, error: type[Exception]) -> None:
    with opened(tmp_path) as journal:
        journal.book()
        with pytest.raises(error):
            journal.append(row)
        assert journal.position == Position(1, 0)
        assert journal.statistics().booked == 1
        journal.append(settlement(1))
    assert read_all(tmp_path) == ([settlement(1)], [])


# -- slots -------------------------------------------------------------------------------------------------------------


def test_a_slot_is_booked_before_it_is_used(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        with pytest.raises(AssertionError):
            journal.append(settlement(1))
        with pytest.raises(AssertionError):
            journal.unbook()
        journal.book()
        journal.append(settlement(1))
        with pytest.raises(AssertionError):
            journal.append(settlement(2))
        journal.book()
        journal.unbook()
        with pytest.raises(AssertionError):
            journal.append(settlement(2))


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["book", "book", "unbook", "short", "long"]), max_size=80), st.integers(1, 2000))
def test_booked_slots_always_lie_in_allocated_space(steps: list[str], file_bytes_max: int) -> None:
    with TemporaryDirectory() as name, opened(Path(name), file_bytes_max=file_bytes_max, step_bytes=2048) as journal:
        booked = noted = 0
        for step in steps:
            if step == "book":
                journal.book()
                booked += 1
            elif booked:
                booked -= 1
                if step == "unbook":
                    journal.unbook()
                else:
                    journal.append(settlement(noted, "x" * 2000 if step == "short" else "x" * 900))
                    noted += 1
            path = Path(name, f"{HOLDER}-{journal.position.file}.journal")
            assert path.stat().st_size >= journal.position.offset + booked * RECORD_BYTES_MAX
            statistics = journal.statistics()
            assert (statistics.booked, statistics.records_total) == (booked, noted)
            assert statistics.files == len(list(Path(name).glob("*.journal")))
            assert statistics.spare_bytes >= 0
        assert [row.id for row in read_all(Path(name))[0]] == [str(number) for number in range(noted)]


BOOK_ALL = """
import resource, sys
from pathlib import Path
from store.journal import Journal, JournalFullError
from tests.store.journals import HOLDER, note, settlement

journal = Journal.create(Path(sys.argv[1]), HOLDER, file_bytes_max=int(sys.argv[2]), step_bytes=4096)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
def book_all():
    slots = 0
    try:
        while True:
            journal.book()
            slots += 1
    except JournalFullError as error:
        assert isinstance(error.__cause__, OSError), error.__cause__
    return slots
slots = book_all()
print(slots)
for number in range(slots):
    journal.append(settlement(number, "x" * (900 if number < slots // 2 else 0)))
print(book_all() > 0)
print(slots)
"""


@pytest.mark.parametrize("file_bytes_max", [32_768, 1_000_000])
def test_on_a_full_disk_what_is_booked_can_be_appended(tmp_path: Path, file_bytes_max: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOOK_ALL, str(tmp_path), str(file_bytes_max)],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    slots, more, noted = done.stdout.split()
    # 64 KiB of one file are what the process may have; short records leave room for further slots.
    assert (slots, more, noted) == ("64", "True", "64")
    assert [row.id for row in read_all(tmp_path, final=True)[0]] == [str(number) for number in range(64)]


def refuse(_descriptor: int, _offset: int, _length: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_rotation_for_which_there_is_no_space_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, file_bytes_max=2000, step_bytes=8192) as journal:
        journal.book()
        while note(journal, 1).offset < 2000:
            pass
        before = (journal.position, journal.statistics(), files(tmp_path))
        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", refuse)
            with pytest.raises(JournalFullError) as failed:
                journal.book()
        assert isinstance(failed.value.__cause__, OSError)
        assert (journal.position, journal.statistics(), files(tmp_path)) == before
        assert journal.append(settlement(2)).file == 1
        assert note(journal, 3).file == 2
    assert [row.id for row in read_all(tmp_path)[0]][-2:] == ["2", "3"]


def test_a_journal_for_which_there_is_no_space_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="No space"):
        Journal.create(tmp_path, HOLDER)
    assert files(tmp_path) == []


def unsupported(_descriptor: int, _offset: int, _length: int) -> None:
    raise OSError(95, "Operation not supported")


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.delattr(os, "posix_fallocate"),
        lambda patch: patch.setattr(os, "posix_fallocate", unsupported),
    ],
    ids=["no function", "no support"],
)
def test_where_space_cannot_be_allocated_zeros_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    change(monkeypatch)
    with opened(tmp_path, step_bytes=8192) as journal:
        for _ in range(9):
            journal.book()
        assert (tmp_path / f"{HOLDER}-1.journal").read_bytes() == bytes(16_384)
        journal.append(settlement(1))
    assert read_all(tmp_path) == ([settlement(1)], [])


def test_a_write_cut_short_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    with opened(tmp_path) as journal:
        journal.book()
        monkeypatch.setattr(os, "pwrite", lambda descriptor, record, offset: pwrite(descriptor, record[:7], offset))
        journal.append(settlement(1))
    assert read_all(tmp_path, final=True) == ([settlement(1)], [])


def test_after_a_failed_write_the_slot_is_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite

    def fail(descriptor: int, record: bytes, offset: int) -> int:
        pwrite(descriptor, record[: len(record) // 2], offset)
        raise OSError(5, "Input/output error")

    with opened(tmp_path) as journal:
        journal.book()
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", fail)
            with pytest.raises(OSError, match="Input/output"):
                journal.append(settlement(1, "x" * 800))
        assert read_all(tmp_path) == ([], [])
        journal.append(settlement(2))
        assert [row.id for row in read_all(tmp_path)[0]] == ["2"]
        note(journal, 3, "x" * 800)
    assert [row.id for row in read_all(tmp_path, final=True)[0]] == ["2", "3"]


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_full_file_is_followed_by_the_next(tmp_path: Path) -> None:
    with opened(tmp_path, file_bytes_max=4096) as journal:
        ends = [note(journal, number) for number in range(200)]
        sizes = {file: max(end.offset for end in ends if end.file == file) for file in range(1, ends[-1].file + 1)}
        assert all(4096 <= size < 4096 + RECORD_BYTES_MAX for file, size in sizes.items() if file != ends[-1].file)
        assert journal.statistics().files == len(sizes) > 2
        assert journal.statistics().bytes_total == sum(sizes.values())
    assert read_all(tmp_path) == ([settlement(number) for number in range(200)], [])


def test_slots_of_a_full_file_are_used_in_it_or_move_on_with_it(tmp_path: Path) -> None:
    with opened(tmp_path, file_bytes_max=100) as journal:
        for _ in range(12):
            journal.book()
        assert journal.append(settlement(1)).file == 1
        assert journal.append(settlement(2)).file == 1
        journal.book()
        assert [journal.append(settlement(number)).file for number in range(3, 14)] == [2] * 11
        assert journal.statistics().booked == 0
    assert [row.id for row in read_all(tmp_path)[0]] == [str(number) for number in range(1, 14)]


def test_files_that_are_booked_are_removed_and_the_one_in_use_is_not(tmp_path: Path) -> None:
    with opened(tmp_path, file_bytes_max=1000) as journal:
        while note(journal, 1).file < 4:
            pass
        journal.remove_before(Position(1, 500))
        assert journal.statistics().files == 4
        journal.remove_before(Position(3, 0))
        assert files(tmp_path) == [f"{HOLDER}-3.journal", f"{HOLDER}-4.journal", f"{HOLDER}.lock"]
        journal.remove_before(Position(9, 0))
        assert files(tmp_path) == [f"{HOLDER}-4.journal", f"{HOLDER}.lock"]
        assert journal.statistics().files == 1
        assert read(tmp_path, HOLDER, Position(4, 0), records_max=1).settlements == (settlement(1),)


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path / "new" / "journal"):
            assert stat.S_IMODE((tmp_path / "new" / "journal").stat().st_mode) == 0o700
            for path in (tmp_path / "new" / "journal").iterdir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_an_id_is_used_once(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(FileExistsError):
        Journal.create(tmp_path, HOLDER)
    with pytest.raises(FileExistsError):
        Journal.create(tmp_path, HOLDER)
    (tmp_path / f"{HOLDER}.lock").unlink()
    with pytest.raises(FileExistsError):
        Journal.create(tmp_path, HOLDER)
    assert files(tmp_path) == [f"{HOLDER}-1.journal"]
    (tmp_path / f"{HOLDER}-1.journal").rename(tmp_path / f"{HOLDER}.lock")
    with pytest.raises(FileExistsError):
        Journal.create(tmp_path, HOLDER)


@pytest.mark.parametrize("holder", ["", "../x", "a/b", ".x", "a b", "x" * 65, "a\0b"])
def test_an_id_that_is_no_name_is_refused(tmp_path: Path, holder: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        Journal.create(tmp_path, holder)
    assert files(tmp_path) == []


def test_names_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "stranger").touch()
    (tmp_path / "a-0.journal").touch()
    for holder in ("a", "a-1", "a-1.journal", "a.lock"):
        journal = Journal.create(tmp_path, holder, step_bytes=1024)
        note(journal, 1)
        journal.close()
    assert holders(tmp_path) == ["a", "a-1", "a-1.journal", "a.lock"]
    for holder in holders(tmp_path):
        assert read(tmp_path, holder, Position(), records_max=9).after.file == 1


def test_a_closed_journal_takes_no_more(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.book()
        assert repr(journal) == f"<Journal {HOLDER}-1 at 0, 1 booked>"
        assert is_held(tmp_path, HOLDER)
        journal.close()
        assert not is_held(tmp_path, HOLDER)
        with pytest.raises(OSError, match="Bad file descriptor"):
            journal.append(settlement(1))
        assert repr(journal) == f"<Journal {HOLDER}-1 at 0, closed>"


# -- durability --------------------------------------------------------------------------------------------------------


def test_sync_reaches_every_file_written_since_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def spy(descriptor: int) -> None:
        here = os.fstat(descriptor)
        paths = [tmp_path, tmp_path.parent, *tmp_path.iterdir()]
        synced.extend(path.name for path in paths if os.path.samestat(path.stat(), here))

    monkeypatch.setattr("store.journal._sync_bytes", spy)
    monkeypatch.setattr(os, "fsync", spy)
    first, second, third = (f"{HOLDER}-{number}.journal" for number in (1, 2, 3))
    with opened(tmp_path, file_bytes_max=1000) as journal:
        note(journal, 1)
        assert journal.sync() == journal.position
        assert synced == [first, tmp_path.name, tmp_path.parent.name]
        synced.clear()
        note(journal, 1)
        journal.sync()
        assert synced == [first]
        synced.clear()
        while note(journal, 1).file < 3:
            pass
        journal.remove_before(Position(2, 0))
        assert journal.sync() == journal.position
        assert synced == [second, third, tmp_path.name, tmp_path.parent.name]


def test_sync_works_on_real_files_and_tells_of_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with opened(tmp_path) as journal:
        end = note(journal, 1)
        with monkeypatch.context() as patch:
            patch.setattr("store.journal._sync_bytes", fail)
            with pytest.raises(OSError, match="Input/output"):
                journal.sync()
        assert journal.sync() == end
