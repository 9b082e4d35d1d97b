"""Pictures and clips in the Python API."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from atelier import LanguageModel, ModelError, RequestError, VisionModel
from tests.support.media_made import saved
from tests.support.pictures import own_answer, picture, png, seeing, shown

COLOUR, SHAPE = "What colour is it?", "What shape is it?"
RED, BLUE = picture("red", "circle"), picture("blue", "square")


@pytest.fixture(scope="module")
def model() -> Iterator[VisionModel]:
    with VisionModel("atelier-tiny-vl") as loaded:
        yield loaded


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(png(RED))
    return path


def test_it_sees_what_mlx_vlm_sees(model: VisionModel) -> None:
    assert model.answer_about_image(RED, COLOUR, temperature=0) == "red"
    assert model.answer_about_image(BLUE, SHAPE, temperature=0) == "square"
    description = model.describe_image(RED, temperature=0, max_tokens=16)
    assert description == own_answer(seeing(), shown("Describe this image."), RED)
    both = model.generate("Describe these.", images=[RED, BLUE], temperature=0, max_tokens=16)
    assert both.text.strip() == own_answer(seeing(), shown("Describe these.", 2), RED, BLUE)


def test_a_picture_is_the_same_however_it_comes(model: VisionModel, file: Path) -> None:
    turned = Image.new("RGB", RED.size)
    turned.paste(RED)
    data = png(RED)
    forms: list[Any] = [file, str(file), file.as_uri(), data, bytearray(data), memoryview(data), url(data), RED, turned]
    answers = [model.generate(COLOUR, images=[form], temperature=0) for form in forms]
    assert {answer.text.strip() for answer in answers} == {"red"}
    assert all(answer.cached_tokens > 16 for answer in answers[1:]), "the same picture, so the same blocks"


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA", "CMYK", "F", "I", "YCbCr", "HSV", "I;16"])
def test_images_of_any_mode_are_read(model: VisionModel, mode: str) -> None:
    image = Image.new(mode, (40, 40)) if mode == "I;16" else RED.convert(mode)
    assert model.describe_image(image, temperature=0, max_tokens=4)


def test_parts_of_messages(model: VisionModel, file: Path) -> None:
    def ask(*parts: dict[str, Any]) -> str:
        content = [*parts, {"type": "text", "text": COLOUR}]
        return model.chat([{"role": "user", "content": content}], temperature=0).text.strip()

    assert ask({"type": "image", "image": file}) == ask({"type": "image", "image": RED}) == "red"
    assert ask({"type": "image_url", "image_url": {"url": url(png(BLUE))}}) == "blue"
    assert ask({"type": "image_url", "image_url": url(png(BLUE))}) == "blue"
    chunks = list(model.stream_chat([{"role": "user", "content": COLOUR}], temperature=0, max_tokens=4))
    assert chunks[-1].answer is not None, "it talks without a picture, too"


def test_clips_are_looked_at_frame_by_frame(model: VisionModel, tmp_path: Path) -> None:
    frames = [picture(each, "circle") for each in ("red", "green", "blue", "yellow")]
    clip = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=500)
    path = tmp_path / "clip.gif"
    path.write_bytes(clip)
    assert model.describe_video(path, fps=2.0, temperature=0, max_tokens=8)
    few, many = (
        model.generate("What changes?", videos=[clip], video_fps=2, video_max_frames=most, temperature=0, max_tokens=4)
        for most in (2, 4)
    )
    assert few.prompt_tokens < many.prompt_tokens
    part = {"type": "video_url", "video_url": {"url": url(clip, "image/gif")}}
    message = {"role": "user", "content": [part, {"type": "text", "text": "What changes?"}]}
    again = model.chat([message], video_fps=2, video_max_frames=4, temperature=0, max_tokens=4)
    assert again.prompt_tokens == many.prompt_tokens


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("nowhere.png", "there is no file 'nowhere.png'"),
        (".", "can't be read"),
        ("", "can't be read"),
        ("a\0b", "can't be read"),
        ("https://example.org/a.png", "nothing is fetched from the web here"),
        ("file://host/a.png", "nothing is fetched"),
        ("data:image/png;base64,%%%", "no base64"),
        ("data:image/png,abc", "no data URL"),
        (b"", "empty"),
        (b"<svg/>", "no picture but XML"),
        (png(RED)[:60], None),
        (None, "must be a path"),
        (7, "must be a path"),
        ([RED], "must be a path"),
        (Image.new("RGB", (0, 0)), None),
    ],
)
def test_what_is_no_picture_is_refused(model: VisionModel, given: Any, why: str | None) -> None:
    with pytest.raises(RequestError, match=why) as refused:
        model.generate(COLOUR, images=[RED, given])
    assert refused.value.argument == "images[1]"
    with pytest.raises(RequestError) as refused:
        model.describe_image(given)
    assert refused.value.argument == "image" and "images[0]" not in str(refused.value)


@pytest.mark.parametrize(
    ("part", "argument"),
    [
        ({"type": "image_url", "image_url": {"url": "/etc/passwd"}}, "messages[0].content[0].image_url"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "messages[0].content[0].image_url"),
        ({"type": "image_url", "image_url": None}, "messages[0].content[0].image_url"),
        ({"type": "video_url", "video_url": {"url": "http://10.0.0.1/"}}, "messages[0].content[0].video_url"),
        ({"type": "video", "video": png(RED)[:40]}, "messages[0].content[0].video"),
        ({"type": "image"}, "messages[0].content[0].image"),
        ({"type": "input_audio"}, "messages[0].content[0].type"),
        ({"type": "text", "text": None}, "messages[0].content[0].text"),
        ("red", "messages[0].content[0]"),
    ],
)
def test_what_is_no_part_is_refused(model: VisionModel, part: Any, argument: str) -> None:
    with pytest.raises(RequestError) as refused:
        model.chat([{"role": "user", "content": [part]}])
    assert refused.value.argument == argument


def test_only_what_sees_is_shown_something() -> None:
    with pytest.raises(ModelError, match="atelier-tiny is no model for VisionModel"):
        VisionModel("atelier-tiny").load()
    with LanguageModel("atelier-tiny") as blind, pytest.raises(RequestError, match="sees no pictures") as refused:
        blind.chat([{"role": "user", "content": [{"type": "image", "image": RED}]}])
    assert refused.value.argument == "messages"
    with LanguageModel("atelier-tiny-vl") as seeing:
        message = {"role": "user", "content": [{"type": "image", "image": RED}, {"type": "text", "text": COLOUR}]}
        assert seeing.chat([message], temperature=0).text.strip() == "red"
