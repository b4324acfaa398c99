"""[server] and [keys]: where to listen, with which keys.

Both in one file for the rule that ties them: without any key the gateway is open to whoever reaches it, so it listens
on loopback and Unix sockets only; a public address without a key is a problem, not a default. Where [accounts] makes
keys required nobody gets in without one, however few there are, and every address is allowed.
"""

import os
import re
from math import inf
from pathlib import Path

from engine.config.addresses import Listen, check_web_origin, parse_listen
from engine.config.context import Context
from engine.config.findings import below
from engine.config.model import AccessLog, Accounts, Server
from engine.config.options import KeyOptions, ServerBase, ServerOptions
from engine.keys import Key, digest_of

KEY_LENGTH_MIN = 16
"""A shorter key can be guessed: warned about, not refused, since tests and private machines have such keys."""

_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})\Z")


def build_server(options: ServerOptions, keys: tuple[Key, ...], accounts: Accounts, context: Context) -> Server:
    """Return the server's part; `keys` and `accounts` decide whether public addresses are allowed."""
    findings = context.findings
    listen = _listen(options, context)
    keyless = not keys and not accounts.required
    for i, address in listen.items():
        unsaid = findings.within("keys") or findings.within("accounts.required")
        if keyless and not address.private and not unsaid:
            message = (
                "is reachable from other machines and no key is configured: "
                "add [keys.NAME], set accounts.required = true, or listen on 127.0.0.1"
            )
            findings.problem(f"server.listen[{i}]", message)
    for i, origin in enumerate(options.cors_origins):
        context.parsed(check_web_origin, origin, f"server.cors_origins[{i}]")
    if "*" in options.cors_origins and keyless:
        findings.warning("server.cors_origins", "every web page that a user of this machine opens can use the gateway")
    common = {name: getattr(options, name) for name in ServerBase.__struct_fields__}
    common["keepalive_comment_seconds"] = options.keepalive_comment_seconds or inf
    return Server(
        **common,
        listen=tuple(listen.values()),
        tls=context.tls(options.tls_cert, options.tls_key),
        access_log=_access_log(options.access_log, context),
    )


def _listen(options: ServerOptions, context: Context) -> dict[int, Listen]:
    """Return the readable addresses by their place in the list."""
    if not options.listen:
        context.findings.problem("server.listen", "must hold at least one address")
    listen: dict[int, Listen] = {}
    for i, text in enumerate(options.listen):
        path = f"server.listen[{i}]"
        address = context.parsed(parse_listen, text, path)
        if address is None:
            continue
        first = next((j for j, other in listen.items() if address.overlaps(other)), None)
        if first is not None:
            context.findings.problem(path, f"overlaps server.listen[{first}]")
        listen[i] = address
    return listen


def _access_log(text: str, context: Context) -> AccessLog | Path:
    if text in {log.value for log in AccessLog}:
        return AccessLog(text)
    place = context.place(text, "server.access_log")
    if place is None:
        return AccessLog.NONE
    if os.path.isdir(place) or not os.path.isdir(place.parent):
        message = 'must be "stdout", "none", or the path of a file in a directory that exists'
        context.findings.problem("server.access_log", message)
    return place


def build_keys(options: dict[str, KeyOptions], context: Context) -> tuple[Key, ...]:
    """Return the keys, each as id and digest; no two may be the same key."""
    keys: dict[bytes, Key] = {}
    for name, option in options.items():
        path = below("keys", name)
        context.named(name, path)
        digest = _digest(option, path, context)
        if digest is None:
            continue
        if digest in keys:
            context.findings.problem(path, f"is the same key as {below('keys', keys[digest].id)}")
        keys.setdefault(digest, Key(name, digest))
    return tuple(keys.values())


def _digest(option: KeyOptions, path: str, context: Context) -> bytes | None:
    findings = context.findings
    if option.hash is not None and option.value is not None:
        findings.problem(path, "has both hash and value; one of them is the key")
        return None
    if option.hash is not None:
        found = _HASH.match(option.hash)
        if found is None:
            findings.problem(f"{path}.hash", 'must be "sha256:" and 64 hexadecimal digits')
        return None if found is None else bytes.fromhex(found[1])
    if option.value is not None:
        return _digest_of_value(option.value, f"{path}.value", context)
    if not findings.within(path):
        findings.problem(path, 'needs hash = "sha256:..." or value = "env:NAME"')
    return None


def _digest_of_value(value: str, path: str, context: Context) -> bytes | None:
    if value.startswith("sha256:"):
        context.findings.problem(path, "is a hash: write hash = instead of value =")
        return None
    secret = context.secret(value, path)
    if secret is None:
        return None
    if len(secret.reveal()) < KEY_LENGTH_MIN:
        context.findings.warning(path, f"is shorter than {KEY_LENGTH_MIN} characters and can be guessed")
    return digest_of(secret.reveal().encode())
