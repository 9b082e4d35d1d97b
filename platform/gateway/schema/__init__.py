"""The OpenAPI document of the gateway: its consumers' part of what drf-spectacular publishes at `/openapi.json`.

`operations` names what each consumer takes and gives, in the form of `operation.py`, and `statuses.py` what else it may
answer. `components.py` makes JSON Schema of the structs that validate the one and word the other, and `document.py`
puts it together.
"""
