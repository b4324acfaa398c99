"""What the tests of the configuration share: documents as text in, configurations or problems out."""

import hashlib
import tomllib
from collections.abc import Mapping

import pytest

from engine.config import Config, ConfigError, load_document

HASH = "sha256:" + hashlib.sha256(b"sk-hashed").hexdigest()
SERVER = '[providers.mine]\nbase_url = "http://127.0.0.1:8000/v1"\n'
HIDDEN = "hidden-Zq7-"
"""What every secret of these tests begins with, to be looked for where it must not be."""


def read(text: str, environ: Mapping[str, str] | None = None) -> Config:
    """Read a document as `load` does, from text."""
    return load_document(tomllib.loads(text), environ or {})


def problems(text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the problems of a document that must have some: path to message."""
    with pytest.raises(ConfigError) as caught:
        read(text, environ)
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    return found
