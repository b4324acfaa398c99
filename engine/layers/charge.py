"""What one exchange is charged: reserved before an upstream is asked, settled before the client sees the end.

Decides how much is reserved (the worst the request can come to: its prompt at a bound, its answer at the limit it
sets), what an answer is charged that nobody counted (an estimate, marked as one), and what is free: whatever failed.
The order is the promise: reserve, book the journal's slot, ask upstream, journal the settlement, end the answer.

A meter that was not settled is voided, synchronously, in the exchange's `finally`.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from adapters import estimates
from adapters.dialects import Dialect, Request
from adapters.errors import ClientError, Failure, Kind
from adapters.prices.bound import prompt_tokens_bound
from adapters.prices.price import charged_nanos
from adapters.retry_hints import retry_after
from adapters.usage import Usage, added
from engine.budgets.allowance import Allowance, Unit
from engine.budgets.lender import ShortageError
from engine.budgets.reservation import Lack, Reservation, Standing, State, reserve
from engine.budgets.standings import Draws
from engine.exchange import Exchange
from engine.money import NANOS, dollars
from engine.route import Candidate, Route
from engine.tariff import Tariff
from store.interface import UnavailableError
from store.journal import JournalFullError
from store.rows import Settlement

if TYPE_CHECKING:  # the gateway holds a treasury, which a meter uses: only the type is needed here
    from engine.treasury import Treasury

ANSWER_NANOS_MAX = 1_000_000 * NANOS
"""A million dollars: an answer that is said to cost more is its upstream's mistake, and no store could sum it up."""

STORE_AWAY_RETRY_SECONDS = 2
PLACES_RETRY_SECONDS = 1

_encode = msgspec.json.Encoder().encode

# Bound once: on Python 3.11 a look-up of a member in its class takes ten times as long as one in the module.
_ALL, _ENTRY = Draws.ALL, Draws.ENTRY
_OPEN = State.OPEN


class Detail(Struct, omit_defaults=True, gc=False):
    """What a row of the ledger says of its exchange, for people."""

    request_id: str
    model: str | None
    provider: str
    upstream_model: str
    usage: Usage


class Meter(Struct, eq=False, gc=False):
    """One exchange's reservation and what came of it. `settle` at most once; `close` always.

    Its id is the settlement's: the exchange's, or of one of several that an exchange settles. The tariff is that of the
    reservation: a reload changes no price of what is under way.
    """

    _treasury: "Treasury"
    _tariff: Tariff
    _exchange: Exchange
    _reservation: Reservation
    _id: str
    _booked: bool

    def __repr__(self) -> str:
        return f"<Meter of {self._exchange.id} {self._reservation!r}>"

    @property
    def is_open(self) -> bool:
        """Whether nothing was settled or voided yet."""
        return self._reservation.state is _OPEN

    @property
    def prompt_bytes(self) -> int:
        """How long the request's body is, of which a guess is made where nobody counts."""
        return len(self._exchange.request.body)

    def settle(self, usage: Usage, candidate: Candidate, cost: int | None = None) -> None:
        """Charge what an answer came to and write it into the journal; from here on it is owed.

        `cost` is what it came to where tokens do not tell. The exchange's usage, cost and amount grow by it.
        Raises `OSError` when the journal's device fails: then it is open as before, and free once it is closed.
        """
        reservation, exchange, treasury = self._reservation, self._exchange, self._treasury
        assert reservation.state is _OPEN, reservation
        exchange.usage = usage if exchange.usage is None else added(exchange.usage, usage)
        if cost is None:
            cost = self._tariff.answer_nanos(candidate, usage)
        if cost is None:
            cost = 0
        else:
            cost = cost if cost < ANSWER_NANOS_MAX else ANSWER_NANOS_MAX
            exchange.cost_nanos = cost + (exchange.cost_nanos or 0)
        tokens = usage.input_tokens + usage.output_tokens  # `total_tokens`, without a call
        if not self._booked:
            reservation.settle(0, tokens)
            return
        principal = exchange.principal
        account, standing = principal.account, reservation.standing
        assert account is not None
        assert principal.id is not None
        nanos = charged_nanos(cost, principal.ratio)
        nanos, uncollected_nanos = nanos if nanos < ANSWER_NANOS_MAX else ANSWER_NANOS_MAX, 0
        if nanos > reservation.nanos:
            charge = reservation.charge(nanos)
            nanos, uncollected_nanos = charge.amount_nanos, charge.uncollected_nanos
        detail = Detail(exchange.request_id.decode(), exchange.model, candidate.provider, candidate.model, usage)
        treasury.note(
            Settlement(
                self._id,
                int(treasury.clock()),
                account.id,
                principal.id,
                account.team,
                standing.day,
                standing.month,
                nanos,
                cost,
                uncollected_nanos,
                standing.leases,
                _encode(detail).decode(),
            )
        )
        reservation.settle(nanos, tokens)
        exchange.amount_nanos += nanos

    def settle_stream(
        self, usage: Usage | None, candidate: Candidate, *, events: int, bytes_out: int, whole: bool
    ) -> None:
        """Charge a stream: by its upstream's count if it is `whole` and there is one, else by what was passed on."""
        if usage is None or not whole:
            usage = estimated(usage, self.prompt_bytes, events=events, bytes_out=bytes_out)
        self.settle(usage, candidate)

    async def harden(self) -> None:
        """Return when what was settled is as safe as the configuration asks."""
        if self._booked:
            await self._treasury.bookkeeper.harden()

    def close(self) -> None:
        """Void what was not settled: it is free."""
        if self._reservation.state is _OPEN:
            self._reservation.void()
            if self._booked:
                self._treasury.journal.unbook()

    def headers(self, dialect: Dialect) -> list[tuple[bytes, bytes]]:
        """Return what the client is told of its rates."""
        return rate_headers(self._treasury, self._reservation.standing, dialect)


async def open_meter(treasury: "Treasury", exchange: Exchange, dialect: Dialect, asked: Request, route: Route) -> Meter:
    """Reserve what `asked` may come to; waits only when this worker has to lease more first.

    Raises `ClientError`: 402 (`insufficient_balance`, `cap_exceeded`), 429 (`rate_limit_exceeded`), 404
    (`model_not_priced`), 503 when the store cannot be had or the journal has no room. Cancelled: nothing is reserved.
    """
    output_tokens = dialect.output_tokens_max(asked) or treasury.tariff.output_tokens_reserved * max(asked.choices, 1)
    input_tokens = prompt_tokens_bound(asked.body)
    held = _hold_now(treasury, exchange, route.candidates, input_tokens, output_tokens, _ALL, exchange.id)
    if isinstance(held, Meter):
        return held
    return await hold(
        treasury,
        exchange,
        dialect,
        route.candidates,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        draws=_ALL,
    )


async def hold(
    treasury: "Treasury",
    exchange: Exchange,
    dialect: Dialect,
    candidates: Sequence[Candidate],
    *,
    input_tokens: int,
    output_tokens: int,
    draws: Draws,
    serial: int = 0,
) -> Meter:
    """Reserve what an answer of so many tokens by any of `candidates` may come to, as `open_meter`.

    `serial` tells apart what one exchange settles several times.
    """
    settlement_id = f"{exchange.id}.{serial}" if serial else exchange.id
    held = _hold_now(treasury, exchange, candidates, input_tokens, output_tokens, draws, settlement_id)
    while not isinstance(held, Meter):
        await _replenish(treasury, dialect, *held)
        held = _hold_now(treasury, exchange, candidates, input_tokens, output_tokens, draws, settlement_id)
    return held


def _hold_now(  # noqa: PLR0917 - keywords cost time here
    treasury: "Treasury",
    exchange: Exchange,
    candidates: Sequence[Candidate],
    input_tokens: int,
    output_tokens: int,
    draws: Draws,
    settlement_id: str,
) -> "Meter | tuple[Standing, list[Lack]]":
    """Reserve as `hold` does, or return what lacks, of which standing. By position, and no coroutine of its own: it is
    all that nearly every request needs.
    """
    principal, model, tariff = exchange.principal, exchange.model, treasury.tariff
    assert model is not None
    nanos = 0
    pays = principal.account is not None and draws is not _ENTRY
    if pays:
        worst = tariff.worst_nanos(candidates, input_tokens, output_tokens)
        if worst is None:
            message = f"the model {model!r} has no price here, so it cannot be sold"
            raise ClientError(Failure(404, Kind.NOT_FOUND, message, code="model_not_priced", param="model"))
        nanos = charged_nanos(worst, principal.ratio)
    reserved = tariff.output_tokens_reserved
    tokens = input_tokens + (output_tokens if output_tokens < reserved else reserved)
    now = treasury.clock()
    standing = treasury.standings.of(principal, model, now, draws)
    outcome = reserve(standing, nanos, tokens, now)
    if not isinstance(outcome, Reservation):
        return standing, outcome
    if standing.is_low:
        treasury.lender.top_up(standing)
    if pays:
        try:
            treasury.journal.book()
        except JournalFullError as exc:
            outcome.void()
            raise ClientError(_away("there is no room to write down what answers cost", "journal_full")) from exc
    return Meter(treasury, tariff, exchange, outcome, settlement_id, pays)


async def _replenish(treasury: "Treasury", dialect: Dialect, standing: Standing, lacks: list[Lack]) -> None:
    """Return when what lacks may be there. Raises what a client is told when it will not be."""
    try:
        await treasury.lender.replenish(lacks)
    except ShortageError as exc:
        raise ClientError(_shortage(exc.lack, treasury, standing, dialect)) from exc
    except UnavailableError as exc:
        raise ClientError(_away("the accounts cannot be looked at for the moment", "store_unavailable")) from exc


def estimated(usage: Usage | None, prompt_bytes: int, *, events: int = 0, bytes_out: int = 0) -> Usage:
    """Return `usage`, or where nobody counted, a guess marked as one: an event is a token, or long for what it
    holds.
    """
    if usage is None:
        usage = Usage(estimated=True)
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if not input_tokens:
        input_tokens = estimates.tokens_of(prompt_bytes)
    beyond = max(bytes_out - events * EVENT_BYTES, 0)
    output_tokens = max(output_tokens, events + estimates.tokens_of(beyond))
    if (input_tokens, output_tokens) == (usage.input_tokens, usage.output_tokens):
        return usage
    return msgspec.structs.replace(usage, input_tokens=input_tokens, output_tokens=output_tokens, estimated=True)


EVENT_BYTES = 500
"""What an event of one token takes on the wire at most; more is taken for more text."""


def rate_headers(treasury: "Treasury", standing: Standing, dialect: Dialect) -> list[tuple[bytes, bytes]]:
    """Return what a client is told of the tightest of its rates of either kind."""
    headers: list[tuple[bytes, bytes]] = []
    if not standing.rates:
        return headers
    second = int(treasury.clock())
    for what, allowances in standing.rates:
        tightest = allowances[0] if len(allowances) == 1 else min(allowances, key=_remaining)
        limit, name, reset = dialect.rate_headers(what, tightest.budget.limit or 0, tightest.ends, second)
        # What `remaining` returns: a property costs a tenth of all this.
        headers += (limit, (name, b"%d" % (tightest.free + tightest.available)), reset)
    return headers


def _remaining(allowance: Allowance) -> int:
    return allowance.remaining


def _shortage(lack: Lack, treasury: "Treasury", standing: Standing, dialect: Dialect) -> Failure:
    """Return what a client is told when there is not enough left of a budget."""
    allowance, budget = lack.allowance, lack.allowance.budget
    if budget.unit is Unit.MONEY and budget.limit is None:
        message = (
            f"the balance is too low: this request may cost up to {dollars(lack.amount)}, "
            f"{dollars(allowance.remaining)} is left beside what answers under way have reserved"
        )
        return Failure(402, Kind.BILLING, message, code="insufficient_balance")
    if budget.unit is Unit.MONEY:
        when = datetime.fromtimestamp(allowance.ends, UTC).isoformat().replace("+00:00", "Z")
        message = (
            f"the {budget.called}, {dollars(budget.limit or 0)}, does not allow for this request, which may cost up to "
            f"{dollars(lack.amount)}; it starts anew at {when}"
        )
        return Failure(402, Kind.BILLING, message, code="cap_exceeded")
    message = f"the limit of {budget.called}, {budget.limit}, is reached"
    seconds = PLACES_RETRY_SECONDS if not allowance.ends else max(math.ceil(allowance.ends - treasury.clock()), 1)
    headers = (*retry_after(seconds), *rate_headers(treasury, standing, dialect))
    return Failure(429, Kind.RATE_LIMIT, message, code="rate_limit_exceeded", headers=headers)


def _away(message: str, code: str) -> Failure:
    return Failure(503, Kind.OVERLOADED, message, code=code, headers=retry_after(STORE_AWAY_RETRY_SECONDS))
