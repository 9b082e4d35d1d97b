"""A model's formats are told from its chat template and vocabulary, or from the parsers' names."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from inference.engine.text.markup import FRAMES, NONE, THOUGHTS, UnknownParser, markup_of, tool_parsers


@dataclass
class Token:
    content: str
    special: bool = True


@dataclass
class Tokenizer:
    """As much of mlx-lm's wrapper as tells a model's formats."""

    chat_template: str | dict[str, str] | None = None
    vocab: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    init_kwargs: dict[str, Any] = field(default_factory=dict)
    think_start: str | None = None
    think_end: str | None = None

    def get_vocab(self) -> dict[str, int]:
        return {text: id for id, text in enumerate((*self.special, *self.vocab))}

    @property
    def added_tokens_decoder(self) -> dict[int, Token]:
        return {id: Token(text, text in self.special) for text, id in self.get_vocab().items()}


JSON = '<tool_call>\\n{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}\\n</tool_call>'

FAMILIES = [
    pytest.param("plain {{ messages }}", "none", "none", id="plain"),
    pytest.param(f"{JSON} <think></think>", "json_tools", "think", id="qwen3"),
    pytest.param("<tool_call>{{ call | tojson }}</tool_call>", "json_tools", "none", id="hermes"),
    pytest.param("<tool_call>\\n<function={{ name }}>\\n<parameter=", "qwen3_coder", "none", id="qwen3-coder"),
    pytest.param("<tool_call>\n<function=x> <think></think>", "qwen3_coder", "think", id="qwen3.5"),
    pytest.param("[TOOL_CALLS]{{ name }}[ARGS]", "mistral", "none", id="mistral"),
    pytest.param("[THINK] [/THINK] [TOOL_CALLS]", "mistral", "magistral", id="magistral"),
    pytest.param("<|tool_calls_section_begin|> <think></think>", "kimi_k2", "think", id="kimi-k2"),
    pytest.param("<|tool_call>call: <|channel>thought\n<channel|>", "gemma4", "gemma4", id="gemma4"),
    pytest.param("<tool_call>{{ name }}<arg_key> <think></think>", "glm47", "think", id="glm"),
    pytest.param("<minimax:tool_call> <think></think>", "minimax_m2", "think", id="minimax-m2"),
    pytest.param(
        "]<]minimax[>[<tool_call> <mm:think></mm:think> <think></think>", "minimax_m3", "minimax_m3", id="minimax-m3"
    ),
    pytest.param("<|tool_call_start|>[f()]<|tool_call_end|>", "pythonic", "none", id="lfm2"),
    pytest.param(
        "<longcat_tool_call> <longcat_think></longcat_think>",
        "longcat",
        "longcat",
        id="longcat",
    ),
    pytest.param('<function name="f"><param name="p"> <think></think>', "minicpm5", "think", id="minicpm5"),
    pytest.param(
        "<|START_ACTION|> <|START_THINKING|> <|END_THINKING|>",
        "cohere2_moe",
        "cohere",
        id="cohere",
    ),
    pytest.param("<|channel|>commentary to= <|call|> <|message|> <think></think>", "harmony", "harmony", id="gpt-oss"),
    pytest.param("<atem:function_calls> <atem:invoke to=self<|message|>", "atem", "muse", id="muse"),
    pytest.param("<seed:think></seed:think>", "none", "seed_oss", id="seed-oss"),
]


@pytest.mark.parametrize(("template", "tools", "thoughts"), FAMILIES)
def test_families_are_told_apart(template: str, tools: str, thoughts: str):
    markup = markup_of(Tokenizer(template))
    assert (markup.tools.name if markup.tools is not None else NONE) == tools
    assert markup.thought == THOUGHTS.get(thoughts)
    assert markup.frames == FRAMES.get(thoughts, ())


@pytest.mark.parametrize("name", ["kimi_k3", "function_gemma", "laguna", "muse_spark"])
def test_what_mlx_lm_has_told_counts_where_the_template_says_nothing(name: str):
    for template in ("plain", None):
        markup = markup_of(Tokenizer(template, init_kwargs={"tool_parser_type": name}))
        assert markup.tools is not None
        assert markup.tools.name == name


def test_thoughts_are_told_from_the_vocabulary_too():
    assert markup_of(Tokenizer("plain", vocab=("<think>", "</think>"))).thought == ("<think>", "</think>")
    assert markup_of(Tokenizer("plain", vocab=("<think>",))).thought is None
    laguna = Tokenizer("<think></think>", think_start="<|think:start|>", think_end="<|think:end|>")
    assert markup_of(laguna).thought == THOUGHTS["laguna"], "what the tokenizer itself says counts first"


def test_of_several_templates_the_one_for_tools_counts():
    both = {"default": "[TOOL_CALLS]", "tool_use": JSON}
    markup = markup_of(Tokenizer(both))
    assert markup.tools is not None
    assert markup.tools.name == "json_tools"
    assert markup_of(Tokenizer({"default": "plain"})).tools is None


def test_a_model_without_a_template_calls_nothing():
    markup = markup_of(Tokenizer())
    assert (markup.tools, markup.thought, markup.closing) == (None, None, "")


def test_named_parsers_count_whatever_the_template_says():
    tokenizer = Tokenizer(f"{JSON} <think></think>")
    markup = markup_of(tokenizer, tool_parser="mistral", reasoning_parser="harmony")
    assert markup.tools is not None
    assert markup.tools.starts == ("[TOOL_CALLS]",)
    assert markup.thought == THOUGHTS["harmony"]
    assert markup_of(tokenizer, tool_parser="none").tools is None
    assert markup_of(tokenizer, reasoning_parser="none").thought is None


@pytest.mark.parametrize(("alias", "name"), [("hermes", "json_tools"), ("openai", "harmony"), ("lfm2", "pythonic")])
def test_parsers_have_the_names_that_others_use(alias: str, name: str):
    markup = markup_of(Tokenizer(), tool_parser=alias)
    assert markup.tools is not None
    assert markup.tools.name == name


def test_an_unknown_parser_is_refused_with_those_there_are():
    with pytest.raises(UnknownParser, match=r"no tool call parser 'quen'.*json_tools.*qwen3_coder"):
        markup_of(Tokenizer(), tool_parser="quen")
    with pytest.raises(UnknownParser, match=r"no reasoning parser 'thonk'.*harmony.*think"):
        markup_of(Tokenizer(), reasoning_parser="thonk")


@pytest.mark.parametrize("name", sorted(tool_parsers()))
def test_every_parser_can_be_named(name: str):
    markup = markup_of(Tokenizer(), tool_parser=name)
    assert markup.tools is not None
    assert markup.tools.starts
    assert all(markup.tools.starts)


def test_special_tokens_of_marks_are_read_as_text():
    tokenizer = Tokenizer("<|channel|>commentary <|call|> <|message|>", special=("<|channel|>", "<|end|>", "<|pad|>"))
    markup = markup_of(tokenizer)
    assert markup.specials == {0: "<|channel|>", 1: "<|end|>", 2: "<|pad|>"}
    assert markup.literal == {0, 1}


def test_how_a_thought_is_closed_in_the_models_place():
    assert markup_of(Tokenizer("<think></think>")).closing == "\n</think>\n\n"
    assert markup_of(Tokenizer(), reasoning_parser="harmony").closing.endswith("<|channel|>final<|message|>")
