"""Which of a clip's frames are shown."""

import math

import numpy as np
import numpy.typing as npt


def count_of(total: int, seconds: float, fps: float, *, min_frames: int, max_frames: int, multiple: int) -> int:
    """How many: `fps` a second, from `min_frames` to `max_frames`, rounded down to a multiple, as mlx-vlm has it. All,
    where there are fewer than that."""
    low = math.ceil(min_frames / multiple) * multiple
    count = min(max(seconds * fps, low), max_frames, total)
    # A clip of 2 s at 2 a second has four, however the file rounds its times.
    return max(math.floor((count + 1e-3) / multiple) * multiple, min(total, max_frames, multiple))


def spread(times: npt.NDArray[np.float64], count: int) -> list[int]:
    """The indices of so many frames, evenly over the clip, the first and the last among them.

    By number where frames are equally long, give or take what a file rounds (so mlx-vlm chooses); by time where they
    are not, in the recording of a screen for instance.
    """
    last = len(times) - 1
    if count <= 1 or not last:
        return [0]
    step = (times[-1] - times[0]) / last
    regular = np.abs(times - np.linspace(times[0], times[-1], last + 1)).max() < step / 2
    if regular:
        chosen = np.linspace(0, last, count).round().astype(int)
    else:
        # What was to be seen at these times; the same again where nothing moved.
        chosen = np.searchsorted(times, np.linspace(times[0], times[-1], count) + 1e-6, side="right") - 1
    return [int(index) for index in chosen]
