"""All composed cases of all dialects."""

from tests.translation import upstream_chat, upstream_gemini, upstream_messages, upstream_responses
from tests.translation.upstreams import Case

BY_DIALECT: dict[str, list[Case]] = {
    "chat": upstream_chat.CASES,
    "responses": upstream_responses.CASES,
    "messages": upstream_messages.CASES,
    "gemini": upstream_gemini.CASES,
}
CASES: list[Case] = [case for cases in BY_DIALECT.values() for case in cases]
