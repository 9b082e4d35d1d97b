"""The rows of the table, as the rest of this folder uses them: a flag, and how a value of it is read and worded."""

import math
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from msgspec import structs

from inference.engine.options.table import About, EngineOptions

NONE = "none"
"""On the command line, the value of an option that is not set."""


class OptionError(ValueError):
    """An option has an impossible value, or two contradict each other; the message names their flags."""


@dataclass(frozen=True, slots=True)
class Field:
    """A row of the table, as the rest of this folder uses it."""

    name: str
    kind: type
    """int, float, bool or str; of `choices` the type that they have."""
    choices: tuple[int | str, ...]
    optional: bool
    default: Any
    about: About

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def words(self) -> list[str]:
        """What may be typed, where there are choices."""
        return [*([NONE] if self.optional else []), *map(str, self.choices)]

    @property
    def allowed(self) -> str:
        """What the value must be, in words."""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            words = "one of " + ", ".join(self.words)
        else:
            noun = {int: "a whole number", float: "a number", str: "a folder" if self.about.is_folder else "text"}
            words = f"{noun[self.kind]}{self._range}{f' or {NONE}' if self.optional else ''}"
        return words

    @property
    def _range(self) -> str:
        low, high = self.about.low, self.about.high
        if math.isinf(low) and math.isinf(high):
            return ""
        return (
            f" above {low:g} and at most {plain(high)}" if self.about.above_low else f" from {low:g} to {plain(high)}"
        )

    def read(self, value: Any) -> Any:
        """A value from a command line (text) or from JSON, as the struct wants it. Raises OptionError without a flag:
        the caller knows where the value stood."""
        if self.optional and value in (None, NONE):
            return None
        parsed = self._parse(value)
        if parsed is None or (self.choices and parsed not in self.choices):
            raise OptionError(f"must be {self.allowed}, not {value}")
        if not self.choices and self.kind in (int, float):
            low_enough = parsed <= self.about.high
            high_enough = parsed > self.about.low if self.about.above_low else parsed >= self.about.low
            if not (low_enough and high_enough):
                raise OptionError(f"must be {self.allowed}, not {value}")
        return parsed

    def _parse(self, value: Any) -> Any:
        """The value in this option's type; None for what is of another."""
        if self.kind is bool:
            return value if isinstance(value, bool) else None
        if self.kind is str:
            if not isinstance(value, str) or not value.strip():
                return None
            return str(Path(value).expanduser().resolve()) if self.about.is_folder else value
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except ValueError:
            return None
        if self.kind is float:
            return number
        return int(number) if number.is_integer() else None


def _fields() -> dict[str, Field]:
    hints = get_type_hints(EngineOptions, include_extras=True)
    fields = {}
    for field in structs.fields(EngineOptions):
        hint, about = get_args(hints[field.name])
        kinds = [kind for kind in (get_args(hint) if NoneType in get_args(hint) else (hint,)) if kind is not NoneType]
        choices = get_args(kinds[0]) if get_origin(kinds[0]) is Literal else ()
        kind = type(choices[0]) if choices else kinds[0]
        optional = NoneType in get_args(hint)
        fields[field.name] = Field(field.name, kind, choices, optional, field.default, about)
    return fields


FIELDS: dict[str, Field] = _fields()


def default_text(field: Field) -> str:
    """What holds where the flag is not given, in words."""
    return field.about.unset if field.default is None else plain(field.default)


def changed(options: EngineOptions) -> dict[str, Any]:
    """What differs from the defaults; all that is worth storing. JSON-ready, and `make` reads it back."""
    values = structs.asdict(options)
    return {name: values[name] for name, field in FIELDS.items() if values[name] != field.default}


def plain(value: Any) -> str:
    """A value as one would type it: 70 and not 70.0, 1000000 and not 1e+06."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return NONE if value is None else str(value)
