"""The writer: a neutral request as the body for an upstream of this dialect, by what its model can take.

The same conversation gives the same bytes: members in one order, no member that says nothing. What the model or the
dialect cannot be told is noted, never left out in silence. The order of work matters: the history first, for it decides
whether the model may think; thinking next, for it decides about sampling, the limit and forced calls; the form of the
answer last, since a model without compiled schemas is either made to call a tool for it or told in words (B55).
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from adapters import effort, history
from adapters.conversation import Conversation, Format, FormatKind, Media, Reasoning, Role, Text, Turn
from adapters.dialects.messages_cache import fit_marks
from adapters.dialects.messages_content import Content, kinds_of, with_media_at_the_user, without_foreign_reasoning
from adapters.dialects.messages_schema import compiled, is_object
from adapters.dialects.messages_thinking import Plan, plan
from adapters.dialects.messages_tools import write_choice, write_tools
from adapters.losses import Losses
from adapters.target import Target, Written

UNARY_OUTPUT_TOKENS_MAX = 32_000
"""Of an answer that is not streamed, when the client names no limit: more takes longer than connections live."""

USER_CHARACTERS_MAX = 256
"""Of `metadata.user_id` (API reference); a longer one is no id."""

ANSWER_TOOL = "answer"
"""The tool that stands for the form of an answer."""

CONTINUE = "Continue."
"""What the user says behind the assistant's last words to a model that does not go on from them."""

TIERS: Mapping[str, str] = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}

Object = dict[str, object]

_ENCODER = msgspec.json.Encoder()
_JSON_ONLY = "Answer with a single valid JSON value and nothing else: no explanation, no code fence."


def write_request(conversation: Conversation, target: Target, losses: Losses) -> Written:
    """Return the body. Raises `ClientError` for what must not be lost, as `losses` has it."""
    return _Writer(conversation, target, losses).write()


class _Writer:
    """One request on its way out."""

    __slots__ = ("_asked", "_capabilities", "_losses", "_target")

    def __init__(self, conversation: Conversation, target: Target, losses: Losses) -> None:
        self._asked = conversation
        self._target = target
        self._capabilities = target.capabilities
        self._losses = losses

    def write(self) -> Written:
        asked = self._asked
        content = Content(self._target, self._losses, asked.names, asked.paths)
        leading, turns = self._turns()
        planned = plan(asked, turns, self._capabilities, self._limit(), self._losses)
        turns = self._ended(turns, thinks=planned.thinks)
        system = content.system(leading)
        messages = content.messages(turns)
        tools = write_tools(asked, turns, self._losses)
        choice = write_choice(asked, self._capabilities, self._losses, thinking=planned.thinks, any_tools=bool(tools))
        config: Object = {"effort": planned.effort} if planned.effort is not None else {}
        answer_tool = self._form(asked.format, config, system, tools, thinks=planned.thinks)
        if answer_tool is not None:
            choice = {"type": "tool", "name": answer_tool}
        if fit_marks(tools, system, messages if content.has_marks else []):
            self._note("cache")
        stop, stops = self._stop()
        body: Object = {
            "model": self._target.model,
            "max_tokens": planned.output_tokens_max,
            "thinking": planned.thinking,
            "output_config": config,
            "system": _as_short_as_can_be(system),
            "messages": messages,
            "tools": tools,
            "tool_choice": choice,
            **self._sampling(planned),
            "stop_sequences": stop,
            "metadata": self._metadata(),
            "service_tier": self._service_tier(),
            "stream": True if self._target.stream else None,
        }
        self._note_the_rest()
        written = {name: value for name, value in body.items() if value is not None and value not in ({}, [])}
        return Written(_ENCODER.encode(written), stops=stops, answer_tool=answer_tool)

    def _note(self, feature: str) -> None:
        self._losses.note(feature, self._asked.paths.get(feature, feature))

    # -- the history ---------------------------------------------------------------------------------------------------

    def _turns(self) -> tuple[list[Turn], list[Turn]]:
        """Return the system prompt's turns and the conversation's, in the order that upstreams accept."""
        capabilities = self._capabilities
        turns = history.settled(self._asked.turns)
        kinds = kinds_of(turns)
        if Media in kinds:
            turns = with_media_at_the_user(turns, in_results=capabilities.result_media)
        if Reasoning in kinds:
            turns = without_foreign_reasoning(turns, self._target, self._losses, "messages")
        leading, rest = history.split_system(turns)
        rest = history.placed(rest) if capabilities.system_anywhere else history.folded(rest)
        return leading, history.alternating(rest)

    def _ended(self, turns: list[Turn], *, thinks: bool) -> list[Turn]:
        """Return the turns with an end that the model can answer: not all go on from the assistant's words."""
        if turns[-1].role is not Role.ASSISTANT:
            return turns
        wants_schema = self._asked.format is not None and self._asked.format.kind is FormatKind.SCHEMA
        if self._capabilities.prefill and not thinks and not wants_schema:
            return history.without_trailing_space(turns)
        self._note("prefill")
        return [*turns, Turn(Role.USER, (Text(CONTINUE),))]

    # -- the answer ----------------------------------------------------------------------------------------------------

    def _limit(self) -> int:
        """Return how long the answer may be. The limit of a model that nothing is known of is the client's to know."""
        most, wanted = self._capabilities.output_tokens_max, self._asked.output_tokens_max
        if wanted is None:
            return most if self._target.stream else min(most, UNARY_OUTPUT_TOKENS_MAX)
        limit = self._capabilities.limited(wanted)
        if limit < wanted:
            self._note("output_tokens_max")
        return max(limit, 1)

    def _form(
        self, form: Format | None, config: Object, system: list[Object], tools: list[Object], *, thinks: bool
    ) -> str | None:
        """Say which form the text must have; return the tool that stands for it, if one must."""
        if form is None or form.kind is FormatKind.TEXT:
            return None
        if form.kind is FormatKind.JSON or form.schema is None:
            self._note("json_mode")
            system.append({"type": "text", "text": _JSON_ONLY})
            return None
        if self._capabilities.structured_output:
            config["format"] = {"type": "json_schema", "schema": compiled(form.schema)}
            return None
        forced = effort.allows_forced_choice(self._capabilities, thinking=thinks)
        if forced and not tools and is_object(form.schema):
            tools.append(_answer_tool(form, form.schema))
            return ANSWER_TOOL
        self._note("strict_schema")
        schema = bytes(form.schema).decode()
        system.append({"type": "text", "text": f"{_JSON_ONLY} It must match this JSON Schema:\n{schema}"})
        return None

    def _sampling(self, planned: Plan) -> Object:
        sampling, capabilities = self._asked.sampling, self._capabilities
        given = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        written: Object = {name: value for name, value in given.items() if value is not None}
        if written and not effort.allows_sampling(capabilities, thinking=planned.thinks):
            self._note("sampling")
            return {}
        if not capabilities.sampling_pair and {"temperature", "top_p"} <= written.keys():
            self._losses.note("sampling", "top_p")
            del written["top_p"]
        if sampling.temperature is not None and sampling.temperature > 1:
            self._note("sampling")
            written["temperature"] = 1.0
        return written

    def _stop(self) -> tuple[list[str], tuple[str, ...]]:
        """Return what is sent of the stop sequences, and what is left for the gateway to look for."""
        said = tuple(stop for stop in self._asked.stop if stop.strip())
        if len(said) < len(self._asked.stop):
            self._note("stop")
        return (list(said), ()) if self._capabilities.stop else ([], said)

    # -- hints ---------------------------------------------------------------------------------------------------------

    def _metadata(self) -> Object | None:
        user = self._asked.user
        if user is None:
            return None
        if len(user) > USER_CHARACTERS_MAX:
            self._note("user")
            return None
        return {"user_id": user}

    def _service_tier(self) -> str | None:
        tier = self._asked.service_tier
        if tier is not None and tier not in TIERS:
            self._note("service_tier")
        return TIERS.get(tier) if tier is not None else None

    def _note_the_rest(self) -> None:
        """Note what the dialect has no word for."""
        asked = self._asked
        lost = {
            "choices": asked.choices > 1,
            "seed": asked.sampling.seed is not None,
            "penalties": bool(asked.sampling.presence_penalty or asked.sampling.frequency_penalty),
            "verbosity": asked.verbosity is not None,
            "cache": asked.cache_key is not None,
            "metadata": asked.metadata is not None,
        }
        for feature, is_lost in lost.items():
            if is_lost:
                self._note(feature)


def generation_path(path: str, *, model: str, stream: bool) -> str:
    """Return the path to ask: the same for every model, streamed or not."""
    return path


def _answer_tool(form: Format, schema: Raw) -> Object:
    described = form.description or "Give the answer by calling this tool: its input is the answer."
    return {"name": ANSWER_TOOL, "description": described, "input_schema": schema}


def _as_short_as_can_be(system: list[Object]) -> object:
    """Return one plain text as itself."""
    return system[0]["text"] if len(system) == 1 and "cache_control" not in system[0] else system
