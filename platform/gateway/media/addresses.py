"""Which addresses are on the public internet, by IANA's registries of special-purpose addresses.

The standard library's `is_global` has changed with its patch releases, and knows nothing of IPv4 addresses inside of
IPv6 ones.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

SPECIAL_V4 = tuple(map(IPv4Network, (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # private
    "100.64.0.0/10",  # carriers', and a cloud's metadata at 100.100.100.200
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, and most clouds' metadata
    "168.63.129.16/32",  # a cloud's metadata, among public addresses
    "192.0.0.0/24",  # protocol assignments, and a cloud's metadata at 192.0.0.192
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays
    "198.18.0.0/15",  # benchmarks
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)))  # fmt: skip
GLOBAL_V6 = IPv6Network("2000::/3")
"""All that has been given out. Loopback, link-local, unique local, multicast and the rest are outside."""
SPECIAL_V6 = tuple(map(IPv6Network, (
    "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
    "2001:db8::/32", "3fff::/20",  # documentation
)))  # fmt: skip
MAPPED = IPv6Network("::ffff:0:0/96")
TRANSLATED = IPv6Network("64:ff9b::/96")
"""NAT64: how hosts without IPv4 see the public IPv4 internet."""
SIX_TO_FOUR = IPv6Network("2002::/16")
ISATAP = (0x00005EFE, 0x02005EFE)


def is_public(address: str) -> bool:
    """False for what is no address at all, and for IPv6 addresses that lead to an IPv4 address which is not public."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in SPECIAL_V4)
    return _is_public_v6(parsed)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    number = int(address)
    if address in MAPPED or address in TRANSLATED:
        return is_public(str(IPv4Address(number & 0xFFFFFFFF)))
    if address in SIX_TO_FOUR:
        return is_public(str(IPv4Address(number >> 80 & 0xFFFFFFFF)))
    if number >> 32 & 0xFFFFFFFF in ISATAP and not is_public(str(IPv4Address(number & 0xFFFFFFFF))):
        return False
    return address in GLOBAL_V6 and not any(address in network for network in SPECIAL_V6)
