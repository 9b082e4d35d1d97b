"""A conversation to prompt tokens, by the model's own chat template."""

from collections.abc import Callable
from typing import Any

from jinja2.exceptions import TemplateError

MARK = "atelier"
"""A word to find again in a rendered template."""


class PromptError(Exception):
    """The prompt can't be made. The message is meant for the request's user, `param` names the field."""

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message)
        self.param = param


def render_chat(tokenizer: Any, messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
    """The conversation as the model reads it, ready for the assistant's answer, or with `continue_final_message` for
    the rest of the last message. Raises PromptError.

    `tokenizer` is mlx-lm's wrapper, which knows the models whose template is code instead of Jinja.
    """
    opens = not options.get("continue_final_message")
    if not tokenizer.has_chat_template:
        raise PromptError("This model has no chat template; use /v1/completions with a plain prompt.", "messages")
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opens, **options)
    except TemplateError as error:
        # Templates refuse conversations with raise_exception("…"): roles that must alternate, no system role …
        raise PromptError(f"The model's chat template refused the conversation: {error}", "messages") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise PromptError(
            f"The model's chat template can't render this conversation ({type(error).__name__}).", "messages"
        ) from error
    return text


def encode_text(tokenizer: Any, text: str, *, special: bool = True) -> list[int]:
    """Token ids of plain text; `special` lets the tokenizer add its beginning-of-text token. Raises PromptError."""
    try:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=special)
    except (UnicodeError, TypeError) as error:
        raise PromptError("The prompt has characters that are not valid Unicode text.") from error
    return ids


def end_of_turn_tokens(
    tokenizer: Any, configured: set[int], told: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list
) -> frozenset[int]:
    """Every token that ends the assistant's turn: those of the configuration, the tokenizer's own, and the special
    token which the chat template writes behind an assistant's message.

    Published models often name only one of them, and then run on past the end of their turn. Formats with channels
    (harmony) end each channel with such a token; there the configuration alone counts. told: writes messages as the
    template wants them.
    """
    ends = set(configured)
    if getattr(tokenizer, "eos_token_id", None) is not None:
        ends.add(tokenizer.eos_token_id)
    template = getattr(tokenizer, "chat_template", None)
    if not template or "<|channel|>" in str(template):
        return frozenset(ends)
    turn = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": MARK}]
    try:
        rendered: str = tokenizer.apply_chat_template(told(turn), tokenize=False)
    except Exception:  # a template may refuse anything; the configured tokens remain
        return frozenset(ends)
    tail = rendered.rpartition(MARK)[2].lstrip()
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(ends | {id for id, token in added if token.special and tail.startswith(token.content)})
