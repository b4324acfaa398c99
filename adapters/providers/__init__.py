"""Providers: where upstreams live, how they are signed for, which dialects they speak and what their errors mean.

A provider is a module here with a `PROVIDER`, named as configuration names it; `adapters.registry` finds it. A
`Provider` is data and small pure functions: it opens no connection and reads no environment but what it is handed.
What most vendors share is the default of a field, so a module says only where its vendor differs. Providers do not
know each other, and of a dialect they know the name.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from adapters.errors import Failure, Kind, kind_of_status
from adapters.upstream_errors import excerpt, read_document

Headers = tuple[tuple[bytes, bytes], ...]

KEPT_HEADERS = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry"})
KEPT_HEADER_PREFIX = b"x-ratelimit-"
"""What of an error answer's headers a client can act on; SDKs time their retries by the first three."""

QUOTA_WORDS = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Types and codes of a 429 that waiting does not cure (OpenAI's error codes guide)."""

RETRYABLE_STATUSES = frozenset({402, 408, 409, 425, 429})
"""Below 500: another attempt, with another credential or later, may succeed. What vendors' SDKs retry, and 402."""

REQUEST_FAULTS = frozenset({Kind.INVALID_REQUEST, Kind.NOT_FOUND, Kind.TOO_LARGE, Kind.UNPROCESSABLE})
"""The kinds that no other attempt changes, also where a vendor gives them a status above 500."""

SESSIONS = {"realtime": "/realtime", "responses": "/responses"}
"""The kinds of WebSocket sessions, each with its usual path below the base URL."""

_DO_NOT_RETRY = (b"x-should-retry", b"false")


class UsageInStream(Enum):
    """How a stream comes to report usage."""

    OPTION = "option"
    """When `stream_options.include_usage` asks for it."""
    ALWAYS = "always"
    """Unasked; the option changes nothing or is refused."""


class SettingError(ValueError):
    """An environment variable that cannot be used; `variable` names it. The message never holds its value."""

    def __init__(self, variable: str, message: str) -> None:
        super().__init__(message)
        self.variable = variable


@dataclass(frozen=True, slots=True)
class Registration:
    """A provider that the environment configures: where it is and what signs for it."""

    provider: "Provider"
    base_url: str
    key: str | None = field(default=None, repr=False)
    key_env: str | None = None
    """The variable that the key came from."""


def bearer(key: str | None) -> Headers:
    """Sign with `Authorization: Bearer`; no key, no header. Raises `ValueError` for a key that no header can carry."""
    if not key:
        return ()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("a key may hold printable ASCII characters only")
    return ((b"authorization", b"Bearer " + key.encode("ascii")),)


def plain_base_url(value: str) -> str:
    """Return a base URL as configured, without a trailing slash.

    Raises `ValueError` when it is none; the sentence never quotes the value.
    """
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        # urllib's sentence may quote the value, which may hold a password.
        raise ValueError("must be a URL with a host and, if any, a port below 65536") from None
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    if url.query or url.fragment or "@" in url.netloc:
        raise ValueError("must be a URL without user, query and fragment")
    return value.rstrip("/")


def base_url_with_path(path: str) -> Callable[[str], str]:
    """Return a reader of base URLs for a vendor whose own SDK adds `path`: a bare host gets it, another path stays."""

    def read(value: str) -> str:
        url = plain_base_url(value)
        return url if urlsplit(url).path else url + path

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One vendor, or one kind of server. `base_url` None means that configuration must give one."""

    name: str
    title: str
    dialects: tuple[tuple[str, str], ...]
    """The dialects it speaks, each with the path below the base URL; the preferred one first."""
    sessions: tuple[tuple[str, str], ...] = ()
    """The kinds of WebSocket sessions it has, each with its path."""
    base_url: str | None = None
    base_url_env: str | None = None
    key_env: str | None = None
    key_env_others: tuple[str, ...] = ()
    """Variables that name the key as well, asked in order when `key_env` is not set."""
    key_required: bool = True
    models_path: str = "/models"
    models: tuple[str, ...] = ()
    """Models known without asking; catalogues are fetched at run time."""
    usage_in_stream: UsageInStream = UsageInStream.OPTION
    headers: Headers = ()
    """Sent with every request."""
    credential_statuses: frozenset[int] = frozenset({401, 403})
    """The statuses by which it refuses the gateway's own credentials."""
    request_codes: frozenset[str] = frozenset({"model_not_found"})
    """Codes by which an answer of such a status speaks of the request after all."""
    sign: Callable[[str | None], Headers] = bearer
    read_base_url: Callable[[str], str] = plain_base_url

    def path(self, dialect: str) -> str | None:
        """Return where it serves a dialect, None when it does not speak it."""
        return dict(self.dialects).get(dialect)

    def key_variable(self, environ: Mapping[str, str]) -> str | None:
        """Return the variable that holds its key here, `key_env` when none does."""
        names = (self.key_env, *self.key_env_others) if self.key_env else ()
        return next((name for name in names if environ.get(name, "").strip()), self.key_env)

    def from_environment(self, environ: Mapping[str, str]) -> Registration | None:
        """Return how the environment configures it, None when it does not. Raises `SettingError`.

        Its key must be set and not empty, or for one that needs no key its address.
        """
        variable = self.key_variable(environ)
        key = environ.get(variable or "", "").strip()
        address = environ.get(self.base_url_env or "", "").strip()
        if not (key if self.key_required else address):
            return None
        base_url = self.base_url
        if address:
            try:
                base_url = self.read_base_url(address)
            except ValueError as exc:
                raise SettingError(self.base_url_env or "", str(exc)) from exc
        if base_url is None:
            return None
        try:
            self.sign(key or None)
        except ValueError as exc:
            raise SettingError(variable or "", str(exc)) from exc
        return Registration(self, base_url, key or None, variable if key else None)

    def failure(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Failure:
        """Return what an answer that is not 2xx means for the client. Header names are lower-cased; never raises.

        Status and words pass unchanged where they speak of the request or of the provider's state. Where they speak
        of the gateway's credentials they become a 502 without the upstream's words, which may hold part of the key.
        """
        words = read_document(body)
        if status in self.credential_statuses and not (words and words.code in self.request_codes):
            message = f"{self.title} refused the gateway's credentials (HTTP {status})."
            refused = Failure(502, Kind.UPSTREAM, message, code="upstream_credentials_refused")
            return _without_retry(refused)
        message = words.message if words else ""
        if not 400 <= status <= 599:
            message = f"{self.title} gave an unexpected answer (HTTP {status})."
            return Failure(502, Kind.UPSTREAM, message, code="upstream_protocol_error")
        kept = tuple(header for header in headers if _is_kept(header[0]))
        if not words:
            shown = excerpt(body)
            message = f"{self.title} answered HTTP {status}" + (f": {shown}" if shown else " without an explanation.")
            return Failure(status, kind_of_status(status), message, headers=kept)
        failure = Failure(
            status,
            kind_of_status(status),
            words.message or f"{self.title} answered HTTP {status}.",
            type=words.type,
            code=words.code,
            param=words.param,
            headers=kept,
        )
        if status == 429 and not QUOTA_WORDS.isdisjoint({words.type, words.code}):
            return _without_retry(failure, kind=Kind.QUOTA)
        return failure

    def retryable(self, failure: Failure) -> bool:
        """Whether another attempt, on another candidate if there is one, may succeed where this failure happened.

        The same for an error answer and for an error inside of a 2xx one, whose status is what its words stand for.
        """
        if failure.status >= 500:
            return failure.kind not in REQUEST_FAULTS
        return failure.status in RETRYABLE_STATUSES


def _is_kept(name: bytes) -> bool:
    return name in KEPT_HEADERS or name.startswith(KEPT_HEADER_PREFIX)


def _without_retry(failure: Failure, *, kind: Kind | None = None) -> Failure:
    """The client's SDK would retry this status for nothing: say so, as OpenAI does (`x-should-retry`)."""
    others = tuple(header for header in failure.headers if header[0] != b"x-should-retry")
    return Failure(
        failure.status,
        kind or failure.kind,
        failure.message,
        type=failure.type,
        code=failure.code,
        param=failure.param,
        headers=(*others, _DO_NOT_RETRY),
    )
