"""Where it was measured: hardware, versions, memory."""

import os
import platform
import re
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from inference.engine.backend import device_name
from inference.engine.protocol import Stats

PACKAGES = ("atelier", "mlx", "mlx-lm", "mlx-vlm", "transformers")


def hardware() -> dict[str, Any]:
    """`unknown` where the system does not tell."""
    return {
        "chip": _chip() or "unknown",
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "device": device_name(),
        "openblas": "openblas" in os.environ.get("LD_PRELOAD", ""),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def memory(stats: Stats) -> dict[str, int]:
    """Bytes, at the end. stats: the engine's."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole = psutil.virtual_memory()
    return {
        "process_peak_bytes": peak if sys.platform == "darwin" else peak * 1024,
        "mlx_peak_bytes": stats.peak_memory_bytes,
        "mlx_cache_bytes": stats.idle_memory_bytes,
        "system_used_bytes": whole.total - whole.available,
        "system_total_bytes": whole.total,
    }


def _chip() -> str:
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        return ""
    return found[1].strip() if found else platform.machine()
