"""Chat Completions messages as a request has them: their members by type, and what is wrong with the ones that fail.

A message is decoded once, strictly where the API says what a member is; what vendors have added stays undecoded, since
whatever they once sent comes back. A member of a wrong type refuses the request with its place.
"""

from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from adapters.body_fields import refusal, too_deep
from adapters.errors import ClientError
from adapters.json_body import Members
from adapters.raw import NOTHING

T = TypeVar("T")

MESSAGES = "messages"
"""The member of a request that holds the conversation."""


class ImageUrl(Struct, gc=False):
    """Where an image is: an address, or a `data:` one that holds it."""

    url: str
    detail: str | None = None


class InputAudio(Struct, gc=False):
    """A sound, base64."""

    data: str
    format: str | None = None


class File(Struct, gc=False):
    """A file: as a `data:` address, or as the provider's own id."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class CacheMark(Struct, gc=False):
    """A mark that the prompt up to here may be cached."""

    ttl: str | None = None


class ContentPart(Struct, gc=False):
    """One part of a content array. `cache_control` is what other dialects' marks are called, and aggregators'."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None
    file: File | None = None
    video_url: Raw = NOTHING
    prompt_cache_breakpoint: CacheMark | None = None
    cache_control: CacheMark | None = None


class MessageFunction(Struct, gc=False):
    """A call's function."""

    name: str
    arguments: str | None = None


class MessageCustom(Struct, gc=False):
    """A free-form call's tool."""

    name: str
    input: str | None = None


class MessageCall(Struct, gc=False):
    """A call of an earlier turn."""

    id: str | None = None
    function: MessageFunction | None = None
    custom: MessageCustom | None = None


class MessageAudio(Struct, gc=False):
    """A reference to a sound that the model made in an earlier turn."""

    id: str | None = None


class Message(Struct, gc=False):
    """One message. The members from `reasoning_content` on are vendors'."""

    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[MessageCall] | None = None
    function_call: MessageFunction | None = None
    tool_call_id: str | None = None
    audio: MessageAudio | None = None
    reasoning_content: Raw = NOTHING
    reasoning: Raw = NOTHING
    reasoning_details: Raw = NOTHING
    annotations: Raw = NOTHING
    images: Raw = NOTHING


class FunctionTool(Struct):
    """A function that the client runs."""

    name: str
    description: str | None = None
    parameters: Raw = NOTHING
    strict: bool | None = None


class CustomTool(Struct):
    """A free-form tool."""

    name: str
    description: str | None = None
    format: Raw = NOTHING


class ToolEntry(Struct):
    """One entry of `tools`."""

    type: str = "function"
    function: FunctionTool | None = None
    custom: CustomTool | None = None
    cache_control: CacheMark | None = None


def member(fields: Members, name: str, type_: type[T]) -> T | None:
    """Return a member by its type, None when it is absent or null. Raises `ClientError` 400 that names it."""
    raw = fields.get(name)
    if raw is None or bytes(memoryview(raw)[:5]) == b"null":
        return None
    try:
        return msgspec.json.decode(raw, type=type_)
    except msgspec.ValidationError as exc:
        # The decoder's sentence holds what was expected and the path below the member, as `$[0].content`.
        raise refusal(f"Invalid '{name}': {exc}.", name, "invalid_type") from exc
    except RecursionError as exc:
        raise too_deep(name) from exc


def missing(path: str) -> ClientError:
    """Return the refusal of a message or tool that lacks a member."""
    return refusal(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")


def invalid(path: str, value: str, supported: str) -> ClientError:
    """Return the refusal of a word that is none of those there are."""
    message = f"Invalid value for '{path}': '{value[:100]}'. Supported values are: {supported}."
    return refusal(message, path, "invalid_value")
