"""Agents over every upstream dialect: two turns with a tool call, and what the upstream is then sent.

The upstream's first answer thinks, says something and calls the agent's tool. It is translated to the agent, which
makes its second request of what it got, as it would. What that becomes on its way to the upstream must say the same in
the same order, with the ids, arguments and names as they were, the signature back at its maker and at nobody else, and
nothing that the vendor's SDK has no type for.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from adapters import capabilities, signatures
from adapters.conversation import Conversation
from adapters.dialects import Request
from adapters.errors import ClientError
from adapters.losses import Losses
from adapters.opening import Opening
from adapters.target import Target, Written
from tests.translation import (
    read_chat,
    read_gemini,
    read_messages,
    read_responses,
    translate,
    upstream_chat,
    upstream_gemini,
    upstream_messages,
    upstream_responses,
)
from tests.translation.agents import (
    QUESTION,
    Agent,
    Body,
    ai_sdk,
    claude_code,
    codex,
    dump,
    frameworks,
    gemini_cli,
    vendor_sdks,
)
from tests.translation.told import Entry, told, tools
from tests.translation.understood import payloads
from tests.translation.upstreams import written
from tests.translation.vendor_rules import offences
from tests.translation.vendor_types import faults

AGENTS = (
    *claude_code.AGENTS,
    *codex.AGENTS,
    *gemini_cli.AGENTS,
    *ai_sdk.AGENTS,
    *vendor_sdks.AGENTS,
    *frameworks.AGENTS,
)
MODELS = {
    "chat": ("deepseek-v4-flash", "gpt-4o"),
    "responses": ("gpt-5.5",),
    "messages": ("claude-opus-4-8", "claude-sonnet-4-5"),
    "gemini": ("gemini-3.8-flash", "gemini-2.5-flash"),
}
"""Of each dialect a model that thinks, and where requests to it look different, another one."""

PAIRS = [
    (agent, upstream, model)
    for agent in AGENTS
    for upstream, models in MODELS.items()
    if upstream != agent.dialect
    for model in models
]
EXTRA = {"chat": ("thinking", "reasoning_content", "reasoning_details"), "messages": ("temperature", "top_p", "top_k")}
"""What other vendors have added, and their models are sent; and what the newest SDK has no word for any more, but the
version of the API that is asked has."""

THOUGHT, SAID = "I should look.", "I will look."
SIGNATURE = "c2lnbmVkIGJ5IHRoZSB1cHN0cmVhbSE="
ARGUMENTS = '{"path": "d \\u00e9", "depth": 1, "more": {"b": [1.50, null], "a": {}}}'
"""With spaces, an escape and a number that nobody may write anew."""


# -- the upstream's first answer ---------------------------------------------------------------------------------------


def answer(upstream: str, name: str, arguments: str) -> bytes:
    """Return a stream that thinks, is signed, says something and calls a tool."""
    if upstream == "chat":
        detail: Body = {"type": "reasoning.text", "text": THOUGHT, "signature": SIGNATURE, "format": "x", "index": 0}
        call = upstream_chat.opened(0, "call_1", name)
        pieces = [upstream_chat.more(0, each) for each in arguments]
        deltas: tuple[Body, ...] = ({"reasoning_details": [detail]}, {"content": SAID}, call, *pieces)
        return written(upstream, upstream_chat.stream(*deltas, finish="tool_calls"))
    if upstream == "responses":
        items = (
            upstream_responses.thought(THOUGHT, encrypted=SIGNATURE),
            upstream_responses.said(SAID),
            upstream_responses.called(1, name, *arguments),
        )
        return written(upstream, upstream_responses.stream(*items))
    if upstream == "messages":
        blocks = (
            *upstream_messages.thought(0, THOUGHT, signature=SIGNATURE),
            *upstream_messages.texts(1, SAID),
            *upstream_messages.called(2, "toolu_1", name, *arguments),
        )
        return written(upstream, upstream_messages.stream(*blocks, reason="tool_use"))
    chunks = (
        upstream_gemini.chunk(upstream_gemini.thought(THOUGHT)),
        upstream_gemini.chunk(upstream_gemini.said(SAID, thoughtSignature=SIGNATURE)),
        upstream_gemini.chunk(upstream_gemini.called(name, "ARGUMENTS", id=None)),
        upstream_gemini.END,
    )
    return written(upstream, chunks).replace(b'"ARGUMENTS"', arguments.encode())


def arguments_of(agent: Agent) -> str:
    """Return what the tool is called with, as an upstream without free-form tools says it."""
    return json.dumps({"input": codex.PATCH}) if agent.custom else ARGUMENTS


# -- the gateway and the client ----------------------------------------------------------------------------------------


def parsed(agent: Agent, body: Body) -> Request:
    return translate.dialect(agent.dialect).parse_request(dump(body), agent.path, agent.query)


def read(agent: Agent, body: Body, losses: Losses | None = None) -> Conversation:
    request = parsed(agent, body)
    return translate.dialect(agent.dialect).read_conversation(request, losses or Losses())


def wrong(upstream: str, body: Body) -> list[str]:
    """Return what the upstream's vendor would find wrong with a body."""
    return [*faults(upstream, body, EXTRA.get(upstream, ())), *offences(upstream, body)]


def target(model: str, scope: str = translate.SCOPE) -> Target:
    return Target(model, capabilities.of(model), scope, stream=True, usage_option=True)


def sent(conversation: Conversation, upstream: str, to: Target, losses: Losses | None = None) -> Written:
    return translate.dialect(upstream).write_request(conversation, to, losses or Losses())


def answered(agent: Agent, body: Body, upstream: str, stream: bytes) -> Body:
    """Return the document that the client's SDK gathers of a translated stream."""
    request = parsed(agent, body)
    conversation = translate.dialect(agent.dialect).read_conversation(request, Losses())
    opening = Opening(
        request=request, conversation=conversation, seed="seed", model="asked", created=1_700_000_000, input_tokens=7
    )
    parser = translate.parser_of(upstream, translate.dialect(agent.dialect).open_emitter(opening))
    got = parser.feed(stream) + parser.end()
    assert parser.failure is None
    return gathered(agent.dialect, got)


def gathered(dialect: str, stream: bytes) -> Body:
    received = payloads(dialect, stream)
    if dialect == "chat":
        return read_chat.gathered(received)
    if dialect == "responses":
        gathering = read_responses.Gathering()
        for payload in received:
            gathering.take(payload)
        return gathering.document()
    if dialect == "gemini":
        return read_gemini.gathered(received)
    message = read_messages.gathered(received)
    for block in message["content"]:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block.pop(read_messages.INPUT_TEXT))
    return message


def is_foreign(entry: Entry) -> bool:
    return entry[0] == "thought" and entry[2] not in {None, "", gemini_cli.SKIP, SIGNATURE}


# -- what is expected --------------------------------------------------------------------------------------------------


def flat_name(agent: Agent) -> str:
    return f"{agent.namespace}__{agent.tool}" if agent.namespace else agent.tool


def plainly(entry: Entry) -> Entry:
    """Return a text without the tags of a folded system turn, and without its speaker."""
    if entry[0] not in {"system", "user", "assistant"}:
        return entry
    return entry[0], entry[1].removeprefix("<system>").removesuffix("</system>")


def texts_of(entries: list[Entry], prompt: tuple[tuple[str, str], ...]) -> list[Entry]:
    """Return the entries of the prompt; a folded system turn is the user's and says so."""
    expected: list[Entry] = []
    for (role, text), entry in zip(prompt, entries, strict=False):
        folded = role == "system" and entry == ("user", f"<system>{text}</system>")
        expected.append(entry if folded else (role, text))
    return expected


def split(entries: list[Entry], prompt: tuple[tuple[str, str], ...]) -> list[Entry]:
    """Return the entries with texts that a dialect joins as one (system prompts) taken apart again."""
    texts = {text for _, text in prompt}
    apart: list[Entry] = []
    for entry in entries:
        if entry[0] == "system" and entry[1] not in texts:
            apart += [("system", each) for each in entry[1].split("\n\n")]
        else:
            apart.append(entry)
    return apart


# -- two turns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("agent", "upstream", "model"), PAIRS, ids=str)
def test_the_second_turn_says_what_the_first_one_did(agent: Agent, upstream: str, model: str) -> None:
    name, arguments = flat_name(agent), arguments_of(agent)
    first = json.loads(sent(read(agent, agent.first), upstream, target(model)).body)
    assert not wrong(upstream, first)
    assert name in tools(upstream, first)
    received = answered(agent, agent.first, upstream, answer(upstream, name, arguments))
    assert called(agent, received) == [(agent.namespace, agent.tool, codex.PATCH if agent.custom else arguments)]
    second = agent.then(agent.first, received)
    to = target(model)
    body = sent(read(agent, second), upstream, to).body
    document = json.loads(body)
    assert not wrong(upstream, document)
    assert signatures.PREFIX.encode() not in body

    entries = split(told(upstream, document), agent.prompt)
    said = [entry for entry in entries if entry[0] != "thought"]
    head = len(agent.prompt)
    assert said[:head] == texts_of(said, agent.prompt)
    (text, call, result), tail = said[head : head + 3], said[head + 3 :]
    assert text == ("assistant", SAID)
    assert call[0] == "call"
    assert call[2:] == (name, json.loads(arguments))
    assert result[:2] == ("result", call[1])
    assert json_like(result[2]) == json_like(agent.result)
    assert tail == texts_of(tail, agent.trailer)
    assert len(tail) == len(agent.trailer)
    assert spelled(upstream, agent, second) in body

    thoughts = [entry for entry in entries if entry[0] == "thought"]
    signed = [entry for entry in thoughts if entry[2] == SIGNATURE]
    assert not any(map(is_foreign, entries))
    assert len(signed) == agent.restores
    if signed:
        assert entries.index(signed[0]) < entries.index(("assistant", SAID))


def called(agent: Agent, received: Body) -> list[tuple[str | None, str, str]]:
    """Return the calls that the client got: namespace, name, and the arguments as it got them."""
    if agent.dialect == "chat":
        functions = [call["function"] for call in received["choices"][0]["message"]["tool_calls"]]
        return [(None, function["name"], function["arguments"]) for function in functions]
    if agent.dialect == "responses":
        items = [item for item in received["output"] if item["type"].endswith("_call")]
        assert all((item["type"] == "custom_tool_call") == agent.custom for item in items)
        return [(item.get("namespace"), item["name"], item.get("arguments", item.get("input"))) for item in items]
    if agent.dialect == "messages":
        blocks = [block for block in received["content"] if block["type"] == "tool_use"]
        return [(None, block["name"], _same(block["input"])) for block in blocks]
    calls = [part["functionCall"] for part in received["candidates"][0]["parts"] if "functionCall" in part]
    return [(None, call["name"], _same(call["args"])) for call in calls]


def _same(decoded: Any) -> str:
    """Return the arguments' own text for what they decode to."""
    return ARGUMENTS if decoded == json.loads(ARGUMENTS) else str(decoded)


def json_like(text: str) -> Any:
    """Return a result that is an object decoded, since it may have become one; its own members tell more than space."""
    return json.loads(text) if text.startswith("{") else text


def spelled(upstream: str, agent: Agent, second: Body) -> bytes:
    """Return how the arguments must stand in the upstream's body: as the client wrote them."""
    if agent.custom:
        return b""
    text = ARGUMENTS if agent.dialect in {"chat", "responses"} else json.dumps(json.loads(ARGUMENTS))
    return json.dumps(text, ensure_ascii=False).encode() if upstream in {"chat", "responses"} else text.encode()


@pytest.mark.parametrize(("agent", "upstream", "model"), PAIRS, ids=str)
def test_another_upstream_gets_no_signature(agent: Agent, upstream: str, model: str) -> None:
    stream = answer(upstream, flat_name(agent), arguments_of(agent))
    second = agent.then(agent.first, answered(agent, agent.first, upstream, stream))
    for other, (other_model, *_) in MODELS.items():
        if other == agent.dialect:
            continue
        body = sent(read(agent, second), other, target(other_model, "elsewhere/model")).body
        assert SIGNATURE.encode() not in body
        assert signatures.PREFIX.encode() not in body
        assert not wrong(other, json.loads(body))
    own = translate.dialect(agent.dialect).render_request(parsed(agent, second), model="m")
    assert SIGNATURE.encode() not in own
    assert signatures.PREFIX.encode() not in own
    calls = [entry for entry in told_by_client(agent, json.loads(own)) if entry[0] in {"call", "result"}]
    assert [kind for kind, *_ in calls] == ["call", "result"]


def told_by_client(agent: Agent, body: Body) -> list[Entry]:
    """Return what a body of the client's own dialect tells of calls: ids may be missing."""
    if agent.dialect == "responses":
        kinds = {"function_call": "call", "custom_tool_call": "call"}
        items = [item for item in body["input"] if "call" in item.get("type", "")]
        return [(kinds.get(item["type"], "result"), item["call_id"]) for item in items]
    if agent.dialect == "gemini":
        parts = [part for content in body["contents"] for part in content["parts"]]
        kinds = {"functionCall": "call", "functionResponse": "result"}
        return [(kinds[name], part) for part in parts for name in kinds if name in part]
    return told(agent.dialect, body)


def test_equal_requests_are_equal_bytes() -> None:
    for agent, upstream, model in PAIRS:
        once, twice = (sent(read(agent, agent.first), upstream, target(model)).body for _ in range(2))
        assert once == twice


# -- single requests ---------------------------------------------------------------------------------------------------

Make = Callable[[], Body]


def client(dialect: str, path: bytes = b"", query: bytes = b"") -> Agent:
    return Agent("a client", dialect, {}, lambda body, _: body, path=path, query=query)


def everywhere(dialect: str) -> list[tuple[str, str]]:
    return [(upstream, model) for upstream, models in MODELS.items() if upstream != dialect for model in models]


def told_everywhere(
    dialect: str, body: Body, path: bytes = b"", query: bytes = b""
) -> list[tuple[str, Body, list[Entry]]]:
    """Return what a request becomes for each upstream, and what that tells."""
    found = []
    for upstream, model in everywhere(dialect):
        document = json.loads(sent(read(client(dialect, path, query), body), upstream, target(model)).body)
        assert not wrong(upstream, document), (upstream, model)
        found.append((upstream, document, told(upstream, document)))
    return found


def kinds_of(entries: list[Entry]) -> list[str]:
    return [entry[0] for entry in entries if entry[0] != "thought"]


def test_references_to_tools_become_text_and_the_placeholder_goes() -> None:
    for upstream, document, entries in told_everywhere("messages", claude_code.found_tools()):
        assert tools(upstream, document) == ["list_files", "ToolSearch", "mcp__weather__today"]
        assert b"defer_loading" not in json.dumps(document).encode()
        assert "mcp__weather__today" in entries[-1][2]


def test_a_billing_line_and_a_placeholder_reach_nobody_else() -> None:
    for upstream, document, _ in told_everywhere("messages", claude_code.request()):
        assert tools(upstream, document) == ["list_files", "ToolSearch"]
        assert "billing" not in json.dumps(document)


@pytest.mark.parametrize("signature", ["", "foreign", "gAAAAABforeign"])
def test_thinking_that_nobody_here_signed_is_left_out(signature: str) -> None:
    for upstream, document, entries in told_everywhere("messages", claude_code.unsigned(signature)):
        assert signature not in json.dumps(document) or not signature
        call, result, *rest = [entry for entry in entries if entry[0] != "thought"][-3:]
        assert call[:2] == ("call", "call_0123")
        assert result[:2] == ("result", "call_0123")
        assert "no such folder" in result[2]
        assert rest == [("user", "Go on.")]
        thoughts = [entry for entry in entries if entry[0] == "thought"]
        wanted = [("thought", "I should look.", None)] if "thinking" in upstream_extras(document) else []
        assert [entry for entry in thoughts if entry[2] != gemini_cli.SKIP] == wanted, upstream


def upstream_extras(document: Body) -> set[str]:
    """Return `thinking` where the upstream wants the text of earlier reasoning back."""
    return {"thinking"} if str(document.get("model", "")).startswith("deepseek") else set()


def test_a_search_of_the_web_goes_where_there_is_one_and_is_refused_elsewhere() -> None:
    agent = client("messages")
    for upstream, model in everywhere("messages"):
        conversation = read(agent, claude_code.web_search())
        if upstream == "chat":
            with pytest.raises(ClientError) as refused:
                sent(conversation, upstream, target(model))
            assert refused.value.failure.param == "tools.0"
            continue
        document = json.loads(sent(conversation, upstream, target(model)).body)
        assert not wrong(upstream, document)
        assert document["tools"] in ([{"type": "web_search"}], [{"googleSearch": {}}])


def test_what_adaptive_thinking_becomes() -> None:
    found = {}
    losses = Losses()
    conversation = read(client("messages"), claude_code.request(), losses)
    for upstream, model in everywhere("messages"):
        found[model] = json.loads(sent(conversation, upstream, target(model), losses).body)
    assert found["gpt-5.5"]["reasoning"] == {"effort": "medium"}
    assert found["gemini-3.8-flash"]["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "MEDIUM"}
    assert found["deepseek-v4-flash"]["reasoning_effort"] in {"low", "high"}
    assert found["gpt-4o"].keys().isdisjoint({"reasoning_effort", "thinking"})
    limits = [found["gpt-5.5"]["max_output_tokens"], found["gpt-4o"]["max_tokens"]]
    assert limits == [128_000, 16_384]
    assert found["gemini-3.8-flash"]["generationConfig"]["maxOutputTokens"] == 65_536
    assert "context_management" in losses.dropped
    assert "max_tokens" in losses.dropped


def test_a_tool_for_structured_output_stays_a_tool() -> None:
    for upstream, document, _ in told_everywhere("messages", claude_code.structured()):
        assert tools(upstream, document) == ["StructuredOutput"]


def test_codex_searches_the_web_where_there_is_a_search_and_else_is_told() -> None:
    agent = client("responses")
    for upstream, model in everywhere("responses"):
        losses = Losses()
        conversation = read(agent, codex.request(), losses)
        if model == "gemini-2.5-flash":
            with pytest.raises(ClientError):
                sent(conversation, upstream, target(model), losses)
            continue
        document = json.loads(sent(conversation, upstream, target(model), losses).body)
        assert not wrong(upstream, document)
        assert "list_files" in tools(upstream, document)
        assert "apply_patch" in tools(upstream, document)
        assert "tools[2]" in losses.dropped
        assert ("tools[3]" in losses.dropped) == (upstream == "chat")


def test_a_summary_is_asked_for_without_tools() -> None:
    for _, document, entries in told_everywhere("responses", codex.compaction()):
        assert "tools" not in document
        assert kinds_of(entries)[-2:] == ["assistant", "user"]


def test_only_its_vendor_can_be_triggered_to_summarise() -> None:
    with pytest.raises(ClientError) as refused:
        read(client("responses"), codex.compaction_trigger())
    assert refused.value.failure.param == "input[4]"


def test_what_an_agent_says_to_another_is_the_users() -> None:
    for _, _, entries in told_everywhere("responses", codex.sub_agent()):
        assert entries[-2:] == [("user", "From the first agent:"), ("user", "Count the files.")]


def test_a_free_form_call_of_the_history_is_wrapped() -> None:
    for _, document, entries in told_everywhere("responses", codex.patched()):
        call, result = [entry for entry in entries if entry[0] != "thought"][-2:]
        assert call == ("call", "call_p", "apply_patch", {"input": codex.PATCH})
        assert result == ("result", "call_p", "Done.")
        assert "gAAAA" not in json.dumps(document)


def test_the_lite_form_offers_its_tools_by_flat_names() -> None:
    flat = ["functions__exec", "functions__wait", "files__list_files", "collaboration__spawn_agent"]
    for upstream, document, _ in told_everywhere("responses", codex.lite()):
        assert tools(upstream, document) == flat
        assert '"encrypted"' not in json.dumps(document)


GEMINI = {"path": b"m:generateContent", "query": b""}


def test_a_schema_with_types_in_upper_case_becomes_json_schema() -> None:
    for upstream, model in everywhere("gemini"):
        written_ = sent(read(client("gemini", b"m:generateContent"), gemini_cli.router()), upstream, target(model))
        text = written_.body.decode()
        assert '"OBJECT"' not in text
        assert '"INTEGER"' not in text
        assert "complexity_score" in text


def test_two_questions_in_a_row_are_one_side() -> None:
    for _, _, entries in told_everywhere("gemini", gemini_cli.router(), **GEMINI):
        users = [entry for entry in entries if entry[0] == "user"]
        assert users == [("user", gemini_cli.CONTEXT), ("user", QUESTION)]


def test_the_searching_call_of_gemini_cli() -> None:
    agent = client("gemini", b"m:generateContent")
    for upstream, model in everywhere("gemini"):
        conversation = read(agent, gemini_cli.web_search())
        if upstream == "chat":
            with pytest.raises(ClientError):
                sent(conversation, upstream, target(model))
        else:
            document = json.loads(sent(conversation, upstream, target(model)).body)
            assert [tool["type"].rstrip("_0123456789") for tool in document["tools"]] == ["web_search"]


def test_calls_without_ids_are_paired_in_order() -> None:
    for _, _, entries in told_everywhere("gemini", gemini_cli.without_ids(), **GEMINI):
        (_, one, _, first), (_, other, _, second), in_first, in_second = [
            entry for entry in entries if entry[0] in {"call", "result"}
        ]
        assert (first, second) == ({"path": "a"}, {"path": "b"})
        assert one != other
        assert in_first == ("result", one, "in a")
        assert in_second == ("result", other, "in b")


def test_a_tool_for_the_form_must_be_called_alone() -> None:
    found = {upstream: document for upstream, document, _ in told_everywhere("messages", ai_sdk.messages_form())}
    assert found["responses"]["tool_choice"] == "required"
    assert found["responses"]["parallel_tool_calls"] is False
    assert found["chat"]["tool_choice"] == "required"
    assert found["gemini"]["toolConfig"]["functionCallingConfig"]["mode"] == "ANY"


@pytest.mark.parametrize("kind", ["json_schema", "json_object"])
def test_a_form_of_the_answer_is_asked_for_everywhere(kind: str) -> None:
    for upstream, document, _ in told_everywhere("chat", ai_sdk.chat_form(kind)):
        text = json.dumps(document)
        assert ("count" in text) == (kind == "json_schema")
        assert "json" in text.lower(), upstream


def test_snake_case_is_read() -> None:
    for upstream, document, _ in told_everywhere("gemini", vendor_sdks.genai_form(), **GEMINI):
        assert "count" in json.dumps(document), upstream


@pytest.mark.parametrize("dialect", ["chat", "messages", "gemini"])
def test_edits_in_plain_text_are_passed_on(dialect: str) -> None:
    path, query = (b"m:streamGenerateContent", b"alt=sse") if dialect == "gemini" else (b"", b"")
    first = frameworks.aider(dialect)
    agent = Agent("aider", dialect, first, lambda body, _: body, path=path, query=query)
    for upstream, document, entries in told_everywhere(dialect, first, path, query):
        assert kinds_of(entries) == ["system", "user", "assistant", "user"]
        assert "tools" not in document
        stream = {
            "chat": upstream_chat.stream(*upstream_chat.said(*frameworks.EDIT)),
            "responses": upstream_responses.stream(upstream_responses.said(*frameworks.EDIT)),
            "messages": upstream_messages.stream(*upstream_messages.texts(0, *frameworks.EDIT)),
            "gemini": (upstream_gemini.chunk(upstream_gemini.said(frameworks.EDIT)), upstream_gemini.END),
        }[upstream]
        received = json.dumps(answered(agent, first, upstream, written(upstream, stream)))
        if dialect != "gemini":
            assert json.dumps(frameworks.EDIT)[1:-1] in received


def test_nulls_are_absent_and_nothing_is_told_about_them() -> None:
    losses = Losses()
    agent = client("responses")
    conversation = read(agent, frameworks.llama_index_responses(), losses)
    assert losses.dropped == []
    assert conversation.output_tokens_max is None


def test_a_reference_to_reasoning_is_left_out_and_said() -> None:
    agent = next(agent for agent in AGENTS if agent.name == "ai sdk, responses")
    received = answered(agent, agent.first, "messages", answer("messages", agent.tool, ARGUMENTS))
    losses = Losses()
    read(agent, agent.then(agent.first, received), losses)
    assert losses.dropped == ["input[2]"]


def test_the_types_find_what_is_wrong() -> None:
    good: dict[str, Body] = {
        "chat": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
        "responses": {"model": "m", "input": [{"type": "message", "role": "user", "content": "x"}]},
        "messages": {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
    }
    lists = {"chat": "messages", "responses": "input", "messages": "messages", "gemini": "contents"}
    for dialect, body in good.items():
        assert faults(dialect, body) == []
        assert faults(dialect, {**body, "odd": 1})
        assert faults(dialect, {**body, lists[dialect]: [{**body[lists[dialect]][0], "cache_control": {}}]})
        assert faults(dialect, {**body, lists[dialect]: [{"role": "user", "content": [{"type": "odd"}]}]})
    assert faults("messages", {"model": "m", "messages": []}) == [
        ".max_tokens: missing in MessageCreateParamsNonStreaming"
    ]
