"""`POST /v1/embeddings`: texts in, vectors out, as OpenAI words it."""

import asyncio
import base64
import struct
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Raw, Struct

from gateway import errors
from gateway.answers import Stamp, encode
from gateway.ask import VALIDATED_ONLY, Count
from gateway.body import decode, without_effect
from gateway.completions import TEXTS_OR_IDS, token_ids
from gateway.context import RequestContext
from gateway.encoding import MOST_TEXTS, EncodingEndpoint, Reading, Usage, Wording
from inference.engine.protocol import Embed, Embedded

PAUSE = 32
"""Vectors that are worded at a stretch; a thousand of them take a good part of a second."""


class EmbeddingRequest(Struct, kw_only=True):
    input: str | Annotated[list[Any], TEXTS_OR_IDS]
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    user: str | None = None


KNOWN = {*EmbeddingRequest.__struct_fields__} - VALIDATED_ONLY

read_request = msgspec.json.Decoder(EmbeddingRequest)


class EmbeddingObject(Struct, kw_only=True):
    object: str = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingList(Struct, kw_only=True):
    object: str = "list"
    data: list[EmbeddingObject]
    model: str
    usage: Usage


class Embeddings(EncodingEndpoint[Embedded]):
    def parse(self, body: bytes, context: RequestContext) -> tuple[Reading, Wording[Embedded]]:
        request, fields = decode(body, read_request)
        context.ignored = without_effect(fields, KNOWN)
        prompt = Embed("", inputs(request.input), dimensions=request.dimensions)
        reading = Reading("embeddings", request.model, prompt, prompt_param="input")
        in_base64 = request.encoding_format == "base64"

        async def word(stamp: Stamp, result: Embedded, usage: Usage) -> bytes:
            data = await worded(result, in_base64=in_base64)
            # Encoded already, vector by vector.
            return encode(EmbeddingList(data=data, model=stamp.model, usage=usage))  # type: ignore[arg-type]

        return reading, word


def inputs(given: str | list[Any]) -> list[str | list[int]]:
    """One or several, as text or as token ids. Raises ApiError."""
    match given:
        case str():
            return [_one(given, "input")]
        case [str() | list(), *_]:
            if len(given) > MOST_TEXTS:
                raise errors.invalid(f"`input`: at most {MOST_TEXTS} inputs in one request.", param="input")
            return [_one(each, f"input[{at}]") for at, each in enumerate(given)]
        case []:
            raise errors.invalid("`input`: the list is empty; send at least one text.", param="input")
        case tokens:
            return [token_ids(tokens, "input")]


def _one(given: Any, where: str) -> str | list[int]:
    match given:
        case "":
            raise errors.invalid(f"`{where}`: an empty string has no embedding; leave it out.", param=where)
        case str():
            return given
        case list():
            return token_ids(given, where)
    raise errors.invalid(f"`{where}` must be a string or a list of token ids.", param=where)


async def worded(result: Embedded, *, in_base64: bool) -> list[Raw]:
    """The vectors as `EmbeddingObject`s in JSON."""
    size = 4 * result.width
    data = []
    for index in range(len(result.tokens)):
        raw = result.vectors[index * size : (index + 1) * size]
        vector = base64.b64encode(raw).decode() if in_base64 else list(struct.unpack(f"<{result.width}f", raw))
        data.append(Raw(encode(EmbeddingObject(index=index, embedding=vector))))
        if index % PAUSE == PAUSE - 1:
            await asyncio.sleep(0)
    return data
