"""What the worker does for models, by timetable (see atelier.celery)."""

import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down

from inference import downloads

PLACES = threading.BoundedSemaphore(1)
"""For downloads, in one worker: two at once would only share the same line."""
STOPPING = threading.Event()


@worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def stop(**_: Any) -> None:
    STOPPING.set()


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def work_on_downloads() -> bool:
    """All downloads that are due, one after another. Whether there was one.

    It is asked for every few seconds, so that no message matters: which downloads there are is in the database.
    """
    found = False
    if not PLACES.acquire(blocking=False):
        return found
    try:
        while not STOPPING.is_set() and (download := downloads.claim()) is not None:
            found = True
            stop_one = threading.Event()
            watch = threading.Thread(target=_pass_on, args=(stop_one,), daemon=True)
            watch.start()
            downloads.work_on(download, stop_one)
            stop_one.set()
    finally:
        PLACES.release()
    return found


def _pass_on(stop: threading.Event) -> None:
    while not stop.wait(0.5):
        if STOPPING.is_set():
            stop.set()
