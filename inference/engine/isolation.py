"""Who is to blame for a step that failed."""

from collections.abc import Callable
from typing import TypeVar

Row = TypeVar("Row")

OUT_OF_MEMORY = ("[malloc", "out of memory", "outofmemory", "unable to allocate", "insufficient memory")
"""As MLX's allocators and Metal word it."""


def culprits(rows: list[Row], works: Callable[[list[Row]], bool]) -> list[Row]:
    """The rows on which a step fails, by bisection; `works` tries a step of some rows. All of them when none works,
    and when it fails only with all of them together."""
    guilty: list[Row] = []
    suspects = [rows] if len(rows) == 1 else [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    while suspects:
        group = suspects.pop()
        if not group or works(group):
            continue
        if len(group) == 1:
            guilty += group
        else:
            suspects += [group[: len(group) // 2], group[len(group) // 2 :]]
    if guilty or (len(rows) == 1 and not rows):
        return guilty
    return [] if works(rows) else list(rows)


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(hint in str(error).lower() for hint in OUT_OF_MEMORY)
