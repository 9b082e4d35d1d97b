"""Bodies of requests that work on any server, for readers of the document and for the tests that send them.

Only embedding models, rerankers, audio models and files have no name that works everywhere; here models are called
after what they do, and a file has an id of noughts."""

from typing import Any

Json = dict[str, Any]

SUM = {"role": "user", "content": "What is 3 + 4?"}
WEATHER = {"role": "user", "content": "What is the weather in Paris?"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
GET_WEATHER = {"name": "get_weather", "description": "The weather in a city.", "parameters": CITY}
RESULT = {"type": "object", "properties": {"result": {"type": "integer"}}, "required": ["result"]}

CHAT: dict[str, Json] = {
    "whole": {"model": "default", "messages": [SUM], "temperature": 0, "max_tokens": 32},
    "streamed": {"model": "default", "messages": [SUM], "stream": True, "stream_options": {"include_usage": True}},
    "tools": {"model": "default", "messages": [WEATHER], "tools": [{"type": "function", "function": GET_WEATHER}]},
    "structured": {
        "model": "default",
        "messages": [SUM],
        "max_tokens": 64,
        "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": RESULT, "strict": True}},
    },
    "several": {"model": "default", "messages": [SUM], "n": 2, "seed": 7, "logprobs": True, "top_logprobs": 2},
}
COMPLETIONS: dict[str, Json] = {
    "whole": {"model": "default", "prompt": "Once upon a time", "max_tokens": 16},
    "streamed": {"model": "default", "prompt": "Once upon a time", "max_tokens": 16, "stream": True},
    "scored": {"model": "default", "prompt": [1, 2, 3], "max_tokens": 4, "echo": True, "logprobs": 2},
}
RESPONSES: dict[str, Json] = {
    "whole": {"model": "default", "input": "What is 3 + 4?", "max_output_tokens": 32},
    "streamed": {"model": "default", "input": [SUM], "stream": True},
    "tools": {
        "model": "default",
        "input": "What is the weather in Paris?",
        "tools": [{"type": "function", **GET_WEATHER}],
        "tool_choice": "required",
        "stream": True,
    },
}
MESSAGES: dict[str, Json] = {
    "whole": {"model": "default", "max_tokens": 32, "messages": [SUM]},
    "streamed": {"model": "default", "max_tokens": 32, "messages": [SUM], "stream": True},
    "tools": {
        "model": "default",
        "max_tokens": 64,
        "messages": [WEATHER],
        "tools": [{"name": "get_weather", "description": "The weather in a city.", "input_schema": CITY}],
        "tool_choice": {"type": "any"},
    },
}
COUNT_TOKENS: dict[str, Json] = {"whole": {"model": "default", "messages": [SUM]}}
EMBEDDINGS: dict[str, Json] = {
    "floats": {"model": "embedder", "input": ["What is 3 + 4?", "The weather in Paris"]},
    "base64": {"model": "embedder", "input": "What is 3 + 4?", "encoding_format": "base64"},
}
RERANK: dict[str, Json] = {
    "documents": {"model": "reranker", "query": "sums", "documents": ["3 + 4", "rain"], "return_documents": True}
}
TONE = "RIFF\x24\x08\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\x08\0\0" + 128 * (
    8 * "\x40" + 8 * "\x70"
)
"""A quarter of a second, in a WAV whose bytes are all letters to JSON."""
TRANSCRIPTIONS: dict[str, Json] = {
    "json": {"model": "transcriber", "file": TONE, "language": "en"},
    "verbose": {"model": "transcriber", "file": TONE, "response_format": "verbose_json"},
    "subtitles": {"model": "transcriber", "file": TONE, "response_format": "srt", "temperature": 0.5},
    "streamed": {"model": "transcriber", "file": TONE, "stream": True},
}
TRANSLATIONS: dict[str, Json] = {"json": {"model": "transcriber", "file": TONE, "prompt": "Paris"}}
SPEECH: dict[str, Json] = {
    "mp3": {"model": "talker", "input": "What is 3 + 4?", "voice": "default"},
    "events": {
        "model": "talker",
        "input": "Rain in Paris",
        "voice": "default",
        "response_format": "pcm",
        "speed": 1.5,
        "stream_format": "sse",
    },
}
FILES: dict[str, Json] = {
    "requests": {
        "purpose": "batch",
        "file": '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "default", '
        '"messages": [{"role": "user", "content": "What is 3 + 4?"}], "max_tokens": 32}}',
    }
}
BATCHES: dict[str, Json] = {
    "chat": {
        "input_file_id": "file-00000000000000000000000000000000",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"night": "1"},
    }
}
