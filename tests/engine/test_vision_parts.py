"""An encoder in parts: the same features, short parts, and no more memory than was planned."""

import dataclasses
import json
import shutil

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from inference.builtin.vision.architecture import FOLDER
from inference.engine.model import load_model
from inference.engine.vision import looking, parts
from inference.engine.vision.eye import Eye
from inference.engine.vision.features import Picture
from inference.engine.vision.parts import FEWEST, Kind, Pace, Work
from inference.engine.vision.room import room_of
from tests.support.engine_made import Engine
from tests.support.pictures import ask, picture, seeing, shown

MB = 1 << 20
SIDE = 600
"""Pixels: 2,500 patches, whose scores are 75 MB."""


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Eye:
    """The built-in model's, looking at every pixel."""
    folder = tmp_path_factory.mktemp("close") / "up"
    shutil.copytree(FOLDER, folder)
    file = folder / "preprocessor_config.json"
    size = {"shortest_edge": 9216, "longest_edge": 1024 * 1024}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": size}))
    model = load_model(str(folder), "close-up", kind="vision")
    assert model.sight is not None and model.sight.batched is not None
    return model.sight.batched[1]


def noise(eye: Eye, number: int) -> Picture:
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    shot = Image.fromarray(pixels)
    return eye.read(eye.wording.alone("image"), [shot], [eye.alone(shot)])[1].pictures[0]


def test_in_parts_it_sees_the_same(eye: Eye, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parted = noise(eye, 1), noise(eye, 1)
    eye.look(whole, "one")
    breaths = 0

    def breathe() -> None:
        nonlocal breaths
        breaths += 1
        # What others compute meanwhile is not this picture's work.
        assert parts._work() is None

    monkeypatch.setattr(eye, "pace", Pace(0.002))
    eye.look(parted, "another", breathe)
    assert breaths > 20
    assert whole.features is not None and parted.features is not None
    assert parted.features.deep, "deepstack, too"
    for a, b in zip(
        (whole.features.rows, *whole.features.deep), (parted.features.rows, *parted.features.deep), strict=True
    ):
        assert mx.abs(a - b).max().item() < 1e-4 * mx.abs(a).max().item()


def test_a_look_takes_no_more_memory_than_was_planned(eye: Eye, monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(number: int) -> int:
        shot = noise(eye, number)
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        eye.look(shot, "")
        return mx.get_peak_memory() - before

    large = peak(2)
    assert large > 75 * MB, "all scores of a head's worth of patches"
    monkeypatch.setattr(parts, "SCORE_BYTES", MB)
    assert peak(3) < large / 2
    # The plan is for the largest picture that the processor lets through, three times as many patches as this one.
    assert large < room_of(eye, token=512 * 3).encoder


def test_the_plan_grows_with_what_the_processor_lets_through(eye: Eye) -> None:
    small = seeing().sight
    assert small is not None and small.batched is not None
    room = small.batched[1].room
    assert room.token == 4 * 128 * 3, "a row and two levels, in float32"
    assert room_of(eye, token=room.token).encoder > room.encoder
    assert room.reserved > room.encoder + room.waiting


def test_a_pace_follows_the_machine() -> None:
    pace = Pace(0.1)
    attention, rows = (pace.expected(kind, 1e9) for kind in Kind)
    pace.observe({Kind.ATTENTION: attention}, attention * 10)
    assert pace.expected(Kind.ATTENTION, 1e9) == pytest.approx(attention * 10), "too slow once is enough"
    assert pace.expected(Kind.ROWS, 1e9) == rows
    pace.observe({Kind.ROWS: rows}, rows / 3)
    assert pace.expected(Kind.ROWS, 1e9) == pytest.approx(rows / 2), "halfway"
    pace.observe({Kind.ROWS: rows, Kind.ATTENTION: 0.0}, 0.0)
    assert pace.expected(Kind.ROWS, 1e9) > 0


def test_parts_are_never_too_small_nor_larger_than_the_whole() -> None:
    pace = Pace(0.1)
    work = Work(pace, lambda: None)
    assert work.rows(Kind.ROWS, 1000, 1e30) == FEWEST
    assert work.rows(Kind.ROWS, 1000, 1e-3) == 1000
    assert work.rows(Kind.ROWS, 5, 1e30) == 5
    assert Work(pace, None).rows(Kind.ROWS, 1000, 1e30) == 1000, "nobody waits"
    assert Work(pace, None).rows(Kind.ATTENTION, 10**6, 1.0, parts.SCORE_BYTES // 100) == 100, "but memory counts"


def test_pictures_wait_only_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    sight = seeing().sight
    assert sight is not None and sight.batched is not None
    eye = sight.batched[1]
    monkeypatch.setitem(eye.__dict__, "room", dataclasses.replace(eye.room, waiting=1))
    with Engine(seeing()) as engine:
        first, second = (ask(engine, shown("What colour is it?"), picture(each, "star")) for each in ("red", "blue"))
        engine.finish()
        assert engine.text(first).strip() == "red", "one at least"
        assert engine.output.ends[second] == ["server_is_overloaded"]


def test_nobody_looks_far_ahead_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "AHEAD_BYTES", 0)
    with Engine(seeing(), max_num_seqs=1) as engine:
        colours = ("red", "blue", "green", "yellow")
        asked = {ask(engine, shown("What colour is it?"), picture(each, "star")): each for each in colours}
        most = 0
        while engine.tick():
            ahead = [each for each in engine.core.roster.live.values() if each.row is None and each.seen is not None]
            most = max(most, len(ahead))
        assert {id: engine.text(id).strip() for id in asked} == asked
        assert most <= 1
