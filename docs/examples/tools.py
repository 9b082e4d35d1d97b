"""A tool loop: the model asks for the weather, gets it, and says it."""

import json

from openai import OpenAI

client = OpenAI()


def get_weather(city: str) -> str:
    return "sunny, 21 degrees" if city == "Paris" else "unknown"


tool = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
messages = [{"role": "user", "content": "What is the weather in Paris?"}]
while True:
    answer = client.chat.completions.create(model="default", messages=messages, tools=[tool], temperature=0)
    message = answer.choices[0].message
    if not message.tool_calls:
        break
    messages.append(message)
    for call in message.tool_calls:
        result = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(message.content)
