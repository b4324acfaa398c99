"""A cancelled race is one `Cancelled`, so that whoever looks for it finds it."""

import socket
from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock

from engine.connect import Target, connect_tcp
from engine.ungrouped import ungrouped
from tests.engine.test_connect import resolve_to


async def raised_by(wait: Callable[[], Awaitable[object]]) -> BaseException | None:
    """Return what `wait` raises when it is cancelled after a second; the scope takes it all the same."""
    raised: BaseException | None = None
    with trio.move_on_after(1) as scope:
        try:
            await wait()
        except BaseException as exc:
            raised = exc
            raise
    assert scope.cancelled_caught
    return raised


async def test_many_cancelled_are_one(autojump_clock: MockClock) -> None:
    async def wait() -> None:
        async with ungrouped(), trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    assert isinstance(await raised_by(wait), trio.Cancelled)


async def test_a_group_with_anything_else_stays_as_it_is(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError

    async def wait() -> None:
        async with ungrouped(), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(trio.sleep_forever)

    raised: BaseExceptionGroup[BaseException] | None = None
    try:
        await raised_by(wait)
    except* ValueError as group:
        raised = group
    assert raised is not None


async def test_a_connection_to_several_addresses_is_cancelled_as_one(autojump_clock: MockClock) -> None:
    resolve_to("192.0.2.1", "192.0.2.2")

    async def attempt(_: Target) -> socket.socket:
        await trio.sleep_forever()
        raise AssertionError

    async def wait() -> None:
        await connect_tcp("upstream.test", 443, attempt=attempt)

    assert isinstance(await raised_by(wait), trio.Cancelled)
