"""README.md of a branch: where it stands, for a person who opens the repository on the disk or on a forge.

Owns the page's text. Everything that others wrote is made inert Markdown.
"""

from collections.abc import Mapping, Sequence

from node.report.run_words import bpb_words, change_words, effect_words, result_words, run_folder
from node.text import clean, markdown_escape
from swarm.brief import Brief
from swarm.finding import Finding
from swarm.ledger import Entry
from swarm.words import Decision, FindingId, Outcome, short

_LAST_RUNS = 20
_MAX_KEPT = 100  # the newest; results.tsv has every run


def branch_page(
    newest: Entry, runs: Sequence[Entry], best: Entry | None, commits: Mapping[FindingId, str], brief: Brief
) -> str:
    """`runs`: all of this branch, oldest first, `newest` last. `best`: of the newest run's track."""
    track = newest.finding.track
    here = [entry for entry in runs if entry.track == track]
    kept = [entry for entry in here if _is_kept(entry.finding)]
    name = markdown_escape(clean(newest.finding.node_name, 40)) or short(newest.author)
    others = len(runs) - len(here)
    elsewhere = f" {others} more on other hardware or budgets: see `results.tsv`." if others else ""
    paragraphs = [
        f"# {brief.name}: what {name} found",
        f"{len(here)} runs of {track.budget_seconds:g} s on `{track.hardware_class}`, {len(kept)} kept.{elsewhere}",
        _best(best, here),
        "![val_bpb of every run](progress.png)",
        *([f"![Loss of the best run]({run_folder(best.finding)}/curve.png)"] if best else []),
        "## Kept\n\n" + _kept_table(kept[-_MAX_KEPT:], newest, commits),
        f"## Last {_LAST_RUNS} runs\n\n" + _last_table(here[-_LAST_RUNS:]),
        _how_to_read(newest, best or newest, brief),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _is_kept(finding: Finding) -> bool:
    return finding.outcome is Outcome.MEASURED and finding.verdict.decision is Decision.KEEP


def _best(best: Entry | None, here: Sequence[Entry]) -> str:
    if best is None:
        return "**No run has been kept yet**: `train.py` and `config.json` are the brief's own start."
    finding = best.finding
    start = next((entry for entry in here if entry.val_bpb is not None), None)
    words = [] if finding.verdict.effect is None else [effect_words(finding)]
    shown = {best.id, finding.proposal.parent}
    if start is not None and start.id not in shown and start.val_bpb is not None and best.val_bpb is not None:
        gain = start.val_bpb - best.val_bpb
        words.append(f"{abs(gain):.4f} {'better' if gain > 0 else 'worse'} than run {start.finding.number}, its first")
    compared = f" ({', '.join(words)})" if words else ""
    return f"**Best: run {finding.number}, val_bpb {bpb_words(best.val_bpb)}**{compared}: {_title(finding)}"


def _kept_table(kept: Sequence[Entry], newest: Entry, commits: Mapping[FindingId, str]) -> str:
    if not kept:
        return "None yet."
    rows = ["| run | val_bpb | against parent | what | commit |", "| --- | --- | --- | --- | --- |"]
    for entry in reversed(kept):
        finding = entry.finding
        commit = "HEAD" if entry.id == newest.id else commits.get(entry.id, "")[:10] or "–"
        cells = (_link(finding), bpb_words(finding.val_bpb), change_words(finding), _title(finding), f"`{commit}`")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _last_table(entries: Sequence[Entry]) -> str:
    rows = ["| run | result | val_bpb | against parent | what |", "| --- | --- | --- | --- | --- |"]
    for finding in (entry.finding for entry in reversed(entries)):
        numbers = (result_words(finding), bpb_words(finding.val_bpb), change_words(finding))
        rows.append(f"| {' | '.join((_link(finding), *numbers, _title(finding)))} |")
    return "\n".join(rows)


def _title(finding: Finding) -> str:
    return markdown_escape(clean(finding.proposal.title, 120)) or "–"


def _link(finding: Finding) -> str:
    return f"[{finding.number}]({run_folder(finding)}/report.md)"


def _how_to_read(newest: Entry, example: Entry, brief: Brief) -> str:
    rule, noise_sd = brief.acceptance, newest.finding.verdict.noise_sd
    folder = run_folder(example.finding)
    return f"""## How to read this

- **val_bpb** is bits per byte over the whole validation text, measured by the node. Lower is better; a minus in
  "against parent" is an improvement. Numbers compare only inside one topic, one hardware class and one budget.
- **Noise.** The same thing trained twice differs, by {noise_sd:.4f} in a standard deviation here. A run that looks
  promising is made again with other seeds, and so is its parent: at most {rule.max_trials} runs of one thing. It is
  kept when the chance that it is better reaches {_chances(rule.keep_at)} with one, two, three and more runs; it is
  discarded when the chance is {100 * rule.drop_at:.0f} % or less, inconclusive when the runs are used up. At equal
  score the simpler one wins. The ± after a difference holds 19 times in 20.
- **One run**: its folder, for example [run {example.finding.number}]({folder}/report.md), has the report, the curve,
  the config, the patch against its parent, the log and the signed record. `git show --stat COMMIT`
  lists what a commit added.
- **All runs**: `results.tsv`, or `git log --format='%h %s'`. The newest row's commit is called HEAD, since no
  commit can hold its own hash; the next commit puts the hash there. A run without a number has an empty val_bpb.
- **The best**: `train.py` and `config.json` here are those of the best kept run. `program.md` is the goal.
- In the first picture, runs that were not measured or are far off stand at the upper edge.

Node `{newest.author}`"""


def _chances(chances: Sequence[float]) -> str:
    return ", ".join(f"{100 * chance:g} %" for chance in chances)
