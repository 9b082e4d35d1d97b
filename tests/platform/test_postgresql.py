"""The ORM's tests once more, on PostgreSQL: other locks, other types, real concurrency."""

import os
import subprocess
import sys

from tests.support.server import ROOT
from tests.support.services import postgresql_programs

ORM_TESTS = ["tests/accounts", "tests/inference/test_registry.py"]


def test_they_pass_there_too():
    postgresql_programs()  # skips without PostgreSQL
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *ORM_TESTS],
        env={**os.environ, "ATELIER_TEST_DATABASE": "postgresql"},
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
