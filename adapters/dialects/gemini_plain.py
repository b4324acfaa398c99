"""Contents of a request as nearly all are written, each read by one typed decoding.

Plain are text, calls, and results that are one text, in camelCase, with signatures where this vendor's models put them.
The types here refuse all else (media, thoughts, other spellings, unknown members, roles left out, what is malformed):
that is read member by member in `gemini_reader_turns`, which knows where it is and what is lost. Both ways make the
same of what is plain. Nothing here raises, notes a loss or keeps a path.
"""

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from adapters.raw import NOTHING

_NULL = Raw(b"null")


class PlainCall(Struct, forbid_unknown_fields=True, gc=False):
    """A call."""

    name: str
    id: str | None = None
    args: Raw = NOTHING

    def arguments(self) -> str:
        """Return the arguments as they were written."""
        args = self.args
        return "{}" if args is NOTHING or args == _NULL else str(args, "utf-8")


class _Outcome(Struct, forbid_unknown_fields=True, gc=False):
    output: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


class PlainResult(Struct, forbid_unknown_fields=True, gc=False):
    """What a call returned: one of the two texts of `response` is there."""

    response: _Outcome
    name: str | None = None
    id: str | None = None

    @property
    def is_error(self) -> bool:
        """Whether the text is an error's."""
        return self.response.error is not UNSET

    def text(self) -> str | None:
        """Return the text; None unless there is exactly one."""
        output, error = self.response.output, self.response.error
        if isinstance(output, str):
            return output if error is UNSET else None
        return error if isinstance(error, str) else None


class _ModelPart(Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    text: str = ""
    function_call: PlainCall | None = None
    thought_signature: str | None = None


class _UserPart(Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    text: str | None = None
    function_response: PlainResult | None = None


class PlainModel(Struct, tag_field="role", tag="model", forbid_unknown_fields=True, gc=False):
    """A content of the model's: each part has a text or a call."""

    parts: list[_ModelPart]


class PlainUser(Struct, tag_field="role", tag="user", forbid_unknown_fields=True, gc=False):
    """A content of the user's: each part has a text or a result."""

    parts: list[_UserPart]


Plain = PlainModel | PlainUser

_decode = msgspec.json.Decoder(Plain).decode
_decode_all = msgspec.json.Decoder(list[Plain]).decode
_REFUSALS = (msgspec.DecodeError, RecursionError)


def plain_contents(contents: Raw) -> list[Plain] | None:
    """Return a list of contents, a third faster than one by one; None when one of them must be read with care."""
    try:
        plain: list[Plain] = _decode_all(contents)
    except _REFUSALS:
        return None
    return plain if all(map(_is_plain, plain)) else None


def plain_content(content: Raw) -> Plain | None:
    """Return a content; None for one that must be read with care."""
    try:
        plain: Plain = _decode(content)
    except _REFUSALS:
        return None
    return plain if _is_plain(plain) else None


def _is_plain(content: Plain) -> bool:
    if isinstance(content, PlainModel):
        for part in content.parts:
            call = part.function_call
            if (not part.text) if call is None else (part.text or not call.name):
                return False
        return True
    for said in content.parts:
        result = said.function_response
        if (said.text is None) if result is None else (said.text is not None or result.text() is None):
            return False
    return True
