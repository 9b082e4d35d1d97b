"""What has to be put right in processors before they can be used."""

import functools
from typing import Any

import mlx.core as mx

CROPS = "images_spatial_crop"


def mend(processor: Any) -> None:
    """Harmless where it is not needed, and called again."""
    _mend_options(getattr(processor, "image_processor", None))
    if hasattr(processor, "candidate_resolutions"):
        _mend_crops(processor)


def _mend_options(images: Any) -> None:
    """Processors of mlx-vlm hand what they are told about the text (`padding`) to the part for pictures as well, which
    transformers' own refuses since it checks the names of its options: that part passes over others from here on."""
    options = getattr(images, "valid_kwargs", None)
    known = getattr(options, "__required_keys__", frozenset()) | getattr(options, "__optional_keys__", frozenset())
    if known:
        _wrap(images, lambda plain, *args, **more: plain(*args, **{k: v for k, v in more.items() if k in known}))


def _mend_crops(processor: Any) -> None:
    """DeepSeek-VL2 of mlx-vlm asks how each of as many pictures is cut as there are tiles of all, and MLX does not
    check bounds: with what happens to lie in memory there, every few prompts lost their pictures. Zeros end them."""

    def call(plain: Any, *args: Any, **more: Any) -> Any:
        made = plain(*args, **more)
        crops, tiles = made[CROPS], made["images"].shape[1]
        if tiles > crops.shape[1]:
            made[CROPS] = mx.pad(crops, [(0, 0), (0, tiles - crops.shape[1]), (0, 0)])
        return made

    _wrap(processor, call)


def _wrap(part: Any, call: Any) -> None:
    """Calls of this one object go through `call`, which is given what they would have been first."""
    kind = type(part)
    if getattr(kind, "mended", False):
        return

    @functools.wraps(kind.__call__)
    def wrapped(self: Any, *args: Any, **more: Any) -> Any:
        return call(functools.partial(kind.__call__, self), *args, **more)

    part.__class__ = type(kind.__name__, (kind,), {"__call__": wrapped, "mended": True})
