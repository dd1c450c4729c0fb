"""Work that equal nodes of one process need not do each: a frame is unpacked and opened, a finding decoded, once.

Pure functions, so that nothing a node sees or decides changes; signatures are still checked, the first time. (What a
finding's event says of when it came is when it came first to anybody; nobody here asks.)
What one node has packed for another is real bytes, counted as such, that also say what they were made of: it need not
be read again. Bytes that no node of ours has packed, a hostile peer's, are read like everywhere.
Half of a large simulation's time without it (docs/log.md).
"""

import contextlib
import importlib
from collections.abc import Callable, Generator, Hashable
from typing import Any, TypeVar, cast

from gossip import catchup, claims
from gossip.envelope import Record, open_frame
from gossip.packing import Packing
from node import claims as node_claims
from node import notebook, tried
from swarm import ledger
from swarm.brief import Brief
from swarm.ledger import Entry

_OPENERS = ("gossip.admission", "gossip.intake", "gossip.puller", "node.topic_journal")
T = TypeVar("T")


@contextlib.contextmanager
def shared_work() -> Generator[None]:
    """While inside, for all nodes of this process. They are of one brief."""
    opened = _once(open_frame, _itself)
    with _replaced(
        [
            *((importlib.import_module(name), "open_frame", opened) for name in _OPENERS),
            (Packing, "unpack", _once(Packing.unpack, _second)),
            (notebook, "entry_of", _once(notebook.entry_of, _id)),
            (notebook, "received", _once(notebook.received, _first_id)),
            (node_claims, "changed_settings", _once(node_claims.changed_settings, _second_id)),
            (ledger, "spread", _once(ledger.spread, _itself)),
            (catchup, "encode_request", _packed(catchup.encode_request)),
            (catchup, "decode_request", _unpacked(catchup.decode_request)),
            (catchup, "encode_page", _packed(catchup.encode_page)),
            (catchup, "decode_page", _unpacked(catchup.decode_page)),
            (tried, "key_of", _once(tried.key_of, _second_id)),
            (claims, "read_claim", _once(claims.read_claim, _itself)),
            (claims, "open_claim", _once(claims.open_claim, _itself)),
        ]
    ):
        yield


def _once(function: Callable[..., T], name: Callable[..., Hashable]) -> Callable[..., T]:
    """The function, asked once for arguments of the same name. What it raises it raises each time."""
    known: dict[Hashable, T] = {}

    def asked(*arguments: object) -> T:
        place = name(*arguments)
        if place not in known:
            known[place] = function(*arguments)
        return known[place]

    return asked


def _itself(one: Hashable, _brief: str = "") -> Hashable:
    return one


def _second(_packing: Packing, data: bytes) -> bytes:
    return data


class _Packed(bytes):
    """A message that also says what it was made of."""

    said: object


def _packed(encode: Callable[..., bytes]) -> Callable[..., bytes]:
    def encoded(said: object, **how: object) -> bytes:
        message = _Packed(encode(said, **how))
        message.said = said
        return message

    return encoded


def _unpacked(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    def decoded(message: bytes) -> T:
        return cast("T", message.said) if isinstance(message, _Packed) else decode(message)

    return decoded


def _id(record: Record, _brief: Brief) -> str:
    return record.id


def _first_id(entry: Entry) -> str:
    return entry.id


def _second_id(_base: object, entry: Entry) -> str:
    return entry.id


@contextlib.contextmanager
def _replaced(places: list[tuple[Any, str, Callable[..., Any]]]) -> Generator[None]:  # Any: modules, any function
    before = [getattr(module, name) for module, name, _ in places]
    for module, name, function in places:
        setattr(module, name, function)
    try:
        yield
    finally:
        for (module, name, _), function in zip(places, before, strict=True):
            setattr(module, name, function)
