"""report.md: one run on one page, for a person who opens the run folder.

Owns the page's text. Everything that others wrote is made inert Markdown.
"""

from collections.abc import Sequence

from node.report.run_words import bpb_words, effect_words, result_words, seeds_words
from node.text import clean, markdown_escape
from swarm.brief import Brief
from swarm.finding import Finding
from swarm.ledger import Entry
from swarm.space import changes
from swarm.trial import Trial
from swarm.words import Condition, Decision, Value, short


def run_page(entry: Entry, parent: Entry | None, inspirations: Sequence[Entry], brief: Brief) -> str:
    finding = entry.finding
    name = markdown_escape(clean(finding.node_name, 40)) or short(entry.author)
    rationale = markdown_escape(clean(finding.proposal.rationale, 1000))
    paragraphs = [
        f"# Run {finding.number}: {markdown_escape(clean(finding.proposal.title, 120))}",
        _result(finding),
        f"## Why\n\n{rationale or 'The proposer gave no reason.'}",
        _changes(finding, parent, brief),
        "## Loss\n\n![Train loss against seconds](curve.png)",
        "## Figures\n\n" + _table(("", ""), _figures(finding)),
        "## Where it comes from\n\n" + _table(("", ""), _origin(entry, name, parent, inspirations)),
        (
            "`result.json` has all of this for programs, `patch.diff` the change, `log.txt` what the run printed, "
            "`record.bin` the signed record that the swarm was told. It is one node's claim until another node has "
            f"measured the same: `swarm show {entry.id[:12]}` says how it stands."
        ),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _result(finding: Finding) -> str:
    if finding.val_bpb is None:
        reason = markdown_escape(clean(finding.reason, 400))
        return f"**Not measured: {result_words(finding)}.** {reason}".rstrip()
    told, sure = finding.verdict, _percent(finding.verdict.p_better)
    again = f" ({seeds_words(finding)})" if seeds_words(finding) else ""
    if told.effect is None:
        start = "The start that others are compared with." if finding.proposal.parent is None else _no_effect(finding)
        return f"**val_bpb {bpb_words(finding.val_bpb)}{again}.** {start}"
    rule = {
        Decision.KEEP: f"Kept: better with a chance of {sure}.",
        Decision.DISCARD: f"Discarded: better with a chance of {sure} only, not worth another run.",
        Decision.INCONCLUSIVE: f"Inconclusive: better with a chance of {sure}.",
    }[told.decision]
    bonus = " It is simpler than its parent, which counts for it." if told.simpler else ""
    noise = f" One run differs from the next by {told.noise_sd:.4f} (standard deviation)."
    return f"**val_bpb {bpb_words(finding.val_bpb)}, {effect_words(finding)}{again}.** {rule}{bonus}{noise}"


def _percent(chance: float | None) -> str:
    return "–" if chance is None else f"{100 * chance:.1f} %"


def _no_effect(finding: Finding) -> str:
    marked = sorted({trial.condition.value for trial in finding.trials if not trial.counts})
    return f"Its runs were {' and '.join(marked) or 'not comparable'}: they are no evidence."


def _changes(finding: Finding, parent: Entry | None, brief: Brief) -> str:
    before = parent.finding.proposal.config if parent else brief.base_config
    after = finding.proposal.config
    rows = [(f"`{_code(key)}`", _show(before.get(key)), _show(value)) for key, value in changes(before, after).items()]
    against = "its parent" if parent else "the brief's start"
    old_source = parent.finding.proposal.source_sha256 if parent else brief.source_sha256
    parts = [f"## What changed\n\nAgainst {against}:"]
    parts += [_table(("setting", "before", "after"), rows)] if rows else ["No setting differs."]
    parts += ["`train.py` was changed: see `patch.diff`."] if old_source != finding.proposal.source_sha256 else []
    return "\n\n".join(parts)


def _figures(finding: Finding) -> list[tuple[str, ...]]:
    trial, track = finding.trials[0], finding.track
    return [
        ("hardware class", track.hardware_class),
        ("budget", f"{track.budget_seconds:g} s"),
        *_every_trial(finding),
        ("training took", f"{trial.seconds:.1f} s"),
        ("steps", f"{trial.steps:,}"),
        ("tokens", f"{trial.tokens:,}"),
        ("parameters", f"{trial.parameters:,}"),
        ("peak memory", f"{trial.peak_memory_bytes / 2**20:,.0f} MiB"),
        ("seed", str(trial.seed)),
    ]


def _every_trial(finding: Finding) -> list[tuple[str, ...]]:
    """val_bpb of each run, and of those of the parent that were made to compare with."""
    sides = (("each run", finding.trials), ("the parent again", finding.parent_trials))
    return [(name, ", ".join(map(_one, trials))) for name, trials in sides if len(trials) > (name == "each run")]


def _one(trial: Trial) -> str:
    mark = "" if trial.condition is Condition.STEADY else f" ({trial.condition.value}, does not count)"
    return (bpb_words(trial.val_bpb) if trial.val_bpb is not None else trial.outcome.value.replace("_", " ")) + mark


def _origin(entry: Entry, name: str, parent: Entry | None, inspirations: Sequence[Entry]) -> list[tuple[str, ...]]:
    finding, known = entry.finding, {one.id: one for one in inspirations}
    told = [_name(id, known.get(id)) for id in finding.proposal.inspirations]
    return [
        ("node", f"{name} (`{entry.author}`)"),
        ("started", finding.started_at),
        ("finding", f"`{entry.id}`"),
        ("operator", f"{finding.proposal.operator.value}, by {markdown_escape(finding.proposal.proposer)}"),
        ("parent", _name(finding.proposal.parent, parent) if finding.proposal.parent else "none"),
        ("inspirations", "<br>".join(told) or "none"),
    ]


def _name(id: str, entry: Entry | None) -> str:
    if entry is None:
        return f"`{short(id)}`"
    node = markdown_escape(clean(entry.finding.node_name, 40)) or short(entry.author)
    title = markdown_escape(clean(entry.finding.proposal.title, 120))
    return f"`{short(id)}`, run {entry.finding.number} of {node}, val_bpb {bpb_words(entry.val_bpb)}: {title}"


def _code(text: str) -> str:
    return clean(text, 60).replace("`", "").replace("|", "")


def _show(value: Value | None) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else markdown_escape(clean(str(value), 120))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
