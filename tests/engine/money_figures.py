"""What accounts cost inside a worker, where no load generator sees it: `python -m tests.engine.money_figures`.

    python -m tests.engine.money_figures [path] [index] [disk] [--quick] [--profile FILE]

- `path`: what authentication, reservation, settlement and recording add to a request, step by step, called in process
  without sockets or an upstream, with the store and its tasks running; between batches they may catch up, and what
  they use is shown apart, by thread. `--profile` writes what cProfile saw of the same calls, after those that count;
- `index`: a hundred thousand keys, from SQLite into a worker's memory, and how long one is looked up;
- `disk`: latency of requests in a closed loop where each commit takes 200 ms longer and where it does not, taking
  turns; the first request of a key, which has no lease yet, apart, and so is a window across the end of a minute, when
  rates begin anew.

Figures are medians with extremes and depend on the machine: nothing is asserted here but that every request succeeds.
"""

import argparse
import cProfile
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import trio

from adapters import registry
from adapters.usage import Usage
from bench.client import chat_request, request_bytes
from bench.jobs import Report, Unary
from bench.measure import perform
from bench.money import open_account
from bench.process import Cores, cores, placed
from bench.report import spread
from bench.subjects import canned
from engine.config import load_document
from engine.exchange import Exchange, Outcome
from engine.http1 import Request, RequestParser
from engine.keyring import Keyring
from engine.layers.authenticate import authenticate
from engine.layers.charge import open_meter
from engine.routes import CHAT, Match
from engine.treasury import Treasury
from store.db import open_store
from store.rows import Account, Key, News
from tests.engine.accounts import PRICES, TOKEN, open_account as _unused
from tests.engine.live import KEY, Live, document, running
