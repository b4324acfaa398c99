"""One configured provider, ready to be asked: where it is, how it is signed for, its connections and its catalogue.

What of a request does not depend on the request (host, signature, fixed headers) is rendered once here, for each of the
provider's credentials. The endpoint
owns the provider's connection pool, so that connections live and die with the configuration they were made under. It
does not choose, retry or wait.
"""

import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial

import msgspec

from adapters.errors import Failure
from engine.config import Limits, ProviderConfig, ProxyMode
from engine.connect import connect
from engine.net import Origin, Stream, client_tls_context
from engine.pool import Pool
from engine.proxy import Proxy, proxy_for, proxy_from_url
from engine.secrets import Secret

USER_AGENT = b"hedgerow"

QUOTED_CHARACTERS_MIN = 8
"""What is shorter is no key, and may be a word of the sentence."""


class Endpoint:
    """A provider and its pool. `catalogue` is what it is known to serve, configured or fetched.

    `credentials` is how many there are to sign with, at least 1: without any key there is one way to ask, unsigned.
    """

    __slots__ = (
        "_base_path",
        "_fields",
        "_own_names",
        "_paths",
        "catalogue",
        "config",
        "credentials",
        "limits",
        "name",
        "origin",
        "pool",
    )

    def __init__(
        self, config: ProviderConfig, limits: Limits, now: Callable[[], float], *, predecessor: "Endpoint | None" = None
    ) -> None:
        """`predecessor` had the name until now: where it is still the same place, its list of models stays."""
        url = config.base_url
        self.config = config
        self.limits = limits
        self.name = config.name
        self.origin = Origin(url.scheme, url.host, url.port)
        self.catalogue: tuple[str, ...] = config.models or config.provider.models
        if not self.catalogue and predecessor is not None and predecessor.config.base_url == url:
            self.catalogue = predecessor.catalogue
        self._base_path = url.path
        self.credentials = max(len(config.keys), 1)
        self._fields: dict[tuple[str, bool, int], bytes] = {}
        self._own_names = frozenset(name.encode("ascii") for name, _ in config.headers)
        self._paths = dict(config.dialects)
        self.pool = Pool(
            self._connector(),
            connections_per_origin_max=limits.upstream_connections_per_origin_max,
            idle_per_origin_max=limits.upstream_idle_per_origin_max,
            idle_seconds_max=limits.upstream_idle_seconds_max,
            lifetime_seconds_max=limits.upstream_lifetime_seconds_max,
            clock=now,
        )

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} {self.origin} {self.pool!r}>"

    def spoken(self, wanted: str, only: Collection[str] = ()) -> str:
        """Return the dialect to ask a model in: `wanted` if it can be, else the one the provider prefers.

        `only` are the dialects a model is served in, where that is not all of them.
        """
        paths = self._paths
        if wanted in paths and (not only or wanted in only):
            return wanted
        known = [name for name in paths if not only or name in only] or list(paths)
        return wanted if wanted in known else known[0]

    def path(self, dialect: str) -> str:
        """Return where the provider serves a dialect that it speaks."""
        return self._paths[dialect]

    def session_path(self, kind: str) -> str | None:
        """Return where the provider has a kind of WebSocket session, None when it has none."""
        path = dict(self.config.sessions).get(kind)
        return None if path is None else self._base_path + path

    def session_headers(self, credential: int = 0) -> list[tuple[bytes, bytes]]:
        """Return what signs a handshake, and what the operator has every request carry."""
        return [header for header in self._headers("GET", stream=False, credential=credential) if header[0] != b"host"]

    @property
    def authority(self) -> str:
        """Host and port as a request names them."""
        return self.config.base_url.authority

    def classify(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[Failure, bool]:
        """Return what an error answer of this provider means, and whether another attempt may succeed."""
        return self.judge(self.config.provider.failure(status, headers, body))

    def judge(self, failure: Failure) -> tuple[Failure, bool]:
        """Return what this provider said without our own secrets in it, and whether another attempt may succeed.

        There are servers that quote the key they were given back to who must not have it.
        """
        for secret in (*self.config.keys, *(value for _, value in self.config.headers)):
            text = secret.reveal()
            if len(text) >= QUOTED_CHARACTERS_MIN and text in failure.message:
                failure = replace(failure, message=failure.message.replace(text, "***"))
        return failure, self.config.provider.retryable(failure)

    def is_for(self, config: ProviderConfig, limits: Limits) -> bool:
        """Whether this endpoint, connections and all, is what `config` and the upstream half of `limits` ask for."""
        return self.config == config and _upstream(self.limits) == _upstream(limits)

    def serves(self, model: str) -> bool:
        """Whether `provider/model` may be passed on: anything, unless the operator restricted the provider."""
        return not self.config.restrict or model in self.config.models

    def message(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        stream: bool,
        headers: Collection[tuple[bytes, bytes]],
        credential: int = 0,
    ) -> bytes:
        """Return a whole request, signed with one of the `credentials`: one `bytes`, so that it leaves in one send.

        `path` may hold what a client wrote, so nothing is kept by it. Of `headers` those that the operator has set for
        this provider stay behind.
        """
        key = (method, stream, credential)
        fields = self._fields.get(key)
        if fields is None:
            fields = self._fields[key] = self._render_fields(method, stream=stream, credential=credential)
        head = b"%b %b HTTP/1.1\r\n%b" % (method.encode("ascii"), (self._base_path + path).encode("ascii"), fields)
        if headers:
            head += b"".join([b"%b: %b\r\n" % header for header in headers if header[0] not in self._own_names])
        if method == "GET":
            return head + b"\r\n"
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)

    def _connector(self) -> Callable[[Origin], Awaitable[Stream]]:
        """Return what opens a connection to this provider, through its proxy and under its trust."""
        config = self.config
        tls = None
        if self.origin.scheme == "https":
            tls = client_tls_context(str(config.ca_file) if config.ca_file is not None else None)
        proxy: Proxy | None = None
        if isinstance(config.proxy, Secret):
            proxy = proxy_from_url(config.proxy.reveal(), source=f"providers.{config.name}.proxy")
        elif config.proxy is ProxyMode.ENVIRONMENT:
            proxy = proxy_for(self.origin, os.environ)
        return partial(connect, tls=tls, proxy=proxy)

    def _render_fields(self, method: str, *, stream: bool, credential: int) -> bytes:
        headers = self._headers(method, stream=stream, credential=credential)
        return b"".join([b"%b: %b\r\n" % header for header in headers])

    def _headers(self, method: str, *, stream: bool, credential: int) -> list[tuple[bytes, bytes]]:
        config = self.config
        key = config.keys[credential].reveal() if config.keys else None
        headers: dict[bytes, bytes] = {
            b"host": config.base_url.authority.encode("ascii"),
            b"user-agent": USER_AGENT,
            b"accept": b"text/event-stream" if stream else b"application/json",
            b"accept-encoding": b"identity",
        }
        if method != "GET":
            headers[b"content-type"] = b"application/json"
        headers.update(config.provider.headers)
        headers.update(config.provider.sign(key))
        headers.update((name.encode("ascii"), value.reveal().encode("latin-1")) for name, value in config.headers)
        return list(headers.items())


def _upstream(limits: Limits) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(limits).items() if name.startswith("upstream_")}
