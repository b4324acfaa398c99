"""Configuration files: paths, places of mistakes, certificates, permissions, and the examples."""

import re
from pathlib import Path

import msgspec
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import (
    ConfigError,
    Limits,
    Timeouts,
    load,
    load_document,
)
from engine.config.options import SECTIONS, TABLES, Document, option_rows
from engine.secrets import Secret
from tests.engine.documents import HASH, SERVER

EXAMPLES = Path(__file__).parent / "configs"
README = Path(__file__).parents[2] / "README.md"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def certificate(directory: Path) -> tuple[trustme.CA, str, str]:
    """Write ca.pem, cert.pem and key.pem; return the authority and the [server] lines that name them."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    for i, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(directory / "cert.pem"), append=i > 0)
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    return authority, 'tls_cert = "cert.pem"\n', 'tls_key = "key.pem"\n'


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    _, cert, key = certificate(tmp_path)
    write(tmp_path / "token", "sk-from-file\n")
    path = write(
        tmp_path / "hedgerow.toml",
        f'[server]\n{cert}{key}access_log = "access.log"\n'
        '[providers.mine]\nbase_url = "https://llm.example/v1"\nkey = "file:token"\nca_file = "ca.pem"\n',
    )
    config = load(path, {})
    assert config.path == path
    assert config.server.tls is not None
    assert (config.server.tls.cert, config.server.tls.key) == (tmp_path / "cert.pem", tmp_path / "key.pem")
    assert config.server.access_log == tmp_path / "access.log"
    assert config.providers["mine"].ca_file == tmp_path / "ca.pem"
    assert config.providers["mine"].keys == (Secret("sk-from-file"),)
    assert config.warnings == ()


def test_a_relative_path_of_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "hedgerow.toml", '[providers.mine]\nbase_url = "http://127.0.0.1:1"\nkey = "file:token"')
    write(tmp_path / "token", "k")
    monkeypatch.chdir(tmp_path)
    config = load(Path("hedgerow.toml"), {})
    assert config.path == tmp_path / "hedgerow.toml"
    assert config.providers["mine"].keys == (Secret("k"),)


def test_replaced_certificates_make_another_configuration(tmp_path: Path) -> None:
    certificate(tmp_path)
    path = write(tmp_path / "h.toml", '[providers.mine]\nbase_url = "https://llm.example"\nca_file = "ca.pem"')
    before = load(path, {})
    assert load(path, {}) == before
    certificate(tmp_path)
    assert load(path, {}).providers != before.providers


def test_a_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "h.toml").write_bytes(b"\xef\xbb\xbf[server]\r\nworkers = 2\r\n")
    assert load(tmp_path / "h.toml", {}).server.workers == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        # tomllib's own words differ between Python versions; the place does not.
        (b"[server\n", r"^not TOML: .*\(at line 1, column 8\)$"),
        (b"[server]\nworkers = \n", r"^not TOML: .*\(at line 2, column 11\)$"),
        (b'[keys.a]\nvalue = "sk-hidden\n', r"^not TOML: .*\(at line 2, column 19\)$"),
        (b'[keys.a]\nvalue = "sk-hidden"\nvalue = "sk-hidden"\n', r"^not TOML: .*\(at line 3, column 20\)$"),
        (b"[server]\n# \xe9\n", r"is not UTF-8 \(line 2\)$"),
        (b"a = " + b"[" * 100_000, "^not a configuration: it is nested too deeply$"),
        (b"a = " + b"9" * 10_000, "^not TOML: a number or date is out of range$"),
        (b"#" * (4 * 1024 * 1024 + 1), "is larger than 4,194,304 bytes: not a configuration$"),
    ],
)
def test_what_is_not_toml_is_said_with_its_place(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "h.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "h.toml", {})
    (problem,) = caught.value.problems
    assert problem.path == ""
    assert re.search(sentence, problem.message)
    assert "sk-hidden" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("a\0b"), "not a path"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        (problem,) = caught.value.problems
        assert problem.path == ""
        assert problem.message.startswith("cannot read '")
        assert reason in problem.message


def test_literals_are_warned_about_and_louder_when_everyone_can_read_them(tmp_path: Path) -> None:
    text = '[keys.a]\nvalue = "sk-hidden"\n[providers.mine]\nbase_url = "http://127.0.0.1:1"\nkey = "sk-also"'
    path = write(tmp_path / "h.toml", text, 0o600)
    assert [warning.path for warning in load(path, {}).warnings] == [
        "keys.a.value",
        "keys.a.value",
        "providers.mine.key",
    ]
    path.chmod(0o644)
    assert load(path, {}).warnings[-1].message.endswith("every user of this machine can read it: chmod 600")
    path = write(path, f'[keys.a]\nhash = "{HASH}"\n{SERVER}', 0o644)
    assert load(path, {}).warnings == ()


@pytest.mark.parametrize("broken", ["cert", "key", "both", "swapped", "other", "encrypted"])
def test_a_certificate_that_does_not_load(broken: str, tmp_path: Path) -> None:
    _, cert, key = certificate(tmp_path)
    if broken in {"cert", "both"}:
        write(tmp_path / "cert.pem", "not PEM")
    if broken in {"key", "both"}:
        write(tmp_path / "key.pem", "not PEM")
    if broken == "swapped":
        cert, key = 'tls_cert = "key.pem"\n', 'tls_key = "cert.pem"\n'
    if broken == "other":
        trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    if broken == "encrypted":
        write(tmp_path / "key.pem", ENCRYPTED_KEY)
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path / "h.toml", f"[server]\n{cert}{key}"), {})
    assert [problem.path for problem in caught.value.problems] == ["server.tls_key"]


ENCRYPTED_KEY = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAhZ0n0nC0JtVQICCAAw
-----END ENCRYPTED PRIVATE KEY-----
"""


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_load(path: Path) -> None:
    names = (
        *("OPENAI_API_KEY", "SECOND_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY"),
        *("TEAM_KEY", "MY_KEY", "ALICE_KEY"),
    )
    environ = {"PROXY_URL": "http://proxy:3128"} | {name: f"sk-{name.lower()}-0123456789" for name in names}
    config = load(path, environ)
    assert config.providers
    assert config.path == path


def test_the_readme_shows_the_examples_as_they_are() -> None:
    text = README.read_text() if README.exists() else ""
    shown = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    for name in ("two_keys", "alternate", "hedged", "group"):
        example = (EXAMPLES / f"{name}.toml").read_text()
        assert any(_settings(part) == _settings(example) for part in shown), name


def _settings(text: str) -> list[str]:
    """Return the lines of a file without its comments."""
    lines = (re.sub(r"\s*#.*", "", line) for line in text.splitlines())
    return [line for line in lines if line]


def test_every_option_is_documented() -> None:
    rows = list(option_rows())
    assert len(rows) == sum(len(struct.__struct_fields__) for _, struct in TABLES)
    assert len({row.path for row in rows}) == len(rows)
    for row in rows:
        assert row.meaning
        if "_seconds" in row.path:
            assert row.unit == "s"
        if "_bytes" in row.path:
            assert row.unit == "bytes"
        if row.path.endswith("_ms"):
            assert row.unit == "ms"


def test_the_readme_lists_every_option_as_it_is() -> None:
    lines = README.read_text().splitlines() if README.exists() else []
    if not any("limits.head_bytes_max" in line for line in lines):
        pytest.skip("README.md has no table of options")
    wanted = [f"| `{row.path}` | {row.default} | {row.unit} | {row.meaning} |" for row in option_rows()]
    assert [line for line in wanted if line not in lines] == []


def test_sections_are_those_of_the_document() -> None:
    assert tuple(section.partition(".")[0] for section, _ in SECTIONS) == Document.__struct_fields__


def test_every_default_is_within_its_bounds() -> None:
    for struct in (Limits, Timeouts):
        written = msgspec.to_builtins(struct())
        assert msgspec.structs.asdict(
            getattr(load_document({struct.__name__.lower(): written}, {}), struct.__name__.lower())
        ) == (written)


@settings(max_examples=80, deadline=None)
@given(
    example=st.sampled_from(sorted(EXAMPLES.glob("*.toml"))),
    at=st.floats(0, 1),
    deleted=st.integers(0, 40),
    inserted=st.binary(max_size=6) | st.sampled_from([b"[", b'"', b"[[", b"=", b"\r", b"1e999", b"\\u0000", b"#"]),
)
def test_any_damage_to_a_file_is_a_problem_or_none(
    example: Path, at: float, deleted: int, inserted: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = example.read_bytes()
    place = int(at * len(content))
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    path.write_bytes(content[:place] + inserted + content[place + deleted :])
    try:
        load(path, {})
    except ConfigError as exc:
        assert exc.problems  # noqa: PT017
