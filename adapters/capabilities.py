"""What a model can take, found by the model's name.

A name says who made the model long before anybody could ask its provider: an upstream's model list has no capabilities
in most dialects, and a request must be right at the first try. So the table is data of this gateway, looked up by the
*bare* name: what is left of a provider's spelling when its folders, vendor and region prefixes are off. The pattern
that covers most of the bare name wins, and of those the one that spells out most of it.

It does not know who serves the model. What a provider adds or takes away (a host of open weights with its own switch
for thinking, a cloud that lags behind) is not in the name, and not here.
"""

import re
from functools import lru_cache

from adapters.capability_columns import UNKNOWN, Capabilities, Sampling, Thinking
from adapters.capability_table import ROWS

__all__ = ["UNKNOWN", "Capabilities", "Sampling", "Thinking", "bare", "family", "of"]

_VENDOR = re.compile(r"^(?:[a-z][a-z-]*\.){1,2}(?=[a-z])(?!v\d)")
"""As clouds put it in front: `us.anthropic.`, `openai.`. A version's dot follows a digit; `deepseek.v3` is a name."""

_POINT = re.compile(r"(?<=\d)p(?=\d)")
"""Some hosts write 4p6 for 4.6."""

_DATE = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d")
_BUILD = re.compile(r"(?:-v\d+)?(?::[^:]*)*$")
"""A cloud's revision and a tag: `-v1:0`, `:free`, `:70b`."""

_CHANNEL = re.compile(r"-(?:latest|preview|exp|experimental)(?:-\d\d-\d{4})?(?=-|$)")
_GENERATION = re.compile(r"\D*\d+")


@lru_cache(maxsize=1024)
def of(model: str) -> Capabilities:
    """Return what the model can take, `UNKNOWN` when nothing is known of one by that name."""
    name = bare(model)
    found = UNKNOWN
    best = (0, 0)
    for pattern, literals, capabilities in _PATTERNS:
        match = pattern.match(name)
        if match is not None and (match.end(), literals) > best:
            best = (match.end(), literals)
            found = capabilities
    return found


def bare(model: str) -> str:
    """Return the model's name, lower-cased, without what providers put in front of it."""
    name = model.strip().lower().rpartition("/")[2]
    name = _POINT.sub(".", _VENDOR.sub("", name, count=1))
    # One vendor's own names have hyphens where others' lists of them have dots.
    return name.replace(".", "-") if name.startswith("claude") else name


def family(model: str) -> str:
    """Return the line and generation of a model: `claude-opus-4` of claude-opus-4-7, `gpt-5` of gpt-5.6-sol.

    It is the part of a signature's scope that the model gives. A line alone would be too wide: signatures of one
    generation are refused by, or worthless to, another (vendors name a fixed set of readers per model; docs on
    preserved thinking and on thought signatures, Nov 2026). The exact name would be too narrow: dated and undated
    names, previews and their releases, and the sizes of one generation read each other's. A name without a number
    is its own family.
    """
    name = _BUILD.sub("", _CHANNEL.sub("", _DATE.sub("", bare(model))))
    generation = _GENERATION.match(name)
    return generation[0] if generation is not None else name


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return what matches the names that begin so; a word or a number at the end is whole."""
    last = pattern[-1]
    whole = r"(?![a-z])" if last.isalpha() else r"(?!\d)" if last.isdigit() else ""
    return re.compile("[^-]*".join(map(re.escape, pattern.split("*"))) + whole)


_PATTERNS = [(_compiled(pattern), len(pattern.replace("*", "")), row) for pattern, row in ROWS.items()]
