"""Work that equal nodes of one process need not do each: a frame is unpacked and opened, a finding decoded, once.

Pure functions of bytes, so that nothing a node sees or decides changes; signatures are still checked, the first time.
Half of a large simulation's time without it (docs/log.md).
"""

import contextlib
import importlib
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from gossip import claims
from gossip.envelope import Record, open_frame
from gossip.packing import Packing
from node import notebook, tried
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
            (tried, "key_of", _once(tried.key_of, _second_id)),
            (claims, "read_claim", _once(claims.read_claim, _itself)),
            (claims, "open_claim", _once(claims.open_claim, _itself)),
        ]
    ):
        yield


def _once(function: Callable[..., T], name: Callable[..., str | bytes]) -> Callable[..., T]:
    """The function, asked once for arguments of the same name. What it raises it raises each time."""
    known: dict[str | bytes, T] = {}

    def asked(*arguments: object) -> T:
        place = name(*arguments)
        if place not in known:
            known[place] = function(*arguments)
        return known[place]

    return asked


def _itself(frame: bytes, _brief: str = "") -> bytes:
    return frame


def _second(_packing: Packing, data: bytes) -> bytes:
    return data


def _id(record: Record, _brief: Brief) -> str:
    return record.id


def _second_id(_brief: Brief, entry: Entry) -> str:
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
