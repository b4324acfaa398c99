"""Tests of what both stores promise of teams, accounts, keys and news of them."""

import pytest
from msgspec.structs import replace

from store.interface import ConflictError, Store
from store.rows import News, Role, Team, TransferKind
from tests.store.samples import NOW, account, key, with_account


async def test_an_empty_store_has_no_news(store: Store) -> None:
    news = await store.news(None, 0)
    assert (news.version, news.teams, news.accounts, news.keys, news.recalled) == (0, (), (), (), ())


async def test_every_field_of_a_team_comes_back(store: Store) -> None:
    team = Team(id="team_1", name="Ops", cap_day_nanos=1, cap_month_nanos=2**60, created=NOW)
    put = await store.put_team(team)
    assert put == replace(team, version=put.version)
    assert put.version > 0
    assert (await store.news(None, 0)).teams == (put,)


async def test_every_field_of_an_account_comes_back(store: Store) -> None:
    await store.put_team(Team(id="team_1", name="Ops"))
    full = account(
        role=Role.ADMIN,
        team="team_1",
        group="premium",
        disabled=True,
        cap_day_nanos=0,
        cap_month_nanos=3,
        markup_ppm=400_000,
        rolling_nanos=5,
    )
    put = await store.put_account(full)
    assert put == replace(full, version=put.version)
    assert await store.account("acc_1") == put
    assert isinstance(put.role, Role)
    [read] = (await store.news(None, 0)).accounts
    assert read == put
    assert isinstance(read.role, Role)


async def test_every_field_of_a_key_comes_back(store: Store) -> None:
    await store.put_account(account())
    full = key(
        digest=bytes(range(32)),
        shown="wxyz",
        surfaces=("one", "two"),
        models=("a*", 'b, "c"\''),
        addresses=("10.0.0.0/8", "2001:db8::/32"),
        group="premium",
        expires=NOW + 1,
        disabled=True,
        cap_day_nanos=0,
        cap_month_nanos=1,
        requests_per_minute=2,
        tokens_per_minute=3,
        in_flight_max=4,
    )
    put = await store.put_key(full)
    assert put == replace(full, version=put.version)
    assert (await store.news(None, 0)).keys == (put,)


async def test_what_is_not_set_comes_back_as_none_or_empty(store: Store) -> None:
    await store.put_account(account())
    put = await store.put_key(key())
    [read] = (await store.news(None, 0)).keys
    assert read == put == replace(key(), version=put.version)
    assert (read.cap_day_nanos, read.expires, read.surfaces, read.disabled) == (None, None, (), False)
    [read_account] = (await store.news(None, 0)).accounts
    assert (read_account.team, read_account.markup_ppm, read_account.cap_month_nanos) == (None, None, None)


async def test_text_is_kept_as_it_is(store: Store) -> None:
    name = "Zoë 'Robert\"); DROP TABLE accounts;-- \N{SNOWMAN}"
    await store.put_account(account(name=name))
    found = await store.account(name)
    assert found is not None
    assert found.name == name


async def test_an_account_is_found_by_id_before_name(store: Store) -> None:
    first = await store.put_account(account("acc_1", name="acc_2"))
    second = await store.put_account(account("acc_2", name="x"))
    assert await store.account("acc_1") == first
    assert await store.account("acc_2") == second
    assert await store.account("x") == second
    assert await store.account("nobody") is None


async def test_versions_rise_over_all_tables_and_news_are_what_is_newer(store: Store) -> None:
    team = await store.put_team(Team(id="team_1", name="Ops"))
    first = await store.put_account(account("acc_1"))
    second = await store.put_account(account("acc_2"))
    its = await store.put_key(key("key_1", "acc_2"))
    assert 0 < team.version < first.version < second.version < its.version
    news = await store.news(None, first.version)
    assert (news.version, news.teams, news.accounts, news.keys) == (its.version, (), (second,), (its,))
    news = await store.news(None, its.version)
    assert (news.version, news.teams, news.accounts, news.keys) == (its.version, (), (), ())


async def test_a_change_is_news_once_more_and_only_the_new_state_is_told(store: Store) -> None:
    await store.put_account(account())
    before = await store.put_key(key())
    changed = await store.put_key(key(disabled=True, cap_day_nanos=9, version=before.version))
    assert changed.version > before.version
    assert changed == key(disabled=True, cap_day_nanos=9, version=changed.version)
    assert (await store.news(None, before.version)).keys == (changed,)
    assert (await store.news(None, 0)).keys == (changed,)


async def test_what_was_changed_since_it_was_read_is_not_written_over(store: Store) -> None:
    team = await store.put_team(Team(id="team_1", name="Ops"))
    payer = await store.put_account(account())
    first = await store.put_key(key())
    for stale in (0, 999):
        with pytest.raises(ConflictError, match="changed in the meantime"):
            await store.put_team(Team(id="team_1", name="Other", version=stale))
        with pytest.raises(ConflictError, match="changed in the meantime"):
            await store.put_account(account(disabled=True, version=stale))
        with pytest.raises(ConflictError, match="changed in the meantime"):
            await store.put_key(key(disabled=True, version=stale))
    assert await store.news(None, 0) == News(version=first.version, teams=(team,), accounts=(payer,), keys=(first,))
    await store.put_key(replace(first, disabled=True))
    with pytest.raises(ConflictError):
        await store.put_key(replace(first, cap_day_nanos=5))


@pytest.mark.parametrize("version", [0, 999])
async def test_the_version_of_a_new_row_says_nothing(store: Store, version: int) -> None:
    first = await store.put_account(account("acc_1", version=version))
    second = await store.put_account(account("acc_2", version=version))
    assert 0 < first.version < second.version < 999


async def test_money_is_no_news(store: Store) -> None:
    await with_account(store)
    version = (await store.news(None, 0)).version
    await store.credit("acc_1", 5, TransferKind.GRANT, id="g", now=NOW)
    await store.enter("w1", NOW)
    assert (await store.news(None, version)).version == version


async def test_when_it_was_created_is_kept_when_it_is_changed(store: Store) -> None:
    team = await store.put_team(Team(id="team_1", name="Ops", created=NOW))
    payer = await store.put_account(account(created=NOW))
    first = await store.put_key(key(created=NOW))
    changed = await store.put_team(replace(team, name="Operations", created=NOW + 9))
    assert (changed.name, changed.created) == ("Operations", NOW)
    assert (await store.put_account(replace(payer, created=NOW + 9))).created == NOW
    assert (await store.put_key(replace(first, created=NOW + 9))).created == NOW
    news = await store.news(None, 0)
    assert (news.teams[0].created, news.accounts[0].created, news.keys[0].created) == (NOW, NOW, NOW)


async def test_an_account_changes_its_team_and_leaves_it(store: Store) -> None:
    await store.put_team(Team(id="team_1", name="Ops"))
    made = await store.put_account(account(team="team_1"))
    await store.put_account(replace(made, team=None))
    found = await store.account("acc_1")
    assert found is not None
    assert found.team is None


async def test_an_account_of_an_unknown_team_is_refused(store: Store) -> None:
    with pytest.raises(ConflictError):
        await store.put_account(account(team="team_9"))
    assert await store.account("acc_1") is None
    assert (await store.news(None, 0)).version == 0


async def test_a_name_belongs_to_one_account(store: Store) -> None:
    first = await store.put_account(account("acc_1", name="x"))
    other = await store.put_account(account("acc_2", name="y"))
    with pytest.raises(ConflictError):
        await store.put_account(account("acc_3", name="x"))
    with pytest.raises(ConflictError):
        await store.put_account(replace(other, name="x"))
    assert await store.account("acc_3") is None
    second = await store.account("acc_2")
    assert second is not None
    assert second.name == "y"
    await store.put_account(replace(first, disabled=True))


async def test_a_key_of_an_unknown_account_is_refused(store: Store) -> None:
    with pytest.raises(ConflictError):
        await store.put_key(key(account="acc_9"))
    assert (await store.news(None, 0)).keys == ()


async def test_a_digest_belongs_to_one_key(store: Store) -> None:
    await store.put_account(account("acc_1"))
    await store.put_account(account("acc_2"))
    first = await store.put_key(key("key_1", digest=b"d" * 32))
    with pytest.raises(ConflictError):
        await store.put_key(key("key_2", digest=b"d" * 32))
    with pytest.raises(ConflictError):
        await store.put_key(key("key_2", "acc_2", digest=b"d" * 32))
    assert (await store.news(None, 0)).keys == (first,)


async def test_a_name_belongs_to_one_key_of_an_account(store: Store) -> None:
    await store.put_account(account("acc_1"))
    await store.put_account(account("acc_2"))
    first = await store.put_key(key("key_1", "acc_1", name="x"))
    with pytest.raises(ConflictError):
        await store.put_key(key("key_2", "acc_1", name="x"))
    await store.put_key(key("key_2", "acc_2", name="x"))
    await store.put_key(replace(first, disabled=True))


async def test_a_conflict_harms_nobody_who_comes_after(store: Store) -> None:
    with pytest.raises(ConflictError):
        await store.put_key(key(account="acc_9"))
    await store.put_account(account())
    await store.put_key(key())
    assert await store.check() == []
