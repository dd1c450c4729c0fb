"""The ledger ignores order and repetition, never ranks across tracks, and computes standing from others' trials."""

import random

from hypothesis import given
from hypothesis import strategies as st
from samples import TRACK, make_brief, make_entry, make_finding, make_trial

from swarm.brief import Acceptance
from swarm.ledger import Ledger, Newcomers, ReplayEntry, fold, lineage
from swarm.replay import Replay
from swarm.trial import Track
from swarm.verdict import Verdict, judge, prior_noise
from swarm.words import Decision, Outcome, Standing

BRIEF = make_brief()
OTHER = Track(hardware_class="cuda-h100", budget_seconds=300.0)


def some_entries():
    base = make_entry(make_finding(BRIEF, 1, 2.0))
    better = make_entry(make_finding(BRIEF, 2, 1.8, base, width=128))
    crash = make_entry(make_finding(BRIEF, 3, None, better, width=256))
    theirs = make_entry(make_finding(BRIEF, 1, 1.81, width=128), "12D3KooWAuthorB")
    gpu = make_entry(make_finding(BRIEF, 1, 0.9, track=OTHER), "12D3KooWAuthorC")
    again = make_finding(BRIEF, 4, 1.85, better, width=96)
    again = make_entry(again.model_copy(update={"parent_trials": (make_trial(1.79), make_trial(1.82))}))
    return [base, better, crash, theirs, gpu, again]


def replay(entry, val_bpb: float | None, author: str = "B", track: Track = TRACK, **more: object):
    made = Replay(
        of=entry.id,
        key=entry.finding.proposal.key,
        started_at="2026-01-01T00:00:00Z",
        trial=make_trial(val_bpb, track),
        **more,  # type: ignore[arg-type]
    )
    return ReplayEntry(f"{author}{val_bpb}{more}", f"12D3KooWAuthor{author}", 9, 9, made)  # type: ignore[arg-type]


def view(ledger: Ledger):
    return (
        ledger.entries(),
        ledger.measured(track=TRACK),
        ledger.tracks(),
        [ledger.standing(e) for e in ledger.entries()],
        ledger.tried(TRACK),
        [ledger.score(e) for e in ledger.entries()],
        [ledger.noise(TRACK, author) for author in ledger.authors()],
    )


@given(st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same_view(rng: random.Random):
    entries = some_entries()
    replays = [replay(entries[1], 1.8), replay(entries[1], 1.7, "C"), replay(entries[0], 2.0, "A")]
    records = [*entries, *replays, *rng.choices(entries, k=4), replays[0]]
    rng.shuffle(records)
    assert view(folded(records)) == view(folded([*entries, *replays]))


def folded(records):
    ledger = Ledger(BRIEF.acceptance)
    for record in records:
        (ledger.apply_replay if isinstance(record, ReplayEntry) else ledger.apply)(record)
    return ledger


def test_best_is_kept_measured_and_of_the_track():
    base, better, crash, theirs, gpu, _ = some_entries()
    ledger = fold([base, better, crash, theirs, gpu], BRIEF.acceptance)
    assert ledger.branch_best(base.author, TRACK) == better
    assert [e.val_bpb for e in ledger.measured(track=TRACK)] == [1.8, 1.81, 2.0]
    assert ledger.branch_best(base.author, OTHER) is None


def test_an_inconclusive_better_number_does_not_move_the_branch():
    base = make_entry(make_finding(BRIEF, 1, 2.0))
    lucky = make_entry(make_finding(BRIEF, 2, 1.99, base, width=128))
    assert fold([base, lucky], BRIEF.acceptance).branch_best(base.author, TRACK) == base


def test_standing_counts_other_authors_only():
    def entry(author: str, score: float):
        return make_entry(make_finding(BRIEF, 1, score, width=128), f"12D3KooW{author}")

    claim = entry("a", 1.8)
    assert fold([claim], BRIEF.acceptance).standing(claim) is Standing.CLAIMED
    own_again = make_entry(make_finding(BRIEF, 2, 1.8, width=128), "12D3KooWa")
    assert fold([claim, own_again], BRIEF.acceptance).standing(claim) is Standing.CLAIMED
    assert fold([claim, entry("b", 1.81)], BRIEF.acceptance).standing(claim) is Standing.CONFIRMED
    assert fold([claim, entry("b", 2.5)], BRIEF.acceptance).standing(claim) is Standing.DISPUTED
    refuted = fold([claim, entry("b", 2.5), entry("c", 2.51)], BRIEF.acceptance)
    assert refuted.standing(claim) is Standing.REFUTED


def test_what_was_stopped_early_is_tried_and_never_a_score():
    base, other = some_entries()[0], "12D3KooWAuthorB"
    stopped = make_trial(None, outcome=Outcome.CENSORED)
    said = base.finding.verdict.model_copy(update={"decision": Decision.KEEP})
    finding = make_finding(BRIEF, 2, 1.0, base, width=128).model_copy(update={"trials": (stopped,)})
    honest = make_entry(finding.model_copy(update={"verdict": judge_again(stopped)}))
    lying = make_entry(finding.model_copy(update={"trials": (make_trial(1.0), stopped), "verdict": said}), other)
    ledger = fold([base, honest, lying], BRIEF.acceptance)
    assert [entry.id for entry in ledger.measured(track=TRACK)] == [base.id]
    assert finding.proposal.key in ledger.tried(TRACK)
    assert ledger.branch_best(honest.author, TRACK) == base
    assert ledger.branch_best(lying.author, TRACK) is None
    assert (ledger.standing(honest), ledger.standing(lying)) == (Standing.CLAIMED, Standing.CLAIMED)
    assert ledger.noise(TRACK, honest.author) == ledger.noise(TRACK, "nobody")
    assert (ledger.follows(honest), ledger.follows(lying)) == (True, False)


def judge_again(stopped):
    rule = BRIEF.acceptance
    return judge([stopped], (2.0,), prior_noise(rule), rule)


def test_lineage_ends_even_where_the_parent_is_unknown():
    base, better, *_ = some_entries()
    assert [e.id for e in lineage(fold([base, better], BRIEF.acceptance), better)] == [better.id, base.id]
    assert [e.id for e in lineage(fold([better], BRIEF.acceptance), better)] == [better.id]


def test_replays_confirm_and_refute_as_findings_do():
    claim = make_entry(make_finding(BRIEF, 1, 1.8, width=128))
    for replays, standing in (
        ([replay(claim, 1.81)], Standing.CONFIRMED),
        ([replay(claim, 2.5)], Standing.DISPUTED),
        ([replay(claim, 2.5), replay(claim, 2.5, "C")], Standing.REFUTED),
        ([replay(claim, 1.8, "A")], Standing.CLAIMED),  # its author
        ([replay(claim, 1.8, steps=10)], Standing.CLAIMED),  # not the whole budget
        ([replay(claim, 1.8, track=OTHER)], Standing.CLAIMED),
        ([replay(claim, None)], Standing.CLAIMED),
    ):
        assert folded([claim, *replays]).standing(claim) is standing, replays
    other_thing = replay(claim, 1.8)
    forged = other_thing.replay.model_copy(update={"key": "f" * 64})
    assert folded([claim, ReplayEntry("x", other_thing.author, 1, 1, forged)]).standing(claim) is Standing.CLAIMED


def test_a_score_is_the_mean_of_all_its_authors_trials():
    base, better, _, theirs, _, again = some_entries()
    ledger = folded([base, better, theirs, again, replay(better, 1.83, "A"), replay(better, 1.0, "B")])
    score = ledger.score(better)
    assert (score.trials, round(score.mean, 6)) == (4, 1.81)
    assert folded([base, better]).score(better).interval > score.interval


def test_noise_is_own_repeats_on_top_of_what_others_found():
    rule = Acceptance(noise_sd=0.5)
    ledger = Ledger(rule)

    def repeats(author: str, *scores: float):
        finding = make_finding(BRIEF).model_copy(update={"trials": tuple(map(make_trial, scores))})
        return make_entry(finding, f"12D3KooW{author}")

    me = repeats("me", 2.0).author
    assert (ledger.noise(TRACK, me).sd, ledger.noise(TRACK, me).dof) == (0.5, 2.0)
    for author, sd in (("a", 0.01), ("b", 0.02), ("c", 9.0)):
        ledger.apply(repeats(author, 20 - sd, 20, 20 + sd))
    assert round(ledger.noise(TRACK, me).sd, 6) == 0.02, "the median: one author cannot move it far"
    ledger.apply(repeats("me", 2.0, 2.02, 2.04, 2.0, 2.02, 2.04))
    assert ledger.noise(TRACK, me).dof == 9
    assert ledger.noise(OTHER, me).sd == 0.5


def test_the_branch_follows_keeps_of_where_it_stood():
    base, better, *_ = some_entries()
    simpler = make_finding(BRIEF, 5, 1.805, better, width=64)
    kept = Verdict(decision=Decision.KEEP, noise_sd=0.01, simpler=True)
    simpler = make_entry(simpler.model_copy(update={"verdict": kept}))
    assert fold([base, better, simpler], BRIEF.acceptance).branch_best(base.author, TRACK) == simpler
    beside = make_entry(make_finding(BRIEF, 6, 1.9, base, width=256))  # a second worker's, against the same parent
    assert fold([base, better, beside], BRIEF.acceptance).branch_best(base.author, TRACK) == better


def test_a_verdict_that_does_not_follow_is_seen():
    base, better, *_ = some_entries()
    ledger = fold([base, better], BRIEF.acceptance)
    assert ledger.follows(base)
    assert ledger.follows(better)
    boast = make_finding(BRIEF, 7, 1.999, base, width=32)
    boast = boast.model_copy(update={"verdict": boast.verdict.model_copy(update={"decision": Decision.KEEP})})
    assert not ledger.follows(make_entry(boast))


@given(st.randoms(use_true_random=False))
def test_a_forgotten_author_leaves_nothing_behind(rng: random.Random):
    entries = some_entries()
    records = [*entries, replay(entries[1], 1.8), replay(entries[3], 1.7, "C"), replay(entries[1], 2.0, "A")]
    for author in {record.author for record in records}:
        rng.shuffle(records)
        ledger = folded(records)
        view(ledger)  # what was computed before must not stay
        ledger.forget(author)
        assert view(ledger) == view(folded([record for record in records if record.author != author]))
        assert not any(one.author == author for entry in ledger.entries() for one in ledger.replays(entry.id))


def test_newcomers_are_read_once_and_from_the_start_when_an_author_was_forgotten() -> None:
    one, other = make_entry(make_finding(BRIEF, 1, 2.0)), make_entry(make_finding(BRIEF, 1, 2.1), "12D3KooWAuthorB")
    ledger = Ledger(BRIEF.acceptance)
    newcomers = Newcomers(ledger)
    assert newcomers.look() == (True, [])
    ledger.apply(one)
    ledger.apply(other)
    assert newcomers.look() == (False, [one, other])
    assert newcomers.look() == (False, [])
    ledger.forget(other.author)
    assert newcomers.look() == (True, [one])
