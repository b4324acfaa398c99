"""Declaring: what the declarations of options are made of: the base of every section, and how an option is described.

`options` and `money_options` declare with these. An option's meaning and unit stand in its annotation, so that
documentation is generated from where the option is.
"""

import msgspec
from msgspec import Meta


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One table of the file."""


def about(text: str, *, unit: str = "") -> Meta:
    """Return the annotation that says what an option means, and in what it is counted when its name does not say so.

    They are the last columns of the README's table.
    """
    return Meta(description=text, extra={"unit": unit})
