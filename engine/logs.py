"""The operational log: one line per event on stderr, for the person who runs the gateway.

Requests do not appear here (that is `engine.accesslog`), nor does anything that a client sent or a secret could stand
in.
"""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s[%(process)d]: %(message)s"


def configure(level: str) -> None:
    """Send records of `level` and above to stderr; once per process, at its start."""
    logging.basicConfig(level=level.upper(), format=FORMAT, stream=sys.stderr)
