"""An answer while it is generated, and what it cost."""

from openai import OpenAI

client = OpenAI()
stream = client.chat.completions.create(
    model="default",
    messages=[{"role": "user", "content": "Count from 1 to 20."}],
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    elif chunk.usage:
        print(f"\n{chunk.usage.completion_tokens} tokens")
