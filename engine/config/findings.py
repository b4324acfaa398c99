"""Findings: everything that is wrong with a configuration, each with its TOML path.

Reading never stops at the first mistake: it notes a finding and goes on with a default. A path carries at most one
problem, the first, so that a value of the wrong type is not also reported as missing. Sentences complete "PATH ...":
what is wrong and what is allowed. They never quote a value, which may be a secret in the wrong place.
"""

import difflib
import json
import re
from collections.abc import Iterable, Sequence

import msgspec

NAME_LENGTH_MAX = 80
_STEP = re.compile(r"[.\[]")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


class Problem(msgspec.Struct, frozen=True):
    """One finding. `path` is a TOML path (`providers.mine.base_url`), or empty when it is about the file as a whole."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds every reason, in the order found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class MalformedError(ValueError):
    """A value that does not read as what it should be; the sentence follows the path and quotes nothing."""


class Findings:
    """Collects problems (the configuration is refused) and warnings (it is used all the same)."""

    def __init__(self) -> None:
        self._problems: dict[str, Problem] = {}
        self._warnings: list[Problem] = []
        self._within: set[str] = set()

    def problem(self, path: str, message: str) -> None:
        """Note what makes the configuration unusable; the first problem of a path stands."""
        self._problems.setdefault(path, Problem(path, message))
        self._within.add(path)
        self._within.update(path[: cut.start()] for cut in _STEP.finditer(path))

    def warning(self, path: str, message: str) -> None:
        """Note what is allowed and unwise."""
        self._warnings.append(Problem(path, message))

    def within(self, path: str) -> bool:
        """Whether `path` or anything below it has a problem already."""
        return path in self._within

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Every warning so far."""
        return tuple(self._warnings)

    def raise_problems(self) -> None:
        """Raise `ConfigError` when there is any problem."""
        if self._problems:
            raise ConfigError(tuple(self._problems.values()))


def below(path: str, name: str) -> str:
    """Return the path of the key `name` in the table at `path`, quoted as TOML would want it."""
    shown = name if len(name) <= NAME_LENGTH_MAX else name[: NAME_LENGTH_MAX - 3] + "..."
    if not _BARE_KEY.match(shown):
        shown = json.dumps(shown)
    return f"{path}.{shown}" if path else shown


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the nearest known name, or nothing when none is near.

    A name that only lacks its unit (`total` for `total_seconds`) is near, however short it is.
    """
    candidates = list(known)
    written = name[:NAME_LENGTH_MAX].lower()
    near = [each for each in candidates if each.startswith(f"{written}_")]
    near = near or difflib.get_close_matches(written, candidates, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
