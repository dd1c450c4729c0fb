"""Work that equal nodes of one process need not do each: a frame is opened, and a finding decoded, once for all.

Pure functions of bytes, so that nothing a node sees or decides changes; signatures are still checked, the first time.
Half of a large simulation's time without it (docs/log.md).
"""

import contextlib
import importlib
from collections.abc import Callable, Generator
from typing import Any

from gossip.envelope import Record, open_frame
from node import notebook, tried
from node.notebook import entry_of
from node.tried import key_of
from swarm.brief import Brief
from swarm.ledger import Entry

_OPENERS = ("gossip.admission", "gossip.intake", "gossip.puller", "node.topic_journal")


@contextlib.contextmanager
def shared_work() -> Generator[None]:
    """While inside, for all nodes of this process. They are of one brief."""
    records: dict[bytes, Record] = {}
    entries: dict[str, Entry] = {}
    keys: dict[str, str] = {}

    def opened(frame: bytes) -> Record:
        record = records.get(frame)
        if record is None:  # raises what it raises for a bad frame, each time
            record = records[frame] = open_frame(frame)
        return record

    def entry(record: Record, brief: Brief) -> Entry:
        known = entries.get(record.id)
        if known is None:
            known = entries[record.id] = entry_of(record, brief)
        return known

    def canonical(brief: Brief, entry: Entry) -> str:
        known = keys.get(entry.id)
        if known is None:
            known = keys[entry.id] = key_of(brief, entry)
        return known

    modules = [(importlib.import_module(name), "open_frame", opened) for name in _OPENERS]
    with _replaced([*modules, (notebook, "entry_of", entry), (tried, "key_of", canonical)]):
        yield


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
