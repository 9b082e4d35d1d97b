"""The flags, for the command and for the process that measures. Loads no model library."""

import argparse
from pathlib import Path

PROMPTS, QUICK_PROMPTS = 5, 2
TOKENS, QUICK_TOKENS = 256, 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="a built-in model's name, a folder or a Hugging Face id")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--images", action="store_true", help="pictures of 224×224 to 1920×1080")
    what.add_argument("--video", action="store_true", help="clips of 2 to 32 frames")
    parser.add_argument("--video-path", metavar="FILE", help="a clip to use in place of ours, with --video")
    parser.add_argument("--prompts", type=_count, metavar="N", help=f"texts to ask for (default: {PROMPTS})")
    parser.add_argument(
        "--concurrency", type=_count, default=1, metavar="N", help="that are asked at once (default: %(default)s)"
    )
    parser.add_argument("--max-tokens", type=_count, metavar="N", help=f"of an answer (default: {TOKENS})")
    parser.add_argument(
        "--temperature", type=_temperature, default=0.7, metavar="X", help="0 is greedy (default: %(default)s)"
    )
    parser.add_argument(
        "--warmup",
        type=_count_or_none,
        default=1,
        metavar="N",
        help="runs before it is measured (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--output", metavar="FILE", help="write the results as JSON, too")


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the process for flags that can't be meant together, before anything is loaded."""
    if options.video_path is not None:
        if not options.video:
            parser.error("--video-path needs --video.")
        if not Path(options.video_path).is_file():
            parser.error(f"--video-path: there is no file {options.video_path}.")
    if options.images or options.video:
        for name in ("prompts", "concurrency"):
            if getattr(options, name) not in (None, 1):
                parser.error(f"--{name} is for texts; drop it, or drop {'--images' if options.images else '--video'}.")
    if options.output is not None:
        folder = Path(options.output).expanduser().parent
        if not folder.is_dir():
            parser.error(f"--output: there is no folder {folder}.")


def _count(text: str) -> int:
    number = _count_or_none(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _count_or_none(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a whole number") from None
    if not 0 <= number <= 100_000:
        raise argparse.ArgumentTypeError("must be from 0 to 100000")
    return number


def _temperature(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a number") from None
    if not 0 <= number <= 2:
        raise argparse.ArgumentTypeError("must be from 0 to 2")
    return number
