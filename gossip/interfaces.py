"""The addresses this machine has at this moment."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import psutil

_MAX_ADDRESSES = 16  # of each family; a machine with many containers has hundreds


def ip4_addresses() -> tuple[str, ...]:
    """IPv4 addresses of all interfaces, those that others can reach first, loopback last."""
    return _ordered(_found(socket.AF_INET) | {IPv4Address("127.0.0.1")})


def ip6_addresses() -> tuple[str, ...]:
    """IPv6 addresses, in the same order. Without link-local ones: they mean nothing without the name of an interface of
    this machine."""
    return _ordered({ip for ip in _found(socket.AF_INET6) if not ip.is_link_local} | {IPv6Address("::1")})


def has_ip6() -> bool:
    """Whether a socket can listen there."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _found(family: socket.AddressFamily) -> set[IPv4Address | IPv6Address]:
    listed = [one for of_interface in psutil.net_if_addrs().values() for one in of_interface if one.family == family]
    return {ip_address(one.address.split("%")[0]) for one in listed}


def _ordered(found: set[IPv4Address | IPv6Address]) -> tuple[str, ...]:
    ordered = sorted(found, key=lambda ip: (ip.is_loopback, ip.is_link_local, not ip.is_global, ip))
    loopback = [ip for ip in ordered if ip.is_loopback][:1]
    return tuple(str(ip) for ip in [*[ip for ip in ordered if not ip.is_loopback][:_MAX_ADDRESSES], *loopback])
