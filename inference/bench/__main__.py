"""Measures one model, in this process: `python -m inference.bench --model NAME`."""

import argparse
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from inference.bench import arguments, machine, media, report, texts
from inference.direct import EngineError, LanguageModel, ModelError, RequestError, VisionModel

FAILED = 1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="atelier bench", description=__doc__, allow_abbrev=False)
    arguments.add_arguments(parser)
    options = parser.parse_args(argv)
    arguments.check(parser, options)
    if options.prompts is None:
        options.prompts = arguments.QUICK_PROMPTS if options.quick else arguments.PROMPTS
    if options.max_tokens is None:
        options.max_tokens = arguments.QUICK_TOKENS if options.quick else arguments.TOKENS
    words = shlex.join(["atelier", "bench", *(sys.argv[1:] if argv is None else argv)])
    try:
        results = _measured(options)
    except (ModelError, RequestError, EngineError) as error:
        print(f"atelier bench: {error}", file=sys.stderr)
        return FAILED
    results |= {"command": words, "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    report.show(results, console)
    if options.output is not None:
        file = Path(options.output).expanduser()
        file.write_text(json.dumps(results, indent=2) + "\n")
        console.print(f"Results: {file}", soft_wrap=True)
    return 0


def _measured(options: argparse.Namespace) -> dict[str, object]:
    """Raises ModelError, RequestError, EngineError."""
    kind = "images" if options.images else "video" if options.video else "text"
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Loading", total=None)
        # What an answer takes without help from one before it.
        loaded: LanguageModel
        if kind == "text":
            loaded = LanguageModel(options.model, disable_prefix_cache=True)
        else:
            loaded = seeing = VisionModel(options.model, disable_prefix_cache=True)
        with loaded:
            progress.update(task, description="Measuring", total=options.warmup + _wanted(kind, options))
            if kind == "text":
                runs, summary = texts.texts(loaded, options, lambda: progress.advance(task))
            else:
                measure = media.pictures if kind == "images" else media.films
                runs, summary = measure(seeing, options, lambda: progress.advance(task))
            memory = machine.memory(loaded.stats())
    names = ("prompts", "concurrency", "max_tokens", "temperature", "warmup", "quick", "video_path")
    return {
        "kind": kind,
        "model": options.model,
        "settings": {name: getattr(options, name) for name in names},
        "versions": machine.versions(),
        "hardware": machine.hardware(),
        "runs": [run.told() for run in runs],
        "summary": summary,
        "memory": memory,
    }


def _wanted(kind: str, options: argparse.Namespace) -> int:
    """Runs to be measured."""
    if kind == "text":
        return int(options.prompts)
    whole, quick = {
        "images": (media.RESOLUTIONS, media.QUICK_RESOLUTIONS),
        "video": (media.FRAMES, media.QUICK_FRAMES),
    }[kind]
    return len(quick if options.quick else whole)


if __name__ == "__main__":
    sys.exit(main())
