"""Estimates: how many tokens a request may be, where nobody has counted. Never shown without being marked as one.

Four characters make a token, the vendors' own rule of thumb for English; what is not text counts as the vendors'
documents have it on average. Good enough for a context meter and for a count that no upstream gives, not for money.
"""

from adapters.conversation import Call, Conversation, Media, Part, Reasoning, Refusal, Result, Text

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_TURN = 4
"""Roles and separators."""

MEDIA_TOKENS = 1_000
"""An image of common size; a page or two of a document."""


def tokens_of(characters: int) -> int:
    """Return about how many tokens so much text is."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def input_tokens(conversation: Conversation) -> int:
    """Return about how many tokens a request is: at least one."""
    characters = media = 0
    for turn in conversation.turns:
        for part in turn.parts:
            of_text, of_media = _size(part)
            characters += of_text
            media += of_media
    for tool in conversation.tools:
        characters += len(tool.name) + len(tool.description) + (len(bytes(tool.schema)) if tool.schema else 0)
    return max(tokens_of(characters) + media * MEDIA_TOKENS + len(conversation.turns) * TOKENS_PER_TURN, 1)


def _size(part: Part) -> tuple[int, int]:
    """Return the characters and the media of a part. Hidden reasoning costs nothing that could be guessed."""
    match part:
        case Text() | Refusal() | Reasoning():
            return len(part.text), 0
        case Call():
            return len(part.name) + len(part.arguments), 0
        case Media():
            return (len(part.text), 0) if part.text is not None else (0, 1)
        case Result():
            sizes = [_size(each) for each in part.parts]
            return sum(size for size, _ in sizes), sum(count for _, count in sizes)
