"""What the pages of one run and of several beside each other say, as JSON documents.

The keys of `swarm show` and what a page needs beside them. Curves and sources are read again from the records.
"""

from collections.abc import Iterable
from typing import Any

from node import views
from node.browse.facts import row_json, shown_value, shown_values
from node.browse.reading import Sight
from node.browse.row import Row
from node.proposers.credit import arm_of
from node.proposers.spending import Usage
from node.replays.replay_json import replays_of
from node.report.patch import MAX_DIFF_CHARACTERS, text_diff
from node.text import clean
from swarm.ledger import Entry
from swarm.space import changes
from swarm.words import FindingId, Value

Json = dict[str, Any]  # Any: a JSON document
MAX_COMPARED = 8  # runs side by side: more colours nobody can tell apart


def find(sight: Sight, reference: str) -> FindingId:
    """A run by its id or the beginning of it. Raises NothingFound."""
    return views.find(sight.archive, reference).id


def run(sight: Sight, reference: str) -> Json:
    """The keys of `swarm show`, and who built on it."""
    archive, catalogue = sight.archive, sight.catalogue
    id = find(sight, reference)
    entry = sight.whole([id]).get(id)
    row = catalogue.row(id)
    if entry is None or row is None:
        raise views.NothingFound(f"the record of {id} cannot be read")
    parent = catalogue.ledger.get(entry.finding.proposal.parent)
    before = parent.finding.proposal.config if parent else archive.brief.base_config
    sealed = next((one for one in archive.sealed if one.finding == id), None)
    return archive.finding(entry) | {
        "changes": shown_values(changes(before, entry.finding.proposal.config)),
        "before": shown_values({key: before[key] for key in before}),
        "config": shown_values(entry.finding.proposal.config),
        "sealed": None if sealed is None else views.sealed_json(sealed),
        "replays": replays_of(catalogue.ledger, archive.brief, entry),
        "curve": curve_of(entry),
        "status": row.status,
        "arm": row.arm,
        "parent_run": _linked(sight, [entry.finding.proposal.parent] if entry.finding.proposal.parent else []),
        "inspired_by": _linked(sight, entry.finding.proposal.inspirations),
        "children": [row_json(sight, one) for one in catalogue.children(id)],
        "inspired": [row_json(sight, one) for one in catalogue.inspired(id)],
        "same": [row_json(sight, one) for one in _same(sight, entry)],
        "patch": patch(sight, parent.id if parent else None, entry),
        "commit": sight.commit(entry),
        "cost": _cost(sight, entry),
    }


def _cost(sight: Sight, entry: Entry) -> Json:
    """Training, and what a language model took: only its author's home knows that, unless none was asked."""
    trials = (*entry.finding.trials, *entry.finding.parent_trials)
    usage = sight.archive.spending.by_finding.get(entry.id)
    if usage is None and (
        arm_of(proposer := entry.finding.proposal.proposer) is None or proposer.startswith("classic")
    ):
        usage = Usage()
    return {
        "trials": len(trials),
        "training_seconds": sum(one.seconds for one in trials),
        "training_tokens": sum(one.tokens for one in trials),
        "model_calls": usage.calls if usage else None,
        "model_tokens": usage.tokens if usage else None,
        "usd": usage.as_json()["cost_usd"] if usage else None,
    }


def _linked(sight: Sight, ids: Iterable[FindingId]) -> list[Json]:
    """Runs that are named, known here or not."""
    found = ((id, sight.catalogue.row(id)) for id in ids)
    return [{"id": id, "known": False} if row is None else row_json(sight, row) | {"known": True} for id, row in found]


def _same(sight: Sight, entry: Entry) -> list[Row]:
    """Other findings that ran the same thing on the same track."""
    ledger = sight.catalogue.ledger
    same = ledger.with_key(entry.key, entry.track)
    rows = (sight.catalogue.row(one.id) for one in same if one.id != entry.id)
    return [row for row in rows if row is not None]


def curve_of(entry: Entry) -> list[list[float]]:
    return [[point.seconds, point.train_loss] for point in entry.finding.trials[0].curve]


def source_of(sight: Sight, entry: Entry | None) -> str:
    return (entry.finding.proposal.source if entry else None) or sight.catalogue.brief.source


def patch(sight: Sight, parent: FindingId | None, entry: Entry) -> str:
    """What the run changes in train.py against its parent, as a unified diff."""
    catalogue = sight.catalogue
    row = catalogue.row(parent)
    if entry.finding.proposal.source_sha256 == (row.source_sha256 if row else catalogue.brief.source_sha256):
        return ""
    before = sight.whole([parent]).get(parent) if parent else None
    text = text_diff("train.py", source_of(sight, before), source_of(sight, entry))
    return clean(text, MAX_DIFF_CHARACTERS, lines=True)


def compare(sight: Sight, references: Iterable[str]) -> Json:
    """Runs side by side: their curves, and only what differs."""
    ids = list(dict.fromkeys(find(sight, one) for one in list(references)[:MAX_COMPARED]))
    entries = list(sight.whole(ids).values())
    rows = [row for row in map(sight.catalogue.row, ids) if row is not None and len(entries) == len(ids)]
    tracks, diffs = {row.track for row in rows}, _source_diffs(sight, entries)
    return {
        "runs": [row_json(sight, row) for row in rows],
        "comparable": len(tracks) < 2,
        "config": _differences(entries),
        "settings_equal": len(_settings(entries)) - len(_differences(entries)),
        "curves": {entry.id: curve_of(entry) for entry in entries},
        "source": next(iter(diffs), None),
        "sources": diffs,
    }


def _settings(entries: list[Entry]) -> list[str]:
    return sorted({key for entry in entries for key in entry.finding.proposal.config})


def _differences(entries: list[Entry]) -> dict[str, list[Value | None]]:
    found: dict[str, list[Value | None]] = {}
    for key in _settings(entries):
        values = [entry.finding.proposal.config.get(key) for entry in entries]
        if any(value != values[0] or type(value) is not type(values[0]) for value in values):
            found[clean(key, 60)] = [None if value is None else shown_value(value) for value in values]
    return found


def _source_diffs(sight: Sight, entries: list[Entry]) -> list[Json]:
    """From the first run to each that has another train.py, every train.py once."""
    found: dict[str, Json] = {}
    for entry in entries[1:]:
        sha256 = entry.finding.proposal.source_sha256
        if sha256 != entries[0].finding.proposal.source_sha256 and sha256 not in found:
            text = text_diff("train.py", source_of(sight, entries[0]), source_of(sight, entry))
            diff = clean(text, MAX_DIFF_CHARACTERS, lines=True)
            found[sha256] = {"from": entries[0].id, "to": entry.id, "diff": diff}
    return list(found.values())
