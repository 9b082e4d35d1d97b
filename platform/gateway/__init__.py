"""The wire: what HTTP clients send and get. Imports inference and accounts; never mlx, mlx-lm or transformers.

guard     the ASGI wrapper that nothing escapes: request id, hosts, limits, disconnects, errors, headers
endpoint  the consumers' base: methods, keys, JSON answers, streams
schemas/  request bodies of each dialect, adapted to one internal `Ask`
generation  the life of a request: model, ledger row, engine, settle
"""
