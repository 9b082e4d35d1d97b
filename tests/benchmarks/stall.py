"""`make bench-stall`: streams go on while large pictures arrive, here and on the servers of mlx-vlm and vllm-mlx.

Four streams decode. Then four requests come at once, each with a picture of 1920×1080 that nobody has seen, which the
model looks at in full: how long is the longest silence of a stream from then until the pictures are answered?
Servers run one after the other, in the environments of `make bench-peers`. Ours should be within --max-stall-ms and a
step.
"""

import argparse
import base64
import dataclasses
import io
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from inference.bench.media import scene
from inference.builtin.vision.architecture import FOLDER
from inference.engine.options import EngineOptions
from tests.benchmarks.peers import BUILD, ROOT
from tests.benchmarks.peers.client import Stream
from tests.benchmarks.peers.environments import Environment, InstallationFailed
from tests.benchmarks.peers.machine import commit, machine
from tests.benchmarks.peers.models import endless
from tests.benchmarks.peers.scenarios import Invalid, longest_gap
from tests.benchmarks.peers.servers import OURS, Mode, Ours, Peer, Running, ServerFailed, mlx_vlm, vllm_mlx

MODES = [
    Mode("mlx-vlm", "mlx-vlm", mlx_vlm()),
    Mode("mlx-vlm, small prefill steps", "mlx-vlm", mlx_vlm("--prefill-step-size", "256")),
    Mode("vllm-mlx", "vllm-mlx", vllm_mlx("--mllm")),
    Mode("vllm-mlx, chunked prefill", "vllm-mlx", vllm_mlx("--mllm", "--chunked-prefill-tokens", "256")),
]
STREAMS, PICTURES = 4, 4
SPARE = 40
"""Streams that take the place of those that come to their end meanwhile."""
ANSWER, PICTURE_ANSWER = 2000, 8
WIDTH, HEIGHT = 1920, 1080

console = Console(highlight=False)


@dataclass
class Result:
    """Of one server, in seconds. alone: the longest gap of a stream before the pictures came."""

    server: str
    gap: float | None = None
    alone: float | None = None
    picture: float | None = None
    """From a picture's request to its first token, the median."""
    picture_tokens: int | None = None
    error: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stall", description=__doc__)
    parser.add_argument("--peer", action="append", metavar="PART", help="only peers with this in their name; 'none'")
    parser.add_argument("--quick", action="store_true", help="pictures are looked at with a sixteenth of their pixels")
    parser.add_argument("--seconds", type=float, default=900, help="limit for each server (default %(default)s)")
    parser.add_argument("--model", metavar="FOLDER_OR_ID", help="a real model instead of the built-in one")
    options = parser.parse_args()
    folder = (
        endless(options.model) if options.model else close_up(pixels=WIDTH * HEIGHT // (16 if options.quick else 1))
    )
    results = [measured(None, folder, options.seconds)]
    for mode in MODES:
        if options.peer and not any(part in mode.name for part in options.peer):
            continue
        try:
            Environment(mode.package).ensure()
        except InstallationFailed as error:
            results.append(Result(mode.name, error=str(error)[-200:]))
            continue
        results.append(measured(mode, folder, options.seconds))
    show(results)
    file = BUILD.parent / "stall.json"
    about = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": machine(), "quick": options.quick}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**about, "results": [asdict(result) for result in results]}, indent=2) + "\n")
    console.print(f"All figures: {file.relative_to(ROOT)}")


def close_up(pixels: int) -> Path:
    """The built-in vision model, which never ends an answer and looks at so many pixels of a picture, as large models
    do."""
    folder = endless(str(FOLDER))
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text()) | {"size": {"shortest_edge": 9216, "longest_edge": pixels}}
    file.unlink()
    file.write_text(json.dumps(settings))
    return folder


def measured(mode: Mode | None, folder: Path, seconds: float) -> Result:
    result = Result(OURS if mode is None else mode.name)
    running: Running = Ours(folder) if mode is None else Peer(mode, folder, offline=True)
    try:
        with running:
            ask(running, [text(0, 8)], [], seconds)
            ask(running, [picture(99)], [], seconds)
            count = STREAMS + SPARE
            streams = ask(
                running, [text(each, ANSWER) for each in range(count)], [*map(picture, range(PICTURES))], seconds
            )
            running.check()
            result = figures(result, streams[:count], streams[count:])
    except (ServerFailed, Invalid) as error:
        result.error = " ".join(str(error).split())[-200:]
    shown = result.error or f"{result.gap:.3f} s"
    console.print(f"{result.server:40} {shown}", markup=False, soft_wrap=True)
    return result


def figures(result: Result, streams: list[Stream], probes: list[Stream]) -> Result:
    """Raises Invalid."""
    for probe in probes:
        if probe.error or not probe.times:
            raise Invalid(f"a picture was not answered: {probe.error or 'no text came'}")
    sent, answered = min(probe.sent for probe in probes), max(probe.times[-1] for probe in probes)
    gaps, before = [], []
    for stream in streams:
        if len(stream.times) < 2:
            continue
        start, end = max(sent, stream.times[0]), min(answered, stream.ended if stream.whole else answered)
        if start < end:
            gaps.append(longest_gap(stream.times, start, end))
        if stream.times[0] < sent:
            before.append(longest_gap(stream.times, stream.times[0], sent))
    if not gaps:
        raise Invalid("no stream went on beside the pictures")
    return dataclasses.replace(
        result,
        gap=max(gaps),
        alone=max(before, default=None),
        picture=median(probe.times[0] - probe.sent for probe in probes),
        picture_tokens=probes[0].prompt_tokens,
    )


def ask(running: Running, requests: list[dict[str, Any]], probes: list[dict[str, Any]], seconds: float) -> list[Stream]:
    """Raises Invalid when the client fails, or a request without probes beside it."""
    plan = {
        "port": running.port, "key": running.key, "model": running.model, "in_flight": STREAMS, "seconds": seconds,
        "requests": requests, "probes": probes,
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.peers.client"],
            input=json.dumps(plan), capture_output=True, text=True, cwd=ROOT, timeout=seconds + 60, check=True,
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        raise Invalid(f"the client failed: {error}") from error
    streams = [Stream(**each) for each in json.loads(done.stdout)]
    if not probes and streams[0].error:
        raise Invalid(f"the first request failed: {streams[0].error}")
    return streams


def text(number: int, answer: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"Who are you? {number}"}], "max_tokens": answer}


def picture(number: int) -> dict[str, Any]:
    file = io.BytesIO()
    scene(WIDTH, HEIGHT, number).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What shape is it?"}]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": PICTURE_ANSWER}


def show(results: list[Result]) -> None:
    bound = EngineOptions().max_stall_ms / 1e3
    title = f"{STREAMS} streams, {PICTURES} pictures of {WIDTH}×{HEIGHT} arrive (bound {bound:g} s and a step)"
    table = Table(title=title, title_justify="left")
    for name in ("server", "longest gap", "before", "picture's first token", "its prompt"):
        table.add_column(name, justify="left" if name == "server" else "right")
    for each in results:
        if each.error:
            table.add_row(each.server, "failed", "", each.error, "")
            continue
        times = ["-" if value is None else f"{value:.3f} s" for value in (each.gap, each.alone, each.picture)]
        table.add_row(each.server, *times, "-" if each.picture_tokens is None else f"{each.picture_tokens:,}")
    console.print(table)


if __name__ == "__main__":
    main()
