"""Keys and money against somebody who means harm: what is written where, what can be guessed, what can be bypassed."""

import base64
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import psutil
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from werkzeug.datastructures import Headers

from adapters import registry
from adapters.errors import ClientError
from adapters.usage import TOKENS_MAX, Usage
from bench import upstream
from engine import keyring
from engine.budgets.allowance import Allowance, Budget, Unit
from engine.budgets.periods import Period
from engine.config import Config, Limits, load_document
from engine.console import account_asked, account_roster
from engine.console.account_roster import Roster
from engine.datadir import database
from engine.exchange import Exchange
from engine.http1 import Request, RequestParser
from engine.keyring import Keyring
from engine.keys import digest_of
from engine.layers.authenticate import credential
from engine.layers.charge import Meter, open_meter
from engine.minting import mint
from engine.principal import is_within
from engine.router import Router
from engine.routes import resolve
from engine.treasury import Treasury, enter
from store.db import open_store
from store.memory import MemoryStore
from store.rows import Account, Key, LogFilter, News, TransferKind
from tests.engine.accounts import CHAT, DOLLAR, PRICES, TOKEN, Shop, open_account, shop
from tests.engine.fakes import ROLE, delta
from tests.engine.live import document
from tests.engine.test_account_api import BEARER, PATHS, app_of, fill
from tests.engine.test_account_api import TOKEN as ANNS
from tests.engine.test_processes import serving

KEY = Key(id="key_1", account="acc_1", name="first", digest=digest_of(TOKEN.encode()), created=1)
ACCOUNT = Account(id="acc_1", name="anna", created=1)
NOBODYS = "sk-hr-" + "z" * 43


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def request_of(head: bytes, body: bytes = b"") -> Request:
    """Return the request of a first line and fields, as a worker reads it."""
    parser = RequestParser(Limits())
    parser.feed(b"%b\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (head, len(body), body))
    request = parser.pop()
    assert request is not None
    return request


# -- which tokens are a key --------------------------------------------------------------------------------------------


def keyring_of(*keys: Key, accounts: tuple[Account, ...] = (ACCOUNT,)) -> Keyring:
    made = Keyring(Config())
    made.learn(News(version=1, accounts=accounts, keys=keys))
    return made


@st.composite
def strangers(draw: st.DrawFn) -> bytes:
    """Tokens that are a key but for a little."""
    token = TOKEN.encode()
    at = draw(st.integers(0, len(token)))
    other = draw(st.binary(min_size=1, max_size=4))
    made = draw(
        st.sampled_from(
            [
                *(token[:at], token[at:], token[:at] + other + token[at:], token[: at - 1] + other + token[at:]),
                *(token.swapcase(), token.upper(), token + token, token[::-1], token + b"\0", other + token),
                *(token.replace(b"sk-hr-", b""), token.replace(b"-", b"_"), digest_of(token), b"%b " % token),
                *(digest_of(token).hex().encode(), base64.b64encode(token), TOKEN.encode("utf-16"), bytes(32)),
            ]
        )
    )
    return made if made != token else made + b"x"


@given(stranger=strangers() | st.binary(max_size=80))
async def test_what_is_almost_a_key_is_none(stranger: bytes) -> None:
    assert keyring_of(KEY).authenticate(TOKEN.encode()) is not None
    assert keyring_of(KEY).authenticate(stranger) is None
    store = MemoryStore()
    await open_account(store)
    with pytest.raises(ClientError) as refused:
        await Roster(store).identify(stranger, 2.0, "")
    assert refused.value.failure.code == "invalid_api_key"


ODD = [b"sk-a?b", b"sk-\xff\xfe", "sk-ключ".encode(), b"sk-a+b c"]


@pytest.mark.parametrize("token", ODD)
@given(data=st.data())
def test_in_the_query_a_token_is_its_bytes_and_no_other_text(token: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(token)))
    mutated = token[:at] + data.draw(st.binary(max_size=3) | st.just("€".encode())) + token[at + 1 :]
    for said in (token, mutated):
        query = b"a=1&key=" + quote_from_bytes(said, safe="").encode()
        found = (
            credential(request_of(b"GET /v1/models?" + query + b" HTTP/1.1")),
            account_asked.credential(Headers(), query),
        )
        assert found == (said or None, said or None)


# -- what can be told from a refusal -----------------------------------------------------------------------------------

GUESSES: list[bytes] = [
    NOBODYS.encode(),
    TOKEN[:-1].encode(),
    TOKEN.swapcase().encode(),
    b"x",
    b"sk-hr-",
    b"\xff\xfe\x80",
    b"'; DROP TABLE keys; --",
    b"%s" * 100,
    b"A" * 6_000,
    digest_of(TOKEN.encode()).hex().encode(),
]
SURFACES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/chat/completions", CHAT),
    ("POST", "/completions", {"model": "scripted", "prompt": "x"}),
    ("POST", "/responses", {"model": "scripted", "input": "x"}),
    ("POST", "/messages", {"model": "scripted", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}),
    ("POST", "/models/scripted:generateContent", {"contents": [{"parts": [{"text": "x"}]}]}),
    ("GET", "/models", None),
    ("GET", "/models/scripted", None),
]


async def seen(made: Shop, surface: tuple[str, str, Any], token: bytes) -> tuple[int, list[tuple[str, str]], str]:
    """Return all of an answer but what tells one request from another."""
    method, path, body = surface
    headers = [(b"authorization", b"Bearer " + token)]
    answer = await made.client.request(method, f"{made.live.base_url}{path}", json=body, headers=headers)
    number = answer.headers["x-request-id"]
    # Whether the connection is closed goes by whether the body had arrived with its head.
    headers_ = answer.headers.items()
    shown = [(name, value.replace(number, "ID")) for name, value in headers_ if name not in {"date", "connection"}]
    return answer.status_code, sorted(shown), answer.text.replace(number, "ID")


@pytest.mark.parametrize("key", [{}, {"disabled": True}, {"expires": 2}, {"addresses": ("10.0.0.0/8",)}])
async def test_who_guesses_is_told_the_same_whatever_there_is(
    store: MemoryStore, tmp_path: Path, key: dict[str, Any]
) -> None:
    theirs = {"disabled": 401, "expires": 401, "addresses": 403}
    async with shop(store, tmp_path, key=key) as made:
        for surface in SURFACES:
            answers = [await seen(made, surface, guess) for guess in GUESSES]
            assert answers[0][0] == 401
            assert "incorrect API key" in answers[0][2]
            assert all(answer == answers[0] for answer in answers)
            answer = await seen(made, surface, TOKEN.encode())
            assert answer != answers[0], "who has all of it is told what is wrong with it"
            assert answer[0] == (theirs[next(iter(key))] if key else 200)


@pytest.mark.parametrize("path", PATHS)
async def test_a_console_that_is_asked_for_others_knows_nobody(tmp_path: Path, path: str) -> None:
    app, api = app_of(tmp_path)
    store = MemoryStore()
    await fill(store)
    api.open(store)
    client = app.test_client()

    async def answer(query: str, **headers: str) -> tuple[int, bytes, list[tuple[str, str]]]:
        said = await client.get(f"{path}?{query}", headers=headers)
        return said.status_code, await said.get_data(as_text=False), sorted(said.headers.items())

    refusals = [await answer("", authorization=f"Bearer {guess}") for guess in ("x", NOBODYS, ANNS[:-1], ANNS.upper())]
    assert refusals[0][0] == 401
    assert refusals == [refusals[0]] * len(refusals)
    for name in ("id", "name", "username", "user_id", "account", "key_id", "token_name", "group"):
        there = [await answer(f"{name}={value}", **BEARER) for value in ("acc_2", "bob", "key_2", "team_1")]
        absent = await answer(f"{name}=nobody-at-all", **BEARER)
        assert there == [absent] * len(there)
        assert b"bob" not in absent[1]
    plain = await answer("", **BEARER)
    for name in ("new-api-user", "x-user-id", "x-forwarded-user", "cookie"):
        assert await answer("", **BEARER, **{name: "acc_2"}) == plain


# -- what a look-up does -----------------------------------------------------------------------------------------------


@dataclass
class Steps:
    """What was computed, by name, and of how many bytes."""

    taken: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)

    def watch(self, monkeypatch: pytest.MonkeyPatch, module: Any, *names: str) -> None:
        for name in names:
            monkeypatch.setattr(module, name, self._counted(name, getattr(module, name)))

    def _counted(self, name: str, function: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.taken.append((name, tuple(len(each) for each in arguments if isinstance(each, bytes))))
            return function(*arguments, **options)

        return counted

    def of(self) -> list[tuple[str, tuple[int, ...]]]:
        taken, self.taken = self.taken, []
        return taken


class CountedKeys(dict[bytes, Any]):
    """An index that notes how often it is asked."""

    asked = 0

    def get(self, key: bytes, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


def many(count: int) -> tuple[Key, ...]:
    return (KEY, *(replace(KEY, id=f"k{i}", name=f"n{i}", digest=digest_of(b"%d" % i)) for i in range(count)))


@pytest.mark.parametrize("count", [0, 500])
def test_a_look_up_takes_the_same_steps_whether_or_not_there_is_a_key(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    steps, keys = Steps(), keyring_of(*many(count))
    steps.watch(monkeypatch, keyring, "_digest_of", "compare_digest")
    index = keys._keys = CountedKeys(keys._keys)
    expected = [("_digest_of", (len(TOKEN),)), ("compare_digest", (32, 32))]
    for token in (TOKEN, NOBODYS, TOKEN.swapcase(), TOKEN):
        keys.authenticate(token.encode())
        assert steps.of() == expected
    assert index.asked == 4


@pytest.mark.parametrize("count", [0, 500])
async def test_a_roster_takes_the_same_steps_whether_or_not_there_is_a_key(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore, count: int
) -> None:
    await store.put_account(ACCOUNT)
    for key in many(count):
        await store.put_key(key)
    roster, steps = Roster(store), Steps()
    await roster.identify(TOKEN.encode(), 2.0, "")
    steps.watch(monkeypatch, account_roster, "digest_of", "compare_digest", "Principal")
    await roster.identify(TOKEN.encode(), 2.0, "")
    expected = steps.of()
    assert [name for name, _ in expected] == ["digest_of", "Principal", "compare_digest"]
    for token in (NOBODYS, TOKEN.swapcase()):
        with pytest.raises(ClientError):
            await roster.identify(token.encode(), 2.0, "")
        assert steps.of() == expected


# -- which models there are --------------------------------------------------------------------------------------------

ASKED_AS: list[tuple[str, dict[str, Any] | None]] = [
    ("/chat/completions", {"messages": CHAT["messages"]}),
    ("/completions", {"prompt": "x"}),
    ("/responses", {"input": "x"}),
    ("/messages", {"max_tokens": 5, "messages": CHAT["messages"]}),
    ("/messages/count_tokens", {"messages": CHAT["messages"]}),
    ("/models/{}:generateContent", {"contents": [{"parts": [{"text": "x"}]}]}),
    ("/models/{}:countTokens", {"contents": [{"parts": [{"text": "x"}]}]}),
    ("/models/{}", None),
]


GROUPS: dict[str, Any] = {"few": {"models": ["sc*"]}}
LIMITED: list[dict[str, Any]] = [
    {"groups": GROUPS, "account": {"group": "few"}},
    {"groups": GROUPS, "key": {"group": "few"}},
    {"account": {"group": "a group that is gone"}},
    {"key": {"models": ("sc*",)}},
]


@pytest.mark.parametrize("sections", LIMITED)
async def test_a_model_that_is_hidden_is_one_that_does_not_exist(
    store: MemoryStore, tmp_path: Path, sections: dict[str, Any]
) -> None:
    restricted = {"scripted-1": {"kind": "compatible", "models": ["scripted"], "restrict": True, "key": "sk-upstream"}}
    async with upstream.running() as server:
        restricted["scripted-1"]["base_url"] = server.base_url
        async with shop(store, tmp_path, providers=restricted, **sections) as made:

            async def said(path: str, body: dict[str, Any] | None, model: str) -> tuple[int, list[str], str]:
                named = body if body is None or "{}" in path else {**body, "model": model}
                surface = ("GET" if body is None else "POST", path.format(model), named)
                status, headers, text = await seen(made, surface, TOKEN.encode())
                return status, [name for name, _ in headers], text.replace(model, "NAME")

            for path, body in ASKED_AS:
                hidden, unknown = await said(path, body, "fast"), await said(path, body, "fist")
                assert hidden == unknown
                assert hidden[0] == 404
                if "gone" not in str(sections):
                    assert await said(path, body, "scfast") == unknown, "one that it might have, were there one"
            assert server.log == []


LISTS = ["/v1/models", "/api/v1/models", "/anthropic/v1/models", "/v1beta/models", "/compatible/v1/models"]


@pytest.mark.parametrize("sections", LIMITED)
async def test_a_model_that_is_hidden_is_not_listed(
    store: MemoryStore, tmp_path: Path, sections: dict[str, Any]
) -> None:
    async with shop(store, tmp_path, **sections) as made:
        for path in LISTS:
            headers = {"authorization": f"Bearer {TOKEN}"}
            listed = (await made.client.get(made.live.origin + path, headers=headers)).text
            assert "fast" not in listed
            assert ("scripted" in listed) is ("gone" not in str(sections))
            headers = {"authorization": f"Bearer {made.live.key}"}
            everything = (await made.client.get(made.live.origin + path, headers=headers)).text
            assert "fast" in everything
            assert "scripted" in everything


# -- where a request comes from ----------------------------------------------------------------------------------------

CLAIMS = ("x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip")


@pytest.mark.parametrize(("network", "status"), [("10.0.0.0/8", 403), ("127.0.0.0/8", 200), ("::1/128", 403)])
async def test_an_address_is_the_connections_whatever_a_request_claims(
    store: MemoryStore, tmp_path: Path, network: str, status: int
) -> None:
    async with shop(store, tmp_path, key={"addresses": (network,)}) as made:
        for claimed in ("10.1.1.1", "for=10.1.1.1;by=127.0.0.1", "::1", "127.0.0.1, 10.1.1.1"):
            headers = {"authorization": f"Bearer {TOKEN}", **dict.fromkeys(CLAIMS, claimed)}
            answer = await made.client.post(f"{made.live.base_url}/chat/completions", json=CHAT, headers=headers)
            assert answer.status_code == status
        treasury = made.live.gateway.treasury
        assert treasury is not None
        await treasury.log.flush()
        assert {row.address for row in await store.logs(LogFilter())} <= {"127.0.0.1"}


@given(address=st.ip_addresses(v=4), length=st.integers(0, 32), other=st.ip_addresses(v=4))
def test_an_address_is_the_same_by_its_mapped_name(address: IPv4Address, length: int, other: IPv4Address) -> None:
    network = ip_network((int(other) >> (32 - length) << (32 - length), length))
    for spelled in (f"::ffff:{address}", f"0:0:0:0:0:FFFF:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}"):
        assert is_within(spelled, (network,)) == is_within(str(address), (network,)) == (address in network)
    # Other ways to put an address into another one are for routers, and anybody may have one.
    for embedded in (
        f"::{address}",
        f"64:ff9b::{address}",
        f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1",
    ):
        assert ip_address(embedded).version == 6
        assert not is_within(embedded, (network,))


@given(
    st.text(max_size=20).map("x{}".format) | st.sampled_from(["unix", "", "127.0.0.1:80", "[::1]", "010.0.0.1", "1"])
)
def test_what_is_no_address_is_in_no_network(text: str) -> None:
    assert not is_within(text, (ip_network("0.0.0.0/0"), ip_network("::/0")))


# -- what a request may cost -------------------------------------------------------------------------------------------

NUMBERS = [
    *("0", "1", "-1", "-9223372036854775808", "9223372036854775807", "9223372036854775808", "18446744073709551616"),
    *("1e3", "1e308", "1e400", "-1e400", "0.1", "-0.0", "16.0", "true", "false", "null", '"7"', '"-7"', "[]", "[9]"),
    *("{}", '{"a":1}', "-0", "9" * 400, "-" + "9" * 400, "1" + "0" * 5000, '"\\u0000"', "NaN", "Infinity"),
]
numbers = st.sampled_from(NUMBERS) | st.integers().map(str) | st.floats(allow_nan=False, allow_infinity=False).map(repr)


@dataclass(frozen=True)
class Asked:
    """How one dialect is asked: its path, what it must say, and what says how much there may be."""

    path: bytes
    rest: str
    limits: tuple[str, ...]
    choices: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    """Where these stand, any of it."""


MESSAGES = '"messages":[{"role":"user","content":"x"}]'
DIALECTS = {
    "chat": Asked(b"/v1/chat/completions", MESSAGES, ("max_tokens", "max_completion_tokens"), ("n",)),
    "legacy": Asked(b"/v1/completions", '"prompt":"x"', ("max_tokens",), ("n", "best_of")),
    "responses": Asked(b"/v1/responses", '"input":"x"', ("max_output_tokens",)),
    "messages": Asked(b"/v1/messages", MESSAGES, ("max_tokens",)),
    "gemini": Asked(
        b"/v1beta/models/scripted:generateContent",
        '"contents":[{"parts":[{"text":"x"}]}]',
        ("maxOutputTokens", "max_output_tokens"),
        ("candidateCount", "candidate_count"),
        ("generationConfig", "generation_config"),
    ),
}


@st.composite
def bodies(draw: st.DrawFn, asked: Asked) -> bytes:
    """Bodies that set limits as no honest client does, some of them several times."""
    members = st.tuples(st.sampled_from(asked.limits + asked.choices), numbers).map('"{0[0]}":{0[1]}'.format)
    said = draw(st.lists(members, max_size=4))
    if asked.inside:
        names = draw(st.lists(st.sampled_from(asked.inside), min_size=1, max_size=3))
        said = [f'"{name}":{{{",".join(draw(st.permutations(said)))}}}' for name in names]
    must = [asked.rest, *([] if asked.inside else ['"model":"scripted"'])]
    return ("{" + ",".join(draw(st.permutations([*must, *said]))) + "}").encode()


def stated(name: str, limits: str) -> bytes:
    """Return the body of a request in a dialect that states limits."""
    asked = DIALECTS[name]
    return ("{" + ",".join([*([] if asked.inside else ['"model":"scripted"']), asked.rest, limits]) + "}").encode()


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:9])
@pytest.mark.parametrize("name", DIALECTS)
def test_any_number_is_read_as_a_limit_or_none_or_refused(name: str, number: str) -> None:
    asked, dialect = DIALECTS[name], registry.dialect(name)
    for member in (*asked.limits, *asked.choices):
        limits = f'"{member}":{number}'
        body = stated(name, f'"{asked.inside[0]}":{{{limits}}}' if asked.inside else limits)
        try:
            request = dialect.parse_request(body, b"scripted:generateContent" if asked.inside else b"")
        except ClientError as exc:
            refused = exc.failure.status
        else:
            limit = dialect.output_tokens_max(request)
            assert limit is None or (type(limit) is int and limit > 0)
            assert type(request.choices) is int
            assert request.choices > 0
            continue
        assert refused == 400


class Counter:
    """Where exchanges are charged: one account in a store of its own, without a gateway around."""

    def __init__(self, treasury: Treasury, config: Config, kept: MemoryStore) -> None:
        self.treasury = treasury
        self.store = kept
        self.router = Router(config, now=trio.current_time)

    async def open(self, keys: Keyring, path: bytes, body: bytes) -> Meter:
        """Reserve what a request may come to. Raises `ClientError`."""
        match = resolve("POST", path)
        assert match is not None
        exchange = Exchange(request_of(b"POST " + path + b" HTTP/1.1", body), match, trio.current_time(), "127.0.0.1")
        principal = keys.authenticate(TOKEN.encode())
        assert principal is not None
        exchange.principal = principal
        dialect = registry.dialect(match.surface.dialect)
        asked = dialect.parse_request(body, match.argument, b"")
        exchange.model, exchange.id = asked.model, self.treasury.fresh_id()
        return await open_meter(self.treasury, exchange, dialect, asked, self.router.resolve(asked.model))

    async def try_to_open(self, keys: Keyring, path: bytes, body: bytes) -> Meter | int:
        """As `open`, but return the status of a refusal."""
        try:
            return await self.open(keys, path, body)
        except ClientError as exc:
            return exc.failure.status


@asynccontextmanager
async def counter(credit: int, **key: Any) -> AsyncIterator[tuple[Counter, Keyring]]:
    """Charge for the length of the block; then the books must add up and nothing be leased."""
    kept = MemoryStore()
    await open_account(kept, credit=credit, key=key)
    config = load_document(document("http://127.0.0.1:9/v1", prices=PRICES, billing={"tiers": []}), {})
    keys = Keyring(config)
    with TemporaryDirectory() as directory:
        treasury = await enter(kept, Path(directory), keys, config, slot=0)
        async with trio.open_nursery() as nursery:
            await nursery.start(treasury.run)
            made = Counter(treasury, config, kept)
            yield made, keys
            made.router.close()
            await treasury.say_farewell()
            nursery.cancel_scope.cancel()
    assert await kept.check() == []
    assert await kept.leases() == []


def allowances(treasury: Treasury) -> Iterator[Allowance]:
    return iter(treasury.lender._allowances.values())


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=15)
@given(data=st.data())
async def test_no_request_reserves_less_than_nothing_or_more_than_there_is(name: str, data: st.DataObject) -> None:
    asked = DIALECTS[name]
    credit = data.draw(st.sampled_from([0, 1, 300_000, DOLLAR]))
    counts = st.integers(0, TOKENS_MAX) | st.sampled_from([0, 1, 10, 1_000, TOKENS_MAX])
    async with counter(credit, tokens_per_minute=100_000) as (made, keys):
        meters: list[Meter] = []
        for body in data.draw(st.lists(bodies(asked), min_size=1, max_size=6)):
            opened = await made.try_to_open(keys, asked.path, body)
            if not isinstance(opened, Meter):
                assert opened in {400, 402, 429}
                continue
            meters.append(opened)
            reservation = opened._reservation
            assert type(reservation.nanos) is type(reservation.tokens) is int
            assert 0 < reservation.nanos <= credit
            assert reservation.tokens > 0
        assert sum(meter._reservation.nanos for meter in meters) <= credit
        candidate = made.router.resolve("scripted").candidates[0]
        for meter in meters:
            if data.draw(st.booleans()):
                meter.settle(Usage(data.draw(counts), data.draw(counts)), candidate)
            meter.close()
        assert all(each.free >= 0 and each.free < 2**63 for each in allowances(made.treasury))
        assert await made.treasury.bookkeeper.book()
        balance = (await made.store.balance("acc_1")).balance_nanos
        charged = [each.amount_nanos for each in await made.store.transfers() if each.kind == TransferKind.SETTLEMENT]
        assert all(amount >= 0 for amount in charged)
        assert balance == credit - sum(charged)
        assert balance >= 0


RESERVED = 8_192
"""Of an answer whose request sets no limit, by default."""

WORST: list[tuple[str, str, int]] = [
    ("chat", '"max_tokens":10', 10),
    ("chat", '"max_tokens":1,"max_completion_tokens":1000', 1000),
    ("chat", '"max_tokens":1000,"max_completion_tokens":1', 1000),
    ("chat", '"max_tokens":1,"max_tokens":1000', 1000),
    ("chat", '"max_tokens":10,"n":4', 40),
    ("chat", '"max_tokens":10,"n":4.0', 40),
    ("chat", '"n":4', 4 * RESERVED),
    ("chat", '"max_tokens":"10"', RESERVED),
    ("chat", '"max_tokens":-10', RESERVED),
    ("legacy", '"max_tokens":10,"n":4', 40),
    ("responses", '"max_output_tokens":10', 10),
    ("messages", '"max_tokens":10', 10),
    ("gemini", '"generationConfig":{"maxOutputTokens":10,"candidateCount":4}', 40),
    ("gemini", '"generationConfig":{"candidateCount":4}', 4 * RESERVED),
    ("gemini", '"generationConfig":{"maxOutputTokens":1,"max_output_tokens":1000}', 1000),
    ("gemini", '"generationConfig":{"maxOutputTokens":1},"generation_config":{"maxOutputTokens":1000}', 1000),
    ("gemini", '"generationConfig":{},"generation_config":{"candidate_count":4,"max_output_tokens":10}', 40),
]


@pytest.mark.parametrize(("name", "limits", "tokens"), WORST)
async def test_what_is_reserved_is_the_most_that_the_request_lets_an_answer_have(
    name: str, limits: str, tokens: int
) -> None:
    body = stated(name, limits)
    async with counter(DOLLAR) as (made, keys):
        meter = await made.open(keys, DIALECTS[name].path, body)
        assert meter._reservation is not None
        prompt = meter._reservation.nanos - tokens * 2_000
        meter.close()
        assert 0 < prompt < 1_000 * len(body)


async def test_requests_beyond_all_measure_leave_a_worker_as_it_was() -> None:
    async with counter(DOLLAR) as (made, keys):
        for _ in range(100):
            with pytest.raises(ClientError) as refused:
                await made.open(keys, DIALECTS["chat"].path, b'{"model":"scripted","messages":[],"max_tokens":1e300}')
            assert refused.value.failure.code == "insufficient_balance"
        for allowance in allowances(made.treasury):
            assert allowance._slice < 2**63
        (await made.open(keys, DIALECTS["chat"].path, b'{"model":"scripted","messages":[],"max_tokens":5}')).close()


def test_slices_do_not_grow_without_end() -> None:
    allowance = Allowance(Budget("b", Unit.MONEY, Period.ALWAYS, None, "balance"), 0)
    assert all(0 < allowance.slice_for(5, 1.0) < 2**63 for _ in range(500))


GENERATES = [
    "scripted:generateContent",
    "scripted%3AgenerateContent",
    "scripted:generate%43ontent",
    "scripted:%67enerateContent",
    "scripted:streamGenerateContent?alt=sse",
    "scripted%3astream%47enerateContent",
    "models%2Fscripted:generateContent%20",
    "scripted:generateContent/",
    "scripted:countTokens%00:generateContent",
    "scripted:countTokens:generateContent",
    "scripted%3AcountTokens:generateContent",
]


BELOW = ["/v1beta/models/", "/v1/models/", "/compatible/v1beta/models/", "/api/v1/models/"]


async def test_an_answer_is_paid_for_however_its_path_is_written(store: MemoryStore, tmp_path: Path) -> None:
    async with upstream.running() as vendor:
        provider = {"kind": "gemini", "base_url": vendor.base_url, "models": ["scripted"], "key": "sk-upstream"}
        async with shop(store, tmp_path, credit=0, providers={"scripted-1": provider}) as made:
            body = {"contents": [{"parts": [{"text": "x"}]}]}
            for below, target in product(BELOW, GENERATES):
                url = f"{made.live.origin}{below}{target}"
                answer = await made.client.post(url, json=body, headers={"x-goog-api-key": TOKEN})
                assert (answer.status_code in {400, 402, 404}, vendor.log) == (True, []), url


@given(argument=st.text(alphabet="%3Aa:43generateContentcountTokens/", max_size=30) | st.sampled_from(GENERATES))
def test_what_is_read_as_a_generation_is_charged_as_one(argument: str) -> None:
    dialect = registry.dialect("gemini")
    path = argument.partition("?")[0].encode()
    try:
        asked = dialect.parse_request(b"{}", path, b"")
    except ClientError:
        return
    generates = getattr(asked, "action", "") in {"generateContent", "streamGenerateContent"}
    assert dialect.is_generation(path) is generates


# -- what an upstream says ---------------------------------------------------------------------------------------------

QUOTING = {"message": "the key sk-upstream is not good (sk-upstream)", "type": "x"}


SAYS: list[tuple[bool, dict[str, Any]]] = [
    *((False, {"status": status, "body": {"error": QUOTING}}) for status in (400, 401, 404, 429, 500)),
    (True, {"status": 400, "body": {"error": QUOTING}}),
    (True, {"event": {"error": QUOTING}}),
    (True, {"repeat": [{"event": ROLE}, {"event": delta("one")}, {"event": {"error": QUOTING}}], "times": 1}),
]


@pytest.mark.parametrize(("stream", "step"), SAYS)
async def test_an_upstream_that_quotes_our_key_is_not_quoted(
    store: MemoryStore, tmp_path: Path, stream: bool, step: dict[str, Any]
) -> None:
    async with shop(store, tmp_path) as made:
        made.server.set_default([step])
        answer = await made.ask(stream=stream)
        assert '"error":' in answer.text
        assert "sk-upstream" not in answer.text


# -- what is written ---------------------------------------------------------------------------------------------------

UPSTREAMS = "sk-upstream-" + "Q7w" * 12
OPERATORS = "sk-operator-" + "V3n" * 12

SERVED = """
[server]
listen = ["127.0.0.1:0"]
environment_providers = false
log_level = "debug"
access_log = "access.log"
[keys.operator]
value = "{operators}"
[providers.scripted-1]
kind = "compatible"
base_url = "{base_url}"
key = "{upstreams}"
models = ["scripted"]
[prices.scripted]
input = 1
output = 2
[billing]
tiers = []
"""

WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/messages", {"model": "scripted", "max_tokens": 50, "messages": CHAT["messages"]}),
    ("/v1/messages", {"model": "scripted", "max_tokens": 50, "messages": CHAT["messages"], "stream": True}),
    ("/v1beta/models/scripted:streamGenerateContent", {"contents": [{"parts": [{"text": "x"}]}]}),
    ("/v1/responses", {"model": "scripted", "input": "x", "max_output_tokens": 50}),
    ("/v1/chat/completions", {**CHAT, "model": "none/such"}),
    ("/v1/chat/completions", {**CHAT, "messages": 5}),
]
PAGES = [
    *("/", "/metrics", "/api/status", "/api/user/self", "/api/user/topup/info", "/api/log/self", "/api/log/self/stat"),
    *("/api/usage/token", "/api/nothing", "/nothing", "/static/none", "/v1/me", "/v1/me/", "/v1/models", "/v1/nothing"),
    *("/health/ready", "/v1/models/scripted", "/api/user/self?p=x", "/api/log/self?p=x"),
]
FAILURES: list[dict[str, Any]] = [
    {"status": 400, "body": {"error": {"message": f"not with {UPSTREAMS}", "type": "invalid_request_error"}}},
    {"status": 429, "headers": {"retry-after": "0"}},
    {"status": 500},
    {"garbage": True},
    {"status": 401, "body": {"error": {"message": f"Incorrect API key provided: {UPSTREAMS}"}}},
]


def carried(token: str) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Return the headers and the query in which a request may hold a token."""
    return [
        ({"authorization": f"Bearer {token}"}, {}),
        ({"x-api-key": token}, {}),
        ({"x-goog-api-key": token}, {}),
        ({}, {"key": token}),
    ]


def spelled(token: str) -> set[bytes]:
    """Return what would give a token away: itself, its random part, and its digest, in the usual ways to write them."""
    texts = {token.encode(), token.rpartition("-")[2].encode()}
    found = set(texts)
    for each in (*texts, digest_of(token.encode())):
        # From the second character on: what stands before may be a part of a longer text.
        encoded = {base64.b64encode(b"." * shift + each)[4:-4] for shift in range(3)}
        found |= encoded | {text.translate(bytes.maketrans(b"+/", b"-_")) for text in encoded}
        found |= {each.hex().encode(), each.hex().upper().encode()}
    return found


class Written:
    """Everything that was written where somebody may read it."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, bytes]] = []

    def add(self, where: str, content: bytes) -> None:
        self.pieces.append((where, content))

    def add_files(self, *directories: Path) -> None:
        """Take every file as it is now; sockets and what goes meanwhile are passed by."""
        for directory in directories:
            for path in directory.rglob("*"):
                if path.is_file():
                    self.add(str(path.relative_to(directory.parent)), path.read_bytes())

    def holding(self, *needles: bytes) -> set[str]:
        return {where for where, content in self.pieces if any(needle in content for needle in needles)}


async def exchanged(client: httpx.AsyncClient, written: Written, method: str, path: str, **more: Any) -> int:
    """Ask, and keep all of the answer."""
    answer = await client.request(method, path, **more)
    head = b"\n".join(b"%b: %b" % each for each in answer.headers.raw)
    written.add(f"answer of {path} {answer.status_code}", head + b"\n\n" + answer.content)
    return answer.status_code


def rights(data: Path) -> dict[str, int]:
    """Return which rights others have on what."""
    modes = {str(path): stat.S_IMODE(path.lstat().st_mode) & 0o077 for path in (data, *data.rglob("*"))}
    return {path: mode for path, mode in modes.items() if mode}


def open_handed() -> None:
    """Begin as a process with a careless umask, its standard output where its errors go."""
    os.umask(0)
    os.dup2(2, 1)


async def accounts_in(file: Path) -> dict[str, str]:
    """Make an account with money and keys in every state; return the tokens by what is the matter with them."""
    states: dict[str, dict[str, Any]] = {
        "fine": {},
        "disabled": {"disabled": True},
        "expired": {"expires": 2},
        "capped": {"cap_day_nanos": 1},
        "rated": {"requests_per_minute": 1},
        "elsewhere": {"addresses": ("10.0.0.0/8",)},
    }
    tokens = {state: mint() for state in (*states, "unknown")}
    async with open_store(file) as kept:
        await kept.put_account(ACCOUNT)
        await kept.credit("acc_1", DOLLAR, TransferKind.TOP_UP, id="tr_1", now=1)
        for state, limits in states.items():
            made = tokens[state]
            await kept.put_key(Key(id=f"key_{state}", account="acc_1", name=state, digest=made.digest, **limits))
    return {state: made.token.reveal() for state, made in tokens.items()}


STATUSES = {
    "fine": {200, 400, 404, 429, 500, 502, 503},
    "disabled": {401},
    "expired": {401},
    "unknown": {401},
    "elsewhere": {403},
    "capped": {200, 400, 402, 404},
    "rated": {200, 400, 404, 429},
}


async def test_no_key_is_ever_written_in_clear(tmp_path: Path) -> None:
    data, scratch, config = tmp_path / "data", tmp_path / "t", tmp_path / "conf" / "hedgerow.toml"
    for directory in (scratch, config.parent):
        directory.mkdir()
    tokens = await accounts_in(database(data))
    written, environ = Written(), {"TMPDIR": str(scratch), "HEDGEROW_DATA": str(data)}
    async with upstream.running() as vendor:
        said = {"operators": OPERATORS, "upstreams": UPSTREAMS, "base_url": vendor.base_url}
        config.write_text(SERVED.format(**said))
        async with serving(config, workers=2, preexec=open_handed, environ=environ) as server:
            await server.workers()
            anonymous = httpx.AsyncClient(base_url=server.origin, trust_env=False, timeout=20)
            async with anonymous as client:
                for state, token in tokens.items():
                    await asked_everything(client, written, state, token)
                for step, (headers, query) in product(FAILURES, carried(tokens["fine"])):
                    vendor.set_default([step])
                    await exchanged(client, written, "POST", WHOLE[0][0], json=CHAT, headers=headers, params=query)
                vendor.set_default(None)
                await exchanged(client, written, "POST", WHOLE[0][0], json=CHAT, headers=carried(OPERATORS)[0][0])
                await written_to_the_wire(server.origin, tokens["fine"], written)
                written.add_files(data, scratch)
                assert {"data/hedgerow.db-wal", "data/hedgerow.db"} <= {where for where, _ in written.pieces}
                assert any(where.endswith(".journal") and content for where, content in written.pieces)
                assert rights(data) == {}
                for path in ("/metrics", "/api/status", "/"):
                    await exchanged(client, written, "GET", path)
            for process in (psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children()):
                written.add("command line", "\n".join((*process.cmdline(), *process.environ().values())).encode())
    assert server.process.returncode == 0
    written.add("standard error", "\n".join(server.stderr).encode())
    assert any("DEBUG" in line for line in server.stderr)
    assert not any("Traceback" in line for line in server.stderr)
    written.add_files(data)
    written.add("access log", (config.parent / "access.log").read_bytes())
    assert written.holding(b'"key":"key_fine"') == {"access log"}
    assert rights(data) == {}
    for record in vendor.log:
        written.add("upstream", repr((record.target, record.headers)).encode() + record.body)
    everybodys = [needle for token in (*tokens.values(), OPERATORS) for needle in spelled(token)]
    assert written.holding(*everybodys) == set()
    assert written.holding(*spelled(UPSTREAMS)) == {"upstream"}
    stored = {digest_of(token.encode()) for state, token in tokens.items() if state != "unknown"}
    assert {where.partition("-")[0] for where in written.holding(*stored)} == {"data/hedgerow.db"}
    assert written.holding(digest_of(tokens["unknown"].encode()), digest_of(OPERATORS.encode())) == set()
    async with open_store(database(data)) as kept:
        assert await kept.check() == []
        assert len(await kept.transfers()) > 10


async def asked_everything(client: httpx.AsyncClient, written: Written, state: str, token: str) -> None:
    """Use one token everywhere, in every way; all that may come of it are its `STATUSES`."""
    claims = dict.fromkeys(CLAIMS, "10.1.1.1")
    for headers, query in carried(token):
        for path, body in WHOLE:
            status = await exchanged(
                client, written, "POST", path, json=body, headers={**headers, **claims}, params=query
            )
            assert status in STATUSES[state], (state, path)
    for sent, asked in (carried(token)[0], carried(token)[-1]):
        for page in PAGES:
            path, _, rest = page.partition("?")
            params = {**asked, **({"p": "x"} if rest else {})}
            for method in ("GET", "POST") if page in {"/v1/me", "/api/user/self"} else ("GET",):
                status = await exchanged(client, written, method, path, headers={**sent, **claims}, params=params)
                if method == "GET" and path in {"/v1/me", "/api/user/self", "/api/usage/token"}:
                    assert status in STATUSES[state], (state, path)


async def written_to_the_wire(origin: str, token: str, written: Written) -> None:
    """Send what is no request, or one that is refused by its head, with a token in all of its parts."""
    secret = token.encode()
    for head in (
        b"GET /?key=%b HTTP/9.9\r\n\r\n" % secret,
        b"NO%b / HTTP/1.1\r\nhost: a\r\n\r\n" % secret,
        b"POST /v1/chat/completions?key=%b HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n" % secret,
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization Bearer %b\r\n\r\n" % secret,
        b"POST /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Basic %b\r\ncontent-length: 9\r\n\r\n" % secret,
        b"GET /v1/me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b%b\r\n\r\n" % (secret, b"x" * 40_000),
        b"GET /v1/realtime?key=%b HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n" % secret,
    ):
        stream = await trio.open_tcp_stream("127.0.0.1", int(origin.rpartition(":")[2]))
        async with stream:
            await stream.send_all(head)
            await stream.send_eof()
            with trio.fail_after(10):
                written.add("answer to what is no request", b"".join([data async for data in stream]))
