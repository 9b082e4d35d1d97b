"""Pictures, videos and sounds of requests: from what a client wrote to bytes, without going where it must not.

`shapes` are the fields of the dialects, `source` reads them, `reader` brings the bytes: out of base64, from a folder
(`folder`) or from the web (`fetch`, `addresses`). Nothing here looks into the bytes: an engine's decoder does.
"""
