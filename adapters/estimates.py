"""Estimates: how many tokens a request may be, where nobody has counted. Never shown without being marked as one.

Four characters make a token, the vendors' own rule of thumb for English; what is not text counts as the vendors'
documents have it on average. Good enough for a context meter and for a count that no upstream gives, not for money.
"""

from adapters.conversation import Call, Conversation, Media, Part, Result, Text

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_TURN = 4
"""Roles and separators."""

MEDIA_TOKENS = 1_000
"""An image of common size; a page or two of a document."""


def tokens_of(characters: int) -> int:
    """Return about how many tokens so much text is."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def input_tokens(conversation: Conversation) -> int:
    """Return about how many tokens a request is: at least one. Hidden reasoning costs nothing that could be guessed."""
    characters = media = 0
    parts: list[Part] = [part for turn in conversation.turns for part in turn.parts]
    parts += [each for part in parts if type(part) is Result for each in part.parts]
    for part in parts:
        if type(part) is Text:
            characters += len(part.text)
        elif isinstance(part, Call):
            characters += len(part.name) + len(part.arguments)
        elif isinstance(part, Media):
            characters += len(part.text or "")
            media += part.text is None
        elif not isinstance(part, Result):
            characters += len(part.text)
    for tool in conversation.tools:
        characters += len(tool.name) + len(tool.description) + (len(bytes(tool.schema)) if tool.schema else 0)
    return max(tokens_of(characters) + media * MEDIA_TOKENS + len(conversation.turns) * TOKENS_PER_TURN, 1)
