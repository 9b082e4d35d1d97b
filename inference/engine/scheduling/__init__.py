"""Who is served when: fairness between users, the prefill of each step, admission by memory, preemption.

Pure Python over plain records: no MLX, no clock (the time is passed in), no I/O, nothing but the standard library and
this folder, so that a hundred thousand requests are simulated in a minute (`tests/benchmarks/simulator.py`).
`docs/scheduler.md` tells how it works. The step loop is who imports it.
"""
