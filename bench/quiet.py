"""Whether processes have come to rest: who works off what it was asked before would take the time of who is asked next.

Rest is less than 2 % of a core over 0.2 s. Some never rest, since they have work of their own in the background: nobody
is waited for longer than 10 s.
"""

import time
from collections.abc import Callable, Sequence

from bench.process import cpu_seconds

LOOK_SECONDS = 0.2
SHARE_MAX = 0.02
SECONDS_MAX = 10.0


def rest(
    pids: Sequence[int],
    *,
    used_s: Callable[[Sequence[int]], float] = cpu_seconds,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until these processes rest, and say whether they do; raises psutil.NoSuchProcess when one has died."""
    until_s = clock() + SECONDS_MAX
    at_s, before_s = clock(), used_s(pids)
    while at_s < until_s:
        sleep(LOOK_SECONDS)
        now_s, total_s = clock(), used_s(pids)
        if total_s - before_s < SHARE_MAX * (now_s - at_s):
            return True
        at_s, before_s = now_s, total_s
    return False
