"""The till: when an exchange settles, with what count, and what becomes of an answer whose client left.

Between the race, which knows who answered, and the meter, which knows what that is charged. The order it stands for:
the settlement is in the journal before the client sees the end. A whole answer is settled before it is sent, a stream
before its last bytes. A stream whose client left in the middle is charged an estimate, or, as configured, read on
without him so that the upstream's own count is charged (`engine.drains`). What its upstream broke off is free unless
configured otherwise, and what ends before its first content always is.
"""

import logging

from adapters.errors import Failure
from engine.entrant import Entrant
from engine.exchange import Exchange
from engine.gateway import Gateway
from engine.hedge import Race
from engine.layers.charge import Meter, estimated
from engine.money import plain_dollars
from engine.relay import Relay

logger = logging.getLogger(__name__)

COST_HEADER = b"x-hedgerow-cost"
"""What was charged, in dollars; only of answers that are not streamed, whose headers come last."""


class Till:
    """One exchange's end. `meter` is None where nobody keeps accounts; `close` always, after the race is closed."""

    __slots__ = ("_exchange", "_gateway", "left", "meter", "race", "relay")

    def __init__(self, gateway: Gateway, exchange: Exchange, race: Race[Entrant], meter: Meter | None) -> None:
        self._gateway = gateway
        self._exchange = exchange
        self.race = race
        self.meter = meter
        self.relay: Relay | None = None
        self.left = False
        """Whether it is the client who ended it; what a bug of ours ends is free."""

    async def answer_ends(self) -> list[tuple[bytes, bytes]]:
        """Settle a whole answer that is about to be sent; return the header that tells what it cost."""
        winner, meter = self._winner, self.meter
        assert winner.whole is not None
        if meter is None:
            return []
        usage = winner.whole.usage
        if usage is None:
            usage = estimated(None, meter.prompt_bytes, bytes_out=len(winner.whole.body))
        meter.settle(usage, winner.candidate)
        await meter.harden()
        if self._exchange.principal.account is None:
            return []
        return [(COST_HEADER, plain_dollars(self._exchange.amount_nanos).encode())]

    async def stream_ends(self, failure: Failure | None) -> None:
        """Settle a stream whose last bytes are about to be sent."""
        meter = self.meter
        if meter is None or self.race.winner is None:
            return
        if failure is None or self._gateway.config.billing.on_incomplete == "estimate":
            self._settle_stream(whole=failure is None)
            await meter.harden()

    def close(self) -> None:
        """Give the winner back, and void what was not settled; first of all decide about a client that left."""
        try:
            self._close()
        finally:
            # It holds what ends it, which is this: together they would wait for the collector, with all of the answer.
            self.relay = None

    def _close(self) -> None:
        winner, meter, exchange = self.race.winner, self.meter, self._exchange
        if winner is not None:
            exchange.upstream_dialect = winner.passage.dialect
            if self.left and meter is not None and meter.is_open and self._is_cut():
                if self._hand_over(winner, meter):
                    exchange.drained = True
                    return
                try:
                    self._settle_stream(whole=False)
                except OSError:
                    logger.exception("what the exchange %s cost cannot be written down: it is free", exchange.id)
            if exchange.usage is None:
                exchange.usage = winner.usage
            winner.close()
        if meter is not None:
            meter.close()

    def _hand_over(self, winner: Entrant, meter: Meter) -> bool:
        """Let the answer be read on without its client, if it is to be; then it is no longer ours."""
        treasury, relay = self._gateway.treasury, self.relay
        assert treasury is not None
        assert relay is not None
        bytes_out = relay.downstream.bytes_out
        return treasury.drains.adopt(winner, meter, self._exchange, events=relay.events, bytes_out=bytes_out)

    @property
    def _winner(self) -> Entrant:
        assert self.race.winner is not None
        return self.race.winner

    def _is_cut(self) -> bool:
        """Whether who left did so in the middle of a stream: it began, it did not end, and it is not us who end it."""
        relay = self.relay
        began = relay is not None and relay.began and not relay.ended
        return began and not self._gateway.draining

    def _settle_stream(self, *, whole: bool) -> None:
        winner, meter, relay = self._winner, self.meter, self.relay
        assert meter is not None
        assert relay is not None
        meter.settle_stream(
            winner.usage, winner.candidate, events=relay.events, bytes_out=relay.downstream.bytes_out, whole=whole
        )
