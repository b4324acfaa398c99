"""Whom the gateway is held against: who can be started here, how, and with which settings.

A peer is named as `nginx`, `litellm` or `portkey`, where those are installed (`python -m bench peers install`), or as
NAME=URL, which runs already (`bench.peers.given`). Whoever is asked for and cannot be had is an error before anything
is started; whoever fails while it is measured is its own business. The gateway is no peer: `bench.subjects` starts it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from bench.peers import given
from bench.peers.litellm import LITELLM
from bench.peers.nginx import NGINX
from bench.peers.peer import Peer, PeerError, Start
from bench.peers.portkey import PORTKEY
from bench.process import Cores

__all__ = ["KNOWN", "PeerError", "Start", "names_of", "owner", "present", "settings", "starts"]

KNOWN: dict[str, Peer] = {peer.name: peer for peer in (NGINX, LITELLM, PORTKEY)}
"""Peers that the bench can start, in the order in which they are measured."""

_TAKEN = frozenset({*KNOWN, "direct", "gateway"})


def present() -> list[str]:
    """Give the names of those that are installed here."""
    return [name for name, peer in KNOWN.items() if peer.version() is not None]


def names_of(peers: Sequence[str]) -> list[str]:
    """Give the names that subjects of these peers have.

    Raises PeerError for one that is unknown, misspelt, named twice, or named as somebody else.
    """
    names = [_given(peer).name if "=" in peer else _known(peer).name for peer in peers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PeerError(f"named twice: {', '.join(twice)}")
    return names


def starts(peers: Sequence[str], upstream_port: int, cores: Cores) -> list[Start]:
    """Give what starts these peers, in this order; raises PeerError as `names_of`, and for one not installed."""
    names_of(peers)
    return [
        partial(given.run, _given(peer)) if "=" in peer else partial(_installed(peer).run, upstream_port, cores)
        for peer in peers
    ]


def settings(peers: Sequence[str]) -> dict[str, Any]:
    """Give each peer's version and what was set, for the report; raises PeerError as `starts` does."""
    return {
        name: _given(peer).settings
        if "=" in peer
        else {"version": _installed(peer).version(), **_installed(peer).settings}
        for name, peer in zip(names_of(peers), peers, strict=True)
    }


def owner(command: Sequence[str]) -> str | None:
    """Give the name of the peer, of those the bench starts, that a process with this command line belongs to."""
    return next((name for name, peer in KNOWN.items() if peer.owns(command)), None) if command else None


def _given(text: str) -> given.Given:
    found = given.parse(text)
    if found.name in _TAKEN:
        raise PeerError(f"{found.name} is whom the bench starts itself: give yours another name")
    return found


def _known(name: str) -> Peer:
    peer = KNOWN.get(name)
    if peer is None:
        raise PeerError(f"no such peer: {name} (there are {', '.join(KNOWN)}, and NAME=URL for one that runs)")
    return peer


def _installed(name: str) -> Peer:
    peer = _known(name)
    if peer.version() is None:
        raise PeerError(f"{name} is not installed: {peer.obtain}")
    return peer
