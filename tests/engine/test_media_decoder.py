"""The decoding process: what it may do, what becomes of a job that kills it, and that nothing is left behind."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from inference.engine.media.decoder import Decoder
from inference.engine.media.errors import MediaError
from inference.engine.media.limits import MB, Limits
from inference.engine.media.process import DecodingProcess, NotBegun
from inference.engine.media.wire import ImageJob
from tests.support.media_made import RED, clip, corners, png, png_bomb, saved, sound, tone, wav
from tests.support.server import ROOT


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def slow() -> bytes:
    """A picture that takes a while: 36 million pixels, packed as hard as it goes."""
    return png_bomb(6000, 6000)


def refused(call: Callable[[], Any]) -> MediaError:
    with pytest.raises(MediaError) as caught:
        call()
    return caught.value


def until(condition: Callable[[], Any]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it never came true")


def busy(pid: int) -> bool:
    """It has spent some time since: on the job, for it has nothing else to do."""
    before = psutil.Process(pid).cpu_times().user
    time.sleep(0.03)
    return psutil.Process(pid).cpu_times().user > before


def test_a_process_is_started_when_it_is_needed_and_kept(decoder: Decoder) -> None:
    assert decoder.processes == []
    decoder.image(png())
    (first,) = decoder.processes
    decoder.image(png())
    decoder.audio(wav(0.1), 16_000)
    decoder.video(clip(frames=2), 1, 1)
    assert decoder.processes == [first]
    decoder.close()
    assert not psutil.pid_exists(first)
    assert refused(lambda: decoder.image(png())).code == "engine_error"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_death_in_the_middle_costs_that_one_request(decoder: Decoder, slow: bytes, number: signal.Signals) -> None:
    decoder.image(png())
    (pid,) = decoder.processes
    with ThreadPoolExecutor() as threads:
        unlucky = threads.submit(decoder.image, slow)
        waiting = [threads.submit(decoder.image, png(color=(shade, 0, 0))) for shade in range(4)]
        until(lambda: busy(pid))
        os.kill(pid, number)
        error = refused(unlucky.result)
        assert error.code == "media_unreadable" and "died" in error.message
        assert [int(done.result().pixels[0, 0, 0]) for done in waiting] == [0, 1, 2, 3]
    assert decoder.processes != [pid] and len(decoder.processes) == 1
    assert not psutil.pid_exists(pid), "and it has been buried"


def test_a_death_between_jobs_costs_nothing(decoder: Decoder) -> None:
    for _ in range(3):
        decoder.image(png())
        (pid,) = decoder.processes
        os.kill(pid, signal.SIGKILL)
        assert decoder.image(png()).pixels.shape == (8, 8, 3)


def test_a_dead_process_says_that_it_never_began() -> None:
    process = DecodingProcess(Limits())
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.usable)
    with pytest.raises(NotBegun):
        process.do(ImageJob(3), b"abc", seconds=5, most=100)
    process.close()


def test_a_process_that_hangs_is_killed(slow: bytes) -> None:
    """Stopped by a signal, it neither works nor dies: to us the same as one that loops."""
    with Decoder(Limits(image_time=1.0), workers=1) as decoder:
        decoder.image(png())
        (pid,) = decoder.processes
        with ThreadPoolExecutor() as threads:
            unlucky = threads.submit(decoder.image, slow)
            until(lambda: busy(pid))
            os.kill(pid, signal.SIGSTOP)
            error = refused(unlucky.result)
        assert error.code == "media_unreadable" and "within 1 s" in error.message
        assert not psutil.pid_exists(pid)
        assert decoder.image(png()).pixels.shape == (8, 8, 3)


def test_work_that_takes_too_long_is_given_up(slow: bytes) -> None:
    with Decoder(Limits(image_time=0.05), workers=1) as decoder:
        error = refused(lambda: decoder.image(slow))
        assert error.code == "media_unreadable" and "within 0.05 s" in error.message


@pytest.mark.skipif(sys.platform != "linux", reason="macOS takes no notice of a limit of address space")
def test_memory_is_bounded_by_the_system(slow: bytes) -> None:
    with Decoder(Limits(memory_bytes=330 * MB), workers=1) as decoder:
        error = refused(lambda: decoder.image(slow))
        assert error.code == "media_too_large" and "memory" in error.message
        assert decoder.image(png()).pixels.shape == (8, 8, 3)


def test_memory_is_bounded_by_us_where_the_system_does_not(slow: bytes) -> None:
    """Its own process was given another bound than the one we watch."""
    process = DecodingProcess(Limits())
    process._limits = Limits(memory_bytes=100 * MB)
    error = refused(lambda: process.do(ImageJob(len(slow)), slow, seconds=60, most=200 * MB))
    assert error.code == "media_too_large" and "memory" in error.message
    assert not psutil.pid_exists(process.pid)


def test_a_swollen_process_is_replaced() -> None:
    with Decoder(Limits(resting_bytes=1 * MB), workers=1) as decoder:
        decoder.image(png())
        assert decoder.processes == []
        assert decoder.image(png()).pixels.shape == (8, 8, 3)


def test_an_answer_larger_than_agreed_is_not_believed(slow: bytes) -> None:
    process = DecodingProcess(Limits())
    data = png(20, 20)
    error = refused(lambda: process.do(ImageJob(len(data)), data, seconds=60, most=100))
    assert error.code == "media_unreadable"
    process.close()


def test_what_it_may_do() -> None:
    """Asked of the process itself, which locks itself up and tries."""
    code = """
import json, os, resource, socket, sys
from inference.engine.media.limits import Limits
from inference.engine.media.worker import lock_up
lock_up(Limits())
said = {}
def attempt(name, what):
    try:
        what()
        said[name] = "done"
    except OSError as error:
        said[name] = type(error).__name__
attempt("read", lambda: open("/etc/hosts"))
attempt("write", lambda: open("/tmp/evil", "w"))
attempt("connect", lambda: socket.socket())
attempt("pipe", os.pipe)
said["core"] = resource.getrlimit(resource.RLIMIT_CORE)
said["mlx"] = sorted(name for name in sys.modules if name.split(".")[0] in ("mlx", "django", "zmq"))
print(json.dumps(said))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    said = json.loads(done.stdout)
    assert said.pop("core") == [0, 0] and said.pop("mlx") == []
    assert set(said.values()) == {"OSError"}


def test_its_processor_time_is_bounded_too() -> None:
    code = "from inference.engine.media.worker import allow_seconds; allow_seconds(0.01)\nwhile True: pass"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False)
    assert done.returncode == -signal.SIGXCPU


def test_it_knows_none_of_our_secrets(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_SECRET_KEY", "secret")
    monkeypatch.setenv("DATABASE_URL", "secret")
    decoder.image(png())
    environment = psutil.Process(decoder.processes[0]).environ()
    assert "secret" not in environment.values()
    assert psutil.Process(decoder.processes[0]).nice() >= 5


def test_it_ends_with_us() -> None:
    code = (
        "import os, signal; from inference.engine.media.decoder import Decoder;"
        "from tests.support.media_made import png;"
        "d = Decoder(); d.image(png()); print(*d.processes, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    pid = int(done.stdout)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_the_parent_loads_nothing_that_decodes() -> None:
    code = (
        "import sys, inference.engine.media.decoder;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'PIL', 'av', 'cv2', 'mlx', 'django'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_each_of_many_threads_gets_its_own_picture() -> None:
    with Decoder(workers=2) as decoder, ThreadPoolExecutor(16) as threads:
        wanted = [(number, number * 7 % 256, 255 - number) for number in range(200)]
        found = list(threads.map(lambda color: decoder.image(png(3, 2, color)), wanted))
        assert [tuple(map(int, picture.pixels[1, 2])) for picture in found] == wanted
        assert len(decoder.processes) <= 2


def test_closing_ends_what_is_under_way(slow: bytes) -> None:
    decoder = Decoder(workers=1)
    decoder.image(png())
    (pid,) = decoder.processes
    caught: list[Exception] = []

    def work() -> None:
        try:
            decoder.image(slow)
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: busy(pid))
    decoder.close()
    thread.join(20)
    assert [type(error) for error in caught] == [MediaError]
    assert not psutil.pid_exists(pid)


def bad_pictures() -> list[bytes]:
    noise = Image.effect_noise((300, 300), 90).convert("RGB")
    random = np.random.default_rng(3)
    whole = [saved(noise, format) for format in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")]
    bad = [b"", b"<svg/>", b"%PDF", b"GIF89a", png_bomb(20_000, 20_000), b"\x89PNG\r\n\x1a\n" + bytes(1000)]
    for data in whole:
        bad += [data[: len(data) // 2], data[:30]]
        scrambled = bytearray(data)
        for at in random.integers(12, len(data), 40):
            scrambled[at] = random.integers(0, 256)
        bad.append(bytes(scrambled))
    return bad


def test_nothing_is_left_of_bad_pictures(decoder: Decoder) -> None:
    """Memory after 500 of them, ours and that of the decoding process, is what it was after the first hundred."""
    bad = bad_pictures()
    good = saved(corners(), "PNG")

    def feed(count: int) -> None:
        for number in range(count):
            try:
                decoder.image(bad[number % len(bad)])
            except MediaError as error:
                assert error.code != "engine_error"
            if number % 10 == 0:
                assert decoder.image(good).pixels.shape == (20, 40, 3)

    def held() -> tuple[int, int]:
        gc.collect()
        (child,) = decoder.processes
        return psutil.Process().memory_info().rss, psutil.Process(child).memory_info().rss

    feed(100)
    (first,) = decoder.processes
    ours, its = held()
    feed(500)
    ours_now, its_now = held()
    assert decoder.processes == [first], "none of them had to be answered with a new process"
    assert ours_now < ours * 1.05 and its_now < its * 1.05


def test_nothing_is_left_of_bad_clips_and_sounds(decoder: Decoder) -> None:
    video, heard = clip(), sound("mp3", "libmp3lame", tone(0.5, 44_100), 44_100)
    bad = [video[:-200], video[:400], heard[: len(heard) // 2], heard[:100], RED[0].to_bytes() * 50]

    def feed(count: int) -> None:
        for number in range(count):
            for call in (lambda data: decoder.video(data, 2, 4), lambda data: decoder.audio(data, 16_000)):
                try:
                    call(bad[number % len(bad)])
                except MediaError as error:
                    assert error.code != "engine_error"

    feed(50)
    (pid,) = decoder.processes
    before = psutil.Process(pid).memory_info().rss
    feed(150)
    assert decoder.processes == [pid]
    assert psutil.Process(pid).memory_info().rss < before * 1.05
