"""Minting: keys nobody can guess, of which nothing shows, and ids."""

import math
import re

from engine.keys import digest_of
from engine.minting import CHARACTERS, fresh_name, mint


def test_a_key_has_the_form_that_is_documented_and_bits_enough() -> None:
    assert re.fullmatch(r"sk-hr-[A-Za-z0-9]{43}", mint().token.reveal())
    assert CHARACTERS * math.log2(62) >= 250


def test_what_is_kept_of_a_key_is_what_finds_it() -> None:
    minted = mint()
    token = minted.token.reveal()
    assert minted.digest == digest_of(token.encode())
    assert token.endswith(minted.shown)
    assert len(minted.shown) == 4


def test_no_two_keys_and_no_two_names_are_alike() -> None:
    assert len({mint().token.reveal() for _ in range(1_000)}) == 1_000
    assert len({fresh_name("acc_") for _ in range(1_000)}) == 1_000


def test_every_character_of_the_alphabet_turns_up() -> None:
    assert len({c for _ in range(200) for c in mint().token.reveal().removeprefix("sk-hr-")}) == 62


def test_a_minted_key_shows_neither_itself_nor_its_digest() -> None:
    minted = mint()
    assert minted.token.reveal() not in repr(minted)
    assert "digest" not in repr(minted)


def test_a_name_says_what_it_is_of() -> None:
    assert re.fullmatch(r"team_[0-9a-f]{16}", fresh_name("team_"))
