"""Configuration: hedgerow.toml and the environment into one frozen `Config`, or every reason why not.

How it is read, one module a step: `options` declares every section, key, bound and default; `shape` reads a document
by those declarations; `server`, `providers`, `routing` and `billing` give the values their meaning (addresses by
`addresses`, secrets by `engine.secrets`); `model` is what comes out; `describe` renders it for people. `findings`
collects what is wrong on the way: reading goes on to the end, so that one run names every problem. Nothing here keeps
state: a reload calls `load` again.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from engine.config import shape
from engine.config.addresses import BaseUrl, Listen, TcpListen, UnixListen
from engine.config.billing import (
    build_accounts,
    build_billing,
    build_groups,
    build_prices,
    build_rates,
    build_store,
)
from engine.config.context import Context
from engine.config.describe import describe
from engine.config.findings import ConfigError, Findings, Problem
from engine.config.model import (
    AccessLog,
    Accounts,
    Alias,
    AliasCandidate,
    Billing,
    Config,
    Group,
    ProviderConfig,
    ProxyMode,
    Race,
    Server,
    Store,
    Tier,
    Tls,
)
from engine.config.money_options import Rates
from engine.config.options import Document, Limits, Timeouts
from engine.config.providers import build_providers, check_default_provider
from engine.config.realtime_options import RealtimeOptions
from engine.config.routing import build_aliases, build_race
from engine.config.server import build_keys, build_server
from engine.secrets import quoted

__all__ = [
    "AccessLog",
    "Accounts",
    "Alias",
    "AliasCandidate",
    "BaseUrl",
    "Billing",
    "Config",
    "ConfigError",
    "Group",
    "Limits",
    "Listen",
    "Problem",
    "ProviderConfig",
    "ProxyMode",
    "Race",
    "Rates",
    "RealtimeOptions",
    "Server",
    "Store",
    "TcpListen",
    "Tier",
    "Timeouts",
    "Tls",
    "UnixListen",
    "describe",
    "load",
    "load_document",
    "load_text",
    "read",
]

FILE_BYTES_MAX = 4 * 1024 * 1024
"""tomllib takes about a second for this much; a configuration beyond it is some other file."""


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the file at `path`, or nothing but the environment when it is None.

    Raises `ConfigError` with every problem. Paths in the file are relative to the file. Files and variables that it
    names are read now, so that a reload takes new ones.
    """
    return load_text(read(path), path, environ)


def read(path: Path | None) -> str:
    """Return the text of the file at `path`, nothing when it is None. Raises `ConfigError` when it cannot be had."""
    if path is None:
        return ""
    findings = Findings()
    text = _read(path, findings)
    findings.raise_problems()
    return text


def load_text(text: str, path: Path | None, environ: Mapping[str, str]) -> Config:
    """As `load`, of a text that was read from `path` before: for processes that must agree on one state of the file."""
    findings = Findings()
    document = _parse(text, findings)
    findings.raise_problems()
    return load_document(document, environ, path=None if path is None else path.absolute())


def load_document(document: Mapping[str, object], environ: Mapping[str, str], *, path: Path | None = None) -> Config:
    """Build a `Config` of a document as `tomllib` returns it. Raises `ConfigError` with every problem, nothing else."""
    findings = Findings()
    context = Context(environ, Path() if path is None else path.parent, findings)
    options = shape.read(Document, document, "", findings)
    keys = build_keys(options.keys, context)
    store = build_store(options.store, context)
    accounts = build_accounts(options.accounts, store, context)
    server = build_server(options.server, keys, accounts, context)
    providers = build_providers(options, context)
    race = build_race(options, context)
    models = build_aliases(options, providers, context)
    check_default_provider(options, providers, context)
    billing = build_billing(options.billing, context)
    groups = build_groups(options.groups, context)
    prices = build_prices(options.prices, context)
    rates = build_rates(options.rates, context)
    findings.raise_problems()
    if not providers:
        findings.warning("providers", "there is none: set the variable of a known provider, or add [providers.NAME]")
    if path is not None and context.literals:
        _check_permissions(path, findings)
    return Config(
        server=server,
        limits=options.limits,
        timeouts=options.timeouts,
        race=race,
        keys=keys,
        providers=MappingProxyType(providers),
        models=MappingProxyType(models),
        store=store,
        accounts=accounts,
        billing=billing,
        groups=MappingProxyType(groups),
        prices=MappingProxyType(prices),
        rates=MappingProxyType(rates),
        realtime=options.realtime,
        path=path,
        warnings=findings.warnings,
    )


def _read(path: Path, findings: Findings) -> str:
    """Return the text of the file, or note why it cannot be had."""
    shown = quoted(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a path"
        findings.problem("", f"cannot read {shown}: {reason}")
        return ""
    if len(content) > FILE_BYTES_MAX:
        findings.problem("", f"{shown} is larger than {FILE_BYTES_MAX:,} bytes: not a configuration")
        return ""
    try:
        # Editors on Windows begin a file with a byte order mark, which TOML does not know.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        findings.problem("", f"{shown} is not UTF-8 (line {line})")
        return ""


def _parse(text: str, findings: Findings) -> dict[str, object]:
    """Return the document, or note where it is not TOML. tomllib names line and column and quotes no value."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        findings.problem("", f"not TOML: {exc}")
    except RecursionError:
        findings.problem("", "not a configuration: it is nested too deeply")
    except ValueError:
        # A number of thousands of digits (CPython's int limit) is no TOMLDecodeError before 3.14.
        findings.problem("", "not TOML: a number or date is out of range")
    return {}


def _check_permissions(path: Path, findings: Findings) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if mode & 0o004:
        findings.warning("", f"{quoted(str(path))} holds secrets and every user of this machine can read it: chmod 600")
