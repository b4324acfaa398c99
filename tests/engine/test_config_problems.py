"""Configuration: every problem with its exact path, and that any document is a configuration or has some."""

import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import (
    ConfigError,
    Problem,
    describe,
    load_document,
)
from engine.config.options import SECTIONS
from tests.engine.documents import HASH, HIDDEN, SERVER, problems, read

PUBLIC = "is reachable from other machines and no key is configured"
HEDGE = 'must be "off", a time such as "800ms" or "1.5s", or a percentile such as "p95"'
CANDIDATE = "models.fast.candidates[0]."
NAME = "must be named with lower-case letters"

REFUSED: list[tuple[str, dict[str, str]]] = [
    # shape: unknown keys, wrong types, bounds
    ("[sever]", {"sever": "unknown key; did you mean server?"}),
    ("answer = 42", {"answer": "unknown key; known here: server, limits, timeouts, race, keys, providers, models"}),
    ("[server]\nworker = 2", {"server.worker": "unknown key; did you mean workers?"}),
    ('[server]\n"päth" = 2', {'server."p\\u00e4th"': "unknown key; known here: workers"}),
    ("[limits]\nhead_bytes = 1", {"limits.head_bytes": "unknown key; did you mean head_bytes_max?"}),
    ("server = 1", {"server": "must be a table, not an integer"}),
    ('keys = ["sk-1"]', {"keys": "must be a table, not an array"}),
    ('[keys]\nalice = "sk-1"', {"keys.alice": "must be a table, not a string"}),
    ("[providers]\nx = 1.5", {"providers.x": "must be a table, not a number"}),
    ("[models]\nx = 1979-05-27", {"models.x": "must be a table, not a date or time"}),
    ("[server]\nworkers = true", {"server.workers": "must be an integer, not true or false"}),
    ("[server]\nworkers = 1.0", {"server.workers": "must be an integer, not a number"}),
    ('[server]\nworkers = "2"', {"server.workers": "must be an integer, not a string"}),
    ("[server]\nworkers = 0", {"server.workers": "must be at least 1 and at most 256"}),
    ("[server]\nworkers = 257", {"server.workers": "must be at least 1 and at most 256"}),
    ("[server]\nconsole = 1", {"server.console": "must be true or false, not an integer"}),
    ('[server]\nlog_level = "loud"', {"server.log_level": 'must be one of "debug", "error", "info", "warning"'}),
    ("[server]\nlog_level = 3", {"server.log_level": "must be one of"}),
    ("[server]\ndrain_seconds = -1", {"server.drain_seconds": "must be at least 0 and at most 31,536,000"}),
    ("[server]\ndrain_seconds = inf", {"server.drain_seconds": "must be at least 0"}),
    ("[server]\ndrain_seconds = nan", {"server.drain_seconds": "must be at least 0"}),
    ("[server]\nkeepalive_comment_seconds = -0.1", {"server.keepalive_comment_seconds": "must be at least 0"}),
    ("[limits]\nbody_bytes_max = 0", {"limits.body_bytes_max": "must be at least 1 and at most 1,099,511,627,776"}),
    ("[limits]\nbody_bytes_max = -5", {"limits.body_bytes_max": "must be at least 1"}),
    ('[limits]\nbody_bytes_max = "32 MiB"', {"limits.body_bytes_max": "must be an integer, not a string"}),
    ("[limits]\nbody_bytes_max = 1e6", {"limits.body_bytes_max": "must be an integer, not a number"}),
    ("[limits]\nhead_bytes_max = 1023", {"limits.head_bytes_max": "must be at least 1,024"}),
    (f"[limits]\nheaders_max = {10**30}", {"limits.headers_max": "must be at least 1 and at most 10,000,000"}),
    ("[limits]\nhead_seconds_max = 0", {"limits.head_seconds_max": "must be more than 0 and at most 31,536,000"}),
    ("[limits]\nupstream_idle_per_origin_max = -1", {"limits.upstream_idle_per_origin_max": "must be at least 0"}),
    ("[timeouts]\nconnect_seconds = 0", {"timeouts.connect_seconds": "must be more than 0"}),
    (f"[timeouts]\ntotal_seconds = {10**400}", {"timeouts.total_seconds": "must be more than 0"}),
    ("[timeouts]\nfirst_content = 3", {"timeouts.first_content": "unknown key; did you mean first_content_seconds?"}),
    (SERVER + "timeouts = 3", {"providers.mine.timeouts": "must be a table, not an integer"}),
    (SERVER + "timeouts.total_seconds = 0", {"providers.mine.timeouts.total_seconds": "must be more than 0"}),
    (SERVER + "timeouts.total = 1", {"providers.mine.timeouts.total": "unknown key; did you mean total_seconds?"}),
    # the race
    ("[race]\nattempts_max = 0", {"race.attempts_max": "must be at least 1 and at most 100"}),
    ("[race]\nattempt_seconds = 0", {"race.attempt_seconds": "must be more than 0"}),
    ("[race]\nhedge_share = -0.1", {"race.hedge_share": "must be at least 0 and at most 10"}),
    ("[race]\nhedge_floor = 100", {"race.hedge_floor": "unknown key; did you mean hedge_floor_ms?"}),
    ("[race]\nhedge = 800", {"race.hedge": "must be a string, not an integer"}),
    ('[race]\nhedge = ""', {"race.hedge": HEDGE}),
    ('[race]\nhedge = "p0"', {"race.hedge": HEDGE}),
    ('[race]\nhedge = "p100"', {"race.hedge": HEDGE}),
    ('[race]\nhedge = "0ms"', {"race.hedge": HEDGE}),
    ('[race]\nhedge = "800"', {"race.hedge": HEDGE}),
    ('[race]\nhedge = "99999999s"', {"race.hedge": HEDGE}),
    ('[race]\nhedge = "p95 "', {"race.hedge": HEDGE}),
    ('[race]\nhedge = "p٩٥"', {"race.hedge": HEDGE}),
    (SERVER + '[models.fast]\nprovider = "mine"\nrace.hedge = "on"', {"models.fast.race.hedge": HEDGE}),
    (SERVER + '[models.fast]\nprovider = "mine"\nrace = "p95"', {"models.fast.race": "must be a table"}),
    (SERVER + '[race]\nhedge = "on"\n[models.fast]\nprovider = "mine"', {"race.hedge": HEDGE}),
    # listening
    ("[server]\nlisten = []", {"server.listen": "must hold at least one address"}),
    ('[server]\nlisten = "127.0.0.1:80"', {"server.listen": "must be an array, not a string"}),
    ('[server]\nlisten = ["127.0.0.1:80", 81]', {"server.listen[1]": "must be a string, not an integer"}),
    ('[server]\nlisten = ["127.0.0.1"]', {"server.listen[0]": 'must be "host:port", "[ipv6]:port" or "unix:/path"'}),
    ('[server]\nlisten = ["[::1]:80", "tcp://x"]', {"server.listen[1]": "has a malformed host or port"}),
    ('[server]\nlisten = ["127.0.0.1:80", "127.0.0.1:80"]', {"server.listen[1]": "overlaps server.listen[0]"}),
    ('[server]\nlisten = ["127.0.0.1:80", "0.0.0.0:81"]', {"server.listen[1]": PUBLIC}),
    ('[server]\nlisten = ["[::]:80"]', {"server.listen[0]": PUBLIC}),
    ('[server]\nlisten = ["gateway.example:80"]', {"server.listen[0]": PUBLIC}),
    (
        '[server]\nlisten = ["0.0.0.0:80"]\n[keys.alice]\nvalue = "env:NOT_SET"',
        {"keys.alice.value": "the environment variable NOT_SET is not set"},
    ),
    ('[server]\ntls_cert = "/nonexistent"', {"server.tls_key": "is missing", "server.tls_cert": "is not a file"}),
    ('[server]\ntls_key = "/nonexistent"', {"server.tls_cert": "is missing", "server.tls_key": "is not a file"}),
    ('[server]\ntls_key = ""', {"server.tls_cert": "is missing", "server.tls_key": "must be the path of a file"}),
    ('[server]\naccess_log = "/nonexistent/a.log"', {"server.access_log": 'must be "stdout", "none", or the path'}),
    ('[server]\naccess_log = "/"', {"server.access_log": 'must be "stdout", "none", or the path'}),
    ('[server]\naccess_log = ""', {"server.access_log": "must be the path of a file"}),
    ('[server]\ncors_origins = ["*", "https://a.example/"]', {"server.cors_origins[1]": 'must be "*" or an origin'}),
    (SERVER + '[server]\ndefault_provider = "mien"', {"server.default_provider": "did you mean mine?"}),
    (SERVER + '[server]\ndefault_provider = "zzz"', {"server.default_provider": "; there are mine"}),
    ('[server]\ndefault_provider = "mine"', {"server.default_provider": "; there is none"}),
    # keys
    ("[keys.alice]", {"keys.alice": 'needs hash = "sha256:..." or value = "env:NAME"'}),
    (f'[keys.alice]\nhash = "{HASH}"\nvalue = "env:A"', {"keys.alice": "has both hash and value"}),
    ('[keys.alice]\nhash = "sha256:00"', {"keys.alice.hash": 'must be "sha256:" and 64 hexadecimal digits'}),
    ('[keys.alice]\nhash = "md5:00"', {"keys.alice.hash": 'must be "sha256:" and 64 hexadecimal digits'}),
    ("[keys.alice]\nhash = 1", {"keys.alice.hash": "must be a string, not an integer"}),
    (f'[keys.alice]\nvalue = "{HASH}"', {"keys.alice.value": "is a hash: write hash = instead of value ="}),
    ('[keys.alice]\nvalue = ""', {"keys.alice.value": "is empty"}),
    ('[keys.alice]\nvalue = "two words"', {"keys.alice.value": "is malformed: it holds a space"}),
    ('[keys.alice]\nvalue = "file:/nonexistent"', {"keys.alice.value": "cannot read '/nonexistent': No such file"}),
    ('[keys.alice]\nvalue = "$ALICE"', {"keys.alice.value": "looks like a reference"}),
    ('[keys.alice]\nkey = "sk-1"', {"keys.alice.key": "unknown key; known here: hash, value"}),
    (f'[keys.a]\nhash = "{HASH}"\n[keys.b]\nvalue = "sk-hashed"', {"keys.b": "is the same key as keys.a"}),
    (f'[keys."Alice B"]\nhash = "{HASH}"', {'keys."Alice B"': NAME}),
    # providers
    ("[providers.mine]", {"providers.mine.base_url": "is missing: this kind of provider has no address of its own"}),
    ('[providers.mine]\nkind = "opnai"', {"providers.mine.kind": "is not a kind of provider; did you mean openai?"}),
    ('[providers.mine]\nkind = "zzz"', {"providers.mine.kind": "is not a kind of provider; known: "}),
    (
        '[providers.mine]\nkind = "zzz"\nbase_url = "x"',
        {"providers.mine.kind": "is not", "providers.mine.base_url": "must"},
    ),
    ("[providers.openai]", {"providers.openai.key": 'is missing: set OPENAI_API_KEY, or write key = "env:NAME"'}),
    ('[providers.x]\nkind = "openai"', {"providers.x.key": "is missing: set OPENAI_API_KEY"}),
    ('[providers.openai]\nkey = "env:NOPE"', {"providers.openai.key": "the environment variable NOPE is not set"}),
    ('[providers.mine]\nbase_url = "api.example"', {"providers.mine.base_url": "must start with https://"}),
    ('[providers.mine]\nbase_url = "https://a:b@c"', {"providers.mine.base_url": "must not hold a user name"}),
    ('[providers.mine]\nbase_url = "https://c/v1?x=1"', {"providers.mine.base_url": "must have no query"}),
    ('[providers.mine]\nbase_url = ""', {"providers.mine.base_url": "must be a URL"}),
    (
        '[providers.mine]\nbase_url = "https://c.example/v1/chat/completions"',
        {"providers.mine.base_url": "must end before /chat/completions, which is appended to it"},
    ),
    (SERVER + 'key = ""', {"providers.mine.key": "is empty"}),
    (SERVER + "key = 7", {"providers.mine.key": "must be a string, not an integer"}),
    (SERVER + "keys = []", {"providers.mine.keys": "must hold at least one key"}),
    (SERVER + 'keys = "env:A"', {"providers.mine.keys": "must be an array, not a string"}),
    (SERVER + 'keys = ["sk-1", "env:NOPE"]', {"providers.mine.keys[1]": "the environment variable NOPE is not set"}),
    (SERVER + 'keys = ["sk-1", "sk-2", "sk-1"]', {"providers.mine.keys[2]": "is a key that stands before it already"}),
    (SERVER + 'key = "sk-1"\nkeys = ["sk-2"]', {"providers.mine.keys": "is there beside key; write all of them into"}),
    ("[providers.openai]\nkeys = [1]", {"providers.openai.keys[0]": "must be a string, not an integer"}),
    (SERVER + "dialects = []", {"providers.mine.dialects": "must hold at least one dialect"}),
    (
        SERVER + 'dialects = ["chat", "respones"]',
        {"providers.mine.dialects[1]": "is not a dialect; did you mean respo"},
    ),
    (
        SERVER + 'dialects = ["zzz"]',
        {"providers.mine.dialects[0]": "is not a dialect; known: chat, "},
    ),
    (SERVER + 'dialects = ["chat", "chat"]', {"providers.mine.dialects[1]": "is listed twice: see [0]"}),
    (
        '[providers.mine]\nbase_url = "https://c.example/v1/messages"\ndialects = ["chat", "messages"]',
        {"providers.mine.base_url": "must end before /messages, which is appended to it"},
    ),
    (SERVER + 'modles = ["a"]', {"providers.mine.modles": "unknown key; did you mean models?"}),
    (SERVER + 'models = ["a", "b", "a"]', {"providers.mine.models[2]": "is listed twice: see [0]"}),
    (SERVER + 'models = ["a b"]', {"providers.mine.models[0]": "must be a model's name"}),
    (SERVER + 'models = [""]', {"providers.mine.models[0]": "must be a model's name"}),
    (SERVER + 'models = ["a", 1]', {"providers.mine.models[1]": "must be a string, not an integer"}),
    (SERVER + "restrict = true", {"providers.mine.restrict": "needs models"}),
    (SERVER + 'headers = ["a"]', {"providers.mine.headers": "must be a table, not an array"}),
    (SERVER + "headers.x-a = 1", {"providers.mine.headers.x-a": "must be a string, not an integer"}),
    (SERVER + 'headers."x a" = "1"', {'providers.mine.headers."x a"': "is not the name of a header field"}),
    (SERVER + 'headers.Host = "a"', {"providers.mine.headers.Host": "is a field that the gateway writes itself"}),
    (SERVER + 'headers = {x-a="1", X-A="2"}', {"providers.mine.headers.X-A": "is there twice"}),
    (SERVER + 'headers.x-a = "one\\r\\nx-b: two"', {"providers.mine.headers.x-a": "is malformed: it holds a control"}),
    (
        SERVER + 'headers.x-a = "env:NOT_SET"',
        {"providers.mine.headers.x-a": "the environment variable NOT_SET is not set"},
    ),
    (SERVER + 'ca_file = "/etc/passwd"', {"providers.mine.ca_file": "is only of use with an https:// base_url"}),
    (
        '[providers.mine]\nbase_url = "https://c.example"\nca_file = "/nonexistent"',
        {"providers.mine.ca_file": "is not a file; relative paths begin at "},
    ),
    (
        f'[providers.mine]\nbase_url = "https://c.example"\nca_file = {str(Path(__file__))!r}',
        {"providers.mine.ca_file": "holds no certificates in PEM form"},
    ),
    (SERVER + 'proxy = "socks5://p"', {"providers.mine.proxy": 'must be "env", "none" or http://'}),
    (SERVER + 'proxy = "http://p/x"', {"providers.mine.proxy": "must end after the port"}),
    (SERVER + "proxy = false", {"providers.mine.proxy": "must be a string, not true or false"}),
    (SERVER.replace("mine", "Mine"), {"providers.Mine": NAME}),
    (SERVER.replace("mine", '"a/b"'), {'providers."a/b"': NAME}),
    # models
    (SERVER + "[models.fast]", {"models.fast.provider": "is missing"}),
    (
        SERVER + '[models.fast]\nprovider = "mien"',
        {"models.fast.provider": "is not a configured provider; did you mean mine?"},
    ),
    (SERVER + '[models.fast]\nprovider = ["mine"]', {"models.fast.provider": "must be a string, not an array"}),
    (SERVER + '[models.fast]\nprovider = "mine"\nmodel = ""', {"models.fast.model": "must be a model's name"}),
    (SERVER + '[models."a b"]\nprovider = "mine"\nmodel = "m"', {'models."a b"': "must be a model's name"}),
    (SERVER + '[models.mine]\nprovider = "mine"', {"models.mine": "shadows a provider"}),
    (SERVER + '[models."mine/x"]\nprovider = "mine"', {'models."mine/x"': "shadows a provider"}),
    (
        SERVER + 'models = ["a"]\nrestrict = true\n[models.fast]\nprovider = "mine"\nmodel = "b"',
        {"models.fast.model": "is not among the models that its provider is restricted to"},
    ),
    (SERVER + "[models.fast]\ncandidates = []", {"models.fast.candidates": "must hold at least one candidate"}),
    (SERVER + "[models.fast]\ncandidates = 5", {"models.fast.candidates": "must be an array, not an integer"}),
    (SERVER + "[models.fast]\ncandidates = [5]", {"models.fast.candidates[0]": "must be a table, not an integer"}),
    (SERVER + "[[models.fast.candidates]]", {"models.fast.candidates[0].provider": "is missing"}),
    (
        SERVER + '[models.fast]\nprovider = "mine"\nmodel = "a"\n[[models.fast.candidates]]\nprovider = "mine"',
        {
            "models.fast.provider": "is there beside candidates; write it into them",
            "models.fast.model": "is there beside candidates",
        },
    ),
    (
        SERVER + '[[models.fast.candidates]]\nprovider = "mien"',
        {"models.fast.candidates[0].provider": "is not a configured provider; did you mean mine?"},
    ),
    (
        SERVER + '[models.fast]\ncandidates = [{provider="mine", model="a"}, {provider="mine", model="a", tier=2}]',
        {"models.fast.candidates[1]": "is the same as [0]: provider and model"},
    ),
    (
        SERVER + '[models.fast]\ncandidates = [{provider="mine"}, {provider="mine", model="fast"}]',
        {"models.fast.candidates[1]": "is the same as [0]"},
    ),
    (
        SERVER + 'models = ["a"]\nrestrict = true\n[[models.fast.candidates]]\nprovider = "mine"',
        {"models.fast.candidates[0].model": "is not among the models that its provider is restricted to"},
    ),
    (
        SERVER + '[[models.fast.candidates]]\nprovider = "mine"\nweight = 0',
        {CANDIDATE + "weight": "must be more than 0"},
    ),
    (SERVER + '[[models.fast.candidates]]\nprovider = "mine"\ntier = 0', {CANDIDATE + "tier": "must be at least 1"}),
    (SERVER + '[[models.fast.candidates]]\nprovider = "mine"\ntire = 2', {CANDIDATE + "tire": "did you mean tier?"}),
    (
        SERVER + '[[models.fast.candidates]]\nprovider = "mine"\nin_flight_max = -1',
        {CANDIDATE + "in_flight_max": "must be at least 0"},
    ),
    (SERVER + '[[models.fast.candidates]]\nprovider = "mine"\nmodel = ""', {CANDIDATE + "model": "must be a model's"}),
    # one mistake is one problem: what depends on a refused value is not refused for it
    ('[providers]\nmine = 3\n[models.fast]\nprovider = "mine"', {"providers.mine": "must be a table, not an integer"}),
    ("[providers.openai]\nbase_url = 5", {"providers.openai.base_url": "must be a string, not an integer"}),
    ("[providers.mine]\nkind = 5", {"providers.mine.kind": "must be a string, not an integer"}),
    (SERVER + "restrict = true\nmodels = 5", {"providers.mine.models": "must be an array, not an integer"}),
    (SERVER + "restrict = true\nmodels = [5]", {"providers.mine.models[0]": "must be a string, not an integer"}),
    ('[providers.mine]\nbase_url = "x"\n[models.fast]\nprovider = "mine"', {"providers.mine.base_url": "must start"}),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED, ids=[text[:60] for text, _ in REFUSED])
def test_every_problem_has_its_path(text: str, expected: dict[str, str]) -> None:
    found = problems(text)
    assert found.keys() == expected.keys()
    for path, fragment in expected.items():
        assert fragment in found[path]


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"OPENAI_API_KEY": "sk one"}, "environment.OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "nowhere"}, "environment.OPENAI_BASE_URL"),
        ({"OLLAMA_HOST": "http://a:b@c"}, "environment.OLLAMA_HOST"),
    ],
)
def test_a_malformed_variable_is_named(environ: dict[str, str], path: str) -> None:
    assert list(problems("", environ)) == [path]


@pytest.mark.parametrize("proxy", ["socks5://p:1", "http://", f"http://{HIDDEN}:p@:1"])
def test_a_proxy_of_the_environment_that_cannot_be_used(proxy: str) -> None:
    environ = {"https_proxy": proxy, "GROQ_API_KEY": "k", "OPENAI_API_KEY": "k"}
    found = problems('[providers.mine]\nbase_url = "https://x.example"', environ)
    assert list(found) == ["providers.mine.proxy", "environment"]
    assert all("https_proxy" in message and HIDDEN not in message for message in found.values())
    text = "[server]\nenvironment_providers = false\n[providers.mine]\nbase_url = "
    for rest in ('"https://x.example"\nproxy = "none"', '"http://x.example"', '"unix:/run/x.sock"'):
        assert list(read(text + rest, environ).providers) == ["mine"]


def test_what_depends_on_a_malformed_variable_is_not_refused_for_it() -> None:
    text = '[server]\ndefault_provider = "openai"\n[models.fast]\nprovider = "openai"'
    assert list(problems(text, {"OPENAI_API_KEY": "sk one"})) == ["environment.OPENAI_API_KEY"]
    assert read(text, {"OPENAI_API_KEY": "sk-one"}).models["fast"].candidates[0].provider == "openai"


def test_all_problems_are_named_in_one_run() -> None:
    text = """
    nonsense = 1
    [server]
    workers = 0
    listen = ["0.0.0.0:80", "nowhere"]
    [limits]
    body_bytes_max = "much"
    [timeouts]
    idle_seconds = false
    [keys.alice]
    valeu = "sk-1"
    [providers.one]
    base_url = "ftp://x"
    key = "env:NOT_SET"
    timeouts.idle_seconds = -1
    [providers.two]
    kind = "none"
    [models.fast]
    provider = "three"
    """
    assert sorted(problems(text)) == [
        "keys.alice.valeu",
        "limits.body_bytes_max",
        "models.fast.provider",
        "nonsense",
        "providers.one.base_url",
        "providers.one.key",
        "providers.one.timeouts.idle_seconds",
        "providers.two.kind",
        "server.listen[1]",
        "server.workers",
        "timeouts.idle_seconds",
    ]


def test_a_public_page_may_not_use_a_keyless_gateway_without_a_warning() -> None:
    text = SERVER + '[server]\ncors_origins = ["*"]'
    assert [warning.path for warning in read(text).warnings] == ["server.cors_origins"]
    assert read(text + f'\n[keys.a]\nhash = "{HASH}"').warnings == ()


def test_a_key_over_http_is_warned_about_unless_it_stays_on_the_machine() -> None:
    text = '[providers.mine]\nkey = "env:K"\nbase_url = '
    assert [w.path for w in read(text + '"http://10.0.0.1/v1"', {"K": "k"}).warnings] == ["providers.mine.base_url"]
    for url in ("https://10.0.0.1/v1", "http://127.0.0.1/v1", "http://localhost/v1", "unix:/run/llm.sock"):
        assert read(f'{text}"{url}"', {"K": "k"}).warnings == ()


def test_problems_read_as_a_list() -> None:
    error = ConfigError([Problem("a.b", "is missing"), Problem("", "not TOML")])
    assert str(error) == "a.b: is missing\nnot TOML"


TEXTS = [
    HIDDEN,
    HIDDEN + "\n",
    "env:HOME",
    "env:NOPE",
    "file:/nonexistent",
    "mine",
    "openai",
    "https://x.example",
    "unix:/a",
]
SCALARS = (
    st.sampled_from(TEXTS)
    | st.text(max_size=8)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.just(datetime.UTC))
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=6), SCALARS, max_size=3)
FITTING: dict[str, list[object]] = {
    "listen": [["127.0.0.1:80"], ["[::1]:80", "unix:/a"]],
    "workers": [1, 256],
    "log_level": ["info", "error"],
    "cors_origins": [["*"], ["https://a.example"]],
    "access_log": ["stdout", "none"],
    "hash": [HASH],
    "value": ["env:KEY", HIDDEN],
    "kind": ["openai", "ollama", "compatible"],
    "base_url": ["https://x.example/v1", "http://127.0.0.1:1", "unix:/run/x.sock:/v1"],
    "key": ["env:KEY", HIDDEN],
    "models": [["a", "b"]],
    "headers": [{"X-A": "1"}, {"x-key": "env:KEY"}],
    "timeouts": [{"idle_seconds": 1}],
    "proxy": ["env", "none", f"http://u:{HIDDEN}@p:1"],
    "provider": ["mine", "openai"],
    "model": ["a", HIDDEN],
    "keys": [["env:KEY"], ["env:KEY", HIDDEN]],
    "dialects": [["chat"], ["messages", "responses"]],
    "candidates": [[{"provider": "mine"}, {"provider": "openai", "model": "a", "tier": 2, "weight": 0.5}]],
    "race": [{"hedge": "p95"}, {"attempts_max": 1}],
    "attempts_max": [1, 5],
    "attempt_seconds": [0.5, 60],
    "hedge": ["off", "p95", "2s"],
    "hedge_share": [0, 0.5],
    "retry_share": [0, 1],
}
MISFITS: dict[str, list[object]] = {
    "listen": [["0.0.0.0:80"], ["x"], []],
    "cors_origins": [["x"]],
    "access_log": ["/nonexistent/x", HIDDEN],
    "hash": [HIDDEN],
    "value": [HIDDEN + " ", "file:/nonexistent", ""],
    "base_url": ["https://x?y", HIDDEN],
    "key": ["env:NOPE", "file:/nonexistent", ""],
    "models": [["a", "a"], [HIDDEN + "\n"], []],
    "headers": [{"Host": "x"}, {"a b": HIDDEN}],
    "timeouts": [{"idle": 1}, {"total_seconds": 0}],
    "proxy": [HIDDEN],
    "provider": ["other"],
    "keys": [[], ["env:KEY", "env:KEY"], [HIDDEN + " "]],
    "dialects": [[], [HIDDEN]],
    "candidates": [[], [{"provider": "mine"}] * 2, [{"model": HIDDEN}], [HIDDEN], [{"provider": HIDDEN + "\n"}]],
    "race": [{"hedge": HIDDEN}, HIDDEN],
    "hedge": [HIDDEN, ""],
    "default_provider": ["mine", "other"],
}


def section_like(struct: type[msgspec.Struct]) -> st.SearchStrategy[object]:
    """Build tables of a section: its own keys, with values that fit or with some that do not, or anything."""
    fitting: dict[str, st.SearchStrategy[object]] = {}
    for field in msgspec.structs.fields(struct):
        if field.name in FITTING:
            fitting[field.name] = st.sampled_from(FITTING[field.name])
        elif isinstance(field.default, bool):
            fitting[field.name] = st.booleans()
        elif isinstance(field.default, int | float):
            fitting[field.name] = st.integers(1024, 9000)
    mixed = {name: st.sampled_from(values) | fitting.get(name, VALUES) for name, values in MISFITS.items()}
    own = {name: mixed[name] for name in struct.__struct_fields__ if name in mixed}
    return (
        st.fixed_dictionaries({}, optional=fitting)
        | st.fixed_dictionaries({}, optional=fitting | own)
        | st.dictionaries(st.sampled_from(struct.__struct_fields__) | st.text(max_size=6), VALUES, max_size=3)
    )


def sections() -> st.SearchStrategy[dict[str, object]]:
    """Build whole documents."""
    names = st.sampled_from(["mine", "openai", "b/c"])
    tables = {}
    for path, struct in SECTIONS:
        section, _, named = path.partition(".")
        table = section_like(struct)
        tables[section] = st.dictionaries(names, table, max_size=2) if named else table
    return st.fixed_dictionaries({}, optional=tables)


@settings(max_examples=100, deadline=None)
@given(document=sections() | st.dictionaries(st.text(max_size=9), VALUES, max_size=4))
def test_any_document_gives_a_configuration_or_its_problems(document: dict[str, object]) -> None:
    try:
        config = load_document(document, {"HOME": "/nonexistent", "KEY": HIDDEN})
    except ConfigError as exc:
        assert exc.problems  # noqa: PT017
        assert all(problem.message for problem in exc.problems)  # noqa: PT017
        assert HIDDEN not in str(exc)  # noqa: PT017
    else:
        assert describe(config)
