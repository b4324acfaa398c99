"""The opening: what is known of an answer before its upstream has said a word."""

from msgspec import Struct

from adapters.conversation import Conversation
from adapters.dialects import Request


class Opening(Struct, frozen=True):
    """What an emitter knows before the answer: who asked what, and the ids that nothing else gives.

    `seed` makes ids where the upstream gave none; equal ones must not serve two answers. `created` is in unix seconds.
    `stops` cut the text here, because the upstream cannot; `answer_tool` is the name of a call whose arguments are the
    text of the answer (an older way to a JSON schema). `input_tokens` is an estimate.
    """

    request: Request
    conversation: Conversation
    seed: str
    model: str
    created: int
    input_tokens: int = 0
    stops: tuple[str, ...] = ()
    answer_tool: str | None = None
