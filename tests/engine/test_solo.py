"""Models that see or hear and can't be batched: one row at a time, as mlx-vlm runs them, with all else that the engine
does for a request."""

import re
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_vlm import stream_generate

from inference.engine.kv.selftest import decide
from inference.engine.model import LoadedModel, load_model
from inference.engine.prepare import Refusal, decoder
from inference.engine.protocol import Format, Media, Sampling
from inference.engine.vision.eye import Eye
from inference.engine.vision.selftest import doubt
from tests.support.engine_made import Engine
from tests.support.families import phi3_v
from tests.support.media_made import sound, tone
from tests.support.models_made import session_folder, words
from tests.support.pictures import ask, of_family, own_tokens, picture, png, shown

RED, BLUE = picture("red", "circle", width=130), picture("blue", "square")
LONG = picture("green", "star", height=140)
HEARS = "gemma4"
NO_CAPTION: list[dict[str, Any]] = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture(params=["paligemma", "molmo", "phi3_v", "gemma4"])
def model(request: pytest.FixtureRequest) -> Iterator[LoadedModel]:
    if request.param != "phi3_v":
        yield of_family(request.param)
        return
    with phi3_v.small():
        yield load_model(str(phi3_v.make(session_folder() / "phi3_v")), "phi3_v", kind="vision")


@pytest.fixture
def hears() -> LoadedModel:
    return of_family(HEARS)


def test_each_gets_its_own_answer(model: LoadedModel) -> None:
    with Engine(model) as engine:
        assert engine.core.batching == "single" and engine.core.batching_reason
        asked = {ask(engine, NO_CAPTION): (NO_CAPTION, ())}
        for shot, question in ((RED, "What is it?"), (BLUE, "What is it?"), (LONG, "And what colour has it?")):
            asked[ask(engine, shown(question), shot)] = (shown(question), (shot,))
        engine.finish()
        assert engine.most_rows == 1
        for id, (messages, shots) in asked.items():
            assert engine.said(id) == own_tokens(model, messages, *shots)
            assert engine.sequences[id].cached == 0
        assert len({tuple(engine.said(id)) for id in asked}) > 1


def test_one_that_is_cancelled_makes_room(hears: LoadedModel) -> None:
    with Engine(hears) as engine:
        first = ask(engine, shown("What is it?"), RED, say=words(1, 200, hears), user="a")
        second = ask(engine, shown("What is it?"), BLUE, user="b")
        engine.until(lambda: len(engine.said(first)) > 3)
        engine.cancel(first)
        engine.finish()
        assert engine.output.ends[first] == ["cancelled"]
        assert engine.said(second) == own_tokens(hears, shown("What is it?"), BLUE)


def test_one_that_made_room_goes_on_where_it_was(model: LoadedModel) -> None:
    """Its picture is looked at again, and what it said goes behind."""
    with Engine(model) as engine:
        id = ask(engine, shown("What is it?"), RED)
        engine.until(lambda: len(engine.said(id)) > 5)
        engine.core._finish_launch()
        engine.core._preempt(engine.sequences[id])
        engine.finish()
        assert engine.core.books.preemptions == 1
        assert engine.said(id) == own_tokens(model, shown("What is it?"), RED)


def test_a_failure_is_its_own(hears: LoadedModel) -> None:
    with Engine(hears) as engine:
        bad, good = ask(engine, shown("What is it?"), RED), ask(engine, shown("What is it?"), BLUE)
        engine.tap.fails = lambda sequence: sequence.id == bad
        engine.finish()
        assert engine.output.ends[bad] == ["engine_error"]
        assert engine.said(good) == own_tokens(hears, shown("What is it?"), BLUE)


def test_draws_depend_on_the_seed_alone(hears: LoadedModel) -> None:
    with Engine(hears) as engine:
        ids = [
            ask(engine, shown("What is it?"), RED, sampling=Sampling(temperature=1.0, seed=seed)) for seed in (1, 2, 1)
        ]
        engine.finish()
        first, other, again = map(engine.said, ids)
        assert first == again != other


def test_answers_follow_a_grammar(hears: LoadedModel) -> None:
    with Engine(hears) as engine:
        id = ask(engine, shown("How many?"), RED, format=Format("regex", "[0-9]{5}"))
        engine.finish()
        assert re.fullmatch("[0-9]{5}", engine.text(id))


def test_how_likely_texts_are_is_told_while_a_picture_is_talked_about(hears: LoadedModel) -> None:
    """Both use one model, whose memory of the last prompt must not be the other's."""
    with Engine(hears) as engine:
        id = ask(engine, shown("What is it?"), RED)
        engine.until(lambda: len(engine.said(id)) > 3)
        engine.submit(words(1, 300, hears), echo=True, max_tokens=0, sampling=Sampling(logprobs=0))
        engine.finish()
        assert engine.said(id) == own_tokens(hears, shown("What is it?"), RED)


# --- sounds ----------------------------------------------------------------------------------------------------------


def heard(*parts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*({"type": part} for part in parts), {"type": "text", "text": "What is it?"}]}]


def played(hertz: float) -> tuple[bytes, np.ndarray]:
    """A second of it as a file, and its samples as they are read from that."""
    data = sound("wav", "pcm_s16le", tone(hertz=hertz))
    return data, decoder().audio(data, 16_000).samples


def own_of_sounds(
    model: LoadedModel, messages: list[dict[str, Any]], sounds: list[np.ndarray], **more: Any
) -> list[int]:
    assert model.eye is not None
    text = model.render(messages, {})
    said = stream_generate(
        model.model.model, model.eye.processor, text, audio=sounds, max_tokens=16, temperature=0.0, **more
    )
    tokens = [int(result.token) for result in said][:16]
    ends = [place for place, token in enumerate(tokens) if token in model.end_tokens]
    return tokens[: ends[0]] if ends else tokens


def test_sounds_are_heard(hears: LoadedModel) -> None:
    low, high = played(220), played(1760)
    with Engine(hears) as engine:
        asked = {}
        for sounds in ([low], [high], [low, high]):
            messages = heard(*["audio"] * len(sounds))
            media = [Media(data) for data, _ in sounds]
            asked[engine.submit([], messages=messages, media=media, max_tokens=16)] = (messages, sounds)
        engine.finish()
        for id, (messages, sounds) in asked.items():
            assert engine.said(id) == own_of_sounds(hears, messages, [samples for _, samples in sounds])
        assert len({tuple(engine.said(id)) for id in asked}) == 3


def test_a_sound_beside_a_picture(hears: LoadedModel) -> None:
    data, samples = played(440)
    with Engine(hears) as engine:
        ask_both = {"messages": heard("image", "audio"), "max_tokens": 16}
        id = engine.submit([], media=[Media(png(RED)), Media(data)], **ask_both)
        engine.finish()
        assert engine.said(id) == own_of_sounds(hears, ask_both["messages"], [samples], image=[RED])


def test_a_model_that_hears_nothing_says_so() -> None:
    with Engine(of_family("llava")) as engine, pytest.raises(Refusal, match="hears nothing") as caught:
        where = "messages[0].content[0].input_audio.data"
        engine.submit([], messages=heard("audio"), media=[Media(played(440)[0], where)])
    assert caught.value.param == where


# --- the test at load ------------------------------------------------------------------------------------------------


def test_pictures_that_come_out_wrong_in_a_batch_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = of_family("llava")
    model.run(batched=True)
    batching = decide(model.model)
    assert batching.layout is not None and doubt(model, batching) == ""
    encoded = Eye._encoded

    def late(eye: Eye, inputs: dict[str, Any]) -> Any:
        features = encoded(eye, inputs)
        features.rows[:] = mx.concatenate([features.rows[1:], features.rows[:1]])
        return features

    monkeypatch.setattr(Eye, "_encoded", late)  # a mistake, such as a family could make the engine make
    model.eye._kept.clear()  # type: ignore[union-attr]
    assert re.match("its pictures in a batch are off by .* deviations", doubt(model, batching))


def test_a_model_that_fails_on_pictures_in_a_batch_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(eye: Eye, inputs: dict[str, Any]) -> Any:
        raise RuntimeError("no such layer")

    monkeypatch.setattr(Eye, "_encoded", fail)  # what a foreign encoder may do
    model = of_family("llava")
    model.run(batched=True)
    model.eye._kept.clear()  # type: ignore[union-attr]
    assert doubt(model, decide(model.model)) == "its pictures fail in a batch: RuntimeError: no such layer"
