"""Passwords that a person can read off a screen and type."""

import secrets

CONSONANTS = "bdfghjklmnprstvz"
VOWELS = "aeiou"


def readable_password() -> str:
    """Four groups of three syllables, such as `kobiru-tanedo-mivasu-pelora`: 75 random bits."""
    return "-".join(
        "".join(secrets.choice(CONSONANTS) + secrets.choice(VOWELS) for _syllable in range(3)) for _group in range(4)
    )
