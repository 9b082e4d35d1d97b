"""LangChain's ChatOpenAI."""

from importlib.metadata import version
from typing import Any

import cells
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


def model(**options: Any) -> ChatOpenAI:
    known = {"base_url": f"{cells.BASE_URL}/v1", "api_key": cells.KEY, "model": cells.MODEL, "temperature": 0}
    return ChatOpenAI(**{**known, **options})


class Person(BaseModel):
    name: str
    age: int
    city: str


class book_table(BaseModel):
    """Book a table"""

    people: int
    day: str


get_weather = tool(cells.get_weather)


def chat() -> dict[str, Any]:
    return {"text": model().invoke(cells.QUESTION).content}


def stream() -> dict[str, Any]:
    pieces = [chunk.content for chunk in model().stream(cells.LONG_QUESTION) if chunk.content]
    return {"pieces": pieces, "whole": model().invoke(cells.LONG_QUESTION).content}


def loop(say: Any) -> dict[str, Any]:
    messages: list[Any] = [HumanMessage(cells.WEATHER_QUESTION)]
    said: AIMessage = say(messages)
    [call] = said.tool_calls
    messages += [said, get_weather.invoke(call)]
    return {"call": {"name": call["name"], "arguments": call["args"]}, "answer": say(messages).content}


def tool_loop() -> dict[str, Any]:
    return loop(model().bind_tools([get_weather]).invoke)


def streamed_tool_loop() -> dict[str, Any]:
    bound = model().bind_tools([get_weather])

    def say(messages: list[Any]) -> Any:
        first, *rest = bound.stream(messages)
        return sum(rest, start=first)

    return loop(say)


def structured() -> dict[str, Any]:
    by_schema = model().with_structured_output(Person, method="json_schema").invoke(cells.PERSON_QUESTION)
    by_tool = model().with_structured_output(book_table, method="function_calling").invoke(cells.BOOKING_QUESTION)
    return {"by_schema": by_schema.model_dump(), "by_tool": by_tool.model_dump()}


def pictures() -> dict[str, Any]:
    def ask(question: str, *urls: str) -> Any:
        content = cells.shown(question, *urls)["content"]
        return model(model=cells.SEES).invoke([HumanMessage(content=content)]).content

    return cells.pictures(ask)


def errors() -> dict[str, Any]:
    def ask(**options: Any) -> dict[str, Any]:
        return cells.raised(lambda: model(**options).invoke(cells.QUESTION))

    return {
        "wrong_key": ask(api_key=cells.WRONG_KEY),
        "unknown_model": ask(model=cells.UNKNOWN_MODEL),
        "bad_request": ask(temperature=cells.BAD_TEMPERATURE),
    }


cells.report(
    version("langchain-openai"),
    chat=chat,
    stream=stream,
    tool_loop=tool_loop,
    streamed_tool_loop=streamed_tool_loop,
    structured=structured,
    pictures=pictures,
    errors=errors,
)
