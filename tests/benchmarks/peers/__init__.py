"""`make bench-peers`: Atelier beside mlx-lm, mlx-vlm and vllm-mlx, same machine, same run, same model folders.

models      the model folders: seeded ones, or a real one that never ends its answers
prompts     seeded prompts of an exact number of tokens
environments, servers   each contestant's virtual environment and server
client      the load, a process of its own
scenarios   what is asked and what is measured
bare        the libraries' loops without a server
engine_loop ours, asked in its own protocol
run         who is measured when, and what went wrong
machine     where it took place
figures, report, plots   what it came to
"""

import os
from pathlib import Path

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build" / "peers"

# Here because transformers looks when it is imported: it would advise us to install PyTorch.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
