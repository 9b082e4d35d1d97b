"""Pictures by resolution, and clips by frames: how long an answer about them takes."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from inference.bench.runs import Run, mean, measured
from inference.direct import VisionModel

RESOLUTIONS = (
    (224, 224), (336, 336), (448, 448), (512, 512), (672, 672), (768, 768), (896, 896), (1024, 1024), (1280, 720),
    (1920, 1080),
)  # fmt: skip
QUICK_RESOLUTIONS = ((224, 224), (448, 448), (768, 768), (1920, 1080))
FRAMES = ((2, 0.5), (4, 1.0), (6, 1.0), (8, 2.0), (12, 2.0), (16, 2.0), (24, 4.0), (32, 4.0))
"""Frames, and how many of each second."""
QUICK_FRAMES = ((2, 0.5), (8, 2.0), (32, 4.0))
CLIP_SECONDS, CLIP_FPS, CLIP_SIDE = 10, 8, 224
IMAGE_PROMPT = "Describe this image in detail."
VIDEO_PROMPT = "Describe what happens in this video."


def pictures(model: VisionModel, options: Any, advance: Callable[[], None]) -> tuple[list[Run], dict[str, Any]]:
    """One answer for each resolution, and what they come to. advance: called after each."""

    def ask(width: int, height: int, number: int) -> Run:
        image = scene(width, height, number)
        run = measured(
            lambda: model.stream_generate(
                IMAGE_PROMPT,
                images=[image],
                max_tokens=options.max_tokens,
                temperature=options.temperature,
                seed=number,
            ),
            resolution=f"{width}x{height}",
            pixels=width * height,
        )
        advance()
        return run

    resolutions = QUICK_RESOLUTIONS if options.quick else RESOLUTIONS
    for number in range(options.warmup):
        ask(*resolutions[0], -1 - number)
    runs = [ask(width, height, number) for number, (width, height) in enumerate(resolutions)]
    return runs, summary(runs, "resolution")


def films(model: VisionModel, options: Any, advance: Callable[[], None]) -> tuple[list[Run], dict[str, Any]]:
    """One answer for each number of frames, and what they come to. advance: called after each."""
    clip = Path(options.video_path).read_bytes() if options.video_path else film()

    def ask(frames: int, fps: float) -> Run:
        run = measured(
            lambda: model.stream_generate(
                VIDEO_PROMPT,
                videos=[clip],
                video_fps=fps,
                video_max_frames=frames,
                max_tokens=options.max_tokens,
                temperature=options.temperature,
                seed=frames,
            ),
            configuration=f"{frames} frames @ {fps:g}fps",
            frames=frames,
            fps=fps,
        )
        advance()
        return run

    wanted = QUICK_FRAMES if options.quick else FRAMES
    for _ in range(options.warmup):
        ask(*wanted[0])
    runs = [ask(*each) for each in wanted]
    return runs, summary(runs, "configuration")


def summary(runs: Sequence[Run], name: str) -> dict[str, Any]:
    fastest, slowest = max(runs, key=lambda run: run.rate), min(runs, key=lambda run: run.rate)
    return {
        "runs": len(runs),
        "completion_tokens": sum(run.completion_tokens for run in runs),
        "seconds": sum(run.seconds for run in runs),
        "tokens_per_second": mean([run.rate for run in runs]),
        "fastest": {name: fastest.config[name], "tokens_per_second": fastest.rate},
        "slowest": {name: slowest.config[name], "tokens_per_second": slowest.rate},
    }


def scene(width: int, height: int, number: int) -> Image.Image:
    """A thing or two; no two numbers give the same picture, so that none has been seen before."""
    image = Image.new("RGB", (width, height), (40 + number % 100, 90, 140))
    draw = ImageDraw.Draw(image)
    side = min(width, height)
    draw.ellipse((width / 3 - side / 4, height / 2 - side / 4, width / 3 + side / 4, height / 2 + side / 4), "red")
    draw.rectangle((width * 0.7 - side / 8, height / 2, width * 0.7 + side / 8, height / 2 + side / 4), "yellow")
    return image


def film() -> bytes:
    """A circle that goes from left to right, as an animated GIF."""
    frames = []
    for at in range(CLIP_SECONDS * CLIP_FPS):
        image = Image.new("RGB", (CLIP_SIDE, CLIP_SIDE), "grey")
        x = CLIP_SIDE * (0.2 + 0.6 * at / (CLIP_SECONDS * CLIP_FPS))
        ImageDraw.Draw(image).ellipse((x - 40, 72, x + 40, 152), "red")
        frames.append(image)
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=1000 // CLIP_FPS)
    return file.getvalue()
