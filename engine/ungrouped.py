"""One `Cancelled` out of a nursery, whoever looks for it.

A nursery that is cancelled from outside raises a group of the `Cancelled` of each of its tasks, which no
`except trio.Cancelled` around it matches: a client that left would pass for a bug, a deadline would go unnoticed. A
nursery below somebody who does look for it stands in this block.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def ungrouped() -> AsyncIterator[None]:
    """Raise one `Cancelled` in place of a group of nothing else; any other group as it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        if group.split(trio.Cancelled)[1] is None:
            await trio.lowlevel.checkpoint_if_cancelled()
        raise
