"""The journal: where a worker notes what an answer costs before the client sees the end of it.

Rule: by the time an answer has been given it must be possible to note it. So a slot is booked before the request goes
upstream, which may fail for want of space, and appending uses the slot, which may not: the slot lies in space that the
file system has already given. Booking also begins the next file; appending is one write and nothing else.

What is appended survives the process, not the machine: the kernel has it. `sync` makes it survive a power cut.

Sizes. A slot has room for the longest record, most records take a third of it: as they are appended, the rest is there
for the next slots. A file is as long as it was allowed to be, or a little longer: slots booked when it was nearly full
are used in it if no further one is booked, and move on to the next file with it if one is.

The bytes are `journal_format`'s, reading is `journal_read`'s, who may do so `journal_lock`'s; their names are here too.
File systems that write everything to a new place (ZFS, some of Btrfs) do not keep the promise of allocated space.
"""

import errno
import os
from pathlib import Path

from msgspec import Struct

from store.journal_format import (
    RECORD_BYTES_MAX,
    UNFINISHED,
    Fault,
    JournalError,
    JournalFullError,
    encode,
    file_numbers,
    file_path,
    holders,
)
from store.journal_lock import Lock, create_lock, is_held, remove, take
from store.journal_read import Batch, Damage, read
from store.rows import Position, Settlement

__all__ = [
    "RECORD_BYTES_MAX",
    "Batch",
    "Damage",
    "Fault",
    "Journal",
    "JournalError",
    "JournalFullError",
    "JournalStatistics",
    "Lock",
    "holders",
    "is_held",
    "read",
    "remove",
    "take",
]

FILE_BYTES_MAX = 64 * 1024 * 1024
"""Some 200,000 records: a new file, and the deletion of an old one, is rare."""

STEP_BYTES = 1024 * 1024
"""Allocating costs about 12 us, whatever the size."""

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL}
"""How C libraries say that a file system cannot allocate. Glibc writes zeros itself instead, musl does not."""

_sync_bytes = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


class JournalStatistics(Struct, frozen=True, kw_only=True):
    """What one journal holds: `spare_bytes` are allocated and neither written nor booked."""

    booked: int
    files: int
    spare_bytes: int
    records_total: int
    bytes_total: int


class Journal:
    """One holder's journal, open for writing. All but `sync` belongs to one thread.

    `position` is after the last record.
    """

    __slots__ = (
        "_allocated",
        "_booked_end",
        "_bytes_before",
        "_descriptor",
        "_file_bytes_max",
        "_first",
        "_lock",
        "_records",
        "_step_bytes",
        "_synced",
        "directory",
        "holder",
        "position",
    )

    def __init__(self, directory: Path, lock: Lock, descriptor: int, *, file_bytes_max: int, step_bytes: int) -> None:
        self.directory = directory
        self.holder = lock.holder
        self.position = Position(1, 0)
        self._lock = lock
        self._descriptor = descriptor
        self._file_bytes_max = file_bytes_max
        self._step_bytes = step_bytes
        self._allocated = step_bytes
        self._booked_end = 0  # where the file would end if every slot were used to its last byte
        self._first = 1
        self._records = 0
        self._bytes_before = 0
        self._synced = Position()

    @classmethod
    def create(
        cls, directory: Path, holder: str, *, file_bytes_max: int = FILE_BYTES_MAX, step_bytes: int = STEP_BYTES
    ) -> "Journal":
        """Begin the journal of a new holder and lock it, for as long as this process lives or until `close`.

        The directory is made if need be (mode 0700, files 0600). A holder is made known to the store after this: one
        that is known and not locked is taken for dead. Raises `OSError`, `FileExistsError` if there is or was one of
        that id, and `ValueError` for an id that cannot name a file; then nothing is left behind.
        """
        path = file_path(directory, holder, 1)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if file_numbers(directory, holder):
            raise FileExistsError(errno.EEXIST, "there is a journal already", str(path))
        lock = create_lock(directory, holder)
        try:
            descriptor = _create_file(path, step_bytes)
        except BaseException:
            lock.remove()
            raise
        return cls(directory, lock, descriptor, file_bytes_max=file_bytes_max, step_bytes=step_bytes)

    def __repr__(self) -> str:
        state = "closed" if self._descriptor < 0 else f"{self._booked} booked"
        return f"<Journal {self.holder}-{self.position.file} at {self.position.offset}, {state}>"

    def statistics(self) -> JournalStatistics:
        """Return what it holds now, and has held."""
        return JournalStatistics(
            booked=self._booked,
            files=self.position.file - self._first + 1,
            spare_bytes=self._allocated - self._booked_end,
            records_total=self._records,
            bytes_total=self._bytes_before + self.position.offset,
        )

    @property
    def _booked(self) -> int:
        return (self._booked_end - self.position.offset) // RECORD_BYTES_MAX

    # -- the hot path --------------------------------------------------------------------------------------------------

    def book(self) -> None:
        """Make sure that one record more can be appended.

        Raises `JournalFullError`, with the `OSError` as its cause, when there is no space; what is booked already stays
        so. Each slot is either used by `append` or given back by `unbook`.
        """
        end = self._booked_end + RECORD_BYTES_MAX
        if end > self._allocated or self.position.offset >= self._file_bytes_max:
            self._make_room()
            end = self._booked_end + RECORD_BYTES_MAX
        self._booked_end = end

    def unbook(self) -> None:
        """Give back a slot: there was nothing to note."""
        assert self._booked > 0, "a slot is given back that nobody booked"
        self._booked_end -= RECORD_BYTES_MAX

    def append(self, settlement: Settlement) -> Position:
        """Note a settlement in a slot that was booked; return where its record ends.

        Whoever reads the journal finds it from here on, whatever becomes of this process. Raises `ValueError` or
        `OverflowError` for what cannot be noted, see `encode`, and `OSError` when the device fails: then nothing is
        noted and the slot is still booked.
        """
        position = self.position
        offset = position.offset
        assert self._booked_end - offset >= RECORD_BYTES_MAX, "a settlement is appended for which no slot is booked"
        record = encode(settlement)
        size = len(record)
        if os.pwrite(self._descriptor, record, offset) != size:
            _write(self._descriptor, record, offset)
        self._booked_end += size - RECORD_BYTES_MAX
        self._records += 1
        position = self.position = Position(position.file, offset + size)
        return position

    # -- files ---------------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        path = file_path(self.directory, self.holder, self.position.file)
        try:
            if self.position.offset >= self._file_bytes_max:
                self._begin_file()
            else:
                allocated = self._whole_steps(self._booked_end + RECORD_BYTES_MAX)
                allocate(self._descriptor, self._allocated, allocated - self._allocated)
                self._allocated = allocated
        except OSError as error:
            raise JournalFullError(f"there is no space for a record after {path}") from error

    def _begin_file(self) -> None:
        """Go on in a new file, with all slots that are booked."""
        position = Position(self.position.file + 1, 0)
        booked_bytes = self._booked * RECORD_BYTES_MAX
        allocated = self._whole_steps(booked_bytes + RECORD_BYTES_MAX)
        descriptor = _create_file(file_path(self.directory, self.holder, position.file), allocated)
        # From here on a reader takes the old file for sealed.
        old, self._descriptor = self._descriptor, descriptor
        self._bytes_before += self.position.offset
        self._allocated, self._booked_end, self.position = allocated, booked_bytes, position
        os.close(old)

    def _whole_steps(self, size: int) -> int:
        return -(-size // self._step_bytes) * self._step_bytes

    def remove_before(self, position: Position) -> None:
        """Delete files that lie wholly before a position, up to which everything is booked. Raises `OSError`."""
        while self._first < min(position.file, self.position.file):
            file_path(self.directory, self.holder, self._first).unlink(missing_ok=True)
            self._first += 1

    def sync(self) -> Position:
        """Have everything that was appended before the call written to the device; return up to where that is.

        Blocks for milliseconds: to be called in a thread, by one at a time; the journal's own thread may go on
        meanwhile. Raises `OSError`: then nothing is known about what was appended since the last call.
        """
        position = self.position
        # Descriptors of its own: the writer closes the one it has when it begins a new file.
        for number in range(max(self._synced.file, 1), position.file + 1):
            try:
                descriptor = os.open(file_path(self.directory, self.holder, number), os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # booked and removed: it is the store's to keep now
            try:
                _sync_bytes(descriptor)
            finally:
                os.close(descriptor)
        if self._synced.file != position.file:
            _sync_names(self.directory)
            _sync_names(self.directory.parent)
        self._synced = position
        return position

    def close(self) -> None:
        """Stop writing and free the lock: whoever finds it free books the rest. Closing again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._lock.close()


def allocate(descriptor: int, offset: int, length: int) -> None:
    """Extend a file by zeros that can be overwritten without more space. Raises `OSError` when there is none."""
    if hasattr(os, "posix_fallocate"):  # macOS has none
        try:
            os.posix_fallocate(descriptor, offset, length)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return
    _write(descriptor, bytes(length), offset)


def _create_file(path: Path, size: int) -> int:
    """Return the descriptor of a new file of zeros, which gets its name when it has its space."""
    unfinished = path.with_name(path.name + UNFINISHED)
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        allocate(descriptor, 0, size)
        unfinished.rename(path)
    except BaseException:
        os.close(descriptor)
        unfinished.unlink(missing_ok=True)
        raise
    return descriptor


def _write(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _sync_names(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
