"""The bound on a prompt's tokens: text by its bytes, media by what they are, and nothing that only looks like media."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.prices import prompt_tokens_bound
from adapters.prices.bound import (
    AUDIO_BYTES_PER_TOKEN,
    DOCUMENT_BYTES_PER_TOKEN,
    IMAGE_TOKENS,
    MEDIA_BYTES_MIN,
    TEXT_BYTES_PER_TOKEN,
)

FILLING = bytes(range(256)) * 400
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + FILLING).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + FILLING).decode()
WEBP = base64.b64encode(b"RIFF\x10\x20\x30\x40WEBPVP8 " + FILLING).decode()
WAV = base64.b64encode(b"RIFF\x10\x20\x30\x40WAVEfmt " + FILLING).decode()
MP3 = base64.b64encode(b"\xff\xfb\x90\x64" + FILLING).decode()
PDF = base64.b64encode(b"%PDF-1.7\n" + FILLING).decode()
NOTES = base64.b64encode(b"meeting notes" + FILLING).decode()

AN_ENVELOPE = 200
"""More bytes than stand around the media below."""


def of(document: object, *, ascii_only: bool = True) -> int:
    return prompt_tokens_bound(json.dumps(document, ensure_ascii=ascii_only).encode())


def chat(part: object) -> object:
    return {"model": "m", "messages": [{"role": "user", "content": [part]}]}


def in_every_dialect(mime: str, content: str) -> list[object]:
    url = f"data:{mime};base64,{content}"
    return [
        chat({"type": "image_url", "image_url": {"url": url}}),
        chat({"type": "file", "file": {"filename": "f", "file_data": url}}),
        chat({"type": "input_audio", "input_audio": {"data": content, "format": "wav"}}),
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]},
        chat({"type": "image", "source": {"type": "base64", "media_type": mime, "data": content}}),
        chat({"type": "image", "source": {"data": content, "media_type": mime, "type": "base64"}}),
        {"contents": [{"parts": [{"inlineData": {"mimeType": mime, "data": content}}]}]},
        {"contents": [{"parts": [{"inline_data": {"mime_type": mime, "data": content}}]}]},
    ]


@pytest.mark.parametrize(
    ("mime", "content", "tokens"),
    [
        ("image/png", PNG, IMAGE_TOKENS),
        ("image/jpeg", JPEG, IMAGE_TOKENS),
        ("image/webp", WEBP, IMAGE_TOKENS),
        ("audio/wav", WAV, len(WAV) // AUDIO_BYTES_PER_TOKEN),
        ("audio/mp3", MP3, len(MP3) // AUDIO_BYTES_PER_TOKEN),
        ("application/pdf", PDF, len(PDF) // DOCUMENT_BYTES_PER_TOKEN + IMAGE_TOKENS),
        ("text/plain", NOTES, len(NOTES) // 4),
    ],
)
def test_media_count_as_what_they_are_in_every_dialect(mime: str, content: str, tokens: int) -> None:
    for document in in_every_dialect(mime, content):
        assert tokens < of(document) <= tokens + AN_ENVELOPE / TEXT_BYTES_PER_TOKEN


def test_slashes_may_be_escaped() -> None:
    body = json.dumps(in_every_dialect("image/jpeg", JPEG)[0]).replace("/", "\\/").encode()
    assert IMAGE_TOKENS < prompt_tokens_bound(body) < IMAGE_TOKENS + AN_ENVELOPE


def test_every_image_counts() -> None:
    one = in_every_dialect("image/png", PNG)[-1]
    assert 20 * IMAGE_TOKENS < of([one] * 20) < 21 * IMAGE_TOKENS


def test_a_link_counts_as_an_image() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert IMAGE_TOKENS < of(chat(part)) < IMAGE_TOKENS + AN_ENVELOPE
    assert of([chat(part), in_every_dialect("image/png", PNG)[-1], chat(part)]) > 3 * IMAGE_TOKENS


LINKS = st.sampled_from(["https://x", "https://" + "x" * 5_000, "https://", "see https://x", "http://x"])
BETWEEN = st.sampled_from(["", '"', "a" * 5_000, "a b " * 2_000, PNG, f"data:image/png;base64,{PNG}"])


@given(st.lists(st.tuples(BETWEEN, LINKS), max_size=8))
def test_every_link_counts_wherever_it_stands(pairs: list[tuple[str, str]]) -> None:
    body = json.dumps([{"text": text, "url": link} for text, link in pairs]).encode()
    links = sum(link.startswith("https://") for _, link in pairs)
    assert prompt_tokens_bound(body) == links * IMAGE_TOKENS + (-(-len(body) // TEXT_BYTES_PER_TOKEN) or 1)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": PNG},
        {"type": "text", "text": f"data:image/png;base64,{PNG}"},
        {"type": "text", "text": json.dumps({"data": PNG})},
        {"type": "text", "text": 'the "data":' + PNG},
        {"type": "image", "source": {"type": "base64", "data": PNG[:1000] + " some words " * 2000 + PNG[:1000]}},
        {"type": "image", "source": {"type": "base64", "data": PNG[:20000] + "," + " " * 9 + PNG[:20000]}},
        {"type": "image", "source": {"type": "base64", "data": "這是一張圖" * 9000}},
        {"type": "image_url", "image_url": {"url": "data:" + "x" * 9000}},
        {"type": "image_url", "image_url": {"url": "data:," + "some%20words" * 900}},
    ],
    ids=range(9),
)
def test_what_is_no_media_counts_as_text(part: object) -> None:
    body = json.dumps(chat(part), ensure_ascii=False).encode()
    assert prompt_tokens_bound(body) == -(-len(body) // TEXT_BYTES_PER_TOKEN)


def test_text_counts_three_bytes_a_token() -> None:
    assert of(chat({"type": "text", "text": "word " * 60_000})) == pytest.approx(100_000, rel=0.01)
    assert of(chat({"type": "text", "text": "字" * 60_000}), ascii_only=False) == pytest.approx(60_000, rel=0.01)


def test_a_small_image_is_text_of_about_its_worth() -> None:
    assert of(chat({"type": "image", "source": {"data": PNG[: MEDIA_BYTES_MIN - 1]}})) < IMAGE_TOKENS


@pytest.mark.parametrize(
    "body", [b"", b"{", b'"', b'"data":"' + PNG.encode(), b"A" * 10_000, b'"' * 10_000, b"\xff" * 9000]
)
def test_any_bytes_have_a_bound(body: bytes) -> None:
    assert 1 <= prompt_tokens_bound(body) <= len(body) // TEXT_BYTES_PER_TOKEN + 1


@given(st.lists(st.one_of(st.text(max_size=50), st.sampled_from(["x" * 5000, PNG, "a b " * 2000])), max_size=5))
def test_plain_strings_are_never_media(texts: list[str]) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": text} for text in texts]}).encode()
    assert prompt_tokens_bound(body) >= len(body) // TEXT_BYTES_PER_TOKEN


@given(st.binary(max_size=300), st.integers(0, 3), st.binary(max_size=300))
def test_broken_bodies_are_harmless(before: bytes, media: int, after: bytes) -> None:
    body = before + b'"data": "' + PNG.encode() * media + after
    assert 1 <= prompt_tokens_bound(body) <= len(body) // TEXT_BYTES_PER_TOKEN + 1 + IMAGE_TOKENS * (media + 40)
