"""Models that see or hear and can't be batched: one row at a time, as mlx-vlm runs them."""

from functools import cache
from pathlib import Path
import tempfile

import numpy as np
import pytest
from PIL import Image

from inference.engine.model import LoadedModel, load_model
from tests.support.engine_made import Engine
from tests.support.families import FAMILIES
from tests.support.pictures import ask, own_answer, picture, shown

SOLO = ["molmo", "deepseek_vl_v2", "gemma4"]


@cache
def loaded(family: str) -> LoadedModel:
    folder = FAMILIES[family](Path(tempfile.mkdtemp()) / family)
    return load_model(str(folder), family, kind="vision")


@pytest.mark.parametrize("family", SOLO)
def test_a(family: str) -> None:
    model = loaded(family)
    with Engine(model) as engine:
        print(family, engine.core.batching, engine.core.batching_reason)
        asked = {}
        for number, colour in enumerate(("red", "blue", "green")):
            shot = picture(colour, "circle", width=96 + 24 * number)
            messages = shown("What is it? " * (1 + number))
            asked[ask(engine, messages, shot)] = (messages, shot)
        engine.finish()
        for id, (messages, shot) in asked.items():
            print(engine.said(id), engine.output.ends[id], len(engine.sequences[id].prompt))
            from mlx_vlm import stream_generate

            own = [
                each.token
                for each in stream_generate(
                    model.model.model,
                    model.eye.processor,
                    model.eye.render(messages, {}),
                    image=[shot],
                    max_tokens=16,
                    temperature=0.0,
                )
            ][:-1]
            print(own)
