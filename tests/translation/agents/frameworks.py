"""Frameworks in Python, and two programs for the terminal: explicit nulls, lost ids, edits in plain text."""

from typing import Any

from tests.translation.agents import CLOSED, DESCRIPTION, LISTING, QUESTION, RULES, STRICT, Agent, Body, continued

FUNCTION = {"name": "list_files", "description": DESCRIPTION, "parameters": CLOSED}
CHAT_TOOLS = [{"type": "function", "function": FUNCTION}]


def chat(system: str = "system", **members: Any) -> Body:
    return {
        "model": "gpt-5.5",
        "messages": [{"role": system, "content": RULES}, {"role": "user", "content": QUESTION}],
        "tools": CHAT_TOOLS,
        "stream": True,
        **members,
    }


def chat_then(body: Body, answer: Body) -> Body:
    """Return what all of them make of it: text and calls."""
    message = answer["choices"][0]["message"]
    calls = [
        {"type": "function", "id": call["id"], "function": dict(call["function"])} for call in message["tool_calls"]
    ]
    said = {"role": "assistant", "content": message["content"], "tool_calls": calls}
    results = [{"role": "tool", "tool_call_id": call["id"], "content": LISTING} for call in calls]
    return continued(body, "messages", said, *results)


# -- langchain ---------------------------------------------------------------------------------------------------------


def langchain_responses() -> Body:
    return {
        "model": "gpt-5.5",
        "input": [
            {"type": "message", "role": "system", "content": RULES},
            {"type": "message", "role": "user", "content": QUESTION},
        ],
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "tools": [{"type": "function", **FUNCTION}],
        "stream": True,
    }


def langchain_responses_then(body: Body, answer: Body) -> Body:
    """Return the next one: reasoning with its index among the blocks, encrypted."""
    items: list[Body] = []
    for number, item in enumerate(answer["output"]):
        if item["type"] == "reasoning":
            items.append({**item, "index": number})
        elif item["type"] == "message":
            content = [
                {"type": "output_text", "text": part["text"], "annotations": part["annotations"]}
                for part in item["content"]
            ]
            items.append({"type": "message", "role": "assistant", "content": content, "id": item["id"]})
        else:
            items.append({name: value for name, value in item.items() if name != "status"})
    outputs = [
        {"type": "function_call_output", "output": LISTING, "call_id": item["call_id"]}
        for item in items
        if item["type"] == "function_call"
    ]
    return continued(body, "input", *items, *outputs)


def langchain_messages() -> Body:
    return {
        "model": "claude-opus-5-5",
        "max_tokens": 64000,
        "messages": [{"role": "user", "content": QUESTION}],
        "system": RULES,
        "tools": [{"name": "list_files", "input_schema": CLOSED, "description": DESCRIPTION}],
        "stream": True,
    }


def langchain_messages_then(body: Body, answer: Body) -> Body:
    """Return the next one: every result says that it is no error."""
    results = [
        {"type": "tool_result", "content": LISTING, "tool_use_id": block["id"], "is_error": False}
        for block in answer["content"]
        if block["type"] == "tool_use"
    ]
    said = {"role": "assistant", "content": answer["content"]}
    return continued(body, "messages", said, {"role": "user", "content": results})


def langchain_gemini() -> Body:
    return {
        "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
        "systemInstruction": {"parts": [{"text": RULES}]},
        "tools": [{"functionDeclarations": [FUNCTION]}],
        "safetySettings": [],
        "generationConfig": {
            "temperature": 0.7,
            "candidateCount": 1,
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
        },
    }


def langchain_gemini_then(body: Body, answer: Body) -> Body:
    """Return the next one: thoughts are sent again, signatures and ids are not."""
    parts: list[Body] = []
    for part in answer["candidates"][0]["parts"]:
        if "functionCall" in part:
            parts.append({"functionCall": {name: part["functionCall"][name] for name in ("name", "args")}})
        elif part.get("text"):
            parts.append({name: part[name] for name in ("text", "thought") if name in part})
    results = [
        {"functionResponse": {"name": part["functionCall"]["name"], "response": {"output": LISTING}}}
        for part in parts
        if "functionCall" in part
    ]
    return continued(body, "contents", {"role": "model", "parts": parts}, {"role": "user", "parts": results})


# -- llama-index, openai-agents, llm -----------------------------------------------------------------------------------


def llama_index_responses() -> Body:
    """Return the first request: all members there are, most of them null."""
    return {
        "model": "gpt-5.5",
        "input": [{"role": "developer", "content": RULES}, {"role": "user", "content": QUESTION}],
        "include": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": None,
        "previous_response_id": None,
        "user": None,
        "store": False,
        "temperature": 0.1,
        "top_p": 1.0,
        "truncation": "disabled",
        "tools": [{"type": "function", **FUNCTION, "strict": False}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "stream": True,
    }


def llama_index_then(body: Body, answer: Body) -> Body:
    """Return the next one: without reasoning."""
    items: list[Body] = []
    for item in answer["output"]:
        if item["type"] == "message":
            text = "".join(part["text"] for part in item["content"])
            items.append({"role": "assistant", "content": text})
        elif item["type"] == "function_call":
            items.append(item)
            items.append({"type": "function_call_output", "call_id": item["call_id"], "output": LISTING})
    return continued(body, "input", *items)


def agents_responses() -> Body:
    """Return the first request of openai-agents: strict functions, an empty `include`."""
    return {
        "model": "gpt-5.5",
        "instructions": RULES,
        "input": [{"content": QUESTION, "role": "user"}],
        "include": [],
        "tools": [{**FUNCTION, "type": "function", "parameters": STRICT, "strict": True}],
        "stream": True,
    }


def whole_output_then(body: Body, answer: Body) -> Body:
    """Return the next one: the output as it came."""
    outputs = [
        {"call_id": item["call_id"], "output": LISTING, "type": "function_call_output"}
        for item in answer["output"]
        if item["type"] == "function_call"
    ]
    return continued(body, "input", *answer["output"], *outputs)


def llm_responses() -> Body:
    """Return the first request of `llm` to a reasoning model."""
    return {
        "model": "gpt-5.5",
        "input": [{"role": "system", "content": RULES}, {"role": "user", "content": QUESTION}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", **FUNCTION, "strict": False}],
        "stream": True,
    }


AGENTS = (
    Agent("langchain, chat", "chat", chat(), chat_then, restores=False),
    Agent("langchain, responses", "responses", langchain_responses(), langchain_responses_then),
    Agent("langchain, messages", "messages", langchain_messages(), langchain_messages_then),
    Agent(
        "langchain, gemini",
        "gemini",
        langchain_gemini(),
        langchain_gemini_then,
        restores=False,
        path=b"gemini-2.5-pro:streamGenerateContent",
        query=b"alt=sse",
    ),
    Agent("llama-index, chat", "chat", chat(parallel_tool_calls=True, temperature=0.1), chat_then, restores=False),
    Agent("llama-index, responses", "responses", llama_index_responses(), llama_index_then, restores=False),
    Agent("openai-agents, chat", "chat", chat(), chat_then, restores=False),
    Agent("openai-agents, responses", "responses", agents_responses(), whole_output_then),
    Agent("llm, chat", "chat", chat(stream_options={"include_usage": True}), chat_then, restores=False),
    Agent("llm, responses", "responses", llm_responses(), whole_output_then),
)

# -- aider -------------------------------------------------------------------------------------------------------------

EDIT = "hello.txt\n```\nhello\n```\n"
"""How it lets a model edit: in plain text."""


def aider(dialect: str) -> Body:
    """Return what aider asks through litellm: no tools, examples as turns, a reminder behind the question."""
    turns = [("user", "An example."), ("assistant", "Ok."), ("user", f"{QUESTION}\n\n{RULES}")]
    messages = [{"role": role, "content": text} for role, text in turns]
    if dialect == "messages":
        blocks = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
        system = [{"type": "text", "text": RULES}]
        return {
            "model": "m",
            "messages": blocks,
            "system": system,
            "temperature": 0,
            "max_tokens": 64000,
            "stream": True,
        }
    if dialect == "gemini":
        contents = [
            {"role": "model" if role == "assistant" else role, "parts": [{"text": text}]} for role, text in turns
        ]
        return {
            "contents": contents,
            "system_instruction": {"parts": [{"text": RULES}]},
            "generationConfig": {"temperature": 0},
        }
    return {
        "model": "m",
        "messages": [{"role": "system", "content": RULES}, *messages],
        "temperature": 0,
        "stream": True,
    }


# -- what hardly any client sends any more -----------------------------------------------------------------------------

OLD: Body = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "x", "name": "n"},
        {
            "role": "user",
            "content": [
                {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "f", "arguments": "{}"},
            "annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0}}],
            "reasoning": "r",
            "reasoning_details": [{"type": "reasoning.text", "text": "a", "signature": "s", "index": 0, "id": "x"}],
            "images": [{"image_url": {"url": "https://a.example/b.png"}}],
        },
        {"role": "function", "name": "f", "content": "r"},
    ],
    "functions": [{"name": "f", "parameters": {"type": "object"}}],
    "function_call": {"name": "f"},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
}
"""Functions, and members of several vendors at once."""
