"""Recorded answers of the formats whose calls have an argument's text between tags."""

from tests.engine.recorded_calls import CODE, PARIS, PLAN, SAO_PAULO, TIME, WRITE, Recorded

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


IN_TAGS = [*QWEN3_CODER, *MINIMAX_M2, *_pairs("glm47", ""), *_pairs("laguna", ""), *_pairs("longcat", "longcat_")]
