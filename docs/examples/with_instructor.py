"""Instructor: objects instead of text."""

import instructor
from openai import OpenAI
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


client = instructor.from_openai(OpenAI(), mode=instructor.Mode.JSON_SCHEMA)
person = client.create(
    model="default",
    messages=[{"role": "user", "content": "Ada is 36 years old. Write this as JSON."}],
    response_model=Person,
    temperature=0,
)
print(repr(person))
