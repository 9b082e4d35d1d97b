"""LiteLLM's client, its provider `openai` with our address."""

import json
import os
from importlib.metadata import version
from typing import Any

import cells
from pydantic import BaseModel

# Without it the import asks the network for a table of prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

ASKED: dict[str, Any] = {
    "model": f"openai/{cells.MODEL}",
    "api_base": f"{cells.BASE_URL}/v1",
    "api_key": cells.KEY,
    "messages": [cells.user(cells.QUESTION)],
    "temperature": 0,
}


class Person(BaseModel):
    name: str
    age: int
    city: str


def chat() -> dict[str, Any]:
    return {"text": litellm.completion(**ASKED).choices[0].message.content}


def stream() -> dict[str, Any]:
    asked = {**ASKED, "messages": [cells.user(cells.LONG_QUESTION)]}
    pieces = [chunk.choices[0].delta.content for chunk in litellm.completion(**asked, stream=True)]
    whole = litellm.completion(**asked).choices[0].message.content
    return {"pieces": [piece for piece in pieces if piece], "whole": whole}


def loop(say: Any) -> dict[str, Any]:
    messages: list[Any] = [cells.user(cells.WEATHER_QUESTION)]
    said = say(messages)
    [call] = said.tool_calls
    arguments = json.loads(call.function.arguments)
    messages += [said, {"role": "tool", "tool_call_id": call.id, "content": cells.get_weather(**arguments)}]
    return {"call": {"name": call.function.name, "arguments": arguments}, "answer": say(messages).content}


def tool_loop() -> dict[str, Any]:
    asked = {**ASKED, "tools": [cells.WEATHER_TOOL]}
    return loop(lambda messages: litellm.completion(**{**asked, "messages": messages}).choices[0].message)


def streamed_tool_loop() -> dict[str, Any]:
    asked = {**ASKED, "tools": [cells.WEATHER_TOOL], "stream": True}

    def say(messages: list[Any]) -> Any:
        chunks = list(litellm.completion(**{**asked, "messages": messages}))
        return litellm.stream_chunk_builder(chunks).choices[0].message

    return loop(say)


def structured() -> dict[str, Any]:
    asked = {**ASKED, "messages": [cells.user(cells.PERSON_QUESTION)]}
    text = litellm.completion(**asked, response_format=Person).choices[0].message.content
    return {"by_schema": Person.model_validate_json(text).model_dump()}


def pictures() -> dict[str, Any]:
    def ask(question: str, *urls: str) -> Any:
        asked = {**ASKED, "model": f"openai/{cells.SEES}", "messages": [cells.shown(question, *urls)]}
        return litellm.completion(**asked).choices[0].message.content

    return cells.pictures(ask)


def errors() -> dict[str, Any]:
    def ask(**options: Any) -> dict[str, Any]:
        return cells.raised(lambda: litellm.completion(**{**ASKED, **options}))

    return {
        "wrong_key": ask(api_key=cells.WRONG_KEY),
        "unknown_model": ask(model=f"openai/{cells.UNKNOWN_MODEL}"),
        "bad_request": ask(temperature=cells.BAD_TEMPERATURE),
    }


cells.report(
    version("litellm"),
    chat=chat,
    stream=stream,
    tool_loop=tool_loop,
    streamed_tool_loop=streamed_tool_loop,
    structured=structured,
    pictures=pictures,
    errors=errors,
)
