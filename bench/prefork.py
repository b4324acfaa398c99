"""A process that has loaded all that the load needs, and forks one of its own for each job: no job waits for imports.

It listens on a Unix socket, and says so by a line on stdout. A connection is a job: JSON, to the end of what the other
side writes; back come the pid of the job's process, on a line, and the report. A job that fails has no report, and a
traceback on stderr. Jobs run side by side. It ends when its stdin does, so that it does not outlive whoever started it.
"""

import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

BACKLOG = 64


def serve(path: Path, run: Callable[[bytes], bytes]) -> None:
    """Fork for each connection, and let `run` make a report of its job; blocks until stdin ends."""
    import numpy  # noqa: F401, PLC0415 - what reports are made with, before the first fork

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this ends it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forked
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(str(path))
        listener.listen(BACKLOG)
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        gc.collect()
        gc.freeze()  # what is never collected is never copied
        print("{}", flush=True)
        while all(key.fileobj is listener for key, _ in selector.select()):
            connection, _ = listener.accept()
            with connection:
                if not os.fork():
                    _work(connection, run)


def _work(connection: socket.socket, run: Callable[[bytes], bytes]) -> None:
    """Run one job and end this process, whatever happens."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        connection.sendall(b"%d\n" % os.getpid())
        with connection.makefile("rb") as asked:
            job = asked.read()
        connection.sendall(run(job))
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)
