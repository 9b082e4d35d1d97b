"""A thought before the answer, in a field of its own. Models that can't think answer at once."""

from openai import OpenAI

client = OpenAI()
answer = client.chat.completions.create(
    model="default",
    messages=[{"role": "user", "content": "What is 3 + 4?"}],
    temperature=0,
    extra_body={"enable_thinking": True, "max_thinking_tokens": 200},
)
message = answer.choices[0].message
print("Thought:", message.reasoning_content)
print("Answer:", message.content)
