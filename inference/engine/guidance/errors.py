"""Why a grammar can't be used, in words for the user who sent it."""

import re

LONGEST_REASON = 300
TOO_COMPLEX = "it is too complex: it needs less nesting, or fewer repetitions or alternatives"
UNKNOWN = re.compile(r"Unimplemented keys: \[(?P<names>[^\]]*)\]")
WHERE = re.compile(r"^at \d+\(\d+\): (?:failed to compile JSON schema: |invalid regex .*)?", re.DOTALL)
"""Where in a grammar of our own making."""
WORDINGS = {
    "oneOf constraints are not supported": (
        "`oneOf` needs alternatives that exclude each other by their type or by a required property with a `const` "
        "or an `enum`; `anyOf` needs no such thing"
    ),
    "NoExtension": "nothing follows it",
    "not present in a registry": "a `$ref` may only name a place in the schema itself",
    "recursion limit exceeded": "it is nested too deeply",
    **dict.fromkeys(
        ("too big", "too large", "too many", "Too many", "fuel", "precomputation", "is_empty", "regex is empty",
         "Current row has"),
        TOO_COMPLEX,
    ),
}  # fmt: skip
"""By a part of llguidance's message."""


class GrammarError(ValueError):
    """It can't be compiled; the message says why, for the user who sent it."""


def reason(message: str, *, places: bool) -> str:
    """Of llguidance's message, which may be several lines with a whole parser in them. places: they mean something to
    the user, who wrote the grammar."""
    if found := UNKNOWN.search(message):
        names = found["names"].replace('"', "")
        return f"these keywords are not supported: {names}"
    for part, wording in WORDINGS.items():
        if part in message:
            return wording
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    said = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), None)
    line = said or (lines[0] if lines else "it can't be compiled")
    line = line if places else WHERE.sub("", line)
    return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + "…"
