"""The few multiaddrs this project uses, as text: /ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT, with or without /p2p/PEER, and
such an address with its peer as the relay of another: …/p2p/RELAY/p2p-circuit, with or without /p2p/PEER.

Pure text rules; resolving and dialling are the bus's.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from gossip.identity import public_key_of
from gossip.refusal import GossipError

MAX_ADDRESS_BYTES = 300  # a DNS name of 253 with its surroundings
_CIRCUIT = "/p2p-circuit"
_REMEMBERED = 4096  # readings: the same few addresses are read again and again
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*")


class AddressError(GossipError):
    """Text that is not an address we can listen on or dial."""


@dataclass(frozen=True, slots=True)
class Address:
    family: str  # ip4, ip6, dns, dns4, dns6
    host: str
    port: int
    peer: str = ""  # peer id, "" when the address does not say
    relay: str = ""  # the address of the relay; host and port are the relay's then

    @property
    def transport(self) -> str:
        """The address without its peer."""
        return f"{self.relay}{_CIRCUIT}" if self.relay else f"/{self.family}/{self.host}/tcp/{self.port}"

    @property
    def is_loopback(self) -> bool:
        return self.family in ("ip4", "ip6") and ipaddress.ip_address(self.host).is_loopback

    @property
    def is_global(self) -> bool:
        return self.family not in ("ip4", "ip6") or ipaddress.ip_address(self.host).is_global

    @property
    def is_wildcard(self) -> bool:
        return self.family in ("ip4", "ip6") and ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        return f"{self.transport}/p2p/{self.peer}" if self.peer else self.transport


def parse_address(text: str) -> Address:
    """Raises AddressError."""
    if len(text) > MAX_ADDRESS_BYTES:
        raise _not_an_address(text)
    return _parsed(text)


@lru_cache(maxsize=_REMEMBERED)
def _parsed(text: str) -> Address:
    relay, circuit, target = text.partition(_CIRCUIT)
    if circuit:
        return _parse_circuit(text, relay, target)
    parts = text.split("/")
    head, host, tcp, port, *rest = parts[1:] if len(parts) >= 5 else ["", "", "", ""]
    peer = rest[1] if len(rest) == 2 and rest[0] == "p2p" else ""
    if parts[0] != "" or tcp != "tcp" or (rest and not peer):
        raise _not_an_address(text)
    if not _host_fits(head, host) or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise _not_an_address(text)
    if peer and public_key_of(peer) is None:
        raise AddressError(
            f"address {text[:MAX_ADDRESS_BYTES]!r} names no valid peer id after /p2p/: copy it again whole"
        )
    return Address(head, host, int(port), peer)


def parse_dialable(text: str) -> Address:
    """An address with a peer id and a real port, as `--bootstrap` takes. Raises AddressError."""
    address = parse_address(text)
    if not address.peer or address.port == 0:
        raise AddressError(f"address {text!r} lacks its peer id: it must end in /p2p/12D3KooW…")
    return address


def dialable(texts: "tuple[str, ...] | list[str]") -> tuple[str, ...]:
    """Those of a stranger's addresses that can be dialled, without repetition."""
    kept: dict[str, None] = {}
    for text in texts:
        try:
            kept[str(parse_dialable(text))] = None
        except AddressError:
            continue
    return tuple(kept)


def _parse_circuit(text: str, relay: str, target: str) -> Address:
    if _CIRCUIT in target:
        raise _not_an_address(text)
    via = parse_dialable(relay)
    peer = target.removeprefix("/p2p/")
    if target and (peer == target or public_key_of(peer) is None or peer == via.peer):
        raise _not_an_address(text)
    return Address(via.family, via.host, via.port, peer, str(via))


def _host_fits(family: str, host: str) -> bool:
    if family in ("dns", "dns4", "dns6"):
        return _HOST_NAME.fullmatch(host) is not None
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return family == f"ip{ip.version}" and "%" not in host


def _not_an_address(text: str) -> AddressError:
    shown = text[:MAX_ADDRESS_BYTES]
    return AddressError(f"{shown!r} is not an address: write one like /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…")
