#!/usr/bin/env python3
"""Runs Atelier's commands from a checkout; installed, the same is the command `atelier`."""

import sys
from pathlib import Path

# `platform/` is a source root, not a package: as one it would hide the standard library's `platform`.
sys.path.insert(1, str(Path(__file__).resolve().parent / "platform"))

if __name__ == "__main__":
    from atelier.cli import main

    main()
