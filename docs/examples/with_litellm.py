"""LiteLLM: the provider `openai`, with this server's address. For tools, install `litellm[mcp]`."""

import os

import litellm

answer = litellm.completion(
    model="openai/default",
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key=os.environ["OPENAI_API_KEY"],
    messages=[{"role": "user", "content": "What is 3 + 4?"}],
)
print(answer.choices[0].message.content)
