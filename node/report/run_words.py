"""The words and short numbers by which runs are shown, the same in commit subjects, tables and pages.

Owns wording only; verdicts are the swarm's.
"""

import re
from collections.abc import Iterable

from swarm.finding import Finding, Track
from swarm.ledger import Entry, branch_head
from swarm.words import Outcome

_MAX_SLUG = 32  # characters of the title in a folder name; enough to recognise a run in `ls`


def run_folder(finding: Finding) -> str:
    """'runs/0007-rmsnorm': the number makes it unique, the title makes it findable."""
    words = re.findall(r"[a-z0-9]+", finding.proposal.title.lower())
    slug = ""
    for word in words:
        if len(slug) + 1 + len(word) > _MAX_SLUG:
            break
        slug = f"{slug}-{word}" if slug else word
    return f"runs/{finding.number:04d}-{slug or 'run'}"


def status(finding: Finding) -> str:
    """The status column: keep, discard, inconclusive, crash, censored; cancelled, which says nothing about the idea."""
    if finding.outcome is Outcome.MEASURED:
        return finding.verdict.decision.value
    return finding.outcome.value if finding.outcome in (Outcome.CANCELLED, Outcome.CENSORED) else "crash"


def status_or_outcome(finding: Finding) -> str:
    return finding.verdict.decision.value if finding.outcome is Outcome.MEASURED else finding.outcome.value


def result_words(finding: Finding) -> str:
    """'keep', 'out of memory'."""
    return status_or_outcome(finding).replace("_", " ")


def bpb_words(val_bpb: float | None) -> str:
    return "–" if val_bpb is None else f"{val_bpb:.4f}"


def change_words(finding: Finding) -> str:
    """The change of val_bpb against the parent: '−0.0312' is an improvement."""
    effect = finding.verdict.effect
    return "–" if effect is None else f"{-effect:+.4f}".replace("-", "−")


def effect_words(finding: Finding) -> str:
    """'0.0312 better than its parent'."""
    effect, interval = finding.verdict.effect, finding.verdict.interval
    if effect is None:
        return "without a parent to compare with"
    around = "" if interval is None else f" ± {interval:.4f}"
    return f"{abs(effect):.4f}{around} {'better' if effect > 0 else 'worse'} than its parent"


def best_kept(runs: Iterable[Entry], track: Track) -> Entry | None:
    """Where a branch stands on a track after `runs`."""
    return branch_head(entry for entry in runs if entry.track == track)


def seeds_words(finding: Finding) -> str:
    """'3 runs of it and 2 of its parent'; empty for a single one."""
    trials, again = len(finding.trials), len(finding.parent_trials)
    if trials == 1 and not again:
        return ""
    return f"{trials} runs of it" + (f" and {again} of its parent again" if again else "")
