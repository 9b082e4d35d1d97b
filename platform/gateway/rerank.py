"""`POST /v1/rerank`: query and documents in, the documents' relevance out, in the shape that Cohere and Jina share."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from gateway import errors
from gateway.answers import Stamp, encode
from gateway.ask import Count, Neutral
from gateway.body import decode, read_fields, refuse_unsupported, without_effect
from gateway.context import RequestContext
from gateway.encoding import MOST_TEXTS, EncodingEndpoint, Reading, Usage, Wording
from inference.engine import protocol
from inference.engine.protocol import Ranked


class Document(Struct):
    text: str


class RerankRequest(Struct, kw_only=True):
    model: str
    query: str
    documents: Annotated[list[str | Document], Meta(min_length=1, max_length=MOST_TEXTS)]
    top_n: Count | None = None
    return_documents: bool | None = None


UNSUPPORTED: Neutral = {"max_chunks_per_doc": (), "max_tokens_per_doc": (), "rank_fields": (["text"],)}
"""Documents are ranked by the whole of their text."""
KNOWN = {*RerankRequest.__struct_fields__, *UNSUPPORTED}

read_request = msgspec.json.Decoder(RerankRequest)
read_list = msgspec.json.Decoder(list[Raw]).decode


class Result(Struct, kw_only=True):
    index: int
    """Of the document in the request."""
    relevance_score: float
    """0 to 1."""
    document: Document | UnsetType = UNSET


class Ranking(Struct, kw_only=True):
    id: str
    model: str
    results: list[Result]
    """The most relevant first."""
    usage: Usage


class Rerank(EncodingEndpoint[Ranked]):
    def parse(self, body: bytes, context: RequestContext) -> tuple[Reading, Wording[Ranked]]:
        request, fields = decode(body, read_request)
        refuse_unsupported(fields, UNSUPPORTED)
        context.ignored = ignored(fields)
        documents = [each if isinstance(each, str) else each.text for each in request.documents]
        named = [("query", request.query), *((f"documents[{at}]", text) for at, text in enumerate(documents))]
        if empty := next((where for where, text in named if not text.strip()), None):
            raise errors.invalid(f"`{empty}` is empty; it needs a text.", param=empty)
        prompt = protocol.Rerank("", request.query, documents)

        async def word(stamp: Stamp, result: Ranked, usage: Usage) -> bytes:
            order = sorted(range(len(documents)), key=lambda at: -result.scores[at])
            results = [
                Result(
                    index=at,
                    relevance_score=result.scores[at],
                    document=Document(documents[at]) if request.return_documents else UNSET,
                )
                for at in order[: request.top_n]
            ]
            return encode(Ranking(id=f"rerank-{stamp.key}", model=stamp.model, results=results, usage=usage))

        return Reading("rerank", request.model, prompt, prompt_param="documents"), word


def ignored(fields: dict[str, Raw]) -> list[str]:
    """Every field of the body without effect here, those inside the documents included, each named once."""
    names = without_effect(fields, KNOWN)
    for document in read_list(fields["documents"]):
        if bytes(document).lstrip().startswith(b"{"):
            names += without_effect(read_fields(document), {"text"}, within="documents")
    return list(dict.fromkeys(names))
