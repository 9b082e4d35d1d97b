"""What was measured, as tables for people."""

from typing import Any

from rich.console import Console
from rich.table import Table

GIGABYTE = 1e9


def show(results: dict[str, Any], console: Console) -> None:
    """results: what goes into the JSON file."""
    console.rule("BENCHMARK RESULTS")
    _facts(results, console)
    {"text": _texts, "images": _pictures, "video": _films}[results["kind"]](results, console)
    _memory(results["memory"], console)


def _facts(results: dict[str, Any], console: Console) -> None:
    hardware = results["hardware"]
    rows = {
        "Model": results["model"],
        "Hardware": f"{hardware['chip']}, {hardware['cores']} cores ({hardware['memory_bytes'] / GIGABYTE:.0f} GB)",
        "MLX on": hardware["device"],
        "Total Runs": results["summary"]["runs"],
        "Output Tokens": f"{results['summary']['completion_tokens']:,}",
        "Total Time": f"{results['summary']['seconds']:.2f}s",
    }
    console.print(_plain(rows))


def _texts(results: dict[str, Any], console: Console) -> None:
    found = results["summary"]
    table = _table("Performance Metrics", "Metric", "Mean", "P95/Max")
    table.add_row("TTFT (Time to First Token)", *_pair(found["ttft_ms"], "ms", "p95"))
    table.add_row("TPOT (Time Per Output Token)", *_pair(found["tpot_ms"], "ms", "p95", 2))
    table.add_row("Generation Speed", *_pair(found["generation_tokens_per_second"], "tok/s", "max"))
    table.add_row("Processing Speed", *_pair(found["processing_tokens_per_second"], "tok/s", ""))
    table.add_row("Latency (per request)", *_pair(found["latency_s"], "s", "p95", 2))
    console.print(table)
    rates = {
        "Total Throughput": f"{found['total_tokens_per_second']:.1f} tok/s",
        "Requests/Second": f"{found['requests_per_second']:.2f} req/s",
    }
    console.print(_plain(rates, "Throughput"))


def _pictures(results: dict[str, Any], console: Console) -> None:
    table = _table("Images", "Resolution", "Pixels", "Prompt", "TTFT", "Time", "Tokens", "Speed")
    for run in results["runs"]:
        table.add_row(run["resolution"], _pixels(run["pixels"]), *_run(run))
    console.print(table)
    _spread(results["summary"], "resolution", console)


def _films(results: dict[str, Any], console: Console) -> None:
    table = _table("Video", "Configuration", "Frames", "Prompt", "TTFT", "Time", "Tokens", "Speed")
    for run in results["runs"]:
        table.add_row(run["configuration"], str(run["frames"]), *_run(run))
    console.print(table)
    _spread(results["summary"], "configuration", console)


def _spread(found: dict[str, Any], name: str, console: Console) -> None:
    fast, slow = found["fastest"], found["slowest"]
    console.print(
        f"Mean {found['tokens_per_second']:.1f} tok/s; fastest {fast[name]} ({fast['tokens_per_second']:.1f} tok/s), "
        f"slowest {slow[name]} ({slow['tokens_per_second']:.1f} tok/s)"
    )


def _memory(found: dict[str, int], console: Console) -> None:
    used, total = found["system_used_bytes"], found["system_total_bytes"]
    rows = {
        "Process Memory (peak)": f"{found['process_peak_bytes'] / GIGABYTE:.2f} GB",
        "MLX Peak Memory": f"{found['mlx_peak_bytes'] / GIGABYTE:.2f} GB",
        "MLX Cache Memory": f"{found['mlx_cache_bytes'] / GIGABYTE:.2f} GB",
        "System Memory": f"{used / GIGABYTE:.1f} / {total / GIGABYTE:.0f} GB ({100 * used / total:.0f}%)",
    }
    console.print(_plain(rows, "Resource Usage"))


def _run(run: dict[str, Any]) -> list[str]:
    return [
        f"{run['prompt_tokens']:,}", f"{run['ttft_ms']:.1f} ms", f"{run['latency_s']:.2f}s",
        f"{run['completion_tokens']:,}", f"{run['tokens_per_second']:.1f} tok/s",
    ]  # fmt: skip


def _pair(found: dict[str, float | None], unit: str, second: str, places: int = 1) -> list[str]:
    return ["-" if (value := found.get(name)) is None else f"{value:.{places}f} {unit}" for name in ("mean", second)]


def _pixels(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.0f}K"


def _plain(rows: dict[str, Any], title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
