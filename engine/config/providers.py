"""[providers]: where upstreams live, with which credentials, and what they are asked in.

A section says what is special; the rest comes from its kind (`adapters.providers`). The environment adds two things
unless `server.environment_providers` is false: providers whose variable is set and that no section names, and, for a
section that gives no base_url of its own, the kind's variables as defaults. Never the one without the other: a key
from the environment is not sent to an address that its owner did not write beside it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from adapters import registry
from adapters.losses import Policy
from adapters.providers import SESSIONS, Provider, SettingError, compatible
from engine.config.addresses import BaseUrl, check_proxy_url, parse_base_url
from engine.config.context import Context
from engine.config.findings import below, did_you_mean
from engine.config.model import ProviderConfig, ProxyMode
from engine.config.options import Document, ProviderOptions, TimeoutOverrides, Timeouts
from engine.secrets import Secret

DEFAULT_KIND = compatible.PROVIDER
"""What a section is when neither its kind nor its name says otherwise: any server that speaks OpenAI's dialect."""

NAMES_SHOWN_MAX = 20
MODEL_LENGTH_MAX = 256
MODEL_RULE = f"must be a model's name: 1 to {MODEL_LENGTH_MAX} characters without spaces"
MODEL = re.compile(rf"[^\s\x00-\x1f\x7f]{{1,{MODEL_LENGTH_MAX}}}\Z")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_CONFIDENTIAL_FIELD = re.compile(r"auth|cookie|key|secret|token", re.IGNORECASE)

OWN_FIELDS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"),
        *("expect", "proxy-connection"),
    }
)
"""What the wire layer writes itself (RFC 9110 section 7.6.1, RFC 9112); a second one makes a request ambiguous."""


def build_providers(document: Document, context: Context) -> dict[str, ProviderConfig]:
    """Return the providers by name: the sections in their order, then those of the environment."""
    providers = {}
    for name, options in document.providers.items():
        built = _Section(name, options, document, context).build()
        if built is not None:
            providers[name] = built
    if document.server.environment_providers:
        providers.update(_from_environment(document, context))
    return providers


class _Section:
    """One [providers.NAME] being read."""

    __slots__ = ("context", "document", "name", "options", "path")

    def __init__(self, name: str, options: ProviderOptions, document: Document, context: Context) -> None:
        self.name = name
        self.options = options
        self.document = document
        self.context = context
        self.path = below("providers", name)

    def build(self) -> ProviderConfig | None:
        """Return the provider, or None when something about it is a problem."""
        options, context = self.options, self.context
        context.named(self.name, self.path)
        provider = self._kind()
        dialects = self._dialects(provider)
        base_url = self._base_url(provider, dialects)
        ca_file, ca_digest = self._ca_file(base_url)
        keys = self._keys(provider)
        proxy = self._proxy()
        headers = tuple(self._headers())
        self._check_models()
        if base_url is not None:
            context.check_proxy(proxy, base_url, f"{self.path}.proxy")
        if provider is None or base_url is None or context.findings.within(self.path):
            return None
        if keys and base_url.scheme == "http" and not base_url.private:
            context.findings.warning(f"{self.path}.base_url", "is http: the key crosses the network in clear")
        return ProviderConfig(
            name=self.name,
            provider=provider,
            base_url=base_url,
            dialects=dialects,
            sessions=self._sessions(provider),
            keys=keys,
            models=options.models,
            restrict=options.restrict,
            discover=options.discover,
            headers=headers,
            timeouts=overlaid(self.document.timeouts, options.timeouts),
            on_loss=Policy(options.on_loss or self.document.server.on_loss),
            ca_file=ca_file,
            ca_digest=ca_digest,
            proxy=proxy,
        )

    def _has_problem(self, option: str) -> bool:
        """Whether an option of the section was refused already: what depends on it is then left alone."""
        return self.context.findings.within(f"{self.path}.{option}")

    def _kind(self) -> Provider | None:
        known = registry.providers()
        kind = self.options.kind
        if self._has_problem("kind"):
            return None
        if kind is None:
            return known.get(self.name, DEFAULT_KIND)
        if kind not in known:
            hint = did_you_mean(kind, known) or "; known: " + ", ".join(known)
            self.context.findings.problem(f"{self.path}.kind", f"is not a kind of provider{hint}")
        return known.get(kind)

    @property
    def _environment_allowed(self) -> bool:
        """Whether the kind's variables are this section's defaults: only for an address that is not the file's."""
        return self.options.base_url is None and self.document.server.environment_providers

    def _base_url(self, provider: Provider | None, dialects: tuple[tuple[str, str], ...]) -> BaseUrl | None:
        path, given = f"{self.path}.base_url", self.options.base_url
        if given is not None:
            base_url = self.context.parsed(parse_base_url, given, path)
            if base_url is None or provider is None:
                return base_url
            return self._completed(base_url, provider, dialects)
        if provider is None:
            return None
        variable = provider.base_url_env
        if variable is not None and self._environment_allowed and self.context.environ.get(variable, "").strip():
            return _address_from_environment(provider, variable, self.context)
        if provider.base_url is None:
            self.context.findings.problem(path, "is missing: this kind of provider has no address of its own")
            return None
        return parse_base_url(provider.base_url)

    def _completed(
        self, base_url: BaseUrl, provider: Provider, dialects: tuple[tuple[str, str], ...]
    ) -> BaseUrl | None:
        """Return the address with the path its kind implies, or note that it already names a dialect's own path."""
        for _, dialect_path in dialects:
            if base_url.path.endswith(dialect_path):
                message = f"must end before {dialect_path}, which is appended to it"
                self.context.findings.problem(f"{self.path}.base_url", message)
                return None
        return base_url if base_url.scheme == "unix" else parse_base_url(provider.read_base_url(str(base_url)))

    def _dialects(self, provider: Provider | None) -> tuple[tuple[str, str], ...]:
        """Return what the server is asked in. Where the kind does not say where, it is the dialect's usual place."""
        own, asked = dict(() if provider is None else provider.dialects), self.options.dialects
        if asked is None:
            return tuple(own.items())
        path, known = f"{self.path}.dialects", registry.dialects()
        if not asked:
            self.context.findings.problem(path, "must hold at least one dialect")
        for i, name in enumerate(asked):
            if name not in known:
                hint = did_you_mean(name, known) or "; known: " + ", ".join(known)
                self.context.findings.problem(f"{path}[{i}]", f"is not a dialect{hint}")
            elif name in asked[:i]:
                self.context.findings.problem(f"{path}[{i}]", f"is listed twice: see [{asked.index(name)}]")
        return tuple((name, own.get(name) or known[name].PATH) for name in asked if name in known)

    def _sessions(self, provider: Provider | None) -> tuple[tuple[str, str], ...]:
        """Return which WebSocket sessions the server has. Where the kind does not say where, it is the usual place."""
        own, asked = dict(() if provider is None else provider.sessions), self.options.sessions
        if asked is None:
            return tuple(own.items())
        path = f"{self.path}.sessions"
        for i, name in enumerate(asked):
            if name not in SESSIONS:
                hint = did_you_mean(name, SESSIONS) or "; known: " + ", ".join(SESSIONS)
                self.context.findings.problem(f"{path}[{i}]", f"is not a kind of session{hint}")
            elif name in asked[:i]:
                self.context.findings.problem(f"{path}[{i}]", f"is listed twice: see [{asked.index(name)}]")
        return tuple((name, own.get(name) or SESSIONS[name]) for name in asked if name in SESSIONS)

    def _keys(self, provider: Provider | None) -> tuple[Secret, ...]:
        references, path = self.options.keys, f"{self.path}.keys"
        if references is None:
            key = None if self._has_problem("keys") else self._key(provider)
            return () if key is None else (key,)
        if self.options.key is not None:
            self.context.findings.problem(path, "is there beside key; write all of them into keys")
        if not references:
            self.context.findings.problem(path, "must hold at least one key")
        keys: list[Secret] = []
        for i, reference in enumerate(references):
            key = self.context.secret(reference, f"{path}[{i}]")
            if key is None:
                continue
            if key in keys:
                self.context.findings.problem(f"{path}[{i}]", "is a key that stands before it already")
            keys.append(key)
        return tuple(keys)

    def _key(self, provider: Provider | None) -> Secret | None:
        path = f"{self.path}.key"
        if self.options.key is not None:
            return self.context.secret(self.options.key, path)
        variable = None if provider is None else provider.key_variable(self.context.environ)
        if provider is None or variable is None or self._has_problem("base_url"):
            return None
        if self._environment_allowed and self.context.environ.get(variable, "").strip():
            return self.context.secret(f"env:{variable}", path)
        if provider.key_required and self.options.base_url is None:
            self.context.findings.problem(path, f'is missing: set {variable}, or write key = "env:NAME"')
        return None

    def _ca_file(self, base_url: BaseUrl | None) -> tuple[Path | None, bytes]:
        path, name = f"{self.path}.ca_file", self.options.ca_file
        if name is not None and base_url is not None and base_url.scheme != "https":
            self.context.findings.problem(path, "is only of use with an https:// base_url")
            return None, b""
        return (None, b"") if name is None else self.context.authorities(name, path)

    def _proxy(self) -> ProxyMode | Secret:
        text = self.options.proxy
        if text in {mode.value for mode in ProxyMode}:
            return ProxyMode(text)
        path = f"{self.path}.proxy"
        # Only a URL with credentials is confidential.
        secret = self.context.secret(text, path, confidential="@" in text)
        if secret is not None:
            self.context.parsed(check_proxy_url, secret.reveal(), path)
        return ProxyMode.NONE if secret is None else secret

    def _headers(self) -> Iterator[tuple[str, Secret]]:
        seen: set[str] = set()
        for name, reference in self.options.headers.items():
            path = below(f"{self.path}.headers", name)
            folded = name.lower()
            if not _FIELD_NAME.match(name):
                self.context.findings.problem(path, "is not the name of a header field")
            elif folded in OWN_FIELDS:
                self.context.findings.problem(path, "is a field that the gateway writes itself")
            elif folded in seen:
                self.context.findings.problem(path, "is there twice: names of header fields do not differ in case")
            else:
                seen.add(folded)
                confidential = _CONFIDENTIAL_FIELD.search(name) is not None
                value = self.context.secret(reference, path, spaces=True, confidential=confidential)
                if value is not None:
                    yield folded, value

    def _check_models(self) -> None:
        findings, models = self.context.findings, self.options.models
        first: dict[str, int] = {}
        for i, model in enumerate(models):
            path = f"{self.path}.models[{i}]"
            if not MODEL.match(model):
                findings.problem(path, MODEL_RULE)
            elif model in first:
                findings.problem(path, f"is listed twice: see [{first[model]}]")
            first.setdefault(model, i)
        if self.options.restrict and not models and not self._has_problem("models"):
            findings.problem(f"{self.path}.restrict", "needs models: without a list nothing would be served")


def _from_environment(document: Document, context: Context) -> Iterator[tuple[str, ProviderConfig]]:
    """Yield the providers whose variables are set and whose name no section takes."""
    for name, provider in registry.providers().items():
        if name in document.providers:
            continue
        try:
            registration = provider.from_environment(context.environ)
        except SettingError as exc:
            context.findings.problem(
                f"environment.{exc.variable}", f"cannot be used for {provider.title}: is malformed"
            )
            continue
        if registration is None:
            continue
        base_url = context.parsed(parse_base_url, registration.base_url, f"environment.{provider.base_url_env}")
        key = None
        if registration.key is not None:
            variable = provider.key_variable(context.environ)
            key = context.secret(f"env:{variable}", f"environment.{variable}")
        if base_url is not None and (key is not None or registration.key is None):
            context.check_proxy(ProxyMode.ENVIRONMENT, base_url, "environment")
            yield (
                name,
                ProviderConfig(
                    name=name,
                    provider=provider,
                    base_url=base_url,
                    dialects=provider.dialects,
                    sessions=provider.sessions,
                    keys=() if key is None else (key,),
                    timeouts=document.timeouts,
                    on_loss=Policy(document.server.on_loss),
                    from_environment=True,
                ),
            )


def _address_from_environment(provider: Provider, variable: str, context: Context) -> BaseUrl | None:
    """Return the address that a kind's variable names, in the forms its vendor's own tools read."""
    path = f"environment.{variable}"
    try:
        text = provider.read_base_url(context.environ[variable].strip())
    except ValueError:
        # Its sentence may quote the value: urllib's does.
        context.findings.problem(path, f"cannot be used for {provider.title}: is malformed")
        return None
    return context.parsed(parse_base_url, text, path)


def check_default_provider(document: Document, providers: Mapping[str, ProviderConfig], context: Context) -> None:
    """Note a default provider that does not exist."""
    name = document.server.default_provider
    known = {*document.providers, *providers}
    if name is not None and name not in known:
        unknown_provider("server.default_provider", name, known, context)


def overlaid(timeouts: Timeouts, overrides: TimeoutOverrides) -> Timeouts:
    """Return `timeouts` with what `overrides` names."""
    named = {name: seconds for name, seconds in msgspec.structs.asdict(overrides).items() if seconds is not None}
    return msgspec.structs.replace(timeouts, **named)


def unknown_provider(path: str, name: str, known: set[str], context: Context) -> None:
    """Note a name that no provider has, unless there would be one without a problem that is noted already."""
    kind = registry.providers().get(name)
    variables = () if kind is None else (kind.key_env, *kind.key_env_others, kind.base_url_env)
    noted = (below("providers", name), *(f"environment.{variable}" for variable in variables))
    if any(context.findings.within(each) for each in noted):
        return
    there_are = f"; there are {', '.join(sorted(known)[:NAMES_SHOWN_MAX])}" if known else "; there is none"
    context.findings.problem(path, f"is not a configured provider{did_you_mean(name, sorted(known)) or there_are}")
