"""Calls that are written as JSON, read while they are written.

What comes out does not depend on how the text was split: decisions fall at certain characters, never at the end of
what has come so far.
"""

import json
import re
from dataclasses import dataclass
from enum import Enum, auto

from inference.engine.text.call_reader import Piece, SteppingReader

NAMES = ("name", "tool_name")
ARGUMENTS = ("arguments", "parameters")
LONGEST_HEADER = 400
"""Characters before a call's arguments, in formats that write its name there."""
BLANK = " \t\r\n"
IN_STRING = re.compile(r'["\\\x00-\x1f]')
OUTSIDE = re.compile(r'["{}\[\]]')
ESCAPES = '"\\/bfnrtu'
DECODER = json.JSONDecoder(strict=False)


@dataclass(frozen=True, slots=True)
class Header:
    """pattern: what precedes a call's arguments, with groups `name` and perhaps `id`. between: marks around calls."""

    pattern: re.Pattern[str]
    between: tuple[str, ...] = ()


class Value:
    """One JSON object or array while it arrives. Line breaks and backslashes that JSON forbids inside strings are
    written as it wants them: models err there often, and what they mean is plain."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._depth = 0
        self.quoted = False
        """It has come as far as into a string."""
        self.done = False

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def take(self, text: str) -> tuple[str, str]:
        """(What of it is the value's, what is left.) While it is not `done`, at most a backslash is left."""
        parts: list[str] = []
        at = 0
        while at < len(text) and not self.done:
            found = (IN_STRING if self.quoted else OUTSIDE).search(text, at)
            if found is None:
                parts.append(text[at:])
                at = len(text)
                break
            parts.append(text[at : found.start()])
            character, at = found.group(), found.end()
            if character == '"':
                self.quoted = not self.quoted
                parts.append(character)
            elif not self.quoted:
                self._depth += 1 if character in "{[" else -1
                self.done = self._depth == 0
                parts.append(character)
            elif character != "\\":
                parts.append(json.dumps(character)[1:-1])
            elif at == len(text):
                at -= 1
                break
            elif text[at] in ESCAPES:
                parts.append(character + text[at])
                at += 1
            else:
                parts.append("\\\\")
        read = "".join(parts)
        self._parts.append(read)
        return read, text[at:]


class Mode(Enum):
    BETWEEN = auto()
    """Of calls."""
    HEADED = auto()
    """After a header: the arguments come."""
    MEMBERS = auto()
    """In the object that is a call."""
    VALUE = auto()
    """In an object or array that is a member of it."""
    BROKEN = auto()


class JsonCalls(SteppingReader):
    """Calls as objects with a name and arguments, alone, one after the other or in a list; or each as a header and
    an object that is its arguments.

    Arguments are passed on as they come, once the name is known. Where they break, they stay as they are: a beginning
    of JSON without its end, which nobody can take for a call that is whole.
    """

    def __init__(self, header: Header | None = None, between: tuple[str, ...] = ()):
        """between: marks that may stand between calls."""
        self._pattern = header.pattern if header is not None else None
        self._between = (*between, *(header.between if header is not None else ()))
        super().__init__()
        self._mode = Mode.BETWEEN
        self._value = Value()
        self._key = ""
        self._name = ""
        self._id: str | None = None
        self._stored = ""
        """Arguments that came before the name, or as a string."""
        self._passed = False
        """This call's arguments have begun to be passed on."""
        self._passing = False
        """What comes now is them."""
        self._whole = 0

    @property
    def quoting(self) -> bool:
        """What comes now is part of a string, whatever it looks like."""
        return self._mode is Mode.VALUE and self._value.quoted

    @property
    def settled(self) -> bool:
        """Something was called, and all of it is whole."""
        return self._mode is Mode.BETWEEN and self._whole > 0

    def finish(self) -> list[Piece]:
        """There is no more."""
        if self._mode is not Mode.HEADED or self._rest.strip():
            return []
        self._mode = Mode.BETWEEN
        return [Piece(self._name, self._id, "{}")]

    # --- inside ------------------------------------------------------------------------------------------------------

    def _step(self, pieces: list[Piece]) -> bool:
        match self._mode:
            case Mode.BETWEEN:
                return self._begin()
            case Mode.HEADED:
                return self._begin_arguments(pieces)
            case Mode.MEMBERS:
                return self._member(pieces)
            case Mode.VALUE:
                return self._more(pieces)
            case Mode.BROKEN:
                self._rest = ""
                return False

    def _break(self) -> bool:
        self._mode = Mode.BROKEN
        return True

    def _skip(self) -> str | None:
        """What comes after white space and marks; None while that may still be a mark."""
        rest = self._rest.lstrip(BLANK + ",;")
        while mark := next((mark for mark in self._between if rest.startswith(mark)), None):
            rest = rest[len(mark) :].lstrip(BLANK + ",;")
        self._rest = rest
        return None if not rest or any(mark.startswith(rest) for mark in self._between) else rest

    def _begin(self) -> bool:
        rest = self._skip()
        if rest is None:
            return False
        self._name, self._id, self._stored, self._passed = "", None, "", False
        if rest[0] in "[]":
            self._rest = rest[1:]
        elif rest[0] == "{":
            self._rest, self._mode = rest[1:], Mode.MEMBERS
        elif self._pattern is None:
            return self._break()
        elif header := self._pattern.match(rest):
            groups = header.groupdict()
            self._name, self._id = groups["name"], groups.get("id")
            self._rest, self._mode = rest[header.end() :], Mode.HEADED
        else:
            return self._break() if len(rest) > LONGEST_HEADER else False
        return True

    def _begin_arguments(self, pieces: list[Piece]) -> bool:
        rest = self._rest.lstrip(BLANK)
        if not rest or any(mark != rest and mark.startswith(rest) for mark in self._between):
            return False
        if rest[0] == "{":
            self._rest, self._mode, self._value = rest, Mode.VALUE, Value()
            self._passed = self._passing = True
            pieces.append(Piece(self._name, self._id, ""))
            return True
        if any(rest.startswith(mark) for mark in self._between):
            self._whole += 1
            self._mode = Mode.BETWEEN
            pieces.append(Piece(self._name, self._id, "{}"))
            return True
        return self._break()

    def _member(self, pieces: list[Piece]) -> bool:
        """The next key and its value, or the object's end."""
        rest = self._rest = self._rest.lstrip(BLANK + ",")
        if not rest:
            return False
        if rest[0] == "}":
            self._rest = rest[1:]
            return self._end_object(pieces)
        if rest[0] != '"':
            return self._break()
        try:
            key, end = DECODER.raw_decode(rest)
        except ValueError:
            return False
        after = rest[end:].lstrip(BLANK)
        if after and after[0] != ":":
            return self._break()
        value = after[1:].lstrip(BLANK)
        if not value:
            return False
        if value[0] in "{[":
            self._key, self._rest, self._mode, self._value = key, value, Mode.VALUE, Value()
            self._passing = key in ARGUMENTS and bool(self._name) and value[0] == "{" and not self._passed
            if self._passing:
                self._passed = True
                pieces.append(Piece(self._name, self._id, ""))
            return True
        try:
            known, end = DECODER.raw_decode(value)
        except ValueError:
            return False
        if end == len(value) and value[0] != '"':
            return False  # a number may go on
        self._rest = value[end:]
        if key in NAMES and isinstance(known, str):
            self._name = known.strip()
        elif key == "id" and isinstance(known, str):
            self._id = known
        elif key in ARGUMENTS and known is not None:
            self._stored = known if isinstance(known, str) else json.dumps(known)
        return True

    def _more(self, pieces: list[Piece]) -> bool:
        """Of the value."""
        read, self._rest = self._value.take(self._rest)
        if not self._value.done:
            if self._passing and read:
                pieces.append(Piece(None, None, read))
            return False
        text = self._value.text
        if not self._passing:
            if self._key in ARGUMENTS:
                self._stored = text
            self._mode = Mode.MEMBERS
            return True
        # The last bracket is kept back where the JSON it would close is none.
        valid = is_object(text)
        pieces.append(Piece(None, None, read if valid else read[:-1]))
        if not valid:
            return self._break()
        self._whole += 1
        # A header's arguments are all there is of its call.
        self._mode = Mode.MEMBERS if self._key else Mode.BETWEEN
        return True

    def _end_object(self, pieces: list[Piece]) -> bool:
        self._key = ""
        self._mode = Mode.BETWEEN
        if self._passed:
            return True
        arguments = self._stored.strip() or "{}"
        if not self._name or not is_object(arguments):
            return self._break()
        self._whole += 1
        pieces.append(Piece(self._name, self._id, arguments))
        return True


def is_object(text: str) -> bool:
    """Whether the text is a JSON object. Python's NaN and Infinity are no JSON."""
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(name: str) -> None:
    raise ValueError(name)
