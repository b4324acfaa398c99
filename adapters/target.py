"""What a writer knows of the upstream it writes a request for, and what it returns."""

from msgspec import Struct

from adapters.capabilities import Capabilities


class Target(Struct, frozen=True):
    """One upstream model. `scope` is where signatures are good (see `adapters.signatures`).

    `usage_option` says that a stream reports usage only if the request asks for it.
    """

    model: str
    capabilities: Capabilities
    scope: str
    stream: bool
    usage_option: bool = False


class Written(Struct, frozen=True):
    """A request's bytes, and what the emitter must do because the upstream cannot.

    `stops` end the text at the gateway; `answer_tool` is a tool made up for the answer's form: its arguments are the
    text.
    """

    body: bytes
    stops: tuple[str, ...] = ()
    answer_tool: str | None = None
