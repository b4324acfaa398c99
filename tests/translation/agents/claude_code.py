"""Claude Code: adaptive thinking, system turns among the messages, a billing line, tools that are found later."""

from typing import Any

from tests.translation.agents import DESCRIPTION, DRAFT, LISTING, QUESTION, RULES, Agent, Body, continued

BILLING = "x-anthropic-billing-header: cc_version=2.1.330.abc; cc_entrypoint=sdk-cli;"
NOTES = "Notes on this machine: it is fictitious."
REMINDER = "The list of tasks is empty."
EPHEMERAL = {"type": "ephemeral"}


def text(value: str, **members: Any) -> Body:
    return {"type": "text", "text": value, **members}


def tool(name: str = "list_files", **members: Any) -> Body:
    return {"name": name, "description": DESCRIPTION, "input_schema": DRAFT, **members}


PLACEHOLDER = tool("DeferredToolPlaceholder", defer_loading=True)
SEARCH = {
    "name": "ToolSearch",
    "description": "Find tools by what they do.",
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}
ADAPTIVE: Body = {
    "max_tokens": 128000,
    "thinking": {"type": "adaptive", "display": "omitted"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "medium"},
}
BUDGET: Body = {"max_tokens": 32000, "thinking": {"type": "enabled", "budget_tokens": 31999}}


def request(model: str = "claude-opus-5-5", thinking: Body = ADAPTIVE, **members: Any) -> Body:
    """Return the first request of a session."""
    body: Body = {
        "model": model,
        "messages": [
            {"role": "user", "content": [text("Today is a day."), text(QUESTION, cache_control=EPHEMERAL)]},
            {"role": "system", "content": [text(NOTES, cache_control=EPHEMERAL)]},
        ],
        "system": [text(BILLING), text(RULES, cache_control=EPHEMERAL), text("Be kind.", cache_control=EPHEMERAL)],
        "tools": [tool(), SEARCH, PLACEHOLDER],
        "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
        **thinking,
        "stream": True,
    }
    return {**body, **members}


def then(body: Body, answer: Body) -> Body:
    """Return the next request: thinking as it came, signed or not; results first; a reminder of its own behind."""
    calls = [block for block in answer["content"] if block["type"] == "tool_use"]
    results = [{"tool_use_id": call["id"], "type": "tool_result", "content": LISTING} for call in calls]
    results[-1]["cache_control"] = EPHEMERAL
    turns = (
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": results},
        {"role": "system", "content": REMINDER},
    )
    return continued(body, "messages", *turns)


PROMPT = (
    ("system", RULES),
    ("system", "Be kind."),
    ("user", "Today is a day."),
    ("user", QUESTION),
    ("system", NOTES),
)
AGENTS = (
    Agent("claude code", "messages", request(), then, PROMPT, (("system", REMINDER),)),
    Agent(
        "claude code, budget", "messages", request("claude-sonnet-4-5", BUDGET), then, PROMPT, (("system", REMINDER),)
    ),
)

# -- requests of a certain kind ----------------------------------------------------------------------------------------


def found_tools() -> Body:
    """Return the request behind a search for tools: references in the result, the tools found among the others."""
    call = {"type": "tool_use", "id": "toolu_01", "name": "ToolSearch", "input": {"query": "weather"}}
    found = {"type": "tool_reference", "tool_name": "mcp__weather__today"}
    body = request()
    body["messages"] += [
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01", "content": [found]}]},
    ]
    body["tools"][-1:] = [tool("mcp__weather__today", defer_loading=True)]
    return body


def web_search() -> Body:
    """Return the request that its search tool makes."""
    return {
        "model": "claude-haiku-4-5",
        "messages": [{"role": "user", "content": [text("Perform a web search for: hedges")]}],
        "system": [text(BILLING), text("You search the web.")],
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
        "tool_choice": {"type": "auto"},
        "max_tokens": 32000,
        "stream": True,
    }


def unsigned(signature: str = "") -> Body:
    """Return a conversation that thought elsewhere: the thinking is signed by nobody, or by another vendor."""
    call = {"type": "tool_use", "id": "call_0123", "name": "list_files", "input": {"path": "."}}
    failed = {"type": "tool_result", "tool_use_id": "call_0123", "is_error": True, "content": [text("no such folder")]}
    body = request()
    body["messages"] += [
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "I should look.", "signature": signature}, call],
        },
        {"role": "user", "content": [failed, text("Go on.")]},
    ]
    return body


def structured() -> Body:
    """Return what `--json-schema` asks: a tool like any other."""
    body = request()
    body["tools"] = [{"name": "StructuredOutput", "description": "The answer.", "input_schema": DRAFT}]
    return body


DOCUMENTS: list[Body] = [
    {
        "type": "document",
        "source": {"type": "content", "content": [text("x")]},
        "title": "t",
        "context": "c",
        "citations": {"enabled": True},
    },
    {"type": "search_result", "title": "a", "source": "b", "content": [text("x")]},
]
HOSTED: list[Body] = [
    {
        "role": "assistant",
        "content": [
            text("x", citations=[{"url": "u", "title": "t", "cited_text": "c"}]),
            {"type": "redacted_thinking", "data": "d"},
            {"type": "server_tool_use", "id": "1", "name": "n", "input": {}},
            {"type": "compaction", "content": "s"},
        ],
    }
]
"""Blocks that are seldom seen."""
