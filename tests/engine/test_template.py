"""Conversations to prompts, and which tokens end a turn."""

import pytest

from inference.engine.text.template import PromptError, encode_text, end_of_turn_tokens, render_chat
from tests.support.models_made import TEMPLATE
from tests.support.tokenizers_made import byte_level

USER = [{"role": "user", "content": "again and again"}]


class Wrapped:
    """What mlx-lm's wrapper adds, without loading a model."""

    def __init__(self, template):
        self._inner = byte_level()
        self._inner.chat_template = template

    @property
    def has_chat_template(self):
        return self._inner.chat_template is not None

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_it_renders_the_conversation_and_opens_the_answer():
    tokenizer = Wrapped(TEMPLATE)
    text = render_chat(tokenizer, USER, {})
    assert text == "<|im_start|>user\nagain and again<|im_end|>\n<|im_start|>assistant\n"


def test_options_reach_the_template():
    tokenizer = Wrapped("{% if enable_thinking %}think{% else %}no{% endif %}")
    assert render_chat(tokenizer, USER, {"enable_thinking": True}) == "think"


def test_a_template_that_refuses_is_the_users_error():
    tokenizer = Wrapped("{{ raise_exception('Roles must alternate.') }}")
    with pytest.raises(PromptError, match="Roles must alternate") as caught:
        render_chat(tokenizer, USER, {})
    assert caught.value.param == "messages"


def test_a_template_that_breaks_says_so_without_the_prompt():
    tokenizer = Wrapped("{{ messages[0].content + 1 }}")
    with pytest.raises(PromptError) as caught:
        render_chat(tokenizer, USER, {})
    assert "again" not in str(caught.value)


def test_without_a_template_it_points_to_completions():
    with pytest.raises(PromptError, match="/v1/completions"):
        render_chat(Wrapped(None), USER, {})


def test_text_that_is_not_unicode_is_refused():
    with pytest.raises(PromptError):
        encode_text(byte_level(), "a\ud800b")


def tokens_of(tokenizer, ids):
    return {tokenizer.convert_ids_to_tokens(token) for token in ids}


def test_configured_end_tokens_and_the_templates_own():
    """A model whose configuration names only <|endoftext|> still stops at the <|im_end|> of its template."""
    tokenizer = Wrapped(TEMPLATE)
    tokenizer._inner.eos_token = "<|endoftext|>"
    ends = end_of_turn_tokens(tokenizer, {tokenizer.convert_tokens_to_ids("<|endoftext|>")})
    assert tokens_of(tokenizer, ends) == {"<|endoftext|>", "<|im_end|>"}


def test_channels_end_with_a_token_that_does_not_end_the_turn():
    tokenizer = Wrapped(TEMPLATE.replace("<|im_start|>", "<|im_start|><|channel|>"))
    tokenizer._inner.eos_token = "<|endoftext|>"
    assert tokens_of(tokenizer, end_of_turn_tokens(tokenizer, set())) == {"<|endoftext|>"}


def test_a_template_that_refuses_leaves_the_configuration():
    tokenizer = Wrapped("{{ raise_exception('no') }}")
    assert end_of_turn_tokens(tokenizer, {5}) == {5, tokenizer.eos_token_id}
