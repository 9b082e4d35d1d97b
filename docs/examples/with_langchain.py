"""LangChain, which reads OPENAI_BASE_URL and OPENAI_API_KEY."""

from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="default")
print(model.invoke("What is 3 + 4?").content)
