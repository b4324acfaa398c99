"""The vocabulary of the scripted upstream: what a step is, and which scripts make sense.

A script is a JSON list of steps. Each step is an object with exactly one verb, sometimes with companions:

    {"status": 503, "headers": {"retry-after": "2"}, "body": {...}}   one whole response (body: text or JSON; without
                                                                      one the dialect's own error, "code" its word)
    {"error": 503, "message": "busy", "code": "overloaded"}           an error inside of a 200, in the dialect's form
    {"head": {"status": 200, "headers": {...}, "close_delimited": true}}   begin a response; later steps are its body
    {"answer": true | {"content": "hi", "interval_ms": 5, ...}}       the usual answer (`bench.answers.Options`); one
                                                                      with "cut_after" leaves the rest to later steps
    {"send": "raw body text"} {"event": {...}, "name": "ping"} {"comment": "text"} {"done": true}   pieces of a body
    {"informational": 103, "headers": {...}}                          a 1xx before the response
    {"sleep_ms": 20}   {"wait": "gate"}                               pause; until the test opens that gate
    {"sleep_ms": {"median": 60, "sigma": 0.8, "max": 2000}}           pause for a time drawn from a log-normal law
    {"newline": "\\r\\n"}  {"write_bytes": 1}  {"gzip": true}           how what follows is written
    {"garbage": "raw text" | true}                                    bytes outside any framing, ending the connection
    {"close_after_response": true | "silent"}                         end the connection, announced or not
    {"repeat": [steps], "times": 3}
    and, ending the script: {"stall": true}, {"close": true}, {"reset": true}, {"chunked_cut": true | n},
    {"content_length_cut": n}, {"choose": [{"share": 0.3, "steps": [...]}, ...]}: one of these by its share of the
    requests, none of them for the rest

What is drawn depends on the upstream's seed and on the request alone (`bench.reply`), so that a run can be repeated.

Body pieces before any head imply `200 text/event-stream`. A script that ends without having answered gives the usual
answer; one that has begun a response completes it. The rule: a script is checked whole before its first step runs, so
that a typo fails a test with its own words instead of a riddle on the wire. Nothing here waits or knows a socket.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec

from bench.answers import Options


class ScriptError(ValueError):
    """A script that cannot be performed; the message names the step by its position."""


class Verb(Enum):
    """What a step does. The value is the step's key in JSON."""

    STATUS = "status"
    ERROR = "error"
    HEAD = "head"
    ANSWER = "answer"
    SEND = "send"
    EVENT = "event"
    COMMENT = "comment"
    DONE = "done"
    INFORMATIONAL = "informational"
    SLEEP = "sleep_ms"
    WAIT = "wait"
    NEWLINE = "newline"
    WRITE_BYTES = "write_bytes"
    GZIP = "gzip"
    GARBAGE = "garbage"
    CLOSE_AFTER_RESPONSE = "close_after_response"
    REPEAT = "repeat"
    STALL = "stall"
    CLOSE = "close"
    RESET = "reset"
    CHUNKED_CUT = "chunked_cut"
    CONTENT_LENGTH_CUT = "content_length_cut"
    CHOOSE = "choose"


def _is_true(value: object) -> bool:
    return value is True


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _is_pause(value: object) -> bool:
    if not isinstance(value, dict):
        return _is_number(value)
    fits = {"median", "sigma"} <= value.keys() <= {"median", "sigma", "max"}
    return fits and all(map(_is_number, value.values())) and value["median"] > 0


def _is_options(value: object) -> bool:
    if value is True:
        return True
    try:
        options = msgspec.convert(value, Options)
    except msgspec.ValidationError:
        return False
    return options.coalesce >= 1


def _is_choice(value: object) -> bool:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return False
    if not all(item.keys() == {"share", "steps"} and _is_number(item["share"]) for item in value):
        return False
    shares: float = sum(item["share"] for item in value)
    return 0 < shares <= 1 + _ROUNDING


def _is_text(value: object) -> bool:
    return isinstance(value, str)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What one verb accepts: its value, its companions, and whether it ends the script."""

    accepts: Callable[[Any], bool]
    wants: str
    companions: frozenset[str] = frozenset()
    terminal: bool = False


_RULES: dict[Verb, _Rule] = {
    Verb.STATUS: _Rule(
        lambda v: _is_count(v) and 200 <= v <= 599, "a final status", frozenset({"headers", "body", "code"})
    ),
    Verb.ERROR: _Rule(
        lambda v: _is_count(v) and 400 <= v <= 599, "the status it stands for", frozenset({"message", "code"})
    ),
    Verb.HEAD: _Rule(
        lambda v: isinstance(v, dict) and v.keys() <= {"status", "headers", "close_delimited"},
        "an object of status, headers, close_delimited",
    ),
    Verb.ANSWER: _Rule(_is_options, "true or options"),
    Verb.SEND: _Rule(_is_text, "text"),
    Verb.EVENT: _Rule(lambda _: True, "any JSON", frozenset({"name"})),
    Verb.COMMENT: _Rule(_is_text, "text"),
    Verb.DONE: _Rule(_is_true, "true"),
    Verb.INFORMATIONAL: _Rule(lambda v: _is_count(v) and 100 <= v <= 199, "a 1xx status", frozenset({"headers"})),
    Verb.SLEEP: _Rule(_is_pause, "milliseconds, or the median and sigma of their law"),
    Verb.WAIT: _Rule(_is_text, "a gate's name"),
    Verb.NEWLINE: _Rule(lambda v: v in {"\n", "\r\n", "\r"}, "LF, CRLF or CR"),
    Verb.WRITE_BYTES: _Rule(_is_count, "a number of bytes"),
    Verb.GZIP: _Rule(_is_true, "true"),
    Verb.GARBAGE: _Rule(lambda v: v is True or isinstance(v, str), "true or latin-1 text"),
    Verb.CLOSE_AFTER_RESPONSE: _Rule(lambda v: v is True or v == "silent", 'true or "silent"'),
    Verb.REPEAT: _Rule(lambda v: isinstance(v, list), "a list of steps", frozenset({"times"})),
    Verb.STALL: _Rule(_is_true, "true", terminal=True),
    Verb.CLOSE: _Rule(_is_true, "true", terminal=True),
    Verb.RESET: _Rule(_is_true, "true", terminal=True),
    Verb.CHUNKED_CUT: _Rule(lambda v: v is True or _is_count(v), "true or a chunk's length", terminal=True),
    Verb.CONTENT_LENGTH_CUT: _Rule(_is_count, "the bytes to send", frozenset({"body"}), terminal=True),
    Verb.CHOOSE: _Rule(_is_choice, "a list of share and steps, with shares of at most 1 together", terminal=True),
}
_VERBS = {verb.value: verb for verb in Verb}
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Step:
    """One checked step: its verb, that verb's value, its companions, and for `repeat` the inner steps.

    The value of `choose` is a tuple of shares and parsed scripts.
    """

    verb: Verb
    value: Any
    options: dict[str, Any] = field(default_factory=dict)
    steps: tuple["Step", ...] = ()


Script = tuple[Step, ...]


def parse_script(document: object) -> Script:
    """Check a JSON list of steps and return it parsed.

    Raises ScriptError naming the first step that is not one, has a value its verb does not take, or follows a step that
    ends the script.
    """
    if not isinstance(document, list):
        raise ScriptError("a script is a list of steps")
    steps = tuple(_parse_step(step, position) for position, step in enumerate(document))
    for position, step in enumerate(steps[:-1]):
        if _RULES[step.verb].terminal:
            raise ScriptError(f"step {position + 1}: nothing can follow {step.verb.value!r}")
    return steps


def _parse_step(document: object, position: int) -> Step:
    if not isinstance(document, dict):
        raise ScriptError(f"step {position}: not an object")
    verbs = [_VERBS[key] for key in document if key in _VERBS]
    if len(verbs) != 1:
        raise ScriptError(f"step {position}: expected exactly one verb among {sorted(document)}")
    verb, value = verbs[0], document[verbs[0].value]
    rule = _RULES[verb]
    options = {key: item for key, item in document.items() if key != verb.value}
    if not options.keys() <= rule.companions:
        raise ScriptError(f"step {position}: {verb.value!r} does not take {sorted(options.keys() - rule.companions)}")
    if not rule.accepts(value):
        raise ScriptError(f"step {position}: {verb.value!r} takes {rule.wants}, not {value!r}")
    if verb is Verb.CHOOSE:
        return Step(verb, tuple((choice["share"], parse_script(choice["steps"])) for choice in value))
    if verb is not Verb.REPEAT:
        return Step(verb, value, options)
    if not _is_count(options.get("times", 1)):
        raise ScriptError(f"step {position}: 'times' takes a count")
    inner = parse_script(value)
    if any(_RULES[step.verb].terminal for step in inner):
        raise ScriptError(f"step {position}: what ends a script cannot be repeated")
    return Step(verb, value, options, inner)


def walk(script: Script, draw: Callable[[], float]) -> Iterator[Step]:
    """Give the steps in order, each `choose` replaced by what `draw`, a number from 0 to 1, chooses.

    Each `repeat` is unrolled lazily, so that a billion repetitions cost no memory.
    """
    for step in script:
        if step.verb is Verb.REPEAT:
            for _ in range(step.options.get("times", 1)):
                yield from walk(step.steps, draw)
        elif step.verb is Verb.CHOOSE:
            yield from walk(_chosen(step.value, draw()), draw)
        else:
            yield step


def _chosen(choices: tuple[tuple[float, Script], ...], at: float) -> Script:
    for share, script in choices:
        at -= share
        if at < 0:
            return script
    return ()
