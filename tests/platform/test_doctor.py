"""What the doctor finds, and that it tells no secret."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.checks import run_checks
from django.core.management import call_command

from accounts.models import Team
from atelier.doctor import CHECKS, Finding, examine
from atelier.doctor.services import clock_finding, pool_finding
from atelier.doctor.surroundings import wired_memory
from gateway import presence
from inference.models import Deployment, Model
from tests.support.server import ROOT, Server
from tests.support.services import redis_server

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    """A data folder as it should be."""
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir(mode=0o700)
    (settings.DATA_DIR / "secret_key").touch(mode=0o600)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def own_redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


def found(name: str) -> Finding:
    return CHECKS[name]()


def test_a_new_installation_is_fine(folder: Path, capsys: Any) -> None:
    assert {name: each.detail for name, each in examine().items() if each.status in ("fail", "warning")} == {}
    call_command("doctor")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS) and all(line.startswith(("pass", "unknown")) for line in lines)


def test_what_fails_is_said_with_what_to_do(folder: Path, settings: Any, capsys: Any) -> None:
    settings.DEBUG = True
    with pytest.raises(SystemExit) as ended:
        call_command("doctor")
    assert ended.value.code == 1
    assert "→ Unset ATELIER_DEBUG." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("doctor", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["debug"]["status"] == "fail" and said["debug"]["advice"] == "Unset ATELIER_DEBUG."
    [ours] = [each for each in run_checks(include_deployment_checks=True) if "Debug pages" in each.msg]
    assert ours.hint == "Unset ATELIER_DEBUG."


@pytest.mark.parametrize(
    ("name", "changes", "status", "says"),
    [
        ("TLS", {"HOST": "0.0.0.0"}, "warning", "in the clear"),
        ("TLS", {"HOST": "0.0.0.0", "SESSION_COOKIE_SECURE": True}, "warning", "gets past the proxy"),
        ("TLS", {"SESSION_COOKIE_SECURE": True}, "pass", "proxy"),
        ("host names", {"HOST": "::"}, "warning", "no name that others could use"),
        ("trusted proxies", {"SESSION_COOKIE_SECURE": True}, "warning", "none is trusted"),
        ("trusted proxies", {"TRUSTED_PROXIES": [ip_network("0.0.0.0/0")]}, "fail", "invent their address"),
        ("trusted proxies", {"TRUSTED_PROXIES": [ip_network("10.0.0.0/8")]}, "pass", "10.0.0.0/8"),
        ("gateways", {"GATEWAYS": 3}, "fail", "Each counts limits by itself"),
        ("Redis", {"REDIS_URL": "redis://:hidden@127.0.0.1:1/0"}, "fail", "does not answer: ConnectionError"),
        ("Redis", {"REDIS_URL": "rubbish"}, "fail", "does not answer: ValueError"),
    ],
)
def test_settings(settings: Any, folder: Path, name: str, changes: dict[str, Any], status: str, says: str) -> None:
    for setting, value in changes.items():
        setattr(settings, setting, value)
    finding = found(name)
    assert finding.status == status and says in finding.detail and "hidden" not in str(finding)
    assert bool(finding.advice) == (status != "pass")


def test_every_host_name(monkeypatch: Any) -> None:
    monkeypatch.setenv("ATELIER_ALLOWED_HOSTS", "*")
    assert found("host names").status == "fail"


def test_the_data_folder_and_its_secret_are_private(folder: Path, monkeypatch: Any, settings: Any) -> None:
    assert (found("data folder").status, found("secret key").status) == ("pass", "pass")
    folder.chmod(0o755)
    (folder / "secret_key").chmod(0o644)
    assert "chmod 700" in found("data folder").advice and "chmod 600" in found("secret key").advice
    (folder / "secret_key").unlink()
    assert found("secret key").status == "fail"
    monkeypatch.setenv("ATELIER_SECRET_KEY", "hunter2")
    settings.SECRET_KEY = "hunter2"
    finding = found("secret key")
    assert finding.status == "fail" and "hunter2" not in str(finding)


def test_models_that_have_moved(tmp_path: Path) -> None:
    model = Model.objects.create(name="moved", source=str(tmp_path / "gone"))
    Model.objects.create(name="far", source="mlx-community/some-model")
    assert found("models").status == "warning" and "moved" in found("models").detail
    Deployment.objects.create(model=model, host="here")
    assert found("models").status == "fail" and "far" not in found("models").detail


def test_time_zones_that_nobody_knows() -> None:
    Team.objects.create(name="Explorers", time_zone="Mars/Olympus")
    assert found("time zones").status == "fail" and "Explorers" in found("time zones").detail


def test_gateways_that_run(folder: Path, settings: Any) -> None:
    with presence.present("one"):
        assert found("gateways").detail == "Running here: one."
        with presence.present("two"):
            assert found("gateways").status == "fail" and "one, two" in found("gateways").detail
            settings.REDIS_URL = "redis://127.0.0.1:6379/0"
            assert found("gateways").status in ("warning", "pass")
        with pytest.raises(presence.NameTaken), presence.present("one"):
            pass
    assert presence.names() == []


def test_what_redis_must_not_do(own_redis: str, settings: Any) -> None:
    settings.REDIS_URL = own_redis
    assert found("Redis").status == "warning" and "keeps nothing" in found("Redis").detail
    with redis.Redis.from_url(own_redis) as client:
        client.config_set("appendonly", "yes")
        assert found("Redis").status == "pass"
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert found("Redis").status == "warning"
        client.config_set("maxmemory", "100mb")
        finding = found("Redis")
        assert finding.status == "fail" and finding.advice == "maxmemory-policy noeviction"
    assert found("clock").status == "pass" and "Redis" in found("clock").detail


def test_clocks_that_differ() -> None:
    assert clock_finding({"Redis": 0.3}).status == "pass"
    assert clock_finding({"Redis": 0.3, "PostgreSQL": -4}).status == "warning"
    assert clock_finding({"Redis": 3600, "PostgreSQL": 0}).status == "fail"


def test_more_connections_than_there_are(settings: Any) -> None:
    settings.GATEWAYS = 3
    assert pool_finding(15, 8, 100).status == "pass"
    assert pool_finding(15, 8, 30).status == "warning" and "40 of this host, of 30" in pool_finding(15, 8, 30).detail


def test_memory_that_macos_needs_itself() -> None:
    assert wired_memory(0, 65536).status == wired_memory(50000, 65536).status == "pass"
    assert wired_memory(64000, 65536).status == "warning"


def doctor(**environment: str) -> tuple[int, str]:
    cleared = {name: value for name, value in os.environ.items() if not name.startswith("ATELIER_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "doctor"],
        env={**cleared, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    url = "postgresql://atelier:hidden@127.0.0.1:1/atelier"
    code, said = doctor(ATELIER_DATA_DIR=str(tmp_path), DATABASE_URL=url)
    assert code == 1 and "PostgreSQL does not answer" in said and "→ Check DATABASE_URL." in said
    assert "hidden" not in said and "Traceback" not in said


def test_an_installation_without_tables(tmp_path: Path) -> None:
    code, said = doctor(ATELIER_DATA_DIR=str(tmp_path))
    assert code == 1 and "→ atelier migrate" in said and "Traceback" not in said


def test_one_that_runs(server: Server) -> None:
    said = json.loads(server.run("doctor", "--json"))
    assert said["worker"]["status"] == "pass"
    assert str(server.port) in said["gateways"]["detail"]
    assert not {name for name, each in said.items() if each["status"] in ("fail", "warning")}
