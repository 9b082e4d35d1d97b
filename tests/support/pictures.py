"""Pictures to ask the built-in vision model about, and what mlx-vlm itself makes of them."""

import base64
import io
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_vlm import stream_generate
from mlx_vlm.utils import prepare_inputs, should_add_special_tokens
from PIL import Image

from inference.builtin.vision.architecture import FOLDER
from inference.builtin.vision.drawing import Style, draw_picture
from inference.builtin.vision.scenes import COLOURS, Scene, Thing
from inference.engine.kinds import kind_of
from inference.engine.model import LoadedModel, load_model
from inference.engine.protocol import Media
from tests.support.engine_made import Engine
from tests.support.families import FAMILIES
from tests.support.models_made import session_folder

TOLERANCE = 1e-4
"""Standard deviations that a logit may be off in float32."""


@cache
def seeing() -> LoadedModel:
    """The built-in vision model."""
    return load_model(str(FOLDER), "atelier-tiny-vl", kind="vision")


@cache
def of_family(name: str) -> LoadedModel:
    """A tiny seeded model of that family."""
    folder = FAMILIES[name](session_folder() / f"family-{name}")
    return load_model(str(folder), name, kind=kind_of(str(folder)))


def picture(colour: str, shape: str, *, width: int = 96, height: int = 96, x: float = 0.5) -> Image.Image:
    """One large thing on grey."""
    thing = Thing(shape, colour, COLOURS[colour][0], x, 0.5, 0.3)
    return draw_picture(Scene((thing,), "grey", (128, 128, 128), width / height), Style(width, height))


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def data_url(shot: Image.Image | bytes) -> str:
    """shot: a picture, or what is to pass for one."""
    data = shot if isinstance(shot, bytes) else png(shot)
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def shown(question: str, pictures: int = 1, *, before: str = "") -> list[dict[str, Any]]:
    """A conversation of one turn, the pictures between two texts."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": before}] if before else []
    return [{"role": "user", "content": [*parts, *[{"type": "image"}] * pictures, {"type": "text", "text": question}]}]


def ask(engine: Engine, messages: list[dict[str, Any]], *pictures: Image.Image, **request: Any) -> str:
    """Submits it; the request's id."""
    media = [Media(png(picture)) for picture in pictures]
    return engine.submit([], messages=messages, media=media, **{"max_tokens": 16, **request})


def own_answer(model: LoadedModel, messages: list[dict[str, Any]], *pictures: Image.Image) -> str:
    """What mlx-vlm's `generate` says, greedy."""
    return str(model.tokenizer.decode(own_tokens(model, messages, *pictures), skip_special_tokens=True)).strip()


def own_tokens(
    model: LoadedModel, messages: list[dict[str, Any]], *pictures: Image.Image, count: int = 16
) -> list[int]:
    """The tokens of that, without the one that ends it."""
    assert model.eye is not None
    prompt = model.render(messages, {})
    said = stream_generate(
        model.model.model,
        model.eye.processor,
        prompt,
        image=list(pictures) or None,
        max_tokens=count,
        temperature=0.0,
    )
    # Its last result repeats a token, for the text that it held back.
    tokens = [int(result.token) for result in said][:count]
    ends = [place for place, token in enumerate(tokens) if token in model.end_tokens]
    return tokens[: ends[0]] if ends else tokens


def deviation(engine: Engine, id: str, messages: list[dict[str, Any]], *pictures: Image.Image) -> float:
    """How far the request's logits are from those of mlx-vlm's own model, its own embeddings of the whole prompt, its
    own positions and caches, made to say the same; in standard deviations."""
    model = engine.model
    eye = model.eye
    assert eye is not None
    said = engine.tap.script.get(id, engine.said(id))
    special = should_add_special_tokens(model.model.model.config.model_type, eye.processor)
    inputs = prepare_inputs(
        eye.processor, images=list(pictures) or None, prompts=[model.render(messages, {})], add_special_tokens=special
    )
    ids, mask, pixels = inputs.pop("input_ids"), inputs.pop("attention_mask"), inputs.pop("pixel_values", None)
    whole = model.model.model
    features = whole.get_input_embeddings(ids, pixels, mask=mask, **inputs).to_dict()
    features = {name: value for name, value in features.items() if value is not None}
    language, caches = whole.language_model, make_prompt_cache(whole.language_model)
    shift = {"rope_deltas": features["rope_deltas"]} if "rope_deltas" in features else {}
    heard = [language(ids, cache=caches, **features).logits[0, -1]]
    for token in said[:-1]:
        heard.append(language(mx.array([[token]]), cache=caches, **shift).logits[0, -1])
    expected = np.array(mx.stack(heard).astype(mx.float32))
    done, worst = set(), 0.0
    for position, row in engine.logits(id):
        if position < len(said):
            done.add(position)
            worst = max(worst, float(np.abs(row - expected[position]).max()))
    assert done >= set(range(len(engine.said(id)))), "a token without logits on record"
    return worst / float(expected.std())
