"""The wire: what HTTP clients send and get. Imports inference and accounts; never mlx, mlx-lm or transformers.

A request passes through `guard` (ids, hosts, limits, disconnects, errors), `routing`, an `endpoint` (method, key), a
dialect's module that makes an `ask` of its body (`chat`, `completions`), and `generation`, which opens its ledger row,
has the engine work on it and settles it. The dialect words the answer; `sse` speaks the stream. `runtime` holds what
the requests of a process share, `server` is that process.
"""
