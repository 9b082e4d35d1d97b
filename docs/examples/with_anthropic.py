"""Anthropic's SDK. It reads ANTHROPIC_BASE_URL, which is the server's address without /v1, and ANTHROPIC_API_KEY."""

from anthropic import Anthropic

client = Anthropic()
message = client.messages.create(
    model="default",
    max_tokens=200,
    messages=[{"role": "user", "content": "What is 3 + 4?"}],
)
print(message.content[0].text)
