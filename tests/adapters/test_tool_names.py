"""Tests of flat tool names: rewritten only where needed, never shared, and back to the client's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tool_calls.names import Names, ToolName

FLAT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")

NAME = st.text(st.sampled_from("ab_.-1é:"), max_size=6) | st.text(st.sampled_from("ab_"), min_size=60, max_size=70)
TOOL = st.builds(ToolName, NAME, st.none() | NAME, st.booleans())


@pytest.mark.parametrize("name", ["read", "_x", "mcp__files__read", "get-weather", "a" * 64])
def test_a_name_that_keeps_the_rule_stays(name: str) -> None:
    names = Names([ToolName(name)])
    assert names.flat(name) == name
    assert names.original(name) == ToolName(name)


@pytest.mark.parametrize("name", ["files.read", "1st", "-x", "größe", "a b", "", "a" * 65, "ns:tool", "x\n"])
def test_a_name_that_breaks_the_rule_is_rewritten_and_found_again(name: str) -> None:
    names = Names([ToolName(name)])
    flat = names.flat(name)
    assert FLAT.fullmatch(flat)
    assert flat != name
    assert names.original(flat) == ToolName(name)
    assert flat == Names([]).flat(name)


def test_b27_a_namespace_stands_in_front() -> None:
    names = Names([ToolName("read", "files"), ToolName("apply_patch", custom=True)])
    assert names.flat("read", "files") == "files__read"
    assert names.original("files__read") == ToolName("read", "files")
    assert names.original("apply_patch") == ToolName("apply_patch", None, custom=True)


def test_an_empty_namespace_is_none() -> None:
    names = Names([ToolName("read", "")])
    assert names.flat("read") == names.flat("read", "") == "read"


def test_a_tool_whose_name_looks_like_a_namespace_keeps_it() -> None:
    names = Names([ToolName("b", "a"), ToolName("a__b")])
    assert names.flat("a__b") == "a__b"
    assert re.fullmatch("a__b_[0-9a-f]{8}", names.flat("b", "a"))
    assert names.original(names.flat("b", "a")) == ToolName("b", "a")


def test_a_name_too_long_keeps_its_end() -> None:
    flat = Names([]).flat("create_issue", "n" * 80)
    assert len(flat) <= 64
    assert re.search("__create_issue_[0-9a-f]{8}$", flat)


def test_two_names_that_are_cut_alike_stay_two() -> None:
    names = Names([])
    assert names.flat("x" * 70) != names.flat("y" + "x" * 70)


def test_a_name_of_the_history_that_was_not_declared_takes_nobodys_name() -> None:
    names = Names([ToolName("b", "a")])
    assert names.flat("b", "a") == "a__b"
    flat = names.flat("a__b")
    assert flat != "a__b"
    assert names.original(flat) == ToolName("a__b")


def test_a_name_never_given_out_is_the_tools_own() -> None:
    assert Names([ToolName("x", custom=True)]).original("made_up.by:model") == ToolName("made_up.by:model")


def test_a_declared_hash_form_is_not_given_to_another() -> None:
    taken = Names([]).flat("files.read")
    names = Names([ToolName("files.read"), ToolName(taken)])
    assert names.flat(taken) == taken
    assert names.flat("files.read") != taken


@given(declared=st.lists(TOOL, max_size=8), asked=st.lists(TOOL, max_size=8))
def test_flat_names_keep_the_rule_are_never_shared_and_lead_back(
    declared: list[ToolName], asked: list[ToolName]
) -> None:
    names, again = Names(declared), Names(declared)
    given_out: dict[str, tuple[str, str]] = {}
    for tool in [*declared, *asked]:
        flat = names.flat(tool.name, tool.namespace)
        assert flat == again.flat(tool.name, tool.namespace)
        assert FLAT.fullmatch(flat)
        identity = (tool.namespace or "", tool.name)
        assert given_out.setdefault(flat, identity) == identity
        original = names.original(flat)
        assert (original.namespace or "", original.name) == identity
    assert len(set(given_out.values())) == len(given_out)
