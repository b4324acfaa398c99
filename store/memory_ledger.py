"""The ledger of the store in memory: who paid what to whom, the sums kept beside it, and the proof that they agree.

Nothing waits here: `memory` calls it between two checkpoints. A call that raises has changed nothing. It does not know
what is leased; the proof is told.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from store.interface import ConflictError
from store.rows import (
    CASH,
    DAY,
    GRANTS,
    MONTH,
    REVENUE,
    WALLET,
    Finding,
    Holder,
    Lease,
    Settlement,
    Transfer,
    TransferKind,
    cap_budget,
    wallet_of,
)

SOURCES = {TransferKind.TOP_UP: CASH, TransferKind.GRANT: GRANTS}

Slot = tuple[str, int]
"""A budget and its window."""


class MemoryLedger:
    """Transfers by id in the order they were booked, balances by ledger account, spend by budget and window."""

    def __init__(self) -> None:
        self.transfers: dict[str, Transfer] = {}
        self.balances: Counter[str] = Counter()
        self.spent: Counter[Slot] = Counter()

    def book(self, transfer: Transfer) -> Transfer:
        """Book a transfer and return it, or the one of its id that is there if it means the same.

        Raises `ConflictError` when the id stands for another one.
        """
        before = self.transfers.get(transfer.id)
        if before is not None:
            if _meaning(before) != _meaning(transfer):
                raise ConflictError(f"The id {transfer.id} stands for another transfer.")
            return before
        self.transfers[transfer.id] = transfer
        self.balances.update(_moved(transfer))
        self.spent.update(_counted(transfer))
        return transfer

    def refund_of(self, settlement: str, amount_nanos: int | None, *, id: str, now: int, note: str) -> Transfer:  # noqa: A002
        """Return the refund that is asked for, not booked yet. Raises `ConflictError` when it is more than is left."""
        charge = self.transfers.get(settlement)
        if charge is None or charge.kind != TransferKind.SETTLEMENT:
            raise ConflictError(f"There is no settlement {settlement}.")
        before = self.transfers.get(id)
        left = charge.amount_nanos - sum(row.amount_nanos for row in self._refunds(settlement))
        if amount_nanos is None:
            amount_nanos = left if before is None else before.amount_nanos
        if before is None and not 0 < amount_nanos <= left:
            raise ConflictError(f"Of settlement {settlement} {left} nano-dollars are left to refund.")
        return replace(
            charge,
            id=id,
            time=now,
            kind=TransferKind.REFUND,
            debit=REVENUE,
            credit=charge.debit,
            amount_nanos=amount_nanos,
            cost_nanos=0,
            uncollected_nanos=0,
            reference=settlement,
            note=note,
            detail="",
        )

    def _refunds(self, settlement: str) -> Iterator[Transfer]:
        rows = self.transfers.values()
        return (row for row in rows if row.kind == TransferKind.REFUND and row.reference == settlement)

    def findings(self, held: Iterable[Lease], known: Mapping[str, Holder]) -> list[Finding]:
        """Return what does not add up, see `Store.check`."""
        return [
            *self._balance_findings(held),
            *self._spent_findings(),
            *self._transfer_findings(),
            *_lease_findings(held, known),
        ]

    def _balance_findings(self, held: Iterable[Lease]) -> Iterator[Finding]:
        if sum(self.balances.values()):
            yield Finding("balances", f"They sum to {sum(self.balances.values())} and not to zero.")
        moved: Counter[str] = Counter()
        for transfer in self.transfers.values():
            moved.update(_moved(transfer))
        leased: Counter[str] = Counter()
        for lease in held:
            leased[lease.budget] += lease.amount
        for name in sorted({*self.balances, *moved, *leased}):
            balance = self.balances[name]
            if balance != moved[name]:
                yield Finding(name, f"The balance is {balance}, its transfers sum to {moved[name]}.")
            if name.startswith(f"{WALLET}:") and balance < 0:
                yield Finding(name, f"The balance is {balance}.")
            if name.startswith(f"{WALLET}:") and balance < leased[name]:
                yield Finding(name, f"The balance is {balance}, {leased[name]} of it are leased.")

    def _spent_findings(self) -> Iterator[Finding]:
        counted: Counter[Slot] = Counter()
        for transfer in self.transfers.values():
            counted.update(_counted(transfer))
        for budget, window in sorted({*self.spent, *counted}):
            slot = (budget, window)
            if self.spent[slot] != counted[slot]:
                message = f"{self.spent[slot]} are counted in window {window}, its transfers sum to {counted[slot]}."
                yield Finding(budget, message)

    def _transfer_findings(self) -> Iterator[Finding]:
        refunded: Counter[str] = Counter()
        for transfer in self.transfers.values():
            if transfer.amount_nanos < 0 or (transfer.debit, transfer.credit) != _sides(transfer):
                yield Finding(transfer.id, f"A {transfer.kind} from {transfer.debit} to {transfer.credit}.")
            if transfer.kind == TransferKind.REFUND:
                refunded[transfer.reference or ""] += transfer.amount_nanos
        for settlement, amount in refunded.items():
            charge = self.transfers.get(settlement)
            if charge is None or charge.kind != TransferKind.SETTLEMENT or amount > charge.amount_nanos:
                yield Finding(settlement, f"{amount} are refunded of it, which is more than it took.")


def transfer_of(settlement: Settlement) -> Transfer:
    """Return the row of the ledger that a settlement becomes."""
    return Transfer(
        id=settlement.id,
        time=settlement.time,
        kind=TransferKind.SETTLEMENT,
        debit=wallet_of(settlement.account),
        credit=REVENUE,
        amount_nanos=settlement.amount_nanos,
        account=settlement.account,
        key=settlement.key,
        team=settlement.team,
        day=settlement.day,
        month=settlement.month,
        cost_nanos=settlement.cost_nanos,
        uncollected_nanos=settlement.uncollected_nanos,
        detail=settlement.detail,
    )


def _meaning(transfer: Transfer) -> tuple[str, str, int, str | None]:
    """Return what two transfers of one id must have in common; a top-up's reference is but a remark."""
    reference = transfer.reference if transfer.kind == TransferKind.REFUND else None
    return transfer.kind, transfer.account, transfer.amount_nanos, reference


def _moved(transfer: Transfer) -> Counter[str]:
    return Counter({transfer.debit: -transfer.amount_nanos, transfer.credit: transfer.amount_nanos})


def _counted(transfer: Transfer) -> Counter[Slot]:
    signs = {TransferKind.SETTLEMENT.value: 1, TransferKind.REFUND.value: -1}
    amount = transfer.amount_nanos * signs.get(transfer.kind, 0)
    spenders = (("key", transfer.key), ("account", transfer.account), ("team", transfer.team))
    windows = ((DAY, transfer.day), (MONTH, transfer.month))
    return Counter(
        {
            (cap_budget(period, scope, id), window): amount
            for period, window in windows
            for scope, id in spenders  # noqa: A001 - what it is in the row
            if id is not None and amount
        }
    )


def _sides(transfer: Transfer) -> tuple[str, str]:
    wallet = wallet_of(transfer.account)
    return {
        TransferKind.TOP_UP.value: (CASH, wallet),
        TransferKind.GRANT.value: (GRANTS, wallet),
        TransferKind.SETTLEMENT.value: (wallet, REVENUE),
        TransferKind.REFUND.value: (REVENUE, wallet),
    }.get(transfer.kind, ("", ""))


def _lease_findings(held: Iterable[Lease], known: Mapping[str, Holder]) -> Iterator[Finding]:
    for lease in held:
        if lease.amount <= 0:
            yield Finding(lease.budget, f"{lease.holder} leases {lease.amount} of window {lease.window}.")
        if lease.holder not in known:
            yield Finding(lease.budget, f"{lease.holder} leases {lease.amount} of it, but is no holder.")
