"""Where a request comes from, for keys that are bound to networks and for counting failed sign-ins by address."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings

Address = IPv4Address | IPv6Address


def client_address(peer: str, forwarded: Iterable[str]) -> Address | None:
    """The peer, or, if that is a trusted proxy, whom the proxy says it asks for. None where nobody knows.

    `forwarded`: the values of all X-Forwarded-For headers, in their order.
    """
    address = _address(peer)
    hops = [hop.strip() for hop in ",".join(forwarded).split(",") if hop.strip()]
    # The last hop was written by the proxy nearest to us; what stands before an untrusted one may be invented.
    while address is not None and hops and any(address in network for network in settings.TRUSTED_PROXIES):
        address = _address(hops.pop())
    return address


def _address(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # An IPv4 client of a socket for both.
    return getattr(found, "ipv4_mapped", None) or found
