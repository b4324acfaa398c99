"""What was asked of the scripted upstream, in no dialect's words, and what readers of requests have in common.

Each of `bench.dialects` reads its own requests into an `Asked`, by hand: the gateway's codecs would make the same
mistake on both sides of a measurement. What a dialect can say and this cannot is left out. A part that is not text
stands as its type in brackets. Pure, and patient with wrong types: only what an answer needs is refused.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec


class UnreadableError(ValueError):
    """A request that gets a 400; `param` names the member at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Turn(msgspec.Struct, frozen=True):
    """One turn of the conversation. A tool call is a turn of the role "call", its result one of the role "tool"."""

    role: str
    text: str


class Tool(msgspec.Struct, frozen=True):
    """A function that may be called, and the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as far as an answer depends on it."""

    model: str = ""
    stream: bool = False
    usage_wanted: bool = True
    """Whether a stream is to say its usage, where that is the client's choice."""
    system: str = ""
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    forced: str | None = None
    """The tool that has to be called, "" for any of them, None for none."""
    shape: dict[str, Any] | None = None
    """The JSON schema of the answer's text, {} for any object, None for text as it comes."""
    output_tokens_max: int | None = None
    temperature: float | None = None
    seed: object = None
    array: bool = False
    """Whether a stream is one JSON array and no event stream."""

    @property
    def heard(self) -> str:
        """The last turn of the user."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")

    @property
    def prompt_tokens(self) -> int:
        """How many words there are in the conversation; calls count nothing."""
        texts = [self.system, *(turn.text for turn in self.turns if turn.role != "call")]
        return sum(len(words(text)) for text in texts)

    def told(self) -> str:
        """Give it as JSON: what arrived, for a client that wants to know whether all of it did."""
        return dump(
            {
                "model": self.model,
                "system": self.system,
                "turns": [[turn.role, turn.text] for turn in self.turns],
                "tools": [tool.name for tool in self.tools],
                "forced": self.forced,
                "shape": self.shape is not None,
                "output_tokens_max": self.output_tokens_max,
                "temperature": self.temperature,
            }
        )


def dump(value: object) -> str:
    """Write JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def words(text: str) -> list[str]:
    """Cut a text into what counts as tokens here: words, each with the blanks before it."""
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", text)


def objects(value: object) -> list[dict[str, Any]]:
    """Give the objects of a list, none when it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def member(value: object, *names: str) -> Any:
    """Give what stands at a path of members, None when the path ends before."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def mapping(value: object) -> dict[str, Any]:
    """Give an object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def count(value: object) -> int | None:
    """Give a number of tokens, None when it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def number(value: object) -> float | None:
    """Give a number as a float, None when it is none: 0 and 0.0 are the same to whoever compares what was told."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def text_of(content: object) -> str:
    """Give the text of a string, or of a list of parts."""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text") or f"[{part.get('type')}]") for part in objects(content))


def call_turn(name: object, arguments: object) -> Turn:
    """Give the turn of a tool call; arguments that are JSON text are written as any other JSON."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return Turn("call", f"{name} {arguments}")
    return Turn("call", f"{name} {json.dumps(arguments, sort_keys=True, ensure_ascii=False)}")


def with_system(turns: Iterable[Turn], system: str = "") -> tuple[str, tuple[Turn, ...]]:
    """Part the system's turns at the beginning, added to `system`, from the others."""
    left = list(turns)
    texts = [system] if system else []
    while left and left[0].role == "system":
        texts.append(left.pop(0).text)
    return "\n\n".join(texts), tuple(left)


def model_of(value: object) -> str:
    """Give the model's name; raises UnreadableError when there is none."""
    if not isinstance(value, str):
        raise UnreadableError("you must provide a model parameter", "model")
    return value
