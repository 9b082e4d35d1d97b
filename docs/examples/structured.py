"""An answer that is an object: constrained decoding keeps it to the schema."""

from openai import OpenAI
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int
    city: str


client = OpenAI()
answer = client.chat.completions.parse(
    model="default",
    messages=[{"role": "user", "content": "Ada is 36 years old and lives in Paris. Write this as JSON."}],
    response_format=Person,
    temperature=0,
)
print(repr(answer.choices[0].message.parsed))
