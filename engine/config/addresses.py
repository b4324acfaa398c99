"""Addresses: where to listen, where an upstream lives, which proxy and which web origin, each from its text.

Strict, since a lenient reading here is a request sent to the wrong place: plain ASCII, no credentials, query or
fragment in a base address, ports in range. A refused text raises `MalformedError` with a sentence that does not quote
it, because a key pasted into the wrong line looks like a malformed address. Nothing is resolved or connected here.
"""

import ipaddress
import os
import re
from typing import Literal

import msgspec

from engine.config.findings import MalformedError

SOCKET_PATH_BYTES_MAX = 103
"""`sun_path` holds 104 bytes with its terminator on macOS, 108 on Linux (unix(7)); the smaller one everywhere."""

HOST_RULE = "has a host that is neither a name (in ASCII) nor an IP address"

DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)\Z")
_HOST_PORT = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?\Z")
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?\Z")
_PATH = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*\Z")
_ORIGIN_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")


class TcpListen(msgspec.Struct, frozen=True):
    """A TCP address to listen on; port 0 lets the system choose."""

    host: str
    port: int

    @property
    def private(self) -> bool:
        """Whether only this machine can reach it. A name other than `localhost` is taken as public."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def overlaps(self, other: "Listen") -> bool:
        """Whether binding both would take the same port of the same address, wildcards included."""
        if not isinstance(other, TcpListen) or self.port != other.port or self.port == 0:
            return False
        # `::` takes IPv4 connections too (`engine.net.listen`).
        return self.host == other.host or any(
            a == "::" or (a == "0.0.0.0" and ":" not in b)  # noqa: S104 - compared, not bound
            for a, b in ((self.host, other.host), (other.host, self.host))
        )

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixListen(msgspec.Struct, frozen=True):
    """A Unix socket to listen on; who may connect is the file system's business."""

    path: str

    @property
    def private(self) -> bool:
        """Always: a Unix socket does not leave the machine."""
        return True

    def overlaps(self, other: "Listen") -> bool:
        """Whether it is the same socket."""
        return self == other

    def __str__(self) -> str:
        return f"unix:{self.path}"


Listen = TcpListen | UnixListen


class BaseUrl(msgspec.Struct, frozen=True):
    """Where an upstream lives. For a Unix socket `host` is its path and `port` is 0.

    `path` is what stands before every dialect's path: empty, or with a leading and without a trailing slash.
    """

    scheme: Literal["http", "https", "unix"]
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header: the port only where it is not the scheme's own (RFC 9110 section 7.2)."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def private(self) -> bool:
        """Whether what is sent there stays on this machine."""
        return self.scheme == "unix" or TcpListen(self.host, self.port).private

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.host}:{self.path}" if self.path else f"unix:{self.host}"
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_listen(text: str) -> Listen:
    """Read `host:port`, `[ipv6]:port` or `unix:/absolute/path`. Raises `MalformedError`."""
    if text.startswith("unix:"):
        return UnixListen(_socket_path(text[5:]))
    if text.startswith(":"):
        raise MalformedError('has no host; "0.0.0.0" or "[::]" stands for every address of this machine')
    host, port = _host_and_port(text)
    if port is None:
        raise MalformedError('must be "host:port", "[ipv6]:port" or "unix:/path"')
    return TcpListen(host, port)


def parse_base_url(text: str) -> BaseUrl:
    """Read an upstream's address: http, https, or `unix:/socket` with an optional `:/path`. Raises `MalformedError`."""
    if not _VISIBLE.match(text):
        raise MalformedError("must be a URL in plain ASCII without spaces")
    if text.startswith("unix:"):
        return _parse_unix_url(text)
    parts = _URL.match(text)
    if parts is None or parts["scheme"].lower() not in DEFAULT_PORTS:
        raise MalformedError("must start with https://, http:// or unix:/")
    if parts["rest"]:
        raise MalformedError("must have no query and no fragment")
    if "@" in parts["authority"]:
        raise MalformedError("must not hold a user name or password; use key or headers")
    scheme: Literal["http", "https"] = "https" if parts["scheme"].lower() == "https" else "http"
    host, port = _connectable(parts["authority"], DEFAULT_PORTS[scheme])
    if not _PATH.match(parts["path"]):
        raise MalformedError("has a character in its path that must be percent-encoded")
    return BaseUrl(scheme, host, port, parts["path"].rstrip("/"))


def check_proxy_url(text: str) -> None:
    """Accept `http://[user:password@]host:port`. Raises `MalformedError`."""
    parts = _URL.match(text) if _VISIBLE.match(text) else None
    if parts is None or parts["scheme"].lower() != "http":
        raise MalformedError('must be "env", "none" or http://[user:password@]host:port')
    if parts["path"] not in {"", "/"} or parts["rest"]:
        raise MalformedError("must end after the port: a proxy has no path, query or fragment")
    _connectable(parts["authority"].rpartition("@")[2], DEFAULT_PORTS["http"])


def check_web_origin(text: str) -> None:
    """Accept `*`, or `scheme://host[:port]` as Origin holds it (RFC 6454 section 7). Raises `MalformedError`."""
    if text == "*":
        return
    scheme, separator, rest = text.partition("://")
    plain = _VISIBLE.match(text) and text == text.lower() and not any(character in rest for character in "/?#@")
    if not separator or not rest or not plain or not _ORIGIN_SCHEME.match(scheme):
        raise MalformedError('must be "*" or an origin such as "https://app.example.com", lower case, without a path')


def _parse_unix_url(text: str) -> BaseUrl:
    socket, _, path = text[5:].partition(":")
    if not _PATH.match(path) or (path and not path.startswith("/")):
        raise MalformedError("has a malformed path after the socket; write unix:/socket:/path")
    return BaseUrl("unix", _socket_path(socket), 0, path.rstrip("/"))


def _socket_path(path: str) -> str:
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise MalformedError("must name the socket by its absolute path: unix:/run/example.sock")
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise MalformedError(f"has a socket path longer than {SOCKET_PATH_BYTES_MAX} bytes")
    return path


def _connectable(authority: str, port_default: int) -> tuple[str, int]:
    host, port = _host_and_port(authority)
    if port == 0:
        raise MalformedError("has port 0, where nothing can be reached")
    return host, port_default if port is None else port


def _host_and_port(text: str) -> tuple[str, int | None]:
    found = _HOST_PORT.match(text)
    if found is None:
        raise MalformedError("has a malformed host or port")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and port > 65_535:
        raise MalformedError("has a port over 65535")
    if found["bracketed"] is not None:
        return _ipv6(found["bracketed"]), port
    return _host(found["host"]), port


def _host(text: str) -> str:
    if not _HOST_NAME.match(text):
        raise MalformedError(HOST_RULE)
    if not text.rpartition(".")[2].isdigit():
        return text.lower()
    # A last label of digits makes it an IPv4 address (URL Standard, "ends in a number"); resolvers would also take the
    # short forms such as 127.1, which no check for loopback recognises.
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise MalformedError(HOST_RULE) from None


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise MalformedError("has something in [] that is not an IPv6 address") from None
