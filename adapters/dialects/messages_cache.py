"""Cache marks of a request: at most four, the longer-lived ones first (platform.claude.com, prompt caching; B56).

Of more, those stay that are worth most: the tools', the system prompt's, and the last two of the messages. A mark with
a longer life behind a shorter one makes that one longer too: what a client wants kept is kept.
"""

from collections.abc import Iterator

Object = dict[str, object]

MARKS_MAX = 4
MARKS_IN_MESSAGES = 2
_LONGER = "1h"


def fit_marks(tools: list[Object], system: list[Object], messages: list[Object]) -> bool:
    """Take away the marks that are too many and put their lives in order, in place; return whether any was taken."""
    of_tools = [tool for tool in tools if "cache_control" in tool]
    of_system = [block for block in system if "cache_control" in block]
    of_messages = list(_marked(messages))
    marked = [*of_tools, *of_system, *of_messages]
    if not marked:
        return False
    kept = marked
    if len(marked) > MARKS_MAX:
        kept = [*of_tools[-1:], *of_system[-1:]]
        kept += of_messages[-max(MARKS_MAX - len(kept), MARKS_IN_MESSAGES) :]
        staying = {id(block) for block in kept}
        for block in marked:
            if id(block) not in staying:
                del block["cache_control"]
    _put_longer_first(kept)
    return len(kept) < len(marked)


def _marked(messages: list[Object]) -> Iterator[Object]:
    """Yield the blocks with marks, in the order in which the upstream reads them."""
    for message in messages:
        content = message["content"]
        for block in content if isinstance(content, list) else ():
            inner = block.get("content")
            for part in inner if isinstance(inner, list) else ():
                if "cache_control" in part:
                    yield part
            if "cache_control" in block:
                yield block


def _put_longer_first(blocks: list[Object]) -> None:
    longer = False
    for block in reversed(blocks):
        control = block["cache_control"]
        assert isinstance(control, dict)
        longer = longer or control.get("ttl") == _LONGER
        if longer:
            block["cache_control"] = {"type": "ephemeral", "ttl": _LONGER}
