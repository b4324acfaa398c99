"""What translation costs, without any I/O: microseconds per event and per request, the parts of scenario micro.

Every figure is the CPU time of this process, the best of several rounds of many events: the codecs are pure, so what
exceeds the best is the machine's. Beside them stands what msgspec takes to decode one typed chunk, as a yardstick of
the machine; ratios to it travel, microseconds do not. It reads no file and opens no connection.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from adapters import capabilities, registry
from adapters.conversation import Conversation, Role, Text, Turn
from adapters.dialects import Dialect, Request
from adapters.emitter import Emitter, Lane, OpenCall, Opening
from adapters.errors import Failure
from adapters.losses import Losses, Policy
from adapters.signatures import Signature
from adapters.target import Target
from bench import codec_corpus as corpus

EVENTS = 400
"""Of one stream."""

EVENTS_PER_READ = 40
"""As a busy gateway's reads come; a lone event costs what a read costs besides."""

OPENING_EVENTS = 5
"""The first content never waits for more of its kind."""

ROUNDS = 7
EVENT_BYTES_MAX = 1 << 28
REQUEST_BYTES = 100_000


class NullEmitter(Emitter):
    """Writes nothing: what is left is the parser's cost, and that of the sequencing both need."""

    def error(self, failure: Failure) -> bytes:
        """Return nothing."""
        return b""

    def _text_open(self, lane: Lane) -> None:
        pass

    def _text(self, lane: Lane, text: str) -> None:
        pass

    def _text_close(self, lane: Lane) -> None:
        pass

    def _refusal_open(self, lane: Lane) -> None:
        pass

    def _refusal(self, lane: Lane, text: str) -> None:
        pass

    def _refusal_close(self, lane: Lane) -> None:
        pass

    def _reasoning_open(self, lane: Lane) -> None:
        pass

    def _reasoning(self, lane: Lane, text: str) -> None:
        pass

    def _reasoning_close(self, lane: Lane, signature: Signature | None) -> None:
        pass

    def _call_open(self, lane: Lane, call: OpenCall) -> None:
        pass

    def _call_delta(self, lane: Lane, call: OpenCall, fragment: str) -> None:
        pass

    def _call_close(self, lane: Lane, call: OpenCall, *, whole: bool) -> None:
        pass

    def _end(self) -> None:
        pass


def best_us(work: Callable[[], object], count: int, rounds: int = ROUNDS) -> float:
    """Return the microseconds that one of `count` units took, in the best of `rounds`."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time_ns()
        work()
        best = min(best, time.process_time_ns() - began)
    return best / count / 1e3


def opening() -> Opening:
    """Return the opening of an answer to a greeting."""
    conversation = Conversation(model="m", turns=(Turn(Role.USER, (Text("Hi"),)),), stream=True)
    request = Request(model="m", stream=True, usage_wanted=True, choices=1, fields={}, body=b"{}")
    return Opening(request=request, conversation=conversation, seed="seed", model="m", created=1, input_tokens=1)


def reads(events: list[bytes]) -> list[bytes]:
    """Return a stream as its reads: what it opens with event by event, then `EVENTS_PER_READ` at once."""
    rest = events[OPENING_EVENTS:]
    batches = [b"".join(rest[at : at + EVENTS_PER_READ]) for at in range(0, len(rest), EVENTS_PER_READ)]
    return events[:OPENING_EVENTS] + batches


def stream_us(open_tap: Callable[[], Any], events: list[bytes]) -> float:
    """Return the microseconds per event of a stream through a tap or a parser."""
    fed = reads(events)

    def work() -> None:
        tap = open_tap()
        for read in fed:
            tap.feed(read)
        tap.end()
        assert tap.failure is None, tap.failure

    return best_us(work, len(events))


def emitter_us(open_emitter: Callable[[], Emitter]) -> float:
    """Return the microseconds per text delta that an emitter takes to write."""
    pieces = corpus.texts(EVENTS)

    def work() -> None:
        emitter = open_emitter()
        emitter.start("id", "m", 1)
        for number, piece in enumerate(pieces):
            emitter.text(piece)
            if number % EVENTS_PER_READ == 0:
                emitter.take()
        emitter.end()
        emitter.take()

    return best_us(work, EVENTS)


def yardstick_us() -> float:
    """Return what msgspec takes to decode one typed chunk of the commonest dialect."""

    class Delta(msgspec.Struct):
        content: str = ""

    class Choice(msgspec.Struct):
        index: int = 0
        delta: Delta | None = None
        finish_reason: str | None = None

    class Chunk(msgspec.Struct):
        id: str = ""
        model: str = ""
        choices: list[Choice] = []

    decoder = msgspec.json.Decoder(Chunk)
    payload = corpus.chunk_payload()
    return best_us(lambda: [decoder.decode(payload) for _ in range(10_000)], 10_000)


def streams() -> dict[str, Any]:
    """Measure taps, parsers, emitters and all pairs; microseconds per event."""
    found: dict[str, Any] = {"tap": {}, "parser": {}, "emitter": {}, "pair": {}}
    dialects = {name: dialect for name, dialect in registry.dialects().items() if name in corpus.DIALECTS}
    for name, dialect in dialects.items():
        events = corpus.events(name, EVENTS)
        asked = corpus.asked(name, dialect)
        found["tap"][name] = stream_us(
            lambda dialect=dialect, asked=asked: dialect.open_tap(  # type: ignore[misc]
                asked, strip_usage=False, event_bytes_max=EVENT_BYTES_MAX
            ),
            events,
        )
        found["parser"][name] = stream_us(lambda dialect=dialect: joined(dialect, NullEmitter(opening())), events)  # type: ignore[misc]
        found["emitter"][name] = emitter_us(lambda dialect=dialect: dialect.open_emitter(opening()))  # type: ignore[misc]
        for other, client in dialects.items():
            if other != name:
                found["pair"][f"{name} -> {other}"] = stream_us(
                    lambda dialect=dialect, client=client: joined(dialect, client.open_emitter(opening())),  # type: ignore[misc]
                    events,
                )
    return found


def joined(upstream: Dialect, emitter: Emitter) -> Any:
    """Return the parser of an upstream's dialect that drives `emitter`."""
    return upstream.open_parser(emitter, scope="p/m", event_bytes_max=EVENT_BYTES_MAX)


def requests() -> dict[str, float]:
    """Measure reading a request of 100 KB and writing it for another dialect; microseconds per request."""
    found = {}
    dialects = {name: dialect for name, dialect in registry.dialects().items() if name in corpus.DIALECTS}
    for name, dialect in dialects.items():
        body, argument = corpus.request(name, REQUEST_BYTES)
        for other, upstream in dialects.items():
            if other == name:
                continue
            target = Target(
                model=corpus.MODELS[other],
                capabilities=capabilities.of(corpus.MODELS[other]),
                scope="p/m",
                stream=True,
                usage_option=True,
            )

            def work(
                dialect: Dialect = dialect,
                upstream: Dialect = upstream,
                target: Target = target,
                body: bytes = body,
                argument: bytes = argument,
            ) -> None:
                losses = Losses(Policy.SILENT)
                request = dialect.parse_request(body, argument)
                upstream.write_request(dialect.read_conversation(request, losses), target, losses)

            work()
            found[f"{name} -> {other}"] = best_us(work, 1, rounds=15)
    return found


def growth() -> dict[str, list[float]]:
    """Measure where quadratic work would hide: seconds at one size and at ten times that, by upstream's dialect."""
    found = {}
    for name in corpus.DIALECTS:
        client = "messages" if name != "messages" else "chat"
        for what, sizes, stream in (
            ("arguments", (1, 10), corpus.tool_stream),
            ("one event", (5, 50), _giant),
        ):
            seconds = [_feed_seconds(name, client, stream(name, size << 20)) for size in sizes]
            found[f"{name}: {what} of {sizes[0]} and {sizes[1]} MB"] = seconds
    return found


def _giant(name: str, size: int) -> list[bytes]:
    stream = corpus.huge_event(name, size)
    return [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)]


def _feed_seconds(name: str, client: str, fed: list[bytes]) -> float:
    """Return the seconds of CPU that a stream through a parser and an emitter took, up to its last read."""
    parser = joined(registry.dialect(name), registry.dialect(client).open_emitter(opening()))

    def work() -> None:
        for read in fed:
            parser.feed(read)

    seconds = best_us(work, 1, rounds=1) / 1e6
    assert parser.failure is None, parser.failure
    return seconds
