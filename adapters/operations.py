"""Operations: what a parser tells an emitter about one answer, whatever the two dialects.

A parser reads an upstream's dialect and calls these as methods; an emitter writes the client's. There is no object per
delta. What the parser guarantees is the table of `ORDER` and the rest of this text; everything else is the emitter's to
bear: that deltas of several calls interleave, that reasoning comes late, that nothing at all is said.

    start(id, model, created)        once and first; "" and 0 for what the upstream did not say
    alternative(index)               what follows belongs to this alternative; 0 until it is called
    text(text)                       visible text
    refusal(text)                    text by which the model declines
    reasoning_open()                 a reasoning item begins; `reasoning` alone opens one too
    reasoning(text)                  its text, or a summary of it
    reasoning_sign(signature)        its signature; alone it makes an item without text
    reasoning_close()                it ends; any other content ends it too
    call_open(key, id, name, custom) a tool call; `id` may be ""; `key` names it in later operations; `custom`: its
                                     input is free text, not JSON
    call_arguments(key, fragment)    a piece of its arguments, verbatim
    call_close(key)                  its arguments are all there; the end of the answer closes the others
    cite(citation)                   a source of the text
    blob(media_type, content)        an image or sound, base64
    hosted(kind, payload)            what the upstream's own tool did; never a call for the client to run
    usage_report(usage)              tokens so far; the last one counts
    finish(reason, sequence, explanation)  why an alternative ended; more may follow about it, as usage or sources
    end()                            the answer is whole: once, and last

An error is not among them: the parser keeps it as its `failure`, and whoever relays the stream says when it is told.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class Reason(Enum):
    """Why an answer ended (DIALECTS: one row per reason, one column per dialect)."""

    END = "end"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    CONTEXT_FULL = "context_full"
    """The model's window is full; to most dialects the same as LENGTH."""
    TOOL = "tool"
    FILTER = "filter"
    """Somebody's policy cut it."""
    REFUSAL = "refusal"
    """The model itself declined."""
    PAUSE = "pause"
    """The upstream wants to be asked again to go on."""
    OTHER = "other"
    """A reason this gateway does not know."""


CUT_SHORT = frozenset({Reason.LENGTH, Reason.CONTEXT_FULL, Reason.FILTER, Reason.REFUSAL})
"""Reasons that stand even when calls were seen: an unfinished call is then not to be run."""


def final_reason(given: Reason | None, *, called: bool) -> Reason:
    """Return the reason a client is told: some upstreams say that they simply ended where it was to call."""
    reason = given or Reason.OTHER
    if called and reason in {Reason.END, Reason.OTHER}:
        return Reason.TOOL
    return Reason.END if reason is Reason.TOOL and not called else reason


class Citation(NamedTuple):
    """A source of the text: `start` and `end` count characters of the alternative's text, both 0 when not known."""

    url: str
    title: str = ""
    start: int = 0
    end: int = 0
    cited: str = ""
    """The source's own words."""


class Progress(Enum):
    """How far an answer has come."""

    NEW = "new"
    OPEN = "open"
    ENDED = "ended"


ORDER: Mapping[Progress, Mapping[str, Progress]] = {
    Progress.NEW: {"start": Progress.OPEN},
    Progress.OPEN: {"content": Progress.OPEN, "finish": Progress.OPEN, "end": Progress.ENDED},
    Progress.ENDED: {},
}
"""Which kinds of operations may come when; `content` is everything that is not start, finish or end."""
