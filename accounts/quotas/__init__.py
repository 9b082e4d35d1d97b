"""Quotas: who may use how much in a window of time.

`rules` says which limits a request meets, `periods` when their windows begin and end, `counters` holds what has been
used in each (in this process, or in Redis for several gateways), and `limiter` is the way through all of it: reserve
before a request runs, grow while it does, settle once it has ended. Counters hold nothing that the ledger does not: one
that is missing is counted anew from there. `verbs` are how quotas change.
"""
