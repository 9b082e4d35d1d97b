"""Downloads against a hub with faults: what the user is told, what is fetched again, what is left on the disk."""

import hashlib
import random
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.hub.cache import Store, is_whole
from inference.hub.client import Hub, retry_after
from inference.hub.errors import HubError, Stopped
from inference.hub.repository import Repository
from inference.hub.snapshot import Progress, get_snapshot
from tests.support.hub import (
    SIGNATURE,
    FakeHub,
    Fault,
    cut_after,
    elsewhere,
    silence,
    slowly,
    status,
    wait_until,
    without_ranges,
    wrong_content,
)

ID = "org/model"
WEIGHTS = random.Random(5).randbytes(300_000)
FILES = {
    "config.json": b'{"model_type": "qwen3"}',
    "tokenizer.json": b'{"model": {}}' * 1000,
    "model.safetensors": WEIGHTS,
    "README.md": b"# not needed",
    "modeling.py": b"raise SystemExit('never fetched')",
    "onnx/model.safetensors": b"another format's",
    "consolidated.safetensors": b"the same once more",
    ".gitattributes": b"*.safetensors filter=lfs",
}
NEEDED = {"config.json", "tokenizer.json", "model.safetensors"}
BIG = "model.safetensors"


def get(
    tick: Callable[[Progress], None] = lambda progress: None, *, id: str = ID, revision: str = "",
    stop: threading.Event | None = None, retries: int = 2, timeout: float = 5.0, offline: bool = False,
) -> Path:  # fmt: skip
    with Hub(timeout=timeout, retries=retries, offline=offline, stop=stop) as hub:
        repository = hub.repository(id, revision)
        return get_snapshot(hub, repository, revision, at_once=3, tick=tick)


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def partial(hub: FakeHub, path: str = BIG) -> Path:
    digest = hashlib.sha256(hub.repos[ID].files[path]).hexdigest()
    return Store(ID).blobs / f"{digest}.incomplete"


def fetched(hub: FakeHub, path: str = BIG) -> int:
    return hub.sent[path]


def test_it_works_and_only_what_is_needed_comes(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    folder = get()
    assert content(folder) == {path: FILES[path] for path in NEEDED}
    assert is_whole(folder)
    assert not [name for name in hub.requests if "modeling.py" in name or "README" in name or "onnx" in name]
    assert Store(ID).commit_of("") == folder.name == hub.repos[ID].branches["main"]
    # As huggingface_hub has it: whoever else uses the cache finds it there.
    from huggingface_hub import snapshot_download

    assert snapshot_download(ID, cache_dir=Store(ID).folder.parent, local_files_only=True) == str(folder)


def test_again_costs_nothing(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    get()
    before = sum(hub.sent.values())
    get()
    assert sum(hub.sent.values()) == before


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.add(ID, FILES, token="hf_secret")
    get()
    assert {has_token for _, origin, _, has_token in hub.asked if origin == "hub"} == {True}
    assert {has_token for _, origin, _, has_token in hub.asked if origin == "cdn"} == {False}


# --- faults that pass


@pytest.mark.parametrize("cuts", [1, 5])
def test_a_cut_connection_goes_on_where_it_was(hub: FakeHub, cuts: int) -> None:
    """However often, for each time something came."""
    hub.add(ID, FILES)
    hub.fail(BIG, *[cut_after(40_000)] * cuts)
    assert content(get())[BIG] == WEIGHTS
    assert fetched(hub) == len(WEIGHTS)


@pytest.mark.parametrize(
    "fault",
    [
        status(429, retry_after="0"), status(503), status(500), status(504), silence(3), cut_after(0),
        status(408), elsewhere, without_ranges,
    ],
    ids=["429", "503", "500", "504", "silence", "cut at once", "408", "elsewhere", "no ranges"],
)  # fmt: skip
@pytest.mark.parametrize("first", [0, 100_000], ids=["at the beginning", "in the middle"])
def test_faults_that_pass(hub: FakeHub, fault: Fault, first: int) -> None:
    hub.add(ID, FILES)
    hub.fail(BIG, *([cut_after(first)] if first else []), fault, fault if fault is not elsewhere else without_ranges)
    assert content(get(timeout=0.5, retries=3))[BIG] == WEIGHTS


def test_the_list_of_files_is_asked_for_again_too(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    hub.fail("api", status(502), status(429, retry_after="0"))
    assert set(content(get())) == NEEDED


def test_429_waits_as_long_as_it_is_told(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    waited: list[float | None] = []
    hub.fail("api", status(429, retry_after="7"))
    with Hub(timeout=5, retries=1) as client:
        # Seven real seconds would tell no more.
        client.stop.wait = lambda seconds=None: bool(waited.append(seconds))  # type: ignore[method-assign]
        client.repository(ID)
    assert waited == [7.0]


def test_slow_is_no_fault(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    hub.fail(BIG, slowly(400_000))
    assert content(get(timeout=0.5))[BIG] == WEIGHTS


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("", None), ("soon", None), ("-1", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    assert retry_after(header) == seconds


# --- faults that don't


@pytest.mark.parametrize(
    ("faults", "code", "says"),
    [
        ([status(503)] * 3, "unreachable", "the hub has a fault (503), 3 times in a row. What was fetched is kept"),
        ([status(429)] * 3, "busy", "takes no more requests just now (429), 3 times in a row"),
        ([status(429, retry_after="3600")], "busy", "asks to come back in 60 minutes"),
        ([silence(5)] * 3, "unreachable", "said nothing for 0.3 seconds, 3 times in a row"),
        ([cut_after(0)] * 3, "unreachable", "the connection was cut, 3 times in a row"),
        ([status(404, x_error_code="EntryNotFound")], "broken", "lists a file that it does not have"),
        ([status(403)], "forbidden", "forbids it (403)"),
        ([status(418)], "broken", "status 418"),
    ],
)
def test_what_is_told_when_it_is_given_up(hub: FakeHub, faults: list[Fault], code: str, says: str) -> None:
    hub.add(ID, FILES)
    hub.fail(BIG, *faults)
    with pytest.raises(HubError) as raised:
        get(timeout=0.3)
    assert raised.value.code == code
    assert says in str(raised.value) and ID in str(raised.value)
    assert SIGNATURE not in str(raised.value)
    assert not Store(ID).snapshot(hub.repos[ID].branches["main"]).exists()


def test_no_hub_at_all(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    # A port that nothing listens on.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 can't be reached, 2 times in a row") as raised:
        get(retries=1)
    assert raised.value.code == "unreachable"


def test_what_there_is_not(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    with pytest.raises(HubError, match="There is no model org/typo on the hub, or it is private") as raised:
        get(id="org/typo")
    assert raised.value.code == "not_found"
    with pytest.raises(HubError, match="no such revision") as raised:
        get(revision="v9")
    assert raised.value.code == "no_revision"


def test_gated(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(ID, FILES, token="hf_agreed", is_gated=True)
    with pytest.raises(HubError, match=rf"gated.*{hub.url}/{ID}, then set HF_TOKEN") as raised:
        get()
    assert raised.value.code == "gated"
    monkeypatch.setenv("HF_TOKEN", "hf_agreed")
    assert set(content(get())) == NEEDED


def test_offline(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    with pytest.raises(HubError) as raised:
        get(offline=True)
    assert raised.value.code == "offline" and hub.asked == []


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"sha": "../..", "siblings": []}'])
def test_an_answer_that_is_no_hub_s(hub: FakeHub, answer: bytes) -> None:
    hub.fail("api", lambda handler, content: handler.answer(200, answer, {}))
    with pytest.raises(HubError, match=r"makes no sense\. Is HF_ENDPOINT"):
        get()


@pytest.mark.parametrize("path", ["../../x.json", "/etc/x.json", "a\\b.json", "a/\0.json"])
def test_paths_that_lead_elsewhere(hub: FakeHub, path: str) -> None:
    hub.add(ID, {**FILES, path: b"{}"})
    with pytest.raises(HubError, match="makes no sense"):
        get()
    assert not Store(ID).folder.exists()


# --- content that is not what it should be


def test_wrong_content_is_fetched_once_more(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    hub.fail(BIG, wrong_content)
    assert content(get())[BIG] == WEIGHTS
    assert fetched(hub) == 2 * len(WEIGHTS)


@pytest.mark.parametrize("path", [BIG, "config.json"], ids=["SHA-256", "git's SHA-1"])
def test_wrong_content_twice_is_refused(hub: FakeHub, path: str) -> None:
    hub.add(ID, FILES)
    hub.fail(path, wrong_content, wrong_content)
    with pytest.raises(HubError, match=rf"{path}: its content is not what the hub says") as raised:
        get()
    assert raised.value.code == "corrupt"
    assert not Store(ID).snapshot(hub.repos[ID].branches["main"]).exists()
    assert set(content(get())) == NEEDED


def test_what_was_left_corrupt_is_fetched_again(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    place = partial(hub)
    place.parent.mkdir(parents=True)
    place.write_bytes(bytes(100_000))
    assert content(get())[BIG] == WEIGHTS


def test_too_much_was_left(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    place = partial(hub)
    place.parent.mkdir(parents=True)
    place.write_bytes(WEIGHTS + b"more")
    assert content(get())[BIG] == WEIGHTS


@pytest.mark.parametrize("damage", [b"\0" * len(WEIGHTS), b"short"], ids=["content", "length"])
def test_a_file_that_rotted_on_the_disk(hub: FakeHub, damage: bytes) -> None:
    hub.add(ID, FILES)
    (get() / BIG).resolve().write_bytes(damage)
    assert content(get())[BIG] == WEIGHTS
    assert fetched(hub) == 2 * len(WEIGHTS)


# --- stopping, and going on


def stopped_midway(hub: FakeHub) -> int:
    """Bytes that were here when somebody asked to stop."""
    hub.fail(BIG, slowly(100_000))
    stop = threading.Event()

    def run() -> None:
        with pytest.raises(Stopped):
            get(stop=stop)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: (partial(hub).exists() and partial(hub).stat().st_size > 30_000) or not thread.is_alive())
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    return partial(hub).stat().st_size


def test_stopping_leaves_what_can_be_gone_on_with(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    held = stopped_midway(hub)
    assert 0 < held < len(WEIGHTS)
    assert not Store(ID).snapshot(hub.repos[ID].branches["main"]).exists()
    assert content(get())[BIG] == WEIGHTS
    assert hub.resumed == [(BIG, held)]


def test_a_silent_hub_does_not_hold_up_who_stops(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    hub.fail(BIG, silence(30))
    with pytest.raises(KeyboardInterrupt):
        get(tick=lambda progress: (_ for _ in ()).throw(KeyboardInterrupt), timeout=20)


def test_progress_counts_what_is_here_and_what_came(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    hub.fail(BIG, cut_after(100_000), status(503), status(503), status(503))
    with pytest.raises(HubError):
        get()
    seen: list[Progress] = []
    get(tick=seen.append)
    assert (seen[-1].bytes_done, seen[-1].files_done) == (seen[-1].bytes_total, 3)
    assert seen[-1].fetched < seen[-1].bytes_total - 90_000


def test_two_at_once_share_the_work(hub: FakeHub) -> None:
    hub.add(ID, FILES)
    hub.fail(BIG, slowly(300_000))
    threads = [threading.Thread(target=get) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert fetched(hub) == len(WEIGHTS)
    assert content(get())[BIG] == WEIGHTS


# --- room, revisions


def test_no_room(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(ID, FILES)
    usage = namedtuple("usage", "total used free")
    # A disk that is really full would be everybody's.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2 << 40, 1 << 40, (1 << 30) + 200_000))
    with pytest.raises(HubError, match=r"takes 313.0 kB more, and .* has 1.1 GB free.*ATELIER_MODEL_DIR") as raised:
        get()
    assert raised.value.code == "no_room" and fetched(hub) == 0


def test_a_pinned_revision(hub: FakeHub) -> None:
    repo = hub.add(ID, FILES)
    old = repo.branches["main"]
    repo.files[BIG] = WEIGHTS[::-1]
    new = repo.commit()
    repo.branches["v1"] = old
    assert content(get(revision="v1"))[BIG] == WEIGHTS == content(get(revision=old))[BIG]
    assert content(get())[BIG] == WEIGHTS[::-1]
    assert (Store(ID).commit_of("v1"), Store(ID).commit_of("")) == (old, new)
    # Small files are the same in both: they came once.
    assert hub.sent["tokenizer.json"] == len(FILES["tokenizer.json"])


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "pickles"),
        ({"config.json": b"{}", "model.gguf": b"x"}, "GGUF"),
        ({"config.json": b"{}"}, "no weights"),
        ({"model.safetensors": b"x"}, "no config.json"),
        (FILES, ""),
    ],
)
def test_what_could_never_be_served(hub: FakeHub, files: dict[str, bytes], says: str) -> None:
    hub.add(ID, files)
    with Hub(timeout=5, retries=0) as client:
        found: Repository = client.repository(ID)
    assert says in found.refusal() and bool(says) == bool(found.refusal())
