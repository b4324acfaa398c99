"""Codex CLI: everything is an item. Free-form and namespaced tools, developer messages, reasoning sent back."""

from typing import Any

from tests.translation.agents import CLOSED, DESCRIPTION, LISTING, QUESTION, RULES, Agent, Body, continued

ENVIRONMENT = "<environment>a folder, a shell</environment>"
PATCH = '*** Begin Patch\n*** Add File: a "b".txt\n+\u00e9 \\ \U0001f600\n*** End Patch'
GRAMMAR = 'start: "*** Begin Patch" LF'
SESSION = "0199b7c0-0000-7000-8000-000000000001"


def message(role: str, *texts: str, **members: Any) -> Body:
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": each} for each in texts]
    return {"type": "message", "role": role, "content": content, **members}


def function(name: str = "list_files", schema: Body = CLOSED) -> Body:
    return {"type": "function", "name": name, "description": DESCRIPTION, "strict": False, "parameters": schema}


APPLY_PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edit files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": GRAMMAR},
}
TOOL_SEARCH = {
    "type": "tool_search",
    "execution": "client",
    "description": "Find tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "additionalProperties": False},
}
WEB_SEARCH = {"type": "web_search", "external_web_access": False, "search_content_types": ["text", "image"]}
PROMPTS = (
    message("developer", RULES, "Never delete.", id="msg_01"),
    message("developer", "Approvals: never."),
    message("user", ENVIRONMENT),
    message("user", QUESTION),
)
PROMPT = (
    ("system", RULES),
    ("system", "Never delete."),
    ("system", "Approvals: never."),
    ("user", ENVIRONMENT),
    ("user", QUESTION),
)


def request(*items: Body, tools: list[Body] | None = None, **members: Any) -> Body:
    """Return the first request, as to a model that it knows."""
    body: Body = {
        "model": "gpt-5.5",
        "input": list(items or PROMPTS),
        "tools": tools if tools is not None else [function(), APPLY_PATCH, TOOL_SEARCH, WEB_SEARCH],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": SESSION,
        "text": {"verbosity": "low"},
        "client_metadata": {"session_id": SESSION, "turn_id": "1"},
    }
    return {**body, **members}


def without_search(body: Body) -> Body:
    """Return a request without the vendor's own tools: as with `web_search="disabled"`."""
    return {**body, "tools": [tool for tool in body["tools"] if tool["type"] != "web_search"]}


def then(body: Body, answer: Body) -> Body:
    """Return the next request: the items of the answer without what is only the server's, then the outputs."""
    items: list[Body] = []
    outputs: list[Body] = []
    for item in answer["output"]:
        kept = {name: value for name, value in item.items() if name not in {"status", "id"}}
        if item["type"] == "reasoning":
            kept = {**kept, "content": None}
        elif item["type"] == "message":
            kept["content"] = [{"type": "output_text", "text": part["text"]} for part in item["content"]]
        else:
            kind = "custom_tool_call_output" if item["type"] == "custom_tool_call" else "function_call_output"
            output = [{"type": "input_text", "text": LISTING}]
            outputs.append({"type": kind, "id": f"fco_{len(outputs)}", "call_id": item["call_id"], "output": output})
        items.append(kept)
    return continued(body, "input", *items, *outputs)


def lite() -> Body:
    """Return the first request to a newer model: no `tools`, but an item with namespaces of them."""
    secret = {"type": "object", "properties": {"message": {"type": "string", "encrypted": True}}}
    groups = [
        {
            "type": "namespace",
            "name": "functions",
            "description": "This machine.",
            "tools": [{**APPLY_PATCH, "name": "exec", "description": "Run a script."}, function("wait")],
        },
        {"type": "namespace", "name": "files", "description": "Files.", "tools": [function()]},
        {
            "type": "namespace",
            "name": "collaboration",
            "description": "Others.",
            "tools": [function("spawn_agent", secret)],
        },
    ]
    body = request({"type": "additional_tools", "role": "developer", "tools": groups}, *PROMPTS, tools=[])
    del body["tools"]
    body |= {"model": "gpt-6.1-sol", "parallel_tool_calls": False}
    body["reasoning"] = {"effort": "medium", "summary": "auto", "context": "all_turns"}
    return body


def unknown_model() -> Body:
    """Return the first request to a model that it does not know."""
    spawn = {"type": "namespace", "name": "multi_agent_v1", "description": "Others.", "tools": [function("spawn")]}
    body = request(tools=[function(), spawn], model="my-model", reasoning={"summary": "auto"})
    del body["text"]
    return body


LITE_PROMPT = PROMPT
AGENTS = (
    Agent("codex", "responses", without_search(request()), then, PROMPT),
    Agent("codex, a patch", "responses", without_search(request()), then, PROMPT, tool="apply_patch", custom=True),
    Agent("codex, lite", "responses", lite(), then, LITE_PROMPT, namespace="files"),
    Agent(
        "codex, lite, a script", "responses", lite(), then, LITE_PROMPT, tool="exec", namespace="functions", custom=True
    ),
    Agent("codex, unknown model", "responses", unknown_model(), then, PROMPT),
)

# -- requests of a certain kind ----------------------------------------------------------------------------------------


def compaction() -> Body:
    """Return the request for a summary: no tools, one more message of the user's."""
    history = (*PROMPTS, message("assistant", "Two files."), message("user", "Summarise all of this."))
    return request(*history, tools=[])


def compaction_trigger() -> Body:
    """Return the request for a summary that only its own vendor can make."""
    return request(*PROMPTS, {"type": "compaction_trigger"})


def sub_agent() -> Body:
    """Return a turn of an agent that another one has asked."""
    said = {
        "type": "agent_message",
        "id": "amsg_1",
        "author": "agents",
        "recipient": "agents/one",
        "content": [
            {"type": "input_text", "text": "From the first agent:"},
            {"type": "encrypted_content", "encrypted_content": "Count the files."},
        ],
    }
    return without_search(request(*PROMPTS[:2], said))


def patched() -> Body:
    """Return a history with a free-form call."""
    history: tuple[Body, ...] = (
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAAAABforeign"},
        {"type": "custom_tool_call", "call_id": "call_p", "name": "apply_patch", "input": PATCH, "status": "completed"},
        {"type": "custom_tool_call_output", "id": "ctco_1", "call_id": "call_p", "output": "Done."},
    )
    return without_search(request(*PROMPTS, *history))


SELDOM: list[Body] = [
    {
        "role": "user",
        "content": [
            {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,eA=="},
            {"type": "input_file", "file_url": "https://x.example/a.pdf"},
        ],
    },
    {"type": "tool_search_output", "tools": [{"type": "function", "name": "g"}]},
    {"type": "web_search_call", "id": "w"},
    {
        "role": "assistant",
        "content": [
            {
                "type": "output_text",
                "text": "x",
                "annotations": [{"url": "u", "title": "t", "start_index": 1, "end_index": 2}],
            },
            {"type": "refusal", "refusal": "r"},
        ],
    },
]
"""Items that are seldom seen."""
