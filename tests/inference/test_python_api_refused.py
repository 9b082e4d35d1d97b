"""What the Python API refuses, and that it names the argument."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atelier import LanguageModel, ModelError, RequestError

SUM: list[dict[str, Any]] = [{"role": "user", "content": "What is 3 + 4?"}]


@pytest.fixture(scope="module")
def model() -> Iterator[LanguageModel]:
    with LanguageModel("atelier-tiny") as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("temperature", -0.1), ("temperature", 2.1), ("temperature", "hot"), ("temperature", float("nan")),
        ("top_p", 1.5), ("top_k", -2), ("top_k", 1.5), ("min_p", -1), ("repetition_penalty", 0),
        ("presence_penalty", 3), ("frequency_penalty", -3), ("xtc_probability", 2), ("xtc_threshold", 0.7),
        ("seed", "x"), ("seed", 2**64),
        ("max_tokens", 0), ("max_tokens", -1), ("max_tokens", 1.5), ("max_tokens", True),
        ("stop", ""), ("stop", ["a", ""]), ("stop", ["a"] * 5), ("stop", 3), ("logit_bias", {"a": 1}),
        ("logit_bias", {-1: 1}), ("logit_bias", {5: 500}), ("logit_bias", {99_999: 1}), ("logit_bias", [1]),
    ],
)  # fmt: skip
def test_sampling_out_of_range(model: LanguageModel, argument: str, value: Any) -> None:
    for call in (lambda: model.generate("a", **{argument: value}), lambda: model.chat(SUM, **{argument: value})):
        with pytest.raises(RequestError, match=argument) as refused:
            call()
        assert (refused.value.argument or "").startswith(argument)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("tools", "x"), ("tools", [1]), ("tools[0]", [{"type": "custom"}]),
        ("tools[0].function.name", [{"function": {}}]),
        ("tools[0].function.parameters", [{"function": {"name": "a", "parameters": 1}}]),
        ("tool_choice", "sometimes"), ("tool_choice", "required"), ("tool_choice", {"function": {"name": "a"}}),
        ("tool_choice", {"name": "a"}), ("parallel_tool_calls", "yes"), ("enable_thinking", "yes"),
        ("max_thinking_tokens", -1), ("response_format", "json"), ("response_format.type", {"type": "xml"}),
        ("response_format.type", {}), ("response_format.json_schema.schema", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": {"type": "nothing"}}}),
        ("response_format.json_schema.schema",
         {"type": "json_schema", "json_schema": {"schema": {"enum": [object()]}}}),
        ("response_format.regex", {"type": "regex"}), ("response_format", {"type": "regex", "regex": "("}),
        ("response_format.grammar", {"type": "grammar", "grammar": 3}), ("chat_template_kwargs", []),
        ("chat_template_kwargs.tools", {"tools": []}), ("video_fps", 0), ("video_max_frames", 0),
    ],
)  # fmt: skip
def test_what_a_chat_can_t_be_asked(model: LanguageModel, argument: str, value: Any) -> None:
    name = argument.partition("[")[0].partition(".")[0]
    with pytest.raises(RequestError) as refused:
        model.chat(SUM, **{name: value})
    assert (refused.value.argument or "").startswith(argument) and argument in str(refused.value)


@pytest.mark.parametrize(
    ("argument", "messages"),
    [
        ("messages", None), ("messages", "hi"), ("messages", []), ("messages", {"role": "user"}),
        ("messages[0]", ["hi"]),
        ("messages[0].role", [{"content": "hi"}]), ("messages[0].role", [{"role": "robot", "content": "hi"}]),
        ("messages[0].role", [{"role": ["user"], "content": "hi"}]),
        ("messages[0].content", [{"role": "user"}]), ("messages[0].content", [{"role": "user", "content": 3}]),
        ("messages[0].tool_calls", [{"role": "user", "content": "a", "tool_calls": [{}]}]),
        ("messages[0].tool_calls", [{"role": "assistant", "content": "a", "tool_calls": "x"}]),
        ("messages[0].tool_calls[0].function", [{"role": "assistant", "tool_calls": [{}]}]),
        ("messages[0].tool_calls[0].function.name", [{"role": "assistant", "tool_calls": [{"function": {}}]}]),
        ("messages[0].tool_calls[0].function.arguments",
         [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": 3}}]}]),
        ("messages[1].tool_call_id", [*SUM, {"role": "tool", "content": "x"}]),
        ("messages[0].content[0]", [{"role": "assistant", "content": [{"type": "image", "image": "a"}]}]),
    ],
)  # fmt: skip
def test_what_is_no_conversation(model: LanguageModel, argument: str, messages: Any) -> None:
    with pytest.raises(RequestError) as refused:
        model.chat(messages)
    assert refused.value.argument == argument and argument in str(refused.value)
    with pytest.raises(RequestError):
        model.stream_chat(messages)


@pytest.mark.parametrize("prompt", [None, 3, "", [], [-1], [10**6], ["a"], [True], b"a"])
def test_what_is_no_prompt(model: LanguageModel, prompt: Any) -> None:
    with pytest.raises(RequestError, match="prompt") as refused:
        model.generate(prompt)
    assert refused.value.argument == "prompt"


def test_too_long(model: LanguageModel) -> None:
    with pytest.raises(RequestError, match="context holds") as refused:
        model.generate("word " * 20_000)
    assert (refused.value.argument, refused.value.code) == ("prompt", "context_length_exceeded")
    with pytest.raises(RequestError, match="lower max_tokens"):
        model.generate("a", max_tokens=10**6)


def test_arguments_that_there_are_not(model: LanguageModel) -> None:
    with pytest.raises(TypeError, match="no argument 'temprature'"):
        model.generate("a", temprature=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no argument 'tools'"):
        model.generate("a", tools=[])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_num_seqs": 0}, "max_num_seqs"), ({"nonsense": 1}, "nonsense"), ({"deterministic": "x"}, "deterministic"),
        ({"deterministic": True, "runtime_mode": "batched"}, "deterministic .* runtime_mode batched"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        LanguageModel("atelier-tiny", **options)
    assert "--" not in str(refused.value)


def test_where_no_model_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        LanguageModel(tmp_path)
    with pytest.raises(ModelError, match="no such folder"):
        LanguageModel("./nowhere")
    with pytest.raises(ModelError, match="`atelier download org/nowhere` gets it"):
        LanguageModel("org/nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    broken = LanguageModel(tmp_path)
    for _ in range(2):
        with pytest.raises(ModelError, match="No safetensors found"):
            broken.chat(SUM)
    assert not broken.is_loaded
