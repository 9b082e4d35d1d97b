"""What the worker does for the gateway, by timetable (see atelier.celery)."""

import asyncio
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down

from gateway.batches.slice import work_on_next

PLACES = threading.BoundedSemaphore(2)
"""For batches at once, in one worker; its other threads are for other tasks."""
STOPPING = threading.Event()


@worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
def stop(**_: Any) -> None:
    STOPPING.set()


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def work_on_batches() -> bool:
    """A slice of the batch that has waited longest; then again, as long as there is one. Whether there was.

    It is asked for every few seconds, so that no message matters: which batches there are is in the database.
    """
    if not PLACES.acquire(blocking=False):
        return False
    try:
        found = asyncio.run(work_on_next(STOPPING))
    finally:
        PLACES.release()
    if found and not STOPPING.is_set():
        work_on_batches.delay()
    return found
