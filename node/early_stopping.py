"""Which trials may be stopped early, by what other curves, and what that has saved. Between the ledger and the rule.

Never stopped: the baseline, repeats, replays, and the first trial of a train.py whose curves nobody here has seen: what
it calls its loss may be something else. The rule itself is node/trials/early_stop.py.
"""

from collections.abc import Iterable

from node.trials.early_stop import Curve, Past, StopRule, stop_rule
from swarm.finding import Proposal
from swarm.ledger import Entry, Ledger
from swarm.trial import Track, Trial
from swarm.words import Outcome, PeerId, Standing

MAX_PAST = 200  # own runs, and as many of peers, the newest


def rule_for(ledger: Ledger, me: PeerId, track: Track, proposal: Proposal) -> StopRule | None:
    """For the first trial of a proposal; None: it is not to be stopped."""
    best = ledger.branch_best(me, track)
    if proposal.parent is None or best is None or best.val_bpb is None:
        return None
    alike = [
        entry
        for entry in ledger.entries(track=track)
        if entry.finding.proposal.source_sha256 == proposal.source_sha256 and _tells(entry)
    ]
    own = [_past(entry, own=True) for entry in alike if entry.author == me][-MAX_PAST:]
    doubted = (Standing.DISPUTED, Standing.REFUTED)
    theirs = [e for e in alike if e.author != me and ledger.standing(e) not in doubted][-MAX_PAST:]
    return stop_rule((*own, *(_past(entry, own=False) for entry in theirs)), best.val_bpb, track.budget_seconds)


def _tells(entry: Entry) -> bool:
    first = entry.finding.trials[0]
    return entry.val_bpb is not None and first.counts and len(first.curve) > 1


def _past(entry: Entry, *, own: bool) -> Past:
    assert entry.val_bpb is not None
    points: Curve = tuple((point.seconds, point.train_loss) for point in entry.finding.trials[0].curve)
    return Past(points, entry.val_bpb, own)


def saved_json(entries: Iterable[Entry]) -> dict[str, object]:
    """What was stopped, and the seconds of budget that it did not use, of all that these trials were given."""
    trials = [t for e in entries for t in (*e.finding.trials, *e.finding.parent_trials)]
    stopped = [trial for trial in trials if trial.outcome is Outcome.CENSORED]
    saved, given = sum(map(_saved, stopped)), sum(trial.track.budget_seconds for trial in trials)
    return {
        "stopped": len(stopped),
        "saved_seconds": round(saved, 1),
        "saved_share": round(saved / given, 4) if given else 0.0,
    }


def _saved(trial: Trial) -> float:
    return max(0.0, trial.track.budget_seconds - trial.seconds)
