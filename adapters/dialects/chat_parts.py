"""Content parts of Chat Completions messages: text, and media in the forms that the dialect and its servers have.

{"type": "text", "text"}                                        also `input_text`, `output_text`
{"type": "image_url", "image_url": {"url", "detail"}}           an address, or a `data:` one; also a plain text
{"type": "input_audio", "input_audio": {"data", "format"}}      wav or mp3
{"type": "file", "file": {"file_data", "file_id", "filename"}}  a `data:` address; aggregators take any address
{"type": "video_url", "video_url": {"url"}}                     vLLM, OpenRouter
{"type": "refusal", "refusal"}                                  in messages of the assistant's
"""

from collections.abc import Callable, Mapping

from adapters import lenient
from adapters.body_fields import refusal
from adapters.conversation import Cache, Media, MediaKind, Part, Refusal, Text
from adapters.dialects.chat_message import CacheMark, ContentPart, ImageUrl, missing
from adapters.dialects.chat_reasoning import word
from adapters.losses import Losses

AUDIO_MEDIA_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}

_BREAKPOINT = "prompt_cache_breakpoint"


def read(part: ContentPart, path: str, losses: Losses, paths: dict[str, str]) -> Part | None:
    """Return a part, None for one of an unknown type that `losses` lets go. Raises `ClientError` 400."""
    cache = _cache(part)
    if cache is not None:
        paths.setdefault("cache", f"{path}.{'cache_control' if part.cache_control else _BREAKPOINT}")
    if (
        part.type == "image_url"
        and isinstance(part.image_url, ImageUrl)
        and part.image_url.detail not in {None, "auto"}
    ):
        paths.setdefault("image_detail", f"{path}.image_url.detail")
    reader = _READERS.get(part.type)
    if reader is None:
        losses.note("unknown_part", path)
        return None
    return reader(part, path, cache)


def data_url(url: str) -> tuple[str, str] | None:
    """Return the media type and the base64 content of a `data:` address, None for any other."""
    head, separator, content = url.partition(",")
    if head[:5].lower() != "data:" or not separator or not head.lower().endswith(";base64"):
        return None
    return head[5:].partition(";")[0].lower(), content


def image(url: str, detail: str | None, where: str, cache: Cache | None = None) -> Media | None:
    """Return the image at an address, None when that is neither an address nor holds an image."""
    held = data_url(url)
    if held is not None:
        return Media(MediaKind.IMAGE, where, held[0], content=held[1], detail=detail, cache=cache)
    if not url or url[:5].lower() == "data:":
        return None
    return Media(MediaKind.IMAGE, where, url=url, detail=detail, cache=cache)


def address(value: object) -> str:
    """Return the address in an object with a `url`, or in a plain text."""
    return word(value.get("url")) if isinstance(value, dict) else word(value)


def _cache(part: ContentPart) -> Cache | None:
    mark: CacheMark | None = part.cache_control or part.prompt_cache_breakpoint
    return Cache(mark.ttl) if mark is not None else None


def _text(part: ContentPart, path: str, cache: Cache | None) -> Text:
    if part.text is None:
        raise missing(f"{path}.text")
    return Text(part.text, cache)


def _refusal(part: ContentPart, path: str, cache: Cache | None) -> Refusal:
    return Refusal(part.refusal or "")


def _image(part: ContentPart, path: str, cache: Cache | None) -> Media:
    given = part.image_url
    if given is None:
        raise missing(f"{path}.image_url")
    url, detail = (given.url, given.detail) if isinstance(given, ImageUrl) else (given, None)
    media = image(url, detail, f"{path}.image_url", cache)
    if media is None:
        message = f"Invalid '{path}.image_url.url': expected a URL, or a data URL with a base64 image."
        raise refusal(message, f"{path}.image_url.url", "invalid_value")
    return media


def _audio(part: ContentPart, path: str, cache: Cache | None) -> Media:
    if part.input_audio is None:
        raise missing(f"{path}.input_audio")
    form = part.input_audio.format or "wav"
    media_type = AUDIO_MEDIA_TYPES.get(form, f"audio/{form}")
    return Media(MediaKind.AUDIO, f"{path}.input_audio", media_type, content=part.input_audio.data, cache=cache)


def _file(part: ContentPart, path: str, cache: Cache | None) -> Media:
    file, where = part.file, f"{path}.file"
    if file is None:
        raise missing(where)
    if file.file_data is None:
        if file.file_id is None:
            raise missing(f"{where}.file_data")
        return Media(MediaKind.DOCUMENT, where, file_id=file.file_id, filename=file.filename, cache=cache)
    if file.file_data[:4].lower() == "http":
        return Media(MediaKind.DOCUMENT, where, url=file.file_data, filename=file.filename, cache=cache)
    media_type, content = data_url(file.file_data) or ("application/pdf", file.file_data)
    return Media(MediaKind.DOCUMENT, where, media_type, content=content, filename=file.filename, cache=cache)


def _video(part: ContentPart, path: str, cache: Cache | None) -> Media:
    try:
        url = address(lenient.decode(part.video_url)) if part.video_url else ""
    except lenient.NotJsonError:
        url = ""
    if not url:
        raise missing(f"{path}.video_url")
    held = data_url(url)
    if held is not None:
        return Media(MediaKind.VIDEO, f"{path}.video_url", held[0], content=held[1], cache=cache)
    return Media(MediaKind.VIDEO, f"{path}.video_url", url=url, cache=cache)


_READERS: Mapping[str, Callable[[ContentPart, str, Cache | None], Part]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "video_url": _video,
}
