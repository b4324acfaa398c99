"""Shape: a TOML table into a declared section, with every mistake of shape found on the way.

Walks a value beside its declaration in `options`: wrong types, values out of bounds, unknown keys. What does not fit
is noted and left at its default, so that reading goes on and the rest is checked too. It knows types, not meanings.
No value is ever quoted: a secret may stand in the wrong place.
"""

import datetime
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET
from msgspec import inspect as declared

from engine.config.findings import Findings, below, did_you_mean

S = TypeVar("S", bound=msgspec.Struct)

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    (int, "an integer"),
    (float, "a number"),
    (str, "a string"),
    (Mapping, "a table"),
    ((list, tuple), "an array"),
    ((datetime.date, datetime.time), "a date or time"),
)


def read(struct: type[S], value: object, path: str, findings: Findings) -> S:
    """Read the table `value` as a `struct`; what does not fit is noted in `findings` and left at its default.

    Never raises for any value that TOML can express, or JSON.
    """
    if not isinstance(value, Mapping):
        findings.problem(path, f"must be a table, not {_kind(value)}")
        return struct()
    fields = _fields(struct)
    given: dict[str, Any] = {}
    for name, item in value.items():
        where = below(path, str(name))
        if name not in fields:
            findings.problem(where, f"unknown key{did_you_mean(str(name), fields) or _known(fields)}")
            continue
        converted = _convert(fields[name], item, where, findings)
        if converted is not UNSET:
            given[name] = converted
    return struct(**given)


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, declared.Type]:
    info = declared.type_info(struct)
    assert isinstance(info, declared.StructType)
    return {field.name: field.type for field in info.fields}


def _convert(wanted: declared.Type, value: object, path: str, findings: Findings) -> object:  # noqa: PLR0911 - one a type
    """Return `value` as `wanted`, or UNSET after noting why not."""
    match wanted:
        case declared.Metadata():
            return _convert(wanted.type, value, path, findings)
        case declared.UnionType():
            # Only `X | None` is declared, and TOML has no null: what is present is an X.
            present = next(item for item in wanted.types if not isinstance(item, declared.NoneType))
            return _convert(present, value, path, findings)
        case declared.StructType():
            if isinstance(value, Mapping):
                return read(wanted.cls, value, path, findings)
            return _unfit("a table", value, path, findings)
        case declared.DictType():
            return _convert_table(wanted, value, path, findings)
        case declared.VarTupleType():
            return _convert_array(wanted, value, path, findings)
        case declared.IntType() | declared.FloatType():
            return _convert_number(wanted, value, path, findings)
        case declared.BoolType():
            return value if isinstance(value, bool) else _unfit("true or false", value, path, findings)
        case declared.StrType():
            return value if isinstance(value, str) else _unfit("a string", value, path, findings)
        case declared.LiteralType():
            return _convert_choice(wanted, value, path, findings)
    raise AssertionError(f"no reading is defined for {wanted}")


def _convert_table(wanted: declared.DictType, value: object, path: str, findings: Findings) -> object:
    if not isinstance(value, Mapping):
        return _unfit("a table", value, path, findings)
    converted = {
        str(name): _convert(wanted.value_type, item, below(path, str(name)), findings) for name, item in value.items()
    }
    return {name: item for name, item in converted.items() if item is not UNSET}


def _convert_array(wanted: declared.VarTupleType, value: object, path: str, findings: Findings) -> object:
    if not isinstance(value, list | tuple):
        return _unfit("an array", value, path, findings)
    converted = [_convert(wanted.item_type, item, f"{path}[{i}]", findings) for i, item in enumerate(value)]
    return UNSET if UNSET in converted else tuple(converted)


def _convert_number(
    wanted: declared.IntType | declared.FloatType, value: object, path: str, findings: Findings
) -> object:
    whole = isinstance(wanted, declared.IntType)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return _unfit("an integer" if whole else "a number", value, path, findings)
    low, above, high = wanted.ge, wanted.gt, wanted.le
    fits = math.isfinite(value) if isinstance(value, float) else True
    fits = (
        fits and (low is None or value >= low) and (above is None or value > above) and (high is None or value <= high)
    )
    if not fits:
        bound = f"more than {above:,}" if above is not None else f"at least {low:,}"
        findings.problem(path, f"must be {bound} and at most {high:,}")
        return UNSET
    return value if whole else float(value)


def _convert_choice(wanted: declared.LiteralType, value: object, path: str, findings: Findings) -> object:
    if isinstance(value, str) and value in wanted.values:
        return value
    findings.problem(path, "must be one of " + ", ".join(f'"{choice}"' for choice in wanted.values))
    return UNSET


def _unfit(wanted: str, value: object, path: str, findings: Findings) -> object:
    findings.problem(path, f"must be {wanted}, not {_kind(value)}")
    return UNSET


def _kind(value: object) -> str:
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "something else")


def _known(fields: Mapping[str, object]) -> str:
    return "; known here: " + ", ".join(fields)
