"""The memory: a note a finding, older ones merged, bounded, the same after a restart; phases by progress."""

import dataclasses
import itertools

from proposer_requests import ME, TRAIN, entry, request
from samples import make_entry

from node.proposers.diagnostics import diagnostics
from node.proposers.memory import EVERY, RECENT, notes_of, within
from node.proposers.phases import CATEGORIES, PLATEAU_RUNS, Phase, categories_of, nudge, phase_of
from node.proposers.tokens import count_tokens
from node.report.notes_page import PAGE_TOKENS, notes_page
from swarm.ledger import Entry
from swarm.trial import CurvePoint
from swarm.words import Outcome


def night(runs: int) -> list[Entry]:
    """A baseline and many experiments that lead nowhere."""
    base = entry()
    return [base, *(entry(n, 2.3 + n / 1000, base, dropout=n / 5000) for n in range(2, runs + 1))]


def lines(entries: list[Entry]) -> list[str]:
    return [note.line for note in notes_of(entries)]


def test_a_note_says_what_effect_noise_and_why():
    base = entry()
    idea = entry(2, 2.2, base, proposer="llm:config/m", norm="rmsnorm")
    proposal = idea.finding.proposal.model_copy(update={"rationale": "cheaper,\nso more steps"})
    idea = make_entry(idea.finding.model_copy(update={"proposal": proposal}), ME)
    crash = entry(3, None, base, outcome=Outcome.OUT_OF_MEMORY, depth=8)
    trial = crash.finding.trials[0].model_copy(update={"reason": "CUDA out of memory"})
    crash = make_entry(crash.finding.model_copy(update={"trials": (trial,)}), ME)
    code = entry(4, 2.4, base, source=TRAIN + "# x\n", title="a comment")
    assert lines([base, idea, crash, code]) == [
        "#1 the start of the branch: kept, val_bpb 2.3000",
        "#2 norm layernorm -> rmsnorm: kept, 0.1000 ± 0.0253 better. Idea: cheaper, so more steps",
        "#3 depth 2 -> 8: out of memory. Reason: CUDA out of memory",
        "#4 code: a comment: discarded, 0.1000 ± 0.0253 worse",
    ]


def test_older_ideas_that_failed_alike_are_one_note_and_none_is_forgotten():
    notes = notes_of(night(100))
    assert len(notes) <= RECENT + EVERY + 2
    assert sorted(n for note in notes for n in note.numbers) == list(range(1, 101))
    merged = next(note for note in notes if len(note.numbers) > 1)
    assert merged.key == ("dropout",)
    assert "at best" in merged.line


def test_what_was_kept_stays_a_note_of_its_own():
    base = entry()
    win = entry(2, 2.0, base, norm="rmsnorm")
    entries = [base, win, *(entry(n, 2.4, win, dropout=n / 5000) for n in range(3, 100))]
    assert any(note.numbers == (2,) for note in notes_of(entries))
    assert [note.numbers for note in within(notes_of(entries), 60)][:2] == [(1,), (2,)]


def test_compaction_happens_now_and_then_not_each_time():
    counts = [len(notes_of(night(n))) for n in range(RECENT + 1, RECENT + 5 * EVERY)]
    assert sum(later < earlier for earlier, later in itertools.pairwise(counts)) == 4


def test_notes_fit_their_budget_and_the_page_is_bounded():
    base = entry()
    entries = [base, *(entry(n, 2.4, base, source=TRAIN + f"# {n}\n", title=f"idea {n} " * 9) for n in range(2, 400))]
    for tokens in (0, 100, 1000):
        assert sum(count_tokens(note.line) for note in within(notes_of(entries), tokens)) <= tokens
    page = notes_page(entries)
    assert count_tokens(page) <= PAGE_TOKENS * 1.2
    assert "older notes are left out" in page


def test_the_page_is_the_same_after_a_restart_in_any_order():
    entries = night(60)
    assert notes_page(entries) == notes_page(list(reversed(entries)))


def test_the_page_is_inert_markdown():
    base = entry()
    wild = entry(2, 2.4, base, source=TRAIN + "# x\n", title="[x](javascript:alert(1)) <img src=x> | `")
    assert "\\[x\\](javascript" in notes_page([base, wild])
    assert "<img" not in notes_page([base, wild])


def test_a_plateau_moves_the_phase_on_and_a_kept_moonshot_begins_anew():
    found = night(2 * PLATEAU_RUNS + 5)
    assert phase_of(found[:PLATEAU_RUNS]) is Phase.TUNING
    assert phase_of(found[: PLATEAU_RUNS + 1]) is Phase.ARCHITECTURE
    assert phase_of(found[: 2 * PLATEAU_RUNS + 1]) is Phase.MOONSHOTS
    win = entry(99, 1.5, found[0], depth=5)
    assert phase_of([*found[:PLATEAU_RUNS], win, *found[PLATEAU_RUNS : 2 * PLATEAU_RUNS - 1]]) is Phase.TUNING
    assert phase_of([*found, win]) is Phase.TUNING


def test_the_nudge_goes_round_and_leaves_alone_what_was_just_tried():
    base = entry()
    asked = [nudge(request([base], number=n), code=True)[1].name for n in range(2, 14)]
    assert len(set(asked)) >= 5
    rates = [entry(n, 2.4, base, learning_rate=n / 1000) for n in (2, 3, 4)]
    assert {c.name for c in categories_of(rates[0], {base.id: base})} == {"optimizer"}
    after = {nudge(request([base, *rates], number=n), code=True)[1].name for n in range(5, 17)}
    assert "optimizer" not in after


def test_without_code_only_categories_that_the_space_has_are_named():
    words = {c.name: c.words for c in CATEGORIES}
    names = {nudge(request(number=n), code=False)[1].name for n in range(2, 20)}
    assert "schedule" not in names, words["schedule"]
    assert {"optimizer", "normalisation"} <= names


def test_diagnostics_show_curve_speed_size_and_memory():
    best = entry()
    curve = tuple(CurvePoint(step=10 * n, seconds=float(n), train_loss=5.0 - n / 4) for n in range(1, 11))
    trial = best.finding.trials[0].model_copy(
        update={
            "curve": curve,
            "seconds": 10.0,
            "tokens": 200_000,
            "steps": 100,
            "parameters": 1_500_000,
            "peak_memory_bytes": 3 << 30,
        }
    )
    best = make_entry(best.finding.model_copy(update={"trials": (trial,)}), ME)
    [line] = diagnostics(dataclasses.replace(request([best]), parent=best))
    assert line == (
        "current best: val_bpb 2.3000; 100 steps, 20,000 tokens/s, 1.50 M parameters, peak memory 3.00 GiB, "
        "train loss 4.75@10% 4.25@30% 3.75@50% 3.5@60% 3@80% 2.5@100%"
    )
