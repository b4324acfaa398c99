"""What the codecs are measured with: whole streams and real requests; and what is made of the measures."""

import json

import pytest

from adapters import registry
from adapters.losses import Losses, Policy
from bench import codec_corpus as corpus
from bench import micro
from bench.scenarios import Profile
from bench.scenarios import micro as shown
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


def test_a_tiny_run_of_the_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro, "EVENTS", 10)
    monkeypatch.setattr(micro, "ROUNDS", 1)
    monkeypatch.setattr(micro, "REQUEST_BYTES", 2_000)
    found = shown.run(Profile(quick=True, rounds=2), lambda _: None)
    assert all(len(figure.samples) == 2 and min(figure.samples) > 0 for figure in found.figures)
    dearest = found.figure("a text event translated, the dearest")
    assert dearest is not None
    every = [figure.samples for figure in found.figures if figure.name.startswith("a text event translated: ")]
    assert dearest.samples == [max(of_round) for of_round in zip(*every, strict=True)]
    assert len(found.ratios(dearest)) == 2


def test_how_costs_grow_is_a_quotient() -> None:
    figures = [(figure.name, figure.samples) for figure in shown.growth({"x: 1 and 10 MB": [0.5, 5.0]})]
    assert figures == [
        ("growth, x: 1 and 10 MB", [10.0]),
        ("time, x: 1 and 10 MB, the smaller", [0.5]),
        ("time, x: 1 and 10 MB, the greater", [5.0]),
    ]
