"""Pictures, clips and sounds, from a client's bytes to arrays. Decoded in a process of its own, which may die of them.

`decoder` is what the engine and the Python API call, `errors` what it raises, `limits` what it allows. `process` is
our end of the decoding process and `worker` the process itself; `images`, `clips`, `sounds` and `formats` run there
and nowhere else. Imports nothing of the engine beside this folder, and never mlx.
"""
