"""A terminal that nobody looks at: what the programs would show while they run becomes lines of progress.

What they print stays in it, as text, for the scenario's remarks.
"""

from io import StringIO
from typing import Any

from rich.console import Console, RenderableType
from rich.status import Status

from bench.scenarios import Say

_WIDTH = 400


class SpokenConsole(Console):
    """A console whose status lines are told to `say`, and which shows nothing."""

    def __init__(self, say: Say) -> None:
        self._text = StringIO()
        self._say = say
        super().__init__(file=self._text, width=_WIDTH)

    def status(self, status: RenderableType, **_options: Any) -> Status:
        """Give a status that is told and not drawn."""
        return _Spoken(status, self, self._say)

    def printed(self) -> list[str]:
        """Give the lines that were printed."""
        return [line.strip() for line in self._text.getvalue().splitlines() if line.strip()]


class _Spoken(Status):
    """Tells what it is set to; its spinner never turns, and so takes no time from what is measured."""

    def __init__(self, status: RenderableType, console: Console, say: Say) -> None:
        super().__init__(status, console=console)
        self._tell = say
        self._first = status

    def start(self) -> None:
        self._tell(str(self._first))

    def stop(self) -> None:
        """Nothing was started."""

    def update(self, status: RenderableType | None = None, **_options: Any) -> None:
        if status is not None:
            self._tell(str(status))
