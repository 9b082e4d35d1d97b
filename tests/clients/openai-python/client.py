"""OpenAI's own SDK: the newest here, the last 1.x in the environment of openai-python-1."""

import json
from typing import Any

import cells
import openai
from pydantic import BaseModel

client = openai.OpenAI(base_url=f"{cells.BASE_URL}/v1", api_key=cells.KEY)
create = client.chat.completions.create
ASKED: dict[str, Any] = {"model": cells.MODEL, "messages": [cells.user(cells.QUESTION)], "temperature": 0}


class Person(BaseModel):
    name: str
    age: int
    city: str


def chat() -> dict[str, Any]:
    return {"text": create(**ASKED).choices[0].message.content}


def stream() -> dict[str, Any]:
    asked = {**ASKED, "messages": [cells.user(cells.LONG_QUESTION)]}
    deltas = [chunk.choices[0].delta for chunk in create(**asked, stream=True) if chunk.choices]
    whole = create(**asked).choices[0].message.content
    return {"pieces": [delta.content for delta in deltas if delta.content], "whole": whole}


def tool_loop() -> dict[str, Any]:
    messages: list[Any] = [cells.user(cells.WEATHER_QUESTION)]
    asked: dict[str, Any] = {"model": cells.MODEL, "tools": [cells.WEATHER_TOOL], "temperature": 0}
    said = create(**asked, messages=messages).choices[0].message
    [call] = said.tool_calls
    arguments = json.loads(call.function.arguments)
    messages += [said, {"role": "tool", "tool_call_id": call.id, "content": cells.get_weather(**arguments)}]
    answer = create(**asked, messages=messages).choices[0].message.content
    return {"call": {"name": call.function.name, "arguments": arguments}, "answer": answer}


def streamed_tool_loop() -> dict[str, Any]:
    """With the SDK's own assembling of streams."""
    messages: list[Any] = [cells.user(cells.WEATHER_QUESTION)]
    function = {**cells.WEATHER_TOOL["function"], "strict": True}
    asked: dict[str, Any] = {"model": cells.MODEL, "tools": [{"type": "function", "function": function}]}
    with client.chat.completions.stream(**asked, messages=messages, temperature=0) as events:
        said = events.get_final_completion().choices[0].message
    [call] = said.tool_calls
    arguments = json.loads(call.function.arguments)
    messages += [
        {
            "role": "assistant",
            "content": said.content,
            "tool_calls": [call.model_dump(include={"id": True, "type": True, "function": {"name", "arguments"}})],
        },
        {"role": "tool", "tool_call_id": call.id, "content": cells.get_weather(**arguments)},
    ]
    with client.chat.completions.stream(**asked, messages=messages, temperature=0) as events:
        pieces = [event.delta for event in events if event.type == "content.delta"]
    return {"call": {"name": call.function.name, "arguments": arguments}, "answer": "".join(pieces)}


def structured() -> dict[str, Any]:
    done = client.chat.completions.parse(
        model=cells.MODEL, messages=[cells.user(cells.PERSON_QUESTION)], response_format=Person, temperature=0
    )
    return {"by_schema": done.choices[0].message.parsed.model_dump()}


def pictures() -> dict[str, Any]:
    def by_chat(question: str, *urls: str) -> Any:
        messages: list[Any] = [cells.shown(question, *urls)]
        return create(model=cells.SEES, messages=messages, temperature=0).choices[0].message.content

    def by_responses(question: str, *urls: str) -> Any:
        parts = [{"type": "input_image", "image_url": url, "detail": "auto"} for url in urls]
        items: list[Any] = [{"role": "user", "content": [*parts, {"type": "input_text", "text": question}]}]
        return client.responses.create(model=cells.SEES, input=items, temperature=0).output_text

    seen = cells.pictures(by_chat)
    assert cells.pictures(by_responses) == seen
    return seen


def errors() -> dict[str, Any]:
    stranger = client.with_options(api_key=cells.WRONG_KEY)
    return {
        "wrong_key": cells.raised(lambda: stranger.chat.completions.create(**ASKED)),
        "unknown_model": cells.raised(lambda: create(**{**ASKED, "model": cells.UNKNOWN_MODEL})),
        "bad_request": cells.raised(lambda: create(**{**ASKED, "temperature": cells.BAD_TEMPERATURE})),
    }


cells.report(
    openai.__version__,
    chat=chat,
    stream=stream,
    tool_loop=tool_loop,
    streamed_tool_loop=streamed_tool_loop,
    structured=structured,
    pictures=pictures,
    errors=errors,
)
