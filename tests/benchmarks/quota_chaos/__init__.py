"""Requests under quotas while clients leave, engines and gateways are killed and clocks jump; then the books.

`run` is the whole of it, `load` the clients, `books` what is asked of the database and of Redis, `clock` what lets the
gateways' clocks jump. Two ways: one gateway with SQLite, and three with PostgreSQL and Redis.
"""

MODEL = "atelier-tiny"
