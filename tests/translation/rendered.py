"""Conversations as flat lists of what is said, and each dialect's way of writing one down, as its clients do.

An entry is ("system" | "user" | "assistant", text), ("media", content or address), ("thought", text, signature value),
("call", id, name, arguments) or ("result", id, text, is_error, media). Arguments are JSON text; a free-form tool's are
wrapped, as for an upstream that has none. `entries` says the same of a neutral conversation; `held` leaves out of a
list what a dialect has no form for, and is the table of what gets lost on a round trip.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from adapters import signatures
from adapters.conversation import Call, Conversation, Media, Part, Reasoning, Refusal, Result, Role, Text
from adapters.dialects.chat_tokens import Place, entry
from adapters.signatures import Signature
from adapters.tool_calls import custom_input
from adapters.tool_calls.names import Names, ToolName

Body = dict[str, Any]
Entry = tuple[Any, ...]

PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQK"
ADDRESS = "https://a.example/b.png"

READ, WRITE, PATCH = "read", "files.write", "patch"
"""Tools: one with a name that not every vendor takes, and one that takes free text."""
FLAT = Names([ToolName(READ), ToolName(WRITE), ToolName(PATCH)])

OWN, FOREIGN = "b3du", "ZWxz"
"""How the values of signatures begin that the upstream has made, and of those that another has; behind it four digits
make base64 of it."""
SCOPE, ELSEWHERE = "upstream/model", "elsewhere/model"

LABEL = re.compile(r"From the result of the tool call .*:|Part of the result of .*:")
STAND_INS = {"(The result follows in the next message.)", "The result is attached below."}
ERROR = "Error: "


# -- of a neutral conversation -----------------------------------------------------------------------------------------


def entries(conversation: Conversation) -> list[Entry]:
    """Return what a conversation says: texts of one side that follow each other are one, labels of ours are none."""
    said: list[Entry] = []
    for turn in conversation.turns:
        for part in turn.parts:
            each = _entry(turn.role, part, conversation.names)
            if each is None:
                continue
            if said and each[0] in {"user", "assistant", "system"} and said[-1][0] == each[0]:
                said[-1] = (each[0], said[-1][1] + each[1])
            else:
                said.append(each)
    return said


def _entry(role: Role, part: Part, names: Names) -> Entry | None:
    match part:
        case Text(text=text) | Refusal(text=text):
            if not text or LABEL.fullmatch(text):
                return None
            folded = re.fullmatch("<system>(.*)</system>", text, re.DOTALL)
            if role is Role.SYSTEM or folded is not None:
                return "system", (folded[1] if folded is not None else text).replace("\n\n", "")
            return role.value, text
        case Media():
            return "media", part.content or part.url
        case Reasoning():
            return "thought", part.text, part.signature.value if part.signature is not None else None
        case Call():
            arguments = custom_input.wrap(part.arguments) if part.custom else part.arguments
            return "call", part.id, names.flat(part.name, part.namespace), arguments
        case Result():
            text = "".join(each.text for each in part.parts if isinstance(each, Text))
            media = tuple(each.content or each.url for each in part.parts if isinstance(each, Media))
            return "result", part.call_id, "" if text in STAND_INS else text, part.is_error, media


# -- what a dialect holds ----------------------------------------------------------------------------------------------


def held(dialect: str, said: Iterable[Entry]) -> list[Entry]:
    """Return what of a conversation the dialect has a form for.

    | dialect   | what it has no form for          | what becomes of it                                    |
    |-----------|----------------------------------|-------------------------------------------------------|
    | chat      | order inside the assistant's turn | thoughts, then text, then calls                       |
    | chat      | errors of calls                  | "Error: " in front of the text                        |
    | chat      | media in results                 | the user's, behind all results                        |
    | responses | errors of calls                  | "Error: " in front of the text, unless it begins so   |
    | messages  | media in results that are errors | the user's, behind all results                        |
    | gemini    | addresses in results             | the user's, behind all results                        |
    | any       | texts of one side in a row       | one text, or several parts: they say the same         |
    | any       | signatures of another upstream   | nothing, and the thought with them                    |
    | a model   | system turns in between          | the user's, in `<system>` tags, at their place        |
    """
    kept = list(said)
    if dialect == "chat":
        kept = [each for run in _assistants(kept) for each in run]
    moved: list[Entry] = []
    waiting: list[Entry] = []
    for each in [*kept, ("end",)]:
        if each[0] == "result":
            result, media = _RESULTS[dialect](each)
            moved.append(result)
            waiting += media
        else:
            moved += waiting
            waiting = []
            moved.append(each)
    return list(_joined(moved[:-1]))


def _joined(said: Iterable[Entry]) -> Iterator[Entry]:
    for kind, run in groupby(said, lambda each: each[0]):
        if kind in {"user", "assistant", "system"}:
            yield kind, "".join(each[1] for each in run)
        else:
            yield from run


def _assistants(said: list[Entry]) -> Iterator[list[Entry]]:
    for assistant, run in groupby(said, lambda each: each[0] in {"thought", "assistant", "call"}):
        listed = list(run)
        yield sorted(listed, key=lambda each: ["thought", "assistant", "call"].index(each[0])) if assistant else listed


Split = tuple[Entry, list[Entry]]


def _in_words(result: Entry) -> Entry:
    kind, call_id, text, is_error, media = result
    if is_error and not text.lower().startswith("error"):
        text = ERROR + text if text else ERROR.strip()
    return kind, call_id, text, False, media


def _chat_result(result: Entry) -> Split:
    kind, call_id, text, is_error, media = result
    if is_error:
        text = ERROR + text if text else ERROR.strip()
    return (kind, call_id, text, False, ()), [("media", each) for each in media]


def _messages_result(result: Entry) -> Split:
    if not (result[3] and result[4]):
        return result, []
    return (*result[:4], ()), [("media", each) for each in result[4]]


def _gemini_result(result: Entry) -> Split:
    inside = tuple(each for each in result[4] if each != ADDRESS)
    return (*result[:4], inside), [("media", each) for each in result[4] if each == ADDRESS]


_RESULTS: dict[str, Callable[[Entry], Split]] = {
    "chat": _chat_result,
    "responses": lambda result: (_in_words(result), []),
    "messages": _messages_result,
    "gemini": _gemini_result,
}


# -- as a client writes it ---------------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def body_of(dialect: str, said: list[Entry], maker: str) -> bytes:
    """Return a client's request; signatures are those of upstreams of the dialect `maker`, as tokens."""
    return msgspec.json.encode(_BODIES[dialect](_turns(said), maker))


Turns = list[tuple[str, list[Entry]]]
_SIDES = {"system": "system", "user": "user", "media": "user", "result": "result"}


def _turns(said: list[Entry]) -> Turns:
    return [(side, list(run)) for side, run in groupby(said, lambda each: _SIDES.get(each[0], "assistant"))]


def _token(value: str, maker: str) -> str:
    scope = SCOPE if value.startswith(OWN) else ELSEWHERE
    return signatures.pack(Signature(maker, scope, value, item_id="rs_1" if maker == "responses" else ""))


def _is_pdf(media: str) -> bool:
    return media == PDF


def _data_url(media: str) -> str:
    if media == ADDRESS:
        return media
    return f"data:{'application/pdf' if _is_pdf(media) else 'image/png'};base64,{media}"


def _chat(turns: Turns, maker: str) -> Body:
    messages: list[Body] = []
    for side, said in turns:
        if side == "result":
            messages += [{"role": "tool", "tool_call_id": each[1], "content": each[2]} for each in said]
        elif side == "assistant":
            messages.append(_chat_message(said, maker))
        else:
            messages.append({"role": side, "content": [_chat_part(each) for each in said]})
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in (READ, WRITE)]
    return {"model": "m", "messages": messages, "tools": [*tools, {"type": "custom", "custom": {"name": PATCH}}]}


def _chat_part(each: Entry) -> Body:
    if each[0] != "media":
        return {"type": "text", "text": each[1]}
    if _is_pdf(each[1]):
        return {"type": "file", "file": {"filename": "a.pdf", "file_data": _data_url(each[1])}}
    return {"type": "image_url", "image_url": {"url": _data_url(each[1])}}


def _chat_message(said: list[Entry], maker: str) -> Body:
    message: Body = {"role": "assistant", "content": "".join(each[1] for each in said if each[0] == "assistant")}
    details: list[object] = []
    thought = ""
    for each in said:
        if each[0] == "thought":
            place = Place(0, 0, len(thought), len(thought) + len(each[1]))
            signature = signatures.unpack(_token(each[2], maker))
            assert signature is not None
            details.append(entry(signature, len(details), place))
            thought += each[1]
    if details:
        message |= {"reasoning_content": thought, "reasoning_details": details}
    calls = [_chat_call(each) for each in said if each[0] == "call"]
    return message | ({"tool_calls": calls} if calls else {})


def _chat_call(each: Entry) -> Body:
    _, call_id, name, arguments = each
    if name == PATCH:
        custom = {"name": name, "input": custom_input.unwrap(arguments)}
        return {"id": call_id, "type": "custom", "custom": custom}
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _responses(turns: Turns, maker: str) -> Body:
    items: list[Body] = [_item(side, each, maker) for side, said in turns for each in said]
    tools = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in (READ, WRITE)]
    return {"model": "m", "input": items, "tools": [*tools, {"type": "custom", "name": PATCH}], "store": False}


def _item(side: str, each: Entry, maker: str) -> Body:
    kind = each[0]
    if kind == "thought":
        summary = [{"type": "summary_text", "text": each[1]}] if each[1] else []
        return {"type": "reasoning", "id": "rs_9", "summary": summary, "encrypted_content": _token(each[2], maker)}
    if kind == "call":
        _, call_id, name, arguments = each
        if name == PATCH:
            free = custom_input.unwrap(arguments)
            return {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": free}
        return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
    if kind == "result":
        output = [{"type": "input_text", "text": each[2]}] if each[2] else []
        output += [_input(("media", medium)) for medium in each[4]]
        return {"type": "function_call_output", "call_id": each[1], "output": output}
    part = {"type": "output_text", "text": each[1]} if side == "assistant" else _input(each)
    return {"type": "message", "role": side, "content": [part]}


def _input(each: Entry) -> Body:
    if each[0] != "media":
        return {"type": "input_text", "text": each[1]}
    if _is_pdf(each[1]):
        return {"type": "input_file", "filename": "a.pdf", "file_data": _data_url(each[1])}
    return {"type": "input_image", "image_url": _data_url(each[1])}


def _messages(turns: Turns, maker: str) -> Body:
    messages: list[Body] = []
    for side, said in turns:
        role = "user" if side == "result" else side
        messages.append({"role": role, "content": [_block(each, maker) for each in said]})
    tools = [{"name": name, "input_schema": SCHEMA} for name in (READ, WRITE, PATCH)]
    return {"model": "m", "max_tokens": 100, "messages": messages, "tools": tools}


def _block(each: Entry, maker: str) -> Body:
    kind = each[0]
    if kind == "thought":
        return {"type": "thinking", "thinking": each[1], "signature": _token(each[2], maker)}
    if kind == "call":
        return {"type": "tool_use", "id": each[1], "name": each[2], "input": msgspec.Raw(each[3].encode())}
    if kind == "result":
        content = [{"type": "text", "text": each[2]}] if each[2] else []
        content += [_block(("media", medium), maker) for medium in each[4]]
        return {"type": "tool_result", "tool_use_id": each[1], "content": content, "is_error": each[3]}
    if kind != "media":
        return {"type": "text", "text": each[1]}
    if each[1] == ADDRESS:
        return {"type": "image", "source": {"type": "url", "url": each[1]}}
    pdf = _is_pdf(each[1])
    source = {"type": "base64", "media_type": "application/pdf" if pdf else "image/png", "data": each[1]}
    return {"type": "document" if pdf else "image", "source": source}


def _gemini(turns: Turns, maker: str) -> Body:
    contents: list[Body] = []
    system: list[Body] = []
    for number, (side, said) in enumerate(turns):
        if side == "assistant":
            contents.append({"role": "model", "parts": list(_model_parts(said, maker))})
        elif side == "system" and not number:
            system = [{"text": each[1]} for each in said]
        else:
            contents.append({"role": "user", "parts": [_part(each) for each in said]})
    declared = [{"name": name, "parametersJsonSchema": SCHEMA} for name in (READ, WRITE, PATCH)]
    body: Body = {"contents": contents, "tools": [{"functionDeclarations": declared}]}
    return body | ({"systemInstruction": {"parts": system}} if system else {})


def _model_parts(said: list[Entry], maker: str) -> Iterator[Body]:
    signature: str | None = None
    for each in said:
        if each[0] == "thought":
            if signature is not None:
                yield {"text": "", "thoughtSignature": signature}
            if each[1]:
                yield {"text": each[1], "thought": True}
            signature = _token(each[2], maker)
            continue
        part: Body = {"text": each[1]}
        if each[0] == "call":
            part = {"functionCall": {"id": each[1], "name": each[2], "args": msgspec.Raw(each[3].encode())}}
        yield part if signature is None else {**part, "thoughtSignature": signature}
        signature = None


def _part(each: Entry) -> Body:
    kind = each[0]
    if kind == "result":
        _, call_id, text, is_error, media = each
        response = {"error" if is_error else "output": text}
        inside = {"parts": [_part(("media", medium)) for medium in media]} if media else {}
        return {"functionResponse": {"id": call_id, "response": response, **inside}}
    if kind == "system":
        return {"text": f"<system>{each[1]}</system>"}
    if kind != "media":
        return {"text": each[1]}
    if each[1] == ADDRESS:
        return {"fileData": {"mimeType": "image/png", "fileUri": each[1]}}
    return {"inlineData": {"mimeType": "application/pdf" if _is_pdf(each[1]) else "image/png", "data": each[1]}}


_BODIES: dict[str, Callable[[Turns, str], Body]] = {
    "chat": _chat,
    "responses": _responses,
    "messages": _messages,
    "gemini": _gemini,
}
