"""HTTP proxies: which one the environment names for an origin, and the CONNECT tunnel through it.

Rules of the environment, curl's where curl has one (CURLOPT_PROXY and CURLOPT_NOPROXY pages): `https_proxy` or
`http_proxy` by the origin's scheme, else `all_proxy`; the lower-case name wins over the upper-case one, an empty
value counts as unset, and HTTP_PROXY in upper case is not read in a CGI environment, where the client's Proxy header
sets it (CVE-2016-5385). Loopback hosts and Unix sockets are always direct, whatever the environment says: a proxy
could not reach them.

`no_proxy` is a list by comma or white space. An entry is `*` (everything), a domain (itself and its subdomains; a
leading dot or `*.` changes nothing), an IP address, or a CIDR block; each but `*` and the block may end in `:port`.
An IP address is only ever compared with addresses and blocks, a name never with them: nothing is resolved here.

Every origin goes through CONNECT, `http` ones too. A proxy that allows CONNECT to port 443 alone refuses those with a
status, which is reported; there is no absolute-form fallback.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

import httptools

from engine.net import Broken, ConnectError, Origin, Stream, host_port

HEAD_BYTES_MAX = 16 * 1024
"""The proxy's whole answer to CONNECT, interim answers included; squid's and nginx's are below 1 KiB."""

PORT_DEFAULT = 80
"""Of a proxy URL without a port: its scheme's, as in Go and httpx; curl alone takes 1080."""

HOST_NAME = re.compile(r"[A-Za-z0-9_.\-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9_.\-]+)?")
"""A name (with the underscores that container networks use) or an address: nothing that could end a CONNECT line."""

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `authorization` is the whole value of Proxy-Authorization and never shown."""

    host: str
    port: int
    authorization: bytes | None = None

    def __repr__(self) -> str:
        hidden = "None" if self.authorization is None else "<hidden>"
        return f"Proxy({self.host!r}, {self.port}, authorization={hidden})"

    def __str__(self) -> str:
        return host_port(self.host, self.port)


def proxy_for(origin: Origin, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for `origin`, None for a direct connection.

    Raises `ConnectError` (phase `proxy`) when the environment names one that cannot be used; the message names the
    variable, not its value, which may hold a password.
    """
    if origin.scheme == "unix" or is_loopback(origin.host):
        return None
    for variable in (f"{origin.scheme}_proxy", "all_proxy"):
        name, value = _lookup(environ, variable)
        if value:
            break
    else:
        return None
    if bypassed(origin.host, origin.port, _lookup(environ, "no_proxy")[1]):
        return None
    return proxy_from_url(value, source=name)


def proxy_from_url(url: str, *, source: str = "proxy") -> Proxy:
    """Read `[http://][user[:password]@]host[:port]`, user and password percent-encoded.

    Raises `ConnectError` (phase `proxy`) naming `source`, never the value.
    """
    parts = _split(url if "://" in url else f"http://{url}")
    if parts is None or not parts.hostname or HOST_NAME.fullmatch(parts.hostname) is None:
        raise ConnectError("proxy", f"{source} is not the URL of a proxy")
    if parts.scheme != "http":
        raise ConnectError("proxy", f"{source}: only http:// proxies can be used, not {parts.scheme}://")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        authorization = b"Basic " + base64.b64encode(credentials)
    return Proxy(parts.hostname, parts.port or PORT_DEFAULT, authorization)


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine by its name: localhost, 127.0.0.0/8, ::1, also as an IPv4-mapped address."""
    address = _address(host)
    return address.is_loopback if address is not None else host.rstrip(".").lower() == "localhost"


def bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Tell whether the list `no_proxy` names `host` (see the module). An entry that makes no sense matches nothing."""
    return any(_matches(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


async def open_tunnel(stream: Stream, proxy: Proxy, origin: Origin) -> None:
    """Ask `proxy`, on the other end of `stream`, for a tunnel to `origin`; afterwards the stream is the origin's.

    Raises `ConnectError` (phase `proxy`, with the proxy's status when it refused). Failed or cancelled: close the
    stream.
    """
    try:
        await stream.send(_connect_request(proxy, origin))
        status = await _answer_status(stream, proxy)
    except Broken as exc:
        raise ConnectError("proxy", f"proxy {proxy}: {exc}") from exc
    if not 200 <= status < 300:
        raise ConnectError("proxy", f"proxy {proxy} answered {status} for {origin}", status=status)


def _connect_request(proxy: Proxy, origin: Origin) -> bytes:
    authority = host_port(origin.host, origin.port).encode("ascii")
    lines = [b"CONNECT " + authority + b" HTTP/1.1", b"host: " + authority]
    if proxy.authorization is not None:
        lines.append(b"proxy-authorization: " + proxy.authorization)
    return b"\r\n".join([*lines, b"", b""])


class _Head:
    """Notes the end of a head for httptools."""

    complete = False

    def on_headers_complete(self) -> None:
        self.complete = True


async def _answer_status(stream: Stream, proxy: Proxy) -> int:
    """Read the head of the answer and return its status, skipping interim answers.

    The origin cannot have spoken yet (both TLS and HTTP let the client begin), so a 2xx with bytes behind its head is
    refused: whoever they are from, they must not become the first bytes of an answer. Content-Length and
    Transfer-Encoding of a 2xx mean nothing (RFC 9110, 9.3.6).
    """
    received, bytes_left = b"", HEAD_BYTES_MAX
    while True:
        end = received.find(b"\r\n\r\n") + 4
        if end < 4:
            if not bytes_left:
                raise ConnectError("proxy", f"the answer of proxy {proxy} is longer than {HEAD_BYTES_MAX} bytes")
            more = await stream.receive(bytes_left)
            if not more:
                raise ConnectError("proxy", f"proxy {proxy} closed without an answer")
            received += more
            bytes_left -= len(more)
            continue
        status = _parse_status(received[:end], proxy)
        received = received[end:]
        if 100 <= status < 200 and status != 101:
            continue
        if received and 200 <= status < 300:
            raise ConnectError("proxy", f"proxy {proxy} sent {len(received)} bytes behind its answer", status=status)
        return status


def _parse_status(head: bytes, proxy: Proxy) -> int:
    protocol = _Head()
    parser = httptools.HttpResponseParser(protocol)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as exc:
        raise ConnectError("proxy", f"proxy {proxy} does not speak HTTP/1.1") from exc
    if not protocol.complete:
        raise ConnectError("proxy", f"proxy {proxy} does not speak HTTP/1.1")
    return parser.get_status_code()


def _lookup(environ: Mapping[str, str], variable: str) -> tuple[str, str]:
    """Return the name and value of a variable in lower or upper case, ("", "") when neither is set to something."""
    for name in (variable, variable.upper()):
        if name == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
            continue
        if value := environ.get(name, "").strip():
            return name, value
    return "", ""


def _split(url: str) -> SplitResult | None:
    """Split a URL; None instead of urllib's error, whose message quotes a part of it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, entry_port = _split_port(entry)
    if entry_port is not None and entry_port != port:
        return False
    address = _address(host)
    if address is not None:
        network = _network(name)
        return network is not None and address in network
    domain = name.lower().removeprefix("*").strip(".")
    host = host.lower().rstrip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    """Split `host:port`, `[v6]:port`, `[v6]`, `v6`, or a name alone."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        name, _, port = entry.partition(":")
    else:
        name, port = entry, ""
    return name, int(port) if port.isascii() and port.isdigit() else None


def _address(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None
