"""What one worker holds for as long as it lives, and the one place where a configuration takes effect.

Exchanges read `config`, `keys` and `router` once, at their start or when they need them; `reconfigure` changes all
three in one synchronous step, so that a reload never cuts an exchange: those under way keep what they began with.
"""

from collections.abc import Callable
from typing import Protocol

import trio

from engine.accesslog import AccessLog
from engine.alarms import Alarms
from engine.config import Config
from engine.hangup import HangupMonitor
from engine.keyring import Keyring
from engine.layers.admit import Admission
from engine.metrics import Metrics
from engine.router import Router
from engine.treasury import Treasury


class Drainable(Protocol):
    """What lasts, and ends in its own time when it is told."""

    def drain(self) -> None:
        """End as soon as that cuts nothing off."""
        ...


class Gateway:
    """One worker's long-lived state, made inside its trio run and touched from its loop only."""

    __slots__ = (
        "access_log",
        "admission",
        "alarms",
        "config",
        "console_path",
        "draining",
        "hangups",
        "keys",
        "metrics",
        "now",
        "router",
        "sessions",
        "treasury",
    )

    def __init__(
        self,
        config: Config,
        *,
        metrics: Metrics,
        access_log: AccessLog,
        hangups: HangupMonitor,
        console_path: str | None,
        keys: Keyring | None = None,
        treasury: Treasury | None = None,
    ) -> None:
        """`treasury` is there when accounts are kept; `keys` are those it fills."""
        self.metrics = metrics
        self.now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        """trio's clock without its three layers of look-up: ten readings a request at 1 us saved each."""
        self.access_log = access_log
        self.hangups = hangups
        self.alarms = Alarms()
        """For reads that have a time limit; `run` belongs to whoever serves."""
        self.console_path = console_path
        self.draining = False
        self.admission = Admission(config.limits.requests_in_flight_max)
        self.router = Router(config, now=self.now)
        self.config = config
        self.keys = keys if keys is not None else Keyring(config)
        self.treasury = treasury
        self.sessions: set[Drainable] = set()
        """WebSocket sessions, which a drain has to tell."""

    def __repr__(self) -> str:
        return f"<Gateway {self.admission!r} {self.router!r} {'draining' if self.draining else 'serving'}>"

    def reconfigure(self, config: Config) -> None:
        """Let `config` take effect for every exchange from now on; connections to unchanged providers are kept."""
        self.router = self.router.replaced(config)
        self.config = config
        self.keys.configure(config)
        if self.treasury is not None:
            self.treasury.configure(config)
        self.admission.in_flight_max = config.limits.requests_in_flight_max

    def close(self) -> None:
        """Close the upstream connections that are idle; leased ones close when their exchange ends."""
        self.router.close()
