from gossip.admission import Admission, Admitted, Rate
from gossip.envelope import MAX_FRAME_BYTES, Record, seal
from gossip.identity import Identity
from gossip.refusal import Answer, Refusal, RefusalReason

BRIEF = "ab" * 32
ALICE, BOB = Identity(bytes([1]) * 32), Identity(bytes([2]) * 32)


def record(author: Identity = ALICE, seq: int = 1, brief: str = BRIEF, at_ms: int = 0) -> Record:
    return seal(author, "finding", brief, seq, "" if seq == 1 else "cd" * 32, at_ms, b"x")


def reason(outcome: Admitted | Refusal) -> RefusalReason:
    assert isinstance(outcome, Refusal)
    return outcome.reason


def test_a_good_record_is_admitted() -> None:
    good = record()
    assert Admission(BRIEF).admit(good.frame, "peer", 0.0) == Admitted(good)


def test_a_record_comes_in_once() -> None:
    admission = Admission(BRIEF)
    admission.admit(record().frame, "peer", 0.0)
    again = admission.admit(record().frame, "other", 1.0)
    assert reason(again) is RefusalReason.DUPLICATE
    assert isinstance(again, Refusal)
    assert again.answer is Answer.IGNORE


def test_a_record_that_was_dropped_after_admission_may_come_again() -> None:
    admission = Admission(BRIEF)
    admission.admit(record().frame, "peer", 0.0)
    admission.forget(record())
    assert isinstance(admission.admit(record().frame, "peer", 1.0), Admitted)


def test_a_forged_copy_does_not_block_the_real_record() -> None:
    admission = Admission(BRIEF)
    real = record().frame
    assert reason(admission.admit(bytes(64) + real[64:], "liar", 0.0)) is RefusalReason.BAD_SIGNATURE
    assert isinstance(admission.admit(real, "peer", 0.0), Admitted)


def test_records_of_another_brief_are_rejected() -> None:
    outcome = Admission(BRIEF).admit(record(brief="cd" * 32).frame, "peer", 0.0)
    assert reason(outcome) is RefusalReason.WRONG_BRIEF


def test_an_oversized_frame_costs_no_parsing() -> None:
    assert reason(Admission(BRIEF).admit(bytes(MAX_FRAME_BYTES + 1), "peer", 0.0)) is RefusalReason.OVERSIZE


def test_a_flooding_forwarder_delays_nobody_else() -> None:
    admission = Admission(BRIEF, forwarder_rate=Rate(per_second=1, burst=3))
    outcomes = [admission.admit(b"garbage", "flooder", 0.0) for _ in range(10)]
    assert [reason(o) for o in outcomes].count(RefusalReason.RATE_OF_FORWARDER) == 7
    assert isinstance(admission.admit(record().frame, "peer", 0.0), Admitted)
    assert reason(admission.admit(b"garbage", "flooder", 1.0)) is RefusalReason.MALFORMED


def test_an_author_has_a_rate_through_whomever_he_sends() -> None:
    admission = Admission(BRIEF, author_rate=Rate(per_second=1, burst=2))
    outcomes = [admission.admit(record(seq=n).frame, f"peer{n}", 0.0) for n in (1, 2, 3)]
    assert reason(outcomes[2]) is RefusalReason.RATE_OF_AUTHOR
    assert isinstance(admission.admit(record(BOB).frame, "peer", 0.0), Admitted)
    assert isinstance(admission.admit(record(seq=3).frame, "peer3", 1.0), Admitted)


def test_forged_records_do_not_use_up_the_rate_of_the_author_they_name() -> None:
    admission = Admission(BRIEF, author_rate=Rate(per_second=0, burst=1))
    for n in range(1, 6):
        admission.admit(bytes(64) + record(seq=n).frame[64:], "liar", 0.0)
    assert isinstance(admission.admit(record().frame, "peer", 0.0), Admitted)


def test_old_records_sent_again_do_not_use_up_the_rate_of_their_author() -> None:
    known = {record(seq=n).id for n in range(1, 6)}
    admission = Admission(BRIEF, author_rate=Rate(per_second=0, burst=1), is_known=lambda one: one.id in known)
    again = [admission.admit(record(seq=n).frame, "replayer", 0.0) for n in range(1, 6)]
    assert {reason(outcome) for outcome in again} == {RefusalReason.KNOWN}
    assert isinstance(admission.admit(record(seq=6).frame, "peer", 0.0), Admitted)


def test_an_unwanted_authors_records_are_refused_whoever_brings_them_but_only_if_it_signed_them() -> None:
    unwanted = Refusal(RefusalReason.AUTHOR_DENIED, "no")
    admission = Admission(BRIEF, refuse_author=lambda author: unwanted if author == ALICE.peer_id else None)
    assert reason(admission.admit(record().frame, "bob", 0.0)) is RefusalReason.AUTHOR_DENIED
    assert reason(admission.admit_pulled(record().frame)) is RefusalReason.AUTHOR_DENIED
    assert reason(admission.admit(bytes(64) + record().frame[64:], "liar", 0.0)) is RefusalReason.BAD_SIGNATURE
    assert isinstance(admission.admit(record(BOB).frame, "bob", 0.0), Admitted)


def test_what_we_asked_for_passes_rates_and_duplicates_but_not_signatures() -> None:
    admission = Admission(BRIEF, author_rate=Rate(0, 0), forwarder_rate=Rate(0, 0))
    assert isinstance(admission.admit_pulled(record().frame), Admitted)
    assert isinstance(admission.admit_pulled(record().frame), Admitted)
    assert reason(admission.admit_pulled(bytes(64) + record().frame[64:])) is RefusalReason.BAD_SIGNATURE
    assert reason(admission.admit(record().frame, "peer", 0.0)) is RefusalReason.RATE_OF_FORWARDER


def test_a_wrong_clock_is_tolerated_and_counted() -> None:
    admission = Admission(BRIEF)
    ahead = record(at_ms=10_000_000)
    assert isinstance(admission.admit(ahead.frame, "peer", 0.0, wall_ms=1000), Admitted)
    assert admission.statistics()["clock_ahead"] == 1


def test_every_outcome_is_counted() -> None:
    admission = Admission(BRIEF)
    admission.admit(record().frame, "peer", 0.0)
    admission.admit(record().frame, "peer", 0.0)
    admission.admit(b"?", "peer", 0.0)
    assert admission.statistics() == {"accepted": 1, "duplicate": 1, "malformed": 1}


def test_memory_stays_bounded() -> None:
    admission = Admission(BRIEF, remembered_ids=10)
    for n in range(1, 31):
        admission.admit(record(seq=n).frame, f"peer{n}", 0.0)
    assert len(admission._seen) == 10
    for n in range(6000):
        admission.admit(b"?", f"sybil{n}", 0.0)
    assert len(admission._forwarders._levels) == 4096
