"""Every hard case has a test of its name: `test_b13_...`; a name may bear several numbers."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CASES = set(range(1, 65)) - {60}
"""B60 is about realtime sessions, which this gateway does not relay yet."""

_NUMBERED = re.compile(r"test(?:_b\d\d)+_")
_NUMBER = re.compile(r"(?<=_b)\d\d(?=_)")


def named_cases() -> set[int]:
    """Return the numbers in the names of all test functions."""
    found: set[int] = set()
    for path in ROOT.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                numbered = _NUMBERED.match(node.name)
                found |= set(map(int, _NUMBER.findall(numbered[0]))) if numbered is not None else set()
    return found


def test_every_hard_case_has_a_named_test() -> None:
    assert sorted(CASES - named_cases()) == []
