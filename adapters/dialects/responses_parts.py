"""Content parts of a request's items: text, refusals, images, files and sounds, in messages and in results.

Members are checked and refused with their path (`input[2].content[0].text`), in the vendor's words for it. A part of an
unknown type is a loss that the table decides about. Base64 is not looked into, but for a text file's, which is text to
every model.
"""

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from adapters.body_fields import refusal, wrong_type
from adapters.conversation import Cache, Media, MediaKind, Refusal, Text
from adapters.errors import ClientError
from adapters.losses import Losses
from adapters.operations import Citation
from adapters.surrogates import mended

Members = dict[str, object]

VALUE_CHARACTERS_MAX = 80
"""Of a wrong value in an error's sentence."""

_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})

_SOUNDS = {"mp3": "audio/mpeg", "wav": "audio/wav"}
_FILES = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "html": "text/html"}


class Data(NamedTuple):
    """A `data:` URL, taken apart."""

    media_type: str
    content: str


def objects(value: object, path: str) -> Iterator[tuple[str, Members]]:
    """Yield the objects of an array with their paths. Raises `ClientError` for anything else."""
    if not isinstance(value, list):
        raise wrong_type(path, "an array", value)
    for index, each in enumerate(value):
        at = f"{path}[{index}]"
        if not isinstance(each, dict):
            raise wrong_type(at, "an object", each)
        yield at, each


def text_of(members: Members, name: str, path: str) -> str | None:
    """Return a member that must be text if it is there. Raises `ClientError`."""
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong_type(f"{path}.{name}", "a string", value)
    return value


def required_text(members: Members, name: str, path: str) -> str:
    """Return a member that must be there and be text. Raises `ClientError`."""
    value = text_of(members, name, path)
    if value is None:
        raise refusal(f"Missing required parameter: '{path}.{name}'.", f"{path}.{name}", "missing_required_parameter")
    return value


def invalid_value(path: str, value: str | None, supported: Iterable[str]) -> ClientError:
    """Return the refusal of a word that is none of the supported ones."""
    words = ", ".join(f"'{word}'" for word in supported)
    message = f"Invalid value for '{path}': '{(value or '')[:VALUE_CHARACTERS_MAX]}'. Supported values are: {words}."
    return refusal(message, path, "invalid_value")


def read_content(value: object, path: str, losses: Losses) -> tuple[Text | Refusal | Media, ...]:
    """Return what a message's or a result's content is: text, or an array of parts. Raises `ClientError`."""
    if isinstance(value, str):
        return (Text(value),) if value else ()
    if value is None:
        return ()
    if not isinstance(value, list):
        raise wrong_type(path, "a string or an array", value)
    parts = (_part(members, at, losses) for at, members in objects(value, path))
    return tuple(part for part in parts if part is not None)


def _part(members: Members, path: str, losses: Losses) -> Text | Refusal | Media | None:
    kind = text_of(members, "type", path)
    if kind in _TEXTS:
        return Text(required_text(members, "text", path), cache_of(members), _citations(members.get("annotations")))
    if kind == "refusal":
        return Refusal(required_text(members, "refusal", path))
    if kind == "encrypted_content":
        return Text(required_text(members, "encrypted_content", path))
    read = _MEDIA.get(kind or "")
    if read is not None:
        return read(members, path)
    losses.note("unknown_part", path)
    return None


def cache_of(members: Members) -> Cache | None:
    """Return the cache mark of a part."""
    mark = members.get("prompt_cache_breakpoint")
    if not isinstance(mark, dict):
        return None
    ttl = mark.get("ttl")
    return Cache(ttl if isinstance(ttl, str) else None)


def _citations(value: object) -> tuple[Citation, ...]:
    if not isinstance(value, list) or not value:
        return ()
    found = (each for each in value if isinstance(each, dict) and isinstance(each.get("url"), str))
    return tuple(
        Citation(each["url"], _text(each.get("title")), _whole(each.get("start_index")), _whole(each.get("end_index")))
        for each in found
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _image(members: Members, path: str) -> Media:
    cache, detail = cache_of(members), text_of(members, "detail", path)
    file_id = text_of(members, "file_id", path)
    if file_id:
        return Media(MediaKind.IMAGE, path, file_id=file_id, detail=detail, cache=cache)
    url = required_text(members, "image_url", path)
    data = _data(url, f"{path}.image_url")
    if data is None:
        return Media(MediaKind.IMAGE, path, url=url, detail=detail, cache=cache)
    return Media(MediaKind.IMAGE, path, data.media_type or "image/png", data.content, detail=detail, cache=cache)


def _file(members: Members, path: str) -> Media:
    cache, filename = cache_of(members), text_of(members, "filename", path)
    file_id, url = text_of(members, "file_id", path), text_of(members, "file_url", path)
    if file_id:
        return Media(MediaKind.DOCUMENT, path, file_id=file_id, filename=filename, cache=cache)
    if url:
        return Media(MediaKind.DOCUMENT, path, url=url, filename=filename, cache=cache)
    content = required_text(members, "file_data", path)
    data = _data(content, f"{path}.file_data") or Data("", content)
    ending = (filename or "").rpartition(".")[2].lower()
    media_type = data.media_type or _FILES.get(ending, "application/pdf")
    kind = MediaKind.IMAGE if media_type.startswith("image/") else MediaKind.DOCUMENT
    text = _plain_text(data.content) if media_type.startswith("text/") else None
    return Media(kind, path, media_type, data.content, text=text, filename=filename, cache=cache)


def _sound(members: Members, path: str) -> Media:
    sound = members.get("input_audio")
    if not isinstance(sound, dict):
        raise wrong_type(f"{path}.input_audio", "an object", sound)
    at = f"{path}.input_audio"
    form = text_of(sound, "format", at) or "wav"
    return Media(MediaKind.AUDIO, path, _SOUNDS.get(form, f"audio/{form}"), required_text(sound, "data", at))


_MEDIA: dict[str, Callable[[Members, str], Media]] = {
    "input_image": _image,
    "input_file": _file,
    "input_audio": _sound,
}


def _data(url: str, path: str) -> Data | None:
    """Take a `data:` URL apart, None for any other text. Raises `ClientError` for one that is not base64."""
    if url[:5].lower() != "data:":
        return None
    head, comma, content = url[5:].partition(",")
    media_type, *options = head.split(";")
    if not comma or not any(option.strip().lower() == "base64" for option in options):
        raise refusal(f"Invalid '{path}': a data URL must be base64-encoded.", path, "invalid_base64")
    return Data(media_type.strip().lower(), content)


def _plain_text(content: str) -> str | None:
    """Return the text of a file, None when it is not UTF-8 in base64."""
    try:
        return mended(b64decode(content, validate=True).decode("utf-8-sig"))
    except ValueError:
        return None
