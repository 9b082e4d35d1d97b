"""Calls whose arguments are text between tags, read while they are written.

What an argument's text means is for the format's own parser to say: it gets each argument as soon as it is whole.
Those that the tool's schema says are strings are text already, and passed on as they come. As in `call_json`, nothing
depends on how the text was split.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from inference.engine.text.call_reader import Piece, SteppingReader


@dataclass(frozen=True, slots=True)
class Tags:
    """call: what a call begins with, with group `name`. argument: what an argument begins with, with group `key`.
    close: what ends it. end: what ends the call, empty: the end of all. lines: one line break on each side of a value
    belongs to the tags; else all white space does. null: a string that reads null means none."""

    call: re.Pattern[str]
    argument: re.Pattern[str]
    close: str
    end: str
    lines: bool = False
    null: bool = False


ARROWS = Tags(
    call=re.compile(r"<function=([\"']?)(?P<name>[^<>\"']+)\1>"),
    argument=re.compile(r"<parameter=([\"']?)(?P<key>[^<>\"']+)\1>"),
    close="</parameter>",
    end="</function>",
    lines=True,
    null=True,
)
ATTRIBUTES = Tags(
    call=re.compile(r"<invoke name=([\"']?)(?P<name>[^<>\"']+)\1>"),
    argument=re.compile(r"<parameter name=([\"']?)(?P<key>[^<>\"']+)\1>"),
    close="</parameter>",
    end="</invoke>",
    null=True,
)
PAIRS = Tags(
    call=re.compile(r"^\s*(?P<name>[^\s<>{}()\"']+)\s*(?=<arg_key>)"),
    argument=re.compile(r"<arg_key>(?P<key>[^<>]+)</arg_key>(?:\\n|\s)*<arg_value>"),
    close="</arg_value>",
    end="",
)
LONG_PAIRS = Tags(
    call=re.compile(r"^\s*(?P<name>[^\s<>{}()\"']+)\s*(?=<longcat_arg_key>)"),
    argument=re.compile(r"<longcat_arg_key>(?P<key>[^<>]+)</longcat_arg_key>(?:\\n|\s)*<longcat_arg_value>"),
    close="</longcat_arg_value>",
    end="",
)


class Mode(Enum):
    BETWEEN = auto()
    """Of calls."""
    CALL = auto()
    ARGUMENT = auto()


class TaggedCalls(SteppingReader):
    """A call that ends before its last argument does stays without the end of its JSON; one that only lacks its own
    end is whole. A value that its parser refuses is passed on as text: the tool can say best what is wrong with it."""

    def __init__(self, tags: Tags, parse: Callable[[str], Any], strings: Callable[[str, str], bool]):
        """parse: a call's text -> {"arguments": {...}}. strings: (call's name, key) -> whether it's a string."""
        super().__init__()
        self._tags = tags
        self._parse = parse
        self._strings = strings
        self._mode = Mode.BETWEEN
        self._call = self._argument = ""
        """The texts that the call and the argument begin with."""
        self._name = self._key = ""
        self._more = False
        """The call has arguments already."""
        self._value = ""
        """An argument's text, as far as it is not passed on."""
        self._begun = False
        """This argument's string is being passed on."""
        self._whole = 0

    @property
    def quoting(self) -> bool:
        return self._mode is Mode.ARGUMENT

    @property
    def settled(self) -> bool:
        if self._mode is Mode.CALL:
            return not self._tags.end
        return self._mode is Mode.BETWEEN and self._whole > 0

    def finish(self) -> list[Piece]:
        if self._mode is not Mode.CALL:
            return []
        self._mode = Mode.BETWEEN
        return [Piece(None, None, "}")]

    # --- inside ------------------------------------------------------------------------------------------------------

    def _step(self, pieces: list[Piece]) -> bool:
        match self._mode:
            case Mode.BETWEEN:
                found = self._tags.call.search(self._rest)
                if found is None:
                    return False
                self._call, self._name, self._more = found.group(), found["name"].strip(), False
                self._rest, self._mode = self._rest[found.end() :], Mode.CALL
                pieces.append(Piece(self._name, None, "{"))
                return True
            case Mode.CALL:
                return self._next(pieces)
            case Mode.ARGUMENT:
                return self._text(pieces)

    def _next(self, pieces: list[Piece]) -> bool:
        """The next argument, or the call's end."""
        argument = self._tags.argument.search(self._rest)
        end = self._rest.find(self._tags.end) if self._tags.end else -1
        if end >= 0 and (argument is None or end < argument.start()):
            self._rest, self._mode = self._rest[end + len(self._tags.end) :], Mode.BETWEEN
            self._whole += 1
            pieces.append(Piece(None, None, "}"))
            return True
        if argument is None:
            return False
        self._argument, self._key = argument.group(), argument["key"].strip()
        self._value, self._begun = "", False
        self._rest, self._mode = self._rest[argument.end() :], Mode.ARGUMENT
        pieces.append(Piece(None, None, f"{', ' if self._more else ''}{json.dumps(self._key, ensure_ascii=False)}: "))
        self._more = True
        return True

    def _text(self, pieces: list[Piece]) -> bool:
        """Of the argument's value."""
        tags = self._tags
        end = self._rest.find(tags.close)
        if end < 0:
            end = len(self._rest) - overlap(self._rest, tags.close)
            self._value, self._rest = self._value + self._rest[:end], self._rest[end:]
            if self._strings(self._name, self._key):
                self._pass_on(pieces)
            return False
        self._value += self._rest[:end]
        self._rest, self._mode = self._rest[end + len(tags.close) :], Mode.CALL
        if not self._strings(self._name, self._key):
            pieces.append(Piece(None, None, self._known()))
            return True
        text = self._trimmed()
        if self._begun:
            pieces.append(Piece(None, None, _inner(text) + '"'))
        else:
            none = tags.null and text.lower() == "null"
            pieces.append(Piece(None, None, "null" if none else f'"{_inner(text)}"'))
        return True

    def _pass_on(self, pieces: list[Piece]) -> None:
        """As much of a string as is certain to belong to it."""
        sure = self._trimmed()
        if not sure or (not self._begun and self._tags.null and "null".startswith(sure.lower())):
            return
        pieces.append(Piece(None, None, ("" if self._begun else '"') + _inner(sure)))
        self._value, self._begun = self._value[self._value.index(sure) + len(sure) :], True

    def _trimmed(self) -> str:
        """The value without what belongs to the tags around it."""
        value = self._value
        if not self._begun:
            value = value.removeprefix("\n") if self._tags.lines else value.lstrip()
        return value.removesuffix("\n") if self._tags.lines else value.rstrip()

    def _known(self) -> str:
        """The value as JSON, by the format's parser."""
        tags = self._tags
        try:
            call = self._parse(f"{self._call}{self._argument}{self._value}{tags.close}{tags.end}")
            return json.dumps(call["arguments"][self._key], ensure_ascii=False, allow_nan=False)
        except Exception:  # parsers of foreign formats raise what they like
            return json.dumps(self._value.strip(), ensure_ascii=False)


def overlap(text: str, mark: str) -> int:
    """The length of the longest beginning of the mark, less than all of it, that the text ends with."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0


def _inner(text: str) -> str:
    """A string as JSON, without its quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
