"""The writer: a neutral conversation as a Chat Completions request, for OpenAI or any server that imitates it.

Imitators refuse members they do not know, so only what the client asked for is sent, and of that the members that
OpenAI alone has go to models that take its newer role (`developer_role`): `verbosity`, `prompt_cache_key`,
`safety_identifier`, `service_tier`, `allowed_tools`. Elsewhere such a thing is said another way or noted as lost.
`store` is never sent, nor `metadata`, which OpenAI takes only with it. Nothing here depends on when or how often a
request is written: equal conversations give equal bytes, which keeps the upstream's prompt cache.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from adapters import effort
from adapters.capabilities import Capabilities, Thinking
from adapters.conversation import (
    Call,
    ChoiceKind,
    Conversation,
    Format,
    FormatKind,
    Media,
    Result,
    Role,
    Text,
    Tool,
    Turn,
)
from adapters.dialects.chat_history import History
from adapters.dialects.chat_message import MESSAGES
from adapters.json_body import Members
from adapters.losses import Losses
from adapters.target import Target, Written
from adapters.tool_calls import custom_input
from adapters.tool_calls.names import Names

STOPS_MAX = 4
"""More are refused (API reference); the others are watched for here."""

SERVICE_TIERS = frozenset({"default", "flex", "scale", "priority", "fast"})
"""`auto` says nothing that silence does not say."""

USER_CHARACTERS_MAX = 64
SCHEMA_NAME = "answer"

ANSWER_IN_JSON = "Answer with a JSON object."
"""OpenAI refuses `json_object` where no message speaks of JSON (API reference, response_format)."""

ANSWER_BY_SCHEMA = "Answer with a JSON object that matches this JSON Schema, and nothing else:\n"
BUDGET_WORDS = {"minimal": "low", "xhigh": "high", "max": "high"}
"""For models that think by a number of tokens: servers that give them in this dialect take these three words
(ai.google.dev/gemini-api/docs/openai; OpenRouter, guide to reasoning tokens; 2026)."""

_ENCODER = msgspec.json.Encoder()
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_CACHEABLE = (Text, Call, Media, Result)
_COMPOSED = frozenset({"properties", "anyOf", "oneOf", "allOf", "$ref", "not", "if"})
_NO_PARAMETERS: dict[str, object] = {"type": "object", "properties": {}}


def generation_path(path: str, *, model: str, stream: bool) -> str:
    """Return where to ask: where the provider serves this dialect."""
    return path


def write_request(conversation: Conversation, target: Target, losses: Losses) -> Written:
    """Return the request's body, and what the emitter has to do. Raises `ClientError` 400 for what may not be lost."""
    return _Writer(conversation, target, losses).written()


class _Writer:
    def __init__(self, conversation: Conversation, target: Target, losses: Losses) -> None:
        self._asked = conversation
        self._target = target
        self._capabilities: Capabilities = target.capabilities
        self._losses = losses
        thought = conversation.thought
        self._effort = effort.effort_of(thought.effort, thought.budget_tokens)
        self._word = self._effort_word()
        self._thinks = effort.thinks(self._word or self._effort, self._capabilities)

    def _note(self, feature: str) -> None:
        self._losses.note(feature, self._asked.paths.get(feature, feature))

    def written(self) -> Written:
        body: dict[str, Any] = {"model": self._target.model}
        body[MESSAGES] = History(self._asked, self._target, self._losses).messages()
        self._limit(body)
        self._sampling(body)
        stops = self._stop(body)
        self._format(body)
        self._tools(body)
        self._thinking(body)
        self._hints(body)
        if self._target.stream:
            body["stream"] = True
            if self._target.usage_option:
                body["stream_options"] = {"include_usage": True}
        return Written(_ENCODER.encode(body), stops=stops)

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _limit(self, body: dict[str, Any]) -> None:
        wanted = self._asked.output_tokens_max
        if wanted is None:
            return
        limit = self._capabilities.limited(wanted)
        if limit < wanted:
            self._note("output_tokens_max")
        body["max_completion_tokens" if self._capabilities.max_completion_tokens else "max_tokens"] = limit

    def _sampling(self, body: dict[str, Any]) -> None:
        given = self._asked.sampling
        if given.temperature is not None or given.top_p is not None:
            if effort.allows_sampling(self._capabilities, thinking=self._thinks):
                self._temperature(body)
            else:
                self._note("sampling")
        if given.top_k is not None:
            self._note("top_k")
        for name in ("presence_penalty", "frequency_penalty", "seed"):
            value = getattr(given, name)
            if value is not None:
                body[name] = value
        if self._asked.choices > 1:
            body["n"] = self._asked.choices

    def _temperature(self, body: dict[str, Any]) -> None:
        given = self._asked.sampling
        if given.temperature is not None:
            body["temperature"] = given.temperature
        if given.top_p is not None:
            if given.temperature is not None and not self._capabilities.sampling_pair:
                self._note("sampling")
            else:
                body["top_p"] = given.top_p

    def _stop(self, body: dict[str, Any]) -> tuple[str, ...]:
        """Write the stop sequences that the upstream takes, return the others."""
        stop = self._asked.stop
        if not self._capabilities.stop:
            return stop
        if stop:
            body["stop"] = list(stop[:STOPS_MAX])
        return stop[STOPS_MAX:]

    # -- the form of the answer ----------------------------------------------------------------------------------------

    def _format(self, body: dict[str, Any]) -> None:
        wanted = self._asked.format
        if wanted is None or wanted.kind is FormatKind.TEXT:
            return
        if wanted.kind is FormatKind.SCHEMA and self._capabilities.structured_output:
            body["response_format"] = {"type": "json_schema", "json_schema": _schema_format(wanted)}
            return
        body["response_format"] = {"type": "json_object"}
        if wanted.kind is FormatKind.SCHEMA:
            if wanted.strict:
                self._note("strict_schema")
            schema = bytes(wanted.schema or Raw(b"{}")).decode("utf-8", "replace")
            _instruct(body[MESSAGES], ANSWER_BY_SCHEMA + schema)
        elif not any(_speaks_of_json(part) for turn in self._asked.turns for part in turn.parts):
            _instruct(body[MESSAGES], ANSWER_IN_JSON)

    # -- tools ---------------------------------------------------------------------------------------------------------

    def _tools(self, body: dict[str, Any]) -> None:
        asked = self._asked
        if asked.web_search is not None:
            self._search(body)
        tools = asked.tools
        choice = asked.tool_choice
        flat = asked.names.flat
        if choice is not None and choice.names and not self._is_first_party:
            tools = tuple(tool for tool in tools if flat(tool.name, tool.namespace) in choice.names)
        if not tools:
            return
        body["tools"] = [self._tool(tool, asked.names) for tool in tools]
        if choice is not None:
            self._choice(body)
        if asked.parallel_calls is False:
            body["parallel_tool_calls"] = False

    def _tool(self, tool: Tool, names: Names) -> dict[str, object]:
        if tool.cache is not None:
            self._note("cache")
        function: dict[str, object] = {"name": names.flat(tool.name, tool.namespace)}
        description = tool.description
        if tool.custom and tool.format is not None and b'"text"' not in bytes(tool.format)[:40]:
            self._note("grammar")
            grammar = bytes(tool.format).decode("utf-8", "replace")
            description += f"\n\nThe input must follow this format: {grammar}"
        if description:
            function["description"] = description
        function["parameters"] = custom_input.SCHEMA if tool.custom else _parameters(tool.schema)
        if tool.strict is not None and not tool.custom:
            function["strict"] = tool.strict
        return {"type": "function", "function": function}

    def _choice(self, body: dict[str, Any]) -> None:
        choice = self._asked.tool_choice
        assert choice is not None
        kind, names = choice.kind, choice.names
        if kind is ChoiceKind.NONE:
            body["tool_choice"] = "none"
            return
        if kind is ChoiceKind.ANY and not effort.allows_forced_choice(self._capabilities, thinking=self._thinks):
            self._note("tool_choice")
            kind = ChoiceKind.AUTO
        named = [{"type": "function", "function": {"name": name}} for name in names]
        if kind is ChoiceKind.ANY and len(named) == 1:
            body["tool_choice"] = named[0]
        elif named and self._is_first_party:
            mode = "required" if kind is ChoiceKind.ANY else "auto"
            body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
        else:
            body["tool_choice"] = "required" if kind is ChoiceKind.ANY else "auto"

    def _search(self, body: dict[str, Any]) -> None:
        """Offer the upstream's web search: in this dialect a matter of the model, not of a tool."""
        search = self._asked.web_search
        assert search is not None
        if "search" not in self._target.model:
            where = self._asked.paths.get("web_search", "web_search")
            self._losses.note("web_search_offer" if self._asked.tools else "web_search", where)
            return
        if search.uses_max is not None or search.allowed_domains or search.blocked_domains:
            self._losses.note("search_limits", self._asked.paths.get("web_search", "web_search"))
        body["web_search_options"] = {"search_context_size": search.context_size} if search.context_size else {}

    # -- thinking and hints --------------------------------------------------------------------------------------------

    def _effort_word(self) -> str | None:
        word = effort.word_for(self._effort, self._capabilities)
        if word is None and self._capabilities.thinking is Thinking.BUDGET and self._effort is not None:
            return BUDGET_WORDS.get(self._effort, self._effort)
        return word

    def _thinking(self, body: dict[str, Any]) -> None:
        word, switch = self._word, self._capabilities.thinking_switch
        if self._effort is None:
            return
        off = self._effort == effort.NONE
        if word is None:
            is_on = self._thinks if off else self._capabilities.thinking is Thinking.NONE
            if is_on:
                self._note("effort")
            elif switch and not off:
                body["thinking"] = {"type": "enabled"}
            return
        if switch and word == effort.NONE:
            body["thinking"] = {"type": "disabled"}
            return
        if switch and not self._capabilities.thinks_unasked:
            body["thinking"] = {"type": "enabled"}
        body["reasoning_effort"] = word
        if off and word != effort.NONE:
            self._note("effort")

    def _hints(self, body: dict[str, Any]) -> None:
        asked = self._asked
        hints = {"verbosity": asked.verbosity, "service_tier": asked.service_tier, "cache": asked.cache_key}
        for feature, value in hints.items():
            if value is None or value == "auto":
                continue
            name = "prompt_cache_key" if feature == "cache" else feature
            if self._is_first_party and (feature != "service_tier" or value in SERVICE_TIERS):
                body[name] = value
            else:
                self._note(feature)
        if asked.user is not None and self._is_first_party and len(asked.user) <= USER_CHARACTERS_MAX:
            body["safety_identifier"] = asked.user
        elif asked.user is not None:
            self._note("user")
        if asked.metadata is not None:
            self._note("metadata")
        if _has_cache_marks(asked.turns):
            self._note("cache")
        if asked.turns and asked.turns[-1].role is Role.ASSISTANT and not self._capabilities.prefill:
            self._note("prefill")

    @property
    def _is_first_party(self) -> bool:
        return self._capabilities.developer_role


def _has_cache_marks(turns: Iterable[Turn]) -> bool:
    for turn in turns:
        for part in turn.parts:
            if isinstance(part, _CACHEABLE) and part.cache is not None:
                return True
    return False


def _instruct(messages: list[dict[str, object]], text: str) -> None:
    """Add an instruction to the first system message, or in front of everything."""
    first = messages[0] if messages else {}
    if first.get("role") in {"system", "developer"}:
        first["content"] = f"{first['content']}\n\n{text}"
    else:
        messages.insert(0, {"role": "system", "content": text})


def _schema_format(wanted: Format) -> dict[str, object]:
    name = "".join(each if each.isascii() and (each.isalnum() or each in "_-") else "_" for each in wanted.name)[:64]
    written: dict[str, object] = {"name": name or SCHEMA_NAME}
    if wanted.description:
        written["description"] = wanted.description
    written["schema"] = wanted.schema if wanted.schema is not None else {}
    if wanted.strict is not None:
        written["strict"] = wanted.strict
    return written


def _parameters(schema: Raw | None) -> object:
    """Return a tool's parameters as written, but an object's without properties with none of them (B53)."""
    if schema is None:
        return _NO_PARAMETERS
    try:
        members: Members = _MEMBERS.decode(schema)
    except (msgspec.DecodeError, RecursionError):
        return schema
    if not _COMPOSED.isdisjoint(members) or bytes(members.get("type", Raw(b'"object"'))) != b'"object"':
        return schema
    return {"type": "object", "properties": {}, **{name: raw for name, raw in members.items() if name != "type"}}


def _speaks_of_json(part: object) -> bool:
    if isinstance(part, Result):
        return False
    return isinstance(part, Text) and "json" in part.text.lower()
