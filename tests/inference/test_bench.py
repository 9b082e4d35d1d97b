"""`atelier bench`: tables for people, JSON for programs, and a clear no."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inference.bench.__main__ import main
from inference.bench.media import FRAMES, QUICK_FRAMES, QUICK_RESOLUTIONS, RESOLUTIONS, film, scene
from inference.bench.runs import Run, mean, p95
from inference.bench.texts import conversation, summary
from tests.support.server import ROOT

RUN = {"prompt_tokens", "completion_tokens", "ttft_ms", "tpot_ms", "latency_s", "tokens_per_second"}


def bench(tmp_path: Path, *flags: str) -> tuple[dict[str, Any], str]:
    """The JSON, and what was printed."""
    file = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "bench", "--quick", "--output", str(file), *flags],
        env={**os.environ, "ATELIER_DATA_DIR": str(tmp_path / "data")},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())
    assert set(results) == {
        "kind", "model", "settings", "versions", "hardware", "runs", "summary", "memory", "command", "date",
    }  # fmt: skip
    assert results["command"].startswith("atelier bench --quick --output")
    assert {"python", "atelier", "mlx", "mlx-lm", "mlx-vlm"} <= set(results["versions"])
    assert results["hardware"]["cores"] >= 1 and results["hardware"]["memory_bytes"] > 2**28
    memory = results["memory"]
    assert 0 < memory["mlx_peak_bytes"] < memory["system_total_bytes"] and memory["process_peak_bytes"] > 2**24
    for run in results["runs"]:
        assert set(run) >= RUN
        assert run["prompt_tokens"] > 0 and 0 < run["completion_tokens"] <= 32
        assert 0 < run["ttft_ms"] <= 1e3 * run["latency_s"]
        assert run["tokens_per_second"] == pytest.approx(run["completion_tokens"] / run["latency_s"])
    assert results["summary"]["runs"] == len(results["runs"])
    assert results["summary"]["completion_tokens"] == sum(run["completion_tokens"] for run in results["runs"])
    assert "BENCHMARK RESULTS" in done.stdout and "MLX Peak Memory" in done.stdout
    return results, done.stdout


def test_texts(tmp_path: Path) -> None:
    results, printed = bench(tmp_path, "--model", "atelier-tiny", "--prompts", "3", "--concurrency", "3")
    assert (results["kind"], len(results["runs"])) == ("text", 3)
    found = results["summary"]
    assert found["ttft_ms"]["mean"] <= found["ttft_ms"]["p95"] and found["tpot_ms"]["mean"] > 0
    assert found["total_tokens_per_second"] > 0 and found["requests_per_second"] > 0
    for line in ("TTFT (Time to First Token)", "TPOT", "Generation Speed", "Requests/Second"):
        assert line in printed


def test_pictures(tmp_path: Path) -> None:
    results, printed = bench(tmp_path, "--model", "atelier-tiny-vl", "--images")
    assert [run["resolution"] for run in results["runs"]] == ["224x224", "448x448", "768x768", "1920x1080"]
    assert "1920x1080" in printed and "2.1M" in printed
    assert results["summary"]["fastest"]["tokens_per_second"] >= results["summary"]["slowest"]["tokens_per_second"]


def test_clips_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.gif"
    own.write_bytes(film())
    flags = ("--model", "atelier-tiny-vl", "--video", "--video-path", str(own))
    results, printed = bench(tmp_path, *flags)
    assert [run["frames"] for run in results["runs"]] == [2, 8, 32]
    assert results["runs"][0]["prompt_tokens"] < results["runs"][1]["prompt_tokens"]
    assert "8 frames @ 2fps" in printed


def test_what_is_measured() -> None:
    assert (RESOLUTIONS[0], RESOLUTIONS[-1]) == ((224, 224), (1920, 1080)) and set(QUICK_RESOLUTIONS) < set(RESOLUTIONS)
    assert (FRAMES[0][0], FRAMES[-1][0]) == (2, 32) and set(QUICK_FRAMES) < set(FRAMES)
    assert scene(30, 20, 1).tobytes() != scene(30, 20, 2).tobytes(), "no picture has been seen before"
    assert len({conversation(number)[0]["content"][:20] for number in range(10)}) == 10
    assert film()[:3] == b"GIF"


def test_sums() -> None:
    runs = [Run({}, 10, 5, 0.5, 2.5), Run({}, 20, 1, 1.0, 1.0)]
    found = summary(runs, 4.0)
    assert runs[0].per_token == 0.5 and runs[1].per_token is None
    assert found["tpot_ms"] == {"mean": 500.0, "p95": 500.0}, "an answer of one token has no time between two"
    assert found["ttft_ms"] == {"mean": 750.0, "p95": 1000.0}
    assert found["total_tokens_per_second"] == 9.0 and found["requests_per_second"] == 0.5
    assert (mean([]), p95([])) == (None, None) and p95(list(range(100))) == 94


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ([], "--model"),
        (["--images", "--video"], "not allowed with"),
        (["--video-path", "a.mp4"], "--video-path needs --video"),
        (["--video", "--video-path", "/nowhere.mp4"], "--video-path: there is no file"),
        (["--images", "--prompts", "3"], "--prompts is for texts"),
        (["--video", "--concurrency", "2"], "--concurrency is for texts"),
        (["--prompts", "0"], "--prompts: must be 1 or more"),
        (["--max-tokens", "many"], "--max-tokens: must be a whole number"),
        (["--warmup", "-1"], "--warmup"),
        (["--temperature", "3"], "--temperature: must be from 0 to 2"),
        (["--output", "/nowhere/r.json"], "--output: there is no folder"),
        (["--quik"], "--quik"),
    ],
)
def test_flags_that_make_no_sense(capsys: pytest.CaptureFixture[str], flags: list[str], why: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*(["--model", "atelier-tiny"] if flags else []), *flags])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--model", "./nowhere"], "no such folder"),
        (["--model", "atelier-tiny", "--images"], "no model for VisionModel"),
        (["--model", "atelier-tiny-vl", "--video", "--video-path", __file__], "videos[0]"),
        (["--model", "atelier-tiny", "--max-tokens", "100000"], "max_tokens"),
    ],
)
def test_what_can_t_be_measured(capsys: pytest.CaptureFixture[str], flags: list[str], why: str) -> None:
    assert main(flags) == 1
    assert why in capsys.readouterr().err
