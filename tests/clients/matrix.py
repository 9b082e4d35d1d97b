"""Clients against what they did, printed at the end of the run."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

COLUMNS = ("chat", "stream", "tool loop", "structured", "pictures", "errors")


class Matrix:
    """A plugin of pytest's from the first entry on."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], str] = {}
        self.versions: dict[str, str] = {}

    @contextmanager
    def cell(self, request: pytest.FixtureRequest, client: str, column: str) -> Iterator[None]:
        """What is tried within counts for this client and column; all of it must hold."""
        if not request.config.pluginmanager.is_registered(self):
            request.config.pluginmanager.register(self)
        before = self._cells.get((client, column), "ok")
        self._cells[client, column] = "FAILED"
        try:
            yield
        except pytest.skip.Exception:
            self._cells[client, column] = "skipped"
            raise
        self._cells[client, column] = before

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        clients = list(dict.fromkeys(client for client, _ in self._cells))
        names = {client: f"{client} {self.versions.get(client, '')}".rstrip() for client in clients}
        width = max(len(name) for name in names.values())
        terminalreporter.section("clients: each with its own locked environment, against one server")
        terminalreporter.line(" " * width + "".join(f"{column:>12}" for column in COLUMNS))
        for client in clients:
            cells = "".join(f"{self._cells.get((client, column), '-'):>12}" for column in COLUMNS)
            terminalreporter.line(f"{names[client]:<{width}}{cells}")


MATRIX = Matrix()
