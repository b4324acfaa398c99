"""Which peers a run measures: the options of the command line, and what can be known of them before it begins.

Without an option a full run measures all that are installed, a quick one nginx alone: the others take a good part of a
minute to start for each scenario. One that runs already is asked once, in front of an upstream as the scenarios start
it, so that a wrong address or key ends the run in its first second and not in its tenth minute.
"""

import argparse
from collections.abc import Sequence

from bench import peers
from bench.peers.nginx import NGINX
from bench.peers.peer import PeerError
from bench.process import cores
from bench.subjects import canned


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who is measured beside the gateway."""
    group = parser.add_argument_group("who is measured beside the gateway")
    group.add_argument(
        "--peer",
        action="append",
        dest="peers",
        metavar="NAME|NAME=URL",
        help=f"of {', '.join(peers.KNOWN)}, or one that runs here already, by its base URL: other=http://127.0.0.1:8081/v1"
        "#key=KEY,model=MODEL; it has to pass on to --upstream-port. Repeatable, instead of the default: what is "
        "installed; with --quick nginx",
    )
    group.add_argument("--no-peers", action="store_true", help="nobody")
    group.add_argument(
        "--upstream-port",
        type=port,
        default=0,
        metavar="PORT",
        help="where the upstream listens on 127.0.0.1, below /v1, for peers that run already; default: any free one",
    )


def chosen(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> tuple[str, ...]:
    """Give the peers of a run; ends the process where options contradict each other, raises PeerError as `verify`."""
    if asked.no_peers and asked.peers:
        parser.error("--peer and --no-peers contradict each other")
    if asked.no_peers:
        return ()
    if asked.peers:
        found = tuple(asked.peers)
        if any("=" in peer for peer in found) and not asked.upstream_port:
            parser.error("--peer NAME=URL needs --upstream-port: where that peer passes requests on to")
        verify(found, asked.upstream_port)
        return found
    return tuple(name for name in peers.present() if not asked.quick or name == NGINX.name)


def verify(found: Sequence[str], upstream_port: int) -> None:
    """Raise PeerError when one of these is unknown or not installed, or runs already and does not answer rightly."""
    placement = cores()
    peers.starts(found, upstream_port, placement)
    running = [peer for peer in found if "=" in peer]
    if not running:
        return
    try:
        with canned(placement, upstream_port):
            for start in peers.starts(running, upstream_port, placement):
                with start():
                    pass
    except PeerError:
        raise
    except RuntimeError as exc:
        raise PeerError(f"no upstream could be started on port {upstream_port}: is it in use?") from exc


def port(text: str) -> int:
    """Read a TCP port; raises ValueError."""
    number = int(text)
    if not 0 < number < 65_536:
        raise ValueError(text)
    return number
