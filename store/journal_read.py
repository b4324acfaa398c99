"""Reading a journal, from a position on: one's own while it grows, or a dead holder's to its end.

Rules. Zeros are the end of what is written. A file is *sealed* when nothing will be written to it any more: there is a
later one, or its holder is dead (`final`). Every record that is whole is returned, in order, once; nothing else is.
Where no record is, reading goes on at the next whole one, and what was passed over is reported as damage. At the end of
a file that is not sealed the same bytes are merely not finished: they stay for the next time.

A reader beside the writer may see a later write and not, in a page it read before, an earlier one. So what looks
damaged is looked at again after a whole record behind it was seen: then it had been written to its end before.

After a power cut any page that was not synced may be zeros, in the middle too, so a sealed file is searched to its end.

It does not know the ledger: positions come from there, and `before` and `after` of a batch go there with it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from store.journal_format import (
    MARK,
    RECORD_BYTES_MAX,
    Fault,
    JournalError,
    check_holder,
    decode,
    file_numbers,
    file_path,
)
from store.rows import Position, Settlement

READ_BYTES = 65_536


class Damage(Struct, frozen=True):
    """Bytes that were passed over, and why the first of them are no record; or a file that is missing (`GONE`)."""

    file: int
    offset: int
    bytes: int
    reason: Fault


class Batch(Struct, frozen=True):
    """What the journal says between two positions. It may say nothing and yet lead on: past damage, into a new file."""

    settlements: tuple[Settlement, ...]
    before: Position
    after: Position
    damage: tuple[Damage, ...] = ()


def read(directory: Path, holder: str, after: Position, *, records_max: int, final: bool = False) -> Batch:
    """Return at most `records_max` settlements from `after` on; `Position()` is the beginning.

    `final` says that the holder is dead, and the caller has its lock. The journal is read to its end when the batch
    ends where it began. Raises `JournalError` when `after` is in a file that is not there, or beyond its end, and
    `OSError`.
    """
    check_holder(holder)
    settlements: list[Settlement] = []
    damage: list[Damage] = []
    position = _beginning(directory, holder) if after == Position() else after
    while True:
        # Before the file is read: if there is a later one by now, this one is as it will stay.
        later = [number for number in file_numbers(directory, holder) if number > position.file]
        with _opened(directory, holder, position) as descriptor:
            file = _File(descriptor, position, final or bool(later), settlements, damage)
            file.read(records_max)
        position = Position(position.file, file.offset)
        if not (file.ended and later):
            return Batch(tuple(settlements), after, position, tuple(damage))
        damage.extend(Damage(number, 0, 0, Fault.GONE) for number in range(position.file + 1, later[0]))
        position = Position(later[0], 0)


def _beginning(directory: Path, holder: str) -> Position:
    numbers = file_numbers(directory, holder)
    if numbers[:1] != [1]:
        raise JournalError(f"the journal of {holder} has lost its beginning, of which nothing is booked")
    return Position(1, 0)


@contextmanager
def _opened(directory: Path, holder: str, position: Position) -> Iterator[int]:
    path = file_path(directory, holder, position.file)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise JournalError(f"{path} is gone, and not booked to its end") from error
    try:
        size = os.fstat(descriptor).st_size
        if position.offset > size:
            raise JournalError(f"{path} has {size} bytes, of which {position.offset} are booked")
        yield descriptor
    finally:
        os.close(descriptor)


class _File:
    """One file being read: `offset` is up to where, `ended` whether that is as far as it goes for now."""

    def __init__(
        self, descriptor: int, start: Position, sealed: bool, settlements: list[Settlement], damage: list[Damage]
    ) -> None:
        self.offset = start.offset
        self.ended = False
        self._number = start.file
        self._descriptor = descriptor
        self._sealed = sealed
        self._settlements = settlements
        self._damage = damage

    def read(self, records_max: int) -> None:
        """Read until there are that many settlements in all, or the file ends."""
        while len(self._settlements) < records_max:
            self._take_records(records_max)
            if len(self._settlements) < records_max and not self._pass_over():
                self.ended = True
                return

    def _take_records(self, records_max: int) -> None:
        """Take record after record, up to where there is none."""
        while True:
            buffer = os.pread(self._descriptor, READ_BYTES, self.offset)
            at = 0
            while len(self._settlements) < records_max:
                record = decode(buffer, at)
                if isinstance(record, Fault):
                    break
                settlement, at = record
                self._settlements.append(settlement)
            self.offset += at
            # What is missing may be in the next piece, if this one ends within a record's length.
            if at == 0 or len(self._settlements) == records_max or at + RECORD_BYTES_MAX <= len(buffer):
                return

    def _pass_over(self) -> bool:
        """Go on to the next whole record, if there is one; report what was passed over, unless it is whole by now."""
        start = os.pread(self._descriptor, RECORD_BYTES_MAX, self.offset)
        if not start or (not self._sealed and not start.strip(b"\0")):
            return False
        whole = self._next_whole()
        # Read again, for the writer may have been in the middle of it.
        fault = decode(os.pread(self._descriptor, RECORD_BYTES_MAX, self.offset), 0)
        if not isinstance(fault, Fault):
            return True
        if whole is not None:
            self._report(whole, fault)
        elif self._sealed:
            self._report(self._written_end(), fault)
        return whole is not None

    def _report(self, end: int, fault: Fault) -> None:
        if end > self.offset:
            self._damage.append(Damage(self._number, self.offset, end - self.offset, fault))
            self.offset = end

    def _next_whole(self) -> int | None:
        """Return where the next whole record begins, not the one at the offset."""
        at = self.offset + 1
        while buffer := os.pread(self._descriptor, READ_BYTES, at):
            found = buffer.find(MARK)
            while found >= 0:
                record = os.pread(self._descriptor, RECORD_BYTES_MAX, at + found)
                if not isinstance(decode(record, 0), Fault):
                    return at + found
                found = buffer.find(MARK, found + 1)
            # A mark may be cut by the end of the piece.
            at += max(len(buffer) - len(MARK) + 1, 1)
        return None

    def _written_end(self) -> int:
        """Return where the last byte is that is not zero, or the offset when there is none."""
        end = at = self.offset
        while buffer := os.pread(self._descriptor, READ_BYTES, at):
            written = buffer.rstrip(b"\0")
            if written:
                end = at + len(written)
            at += len(buffer)
        return end
