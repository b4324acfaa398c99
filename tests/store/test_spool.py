"""The spool: a batch is there whole or not at all, comes back as it was, and what is no batch is said to be none."""

import errno
import os
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from store import spool
from store.rows import LogRow
from store.spool import BEGUN, BEGUN_SECONDS_MAX, SpoolError
from tests.store.samples import log_row

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1)
rows = st.builds(
    log_row,
    texts,
    time=st.floats(0, 2**40),
    request_id=texts,
    model=st.none() | texts,
    stream=st.booleans(),
    input_tokens=numbers,
    cost_nanos=st.none() | numbers,
    ttft_ms=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)

in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
LINE = msgspec.json.encode(log_row())


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def put(directory: Path, content: bytes, name: str = "w-0.rows") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


# -- batches -----------------------------------------------------------------------------------------------------------


@in_one_directory
@given(batch=st.lists(rows, max_size=3))
def test_a_batch_comes_back_as_it_was(tmp_path: Path, batch: list[LogRow]) -> None:
    spool.write(tmp_path, "w-0", batch)
    (path,) = spool.batches(tmp_path)
    assert spool.read(path) == batch
    assert names(tmp_path) == ["w-0.rows"]


@pytest.mark.parametrize("count", [63, 64, 65, 1_000])
def test_a_large_batch_comes_back_in_its_order(tmp_path: Path, count: int) -> None:
    batch = [log_row(str(number)) for number in range(count)]
    spool.write(tmp_path, "w-0", batch)
    assert spool.read(tmp_path / "w-0.rows") == batch


def test_only_its_owner_can_look_into_it(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "spool"
    umask = os.umask(0)
    try:
        spool.write(directory, "w-0", [log_row()])
    finally:
        os.umask(umask)
    (path,) = spool.batches(directory)
    assert (directory.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_batches_come_in_the_order_of_their_names_and_nothing_else_comes(tmp_path: Path) -> None:
    assert spool.batches(tmp_path / "none") == []
    for name in ("w-0000000010", "w-0000000009", "v-0000000011"):
        spool.write(tmp_path, name, [log_row()])
    put(tmp_path, LINE, f"w-0000000012{BEGUN}")
    put(tmp_path, LINE, "w-0000000008.damaged")
    assert [path.stem for path in spool.batches(tmp_path)] == ["v-0000000011", "w-0000000009", "w-0000000010"]


def test_a_batch_that_is_gone_was_taken_by_another(tmp_path: Path) -> None:
    spool.write(tmp_path, "w-0", [log_row()])
    (path,) = spool.batches(tmp_path)
    spool.remove(path)
    spool.remove(path)
    spool.put_aside(path)
    assert names(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        spool.read(path)


# -- what fails in between ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("count", [1, 2_000])
def test_a_full_disk_leaves_nothing(tmp_path: Path, count: int) -> None:
    (tmp_path / f"w-0{BEGUN}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space") as caught:
        spool.write(tmp_path, "w-0", [log_row()] * count)
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == []
    spool.write(tmp_path, "w-0", [log_row()] * count)
    assert len(spool.read(spool.batches(tmp_path)[0])) == count


def test_until_it_is_whole_nobody_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def rename(begun: Path, target: Path) -> None:
        seen.append((spool.batches(tmp_path), len(begun.read_bytes().splitlines()), target.name))
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output"):
        spool.write(tmp_path, "w-0", [log_row()] * 100)
    assert seen == [([], 100, "w-0.rows")]
    assert names(tmp_path) == []


def test_what_the_dead_left_unfinished_is_overwritten(tmp_path: Path) -> None:
    put(tmp_path, LINE * 1_000, f"w-0{BEGUN}")
    spool.write(tmp_path, "w-0", [log_row("a")])
    (path,) = spool.batches(tmp_path)
    assert [row.id for row in spool.read(path)] == ["a"]


def test_half_a_surrogate_pair_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        spool.write(tmp_path, "w-0", [log_row(), log_row(model="\ud83d")])
    assert names(tmp_path) == []


# -- what is no batch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"\0" * 4096,
        LINE[:-1],
        LINE[:-1] + b"," + b"[" * 100_000,
        LINE.replace(b"log_1", b"\xff\xfe"),
        LINE.replace(b"log_1", b"\\ud83d"),
        LINE.replace(b"12.5", b"1e999"),
        LINE.replace(b",100,", b",%d," % 2**63),
        LINE.replace(b",100,", b",%d," % (-(2**63) - 1)),
        LINE.replace(b",50,", b"," + b"9" * 5_000 + b","),
        msgspec.json.encode(log_row(time=1e19)),
        b"[]",
        b"{}",
    ],
)
def test_one_bad_line_is_no_batch(tmp_path: Path, line: bytes) -> None:
    path = put(tmp_path, LINE + b"\n" + line + b"\n")
    with pytest.raises(SpoolError, match=r"w-0\.rows is no batch"):
        spool.read(path)
    spool.put_aside(path)
    assert spool.batches(tmp_path) == []
    assert (tmp_path / "w-0.damaged").read_bytes() == LINE + b"\n" + line + b"\n", "it is kept for people to look at"


@in_one_directory
@given(content=st.binary(max_size=300))
@example(b"")
@example(LINE * 2)
def test_bytes_are_rows_or_no_batch(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path, content)
    try:
        read = spool.read(path)
    except SpoolError:
        return
    spool.write(tmp_path, "again", read)
    assert spool.read(tmp_path / "again.rows") == read


@in_one_directory
@given(cut=st.integers(0, 3 * len(LINE) + 3))
def test_a_batch_that_was_cut_has_its_first_rows_or_is_none(tmp_path: Path, cut: int) -> None:
    whole = [log_row(), log_row(), log_row()]
    path = put(tmp_path, b"".join(LINE + b"\n" for _ in whole)[:cut])
    try:
        read = spool.read(path)
    except SpoolError:
        return
    assert read == whole[: (cut + 1) // (len(LINE) + 1)]


def test_the_largest_numbers_are_rows(tmp_path: Path) -> None:
    row = replace(log_row(), amount_nanos=2**63 - 1, waste_nanos=-(2**63))
    spool.write(tmp_path, "w-0", [row])
    assert spool.read(tmp_path / "w-0.rows") == [row]


# -- sweeping ----------------------------------------------------------------------------------------------------------


def test_what_was_begun_long_ago_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in ("old.begun", "older.begun", "old.rows", "old.damaged"):
        path = put(tmp_path, LINE, name)
        written = path.stat().st_mtime - BEGUN_SECONDS_MAX - 5
        os.utime(path, (written, written))
    path = put(tmp_path, LINE, "new.begun")
    written = path.stat().st_mtime - BEGUN_SECONDS_MAX + 60
    os.utime(path, (written, written))
    spool.sweep(tmp_path)
    assert names(tmp_path) == ["new.begun", "old.damaged", "old.rows"]


def test_where_nothing_was_ever_written_there_is_nothing_to_sweep(tmp_path: Path) -> None:
    spool.sweep(tmp_path / "none")


def test_one_that_is_finished_while_it_is_looked_at_does_not_end_the_sweep(tmp_path: Path) -> None:
    for name in ("a.begun", "b.begun", "c.begun"):
        path = tmp_path / name
        # A name without a file behind it looks as one does that was renamed after it was listed.
        path.symlink_to("gone") if name == "b.begun" else os.utime(put(tmp_path, LINE, name), (1, 1))
    spool.sweep(tmp_path)
    assert names(tmp_path) == ["b.begun"]
