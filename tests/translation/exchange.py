"""One exchange between a client and an upstream of another dialect, as the engine drives it: request and answer.

Unlike `translate`, which looks at answers alone, the request is written as well: what the upstream was asked decides
how its answer is read (emulated stop sequences, a tool that stands for the answer's form, what the client wants shown).
Cases come as the bytes or the payloads they name; what comes out has passed `conform` and the client's official SDK.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from adapters import capabilities, estimates
from adapters.losses import Losses, Policy
from adapters.opening import Opening
from adapters.parser import Parser
from adapters.target import Target
from tests.translation import conform, oracle
from tests.translation.seen import Seen
from tests.translation.translate import ASKED, EVENT_BYTES_MAX, SCOPE, Translated, dialect
from tests.translation.understood import payloads, understood
from tests.translation.upstreams import compact, written

Body = dict[str, Any]

MODELS = {"chat": "gpt-4.1", "responses": "gpt-5.5", "messages": "claude-sonnet-4-5", "gemini": "gemini-3-pro"}
"""What the upstreams of each dialect call their model, unless a case says otherwise."""


class Exchange:
    """What `client` asks, written for `upstream`; then, any number of times, an answer of the upstream's."""

    def __init__(
        self,
        client: str,
        upstream: str,
        asked: Mapping[str, Any] | bytes,
        model: str = "",
        *,
        policy: Policy = Policy.WARN,
        scope: str = SCOPE,
    ) -> None:
        """`asked` is the client's body, or the members of one; they ask for a stream."""
        self.client = client
        self.upstream = upstream
        argument = b"asked:streamGenerateContent" if client == "gemini" else b""
        streaming: Body = {} if client == "gemini" else {"stream": True}
        raw = asked if isinstance(asked, bytes) else msgspec.json.encode({**streaming, **asked})
        self.request = dialect(client).parse_request(raw, argument, b"alt=sse" if argument else b"")
        losses = Losses(policy)
        self.conversation = dialect(client).read_conversation(self.request, losses)
        name = model or MODELS[upstream]
        target = Target(name, capabilities.of(name), scope, stream=True)
        self.written = dialect(upstream).write_request(self.conversation, target, losses)
        self.body: Body = json.loads(self.written.body)
        self.dropped = losses.dropped

    def parser(self, event_bytes_max: int = EVENT_BYTES_MAX) -> Parser:
        """Return what reads the upstream's answer."""
        opening = Opening(
            request=self.request,
            conversation=self.conversation,
            seed="seed",
            model="asked",
            created=1_700_000_000,
            input_tokens=estimates.input_tokens(self.conversation),
            stops=self.written.stops,
            answer_tool=self.written.answer_tool,
        )
        emitter = dialect(self.client).open_emitter(opening)
        return dialect(self.upstream).open_parser(emitter, scope=SCOPE, event_bytes_max=event_bytes_max)

    def feed(self, chunks: Iterable[bytes], event_bytes_max: int = EVENT_BYTES_MAX) -> "Told":
        """Return what the client gets of an answer that arrives in these pieces."""
        parser = self.parser(event_bytes_max)
        sent = [parser.feed(chunk) for chunk in chunks]
        sent.append(parser.end())
        last = parser.error_event(parser.failure) if parser.failure is not None else b""
        translated = Translated(b"".join([*sent, last]), parser.failure, parser.usage)
        return Told(self.client, translated, last, content=parser.content)

    def tell(self, *said: Any) -> "Told":
        """Return what the client gets of these events."""
        return self.feed([written(self.upstream, said)])


class Told:
    """What a client was told: `events` are the payloads, `seen` what the official SDK understands.

    `last` is the in-band error that ends it, b"" for none. Before there is `content` the engine sends nothing: a
    failure is then a status of its own, or another provider is asked.
    """

    def __init__(self, client: str, translated: Translated, last: bytes, *, content: bool) -> None:
        self.client = client
        self.content = content
        self.written = translated.written
        self.failure = translated.failure
        self.usage = translated.usage
        self.last = last
        conform.check(client, self.written)
        self.events: list[Any] = payloads(client, self.written)
        self.seen: Seen = understood(client, self.written)
        assert oracle.streamed(client, [self.written]) == self.seen

    @property
    def head(self) -> bytes:
        """What was written in front of the error."""
        return self.written.removesuffix(self.last) if self.last else self.written

    def of(self, *kinds: str) -> list[Body]:
        """Return the events of these types, in order."""
        return [event for event in self.events if isinstance(event, dict) and event.get("type") in kinds]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def deltas(self) -> list[Body]:
        """The deltas of the first alternative's chunks."""
        chunks = [event for event in self.events if isinstance(event, dict) and event.get("choices")]
        return [chunk["choices"][0]["delta"] for chunk in chunks]

    @property
    def parts(self) -> list[Body]:
        """The parts of the first candidate's chunks."""
        candidates = [event["candidates"][0] for event in self.events if event.get("candidates")]
        return [part for candidate in candidates for part in candidate["content"]["parts"]]

    @property
    def output(self) -> list[Body]:
        """The terminal event's output items."""
        items: list[Body] = self.events[-1]["response"]["output"]
        return items


def exchange(client: str, upstream: str, model: str = "", **members: Any) -> Exchange:
    """Return an exchange in which the client asks for everything it can be told, but for `members`."""
    return Exchange(client, upstream, {**ASKED[client], **members}, model)


def told(upstream: str, client: str, *said: Any, **members: Any) -> Told:
    """Return what a client gets of an upstream's events."""
    return exchange(client, upstream, **members).tell(*said)


def told_bytes(upstream: str, client: str, *chunks: bytes) -> Told:
    """Return what a client gets of an upstream's bytes."""
    return exchange(client, upstream).feed(chunks)


def asked(client: str, upstream: str, body: Mapping[str, Any], model: str = "") -> Body:
    """Return what an upstream is asked."""
    return Exchange(client, upstream, body, model).body


def sse(*said: Any) -> bytes:
    """Return events without names, each in one line."""
    return b"".join(b"data: %b\n\n" % compact(each).encode() for each in said)


def relayed(name: str, chunks: Iterable[bytes], *, strip_usage: bool = False) -> Translated:
    """Return what a client gets of an upstream of its own dialect, whose bytes pass."""
    request = exchange(name, next(iter(set(MODELS) - {name}))).request
    tap = dialect(name).open_tap(request, strip_usage=strip_usage, event_bytes_max=EVENT_BYTES_MAX)
    sent = [tap.feed(chunk) for chunk in chunks]
    sent.append(tap.end())
    if tap.failure is not None:
        sent.append(tap.error_event(tap.failure))
    return Translated(b"".join(sent), tap.failure, tap.usage)
