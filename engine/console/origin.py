"""The address the visitor used, as far as it can be believed.

Snippets and base URLs show the visitor's own address, which comes from headers that any client can set to anything. So
a host is used only when it reads like one; otherwise the page falls back to an address the gateway listens on. The
page's script then puts in what the address bar says, which also covers a TLS proxy in front that we cannot see.
"""

import re
from collections.abc import Sequence

HOST_LENGTH_MAX = 253 + len(":65535")
"""RFC 1035 section 2.3.4, in its usual reading of 253 visible characters, and a port."""

HOST = re.compile(
    r"""
    (?: [A-Za-z0-9_] (?: [A-Za-z0-9_.-]* [A-Za-z0-9_.] )?   # a name or an IPv4 address; containers have underscores
      | \[ [0-9A-Fa-f:.]{2,45} \]                           # an IPv6 address
    ) (?: : [0-9]{1,5} )?
    """,
    re.VERBOSE,
)
WILDCARDS = ("0.0.0.0", "[::]")  # noqa: S104 - recognised, not bound
FALLBACK = "http://localhost:8080"


def origin_of(scheme: str | None, host: str | None, listen: Sequence[str]) -> str:
    """Return `scheme://host` for the visitor; a doubtful host is replaced, a doubtful scheme read as http."""
    scheme = "https" if scheme == "https" else "http"
    if host is not None and len(host) <= HOST_LENGTH_MAX and HOST.fullmatch(host):
        return f"{scheme}://{host.lower()}"
    return fallback_origin(listen)


def fallback_origin(listen: Sequence[str]) -> str:
    """Return the first TCP address of `listen` ("127.0.0.1:8080", "[::1]:8080"), as reached from this machine."""
    for address in listen:
        if HOST.fullmatch(address):
            host, colon, port = address.rpartition(":")
            return f"http://{'localhost' if host in WILDCARDS else host}{colon}{port}"
    return FALLBACK
