"""Whether a peer answers as the others do, asked before anything of it is measured.

It counts when the canned upstream's text arrives, in one piece and as a stream that ends properly, and when the load
generator can read both: that looks for marks in the bytes (`bench.plan`), and one that writes its JSON otherwise would
be waited for in vain. How many events the stream has is not asked: not everybody passes on a field it does not know.
"""

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from time import perf_counter

from bench.client import Connection, chat_request
from bench.jobs import Unary
from bench.loop import Loop
from bench.peers.peer import PeerError
from bench.plan import plan_for
from bench.subjects import Subject

READY_SECONDS_MAX = 120.0
"""One of them loads some 2,000 modules before it listens, on one core that may be shared."""

_ANSWER_SECONDS_MAX = 20.0
_PAUSE_SECONDS = 0.1
_EVENTS = 3
_SAID_MAX = 2000
_SHOWN_MAX = 300


def ready(process: "subprocess.Popen[bytes]", subject: Subject, log: Path, seconds_max: float) -> None:
    """Wait until a started peer answers 200, and verify what it answers.

    Raises PeerError, with the end of what it wrote, when it ends first, or after `seconds_max`, or as `verify` does.
    """
    try:
        _wait(process, subject, seconds_max)
        verify(subject)
    except PeerError as exc:
        raise PeerError(f"{exc}\n{log.read_text(errors='replace')[-_SAID_MAX:]}".strip()) from exc


def _wait(process: "subprocess.Popen[bytes]", subject: Subject, seconds_max: float) -> None:
    deadline_s = time.monotonic() + seconds_max
    while (status := post(subject, stream=False)[0]) != 200:
        if process.poll() is not None:
            raise PeerError(f"{subject.name} ended with {process.returncode} before it was ready")
        if time.monotonic() > deadline_s:
            last = f"answered {status}" if status else "did not answer"
            raise PeerError(f"{subject.name} was not ready after {seconds_max:g} s: it {last}")
        time.sleep(_PAUSE_SECONDS)


def verify(subject: Subject) -> None:
    """Ask for the canned answer both ways; raises PeerError when it is another, or not legible to the load."""
    expected = _unary_text(plan_for(b"").head.partition(b"\r\n\r\n")[2])
    for stream, way in ((False, "in one piece"), (True, "as a stream")):
        status, body = post(subject, stream=stream)
        text = None if status != 200 else _stream_text(body) if stream else _unary_text(body)
        if not text or expected is None or not (text == expected or (stream and expected.startswith(text))):
            seen = f"with {status}: {body[:_SHOWN_MAX].decode(errors='replace')}" if status else "nothing"
            raise PeerError(f"{subject.name}, asked for the upstream's text {way}, answered {seen}")
        _legible(subject, stream=stream, way=way)


def post(subject: Subject, *, stream: bool) -> tuple[int, bytes]:
    """Ask a subject as every job asks it; status 0 when nobody answers in time."""
    headers, body = chat_request(
        key=subject.key, model=subject.model, canned={"events": _EVENTS} if stream else None, more=subject.headers
    )
    connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=_ANSWER_SECONDS_MAX)
    try:
        connection.request("POST", subject.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _unary_text(body: bytes) -> str | None:
    """Read the text of an answer in one piece; None when that is not what it is."""
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return None
    return text if isinstance(text, str) else None


def _stream_text(body: bytes) -> str | None:
    """Read the text of a stream; None when an event is none, or the last one is missing."""
    events = [line.removeprefix(b"data:").strip() for line in body.splitlines() if line.startswith(b"data:")]
    if not events or events.pop() != b"[DONE]":
        return None
    try:
        return "".join(chain.from_iterable(map(_deltas, events)))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _deltas(event: bytes) -> Iterator[str]:
    for choice in json.loads(event)["choices"]:
        yield choice["delta"].get("content") or ""


def _legible(subject: Subject, *, stream: bool, way: str) -> None:
    loop = Loop(Unary(**subject.told()), {"events": _EVENTS} if stream else None)
    done: list[Connection] = []
    try:
        loop.observer.on_done = done.append
        loop.connect().ask(perf_counter())
        loop.run_until(perf_counter() + _ANSWER_SECONDS_MAX, lambda: bool(done or loop.observer.errors))
    finally:
        loop.close()
    if not done:
        why = ", ".join(loop.observer.errors) or "it found no content, or no end"
        raise PeerError(f"{subject.name} answers {way}, but the load generator cannot read it: {why}")
