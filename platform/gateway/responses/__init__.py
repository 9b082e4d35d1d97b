"""OpenAI's Responses: an adapter over the one internal request and its events, and what is stored of it.

`request` and `given` are what comes in, `response`, `events` and `wording` what goes out, `store` what stays. `items`
are what all of them are about.
"""
