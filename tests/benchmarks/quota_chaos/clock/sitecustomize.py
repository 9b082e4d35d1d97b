"""Imported by every Python process that has this folder on its path: a gateway's clock then is as far off as the file
says that ATELIER_TEST_CLOCK names, in seconds. Time that only passes (`time.monotonic`) is what it is."""

import os
import sys
import time
from pathlib import Path

if "gateway" in sys.orig_argv and (name := os.environ.get("ATELIER_TEST_CLOCK")):
    from datetime import datetime, timedelta

    from django.utils import timezone

    file, real_time, real_now = Path(name), time.time, timezone.now

    def offset() -> float:
        return float(file.read_text() or 0)

    def shifted_now() -> datetime:
        return real_now() + timedelta(seconds=offset())

    time.time = lambda: real_time() + offset()
    timezone.now = shifted_now
