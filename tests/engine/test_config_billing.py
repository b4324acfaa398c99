"""Configuration of accounts, money and limits: defaults, bounds, exactness, problems, and what is shown of it."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.prices import Price
from engine.config import Accounts, Billing, Config, Group, Rates, Store, Tier, describe, load, load_document
from engine.config.billing import nanos_of
from engine.config.options import option_rows
from tests.engine.documents import HASH, HIDDEN, SERVER, problems, read

DOLLAR = 1_000_000_000
EXAMPLE = Path(__file__).parent / "configs" / "accounts.toml"
README = Path(__file__).parents[2] / "README.md"
EVERYBODY = {"default": Group("default")}
PUBLIC = '[server]\nlisten = ["0.0.0.0:80"]\n'
PRICE = '[prices."mine/x"]\ninput = 1\noutput = 2\n'


def tiers(*rows: str) -> str:
    return "[billing]\ntiers = [" + ", ".join(f"{{ {row} }}" for row in rows) + "]"


# -- defaults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [Config(), load(None, {}), read("[store]\n[accounts]\n[billing]\n[groups.default]")])
def test_what_nobody_says_is_the_default(config: Config) -> None:
    assert config.store == Store(directory=None, durability="process", log_days=30, enabled=True)
    assert config.accounts == Accounts(required=False, sign_up_nanos=0)
    assert (config.billing.unpriced, config.billing.on_disconnect, config.billing.on_incomplete) == (
        "refuse",
        "cancel",
        "free",
    )
    assert (config.billing.drain_seconds, config.billing.drains_max) == (60, 100)
    assert config.billing.output_tokens_reserved == 8192
    assert config.billing.tiers == (
        Tier(0, 400_000),
        Tier(50 * DOLLAR, 300_000),
        Tier(200 * DOLLAR, 220_000),
        Tier(1_000 * DOLLAR, 150_000),
        Tier(5_000 * DOLLAR, 100_000),
    )
    assert config.groups == EVERYBODY
    assert config.groups["default"] == Group(name="default", models=("*",), price_ratio_ppm=1_000_000)
    assert (config.prices, config.rates) == ({}, {})


def test_equal_files_make_equal_configurations() -> None:
    text = PRICE + "[rates.x]\nin_flight_max = 1\n[groups.a]\nprice_ratio = 2"
    assert read(text) == read(text)


def test_what_is_resolved_cannot_be_changed() -> None:
    config = read(PRICE)
    for mapping in (config.groups, config.prices, config.rates, Config().groups):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index]


# -- values ------------------------------------------------------------------------------------------------------------


def test_everything_that_can_be_said() -> None:
    config = read("""
    [store]
    durability = "power"
    log_days = 0
    enabled = false
    [accounts]
    sign_up_credit = 0.000000001
    [billing]
    unpriced = "free"
    on_disconnect = "drain"
    drain_seconds = 0
    drains_max = 0
    on_incomplete = "estimate"
    output_tokens_reserved = 1
    tiers = [{ spend = 0, markup = 0.1 }, { spend = 0.5, markup = 0.000001 }, { spend = 1e9, markup = 0 }]
    [groups.default]
    price_ratio = 0.5
    [groups.partners]
    models = ["fast", "openai/gpt-4.1*"]
    price_ratio = 1.000001
    [rates."*"]
    in_flight_max = 1000
    [rates."openai/gpt-4.1"]
    requests_per_minute = 60
    tokens_per_minute = 1_000_000_000
    """)
    assert config.store == Store(durability="power", log_days=0, enabled=False)
    assert config.accounts == Accounts(sign_up_nanos=1)
    assert config.billing == Billing(
        unpriced="free",
        on_disconnect="drain",
        drain_seconds=0,
        drains_max=0,
        on_incomplete="estimate",
        output_tokens_reserved=1,
        tiers=(Tier(0, 100_000), Tier(DOLLAR // 2, 1), Tier(10**18, 0)),
    )
    assert config.groups == {
        "default": Group("default", ("*",), 500_000),
        "partners": Group("partners", ("fast", "openai/gpt-4.1*"), 1_000_001),
    }
    assert config.rates == {
        "*": Rates(in_flight_max=1000),
        "openai/gpt-4.1": Rates(requests_per_minute=60, tokens_per_minute=10**9),
    }


def test_no_tiers_are_no_markup() -> None:
    assert read("[billing]\ntiers = []").billing.tiers == (Tier(0, 0),)


def test_a_price_is_in_dollars_per_million_tokens_and_a_piece() -> None:
    prices = read("""
    [prices."gpt-x"]
    input = 1.25
    output = 10
    [prices."mine/gpt-x"]
    input = 0
    output = 0.1
    cached_input = 0.075
    cache_write = 3.75
    audio_input = 32
    audio_output = 64.000000001
    reasoning = 12
    cached_audio = 0.3
    image_input = 5
    cached_image = 0.5
    call = 0.01
    image = 0.039
    audio_minute = 0.006
    session_minute = 0.034
    """).prices
    assert prices == {
        "gpt-x": Price(input=1_250_000_000, output=10 * DOLLAR),
        "mine/gpt-x": Price(
            input=0,
            output=100_000_000,
            cached_input=75_000_000,
            cache_write=3_750_000_000,
            audio_input=32 * DOLLAR,
            audio_output=64_000_000_001,
            reasoning=12 * DOLLAR,
            cached_audio=300_000_000,
            image_input=5 * DOLLAR,
            cached_image=500_000_000,
            call=10_000_000,
            image=39_000_000,
            audio_minute=6_000_000,
            session_minute=34_000_000,
        ),
    }
    assert prices["gpt-x"].cached_input == prices["gpt-x"].audio_input == 1_250_000_000
    assert prices["gpt-x"].reasoning == 10 * DOLLAR


def test_a_store_lies_beside_its_file_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "hedgerow.toml"
    environ = {"HOME": "/nonexistent/home"}
    for written, place in (
        ("keep/here", tmp_path / "keep" / "here"),
        ("~/here", Path("/nonexistent/home/here")),
        ("/nonexistent/here", Path("/nonexistent/here")),
        (".", tmp_path),
    ):
        path.write_text(f'[store]\ndirectory = "{written}"')
        assert load(path, environ).store.directory == place
    assert list(tmp_path.iterdir()) == [path]


# -- exactness ---------------------------------------------------------------------------------------------------------


@given(nanos=st.integers(0, 10**15 - 1))
def test_dollars_of_up_to_fifteen_digits_are_what_is_written(nanos: int) -> None:
    written = f"{Decimal(nanos).scaleb(-9):.9f}"
    for shorter in (written, written.rstrip("0") + "0"):
        assert read(f"[accounts]\nsign_up_credit = {shorter}").accounts.sign_up_nanos == nanos


@given(dollars=st.integers(0, 10**9), cents=st.integers(0, 99))
def test_whole_dollars_and_cents_are_exact_up_to_the_bound(dollars: int, cents: int) -> None:
    assert read(f"[accounts]\nsign_up_credit = {dollars}").accounts.sign_up_nanos == dollars * DOLLAR
    if dollars < 10**9:
        text = f"[accounts]\nsign_up_credit = {dollars}.{cents:02}"
        assert read(text).accounts.sign_up_nanos == dollars * DOLLAR + cents * 10_000_000


@given(ppm=st.integers(0, 1_000_000_000))
def test_ratios_are_exact(ppm: int) -> None:
    text = f"[groups.a]\nprice_ratio = {Decimal(ppm).scaleb(-6):.6f}"
    assert read(text).groups["a"].price_ratio_ppm == ppm


@given(value=st.floats(0, 10**9))
def test_a_number_is_exact_or_a_problem(value: float) -> None:
    document = {"accounts": {"sign_up_credit": value}}
    exact = Decimal(repr(value)).normalize()
    if exact == exact.quantize(Decimal("1e-9")) and len(exact.as_tuple().digits) <= 15:
        assert load_document(document, {}).accounts.sign_up_nanos == int(exact * 10**9)
    else:
        assert list(problems(f"[accounts]\nsign_up_credit = {value!r}")) == ["accounts.sign_up_credit"]


def test_what_floats_are_known_for() -> None:
    for written, nanos in (("0.1", 10**8), ("0.2", 2 * 10**8), ("0.3", 3 * 10**8), ("1.1", 1_100_000_000), ("1e-9", 1)):
        assert read(f"[accounts]\nsign_up_credit = {written}").accounts.sign_up_nanos == nanos
    sum_of_floats = f"[accounts]\nsign_up_credit = {0.1 + 0.2!r}"
    assert problems(sum_of_floats)["accounts.sign_up_credit"].startswith("must have at most 15 digits")
    assert nanos_of("999999.999999999") == 10**15 - 1


# -- problems ----------------------------------------------------------------------------------------------------------

DIGITS = "must have at most 15 digits"
NANO = "must have at most 9 digits after the point"
DOLLARS = "must be at least 0 and at most 1,000,000,000"
PRICES = "must be at least 0 and at most 1,000,000"
RATIO = "must be at least 0 and at most 1,000"
NAME = "must be named with lower-case letters"

REFUSED: list[tuple[str, dict[str, str]]] = [
    ("store = 1", {"store": "must be a table"}),
    ("[store]\ndirectroy = 'x'", {"store.directroy": "unknown key; did you mean directory?"}),
    ('[store]\ndirectory = ""', {"store.directory": "must be the path of a directory"}),
    ('[store]\ndirectory = "a\\u0000b"', {"store.directory": "must be the path of a directory"}),
    (f"[store]\ndirectory = {str(Path(__file__))!r}", {"store.directory": "must be the path of a directory"}),
    ("[store]\ndirectory = 1", {"store.directory": "must be a string"}),
    ('[store]\ndurability = "none"', {"store.durability": 'must be one of "power", "process"'}),
    ("[store]\nlog_days = -1", {"store.log_days": "must be at least 0 and at most 36,500"}),
    ("[store]\nlog_days = 36501", {"store.log_days": "must be at least 0 and at most 36,500"}),
    ("[store]\nlog_days = 0.5", {"store.log_days": "must be an integer"}),
    ("[store]\nenabled = 0", {"store.enabled": "must be true or false"}),
    # accounts
    ('[accounts]\nrequired = "yes"', {"accounts.required": "must be true or false"}),
    (PUBLIC + '[accounts]\nrequired = "yes"', {"accounts.required": "must be true or false"}),
    ("[accounts]\nrequired = true\n[store]\nenabled = false", {"accounts.required": "needs the store"}),
    ("[accounts]\nsign_up_credit = -0.01", {"accounts.sign_up_credit": DOLLARS}),
    ("[accounts]\nsign_up_credit = 1_000_000_000.01", {"accounts.sign_up_credit": DOLLARS}),
    ("[accounts]\nsign_up_credit = inf", {"accounts.sign_up_credit": DOLLARS}),
    ("[accounts]\nsign_up_credit = nan", {"accounts.sign_up_credit": DOLLARS}),
    ('[accounts]\nsign_up_credit = "1"', {"accounts.sign_up_credit": "must be a number, not a string"}),
    ("[accounts]\nsign_up_credit = 1e-10", {"accounts.sign_up_credit": NANO}),
    ("[accounts]\nsign_up_credit = 1e-300", {"accounts.sign_up_credit": NANO}),
    ("[accounts]\nsign_up_credit = 5e-324", {"accounts.sign_up_credit": NANO}),
    ("[accounts]\nsign_up_credit = 123456789.123456789", {"accounts.sign_up_credit": DIGITS}),
    # billing
    ('[billing]\nunpriced = "charge"', {"billing.unpriced": 'must be one of "free", "refuse"'}),
    ('[billing]\non_disconnect = "free"', {"billing.on_disconnect": 'must be one of "cancel", "drain"'}),
    ('[billing]\non_incomplete = "drain"', {"billing.on_incomplete": 'must be one of "estimate", "free"'}),
    ("[billing]\ndrain_seconds = 86401", {"billing.drain_seconds": "must be at least 0 and at most 86,400"}),
    ("[billing]\ndrain = 1", {"billing.drain": "unknown key; did you mean drain_seconds?"}),
    ("[billing]\ndrains_max = -1", {"billing.drains_max": "must be at least 0 and at most 1,000,000"}),
    ("[billing]\noutput_tokens_reserved = 0", {"billing.output_tokens_reserved": "must be at least 1"}),
    ("[billing]\ntiers = 1", {"billing.tiers": "must be an array, not an integer"}),
    ("[billing]\ntiers = [1]", {"billing.tiers[0]": "must be a table, not an integer"}),
    (tiers(""), {"billing.tiers[0].spend": "is missing", "billing.tiers[0].markup": "is missing"}),
    (tiers("spend = 0"), {"billing.tiers[0].markup": "is missing"}),
    (tiers("spend = 5, markup = 0"), {"billing.tiers[0].spend": "must be 0"}),
    (
        tiers("spend = 0, markup = 0", "spend = 0, markup = 0"),
        {"billing.tiers[1].spend": "must be more than that of the tier before"},
    ),
    (
        tiers("spend = 0, markup = 0", "spend = 9, markup = 0", "spend = 8, markup = 0"),
        {"billing.tiers[2].spend": "must be more than that of the tier before"},
    ),
    (
        tiers('spend = "0", markup = 0', "spend = 9, markup = 1001"),
        {"billing.tiers[0].spend": "must be a number", "billing.tiers[1].markup": RATIO},
    ),
    (tiers("spend = 0, markup = -0.1"), {"billing.tiers[0].markup": RATIO}),
    (tiers("spend = 0, markup = 0.0000001"), {"billing.tiers[0].markup": "must have at most 6 digits after the point"}),
    (tiers("spend = 0, markup = 0.1, price = 1"), {"billing.tiers[0].price": "unknown key; known here: spend, markup"}),
    # groups
    ("[groups]\na = 1", {"groups.a": "must be a table, not an integer"}),
    ("[groups.Partners]", {"groups.Partners": NAME}),
    ("[groups.a]\nmodels = []", {"groups.a.models": "must hold at least one name or pattern"}),
    ('[groups.a]\nmodels = "*"', {"groups.a.models": "must be an array, not a string"}),
    (
        '[groups.a]\nmodels = ["*", "a b", ""]',
        dict.fromkeys(("groups.a.models[1]", "groups.a.models[2]"), "in which *"),
    ),
    ("[groups.a]\nprice_ratio = -1", {"groups.a.price_ratio": RATIO}),
    ("[groups.a]\nprice_ratio = 1000.1", {"groups.a.price_ratio": RATIO}),
    ("[groups.a]\nprice_ratio = 0.3333333", {"groups.a.price_ratio": "must have at most 6 digits after the point"}),
    ("[groups.a]\nratio = 2", {"groups.a.ratio": "unknown key; did you mean price_ratio?"}),
    # prices
    ("[prices.x]", {"prices.x.input": "is missing", "prices.x.output": "is missing"}),
    ("[prices.x]\ninput = 1\ncall = 0.1", {"prices.x.output": "is missing"}),
    ("[prices.x]\ninput = true\noutput = 1", {"prices.x.input": "must be a number, not true or false"}),
    (PRICE + "cached = 1", {'prices."mine/x".cached': "unknown key; did you mean cached_input?"}),
    (PRICE + "call = 1_000_000.1", {'prices."mine/x".call': PRICES}),
    (PRICE + "image = -1", {'prices."mine/x".image': PRICES}),
    (PRICE + "reasoning = 0.0000000001", {'prices."mine/x".reasoning': NANO}),
    ('[prices."a b"]\ninput = 1\noutput = 1', {'prices."a b"': "must be a model's name"}),
    ("[prices.gpt-4.1]\ninput = 1\noutput = 1", {"prices.gpt-4.1": "unknown key"}),
    ("[prices.x]\ninptu = 1\noutput = 1", {"prices.x.inptu": "did you mean input?", "prices.x.input": "is missing"}),
    # rates
    ("[rates.x]", {"rates.x": "needs one of requests_per_minute, tokens_per_minute, in_flight_max"}),
    ("[rates.gpt-4.1]\nin_flight_max = 1", {"rates.gpt-4.1": "unknown key"}),
    ("[rates.x]\nin_flight_max = 0", {"rates.x.in_flight_max": "must be at least 1 and at most 1,000,000,000,000"}),
    ("[rates.x]\nrequests = 1", {"rates.x.requests": "unknown key; did you mean requests_per_minute?"}),
    ("[rates.x]\ntokens_per_minute = 1.5", {"rates.x.tokens_per_minute": "must be an integer, not a number"}),
    ('[rates."gpt-*"]\nin_flight_max = 1', {'rates."gpt-*"': '"*" for all models together'}),
    ('[rates."a b"]\nin_flight_max = 1', {'rates."a b"': "must be a model's name"}),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED, ids=[text[:60] for text, _ in REFUSED])
def test_every_problem_has_its_path(text: str, expected: dict[str, str]) -> None:
    found = problems(text)
    assert found.keys() == expected.keys()
    for path, fragment in expected.items():
        assert fragment in found[path]


@pytest.mark.parametrize(
    "place",
    [
        "[store]\ndirectory = {0}",
        "[store]\ndurability = {0}",
        "[accounts]\nsign_up_credit = {0}",
        "[billing]\nunpriced = {0}",
        "[billing]\ntiers = [{0}]",
        "[groups.a]\nmodels = [{0}]",
        "[groups.a]\nprice_ratio = {0}",
        "[prices.x]\ninput = {0}",
        "[rates.x]\nin_flight_max = {0}",
    ],
)
def test_no_value_is_quoted(place: str) -> None:
    found = problems(place.format(f'"{HIDDEN}\\u0000 x"'))
    assert not [message for message in found.values() if HIDDEN in message]


# -- who may listen where ----------------------------------------------------------------------------------------------


def test_accounts_that_are_required_make_a_public_address_possible() -> None:
    config = read(PUBLIC + "[accounts]\nrequired = true")
    assert (config.accounts.required, config.keys) == (True, ())
    assert str(config.server.listen[0]) == "0.0.0.0:80"


def test_a_public_address_without_any_key_names_all_ways_out() -> None:
    for text in (PUBLIC, PUBLIC + "[accounts]\nrequired = false", PUBLIC + "[accounts]\nsign_up_credit = 1"):
        (message,) = problems(text).values()
        for way in ("add [keys.NAME]", "set accounts.required = true", "listen on 127.0.0.1"):
            assert way in message


def test_pages_of_any_origin_are_warned_about_unless_a_key_is_asked_for() -> None:
    text = SERVER + '[server]\ncors_origins = ["*"]\n'
    assert [warning.path for warning in read(text).warnings] == ["server.cors_origins"]
    assert read(text + "[accounts]\nrequired = true").warnings == ()
    assert read(text + f'[keys.a]\nhash = "{HASH}"').warnings == ()


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_describe_says_what_the_example_amounts_to() -> None:
    lines = describe(load(EXAMPLE, {"OPENAI_API_KEY": "sk-1"}))
    assert lines[lines.index("model       fast -> gpu-room/qwen3-32b") + 1 :] == [
        f"store       {EXAMPLE.parent / 'accounts'}",
        "store       durability = power",
        "accounts    a key is always asked for",
        "accounts    a new one is granted $1.50",
        "billing     on_disconnect = drain",
        "billing     markup 40 % from $0.00, 25 % from $100.00",
        "group       partners may use fast, gpt-4.1*, prices x 0.9",
        "price       gpu-room/qwen3-32b: input $0.10, output $0.30 per million tokens",
        "rate        fast, requests_per_minute = 600, tokens_per_minute = 2000000",
        "rate        all models together, in_flight_max = 1000",
    ]
    assert "keys        none here: only keys of accounts may use the gateway" in lines
    assert not EXAMPLE.with_name("accounts").exists()


def test_describe_shows_exact_amounts() -> None:
    text = """
    [store]
    enabled = false
    [billing]
    tiers = [{ spend = 0, markup = 0.123456 }, { spend = 1000000, markup = 2 }]
    [groups.default]
    price_ratio = 100
    [groups.same]
    [prices.x]
    input = 0.000000001
    output = 5
    cached_input = 2
    reasoning = 6
    cached_audio = 3
    call = 0.01
    image = 2
    audio_minute = 0.006
    session_minute = 0.034
    """
    rates = "input $0.000000001, output $5.00, cached_input $2.00, cached_audio $3.00, reasoning $6.00"
    pieces = "$0.01 per call, $2.00 per image, $0.006 per minute of transcribed sound, $0.034 per minute of session"
    assert describe(read(SERVER + text))[5:] == [
        "store       enabled = false",
        "billing     markup 12.3456 % from $0.00, 200 % from $1000000.00",
        "group       default may use *, prices x 100",
        "group       same may use *",
        f"price       x: {rates} per million tokens, {pieces}",
    ]
    assert describe(read(SERVER + "[billing]\ntiers = []"))[-1] == "billing     no markup"


# -- documentation -----------------------------------------------------------------------------------------------------


def test_the_readme_shows_the_example_as_it_is() -> None:
    shown = re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)
    assert any(_settings(part) == _settings(EXAMPLE.read_text()) for part in shown)


def _settings(text: str) -> list[str]:
    lines = (re.sub(r"\s*#.*", "", line) for line in text.splitlines())
    return [line for line in lines if line]


def test_options_about_money_say_what_they_are_counted_in() -> None:
    units = {row.path: row.unit for row in option_rows()}
    assert units["accounts.sign_up_credit"] == units["billing.tiers.spend"] == units["prices.NAME.call"] == "$"
    assert {units[f"prices.NAME.{rate}"] for rate in ("input", "output", "reasoning")} == {"$/1M tokens"}
    assert (units["billing.drain_seconds"], units["store.log_days"], units["groups.NAME.price_ratio"]) == (
        "s",
        "days",
        "",
    )
