"""The bench drives the gateway from outside, as a process, and measures it.

Three kinds of process take part, so that nobody's CPU time hides in another's:

- an upstream: `bench.upstream` (scripted, honest h11 framing, every fault on demand; also embedded by the tests) or
  `bench.canned` (one fixed answer, as cheap as Python can serve it, for load);
- the subject: the gateway, or a peer (`bench.peers`: nginx as a reverse proxy, which is the floor, and other gateways),
  or nothing (direct);
- the load: `bench.load`, one process per job, which also reads the subject's CPU time and memory, so that both ends of
  a measurement are taken at the same moment as its counts.

`bench.measure` has the order of a comparison: subjects side by side, interleaved over several rounds, and how the rate
is found that they are compared at. What is measured are `bench.scenarios`, each a module. `bench.failover` lets
upstreams fail (`bench.faults`) and tells what clients notice and what the race costs, from the load's counts and from
the access log (`bench.attempts`). `bench.money` tells what accounts cost, `bench.realtime` what sessions do,
`bench.micro` what codecs do, `bench.translate` what every pair of dialects costs a gateway. `bench.harness` tells
how far to believe it all: it measures a gateway that does nothing but what is known (`bench.null`). `python -m bench`
is the door to them: it runs them, keeps what they found in one document, and makes a page of it or compares two.
Nothing here imports the engine: whatever serves HTTP can be measured.
"""
