"""Budgets: what a key may spend and how fast, checked in memory and never overspent.

A wallet, a cap on a day or a month, requests and tokens in a minute, and answers at a time are one thing: an amount, a
limit, a window. A worker *leases* slices of them from the store. What it has leased and not spent is an `Allowance`
(`allowance`); a request takes what it may need of every budget it falls under, all or nothing, as one `Reservation`
(`reservation`), and settles what it came to. The one who goes to the store for more, in the background or, at a
limit, while a request waits, is the `Lender` (`lender`). `periods` says when windows begin and end.

So a request waits for no disk as long as its worker holds enough, and the sum of what all workers hold never exceeds
what is there. What is settled leaves the lease when the journal is booked (`engine.ledger`), not before.
"""
