"""LlamaIndex's OpenAILike, for servers that speak OpenAI's chat."""

from importlib.metadata import version
from typing import Any

import cells
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


def model(**options: Any) -> OpenAILike:
    known = {"api_base": f"{cells.BASE_URL}/v1", "api_key": cells.KEY, "model": cells.MODEL, "temperature": 0}
    abilities = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8192}
    return OpenAILike(**{**known, **abilities, **options})


class Person(BaseModel):
    name: str
    age: int
    city: str


class book_table(BaseModel):
    """Book a table"""

    people: int
    day: str


get_weather = FunctionTool.from_defaults(cells.get_weather)
QUESTION = [ChatMessage(cells.QUESTION)]


def chat() -> dict[str, Any]:
    return {"text": model().chat(QUESTION).message.content}


def stream() -> dict[str, Any]:
    question = [ChatMessage(cells.LONG_QUESTION)]
    pieces = [chunk.delta for chunk in model().stream_chat(question) if chunk.delta]
    return {"pieces": pieces, "whole": model().chat(question).message.content}


def loop(say: Any) -> dict[str, Any]:
    messages = [ChatMessage(cells.WEATHER_QUESTION)]
    said = say(messages)
    [call] = model().get_tool_calls_from_response(said)
    result = get_weather(**call.tool_kwargs).content
    messages += [
        said.message,
        ChatMessage(result, role=MessageRole.TOOL, additional_kwargs={"tool_call_id": call.tool_id}),
    ]
    return {"call": {"name": call.tool_name, "arguments": call.tool_kwargs}, "answer": say(messages).message.content}


def tool_loop() -> dict[str, Any]:
    return loop(lambda messages: model().chat_with_tools([get_weather], chat_history=messages))


def streamed_tool_loop() -> dict[str, Any]:
    def say(messages: list[ChatMessage]) -> Any:
        *_, last = model().stream_chat_with_tools([get_weather], chat_history=messages)
        return last

    return loop(say)


def structured() -> dict[str, Any]:
    schemas = model(should_use_structured_outputs=True).as_structured_llm(Person)
    tools = model().as_structured_llm(book_table)
    return {
        "by_schema": schemas.chat([ChatMessage(cells.PERSON_QUESTION)]).raw.model_dump(),
        "by_tool": tools.chat([ChatMessage(cells.BOOKING_QUESTION)]).raw.model_dump(),
    }


def errors() -> dict[str, Any]:
    def ask(**options: Any) -> dict[str, Any]:
        return cells.raised(lambda: model(**options).chat(QUESTION))

    return {
        "wrong_key": ask(api_key=cells.WRONG_KEY),
        "unknown_model": ask(model=cells.UNKNOWN_MODEL),
        # LlamaIndex checks its own `temperature`; this one goes out as it is.
        "bad_request": ask(additional_kwargs={"temperature": cells.BAD_TEMPERATURE}),
    }


cells.report(
    version("llama-index-llms-openai-like"),
    chat=chat,
    stream=stream,
    tool_loop=tool_loop,
    streamed_tool_loop=streamed_tool_loop,
    structured=structured,
    errors=errors,
)
