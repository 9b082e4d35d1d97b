from ipaddress import ip_network
from typing import Any

import pytest

from accounts.addresses import client_address

PROXIES = ["127.0.0.0/8", "172.16.0.0/12", "fd00::/8"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("9.9.9.9", ["10.0.0.1"], "9.9.9.9"),
        ("127.0.0.1", ["10.0.0.1"], "10.0.0.1"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:127.0.0.1", ["10.0.0.1"], "10.0.0.1"),
        ("127.0.0.1", ["6.6.6.6, 10.0.0.1"], "10.0.0.1"),
        ("127.0.0.1", ["6.6.6.6", "10.0.0.1, 172.16.0.9"], "10.0.0.1"),
        ("127.0.0.1", ["10.0.0.1:443"], None),
        ("127.0.0.1", ["\0", "<b>"], None),
        ("127.0.0.1", ["," * 10_000], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("", ["10.0.0.1"], None),
    ],
)
def test_only_what_trusted_proxies_have_written_counts(
    settings: Any, peer: str, forwarded: list[str], address: str | None
):
    settings.TRUSTED_PROXIES = [ip_network(proxy) for proxy in PROXIES]
    found = client_address(peer, forwarded)
    assert (str(found) if found else None) == address


def test_without_trusted_proxies_the_header_is_nothing(settings: Any):
    settings.TRUSTED_PROXIES = []
    assert str(client_address("127.0.0.1", ["10.0.0.1"])) == "127.0.0.1"
