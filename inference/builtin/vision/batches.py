"""Cases to arrays: what the model reads, and which tokens it is to have said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_vlm.utils import prepare_inputs

from inference.builtin.vision.cases import Case
from inference.builtin.vision.sight import token_labels
from inference.builtin.vision.tokenizer import TURN_END, TURN_START


@dataclass(frozen=True)
class Batch:
    """`input_ids` [rows, length] int32, padded on the right; `weights` [rows, length - 1] float32 is 1 where the next
    token belongs to an answer (its end of turn included); `media` the keyword arguments with pixels and grids;
    `labels` [tokens of all pictures, 2] what covers each of them (see sight.py), None for clips."""

    input_ids: mx.array
    weights: mx.array
    media: dict[str, mx.array]
    labels: mx.array | None


def make_batch(processor: Any, cases: Sequence[Case]) -> Batch:
    """One batch of `cases`. Pictures and clips in one batch work but are slow in mlx-vlm: keep them apart."""
    texts = [processor.tokenizer.apply_chat_template(case.messages(answered=True), tokenize=False) for case in cases]
    clips = [list(case.clip) for case in cases if case.clip]
    pictures = [picture for case in cases for picture in case.pictures]
    rates: dict[str, Any] = {"fps": [case.fps for case in cases if case.clip]} if clips else {}
    inputs = prepare_inputs(
        processor, images=pictures or None, videos=clips or None, prompts=texts, padding_side="right", **rates
    )
    ids = np.array(inputs["input_ids"])
    spoken = np.stack([_answers(row, processor.tokenizer) for row in ids])
    media = {
        name: inputs[name]
        for name in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
        if inputs.get(name) is not None
    }
    labels = None
    if pictures:
        scenes = [scene for case in cases for scene in case.scenes]
        labels = mx.array(
            token_labels(scenes, np.array(inputs["image_grid_thw"]), processor.image_processor.merge_size)
        )
    return Batch(mx.array(ids.astype(np.int32)), mx.array(spoken[:, 1:].astype(np.float32)), media, labels)


def _answers(row: np.ndarray, tokenizer: Any) -> np.ndarray:
    """[length] bool: True on the tokens of the assistant's turns, from after the header to the end of turn."""
    start, end = tokenizer.convert_tokens_to_ids(TURN_START), tokenizer.convert_tokens_to_ids(TURN_END)
    header = [start, *tokenizer.encode("assistant\n", add_special_tokens=False)]
    spoken = np.zeros(len(row), dtype=bool)
    ids = row.tolist()
    for place in range(len(ids) - len(header)):
        if ids[place : place + len(header)] == header:
            first = place + len(header)
            spoken[first : ids.index(end, first) + 1] = True
    return spoken
