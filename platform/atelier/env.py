"""Typed readers of environment variables; a value that can't be read names its variable."""

import contextlib
import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured

HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
HOST_AND_PORT = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, default).strip()


def needed(name: str, because: str) -> str:
    """A variable that has to be there because another one is."""
    value = text(name)
    if not value:
        raise ImproperlyConfigured(f"{name} is missing; {because} needs it.")
    return value


def url(name: str) -> str:
    """An HTTP address without a slash at its end; empty where there is none."""
    value = text(name).rstrip("/")
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and value.isprintable()
    except ValueError:  # a port that is no number, a bracket that is not closed
        good = False
    if not good or parts.username is not None or parts.query or parts.fragment or " " in value:
        raise ImproperlyConfigured(f"{name} must be an address such as https://atelier.example.org, not {value!r}.")
    return value


def flag(name: str, default: bool = False) -> bool:
    value = os.environ.get(name)
    if value is None:
        return default
    lowered = value.strip().lower()
    if lowered in TRUE:
        return True
    if lowered in FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")


def number(name: str, default: float, *, minimum: float = 0) -> float:
    value = text(name)
    if not value:
        return default
    try:
        parsed = float(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a number, not {value!r}.") from None
    if not minimum <= parsed < float("inf"):
        raise ImproperlyConfigured(f"{name} must be at least {minimum:g}, not {value}.")
    return parsed


def integer(name: str, default: int, *, minimum: int = 0) -> int:
    value = number(name, default, minimum=minimum)
    if value != int(value):
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value:g}.")
    return int(value)


def words(name: str) -> list[str]:
    """The comma-separated words of a variable, without empty ones."""
    return [word for word in (part.strip() for part in text(name).split(",")) if word]


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(word, strict=False) for word in words(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be networks, such as 10.0.0.0/8 or 127.0.0.1: {error}.") from None


def time_zone(name: str, default: str) -> str:
    value = text(name, default)
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise ImproperlyConfigured(f"{name} must be a time zone, such as Europe/Berlin, not {value!r}.") from None
    return value


def folder(name: str, default: Path) -> Path:
    value = text(name)
    return Path(value).expanduser().resolve() if value else default


def existing_folder(name: str) -> Path | None:
    value = text(name)
    if value and (found := folder_at(value)) is None:
        raise ImproperlyConfigured(f"{name} must be a folder that exists, not {value!r}.")
    return found if value else None


def folder_at(path: str) -> Path | None:
    """Resolved; None where there is none."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # a link to itself, a null character, an unknown ~user
        found = Path(path).expanduser().resolve()
        return found if found.is_dir() else None
    return None


def hosts(name: str) -> list[tuple[str, int | None]]:
    """Host names or addresses, each for one port or, where it is None, for every port."""
    try:
        return [host_and_port(word) for word in words(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be hosts, such as nas.local or 10.0.0.5:8080: {error}.") from None


def host_and_port(word: str) -> tuple[str, int | None]:
    """Of `name`, `name:80`, `10.0.0.5:80`, `::1` or `[::1]:80`. Raises ValueError."""
    found = HOST_AND_PORT.fullmatch(word.lower())
    host = (found["bracketed"] or found["host"]).rstrip(".") if found else word.lower()
    port = int(found["port"]) if found and found["port"] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"{word!r} has no port from 1 to 65535")
    with contextlib.suppress(ValueError):
        return ip_address(host).compressed, port
    if not HOST_NAME.fullmatch(host):
        raise ValueError(f"{word!r} is neither a host nor host:port")
    return host, port
