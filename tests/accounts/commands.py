"""Management commands as the tests call them."""

import io

import pytest
from django.core.management import CommandError, call_command


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(*arguments: str, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as error:
        run(*arguments)
    return str(error.value)
