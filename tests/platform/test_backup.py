"""Backups while requests run, and restoring them elsewhere."""

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import threading

import httpx
import pytest

from atelier.backup import archive
from atelier.backup.databases import SQLite
from atelier.backup.errors import BackupError
from atelier.backup.verbs import check_origin
from tests.support.server import ROOT, Server
from tests.support.services import postgresql_server
from tests.support.streams import body, endless

SUMS = ("prompt_tokens", "completion_tokens", "cached_tokens")


def manage(data_dir, *command, **environment):
    """Exit code, and all that it says."""
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("ATELIER_", "DATABASE_URL"))}
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *command],
        env={**cleared, "ATELIER_DATA_DIR": str(data_dir), **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def sums(rows):
    rows = list(rows)
    return {name: sum(row[name] for row in rows) for name in SUMS}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def saved(request, tmp_path_factory):
    """A backup that was made while requests ran, with what has to be in it; and the environment of another
    installation, on a database of its own."""
    folder = tmp_path_factory.mktemp("backup")
    file = folder / "atelier.tar.gz"
    with contextlib.ExitStack() as stack:
        here, there = (
            ({"DATABASE_URL": stack.enter_context(postgresql_server())} for _ in range(2))
            if request.param == "postgresql"
            else ({}, {})
        )
        server = stack.enter_context(Server(folder / "first", **here))
        with server.client() as client:
            for _ in range(3):
                assert client.post("/v1/chat/completions", json=body("Hello", stream=False)).status_code == 200
        server.run("setquota", "--user", "admin", "--metric", "requests", "--window", "total", "--limit", "500")
        done = threading.Event()
        busy = [threading.Thread(target=keep_asking, args=(server, done)) for _ in range(2)]
        for thread in busy:
            thread.start()
        try:
            said = server.run("backup", str(file))
        finally:
            done.set()
            for thread in busy:
                thread.join(60)
        yield file, server.settled(0, 3), server.key, there, said


def keep_asking(server, done):
    with server.client() as client:
        while not done.is_set():
            client.post("/v1/chat/completions", json={**endless(max_tokens=40), "stream": False})


def test_it_is_restored_elsewhere(saved, tmp_path):
    file, known, key, environment, said = saved
    assert key not in said and "owner only" in said
    assert file.stat().st_mode & 0o777 == 0o600
    elsewhere = tmp_path / "second"
    code, said = manage(elsewhere, "restore", str(file), **environment)
    assert code == 0, said
    with Server(elsewhere, **environment) as server:
        rows = server.ledger()
        assert 3 < len(rows) <= len(known), "it was made while requests ran"
        ended = {row["request_id"] for row in rows if row["state"] == "settled"}
        assert sums(rows) == sums(row for row in known if row["request_id"] in ended)
        with httpx.Client(base_url=server.base_url, headers={"authorization": f"Bearer {key}"}) as client:
            assert client.get("/v1/models").status_code == 200
            used = next(each for each in client.get("/v1/key").json()["limits"] if each["window"] == "total")
            assert (used["limit"], used["used"]) == (500, len(ended))
            assert client.post("/v1/chat/completions", json=body("Hello", stream=False)).status_code == 200
        assert "installation.restored" in server.run("audit")
        if not environment:
            code, said = manage(elsewhere, "restore", str(file), "--force")
            assert code != 0 and "running already" in said
    code, said = manage(elsewhere, "restore", str(file), **environment)
    assert code != 0 and "--force" in said and "users already" in said
    code, said = manage(elsewhere, "restore", str(file), "--force", **environment)
    assert code == 0, said
    if not environment:
        [aside] = elsewhere.glob("replaced-*")
        assert str(aside) in said
        with contextlib.closing(sqlite3.connect(aside / "atelier.sqlite3")) as old:
            assert old.execute("select count(*) from accounts_usagerecord").fetchone() == (len(rows) + 1,)


def test_without_the_secret(tmp_path):
    """The keys are those of the old secret, which has to be brought."""
    first, second, file = tmp_path / "first", tmp_path / "second", tmp_path / "b.tar"
    assert manage(first, "migrate", ATELIER_SECRET_KEY="one")[0] == 0
    assert manage(first, "backup", str(file), "--without-secret", ATELIER_SECRET_KEY="one")[0] == 0
    with tarfile.open(file) as tar:
        assert sorted(tar.getnames()) == ["database", "manifest.json"]
    code, said = manage(second, "restore", str(file))
    assert code == 0 and "holds no secret key" in said
    whole = tmp_path / "whole.tar.xz"
    assert manage(first, "backup", str(whole), ATELIER_SECRET_KEY="one")[0] == 0
    code, said = manage(tmp_path / "third", "restore", str(whole), ATELIER_SECRET_KEY="another")
    assert code != 0 and "ATELIER_SECRET_KEY is not the secret" in said and "one" not in said.split()
    code, said = manage(tmp_path / "fourth", "restore", str(whole))
    assert code == 0 and (tmp_path / "fourth/secret_key").read_text() == "one"


def write(file, **members):
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


MANIFEST = {"format": 1, "version": "9.9", "created": "2026-01-01", "database": "sqlite", "migrations": []}


def told(**changes):
    return json.dumps({**MANIFEST, **changes}).encode()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        (None, "not a backup of Atelier"),
        ({}, "not a backup of Atelier"),
        ({"manifest__json": b"[]", "database": b""}, "not a backup of Atelier"),
        ({"manifest__json": told(format=2), "database": b""}, "another version"),
        ({"manifest__json": told(database="oracle"), "database": b""}, "not a backup of Atelier"),
        ({"manifest__json": told()}, "not a backup of Atelier"),
        ({"manifest__json": told(), "database": b"rubbish" * 100}, "damaged"),
        ({"manifest__json": told(database="postgresql"), "database": b""}, "The backup is of postgresql"),
        ({"manifest__json": told(migrations=["accounts.9999_future"]), "database": b""}, "newer Atelier (9.9"),
    ],
)
def test_what_can_not_be_restored(tmp_path, members, says):
    file = tmp_path / "bad.tar"
    if members is None:
        file.write_bytes(b"\x00\xff" * 1000)
    else:
        write(file, **members)
    with pytest.raises(BackupError) as refusal, archive.unpacked(file, tmp_path) as contents:
        check_origin(contents.manifest, "sqlite")
        SQLite().prepare(contents.database)
    assert says in str(refusal.value)
    assert [left.name for left in tmp_path.iterdir()] == ["bad.tar"]


def test_mistakes_change_nothing(tmp_path):
    data = tmp_path / "data"
    assert manage(data, "migrate")[0] == 0
    before = (data / "atelier.sqlite3").read_bytes(), (data / "secret_key").read_bytes()
    bad = write(tmp_path / "bad.tar", manifest__json=told(), database=b"rubbish" * 100)
    for command, says in (
        (["restore", str(bad)], "damaged"),
        (["restore", str(tmp_path / "none.tar")], "There is no file"),
        (["backup", str(tmp_path / "b.zip")], ".tar.gz"),
        (["backup", str(tmp_path / "no/such/folder/b.tar")], "can't be written: No such file or directory"),
    ):
        code, said = manage(data, *command)
        assert code != 0 and says in said and "Traceback" not in said
    assert ((data / "atelier.sqlite3").read_bytes(), (data / "secret_key").read_bytes()) == before
    assert not [left.name for left in data.iterdir() if left.name.startswith(("restore-", "replaced-", "backup-"))]
    code, said = manage(tmp_path / "new", "backup", str(tmp_path / "b.tar"))
    assert code != 0 and "no database" in said and not (tmp_path / "b.tar").exists()


def test_postgresqls_programs_are_asked_for_by_name(tmp_path):
    with postgresql_server() as url:
        assert manage(tmp_path, "migrate", DATABASE_URL=url)[0] == 0
        code, said = manage(tmp_path, "backup", str(tmp_path / "b.tar"), DATABASE_URL=url, PATH="/nowhere")
    assert code != 0 and "pg_dump is missing" in said and "postgresql-client" in said


def test_a_crash_while_writing_leaves_the_last_backup(tmp_path):
    """A file is replaced when the new one is whole."""
    file, dump = tmp_path / "b.tar", tmp_path / "dump"
    file.write_text("the last one")
    with pytest.raises(BackupError):
        archive.write(file, archive.Manifest(1, "1", "now", "sqlite", []), dump, None)  # there is no dump
    assert file.read_text() == "the last one"
    assert [path.name for path in tmp_path.iterdir()] == ["b.tar"]
