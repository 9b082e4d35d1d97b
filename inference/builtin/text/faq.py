"""The questions about Atelier, from faq.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """An answer, and the wordings that ask for it: completions of "How do I …?", of "What is …?", whole questions."""

    answer: str
    how: tuple[str, ...] = ()
    what: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()


def _entries() -> tuple[Entry, ...]:
    tables = tomllib.loads(Path(__file__).with_name("faq.toml").read_text(encoding="utf-8"))["entry"]
    return tuple(
        Entry(table["answer"], *(tuple(table.get(kind, ())) for kind in ("how", "what", "ask"))) for table in tables
    )


ENTRIES = _entries()
