"""Bound: how many input tokens to reserve for a request body that nobody has taken apart.

Text counts three bytes a token. English and code have between three and five in the vendors' tokenizers, a CJK
character is three bytes of UTF-8 and about one token, an escaped one six. Inline media are not text: a long string
without quotes and spaces counts as what its first bytes say it is, if the member that holds it is one in which dialects
carry media. What is only linked to counts as one image.

A reservation, not a proof. Random digits have two bytes a token; a link may lead to a book; an uploaded file, history
that the upstream keeps and a prompt it has cached are not in the body at all; and who hides text in a tool call's
argument `data`, with the first bytes of an image, is believed. What an answer costs beyond its reservation is the
settlement's to deal with.
"""

import re

TEXT_BYTES_PER_TOKEN = 3

IMAGE_TOKENS = 1_600
"""The largest image in standard resolution: 1,568 tokens and some at one vendor (docs/build-with-claude/vision), 1,105
to 1,445 at another (GPT-4o and o-series, guides/images-vision), 258 to 1,120 at a third (gemini-api/docs,
media-resolution). Models that take more detail count up to three times as much.
"""

DOCUMENT_BYTES_PER_TOKEN = 16
"""Base64 of a PDF. A page is 1,500 to 3,000 tokens of text and one image (docs/build-with-claude/pdf-support), and in
most documents above 70 KB of base64.
"""

AUDIO_BYTES_PER_TOKEN = 64
"""Base64 of sound or video. 32 tokens a second (ai.google.dev, audio; others 10) at 12 kbit/s, less than codecs for
speech are used with; a second of video is 300 tokens in at least 40 KB.
"""

TEXT_BASE64_BYTES_PER_TOKEN = 4
"""Base64 of anything else, read as text of three bytes a token."""

MEDIA_BYTES_MIN = 4_096
"""A shorter string counts as text: that is about an image's worth at most."""

_AUDIO = (b"//", b"\\/\\/", b"SUQz", b"T2dn", b"ZkxhQ", b"AAAA", b"GkXf", b"Rk9STQ")
"""MP3 and AAC, ID3, Ogg, FLAC, MP4, WebM, AIFF."""

_IMAGE = (b"iVBOR", b"/9j/", b"\\/9j", b"R0lGOD", b"Qk0", b"SUkq", b"TU0A")
"""PNG, JPEG, GIF, BMP, TIFF."""

_RIFF, _WEBP = b"UklGR", b"XRUJQ"
"""RIFF holds sound or, from its ninth byte on, WEBP; the base64 of that from its twelfth character on."""

_DOCUMENT = b"JVBERi"
"""%PDF-"""

_HELD_BY_MEDIA_MEMBER = re.compile(
    rb'"(?:data|url|image_url|file_data|input_audio)"\s{0,8}:\s{0,8}"(?:data:[\w/+.;=\\-]{0,100}base64,)?$', re.ASCII
)
"""What stands in front of inline media. In a string the quotes are escaped, so text never looks like it."""

_BEFORE_BYTES_MAX = 160
_SAMPLE_BYTES = 256
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\\"
"""Both alphabets (RFC 4648), and the backslash that some encoders put before a slash."""

_POINTER = b'"https://'
"""A string that is an address: an image, a document or a file in whatever dialect, now and then only a text."""


def prompt_tokens_bound(body: bytes) -> int:
    """Return how many input tokens to reserve for a body of JSON: at least one. About 0.4 us a KB of short texts."""
    text_bytes = len(body)
    if text_bytes < MEDIA_BYTES_MIN:
        return -(-text_bytes // TEXT_BYTES_PER_TOKEN) + body.count(_POINTER) * IMAGE_TOKENS or 1
    media_tokens = pointers = 0
    position = 0
    last = text_bytes - MEDIA_BYTES_MIN
    counted = 0
    while position <= last:
        quote = body.rfind(b'"', position, position + MEDIA_BYTES_MIN)
        if quote >= 0:
            position = quote + 1
            continue
        # Up to the next quote there is no other string: what points somewhere begins in front of here, or here.
        pointers += body.count(_POINTER, counted, position + len(_POINTER) - 1)
        end = body.find(b'"', position + MEDIA_BYTES_MIN)
        end = len(body) if end < 0 else end
        begin = _media_begins(body, position, end)
        if begin >= 0:
            media_tokens += _media_tokens(body, begin, end)
            text_bytes -= end - begin
        counted = end
        position = end + 1
    pointers += body.count(_POINTER, counted)
    return -(-text_bytes // TEXT_BYTES_PER_TOKEN) + media_tokens + pointers * IMAGE_TOKENS or 1


def _media_begins(body: bytes, start: int, end: int) -> int:
    """Return where the base64 begins in the string that begins at `start`, -1 when it is not inline media."""
    if body.find(b" ", start, end) >= 0:  # so ends nearly every text
        return -1
    head = body[start : start + _BEFORE_BYTES_MAX]
    begin = start + head.find(b",") + 1 if head.startswith(b"data:") else start
    if _HELD_BY_MEDIA_MEMBER.search(body, max(begin - _BEFORE_BYTES_MAX, 0), begin) is None:
        return -1
    for offset in (begin, (begin + end) // 2, end - _SAMPLE_BYTES):
        if body[offset : min(offset + _SAMPLE_BYTES, end)].translate(None, _ALPHABET):
            return -1
    return begin


def _media_tokens(body: bytes, begin: int, end: int) -> int:
    head = body[begin : begin + 16]
    if head.startswith(_IMAGE) or (head.startswith(_RIFF) and head[11:] == _WEBP):
        return IMAGE_TOKENS
    if head.startswith(_DOCUMENT):
        return (end - begin) // DOCUMENT_BYTES_PER_TOKEN + IMAGE_TOKENS
    if head.startswith((_RIFF, *_AUDIO)):
        return (end - begin) // AUDIO_BYTES_PER_TOKEN
    return (end - begin) // TEXT_BASE64_BYTES_PER_TOKEN
