"""Models from Hugging Face's hub, or from any server that speaks as it does: what they are, and getting them.

Identifiers, tokens, the address of the hub and the layout of its cache are huggingface_hub's; the bytes are fetched
here. Its own downloads (2.4) begin a file anew after every interruption, and don't compare what came over plain HTTP
with its hash.

`repository` is what the hub says of a model, `client` asks it, `cache` is where files are, `fetch` gets one of them,
`snapshot` all that a model needs. Nothing in here knows the database.
"""
