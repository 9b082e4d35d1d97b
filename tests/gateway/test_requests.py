"""What each dialect's body becomes, and what it is refused for."""

import json
from dataclasses import replace
from typing import Any

import pytest

from accounts.authentication import Principal
from gateway.ask import DEFAULT_TEMPERATURE, Ask, fold
from gateway.chat import ChatCompletions
from gateway.completions import Completions
from gateway.context import RequestContext
from gateway.errors import ApiError
from inference.engine import protocol

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def chat(**fields: Any) -> tuple[Ask, RequestContext]:
    context = RequestContext.of_headers([])
    body = json.dumps({"model": "m", "messages": [USER], **fields}).encode()
    ask, _ = ChatCompletions().parse(body, context)
    return ask, context


def completion(**fields: Any) -> tuple[Ask, RequestContext]:
    context = RequestContext.of_headers([])
    body = json.dumps({"model": "m", "prompt": "once", **fields}).encode()
    ask, _ = Completions().parse(body, context)
    return ask, context


def refused(parse: Any, fields: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse(**fields)
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request_error"
    return caught.value


def principal(*, user_id: int, team_id: int | None = None, key_id: int = 1) -> Principal:
    return Principal(
        key_id=key_id, key_prefix="sk-atelier-1", user_id=user_id, username="u", team_id=team_id, expires_at=None
    )


SHARED_MISFITS = [
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_p": -1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"top_k": 1.5}, "top_k"),
    ({"min_p": 2}, "min_p"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"presence_penalty": 2.5}, "presence_penalty"),
    ({"frequency_penalty": -2.5}, "frequency_penalty"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": 2**40}, "max_tokens"),
    ({"seed": 2**63}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": ["a", None]}, "stop[1]"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a", ""]}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"stream": True, "stream_options": []}, "stream_options"),
    ({"logit_bias": {"5": 101}}, "logit_bias"),
    ({"logit_bias": {"five": 1}}, "logit_bias"),
    ({"logit_bias": {"-5": 1}}, "logit_bias"),
    ({"logit_bias": {"²": 1}}, "logit_bias"),
    ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
    ({"logit_bias": [5]}, "logit_bias"),
    ({"user": 5}, "user"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"n": "1"}, "n"),
    ({"xtc_probability": 1.1}, "xtc_probability"),
    ({"xtc_probability": -0.1}, "xtc_probability"),
    ({"xtc_probability": "often"}, "xtc_probability"),
    ({"xtc_threshold": 0.6}, "xtc_threshold"),
    ({"xtc_threshold": -0.1}, "xtc_threshold"),
    ({"xtc_threshold": [0.1]}, "xtc_threshold"),
    ({"include_diagnostics": "yes"}, "include_diagnostics"),
]


@pytest.mark.parametrize("parse", [chat, completion])
@pytest.mark.parametrize(("fields", "param"), SHARED_MISFITS)
def test_what_is_out_of_range_names_its_field(parse: Any, fields: dict[str, Any], param: str) -> None:
    error = refused(parse, fields)
    assert error.param == param
    assert f"`{param}`" in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages[1].tool_call_id"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "messages[0].name"),
        ({"messages": [CALLS, {"role": "tool", "content": "x", "tool_call_id": "c2"}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]}, "messages[0].tool_calls"),
        ({"messages": [{**CALLS, "tool_calls": [{**CALL, "type": "custom"}]}]}, "messages[0].tool_calls[0].type"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]},
            "messages[0].content[1]",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "odd"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]},
            "messages[0].tool_calls[0].function",
        ),
        ({"messages": [{"role": "assistant", "content": "", "audio": {"id": "x"}}]}, "messages[0].audio"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [TOOL], "functions": [TOOL["function"]]}, "functions"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "regex"}}, "response_format.regex"),
        ({"response_format": {"type": "grammar", "grammar": "x" * 300_000}}, "response_format.grammar"),
        ({"logprobs": 3}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"reasoning_effort": "endless"}, "reasoning_effort"),
        ({"enable_thinking": "no"}, "enable_thinking"),
        ({"max_thinking_tokens": -1}, "max_thinking_tokens"),
        ({"chat_template_kwargs": {"tokenize": 1}}, "chat_template_kwargs.tokenize"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"store": True}, "store"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"web_search_options": {}}, "web_search_options"),
    ],
)
def test_what_chat_cannot_do_names_its_field(fields: dict[str, Any], param: str) -> None:
    error = refused(chat, fields)
    # msgspec does not say which of a dictionary's values is wrong, but which dictionary.
    assert error.param == param
    assert f"`{param}`" in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a", 5]}, "prompt[1]"),
        ({"prompt": [[1], []]}, "prompt[1]"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [[["a"]]]}, "prompt[0][0]"),
        ({"prompt": [1, -1]}, "prompt[1]"),
        ({"prompt": [1, True]}, "prompt[1]"),
        ({"prompt": [2**40]}, "prompt[0]"),
        ({"prompt": [1, 2], "suffix": "end"}, "suffix"),
        ({"suffix": 5}, "suffix"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"echo": "yes"}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_completions_cannot_do_names_its_field(fields: dict[str, Any], param: str) -> None:
    assert refused(completion, fields).param == param


def test_nulls_and_neutral_values_are_defaults() -> None:
    plain, _ = chat(seed=1)
    said, context = chat(
        seed=1, n=1, tools=[], tool_choice="auto", functions=None, response_format={"type": "text"}, logprobs=False,
        top_logprobs=None, parallel_tool_calls=True, modalities=["text"], audio=None, store=False, service_tier="auto",
        metadata=None, user=None, verbosity=None, stop=None, temperature=None, top_p=None, logit_bias=None, stream=None,
        stream_options=None, max_tokens=None, max_completion_tokens=None, reasoning_effort=None,
        enable_thinking=None, top_k=None, min_p=None, repetition_penalty=None, include_diagnostics=False,
        xtc_probability=None, xtc_threshold=None,
    )  # fmt: skip
    assert said == plain
    assert context.ignored == []


def test_values_that_change_nothing_are_what_the_engine_gets_for_none() -> None:
    said, _ = chat(
        seed=1, temperature=1, top_p=1, top_k=-1, min_p=0, repetition_penalty=1, logit_bias={}, xtc_probability=0,
        xtc_threshold=0.1,
    )  # fmt: skip
    assert said.prompt.sampling == chat(seed=1)[0].prompt.sampling


def test_defaults_are_openais() -> None:
    ask, _ = chat()
    assert ask.prompt.sampling.temperature == DEFAULT_TEMPERATURE == 1.0
    assert ask.prompt.max_tokens is None
    assert not ask.stream


@pytest.mark.parametrize("parse", [chat, completion])
def test_sampling_reaches_the_engine(parse: Any) -> None:
    ask, context = parse(
        temperature=0.5, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1, presence_penalty=0.5,
        frequency_penalty=-0.5, seed=7, logit_bias={"5": -100, "6": 1.5}, max_tokens=9, stop="END",
        xtc_probability=0.25, xtc_threshold=0,
    )  # fmt: skip
    assert ask.prompt.sampling == protocol.Sampling(
        temperature=0.5, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1, presence_penalty=0.5,
        frequency_penalty=-0.5, seed=7, logit_bias={5: -100.0, 6: 1.5}, xtc_probability=0.25, xtc_threshold=0.0,
    )  # fmt: skip
    assert context.ignored == []
    assert ask.prompt.max_tokens == 9
    assert ask.prompt.stop == ["END"]


def test_the_engine_learns_what_was_left_out() -> None:
    everything = set(protocol.Sampling.__struct_fields__) - {"logprobs"}  # which no model has an opinion of
    assert set(chat()[0].prompt.omitted) == set(completion()[0].prompt.omitted) == everything
    said, _ = chat(temperature=1, top_k=0, top_p=None, seed=3, xtc_probability=0)
    assert set(said.prompt.omitted) == everything - {"temperature", "top_k", "seed", "xtc_probability"}


@pytest.mark.parametrize("fields", [{"temperature": 0}, {"temperature": 1, "top_p": 0}, {"top_p": 0}])
def test_no_randomness_is_greedy(fields: dict[str, Any]) -> None:
    prompt = chat(**fields)[0].prompt
    assert prompt.sampling.temperature == 0.0
    assert "temperature" not in prompt.omitted


def test_seeds_fold_into_32_bits_and_differ_without_one() -> None:
    assert [fold(seed) for seed in (0, 7, 2**32 - 1)] == [0, 7, 2**32 - 1]
    folded = [fold(seed) for seed in (-1, -2, 2**63 - 1, 2**40, 2**41)]
    assert all(0 <= seed < 2**32 for seed in folded)
    assert len(set(folded)) == len(folded)
    assert len({chat()[0].prompt.sampling.seed for _ in range(8)}) > 1


def test_messages_become_what_templates_expect() -> None:
    ask, _ = chat(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}],
                "name": "Al",
            },
            {"role": "assistant", "content": None, "refusal": "No."},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}], "tool_calls": None},
            {"role": "user", "content": ""},
        ]
    )
    assert ask.prompt.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello", "name": "Al"},
        {"role": "assistant", "content": "No."},
        {"role": "assistant", "content": "Never."},
        {"role": "user", "content": ""},
    ]
    assert ask.prompt_param == "messages"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("once", ["once"]),
        (["once"], ["once"]),
        (["once", "twice"], ["once", "twice"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2]], [[1, 2]]),
        (["once", [1, 2]], ["once", [1, 2]]),
    ],
)
def test_prompts_are_text_or_tokens_one_or_several(prompt: Any, expected: list[Any]) -> None:
    ask, _ = completion(prompt=prompt, n=2)
    assert ask.prompt.prompts == expected
    assert ask.prompt.messages is None
    assert ask.choices == 2 * len(expected)


def test_calls_and_their_results_become_what_templates_expect() -> None:
    ask, _ = chat(
        messages=[
            USER,
            {**CALLS, "reasoning_content": "hm"},
            {"role": "tool", "content": [{"type": "text", "text": "21"}], "tool_call_id": "c1"},
            {"role": "assistant", "content": None, "function_call": {"name": "g", "arguments": "not json"}},
            {"role": "function", "content": "x", "name": "g"},
        ]
    )
    assert ask.prompt.messages is not None
    _, called, answered, legacy, function = ask.prompt.messages
    assert called["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert (called["content"], called["reasoning_content"]) == ("", "hm")
    assert answered == {"role": "tool", "content": "21", "tool_call_id": "c1", "name": "f"}
    assert legacy["tool_calls"][0]["function"]["arguments"] == "not json"
    assert (function["role"], function["name"]) == ("tool", "g")


@pytest.mark.parametrize(
    ("fields", "choice", "name"),
    [
        ({"tools": [TOOL]}, "auto", None),
        ({"tools": [TOOL], "tool_choice": "none"}, "none", None),
        ({"tools": [TOOL], "tool_choice": "required"}, "required", None),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "required", "f"),
        ({"functions": [TOOL["function"]]}, "auto", None),
        ({"functions": [TOOL["function"]], "function_call": {"name": "f"}}, "required", "f"),
    ],
)
def test_tools_reach_the_engine(fields: dict[str, Any], choice: str, name: str | None) -> None:
    prompt = chat(**fields)[0].prompt
    assert prompt.tools == [TOOL]
    assert (prompt.tool_choice, prompt.tool_name) == (choice, name)


@pytest.mark.parametrize(
    ("fields", "template"),
    [
        ({"reasoning_effort": "none"}, {"enable_thinking": False}),
        ({"reasoning_effort": "low"}, {"enable_thinking": True, "reasoning_effort": "low"}),
        ({"reasoning_effort": "low", "enable_thinking": False}, {"enable_thinking": False, "reasoning_effort": "low"}),
        ({"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
    ],
)
def test_thinking_reaches_the_template(fields: dict[str, Any], template: dict[str, Any]) -> None:
    assert chat(**fields)[0].prompt.template == template


def test_forms_reach_the_engine() -> None:
    def form(**fields: Any) -> protocol.Format | None:
        return chat(response_format=fields)[0].prompt.format

    assert form(type="text") is None
    assert form(type="json_object") == protocol.Format("json_object")
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    said = form(type="json_schema", json_schema={"name": "x", "schema": schema, "strict": True})
    assert said is not None and list(json.loads(said.text)["properties"]) == ["b", "a"]
    assert form(type="regex", regex="a+") == protocol.Format("regex", "a+")
    assert form(type="grammar", grammar='start: "a"') == protocol.Format("grammar", 'start: "a"')


@pytest.mark.parametrize(
    ("own", "first", "given"),
    [
        ("api", "api", {None: "api", "auto": "api", "default": "api", "flex": "batch", "priority": "api"}),
        ("api", "interactive", {None: "api", "default": "api", "flex": "batch", "priority": "interactive"}),
        ("interactive", "interactive", {None: "interactive", "auto": "interactive", "default": "api", "flex": "batch"}),
        ("batch", "batch", {None: "batch", "default": "batch", "priority": "batch"}),
    ],
)
def test_a_service_tier_is_a_class_that_the_key_may_have(own: str, first: str, given: dict[str | None, str]) -> None:
    who = replace(principal(user_id=1), priority=own, highest_class=first, weight=2.5)
    for tier, expected in given.items():
        asked = chat(service_tier=tier)[0].of(record_id="r", principal=who)
        assert (asked.priority, asked.weight) == (expected, 2.5), tier


def test_turns_are_the_accounts_and_not_what_the_body_says() -> None:
    ask, _ = chat(user="someone else")
    request = ask.of(record_id="req_1", principal=principal(user_id=42))
    assert (request.id, request.user) == ("req_1", "42")
    assert (request.priority, request.weight) == ("api", 1.0)
    assert ask.prompt.id == "" and ask.prompt.salt == ""


def test_a_team_shares_cached_prompts_and_nobody_else_does() -> None:
    def salt(**who: Any) -> str:
        return chat()[0].of(record_id="req_1", principal=principal(**who)).salt

    assert salt(user_id=1, team_id=7) == salt(user_id=2, team_id=7)
    apart = [salt(user_id=1, team_id=7), salt(user_id=1, team_id=8), salt(user_id=7), salt(user_id=8), salt(user_id=1)]
    assert "" not in apart and len(set(apart)) == len(apart)
    assert salt(user_id=7) == salt(user_id=7, key_id=2)


def test_what_has_no_effect_is_named_once() -> None:
    _, context = chat(
        prediction={"type": "content"}, unheard_of=1, verbosity="low", stream=True,
        stream_options={"include_obfuscation": False},
        messages=[USER, {**USER, "weight": 1}, {**USER, "weight": 0}],
    )  # fmt: skip
    assert set(context.ignored) == {
        "prediction", "unheard_of", "verbosity", "stream_options.include_obfuscation", "messages.weight",
    }  # fmt: skip
    assert len(context.ignored) == 5
    assert completion(unheard_of=1)[1].ignored == ["unheard_of"]


def test_the_estimate_grows_with_the_prompt() -> None:
    short, long = chat()[0], chat(messages=[{"role": "user", "content": "word " * 1000}])[0]
    assert 0 < short.estimated_prompt_tokens() < 20
    assert 1000 < long.estimated_prompt_tokens() < 2000
    assert completion(prompt=[1, 2, 3])[0].estimated_prompt_tokens() == 3
