"""The memory of a node: one note for each finding of its own, older ones merged. NOTES.md and the prompts show it.

Owns what a note says and how notes are compacted. Derived from own findings alone, so that it needs no file of its own,
survives everything the journal survives, and two looks at it are the same. Only own words enter, on one line and cut.

Compaction, in steps of EVERY findings: what was kept stays a note of its own for as long as there is room; of the
others the newest RECENT do, and older ones that touched the same settings and ended alike become one note. When even
that is too long, the oldest merged notes go first, then the oldest single ones, then the oldest kept ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from node.proposers.peer_code import carries_peer_code
from node.proposers.port import plain_line
from node.proposers.tokens import count_tokens
from swarm.finding import Finding
from swarm.ledger import Entry
from swarm.space import changes
from swarm.words import Config, Decision, FindingId, Outcome, Value

RECENT = 24  # findings whose notes stay single
EVERY = 12  # findings between two compactions
MAX_WHY_CHARS = 160
MAX_WHAT_CHARS = 160
MAX_MERGED = 12  # values or numbers that a merged note lists


@dataclass(frozen=True)
class Note:
    """What one finding, or several that belong together, taught."""

    numbers: tuple[int, ...]
    what: str
    outcome: str  # 'kept', 'discarded', 'inconclusive', 'out of memory'
    effect: str = ""
    why: str = ""
    key: tuple[str, ...] = ()  # settings it touched, '' for code; what notes are merged by
    values: tuple[str, ...] = ()
    best_effect: float | None = None  # bits per byte better than its parent
    code: bool = False

    @property
    def kept(self) -> bool:
        return self.outcome == "kept"

    @property
    def line(self) -> str:
        runs = ", ".join(f"#{n}" for n in self.numbers[:MAX_MERGED]) + (
            ", ..." if len(self.numbers) > MAX_MERGED else ""
        )
        effect = f", {self.effect}" if self.effect else ""
        why = f". {self.why}" if self.why else ""
        return f"{runs} {self.what}: {self.outcome}{effect}{why}"


def notes_of(own: Iterable[Entry]) -> list[Note]:
    """One author's findings as notes, oldest first, compacted."""
    entries = sorted(own, key=lambda entry: entry.seq)
    known = {entry.id: entry for entry in entries}
    notes = [_note(entry, known) for entry in entries if entry.outcome is not Outcome.CANCELLED]
    old = max(0, (len(notes) - RECENT) // EVERY * EVERY)
    return [*_merged(notes[:old]), *notes[old:]]


def within(notes: Sequence[Note], tokens: float) -> list[Note]:
    """The most informative notes that fit, in their order."""

    def worth(at: int) -> tuple[bool, bool, int]:
        return (notes[at].kept, len(notes[at].numbers) == 1, at)

    chosen: set[int] = set()
    for at in sorted(range(len(notes)), key=worth, reverse=True):
        tokens -= count_tokens(notes[at].line + "\n- ")
        if tokens < 0:
            break
        chosen.add(at)
    return [notes[at] for at in sorted(chosen)]


def _note(entry: Entry, known: Mapping[FindingId, Entry]) -> Note:
    finding, proposal = entry.finding, entry.finding.proposal
    parent = known.get(proposal.parent) if proposal.parent else None
    # A script with a peer's code in it can end with whatever words it likes: they are not for a model's eyes.
    why = "" if carries_peer_code(proposal, "", known.get) else _why(finding)
    if parent is None:
        return Note((finding.number,), "the start of the branch", _outcome(finding), _score(finding), why)
    before = parent.finding.proposal
    changed = changes(before.config, proposal.config)
    code = proposal.source_sha256 != before.source_sha256
    parts = [_change(name, before.config, value) for name, value in changed.items()]
    if code:
        parts.insert(0, f"code: {plain_line(proposal.title, 100) or 'train.py changed'}")
    return Note(
        (finding.number,),
        plain_line(", ".join(parts), MAX_WHAT_CHARS) or "the same again",
        _outcome(finding),
        _effect(finding),
        why,
        tuple(changed),
        tuple(f"{_show(value)}" for value in changed.values()) if len(changed) == 1 else (),
        finding.verdict.effect,
        code,
    )


def _change(name: str, before: Config, value: Value) -> str:
    return f"{name} {_show(before[name])} -> {_show(value)}" if name in before else f"{name} = {_show(value)}"


def _show(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _outcome(finding: Finding) -> str:
    if finding.outcome is not Outcome.MEASURED:
        return finding.outcome.value.replace("_", " ")
    return {Decision.KEEP: "kept", Decision.DISCARD: "discarded"}.get(finding.verdict.decision, "inconclusive")


def _score(finding: Finding) -> str:
    return "" if finding.val_bpb is None else f"val_bpb {finding.val_bpb:.4f}"


def _effect(finding: Finding) -> str:
    verdict = finding.verdict
    if verdict.effect is None:
        return ""
    around = "" if verdict.interval is None else f" ± {verdict.interval:.4f}"
    runs = f" ({len(finding.trials)} runs)" if len(finding.trials) > 1 else ""
    return f"{abs(verdict.effect):.4f}{around} {'better' if verdict.effect > 0 else 'worse'}{runs}"


def _why(finding: Finding) -> str:
    """Why it failed; else why it was tried, where that is more than an arm's own sentence."""
    if finding.outcome is not Outcome.MEASURED and finding.reason:
        return f"Reason: {plain_line(finding.reason, MAX_WHY_CHARS)}"
    by_model = not finding.proposal.proposer.startswith(("classic", "baseline"))
    rationale = plain_line(finding.proposal.rationale, MAX_WHY_CHARS) if by_model else ""
    return f"Idea: {rationale}" if rationale else ""


def _merged(notes: Sequence[Note]) -> list[Note]:
    """Notes that were not kept, of one setting or set of settings and one ending, as one; others as they are."""
    found: dict[object, Note] = {}
    for note in notes:
        single = note.kept or note.code or not note.key
        place: object = note.numbers if single else (note.key, note.outcome)
        before = found.pop(place, None)  # behind everything older: it is as new as its newest part
        found[place] = note if before is None else _together(before, note)
    return list(found.values())


def _together(first: Note, second: Note) -> Note:
    best = max((e for e in (first.best_effect, second.best_effect) if e is not None), default=None)
    values = tuple(dict.fromkeys((*first.values, *second.values)))
    tried = " -> " + ", ".join(values[-MAX_MERGED:]) if values and len(first.key) == 1 else ""
    word = "" if best is None else f"at best {abs(best):.4f} {'better' if best > 0 else 'worse'}"
    return replace(
        second,
        numbers=(*first.numbers, *second.numbers),
        what=plain_line(f"{', '.join(first.key)}{tried}", MAX_WHAT_CHARS),
        effect=word,
        why=second.why if second.why.startswith("Reason") else "",
        values=values,
        best_effect=best,
    )
