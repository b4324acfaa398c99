"""Describe: a configuration in lines for people, as `hedgerow check` prints it.

Shows where secrets come from, never one. What was not changed is not repeated: of limits and timeouts only what
differs from the defaults is shown. Names, paths and addresses are shown as they are, escaped where they could disturb
a terminal.
"""

from collections.abc import Iterator

from engine.config.addresses import TcpListen
from engine.config.model import AccessLog, Config, ProviderConfig, ProxyMode
from engine.config.options import Section, ServerBase, Timeouts

NAME_WIDTH = 12


def describe(config: Config) -> list[str]:
    """Return what the configuration amounts to, one statement a line, warnings last."""
    lines = [*_server(config), *_keys(config)]
    lines += [_line("provider", _provider(provider)) for provider in config.providers.values()]
    for alias in config.models.values():
        own = _changed(alias.timeouts, config.providers[alias.provider].timeouts)
        lines.append(_line("model", ", ".join([f"{alias.name} -> {alias.provider}/{alias.model}", *own])))
    lines += [_line("limit", text) for text in _changed(config.limits, type(config.limits)())]
    lines += [_line("timeout", text) for text in _changed(config.timeouts, Timeouts())]
    lines += [_line("warning", str(warning)) for warning in config.warnings]
    return lines


def _line(name: str, text: str) -> str:
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return f"{name:<{NAME_WIDTH}}{shown}"


def _server(config: Config) -> Iterator[str]:
    server = config.server
    yield _line("file", str(config.path) if config.path is not None else "none: everything comes from the environment")
    for address in server.listen:
        secure = server.tls is not None and isinstance(address, TcpListen)
        yield _line("listen", f"{address} (TLS)" if secure else str(address))
    if server.tls is not None:
        yield _line("tls", f"certificate {server.tls.cert}, key {server.tls.key}")
    log = server.access_log
    yield _line("access log", log.value if isinstance(log, AccessLog) else str(log))
    for text in _changed(server, ServerBase(), ServerBase.__struct_fields__):
        yield _line("server", text)


def _keys(config: Config) -> Iterator[str]:
    if config.keys:
        yield _line("keys", f"{len(config.keys)}: {', '.join(key.id for key in config.keys)}")
    else:
        yield _line("keys", "none: whoever reaches this machine's loopback address may use the gateway")


def _provider(provider: ProviderConfig) -> str:
    facts = [f"{provider.name} ({provider.provider.name}) at {provider.base_url}"]
    facts.append("no key" if provider.key is None else f"key from {_source(provider)}")
    if provider.from_environment:
        facts.append("registered by the environment")
    if provider.models:
        count = len(provider.models)
        facts.append(f"{'only ' if provider.restrict else ''}{count} listed model{'s' if count > 1 else ''}")
    if provider.headers:
        facts.append("headers " + " ".join(name for name, _ in provider.headers))
    if provider.ca_file is not None:
        facts.append(f"trusts {provider.ca_file}")
    if provider.proxy is not ProxyMode.ENVIRONMENT:
        facts.append("no proxy" if provider.proxy is ProxyMode.NONE else "its own proxy")
    if not provider.discover:
        facts.append("not asked for its models")
    return ", ".join(facts)


def _source(provider: ProviderConfig) -> str:
    assert provider.key is not None
    return "the file itself" if provider.key.literal else provider.key.source


def _changed(section: Section, default: Section, names: tuple[str, ...] | None = None) -> Iterator[str]:
    """Yield what of `section` (of its fields `names`, when given) differs from `default`."""
    for name in names or section.__struct_fields__:
        value = getattr(section, name)
        if value != getattr(default, name):
            yield f"{name} = {_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
