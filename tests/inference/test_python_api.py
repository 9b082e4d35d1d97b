"""The Python API: an engine in this process, and the same text as over HTTP."""

import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from atelier import Answer, EngineError, LanguageModel
from tests.support.server import ROOT, Server

SUM: list[dict[str, Any]] = [{"role": "user", "content": "What is 3 + 4?"}]
WEATHER: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SAMPLED: dict[str, Any] = {"temperature": 1.2, "top_p": 0.95, "seed": 2**40 + 5, "max_tokens": 40}


@pytest.fixture(scope="module")
def model() -> Iterator[LanguageModel]:
    with LanguageModel("atelier-tiny") as loaded:
        yield loaded


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it has not happened in a minute"
        time.sleep(0.01)


def test_it_answers(model: LanguageModel) -> None:
    answer = model.chat(SUM, temperature=0)
    assert answer.text == str(answer) == "3 + 4 = 7."
    assert (answer.finish_reason, answer.reasoning, answer.tool_calls) == ("stop", "", [])
    assert answer.prompt_tokens == model.count_tokens(SUM) > 0
    assert 0 < answer.completion_tokens < 20


def test_a_stream_is_the_same_in_pieces(model: LanguageModel) -> None:
    *pieces, last = model.stream_chat(SUM, temperature=0)
    assert len(pieces) > 2 and all(piece.answer is None and piece.finish_reason is None for piece in pieces)
    assert "".join(piece.text for piece in pieces) == "3 + 4 = 7."
    assert last.text == "" and last.finish_reason == "stop"
    assert last.answer is not None and last.answer.text == "3 + 4 = 7."


def test_a_second_turn_finds_the_first_in_the_cache(model: LanguageModel) -> None:
    first = model.chat(SUM, temperature=0)
    second = model.chat([*SUM, first.message, {"role": "user", "content": "What is 2 + 2?"}], temperature=0)
    assert second.text == "2 + 2 = 4." and second.cached_tokens > 0


@pytest.mark.parametrize("more", [{"temperature": 0}, SAMPLED, {"seed": 3, "stop": ["e", "o"], "max_tokens": 60}])
def test_a_chat_is_as_over_http(model: LanguageModel, server: Server, more: dict[str, Any]) -> None:
    here = model.chat(SUM, **more)
    with server.client() as http:
        there = http.post("/v1/chat/completions", json={"model": "atelier-tiny", "messages": SUM, **more}).json()
    [choice] = there["choices"]
    assert (here.text, here.finish_reason) == (choice["message"]["content"], choice["finish_reason"])
    assert here.prompt_tokens == there["usage"]["prompt_tokens"]
    assert here.completion_tokens == there["usage"]["completion_tokens"]


def test_plain_text_is_continued_as_over_http(model: LanguageModel, server: Server) -> None:
    here = model.generate("The capital", **SAMPLED)
    pieces = [chunk.text for chunk in model.stream_generate("The capital", **SAMPLED)]
    with server.client() as http:
        there = http.post("/v1/completions", json={"model": "atelier-tiny", "prompt": "The capital", **SAMPLED}).json()
    assert here.text == "".join(pieces) == there["choices"][0]["text"]
    assert model.generate([5, 6, 7], temperature=0, max_tokens=3).completion_tokens <= 3


def test_tools_are_called_and_answered(model: LanguageModel) -> None:
    asked = model.chat(WEATHER, tools=[TOOL], temperature=0)
    [call] = asked.tool_calls
    assert asked.finish_reason == "tool_calls" and not asked.text
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Paris"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"}
    final = model.chat([*WEATHER, asked.message, result], tools=[TOOL], temperature=0)
    assert final.text == "The weather in Paris: sunny, 21 degrees."
    forced = model.chat(SUM, tools=[TOOL], tool_choice="required", temperature=1.5, seed=3)
    assert [each.name for each in forced.tool_calls] == ["get_weather"] * len(forced.tool_calls) != []


def test_a_format_is_kept_and_a_thought_is_told_apart(model: LanguageModel) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert isinstance(json.loads(model.chat(SUM, response_format=form, seed=1, max_tokens=100).text)["a"], int)
    assert model.chat(SUM, response_format={"type": "regex", "regex": "(yes|no)"}, seed=1).text in ("yes", "no")
    thought = model.chat(SUM, enable_thinking=True, temperature=0)
    assert thought.reasoning and thought.text.strip() == "3 + 4 = 7." and thought.reasoning_tokens > 0


def test_threads_share_a_batch(model: LanguageModel) -> None:
    """Eight long answers at once take fewer steps than they have tokens; each is as it would be alone."""
    alone = [model.chat(SUM, seed=seed, temperature=1.3, max_tokens=60, stop="§").text for seed in range(8)]
    together = threading.Barrier(8)
    before = model.stats()

    def ask(seed: int) -> Answer:
        together.wait()
        return model.chat(SUM, seed=seed, temperature=1.3, max_tokens=60, stop="§")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert [answer.text for answer in answers] == alone
    assert model.stats().steps - before.steps < sum(answer.completion_tokens for answer in answers)


@pytest.mark.parametrize("leave", ["break", "close", "with", "forget"])
def test_whoever_leaves_early_stops_the_engine(model: LanguageModel, leave: str) -> None:
    stream = model.stream_chat(SUM, response_format={"type": "regex", "regex": "[a-z]{4000}"})
    next(stream)
    if leave == "with":
        with stream:
            pass
    elif leave == "close":
        stream.close()
        assert list(stream) == []
    elif leave == "break":
        for _ in stream:
            break
    del stream
    until(lambda: model.stats().running + model.stats().waiting == 0)
    assert model.chat(SUM, temperature=0).text == "3 + 4 = 7."


def test_another_thread_may_close_a_stream(model: LanguageModel) -> None:
    stream = model.stream_chat(SUM, response_format={"type": "regex", "regex": "[a-z]{4000}"})
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, stream)
        stream.close()
        assert all(chunk.answer is None for chunk in reading.result(timeout=60))


def test_two_models_live_in_one_process_and_close_on_their_own(model: LanguageModel) -> None:
    other = LanguageModel("atelier-tiny", max_num_seqs=2)
    assert not other.is_loaded
    assert other.chat(SUM, temperature=0).text == model.chat(SUM, temperature=0).text
    assert other.is_loaded
    stream = other.stream_chat(SUM, response_format={"type": "regex", "regex": "[a-z]{4000}"})
    next(stream)
    other.close()
    with pytest.raises(EngineError, match="ended while it worked"):
        list(stream)
    with pytest.raises(RuntimeError, match="atelier-tiny is closed; load"):
        other.chat(SUM)
    other.close()
    assert other.load().chat(SUM, temperature=0).text == "3 + 4 = 7."
    other.close()
    assert model.chat(SUM, temperature=0).text == "3 + 4 = 7."


def test_a_model_that_nobody_has_any_more_is_closed(model: LanguageModel) -> None:
    before = set(threading.enumerate())
    forgotten = LanguageModel("atelier-tiny").load()
    started = [thread for thread in threading.enumerate() if thread not in before]
    assert {thread.name for thread in started} >= {"step atelier-tiny", "output"}
    del forgotten
    gc.collect()
    until(lambda: not any(thread.is_alive() for thread in started))
    assert model.chat(SUM, temperature=0).text == "3 + 4 = 7."


def test_a_program_need_not_close_anything() -> None:
    code = (
        "from atelier import LanguageModel\n"
        "model = LanguageModel('atelier-tiny')\n"
        "print(model.chat([{'role': 'user', 'content': 'What is 3 + 4?'}], temperature=0))\n"
        "stream = model.stream_generate('Once', max_tokens=2000)\n"
        "next(stream)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 + 4 = 7.\n", "")


def test_a_timeout_of_the_models_is_told() -> None:
    with (
        LanguageModel("atelier-tiny", timeout=1) as slow,
        pytest.raises(TimeoutError, match=r"timeout"),
    ):
        slow.chat(SUM, response_format={"type": "regex", "regex": "[a-z]{8000}"}, max_tokens=8000)
