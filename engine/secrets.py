"""Secrets: how configuration names one, and the type that never shows it.

A secret is written as `env:NAME` (an environment variable), `file:PATH` (the content of a file, surrounding white
space removed) or as the literal itself. `resolve` turns that into a `Secret`, whose text only `reveal()` gives out:
not `str`, `repr`, `format`, pickling, rich or msgspec. No sentence of this module quotes a literal, not even a
malformed one; the name of a variable and the path of a file are not secret and are quoted. It knows nothing of what a
secret is for.
"""

import errno
import os
import re
import stat
from collections.abc import Mapping
from hmac import compare_digest
from pathlib import Path
from typing import NoReturn

FILE_BYTES_MAX = 65_536
"""A key is tens of bytes, a signed token a few thousand; a file beyond this is the wrong file."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_TOKEN = re.compile(r"[\x21-\x7e]+\Z")
_FIELD_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\Z")
_PREFIX_LOOKALIKE = re.compile(r"(env|file)\s*:|\$", re.IGNORECASE)


class SecretError(Exception):
    """A secret that cannot be had; the sentence says why and quotes no secret."""


class Secret:
    """A text that shows itself to nobody but the caller of `reveal()`.

    `source` says where it came from (`env:NAME`, `file:PATH`, `literal`) and may be shown. Two secrets are equal when
    their texts are, compared in constant time.
    """

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: str = "literal") -> None:
        self._text = text
        self.source = source

    def reveal(self) -> str:
        """Return the text. The one place where it leaves; search for callers of this name."""
        return self._text

    @property
    def literal(self) -> bool:
        """Whether it stands in the configuration file itself."""
        return self.source == "literal"

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(self._text.encode("utf-8", "surrogatepass"), other._text.encode("utf-8", "surrogatepass"))

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised")


def resolve(reference: str, *, environ: Mapping[str, str], directory: Path, spaces: bool = False) -> Secret:
    """Turn a reference into the secret it names. `file:` paths are relative to `directory`; `~/` is `$HOME`.

    The text must be printable ASCII, since every secret here travels in an HTTP field; inner spaces only with `spaces`.
    Raises `SecretError`. Reads at most one regular file, without waiting (a FIFO is refused, not read).
    """
    if reference.startswith("env:"):
        text, source = _from_environment(reference[4:], environ), reference
    elif reference.startswith("file:"):
        text, source = _from_file(reference[5:], environ, directory), reference
    elif _PREFIX_LOOKALIKE.match(reference):
        raise SecretError("looks like a reference, but is none: write env:NAME or file:PATH")
    else:
        text, source = reference, "literal"
    if not (_FIELD_VALUE if spaces else _TOKEN).match(text):
        origin = "" if source == "literal" else f" ({quoted(source)})"
        raise SecretError(f"is {_flaw(text)}{origin}")
    return Secret(text, source)


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if not _ENV_NAME.match(name):
        raise SecretError("env: must be followed by the name of an environment variable (letters, digits and _)")
    if name not in environ:
        raise SecretError(f"the environment variable {name} is not set")
    return environ[name].strip()


def _from_file(name: str, environ: Mapping[str, str], directory: Path) -> str:
    path = place(name, environ=environ, directory=directory)
    if path is None:
        raise SecretError("file: must be followed by the path of a file")
    try:
        content = _read_regular(path)
    except OSError as exc:
        raise SecretError(f"cannot read {quoted(str(path))}: {exc.strerror or type(exc).__name__}") from exc
    if len(content) > FILE_BYTES_MAX:
        raise SecretError(f"{quoted(str(path))} is larger than {FILE_BYTES_MAX} bytes: not a secret")
    try:
        return content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise SecretError(f"{quoted(str(path))} holds something other than ASCII text") from None


def _read_regular(path: Path) -> bytes:
    """Read up to one byte more than allowed. O_NONBLOCK: opening a FIFO must not wait for its writer."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return file.read(FILE_BYTES_MAX + 1)


def place(name: str, *, environ: Mapping[str, str], directory: Path) -> Path | None:
    """Return where a path of the configuration lies, or None when it cannot be a path (empty, or with a NUL)."""
    if not name or "\0" in name:
        return None
    home = environ.get("HOME")
    if name.startswith("~/") and home:
        return Path(home) / name[2:]
    return directory / name


def quoted(text: str, length_max: int = 120) -> str:
    """Quote something that may be shown: control characters escaped, cut to `length_max` characters."""
    return ascii(text if len(text) <= length_max else text[: length_max - 3] + "...")


def _flaw(text: str) -> str:
    """Name what keeps `text` out of an HTTP field, without quoting any of it."""
    if not text:
        return "empty"
    if any(character in text for character in "\r\n\0") or any(ord(character) < 0x20 for character in text):
        return "malformed: it holds a control character, for example a line break"
    if any(ord(character) > 0x7E for character in text):
        return "malformed: it holds a character outside printable ASCII"
    return "malformed: it holds a space"
