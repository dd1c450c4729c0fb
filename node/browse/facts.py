"""What each page says, as the JSON beside it: the names are those of the command line's answers (docs/cli.md).

Every function makes one document from a sight. Pages are drawn from the same documents, so that the two cannot differ.
"""

from datetime import datetime
from typing import Any, cast

from node import views
from node.browse.column import CONFIG, DEFAULT
from node.browse.question import Question, answer, tracks_of
from node.browse.reading import Sight
from node.browse.row import Row
from node.browse.steering_facts import program, steering
from node.names import friendly_name
from node.report.arms_json import arms_json
from node.steering import steered_words
from node.text import clean
from swarm.trial import Track
from swarm.words import Config, PeerId, Value

Json = dict[str, Any]  # Any: a JSON document
MAX_JOURNAL = 120  # runs on one page of a node's journal
MAX_FEED = 30


def row_json(sight: Sight, row: Row) -> Json:
    """One run in a list: fewer keys than `swarm log` has, by the same names."""
    return {
        "id": row.id,
        "peer": row.peer,
        "node_name": row.node_name,
        "number": row.number,
        "title": row.title,
        "status": row.status,
        "outcome": row.outcome,
        "standing": row.standing.value,
        "score": None if row.mean is None else _score(sight, row),
        "effect": row.effect,
        "interval": row.interval,
        "p_better": row.p_better,
        "arm": row.arm,
        "operator": row.operator,
        "proposer": row.proposer,
        "parent": row.parent,
        "inspirations": list(row.inspirations),
        "hardware_class": row.track.hardware_class,
        "budget_seconds": row.track.budget_seconds,
        "seconds": row.seconds,
        "steps": row.steps,
        "tokens": row.tokens,
        "parameters": row.parameters,
        "peak_memory_bytes": row.peak_memory_bytes,
        "started_at": row.started_at,
        "at_ms": row.at_ms,
        "reason": row.reason,
    }


def _score(sight: Sight, row: Row) -> Json:
    return {"mean": row.mean, "trials": row.trials, "interval": sight.catalogue.interval(row)}


def overview(sight: Sight) -> Json:
    catalogue, track = sight.catalogue, chosen_track(sight, None, None)
    return {
        "status": views.status(sight.archive),
        "tracks": [_track(sight, one, runs) for one, runs in catalogue.tracks()],
        "arms": arms_json(catalogue.ledger, track, catalogue.me, everybody=True) if track else [],
        "feed": [row_json(sight, row) for row in catalogue.rows()[: -MAX_FEED - 1 : -1]],
        "nodes": nodes(sight)["nodes"],
        "now": now(sight),
    }


def _track(sight: Sight, track: Track, runs: int) -> Json:
    catalogue = sight.catalogue
    rows = catalogue.of_track(track)
    best, noise = catalogue.best(rows), catalogue.ledger.noise(track, catalogue.me)
    first = next((row for row in rows if row.mean is not None), None)
    return {
        "hardware_class": track.hardware_class,
        "budget_seconds": track.budget_seconds,
        "runs": runs,
        "kept": sum(row.kept for row in rows),
        "nodes": len({row.peer for row in rows}),
        "best": None if best is None else row_json(sight, best),
        "first": None if first is None else first.mean,
        "noise": {"sd": noise.sd, "dof": noise.dof},
    }


def now(sight: Sight) -> Json:
    """What this node does at the moment, and why it does nothing."""
    state, archive = sight.state, sight.archive
    running = archive.running
    current = _current(state.get("current")) if running else None
    said: list[Json] = state.get("notices", [])
    return {
        "running": running,
        "name": clean(str(archive.state.get("name", "")), 40),
        "current": current,
        "pause": _pause(sight, running, current),
        "peers": state.get("peers", []) if running else [],
        "training_share": state.get("training_share"),
        "steering": steering(sight),
        "notices": [{**one, "text": clean(str(one.get("text", "")), 600)} for one in said],
    }


def _current(written: object) -> Json | None:
    """The trial under way, as the node wrote it last; what another version did not write has a value that says so."""
    if not isinstance(written, dict):
        return None
    found = cast("Json", written)
    return {
        "number": found.get("number"),
        "title": clean(str(found.get("title", "")), 120),
        "started_at": found.get("started_at"),
        "budget_s": found.get("budget_s"),
        "side": found.get("side", "candidate"),
        "turn": found.get("turn", 1),
        "evaluating": found.get("evaluating", False),
        "seconds": found.get("seconds"),
        "train_loss": found.get("train_loss"),
        "tokens_per_second": found.get("tokens_per_second"),
        "curve": found.get("curve", []),
    }


def _pause(sight: Sight, running: bool, current: Json | None) -> str | None:
    """One sentence while nothing trains."""
    state = sight.state
    if not sight.archive.is_latest:
        return "This node works on another topic now."
    if not running:
        return f"No node runs in {sight.home.path}. Start one: swarm launch --home {sight.home.path}"
    if current:
        return None
    if state.get("proposer") == "none":
        return "This node keeps records and introduces peers; it was started with --no-train."
    warned = [one for one in state.get("notices", []) if one.get("warning") and _since_last_run(sight, one)]
    if warned:
        return clean(str(warned[-1].get("text", "")), 600)
    return "Between two runs: recording the last one, choosing the next."


def _since_last_run(sight: Sight, notice: Json) -> bool:
    """What was said before a run that went well explains no pause after it."""
    own = sight.catalogue.peers().get(sight.catalogue.me)
    try:
        said_ms = datetime.fromisoformat(str(notice.get("at", ""))).timestamp() * 1000
    except (ValueError, OverflowError):
        return True
    return not own or said_ms >= own[-1].at_ms


def nodes(sight: Sight) -> Json:
    """Everybody who made a run, the best of this node's track first."""
    catalogue, network = sight.catalogue, sight.network
    connected: set[str] = set(network.get("peers", ())) if sight.archive.running else set()
    connected |= set(sight.state.get("peers", ())) if sight.archive.running else set()
    found = [_node(sight, peer, rows, peer in connected) for peer, rows in catalogue.peers().items()]
    silent = sorted(connected - {one["peer"] for one in found})
    found += [_node(sight, PeerId(peer), [], True) for peer in silent]
    found.sort(key=lambda one: (-one["runs"], one["node_name"], one["peer"]))
    return {"nodes": found, "running": sight.archive.running}


def _node(sight: Sight, peer: PeerId, rows: list[Row], connected: bool) -> Json:
    catalogue, latest = sight.catalogue, rows[-1] if rows else None
    head = None if latest is None else catalogue.branch_head(peer, latest.track)
    return {
        "peer": peer,
        "node_name": latest.node_name if latest else friendly_name(peer),
        "own": peer == catalogue.me,
        "connected": connected,
        "runs": len(rows),
        "kept": sum(row.kept for row in rows),
        "hardware_class": latest.track.hardware_class if latest else None,
        "budget_seconds": latest.track.budget_seconds if latest else None,
        "best": None if head is None else row_json(sight, head),
        "latest_at_ms": latest.at_ms if latest else None,
    }


def runs(sight: Sight, question: Question) -> Json:
    rows, settings = sight.catalogue.rows(), sight.catalogue.brief.space.parameters
    shown, found, page = answer(rows, question, settings)
    extra = [name.removeprefix(CONFIG) for name in question.columns if name.startswith(CONFIG)]
    return {
        "runs": [row_json(sight, row) | {"config": {k: row.config.get(k) for k in extra}} for row in shown],
        "found": len(found),
        "all": len(rows),
        "page": page,
        "per_page": question.per_page,
        "pages": max(1, -(-len(found) // question.per_page)),
        "facets": sight.catalogue.facets(),
        "tracks": [
            {"hardware_class": track.hardware_class, "budget_seconds": track.budget_seconds, "runs": n}
            for track, n in tracks_of(found)
        ],
        "columns": list(question.columns or DEFAULT),
        "sort": f"{'-' * question.descending}{question.sort}",
    }


def node(sight: Sight, peer: str, page: int) -> Json:
    """A branch as a journal, the newest run first. Raises NothingFound."""
    catalogue = sight.catalogue
    rows = catalogue.peers().get(PeerId(peer), [])
    known: Json | None = next((one for one in nodes(sight)["nodes"] if one["peer"] == peer), None)
    if known is None:
        raise views.NothingFound(f"nobody called {clean(peer, 80)} is known in this topic")
    last = max(1, -(-len(rows) // MAX_JOURNAL))
    page = min(max(1, page), last)
    shown = rows[::-1][(page - 1) * MAX_JOURNAL : page * MAX_JOURNAL]
    track = rows[-1].track if rows else None
    return known | {
        "branch": f"nodes/{peer}/{catalogue.brief.name}",
        "journal": [row_json(sight, row) | _reasons(sight, row) for row in shown],
        "page": page,
        "pages": last,
        "arms": arms_json(catalogue.ledger, track, PeerId(peer)) if track else [],
    }


def _reasons(sight: Sight, row: Row) -> Json:
    entry = sight.catalogue.ledger.get(row.id)
    rationale = clean(entry.finding.proposal.rationale, 1000) if entry else ""
    return {"rationale": rationale, "steered": steered_words(rationale)}


def topic(sight: Sight) -> Json:
    """The goal, the rules and how to join. The ticket of a private swarm is a key: `swarm ticket` shows it, no page."""
    archive, brief = sight.archive, sight.catalogue.brief
    private = archive.home.is_private(archive.brief_id)
    ticket = None if private or not archive.is_latest else archive.state.get("ticket")
    return {
        "name": brief.name,
        "brief_id": archive.brief_id,
        "goal": clean(brief.goal, 16_000, lines=True),
        "metric": brief.metric.model_dump(),
        "budgets": brief.budgets.model_dump(),
        "acceptance": brief.acceptance.model_dump(),
        "corpus": {
            "documents": brief.corpus.documents,
            "tokenizer": brief.corpus.tokenizer,
            "train_bytes": brief.corpus.train.raw_bytes,
            "validation_bytes": brief.corpus.validation.raw_bytes,
            "sealed_bytes": brief.corpus.sealed.raw_bytes,
        },
        "base_config": shown_values(brief.base_config),
        "space": {clean(key, 60): one.model_dump() for key, one in brief.space.parameters.items()},
        "steering": steering(sight),
        "program": program(sight),
        "private": private,
        "ticket": None if ticket is None else clean(str(ticket), 20_000),
        "running": archive.running,
        "topics": [{"name": name, "brief_id": id} for id, name in sight.topics],
    }


def shown_values(config: Config) -> Config:
    return {clean(key, 60): shown_value(value) for key, value in config.items()}


def shown_value(value: Value) -> Value:
    return clean(value, 200) if isinstance(value, str) else value


def chosen_track(sight: Sight, hardware_class: str | None, budget: str | None) -> Track | None:
    """The one that is named; else this node's, else the busiest."""
    tracks = [track for track, _ in sight.catalogue.tracks()]
    for track in tracks:
        if (track.hardware_class, f"{track.budget_seconds:g}") == (hardware_class, budget):
            return track
    own = sight.archive.track
    return own if own in tracks else next(iter(tracks), None)
