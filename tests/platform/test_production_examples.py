"""The examples for production name what there is."""

import plistlib
import re
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from tests.platform.test_docs import settings_read
from tests.support.server import ROOT

EXAMPLES = ROOT / "docs" / "deployment"
PLISTS = sorted(EXAMPLES.glob("*.plist"))
SYSTEM = {"DATABASE_URL", "PATH"}


def named(text: str) -> set[str]:
    return set(re.findall(r"\bATELIER_\w+", text))


@pytest.mark.parametrize("name", ["compose.yaml", "Caddyfile", "nginx.conf"])
def test_their_variables_are_settings(name: str) -> None:
    assert named((EXAMPLES / name).read_text()) <= settings_read()


@pytest.mark.parametrize("page", ["production.md", "security.md"])
def test_those_of_the_pages_too(page: str) -> None:
    assert named((ROOT / "docs" / page).read_text()) <= settings_read()


def test_the_services_of_the_compose_file() -> None:
    composed = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())
    services = composed["services"]
    assert set(services) == {"postgresql", "redis", "proxy"}
    assert {"--maxmemory-policy", "noeviction", "--appendonly", "yes"} <= set(services["redis"]["command"])
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in composed["volumes"] or (EXAMPLES / source).is_file(), source
    for name in ("postgresql", "redis"):
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"]), "not for the whole network"
    assert set(services["proxy"]["environment"]) == set(re.findall(r"\{\$(\w+):", (EXAMPLES / "Caddyfile").read_text()))


@pytest.mark.parametrize("file", PLISTS, ids=lambda file: file.name)
def test_a_plist(file: Path) -> None:
    job = plistlib.loads(file.read_bytes())
    assert job["Label"] == file.stem
    program, command, *arguments = job["ProgramArguments"]
    assert program.endswith("/.venv/bin/atelier") and program.startswith("/Users/atelier/")
    parser = load_command_class(get_commands()[command], command).create_parser("atelier", command)
    parser.parse_args(arguments)
    assert set(job["EnvironmentVariables"]) - SYSTEM <= settings_read()
    assert job.get("Umask", 0o077) == 0o077


def test_there_are_plists() -> None:
    assert [file.name for file in PLISTS] == ["local.atelier.backup.plist", "local.atelier.serve.plist"]


def test_the_proxies_do_not_buffer_and_say_who_comes() -> None:
    nginx = (EXAMPLES / "nginx.conf").read_text()
    for line in ("proxy_buffering off;", "X-Forwarded-For $remote_addr;", "X-Forwarded-Proto $scheme;"):
        assert line in nginx
    assert nginx.count("{") == nginx.count("}")
