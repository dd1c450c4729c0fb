"""The addresses this machine has at this moment."""

from ipaddress import ip_address

from zeroconf import get_all_addresses  # pyright: ignore[reportPrivateImportUsage] - it is in its public names


def ip4_addresses() -> tuple[str, ...]:
    """IPv4 addresses of all interfaces, those that others can reach first, loopback last."""
    found = {str(host) for host in get_all_addresses()} | {"127.0.0.1"}
    return tuple(sorted(found, key=lambda host: (ip_address(host).is_loopback, ip_address(host).is_link_local, host)))
