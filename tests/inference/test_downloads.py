"""Downloads as jobs: who has one, what is written of it, cancelling, going on; what is served of it meanwhile."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent
from accounts.services import do_create_user
from inference import downloads, library
from inference.catalogue import listed, listed_model
from inference.downloads import AlreadyEnded, NotOfHub, claim, do_cancel_download, do_request_download, work_on
from inference.hub.cache import Store
from inference.inspection import inspect_source
from inference.models import Deployment, Download, Model
from inference.sources import BUILTIN_FOLDER, Source, SourceError, load_path, parse_source
from inference.supervisor import engine_argv
from inference.tasks import work_on_downloads
from tests.support.hub import FakeHub, cut_after, slowly, status, wait_until

# Threads and commands have connections of their own.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("asked_once")]

ID = "org/tiny"
State = Download.State


@pytest.fixture
def tiny(hub: FakeHub) -> FakeHub:
    hub.add_folder(ID, BUILTIN_FOLDER / "atelier-tiny")
    return hub


def added(id: str = ID, **options: Any) -> Model:
    return library.do_add_model(Source(id, id, **options), acting_user=None)


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))


def worked_on(model: Model, **options: Any) -> Download:
    mine = claim(do_request_download(model, acting_user=None, **options))
    assert mine is not None
    return work_on(mine, threading.Event())


# --- the job


def test_a_worker_gets_it(tiny: FakeHub) -> None:
    model = added()
    download = do_request_download(model, acting_user=None)
    assert work_on_downloads() is True
    download.refresh_from_db()
    model.refresh_from_db()
    assert (download.state, download.error) == (State.DONE, "")
    assert download.bytes_done == download.bytes_total > 6_000_000 and download.files_done == download.files_total == 6
    assert model.commit == download.commit == tiny.repos[ID].branches["main"]
    assert model.facts["kind"] == "text" and model.facts["licence"] == "apache-2.0"
    assert (Path(load_path(ID, model.commit)) / "config.json").is_file()
    assert actions() == ["model.added", "download.requested", "download.ended"]
    assert work_on_downloads() is False


def test_nothing_is_served_before_it_is_whole(tiny: FakeHub) -> None:
    """An engine is not even started."""
    model = added()
    deployment = Deployment.objects.create(model=model, host="here")
    tiny.fail("model.safetensors", cut_after(100_000), *[status(503)] * 3)
    assert worked_on(model).state == State.FAILED
    model.refresh_from_db()
    assert model.commit == "" and 0 < Store(ID).size() < 6_000_000
    with pytest.raises(SourceError, match=r"org/tiny is not downloaded\. `atelier download org/tiny` gets it"):
        engine_argv(deployment, "ipc://x")
    assert worked_on(model).state == State.DONE
    deployment = Deployment.objects.get()
    assert engine_argv(deployment, "ipc://x")[4] == str(Store(ID).snapshot(deployment.model.commit))
    # Half of it gone afterwards: neither.
    (Store(ID).snapshot(deployment.model.commit) / "model.safetensors").unlink()
    with pytest.raises(SourceError, match="not downloaded"):
        engine_argv(deployment, "ipc://x")
    assert listed_model(deployment.model).state == "missing"


def test_a_failure_says_why_and_the_next_attempt_goes_on(tiny: FakeHub) -> None:
    model = added()
    tiny.fail("model.safetensors", cut_after(3_000_000), *[status(503)] * 3)
    download = worked_on(model)
    assert (download.state, download.error_code) == (State.FAILED, "unreachable")
    assert "the hub has a fault (503), 3 times in a row" in download.error and download.bytes_done >= 3_000_000
    sent = tiny.sent["model.safetensors"]
    assert worked_on(model).state == State.DONE
    assert tiny.sent["model.safetensors"] - sent < 3_200_000
    assert [event.after["state"] for event in AuditEvent.objects.filter(action="download.ended")] == ["done", "failed"]


def test_cancelling_stops_the_worker_and_keeps_what_is_here(tiny: FakeHub) -> None:
    model = added()
    tiny.fail("model.safetensors", slowly(1_000_000))
    download = do_request_download(model, acting_user=None)
    worker = threading.Thread(target=work_on_downloads)
    worker.start()
    wait_until(lambda: Download.objects.get().bytes_done > 200_000)
    do_cancel_download(download, acting_user=None)
    worker.join(15)
    assert not worker.is_alive()
    download.refresh_from_db()
    assert download.state == State.CANCELLED
    with pytest.raises(AlreadyEnded):
        do_cancel_download(download, acting_user=None)
    held = Store(ID).size()
    assert 200_000 < held < 6_000_000
    assert worked_on(model).state == State.DONE
    assert tiny.resumed and tiny.resumed[-1][1] > 200_000


def test_a_worker_that_stops_leaves_it_to_the_next(tiny: FakeHub) -> None:
    tiny.fail("model.safetensors", slowly(1_000_000))
    mine = claim(do_request_download(added(), acting_user=None))
    assert mine is not None
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    assert work_on(mine, stop).state == State.WAITING
    assert work_on_downloads() and Download.objects.get().state == State.DONE


def test_one_at_a_time(tiny: FakeHub) -> None:
    model = added()
    first = do_request_download(model, acting_user=None)
    assert do_request_download(model, acting_user=None).pk == first.pk
    assert claim(first) is not None and claim(first) is None and claim() is None


def test_a_lease_that_was_lost_writes_nothing(tiny: FakeHub) -> None:
    mine = claim(do_request_download(added(), acting_user=None))
    assert mine is not None
    Download.objects.update(lease="somebody else's")
    assert work_on(mine, threading.Event()).lease == "somebody else's"
    assert Download.objects.get().state == State.RUNNING and Model.objects.get().commit == ""


def test_of_folders_there_is_nothing_to_download() -> None:
    model = library.do_add_model(parse_source("atelier-tiny"), acting_user=None)
    with pytest.raises(NotOfHub):
        do_request_download(model, acting_user=None)


def test_progress_is_told_to_whoever_listens(tiny: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    # The transports have tests of their own.
    monkeypatch.setattr("accounts.events.publish", lambda topic, **payload: told.append({"topic": topic, **payload}))
    assert worked_on(added()).state == State.DONE
    mine = [each for each in told if each["topic"] == downloads.DOWNLOADS_CHANGED]
    assert [mine[0]["state"], mine[-1]["state"]] == ["waiting", "done"]
    assert mine[-1]["bytes_done"] == mine[-1]["bytes_total"] > 0 and mine[-1]["model"] == ID


def test_a_pinned_revision_stays_until_another_is_asked_for(tiny: FakeHub) -> None:
    repo = tiny.repos[ID]
    old = repo.branches["main"]
    repo.files["generation_config.json"] = b"{}"
    new = repo.commit()
    model = added(revision=old)
    worked_on(model)
    assert Model.objects.get().commit == old
    worked_on(model, revision="main")
    assert (Model.objects.get().commit, Model.objects.get().revision) == (new, "main")


# --- what could not be served


def test_what_is_refused_before_it_costs_anything(tiny: FakeHub) -> None:
    config = (BUILTIN_FOLDER / "atelier-tiny" / "config.json").read_bytes()
    code = json.dumps({**json.loads(config), "model_file": "evil.py"}).encode()
    unknown = json.dumps({**json.loads(config), "model_type": "sings"}).encode()
    cases = {
        "org/pickled": ({"config.json": config, "pytorch_model.bin": b"x"}, "pickles"),
        "org/nothing": ({"config.json": config}, "no weights"),
        "org/code": ({"config.json": code, "model.safetensors": b"x"}, r"a program of its own \(evil.py\)"),
        "org/sings": ({"config.json": unknown, "model.safetensors": b"x"}, "knows no models of the type sings"),
    }
    for id, (files, says) in cases.items():
        tiny.add(id, files)
        download = worked_on(added(id))
        assert (download.state, download.error_code) == (State.FAILED, "refused"), id
        assert re.search(says, download.error), download.error
    assert tiny.sent["model.safetensors"] == 0
    assert worked_on(Model.objects.get(name="org/sings"), force=True).state == State.DONE
    assert worked_on(Model.objects.get(name="org/nothing"), force=True).state == State.FAILED


def test_a_model_that_does_not_fit_is_refused_with_numbers(tiny: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    tell = tiny.repos[ID].commits[tiny.repos[ID].branches["main"]]
    info = {
        "sha": tiny.repos[ID].branches["main"],
        "siblings": [
            {"rfilename": "config.json", "size": len(tell["config.json"]), "blobId": "0" * 40},
            # Ten terabytes, which nobody has.
            {"rfilename": "model.safetensors", "size": 10**13, "blobId": "0" * 40,
             "lfs": {"sha256": "0" * 64, "size": 10**13}},
        ],
    }  # fmt: skip
    tiny.fail("api", lambda handler, content: handler.answer(200, json.dumps(info).encode(), {}))
    download = worked_on(added())
    assert download.error_code == "refused"
    assert "weights 10000.0 GB" in download.error and "for models" in download.error and "--force" in download.error


# --- the registry


def test_names_are_one_model_s(tiny: FakeHub) -> None:
    from django.core.exceptions import ValidationError

    model, other = added(), added("org/other")
    library.do_change_model(model, acting_user=None, aliases=["small", "quick"])
    for alias in ("small", "org/tiny", "default", "atelier-tiny", "", "a\nb", "x" * 201):
        with pytest.raises(ValidationError):
            library.do_change_model(other, acting_user=None, aliases=[alias])
    assert library.find("quick") == model and library.find("nobody") is None
    assert actions()[-1] == "model.changed"


def test_removing(tiny: FakeHub) -> None:
    model = added()
    running = do_request_download(model, acting_user=None)
    with pytest.raises(library.InUse, match="just being downloaded"):
        library.do_remove_model(model, acting_user=None)
    do_cancel_download(running, acting_user=None)
    worked_on(model)
    deployment = Deployment.objects.create(model=model, host="here")
    with pytest.raises(library.InUse, match="is served on here"):
        library.do_remove_model(model, acting_user=None)
    deployment.delete()
    assert library.do_remove_model(model, acting_user=None, with_files=True) > 6_000_000
    assert not Store(ID).folder.exists() and not Model.objects.exists()
    assert actions()[-1] == "model.removed"


def test_what_other_tools_have_downloaded_is_found(tiny: FakeHub) -> None:
    worked_on(added())
    Model.objects.all().delete()
    found = {each.name: each for each in listed()}
    assert (found[ID].state, found[ID].model) == ("unknown", None)
    assert found["atelier-tiny"].state == "here"
    before = len(tiny.asked)
    assert added().commit and len(tiny.asked) == before


# --- inspecting


def test_inspecting_costs_next_to_nothing_and_leaves_nothing(tiny: FakeHub, tmp_path: Path) -> None:
    from inference.hub.client import Hub

    with Hub(timeout=5, retries=1) as client:
        found = inspect_source(parse_source(ID), client, tokens=1000)
    assert (found.kind, found.context_length, found.licence, found.is_here) == ("text", 8192, "apache-2.0", False)
    assert found.modalities == ["text"] and found.quantisation == "float32" and found.problems == []
    assert found.fit is not None and found.fit.weights == found.weights_bytes and not found.too_large
    # Two arrays of 32 numbers for each of four layers' five heads, of 4 bytes, for 1,024 tokens.
    assert found.fit.sequence == found.fit.tokens // 1000 * 1024 * key_bytes()
    assert tiny.sent["model.safetensors"] == 0 and not Store(ID).folder.exists()


def key_bytes() -> int:
    config = json.loads((BUILTIN_FOLDER / "atelier-tiny" / "config.json").read_text())
    return int(2 * 4 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"])


def test_inspecting_a_model_that_sees() -> None:
    from inference.hub.client import Hub

    with Hub(timeout=5, retries=1, offline=True) as client:
        found = inspect_source(parse_source("atelier-tiny-vl"), client)
    assert (found.kind, found.modalities) == ("vision", ["text", "image", "video"])
    assert found.fit is not None and found.fit.sequence and found.problems == []


# --- the command line


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    call_command(*words)
    return capsys.readouterr().out


def test_the_download_command(tiny: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.fail("model.safetensors", cut_after(1_000_000))
    said = run("download", f"{ID}@main", capsys=capsys)
    assert "org/tiny is here, 6.2 MB: " in said
    assert "org/tiny is here: " in run("download", ID, "--offline", capsys=capsys)
    shown = run("models", capsys=capsys)
    assert "org/tiny\thub\there\ttext\t6.2 MB" in shown
    assert json.loads(run("models", "--json", capsys=capsys))[-1]["download"]["state"] == "done"
    assert "fits\tyes" in run("models", "inspect", ID, capsys=capsys)
    assert "also called small" in run("models", "alias", ID, "small", capsys=capsys)
    assert "6.2 MB are free" in run("models", "remove", "small", "--files", capsys=capsys)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["download", "atelier-tiny"], "is here already"),
        (["download", "org/typo"], "There is no model org/typo"),
        (["download", "org/tiny", "--revision", "v9"], "no such revision"),
        (["download", "org/tiny", "--revision", "../.."], "can be no revision"),
        (["download", "org/tiny", "--offline"], "offline nothing can be fetched"),
        (["download", "/nowhere"], "there is no such folder"),
        (["download", "org/tiny", "--retries", "many"], "whole number from 0 to 1000"),
        (["download", "org/tiny", "--timeout", "0"], "seconds, from 0.1"),
        (["models", "remove", "nobody"], "There is no model 'nobody'"),
        (["models", "inspect", "org/typo"], "There is no model org/typo"),
        (["models", "add", "--alias", "default", "org/tiny"], "is the first model that is served"),
    ],
)
def test_what_commands_refuse(tiny: FakeHub, words: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says.replace("(", r"\(")):
        call_command(*words)


# --- the admin


def test_the_admin_inspects_downloads_cancels_and_retries(tiny: FakeHub) -> None:
    client = Client()
    client.force_login(do_create_user("boss", password=None, is_admin=True, acting_user=None))
    add = reverse("admin:inference_model_add")
    shown = client.post(add, {"source": ID, "do": "inspect"}).content.decode()
    assert "8,192 tokens" in shown and "Add and download" in shown and not Model.objects.exists()
    assert "There is no model org/typo" in client.post(add, {"source": "org/typo", "do": "inspect"}).content.decode()
    page = client.post(add, {"source": ID, "do": "download"})["location"]
    model = Model.objects.get()
    assert "waiting" in client.get(page).content.decode()
    cancelled = client.post(reverse("admin:inference_model_cancel", args=[model.pk]), follow=True).content.decode()
    assert "What was fetched is kept" in cancelled and "Retry" in cancelled
    client.post(reverse("admin:inference_model_download", args=[model.pk]))
    assert work_on_downloads()
    part = client.get(reverse("admin:inference_model_progress", args=[model.pk])).content.decode()
    assert "state-here" in part and "Look for a newer version" in part
    assert client.get(reverse("admin:inference_model_changelist")).status_code == 200
    assert set(AuditEvent.objects.exclude(actor=None).values_list("actor_name", flat=True)) == {"boss"}


def test_the_admin_s_buttons_take_permissions(tiny: FakeHub) -> None:
    from django.contrib.auth.models import Permission

    from accounts.models import User

    user = do_create_user("staff", password=None, acting_user=None)
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_model"))
    client = Client()
    client.force_login(user)
    model = added()
    for name in ("download", "cancel"):
        assert client.post(reverse(f"admin:inference_model_{name}", args=[model.pk])).status_code == 403
    assert client.post(reverse("admin:inference_model_add"), {"source": ID, "do": "add"}).status_code == 403
    page = client.get(reverse("admin:inference_model_change", args=[model.pk]))
    assert page.status_code == 200 and '<button class="go"' not in page.content.decode()
    assert not Download.objects.exists()
