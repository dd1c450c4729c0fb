"""The journal keeps signed bytes as they came, survives being cut short, and is what gossip's catch-up reads from."""

import gc
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from gossip.envelope import seal
from gossip.forks import NO_MORE
from gossip.heard import Heard, Way
from gossip.identity import Identity
from node.journal import _STEPS, Journal, JournalError
from node.sealed import SealedScore
from swarm.trial import Track
from swarm.words import BriefId, FindingId

BRIEF = "b" * 64
ALICE = Identity(b"\x01" * 32)
BOB = Identity(b"\x02" * 32)


def log_of(identity: Identity, count: int, payload_bytes: int = 10):
    records, previous = [], ""
    for seq in range(1, count + 1):
        record = seal(identity, "finding", BRIEF, seq, previous, 1_000 + seq, bytes([seq % 256]) * payload_bytes)
        records.append(record)
        previous = record.id
    return records


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.of(BRIEF).validate()
    journal.close()


def test_frames_come_back_byte_for_byte_in_order_of_arrival(journal):
    topic = journal.of(BRIEF)
    records = [*log_of(ALICE, 3), *log_of(BOB, 2)]
    for record in records:
        assert topic.append(record, received=1.0, own=False)
    assert [r.frame for r in topic.records()] == [r.frame for r in records]
    assert journal.briefs() == [BRIEF]


def test_a_whole_log_is_stored_or_nothing_of_it(journal):
    topic, records = journal.of(BRIEF), log_of(ALICE, 3)
    with pytest.raises(AssertionError, match="is here already"):
        topic.append_log([*records, records[0]], 1.0, {records[0].id: "c0ffee"})
    assert (journal.briefs(), journal.commits(), topic.heads()) == ([], {}, {})
    topic.append_log(records, 1.0, {records[0].id: "c0ffee"})
    assert [r.frame for r in topic.records()] == [r.frame for r in records]
    assert (topic.heads(), topic.unsent()) == ({ALICE.peer_id: 3}, []), "others' records are never told as ours"
    assert journal.commits() == {records[0].id: "c0ffee"}


def test_a_place_in_a_log_is_taken_once(journal):
    topic = journal.of(BRIEF)
    first = log_of(ALICE, 1)[0]
    other = seal(ALICE, "finding", BRIEF, 1, "", 5, b"another")
    assert topic.append(first, received=1.0, own=False)
    assert not topic.append(first, received=2.0, own=False)
    assert not topic.append(other, received=2.0, own=False)
    assert topic.at(ALICE.peer_id, 1) == first.id
    assert topic.at(ALICE.peer_id, 2) is None


@pytest.mark.parametrize("seed", range(5))
def test_heads_move_over_what_is_contiguous_in_any_order(journal, seed):
    records = log_of(ALICE, 12)
    random.Random(seed).shuffle(records)
    topic, held = journal.of(BRIEF), set()
    for record in records:
        topic.append(record, received=1.0, own=False)
        held.add(record.seq)
        head = next(n for n in range(14) if n + 1 not in held)
        assert topic.heads() == ({ALICE.peer_id: head} if head else {})
    assert journal.of(BRIEF).heads() == topic.heads()  # the same after a restart


@pytest.mark.parametrize("seed", range(5))
def test_what_is_answered_from_heads_is_what_the_tables_say(journal, seed):
    """In order, with gaps, and in order again once they are closed."""
    records = [*log_of(ALICE, 8), *log_of(BOB, 8)]
    random.Random(seed).shuffle(records)
    records[4:4] = log_of(Identity(b"\x03" * 32), 4)
    topic, held = journal.of(BRIEF), dict[str, dict[int, str]]()
    for record in records:
        assert topic.contradicted(record) is None
        topic.append(record, received=1.0, own=False)
        held.setdefault(record.author, {})[record.seq] = record.id
        for author, log in held.items():
            assert [topic.at(author, seq) for seq in range(1, 10)] == [log.get(seq) for seq in range(1, 10)]
            assert topic.last(author) == (max(log), log[max(log)])
            head = topic.heads().get(author, 0)
            assert topic.tips([author]) == ({author: bytes.fromhex(log[head])[:8]} if head else {})
    wrong = seal(ALICE, "finding", BRIEF, 9, "d" * 64, 5, b"?")
    assert topic.contradicted(wrong) is not None, "also when it would be the next"


def test_heads_are_as_they_are_at_any_time_and_nobody_elses_to_change(journal):
    topic, alice = journal.of(BRIEF), log_of(ALICE, 2)
    heads = topic.heads()
    for record in alice:
        topic.append(record, received=1.0, own=False)
    assert heads == {ALICE.peer_id: 2}
    with pytest.raises(TypeError):
        heads[ALICE.peer_id] = 7


def test_an_asker_gets_what_it_lacks_bounded_and_never_what_lies_behind_a_gap(journal):
    topic = journal.of(BRIEF)
    records = log_of(ALICE, 6, payload_bytes=1000)
    for record in records[:3] + records[4:]:
        topic.append(record, received=1.0, own=False)
    assert topic.records_after({}, 10**9) == [r.frame for r in records[:3]]
    assert topic.records_after({ALICE.peer_id: 2}, 10**9) == [records[2].frame]
    assert topic.records_after({}, 1) == [records[0].frame]  # at least one, however small the limit
    two = len(records[0].frame) + len(records[1].frame)
    assert topic.records_after({}, two) == [r.frame for r in records[:2]]
    assert topic.records_after({ALICE.peer_id: 3}, 10**9) == []


def test_own_records_wait_until_sent(journal):
    topic = journal.of(BRIEF)
    records = log_of(ALICE, 3)
    for record in records:
        topic.append(record, received=1.0, own=True)
    topic.mark_sent([records[1].id])
    assert [r.id for r in topic.unsent()] == [records[0].id, records[2].id]
    assert topic.last(ALICE.peer_id) == (3, records[2].id)
    assert topic.last(BOB.peer_id) == (0, "")


def test_another_reader_sees_what_is_written_while_it_is_written(tmp_path, journal):
    journal.of(BRIEF).append(log_of(ALICE, 1)[0], received=1.0, own=True)
    reader = Journal(tmp_path / "journal.sqlite", readonly=True)
    assert len(list(reader.of(BRIEF).records())) == 1
    with pytest.raises(JournalError):
        reader.of(BRIEF).append(log_of(BOB, 1)[0], received=1.0, own=True)
    reader.close()


def test_a_missing_foreign_or_newer_file_is_said_in_a_sentence(tmp_path):
    with pytest.raises(JournalError, match="no journal at"):
        Journal(tmp_path / "none.sqlite", readonly=True)
    (tmp_path / "text.sqlite").write_text("this is no database, however long it gets " * 100)
    with pytest.raises(JournalError, match="not a database"):
        Journal(tmp_path / "text.sqlite")
    with sqlite3.connect(tmp_path / "newer.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalError, match="newer research-swarm"):
        Journal(tmp_path / "newer.sqlite")


WRITER = """
    import sys
    sys.path.insert(0, sys.argv[2])
    from pathlib import Path
    from test_node_journal import ALICE, BRIEF, Journal, seal
    topic = Journal(Path(sys.argv[1])).of(BRIEF)
    while True:
        seq, previous = topic.last(ALICE.peer_id)
        topic.append(seal(ALICE, "finding", BRIEF, seq + 1, previous, 1, b"x" * 2000), received=1.0, own=True)
        print(seq + 1, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_what_was_reported_survives_kill_9(tmp_path, lines):
    path = tmp_path / "journal.sqlite"
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(WRITER),
        str(path),
        str(Path(__file__).parent),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        reported = [int(writer.stdout.readline()) for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        reported += [int(line) for line in writer.stdout.read().split()]
    journal = Journal(path)
    topic = journal.of(BRIEF)
    topic.validate()
    assert topic.heads()[ALICE.peer_id] >= reported[-1]
    journal.close()


@pytest.mark.parametrize("seed", range(20))
def test_a_journal_cut_anywhere_opens_to_whole_records_or_says_why(tmp_path, seed):
    path = tmp_path / "whole.sqlite"
    journal = Journal(path)
    records = log_of(ALICE, 30, payload_bytes=500)
    for record in records:
        journal.of(BRIEF).append(record, received=1.0, own=False)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: random.Random(seed).randrange(len(whole))])
    try:
        damaged = Journal(path)
        frames = [r.frame for r in damaged.of(BRIEF).records()]
        damaged.close()
    except JournalError as error:
        outcome = str(error)
    else:
        outcome = "whole" if frames == [r.frame for r in records][: len(frames)] else "broken records"
    assert outcome == "whole" or "whole.sqlite" in outcome


SMALL, LARGE = (Track(hardware_class="cpu-x86_64-2", budget_seconds=seconds) for seconds in (10.0, 120.5))
SCORES = [
    SealedScore(FindingId("f" * 64), BriefId(BRIEF), SMALL, 2.25, 2.5, 100.25),
    SealedScore(FindingId("0" * 64), BriefId(BRIEF), LARGE, 2.1, 2.3, 99.0),  # later, by a clock that was set back
]
ELSEWHERE = SealedScore(FindingId("e" * 64), BriefId("c" * 64), SMALL, 1.0, 1.1, 1.0)


def test_sealed_scores_survive_a_restart_in_order_and_apart_for_each_brief(tmp_path):
    path = tmp_path / "journal.sqlite"
    for score in (SCORES[0], ELSEWHERE, SCORES[1]):
        journal = Journal(path)
        journal.remember_sealed(score)
        journal.close()
    reader = Journal(path, readonly=True)
    assert reader.sealed_scores(BRIEF) == SCORES
    assert reader.sealed_scores("c" * 64) == [ELSEWHERE]
    assert reader.sealed_scores("d" * 64) == []
    with pytest.raises(JournalError):
        reader.remember_sealed(SCORES[0])
    reader.close()


def test_a_findings_first_sealed_score_stays(journal):
    journal.remember_sealed(SCORES[0])
    journal.remember_sealed(replace(SCORES[0], sealed_bpb=2.0))
    assert journal.sealed_scores(BRIEF) == [SCORES[0]]


def test_sealed_scores_are_no_records(journal):
    topic = journal.of(BRIEF)
    topic.append(log_of(ALICE, 1)[0], received=1.0, own=True)
    journal.remember_sealed(SCORES[0])
    assert len(list(topic.records())) == len(topic.unsent()) == len(topic.records_after({}, 10**9)) == 1


FORMAT_1 = """
CREATE TABLE records (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, brief TEXT NOT NULL, author TEXT NOT NULL,
    seq INTEGER NOT NULL, kind TEXT NOT NULL, received REAL NOT NULL, sent INTEGER NOT NULL, frame BLOB NOT NULL);
CREATE UNIQUE INDEX by_log ON records (brief, author, seq);
CREATE INDEX by_sent ON records (sent) WHERE sent = 0;
CREATE TABLE commits (id TEXT PRIMARY KEY, hash TEXT NOT NULL);
PRAGMA user_version = 1;
"""


@pytest.fixture
def older(tmp_path) -> Path:
    """A journal as it was before there were sealed scores, with one record and its commit."""
    record = log_of(ALICE, 1)[0]
    with sqlite3.connect(tmp_path / "older.sqlite") as db:
        db.executescript(FORMAT_1)
        row = (1, record.id, BRIEF, record.author, 1, "finding", 1.0, 0, record.frame)
        db.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        db.execute("INSERT INTO commits VALUES (?, ?)", (record.id, "c" * 40))
    db.close()
    return tmp_path / "older.sqlite"


def test_an_older_journal_is_looked_at_as_it_is(older):
    before = older.read_bytes()
    reader = Journal(older, readonly=True)
    assert reader.sealed_scores(BRIEF) == []
    assert reader.of(BRIEF).forks() == []
    assert len(list(reader.of(BRIEF).records())) == 1
    reader.close()
    assert older.read_bytes() == before


def test_an_older_journal_is_brought_up_to_date_and_loses_nothing(older):
    record = log_of(ALICE, 1)[0]
    for _ in range(2):
        journal = Journal(older)
        assert [r.frame for r in journal.of(BRIEF).unsent()] == [record.frame]
        assert journal.commits() == {record.id: "c" * 40}
        journal.remember_sealed(SCORES[0])
        assert journal.sealed_scores(BRIEF) == [SCORES[0]]
        assert journal.of(BRIEF).forks() == []
        journal.close()


def test_a_proof_is_kept_for_good_and_is_all_that_is_handed_on_of_its_author(journal):
    topic, alice, bob = journal.of(BRIEF), log_of(ALICE, 5), log_of(BOB, 2)
    for record in (*alice, *bob):
        topic.append(record, received=1.0, own=False)
    other = seal(ALICE, "finding", BRIEF, 3, alice[1].id, 5, b"another")
    assert topic.contradicted(other) == alice[2]
    topic.prove(alice[2], other, at=7.0)
    topic.prove(other, alice[2], at=8.0)
    again = journal.of(BRIEF)
    for one in (topic, again):
        assert [(fork.first, fork.second, fork.at) for fork in one.forks()] == [(alice[2], other, 7.0)]
        assert one.unwanted() == {ALICE.peer_id}
        assert one.heads() == {BOB.peer_id: 2}
        assert one.records_after({}, 10**6) == [record.frame for record in bob]
        proof = [(ALICE.peer_id, (alice[2].frame, other.frame))]
        assert one.evidence({}, {}) == one.evidence({ALICE.peer_id: 5}, {}) == proof
        assert one.evidence({ALICE.peer_id: NO_MORE}, {}) == []
    topic.append(seal(ALICE, "finding", BRIEF, 6, alice[4].id, 5, b"more"), received=1.0, own=False)
    assert topic.heads() == {BOB.peer_id: 2}


def test_what_contradicts_a_record_is_found_before_at_and_behind_its_place(journal):
    topic, alice = journal.of(BRIEF), log_of(ALICE, 6)
    for record in (alice[1], alice[3]):
        topic.append(record, received=1.0, own=False)
    assert [topic.contradicted(record) for record in alice] == [None] * 6
    wrong = {seq: seal(ALICE, "finding", BRIEF, seq, "" if seq == 1 else "d" * 64, 5, b"?") for seq in range(1, 8)}
    found = [topic.contradicted(wrong[seq]) for seq in range(1, 8)]
    assert found == [alice[1], alice[1], alice[1], alice[3], alice[3], None, None]


def test_whoever_has_another_record_at_our_head_is_shown_ours(journal):
    topic, alice = journal.of(BRIEF), log_of(ALICE, 3)
    for record in alice:
        topic.append(record, received=1.0, own=False)
    (tip,) = topic.tips([ALICE.peer_id, BOB.peer_id]).values()
    assert alice[2].id.startswith(tip.hex())
    shown = [(ALICE.peer_id, (alice[2].frame,))]
    other = {ALICE.peer_id: bytes(8), BOB.peer_id: tip}
    assert topic.evidence({ALICE.peer_id: 3, BOB.peer_id: 3}, {ALICE.peer_id: tip}) == []
    assert topic.evidence({ALICE.peer_id: 3, BOB.peer_id: 3}, other) == shown
    assert topic.evidence({ALICE.peer_id: 2, BOB.peer_id: 3}, other) == [], "it gets number 3, which tells"


def test_a_step_that_was_cut_short_is_taken_again(older, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("node.journal._STEPS", ("", "CREATE TABLE sealed (id TEXT); SELECT no_such_column FROM records;"))
        with pytest.raises(JournalError, match="no_such_column"):
            Journal(older)
    gc.collect()  # the connection that was refused holds the file
    journal = Journal(older)
    journal.remember_sealed(SCORES[0])
    assert journal.sealed_scores(BRIEF) == [SCORES[0]]
    journal.close()


def test_a_record_tells_how_it_came(journal):
    topic = journal.of(BRIEF)
    ours, theirs, unknown = *log_of(ALICE, 1), *log_of(BOB, 2)
    topic.append(ours, received=2.0, own=True)
    topic.append(theirs, received=3.0, own=False, heard=Heard("carol", Way.CATCHUP))
    topic.append(unknown, received=4.0, own=False)
    own = topic.arrival(ours.id)
    assert (own.way, own.peer, own.told, own.received) == (Way.OWN, "", False, 2.0)
    topic.mark_sent([ours.id])
    assert topic.arrival(ours.id).told
    came = topic.arrival(theirs.id)
    assert (came.way, came.peer, came.made_ms, came.ahead_seconds) == (Way.CATCHUP, "carol", 1001, 1.001 - 3.0)
    assert topic.arrival(unknown.id).way is None
    assert topic.latest_arrivals() == [came]
    assert topic.arrival("0" * 64) is None
    assert topic.beginning_with(ours.id[:10]) == [ours.id]
    assert len(topic.beginning_with("")) == 3
    assert topic.record(theirs.id).frame == theirs.frame
    assert topic.record("0" * 64) is None


def test_a_journal_from_before_arrivals_were_kept_opens_for_looking_and_for_writing(tmp_path):
    path = tmp_path / "journal.sqlite"
    first, second = log_of(ALICE, 2)
    with sqlite3.connect(path) as db:
        for number, step in enumerate(_STEPS[:3], 1):
            db.executescript(f"{step} PRAGMA user_version = {number};")
        db.execute(
            "INSERT INTO records (id, brief, author, seq, kind, received, sent, frame)"
            " VALUES (?, ?, ?, 1, ?, 5.0, 1, ?)",
            (first.id, BRIEF, ALICE.peer_id, "finding", first.frame),
        )
    db.close()
    reader = Journal(path, readonly=True)
    old = reader.of(BRIEF).arrival(first.id)
    assert (old.way, old.received, reader.of(BRIEF).latest_arrivals()) == (None, 5.0, [])
    reader.close()
    writer = Journal(path)
    topic = writer.of(BRIEF)
    topic.append(second, received=6.0, own=False, heard=Heard("bob", Way.BROADCAST))
    assert topic.arrival(first.id).way is None
    assert topic.arrival(second.id).way is Way.BROADCAST
    topic.validate()
    writer.close()
