"""The management plane: pages and JSON about the gateway, in a process of its own.

A Quart-Trio app under Hypercorn on a Unix socket in the runtime directory. Workers tunnel to it every path that is no
data route (`engine.tunnel`), so it shares their public address and never sees a model's bytes. It knows only what is in
the runtime directory: `status.json`, written by the supervisor, and the workers' metrics (`engine.exposition`).

    status.py    status.json: what the supervisor tells
    origin.py    the address the visitor used, validated
    page.py      what the quick-start page shows
    app.py       the routes
    __main__.py  the process: socket, signals, the supervisor's life line

Importing this package imports none of them, so the supervisor can use `status` without loading a web framework.
"""
