"""Anthropic's own SDK, over /v1/messages."""

from typing import Any

import anthropic
import cells
from pydantic import BaseModel

client = anthropic.Anthropic(base_url=cells.BASE_URL, api_key=cells.KEY)
ASKED: dict[str, Any] = {
    "model": cells.MODEL,
    "max_tokens": 200,
    "messages": [cells.user(cells.QUESTION)],
    # The endpoint has it, the SDK's newest signatures do not.
    "extra_body": {"temperature": 0},
}
WEATHER_TOOL = {
    "name": "get_weather",
    "description": "Get the current weather",
    "input_schema": cells.WEATHER_TOOL["function"]["parameters"],
}


class Person(BaseModel):
    name: str
    age: int
    city: str


class book_table(BaseModel):
    """Book a table"""

    people: int
    day: str


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def chat() -> dict[str, Any]:
    return {"text": text_of(client.messages.create(**ASKED))}


def stream() -> dict[str, Any]:
    asked = {**ASKED, "messages": [cells.user(cells.LONG_QUESTION)]}
    with client.messages.stream(**asked) as events:
        return {"pieces": list(events.text_stream), "whole": text_of(client.messages.create(**asked))}


def called(said: Any, messages: list[Any]) -> dict[str, Any]:
    """The one call in what was said; the messages go on with it and its result."""
    assert said.stop_reason == "tool_use", said.stop_reason
    [call] = [block for block in said.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": cells.get_weather(**call.input)}
    messages += [{"role": "assistant", "content": said.content}, {"role": "user", "content": [result]}]
    return {"name": call.name, "arguments": call.input}


def tool_loop() -> dict[str, Any]:
    messages: list[Any] = [cells.user(cells.WEATHER_QUESTION)]
    asked = {**ASKED, "messages": messages, "tools": [WEATHER_TOOL]}
    call = called(client.messages.create(**asked), messages)
    return {"call": call, "answer": text_of(client.messages.create(**asked))}


def streamed_tool_loop() -> dict[str, Any]:
    messages: list[Any] = [cells.user(cells.WEATHER_QUESTION)]
    asked = {**ASKED, "messages": messages, "tools": [WEATHER_TOOL]}
    with client.messages.stream(**asked) as events:
        call = called(events.get_final_message(), messages)
    with client.messages.stream(**asked) as events:
        return {"call": call, "answer": "".join(events.text_stream)}


def structured() -> dict[str, Any]:
    """As the form of the answer, and as the input of a tool that must be called."""
    parsed = client.messages.parse(
        **{**ASKED, "messages": [cells.user(cells.PERSON_QUESTION)]}, output_format=Person
    ).parsed_output
    said = client.messages.create(
        **{**ASKED, "messages": [cells.user(cells.BOOKING_QUESTION)]},
        tools=[{"name": "book_table", "input_schema": book_table.model_json_schema()}],
        tool_choice={"type": "tool", "name": "book_table"},
    )
    [call] = [block for block in said.content if block.type == "tool_use"]
    return {"by_schema": parsed.model_dump(), "by_tool": book_table.model_validate(call.input).model_dump()}


def pictures() -> dict[str, Any]:
    def ask(question: str, *urls: str) -> str:
        images = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": url.partition(",")[2]}}
            for url in urls
        ]
        messages = [{"role": "user", "content": [*images, {"type": "text", "text": question}]}]
        return text_of(client.messages.create(**{**ASKED, "model": cells.SEES, "messages": messages}))

    return cells.pictures(ask)


def errors() -> dict[str, Any]:
    create = client.messages.create
    stranger = client.with_options(api_key=cells.WRONG_KEY)
    return {
        "wrong_key": cells.raised(lambda: stranger.messages.create(**ASKED)),
        "unknown_model": cells.raised(lambda: create(**{**ASKED, "model": cells.UNKNOWN_MODEL})),
        "bad_request": cells.raised(lambda: create(**{**ASKED, "extra_body": {"temperature": cells.BAD_TEMPERATURE}})),
    }


cells.report(
    anthropic.__version__,
    chat=chat,
    stream=stream,
    tool_loop=tool_loop,
    streamed_tool_loop=streamed_tool_loop,
    structured=structured,
    pictures=pictures,
    errors=errors,
)
