"""Where the page is served: the address, whether strangers could reach it, and the socket that listens there."""

import errno
import socket
from dataclasses import dataclass
from ipaddress import ip_address

import trio

from swarm.words import SwarmError

FIRST_PORT = 7420  # no well-known service has it
PORTS_TRIED = 20  # then any that is free
BACKLOG = 32


class BrowseError(SwarmError):
    """The page cannot be served as asked."""


@dataclass(frozen=True)
class PageAddress:
    host: str = "127.0.0.1"  # an IP address
    port: int | None = None  # None: one of ours that is free; 0: any

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.host).is_loopback

    def url(self, port: int) -> str:
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return (
            f"http://[{shown}]:{port}/" if ":" in shown.strip("[]") and "[" not in shown else f"http://{shown}:{port}/"
        )


def parse_page_address(text: str) -> PageAddress:
    """'127.0.0.1:7420', '7420', '[::1]:0'. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else -1
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return PageAddress(str(ip_address(host.removeprefix("[").removesuffix("]"))) if colon else "127.0.0.1", number)


def remembered_port(url: object) -> int | None:
    """The port of an address that was printed earlier."""
    port = str(url).rstrip("/").rpartition(":")[2]
    return int(port) if port.isascii() and port.isdigit() and 0 < int(port) < 65_536 else None


def listen(address: PageAddress, remembered: int | None = None) -> trio.SocketListener:
    """Raises BrowseError if the port that was asked for is taken."""
    if address.port is not None:
        return _bound(address.host, address.port)
    tried = [*([remembered] if remembered else []), *range(FIRST_PORT, FIRST_PORT + PORTS_TRIED), 0]
    for port in tried:
        try:
            return _bound(address.host, port)
        except _Taken:
            continue
    raise BrowseError(f"no port is free on {address.host} for the page; name one with --dashboard HOST:PORT")


class _Taken(BrowseError):
    pass


def _bound(host: str, port: int) -> trio.SocketListener:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        kind = _Taken if error.errno in (errno.EADDRINUSE, errno.EACCES) else BrowseError
        raise kind(
            f"the page cannot be served at {host} port {port}: {error.strerror}; choose another with --dashboard "
            "HOST:PORT, or none with --dashboard off"
        ) from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(made))


def port_of(listener: trio.SocketListener) -> int:
    return int(listener.socket.getsockname()[1])
