"""The tests of the application in one process once more, on PostgreSQL and Redis: other locks, other types, real
concurrency, events and counters over the network."""

import os
import subprocess
import sys

import pytest

from tests.support.server import ROOT
from tests.support.services import postgresql_programs

TIMEOUT_SECONDS = 900
TESTS = ["tests/accounts", "tests/gateway", "tests/inference"]


@pytest.mark.timeout(TIMEOUT_SECONDS + 20)
def test_they_pass_there_too():
    postgresql_programs()  # skips without PostgreSQL
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *TESTS],
        env={**os.environ, "ATELIER_TEST_SERVICES": "1"},
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
