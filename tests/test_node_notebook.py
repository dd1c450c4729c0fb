"""The notebook gives the same ledger whatever the order records come in, and refuses the rest with the right reason."""

import random
import tempfile
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import TRACK, make_brief, make_entry, make_finding, make_trial
from small_lab import ALICE, BOB, BRIEF, BRIEF_ID, ME, PeerLog, notebook_at

from gossip.envelope import Record, seal
from gossip.forks import contradict
from gossip.refusal import RefusalReason
from node.events import Events, FindingReceived, Notice
from node.journal import JournalError
from node.notebook import MAX_INSPIRATIONS_WAITING, CopiedIdentity
from swarm.finding import encode_finding
from swarm.replay import decode_replay
from swarm.words import Decision, Standing


@pytest.fixture
def heard():
    return []


@pytest.fixture
def notebook(tmp_path, heard):
    events = Events()
    events.listen(heard.append)
    notebook = notebook_at(tmp_path / "journal.sqlite", events)
    yield notebook
    notebook.journal.validate()
    notebook.journal.journal.close()


def replay_of(of: str, key: str = "", **changes: object) -> bytes:
    proposal = make_finding(BRIEF).proposal
    fields = {"kind": "replay", "of": of, "key": key or proposal.key, "started_at": "2026-01-01T00:00:00Z"}
    fields |= {"node_name": "eve\x1b[31m", "trial": make_trial(2.0).model_dump(mode="json")}
    return msgpack.packb(fields | changes)


def some_logs():
    """Three authors, two of whom ran the same thing, one crash, one claim (a kind the ledger does not hold)."""
    mine, alice, bob = PeerLog(ME), PeerLog(ALICE), PeerLog(BOB)
    for width in (64, 96, 128):
        mine.finding(2.3 - width / 1000, width=width)
    alice.finding(2.3, width=64)
    alice.sign(b"not looked at", kind="claim")
    alice.finding(None, width=200)
    bob.finding(2.31, width=64)
    bob.finding(1.5, width=96)
    bob.sign(replay_of(alice.records[0].id), kind="replay")
    return [*mine.records, *alice.records, *bob.records]


RECORDS = some_logs()


def view(notebook) -> object:
    """All that can be asked of a ledger."""
    ledger = notebook.ledger
    return (
        [(entry.id, ledger.standing(entry)) for entry in ledger.entries()],
        [one.id for entry in ledger.entries() for one in ledger.replays(entry.id)],
        [entry.id for entry in ledger.measured(track=TRACK)],
        ledger.tried(TRACK),
        [entry.id for entry in notebook.own()],
        notebook.next_number(),
        notebook.journal.heads(),
    )


def view_after(records, own_at: int | None = None) -> object:
    """The view after these records, the journal closed and opened again in between if `own_at` says where."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = notebook_at(Path(folder) / "journal.sqlite")
        for position, record in enumerate(records):
            if position == own_at:
                notebook.journal.journal.close()
                notebook = notebook_at(Path(folder) / "journal.sqlite")
            refusal = notebook.receive(record)
            assert refusal is None or refusal.reason is RefusalReason.KNOWN
        notebook.journal.validate()
        seen = view(notebook)
        notebook.journal.journal.close()
    return seen


EXPECTED = view_after(RECORDS)


@settings(max_examples=30)
@given(st.permutations(RECORDS), st.lists(st.sampled_from(RECORDS), max_size=4), st.integers(0, 12))
def test_any_order_any_repetition_and_a_restart_give_the_same_ledger(records, again, restart_at):
    assert view_after([*records, *again], restart_at) == EXPECTED


def test_own_records_and_peers_interleaved_give_the_ledger_of_the_journal(notebook, tmp_path):
    rng, alice = random.Random(5), PeerLog(ALICE)
    for number in range(12):
        if rng.random() < 0.5:
            notebook.append_own(notebook.seal(make_finding(BRIEF, notebook.next_number(), 2.0)), f"{number:040}")
        else:
            assert notebook.receive(alice.finding(1.9, width=100 + number)) is None
    again = notebook_at(tmp_path / "journal.sqlite")
    assert view(again) == view(notebook)
    again.journal.journal.close()


def test_a_second_record_at_the_same_place_is_equivocation(notebook):
    first, second = PeerLog(ALICE).finding(2.0), PeerLog(ALICE).finding(1.0)
    assert notebook.receive(first) is None
    assert notebook.receive(first).reason is RefusalReason.KNOWN
    refusal = notebook.receive(second)
    assert refusal.reason is RefusalReason.EQUIVOCATION
    assert ALICE.peer_id in refusal.sentence
    assert [(fork.first, fork.second) for fork in notebook.journal.forks()] == [(first, second)]


def two_stories() -> tuple[PeerLog, PeerLog]:
    """Alice says two things after her first record."""
    one, other = PeerLog(ALICE), PeerLog(ALICE)
    one.finding(2.1, width=64)
    other.records.append(one.records[0])
    for log, bpb in ((one, 1.9), (other, 1.7)):
        log.finding(bpb, width=96)
        log.sign(replay_of(RECORDS[0].id), kind="replay")
    return one, other


@settings(max_examples=30)
@given(st.data())
def test_whoever_holds_two_stories_of_an_author_has_the_ledger_without_it_in_any_order(data):
    one, other = two_stories()
    bob = PeerLog(BOB)
    bob.sign(replay_of(one.records[1].id), kind="replay")
    bob.finding(2.0, width=64)
    records = data.draw(st.permutations([*RECORDS[:3], *bob.records, *one.records, *other.records[1:]]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        notebook, honest = notebook_at(path), notebook_at(Path(folder) / "honest.sqlite")
        for record in records:
            notebook.receive(record)
        for record in (*RECORDS[:3], *bob.records):
            honest.receive(record)
        assert view(notebook) == view(honest)
        assert notebook.journal.unwanted() == {ALICE.peer_id}
        assert all(contradict(fork.first, fork.second) for fork in notebook.journal.forks())
        again = notebook_at(path)
        assert view(again) == view(honest)
        for one in (notebook, again, honest):
            one.journal.validate()
            one.journal.journal.close()


def test_an_author_who_contradicts_itself_is_said_once_and_nothing_of_it_is_taken_or_waits(notebook, heard):
    one, other = two_stories()
    for record in one.records:
        notebook.receive(record)
    assert notebook.receive(other.records[1]).reason is RefusalReason.EQUIVOCATION
    assert notebook.receive(one.finding(1.0)).reason is RefusalReason.AUTHOR_EQUIVOCATED
    assert notebook.receive(other.records[2]).reason is RefusalReason.AUTHOR_EQUIVOCATED
    assert notebook.drain() == ()
    (notice,) = [event for event in heard if isinstance(event, Notice)]
    assert "all its findings are ignored" in notice.text
    assert notice.warning


def test_the_next_record_of_another_story_is_a_proof_too(notebook):
    """After a partition the two halves may hold different records number 2, and both get the same number 3."""
    one, other = two_stories()
    for record in one.records[:2]:
        notebook.receive(record)
    assert notebook.receive(other.records[2]).reason is RefusalReason.EQUIVOCATION
    assert len(notebook.ledger) == 0


def at_ms(log: PeerLog, at: int) -> Record:
    """Its next record, made at some time."""
    last = log.records[-1]
    payload = encode_finding(make_finding(BRIEF, last.seq + 1, 2.0))
    log.records.append(seal(log.identity, "finding", BRIEF_ID, last.seq + 1, last.id, at, payload))
    return log.records[-1]


def test_a_copy_of_this_node_that_writes_now_makes_it_step_back_until_the_next_start(notebook, heard, tmp_path):
    own = notebook.append_own(notebook.seal(make_finding(BRIEF, 1, 2.0)), "c" * 40)
    notebook.journal.mark_sent([own.id])
    copy = PeerLog(ME, records=[next(iter(notebook.journal.records()))])
    assert notebook.receive(at_ms(copy, 2**50)) is None, "not a contradiction: its log goes on from ours"
    notebook.receive(at_ms(copy, 2**50))
    (notice,) = [event for event in heard if isinstance(event, Notice)]
    assert "identity is used by another machine, too, right now" in notice.text
    mine = notebook.append_own(notebook.seal(make_finding(BRIEF, 4, 2.0)), "d" * 40)
    assert mine.seq == 4
    assert notebook.journal.unsent() == [], "research goes on, untold"
    assert notebook.journal.heads() == {ME.peer_id: 3}
    assert len(notebook.journal.records_after({}, 10**6)) == 3
    again = notebook_at(tmp_path / "journal.sqlite")
    assert [record.id for record in again.journal.unsent()] == [mine.id], "the copy may be gone"
    assert again.journal.heads() == {ME.peer_id: 4}
    again.journal.journal.close()


def test_two_stories_of_this_node_keep_it_silent_for_good_and_its_findings_its_own(notebook, heard, tmp_path):
    own = notebook.append_own(notebook.seal(make_finding(BRIEF, 1, 2.0)), "c" * 40)
    assert notebook.receive(PeerLog(ME).finding(1.0)).reason is RefusalReason.EQUIVOCATION
    (notice,) = [event for event in heard if isinstance(event, Notice)]
    assert "used by another machine, too, and both have written" in notice.text
    for one in (notebook, notebook_at(tmp_path / "journal.sqlite")):
        more = one.append_own(one.seal(make_finding(BRIEF, 2, 1.9)), "d" * 40)
        assert {own.id, more.id} <= {entry.id for entry in one.own()}
        assert one.journal.unsent() == []
        assert one.journal.heads() == {}
        assert one.journal.records_after({}, 10**6) == []
        assert one.journal.evidence({}, {}) == [], "what was not told stays so"
    one.journal.validate()
    one.journal.journal.close()


async def test_a_record_of_a_copy_that_comes_while_ours_is_written_has_to_wait(notebook):
    sealed = notebook.seal(make_finding(BRIEF, 1, 2.0))
    async with notebook.log_turn:
        assert notebook.receive(PeerLog(ME).finding(1.0)).reason is RefusalReason.INBOX_FULL
        entry = notebook.append_own(sealed, "c" * 40)
    assert entry.seq == 1
    assert notebook.journal.unsent() == []


def payload_of(**changes: object) -> bytes:
    return msgpack.packb(make_finding(BRIEF).model_dump(mode="json") | changes)


def proposal_of(**changes: object) -> dict[str, object]:
    return make_finding(BRIEF).proposal.model_dump(mode="json") | changes


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (msgpack.packb([1]), "finding field"),
        (payload_of(number=0), "number"),
        (payload_of(started_at="yesterday"), "started_at"),
        (payload_of(verdict={"decision": "win", "noise_sd": 0.1}), "verdict.decision"),
        (payload_of(proposal=proposal_of(config={"width": 64})), "is missing"),
        (payload_of(proposal=proposal_of(config={**BRIEF.base_config, "width": 10**9})), "out of range"),
        (payload_of(proposal=proposal_of(config={**BRIEF.base_config, "evil": 1})), "unknown config key"),
        (payload_of(proposal=proposal_of(source_sha256="0" * 64)), "does not carry it"),
        (payload_of(proposal=proposal_of(source="print()")), "hash"),
        (payload_of(trials=[]), "trials"),
        (payload_of(padding="x" * 70_000), "larger than"),
    ],
)
def test_wrong_content_is_refused_and_kept_without_a_word(notebook, heard, payload, words):
    record = PeerLog().sign(payload)
    refusal = notebook.receive(record)
    assert refusal.reason is RefusalReason.CONTENT
    assert words in refusal.sentence
    assert "\n" not in refusal.sentence
    assert list(notebook.journal.records()) == [record], "a log with a gap could not be handed on"
    assert notebook.receive(record).reason is RefusalReason.KNOWN
    assert (len(notebook.ledger), notebook.drain(), heard) == (0, (), [])


@pytest.mark.parametrize("kind", ["brief", "claim", "note", "kind-of-next-year"])
def test_another_kind_is_kept_unread_so_that_its_authors_log_has_no_gap(notebook, heard, kind):
    alice = PeerLog()
    assert notebook.receive(alice.sign(b"\xc1 whatever", kind=kind)) is None
    assert notebook.receive(alice.finding()) is None
    assert notebook.journal.heads() == {ALICE.peer_id: 2}
    assert len(notebook.ledger) == 1
    assert [type(event) for event in heard] == [FindingReceived]


def trial_of(**changes: object) -> dict[str, object]:
    return make_trial(2.0).model_dump(mode="json") | changes


POINT = {"step": 1, "seconds": 0.1, "train_loss": 5.0}


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (msgpack.packb([1]), "replay field"),
        (replay_of("no id"), "of"),
        (replay_of("e" * 64, key="short"), "key"),
        (replay_of("e" * 64, started_at="yesterday"), "started_at"),
        (replay_of("e" * 64, steps=0), "steps"),
        (replay_of("e" * 64, curve_deviation=-1.0), "curve_deviation"),
        (replay_of("e" * 64, curve_deviation=float("nan")), "not a replay"),
        (replay_of("e" * 64, trial=trial_of(val_bpb=None)), "trial"),
        (replay_of("e" * 64, trial=trial_of(val_bpb=float("inf"))), "not a replay"),
        (replay_of("e" * 64, trial=trial_of(val_bpb=1e9)), "val_bpb"),
        (replay_of("e" * 64, trial=trial_of(track={"hardware_class": "x", "budget_seconds": 1e99})), "budget_seconds"),
        (replay_of("e" * 64, trial=trial_of(curve=[POINT] * 41)), "curve"),
        (replay_of("e" * 64, node_name="x" * 41), "node_name"),
        (replay_of("e" * 64, padding="x" * 70_000), "larger than"),
        (replay_of("e" * 64, kind="finding"), "kind"),
    ],
)
def test_a_wrong_replay_is_refused_and_kept_without_a_word(notebook, heard, payload, words):
    record = PeerLog().sign(payload, kind="replay")
    refusal = notebook.receive(record)
    assert refusal.reason is RefusalReason.CONTENT
    assert words in refusal.sentence
    assert "\n" not in refusal.sentence
    assert list(notebook.journal.records()) == [record], "a log with a gap could not be handed on"
    assert (notebook.ledger.replays("e" * 64), notebook.drain(), heard) == ([], (), [])


@pytest.mark.parametrize("finding_first", [True, False])
def test_a_peers_replay_counts_whichever_comes_first_and_after_a_restart(notebook, heard, tmp_path, finding_first):
    finding = PeerLog(ALICE).finding(2.0)
    replay = PeerLog(BOB).sign(replay_of(finding.id), kind="replay")
    for record in (finding, replay) if finding_first else (replay, finding):
        assert notebook.receive(record) is None
    (entry,) = notebook.ledger.entries()
    assert notebook.ledger.standing(entry) is Standing.CONFIRMED
    assert [one.id for one in notebook.ledger.replays(entry.id)] == [replay.id]
    assert [type(event) for event in heard] == [FindingReceived]
    assert [waiting.id for waiting in notebook.drain()] == [finding.id], "a replay inspires nobody"
    again = notebook_at(tmp_path / "journal.sqlite")
    assert again.ledger.standing(entry) is Standing.CONFIRMED
    again.journal.journal.close()


def test_a_replay_of_what_nobody_knows_or_of_something_else_changes_nothing(notebook):
    finding, bob = PeerLog(ALICE).finding(2.0), PeerLog(BOB)
    notebook.receive(finding)
    track = {"hardware_class": "cpu-other-8", "budget_seconds": 10.0}
    for payload in (
        replay_of("e" * 64),
        replay_of(finding.id, key="f" * 64),
        replay_of(finding.id, trial=trial_of(track=track)),
        replay_of(finding.id, steps=9, curve_deviation=0.0),
        replay_of(finding.id, trial=trial_of(condition="contended")),
        replay_of(finding.id, trial=trial_of(outcome="crashed", val_bpb=None)),
    ):
        assert notebook.receive(bob.sign(payload, kind="replay")) is None
    (entry,) = notebook.ledger.entries()
    assert notebook.ledger.standing(entry) is Standing.CLAIMED


def test_one_who_replays_himself_confirms_nothing(notebook):
    alice = PeerLog(ALICE)
    finding = alice.finding(2.0)
    notebook.receive(finding)
    notebook.receive(alice.sign(replay_of(finding.id), kind="replay"))
    (entry,) = notebook.ledger.entries()
    assert notebook.ledger.standing(entry) is Standing.CLAIMED
    assert notebook.ledger.score(entry).trials == 2


def test_who_replays_a_finding_of_ours_is_said_in_one_harmless_line(notebook, heard):
    own = notebook.append_own(notebook.seal(make_finding(BRIEF, 1, 2.0)), "c" * 40)
    notebook.receive(PeerLog(BOB).sign(replay_of(own.id), kind="replay"))
    assert [event.text for event in heard] == ["eve replayed #1: 2.0000; it is confirmed"]


def test_an_own_replay_is_in_the_journal_before_anybody_is_woken_and_has_no_commit(notebook):
    own = notebook.append_own(notebook.seal(make_finding(BRIEF, 1, 2.0)), "c" * 40)
    seen: list[list[str]] = []
    notebook.when_own(lambda: seen.append([record.kind for record in notebook.journal.unsent()]))
    made = notebook.append_replay(decode_replay(replay_of(own.id)))
    assert seen == [["finding", "replay"]]
    assert (made.seq, made.author) == (2, ME.peer_id)
    assert notebook.journal.journal.commits() == {own.id: "c" * 40}
    assert notebook.seal(make_finding(BRIEF, 2, 2.0)).prev == made.id


def test_a_record_of_another_brief_has_no_place_in_this_journals_topic(tmp_path, notebook):
    other = notebook_at(tmp_path / "journal.sqlite", brief=make_brief("print('other')\n"))
    record = other.seal(make_finding(make_brief("print('other')\n"), 1, 2.0))
    other.append_own(record, "c" * 40)
    assert notebook.next_number() == 1
    assert other.next_number() == 2
    assert len(notebook.ledger) == 0
    other.journal.journal.close()


def test_own_records_that_come_back_are_ours_again_and_inspire_nobody(notebook, heard):
    """A home restored from a backup gets its own log from its peers."""
    mine = PeerLog(ME)
    for number in range(1, 4):
        mine.finding(2.0, width=60 + number)
    for record in reversed(mine.records):
        assert notebook.receive(record) is None
    assert [entry.finding.number for entry in notebook.own()] == [1, 2, 3]
    assert notebook.next_number() == 4
    assert notebook.drain() == ()
    assert [type(event) for event in heard] == [Notice], "said once: it may be a copied home"
    assert notebook.journal.unsent() == [], "peers have them"
    sealed = notebook.seal(make_finding(BRIEF, 4, 2.0))
    assert (sealed.seq, sealed.prev) == (4, mine.records[-1].id)


def test_an_own_finding_is_in_the_journal_before_anybody_is_woken(notebook, tmp_path):
    seen: list[list[str]] = []
    notebook.when_own(lambda: seen.append([record.id for record in notebook.journal.unsent()]))
    record = notebook.seal(make_finding(BRIEF, 1, 2.0))
    assert list(notebook.journal.records()) == []
    notebook.append_own(record, "c" * 40)
    assert seen == [[record.id]]
    assert notebook.journal.journal.commits() == {record.id: "c" * 40}


def test_a_place_of_our_log_that_somebody_took_is_a_copied_identity(notebook):
    sealed = notebook.seal(make_finding(BRIEF, 1, 2.0))
    notebook.receive(PeerLog(ME).finding(1.0))
    with pytest.raises(CopiedIdentity, match=r"another node writes with the key of this one \(record 1 of 12D3KooW"):
        notebook.append_own(sealed, "c" * 40)
    assert sealed.id not in notebook.ledger


def test_a_wrong_record_is_left_aside_at_the_next_start_too(notebook, tmp_path):
    alice = PeerLog()
    notebook.receive(alice.sign(b"nonsense"))
    notebook.receive(alice.finding())
    again = notebook_at(tmp_path / "journal.sqlite")
    assert view(again) == view(notebook)
    assert len(again.ledger) == 1
    again.journal.journal.close()


def test_drain_gives_the_newest_once_and_put_back_gives_them_again(notebook):
    alice = PeerLog()
    for width in range(40, 60):
        notebook.receive(alice.finding(width=width))
    drained = notebook.drain(16)
    assert [entry.seq for entry in drained] == list(range(5, 21))
    assert notebook.drain() == ()
    notebook.receive(alice.finding(width=90))
    notebook.put_back(drained)
    assert [entry.seq for entry in notebook.drain(100)] == list(range(5, 22)), "older ones first again"


def test_what_waits_is_bounded_and_the_newest_stay(notebook):
    alice, entries = PeerLog(), []
    for number in range(1, 21):
        notebook.receive(alice.finding(number=number))
    entries = notebook.drain(20)
    full = tuple(entries[:1]) * MAX_INSPIRATIONS_WAITING
    notebook.put_back(full)
    newest = alice.finding(1.5)
    notebook.receive(newest)
    notebook.put_back(entries)
    waiting = notebook.drain(10_000)
    assert len(waiting) == MAX_INSPIRATIONS_WAITING
    assert waiting[-1].id == newest.id


def test_what_a_peer_calls_itself_is_made_harmless_before_it_becomes_an_event(notebook, heard):
    made = make_finding(BRIEF).model_copy(update={"node_name": "\x1b]0;owned\x07eve\u202e\n"})
    proposal = made.proposal.model_copy(update={"title": "[red]\x1b[2J\x9b31mbest\r\nrun"})
    notebook.receive(PeerLog().sign(encode_finding(made.model_copy(update={"proposal": proposal}))))
    assert (heard[0].name, heard[0].title) == ("eve", "[red]best run")


def test_a_journal_that_cannot_be_written_changes_nothing(notebook, tmp_path):
    notebook.journal.journal.execute(
        "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(FAIL, 'full'); END"
    )
    with pytest.raises(JournalError, match="full"):
        notebook.receive(PeerLog().finding())
    with pytest.raises(JournalError, match="full"):
        notebook.append_own(notebook.seal(make_finding(BRIEF)), "c" * 40)
    assert len(notebook.ledger) == 0
    assert notebook.drain() == ()
    assert notebook.next_number() == 1


def test_a_seal_is_the_next_of_our_log_also_above_a_gap(notebook):
    notebook.receive(
        seal(ME, "finding", notebook.journal.brief, 3, "d" * 64, 5, encode_finding(make_finding(BRIEF, 3)))
    )
    assert notebook.seal(make_finding(BRIEF, 4)).seq == 4


def test_in_a_large_swarm_only_improvements_and_evidence_are_news(notebook, monkeypatch):
    parent = make_entry(make_finding(BRIEF, 1, 2.0))
    kept, discarded = (
        notebook.append_own(notebook.seal(make_finding(BRIEF, n, bpb, parent=parent, width=w)), "c" * 40)
        for n, bpb, w in ((1, 1.5, 64), (2, 2.5, 128))
    )
    assert [one.finding.verdict.decision for one in (kept, discarded)] == [Decision.KEEP, Decision.DISCARD]
    records = {one.id: notebook.journal.record(one.id) for one in (kept, discarded)}
    replay = notebook.append_replay(decode_replay(replay_of(kept.id)))
    assert all(notebook.is_news(record) for record in records.values()), "a small swarm hears everything"
    monkeypatch.setattr("node.notebook.SMALL_SWARM", 0)
    assert notebook.is_news(records[kept.id])
    assert not notebook.is_news(records[discarded.id])
    assert notebook.is_news(notebook.journal.record(replay.id))
