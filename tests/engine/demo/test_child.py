"""Children: their lines, their ends, and that none is left behind."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
import trio

from engine.demo.child import LOG_BYTES_READ, Child, ChildError


@asynccontextmanager
async def running(code: str) -> AsyncIterator[Child]:
    child = await Child.start("the child", [sys.executable, "-u", "-c", code], announces=True)
    try:
        yield child
    finally:
        await child.stop(0.5)


async def test_lines_arrive_in_order_and_then_the_end() -> None:
    async with running("print('one'); print(); print('three', end='')") as child:
        assert [await child.next_line() for _ in range(3)] == [b"one", b"", None]


async def test_cancelled_reading_loses_no_byte() -> None:
    async with running("import sys; print('fi', end=''); sys.stdin.read(1); print('rst')") as child:
        while not child._buffer:
            with trio.move_on_after(0.01):
                await child.next_line()
        assert child._process.stdin is not None
        await child._process.stdin.send_all(b"x")
        assert await child.next_line() == b"first"


async def test_a_line_without_end_is_refused() -> None:
    async with running("print('x' * 200_000, end='')") as child:
        with pytest.raises(ChildError, match="announcements"):
            await child.next_line()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(3)", "ended with code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
    ],
)
async def test_its_end_is_told(code: str, said: str) -> None:
    async with running(code) as child:
        assert await child.wait() == said


async def test_of_a_long_log_the_beginning_and_the_end_are_kept() -> None:
    code = f"import sys; sys.stderr.write('first\\n' + 'x' * {3 * LOG_BYTES_READ} + '\\n\\nlast\\n')"
    async with running(code) as child:
        await child.wait()
        lines = child.log_lines()
    assert (lines[0], lines[-1]) == ("first", "last")
    assert sum(map(len, lines)) <= 2 * LOG_BYTES_READ


async def test_output_that_nobody_reads_does_not_stop_it() -> None:
    child = await Child.start("the child", [sys.executable, "-c", "print('x' * 1_000_000)"], announces=False)
    with trio.fail_after(20):
        assert await child.wait() == "ended with code 0"
    await child.stop()


async def test_the_end_of_its_stdin_ends_it() -> None:
    async with running("import sys; print('up'); sys.stdin.read(); raise SystemExit(7)") as child:
        await child.next_line()
        assert child._process.stdin is not None
        await child._process.stdin.aclose()
        assert await child.wait() == "ended with code 7"


async def test_one_that_will_not_end_is_killed_with_its_own_children() -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    print("up")
while True:
    time.sleep(1)
"""
    async with running(code) as child:
        await child.next_line()
        (grandchild,) = psutil.Process(child.pid).children()
        await child.stop(0.05)
        assert not child.running
        gone, alive = psutil.wait_procs([grandchild], timeout=5)
        assert (len(gone), alive) == (1, [])


async def test_stopping_is_not_cut_by_cancellation_and_may_be_repeated() -> None:
    async with running("import time; time.sleep(60)") as child:
        with trio.CancelScope() as scope:
            scope.cancel()
            await child.stop()
        assert not child.running
        await child.stop()


async def test_what_cannot_be_started_raises() -> None:
    with pytest.raises(OSError, match="no-such-program"):
        await Child.start("the child", ["./no-such-program"], announces=True)
