"""Requests with pictures that wait for their client's word, and pictures beside thoughts and calls of tools."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from inference.builtin.vision.architecture import FOLDER
from inference.engine.intake import ProceedRequest
from inference.engine.model import LoadedModel, load_model
from inference.engine.protocol import Media
from tests.support.engine_made import CLIENT, Engine
from tests.support.guided import answer, submit
from tests.support.pictures import ask, picture, png, seeing, shown

COLOUR = "What colour is it?"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "paint",
        "parameters": {
            "type": "object",
            "properties": {"colour": {"enum": ["red", "blue"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    },
}


def test_nothing_of_one_that_is_held_is_computed() -> None:
    with Engine(seeing()) as engine:
        looked = engine.model.eye.looked
        held = ask(engine, shown(COLOUR), picture("orange", "cross"), held=True, salt="held")
        other = ask(engine, shown(COLOUR), picture("red", "circle"), salt="held")
        engine.finish()
        assert engine.text(other).strip() == "red" and not engine.output.ends.get(held)
        assert engine.model.eye.looked == looked + 1
        engine.core.submit(ProceedRequest(b"somebody else", held))
        engine.finish()
        assert not engine.output.ends.get(held), "another client has no say in it"
        engine.core.submit(ProceedRequest(CLIENT, held))
        engine.finish()
        assert engine.text(held).strip() == "orange" and engine.model.eye.looked == looked + 2


def test_one_that_is_held_can_be_cancelled() -> None:
    with Engine(seeing()) as engine:
        looked = engine.model.eye.looked
        held = ask(engine, shown(COLOUR), picture("black", "cross"), held=True)
        engine.finish()
        engine.cancel(held)
        engine.finish()
        assert engine.output.ends[held] == ["cancelled"] and engine.model.eye.looked == looked


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The built-in vision model with a template that has places for thoughts and tools. It has learnt neither: what it
    thinks is rubbish, and grammars make the calls."""
    folder = Path(shutil.copytree(FOLDER, tmp_path_factory.mktemp("thinking") / "atelier-tiny-vl"))
    template = (folder / "chat_template.jinja").read_text()
    generation = "{{ '<|im_start|>assistant\\n' }}"
    assert generation in template
    tools = "{%- if tools %}<tool_call>{{ tools | tojson }}</tool_call>{%- endif %}"
    thought = "{{ '<think>\\n' if enable_thinking else '<think>\\n\\n</think>\\n\\n' }}"
    (folder / "chat_template.jinja").write_text(tools + template.replace(generation, generation + thought))
    return load_model(str(folder), "thinking", kind="vision")


def test_a_picture_a_thought_and_a_call(thinking: LoadedModel) -> None:
    """All three in one request, beside one that has only the picture."""
    media = [Media(png(picture("red", "circle")))]
    with Engine(thinking) as engine:
        asked: dict[str, Any] = {"messages": shown(COLOUR), "media": media, "max_tokens": 400}
        [called] = submit(
            engine, "called", **asked, tools=[TOOL], tool_choice="required", template={"enable_thinking": True},
            max_thinking_tokens=12, parallel_tool_calls=False,
        )  # fmt: skip
        [plain] = submit(engine, "plain", **{**asked, "max_tokens": 8})
        engine.finish()
        told = answer(engine, called)
        [call] = told.calls
        assert call.name == "paint" and json.loads(call.arguments)["colour"] in ("red", "blue")
        assert told.reasoning and not told.text
        assert answer(engine, plain).reasoning == ""
        assert called.seen is not None and plain.seen is not None
        assert called.seen.pictures[0].digest == plain.seen.pictures[0].digest
