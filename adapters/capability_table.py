"""What models can take: one row per model or line of models. The columns are `adapters.capability_columns`.

A row says in what the model differs from its line, a line in what it differs from the defaults. Rows are found by name
(see `adapters.capabilities`): `*` stands for a version, the longest pattern wins, so a vendor's bare name is the row of
its models that are newer than this table. Such rows promise little: the words every model of the line accepts.

Where a vendor's page does not say, the row keeps what fails less: what is left out or folded is accepted everywhere,
and what only the upstream can know (can it see images?) is denied only where its vendor says so. Sources stand at the
rows, with the month they were read; `table` marks what comes from public model tables (models.dev, CLIProxyAPI) and not
from the vendor's own page. Limits of models that publish none are on the low side.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from adapters.capability_columns import Capabilities, Sampling, Thinking
from adapters.tool_calls import ids

_RESPONSES = ("responses",)
_LOW_TO_HIGH = ("low", "medium", "high")
_LOW_TO_XHIGH = (*_LOW_TO_HIGH, "xhigh")
_LOW_TO_MAX = (*_LOW_TO_XHIGH, "max")
_MINIMAL_TO_HIGH = ("minimal", *_LOW_TO_HIGH)

# -- Claude ------------------------------------------------------------------------------------------------------------
# Limits: platform.claude.com/docs/en/about-claude/models/overview (Nov 2026; 4.x: table). Thinking, defaults, what is
# rejected: docs/en/models/{opus,sonnet,haiku}-5-5/whats-new-*, docs/build-with-claude/thinking-troubleshooting.
# Sampling: the same pages; temperature beside top_p is a 400 since Opus 4.1 (langfuse #9882, OpenHands #11838).
# Structured output: docs/en/build-with-claude/structured-outputs (from 4.5 on). Prefill: the 4.6 migration guide.
# Role system in messages: since Opus 4.8 (whats-new-claude-4-8; the later ones: langchainjs #11922).
# Forced calls: 5.5 and Fable 5.1 refuse them; Opus 4.8, Sonnet 5, Fable 5 take them while they think
# (langchain-aws PR 1141); older ones only without.

_CLAUDE_BUDGET = Capabilities(
    thinking=Thinking.BUDGET,
    sampling=Sampling.UNLESS_THINKING,
    output_tokens_max=64_000,
    thinking_budget_min=1024,
    thinking_budget_max=64_000,
    forced_choice_with_thinking=False,
    structured_output=False,
    result_media=True,
    call_ids=ids.WORD,
)
_CLAUDE_3 = replace(_CLAUDE_BUDGET, thinking=Thinking.NONE, sampling=Sampling.ALLOWED, output_tokens_max=8192)
_CLAUDE_OPUS_4 = replace(_CLAUDE_BUDGET, output_tokens_max=32_000, thinking_budget_max=32_000)
_CLAUDE_4_5 = replace(_CLAUDE_BUDGET, sampling_pair=False, structured_output=True)
_CLAUDE_4_6 = replace(
    _CLAUDE_4_5,
    thinking=Thinking.ADAPTIVE,
    efforts=(*_LOW_TO_HIGH, "max"),
    output_tokens_max=128_000,
    thinking_budget_max=128_000,
    prefill=False,
)
_CLAUDE_4_7 = replace(
    _CLAUDE_4_6,
    efforts=_LOW_TO_MAX,
    sampling=Sampling.DEFAULT_ONLY,
    thinking_budget_min=0,
    thinking_budget_max=0,
)
_CLAUDE_4_8 = replace(_CLAUDE_4_7, system_anywhere=True, forced_choice_with_thinking=True)
_CLAUDE_5 = replace(_CLAUDE_4_8, thinks_unasked=True)
_CLAUDE_ALWAYS = replace(_CLAUDE_5, thinking_off=False, forced_choice=False, forced_choice_with_thinking=False)

_CLAUDE: Mapping[str, Capabilities] = {
    "claude": _CLAUDE_ALWAYS,
    "claude-2": replace(_CLAUDE_3, output_tokens_max=4096),
    "claude-3": replace(_CLAUDE_3, output_tokens_max=4096),
    "claude-3-5": _CLAUDE_3,
    "claude-3-7-sonnet": _CLAUDE_BUDGET,
    "claude-sonnet-4": _CLAUDE_BUDGET,
    "claude-4-sonnet": _CLAUDE_BUDGET,
    "claude-opus-4": _CLAUDE_OPUS_4,
    "claude-4-opus": _CLAUDE_OPUS_4,
    "claude-opus-4-1": replace(_CLAUDE_OPUS_4, sampling_pair=False),
    "claude-haiku-4-5": _CLAUDE_4_5,
    "claude-sonnet-4-5": _CLAUDE_4_5,
    "claude-opus-4-5": replace(_CLAUDE_4_5, efforts=_LOW_TO_HIGH),  # takes the word beside the budget
    "claude-sonnet-4-6": replace(_CLAUDE_4_6, output_tokens_max=64_000, thinking_budget_max=64_000),
    "claude-opus-4-6": _CLAUDE_4_6,
    "claude-opus-4-7": _CLAUDE_4_7,
    "claude-opus-4-8": _CLAUDE_4_8,
    "claude-mythos-preview": replace(_CLAUDE_4_7, thinks_unasked=True, thinking_off=False),
    "claude-fable-5": replace(_CLAUDE_5, thinking_off=False),
    "claude-mythos-5": replace(_CLAUDE_5, thinking_off=False),
    "claude-sonnet-5": _CLAUDE_5,
    "claude-opus-5": _CLAUDE_5,  # off only beside an effort up to high
    "claude-haiku-5-5": replace(_CLAUDE_5, forced_choice_with_thinking=False),
    "claude-sonnet-5-5": replace(_CLAUDE_ALWAYS, thinking_between_tools=True),
    "claude-opus-5-5": _CLAUDE_ALWAYS,
    "claude-fable-5-1": _CLAUDE_ALWAYS,
    "claude-fable-5-2": _CLAUDE_ALWAYS,
    "claude-mythos-5-1": _CLAUDE_ALWAYS,
    "claude-mythos-5-2": _CLAUDE_ALWAYS,
}

# -- GPT ---------------------------------------------------------------------------------------------------------------
# Efforts and what goes with them: developers.openai.com/api/docs/guides/{reasoning,deployment-checklist} (Nov 2026),
# learn.microsoft.com ReasoningEffort (5, 5.1, pro), table (5.2 to 5.6). Limits: the models' pages; o-series: table.
# Which are served in one dialect alone: the `ResponsesModel` type of the vendor's SDK 3.54 and the models' pages.
# Tools beside thinking only in Responses: since 5.4 (openai-openapi #541; 5.5: crush #2913; 5.6: litellm PR 34569).
# Temperature only at effort none: since 5.1 (vercel/ai #10932); before, never (openai-python #2104). No `stop` where
# there is thinking: the API reference.

_GPT_4 = Capabilities(output_tokens_max=4096, system_anywhere=True, structured_output=False, result_media=True)
_GPT_4O = replace(_GPT_4, output_tokens_max=16_384, structured_output=True, developer_role=True)
_GPT_THINKING = replace(
    _GPT_4O,
    thinking=Thinking.EFFORT,
    efforts=_LOW_TO_HIGH,
    sampling=Sampling.DEFAULT_ONLY,
    output_tokens_max=100_000,
    thinking_off=False,
    thinks_unasked=True,
    stop=False,
    max_completion_tokens=True,
)
_GPT_5 = replace(_GPT_THINKING, efforts=_MINIMAL_TO_HIGH, output_tokens_max=128_000)
_GPT_5_PRO = replace(_GPT_5, efforts=("medium", "high", "xhigh"), dialects=_RESPONSES)
_GPT_5_CODEX = replace(_GPT_5, efforts=_LOW_TO_HIGH, dialects=_RESPONSES)
_GPT_5_1 = replace(
    _GPT_5,
    efforts=("none", *_LOW_TO_HIGH),
    sampling=Sampling.UNLESS_THINKING,
    thinking_off=True,
    thinks_unasked=False,
)
_GPT_5_2 = replace(_GPT_5_1, efforts=("none", *_LOW_TO_XHIGH))
_GPT_5_4 = replace(_GPT_5_2, tool_dialects=_RESPONSES)
_GPT_5_5 = replace(_GPT_5_4, thinks_unasked=True)
_GPT_5_6 = replace(_GPT_5_5, efforts=("none", *_LOW_TO_MAX))
_GPT_6 = replace(_GPT_5, efforts=_LOW_TO_MAX, tool_dialects=_RESPONSES)

_GPT: Mapping[str, Capabilities] = {
    "gpt": _GPT_6,
    "gpt-3.5": replace(_GPT_4, images=False, result_media=False),
    "gpt-4": replace(_GPT_4, output_tokens_max=8192, images=False, result_media=False),
    "gpt-4-turbo": _GPT_4,
    "gpt-4o": _GPT_4O,
    "gpt-4.1": replace(_GPT_4O, output_tokens_max=32_768),
    "chatgpt-4o": _GPT_4O,
    "gpt-audio": _GPT_4O,
    "o1": _GPT_THINKING,
    "o1-pro": replace(_GPT_THINKING, dialects=_RESPONSES),
    "o3": _GPT_THINKING,
    "o3-mini": replace(_GPT_THINKING, images=False),
    "o3-pro": replace(_GPT_THINKING, dialects=_RESPONSES),
    "o3-deep-research": replace(_GPT_THINKING, dialects=_RESPONSES),
    "o4-mini": _GPT_THINKING,
    "o4-mini-deep-research": replace(_GPT_THINKING, dialects=_RESPONSES),
    "computer-use": replace(_GPT_THINKING, dialects=_RESPONSES),
    "gpt-5": _GPT_5,
    "gpt-5.": _GPT_5_6,
    "gpt-5.1": _GPT_5_1,
    "gpt-5.2": _GPT_5_2,
    "gpt-5.3": _GPT_5_2,
    "gpt-5.4": _GPT_5_4,
    "gpt-5.5": _GPT_5_5,
    "gpt-5.6": _GPT_5_6,
    "gpt-5-pro": replace(_GPT_5_PRO, efforts=("high",)),
    "gpt-*-pro": _GPT_5_PRO,
    "gpt-*-codex": replace(_GPT_5_CODEX, efforts=_LOW_TO_XHIGH),
    "gpt-5-codex": _GPT_5_CODEX,
    "gpt-5.1-codex": _GPT_5_CODEX,
    "gpt-5.1-codex-max": replace(_GPT_5_CODEX, efforts=_LOW_TO_XHIGH),
    "gpt-*-chat": replace(_GPT_4O, sampling=Sampling.DEFAULT_ONLY, max_completion_tokens=True),
    "gpt-6": _GPT_6,
    "gpt-6-sol": _GPT_5_6,
    "gpt-6-luna": _GPT_5_6,
    # Open weights, served by many: what their own card says.
    "gpt-oss": Capabilities(
        thinking=Thinking.EFFORT,
        efforts=_LOW_TO_HIGH,
        output_tokens_max=32_768,
        thinking_off=False,
        thinks_unasked=True,
        images=False,
    ),
}

# -- Gemini ------------------------------------------------------------------------------------------------------------
# Levels: docs.cloud.google.com/vertex-ai/generative-ai/docs/thinking and ai.google.dev/gemini-api/docs/thinking (table
# for the Flash line); budgets: the same pages (2.5 Pro 128 to 32768, never off; Flash to 24576; Flash-Lite from 512).
# Media in results: generation 3 on. JSON Schema: 2.5 and later; older ones take the OpenAPI form.

_GEMINI_OLD = Capabilities(json_schema=False)
_GEMINI_2_5 = Capabilities(
    thinking=Thinking.BUDGET,
    output_tokens_max=65_536,
    thinking_budget_min=1,
    thinking_budget_max=24_576,
    thinks_unasked=True,
)
_GEMINI_3 = Capabilities(
    thinking=Thinking.LEVEL,
    efforts=_LOW_TO_HIGH,
    output_tokens_max=65_536,
    thinking_off=False,
    thinks_unasked=True,
    result_media=True,
)
_GEMINI_3_FLASH = replace(_GEMINI_3, efforts=_MINIMAL_TO_HIGH)

_GEMINI: Mapping[str, Capabilities] = {
    "gemini": _GEMINI_3,
    "gemini-1": _GEMINI_OLD,
    "gemini-2.0": _GEMINI_OLD,
    "gemini-2.5": _GEMINI_2_5,
    "gemini-2.5-pro": replace(_GEMINI_2_5, thinking_budget_min=128, thinking_budget_max=32_768, thinking_off=False),
    "gemini-2.5-flash-lite": replace(_GEMINI_2_5, thinking_budget_min=512, thinks_unasked=False),
    "gemini-3-pro": replace(_GEMINI_3, efforts=("low", "high")),
    "gemini-3-flash": _GEMINI_3_FLASH,
    "gemini-3.1-flash-lite": _GEMINI_3_FLASH,
    "gemini-3.1-flash-image": replace(_GEMINI_3, efforts=("minimal", "high")),
    "gemini-3.5-flash": _GEMINI_3_FLASH,
    "gemini-3.6-flash": _GEMINI_3_FLASH,
    "gemma": replace(_GEMINI_OLD, structured_output=False),
}

# -- models spoken to in Chat Completions ------------------------------------------------------------------------------
# DeepSeek: api-docs.deepseek.com/guides/thinking_mode, quick_start/pricing (Nov 2026). It ignores sampling.
# Kimi: platform.kimi.ai/docs/api/models-overview, guide/use-reasoning-effort (K3: up to 1048576 on request, 131072 by
# default). GLM: docs.z.ai/guides/capabilities/thinking-mode, docs.bigmodel.cn/api-reference. Both want reasoning back.
# Forced calls while thinking: DeepSeek-V3 #1376 (400); GLM takes `auto` alone (agentscope's notes on its API).
# Mistral: docs.mistral.ai; ids of nine characters (B47); effort: pydantic-ai #5285. Grok: docs.x.ai (4.3, 4.5), table.

_DEEPSEEK = Capabilities(
    thinking=Thinking.EFFORT,
    efforts=("low", "high", "max"),
    output_tokens_max=384_000,
    thinks_unasked=True,
    thinking_switch=True,
    forced_choice_with_thinking=False,
    structured_output=False,
    reasoning_back=True,
)
_DEEPSEEK_V3 = Capabilities(structured_output=False, images=False)
_KIMI_K2 = Capabilities(output_tokens_max=32_768, max_completion_tokens=True, structured_output=False, images=False)
_KIMI_THINKING = Capabilities(
    thinking=Thinking.EFFORT,
    sampling=Sampling.DEFAULT_ONLY,
    output_tokens_max=32_768,
    thinks_unasked=True,
    thinking_switch=True,
    forced_choice_with_thinking=False,
    structured_output=False,
    max_completion_tokens=True,
    reasoning_back=True,
)
_GLM = Capabilities(
    thinking=Thinking.EFFORT,
    output_tokens_max=98_304,
    thinks_unasked=True,
    thinking_switch=True,
    forced_choice=False,
    forced_choice_with_thinking=False,
    structured_output=False,
    reasoning_back=True,
    images=False,
)
_GLM_5 = replace(_GLM, output_tokens_max=131_072)
_MISTRAL = Capabilities(output_tokens_max=32_768, prefill=False, call_ids=ids.ALNUM9)
_MISTRAL_THINKING = replace(_MISTRAL, thinking=Thinking.EFFORT, efforts=("none", "high"))
_GROK = Capabilities(
    output_tokens_max=65_536,
    thinking_off=False,
    thinks_unasked=True,
    stop=False,
)
_GROK_4_5 = replace(_GROK, thinking=Thinking.EFFORT, efforts=_LOW_TO_HIGH)

_OTHERS: Mapping[str, Capabilities] = {
    "deepseek": _DEEPSEEK,
    "deepseek-v4-pro": replace(_DEEPSEEK, images=False),
    "deepseek-chat": _DEEPSEEK_V3,
    "deepseek-coder": _DEEPSEEK_V3,
    "deepseek-v3": _DEEPSEEK_V3,
    "deepseek.v3": _DEEPSEEK_V3,
    "deepseek-v3.2": replace(_DEEPSEEK_V3, reasoning_back=True),
    "deepseek-reasoner": replace(_DEEPSEEK_V3, thinking_off=False, thinks_unasked=True, reasoning_back=True),
    "deepseek-r1": replace(_DEEPSEEK_V3, thinking_off=False, thinks_unasked=True),
    "kimi": replace(
        _KIMI_THINKING,
        efforts=("low", "high", "max"),
        output_tokens_max=131_072,
        thinking_off=False,
        thinking_switch=False,
        structured_output=True,
    ),
    "kimi-k2": _KIMI_K2,
    "kimi-k2-thinking": replace(
        _KIMI_THINKING, thinking=Thinking.NONE, thinking_off=False, thinking_switch=False, images=False
    ),
    "kimi-k2.": _KIMI_THINKING,
    "kimi-k2.7-code": replace(_KIMI_THINKING, thinking=Thinking.NONE, thinking_off=False, thinking_switch=False),
    "glm": replace(_GLM_5, efforts=("low", "high", "max"), thinking_off=False, thinking_switch=False),
    "glm-4": _GLM,
    "glm-4.6": _GLM_5,
    "glm-4.7": _GLM_5,
    "glm-4.*v": replace(_GLM, images=True),
    "glm-5": _GLM_5,
    "glm-5.1": _GLM_5,
    "glm-5.2": replace(_GLM_5, efforts=("none", "high", "max")),
    "glm-5.": replace(_GLM_5, efforts=("low", "high", "max"), thinking_off=False, thinking_switch=False),
    "glm-5*v": replace(_GLM_5, images=True),
    "mistral": _MISTRAL,
    "mistral-medium-3.5": _MISTRAL_THINKING,
    "mistral-medium-3-5": _MISTRAL_THINKING,
    "mistral-small-2603": _MISTRAL_THINKING,
    "ministral": _MISTRAL,
    "magistral": replace(_MISTRAL, thinking_off=False, thinks_unasked=True),
    "codestral": _MISTRAL,
    "devstral": _MISTRAL,
    "pixtral": _MISTRAL,
    "mixtral": _MISTRAL,
    "open-mistral": _MISTRAL,
    "open-mixtral": _MISTRAL,
    "grok": _GROK_4_5,
    "grok-3": Capabilities(output_tokens_max=65_536),
    "grok-3-mini": replace(_GROK, thinking=Thinking.EFFORT, efforts=("low", "high")),
    "grok-4": _GROK,
    "grok-4.20": _GROK,
    "grok-4.3": replace(_GROK_4_5, efforts=("none", *_LOW_TO_HIGH), thinking_off=True),
    "grok-4.5": _GROK_4_5,
    "grok-code": _GROK,
    # qwen.readthedocs.io and the cards: thinking is switched by the server's own parameters, which no dialect has.
    "qwen": Capabilities(output_tokens_max=32_768),
    "llama": Capabilities(),  # what is served differs by host
}

ROWS: Mapping[str, Capabilities] = {**_CLAUDE, **_GPT, **_GEMINI, **_OTHERS}
"""A pattern of bare names -> what such models can take."""
