"""Capacity classes: how many tokens a slot may hold. Pure Python; the scheduler's memory accounts use it, too."""

SMALLEST = 256
"""Tokens. Short questions and answers never leave this class."""
HEADROOM = 128
"""Tokens beyond the prompt that a new row gets room for, unless it may not say as much."""


def capacity_for(tokens: int, largest: int, smallest: int = SMALLEST) -> int:
    """The smallest class that holds so many tokens: 256, 512, 1,024 …, at the top `largest`, the model's context.

    A class at most twice a row's length wastes at most half of its memory, and a row that grows moves only as often
    as it doubles. Raises ValueError beyond `largest`.
    """
    if tokens > largest:
        raise ValueError(f"{tokens} tokens are more than a slot can ever hold ({largest})")
    capacity = smallest
    while capacity < tokens:
        capacity *= 2
    return min(capacity, largest)
