"""The stores that the tests of what a store promises run with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store.db import open_store
from store.interface import Store
from store.memory import MemoryStore


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the store in SQLite lies, in a directory that it has to make."""
    return tmp_path / "new" / "hedgerow.db"


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, database: Path) -> AsyncIterator[Store]:
    """An empty store of either kind."""
    if request.param == "memory":
        yield MemoryStore()
    else:
        async with open_store(database) as opened:
            yield opened
