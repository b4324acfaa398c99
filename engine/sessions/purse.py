"""The purse of a session: what its next response may come to is reserved, what each one came to is settled.

The rule: while a response may be under way its worst case is reserved, of the same budgets as any request's; when it is
done its settlement goes into the journal, and the next one's reservation is made. When that cannot be had the session
is over. So a session outspends its budgets by nothing: what a response came to beyond is the house's loss, as
everywhere, and it is the last one. The session itself takes a request and a place, for as long as it lasts.
"""

from typing import TYPE_CHECKING

from adapters.dialects import Dialect
from adapters.errors import ClientError, Failure, Kind
from adapters.sessions import Spent
from adapters.usage import Usage, added
from engine.budgets.standings import Draws
from engine.config import RealtimeOptions
from engine.exchange import Exchange
from engine.layers.charge import Meter, hold
from engine.route import Candidate

if TYPE_CHECKING:  # as in `engine.layers.charge`
    from engine.treasury import Treasury


class Purse:
    """One session's money. `close` always; it voids what is reserved and nothing was spent of."""

    __slots__ = ("_dialect", "_entry", "_exchange", "_next", "_options", "_serial", "_treasury")

    def __init__(
        self, treasury: "Treasury | None", exchange: Exchange, dialect: Dialect, options: RealtimeOptions
    ) -> None:
        """`treasury` None: nobody keeps accounts, so nothing is held and nothing charged."""
        self._treasury = treasury
        self._exchange = exchange
        self._dialect = dialect
        self._options = options
        self._entry: Meter | None = None
        self._next: Meter | None = None
        self._serial = 0

    def __repr__(self) -> str:
        return f"<Purse of {self._exchange.id} after {self._serial}>"

    async def open(self, candidates: list[Candidate]) -> None:
        """Take a request and a place for the session. Raises as `engine.layers.charge.hold`."""
        if self._treasury is not None:
            self._entry = await hold(
                self._treasury,
                self._exchange,
                self._dialect,
                candidates,
                input_tokens=0,
                output_tokens=0,
                draws=Draws.ENTRY,
            )

    async def reserve(self, candidates: list[Candidate]) -> None:
        """Reserve what the next response by any of the candidates may come to. Raises as `open`."""
        if self._treasury is None or self._next is not None:
            return
        self._serial += 1
        self._next = await hold(
            self._treasury,
            self._exchange,
            self._dialect,
            candidates,
            input_tokens=self._options.input_tokens_reserved,
            output_tokens=self._options.output_tokens_reserved,
            draws=Draws.RESPONSE,
            serial=self._serial,
        )

    async def spend(self, spent: Spent, candidate: Candidate) -> None:
        """Settle what came to be paid for, and reserve for the next. Raises `ClientError` when the purse is empty."""
        exchange = self._exchange
        if self._treasury is None:
            exchange.usage = added(exchange.usage, spent.usage)
            return
        if self._next is None:
            await self.reserve([candidate])
        meter, self._next = self._next, None
        assert meter is not None
        cost = None
        if spent.what == "transcription":
            model = spent.model or candidate.model
            cost = self._treasury.tariff.heard_nanos(candidate, model, spent.usage, spent.seconds)
        charge = meter.settle(spent.usage, candidate, cost)
        await meter.harden()
        if charge.uncollected_nanos:
            message = "the balance, or a cap, did not hold all that this response came to; the session ends"
            raise ClientError(Failure(402, Kind.BILLING, message, code="insufficient_balance"))
        await self.reserve([candidate])

    def lapse(self, seconds: float, candidate: Candidate) -> None:
        """Charge a response whose end nobody saw by the time it took, where the model has a price for that."""
        if self._treasury is None or self._next is None:
            return
        cost = self._treasury.tariff.session_nanos(candidate, seconds)
        if cost:
            self._next.settle(Usage(estimated=True), candidate, cost)
            self._next = None

    def close(self) -> None:
        """Give back what is reserved, and the place."""
        for meter in (self._next, self._entry):
            if meter is not None:
                meter.close()
        self._next = self._entry = None
