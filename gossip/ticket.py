"""The ticket: one copy-paste word that lets someone join a swarm. Encode and decode, nothing else.

swarm1 + base32(length, msgpack map, checksum): letters and digits only, so that a double click takes it whole and
upper or lower case does not matter. docs/protocol.md has the bytes.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, cast

import msgpack

from gossip.addresses import AddressError, parse_dialable
from gossip.identity import peer_id_of, public_key_of
from gossip.refusal import GossipError

MAX_ADDRESSES = 8
MAX_TICKET_CHARACTERS = 8192
KEY_BYTES = 32  # of the key of a private swarm
_PREFIX = "swarm1"
_HEAD = re.compile(r"swarm([0-9]+)(?=[a-z]|$)")
_CHECKSUM_BYTES = 4
_LENGTH_BYTES = 2
_HINT = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}|")
_BRIEF = re.compile(r"[0-9a-f]{64}")


class TicketError(GossipError):
    """A ticket that cannot be used."""


@dataclass(frozen=True, slots=True)
class Ticket:
    topic: str  # a name for people; the brief decides
    brief: str
    addresses: tuple[str, ...]  # multiaddrs with /p2p/ peer id
    psk: bytes | None = field(default=None, repr=False)  # the key of a private swarm

    def __post_init__(self) -> None:
        try:
            for address in self.addresses:
                parse_dialable(address)
        except AddressError as error:
            raise TicketError(f"ticket with an address nobody can dial: {error}") from None
        if len(self.addresses) > MAX_ADDRESSES:
            raise TicketError(f"ticket with {len(self.addresses)} addresses, at most {MAX_ADDRESSES} fit")
        if _BRIEF.fullmatch(self.brief) is None or _HINT.fullmatch(self.topic) is None:
            raise TicketError("ticket without a valid brief id and topic name")
        if self.psk is not None and (not isinstance(cast("object", self.psk), bytes) or len(self.psk) != KEY_BYTES):
            raise TicketError(f"ticket whose swarm key is not {KEY_BYTES} bytes")

    @property
    def is_private(self) -> bool:
        return self.psk is not None


def encode_ticket(ticket: Ticket) -> str:
    peers: dict[str, list[str]] = {}
    for text in ticket.addresses:
        address = parse_dialable(text)
        peers.setdefault(address.peer, []).append(address.transport)
    fields: dict[str, object] = {
        "t": ticket.topic,
        "b": bytes.fromhex(ticket.brief),
        "a": [[public_key_of(peer), transports] for peer, transports in peers.items()],
    }
    if ticket.psk is not None:
        fields["k"] = ticket.psk
    payload = msgpack.packb(fields)
    whole = len(payload).to_bytes(_LENGTH_BYTES, "big") + payload
    return _PREFIX + base64.b32encode(whole + _checksum(whole)).decode("ascii").rstrip("=").lower()


def decode_ticket(text: str) -> Ticket:
    """Raises TicketError. White space and quotes around the ticket are forgiven."""
    word = text.strip().strip("\"'`<>").strip().lower()
    head = _HEAD.match(word)
    if head is None:
        raise TicketError("this is not a ticket: a ticket is one word that begins with 'swarm1'")
    if head.group(0) != _PREFIX:
        raise TicketError(f"ticket of a newer version ({head.group(0)}): update research-swarm to join with it")
    return _read(_payload(word[len(_PREFIX) :]))


def _payload(letters: str) -> bytes:
    if len(letters) > MAX_TICKET_CHARACTERS:
        raise TicketError("ticket is too long to be one: copy only the one word that begins with 'swarm1'")
    if re.fullmatch(r"[a-z2-7]*", letters) is None:
        raise TicketError("ticket holds a character that tickets never have: copy it again as one whole word")
    usable = letters[: len(letters) - (1 if len(letters) % 8 in (1, 3, 6) else 0)]  # a lone character carries no byte
    try:
        whole = base64.b32decode(usable.upper() + "=" * (-len(usable) % 8))
    except binascii.Error:
        raise TicketError("ticket is malformed: copy it again as one whole word") from None
    length = int.from_bytes(whole[:_LENGTH_BYTES], "big")
    expected = _LENGTH_BYTES + length + _CHECKSUM_BYTES
    if len(whole) < max(expected, _LENGTH_BYTES + _CHECKSUM_BYTES):
        raise TicketError("ticket is cut short: copy it again to its very end")
    if len(whole) > expected:
        raise TicketError("ticket has extra characters at its end or is mistyped: copy it again as one whole word")
    if _checksum(whole[:-_CHECKSUM_BYTES]) != whole[-_CHECKSUM_BYTES:]:
        raise TicketError("ticket is mistyped (its checksum does not fit): copy it again instead of typing it")
    return whole[_LENGTH_BYTES:-_CHECKSUM_BYTES]


def _read(payload: bytes) -> Ticket:
    """The checksum fits, so what is wrong from here on was made wrong."""
    try:
        fields = cast(
            "dict[str, Any]",  # Any: checked below, field by field
            msgpack.unpackb(payload, strict_map_key=True, max_array_len=64, max_map_len=64, max_ext_len=0),
        )
        addresses = [
            f"{transport}/p2p/{peer_id_of(public_key)}"
            for public_key, transports in fields["a"]
            for transport in transports
        ]
        return Ticket(fields["t"], fields["b"].hex(), tuple(addresses), fields.get("k"))
    except TicketError:
        raise
    except Exception as error:  # msgpack and every shape of wrong field; all mean the same here
        raise TicketError(f"ticket is malformed inside ({type(error).__name__}): ask for a new one") from None


def _checksum(whole: bytes) -> bytes:
    return hashlib.sha256(b"research-swarm/ticket/1\0" + whole).digest()[:_CHECKSUM_BYTES]
