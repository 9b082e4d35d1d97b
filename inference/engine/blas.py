"""How many threads OpenBLAS, where it is preloaded, may use: as many as pay.

Its threads wait for each other by spinning. On a small model's matrices that costs more than it gains, and takes the
cores away from the gateway besides: atelier-tiny at 32 streams on two cores loses a quarter of its speed to it.
"""

import ctypes
import logging
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

import mlx.core as mx

log = logging.getLogger(__name__)

ROWS = 16
"""The batch that is tried, one token a row: decoding is what a busy engine does most."""
LEAST_PAIRS, MOST_PAIRS, SECONDS = 3, 50, 1.0
"""Both ways are tried in turns, for other processes start beside this one: until the time is over, but so often."""
WORTH = 1.25
"""All threads have to be faster than one by this factor."""


def choose_threads(model: Any) -> None:
    """Tries the model with one thread and with all of them, and keeps the better number.

    Does nothing on other BLAS libraries and backends, and where OPENBLAS_NUM_THREADS says what the operator wants.
    """
    library = ctypes.CDLL(None)
    if "OPENBLAS_NUM_THREADS" in os.environ or not hasattr(library, "openblas_set_num_threads"):
        return
    threads = library.openblas_get_num_threads()
    if threads <= 1:
        return

    def step() -> None:
        mx.eval(model(mx.zeros((ROWS, 1), mx.int32)))

    alone, together = _best_of_each(step, [1, threads], library.openblas_set_num_threads)
    library.openblas_set_num_threads(1 if alone < WORTH * together else threads)
    log.info(
        "OpenBLAS: a step of %d rows takes %.1f ms with one thread, %.1f ms with %d",
        ROWS, alone * 1e3, together * 1e3, threads,
    )  # fmt: skip


def _best_of_each(step: Callable[[], None], settings: list[int], apply: Callable[[int], None]) -> list[float]:
    """Seconds of the fastest step with each setting."""
    step()
    best = [float("inf")] * len(settings)
    began = perf_counter()
    for pair in range(MOST_PAIRS):
        if pair >= LEAST_PAIRS and perf_counter() - began > SECONDS:
            break
        for place, setting in enumerate(settings):
            apply(setting)
            start = perf_counter()
            step()
            best[place] = min(best[place], perf_counter() - start)
    return best
