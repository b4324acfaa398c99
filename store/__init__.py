"""Persistence: accounts, keys, the ledger, leases and the request log. Plain values in, plain values out.

`interface` says what a store does and promises, `rows` what goes in and comes out. Two stores keep the promises: the
one in SQLite (`db` opens it; one file, any number of processes) and the one in memory (`memory`), its twin, run by the
same tests. `journal` is the file in which a worker writes down what was spent before a client sees the end of its
answer, `spool` the directory in which it leaves rows of the request log.

Money is whole nano-dollars, time is unix seconds, ids are text. This package knows no dialect, no provider and nothing
of HTTP, and it imports nothing of ours.
"""
