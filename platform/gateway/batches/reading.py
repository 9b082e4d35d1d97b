"""From the bytes of an input file to lines that can be run. Whatever is wrong with them ends the batch, and is told by
line."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from django.conf import settings
from msgspec import Struct

from accounts.models import Batch, BatchLine, Scope
from gateway import errors
from gateway.body import MAX_DEPTH, depth_of

ENDPOINTS: dict[str, str] = {
    "/v1/chat/completions": Scope.GENERATE,
    "/v1/completions": Scope.GENERATE,
    "/v1/embeddings": Scope.EMBED,
    "/v1/responses": Scope.GENERATE,
}
"""What lines may ask for, and the scope that a key must have for it."""
MARK = b"\xef\xbb\xbf"
"""What some editors begin UTF-8 with."""
MOST_ERRORS = 100
"""That are told of one file."""
LONGEST_ID = 512

Problem = dict[str, Any]
Resolve = Callable[[str], str | None]
"""The own name of the model that a line calls so; None: there is none that its key may use."""


@dataclass(frozen=True, slots=True)
class Found:
    """A line of the file."""

    number: int
    offset: int
    text: bytes
    """Without its end; empty where it is too long to be read."""
    too_long: bool = False


class Request(Struct):
    """A line as it should be."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class Body(Struct):
    model: str
    stream: bool | None = None


read_line = msgspec.json.Decoder(Request).decode
read_body = msgspec.json.Decoder(Body).decode


def lines_of(pieces: Iterable[bytes], *, longest: int) -> Iterator[Found]:
    """Those that are not blank. No more than the longest line and a piece are in memory."""
    number, offset, held, skipped = 1, 0, bytearray(), 0
    first = True
    for piece in pieces:
        if first and piece.startswith(MARK):
            piece, offset = piece[len(MARK) :], len(MARK)
        first = False
        *ended, rest = piece.split(b"\n")
        for part in ended:
            held += part
            length = skipped + len(held) + 1
            if skipped or len(held) > longest:
                yield Found(number, offset, b"", too_long=True)
            elif text := bytes(held).strip():
                yield Found(number, offset + held.index(text), text)
            number, offset, skipped = number + 1, offset + length, 0
            held.clear()
        held += rest
        if len(held) > longest:
            skipped += len(held)
            held.clear()
    if skipped:
        yield Found(number, offset, b"", too_long=True)
    elif text := bytes(held).strip():
        yield Found(number, offset + held.index(text), text)


class Reading:
    """Looks at each line of a batch's input, once."""

    def __init__(self, batch: Batch, resolve: Resolve) -> None:
        self._batch = batch
        self._resolve = resolve
        self._ids: set[bytes] = set()
        self._models: dict[str, str | None] = {}
        self.problems: list[Problem] = []
        self.total = 0

    @property
    def model(self) -> str:
        """The one that all lines name; empty where they name several."""
        names = {name for name in self._models.values() if name}
        return names.pop() if len(names) == 1 else ""

    @property
    def is_hopeless(self) -> bool:
        """There is no point in reading on."""
        return len(self.problems) >= MOST_ERRORS or self.total > settings.BATCH_MOST_LINES

    def line(self, found: Found) -> BatchLine | None:
        """The line as it is stored; None: something is wrong with it."""
        self.total += 1
        if self.total > settings.BATCH_MOST_LINES:
            most = f"A batch has at most {settings.BATCH_MOST_LINES} requests here (ATELIER_BATCH_MOST_LINES)."
            self._tell(None, Wrong("too_many_tasks", most))
            return None
        try:
            return self._checked(found, parsed(found))
        except Wrong as wrong:
            self._tell(found.number, wrong)
            return None

    def finish(self) -> None:
        if not self.total:
            self._tell(None, Wrong("empty_file", "The input file has no requests."))

    def _checked(self, found: Found, request: Request) -> BatchLine:
        """Raises Wrong."""
        id = request.custom_id
        if not id or len(id) > LONGEST_ID or "\0" in id:
            reason = f"custom_id must have 1 to {LONGEST_ID} characters, and no null character."
            raise Wrong("invalid_custom_id", reason, "custom_id")
        digest = hashlib.blake2b(id.encode(), digest_size=16).digest()
        if digest in self._ids:
            reason = f"custom_id {errors.quote(id)} is used by an earlier line; each must be unique in its file."
            raise Wrong("duplicate_custom_id", reason, "custom_id")
        self._ids.add(digest)
        if request.method != "POST":
            raise Wrong("invalid_method", "method must be POST.", "method")
        if request.url != self._batch.endpoint:
            raise Wrong("url_mismatch", f"url must be the batch's endpoint, {self._batch.endpoint}.", "url")
        try:
            body = read_body(request.body)
        except msgspec.ValidationError as error:
            raise Wrong("invalid_request", f"{str(error)[:200]}, in body.", "body") from None
        if body.stream:
            raise Wrong("invalid_request", "An answer in a batch can't be streamed.", "body.stream")
        if body.model not in self._models:
            self._models[body.model] = self._resolve(body.model)
        if self._models[body.model] is None:
            reason = f"The model {errors.quote(body.model)} does not exist or you do not have access to it."
            raise Wrong("model_not_found", reason, "body.model")
        return BatchLine(
            batch=self._batch, number=found.number, custom_id=id, offset=found.offset, length=len(found.text)
        )

    def _tell(self, line: int | None, wrong: "Wrong") -> None:
        if len(self.problems) < MOST_ERRORS:
            told = {"code": wrong.code, "message": wrong.message, "param": wrong.param, "line": line}
            self.problems.append(told)


class Wrong(Exception):
    """Why a line can't be run."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def parsed(found: Found) -> Request:
    """Raises Wrong."""
    if found.too_long:
        longest = settings.MAX_BODY_BYTES // (1024 * 1024)
        raise Wrong("invalid_json_line", f"This line is longer than {longest} MB (ATELIER_MAX_BODY_MB).")
    try:
        found.text.decode()
        if depth_of(found.text) > MAX_DEPTH:
            raise Wrong("invalid_json_line", f"Brackets nest deeper than {MAX_DEPTH} levels.")
        return read_line(found.text)
    except msgspec.ValidationError as error:
        raise Wrong("invalid_request", f"{str(error)[:200]}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Wrong("invalid_json_line", "This line is not parseable as valid JSON in UTF-8.") from None
