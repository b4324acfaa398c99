"""The running gateway, on trio: everything that waits.

The life of a request:

1. `serve` accepts a connection and gives it one task. `http1` reads head and body under `config.Limits`; `routes` picks
   the surface. Paths that are no surface go down `tunnel` to the `console` process.
2. `pipeline` wraps the exchange in its layers: `authenticate`, `admit`, the surface's action, `record`.
3. `generate` decodes what routing needs (`adapters.dialects`), `router` names the `route`, `layers.charge` reserves
   what the answer may come to (`budgets`), `hedge` races candidates: each `entrant` is an `upstream.Attempt` with the
   `passage` of this request to that candidate, native or translated. An attempt leases a connection from the
   `endpoint`'s `pool`, sends, and reads up to the first content. The first with content wins; until then any failure
   can be tried elsewhere or become an honest status.
4. `relay` streams the winner: one receive, one feed, one send per read. A slow client stops the upstream read; a client
   that is gone is noticed by `hangup` and cancels the exchange.
5. `till` settles before the last bytes go out: the journal has it first, the `clerk` brings it into the ledger, and
   `drains` reads on where a client left. `treasury` is all of a worker's dealings with the `store`.
6. `record` writes one access-log entry, one row of the request log and the counters in a `finally`, synchronously.

`sessions` over `websocket`s take the place of 3 to 5: opened, relayed, and paid for response by response.

Processes: `supervisor` owns the sockets and starts `worker`s, the `clerk` and the console; `control` is what they say
to each other.
"""
