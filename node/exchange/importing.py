"""A results.tsv as a topic of a home: a brief, and findings signed with a key that is not kept.

Owns what a row becomes. A row is a finding of one trial; its parent is the last one kept before it. Since the key is
gone nobody can add to it, and since there is no text nobody can work on it (node/imported.py): it is to look at.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from gossip.envelope import Record, seal
from gossip.identity import Identity, load_or_create
from node.clock import rfc3339
from node.exchange.code_history import Code
from node.exchange.results_tsv import Row, TableError
from node.home import Home, HomeError
from node.imported import remember_imported
from node.journal import Journal
from swarm.brief import Acceptance, Brief, Corpus, Shard, brief_id, encode_brief, source_sha256
from swarm.finding import Finding, Proposal, Track, Trial, encode_finding
from swarm.space import IntParameter, SearchSpace
from swarm.verdict import Verdict, judge, prior_noise
from swarm.words import BriefId, Decision, FindingId, Operator, Outcome, PeerId

KNOB = "row"  # the one setting: which row it is, so that what cannot be seen to differ is still told apart
PROPOSER = "import"
# Nobody knows another's noise. In autoresearch's published logs one other seed moved the number by 0.0007; a guess that
# is worth two repeats, as everywhere, so that intervals are wide.
NOISE_SD = 0.001
NO_CODE = "# train.py is not known: only the table was imported.\n"
_NOTHING = Shard(sha256="0" * 64, raw_bytes=1, tokens=2)  # the hash of no file: there is no text
_LATEST_SECONDS = 4_102_444_800  # the year 2100; clocks of commits say anything
_TITLE = 120


@dataclass(frozen=True, slots=True)
class Import:
    """What one table comes to, before anything is written."""

    brief: Brief
    brief_bytes: bytes
    records: tuple[Record, ...]
    commits: dict[str, str] = field(repr=False)  # by finding
    findings: tuple[Finding, ...] = field(repr=False)
    with_code: int

    @property
    def brief_id(self) -> BriefId:
        return brief_id(self.brief_bytes)


def check_code(rows: Sequence[Row], found: Mapping[str, Code], repository: Path) -> None:
    """What was kept must be there with its code; what was thrown away often is not. Raises TableError."""
    for row in rows:
        if row.status != "keep":
            continue
        where, code = f"commit {row.commit} (line {row.line}, kept)", found.get(row.commit)
        if code is None:
            raise TableError(f"{where} is not in {repository}; check --git, or leave it out to import without code")
        if code.source is None:
            raise TableError(f"{where} {code.problem}; leave out --git to import without code")
        if not code.on_branch:
            raise TableError(f"{where} is not on the branch that was named; check --branch, or leave it out")


def make_import(
    rows: Sequence[Row], name: str, track: Track, made_at: float, found: Mapping[str, Code] | None = None
) -> Import:
    """`made_at`: when rows without a commit's time are said to be from."""
    identity = Identity(os.urandom(32))  # lives as long as this call
    found = found or {}
    sources = [code.source for row in rows if (code := found.get(row.commit)) and code.source is not None]
    brief = _brief(name, sources[0] if sources else NO_CODE, len(rows), identity.peer_id)
    brief_bytes = encode_brief(brief)
    maker = _Maker(identity, brief, brief_id(brief_bytes), track, found)
    for row in rows:
        maker.add(row, made_at)
    return Import(brief, brief_bytes, tuple(maker.records), maker.commits, tuple(maker.findings), len(sources))


def write_import(home: Home, made: Import, received: float) -> None:
    """Into a home in which no node runs. The brief comes last: until it is there, there is no such topic."""
    with home.lock():
        load_or_create(home.key)
        journal = Journal(home.journal)
        try:
            journal.of(made.brief_id).append_log(made.records, received, made.commits)
        finally:
            journal.close()
        remember_imported(home, made.brief_id, PeerId(made.records[0].author))
        try:
            home.save_brief(made.brief_id, made.brief_bytes)
        except OSError as error:
            raise HomeError(f"cannot write in {home.path}: {error.strerror}; choose a writable --home") from None


def _brief(name: str, source: str, rows: int, author: str) -> Brief:
    """Raises TableError. Its author is in its text, so that two imports of one table are two topics."""
    try:
        return Brief(
            name=name,
            goal=f"Imported from a results.tsv with {rows} rows, to look at. All of it is signed by {author}, whose "
            "key was not kept. Lower is better.",
            editable={"train.py": source},
            base_config={KNOB: 1},
            space=SearchSpace(parameters={KNOB: IntParameter(low=1, high=rows)}),
            corpus=Corpus(documents=1, train=_NOTHING, validation=_NOTHING, sealed=_NOTHING),
            acceptance=Acceptance(noise_sd=NOISE_SD),
        )
    except ValidationError as error:
        raise TableError(f"no topic can be made of it: {error.errors(include_url=False)[0]['msg']}") from None


class _Maker:
    """Makes findings of rows, in their order."""

    def __init__(self, identity: Identity, brief: Brief, id: BriefId, track: Track, found: Mapping[str, Code]) -> None:
        self.records: list[Record] = []
        self.findings: list[Finding] = []
        self.commits: dict[str, str] = {}
        self._identity, self._brief, self._brief_id, self._track, self._found = identity, brief, id, track, found
        self._kept: tuple[FindingId, float, str] | None = None  # its id, number and source
        self._first: dict[str, int] = {}  # commit -> the first row that measured it: the same thing, once more
        self._at = 0.0

    def add(self, row: Row, made_at: float) -> None:
        number, code = len(self.records) + 1, self._found.get(row.commit)
        self._at = max(self._at, min(max(0, code.at), _LATEST_SECONDS) if code else made_at)
        source = self._source(code)
        trial, decision = self._trial(row), _decision(row)
        finding = Finding(
            number=number,
            node_name=f"{self._brief.name} (imported)",
            started_at=rfc3339(self._at),
            proposal=Proposal(
                operator=Operator.IMPROVE if self._kept else Operator.DRAFT,
                proposer=PROPOSER,
                config={KNOB: self._first.setdefault(row.commit, number)},
                source_sha256=source_sha256(source),
                source=None if source == self._brief.source else source,
                parent=self._kept[0] if self._kept else None,
                title=row.description[:_TITLE],
                rationale=row.description if len(row.description) > _TITLE else "",
            ),
            trials=(trial,),
            verdict=self._verdict(trial, decision),
        )
        record = self._seal(finding, number)
        self.commits[record.id] = code.commit if code else row.commit
        if decision is Decision.KEEP and row.val_bpb is not None:
            self._kept = FindingId(record.id), row.val_bpb, source

    def _source(self, code: Code | None) -> str:
        """Where it is not known: that of what it came from."""
        if code is not None and code.source is not None:
            return code.source
        return self._kept[2] if self._kept else self._brief.source

    def _trial(self, row: Row) -> Trial:
        outcome = Outcome.MEASURED if row.val_bpb is not None else Outcome.CRASHED
        return Trial(
            outcome=Outcome.CENSORED if row.status == "censored" else outcome,
            track=self._track,
            seed=0,
            seconds=0.0,
            val_bpb=row.val_bpb,
            peak_memory_bytes=row.memory_bytes,
        )

    def _verdict(self, trial: Trial, decision: Decision) -> Verdict:
        """The table's decision, beside what its numbers say with a noise that is a guess."""
        rule = self._brief.acceptance
        judged = judge((trial,), (self._kept[1],) if self._kept else None, prior_noise(rule), rule)
        return judged.model_copy(update={"decision": decision})

    def _seal(self, finding: Finding, number: int) -> Record:
        previous = self.records[-1].id if self.records else ""
        record = seal(
            self._identity, "finding", self._brief_id, number, previous, int(self._at * 1000), encode_finding(finding)
        )
        self.records.append(record)
        self.findings.append(finding)
        return record


def _decision(row: Row) -> Decision:
    if row.val_bpb is None:
        return Decision.INCONCLUSIVE if row.status == "censored" else Decision.DISCARD
    return Decision(row.status)
