"""Losses: what of a request cannot be carried into another dialect, and what is done about it. The one table.

A reader or a writer that meets such a thing calls `Losses.note(feature, path)` and goes on; the table says whether that
refuses the request, drops the thing and says so, or drops it in silence. Three treatments, by what the loss means:

- REFUSE: the answer would not be an answer to the request (a file nobody can read, a state nobody holds);
- WARN: a hint is lost; the answer is as good, or nearly (a seed, a cache mark);
- SILENT: nothing about the answer changes (padding of the wire format, whether a vendor keeps a copy).

A route's policy decides how strict that is: STRICT refuses what WARN would drop, SILENT (the policy) drops it without a
word; what must be refused always is. What was dropped is named in the `x-hedgerow-dropped` header, by its path in the
client's own words. `path` is what the client wrote; which dialect that is, is not known here.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from adapters.errors import ClientError, Failure, Kind

DROPPED_MAX = 64
"""More paths than this are not listed: the header would outgrow clients' limits."""

PATH_CHARACTERS_MAX = 80


class Treatment(Enum):
    """What a loss means."""

    REFUSE = "refuse"
    WARN = "warn"
    SILENT = "silent"


class Policy(Enum):
    """How strict a route is."""

    STRICT = "strict"
    WARN = "warn"
    SILENT = "silent"


class Row(NamedTuple):
    """One feature: its treatment, and what it is, in words for the README and for errors."""

    treatment: Treatment
    title: str


_REFUSE, _WARN, _SILENT = Treatment.REFUSE, Treatment.WARN, Treatment.SILENT

TABLE: Mapping[str, Row] = {
    "audio_input": Row(_REFUSE, "sound in the prompt, where the upstream's dialect has none"),
    "video_input": Row(_REFUSE, "video in the prompt, where the upstream's dialect has none"),
    "image_input": Row(_REFUSE, "an image in a form the upstream's dialect cannot hold"),
    "document_input": Row(_REFUSE, "a file in a form the upstream's dialect cannot hold"),
    "file_id": Row(_REFUSE, "a file uploaded to one provider, named to another"),
    "audio_output": Row(_REFUSE, "sound as the answer"),
    "image_output": Row(_REFUSE, "images as the answer"),
    "stored_state": Row(
        _REFUSE, "state kept by a provider (previous response, conversation, stored prompt, cache, container)"
    ),
    "item_reference": Row(_REFUSE, "a reference to an item only the provider has (one to reasoning is dropped)"),
    "background": Row(_REFUSE, "an answer made in the background"),
    "hosted_tool": Row(_REFUSE, "a tool that one provider runs (computer, files, code, shell, MCP, images)"),
    "web_search": Row(_REFUSE, "web search, where the upstream's model has none"),
    "web_search_offer": Row(_WARN, "web search offered beside tools of the client's, where the model has none"),
    "search_limits": Row(_WARN, "bounds of a web search (domains, searches, context), where the upstream's takes none"),
    "hosted_history": Row(_WARN, "what a provider's own tool did in earlier turns"),
    "choices": Row(_REFUSE, "several alternatives, where the upstream's dialect gives one"),
    "logprobs": Row(_REFUSE, "log probabilities"),
    "logit_bias": Row(_REFUSE, "biased tokens"),
    "unknown_part": Row(_REFUSE, "a content part or item of a type this gateway does not know"),
    "sampling": Row(_WARN, "temperature, top_p or top_k, where the model or its thinking allows none"),
    "top_k": Row(_WARN, "top_k, where the dialect has none"),
    "seed": Row(_WARN, "a seed"),
    "penalties": Row(_WARN, "presence and frequency penalties"),
    "stop": Row(_WARN, "stop sequences that the upstream would refuse (nothing but whitespace, too many)"),
    "verbosity": Row(_WARN, "verbosity"),
    "service_tier": Row(_WARN, "a service tier"),
    "effort": Row(_WARN, "thinking switched off, or its amount, where the model does not let it be chosen"),
    "parallel_calls": Row(_WARN, "one call at a time, where the dialect cannot ask for it"),
    "tool_choice": Row(_WARN, "a forced call, where the model's thinking allows none"),
    "grammar": Row(_WARN, "the grammar of a free-form tool (it goes into the description)"),
    "json_mode": Row(_WARN, "JSON without a schema (the model is told to in words)"),
    "strict_schema": Row(_WARN, "strictness of a schema"),
    "image_detail": Row(_WARN, "the detail of an image"),
    "cache": Row(_WARN, "prompt cache marks and keys"),
    "metadata": Row(_WARN, "metadata"),
    "speaker": Row(_WARN, "the speaker's name on a message"),
    "output_tokens_max": Row(_WARN, "more output tokens than the model can make (its own limit is sent)"),
    "context_management": Row(_WARN, "truncation and editing of the context by the provider"),
    "safety": Row(_WARN, "safety settings and moderation"),
    "client_search": Row(_WARN, "a tool search that the client runs (its tools are offered as they are)"),
    "unknown_field": Row(_WARN, "a field this gateway does not know"),
    "prefill": Row(_WARN, "continuing the assistant's last words, where the model starts anew"),
    "reasoning_reference": Row(_WARN, "a reference to earlier reasoning that only the provider has"),
    "transport": Row(_SILENT, "padding and options of the stream itself"),
    "user": Row(_SILENT, "the end user's id"),
    "storage": Row(_SILENT, "whether the provider keeps a copy"),
    "include": Row(_SILENT, "which extra members the answer should have"),
    "client_hints": Row(_SILENT, "what clients say about themselves"),
    "reasoning_history": Row(_SILENT, "earlier reasoning that another model signed, or nobody"),
    "citations": Row(_SILENT, "sources of earlier answers"),
}
"""Every feature that can be lost. README's table is checked against it."""


class Losses:
    """Collects what one request loses. `dropped` are the paths to tell the client, in order, each once."""

    __slots__ = ("_policy", "_seen", "dropped")

    def __init__(self, policy: Policy = Policy.WARN) -> None:
        self._policy = policy
        self._seen: set[str] = set()
        self.dropped: list[str] = []

    def __repr__(self) -> str:
        return f"<Losses {self._policy.value} {self.dropped}>"

    def note(self, feature: str, path: str) -> None:
        """Say that `feature`, at `path` of the client's request, cannot be carried over.

        Raises `ClientError` 400 (`unsupported_parameter`) where the table and the policy refuse that.
        """
        row = TABLE[feature]
        strict = self._policy is Policy.STRICT and row.treatment is Treatment.WARN
        if row.treatment is Treatment.REFUSE or strict:
            message = f"'{path}' cannot be carried over to the model's provider: {row.title}."
            raise ClientError(Failure(400, Kind.INVALID_REQUEST, message, code="unsupported_parameter", param=path))
        if row.treatment is Treatment.SILENT or self._policy is Policy.SILENT:
            return
        path = path[:PATH_CHARACTERS_MAX]
        if path not in self._seen and len(self.dropped) < DROPPED_MAX:
            self._seen.add(path)
            self.dropped.append(path)

    def header(self) -> bytes | None:
        """Return the value of `x-hedgerow-dropped`, None when nothing was dropped: printable ASCII."""
        if not self.dropped:
            return None
        return ",".join(map(_printable, self.dropped)).encode("ascii")


def _printable(path: str) -> str:
    return "".join(each if each.isascii() and each.isprintable() and each not in ", " else "?" for each in path)
