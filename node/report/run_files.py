"""What a finding adds to its branch, as file names and bytes: the run folder, results.tsv, the branch's best, README.

Pure text rendering (and pictures, by `curve_plot`): reads no file and runs no git. Everything a peer or a model wrote
is cleaned on its way in; only `train.py` and `record.bin` hold exact bytes, because their hashes must hold.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.proposers.spending import Usage
from node.report.branch_page import branch_page
from node.report.finding_json import finding_json
from node.report.notes_page import notes_page
from node.report.patch import config_text, text_diff
from node.report.pictures import RunPoint, curve_png, progress_png
from node.report.run_page import run_page
from node.report.run_words import (
    best_kept,
    bpb_words,
    change_words,
    result_words,
    run_folder,
    status,
    status_or_outcome,
)
from node.text import clean
from node.trials.gradients import GradientNorms
from swarm.brief import Brief
from swarm.finding import CurvePoint
from swarm.ledger import Entry
from swarm.words import BriefId, FindingId, Outcome, Standing

__all__ = ["RunMaterial", "commit_message", "commit_trailers", "finding_json", "run_files", "run_folder"]

_MAX_LOG_CHARACTERS = 200_000
_MAX_CURVE_ROWS = 5_000
_COMMIT_DIGITS = 10  # git finds a commit by these among a million objects
_TSV_HEADER = "commit\tval_bpb\tmemory_gb\tstatus\tdescription"  # the five columns that autoresearch users know


@dataclass(frozen=True, slots=True)
class RunMaterial:
    """Everything the files of one finding are made of."""

    entry: Entry  # the finding, signed and numbered
    record_frame: bytes  # the signed record: whoever has the branch can check the author
    brief: Brief
    brief_id: BriefId
    parent: Entry | None
    earlier: Sequence[Entry]  # own findings of the topic before this one, in the order of their numbers
    commits: Mapping[FindingId, str]  # commit hashes of `earlier`, as far as known
    inspirations: Sequence[Entry] = ()
    curve: Sequence[CurvePoint] = ()  # the full one; empty: the finding's own
    log: str = ""
    program: str = ""  # what the node's owner wants researched; empty: the brief's goal
    steering: str = ""  # what is pinned and banned, as a file; empty: no file
    model_usage: Usage | None = None  # what a language model took for it
    gradients: GradientNorms | None = None  # of its first trial, as the script said
    standing: Standing = Standing.CLAIMED

    @property
    def runs(self) -> list[Entry]:
        return [*self.earlier, self.entry]

    @property
    def full_curve(self) -> Sequence[CurvePoint]:
        return self.curve or self.entry.finding.trials[0].curve


def run_files(material: RunMaterial) -> dict[str, bytes]:
    """Every file of the commit of one finding, by path in the branch. Takes some tenths of a second: use a thread."""
    return _run_folder_files(material) | _branch_files(material)


def commit_message(material: RunMaterial) -> str:
    """Subject, and the proposal's reason as body. One paragraph: trailers cannot be smuggled in."""
    finding = material.entry.finding
    change = "" if finding.verdict.effect is None else f"({change_words(finding)})"
    result = "" if finding.val_bpb is None else f"{bpb_words(finding.val_bpb)} {change}"
    title = clean(finding.proposal.title, 120)
    subject = clean(f"{finding.number:04d} {status_or_outcome(finding)} {result} {title}", 110)
    body = clean(" ".join(filter(None, (finding.reason, finding.proposal.rationale))), 1500)
    return subject + ("\n\n" + textwrap.fill(body, 72) if body else "")


def commit_trailers(material: RunMaterial) -> dict[str, str]:
    finding = material.entry.finding
    trailers = {
        "Finding-Id": material.entry.id,
        "Parent-Id": finding.proposal.parent or "",
        "Val-Bpb": "" if finding.val_bpb is None else f"{finding.val_bpb:.6f}",
        "Verdict": finding.verdict.decision.value,
        "Hardware": finding.track.hardware_class,
        "Budget-Seconds": f"{finding.track.budget_seconds:g}",
        "Outcome": finding.outcome.value,
        "Run": run_folder(finding),
    }
    return {key: value for key, value in trailers.items() if value}


def _run_folder_files(material: RunMaterial) -> dict[str, bytes]:
    finding = material.entry.finding
    topic, curve = material.brief.name, material.full_curve
    usage = material.model_usage
    fact_sheet = finding_json(material.entry, material.standing, None, topic, material.brief_id, usage)
    fact_sheet |= {"gradient_norm": None if material.gradients is None else material.gradients.model_dump()}
    title = f"run {finding.number}: {clean(finding.proposal.title, 70)}"
    files = {
        "config.json": config_text(finding.proposal.config).encode(),
        "result.json": (json.dumps(fact_sheet, indent=2, ensure_ascii=False) + "\n").encode(),
        "curve.csv": _curve_csv(curve).encode(),
        "curve.png": curve_png(curve, title, finding.val_bpb, finding.track.budget_seconds),
        "report.md": run_page(material.entry, material.parent, material.inspirations, material.brief).encode(),
        "patch.diff": _patch(material).encode(),
        "log.txt": _log(material.log).encode(),
        "record.bin": material.record_frame,
    }
    if finding.proposal.source_sha256 != material.brief.source_sha256:
        files["train.py"] = _source(material.entry, material.brief).encode()
    return {f"{run_folder(finding)}/{name}": data for name, data in files.items()}


def _branch_files(material: RunMaterial) -> dict[str, bytes]:
    finding, brief, runs = material.entry.finding, material.brief, material.runs
    best = best_kept(runs, finding.track)
    same_track = [entry.finding for entry in runs if entry.track == finding.track]
    points = [RunPoint(one.number, status(one), one.val_bpb) for one in same_track]
    title = f"{brief.name} on {finding.track.hardware_class}, {finding.track.budget_seconds:g} s a run"
    # Written every time, not only when the best moves: the same bytes cost git nothing, and a gap heals itself.
    source = _source(best, brief) if best else brief.source
    config = best.finding.proposal.config if best else brief.base_config
    steering = {"steering.toml": clean(material.steering, 64_000, lines=True).encode()} if material.steering else {}
    return steering | {
        "README.md": branch_page(material.entry, runs, best, material.commits, brief).encode(),
        "program.md": clean(material.program or brief.goal, 16_000, lines=True).encode() + b"\n",
        "NOTES.md": notes_page(runs).encode(),
        "results.tsv": _results_tsv(runs, material.commits).encode(),
        "progress.png": progress_png(points, title),
        "train.py": source.encode(),
        "config.json": config_text(config).encode(),
    }


def _source(entry: Entry, brief: Brief) -> str:
    return entry.finding.proposal.source if entry.finding.proposal.source is not None else brief.source


def _patch(material: RunMaterial) -> str:
    """Against the parent; without one, against the brief's train.py and no config."""
    proposal, parent = material.entry.finding.proposal, material.parent
    before = config_text(parent.finding.proposal.config) if parent else None
    source_before = _source(parent, material.brief) if parent else material.brief.source
    source_diff = text_diff("train.py", source_before, _source(material.entry, material.brief))
    return text_diff("config.json", before, config_text(proposal.config)) + source_diff


def _results_tsv(runs: Sequence[Entry], commits: Mapping[FindingId, str]) -> str:
    """One row a run. A commit cannot hold its own hash: the newest row says HEAD until the next commit."""
    rows = [tsv_row(entry, commits.get(entry.id, "")[:_COMMIT_DIGITS]) for entry in runs[:-1]]
    return "\n".join([_TSV_HEADER, *rows, tsv_row(runs[-1], "HEAD")]) + "\n"


def tsv_row(entry: Entry, commit: str) -> str:
    """A run in autoresearch's five columns."""
    finding = entry.finding
    # A run without a result has an empty val_bpb: autoresearch's habit, 0.000000, sorts a crash as the best of all.
    val_bpb = "" if finding.val_bpb is None else f"{finding.val_bpb:.6f}"
    memory_gb = f"{finding.trials[0].peak_memory_bytes / 2**30:.2f}"
    ending = "" if finding.outcome is Outcome.MEASURED else f" ({result_words(finding)})"
    return "\t".join((commit, val_bpb, memory_gb, status(finding), clean(finding.proposal.title, 120) + ending))


def _curve_csv(curve: Sequence[CurvePoint]) -> str:
    stride = max(1, -(-len(curve) // _MAX_CURVE_ROWS))
    rows = [f"{point.step},{point.seconds:.3f},{point.train_loss:.6g}" for point in curve[::stride]]
    return "\n".join(["step,seconds,train_loss", *rows]) + "\n"


def _log(log: str) -> str:
    """Beginning and end of what the run printed: a traceback stands at the end."""
    kept = clean(log[: _MAX_LOG_CHARACTERS // 4], _MAX_LOG_CHARACTERS, lines=True)
    if len(log) > _MAX_LOG_CHARACTERS:
        tail = clean(log[-_MAX_LOG_CHARACTERS * 3 // 4 :], _MAX_LOG_CHARACTERS, lines=True)
        return f"{kept}\n[... {len(log) - _MAX_LOG_CHARACTERS} characters left out ...]\n{tail}"
    return clean(log, _MAX_LOG_CHARACTERS, lines=True)
