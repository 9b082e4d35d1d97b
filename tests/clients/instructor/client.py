"""Instructor, which asks for objects: by tools, and by a JSON schema."""

from importlib.metadata import version
from typing import Any

import cells
import instructor
import openai
from pydantic import BaseModel


def client(mode: instructor.Mode, **options: Any) -> Any:
    known = {"base_url": f"{cells.BASE_URL}/v1", "api_key": cells.KEY}
    return instructor.from_openai(openai.OpenAI(**{**known, **options}), mode=mode)


by_tools = client(instructor.Mode.TOOLS)
by_schema = client(instructor.Mode.JSON_SCHEMA)
ASKED: dict[str, Any] = {"model": cells.MODEL, "messages": [cells.user(cells.QUESTION)], "temperature": 0}


class Person(BaseModel):
    name: str
    age: int
    city: str


class book_table(BaseModel):
    """Book a table"""

    people: int
    day: str


class get_weather(BaseModel):
    """Get the current weather"""

    city: str


def chat() -> dict[str, Any]:
    return {"text": by_tools.create(**ASKED, response_model=None).choices[0].message.content}


def stream() -> dict[str, Any]:
    asked = {**ASKED, "messages": [cells.user(cells.LONG_QUESTION)], "response_model": None}
    deltas = [chunk.choices[0].delta for chunk in by_tools.create(**asked, stream=True) if chunk.choices]
    whole = by_tools.create(**asked).choices[0].message.content
    return {"pieces": [delta.content for delta in deltas if delta.content], "whole": whole}


def tool_loop() -> dict[str, Any]:
    messages: list[Any] = [cells.user(cells.WEATHER_QUESTION)]
    asked = {**ASKED, "messages": messages}
    wanted, completion = by_tools.create_with_completion(**asked, response_model=get_weather)
    said = completion.choices[0].message
    [call] = said.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": cells.get_weather(wanted.city)}
    asked["messages"] = [*messages, said.model_dump(), result]
    done = by_tools.create(**asked, tools=[cells.WEATHER_TOOL], response_model=None)
    call_seen = {"name": call.function.name, "arguments": wanted.model_dump()}
    return {"call": call_seen, "answer": done.choices[0].message.content}


def streamed_tool_loop() -> dict[str, Any]:
    """The call as an object that fills up while it comes."""
    messages: list[Any] = [cells.user(cells.WEATHER_QUESTION)]
    *_, wanted = by_tools.create_partial(**{**ASKED, "messages": messages}, response_model=get_weather)
    call = {"name": "get_weather", "arguments": wanted.model_dump_json()}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "call_1", "content": cells.get_weather(wanted.city)},
    ]
    asked = {**ASKED, "messages": messages, "tools": [cells.WEATHER_TOOL]}
    chunks = [chunk for chunk in by_tools.create(**asked, response_model=None, stream=True) if chunk.choices]
    answer = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return {"call": {"name": "get_weather", "arguments": wanted.model_dump()}, "answer": answer}


def structured() -> dict[str, Any]:
    person = by_schema.create(**{**ASKED, "messages": [cells.user(cells.PERSON_QUESTION)]}, response_model=Person)
    table = by_tools.create(**{**ASKED, "messages": [cells.user(cells.BOOKING_QUESTION)]}, response_model=book_table)
    return {"by_schema": person.model_dump(), "by_tool": table.model_dump()}


def errors() -> dict[str, Any]:
    def ask(asking: Any = by_tools, **options: Any) -> dict[str, Any]:
        return cells.raised(lambda: asking.create(**{**ASKED, **options}, response_model=None))

    return {
        "wrong_key": ask(client(instructor.Mode.TOOLS, api_key=cells.WRONG_KEY)),
        "unknown_model": ask(model=cells.UNKNOWN_MODEL),
        "bad_request": ask(temperature=cells.BAD_TEMPERATURE),
    }


cells.report(
    version("instructor"),
    chat=chat,
    stream=stream,
    tool_loop=tool_loop,
    streamed_tool_loop=streamed_tool_loop,
    structured=structured,
    errors=errors,
)
