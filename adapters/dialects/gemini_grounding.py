"""Gemini grounding: the sources of a text, between `groundingMetadata` and neutral citations.

This dialect counts a text in bytes of UTF-8 (API reference, Segment: "measured in bytes"), the neutral form counts
characters, so whoever translates must have the text. `Offsets` keeps it while sources may come, up to a bound; a text
of ASCII alone needs not be kept, for there both counts are one. Where the text is not known, neither are the offsets:
the sources are then named without a place. Text itself is never changed.

In a stream the indexes of sources count those of all chunks so far; some servers repeat them on each chunk instead.
Both are read here: sources that repeat the known ones are no new ones. Nothing here raises for what upstreams send.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Raw

from adapters import lenient
from adapters.operations import Citation

KEPT_CHARACTERS_MAX = 1 << 20
"""Of a longer text the places of its sources are not known, unless it is ASCII."""

SOURCES_MAX = 1_000
"""Of one answer; vendors send tens."""

_CONTINUATION = bytes(range(0x80, 0xC0))
_KINDS = ("web", "retrievedContext", "maps", "image")
"""What a source may be (API reference, GroundingChunk)."""


class Offsets:
    """One text, as far as positions in it must be counted in the other unit."""

    __slots__ = ("_characters", "_is_ascii", "_pieces")

    def __init__(self, *, keep: bool) -> None:
        """`keep` when sources are expected: only then the text itself is kept."""
        self._characters = 0
        self._is_ascii = True
        self._pieces: list[str] | None = [] if keep else None

    def __repr__(self) -> str:
        return f"<Offsets of {self._characters} characters>"

    def add(self, text: str) -> None:
        """Take the next piece of the text."""
        self._characters += len(text)
        if self._is_ascii and not text.isascii():
            self._is_ascii = False
        if self._pieces is not None:
            self._pieces.append(text)
            if self._characters > KEPT_CHARACTERS_MAX:
                self._pieces = None

    def characters(self, offsets: Iterable[int]) -> Mapping[int, int]:
        """Return positions in bytes as positions in characters; those that cannot be known are missing."""
        if self._is_ascii:
            return {offset: min(offset, self._characters) for offset in offsets}
        if self._pieces is None:
            return {}
        text = self._whole().encode()
        found, at, characters = {}, 0, 0
        for offset in sorted(set(offsets)):
            characters += len(text[at:offset].translate(None, _CONTINUATION))
            found[offset], at = characters, offset
        return found

    def bytes(self, offsets: Iterable[int]) -> Mapping[int, int]:
        """Return positions in characters as positions in bytes; those that cannot be known are missing."""
        if self._is_ascii:
            return {offset: min(offset, self._characters) for offset in offsets}
        if self._pieces is None:
            return {}
        text = self._whole()
        found, at, length = {}, 0, 0
        for offset in sorted(set(offsets)):
            length += len(text[at:offset].encode())
            found[offset], at = length, offset
        return found

    def slice(self, start: int, end: int) -> str:
        """Return the characters between two positions, "" when the text is not kept."""
        return self._whole()[start:end]

    def _whole(self) -> str:
        if self._pieces is None:
            return ""
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]


class Grounding:
    """What an alternative's metadata say so far, over all of its chunks."""

    __slots__ = ("_attributed", "_sources", "queries")

    def __init__(self) -> None:
        self.queries: dict[str, None] = {}
        """What was searched for, each once, in order."""
        self._sources: list[Citation] = []
        self._attributed: dict[Citation, None] = {}
        """Sources with a place, which counts bytes."""

    def add(self, metadata: Raw) -> None:
        """Take a `groundingMetadata`."""
        value = _mapping(metadata)
        for query in _list(value.get("webSearchQueries")):
            if isinstance(query, str) and query and len(self.queries) < SOURCES_MAX:
                self.queries[lenient.text(query)] = None
        named = [_source(each) for each in _list(value.get("groundingChunks"))][:SOURCES_MAX]
        if named[: len(self._sources)] == self._sources:
            self._sources = named
        elif named != self._sources[: len(named)] and len(self._sources) < SOURCES_MAX:
            self._sources = self._sources + named
        for support in map(_dictionary, _list(value.get("groundingSupports"))):
            self._support(_dictionary(support.get("segment")), _list(support.get("groundingChunkIndices")))

    def add_recitations(self, metadata: Raw) -> None:
        """Take a `citationMetadata`: what of the text stands word for word elsewhere."""
        value = _mapping(metadata)
        for source in map(_dictionary, _list(value.get("citations") or value.get("citationSources"))):
            url, title = _text(source.get("uri")), _text(source.get("title"))
            if (url or title) and len(self._attributed) < SOURCES_MAX:
                start, end = _position(source.get("startIndex")), _position(source.get("endIndex"))
                self._attributed[Citation(url, title, start, end)] = None

    def citations(self, offsets: Offsets) -> list[Citation]:
        """Return all sources: those of a place in the text first, in the order they came, then the others."""
        places = offsets.characters(place for each in self._attributed for place in (each.start, each.end))
        placed = [
            each._replace(start=places.get(each.start, 0), end=places.get(each.end, 0)) for each in self._attributed
        ]
        urls = {each.url for each in placed}
        return placed + [each for each in dict.fromkeys(self._sources) if each.url and each.url not in urls]

    def _support(self, segment: Mapping[str, object], indexes: Sequence[object]) -> None:
        start, end = _position(segment.get("startIndex")), _position(segment.get("endIndex"))
        for index in indexes:
            if isinstance(index, int) and 0 <= index < len(self._sources) and len(self._attributed) < SOURCES_MAX:
                source = self._sources[index]
                if source.url or source.title:
                    self._attributed[source._replace(start=start, end=end)] = None


def metadata_of(citations: Iterable[Citation], queries: Iterable[str], offsets: Offsets) -> dict[str, object] | None:
    """Return the `groundingMetadata` that names these sources and queries, None for none."""
    cited, asked = list(dict.fromkeys(citations)), list(dict.fromkeys(queries))
    if not cited and not asked:
        return None
    document: dict[str, object] = {"webSearchQueries": asked} if asked else {}
    if not cited:
        return document
    sources = {(each.url, each.title): None for each in cited}
    index_of = {source: index for index, source in enumerate(sources)}
    document["groundingChunks"] = [{"web": {"uri": url, "title": title or url}} for url, title in sources]
    places = offsets.bytes(place for each in cited for place in (each.start, each.end))
    supports: dict[tuple[int, int], list[int]] = {}
    for each in cited:
        if each.end > each.start and each.end in places:
            supports.setdefault((each.start, each.end), []).append(index_of[each.url, each.title])
    if supports:
        document["groundingSupports"] = [
            {"segment": _segment(start, end, places, offsets), "groundingChunkIndices": indexes}
            for (start, end), indexes in supports.items()
        ]
    return document


def _segment(start: int, end: int, places: Mapping[int, int], offsets: Offsets) -> dict[str, object]:
    segment: dict[str, object] = {"startIndex": places[start], "endIndex": places[end]}
    text = offsets.slice(start, end)
    if text:
        segment["text"] = text
    return segment


def _source(value: object) -> Citation:
    chunk = _dictionary(value)
    source = next((_dictionary(chunk[kind]) for kind in _KINDS if kind in chunk), {})
    return Citation(_text(source.get("uri")), _text(source.get("title")), cited=_text(source.get("text")))


def _mapping(raw: Raw) -> Mapping[str, object]:
    try:
        return _dictionary(lenient.decode(raw))
    except lenient.NotJsonError:
        return {}


def _dictionary(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _text(value: object) -> str:
    return lenient.text(value) if isinstance(value, str) else ""


def _position(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0
