"""The parser: a Responses stream, or a whole response, as operations for a client of another dialect.

What an item says may come up to four times: in deltas, in the `.done` of a part, in the `.done` of its item and in the
terminal response. Relays leave out any of these and repeat others, so every part remembers what of it was passed on:
what comes later counts only as far as it goes on from that, and whatever is said only once is said. An item is known by
its `output_index`, since there are relays that change every id on every event; a call's own id is its `call_id`.

Reasoning is the item's summary or its raw text, whichever speaks first; its encrypted form counts from the finished
item alone, where it is complete. Of the upstream's own tools a web search is told and an image passed on, the others
say nothing that a client of another dialect could use. The stream is over at `response.completed` or
`response.incomplete`; what an `error` says is kept for the `response.failed` that nearly always follows and may hold
usage.
"""

import msgspec
from msgspec import Struct

from adapters import lenient
from adapters.dialects.responses_document import Members, failure_of, read_answer, read_members, text
from adapters.dialects.responses_errors import read_error, read_error_event
from adapters.dialects.responses_items import (
    ARGUMENTS_DELTA,
    CALLS,
    IMAGE_TYPES,
    INCOMPLETE,
    PART_CHANNELS,
    SPOKEN,
    TEXT_DELTA,
    Channel,
    Item,
    citation_of,
    decoded,
    members_of,
    place,
    word,
)
from adapters.dialects.responses_tap import Tap
from adapters.dialects.responses_usage import read_usage
from adapters.emitter import Emitter
from adapters.errors import Failure
from adapters.event_tap import Stage
from adapters.operations import Reason
from adapters.parser import END_MARK
from adapters.parser import Parser as NeutralParser
from adapters.raw import NOTHING, says
from adapters.signatures import Signature
from adapters.upstream_errors import not_this_dialect

__all__ = ["Parser", "open_parser"]

_ERROR = Stage.ERROR
_TEXT, _ARGUMENTS = Channel.TEXT, Channel.ARGUMENTS
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""

_DATA = b"\ndata: "
_LF, _CR = b"\n\r"
"""As numbers: bytes are searched for these in a quarter of the time."""


class _Delta(Struct, gc=False, tag_field="type"):
    """The members of a delta that count; one that says more is none."""

    delta: str
    output_index: int = 0
    content_index: int = 0
    error: None = None


class _TextDelta(_Delta, tag=TEXT_DELTA):
    pass


class _ArgumentsDelta(_Delta, tag=ARGUMENTS_DELTA):
    pass


_read_delta = msgspec.json.Decoder(_TextDelta | _ArgumentsDelta).decode
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_PLAIN = frozenset(
    b"event: %b%b" % (kind.encode(), end) for kind in (TEXT_DELTA, ARGUMENTS_DELTA) for end in (b"", b"\r")
)
"""How nearly all events of a stream begin."""


def open_parser(emitter: Emitter, *, scope: str, event_bytes_max: int) -> "Parser":
    """Return the parser of one answer, which `emitter` writes for its client."""
    return Parser(emitter, scope=scope, event_bytes_max=event_bytes_max)


class Parser(NeutralParser):
    """One stream, or one document. Never raises."""

    __slots__ = ("_items", "_numbered", "_refused", "_reported", "_said")

    transitions = Tap.transitions

    def __init__(self, emitter: Emitter, *, scope: str, event_bytes_max: int) -> None:
        super().__init__(emitter, scope=scope, event_bytes_max=event_bytes_max)
        self._items: dict[int, Item] = {}
        self._numbered = 0
        """How many items there were; the next one's key."""
        self._refused = False
        self._reported: Failure | None = None
        """What an `error` event said."""
        self._said = 0
        """Characters of visible text so far: where sources count from."""

    # -- events --------------------------------------------------------------------------------------------------------

    def _plain(self, event: bytes) -> bool:
        name, _, payload = event.partition(_DATA)
        return name in _PLAIN and _LF not in payload and _CR not in payload and self._is_plain(payload)

    def _payload(self, payload: bytes, name: bytes) -> None:
        if self.stage is _ERROR or not self._is_plain(payload):
            self._read(payload, name)

    def _is_plain(self, payload: bytes) -> bool:
        """Whether it was a delta that goes on with a part known already; then it is told."""
        try:
            event = _read_delta(payload)
        except _REFUSALS:
            return False
        item = self._items.get(event.output_index)
        if item is None:
            return False
        is_text = type(event) is _TextDelta
        part = item.parts.get((_TEXT if is_text else _ARGUMENTS, event.content_index))
        if part is None or part.joiner is not None:
            return False
        delta = event.delta
        if is_text:
            part.pieces.append(delta)
            self._said += len(delta)
            self.emitter.text(delta)
        elif item.opened:
            part.pieces.append(delta)
            self.emitter.call_arguments(item.key, delta)
        else:
            return False
        return True

    def _read(self, payload: bytes, name: bytes) -> None:
        members = read_members(payload)
        if members is not None:
            self._event(word(members, "type") or name.decode("utf-8", "replace"), members, payload)
        elif self._reported is not None:
            self._fail(self._reported)
        elif payload.strip() != END_MARK and self.stage is Stage.OPENING and payload.strip():
            self._fail(not_this_dialect(payload, "an event"))

    def _event(self, kind: str, members: Members, payload: bytes) -> None:
        response = read_members(members.get("response", NOTHING)) or {}
        error = members.get("error", NOTHING)
        if kind == "response.failed" or (kind == "response.completed" and failure_of(response) is not None):
            self._report_usage(response)
            self._fail(self._reported or read_error(response.get("error", NOTHING)))
        elif self._reported is not None:
            self._fail(self._reported)
        elif kind == "error" or says(error):
            self._reported = read_error(error) if says(error) else read_error_event(payload)
            self._become(_ERROR)
        elif response and kind in {"response.completed", "response.incomplete"}:
            self._whole(response, incomplete=kind == "response.incomplete")
            if self.emitter.failure is None:
                self._complete()
        elif response:
            self._begin_answer(word(response, "id"), word(response, "model"), _made(response))
        elif kind in SPOKEN:
            self._spoken(kind, members)
        elif "item" in members:
            item = read_members(members["item"])
            if item is not None:
                self._item(place(members, "output_index"), item, whole=kind.endswith(".done"))
        elif "part" in members and kind.endswith(".done"):
            self._part(members)
        elif "annotation" in members:
            self._annotation(members)

    def _spoken(self, kind: str, members: Members) -> None:
        channel, member = SPOKEN[kind]
        index = place(members, "output_index")
        at = place(members, "summary_index" if channel is Channel.SUMMARY else "content_index")
        item = self._at(index, channel.kind)
        said = text(members.get(member, NOTHING))
        if kind.endswith(".delta"):
            self._say(item, channel, at, said)
        else:
            self._say_rest(item, channel, at, said)

    def _part(self, members: Members) -> None:
        """Take a finished part, of which the deltas and the `.done` of the text may be missing."""
        part = read_members(members["part"]) or {}
        channel, member = PART_CHANNELS.get(word(part, "type"), (None, ""))
        if channel is not None:
            at = place(members, "summary_index" if channel is Channel.SUMMARY else "content_index")
            item = self._at(place(members, "output_index"), channel.kind)
            self._say_rest(item, channel, at, text(part.get(member, NOTHING)))

    def _annotation(self, members: Members) -> None:
        item = self._at(place(members, "output_index"), "message")
        part = item.part(Channel.TEXT, place(members, "content_index"), self._said)
        part.cited += 1
        citation = citation_of(members["annotation"], part.base)
        if citation is not None:
            self._begin_answer()
            self.emitter.cite(citation)

    # -- items ---------------------------------------------------------------------------------------------------------

    def _at(self, index: int, kind: str) -> Item:
        """Return the item that stands at an index, a new one if none does."""
        item = self._items.get(index)
        if item is None:
            item = self._new(index, kind)
        return item

    def _new(self, index: int, kind: str) -> Item:
        item = self._items[index] = Item(kind, self._numbered)
        self._numbered += 1
        self._begin_answer()
        if kind == "reasoning":
            self.emitter.reasoning_open()
        return item

    def _item(self, index: int, members: Members, *, whole: bool) -> None:
        """Take an item as it is added, or finished."""
        kind = word(members, "type")
        call_id = word(members, "call_id")
        item = self._items.get(index)
        if item is None or not item.is_same(kind, call_id, begins=not whole):
            item = self._new(index, kind)
        if kind in CALLS:
            self._open_call(item, kind, call_id, members)
        if whole and not item.done:
            item.done = True
            self._finish_item(item, kind, members)

    def _open_call(self, item: Item, kind: str, call_id: str, members: Members) -> None:
        name = word(members, "name")
        if item.opened or not name:
            return
        namespace = word(members, "namespace")
        if namespace:
            name = self.emitter.opening.conversation.names.flat(name, namespace)
        item.opened, item.call_id = True, call_id
        self.emitter.call_open(item.key, call_id, name, kind == "custom_tool_call")
        channel = CALLS[kind][0]
        early = item.parts.get((channel, 0))
        if early is None:
            item.part(channel, 0, 0)
        else:
            self.emitter.call_arguments(item.key, early.said)

    def _finish_item(self, item: Item, kind: str, members: Members) -> None:
        if kind in CALLS:
            channel, member = CALLS[kind]
            self._say_rest(item, channel, 0, text(members.get(member, NOTHING)))
            if item.opened and word(members, "status") != "incomplete":
                self.emitter.call_close(item.key)
        elif kind == "message":
            self._finish_message(item, members)
        elif kind == "reasoning":
            self._finish_reasoning(item, members)
        elif kind == "web_search_call":
            self._searched(members)
        elif kind == "image_generation_call":
            result, form = word(members, "result"), word(members, "output_format")
            if result:
                self.emitter.blob(IMAGE_TYPES.get(form, "image/png"), result)

    def _finish_message(self, item: Item, members: Members) -> None:
        for at, each in enumerate(members_of(members.get("content", NOTHING))):
            channel, member = PART_CHANNELS.get(word(each, "type"), (None, ""))
            if channel is None:
                continue
            self._say_rest(item, channel, at, text(each.get(member, NOTHING)))
            annotations = decoded(each.get("annotations", NOTHING))
            if isinstance(annotations, list) and annotations:
                part = item.part(channel, at, self._said)
                for annotation in annotations[part.cited :]:
                    citation = citation_of(annotation, part.base)
                    if citation is not None:
                        self.emitter.cite(citation)
                part.cited = max(part.cited, len(annotations))

    def _finish_reasoning(self, item: Item, members: Members) -> None:
        for channel, member in ((Channel.SUMMARY, "summary"), (Channel.THOUGHT, "content")):
            for at, each in enumerate(members_of(members.get(member, NOTHING))):
                self._say_rest(item, channel, at, text(each.get("text", NOTHING)))
        encrypted = word(members, "encrypted_content")
        if encrypted:
            kind = "content" if item.speaks is Channel.THOUGHT else ""
            item_id = word(members, "id")
            self.emitter.reasoning_sign(Signature("responses", self.scope, encrypted, kind, item_id))
        self.emitter.reasoning_close()

    def _searched(self, members: Members) -> None:
        action = decoded(members.get("action", NOTHING))
        if not isinstance(action, dict):
            action = {}
        queries = action.get("queries")
        query = action.get("query") or (queries[0] if isinstance(queries, list) and queries else None)
        said = (("query", query), ("url", action.get("url")))
        payload = {name: lenient.text(value) for name, value in said if isinstance(value, str) and value}
        self.emitter.hosted("web_search", dict(payload))

    # -- what is said --------------------------------------------------------------------------------------------------

    def _say(self, item: Item, channel: Channel, at: int, said: str) -> None:
        """Pass on a piece of a part."""
        first = (channel, at) not in item.parts
        part = item.part(channel, at, self._said)
        said = part.join(said)
        if not said:
            return
        part.pieces.append(said)
        self._pass_on(item, channel, said, first=first)

    def _say_rest(self, item: Item, channel: Channel, at: int, whole: str) -> None:
        """Pass on what a part says beyond what was passed on of it; if it says something else, that stands."""
        if not whole:
            return
        first = (channel, at) not in item.parts
        part = item.part(channel, at, self._said)
        rest = part.rest(whole)
        if rest:
            part.pieces.append(rest)
            self._pass_on(item, channel, rest, first=first)

    def _pass_on(self, item: Item, channel: Channel, said: str, *, first: bool) -> None:
        emitter = self.emitter
        if channel is Channel.TEXT:
            self._said += len(said)
            emitter.text(said)
        elif channel is Channel.REFUSAL:
            self._refused = True
            emitter.refusal(said)
        elif channel is Channel.ARGUMENTS or channel is Channel.INPUT:
            if item.opened:
                emitter.call_arguments(item.key, said)
        elif item.speaks is None or item.speaks is channel:
            if first and item.speaks is not None:
                emitter.reasoning("\n\n")
            item.speaks = channel
            emitter.reasoning(said)

    # -- the whole response --------------------------------------------------------------------------------------------

    def _whole(self, response: Members, *, incomplete: bool) -> None:
        """Take a finished response: what none of its events said, its usage, why it ended."""
        self._begin_answer(word(response, "id"), word(response, "model"), _made(response))
        streamed = {item.kind for item in self._items.values()}
        call_ids = {item.call_id for item in self._items.values()}
        for index, members in enumerate(members_of(response.get("output", NOTHING))):
            kind, call_id = word(members, "type"), word(members, "call_id")
            item = self._items.get(index)
            if item is not None and item.is_same(kind, call_id, begins=False):
                self._item(index, members, whole=True)
            elif call_id not in call_ids if call_id else kind not in streamed:
                # Some servers leave items out here, and the others stand elsewhere than their events said.
                self._item(-1 - index, members, whole=True)
        self._report_usage(response)
        self._end_reason(response, incomplete=incomplete)

    def _end_reason(self, response: Members, *, incomplete: bool) -> None:
        reason = Reason.REFUSAL if self._refused else Reason.END
        if incomplete or word(response, "status") == "incomplete":
            details = read_members(response.get("incomplete_details", NOTHING)) or {}
            reason = INCOMPLETE.get(word(details, "reason"), Reason.LENGTH)
        self.emitter.finish(reason)

    def _report_usage(self, response: Members) -> None:
        usage = read_usage(response.get("usage", NOTHING))
        if usage is not None:
            self.emitter.usage_report(usage)

    # -- documents and ends --------------------------------------------------------------------------------------------

    def _answer(self, body: bytes) -> Failure | None:
        response = read_members(body) or {}
        failure = read_answer(body).failure
        if failure is not None:
            self._report_usage(response)
            return failure
        self._whole(response, incomplete=False)
        return None

    def _answer_failure(self, document: bytes) -> Failure | None:
        read = read_members(document) or read_members(document.strip().removeprefix(b"[").removesuffix(b"]"))
        return failure_of(read) if read is not None else None

    def _fail(self, failure: Failure) -> None:
        super()._fail(self._reported or failure)


def _made(response: Members) -> int:
    created = decoded(response.get("created_at", NOTHING))
    return int(created) if isinstance(created, int | float) and 0 < created < 2**53 else 0
