"""Tools as OpenAI's chat has them: what may be called, and whether it must be."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct, structs

from gateway import errors
from gateway.body import one_of

Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.:-]{1,128}$")]
MOST_TOOLS = 128
Choice = Literal["none", "auto", "required"]
ChoiceName = Annotated[str, one_of(get_args(Choice))]


class Function(Struct, omit_defaults=True):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct):
    type: Annotated[str, one_of(("function",))]
    function: Function | None = None


class NamedFunction(Struct):
    name: str


class NamedChoice(Struct):
    type: str | None = None
    function: NamedFunction | None = None
    name: str | None = None
    """Of the legacy `function_call`."""


Tools = Annotated[list[Tool], Meta(max_length=MOST_TOOLS)]
Functions = Annotated[list[Function], Meta(max_length=MOST_TOOLS)]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """tools: as chat templates expect them. name: the only one that may be called."""

    tools: list[dict[str, Any]] = field(default_factory=list)
    choice: Choice = "auto"
    name: str | None = None
    legacy: bool = False
    """They came as `functions`, and a call goes back as `function_call`."""


def tool_use(
    tools: list[Tool] | None,
    choice: str | NamedChoice | None,
    functions: list[Function] | None = None,
    function_call: str | NamedChoice | None = None,
) -> ToolUse:
    """Raises ApiError."""
    if functions is not None and tools:
        raise errors.invalid("`functions` and `tools` contradict each other; send `tools`.", param="functions")
    legacy = bool(functions)
    named = functions or [_function(tool, at) for at, tool in enumerate(tools or [])]
    param = "function_call" if legacy or function_call is not None else "tool_choice"
    kind, name = _choice(function_call if param == "function_call" else choice, param)
    names = [function.name for function in named]
    where = "functions" if legacy else "tools"
    twice = next((each for at, each in enumerate(names) if each in names[:at]), None)
    if twice is not None:
        raise errors.invalid(f"`{where}`: there are two functions named {errors.quote(twice)}.", param=where)
    if kind == "required" and not names:
        raise errors.invalid(f"`{param}` requires a call, but there are no `{where}`.", param=param)
    if name is not None and name not in names:
        raise errors.invalid(f"`{param}` names {errors.quote(name)}, which is not among `{where}`.", param=param)
    described = [{"type": "function", "function": _plain(function)} for function in named]
    return ToolUse(described, kind, name, legacy)


def _function(tool: Tool, at: int) -> Function:
    if tool.type != "function":
        raise errors.invalid(f"`tools[{at}].type` must be `function`.", param=f"tools[{at}].type")
    if tool.function is None:
        raise errors.invalid(f"`tools[{at}].function` is required.", param=f"tools[{at}].function")
    return tool.function


def _choice(choice: str | NamedChoice | None, param: str) -> tuple[Choice, str | None]:
    match choice:
        case None:
            return "auto", None
        case "none" | "auto" | "required":
            return choice, None
        case NamedChoice(function=NamedFunction(name)):
            return "required", name
        case NamedChoice(name=str() as name) if param == "function_call":
            return "required", name
    raise errors.invalid(
        f"`{param}` must be none, auto, required, or "
        + ('{"name": …}.' if param == "function_call" else '{"type": "function", "function": {"name": …}}.'),
        param=param,
    )


def _plain(function: Function) -> dict[str, Any]:
    """Without what the client left out: it would only make the prompt longer."""
    return {name: value for name, value in structs.asdict(function).items() if value is not None}
