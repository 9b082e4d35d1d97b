"""Pictures and clips to ask the built-in vision model about, and what mlx-vlm itself makes of them."""

import base64
import io
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import av
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
from inference.engine.media.decoder import Clip
from inference.engine.model import LoadedModel, load_model
from inference.engine.prepare import decoder
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


def data_url(shot: Image.Image | bytes, type: str = "image/png") -> str:
    """shot: a picture, or what is to pass for one or for a video."""
    data = shot if isinstance(shot, bytes) else png(shot)
    return f"data:{type};base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True, eq=False)
class Film:
    """A clip of these frames, two a second unless said otherwise."""

    frames: tuple[Image.Image, ...]
    rate: int = 2
    data: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            # Nearly lossless: the model is to see the colours that were drawn.
            stream = container.add_stream("libx264", rate=self.rate, options={"crf": "1"})
            (stream.width, stream.height), stream.pix_fmt = self.frames[0].size, "yuv444p"
            for frame in self.frames:
                container.mux(stream.encode(av.VideoFrame.from_image(frame)))
            container.mux(stream.encode())
        object.__setattr__(self, "data", file.getvalue())


Shot = Image.Image | Film


def film(*things: tuple[str, str], each: int = 2, rate: int = 2, width: int = 96) -> Film:
    """One thing after another, each a colour and a shape, for so many frames."""
    return Film(tuple(picture(*thing, width=width) for thing in things for _ in range(each)), rate)


def shown(question: str, pictures: int | list[dict[str, Any]] = 1, *, before: str = "") -> list[dict[str, Any]]:
    """A conversation of one turn, the pictures, or these parts, between two texts."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": before}] if before else []
    media = [{"type": "image"}] * pictures if isinstance(pictures, int) else pictures
    return [{"role": "user", "content": [*parts, *media, {"type": "text", "text": question}]}]


def ask(engine: Engine, messages: list[dict[str, Any]], *shots: Shot, **request: Any) -> str:
    """Submits it; the request's id."""
    media = [Media(shot.data if isinstance(shot, Film) else png(shot)) for shot in shots]
    return engine.submit([], messages=messages, media=media, **{"max_tokens": 16, **request})


def own_answer(model: LoadedModel, messages: list[dict[str, Any]], *shots: Shot, count: int = 16) -> str:
    """What mlx-vlm's `generate` says, greedy."""
    tokens = own_tokens(model, messages, *shots, count=count)
    return str(model.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def own_tokens(model: LoadedModel, messages: list[dict[str, Any]], *shots: Shot, count: int = 16) -> list[int]:
    """The tokens of that, without the one that ends it."""
    assert model.eye is not None
    said = stream_generate(
        model.model.model,
        model.eye.processor,
        model.render(messages, {}),
        **_own(model, messages, shots, "image", "video"),
        max_tokens=count,
        temperature=0.0,
    )
    # Its last result repeats a token, for the text that it held back.
    tokens = [int(result.token) for result in said][:count]
    ends = [place for place, token in enumerate(tokens) if token in model.end_tokens]
    return tokens[: ends[0]] if ends else tokens


def _own(
    model: LoadedModel, messages: list[dict[str, Any]], shots: tuple[Shot, ...], pictures: str, videos: str
) -> dict[str, Any]:
    """As mlx-vlm wants them, under these names. Its own reader of files hands out the same frames, a little otherwise
    coloured: so the clips are read by ours, and told as that one tells them."""
    contents = [message["content"] for message in messages if isinstance(message["content"], list)]
    parts = [part for content in contents for part in content if part["type"] != "text"]
    own: dict[str, Any] = {}
    for part, shot in zip(parts, shots, strict=True):
        if isinstance(shot, Film):
            clip = read(model, shot, part.get("fps"), part.get("max_frames"))
            own.setdefault(videos, []).append([Image.fromarray(frame) for frame in clip.frames])
            facts = {"total_num_frames": len(shot.frames), "fps": float(shot.rate), "frames_indices": clip.indices}
            own.setdefault("video_metadata", []).append(facts)
        else:
            own.setdefault(pictures, []).append(shot)
    return own


def read(model: LoadedModel, shot: Film, fps: float | None = None, max_frames: int | None = None) -> Clip:
    assert model.eye is not None
    wanted = model.eye.choice(fps, max_frames)
    return decoder().video(
        shot.data, wanted.fps, wanted.max_frames, min_frames=wanted.min_frames, multiple=wanted.multiple
    )


def deviation(engine: Engine, id: str, messages: list[dict[str, Any]], *shots: Shot) -> float:
    """How far the request's logits are from those of mlx-vlm's own model, its own embeddings of the whole prompt, its
    own positions and caches, made to say the same; in standard deviations."""
    model = engine.model
    eye = model.eye
    assert eye is not None
    said = engine.tap.script.get(id, engine.said(id))
    special = should_add_special_tokens(model.model.model.config.model_type, eye.processor)
    inputs = prepare_inputs(
        eye.processor,
        prompts=[model.render(messages, {})],
        add_special_tokens=special,
        **_own(model, messages, shots, "images", "videos"),
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
