"""Vercel's AI SDK in its four providers: references to stored items, a tool for the form of the answer, odd roles."""

from typing import Any

from tests.translation.agents import CLOSED, DESCRIPTION, LISTING, QUESTION, RULES, Agent, Body, continued

DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#", **CLOSED}
FORM = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"count": {"type": "number"}},
    "required": ["count"],
    "additionalProperties": False,
}

# -- Responses ---------------------------------------------------------------------------------------------------------


def responses_request(system: str = "developer", **members: Any) -> Body:
    """Return the first request; `store` is absent, which means true."""
    return {
        "model": "gpt-5.5",
        "input": [
            {"role": system, "content": RULES},
            {"role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
        ],
        "tools": [{"type": "function", "name": "list_files", "description": DESCRIPTION, "parameters": DRAFT_7}],
        "tool_choice": "auto",
        "stream": True,
        **members,
    }


def responses_then(body: Body, answer: Body) -> Body:
    """Return the next step: what the provider is believed to have stored is only named."""
    items: list[Body] = []
    outputs: list[Body] = []
    for item in answer["output"]:
        if item["type"] == "reasoning" and body.get("store") is not False:
            items.append({"type": "item_reference", "id": item["id"]})
        elif item["type"] == "reasoning":
            items.append({name: item[name] for name in ("type", "id", "encrypted_content", "summary") if name in item})
        elif item["type"] == "message":
            content = [{"type": "output_text", "text": part["text"]} for part in item["content"]]
            items.append({"role": "assistant", "content": content, "id": item["id"]})
        else:
            items.append({name: item[name] for name in ("type", "id", "call_id", "name", "arguments")})
            outputs.append({"type": "function_call_output", "call_id": item["call_id"], "output": LISTING})
    return continued(body, "input", *items, *outputs)


# -- Chat Completions --------------------------------------------------------------------------------------------------

CHAT_TOOL = {
    "type": "function",
    "function": {"name": "list_files", "description": DESCRIPTION, "parameters": DRAFT_7},
}


def chat_request(system: str = "developer", **members: Any) -> Body:
    """Return the first request; roles and limits depend on the model's name."""
    return {
        "model": "gpt-5.5",
        "messages": [{"role": system, "content": RULES}, {"role": "user", "content": QUESTION}],
        "tools": [CHAT_TOOL],
        "tool_choice": "auto",
        "stream": True,
        "stream_options": {"include_usage": True},
        **members,
    }


def chat_then(body: Body, answer: Body) -> Body:
    """Return the next step: without reasoning."""
    return _chat_then(body, answer)


def compatible_then(body: Body, answer: Body) -> Body:
    """Return the next step of the provider for compatible servers: with the text of the reasoning."""
    thought = answer["choices"][0]["message"].get("reasoning_content")
    return _chat_then(body, answer, **({"reasoning_content": thought} if thought else {}))


def _chat_then(body: Body, answer: Body, **members: Any) -> Body:
    message = answer["choices"][0]["message"]
    calls = [
        {"id": call["id"], "type": "function", "function": dict(call["function"])} for call in message["tool_calls"]
    ]
    said = {"role": "assistant", "content": message["content"] or None, "tool_calls": calls, **members}
    results = [{"role": "tool", "tool_call_id": call["id"], "content": LISTING} for call in calls]
    return continued(body, "messages", said, *results)


# -- Messages ----------------------------------------------------------------------------------------------------------


def messages_request(**members: Any) -> Body:
    """Return the first request; the limit is what it takes for a model that it does not know."""
    tool = {
        "name": "list_files",
        "description": DESCRIPTION,
        "input_schema": DRAFT_7,
        "eager_input_streaming": True,
    }
    return {
        "model": "my-model",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": RULES}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
        "tools": [tool],
        "tool_choice": {"type": "auto"},
        "stream": True,
        **members,
    }


def messages_then(body: Body, answer: Body) -> Body:
    """Return the next step: thinking that nobody signed is left out."""
    content = [block for block in answer["content"] if block["type"] != "thinking" or block.get("signature")]
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": LISTING}
        for block in content
        if block["type"] == "tool_use"
    ]
    turns = ({"role": "assistant", "content": content}, {"role": "user", "content": results})
    return continued(body, "messages", *turns)


# -- Gemini ------------------------------------------------------------------------------------------------------------


def gemini_request(schema: str = "parametersJsonSchema") -> Body:
    """Return the first request; version 6 calls the schema `parameters`."""
    tool = {"name": "list_files", "description": DESCRIPTION, schema: DRAFT_7}
    return {
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
        "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
        "systemInstruction": {"parts": [{"text": RULES}]},
        "tools": [{"functionDeclarations": [tool]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    }


def gemini_then(body: Body, answer: Body) -> Body:
    """Return the next step: a result names its tool twice, and has no id."""
    parts: list[Body] = []
    for part in answer["candidates"][0]["parts"]:
        signed = {"thoughtSignature": part["thoughtSignature"]} if "thoughtSignature" in part else {}
        if "functionCall" in part:
            called = {name: part["functionCall"][name] for name in ("name", "args")}
            parts.append({"functionCall": called, **signed})
        elif part.get("text") or signed:
            parts.append({"text": part["text"], **({"thought": True} if part.get("thought") else {}), **signed})
    results = [
        {"functionResponse": {"name": name, "response": {"name": name, "content": LISTING}}}
        for name in (part["functionCall"]["name"] for part in parts if "functionCall" in part)
    ]
    return continued(body, "contents", {"role": "model", "parts": parts}, {"role": "user", "parts": results})


GEMINI_PATH = b"my-model:streamGenerateContent"
WRAPPED_RESULT = '{"name": "list_files", "content": "a.txt\\nb \\u00e9.txt"}'
"""An object of two members is no plain output: it passes as it was written."""

STATELESS: Body = {
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "low", "summary": "auto"},
}
AGENTS = (
    Agent("ai sdk, responses", "responses", responses_request(), responses_then, restores=False),
    Agent("ai sdk, responses, stateless", "responses", responses_request(**STATELESS), responses_then),
    Agent(
        "ai sdk, responses, system", "responses", responses_request("system", model="m"), responses_then, restores=False
    ),
    Agent("ai sdk, chat", "chat", chat_request(max_completion_tokens=2000), chat_then, restores=False),
    Agent(
        "ai sdk, compatible",
        "chat",
        chat_request("system", model="m", max_tokens=2000, temperature=0.5),
        compatible_then,
        restores=False,
    ),
    Agent("ai sdk, messages", "messages", messages_request(), messages_then),
    Agent(
        "ai sdk, gemini",
        "gemini",
        gemini_request(),
        gemini_then,
        path=GEMINI_PATH,
        query=b"alt=sse",
        result=WRAPPED_RESULT,
    ),
    Agent(
        "ai sdk 6, gemini",
        "gemini",
        gemini_request("parameters"),
        gemini_then,
        path=GEMINI_PATH,
        query=b"alt=sse",
        result=WRAPPED_RESULT,
    ),
)

# -- requests of a certain kind ----------------------------------------------------------------------------------------


def messages_form() -> Body:
    """Return what asks for an object where the model is not known to compile schemas: a tool that must be called."""
    tool = {"name": "json", "description": "Respond with a JSON object.", "input_schema": FORM}
    choice = {"type": "any", "disable_parallel_tool_use": True}
    return messages_request(tools=[tool], tool_choice=choice)


def chat_form(kind: str = "json_schema") -> Body:
    """Return what asks for an object: by schema, or, in the provider for compatible servers, without one."""
    form: Body = {"type": "json_object"}
    if kind == "json_schema":
        form = {"type": kind, "json_schema": {"name": "response", "schema": FORM, "strict": True}}
    body = chat_request(response_format=form)
    del body["tools"], body["tool_choice"]
    return body
