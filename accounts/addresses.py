"""Where a request comes from, as far as one can know."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from django.conf import settings

Address = IPv4Address | IPv6Address


def client_address(peer: str, forwarded: Iterable[str]) -> Address | None:
    """Its peer, or, if that is a trusted proxy, whom the proxy says it comes from. None where nobody knows. forwarded:
    the values of `X-Forwarded-For`."""
    found = _address(peer)
    hops = [hop.strip() for hop in ",".join(forwarded).split(",") if hop.strip()]
    # The last hop was written by the proxy nearest to us; what stands before an untrusted one may be invented.
    while found is not None and hops and _is_trusted(found, settings.TRUSTED_PROXIES):
        found = _address(hops.pop())
    return found


def _is_trusted(address: Address, proxies: Iterable[Any]) -> bool:
    return any(address in network for network in proxies)


def _address(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # An IPv4 client of a socket for both.
    return getattr(found, "ipv4_mapped", None) or found
