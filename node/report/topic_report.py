"""`swarm report`: what a swarm found in a topic, as files a person can post: one HTML page, a picture, a table.

Owns what the page says and its look (`topic_report.html`). The page holds everything it shows; it opens anywhere.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from node.report.arms_json import arms_json
from node.report.patch import config_text, text_diff
from node.report.pictures import RunPoint, progress_png
from node.report.run_files import tsv_row
from node.report.run_words import bpb_words, change_words, result_words, status
from node.text import clean
from swarm.brief import Brief
from swarm.ledger import Entry, Ledger, Score, lineage
from swarm.trial import Track
from swarm.words import BriefId, Decision, PeerId, short

Json = dict[str, Any]  # Any: JSON values
_TSV_HEADER = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\tnode\thardware_class\tbudget_s\tstanding\tfinding"
_COMMIT_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Told:
    """Everything a report is made of."""

    brief: Brief
    brief_id: BriefId
    ledger: Ledger
    me: PeerId
    commits: Mapping[str, str]  # by finding, of own findings
    written_at: str  # RFC 3339


def report_files(told: Told) -> tuple[dict[str, bytes], Json]:
    """File names and bytes, and the same facts as JSON. Takes a second (pictures): use a thread where one matters."""
    tracks = sorted(told.ledger.tracks(), key=lambda track: -len(told.ledger.entries(track=track)))
    pictures = [_progress(told, track) for track in tracks]
    stories = [_track_facts(told, track) for track in tracks]
    facts: Json = {
        "topic": told.brief.name,
        "brief_id": told.brief_id,
        "written_at": told.written_at,
        "findings": len(told.ledger),
        "nodes": len(told.ledger.authors()),
        "training_hours": _seconds(told.ledger.entries()) / 3600,
        "tracks": stories,
    }
    page = _template().render(
        facts=facts,
        goal=clean(told.brief.goal, 16_000, lines=True),
        pictures=[b64encode(picture).decode() for picture in pictures],
        patches=[_best_patch(told, track) for track in tracks],
    )
    picture = pictures[0] if pictures else progress_png((), told.brief.name)
    return {"report.html": page.encode(), "progress.png": picture, "results.tsv": _tsv(told).encode()}, facts


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("node.report", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["bpb"] = bpb_words
    environment.filters["short"] = short
    return environment.get_template("topic_report.html")


def _track_facts(told: Told, track: Track) -> Json:
    ledger, entries = told.ledger, told.ledger.entries(track=track)
    ranked = ledger.ranked(track)
    start = _start(entries)
    return {
        "hardware_class": track.hardware_class,
        "budget_s": track.budget_seconds,
        "experiments": len(entries),
        "training_hours": _seconds(entries) / 3600,
        "noise_sd": ledger.noise(track, told.me).sd,
        "start": start.val_bpb if start else None,
        "best": _best(told, *ranked[0]) if ranked else None,
        "path": [_step(told, entry) for entry in reversed(list(lineage(ledger, ranked[0][0])))] if ranked else [],
        "endings": dict(Counter(result_words(entry.finding) for entry in entries).most_common()),
        "standings": dict(Counter(ledger.standing(e).value for e in entries if e.val_bpb is not None).most_common()),
        "nodes": _nodes(entries),
        "arms": arms_json(ledger, track, told.me, everybody=True),
    }


def _start(entries: Sequence[Entry]) -> Entry | None:
    """The naive start that others are compared with: the first baseline."""
    baselines = [e for e in entries if e.finding.proposal.parent is None and e.val_bpb is not None]
    return min(baselines, key=lambda e: (e.at_ms, e.id), default=None)


def _best(told: Told, entry: Entry, score: Score) -> Json:
    return {
        "id": entry.id,
        "peer": entry.author,
        "node_name": _name(entry),
        "number": entry.finding.number,
        "title": clean(entry.finding.proposal.title, 120),
        "val_bpb": score.mean,
        "interval": score.interval,
        "trials": score.trials,
        "standing": told.ledger.standing(entry).value,
        "config": dict(entry.finding.proposal.config),
    }


def _step(told: Told, entry: Entry) -> Json:
    finding = entry.finding
    return {
        "id": entry.id,
        "node_name": _name(entry),
        "number": finding.number,
        "title": clean(finding.proposal.title, 120),
        "rationale": clean(finding.proposal.rationale, 1000),
        "arm": clean(finding.proposal.proposer, 64),
        "val_bpb": entry.val_bpb,
        "change": change_words(finding),
        "interval": finding.verdict.interval,
        "standing": told.ledger.standing(entry).value,
        "commit": told.commits.get(entry.id),
    }


def _nodes(entries: Sequence[Entry]) -> list[Json]:
    rows: list[Json] = []
    for author in dict.fromkeys(entry.author for entry in entries):
        own = [entry for entry in entries if entry.author == author]
        numbers = [entry.val_bpb for entry in own if entry.val_bpb is not None]
        kept = sum(e.finding.verdict.decision is Decision.KEEP and e.val_bpb is not None for e in own)
        best = min(numbers, default=None)
        rows.append({"peer": author, "node_name": _name(own[-1]), "experiments": len(own), "kept": kept, "best": best})
    return sorted(rows, key=lambda row: (row["best"] is None, row["best"] or 0.0, row["peer"]))


def _progress(told: Told, track: Track) -> bytes:
    entries = sorted(told.ledger.entries(track=track), key=lambda entry: (entry.at_ms, entry.id))
    points = [RunPoint(n, status(e.finding), e.val_bpb) for n, e in enumerate(entries, start=1)]
    nodes = len({entry.author for entry in entries})
    by = f"{nodes} nodes" if nodes > 1 else "one node"
    return progress_png(points, f"{told.brief.name}: {track.hardware_class}, {track.budget_seconds:g} s a run, {by}")


def _best_patch(told: Told, track: Track) -> str:
    """How the best differs from the brief's start."""
    ranked = told.ledger.ranked(track)
    if not ranked:
        return ""
    proposal, brief = ranked[0][0].finding.proposal, told.brief
    config = text_diff("config.json", config_text(brief.base_config), config_text(proposal.config))
    return clean(config + text_diff("train.py", brief.source, proposal.source or brief.source), 200_000, lines=True)


def _tsv(told: Told) -> str:
    """autoresearch's five columns first, then whose and how it stands; in the order in which they were made."""
    rows: list[str] = []
    for entry in sorted(told.ledger.entries(), key=lambda e: (e.at_ms, e.id)):
        track = entry.track
        more = (_name(entry), track.hardware_class, f"{track.budget_seconds:g}", told.ledger.standing(entry).value)
        rows.append("\t".join((tsv_row(entry, told.commits.get(entry.id, "")[:_COMMIT_DIGITS]), *more, entry.id)))
    return "\n".join([_TSV_HEADER, *rows]) + "\n"


def _name(entry: Entry) -> str:
    return clean(entry.finding.node_name, 40) or short(entry.author)


def _seconds(entries: Sequence[Entry]) -> float:
    trials = (trial for entry in entries for trial in (*entry.finding.trials, *entry.finding.parent_trials))
    return sum(trial.seconds for trial in trials)
