"""Recorded answers of the formats whose calls are JSON."""

from tests.engine.recorded_calls import PARIS, PLAN, SAO_PAULO, TIME, WRITE, Recorded

JSON_TOOLS = [
    Recorded(
        "json_tools",
        "text before",
        'I will look.\n\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        [PARIS],
        "I will look.",
    ),
    Recorded(
        "json_tools",
        "several",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>\n<tool_call>\n'
        '{"arguments": {"city": "S\\u00e3o Paulo 🌧", "days": 3}, "name": "get_weather"}\n</tool_call>\n',
        [PARIS, SAO_PAULO],
    ),
    Recorded(
        "json_tools",
        "nested",
        '<tool_call>{"name": "plan", "arguments": {"steps": ["a", {"b": [1, 2.5, null]}], '
        '"options": {"x": {"y": true}}, "urgent": false}}</tool_call>',
        [PLAN],
    ),
    Recorded(
        "json_tools",
        "code",
        '<tool_call>\n{"name": "write_file", "arguments": {"path": "a.js", "content": '
        '"if (x < \\"1\\") {\\n  say(\'}])>\');\\n}\\n"}}\n</tool_call>',
        [WRITE],
    ),
    Recorded(
        "json_tools",
        "marks inside",
        '<tool_call>\n{"name": "write_file", "arguments": {"path": "p", "content": '
        '"<tool_call>{}</tool_call> and </tool_call> <think>"}}\n</tool_call>\nDone.',
        [("write_file", {"path": "p", "content": "<tool_call>{}</tool_call> and </tool_call> <think>"})],
        "Done.",
        thoughts="think",
    ),
    Recorded(
        "json_tools",
        "bad escapes",
        '<tool_call>\n{"name": "write_file", "arguments": {"path": "a\\d", "content": "one\ntwo\tthree"}}\n'
        "</tool_call>",
        [("write_file", {"path": "a\\d", "content": "one\ntwo\tthree"})],
    ),
    Recorded(
        "json_tools",
        "no arguments",
        '<tool_call>{"name": "get_time"}</tool_call><tool_call>{"name": "get_time", "arguments": null}</tool_call>'
        '<tool_call>{"name": "get_time", "arguments": "{}"}</tool_call>',
        [TIME, TIME, TIME],
    ),
    Recorded(
        "json_tools",
        "a list, and an end that was forgotten",
        '<tool_call>[{"name": "get_time", "arguments": {}}, {"name": "get_weather", "arguments": {"city": "Paris"}}]'
        '\n<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>',
        [TIME, PARIS, TIME],
    ),
    Recorded(
        "json_tools",
        "after a thought",
        "<think>\nWhere? Paris.\n</think>\n\nLooking:\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        [PARIS],
        "Looking:",
        "Where? Paris.",
        "think",
    ),
]

MISTRAL = [
    Recorded(
        "mistral",
        "header",
        'Sure.[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}',
        [PARIS],
        "Sure.",
    ),
    Recorded(
        "mistral",
        "several",
        '[TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{"city": "Paris"}[TOOL_CALLS]get_weather[ARGS]'
        '{"city": "São Paulo 🌧", "days": 3}',
        [PARIS, SAO_PAULO],
    ),
    Recorded(
        "mistral",
        "list",
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "abcdefghi"}, '
        '{"name": "plan", "arguments": {"steps": ["a", {"b": [1, 2.5, null]}], '
        '"options": {"x": {"y": true}}, "urgent": false}}]',
        [PARIS, PLAN],
    ),
    Recorded(
        "mistral",
        "marks inside",
        '[THINK]So.[/THINK][TOOL_CALLS]write_file[ARGS]{"path": "p", "content": "[TOOL_CALLS]f[ARGS]{} [THINK] \\"}"}',
        [("write_file", {"path": "p", "content": '[TOOL_CALLS]f[ARGS]{} [THINK] "}'})],
        reasoning="So.",
        thoughts="magistral",
    ),
]

KIMI_K2 = [
    Recorded(
        "kimi_k2",
        "several",
        "Both.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"city": "Paris"}<|tool_call_end|><|tool_call_begin|>functions.get_weather:1<|tool_call_argument_begin|>'
        '{"city": "São Paulo 🌧", "days": 3}<|tool_call_end|><|tool_calls_section_end|>',
        [PARIS, SAO_PAULO],
        "Both.",
    ),
    Recorded(
        "kimi_k2",
        "nested",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.plan:0 <|tool_call_argument_begin|> "
        '{"steps": ["a", {"b": [1, 2.5, null]}], "options": {"x": {"y": true}}, "urgent": false} <|tool_call_end|>'
        "<|tool_calls_section_end|>",
        [PLAN],
    ),
    Recorded(
        "kimi_k2",
        "marks inside",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.write_file:7<|tool_call_argument_begin|>"
        '{"path": "p", "content": "<|tool_call_end|><|tool_calls_section_end|> {"}<|tool_call_end|>'
        "<|tool_call_begin|>get_time:8<|tool_call_argument_begin|><|tool_call_end|><|tool_calls_section_end|>",
        [("write_file", {"path": "p", "content": "<|tool_call_end|><|tool_calls_section_end|> {"}), TIME],
    ),
]

COHERE = [
    Recorded(
        "cohere2_moe",
        "after a thought",
        "<|START_THINKING|>Both.<|END_THINKING|><|START_ACTION|>[\n"
        '    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Paris"}},\n'
        '    {"tool_call_id": "1", "tool_name": "get_weather", "parameters": {"city": "São Paulo 🌧", "days": 3}}\n'
        "]<|END_ACTION|>",
        [PARIS, SAO_PAULO],
        "",
        "Both.",
        "cohere",
    ),
    Recorded(
        "cohere2_moe",
        "nested and marked",
        '<|START_ACTION|>[{"tool_name": "plan", "parameters": {"steps": ["a", {"b": [1, 2.5, null]}], '
        '"options": {"x": {"y": true}}, "urgent": false}}, {"tool_name": "write_file", "parameters": '
        '{"path": "<|END_ACTION|>", "content": "}] \\" a\\|b"}}]<|END_ACTION|>',
        [PLAN, ("write_file", {"path": "<|END_ACTION|>", "content": '}] " a\\|b'})],
    ),
    Recorded(
        "cohere2_moe",
        "answer",
        "<|START_THINKING|>Easy.<|END_THINKING|><|START_RESPONSE|>Four.<|END_RESPONSE|>",
        [],
        "Four.",
        "Easy.",
        "cohere",
    ),
]

HARMONY = [
    Recorded(
        "harmony",
        "after a thought",
        "<|channel|>analysis<|message|>Use the tool.<|end|><|start|>assistant<|channel|>commentary to="
        'functions.get_weather <|constrain|>json<|message|>{"city":"Paris"}<|call|>',
        [PARIS],
        "",
        "Use the tool.",
        "harmony",
    ),
    Recorded(
        "harmony",
        "a preamble, and both orders",
        "<|channel|>commentary<|message|>Both.<|end|><|start|>assistant to=functions.get_weather<|channel|>commentary "
        'json<|message|>{"city":"Paris"}<|call|><|start|>assistant<|channel|>analysis to=functions.get_weather code'
        '<|message|>{"city": "São Paulo 🌧", "days": 3}<|call|>',
        [PARIS, SAO_PAULO],
        "Both.",
        thoughts="harmony",
    ),
    Recorded(
        "harmony",
        "marks inside",
        "<|channel|>analysis<|message|>Go.<|channel|>commentary to=functions.plan <|constrain|>json<|message|>"
        '{"steps": ["a", {"b": [1, 2.5, null]}], "options": {"x": {"y": true}}, "urgent": false}<|call|>'
        "<|start|>assistant<|channel|>commentary to=functions.write_file <|constrain|>json<|message|>"
        '{"path": "<|call|>", "content": "<|start|>assistant"}<|call|>',
        [PLAN, ("write_file", {"path": "<|call|>", "content": "<|start|>assistant"})],
        "",
        "Go.",
        "harmony",
    ),
    Recorded(
        "harmony",
        "no arguments",
        "<|channel|>commentary to=functions.get_time <|constrain|>json<|message|>",
        [TIME],
        thoughts="harmony",
    ),
    Recorded(
        "harmony",
        "answer",
        "<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final<|message|>Four.",
        [],
        "Four.",
        "Easy.",
        "harmony",
    ),
    Recorded(
        "harmony",
        "JSON as the answer",
        '<|channel|>final <|constrain|>json<|message|>{"sum": 4}',
        [],
        '{"sum": 4}',
        thoughts="harmony",
    ),
]

IN_JSON = [*JSON_TOOLS, *MISTRAL, *KIMI_K2, *COHERE, *HARMONY]
