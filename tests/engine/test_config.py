"""Configuration: what is read, from nothing, the environment and files."""

from math import inf

import pytest

from adapters import registry
from adapters.losses import Policy
from engine.config import (
    AccessLog,
    ProxyMode,
    Race,
    TcpListen,
    Timeouts,
    UnixListen,
    load,
)
from engine.keyring import Keyring
from engine.secrets import Secret
from tests.engine.documents import HASH, SERVER, problems, read


def test_nothing_at_all_is_a_configuration_with_every_default() -> None:
    config = load(None, {})
    assert config.server.listen == (TcpListen("127.0.0.1", 8080),)
    assert config.server.workers == 1
    assert config.server.drain_seconds == 600
    assert config.server.keepalive_comment_seconds == 15
    assert config.server.access_log is AccessLog.STDOUT
    assert config.server.console
    assert config.server.tls is None
    assert config.server.cors_origins == ()
    assert (config.limits.head_bytes_max, config.limits.headers_max, config.limits.target_bytes_max) == (
        32768,
        100,
        8192,
    )
    assert config.limits.body_bytes_max == 32 * 2**20
    assert (config.limits.head_seconds_max, config.limits.body_seconds_max, config.limits.idle_seconds_max) == (
        10,
        60,
        75,
    )
    assert config.limits.send_seconds_max == 60
    timeouts = config.timeouts
    assert (timeouts.connect_seconds, timeouts.first_content_seconds) == (10, 120)
    assert (timeouts.idle_seconds, timeouts.total_seconds) == (300, 3600)
    assert config.keys == ()
    assert config.providers == {}
    assert config.models == {}
    assert [warning.path for warning in config.warnings] == ["providers"]


def test_the_environment_alone_registers_providers() -> None:
    config = load(None, {"OPENAI_API_KEY": "sk-env", "OLLAMA_HOST": "127.0.0.1:11434", "UNRELATED_API_KEY": "x"})
    assert list(config.providers) == ["ollama", "openai"]
    ollama, openai = config.providers.values()
    assert openai.provider is registry.providers()["openai"]
    assert str(openai.base_url) == "https://api.openai.com/v1"
    assert [(key.reveal(), key.source) for key in openai.keys] == [("sk-env", "env:OPENAI_API_KEY")]
    assert openai.from_environment
    assert (str(ollama.base_url), ollama.keys) == ("http://127.0.0.1:11434/v1", ())
    assert config.warnings == ()


def test_the_environment_is_kept_out_when_told_so() -> None:
    environ = {"OPENAI_API_KEY": "sk-env", "OPENAI_BASE_URL": "https://elsewhere.example/v1"}
    assert read("[server]\nenvironment_providers = false", environ).providers == {}
    text = '[server]\nenvironment_providers = false\n[providers.openai]\nkey = "env:OPENAI_API_KEY"'
    assert str(read(text, environ).providers["openai"].base_url) == "https://api.openai.com/v1"
    text = "[server]\nenvironment_providers = false\n[providers.openai]\n"
    assert list(problems(text, environ)) == ["providers.openai.key"]


def test_a_section_wins_over_the_environment_and_takes_its_defaults_from_it() -> None:
    environ = {
        "OPENAI_API_KEY": "sk-env",
        "OPENAI_BASE_URL": "https://elsewhere.example/v1/",
        "GROQ_API_KEY": "sk-groq",
    }
    config = read('[providers.openai]\nmodels = ["gpt-4.1-mini"]', environ)
    assert list(config.providers) == ["openai", "groq"]
    openai = config.providers["openai"]
    assert not openai.from_environment
    assert openai.keys == (Secret("sk-env"),)
    assert str(openai.base_url) == "https://elsewhere.example/v1"
    assert openai.models == ("gpt-4.1-mini",)


def test_a_key_of_the_environment_is_not_sent_to_an_address_of_the_file() -> None:
    config = read('[providers.openai]\nbase_url = "http://127.0.0.1:1/v1"', {"OPENAI_API_KEY": "sk-env"})
    assert config.providers["openai"].keys == ()


def test_any_openai_compatible_server_is_three_lines() -> None:
    provider = read(
        '[providers.my-llm]\nbase_url = "http://10.0.0.5:8000/v1"\nkey = "env:MY_KEY"', {"MY_KEY": "k"}
    ).providers["my-llm"]
    assert provider.provider is registry.providers()["compatible"]
    assert (provider.base_url.host, provider.base_url.port, provider.base_url.path) == ("10.0.0.5", 8000, "/v1")
    assert provider.keys == (Secret("k"),)
    assert provider.proxy is ProxyMode.ENVIRONMENT
    assert (provider.restrict, provider.discover, provider.models, provider.headers) == (False, True, (), ())


def test_two_sections_of_one_kind() -> None:
    text = '[providers.first]\nkind = "openai"\nkey = "env:A"\n[providers.second]\nkind = "openai"\nkey = "env:B"'
    config = read(text, {"A": "a", "B": "b"})
    assert [(name, each.provider.name, each.keys) for name, each in config.providers.items()] == [
        ("first", "openai", (Secret("a"),)),
        ("second", "openai", (Secret("b"),)),
    ]


def test_timeouts_are_overlaid_from_the_top_down() -> None:
    text = """
    [timeouts]
    connect_seconds = 1
    idle_seconds = 2.5
    [providers.mine]
    base_url = "http://127.0.0.1:8000"
    timeouts = { idle_seconds = 3, total_seconds = 4 }
    [models.fast]
    provider = "mine"
    model = "m"
    timeouts.total_seconds = 5
    """
    config = read(text)
    assert config.timeouts == Timeouts(connect_seconds=1, idle_seconds=2.5)
    assert config.providers["mine"].timeouts == Timeouts(connect_seconds=1, idle_seconds=3, total_seconds=4)
    (candidate,) = config.models["fast"].candidates
    assert candidate.timeouts == Timeouts(connect_seconds=1, idle_seconds=3, total_seconds=5)


def test_aliases() -> None:
    text = (
        SERVER
        + '[models."gpt-4.1-mini"]\nprovider = "mine"\n[models."meta/llama"]\nprovider = "mine"\nmodel = "llama:8b"'
    )
    models = read(text).models
    assert [(alias.name, [(one.provider, one.model) for one in alias.candidates]) for alias in models.values()] == [
        ("gpt-4.1-mini", [("mine", "gpt-4.1-mini")]),
        ("meta/llama", [("mine", "llama:8b")]),
    ]


def test_an_alias_lists_its_candidates() -> None:
    text = """
    [providers.first]
    base_url = "http://127.0.0.1:1"
    timeouts.idle_seconds = 2
    on_loss = "strict"
    [providers.second]
    base_url = "http://127.0.0.1:2"
    [models.fast]
    timeouts.total_seconds = 9
    [[models.fast.candidates]]
    provider = "second"
    model = "big"
    weight = 2
    in_flight_max = 20
    [[models.fast.candidates]]
    provider = "first"
    tier = 2
    """
    second, first = read(text).models["fast"].candidates
    assert (second.provider, second.model, second.weight, second.tier, second.in_flight_max) == (
        *("second", "big"),
        *(2, 1, 20),
    )
    assert (second.timeouts, second.on_loss) == (Timeouts(total_seconds=9), Policy.WARN)
    assert (first.provider, first.model, first.weight, first.tier, first.in_flight_max) == ("first", "fast", 1, 2, 0)
    assert (first.timeouts, first.on_loss) == (Timeouts(idle_seconds=2, total_seconds=9), Policy.STRICT)


def test_the_race_of_a_model_is_the_general_one_with_what_it_names() -> None:
    assert load(None, {}).race == Race()
    text = """
    [race]
    attempts_max = 2
    hedge = "p95"
    hedge_floor_ms = 50
    [models.plain]
    provider = "mine"
    [models.own]
    provider = "mine"
    race = { hedge = "1.5s", retry_share = 0, hedge_side_effects = true }
    [models.off]
    provider = "mine"
    race.hedge = "off"
    """
    config = read(SERVER + text)
    assert config.race == Race(attempts_max=2, hedge_percentile=0.95, hedge_floor_seconds=0.05)
    assert config.models["plain"].race == config.race
    assert config.models["own"].race == Race(
        attempts_max=2, hedge_delay_seconds=1.5, hedge_floor_seconds=0.05, retry_share=0, hedge_side_effects=True
    )
    assert config.models["off"].race == Race(attempts_max=2, hedge_floor_seconds=0.05)


@pytest.mark.parametrize(
    ("written", "percentile", "seconds"),
    [
        ("off", None, None),
        ("p95", 0.95, None),
        ("p5", 0.05, None),
        ("p99.9", 0.999, None),
        ("800ms", None, 0.8),
        ("0.5ms", None, 0.0005),
        ("1.5s", None, 1.5),
        ("31536000s", None, 31_536_000),
    ],
)
def test_hedges(written: str, percentile: float | None, seconds: float | None) -> None:
    race = read(f'[race]\nhedge = "{written}"').race
    assert race.hedge_percentile == (percentile and pytest.approx(percentile))
    assert race.hedge_delay_seconds == (seconds and pytest.approx(seconds))


def test_several_keys_of_one_provider() -> None:
    config = read('[providers.openai]\nkeys = ["env:A", "env:B"]', {"A": "a", "B": "b", "OPENAI_API_KEY": "c"})
    assert config.providers["openai"].keys == (Secret("a"), Secret("b"))
    assert config.warnings == ()


def test_the_dialects_of_a_server_may_be_said() -> None:
    text = SERVER + 'dialects = ["messages", "chat"]\n[providers.deepseek]\nkey = "env:K"\n'
    config = read(text + 'dialects = ["messages"]', {"K": "k"})
    assert config.providers["mine"].dialects == (("messages", "/messages"), ("chat", "/chat/completions"))
    assert config.providers["deepseek"].dialects == (("messages", "/anthropic/v1/messages"),)
    assert read(SERVER).providers["mine"].dialects == (("chat", "/chat/completions"),)


def test_every_dialect_has_a_usual_path() -> None:
    found = {name: dialect.PATH for name, dialect in registry.dialects().items()}
    assert all(path.startswith("/") and not path.endswith("/") for path in found.values())
    for provider in registry.providers().values():
        for name, path in provider.dialects:
            assert path.endswith(found[name])


def test_keys_are_kept_as_digests() -> None:
    text = f'[keys.alice]\nhash = "{HASH}"\n[keys.bob]\nvalue = "env:BOB"\n[keys.carol]\nvalue = "sk-carol-literal-key"'
    config = read(text, {"BOB": "sk-bob-long-enough-key"})
    keys = Keyring(config)
    names = {}
    for token in (b"sk-hashed", b"sk-bob-long-enough-key", b"sk-carol-literal-key"):
        principal = keys.authenticate(token)
        names[token] = None if principal is None else principal.id
    assert list(names.values()) == ["alice", "bob", "carol"]
    assert [warning.path for warning in config.warnings if warning.path.startswith("keys")] == ["keys.carol.value"]


def test_keys_make_public_addresses_possible() -> None:
    config = read(f'[server]\nlisten = ["0.0.0.0:80", "[::1]:81", "unix:/run/h.sock"]\n[keys.alice]\nhash = "{HASH}"')
    assert config.server.listen == (TcpListen("0.0.0.0", 80), TcpListen("::1", 81), UnixListen("/run/h.sock"))


def test_zero_keepalive_means_never() -> None:
    assert read("[server]\nkeepalive_comment_seconds = 0").server.keepalive_comment_seconds == inf


def test_headers_and_proxies() -> None:
    text = """
    [providers.mine]
    base_url = "https://llm.example/v1"
    proxy = "http://user:hunter2@proxy:3128"
    headers = { X-Team = "green team", Authorization = "env:AUTH" }
    [providers.direct]
    base_url = "https://llm.example/v1"
    proxy = "none"
    [providers.other]
    base_url = "https://llm.example/v1"
    proxy = "env:PROXY"
    """
    config = read(text, {"AUTH": "Basic abc", "PROXY": "http://proxy:3128"})
    mine, direct, other = config.providers.values()
    assert [(name, value.reveal()) for name, value in mine.headers] == [
        ("x-team", "green team"),
        ("authorization", "Basic abc"),
    ]
    assert mine.proxy == Secret("http://user:hunter2@proxy:3128")
    assert direct.proxy is ProxyMode.NONE
    assert other.proxy == Secret("http://proxy:3128")
    assert [warning.path for warning in config.warnings] == ["providers.mine.proxy"]


def test_equal_documents_make_equal_configurations() -> None:
    text = f'[keys.alice]\nhash = "{HASH}"\n{SERVER}key = "env:K"\n[models.fast]\nprovider = "mine"'
    assert read(text, {"K": "k"}) == read(text, {"K": "k"})
    assert read(text, {"K": "k"}).providers != read(text, {"K": "other"}).providers
    assert read(text, {"K": "k"}).keys == read(text, {"K": "other"}).keys
