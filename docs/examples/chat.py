"""A question and its answer. The SDK reads OPENAI_BASE_URL and OPENAI_API_KEY."""

from openai import OpenAI

client = OpenAI()
answer = client.chat.completions.create(
    model="default",
    messages=[{"role": "user", "content": "What is 3 + 4?"}],
)
print(answer.choices[0].message.content)
