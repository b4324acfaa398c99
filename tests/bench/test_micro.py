"""The corpus that `bench.micro` measures with: whole streams and real requests, or its figures would be of nothing."""

import json

import pytest

from adapters import registry
from adapters.losses import Losses, Policy
from bench import codec_corpus as corpus
from bench import micro
from tests.adapters.recorder import Recorder

EVENTS = 20


@pytest.mark.parametrize("name", corpus.DIALECTS)
def test_streams_are_whole_and_say_the_text(name: str) -> None:
    dialect = registry.dialect(name)
    stream = b"".join(corpus.events(name, EVENTS))
    tap = dialect.open_tap(corpus.asked(name, dialect), strip_usage=False, event_bytes_max=1 << 20)
    assert tap.feed(stream) + tap.end() == stream
    assert tap.finished
    recorder = Recorder()
    parser = micro.joined(dialect, recorder)
    parser.feed(stream)
    parser.end()
    assert parser.failure is None
    assert recorder.named("text") == [("text", 0, "".join(corpus.texts(EVENTS)))]
    assert recorder.log[-1][0] == "end"


@pytest.mark.parametrize("name", corpus.DIALECTS)
def test_tool_streams_hold_one_call_of_the_size_asked_for(name: str) -> None:
    recorder = Recorder()
    parser = micro.joined(registry.dialect(name), recorder)
    for read in corpus.tool_stream(name, 50_000):
        parser.feed(read)
    parser.end()
    assert parser.failure is None
    (arguments,) = recorder.named("arguments")
    assert 50_000 <= len(json.loads(arguments[2])["text"]) < 51_000


@pytest.mark.parametrize("name", corpus.DIALECTS)
def test_giants_are_one_event(name: str) -> None:
    recorder = Recorder()
    micro.joined(registry.dialect(name), recorder).feed(corpus.huge_event(name, 100_000))
    assert recorder.named("text") == [("text", 0, "x" * 100_000)]


@pytest.mark.parametrize("name", corpus.DIALECTS)
def test_requests_have_about_the_size_asked_for_and_lose_nothing(name: str) -> None:
    dialect = registry.dialect(name)
    body, argument = corpus.request(name, 100_000)
    assert 80_000 < len(body) < 120_000
    losses = Losses(Policy.STRICT)
    conversation = dialect.read_conversation(dialect.parse_request(body, argument), losses)
    assert len(conversation.turns) > 100
    assert losses.dropped == []


def test_every_pair_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro, "EVENTS", EVENTS)
    monkeypatch.setattr(micro, "ROUNDS", 1)
    figures = micro.streams()
    assert figures["tap"].keys() == figures["parser"].keys() == figures["emitter"].keys() == set(corpus.DIALECTS)
    assert len(figures["pair"]) == 12
    assert all(value > 0 for group in figures.values() for value in group.values())
