"""Signatures: what is packed comes back, in whatever alphabet, and nothing else is taken for a token."""

from base64 import b64decode, urlsafe_b64encode

from hypothesis import given
from hypothesis import strategies as st

from adapters.signatures import PREFIX, Signature, is_token, pack, unpack

SIGNATURES = st.builds(Signature, st.text(), st.text(), st.text(), st.text(), st.text())


@given(SIGNATURES)
def test_a_packed_signature_comes_back(signature: Signature) -> None:
    token = pack(signature)
    assert is_token(token)
    assert token == pack(signature)
    assert unpack(token) == signature


@given(SIGNATURES)
def test_a_client_may_decode_a_token_and_write_it_in_another_alphabet(signature: Signature) -> None:
    again = urlsafe_b64encode(b64decode(pack(signature), validate=True)).decode()
    assert unpack(again) == signature
    assert unpack(again.rstrip("=")) == signature


@given(st.text() | st.text(alphabet="ab1+/=_-").map(PREFIX.__add__))
def test_anything_else_is_no_token(text: str) -> None:
    assert unpack(text) is None or text.startswith(PREFIX)


def test_a_cut_token_is_still_known_for_one_of_ours() -> None:
    cut = pack(Signature("a", "b", "c" * 100))[:60]
    assert is_token(cut)
    assert unpack(cut) is None


def test_a_signature_is_good_only_where_it_was_made() -> None:
    signature = Signature("a", "p/m", "v")
    assert signature.is_for("a", "p/m")
    assert not signature.is_for("a", "p/n")
    assert not signature.is_for("b", "p/m")
    assert not Signature("a", "", "v").is_for("a", "")
