"""Principals and the keyring: what a key may be used for, by whose rows, and what becomes of it when they change."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.errors import ClientError
from engine.budgets.allowance import Unit
from engine.config import Config, Group, load_document
from engine.keyring import NO_GROUP, Keyring
from engine.keys import digest_of
from engine.principal import NOBODY, PPM, USABLE_MAX, Principal, compiled
from store.rows import Account, Key, News, Team
from tests.engine.live import document

TOKEN, OTHER = b"sk-hr-one", b"sk-hr-two"
KEY = Key(id="key_1", account="acc_1", name="first", digest=digest_of(TOKEN))
ACCOUNT = Account(id="acc_1", name="anna")


def principal(*, account: dict[str, Any] | None = None, group: Group | None = None, **key: Any) -> Principal:
    return Principal("key_1", key=replace(KEY, **key), account=replace(ACCOUNT, **(account or {})), group=group)


def refused(made: Principal, address: str = "10.0.0.1", now: float = 1_000.0) -> tuple[int, str | None] | None:
    """Return the status and the code of the refusal, None when there is none."""
    try:
        made.check(address, now)
    except ClientError as exc:
        return exc.failure.status, exc.failure.code
    return None


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "model", "usable"),
    [
        (("*",), "anything/at all", True),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o",), "a-gpt-4o", False),
        (("gpt-4o",), "GPT-4o", False),
        (("gpt-*",), "gpt-", True),
        (("gpt-*",), "gpt", False),
        (("*-mini",), "gpt-4o-mini", True),
        (("*-mini",), "gpt-4o-mini-2", False),
        (("a*b*c",), "abbbcbc", True),
        (("a*b*c",), "acb", False),
        (("a*a",), "a", False),
        (("a**a",), "aa", True),
        (("gpt.4",), "gpt-4", False),
        (("x", "y*"), "yes", True),
        (("gpt-4o",), "gpt-4o\n", False),
        (("gpt*",), "gpt\n4", True),
        ((), "gpt-4o", True),
    ],
)
def test_a_key_names_models_by_patterns(patterns: tuple[str, ...], model: str, usable: bool) -> None:
    made = principal(models=patterns)
    assert made.may_use(model) is usable
    assert made.may_use(model) is usable, "the second time it is remembered"


@given(
    patterns=st.lists(st.text("ab*.", min_size=1, max_size=8), min_size=1, max_size=3), model=st.text("ab.", max_size=8)
)
def test_a_pattern_means_what_a_plain_regular_expression_means(patterns: list[str], model: str) -> None:
    plain = "|".join(".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns)
    assert (compiled(tuple(patterns)).match(model) is not None) == (re.fullmatch(plain, model) is not None)


def test_many_stars_take_no_longer_than_few() -> None:
    # A regular expression that goes back would need more than the age of the universe, and the loop would wait.
    assert not principal(models=("*a" * 40 + "*b",)).may_use("a" * 256)


def test_a_model_must_be_named_by_the_key_and_by_the_group() -> None:
    made = principal(models=("gpt-*",), group=Group("g", ("*-mini",)))
    assert [name for name in ("gpt-4o", "gpt-4o-mini", "o-mini") if made.may_use(name)] == ["gpt-4o-mini"]


def test_in_an_unknown_group_there_is_no_model() -> None:
    assert not principal(group=NO_GROUP).may_use("gpt-4o")
    assert compiled(()).match("") is None


def test_names_that_clients_make_up_are_not_kept_for_ever() -> None:
    made = principal(models=("m-1*",))
    for i in range(3 * USABLE_MAX):
        assert made.may_use(f"m-{i}") is str(i).startswith("1")
    assert len(made._usable) <= USABLE_MAX


# -- addresses, time and state -----------------------------------------------------------------------------------------

NETWORKS = ("10.0.0.0/8", "2001:db8::/32")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::1", False),
        ("unix", False),
        ("", False),
        ("10.0.0.1 ", False),
    ],
)
def test_a_key_is_used_from_its_addresses_only(address: str, allowed: bool) -> None:
    assert refused(principal(addresses=NETWORKS), address) == (None if allowed else (403, "address_not_allowed"))
    assert refused(principal(), address) is None, "without addresses from everywhere"


@pytest.mark.parametrize(("now", "expected"), [(999.9, None), (1_000.0, (401, "expired_api_key"))])
def test_a_key_expires(now: float, expected: tuple[int, str] | None) -> None:
    assert refused(principal(expires=1_000), now=now) == expected


def test_who_is_disabled_is_told_so_and_before_anything_else() -> None:
    assert refused(principal(disabled=True)) == (401, "disabled_api_key")
    assert refused(principal(account={"disabled": True})) == (401, "disabled_api_key")
    assert refused(principal(disabled=True, expires=1, addresses=("192.0.2.0/24",))) == (401, "disabled_api_key")
    assert refused(principal(expires=1, addresses=("192.0.2.0/24",))) == (401, "expired_api_key")


def test_a_key_is_used_for_its_surfaces_only() -> None:
    principal().check_surface("chat")
    principal(surfaces=("chat", "messages")).check_surface("messages")
    with pytest.raises(ClientError) as caught:
        principal(surfaces=("chat",)).check_surface("messages")
    assert (caught.value.failure.status, caught.value.failure.code) == (403, "surface_not_allowed")


def test_who_needs_no_account_may_do_everything() -> None:
    for made in (NOBODY, Principal("configured")):
        assert refused(made, "unix") is None
        made.check_surface("chat")
        assert made.may_use("anything")
        assert made.budgets == ()


# -- the keyring -------------------------------------------------------------------------------------------------------


def configured(**sections: Any) -> Config:
    return load_document(document("http://127.0.0.1:9", **sections), {})


def ring(config: Config | None = None, **news: Any) -> Keyring:
    keys = Keyring(config or configured())
    keys.learn(News(version=1, **{"keys": (KEY,), "accounts": (ACCOUNT,), **news}))
    return keys


def known(keys: Keyring, token: bytes = TOKEN) -> Principal:
    found = keys.authenticate(token)
    assert found is not None
    return found


def test_a_principal_is_made_once_and_kept_until_something_of_it_changes() -> None:
    keys = ring(accounts=(replace(ACCOUNT, team="t"),), teams=(Team(id="t", name="t"),))
    first = known(keys)
    assert known(keys) is first
    keys.learn(News(version=2, accounts=(Account(id="acc_2", name="bob"),), teams=(Team(id="u", name="u"),)))
    assert known(keys) is first, "that is somebody else"


@pytest.mark.parametrize("change", ["key", "account", "team", "group", "nothing"])
def test_news_of_any_row_take_effect(change: str) -> None:
    account = replace(ACCOUNT, team="t")
    keys = ring(accounts=(account,), teams=(Team(id="t", name="t"),))
    before = known(keys)
    news = {
        "key": News(version=2, keys=(replace(KEY, cap_day_nanos=5),)),
        "account": News(version=2, accounts=(replace(account, cap_day_nanos=5),)),
        "team": News(version=2, teams=(Team(id="t", name="t", cap_day_nanos=5),)),
        "group": News(version=2, accounts=(replace(account, group="unknown"),)),
        "nothing": News(version=2),
    }
    keys.learn(news[change])
    after = known(keys)
    assert (after is before) is (change == "nothing")
    caps = [each.called for each in after.budgets if each.unit is Unit.MONEY and each.limit is not None]
    assert caps == ([f"daily cap of the {change}"] if change in {"key", "account", "team"} else [])
    assert after.may_use("fast") is (change != "group")


def test_a_key_that_is_disabled_stays_known_and_is_refused() -> None:
    keys = ring()
    assert refused(known(keys)) is None
    keys.learn(News(version=2, keys=(replace(KEY, disabled=True),)))
    assert refused(known(keys)) == (401, "disabled_api_key")
    assert keys.required, "a gateway whose keys are all disabled is not open"


def test_a_rotated_key_loses_its_old_token_at_once() -> None:
    keys = ring()
    known(keys)
    keys.learn(News(version=2, keys=(replace(KEY, digest=digest_of(OTHER)),)))
    assert keys.authenticate(TOKEN) is None
    assert known(keys, OTHER).id == "key_1"
    keys.learn(News(version=3, accounts=(replace(ACCOUNT, disabled=True),)))
    assert refused(known(keys, OTHER)) == (401, "disabled_api_key")


def test_a_key_moves_to_another_team_with_its_account() -> None:
    teams = (Team(id="t", name="t", cap_day_nanos=1), Team(id="u", name="u", cap_day_nanos=2))
    keys = ring(accounts=(replace(ACCOUNT, team="t"),), teams=teams)
    assert known(keys).team == teams[0]
    keys.learn(News(version=2, accounts=(replace(ACCOUNT, team="u"),)))
    assert known(keys).team == teams[1]
    keys.learn(News(version=3, teams=(replace(teams[1], cap_day_nanos=3),)))
    assert [each.limit for each in known(keys).budgets] == [None, 3]


def test_the_group_of_the_key_stands_in_for_the_accounts() -> None:
    groups = {"few": {"models": ["fast"], "price_ratio": 0.5}, "default": {"models": ["slow"]}}
    keys = ring(configured(groups=groups), keys=(replace(KEY, group="few"),))
    assert known(keys).may_use("fast")
    assert known(keys).ratios[1] == PPM // 2
    keys.learn(News(version=2, keys=(KEY,)))
    assert not known(keys).may_use("fast")


def test_the_markup_is_the_accounts_tier_or_the_first() -> None:
    tiers = [{"spend": 0, "markup": 0.4}, {"spend": 10, "markup": 0.1}]
    keys = ring(configured(billing={"tiers": tiers}))
    assert known(keys).ratios == (1_400_000, PPM)
    keys.learn(News(version=2, accounts=(replace(ACCOUNT, markup_ppm=100_000),)))
    assert known(keys).ratios == (1_100_000, PPM)


def test_a_key_of_the_configuration_wins_and_pays_nothing() -> None:
    config = configured(keys={"mine": {"value": TOKEN.decode()}})
    keys = ring(config)
    assert (known(keys).id, known(keys).account) == ("mine", None)
    keys.learn(News(version=2, keys=(replace(KEY, disabled=True),)))
    assert known(keys).id == "mine"
    keys.learn(News(version=3, keys=(replace(KEY, digest=digest_of(OTHER)),)))
    assert (known(keys).id, known(keys, OTHER).id) == ("mine", "key_1")


def test_a_key_that_leaves_the_configuration_leaves_its_token_to_the_stores() -> None:
    keys = ring(configured(keys={"mine": {"value": TOKEN.decode()}}))
    assert known(keys).id == "mine"
    keys.configure(configured())
    assert known(keys).id == "key_1"
    keys.configure(configured(keys={"mine": {"value": TOKEN.decode()}}))
    assert known(keys).id == "mine"


def test_a_reload_changes_groups_and_prices_of_keys_that_stay() -> None:
    keys = ring(configured(groups={"default": {"models": ["slow"]}}))
    assert not known(keys).may_use("fast")
    keys.configure(configured())
    assert known(keys).may_use("fast")
    keys.learn(News(version=2, accounts=(replace(ACCOUNT, cap_day_nanos=5),)))
    assert len(known(keys).budgets) == 2, "news are still heard of"


@pytest.mark.parametrize(("required", "keys"), [(True, ()), (False, ()), (False, (KEY,))])
def test_a_key_is_asked_for_when_there_is_one_or_it_is_configured_so(required: bool, keys: tuple[Key, ...]) -> None:
    config = load_document({"server": {"environment_providers": False}, "accounts": {"required": required}}, {})
    made = Keyring(config)
    made.learn(News(version=1, accounts=(ACCOUNT,), keys=keys))
    assert made.required is (required or bool(keys))
