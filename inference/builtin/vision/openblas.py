"""MLX's Linux wheel carries the reference BLAS; with OpenBLAS preloaded its float32 products run fifty times faster."""

from __future__ import annotations

import ctypes.util
import os
import sys


def ensure_openblas() -> None:
    """Start this command again with OpenBLAS preloaded, where it is installed and not loaded yet. Linux only."""
    if sys.platform != "linux" or "openblas" in os.environ.get("LD_PRELOAD", ""):
        return
    library = ctypes.util.find_library("openblas")
    if library is None:
        print("OpenBLAS not found (Debian: libopenblas0-pthread): this will be slow.", file=sys.stderr)
        return
    # Set before the start: the loader reads it once. A library not in the cache is only warned about.
    preload = " ".join(filter(None, (library, os.environ.get("LD_PRELOAD"))))
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"LD_PRELOAD": preload})
