"""The paged prefix cache's host side: which tokens' keys and values lie in which block, on the device and on disk.

Pure bookkeeping over block numbers and bytes: imports no MLX, so all of it is tested without a model. The device pool
that the numbers point into, and the copies between pool and slots, are `inference.engine.kv`'s.
"""
