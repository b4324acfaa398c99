"""The neutral request: an ordered conversation, the tools offered in it, and how the answer should be made.

Every dialect reads its requests into this and writes it out again. It keeps what must survive: the order of text,
reasoning and calls inside a turn, tool arguments as the text they came in, signatures, ids. What a dialect has no word
for is either a field here, or was handed to `adapters.losses` when the request was read; nothing disappears unsaid.

These are values without behaviour; nobody changes one after its reader has returned it. JSON that is only passed on
(schemas, metadata) stays `msgspec.Raw`.
"""

from enum import Enum

from msgspec import Raw, Struct

from adapters.operations import Citation
from adapters.signatures import Signature
from adapters.tool_calls.names import Names


class Role(Enum):
    """Who speaks in a turn. Results of calls stand in turns of their own."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Cache(Struct, frozen=True):
    """The prompt up to here may be cached; `ttl` as the client wrote it, None for the default."""

    ttl: str | None = None


class Text(Struct, frozen=True):
    """Text. In a turn of the assistant's it may have sources."""

    text: str
    cache: Cache | None = None
    citations: tuple[Citation, ...] = ()


class Refusal(Struct, frozen=True):
    """What the assistant said to decline."""

    text: str


class Reasoning(Struct, frozen=True):
    """One item of the assistant's reasoning. `hidden`: it has no readable text by nature, only its signature."""

    text: str = ""
    signature: Signature | None = None
    hidden: bool = False


class Call(Struct, frozen=True):
    """A tool call: `arguments` is JSON text exactly as written, or free text when `custom`."""

    id: str
    name: str
    arguments: str
    custom: bool = False
    namespace: str | None = None
    cache: Cache | None = None


class MediaKind(Enum):
    """What a medium is, by how dialects treat it."""

    IMAGE = "image"
    DOCUMENT = "document"
    AUDIO = "audio"
    VIDEO = "video"


class Media(Struct, frozen=True):
    """An image, a document, a sound or a video: base64 `content`, or a `url`, or a provider's own `file_id`.

    `where` is its path in the client's request, for an error's sake. A document of plain text has it in `text`.
    """

    kind: MediaKind
    where: str
    media_type: str = ""
    content: str | None = None
    url: str | None = None
    file_id: str | None = None
    text: str | None = None
    filename: str | None = None
    detail: str | None = None
    cache: Cache | None = None


class Result(Struct, frozen=True):
    """What a call returned. `custom` says that the call was a free-form one; `name` is the tool's, where known."""

    call_id: str
    parts: tuple[Text | Media, ...]
    is_error: bool = False
    name: str | None = None
    custom: bool = False
    cache: Cache | None = None


Part = Text | Refusal | Reasoning | Call | Media | Result


class Turn(Struct, frozen=True):
    """One turn; in a turn of role TOOL every part is a `Result`, and only there. `name` is the speaker's."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(Struct, frozen=True):
    """A tool the client runs. `schema` is the JSON Schema of its arguments, None when it takes none.

    A `custom` tool takes free text; `format` is its grammar, as the client wrote it.
    """

    name: str
    description: str = ""
    schema: Raw | None = None
    strict: bool | None = None
    custom: bool = False
    namespace: str | None = None
    format: Raw | None = None
    cache: Cache | None = None


class WebSearch(Struct, frozen=True):
    """The upstream's own web search is offered to the model: the one provider-run tool every dialect has a word for."""

    uses_max: int | None = None
    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    context_size: str | None = None


class ChoiceKind(Enum):
    """Whether the model must call."""

    AUTO = "auto"
    NONE = "none"
    ANY = "any"
    """It must call one."""


class ToolChoice(Struct, frozen=True):
    """What the model may call: all tools, or only those in `names` when there are any (flat names)."""

    kind: ChoiceKind = ChoiceKind.AUTO
    names: tuple[str, ...] = ()


class FormatKind(Enum):
    """What the text of the answer must be."""

    TEXT = "text"
    JSON = "json"
    SCHEMA = "schema"


class Format(Struct, frozen=True):
    """The form of the text; `schema` and `name` for SCHEMA alone."""

    kind: FormatKind
    name: str = ""
    schema: Raw | None = None
    strict: bool | None = None
    description: str = ""


class Thought(Struct, frozen=True):
    """How much the model should think, and whether the client wants to read it.

    `effort` is a word of none, minimal, low, medium, high, xhigh, max; `budget_tokens` a bound (0: do not think, -1:
    as the model likes). Both None: the client did not say. `show` None: it did not say either.
    """

    effort: str | None = None
    budget_tokens: int | None = None
    show: bool | None = None


class Sampling(Struct, frozen=True):
    """The numbers of generation; None where the client gave none."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None


class Conversation(Struct, frozen=True):
    """One request. `paths` says where in the client's own words each feature stood (see `adapters.losses`).

    `stop` are texts that end the answer; `choices` is how many alternatives are wanted. `user`, `service_tier` and
    `verbosity` are hints as the client wrote them. `names` are the tools' flat names, made once for all who need them.
    """

    model: str
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    web_search: WebSearch | None = None
    tool_choice: ToolChoice | None = None
    parallel_calls: bool | None = None
    output_tokens_max: int | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    choices: int = 1
    format: Format | None = None
    thought: Thought = Thought()
    user: str | None = None
    service_tier: str | None = None
    verbosity: str | None = None
    cache_key: str | None = None
    metadata: Raw | None = None
    stream: bool = False
    usage_wanted: bool = True
    paths: dict[str, str] = {}
    names: Names = Names(())
