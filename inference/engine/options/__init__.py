"""The options of an engine: one table from which flags, checks, stored settings and command lines come.

`python -m inference.engine` and `atelier serve` take the same flags. What `serve` was given is stored with the model
and comes back here to be checked again, so every message names the flag that an operator would have to change.

`table` is what one edits to add an option; `fields` reads it, `checks` makes options of values, `effective` says what
they amount to, `command_line` has them as flags. Others import from here, not from the modules.
"""

from inference.engine.options.checks import make
from inference.engine.options.command_line import OPTIONS_REFUSED, add_arguments, argv, given
from inference.engine.options.effective import Effective, resolved
from inference.engine.options.fields import FIELDS, OptionError, changed, default_text
from inference.engine.options.table import EngineOptions

__all__ = [
    "FIELDS", "OPTIONS_REFUSED", "Effective", "EngineOptions", "OptionError",
    "add_arguments", "argv", "changed", "default_text", "given", "make", "resolved",
]  # fmt: skip
