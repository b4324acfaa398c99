"""The running gateway, on trio: everything that waits.

The life of a request:

1. `serve` accepts a connection and gives it one task. `http1` reads head and body under `config.Limits`; `routes` picks
   the surface. Paths that are no surface go down `tunnel` to the `console` process.
2. `pipeline` wraps the exchange in its layers: `authenticate`, `admit`, the surface's action, `record`.
3. `generate` decodes what routing needs (`adapters.dialects`), `router` names the `route`, `hedge` races candidates:
   each `entrant` is an `upstream.Attempt` with the `passage` of this request to that candidate, native or translated.
   An attempt leases a connection from the `endpoint`'s `pool`, sends, and reads up to the first content. The first with
   content wins; until then any failure can be tried elsewhere or become an honest status.
4. `relay` streams the winner: one receive, one feed, one send per read. A slow client stops the upstream read; a client
   that is gone is noticed by `hangup` and cancels the exchange.
5. `record` writes one access-log entry and the counters in a `finally`, synchronously.

Processes: `supervisor` owns the sockets and starts `worker`s and the console; `control` is what they say to each other.
"""
