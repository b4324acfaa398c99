"""Client keys: which token is which key, and that nothing shows a digest."""

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from engine.config import Config
from engine.ephemeral import PREFIX
from engine.keyring import Keyring
from engine.keys import Key, digest_of


def keys_of(tokens: dict[str, bytes]) -> Keyring:
    return Keyring(Config(keys=tuple(Key(name, digest_of(token)) for name, token in tokens.items())))


def name_of(keys: Keyring, token: bytes) -> str | None:
    principal = keys.authenticate(token)
    return None if principal is None else principal.id


def test_digest_is_sha256_as_every_tool_computes_it() -> None:
    assert digest_of(b"sk-hr-1").hex() == hashlib.sha256(b"sk-hr-1").hexdigest()


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (b"sk-alice", "alice"),
        (b"sk-bob", "bob"),
        (b"sk-bo", None),
        (b"sk-bob ", None),
        (b"SK-BOB", None),
        (b"", None),
        (b"\xff\x00", None),
        (digest_of(b"sk-bob"), None),
        (digest_of(b"sk-bob").hex().encode(), None),
        (bytes(32), None),
    ],
)
def test_only_the_token_itself_is_the_key(token: bytes, expected: str | None) -> None:
    assert name_of(keys_of({"alice": b"sk-alice", "bob": b"sk-bob"}), token) == expected


@example(tokens={"a": PREFIX, "b": PREFIX + b"b"}, other=b"")
@given(tokens=st.dictionaries(st.text(min_size=1), st.binary(min_size=1), max_size=8), other=st.binary())
def test_every_token_finds_its_own_key_and_no_other_token_finds_any(tokens: dict[str, bytes], other: bytes) -> None:
    keys = keys_of(tokens)
    for name, token in tokens.items():
        found = name_of(keys, token)
        assert found is not None
        assert tokens[found] == tokens[name]
    assert (keys.authenticate(other) is not None) == (other in tokens.values())


def test_without_keys_nobody_is_known() -> None:
    keys = Keyring(Config())
    assert not keys.required
    assert keys.authenticate(b"") is None
    assert keys.authenticate(bytes(32)) is None


def test_keys_count() -> None:
    keys = keys_of({"alice": b"sk-alice"})
    assert keys.required
    assert len(keys) == 1


def test_neither_repr_shows_a_digest() -> None:
    key = Key("alice", digest_of(b"sk-alice"))
    for shown in (
        repr(key),
        str(key),
        repr(Keyring(Config(keys=(key,)))),
        pretty_repr(key),
        pretty_repr([Keyring(Config(keys=(key,)))]),
    ):
        assert "digest" not in shown
        assert repr(key.digest)[2:10] not in shown
        assert key.digest.hex() not in shown
    assert repr(key) == "Key(id='alice')"
    assert repr(Keyring(Config(keys=(key,)))) == "<Keyring 1 keys, 0 in use>"
