"""The vendors' own SDKs, with the loops they bring: what they send back of an answer is what they made of it."""

from typing import Any

from tests.translation.agents import CLOSED, DESCRIPTION, LISTING, QUESTION, RULES, STRICT, Agent, Body, continued

FUNCTION = {"name": "list_files", "description": DESCRIPTION, "parameters": STRICT, "strict": True}

# -- openai ------------------------------------------------------------------------------------------------------------


def openai_chat() -> Body:
    """Return the first request of `runTools`."""
    return {
        "model": "gpt-5.5",
        "messages": [{"role": "system", "content": RULES}, {"role": "user", "content": QUESTION}],
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": "auto",
        "stream": True,
    }


def openai_chat_then(body: Body, answer: Body) -> Body:
    """Return the next one: the message as it was gathered, members of the SDK's own in it."""
    message = answer["choices"][0]["message"]
    calls = [{**call, "function": {**call["function"], "parsed_arguments": None}} for call in message["tool_calls"]]
    said = {"parsed": None, "refusal": None, **message, "tool_calls": calls}
    results = [{"role": "tool", "tool_call_id": call["id"], "content": LISTING} for call in calls]
    return continued(body, "messages", said, *results)


def openai_responses() -> Body:
    """Return the first request of a loop on Responses."""
    return {
        "model": "gpt-5.5",
        "instructions": RULES,
        "input": [{"role": "user", "content": QUESTION}],
        "tools": [{"type": "function", **FUNCTION}],
        "stream": True,
    }


def openai_responses_then(body: Body, answer: Body) -> Body:
    """Return the next one: the output as it came, with the SDK's own members in it."""
    items = [
        {**item, "parsed_arguments": {"path": "."}} if item["type"] == "function_call" else item
        for item in answer["output"]
    ]
    outputs = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": LISTING}
        for item in items
        if item["type"] == "function_call"
    ]
    return continued(body, "input", *items, *outputs)


# -- anthropic ---------------------------------------------------------------------------------------------------------


def anthropic_request(**members: Any) -> Body:
    """Return the first request of a loop on Messages."""
    return {
        "model": "claude-opus-5-5",
        "max_tokens": 1024,
        "system": RULES,
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [{"name": "list_files", "description": DESCRIPTION, "input_schema": CLOSED}],
        "stream": True,
        **members,
    }


def anthropic_then(body: Body, answer: Body) -> Body:
    """Return the next one: the content as it was gathered, nulls and all."""
    content = [{**block, "citations": None} if block["type"] == "text" else block for block in answer["content"]]
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": [{"type": "text", "text": LISTING}]}
        for block in content
        if block["type"] == "tool_use"
    ]
    return continued(body, "messages", {"role": "assistant", "content": content}, {"role": "user", "content": results})


# -- google-genai ------------------------------------------------------------------------------------------------------


def genai_request(schema: str, **generation: Any) -> Body:
    """Return the first request; the Python SDK writes `parameters_json_schema`."""
    return {
        "contents": [{"parts": [{"text": QUESTION}], "role": "user"}],
        "systemInstruction": {"parts": [{"text": RULES}], "role": "user"},
        "tools": [{"functionDeclarations": [{"name": "list_files", "description": DESCRIPTION, schema: CLOSED}]}],
        "generationConfig": generation,
    }


def genai_python_then(body: Body, answer: Body) -> Body:
    """Return the next one: every chunk is a content of its own, empty text too, and the result has no id."""
    parts = answer["candidates"][0]["parts"]
    chunks = [{"parts": [part], "role": "model"} for part in parts]
    results = [
        {"functionResponse": {"name": part["functionCall"]["name"], "response": {"result": LISTING}}}
        for part in parts
        if "functionCall" in part
    ]
    return continued(body, "contents", *chunks, {"parts": results, "role": "user"})


def genai_js_then(body: Body, answer: Body) -> Body:
    """Return the next one: one content, the result with the call's id."""
    parts = answer["candidates"][0]["parts"]
    results = [
        {
            "functionResponse": {
                "id": part["functionCall"]["id"],
                "name": part["functionCall"]["name"],
                "response": {"output": LISTING},
            }
        }
        for part in parts
        if "functionCall" in part
    ]
    return continued(body, "contents", {"parts": parts, "role": "model"}, {"parts": results, "role": "user"})


GENAI_PATH = b"gemini-3.8-flash:streamGenerateContent"
THOUGHTS = {"thinking_config": {"include_thoughts": True}}
AGENTS = (
    Agent("openai js, chat", "chat", openai_chat(), openai_chat_then),
    Agent("openai js, responses", "responses", openai_responses(), openai_responses_then),
    Agent("anthropic sdk", "messages", anthropic_request(), anthropic_then),
    Agent(
        "anthropic sdk, thinking",
        "messages",
        anthropic_request(thinking={"type": "adaptive", "display": "summarized"}),
        anthropic_then,
    ),
    Agent(
        "genai py",
        "gemini",
        genai_request("parameters_json_schema", **THOUGHTS),
        genai_python_then,
        path=GENAI_PATH,
        query=b"alt=sse",
        result='{"result": "a.txt\\nb \\u00e9.txt"}',
    ),
    Agent(
        "genai js", "gemini", genai_request("parametersJsonSchema"), genai_js_then, path=GENAI_PATH, query=b"alt=sse"
    ),
)

# -- requests of a certain kind ----------------------------------------------------------------------------------------


def genai_form() -> Body:
    """Return what the Python SDK asks when the answer is to have a form."""
    form = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    body = genai_request(
        "parameters_json_schema", response_mime_type="application/json", response_json_schema=form, max_output_tokens=99
    )
    del body["tools"]
    return body
