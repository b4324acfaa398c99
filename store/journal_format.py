"""What a journal is made of: the names of its files, and the bytes of a record.

A holder's journal is a row of files, `HOLDER-1.journal` and on, beside `HOLDER.lock`. A file is records end to end,
then the zeros of space that is allocated and not written. A record is a mark, the length and the CRC-32 of its body,
and the body: one settlement in MessagePack. A record never crosses from one file into the next.

A damaged file is read on from the next mark, so the mark must not be what somebody can have written into a settlement:
its outer bytes occur in no UTF-8, and whatever a client chooses (a model's name) gets here as text.

A version that adds members to `Settlement` gives them defaults at its end: then it reads what older ones wrote, and the
other way round. Whatever is not understood is told from what is damaged (`Fault.FOREIGN`).
"""

import os
import re
from enum import StrEnum
from pathlib import Path
from struct import Struct as Layout
from zlib import crc32

import msgspec

from store.rows import Settlement

RECORD_BYTES_MAX = 1024
"""The slot that is booked for a record; a settlement with all its leases takes 300 to 600 bytes."""

MARK = b"\xc1HJ\xff"
HEADER = Layout(">4sII")
BODY_BYTES_MAX = RECORD_BYTES_MAX - HEADER.size

_pack_header = HEADER.pack

_HOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE = re.compile(r"(?P<holder>.+)-(?P<number>[1-9][0-9]*)\.journal(?P<unfinished>\.new)?")
_LOCK = re.compile(r"(?P<holder>.+)\.lock")

UNFINISHED = ".new"
"""What a file's name ends with until its space is allocated. To a reader it is not there yet."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Settlement).decode


class JournalError(Exception):
    """A journal that cannot be used as was asked: files gone, or shorter than they were, or a lock that is not free."""


class JournalFullError(JournalError):
    """There is no space for one more record. What was booked before is not affected."""


class Fault(StrEnum):
    """Why there is no record where one should be."""

    UNMARKED = "no record begins here"
    LENGTH = "impossible length"
    TORN = "cut short"
    CHECKSUM = "wrong checksum"
    FOREIGN = "not a settlement of this version"
    GONE = "the file is gone"


def encode(settlement: Settlement) -> bytes:
    """Return the record; of one that would exceed `RECORD_BYTES_MAX`, without `detail`.

    Raises `ValueError` when it is too long even so, or holds text that is not Unicode, `OverflowError` for an integer
    beyond 64 bits: all three are the caller's bugs.
    """
    body = _encode(settlement)
    size = len(body)
    if size > BODY_BYTES_MAX:
        body = _encode(msgspec.structs.replace(settlement, detail=""))
        size = len(body)
        if size > BODY_BYTES_MAX:
            raise ValueError(f"a settlement of {size} bytes, {BODY_BYTES_MAX} are the most")
    return _pack_header(MARK, size, crc32(body)) + body


def decode(buffer: bytes, at: int) -> tuple[Settlement, int] | Fault:
    """Return the settlement whose record begins at `at`, and where the record ends; or why there is none."""
    start = at + HEADER.size
    if len(buffer) < start:
        return Fault.TORN
    mark, length, checksum = HEADER.unpack_from(buffer, at)
    if mark != MARK:
        return Fault.UNMARKED
    if not 0 < length <= BODY_BYTES_MAX:
        return Fault.LENGTH
    end = start + length
    body = buffer[start:end]
    if len(body) < length or crc32(body) != checksum:
        return Fault.TORN if len(body) < length else Fault.CHECKSUM
    try:
        return _decode(body), end
    except msgspec.DecodeError:
        return Fault.FOREIGN


def check_holder(holder: str) -> None:
    """Raise `ValueError` for an id that cannot be a part of a file's name."""
    if not _HOLDER.fullmatch(holder):
        raise ValueError(f"{holder!r} cannot name a journal")


def file_path(directory: Path, holder: str, number: int) -> Path:
    """Return where the journal's file of that number (from 1) is."""
    return directory / f"{holder}-{number}.journal"


def lock_path(directory: Path, holder: str) -> Path:
    """Return where the file is whose lock says that the holder lives."""
    return directory / f"{holder}.lock"


def file_numbers(directory: Path, holder: str) -> list[int]:
    """Return the numbers of the files there are, ascending. Raises `OSError`."""
    return sorted(int(name["number"]) for name in _names(directory, holder) if not name["unfinished"])


def file_paths(directory: Path, holder: str) -> list[Path]:
    """Return where all files are, the unfinished ones first, the others by age. Raises `OSError`."""
    names = sorted(_names(directory, holder), key=lambda name: (not name["unfinished"], int(name["number"])))
    return [directory / name[0] for name in names]


def _names(directory: Path, holder: str) -> list[re.Match[str]]:
    matches = (_FILE.fullmatch(name) for name in os.listdir(directory))
    return [match for match in matches if match is not None and match["holder"] == holder]


def holders(directory: Path) -> list[str]:
    """Return all of whom there is a file or a lock, sorted; none when there is no directory.

    Whoever is listed is alive, or to be buried. Raises `OSError`.
    """
    if not directory.is_dir():
        return []
    matches = (_FILE.fullmatch(name) or _LOCK.fullmatch(name) for name in os.listdir(directory))
    return sorted({match["holder"] for match in matches if match is not None and _HOLDER.fullmatch(match["holder"])})
