"""Settlements and journals to test with."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hypothesis import strategies as st

from store.journal import Batch, Damage, Journal, read
from store.rows import Position, Settlement

HOLDER = "worker-1"
BEGINNING = Position()

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
amounts = st.integers(0, 2**63 - 1)
settlements = st.builds(
    Settlement,
    id=texts,
    time=amounts,
    account=texts,
    key=texts,
    team=st.none() | texts,
    day=amounts,
    month=amounts,
    amount_nanos=amounts,
    cost_nanos=amounts,
    uncollected_nanos=amounts,
    leases=st.lists(st.tuples(texts, amounts), max_size=3).map(tuple),
    detail=texts,
)
"""Of 1,024 bytes at most, whatever their characters take."""


def settlement(number: int, detail: str = "") -> Settlement:
    """Return one that is known by its id."""
    return Settlement(
        str(number), 1_763_770_000, "a", "k", None, 20_414, 24_298, number, 0, 0, (("day:key:k", 20_414),), detail
    )


@contextmanager
def opened(directory: Path, *, file_bytes_max: int = 65_536, step_bytes: int = 4096) -> Iterator[Journal]:
    """Begin the journal of `HOLDER`, by default with small files."""
    journal = Journal.create(directory, HOLDER, file_bytes_max=file_bytes_max, step_bytes=step_bytes)
    with closing(journal):
        yield journal


def note(journal: Journal, number: int, detail: str = "") -> Position:
    """Book and append the settlement of that number."""
    journal.book()
    return journal.append(settlement(number, detail))


def read_on(
    directory: Path, after: Position = BEGINNING, *, records_max: int = 100, final: bool = False
) -> Iterator[Batch]:
    """Yield batch after batch, up to where a batch ends where it began."""
    while (batch := read(directory, HOLDER, after, records_max=records_max, final=final)).after != after:
        assert batch.before == after
        yield batch
        after = batch.after
    assert (batch.settlements, batch.damage) == ((), ())


def read_all(directory: Path, *, records_max: int = 100, final: bool = False) -> tuple[list[Settlement], list[Damage]]:
    """Return all settlements and all damage."""
    batches = list(read_on(directory, records_max=records_max, final=final))
    return [row for batch in batches for row in batch.settlements], [part for batch in batches for part in batch.damage]
