"""Windows: which day, month or minute it is, and when it ends. Everything in UTC, as vendors and `store` count.

A window has a number, which rises by one from each to the next. Pure: the time is handed in.
"""

from datetime import UTC, datetime
from enum import Enum

from store.rows import DAY_SECONDS, NO_WINDOW

MINUTE_SECONDS = 60


class Period(Enum):
    """How long a window is."""

    ALWAYS = "always"
    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"


def window(period: Period, time: float) -> int:
    """Return the number of the window that `time` (unix seconds) falls into."""
    match period:
        case Period.ALWAYS:
            return NO_WINDOW
        case Period.MINUTE:
            return int(time) // MINUTE_SECONDS
        case Period.DAY:
            return int(time) // DAY_SECONDS
        case Period.MONTH:
            date = datetime.fromtimestamp(int(time), UTC)
            return date.year * 12 + date.month - 1


def end(period: Period, number: int) -> int:
    """Return when a window is over, in unix seconds; 0 where it never is."""
    match period:
        case Period.ALWAYS:
            return 0
        case Period.MINUTE:
            return (number + 1) * MINUTE_SECONDS
        case Period.DAY:
            return (number + 1) * DAY_SECONDS
        case Period.MONTH:
            year, month = divmod(number + 1, 12)
            return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp())
