"""Makes a trial a finding that stays: signed record, one commit on the branch, then the journal.

The order makes a kill at any instant harmless. Before the commit nothing has happened; the commit carries the signed
record, so that one which never reached the journal is taken from the branch at the next start (`recover`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import trio

from gossip.envelope import Record, open_frame
from gossip.refusal import Refused
from node.events import Events
from node.journal import JournalError
from node.notebook import Notebook, entry_of
from node.proposers.spending import Spending, Usage
from node.report.run_files import RunMaterial, commit_message, commit_trailers, run_files
from node.results.repository import Results, ResultsError
from node.room import Room
from node.steering import Helm, steering_text
from node.trials.trainer import TrialReport
from swarm.finding import Finding
from swarm.ledger import Entry
from swarm.words import BriefId, FindingId

TIDY_EVERY = 200  # findings; git packs some four hundred commits of ours in seconds


class ModelSide(Protocol):
    """What a language model leaves behind."""

    @property
    def spending(self) -> Spending: ...
    def branch_files(self) -> dict[str, bytes]: ...


class Recorder:
    """Owns the way from a finished trial to a committed and journalled finding."""

    def __init__(
        self,
        notebook: Notebook,
        results: Results,
        room: Room,
        events: Events,
        helm: Helm | None = None,
        model: ModelSide | None = None,
    ) -> None:
        self._notebook = notebook
        self._helm = helm
        self._room = room
        self._results = results
        self._events = events
        self._model = model
        self._said = ""

    async def record(self, finding: Finding, reports: Sequence[TrialReport]) -> tuple[Entry, str]:
        """Seal, commit, journal. Returns the entry and its commit.

        Takes under a second and is not cancelled half-way. Only waiting for room on a full disk is.
        """
        with trio.CancelScope(shield=True):
            await self._notebook.log_turn.acquire()
        try:
            sealed, commit = self._notebook.seal(finding), ""
            usage = self._usage(finding, FindingId(sealed.id))
            while True:
                try:
                    with trio.CancelScope(shield=True):
                        commit = commit or await self._commit(sealed, reports, usage)
                        entry = self._notebook.append_own(sealed, commit)
                        await self._keep_tidy(entry)
                        return entry, commit
                except (ResultsError, JournalError):
                    if self._room.lacking() is None:
                        raise
                await self._room.wait()
        finally:
            self._notebook.log_turn.release()

    def _usage(self, finding: Finding, id: FindingId) -> Usage | None:
        """What a language model took for it. Written down before the commit says it."""
        if self._model is None:
            return None
        usage = self._model.spending.of_proposal(finding.proposal.key)
        self._model.spending.settle(finding.proposal.key, id)
        return usage

    async def _commit(self, sealed: Record, reports: Sequence[TrialReport], usage: Usage | None) -> str:
        material = replace(self._material(sealed, reports), model_usage=usage)
        files = await trio.to_thread.run_sync(run_files, material)
        files |= self._model.branch_files() if self._model is not None else {}
        at = sealed.at_ms / 1000
        return await self._results.commit(files, commit_message(material), commit_trailers(material), at)

    async def _keep_tidy(self, entry: Entry) -> None:
        if entry.finding.number % TIDY_EVERY == 0:
            await self._results.tidy()
        if self._results.work_tree_note and self._results.work_tree_note != self._said:
            self._said = self._results.work_tree_note
            self._events.notice(self._said)

    def _material(self, record: Record, reports: Sequence[TrialReport]) -> RunMaterial:
        ledger = self._notebook.ledger
        entry = entry_of(record, self._notebook.brief)
        proposal = entry.finding.proposal
        return RunMaterial(
            entry=entry,
            record_frame=record.frame,
            brief=self._notebook.brief,
            brief_id=BriefId(record.brief),
            parent=ledger.get(proposal.parent),
            earlier=self._notebook.own(),
            commits={FindingId(id): commit for id, commit in self._notebook.journal.journal.commits().items()},
            inspirations=[known for id in proposal.inspirations if (known := ledger.get(id)) is not None],
            curve=reports[0].curve,
            gradients=reports[0].gradients,
            log="\n".join(report.log for report in reports),
            program=self._helm.program if self._helm else self._notebook.brief.goal,
            steering=steering_text(self._helm.steering) if self._helm else "",
        )


async def recover(notebook: Notebook, results: Results, events: Events) -> int:
    """Bring findings that are committed but not in the journal into it. Returns how many."""
    known = notebook.journal.journal.commits()
    lost = [
        commit
        for commit in await results.history()
        if "Finding-Id" in commit.trailers and commit.trailers["Finding-Id"] not in known
    ]
    found = 0
    for commit in reversed(lost):  # oldest first: our log has an order
        folder = commit.trailers.get("Run", "")
        try:
            record = open_frame(await results.read(f"{folder}/record.bin", commit.hash))
        except (Refused, ResultsError) as error:
            events.notice(f"commit {commit.hash[:10]} holds no valid record ({error}); left aside", warning=True)
            continue
        if record.author != notebook.me or record.brief != notebook.journal.brief:
            continue
        held = notebook.journal.at(record.author, record.seq)
        if held is None:
            notebook.append_own(record, commit.hash)
            found += 1
        elif held == record.id:  # killed after the journal had the record, before it had the commit
            notebook.journal.journal.remember_commit(record.id, commit.hash)
        else:
            text = f"commit {commit.hash[:10]} has another record {record.seq} of ours than the journal; left aside"
            events.notice(text, warning=True)
    return found
