"""Answers as models of each family write them, and what a client is to be told.

Written down from the families' chat templates and the parsers' own expressions.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recorded:
    form: str
    """The parser's name."""
    case: str
    answer: str
    calls: list[tuple[str, dict[str, Any]]]
    text: str = ""
    reasoning: str = ""
    thoughts: str = "none"
    """The reasoning parser's name."""

    def __str__(self) -> str:
        return f"{self.form}-{self.case}"


def _tool(name: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


STRING = {"type": "string"}
TOOLS = [
    _tool("get_weather", city=STRING, days={"type": "integer"}),
    _tool("write_file", path=STRING, content=STRING),
    _tool("plan", steps={"type": "array"}, options={"type": "object"}, urgent={"type": "boolean"}, note=STRING),
    _tool("get_time"),
]

PARIS = ("get_weather", {"city": "Paris"})
SAO_PAULO = ("get_weather", {"city": "São Paulo 🌧", "days": 3})
PLAN = ("plan", {"steps": ["a", {"b": [1, 2.5, None]}], "options": {"x": {"y": True}}, "urgent": False})
CODE = "if (x < \"1\") {\n  say('}])>');\n}\n"
WRITE = ("write_file", {"path": "a.js", "content": CODE})
TIME = ("get_time", {})

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

QWEN3_CODER = [
    Recorded(
        "qwen3_coder",
        "text before",
        "Let me see.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n"
        "</tool_call>",
        [PARIS],
        "Let me see.",
    ),
    Recorded(
        "qwen3_coder",
        "several",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nSão Paulo 🌧\n</parameter>\n<parameter=days>\n3\n"
        "</parameter>\n</function>\n</tool_call>",
        [PARIS, SAO_PAULO],
    ),
    Recorded(
        "qwen3_coder",
        "nested",
        '<tool_call>\n<function=plan>\n<parameter=steps>\n["a", {"b": [1, 2.5, null]}]\n</parameter>\n'
        '<parameter=options>\n{"x": {"y": true}}\n</parameter>\n<parameter=urgent>\nfalse\n</parameter>\n</function>\n'
        "</tool_call>",
        [PLAN],
    ),
    Recorded(
        "qwen3_coder",
        "code",
        f"<tool_call>\n<function=write_file>\n<parameter=path>\na.js\n</parameter>\n<parameter=content>\n{CODE}\n"
        "</parameter>\n</function>\n</tool_call>",
        [WRITE],
    ),
    Recorded(
        "qwen3_coder",
        "marks inside",
        "<tool_call>\n<function=write_file>\n<parameter=path>\nnull\n</parameter>\n<parameter=content>\n"
        "\n<tool_call>\n<function=f>\n</function>\n</tool_call>\n\n</parameter>\n</function>\n</tool_call>",
        [("write_file", {"path": None, "content": "\n<tool_call>\n<function=f>\n</function>\n</tool_call>\n"})],
    ),
    Recorded(
        "qwen3_coder",
        "what is no number",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nnullified\n</parameter>\n<parameter=days>\nfew\n"
        "</parameter>\n</function>\n</tool_call>",
        [("get_weather", {"city": "nullified", "days": "few"})],
    ),
    Recorded("qwen3_coder", "no arguments", "<tool_call>\n<function=get_time>\n</function>\n</tool_call>", [TIME]),
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

KIMI_K3 = [
    Recorded(
        "kimi_k3",
        "thought, text and calls",
        "<|open|>think<|sep|>Two cities.<|close|>think<|sep|><|open|>response<|sep|>Both.<|close|>response<|sep|>"
        '<|open|>tools<|sep|>\n<|open|>call tool="get_weather" index="1"<|sep|>\n<|open|>argument key="city" '
        'type="string"<|sep|>Paris<|close|>argument<|sep|>\n<|close|>call<|sep|>\n<|open|>call tool="get_weather" '
        'index="2"<|sep|><|open|>json type="object"<|sep|>{"city": "São Paulo 🌧", "days": 3}<|close|>json<|sep|>'
        "<|close|>call<|sep|>\n<|close|>tools<|sep|><|close|>message<|sep|>",
        [PARIS, SAO_PAULO],
        "Both.",
        "Two cities.",
        "kimi_k3",
    ),
    Recorded(
        "kimi_k3",
        "nested",
        '<|open|>tools<|sep|><|open|>call tool="plan" index="1"<|sep|><|open|>argument key="steps" type="array"<|sep|>'
        '["a", {"b": [1, 2.5, null]}]<|close|>argument<|sep|><|open|>argument key="options" type="object"<|sep|>'
        '{"x": {"y": true}}<|close|>argument<|sep|><|open|>argument key="urgent" type="boolean"<|sep|>false'
        "<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>",
        [PLAN],
    ),
    Recorded(
        "kimi_k3",
        "code",
        '<|open|>tools<|sep|><|open|>call tool="write_file" index="1"<|sep|><|open|>argument key="path" type="string"'
        '<|sep|>a.js<|close|>argument<|sep|><|open|>argument key="content" type="string"<|sep|>'
        f"{CODE}<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>",
        [WRITE],
    ),
]

GEMMA4 = [
    Recorded(
        "gemma4",
        "after a thought",
        "<|channel>thought\nParis, then.\n<channel|>I look.\n"
        '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
        [PARIS],
        "I look.",
        "Paris, then.",
        "gemma4",
    ),
    Recorded(
        "gemma4",
        "several",
        '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|><|tool_call>call:get_weather'
        '{city:<|"|>São Paulo 🌧<|"|>,days:3}<tool_call|>',
        [PARIS, SAO_PAULO],
    ),
    Recorded(
        "gemma4",
        "nested",
        '<|tool_call>call:plan{steps:[<|"|>a<|"|>,{b:[1,2.5,null]}],options:{x:{y:true}},urgent:false}<tool_call|>',
        [PLAN],
    ),
    Recorded(
        "gemma4",
        "code",
        f'<|tool_call>call:write_file{{path:<|"|>a.js<|"|>,content:<|"|>{CODE}<|"|>}}<tool_call|>',
        [WRITE],
    ),
    Recorded(
        "gemma4",
        "marks inside",
        '<|tool_call>call:write_file{path:<|"|>} p<|"|>,content:<|"|>a}<tool_call|> {b:1}, <|"|>}<tool_call|>'
        "<|tool_call>call:get_time{}<tool_call|>",
        [("write_file", {"path": "} p", "content": "a}<tool_call|> {b:1}, "}), TIME],
    ),
]

FUNCTION_GEMMA = [
    Recorded(
        "function_gemma",
        "several",
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>}<end_function_call><start_function_call>"
        "call:get_weather{city:<escape>São Paulo 🌧<escape>,days:3}<end_function_call>",
        [PARIS, SAO_PAULO],
    ),
    Recorded(
        "function_gemma",
        "nested",
        "So: <start_function_call>call:plan{steps:[<escape>a<escape>,{b:[1,2.5,null]}],options:{x:{y:true}},"
        "urgent:false}<end_function_call>",
        [PLAN],
        "So:",
    ),
    Recorded(
        "function_gemma",
        "code",
        "<start_function_call>call:write_file{path:<escape>a.js<escape>,content:<escape>"
        f"{CODE}<escape>}}<end_function_call>",
        [WRITE],
    ),
]


def _pairs(form: str, prefix: str) -> list[Recorded]:
    """GLM's way, LongCat's and Laguna's."""
    start, end = f"<{prefix}tool_call>", f"</{prefix}tool_call>"

    def pair(key: str, value: str, between: str = "") -> str:
        return (
            f"<{prefix}arg_key>{key}</{prefix}arg_key>{between}<{prefix}arg_value>{value}</{prefix}arg_value>{between}"
        )

    steps, options = '["a", {"b": [1, 2.5, null]}]', '{"x": {"y": true}}'
    return [
        Recorded(
            form,
            "text before",
            f"One moment.\n{start}get_weather\n{pair('city', 'Paris', chr(10))}{end}",
            [PARIS],
            "One moment.",
        ),
        Recorded(
            form,
            "several",
            f"{start}get_weather{pair('city', 'Paris')}{end}\n"
            f"{start}get_weather{pair('city', 'São Paulo 🌧')}{pair('days', '3')}{end}",
            [PARIS, SAO_PAULO],
        ),
        Recorded(
            form,
            "nested",
            f"{start}plan{pair('steps', steps)}{pair('options', options)}{pair('urgent', 'false')}{end}",
            [PLAN],
        ),
        Recorded(
            form,
            "marks inside",
            f"{start}write_file{pair('path', 'null')}{pair('content', f'{start}f{end} {end} <b>')}{end}",
            [("write_file", {"path": "null", "content": f"{start}f{end} {end} <b>"})],
        ),
        Recorded(form, "no arguments", f"{start}get_time{end}", [TIME]),
    ]


MINIMAX_M2 = [
    Recorded(
        "minimax_m2",
        "several",
        '<think>Hm.</think>\n\nBoth.\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris'
        '</parameter>\n</invoke>\n<invoke name="get_weather">\n<parameter name="city">São Paulo 🌧</parameter>\n'
        '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
        [PARIS, SAO_PAULO],
        "Both.",
        "Hm.",
        "think",
    ),
    Recorded(
        "minimax_m2",
        "nested",
        '<minimax:tool_call><invoke name="plan"><parameter name="steps">["a", {"b": [1, 2.5, null]}]</parameter>'
        '<parameter name="options">{"x": {"y": true}}</parameter><parameter name="urgent">false</parameter></invoke>'
        "</minimax:tool_call>",
        [PLAN],
    ),
    Recorded(
        "minimax_m2",
        "marks inside",
        '<minimax:tool_call><invoke name="write_file"><parameter name="path">null</parameter>'
        '<parameter name="content"></invoke></minimax:tool_call> "{</parameter></invoke></minimax:tool_call>',
        [("write_file", {"path": None, "content": '</invoke></minimax:tool_call> "{'})],
    ),
]

NS = "]<]minimax[>["
MINIMAX_M3 = [
    Recorded(
        "minimax_m3",
        "several",
        f'<mm:think>Hm.</mm:think>Both.\n{NS}<tool_call>\n{NS}<invoke name="get_weather">{NS}<city>Paris{NS}</city>'
        f'{NS}</invoke>\n{NS}<invoke name="get_weather">{NS}<city>São Paulo 🌧{NS}</city>{NS}<days>3{NS}</days>'
        f"{NS}</invoke>\n{NS}</tool_call>",
        [PARIS, SAO_PAULO],
        "Both.",
        "Hm.",
        "minimax_m3",
    ),
    Recorded(
        "minimax_m3",
        "nested",
        f'{NS}<tool_call>{NS}<invoke name="plan">{NS}<steps>{NS}<item>a{NS}</item>{NS}<item>{NS}<b>{NS}<item>1'
        f"{NS}</item>{NS}<item>2.5{NS}</item>{NS}<item>null{NS}</item>{NS}</b>{NS}</item>{NS}</steps>{NS}<options>"
        f"{NS}<x>{NS}<y>true{NS}</y>{NS}</x>{NS}</options>{NS}<urgent>false{NS}</urgent>{NS}</invoke>{NS}</tool_call>",
        [("plan", {**PLAN[1], "options": {"x": {"y": "true"}}})],  # of what no schema describes, text is text
    ),
    Recorded(
        "minimax_m3",
        "code",
        f'{NS}<tool_call>{NS}<invoke name="write_file">{NS}<path>a.js{NS}</path>{NS}<content>{CODE}{NS}</content>'
        f"{NS}</invoke>{NS}</tool_call>",
        [("write_file", {"path": "a.js", "content": CODE.rstrip()})],  # its parser trims
    ),
]

PYTHONIC = [
    Recorded(
        "pythonic",
        "several",
        "Both: <|tool_call_start|>[get_weather(city='Paris'), get_weather(city=\"São Paulo 🌧\", days=3)]"
        "<|tool_call_end|>Checking.",
        [PARIS, SAO_PAULO],
        "Both:Checking.",
    ),
    Recorded(
        "pythonic",
        "nested",
        '<|tool_call_start|>[plan(steps=["a", {"b": [1, 2.5, None]}], options={"x": {"y": true}}, urgent=False)]'
        "<|tool_call_end|>",
        [PLAN],
    ),
    Recorded(
        "pythonic",
        "code",
        f"<|tool_call_start|>[write_file(path='a.js', content={CODE!r}), get_time()]<|tool_call_end|>",
        [WRITE, TIME],
    ),
]

MINICPM5 = [
    Recorded(
        "minicpm5",
        "several",
        'Both <functions> of it.\n<function name="get_weather"><param name="city">Paris</param></function>\n'
        '<function name="get_weather"><param name="city">São Paulo 🌧</param><param name="days">3</param></function>',
        [PARIS, SAO_PAULO],
        "Both <functions> of it.",
    ),
    Recorded(
        "minicpm5",
        "nested",
        '<function name="plan"><param name="steps">["a", {"b": [1, 2.5, null]}]</param><param name="options">'
        '{"x": {"y": true}}</param><param name="urgent">False</param></function>',
        [PLAN],
    ),
    Recorded(
        "minicpm5",
        "marks inside",
        '<function name="write_file"><param name="path">a.js</param><param name="content"><![CDATA['
        f'{CODE}<function name="f"></function>]]></param></function><function name="get_time"></function>',
        [("write_file", {"path": "a.js", "content": f'{CODE}<function name="f"></function>'}), TIME],
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


def _muse(form: str) -> list[Recorded]:
    call = '<atem:invoke name="get_weather">\n<atem:parameter name="city">{}</atem:parameter>{}\n</atem:invoke>\n'
    return [
        Recorded(
            form,
            "thought, call and answer",
            " to=self<|message|>Look it up.<|eom|><|start|>assistant to=get_weather<|message|><atem:function_calls>\n"
            + call.format("Paris", "")
            + "</atem:function_calls><|eom|><|start|>assistant to=user<|message|>One moment.<|eot|>",
            [PARIS],
            "One moment.",
            "Look it up.",
            "muse",
        ),
        Recorded(
            form,
            "several",
            "<atem:function_calls>\n"
            + call.format("Paris", "")
            + call.format("São Paulo 🌧", '<atem:parameter name="days">3</atem:parameter>')
            + '<atem:invoke name="get_time">\n</atem:invoke>\n</atem:function_calls>',
            [PARIS, SAO_PAULO, TIME],
        ),
        Recorded(
            form,
            "nested",
            '<atem:function_calls><atem:invoke name="plan"><atem:parameter name="steps">["a", {"b": [1, 2.5, null]}]'
            '</atem:parameter><atem:parameter name="options">{"x": {"y": true}}</atem:parameter>'
            '<atem:parameter name="urgent">false</atem:parameter></atem:invoke></atem:function_calls>',
            [PLAN],
        ),
        Recorded(
            form,
            "marks inside",
            '<atem:function_calls><atem:invoke name="write_file"><atem:parameter name="path">"p"</atem:parameter>'
            '<atem:parameter name="content">a </atem:function_calls> {</atem:parameter></atem:invoke>'
            "</atem:function_calls>",
            [("write_file", {"path": "p", "content": "a </atem:function_calls> {"})],
        ),
    ]


RECORDED = [
    *JSON_TOOLS,
    *QWEN3_CODER,
    *MISTRAL,
    *KIMI_K2,
    *KIMI_K3,
    *GEMMA4,
    *FUNCTION_GEMMA,
    *_pairs("glm47", ""),
    *_pairs("laguna", ""),
    *_pairs("longcat", "longcat_"),
    *MINIMAX_M2,
    *MINIMAX_M3,
    *PYTHONIC,
    *MINICPM5,
    *COHERE,
    *HARMONY,
    *_muse("atem"),
    *_muse("muse_spark"),
]
