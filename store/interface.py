"""What a store does: one protocol that SQLite and its twin in memory keep, and a server of many nodes could.

Promises. Every call is one transaction: it happens whole or not at all, also when cancelled or killed. `lease`
never lets the sum of what is leased and used exceed a limit or a balance, for any number of holders. `settle` books
each settlement once, however often it is handed over. The ledger only grows; every sum kept beside it can be computed
from it, and `check` does so.

Windows. A cap's window is the number of its UTC day since 1970, or of its month (`year * 12 + month - 1`); a rate's is
the number of its minute. What keys, accounts and teams spend is counted by day and month whether or not there is a cap,
under the budgets `cap_budget(period, scope, id)`; a settlement says in which windows.

Errors. `UnavailableError`: nothing was done and it may work later (a locked file, a full disk, a store that is
closing). `ConflictError`: it cannot be done at all, with a sentence for the operator.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from store.rows import (
    Account,
    Balance,
    Finding,
    Grant,
    Holder,
    Key,
    Lease,
    LogFilter,
    LogRow,
    News,
    Position,
    Return,
    Settlement,
    Team,
    Transfer,
    TransferKind,
    UsageRow,
    Want,
)


class StoreError(Exception):
    """A call to a store that failed. Nothing of it was done."""


class UnavailableError(StoreError):
    """The store cannot be had at the moment: locked for too long, out of space, closing."""


class ConflictError(StoreError):
    """What was asked contradicts what is there: an id that exists, an account that does not, a refund beyond its
    charge.
    """


CHANGED = "{} was changed in the meantime: look at it again."
"""What is said of a row that is not as it was when it was read."""


class Store(Protocol):
    """Accounts, ledger, leases and log. Safe to call from many tasks at once."""

    # -- holders and leases: what workers live on --

    async def enter(self, holder: str, now: int) -> None:
        """Make `holder` known; it may hold leases from now on. Raises `ConflictError` when there is one of that id."""
        ...

    async def holders(self) -> tuple[Holder, ...]:
        """Return all holders that have not left."""
        ...

    async def leave(self, holder: str) -> int:
        """Forget `holder` and take back what it holds: rates become used, the rest is free again. Return the money.

        Whoever calls it has seen that the holder is gone and that its journal is in the ledger to its end. One that is
        unknown has left already: 0.
        """
        ...

    async def lease(self, holder: str, wants: Sequence[Want], returns: Sequence[Return], now: int) -> list[Grant]:
        """Take back `returns`, then grant what can be granted, one `Grant` for each want, in its order.

        A grant is `need` at least and `want` at most, or 0. More than `need` only if others are left as much as is
        granted: a slice never exceeds a half of what is available, beyond the need. A want whose need could be met by
        what others hold is remembered for a few seconds, and they are told by `news`. Returning more than is held
        raises `ConflictError`.
        """
        ...

    async def settle(self, holder: str, settlements: Sequence[Settlement], before: Position, after: Position) -> int:
        """Book what `holder`'s journal says between two positions; return how many were new.

        Each moves its amount from the wallet to `revenue`, takes it from the holder's leases on the wallet and on each
        of its `leases`, and counts it by day and month for its key, its account and its team. When the ledger is
        already beyond `before` nothing is booked and 0 returned. An id that is there already is passed by. Raises
        `ConflictError` when the holder's leases do not cover it, or the holder is unknown.
        """
        ...

    async def news(self, holder: str | None, since: int) -> News:
        """Return every team, account and key that changed after version `since` (0: all); of `holder`, what is recalled
        and up to where its journal is booked.
        """
        ...

    # -- accounts: to change a row, put what was read with its version; one changed since raises `ConflictError` --

    async def put_team(self, team: Team) -> Team:
        """Add or change a team (by id); return it with its version. `created` is kept when it is changed."""
        ...

    async def put_account(self, account: Account) -> Account:
        """Add or change an account. Raises `ConflictError` for an unknown team, or a name that another one has."""
        ...

    async def put_key(self, key: Key) -> Key:
        """Add or change a key. Raises `ConflictError` for an unknown account, or a digest or name that another one of
        it has.
        """
        ...

    async def account(self, name: str) -> Account | None:
        """Return the account of that id, or else of that name."""
        ...

    # -- money --

    async def credit(
        self,
        account: str,
        amount_nanos: int,
        kind: TransferKind,
        *,
        id: str,  # noqa: A002 - what it is in the row
        now: int,
        reference: str | None = None,
        note: str = "",
    ) -> Transfer:
        """Top up a wallet, or grant to it; the same id again returns the transfer of the first time.

        Raises `ConflictError` for an unknown account, an amount that is not positive, an id that stands for something
        else.
        """
        ...

    async def refund(
        self,
        settlement: str,
        amount_nanos: int | None,
        *,
        id: str,  # noqa: A002
        now: int,
        note: str = "",
    ) -> Transfer:
        """Give back a settlement, or a part of it (None: what is left of it); it no longer counts in its windows.

        Refunds of one settlement never exceed its amount. The same id again returns the first time's transfer.
        """
        ...

    async def balance(self, account: str) -> Balance:
        """Return what is in the account's wallet. Raises `ConflictError` when there is no such account."""
        ...

    async def used(self, budgets: Sequence[tuple[str, int]]) -> list[int]:
        """Return what is spent of each (budget, window), what is leased not included."""
        ...

    async def transfers(self, account: str | None = None, *, limit: int = 100, offset: int = 0) -> list[Transfer]:
        """Return rows of the ledger, the newest first."""
        ...

    async def transfer(self, id: str) -> Transfer | None:  # noqa: A002
        """Return one row of the ledger."""
        ...

    async def leases(self) -> list[Lease]:
        """Return all leases, by holder and budget."""
        ...

    async def check(self) -> list[Finding]:
        """Prove that everything adds up; return what does not.

        All balances sum to zero and each is the sum of its transfers; no wallet is below zero, nor below what is leased
        of it; what is counted by day and month is the sum of settlements less refunds; every lease is positive and has
        a holder; refunds do not exceed their settlements; every transfer's sides fit its kind.
        """
        ...

    async def retier(self, tiers: Sequence[tuple[int, int]], *, now: int, every_seconds: int) -> int | None:
        """Recompute every account's 30-day spend and the markup that goes with it, unless somebody did a while ago.

        `tiers` are (spend from which it holds, markup in ppm), ascending from 0. Of all processes that ask, one does it
        every `every_seconds`; the others get None, it the number of accounts that changed.
        """
        ...

    # -- log --

    async def log(self, rows: Sequence[LogRow]) -> None:
        """Keep rows of the request log; an id that is there already is passed by."""
        ...

    async def logs(self, which: LogFilter, *, limit: int = 100, offset: int = 0) -> list[LogRow]:
        """Return rows of the log, the newest first."""
        ...

    async def log_count(self, which: LogFilter) -> int:
        """Return how many rows there are."""
        ...

    async def usage(self, which: LogFilter, by: str) -> list[UsageRow]:
        """Return sums of the log by `day` (ISO dates), `model`, `provider`, `key` or `account`, the largest amount
        first, days in order.
        """
        ...

    async def forget(self, before: float, *, limit: int = 10_000) -> int:
        """Delete rows of the log older than `before`, and windows of rates that are over; return how many rows."""
        ...

    def statistics(self) -> Any:
        """Return counts of transactions, calls and failures, as a frozen struct."""
        ...
