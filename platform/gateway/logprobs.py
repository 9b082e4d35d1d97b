"""Log-probabilities in OpenAI's two shapes: chat's list of tokens, and plain completions' four lists."""

from msgspec import Struct

from inference.engine.protocol import TokenLogprob


class Top(Struct):
    token: str
    logprob: float
    bytes: list[int]


class Token(Struct):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[Top]


class ChatLogprobs(Struct):
    content: list[Token]
    refusal: None = None


class CompletionLogprobs(Struct):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


def chat_logprobs(told: list[TokenLogprob]) -> ChatLogprobs:
    return ChatLogprobs(
        [
            Token(
                text(each.raw),
                each.logprob or 0.0,
                list(each.raw),
                [Top(text(top.raw), top.logprob, list(top.raw)) for top in each.top],
            )
            for each in told
        ]
    )


def completion_logprobs(told: list[TokenLogprob], offset: int = 0) -> CompletionLogprobs:
    """offset: characters of the answer before these."""
    said = CompletionLogprobs([], [], [], [])
    for each in told:
        token = text(each.raw)
        said.tokens.append(token)
        said.token_logprobs.append(each.logprob)
        said.top_logprobs.append(None if each.logprob is None else {text(top.raw): top.logprob for top in each.top})
        said.text_offset.append(offset)
        offset += len(token)
    return said


def text(raw: bytes) -> str:
    """A part of a character has no text of its own; `bytes` say what it is."""
    return raw.decode("utf-8", "replace")
