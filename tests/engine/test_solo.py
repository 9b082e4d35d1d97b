"""Models that see or hear and can't be batched: one row at a time, as mlx-vlm runs them."""

import pytest

from tests.support.engine_made import Engine
from tests.support.pictures import ask, of_family, own_tokens, picture, shown

SOLO = ["molmo", "deepseek_vl_v2", "gemma4"]


@pytest.mark.parametrize("family", SOLO)
def test_a(family: str) -> None:
    model = of_family(family)
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
            assert engine.said(id) == own_tokens(model, messages, shot)
