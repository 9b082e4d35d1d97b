"""The SSD tier on real files: restarts, damage, full disks, other models."""

import logging
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from inference.engine.prefix.disk import Disk
from inference.engine.prefix.keys import chain, root
from inference.engine.prefix.stored import Buffer, Corrupt, Stored, decode, encode
from inference.engine.prefix.tier import Tier

ROOT = root(model="tiny")
SIZE = 4
CHAIN = chain(ROOT, range(40), SIZE)
MODEL = b"tiny, first revision"
BIG = 2**30


def block(i, chain=CHAIN, payload=1000):
    """The chain's i-th block with arrays of its own."""
    parent = chain.keys[i - 1] if i else chain.root
    values = np.random.default_rng(i).integers(0, 255, payload, dtype=np.uint8)
    buffers = [
        Buffer("bfloat16", (2, SIZE, 3), values.data),
        Buffer("float32", (SIZE,), np.arange(SIZE, dtype=np.float32).data),
    ]
    return Stored("block", chain.keys[i], parent, chain.label(i), SIZE, buffers)


def state(tokens, chain=CHAIN):
    depth = tokens // SIZE
    home = chain.keys[depth - 1] if depth else chain.root
    label = chain.label(depth, tokens) if tokens % SIZE else b""
    return Stored("state", chain.key_at(tokens), home, label, tokens, [Buffer("bytes", (5,), b"state")])


def same(a, b):
    what = ("kind", "key", "parent", "label", "tokens")
    return all(getattr(a, name) == getattr(b, name) for name in what) and [
        (x.dtype, x.shape, bytes(x.data)) for x in a.buffers
    ] == [(x.dtype, x.shape, bytes(x.data)) for x in b.buffers]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ssd"


@pytest.fixture
def opened(folder):
    """Opens tiers on the same folder, one after the other."""
    tiers = []

    def open_tier(max_bytes=BIG, model=MODEL, **more):
        if tiers:
            tiers[-1].close()
        tiers.append(Tier(folder, max_bytes, model, **more))
        return tiers[-1]

    yield open_tier
    for tier in tiers:
        tier.close()


def filled(opened, count=5, **more):
    """A restarted tier with the chain's first blocks on disk."""
    tier = opened(**more)
    for i in reversed(range(count)):
        assert tier.put(block(i))
    return opened(**more)


def files(folder):
    return sorted(path for path in folder.glob("*/??/*") if path.is_file())


def file_of(folder, i):
    (path,) = folder.glob(f"*/*/{CHAIN.keys[i].hex()}-*")
    return path


def wait_for(tier, what):
    """The threads go their own pace; a minute is for a machine that is busy."""
    deadline = time.monotonic() + 60
    while not what(tier):
        assert time.monotonic() < deadline
        time.sleep(0.002)


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_file_reads_back_as_it_was_written():
    data = b"".join(encode(block(3), MODEL))
    assert same(decode(data, MODEL), block(3))
    with pytest.raises(Corrupt, match="another model"):
        decode(data, b"other")


def test_any_damaged_byte_is_noticed():
    data = b"".join(encode(block(3, payload=50), MODEL))
    for place in range(len(data)):
        with pytest.raises(Corrupt):
            decode(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], MODEL)
    for length in range(len(data)):
        with pytest.raises(Corrupt):
            decode(data[:length], MODEL)


# --- in and out ------------------------------------------------------------------------------------------------------


def test_a_restart_finds_the_blocks(opened):
    tier = filled(opened)
    assert tier.lookup(CHAIN.keys) == 5 and tier.lookup(CHAIN.keys[2:]) == 3
    for i in range(5):
        assert same(tier.take(CHAIN.keys[i]), block(i))
    assert tier.take(CHAIN.keys[5]) is None
    counts = tier.counters()
    assert (counts.hits, counts.misses, counts.read, counts.entries) == (5, 1, 5, 5)
    assert counts.bytes_read == counts.bytes > 5000


def test_reading_ahead_saves_the_wait(opened):
    tier = filled(opened)
    tier.read_ahead(CHAIN.keys[:4])
    wait_for(tier, lambda tier: tier.loaded(CHAIN.keys) == 4)
    read = tier.counters().read
    assert same(tier.take(CHAIN.keys[0]), block(0))
    assert tier.counters().read == read == 4
    assert tier.loaded(CHAIN.keys) == 0 and tier.loaded(CHAIN.keys[1:]) == 3
    tier.discard(CHAIN.keys)
    assert tier.counters().ahead_bytes == 0 and tier.loaded(CHAIN.keys[1:]) == 0


def test_reading_ahead_is_bounded_and_the_next_request_makes_room(opened):
    tier = filled(opened, ahead_bytes=2900)
    tier.read_ahead(CHAIN.keys[:5])
    wait_for(tier, lambda tier: tier.loaded(CHAIN.keys) == 2)
    assert tier.counters().ahead_bytes <= 2900
    tier.read_ahead(CHAIN.keys[3:4])
    wait_for(tier, lambda tier: tier.loaded(CHAIN.keys[3:]) == 1)
    assert tier.counters().ahead_bytes <= 2900
    assert same(tier.take(CHAIN.keys[0]), block(0)), "from the disk"


def test_what_waits_to_be_written_can_be_had(opened, monkeypatch):
    # The writer is held up at its start, where a slow disk would hold it up later.
    go = threading.Event()
    monkeypatch.setattr(Disk, "drop_others", lambda disk: go.wait(60))
    tier = opened(queue_bytes=2500)
    assert tier.put(block(0)) and tier.put(block(1)) and tier.put(block(1))
    assert not tier.put(block(2)), "the queue is full"
    assert tier.lookup(CHAIN.keys) == 2 == tier.loaded(CHAIN.keys)
    assert same(tier.take(CHAIN.keys[1]), block(1))
    counts = tier.counters()
    assert counts.dropped == 1 and counts.queued_bytes == block(0).bytes * 2 and counts.written == 0
    go.set()
    wait_for(tier, lambda tier: tier.counters().written == 2 and not tier.counters().queued_bytes)


def test_states_are_found_by_position(opened):
    tier = opened()
    for tokens in (8, 10, 39):
        assert tier.put(state(tokens))
    other = chain(ROOT, [*range(9), 77, 78], SIZE)
    tier.put(state(10, other))
    for each in (tier, opened()):
        assert each.states(CHAIN) == [39, 10, 8]
        assert each.states(CHAIN, limit=9) == [8]
        assert each.states(other) == [10, 8]
    assert same(each.take(CHAIN.key_at(10), "state"), state(10))
    assert each.take(CHAIN.key_at(8)) is None, "a state is not a block"


def test_several_threads_at_once(opened):
    tier = filled(opened, count=10, ahead_bytes=4000)
    wrong = []

    def use(seed):
        order = np.random.default_rng(seed).permutation(10)
        for i in [int(i) for i in order] * 10:
            tier.read_ahead(CHAIN.keys[i : i + 3])
            if not same(tier.take(CHAIN.keys[i]), block(i)):
                wrong.append(i)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and tier.counters().hits == 400


# --- the folder ------------------------------------------------------------------------------------------------------


def test_files_are_the_owners_alone(opened, folder):
    filled(opened)
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_the_oldest_go_when_it_is_full(opened, folder):
    size = sum(len(piece) for piece in encode(block(0), MODEL))
    tier = filled(opened, count=4, max_bytes=4 * size)
    assert tier.lookup(CHAIN.keys) == 4
    other = chain(ROOT, range(100, 140), SIZE)
    tier.put(block(0, other))
    tier = opened(max_bytes=4 * size)
    assert tier.lookup(CHAIN.keys) == 3 and tier.lookup(other.keys) == 1, "the chain lost its end"
    assert sum(path.stat().st_size for path in files(folder)) <= 4 * size


def test_use_outlives_a_restart(opened):
    size = sum(len(piece) for piece in encode(block(0), MODEL))
    other = chain(ROOT, range(100, 140), SIZE)
    tier = opened()
    tier.put(block(0))
    tier.put(block(0, other))
    tier = opened()
    tier.take(CHAIN.keys[0])
    tier = opened(max_bytes=2 * size)
    tier.put(block(1))
    tier = opened(max_bytes=2 * size)
    assert tier.lookup(CHAIN.keys) == 2 and tier.lookup(other.keys) == 0


def test_what_is_larger_than_everything_is_dropped(opened):
    tier = opened(max_bytes=500)
    tier.put(block(0))
    assert tier.close() and tier.counters().dropped == 1 and tier.counters().writing


def test_another_models_files_are_deleted(opened, folder):
    filled(opened)
    stranger = folder / "notes.txt"
    stranger.write_text("mine")
    tier = opened(model=b"tiny, second revision")
    assert tier.lookup(CHAIN.keys) == 0
    tier.close()
    assert tier.counters().foreign == 5 and files(folder) == [] and stranger.exists()
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 1


def test_a_folder_in_use_is_left_alone(opened, folder, caplog):
    first = filled(opened)
    second = Tier(folder, BIG, MODEL)
    other = Tier(folder, BIG, b"another model")
    assert not second.put(block(7)) and second.lookup(CHAIN.keys) == 0
    second.close()
    other.close()
    assert "another engine uses it" in caplog.text
    assert first.take(CHAIN.keys[0]) is not None


def test_half_written_files_are_swept_up(opened, folder):
    filled(opened)
    half = file_of(folder, 0).with_suffix(".tmp")
    half.write_bytes(b"half")
    assert opened().lookup(CHAIN.keys) == 5 and not half.exists()


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [False, True], ids=["taken", "read ahead"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied", "another block"])
def test_a_damaged_block_is_deleted(opened, folder, damage, ahead):
    tier = filled(opened)
    path = file_of(folder, 2)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    other = file_of(folder, 3).read_bytes()
    path.write_bytes({"flipped": data, "truncated": data[:-99], "emptied": b"", "another block": other}[damage])
    if ahead:
        tier.read_ahead(CHAIN.keys[2:3])
        wait_for(tier, lambda tier: tier.counters().corrupt)
    assert tier.take(CHAIN.keys[2]) is None
    assert not path.exists() and tier.counters().corrupt == 1
    assert tier.lookup(CHAIN.keys) == 2, "what follows is of no use without it"
    assert tier.put(block(2)) and opened().lookup(CHAIN.keys) == 5


def test_a_file_that_somebody_deleted_is_a_miss(opened, folder):
    tier = filled(opened)
    file_of(folder, 1).unlink()
    assert tier.take(CHAIN.keys[1]) is None
    assert tier.counters().missing == 1 and tier.lookup(CHAIN.keys) == 1


FULL_DISK = """
    import logging, resource, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from tests.engine.test_prefix_tier import CHAIN, MODEL, Tier, block, same
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    tier = Tier(Path(sys.argv[1]), 2**30, MODEL)
    tier.put(block(0))
    tier.close()
    tier = Tier(Path(sys.argv[1]), 2**30, MODEL)
    # Any file larger than this fails, as on a full disk: the first buffer still fits, the second doesn't.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    for i in (1, 2, 3):
        tier.put(block(i, payload=20_000))
    assert tier.close()
    counts = tier.counters()
    assert not counts.writing and counts.errors == 1 and counts.entries == 1, counts
    assert not tier.put(block(4)) and tier.counters().dropped >= 1
    assert same(tier.take(CHAIN.keys[0]), block(0))
"""


def test_a_full_disk_turns_writing_off(folder):
    """In a process of its own, whose files can't grow past 4 kB."""
    top = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(folder), top], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("--ssd-cache-dir") == 1 and len(ran.stderr.splitlines()) == 1
    assert len(files(folder)) == 1, "no half file stays"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_no_space_left(opened, folder, caplog):
    """The temporary file is a link to the device that is always full, so the kernel itself says ENOSPC."""
    tier = filled(opened, count=1)
    key = CHAIN.keys[1].hex()
    path = file_of(folder, 0).parents[1] / key[:2] / f"{key}-{CHAIN.keys[0].hex()}-{SIZE}.block"
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".tmp").symlink_to("/dev/full")
    with caplog.at_level(logging.WARNING):
        tier.put(block(1))
        wait_for(tier, lambda tier: not tier.counters().writing)
    assert "No space left" in caplog.text and "--ssd-cache-dir" in caplog.text
    assert same(tier.take(CHAIN.keys[0]), block(0)) and Path("/dev/full").exists()


def test_a_folder_that_is_a_file(tmp_path, caplog):
    (tmp_path / "ssd").write_text("")
    tier = Tier(tmp_path / "ssd", BIG, MODEL)
    assert not tier.put(block(0)) and tier.lookup(CHAIN.keys) == 0
    assert tier.close() and caplog.text.count("--ssd-cache-dir") == 1
