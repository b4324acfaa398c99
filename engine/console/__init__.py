"""The management plane: pages and JSON about the gateway, in a process of its own.

A Quart-Trio app under Hypercorn on a Unix socket in the runtime directory. Workers tunnel to it every path that is no
data route (`engine.tunnel`), so it shares their public address and never sees a model's bytes. It knows what is in
the runtime directory, `status.json`, written by the supervisor, and the workers' metrics (`engine.exposition`), and,
where there is one, the store in the data directory.

    status.py    status.json: what the supervisor tells
    origin.py    the address the visitor used, validated
    page.py      what the quick-start page shows
    app.py       the public routes
    account.py   what the holder of a key may know, from the store (account_*.py)
    __main__.py  the process: socket, signals, the supervisor's life line

Importing this package imports none of them, so the supervisor can use `status` without loading a web framework.
"""
