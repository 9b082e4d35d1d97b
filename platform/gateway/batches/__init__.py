"""OpenAI's batches: their endpoints, and what the worker does with them (`slice`): it reads the input (`reading`), asks
this gateway line by line (`asking`), and writes the files of answers (`results`). `accounts.batches` keeps the books.
"""
