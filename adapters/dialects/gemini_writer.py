"""The Gemini writer: a neutral request as a body of generateContent.

Contents are written in `gemini_writer_contents`, tools in `gemini_writer_tools`; here are the system instruction, the
numbers of generation, thinking and the form of the answer. The same conversation gives the same bytes, member by member
in the order below, so that the vendor's implicit cache hits. What a model does not take is left out and noted.

- More stop sequences than the five allowed are looked for by the gateway.
- Penalties are refused by models that think, whatever the reference says (BerriAI/litellm#4333, cline/cline#5898).
- A form of the answer beside tools is refused below generation 3 (googleapis/python-genai#867): there, and by models
  without structured output, the form is asked for in words.
"""

from urllib.parse import quote

import msgspec

from adapters import effort, history
from adapters.capabilities import Thinking
from adapters.conversation import Conversation, FormatKind, Part, Reasoning, Result, Role, Text
from adapters.dialects.gemini_request import GENERATE, PATH_SAFE, RESOURCE, STREAM
from adapters.dialects.gemini_writer_contents import ContentsWriter, Members
from adapters.dialects.gemini_writer_tools import write_choice, write_tools, written_schema
from adapters.losses import Losses
from adapters.target import Target, Written

STOPS_MAX = 5
"""API reference, GenerationConfig.stopSequences."""

_TIERS = frozenset({"flex", "priority"})
_USUAL_TIERS = frozenset({"auto", "default", "standard", "standard_only"})
_JSON = "application/json"
_ENCODER = msgspec.json.Encoder()


def write_request(conversation: Conversation, target: Target, losses: Losses) -> Written:
    """Return the request's bytes for one upstream model. Raises `ClientError` 400 for what cannot be carried over."""
    _note_lost(conversation, losses)
    contents = ContentsWriter(conversation, target, losses)
    system, rest = history.split_system(conversation.turns)
    if any(type(part) is Reasoning for turn in rest for part in turn.parts):
        rest = [contents.without_foreign_reasoning(turn) for turn in rest]
    turns = history.alternating(history.folded(history.settled(rest)))
    if turns[-1].role is Role.ASSISTANT and not target.capabilities.prefill:
        losses.note("prefill", conversation.paths.get("prefill", "prefill"))
    thinking, asked = _thinking(conversation, target, losses)
    body: Members = {"contents": contents.write(turns)}
    texts = [part.text for turn in system for part in turn.parts if isinstance(part, Text) and part.text.strip()]
    form, in_words = _form(conversation, target, losses)
    if in_words:
        texts.append(in_words)
    if texts:
        body["systemInstruction"] = {"parts": [{"text": text} for text in texts]}
    tools = write_tools(conversation, target, losses)
    if tools:
        body["tools"] = tools
    choice = write_choice(conversation, target, losses, thinking=asked)
    if choice is not None:
        body["toolConfig"] = choice
    stops, emulated = _stops(conversation, target, losses)
    generation = {
        **_sampling(conversation, target, losses, thinking=asked),
        **_output(conversation, target, losses, thinking),
        **({"stopSequences": list(stops)} if stops else {}),
        **form,
        **({"thinkingConfig": thinking} if thinking else {}),
    }
    resolution = contents.resolution()
    if resolution is not None:
        generation["mediaResolution"] = resolution
    if generation:
        body["generationConfig"] = generation
    tier = _tier(conversation, losses)
    if tier is not None:
        body["serviceTier"] = tier
    return Written(_ENCODER.encode(body), stops=emulated)


def generation_path(path: str, *, model: str, stream: bool) -> str:
    """Return where to ask, below the provider's base URL: `path` is where it keeps its models."""
    name = quote(model.removeprefix(RESOURCE), safe=PATH_SAFE)
    return f"{path}/{name}:{STREAM}?alt=sse" if stream else f"{path}/{name}:{GENERATE}"


def _note_lost(conversation: Conversation, losses: Losses) -> None:
    """Note what this dialect has no place for."""
    paths = conversation.paths
    lost = {
        "parallel_calls": conversation.parallel_calls is False and bool(conversation.tools),
        "verbosity": conversation.verbosity is not None,
        "metadata": conversation.metadata is not None,
        "user": conversation.user is not None,
        "cache": conversation.cache_key is not None or _is_marked(conversation),
    }
    for feature, asked in lost.items():
        if asked:
            losses.note(feature, paths.get(feature, feature))


def _is_marked(conversation: Conversation) -> bool:
    parts: list[Part] = [part for turn in conversation.turns for part in turn.parts]
    results = [part for part in parts if type(part) is Result]
    parts += [part for result in results for part in result.parts]
    if any(getattr(part, "cache", None) is not None for part in parts):
        return True
    return any(tool.cache is not None for tool in conversation.tools)


def _thinking(conversation: Conversation, target: Target, losses: Losses) -> tuple[Members, bool]:
    """Return the `thinkingConfig`, and whether the model will think."""
    capabilities, thought = target.capabilities, conversation.thought
    word = effort.effort_of(thought.effort, thought.budget_tokens)
    configuration: Members = {}
    said = None
    if capabilities.thinking is Thinking.LEVEL:
        said = effort.word_for(word, capabilities)
        if said is not None and said != effort.NONE:
            configuration["thinkingLevel"] = said.upper()
    elif capabilities.thinking is Thinking.BUDGET and word is not None:
        said = word
        configuration["thinkingBudget"] = _budget(conversation, target, word)
    wants_none = word == effort.NONE
    if word is not None and ((said is None and not wants_none) or (wants_none and not capabilities.thinking_off)):
        losses.note("effort", conversation.paths.get("effort", "effort"))
    thinks = effort.thinks(word, capabilities)
    if thought.show and thinks and capabilities.thinking is not Thinking.NONE:
        configuration["includeThoughts"] = True
    return configuration, thinks


def _budget(conversation: Conversation, target: Target, word: str) -> int:
    asked, limit = conversation.thought.budget_tokens, _limit(conversation, target)
    if asked is None:
        return effort.budget_for(word, target.capabilities, limit)
    return effort.AS_THE_MODEL_LIKES if asked < 0 else effort.fitted(asked, target.capabilities, limit)


def _limit(conversation: Conversation, target: Target) -> int:
    return conversation.output_tokens_max or target.capabilities.output_tokens_max


def _output(conversation: Conversation, target: Target, losses: Losses, thinking: Members) -> Members:
    """Return how much is to be written, and how many times."""
    output: Members = {}
    asked = conversation.output_tokens_max
    if asked is not None:
        budget = thinking.get("thinkingBudget")
        at_most = effort.output_tokens_for(budget if isinstance(budget, int) else 0, target.capabilities, asked)
        if at_most < asked:
            losses.note("output_tokens_max", conversation.paths.get("output_tokens_max", "output_tokens_max"))
        output["maxOutputTokens"] = at_most
    if conversation.choices > 1:
        output["candidateCount"] = conversation.choices
    return output


def _sampling(conversation: Conversation, target: Target, losses: Losses, *, thinking: bool) -> Members:
    capabilities, sampling, paths = target.capabilities, conversation.sampling, conversation.paths
    numbers: Members = {"temperature": sampling.temperature, "topP": sampling.top_p, "topK": sampling.top_k}
    given = {name: number for name, number in numbers.items() if number is not None}
    if given and not effort.allows_sampling(capabilities, thinking=thinking):
        losses.note("sampling", paths.get("sampling", "sampling"))
        given = {}
    elif "temperature" in given and "topP" in given and not capabilities.sampling_pair:
        losses.note("sampling", paths.get("sampling", "sampling"))
        del given["topP"]
    if sampling.seed is not None:
        given["seed"] = sampling.seed
    penalties = {"presencePenalty": sampling.presence_penalty, "frequencyPenalty": sampling.frequency_penalty}
    wanted = {name: number for name, number in penalties.items() if number}
    if wanted and capabilities.thinking is not Thinking.NONE:
        losses.note("penalties", paths.get("penalties", "penalties"))
        wanted = {}
    return given | wanted


def _stops(conversation: Conversation, target: Target, losses: Losses) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the stop sequences that the upstream looks for, and those that the gateway must."""
    stops = tuple(stop for stop in dict.fromkeys(conversation.stop) if stop)
    allowed = STOPS_MAX if target.capabilities.stop else 0
    if len(stops) > allowed and conversation.choices > 1:
        losses.note("stop", conversation.paths.get("stop", "stop"))
        return stops[:allowed], ()
    return stops[:allowed], stops[allowed:]


def _form(conversation: Conversation, target: Target, losses: Losses) -> tuple[Members, str]:
    """Return the members that ask for a form of the answer, or the words that do."""
    form, capabilities = conversation.format, target.capabilities
    if form is None or form.kind is FormatKind.TEXT:
        return {}, ""
    has_tools = bool(conversation.tools) or conversation.web_search is not None
    if not capabilities.structured_output or (has_tools and capabilities.thinking is not Thinking.LEVEL):
        losses.note("json_mode", conversation.paths.get("json_mode", "json_mode"))
        words = "Answer with a JSON document and nothing else."
        if form.schema is not None:
            words += f" It must match this JSON Schema: {bytes(form.schema).decode('utf-8', 'replace')}"
        return {}, words
    members: Members = {"responseMimeType": _JSON}
    schema = written_schema(form.schema, json_schema=capabilities.json_schema) if form.schema is not None else None
    if schema is not None:
        members["responseJsonSchema" if capabilities.json_schema else "responseSchema"] = schema
    return members, ""


def _tier(conversation: Conversation, losses: Losses) -> str | None:
    tier = conversation.service_tier
    if tier in _TIERS or tier is None:
        return tier
    if tier not in _USUAL_TIERS:
        losses.note("service_tier", conversation.paths.get("service_tier", "service_tier"))
    return None
