"""What commands print: a table with colours for people, tab-separated lines for pipes."""

from collections.abc import Sequence
from typing import TextIO, cast

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.table import Table
from rich.text import Text


def printable(text: object) -> str:
    """Without control characters: a note must not move the cursor of who lists it, nor break its line."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def print_table(out: OutputWrapper, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if not out.isatty():
        for row in (headers, *rows):
            out.write("\t".join(map(printable, row)))
        return
    cells = [[printable(cell) for cell in row] for row in rows]
    table = Table(header_style="bold", box=None, pad_edge=False)
    # The first column names the row and is copied from here: it stays whole, the others fold when it gets narrow.
    table.add_column(headers[0], no_wrap=True, min_width=max((len(row[0]) for row in cells), default=None))
    for header in headers[1:]:
        table.add_column(header, overflow="fold")
    for line in cells:
        table.add_row(*map(Text, line))
    console_on(out).print(table)


def print_secret(out: OutputWrapper, label: str, secret: str) -> None:
    """`label: secret`, on one line however long, so that it can be copied whole."""
    console_on(out).print(Text(f"{label}: "), Text(secret, style="bold"), sep="", soft_wrap=True)


def console_on(out: OutputWrapper) -> Console:
    # A command's stdout writes and flushes like a file, though its type does not say so.
    return Console(file=cast(TextIO, out), highlight=False)
