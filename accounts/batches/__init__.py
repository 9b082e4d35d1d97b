"""Batches: their verbs (`verbs`), what a worker writes while it has one (`progress`), and how it shows the gateway
whose work it does (`tickets`)."""
