"""What the looking commands answer (`swarm status`, `log`, `leaderboard` ...): facts of a home as JSON values.

Reads the journal, the results repository and the state file; works whether or not the node runs; changes nothing.
docs/cli.md names every key. How the answers look on a terminal is the command line's business.
"""

import contextlib
from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any

from gossip.identity import load_or_create
from node.branches.quotas import FILE_NAME as KEPT_BRANCHES
from node.branches.quotas import read_kept
from node.clock import rfc3339, wall_clock
from node.early_stopping import saved_json
from node.home import Home
from node.imported import imported_authors, refuse_work_on
from node.journal import Journal
from node.network_file import read_network
from node.notebook import ledger_of
from node.proposers.credit import arm_of
from node.proposers.spending import Totals, Usage, read_spending
from node.proposers.steering import Steering
from node.replays.replay_json import replay_json, replays_of
from node.report.arms_json import arms_json
from node.report.finding_json import finding_json
from node.report.patch import text_diff
from node.results.repository import Results, open_results
from node.sealed import SealedScore, drift_of
from node.sparkline import best_so_far, thinned
from node.steering import files_of, goal_of, load_steering, read_program, steering_json
from node.text import clean
from node.topic_journal import TopicJournal
from swarm.brief import Brief
from swarm.finding import Track
from swarm.ledger import Entry, Ledger, ReplayEntry
from swarm.space import changes
from swarm.words import BriefId, FindingId, PeerId, SwarmError

Json = dict[str, Any]  # Any: a JSON document
COURSE_POINTS = 60  # of a branch's way down
LEAST_ID_CHARACTERS = 4  # of the beginning of a finding's id


class NothingFound(SwarmError):
    """What was asked for is not in this home."""


@dataclass(frozen=True)
class Archive:
    """A home as it stands on disk, opened for looking."""

    home: Home
    state: Json
    me: PeerId
    brief_id: BriefId
    brief: Brief
    ledger: Ledger
    commits: dict[str, str]
    sealed: list[SealedScore]  # of own milestones; for people, see node/sealed.py
    records: TopicJournal
    spending: Totals  # on language models, in this home

    @property
    def track(self) -> Track | None:
        """The track this node last worked on in this topic."""
        state, own = self.state, self.ledger.entries(author=self.me)
        if self.is_latest and "hardware_class" in state and "budget_s" in state:
            return Track(hardware_class=state["hardware_class"], budget_seconds=float(state["budget_s"]))
        return own[-1].finding.track if own else None

    @property
    def is_latest(self) -> bool:
        """The state file speaks of this topic, not of another one that the node worked on later."""
        return self.state.get("brief_id", self.brief_id) == self.brief_id

    @property
    def imported(self) -> bool:
        """Whether it came out of another tool's table, and is only to look at."""
        return self.brief_id in imported_authors(self.home)

    @property
    def running(self) -> bool:
        return self.is_latest and self.home.running()

    def results(self) -> Results:
        return open_results(self.home.results, self.me, self.brief.name)

    def finding(self, entry: Entry) -> Json:
        return finding_json(
            entry,
            self.ledger.standing(entry),
            self.commits.get(entry.id),
            topic=self.brief.name,
            brief_id=self.brief_id,
            model_usage=self.spending.by_finding.get(entry.id),
        ) | {"score": self.score(entry), "verdict_follows": self.ledger.follows(entry)}

    def score(self, entry: Entry) -> Json | None:
        """What all trials of its author come to, later ones and replays of its own too."""
        score = self.ledger.score(entry)
        return None if score is None else {"mean": score.mean, "trials": score.trials, "interval": score.interval}


@contextlib.contextmanager
def open_archive(home: Home, topic: str | None = None) -> Generator[Archive]:
    """Open a home for looking. `topic`: a topic's name or brief id; without it the one last worked on."""
    home.require()
    journal = Journal(home.journal, readonly=True)
    try:
        state = home.read_state()
        brief_id, brief = choose_brief(home, state, journal, topic)
        me, records = whose(home, brief_id), journal.of(brief_id)
        ledger = ledger_of(brief, records.records(), ignored=records.unwanted() - {me})
        commits, sealed, spending = journal.commits(), journal.sealed_scores(brief_id), read_spending(home.spending)
        yield Archive(home, state, me, brief_id, brief, ledger, commits, sealed, records, spending)
    finally:
        journal.close()


def whose(home: Home, brief_id: BriefId) -> PeerId:
    """Whose topic it is to those who look: this node's, or, of an imported one, that of whom all of it is by."""
    return imported_authors(home).get(brief_id) or PeerId(load_or_create(home.key).peer_id)


def topics(home: Home, state: Json, journal: Journal) -> tuple[tuple[BriefId, str], ...]:
    """Every topic of a home with its name: the one last worked on first, then by what came last."""
    known = {BriefId(path.stem) for path in home.briefs.glob("*.json")}
    latest = [BriefId(b) for b in (state.get("brief_id", ""), *journal.briefs()) if b in known]
    return tuple((id, home.load_brief(id).name) for id in dict.fromkeys([*latest, *sorted(known)]))


def choose_brief(home: Home, state: Json, journal: Journal, topic: str | None) -> tuple[BriefId, Brief]:
    """Raises NothingFound."""
    known = [BriefId(path.stem) for path in home.briefs.glob("*.json")]
    latest = ([BriefId(state["brief_id"])] if "brief_id" in state else []) + [BriefId(b) for b in journal.briefs()]
    for id in [b for b in latest if b in known] + known:
        brief = home.load_brief(id)
        if topic is None or topic in (brief.name, id):
            return id, brief
    if topic is None:
        raise NothingFound(f"no topic has been worked on in {home.path} yet; start: swarm launch --home {home.path}")
    names = sorted({home.load_brief(id).name for id in known})
    raise NothingFound(f"no topic {topic!r} in {home.path}; it has {', '.join(names) or 'none'}")


def status(archive: Archive) -> Json:
    running, track = archive.running, archive.track
    state = archive.state if archive.is_latest else {}
    best = archive.ledger.branch_best(archive.me, track) if track else None
    return {
        "peer_id": archive.me,
        "name": archive.state.get("name", ""),
        "topic": archive.brief.name,
        "brief_id": archive.brief_id,
        "hardware_class": track.hardware_class if track else None,
        "budget_s": track.budget_seconds if track else None,
        "sandbox": state.get("sandbox"),
        "proposer": state.get("proposer"),
        "private": archive.home.is_private(archive.brief_id),
        "home": str(archive.home.path),
        "results_repository": str(archive.home.results),
        "branch": f"nodes/{archive.me}/{archive.brief.name}",
        "running": running,
        "experiments": len(archive.ledger.entries(author=archive.me)),
        "findings_known": len(archive.ledger),
        "best": {"id": best.id, "val_bpb": best.val_bpb, "score": archive.score(best)} if best else None,
        "noise": _noise(archive),
        "early_stop": saved_json(archive.ledger.entries(author=archive.me, track=track)) if track else None,
        "steering": steering(archive),
        "arms": arms_json(archive.ledger, track, archive.me) if track else [],
        "refused_proposals": state.get("refused_proposals", {}),
        "model": _model(archive, state),
        "drift": _drift(archive),
        "peers": state.get("peers", []) if running else [],
        "addresses": state.get("addresses", []),
        "training_share": state.get("training_share"),
        "current": state.get("current") if running else None,
        "claims": read_network(archive.home, archive.brief_id).get("claims") if running else None,
        "started_at": state.get("started_at"),
    }


def steering(archive: Archive) -> Json:
    """What the owner fixes; what cannot be read is not in force."""
    files, brief = files_of(archive.home, archive.brief_id, archive.state.get("brief_id")), archive.brief
    try:
        found = load_steering(files.steering, brief)
        edited = read_program(files.program, brief) != goal_of(brief)
    except SwarmError as error:
        return steering_json(Steering(), program_edited=False) | {"problem": str(error)}
    return steering_json(found, edited) | {"problem": None}


def _noise(archive: Archive) -> Json | None:
    """How much one trial differs from the next on this track, as this node knows it."""
    if archive.track is None:
        return None
    noise = archive.ledger.noise(archive.track, archive.me)
    return {"sd": noise.sd, "dof": noise.dof}


def _model(archive: Archive, state: Json) -> Json | None:
    """What language models took in this home, and what became of the questions since the start; None: none asked."""
    spent = archive.spending
    questions: dict[str, int] = state.get("model_questions") or {}
    if not spent.total.calls and not questions:
        return None
    today = spent.by_day.get(rfc3339(wall_clock())[:10], Usage())
    return {"questions": questions, "total": spent.total.as_json(), "today": today.as_json()}


def _drift(archive: Archive) -> Json | None:
    """What the milestones of this track say about fitting the validation text; None before the second one."""
    drift = drift_of(archive.sealed, archive.track)
    if drift is None:
        return None
    return sealed_json(drift.latest) | {
        "first_gap": drift.first.gap,
        "growth": drift.growth,
        "milestones": [{"id": score.finding} | sealed_json(score) for score in drift.scores],
    }


def sealed_json(score: SealedScore) -> Json:
    return {"sealed_bpb": score.sealed_bpb, "val_bpb": score.val_bpb, "gap": score.gap}


def log(archive: Archive, *, everyone: bool = False) -> Json:
    """Findings in the order they were made: own by run number, the swarm's by time."""
    entries = archive.ledger.entries(author=None if everyone else archive.me)
    if not everyone:
        entries.sort(key=lambda entry: (entry.finding.number, entry.seq))
    return {"findings": [archive.finding(entry) for entry in entries]}


def leaderboard(archive: Archive, *, all_tracks: bool = False) -> Json:
    """Measured findings, best first by the mean of all their author's trials.

    Ranks count inside one hardware class and budget; other numbers do not compare.
    """
    own = archive.track
    tracks = archive.ledger.tracks()
    chosen = tracks if all_tracks or own is None or own not in tracks else [own]
    entries: list[Json] = []
    for track in chosen:
        for rank, (entry, score) in enumerate(archive.ledger.ranked(track), start=1):
            finding = entry.finding
            entries.append(
                {
                    "rank": rank,
                    "id": entry.id,
                    "peer": entry.author,
                    "node_name": clean(finding.node_name, 40),
                    "number": finding.number,
                    "val_bpb": score.mean,
                    "interval": score.interval,
                    "trials": score.trials,
                    "verdict": finding.verdict.decision.value,
                    "standing": archive.ledger.standing(entry).value,
                    "hardware_class": track.hardware_class,
                    "budget_s": track.budget_seconds,
                    "arm": clean(arm_of(finding.proposal.proposer) or "", 64),
                    "description": clean(finding.proposal.title, 120),
                }
            )
    arms = [
        {"hardware_class": track.hardware_class, "budget_s": track.budget_seconds, **one}
        for track in chosen
        for one in arms_json(archive.ledger, track, archive.me, everybody=True)
    ]
    return {"entries": entries, "arms": arms, "other_tracks": len(tracks) - len(chosen)}


async def branches(archive: Archive) -> Json:
    """Branches in the results repository, and authors whose findings are known but whose branch is not here."""
    heads = await archive.results().branches() if archive.home.results.exists() else {}
    kept = read_kept(archive.home.path / KEPT_BRANCHES)
    rows: list[Json] = []
    for peer in sorted({*archive.ledger.authors(), archive.me}):
        name = f"nodes/{peer}/{archive.brief.name}"
        entries, measured = archive.ledger.entries(author=peer), archive.ledger.measured(author=peer)
        rows.append(
            {
                "name": name,
                "peer": peer,
                "node_name": clean(entries[-1].finding.node_name, 40) if entries else "",
                "head": heads.get(name),
                "findings": len(entries),
                "best": measured[0].val_bpb if measured else None,
                "course": _course(archive, peer),
                **await _against_records(archive, peer, name if name in heads else None),
                "fetched": asdict(kept[name]) if name in kept and name in heads else None,
            }
        )
    return {"branches": rows}


def _course(archive: Archive, peer: PeerId) -> list[float]:
    """How an author's best came down, on the track of its latest finding."""
    entries = archive.ledger.entries(author=peer)
    track = entries[-1].finding.track if entries else None
    numbers = [entry.val_bpb for entry in entries if entry.val_bpb is not None and entry.track == track]
    return thinned(best_so_far(numbers), COURSE_POINTS)


async def _against_records(archive: Archive, peer: str, branch: str | None) -> Json:
    """How many findings of an author the branch lacks, and how many of its commits no record is known of."""
    known = {entry.id for entry in archive.ledger.entries(author=PeerId(peer))}
    commits = await archive.results().history(branch) if branch is not None else []
    held = {FindingId(commit.trailers["Finding-Id"]) for commit in commits if "Finding-Id" in commit.trailers}
    return {"commits": len(commits), "behind": len(known - held), "ahead": len(held - known)}


def ticket(archive: Archive) -> Json:
    refuse_work_on(archive.home, archive.brief_id)
    if not archive.is_latest:
        raise NothingFound(
            f"the node in {archive.home.path} last worked on another topic; for a ticket of this one start it with: "
            f"swarm launch --topic {archive.brief.name}"
        )
    text = archive.state.get("ticket")
    if not text:
        raise NothingFound(f"the node in {archive.home.path} has not listened yet; start it with: swarm launch")
    return {"ticket": text, "running": archive.running, "private": archive.home.is_private(archive.brief_id)}


def find(archive: Archive, reference: str) -> Entry:
    """A finding by own run number ('7' or '#7'), by id, or by the beginning of an id."""
    number = reference.removeprefix("#")
    if number.isascii() and number.isdigit() and len(number) < 7:
        for entry in archive.ledger.entries(author=archive.me):
            if entry.finding.number == int(number):
                return entry
    found = archive.ledger.find(reference.lower()) if len(reference) >= LEAST_ID_CHARACTERS else []
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise NothingFound(f"{reference!r} is the beginning of {len(found)} findings; give more characters")
    raise NothingFound(f"no finding {reference!r}; own runs go by number, others by id: see swarm log --all")


def show(archive: Archive, reference: str) -> Json:
    entry = find(archive, reference)
    finding = entry.finding
    parent = archive.ledger.get(finding.proposal.parent)
    before = parent.finding.proposal.config if parent else archive.brief.base_config
    sealed = next((sealed_json(score) for score in archive.sealed if score.finding == entry.id), None)
    return archive.finding(entry) | {
        "changes": changes(before, finding.proposal.config),
        "sealed": sealed,
        "replays": replays_of(archive.ledger, archive.brief, entry),
        "curve": [[point.seconds, point.train_loss] for point in finding.trials[0].curve],
    }


def replay(archive: Archive, entry: Entry, one: ReplayEntry) -> Json:
    """What a replay of a finding came to, and how the finding stands with it."""
    return {
        "finding": entry.id,
        "number": entry.finding.number,
        "peer": entry.author,
        "node_name": clean(entry.finding.node_name, 40),
        "title": clean(entry.finding.proposal.title, 120),
        "standing": archive.ledger.standing(entry).value,
        "score": archive.score(entry),
        "replay": replay_json(archive.ledger, archive.brief, entry, one),
    }


def diff(archive: Archive, first: str, second: str) -> Json:
    """What the second finding runs differently from the first."""
    a, b = find(archive, first), find(archive, second)
    before, after = a.finding.proposal, b.finding.proposal
    keys = sorted(changes(before.config, after.config) | changes(after.config, before.config))
    return {
        "from": a.id,
        "to": b.id,
        "val_bpb": [a.val_bpb, b.val_bpb],
        "comparable": a.finding.track == b.finding.track,
        "config": {key: [before.config.get(key), after.config.get(key)] for key in keys},
        "source": clean(
            text_diff("train.py", *(p.source or archive.brief.source for p in (before, after))), 200_000, lines=True
        ),
    }
