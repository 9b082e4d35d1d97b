"""Thoughts as clients carry them that leave nothing on the server: `encrypted_content`.

Signed and packed, not secret: the thought itself stands beside it. What it is for is to come back, from agents that
keep this field of a reasoning item and drop its content.
"""

from django.core import signing

SALT = "atelier.thought"


def seal(thought: str) -> str:
    return signing.dumps(thought, salt=SALT, compress=True)


def unseal(sealed: str) -> str:
    """Raises ValueError for what was not sealed by this server."""
    try:
        thought = signing.loads(sealed, salt=SALT)
    except signing.BadSignature as error:
        raise ValueError("not sealed here") from error
    assert isinstance(thought, str)
    return thought
