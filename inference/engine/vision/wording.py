"""Conversations in the words of a model's family: some have a part for each picture, some a mark in the text."""

import re
from collections.abc import Iterable
from typing import Any

from mlx_vlm.prompt_utils import MODEL_CONFIG, MessageFormat, MessageFormatter, get_chat_template
from mlx_vlm.utils import should_add_special_tokens

from inference.engine.text.template import PromptError, encode_text, render_chat

Message = dict[str, Any]
Part = dict[str, Any]

IMAGE: Part = {"type": "image"}
VIDEO: Part = {"type": "video"}
AUDIO: Part = {"type": "audio"}
"""Parts of a message that stand for the next of its pictures, clips or sounds."""
KINDS = {"image": IMAGE, "video": VIDEO, "audio": AUDIO}
MARK = "atelier"


class Wording:
    """Of one model. `kinds`: what it has a word for."""

    def __init__(self, processor: Any, tokenizer: Any, model_type: str):
        self._processor = processor
        self._tokenizer = tokenizer
        kind = model_type.lower()
        self._form = MODEL_CONFIG.get(kind)
        self._formatter = None if self._form is None else MessageFormatter(kind)
        self._special = should_add_special_tokens(kind, processor)
        self._words = {name: words for name, part in KINDS.items() if (words := self._words_of(part))}
        self.kinds = frozenset(self._words)

    def render(self, messages: list[Message], options: dict[str, Any]) -> str:
        """A conversation whose contents may be lists of texts and of the parts above. Raises PromptError, also where
        pictures stand beside texts in which the model would see another."""
        text = self._render(messages, options)
        kinds = [part["type"] for message in messages for part in _parts(message) if part["type"] != "text"]
        for word in {word for words in self._words.values() for word in words if kinds}:
            if len(word.findall(text)) != sum(self._words.get(kind, {}).get(word, 0) for kind in kinds):
                raise PromptError("A text has the words that stand for a picture in this model's prompts.", "messages")
        return text

    def alone(self, kind: str) -> str:
        """A conversation of one such part. Raises PromptError."""
        return self._render([{"role": "user", "content": [KINDS[kind]]}], {})

    def encode(self, text: str) -> list[int]:
        """The tokens of a conversation without pictures, as mlx-vlm would have them. Raises PromptError."""
        return encode_text(self._tokenizer, text, special=self._special)

    def told(self, messages: list[Message]) -> list[Message]:
        """As the model's chat template wants them. Raises PromptError."""
        counts = dict.fromkeys(KINDS, 0)
        return [self._formatted(message, counts) for message in messages]

    def _render(self, messages: list[Message], options: dict[str, Any]) -> str:
        told = self.told(messages)
        if self._tokenizer.has_chat_template:
            return render_chat(self._tokenizer, told, options)
        if self._form is None:
            return render_chat(self._tokenizer, messages, options)  # which says what is missing
        if self._form.name.startswith("PROMPT_"):
            if len(told) > 1:
                raise PromptError("This model reads one message at a time, and no conversations.", "messages")
            return str(told[0]["content"])
        return str(get_chat_template(self._processor, told, add_generation_prompt=True))

    def _formatted(self, message: Message, counts: dict[str, int]) -> Message:
        """counts: of the pictures, clips and sounds in the messages before."""
        content = message.get("content")
        if self._formatter is None or self._form is None or content is None:
            return message
        if self._form.name.startswith("LIST_"):
            # Many templates of these families go over the parts of every message, and find none in a mere text.
            return {**message, "content": self._listed(message)}
        if isinstance(content, str):
            return message
        if self._form is MessageFormat.NUMBERED_IMAGE_TOKENS:
            # Their numbers go on from message to message, which the formatter does not know of.
            return {**message, "content": "".join(_numbered(part, counts) for part in content)}
        try:
            made = self._formatter.format_message(content, num_images=0, num_audios=content.count(AUDIO))
        except ValueError as error:
            raise PromptError("This model reads one picture in a message, and no more.", "messages") from error
        return {**message, "content": made["content"] if isinstance(made, dict) else made}

    def _listed(self, message: Message) -> str | list[Part]:
        """Its content, for a template that goes over parts."""
        text = message["content"]
        parts = _parts(message)
        if isinstance(text, str) and (message["role"] == "tool" or "tool_calls" in message):
            return text
        if message["role"] == "assistant" and self._form is not None and "TYPE" in self._form.name:
            # What the model said is a mere text again in these.
            return "".join(part.get("text") or "" for part in parts)
        if self._form is MessageFormat.LIST_WITH_IMAGE_URL_FIRST:
            parts = [{"type": "image_url"} if part == IMAGE else part for part in parts]
        # Templates call a text by either name.
        return [{**part, "content": part["text"]} if part["type"] == "text" else part for part in parts]

    def _words_of(self, part: Part) -> dict[re.Pattern[str], int]:
        """What stands in a rendered prompt for such a part, as far as users could write it, too; and how often."""
        text = {"type": "text", "text": MARK}
        try:
            without = self._render([{"role": "user", "content": [text]}], {})
            whole = self._render([{"role": "user", "content": [part, text]}], {})
        except PromptError:
            return {}
        added = {token.content for token in self._tokenizer.added_tokens_decoder.values() if token.content.strip()}
        words = [word for word in added if whole.count(word) > without.count(word)]
        words = words or [_difference(whole, without).strip()]
        patterns = [re.compile(re.sub(r"\d+", r"\\d+", re.escape(word))) for word in words if word]
        return {word: len(word.findall(whole)) for word in patterns if not word.search(without)}


def _parts(message: Message) -> list[Part]:
    content = message.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _numbered(part: Part, counts: dict[str, int]) -> str:
    kind = part["type"]
    if kind not in counts:
        return str(part["text"])
    counts[kind] += 1
    return f"<|{kind}_{counts[kind]}|>"


def _difference(longer: str, shorter: str) -> str:
    """What one has between a beginning and an end that both have."""
    first = _common(zip(longer, shorter, strict=False))
    longer, shorter = longer[first:], shorter[first:]
    last = _common(zip(reversed(longer), reversed(shorter), strict=False))
    return longer[: len(longer) - last]


def _common(pairs: Iterable[tuple[str, str]]) -> int:
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count
