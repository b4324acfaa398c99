"""Secrets: references, and the type that shows nothing."""

import copy
import os
import pickle
from pathlib import Path

import msgspec
import pytest
from rich.pretty import pretty_repr

from engine.secrets import FILE_BYTES_MAX, Secret, SecretError, place, quoted, resolve

ENVIRON = {
    "TOKEN": "sk-environment",
    "PADDED": "  sk-padded\n",
    "EMPTY": "",
    "BLANK": " \n",
    "TWO_LINES": "sk-one\nsk-two",
    "UMLAUT": "sk-schlüssel",
    "HOME": "/home/nobody",
}


def reveal(reference: str, directory: Path, *, spaces: bool = False) -> str:
    return resolve(reference, environ=ENVIRON, directory=directory, spaces=spaces).reveal()


def test_a_literal_stands_for_itself(tmp_path: Path) -> None:
    secret = resolve("sk-literal", environ={}, directory=tmp_path)
    assert secret.reveal() == "sk-literal"
    assert secret.literal


def test_env_is_read_and_stripped(tmp_path: Path) -> None:
    assert reveal("env:TOKEN", tmp_path) == "sk-environment"
    assert reveal("env:PADDED", tmp_path) == "sk-padded"
    secret = resolve("env:TOKEN", environ=ENVIRON, directory=tmp_path)
    assert secret.source == "env:TOKEN"
    assert not secret.literal


def test_file_is_relative_to_the_directory_and_stripped(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-file\r\n")
    assert reveal("file:key", tmp_path) == "sk-file"
    assert reveal(f"file:{tmp_path / 'key'}", Path("/elsewhere")) == "sk-file"


def test_file_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "key").write_text("sk-mounted")
    (tmp_path / "key").symlink_to("..data/key")
    assert reveal("file:key", tmp_path) == "sk-mounted"


def test_home_is_that_of_the_environment_given(tmp_path: Path) -> None:
    assert place("~/key", environ={"HOME": str(tmp_path)}, directory=Path("/d")) == tmp_path / "key"
    assert place("~/key", environ={}, directory=Path("/d")) == Path("/d/~/key")
    assert place("", environ={}, directory=Path("/d")) is None
    assert place("a\0b", environ={}, directory=Path("/d")) is None


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("", "is empty"),
        ("sk with space", "is malformed: it holds a space"),
        ("sk-trailing ", "is malformed: it holds a space"),
        ("sk-line\n", "is malformed: it holds a control character, for example a line break"),
        ("sk-nul\0", "is malformed: it holds a control character, for example a line break"),
        ("sk-é", "is malformed: it holds a character outside printable ASCII"),
        ("sk-\x7f", "is malformed: it holds a character outside printable ASCII"),
        ("env:", "env: must be followed by the name of an environment variable (letters, digits and _)"),
        ("env:sk-pasted", "env: must be followed by the name of an environment variable (letters, digits and _)"),
        ("env:NOT_SET", "the environment variable NOT_SET is not set"),
        ("env:EMPTY", "is empty ('env:EMPTY')"),
        ("env:BLANK", "is empty ('env:BLANK')"),
        ("env:TWO_LINES", "is malformed: it holds a control character, for example a line break ('env:TWO_LINES')"),
        ("env:UMLAUT", "is malformed: it holds a character outside printable ASCII ('env:UMLAUT')"),
        ("ENV:TOKEN", "looks like a reference, but is none: write env:NAME or file:PATH"),
        ("File:key", "looks like a reference, but is none: write env:NAME or file:PATH"),
        ("$TOKEN", "looks like a reference, but is none: write env:NAME or file:PATH"),
        ("${TOKEN}", "looks like a reference, but is none: write env:NAME or file:PATH"),
        ("file:", "file: must be followed by the path of a file"),
        ("file:a\0b", "file: must be followed by the path of a file"),
        ("file:/nonexistent/key", "cannot read '/nonexistent/key': No such file or directory"),
        ("file:/dev/null", "cannot read '/dev/null': not a regular file"),
        ("file:/\x1b[31m", "cannot read '/\\x1b[31m': No such file or directory"),
    ],
)
def test_what_cannot_be_had_is_named_without_quoting_a_literal(reference: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SecretError) as caught:
        resolve(reference, environ=ENVIRON, directory=tmp_path)
    assert str(caught.value) == sentence


def test_files_that_hold_no_secret(tmp_path: Path) -> None:
    cases: dict[str, bytes] = {
        "is empty": b"",
        "is empty (": b"\n \n",
        "is malformed: it holds a control character": b"one\ntwo",
        "holds something other than ASCII text": b"\xff\xfe",
        "is larger than": b"x" * (FILE_BYTES_MAX + 1),
    }
    for sentence, content in cases.items():
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(SecretError) as caught:
            resolve("file:key", environ={}, directory=tmp_path)
        assert sentence in str(caught.value)


def test_a_directory_and_a_fifo_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in (".", "fifo"):
        with pytest.raises(SecretError, match="cannot read"):
            resolve(f"file:{name}", environ={}, directory=tmp_path)


def test_inner_spaces_only_where_allowed(tmp_path: Path) -> None:
    assert reveal("Basic abc def", tmp_path, spaces=True) == "Basic abc def"
    with pytest.raises(SecretError):
        reveal(" Basic abc", tmp_path, spaces=True)
    with pytest.raises(SecretError):
        reveal("", tmp_path, spaces=True)


def test_nothing_shows_the_text() -> None:
    secret = Secret("sk-hidden", "env:TOKEN")
    wrapped = {"key": [secret]}
    for shown in (str(secret), repr(secret), f"{secret}", "%s" % secret, str(wrapped), pretty_repr(wrapped)):  # noqa: UP031
        assert "hidden" not in shown
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins])
def test_nothing_serialises_it(leak: object) -> None:
    assert callable(leak)
    with pytest.raises(TypeError) as caught:
        leak(Secret("sk-hidden"))
    assert "hidden" not in str(caught.value)


def test_equal_by_text_alone() -> None:
    assert Secret("a", "env:A") == Secret("a", "literal")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a", "env:A"), Secret("b")}) == 2


def test_quoted_escapes_and_cuts() -> None:
    assert quoted("a\x1bé") == r"'a\x1b\xe9'"
    assert len(quoted("x" * 1000)) == 122
