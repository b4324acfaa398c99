"""The store in memory: what the one in SQLite promises, in plain dicts, for tests of those who live on a store.

Its rule is to be obviously right rather than quick. A call checkpoints first, which is the only place where it can be
cancelled, and then does all of its work without waiting; what it may refuse it refuses before it changes anything. In
what else the two stores might differ is found by the tests they share. Money lies in `memory_ledger`, what is lent of
it in `memory_leases`, the request log in `memory_log`; here stand teams, accounts, keys and holders.

It knows no clock: time is what calls say. Everything is gone with the object, there is no second process, and unlike a
real store it fails and is slow when it is told to.
"""

from collections.abc import Sequence
from typing import TypeVar

import trio
from msgspec import Struct
from msgspec.structs import replace

from store.interface import CHANGED, ConflictError, StoreError
from store.memory_leases import RATE_KEPT_SECONDS, MemoryLeases
from store.memory_ledger import SOURCES, MemoryLedger, transfer_of
from store.memory_log import MemoryLog
from store.rows import (
    DAY,
    NO_WINDOW,
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
    cap_budget,
    day_of,
    wallet_of,
)

ROLLING_DAYS = 30
"""Today and the days before it whose spend decides on a tier."""

Row = TypeVar("Row", Team, Account, Key)


class Statistics(Struct, frozen=True, kw_only=True):
    """Counts since the store was made: every call that does not fail is one transaction, one in conflict too."""

    calls: int
    transactions: int
    failures: int


class MemoryStore:
    """A `Store` that lasts as long as the object.

    `delay_seconds` is how long a call that writes waits before it begins. What lies in the parts is there to be looked
    at, and to be tampered with by a test of `check`.
    """

    def __init__(self, *, delay_seconds: float = 0.0) -> None:
        self.delay_seconds = delay_seconds
        self.teams: dict[str, Team] = {}
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, Key] = {}
        self.known: dict[str, Holder] = {}
        self.money = MemoryLedger()
        self.lent = MemoryLeases()
        self.requests = MemoryLog()
        self._version = 0
        self._retiered: int | None = None
        self._failure: StoreError | None = None
        self._calls = self._failures = 0

    def __repr__(self) -> str:
        transfers, leases = len(self.money.transfers), len(self.lent.held)
        return f"<MemoryStore {len(self.accounts)} accounts, {transfers} transfers, {leases} leases>"

    def fail(self, error: StoreError) -> None:
        """Raise `error` from every call, which does nothing then, until `heal`."""
        self._failure = error

    def heal(self) -> None:
        """End what `fail` began."""
        self._failure = None

    async def _begin(self, *, writes: bool = False) -> None:
        if writes and self.delay_seconds:
            await trio.sleep(self.delay_seconds)
        else:
            await trio.lowlevel.checkpoint()
        self._calls += 1
        if self._failure is not None:
            self._failures += 1
            raise self._failure

    # -- holders and leases --------------------------------------------------------------------------------------------

    async def enter(self, holder: str, now: int) -> None:
        """See `Store.enter`."""
        await self._begin(writes=True)
        if holder in self.known:
            raise ConflictError(f"There is a holder {holder} already.")
        self.known[holder] = Holder(id=holder, since=now, position=Position())

    async def holders(self) -> tuple[Holder, ...]:
        """See `Store.holders`."""
        await self._begin()
        return tuple(self.known.values())

    async def leave(self, holder: str) -> int:
        """See `Store.leave`; the money is what came back to wallets."""
        await self._begin(writes=True)
        self.known.pop(holder, None)
        return self.lent.leave(holder)

    async def lease(self, holder: str, wants: Sequence[Want], returns: Sequence[Return], now: int) -> list[Grant]:
        """See `Store.lease`."""
        await self._begin(writes=True)
        self._holder(holder)
        self.lent.forget(now - RATE_KEPT_SECONDS)
        self.lent.take(holder, [(part.budget, part.window, part.amount) for part in returns])
        return [
            self.lent.grant(
                holder,
                want,
                limit=self.money.balances[want.budget] if want.limit is None else want.limit,
                spent=self.money.spent[want.budget, want.window],
                now=now,
            )
            for want in wants
        ]

    async def settle(self, holder: str, settlements: Sequence[Settlement], before: Position, after: Position) -> int:
        """See `Store.settle`."""
        await self._begin(writes=True)
        known = self._holder(holder)
        if (known.position.file, known.position.offset) > (before.file, before.offset):
            return 0
        new: dict[str, Settlement] = {}
        for settlement in settlements:
            if settlement.id not in self.money.transfers:
                new.setdefault(settlement.id, settlement)
        parts = [
            (budget, window, settlement.amount_nanos)
            for settlement in new.values()
            for budget, window in ((wallet_of(settlement.account), NO_WINDOW), *settlement.leases)
        ]
        self.lent.take(holder, parts)
        self.known[holder] = replace(known, position=after)
        for settlement in new.values():
            self.money.book(transfer_of(settlement))
        return len(new)

    async def news(self, holder: str | None, since: int) -> News:
        """See `Store.news`."""
        await self._begin()
        return News(
            version=self._version,
            teams=tuple(team for team in self.teams.values() if team.version > since),
            accounts=tuple(account for account in self.accounts.values() if account.version > since),
            keys=tuple(key for key in self.keys.values() if key.version > since),
            recalled=self.lent.recalled_of(holder),
            booked=Position() if holder not in self.known else self.known[holder].position,
        )

    def _holder(self, holder: str) -> Holder:
        if holder not in self.known:
            raise ConflictError(f"There is no holder {holder}.")
        return self.known[holder]

    # -- accounts ------------------------------------------------------------------------------------------------------

    async def put_team(self, team: Team) -> Team:
        """See `Store.put_team`."""
        await self._begin(writes=True)
        return self._put(self.teams, team)

    async def put_account(self, account: Account) -> Account:
        """See `Store.put_account`."""
        await self._begin(writes=True)
        if account.team is not None and account.team not in self.teams:
            raise ConflictError(f"There is no team {account.team}.")
        if any(other.name == account.name and other.id != account.id for other in self.accounts.values()):
            raise ConflictError(f"There is another account named {account.name}.")
        return self._put(self.accounts, account)

    async def put_key(self, key: Key) -> Key:
        """See `Store.put_key`; a digest belongs to one key of all accounts."""
        await self._begin(writes=True)
        self._check_account(key.account)
        for other in self.keys.values():
            if other.id != key.id and other.digest == key.digest:
                raise ConflictError("There is another key of this digest.")
            if other.id != key.id and (other.account, other.name) == (key.account, key.name):
                raise ConflictError(f"The account has another key named {key.name}.")
        return self._put(self.keys, key)

    async def account(self, name: str) -> Account | None:
        """See `Store.account`."""
        await self._begin()
        named = (account for account in self.accounts.values() if account.name == name)
        return self.accounts.get(name) or next(named, None)

    def _put(self, rows: dict[str, Row], row: Row) -> Row:
        if row.id in rows and rows[row.id].version != row.version:
            raise ConflictError(CHANGED.format(row.id))
        self._version += 1
        created = rows[row.id].created if row.id in rows else row.created
        rows[row.id] = replace(row, created=created, version=self._version)
        return rows[row.id]

    def _check_account(self, account: str) -> None:
        if account not in self.accounts:
            raise ConflictError(f"There is no account {account}.")

    # -- money ---------------------------------------------------------------------------------------------------------

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
        """See `Store.credit`."""
        await self._begin(writes=True)
        self._check_account(account)
        if kind not in SOURCES or amount_nanos <= 0:
            raise ConflictError("A wallet is credited with a positive amount, by a top-up or a grant.")
        transfer = Transfer(
            id=id,
            time=now,
            kind=kind.value,
            debit=SOURCES[kind],
            credit=wallet_of(account),
            amount_nanos=amount_nanos,
            account=account,
            reference=reference,
            note=note,
        )
        return self.money.book(transfer)

    async def refund(
        self,
        settlement: str,
        amount_nanos: int | None,
        *,
        id: str,  # noqa: A002
        now: int,
        note: str = "",
    ) -> Transfer:
        """See `Store.refund`; a settlement of which nothing is left cannot be refunded."""
        await self._begin(writes=True)
        return self.money.book(self.money.refund_of(settlement, amount_nanos, id=id, now=now, note=note))

    async def balance(self, account: str) -> Balance:
        """See `Store.balance`."""
        await self._begin()
        self._check_account(account)
        wallet = wallet_of(account)
        leased = sum(lease.amount for lease in self.lent.held.values() if lease.budget == wallet)
        return Balance(balance_nanos=self.money.balances[wallet], leased_nanos=leased)

    async def used(self, budgets: Sequence[tuple[str, int]]) -> list[int]:
        """See `Store.used`."""
        await self._begin()
        return [self.money.spent[slot] + self.lent.used[slot] for slot in budgets]

    async def transfers(self, account: str | None = None, *, limit: int = 100, offset: int = 0) -> list[Transfer]:
        """See `Store.transfers`."""
        await self._begin()
        rows = [row for row in self.money.transfers.values() if account in {None, row.account}]
        rows.sort(key=lambda row: row.time)
        return rows[::-1][offset : offset + limit]

    async def transfer(self, id: str) -> Transfer | None:  # noqa: A002
        """See `Store.transfer`."""
        await self._begin()
        return self.money.transfers.get(id)

    async def leases(self) -> list[Lease]:
        """See `Store.leases`."""
        await self._begin()
        return [lease for _, lease in sorted(self.lent.held.items())]

    async def check(self) -> list[Finding]:
        """See `Store.check`."""
        await self._begin()
        return self.money.findings(list(self.lent.held.values()), self.known)

    async def retier(self, tiers: Sequence[tuple[int, int]], *, now: int, every_seconds: int) -> int | None:
        """See `Store.retier`."""
        await self._begin(writes=True)
        if self._retiered is not None and now < self._retiered + every_seconds:
            return None
        self._retiered = now
        days = range(day_of(now) - ROLLING_DAYS + 1, day_of(now) + 1)
        changed = 0
        for account in list(self.accounts.values()):
            budget = cap_budget(DAY, "account", account.id)
            rolling = sum(self.money.spent[budget, day] for day in days)
            markup = max((tier for tier in tiers if tier[0] <= rolling), default=(0, 0))[1]
            if (account.rolling_nanos, account.markup_ppm) != (rolling, markup):
                self._put(self.accounts, replace(account, rolling_nanos=rolling, markup_ppm=markup))
                changed += 1
        return changed

    # -- log -----------------------------------------------------------------------------------------------------------

    async def log(self, rows: Sequence[LogRow]) -> None:
        """See `Store.log`."""
        await self._begin(writes=True)
        self.requests.add(rows)

    async def logs(self, which: LogFilter, *, limit: int = 100, offset: int = 0) -> list[LogRow]:
        """See `Store.logs`."""
        await self._begin()
        return self.requests.newest(which)[offset : offset + limit]

    async def log_count(self, which: LogFilter) -> int:
        """See `Store.log_count`."""
        await self._begin()
        return len(self.requests.newest(which))

    async def usage(self, which: LogFilter, by: str) -> list[UsageRow]:
        """See `Store.usage`."""
        await self._begin()
        return self.requests.usage(which, by)

    async def forget(self, before: float, *, limit: int = 10_000) -> int:
        """See `Store.forget`; windows of rates are over that ended before `before`."""
        await self._begin(writes=True)
        self.lent.forget(before)
        return self.requests.forget(before, limit)

    def statistics(self) -> Statistics:
        """See `Store.statistics`."""
        return Statistics(calls=self._calls, transactions=self._calls - self._failures, failures=self._failures)
