"""Fixtures of the engine's tests."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock


@pytest.fixture
def autojump_clock(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """An autojump clock that stands still while a thread works for the product.

    pytest-trio's own jumps as soon as all tasks wait, though it be for a thread: while one reads a file, hours of
    virtual time may pass. Threads that a test starts itself, such as those of an SDK, may wait for virtual time, and
    hold up nothing.
    """
    working = 0
    run_sync = trio.to_thread.run_sync

    @functools.wraps(run_sync)
    async def stand_still(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal working
        inner = function.func if isinstance(function, functools.partial) else function
        module = inner.__module__ or "socket"  # builtins have none: what trio does itself, to bind
        if module.partition(".")[0] not in ("engine", "store", "socket"):
            return await run_sync(function, *arguments, **options)
        working += 1
        autojump_clock.autojump_threshold = math.inf
        try:
            return await run_sync(function, *arguments, **options)
        finally:
            working -= 1
            if not working:
                autojump_clock.autojump_threshold = 0.0

    monkeypatch.setattr(trio.to_thread, "run_sync", stand_still)
    return autojump_clock
