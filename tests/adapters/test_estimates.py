"""The estimate of a request's tokens: every kind of part by its own measure, what results hold included."""

import pytest
from msgspec import Raw

from adapters.conversation import (
    Call,
    Conversation,
    Media,
    MediaKind,
    Part,
    Reasoning,
    Refusal,
    Result,
    Role,
    Text,
    Tool,
    Turn,
)
from adapters.estimates import CHARACTERS_PER_TOKEN, MEDIA_TOKENS, TOKENS_PER_TURN, input_tokens, tokens_of
from adapters.signatures import Signature

WORDS = "x" * 40
IMAGE = Media(MediaKind.IMAGE, "messages[0]", "image/png", content=WORDS)
NOTES = Media(MediaKind.DOCUMENT, "messages[0]", "text/plain", text=WORDS)
SIGNED = Signature("d", "p/m", WORDS)


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        (Text(WORDS), 10),
        (Refusal(WORDS), 10),
        (Reasoning(WORDS), 10),
        (Reasoning("", SIGNED, hidden=True), 0),
        (Call("id", "read", WORDS), 11),
        (IMAGE, MEDIA_TOKENS),
        (NOTES, 10),
        (Result("id", (Text(WORDS), IMAGE, NOTES)), 20 + MEDIA_TOKENS),
        (Result("id", ()), 0),
    ],
)
def test_a_part_counts_by_what_it_is(part: Part, tokens: int) -> None:
    turns = (Turn(Role.USER, (part,)), Turn(Role.USER, (Text(WORDS), part)))
    found = input_tokens(Conversation("m", turns))
    assert found == 2 * tokens + len(WORDS) // CHARACTERS_PER_TOKEN + 2 * TOKENS_PER_TURN


def test_tools_count_with_their_schemas() -> None:
    tools = (Tool("read", WORDS, Raw(b'{"type":"object"}')), Tool("none"))
    found = input_tokens(Conversation("m", (), tools))
    assert found == tokens_of(len("read") + len(WORDS) + len('{"type":"object"}') + len("none"))


def test_nothing_is_one_token() -> None:
    assert input_tokens(Conversation("m", ())) == 1
