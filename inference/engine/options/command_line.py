"""Options as flags: for argparse, from its namespace, and back to words that it understands."""

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

from inference.engine.options.fields import FIELDS, Field, OptionError, changed, default_text, plain
from inference.engine.options.table import EngineOptions

OPTIONS_REFUSED = 2
"""An engine's exit code for a command line that it can't follow, as argparse has it. Trying again won't help."""
_METAVARS = {int: "N", float: "X", str: "FOLDER"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds every flag, by groups. A flag that is not given leaves no trace in the namespace: see `given`."""
    groups: dict[str, Any] = {}
    for field in FIELDS.values():
        group = groups.get(field.about.group)
        if group is None:
            group = groups[field.about.group] = parser.add_argument_group(field.about.group)
        text = field.about.help.replace("%", "%%")
        if field.kind is bool:
            group.add_argument(field.flag, action="store_true", default=argparse.SUPPRESS, help=text)
            continue
        group.add_argument(
            field.flag,
            type=partial(_read_argument, field),
            default=argparse.SUPPRESS,
            metavar="{" + ",".join(field.words) + "}" if field.choices else _METAVARS[field.kind],
            help=f"{text} (default: {default_text(field)})",
        )


def given(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the parsed arguments that are engine options and were on the command line."""
    return {name: namespace[name] for name in FIELDS if name in namespace}


def argv(options: EngineOptions) -> list[str]:
    """The shortest command line that means these options."""
    words: list[str] = []
    for name, value in changed(options).items():
        # In one word: argparse takes a negative number with an exponent for a flag.
        words.append(FIELDS[name].flag if value is True else f"{FIELDS[name].flag}={plain(value)}")
    return words


def _read_argument(field: Field, text: str) -> Any:
    try:
        return field.read(text)
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
