"""The till's end: what an answer leaves behind in the worker once it is over."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.relay import Relay
from engine.till import Till
from store.memory import MemoryStore
from tests.engine.accounts import shop
from tests.engine.test_charges import ANSWER


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """What is not freed by itself stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_over_leaves_nothing_to_the_collector(tmp_path: Path, stream: bool) -> None:
    async with shop(MemoryStore(), tmp_path) as made:
        for number in range(3):
            made.server.enqueue(ANSWER)
            assert (await made.ask(stream=stream)).status_code == 200
            await made.live.log.wait_entry(number)
        left = [each for each in gc.get_objects() if isinstance(each, Till | Relay)]
        assert not left
