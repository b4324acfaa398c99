"""Tests of reading a journal: whatever happened to its bytes, nothing whole is lost and nothing is invented."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.journal import Damage, Fault, JournalError, read
from store.journal_format import BODY_BYTES_MAX, HEADER, MARK, encode
from store.journal_read import READ_BYTES
from store.rows import Position, Settlement
from tests.store.journals import HOLDER, note, opened, read_all, read_on, settlement

ROWS = [settlement(number, "x" * number) for number in range(4)]
RECORDS = [encode(row) for row in ROWS]
STARTS = [sum(map(len, RECORDS[:number])) for number in range(5)]
WRITTEN = b"".join(RECORDS)


def journal_of(directory: Path, *files: bytes) -> None:
    directory.mkdir(exist_ok=True)
    for number, content in enumerate(files, 1):
        (directory / f"{HOLDER}-{number}.journal").write_bytes(content)


def changes() -> Iterator[tuple[int, bytes]]:
    """Every byte, all of it changed, one bit, and none of it left."""
    for at, byte in enumerate(WRITTEN):
        for other in {byte ^ 0xFF, byte ^ 1, 0} - {byte}:
            yield at, WRITTEN[:at] + bytes([other]) + WRITTEN[at + 1 :]


@pytest.mark.parametrize("spare", [0, 5000])
def test_a_wrong_byte_costs_one_record(tmp_path: Path, spare: int) -> None:
    for at, content in changes():
        journal_of(tmp_path, content + bytes(spare))
        hit = next(number for number in range(4) if at < STARTS[number + 1])
        rest = ROWS[:hit] + ROWS[hit + 1 :]
        found, damage = read_all(tmp_path, final=True)
        assert found == rest
        assert [(part.file, part.offset) for part in damage] == [(1, STARTS[hit])]
        assert 0 <= STARTS[hit + 1] - STARTS[hit] - damage[0].bytes <= (hit == 3)  # a zero at the end is no byte
        found, damage = read_all(tmp_path)
        assert found == rest
        assert len(damage) == (hit != 3)  # the last one may be unfinished


@pytest.mark.parametrize("spare", [0, 5000])
def test_a_cut_costs_what_it_cuts(tmp_path: Path, spare: int) -> None:
    for size in range(len(WRITTEN) + 1):
        journal_of(tmp_path, WRITTEN[:size] + bytes(spare))
        whole = max(number for number in range(5) if STARTS[number] <= size)
        assert read_all(tmp_path) == (ROWS[:whole], [])
        found, damage = read_all(tmp_path, final=True)
        assert found == ROWS[:whole]
        assert [(part.file, part.offset) for part in damage] == [(1, STARTS[whole])] * (STARTS[whole] < size)
        # With the next file there it is known that nothing comes after the cut.
        journal_of(tmp_path, WRITTEN[:size] + bytes(spare), WRITTEN)
        assert read_all(tmp_path) == (ROWS[:whole] + ROWS, damage)
        (tmp_path / f"{HOLDER}-2.journal").unlink()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(WRITTEN)), st.binary(max_size=60)), max_size=4), st.integers(1, 7))
def test_whatever_is_written_over_it_what_is_whole_is_found(
    tmp_path: Path, wounds: list[tuple[int, bytes]], records_max: int
) -> None:
    content = bytearray(WRITTEN)
    for at, wound in wounds:
        content[at : at + len(wound)] = wound
    journal_of(tmp_path, bytes(content) + bytes(99))
    whole = [
        row for row, start, record in zip(ROWS, STARTS, RECORDS, strict=False) if content.startswith(record, start)
    ]
    found, damage = read_all(tmp_path, records_max=records_max, final=True)
    assert found == whole
    assert (damage == []) == (bytes(content).rstrip(b"\0") == WRITTEN.rstrip(b"\0"))
    assert all(row in whole for row in read_all(tmp_path)[0])


@pytest.mark.parametrize(
    ("wound", "reason"),
    [
        (b"\0" * len(RECORDS[1]), Fault.UNMARKED),
        (b"\xff" * len(RECORDS[1]), Fault.UNMARKED),
        (HEADER.pack(MARK, 0, 0), Fault.LENGTH),
        (HEADER.pack(MARK, BODY_BYTES_MAX + 1, 0), Fault.LENGTH),
        (HEADER.pack(MARK, 30, 0), Fault.CHECKSUM),
        (HEADER.pack(MARK, 1, 0x297B_F86C) + b"\xc0", None),
    ],
)
def test_damage_says_what_is_wrong(tmp_path: Path, wound: bytes, reason: Fault | None) -> None:
    content = bytearray(WRITTEN)
    content[STARTS[1] : STARTS[1] + len(wound)] = wound
    journal_of(tmp_path, bytes(content))
    found, damage = read_all(tmp_path, final=True)
    assert found == [ROWS[0], *ROWS[2:]]
    assert [(part.offset, part.bytes) for part in damage] == [(STARTS[1], len(RECORDS[1]))]
    assert reason is None or damage[0].reason is reason


def test_a_record_of_another_version_is_passed_over_and_told_from_damage(tmp_path: Path) -> None:
    from zlib import crc32

    body = b"\x93\x01\x02\x03"
    journal_of(tmp_path, RECORDS[0] + HEADER.pack(MARK, len(body), crc32(body)) + body + RECORDS[1])
    assert read_all(tmp_path) == (ROWS[:2], [Damage(1, len(RECORDS[0]), 16, Fault.FOREIGN)])


def test_pages_of_zeros_in_the_middle_are_crossed_once_the_holder_is_dead(tmp_path: Path) -> None:
    journal_of(tmp_path, RECORDS[0] + bytes(3 * READ_BYTES - 2) + WRITTEN + bytes(2 * READ_BYTES))
    assert read_all(tmp_path) == (ROWS[:1], [])
    gap = Damage(1, len(RECORDS[0]), 3 * READ_BYTES - 2, Fault.UNMARKED)
    assert read_all(tmp_path, final=True) == (ROWS[:1] + ROWS, [gap])


def test_what_a_client_writes_is_never_taken_for_a_record(tmp_path: Path) -> None:
    forged = encode(settlement(666)).decode("latin-1")
    rows = [settlement(1, forged), settlement(2, forged)]
    first = bytearray(encode(rows[0]))
    first[5] ^= 0xFF
    journal_of(tmp_path, bytes(first) + encode(rows[1]))
    assert [row.id for row in read_all(tmp_path, final=True)[0]] == ["2"]
    text = "".join(chr(code) for code in [*range(128), *range(128, 0xD800, 63), *range(0xE000, 0x110000, 63)])
    assert not {MARK[0], MARK[-1]} & set(text.encode())


def test_records_at_the_edges_of_what_is_read_at_once(tmp_path: Path) -> None:
    for spare in range(len(RECORDS[0]) + 2):
        filler = encode(settlement(0, "x" * spare))
        count = READ_BYTES // len(RECORDS[0]) + 3
        journal_of(tmp_path, filler + RECORDS[0] * count + bytes(10))
        found, damage = read_all(tmp_path, records_max=100_000, final=True)
        assert (len(found), damage) == (count + 1, [])


# -- positions ---------------------------------------------------------------------------------------------------------


def test_batches_are_as_large_as_was_asked(tmp_path: Path) -> None:
    with opened(tmp_path, file_bytes_max=500) as journal:
        for number in range(50):
            note(journal, number)
        batches = list(read_on(tmp_path, records_max=7))
        assert [len(batch.settlements) for batch in batches] == [7] * 7 + [1]
        assert batches[-1].after == journal.position


@pytest.mark.parametrize("final", [False, True])
def test_a_position_that_is_not_there_is_an_error(tmp_path: Path, final: bool) -> None:
    with pytest.raises(JournalError, match="lost its beginning"):
        read(tmp_path, HOLDER, Position(), records_max=1, final=final)
    journal_of(tmp_path, WRITTEN, WRITTEN)
    with pytest.raises(JournalError, match=f"has {len(WRITTEN)} bytes"):
        read(tmp_path, HOLDER, Position(2, len(WRITTEN) + 1), records_max=1, final=final)
    with pytest.raises(JournalError, match="is gone"):
        read(tmp_path, HOLDER, Position(3, 0), records_max=1, final=final)
    (tmp_path / f"{HOLDER}-1.journal").unlink()
    with pytest.raises(JournalError, match="is gone"):
        read(tmp_path, HOLDER, Position(1, 0), records_max=1, final=final)
    with pytest.raises(JournalError, match="lost its beginning"):
        read(tmp_path, HOLDER, Position(), records_max=1, final=final)
    assert len(read(tmp_path, HOLDER, Position(2, 0), records_max=9, final=final).settlements) == 4


def test_a_file_that_is_missing_between_two_is_damage(tmp_path: Path) -> None:
    journal_of(tmp_path, WRITTEN, WRITTEN, WRITTEN, WRITTEN)
    for number in (2, 3):
        (tmp_path / f"{HOLDER}-{number}.journal").unlink()
    assert read_all(tmp_path) == (ROWS + ROWS, [Damage(2, 0, 0, Fault.GONE), Damage(3, 0, 0, Fault.GONE)])


# -- beside a writer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [1, 2, 20, 50])
def test_a_page_read_too_early_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: int) -> None:
    """Up to somewhere in a record it is read as it was before, and the next record, written later, as it is."""
    pread = os.pread
    late = False

    def early(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal late
        late = late or offset > STARTS[2]
        buffer = bytearray(pread(descriptor, size, offset))
        if not late:
            buffer[STARTS[2] + torn - offset : STARTS[3] - offset] = bytes(STARTS[3] - STARTS[2] - torn)
        return bytes(buffer)

    journal_of(tmp_path, WRITTEN + bytes(5000))
    monkeypatch.setattr(os, "pread", early)
    assert read_all(tmp_path) == (ROWS, [])
    assert late


WRITER = """
import sys
from pathlib import Path
from tests.store.journals import note, opened

with opened(Path(sys.argv[1]), file_bytes_max=100_000) as journal:
    print("open", flush=True)
    for number in range(20_000):
        note(journal, number, "x" * (number % 300))
    print("done", flush=True)
    sys.stdin.read()
"""


def test_a_reader_beside_a_writer_sees_every_record_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        position, found = Position(), list[Settlement]()
        while len(found) < 20_000 and process.poll() is None:
            batch = read(tmp_path, HOLDER, position, records_max=500)
            assert (batch.before, batch.damage) == (position, ())
            found.extend(batch.settlements)
            position = batch.after
        process.communicate()
    assert [row.id for row in found] == [str(number) for number in range(20_000)]
