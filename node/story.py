"""A record's story: who made it and when, how it came here, what was made of it. What `swarm explain` answers.

Put together from the journal, the ledger and the file in which a running node writes what it refused; works whether or
not the node runs, and changes nothing.
"""

from gossip.envelope import Record
from node.clock import rfc3339
from node.clock_skew import in_words
from node.network_file import read_network
from node.replays.replay_json import replays_of
from node.text import clean
from node.topic_journal import Fork
from node.views import LEAST_ID_CHARACTERS, Archive, Json, NothingFound
from swarm.ledger import Entry
from swarm.trial import scores
from swarm.words import FindingId, MalformedRecord, SwarmError


def explain(archive: Archive, reference: str) -> Json:
    """`reference`: an own run number, or the beginning of the id of any record that is or was here, taken or not."""
    refused = _refusals(archive)
    id = _find(archive, reference, refused)
    record = archive.records.record(id)
    forks = {one.id: fork for fork in archive.records.forks() for one in (fork.first, fork.second)}
    known = record or next((one for fork in forks.values() for one in (fork.first, fork.second) if one.id == id), None)
    return {
        "id": id,
        "kept": record is not None,
        "record": None if known is None else _record(archive, known),
        "arrival": None if record is None else _arrival(archive, record),
        "refused": [one for one in refused if one["id"] == id],
        "equivocation": _equivocation(forks.get(id), id),
        "says": None if record is None else _says(archive, record),
    }


def _refusals(archive: Archive) -> list[Json]:
    listed: list[Json] = read_network(archive.home, archive.brief_id).get("refused", [])
    return listed


def _find(archive: Archive, reference: str, refused: list[Json]) -> str:
    number = reference.removeprefix("#")
    if number.isascii() and number.isdigit() and len(number) < 7:
        for entry in archive.ledger.entries(author=archive.me):
            if entry.finding.number == int(number):
                return entry.id
    beginning = reference.lower()
    if len(beginning) >= LEAST_ID_CHARACTERS:
        proofs = [one.id for fork in archive.records.forks() for one in (fork.first, fork.second)]
        others = [id for id in (*proofs, *(one["id"] for one in refused)) if id.startswith(beginning)]
        found = sorted({*archive.records.beginning_with(beginning), *others})
        if len(found) == 1:
            return found[0]
        if found:
            raise NothingFound(f"{reference!r} is the beginning of {len(found)} records; give more characters")
    raise NothingFound(
        f"no record {reference!r} is here, and none was refused lately; own runs go by number, others by id: see swarm "
        "log --all"
    )


def _record(archive: Archive, record: Record) -> Json:
    return {
        "kind": record.kind,
        "author": record.author,
        "own": record.author == archive.me,
        "seq": record.seq,
        "prev": record.prev or None,
        "author_time": _moment(record.at_ms),
        "size_bytes": len(record.frame),
    }


def _arrival(archive: Archive, record: Record) -> Json:
    arrival = archive.records.arrival(record.id)
    assert arrival is not None, f"record {record.id} was here a moment ago"
    late = None if arrival.way is None or record.author == archive.me else round(arrival.ahead_seconds, 1)
    return {
        "heard_at": rfc3339(arrival.received),
        "heard_from": arrival.peer or None,
        "way": None if arrival.way is None else arrival.way.value,
        "author_time_ahead_seconds": late,
        "told": arrival.told,
    }


def _says(archive: Archive, record: Record) -> Json:
    """What the ledger holds of it: a finding with its standing, or a replay with its finding."""
    if record.author in archive.records.unwanted() and record.author != archive.me:
        return {"ignored": "its author contradicts itself"}
    if record.kind == "finding" and (entry := archive.ledger.get(FindingId(record.id))) is not None:
        return {
            "title": clean(entry.finding.proposal.title, 120),
            "outcome": entry.outcome.value,
            "val_bpb": entry.val_bpb,
            "verdict": entry.finding.verdict.decision.value,
            "standing": archive.ledger.standing(entry).value,
            "others": _others(archive, entry),
            "replays": replays_of(archive.ledger, archive.brief, entry),
        }
    return _replay_says(archive, record) if record.kind == "replay" else {"ignored": _why_not_folded(archive, record)}


def _others(archive: Archive, entry: Entry) -> list[Json]:
    """Whose trials of the same thing, in findings and replays, the standing rests on."""
    trials = archive.ledger.trials(entry.key, entry.track)
    found = ((author, scores(of_author)) for author, of_author in sorted(trials.items()))
    return [{"peer": peer, "val_bpb": sorted(theirs)} for peer, theirs in found if theirs and peer != entry.author]


def _replay_says(archive: Archive, record: Record) -> Json:
    from node.notebook import replay_entry_of

    try:
        of = replay_entry_of(record).replay.of
    except MalformedRecord as error:
        return {"ignored": clean(str(error), 400)}
    entry = archive.ledger.get(of)
    if entry is None:
        return {"replay_of": of, "ignored": "the finding that it replays is not here"}
    one = next((one for one in replays_of(archive.ledger, archive.brief, entry) if one["id"] == record.id), None)
    return {"replay_of": of, "standing": archive.ledger.standing(entry).value, "replays": [one] if one else []}


def _why_not_folded(archive: Archive, record: Record) -> str:
    """Kept, so that the log has no gap, and not believed."""
    from node.notebook import entry_of

    if record.kind != "finding":
        return f"this version knows no records of kind {clean(record.kind, 40)!r}"
    try:
        entry_of(record, archive.brief)
    except SwarmError as error:
        return clean(str(error), 400)
    return "it is in no ledger"


def _equivocation(fork: Fork | None, id: str) -> Json | None:
    if fork is None:
        return None
    other = fork.second if fork.first.id == id else fork.first
    return {"with": other.id, "seen_at": rfc3339(fork.at)}


def _moment(at_ms: int) -> str:
    try:
        return rfc3339(at_ms / 1000)
    except (ValueError, OverflowError, OSError):  # an author may say any number
        return f"{at_ms} ms"


def in_sentences(facts: Json) -> list[tuple[str, str]]:
    """Label and words, for a terminal."""
    record, arrival, says = facts["record"], facts["arrival"], facts["says"]
    lines = [("record", facts["id"])]
    if record is not None:
        by = "this node" if record["own"] else record["author"]
        lines += [
            ("what", f"{record['kind']} number {record['seq']} of {by}, {record['size_bytes']} bytes"),
            ("after", record["prev"] or "nothing: it is the first"),
            ("made at", f"{record['author_time']} by its author's clock"),
        ]
    lines += _how_it_came(arrival) if arrival is not None else [("kept", "no")]
    lines += _what_it_says(says) if says is not None else []
    if facts["equivocation"]:
        lines.append(("contradicts", f"{facts['equivocation']['with']}: its author signed both and is ignored"))
    for one in facts["refused"]:
        times = "once" if one["times"] == 1 else f"{one['times']} times, first at {one['first_at']}"
        came = f"from {one['peer']} by {one['way']}, {times}, last at {one['last_at']}"
        lines.append(("refused", f"{one['reason']}: {one['sentence']}; {came}"))
    return lines


def _how_it_came(arrival: Json) -> list[tuple[str, str]]:
    way, told = arrival["way"], "told to peers" if arrival["told"] else "not told to anybody yet"
    if way == "own":
        return [("made", f"here, at {arrival['heard_at']}; {told}")]
    how = f"from {arrival['heard_from']} by {way}" if way else "how is not known: it came before that was kept"
    clock = in_words(arrival["author_time_ahead_seconds"] or 0.0)
    apart = f"; its author's time was {clock}" if clock else ""
    return [("heard", f"at {arrival['heard_at']} {how}{apart}")]


def _what_it_says(says: Json) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    if "title" in says:
        score = "" if says["val_bpb"] is None else f" {says['val_bpb']:.4f}"
        lines.append(("says", f"{says['title']}: {says['outcome']}{score}, {says['verdict']}"))
    if "replay_of" in says:
        lines.append(("replays", says["replay_of"]))
    if "standing" in says:
        lines.append(("standing", says["standing"]))
    others: list[Json] = says.get("others", [])
    lines += [("trials of", f"{one['peer']}: {', '.join(f'{bpb:.4f}' for bpb in one['val_bpb'])}") for one in others]
    if "ignored" in says:
        lines.append(("ignored", says["ignored"]))
    return lines
