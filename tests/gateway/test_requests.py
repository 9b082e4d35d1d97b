"""What each dialect's body becomes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from inference.engine import protocol
from inference.sampling import DEFAULT_TEMPERATURE, fold
from tests.gateway.bodies import CALLS, TOOL, USER, chat, completion, principal


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
