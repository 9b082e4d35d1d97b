"""Where a run took place, without naming the machine."""

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import psutil

from tests.benchmarks.peers import ROOT
from tests.benchmarks.peers.servers import openblas

UNKNOWN = "unknown"


def machine() -> dict[str, str | int | float]:
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": system(),
        "python": platform.python_version(),
        "mlx_device": str(mx.default_device()),
        "openblas": openblas_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def processor() -> str:
    if sys.platform == "darwin":
        return output("sysctl", "-n", "machdep.cpu.brand_string")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def openblas_version() -> str:
    """The version that everyone gets; `none` where it is missing or of no use."""
    library = openblas()
    if library is None:
        return "none"
    get_config = ctypes.CDLL(library).openblas_get_config
    get_config.restype = ctypes.c_char_p
    return " ".join(get_config().decode().split()[:2])


def commit() -> str:
    """The checkout's commit, with a + when files differ from it."""
    found = output("git", "rev-parse", "--short", "HEAD")
    changed = output("git", "status", "--porcelain", "--untracked-files=no")
    return f"{found}+" if found != UNKNOWN and changed else found


def output(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
