"""Reads Chat Completions as a client does: a stream gathered as the official SDK gathers it, then the message.

The rule of gathering is the SDK's (`openai/lib/streaming/_deltas.py`): texts are concatenated, numbers added, except
`index` and `type`, whatever they mean; lists of objects are merged by position; usage is what the last chunk says. It
is written again here because the SDK needs milliseconds for a stream, and because two readers that agree are a better
witness than one.
"""

from typing import Any

from tests.translation import seen
from tests.translation.seen import Counts, Fault, MisunderstoodError, Seen

Document = dict[str, Any]

DONE = "[DONE]"


def gathered(payloads: list[Any]) -> Document:
    """Return the completion that the chunks make, with an `error` member if the stream carried one."""
    document: Document | None = None
    for payload in payloads:
        if isinstance(payload, str) and payload.startswith(DONE):
            break
        if not isinstance(payload, dict):
            raise MisunderstoodError(f"not a chunk: {payload!r}")
        if payload.get("error"):
            return {**(document or {}), "error": payload["error"]}
        if document is None:
            document = {**payload, "choices": []}
            _merge_choices(document["choices"], payload)
            continue
        _merge_choices(document["choices"], payload)
        document["usage"] = payload.get("usage")
    return document or {}


def _merge_choices(choices: list[Document], payload: Document) -> None:
    if not isinstance(payload.get("choices"), list):
        raise MisunderstoodError("choices is not a list")
    for choice in payload["choices"]:
        position = choice["index"]
        if position > len(choices):
            raise MisunderstoodError(f"choice {position} before choice {len(choices)}")
        if position == len(choices):
            choices.append({"index": position, "message": {}, "finish_reason": None})
        merge(choices[position]["message"], choice["delta"])
        choices[position]["finish_reason"] = choice.get("finish_reason") or choices[position]["finish_reason"]


def merge(into: Document, delta: Document) -> None:
    """Add one delta, as the SDK does."""
    for name, value in delta.items():
        old = into.get(name)
        if isinstance(value, list) and (old is None or isinstance(old, list)):
            into[name] = old = old or []
            _merge_entries(old, value)
        elif old is None or name in {"index", "type"}:
            into[name] = value
        elif isinstance(old, dict) and isinstance(value, dict):
            merge(old, value)
        elif isinstance(old, str | int | float) and isinstance(value, str | int | float):
            into[name] = old + value  # type: ignore[operator] # a mixture raises there too
        elif value is not None:
            raise MisunderstoodError(f"{name}: {old!r} cannot be joined with {value!r}")


def _merge_entries(entries: list[Any], added: list[Any]) -> None:
    fresh = not entries
    for entry in added:
        if not isinstance(entry, dict) or "index" not in entry:
            if not fresh:
                raise MisunderstoodError(f"a later list entry without an index: {entry!r}")
            entries.append(entry)
        elif entry["index"] > len(entries):
            raise MisunderstoodError(f"entry {entry['index']} before entry {len(entries)}")
        elif entry["index"] == len(entries):
            entries.append({})
            merge(entries[-1], entry)
        else:
            merge(entries[entry["index"]], entry)


def understood(document: Document) -> Seen:
    """Return what the completion says."""
    error = document.get("error")
    choices = [_choice(choice) for choice in document.get("choices") or []]
    first = choices[0] if choices else Seen()
    return Seen(
        blocks=first.blocks,
        finish=None if error else first.finish,
        usage=_usage(document.get("usage")),
        signatures=first.signatures,
        citations=first.citations,
        choices=tuple(choices[1:]),
        error=fault(error) if error else None,
    )


def fault(error: Any, status: int | None = None) -> Fault:
    """Return an `error` member as understood."""
    if not isinstance(error, dict):
        return Fault("", status=status)
    return Fault(error.get("message") or "", error.get("type"), error.get("code"), status)


def _choice(choice: Document) -> Seen:
    message = choice["message"]
    if message.get("role") not in {None, "assistant"}:
        raise MisunderstoodError(f"role {message['role']!r}")
    calls = message.get("tool_calls") or []
    details = message.get("reasoning_details") or []
    return Seen(
        blocks=seen.grouped(
            [
                seen.reasoning(message.get("reasoning_content") or message.get("reasoning") or ""),
                seen.text(message.get("content") or ""),
                seen.refusal(message.get("refusal") or ""),
                *(_image(image) for image in message.get("images") or []),
                *(_call(entry) for entry in calls),
            ]
        ),
        finish=choice.get("finish_reason"),
        signatures=seen.distinct(
            [
                *(entry.get("signature") or entry.get("data") for entry in details),
                *(_google(entry).get("thought_signature") for entry in [message, *calls]),
            ]
        ),
        citations=seen.distinct(
            (note.get("url_citation") or {}).get("url") for note in message.get("annotations") or []
        ),
    )


def _google(entry: Document) -> Document:
    return (entry.get("extra_content") or {}).get("google") or {}


def _call(entry: Document) -> seen.Block:
    if entry.get("type") == "custom":
        return seen.call(entry["id"], entry["custom"]["name"], {"input": entry["custom"]["input"]})
    if entry.get("type") != "function":
        raise MisunderstoodError(f"a call of type {entry.get('type')!r}")
    return seen.call(entry["id"], entry["function"]["name"], entry["function"]["arguments"])


def _image(image: Document) -> seen.Block:
    head, _, data = image["image_url"]["url"].partition(";base64,")
    return seen.blob(head.removeprefix("data:"), seen.size_of_base64(data))


def _usage(usage: Document | None) -> Counts | None:
    if not usage:
        return None
    prompt, completion = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    if usage.get("total_tokens") not in {None, usage["prompt_tokens"] + usage["completion_tokens"]}:
        raise MisunderstoodError(f"the total is not the sum: {usage!r}")
    return Counts(
        usage["prompt_tokens"],
        usage["completion_tokens"],
        prompt.get("cached_tokens") or 0,
        prompt.get("cache_write_tokens") or 0,
        completion.get("reasoning_tokens") or 0,
    )
