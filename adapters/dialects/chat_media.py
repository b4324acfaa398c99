"""Media in Chat Completions requests: the forms in which a message of the user's can hold them.

Images by address or as base64, sound as wav or mp3, files as base64; plain text of a document is text. What there is
no form for is noted as lost, which refuses the request: a model that has not seen a file cannot answer about it.
"""

from adapters.conversation import Media, MediaKind
from adapters.losses import Losses

DETAILS = frozenset({"auto", "low", "high", "original"})
AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
DEFAULT_FILENAME = "document.pdf"
"""A file has to have a name, which tells servers its type."""


def written(media: Media, losses: Losses, *, images: bool) -> dict[str, object] | None:
    """Return a medium as a content part; `images`: the model sees them. None when `losses` let it go."""
    if media.text is not None:
        return {"type": "text", "text": media.text}
    if media.file_id is not None:
        losses.note("file_id", media.where)
        return None
    if media.kind is MediaKind.IMAGE:
        return _image(media, losses, images=images)
    return _OTHERS[media.kind](media, losses)


def _image(media: Media, losses: Losses, *, images: bool) -> dict[str, object] | None:
    url = media.url if media.content is None else f"data:{media.media_type or 'image/png'};base64,{media.content}"
    if url is None or not images or not url.startswith(("http://", "https://", "data:")):
        losses.note("image_input", media.where)
        return None
    address = {"url": url}
    if media.detail is not None:
        if media.detail in DETAILS:
            address["detail"] = media.detail
        else:
            losses.note("image_detail", media.where)
    return {"type": "image_url", "image_url": address}


def _document(media: Media, losses: Losses) -> dict[str, object] | None:
    if media.content is None:
        losses.note("document_input", media.where)
        return None
    data = f"data:{media.media_type or 'application/pdf'};base64,{media.content}"
    return {"type": "file", "file": {"filename": media.filename or DEFAULT_FILENAME, "file_data": data}}


def _audio(media: Media, losses: Losses) -> dict[str, object] | None:
    form = AUDIO_FORMATS.get(media.media_type)
    if form is None or media.content is None:
        losses.note("audio_input", media.where)
        return None
    return {"type": "input_audio", "input_audio": {"data": media.content, "format": form}}


def _video(media: Media, losses: Losses) -> dict[str, object] | None:
    losses.note("video_input", media.where)
    return None


_OTHERS = {MediaKind.DOCUMENT: _document, MediaKind.AUDIO: _audio, MediaKind.VIDEO: _video}
