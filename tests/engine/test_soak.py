"""A few hundred raced requests with random faults and disconnects; `python -m tests.engine.soak` does ten thousand."""

import pytest

from tests.engine.soak import soak


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_left_of_raced_requests(seed: int) -> None:
    became = await soak(150, seed=seed, side_by_side=30)
    assert became["hedged"] > 0
    assert became["attempt lost"] > 0
    assert became["outcome ok"] > 0
    assert became["outcome client_gone"] > 0
