"""The purse of a session: what its responses may come to is reserved, what each one came to is settled.

The rule: the worst case of every response under way is reserved, or of the next one while there is none, of the same
budgets as any request's: so many tokens as the configuration says, or as the largest so far had, since conversations
grow. When one is done its settlement goes into the journal; when the next one's worst case cannot be had the session is
over. So a session outspends its budgets by nothing; what a response came to beyond is the house's loss, as everywhere.
The session itself takes a request and a place, for as long as it lasts.
"""

from typing import TYPE_CHECKING

from adapters.dialects import Dialect
from adapters.sessions import Spent
from adapters.usage import Usage, added
from engine.budgets.standings import Draws
from engine.config import RealtimeOptions
from engine.exchange import Exchange
from engine.layers.charge import Meter, estimated, hold
from engine.route import Candidate

if TYPE_CHECKING:  # as in `engine.layers.charge`
    from engine.treasury import Treasury


class Purse:
    """One session's money. `close` always; it voids what is reserved and nothing was spent of."""

    __slots__ = ("_dialect", "_entry", "_exchange", "_held", "_input_tokens", "_output_tokens", "_serial", "_treasury")

    def __init__(
        self, treasury: "Treasury | None", exchange: Exchange, dialect: Dialect, options: RealtimeOptions
    ) -> None:
        """`treasury` None: nobody keeps accounts, so nothing is held and nothing charged."""
        self._treasury = treasury
        self._exchange = exchange
        self._dialect = dialect
        self._input_tokens = options.input_tokens_reserved
        self._output_tokens = options.output_tokens_reserved
        self._entry: Meter | None = None
        self._held: list[Meter] = []
        self._serial = 0

    def __repr__(self) -> str:
        return f"<Purse of {self._exchange.id} holds {len(self._held)} after {self._serial}>"

    async def open(self, candidates: list[Candidate]) -> None:
        """Take a request and a place for the session, and reserve its first response. Raises as
        `engine.layers.charge.hold`.
        """
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
            await self.cover(candidates, 0)

    async def cover(self, candidates: list[Candidate], under_way: int) -> None:
        """Have so many responses reserved as are under way, and always one. Raises as `open`."""
        if self._treasury is None:
            return
        wanted = max(under_way, 1)
        while len(self._held) > wanted:
            self._held.pop().close()
        while len(self._held) < wanted:
            await self._reserve(candidates, self._input_tokens, self._output_tokens)

    async def spend(self, spent: Spent, candidate: Candidate, seconds: float) -> None:
        """Settle what came to be paid for; it took `seconds`. Raises as `open` where nothing was reserved for it, and
        `OSError` when the journal's device fails.
        """
        if self._treasury is None:
            self._exchange.usage = added(self._exchange.usage, spent.usage)
            return
        tariff, cost = self._treasury.tariff, None
        if spent.what == "transcription":
            cost = tariff.heard_nanos(candidate, spent.model or candidate.model, spent.usage, spent.seconds)
        elif spent.usage.estimated and not spent.usage.total_tokens:
            cost = tariff.session_nanos(candidate, seconds)
        if spent.what == "response":
            self._input_tokens = max(self._input_tokens, spent.usage.input_tokens)
            self._output_tokens = max(self._output_tokens, spent.usage.output_tokens)
        await self._settle(spent.usage, candidate, cost)

    async def lapse(self, candidate: Candidate, seconds: float, passed: Usage | None) -> None:
        """Settle what was under way and whose end nobody saw: by the time it took where the model has a price for that,
        else by the tokens that `passed` at a guess, where there is one. Raises as `spend`.
        """
        if self._treasury is None:
            return
        cost = self._treasury.tariff.session_nanos(candidate, seconds)
        if cost:
            await self._settle(Usage(estimated=True), candidate, cost)
        elif passed is not None:
            await self._settle(passed, candidate, None)

    def close(self) -> None:
        """Give back what is reserved, and the place."""
        while self._held:
            self._held.pop().close()
        if self._entry is not None:
            self._entry.close()
            self._entry = None

    async def _settle(self, usage: Usage, candidate: Candidate, cost: int | None) -> None:
        if not self._held:
            # Nothing could be reserved for it, so it gets what there is.
            await self._reserve([candidate], 0, 0)
        meter = self._held[-1]
        meter.settle(usage, candidate, cost)
        self._held.pop()
        await meter.harden()

    async def _reserve(self, candidates: list[Candidate], input_tokens: int, output_tokens: int) -> None:
        assert self._treasury is not None
        self._serial += 1
        meter = await hold(
            self._treasury,
            self._exchange,
            self._dialect,
            candidates,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            draws=Draws.RESPONSE,
            serial=self._serial,
        )
        self._held.append(meter)


def passed_at_a_guess(prompt_bytes: int, frames: int, bytes_out: int) -> Usage:
    """Return what a response of text comes to of which so much was passed on."""
    return estimated(None, prompt_bytes, events=frames, bytes_out=bytes_out)
