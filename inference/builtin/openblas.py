"""A fast BLAS for MLX on Linux.

The wheel of `mlx[cpu]` carries the reference BLAS, 50 times slower than OpenBLAS at float32 products. Only a preload
replaces it, and a preload has to be there before the process starts: hence the process starts itself again.
"""

import ctypes.util
import os
import sys


def restart_with_openblas(*, threads: int = 2) -> None:
    """Starts this command anew with OpenBLAS preloaded; does nothing on macOS, and nothing the second time.

    By hand: LD_PRELOAD=libopenblas.so.0 OPENBLAS_NUM_THREADS=1 python -m inference.builtin.text.train
    """
    preloaded = os.environ.get("LD_PRELOAD", "")
    if sys.platform != "linux" or "openblas" in preloaded:
        return
    library = ctypes.util.find_library("openblas")
    if library is None:
        print("OpenBLAS not found (Debian: libopenblas0-pthread): this will be slow.", file=sys.stderr)
        return
    environment = {"OPENBLAS_NUM_THREADS": str(threads)} | os.environ
    environment["LD_PRELOAD"] = f"{library} {preloaded}".strip()
    os.execve(sys.executable, sys.orig_argv, environment)
