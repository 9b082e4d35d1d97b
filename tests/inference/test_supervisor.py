"""When an engine counts as wedged, and how children are kept alive."""

import asyncio
import ctypes.util
import os
import signal
import sys

import pytest

from inference.engine.protocol import Stats
from inference.process import Child
from inference.supervisor import Watch, engine_environment


def beat(steps, running=0, waiting=0):
    return Stats(steps, running, waiting)


def wedged_at(beats, stall=5.0, until=60):
    """The first second at which the engine counts as wedged; `beats` has the heartbeat of each second."""
    watch = Watch(stall, moved_at=0.0, heard_at=0.0)
    for second in range(until):
        if watch.observe(beats(second), float(second)):
            return second
    return None


def test_an_idle_engine_is_fine():
    assert wedged_at(lambda second: beat(7)) is None


def test_one_that_steps_is_fine():
    assert wedged_at(lambda second: beat(second, running=3)) is None


def test_slow_steps_are_fine_up_to_the_limit():
    assert wedged_at(lambda second: beat(second // 5, running=3)) is None


def test_one_that_has_work_and_takes_no_step_is_wedged():
    assert wedged_at(lambda second: beat(7, waiting=1)) == 6


def test_work_that_comes_after_a_long_rest_has_its_full_time():
    assert wedged_at(lambda second: beat(7, running=int(second >= 30))) == 35


def test_silence_is_worse_than_standing_still():
    assert wedged_at(lambda second: beat(7) if second < 20 else None) == 30


def child(code, **hooks):
    return Child("child", [sys.executable, "-c", code], dict(os.environ), **hooks)


async def test_what_dies_is_started_again_after_a_growing_pause():
    started = []
    dying = child("raise SystemExit(3)", on_start=started.append)
    running = asyncio.create_task(dying.run())
    while len(started) < 3:
        await asyncio.sleep(0.02)
    await dying.stop(grace=5)
    await running
    assert len(set(started)) == 3


async def test_the_last_words_and_the_signal_are_told(capfd):
    ends = []
    for code in ("print('no such model'); raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"):
        told = asyncio.Event()
        dying = child(code, on_exit=lambda ended, told=told: (ends.append(ended), told.set()))
        running = asyncio.create_task(dying.run())
        await told.wait()
        await dying.stop(grace=5)
        await running
    assert [(ended.code, str(ended)) for ended in ends] == [(3, "no such model"), (-9, "killed by SIGKILL")]
    assert "[child] no such model" in capfd.readouterr().err


async def test_what_ignores_sigterm_is_killed(capfd):
    codes = []
    stubborn = child(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
        on_exit=lambda ended: codes.append(ended.code),
    )
    running = asyncio.create_task(stubborn.run())
    async with asyncio.timeout(20):
        while "up" not in capfd.readouterr().err:
            await asyncio.sleep(0.02)
    await stubborn.stop(grace=0.2)
    await running
    assert codes == [-signal.SIGKILL]


async def test_a_line_longer_than_any_buffer_does_not_stop_the_others(capfd):
    codes = []
    chatty = child("print('x' * 300_000); print('after')", on_exit=lambda ended: codes.append(ended.said))
    running = asyncio.create_task(chatty.run())
    while not codes:
        await asyncio.sleep(0.02)
    await chatty.stop(grace=5)
    await running
    assert codes[0] == "after"


@pytest.mark.skipif(sys.platform != "linux", reason="macOS brings its own BLAS")
def test_openblas_is_preloaded_where_it_is_installed(monkeypatch):
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    assert engine_environment().get("LD_PRELOAD") == ctypes.util.find_library("openblas")
