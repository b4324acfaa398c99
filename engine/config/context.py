"""Context: what the builders of the sections share: the environment, the directory of the file, and the findings.

Everything here notes a problem instead of raising, so that a builder goes on to its next option. Files that
configuration names are opened once, to say now what would fail later; their content is not kept, but for secrets.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from engine import secrets
from engine.config.addresses import BaseUrl
from engine.config.findings import Findings, MalformedError
from engine.config.model import ProxyMode, Tls
from engine.secrets import Secret, SecretError, quoted

T = TypeVar("T")

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
NAME_RULE = (
    "must be named with lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit, 64 at most"
)


class Context:
    """One reading of one configuration."""

    __slots__ = ("directory", "environ", "findings", "literals")

    def __init__(self, environ: Mapping[str, str], directory: Path, findings: Findings) -> None:
        self.environ = environ
        self.directory = directory
        self.findings = findings
        self.literals = 0

    def parsed(self, parse: Callable[[str], T], text: str, path: str) -> T | None:
        """Return `parse(text)`, or None after noting why it is malformed."""
        try:
            return parse(text)
        except MalformedError as exc:
            self.findings.problem(path, str(exc))
            return None

    def named(self, name: str, path: str) -> bool:
        """Check the name of a key or a provider, which stands in logs, labels and `provider/model`."""
        if NAME.match(name):
            return True
        self.findings.problem(path, NAME_RULE)
        return False

    def secret(self, reference: str, path: str, *, spaces: bool = False, confidential: bool = True) -> Secret | None:
        """Resolve a reference, or note why not. A literal is warned about where the value is `confidential`."""
        try:
            secret = secrets.resolve(reference, environ=self.environ, directory=self.directory, spaces=spaces)
        except SecretError as exc:
            self.findings.problem(path, str(exc))
            return None
        if secret.literal and confidential:
            self.literals += 1
            self.findings.warning(path, "stands in the file itself; env:NAME or file:PATH would keep it out")
        return secret

    def place(self, name: str, path: str) -> Path | None:
        """Return the absolute place of a file the configuration names, or note that it cannot be one."""
        place = secrets.place(name, environ=self.environ, directory=self.directory)
        if place is None:
            self.findings.problem(path, "must be the path of a file")
        return place

    def readable(self, name: str, path: str) -> Path | None:
        """Return the place of a file that can be opened now, or note why it cannot."""
        place = self.place(name, path)
        if place is None:
            return None
        try:
            if not place.is_file():
                self.findings.problem(path, f"is not a file; relative paths begin at {quoted(str(self.directory))}")
                return None
            with place.open("rb"):
                return place
        except OSError as exc:
            self.findings.problem(path, f"cannot be read: {exc.strerror or type(exc).__name__}")
            return None

    def check_proxy(self, proxy: ProxyMode | Secret, base_url: BaseUrl, path: str) -> None:
        """Note a proxy, or one that the environment names for this address, that connecting would refuse."""
        if proxy is ProxyMode.NONE or not (
            isinstance(proxy, Secret) or any("_proxy" in n.lower() for n in self.environ)
        ):
            return
        from engine.net import ConnectError, Origin  # noqa: PLC0415 - brings trio, which `--help` need not load
        from engine.proxy import proxy_for, proxy_from_url  # noqa: PLC0415

        try:
            if isinstance(proxy, Secret):
                proxy_from_url(proxy.reveal())
            else:
                proxy_for(Origin(base_url.scheme, base_url.host, base_url.port), self.environ)
        except ConnectError as exc:
            self.findings.problem(path, f"cannot be used: {exc}")

    def authorities(self, name: str, path: str) -> tuple[Path | None, bytes]:
        """Return the place of a file of CA certificates that loads and its digest, or note why it does not."""
        place = self.readable(name, path)
        if place is None:
            return None, b""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(place)
            return place, sha256(place.read_bytes()).digest()
        except OSError:  # ssl.SSLError is one
            self.findings.problem(path, "holds no certificates in PEM form")
            return None, b""

    def tls(self, cert: str | None, key: str | None) -> Tls | None:
        """Return the server's certificate and key when they load and fit together, or note why they do not."""
        cert_path, key_path = "server.tls_cert", "server.tls_key"
        if cert is None and key is None:
            return None
        if key is None:
            self.findings.problem(key_path, "is missing: tls_cert needs it")
        if cert is None:
            self.findings.problem(cert_path, "is missing: tls_key needs it")
        cert_place = None if cert is None else self.readable(cert, cert_path)
        key_place = None if key is None else self.readable(key, key_path)
        if cert_place is None or key_place is None:
            return None
        try:
            # Without the callback OpenSSL would ask for the password of an encrypted key on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_place, key_place, password=lambda: "")
        except OSError:  # ssl.SSLError is one
            message = "does not load with tls_cert: both must be PEM, the key not encrypted, and belong together"
            self.findings.problem(key_path, message)
            return None
        return Tls(cert_place, key_place)
