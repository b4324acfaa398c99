"""Gemini CLI: no thoughts in the history, ids on calls, a stand-in for signatures, and a router that asks first."""

from typing import Any

from tests.translation.agents import CLOSED, DESCRIPTION, LISTING, QUESTION, RULES, Agent, Body, continued

SKIP = "skip_thought_signature_validator"
CONTEXT = "This is a folder on some machine."


def content(role: str, *parts: Body) -> Body:
    return {"role": role, "parts": list(parts)}


def request(**thinking: Any) -> Body:
    """Return the first request; `thinking` depends on the model's name."""
    return {
        "contents": [content("user", {"text": CONTEXT}), content("user", {"text": QUESTION})],
        "systemInstruction": content("user", {"text": RULES}),
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "list_files", "description": DESCRIPTION, "parametersJsonSchema": CLOSED},
                    {"name": "now", "description": "The time.", "parametersJsonSchema": {"type": "object"}},
                ]
            }
        ],
        "generationConfig": {
            "temperature": 1,
            "topP": 0.95,
            "topK": 64,
            "thinkingConfig": {"includeThoughts": True, **thinking},
        },
    }


def then(body: Body, answer: Body) -> Body:
    """Return the next request: thoughts are gone, a call has an id and a signature, whosever it is."""
    parts: list[Body] = []
    for number, part in enumerate(answer["candidates"][0]["parts"]):
        if part.get("thought") or part.get("text") == "":
            continue
        if "functionCall" in part:
            called = {"id": f"list_files-{number}", **part["functionCall"]}
            parts.append({"thoughtSignature": SKIP, **part, "functionCall": called})
        else:
            parts.append(part)
    results = [
        {"functionResponse": {**_identity(part["functionCall"]), "response": {"output": LISTING}}}
        for part in parts
        if "functionCall" in part
    ]
    return continued(body, "contents", content("model", *parts), content("user", *results))


def _identity(call: Body) -> Body:
    return {"id": call["id"], "name": call["name"]}


PROMPT = (("system", RULES), ("user", CONTEXT), ("user", QUESTION))
AGENTS = (
    Agent(
        "gemini cli",
        "gemini",
        request(thinkingLevel="HIGH"),
        then,
        PROMPT,
        path=b"gemini-3.8-flash:streamGenerateContent",
        query=b"alt=sse",
    ),
    Agent(
        "gemini cli, budget",
        "gemini",
        request(thinkingBudget=8192),
        then,
        PROMPT,
        path=b"gemini-2.5-pro:streamGenerateContent",
        query=b"alt=sse",
    ),
    Agent(
        "gemini cli, another's model",
        "gemini",
        request(),
        then,
        PROMPT,
        path=b"gpt-5.5:streamGenerateContent",
        query=b"alt=sse",
    ),
)

# -- requests of a certain kind ----------------------------------------------------------------------------------------


def router() -> Body:
    """Return what is asked first: how hard the question is, in a form with types in upper case."""
    schema = {
        "type": "OBJECT",
        "properties": {
            "complexity_reasoning": {"type": "STRING", "description": "Why."},
            "complexity_score": {"type": "INTEGER", "description": "1 to 100."},
        },
        "required": ["complexity_reasoning", "complexity_score"],
    }
    return {
        "contents": [content("user", {"text": CONTEXT}), content("user", {"text": QUESTION})],
        "systemInstruction": content("user", {"text": "Say how hard this is."}),
        "generationConfig": {
            "temperature": 0,
            "topP": 1,
            "maxOutputTokens": 1024,
            "responseMimeType": "application/json",
            "responseJsonSchema": schema,
            "thinkingConfig": {"thinkingBudget": 512},
        },
    }


def web_search() -> Body:
    """Return what its search tool asks."""
    return {
        "contents": [content("user", {"text": "hedges"})],
        "systemInstruction": content("user", {"text": RULES}),
        "tools": [{"googleSearch": {}}],
        "generationConfig": {"temperature": 0, "topP": 1, "thinkingConfig": {"includeThoughts": False}},
    }


def without_ids() -> Body:
    """Return two parallel calls of one tool, and their results, none with an id."""
    calls = [{"functionCall": {"name": "list_files", "args": {"path": path}}} for path in ("a", "b")]
    results = [{"functionResponse": {"name": "list_files", "response": {"output": path}}} for path in ("in a", "in b")]
    calls[0]["thoughtSignature"] = SKIP  # type: ignore[assignment] # beside the call, not in it
    body = request(thinkingLevel="HIGH")
    body["contents"] += [content("model", *calls), content("user", *results)]
    return body


OPENAPI: Body = {
    "type": "OBJECT",
    "properties": {
        "a": {"type": "ARRAY", "minItems": "1", "items": {"type": "STRING", "nullable": True, "enum": ["a"]}},
        "b": {"anyOf": [{"type": "INTEGER"}], "nullable": True},
    },
}
"""A schema of the older form, in all that is odd about it."""
