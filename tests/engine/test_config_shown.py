"""Configuration: what is shown of it, and that no secret is."""

import msgspec
import pytest
from rich.pretty import pretty_repr

from engine.config import (
    ConfigError,
    describe,
    load,
)
from tests.engine.documents import HASH, HIDDEN, SERVER, read

SECRETS = f"""
[keys.literal]
value = "{HIDDEN}key-literal"
[keys.env]
value = "env:CLIENT"
[keys.hash]
hash = "{HASH}"
[providers.mine]
base_url = "https://llm.example/v1"
key = "{HIDDEN}literal"
proxy = "http://user:{HIDDEN}proxy@proxy:3128"
headers = {{ x-api-key = "{HIDDEN}header" }}
[providers.other]
base_url = "https://llm.example/v1"
keys = ["env:OTHER", "{HIDDEN}second"]
"""
SECRET_ENVIRON = {"CLIENT": HIDDEN + "client-key", "OTHER": HIDDEN + "other", "OPENAI_API_KEY": HIDDEN + "openai"}


def test_nothing_that_can_be_shown_shows_a_secret() -> None:
    config = read(SECRETS, SECRET_ENVIRON)
    for shown in (repr(config), str(config), pretty_repr(config), "\n".join(describe(config)), repr(config.warnings)):
        assert HIDDEN not in shown
        assert HASH[7:] not in shown
        assert bytes.fromhex(HASH[7:]).hex()[:16] not in shown
        assert repr(bytes.fromhex(HASH[7:]))[2:20] not in shown
    for encode in (msgspec.json.encode, msgspec.to_builtins):
        with pytest.raises(TypeError):
            encode(config)


@pytest.mark.parametrize("flaw", [" ", "\n", "\0", "é", "\x7f"])
@pytest.mark.parametrize(
    "place",
    [
        "[keys.a]\nvalue = {}",
        "[keys.a]\nhash = {}",
        "[keys]\na = {}",
        SERVER + "key = {}",
        SERVER + "keys = [{}]",
        SERVER + "dialects = [{}]",
        SERVER + "[models.fast]\ncandidates = [{}]",
        SERVER + '[models.fast]\nprovider = "mine"\nrace.hedge = {}',
        "[race]\nhedge = {}",
        SERVER + "headers.authorization = {}",
        SERVER + "proxy = {}",
        SERVER + "kind = {}",
        '[providers.mine]\nbase_url = "https://llm.example"\nca_file = {}',
        "[server]\ntls_cert = {}",
        "[server]\ntls_key = {}",
        "[server]\naccess_log = {}",
        SERVER + "models = [{}]",
        SERVER + "timeouts = {}",
        "[providers.mine]\nbase_url = {}",
        "[server]\nlisten = [{}]",
        "[server]\nworkers = {}",
        "[server]\nlog_level = {}",
        "[server]\ncors_origins = [{}]",
        "[server]\ndefault_provider = {}",
        "[limits]\nbody_bytes_max = {}",
    ],
)
def test_a_secret_in_the_wrong_place_or_malformed_is_not_quoted(place: str, flaw: str) -> None:
    written = msgspec.json.encode(f"{HIDDEN}literal{flaw}").decode()
    try:
        read(place.replace("{}", written.replace("\x7f", "\\u007f")))
    except ConfigError as exc:
        assert HIDDEN not in str(exc)  # noqa: PT017 - a header field may hold a space: not every row is refused
        assert HIDDEN not in repr(exc.problems)  # noqa: PT017


def test_describe_says_what_matters() -> None:
    text = f"""
    [server]
    listen = ["127.0.0.1:8080", "unix:/run/h.sock"]
    workers = 4
    [limits]
    body_bytes_max = 1000
    [timeouts]
    idle_seconds = 2.5
    [keys.alice]
    hash = "{HASH}"
    [providers.mine]
    base_url = "http://127.0.0.1:8000/v1"
    key = "env:K"
    models = ["a", "b"]
    restrict = true
    headers = {{ X-Team = "green" }}
    proxy = "none"
    discover = false
    [models.fast]
    provider = "mine"
    model = "a"
    timeouts.total_seconds = 9
    """
    provider = "mine (compatible) at http://127.0.0.1:8000/v1, key from env:K, only 2 listed models"
    assert describe(read(text, {"K": "k"})) == [
        "file        none: everything comes from the environment",
        "listen      127.0.0.1:8080",
        "listen      unix:/run/h.sock",
        "access log  stdout",
        "server      workers = 4",
        "keys        1: alice",
        f"provider    {provider}, headers x-team, no proxy, not asked for its models",
        "model       fast -> mine/a, total_seconds = 9",
        "limit       body_bytes_max = 1000",
        "timeout     idle_seconds = 2.5",
    ]


def test_describe_names_every_candidate_and_what_is_special_about_its_race() -> None:
    text = """
    [race]
    attempts_max = 4
    [providers.mine]
    base_url = "http://127.0.0.1:8000/v1"
    keys = ["env:A", "env:B"]
    dialects = ["messages", "chat"]
    [providers.other]
    base_url = "http://127.0.0.1:8001/v1"
    [models.fast]
    timeouts.idle_seconds = 7
    race.hedge = "p95"
    [[models.fast.candidates]]
    provider = "other"
    tier = 2
    in_flight_max = 20
    [[models.fast.candidates]]
    provider = "mine"
    weight = 2
    [[models.fast.candidates]]
    provider = "mine"
    model = "b"
    """
    mine = "mine (compatible) at http://127.0.0.1:8000/v1, keys from env:A, env:B, asked in messages or chat"
    tiers = "mine/fast (weight 2); mine/b (weight 1), then other/fast (20 at a time)"
    assert describe(read(text, {"A": "a", "B": "b"}))[3:] == [
        "keys        none: whoever reaches this machine's loopback address may use the gateway",
        f"provider    {mine}",
        "provider    other (compatible) at http://127.0.0.1:8001/v1, no key",
        f"model       fast -> {tiers}, idle_seconds = 7, hedge_percentile = 0.95",
        "race        attempts_max = 4",
    ]


def test_describe_of_nothing_warns() -> None:
    lines = describe(load(None, {}))
    assert lines[-1].startswith("warning     providers: there is none")
    assert "keys        none: whoever reaches this machine's loopback address may use the gateway" in lines


def test_describe_disturbs_no_terminal() -> None:
    text = SERVER + '[models."\\u009b31m"]\nprovider = "mine"'
    assert all(line.isprintable() for line in describe(read(text)))
