"""Losses: what refuses, what is named, what is silent, under each policy."""

from pathlib import Path

import pytest

from adapters.errors import ClientError
from adapters.losses import DROPPED_MAX, TABLE, Losses, Policy, Treatment

REFUSED = [name for name, row in TABLE.items() if row.treatment is Treatment.REFUSE]
WARNED = [name for name, row in TABLE.items() if row.treatment is Treatment.WARN]
SILENT = [name for name, row in TABLE.items() if row.treatment is Treatment.SILENT]


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("feature", REFUSED)
def test_what_must_be_refused_is_refused_under_every_policy(feature: str, policy: Policy) -> None:
    with pytest.raises(ClientError) as refused:
        Losses(policy).note(feature, "input[3]")
    failure = refused.value.failure
    assert (failure.status, failure.code, failure.param) == (400, "unsupported_parameter", "input[3]")
    assert "'input[3]'" in failure.message


@pytest.mark.parametrize("feature", WARNED)
def test_a_hint_is_refused_named_or_dropped_as_the_policy_says(feature: str) -> None:
    with pytest.raises(ClientError):
        Losses(Policy.STRICT).note(feature, "seed")
    warned, silent = Losses(), Losses(Policy.SILENT)
    for losses in (warned, silent):
        losses.note(feature, "seed")
        losses.note(feature, "seed")
    assert warned.header() == b"seed"
    assert silent.header() is None


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("feature", SILENT)
def test_what_changes_nothing_is_never_named(feature: str, policy: Policy) -> None:
    losses = Losses(policy)
    losses.note(feature, "store")
    assert losses.header() is None


def test_the_header_is_bounded_and_printable() -> None:
    losses = Losses()
    losses.note("unknown_field", "a, b\r\nx\u20ac" + "y" * 500)
    for number in range(2 * DROPPED_MAX):
        losses.note("unknown_field", f"field{number}")
    header = losses.header()
    assert header is not None
    assert header.startswith(b"a??b??x?yyy")
    assert header.count(b",") == DROPPED_MAX - 1
    assert len(header) < 8_192


def test_the_readme_lists_every_feature_and_its_treatment() -> None:
    words = {Treatment.REFUSE: "refused", Treatment.WARN: "warned", Treatment.SILENT: "silent"}
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.partition("## Between dialects")[2].partition("\n## ")[0]
    listed = [line for line in section.splitlines() if line.startswith("| `")]
    assert listed == [f"| `{name}` | {words[row.treatment]} | {row.title} |" for name, row in TABLE.items()]
