"""The tests of the application in one process once more, on PostgreSQL and Redis: other locks, other types, real
concurrency, events and counters over the network."""

import os
import subprocess
import sys

import pytest

from tests.support.server import ROOT
from tests.support.services import postgresql_programs

TIMEOUT_SECONDS = 900
OF_REQUESTS = (
    "batch_faults",
    "batches",
    "cancel_requests",
    "database",
    "endings",
    "late_answers",
    "metering",
    "organization",
    "responses_stored",
)
TESTS = [
    "tests/accounts",
    "tests/inference/test_registry.py",
    *(f"tests/gateway/test_{name}.py" for name in OF_REQUESTS),
]
"""Those that have to do with the database, events or counters: the whole would take much longer and show no more."""


@pytest.mark.timeout(TIMEOUT_SECONDS + 20)
def test_they_pass_there_too():
    postgresql_programs()  # skips without PostgreSQL
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *TESTS],
        env={**os.environ, "ATELIER_TEST_SERVICES": "1"},
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
