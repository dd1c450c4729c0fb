"""The ledger ignores order and repetition, never ranks across tracks, and computes standing from others' trials."""

import random

from hypothesis import given
from hypothesis import strategies as st
from samples import TRACK, make_brief, make_entry, make_finding

from swarm.finding import Track
from swarm.ledger import Ledger, fold, lineage
from swarm.words import Standing

BRIEF = make_brief()
OTHER = Track(hardware_class="cuda-h100", budget_seconds=300.0)


def some_entries():
    base = make_entry(make_finding(BRIEF, 1, 2.0))
    better = make_entry(make_finding(BRIEF, 2, 1.8, base, width=128))
    crash = make_entry(make_finding(BRIEF, 3, None, better, width=256))
    theirs = make_entry(make_finding(BRIEF, 1, 1.81, width=128), "12D3KooWAuthorB")
    gpu = make_entry(make_finding(BRIEF, 1, 0.9, track=OTHER), "12D3KooWAuthorC")
    return [base, better, crash, theirs, gpu]


def view(ledger: Ledger):
    return (
        ledger.entries(),
        ledger.measured(track=TRACK),
        ledger.tracks(),
        [ledger.standing(e) for e in ledger.entries()],
        ledger.tried(TRACK),
    )


@given(st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same_view(rng: random.Random):
    entries = some_entries()
    shuffled = entries + rng.choices(entries, k=4)
    rng.shuffle(shuffled)
    assert view(fold(shuffled, BRIEF.acceptance)) == view(fold(entries, BRIEF.acceptance))


def test_best_is_kept_measured_and_of_the_track():
    base, better, crash, theirs, gpu = some_entries()
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


def test_lineage_ends_even_where_the_parent_is_unknown():
    base, better, *_ = some_entries()
    assert [e.id for e in lineage(fold([base, better], BRIEF.acceptance), better)] == [better.id, base.id]
    assert [e.id for e in lineage(fold([better], BRIEF.acceptance), better)] == [better.id]
