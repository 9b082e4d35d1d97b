"""Recorded answers of the formats whose calls are read when they are whole."""

from tests.engine.recorded_calls import CODE, PARIS, PLAN, SAO_PAULO, TIME, WRITE, Recorded

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


READ_WHOLE = [
    *KIMI_K3, *GEMMA4, *FUNCTION_GEMMA, *MINIMAX_M3, *PYTHONIC, *MINICPM5, *_muse("atem"), *_muse("muse_spark"),
]  # fmt: skip
