"""A winning line of findings as a clean branch: one commit for each change that was kept, with what it brought.

Owns what the branch holds and its commits' words. Which findings lead to the best is the caller's to say.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from node.report.patch import config_text
from node.report.run_words import bpb_words, effect_words
from node.results.git import Git, GitFailed, ResultsError
from node.text import clean
from swarm.brief import Brief
from swarm.ledger import Entry
from swarm.words import Decision, PeerId, short

DEFAULT_BRANCH = "final/{topic}-{finding}"
_NOT_OURS = ("nodes/",)  # branches of nodes hold what was found; nobody rewrites them


@dataclass(frozen=True, slots=True)
class Step:
    """One commit to be."""

    files: Mapping[str, str]
    subject: str
    body: str
    trailers: Mapping[str, str] = field(default_factory=dict[str, str])
    author: str = ""  # of the finding: a name that is fit for git
    peer: str = ""
    at: float = 0.0  # seconds since the epoch


def steps_to(path: Sequence[Entry], brief: Brief) -> list[Step]:
    """The start, then what was kept on the way; `path` is oldest first. A finding that changes no file is left out."""
    at = path[0].at_ms / 1000
    files = _files(brief.source, config_text(brief.base_config))
    program = {"program.md": clean(brief.goal, 16_000, lines=True) + "\n"}
    start = Step(files | program, f"{brief.name}: where it begins", "train.py and config.json of the brief.", at=at)
    steps = [start]
    for entry in path:
        proposal, is_last = entry.finding.proposal, entry is path[-1]
        after = _files(proposal.source or brief.source, config_text(proposal.config))
        kept = entry.finding.verdict.decision is Decision.KEEP and entry.val_bpb is not None
        if after == files or not (kept or is_last):
            continue
        changed = {name: text for name, text in after.items() if files[name] != text}
        files = after
        steps.append(_step(entry, changed))
    return steps


def _files(source: str, config: str) -> dict[str, str]:
    return {"train.py": source, "config.json": config}


def _step(entry: Entry, files: Mapping[str, str]) -> Step:
    finding = entry.finding
    title = clean(finding.proposal.title, 100) or f"run {finding.number}"
    result = f"val_bpb {bpb_words(entry.val_bpb)}"
    told = f"{result}, {effect_words(finding)}." if finding.verdict.effect is not None else f"{result}."
    trailers = {"Finding-Id": entry.id, "Val-Bpb": bpb_words(entry.val_bpb), "Proposer": finding.proposal.proposer}
    name = re.sub(r"[<>]", "", clean(finding.node_name, 40)).strip(" .,:;\"\\'") or f"node {short(entry.author)}"
    body = "\n\n".join(filter(None, (told, clean(finding.proposal.rationale, 1000))))
    return Step(files, title, body, trailers, name, entry.author, entry.at_ms / 1000)


async def finalize_branch(repository: Path, branch: str, steps: Sequence[Step], me: PeerId) -> list[dict[str, str]]:
    """Write the branch, whole or not at all. Hash and subject of each commit, oldest first.

    Raises ResultsError: a name that is taken, is none, or belongs to a node; no repository.
    """
    git, ref = Git(repository), f"refs/heads/{branch}"
    if not (repository / ".git").exists():
        raise ResultsError(f"there is no results repository at {repository} yet: start a node with swarm launch")
    if branch.startswith(("-", *_NOT_OURS)) or not await _is_name(git, ref):
        raise ResultsError(f"{clean(branch, 80)!r} cannot name the branch: choose another with --branch")
    if await git.run("for-each-ref", ref):
        raise ResultsError(f"branch {branch} is there already: git branch -D it, or choose another with --branch")
    try:
        stream = b"".join(_commit(ref, step, me, first=number == 0) for number, step in enumerate(steps))
        await git.run("fast-import", "--quiet", "--done", "--date-format=raw", stdin=stream + b"done\n")
    except GitFailed as failure:
        raise ResultsError(f"the branch could not be written to {repository}: {failure.line}") from None
    told = (await git.run("log", "--reverse", "--format=%H%x00%s", ref)).decode().splitlines()
    return [{"hash": line.partition("\0")[0], "subject": line.partition("\0")[2]} for line in told]


async def _is_name(git: Git, ref: str) -> bool:
    try:
        await git.run("check-ref-format", ref)
    except GitFailed:
        return False
    return True


def _commit(ref: str, step: Step, me: PeerId, *, first: bool) -> bytes:
    last = "\n".join(f"{key}: {clean(value, 200)}" for key, value in step.trailers.items())
    message = "\n\n".join(filter(None, (step.subject, step.body, last))).encode() + b"\n"
    person = f"{step.author or 'research-swarm'} <{step.peer or me}@swarm.invalid> {max(0, int(step.at))} +0000"
    head = f"{'reset ' + ref + chr(10) if first else ''}commit {ref}\nauthor {person}\ncommitter {person}\n"
    files = b"".join(
        f"M 100644 inline {name}\ndata {len(octets)}\n".encode() + octets + b"\n"
        for name, octets in ((name, text.encode()) for name, text in step.files.items())
    )
    return f"{head}data {len(message)}\n".encode() + message + b"\n" + files + b"\n"
