"""Fixtures that more than one part of the suite uses."""

import json
import os
import subprocess
from collections.abc import Iterator

import hypothesis
import pytest

from engine.demo.local_model import Exit, command, why_unavailable

# Time says nothing on a shared machine; and in CI every run tries the same examples: a failure is the change's own.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True, scope="session")
def _data_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Servers that a test starts as processes keep their data in a directory of the tests', never in the user's."""
    os.environ["HEDGEROW_DATA"] = str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def local_model_url() -> Iterator[str]:
    """The base URL (ending in /v1) of the real local model, started once; skips with the reason where there is none."""
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    process = subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        event: dict[str, str] = {}
        while "base_url" not in event:
            line = process.stdout.readline()
            assert line, f"the local model ended with code {process.wait()} before it was ready"
            event = json.loads(line)
            if "error" in event and process.wait() == Exit.WRONG_PLATFORM:
                pytest.skip(event["error"])
            assert "error" not in event, event
        yield event["base_url"]
    finally:
        process.terminate()
        process.communicate()
