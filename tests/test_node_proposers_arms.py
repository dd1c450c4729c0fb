"""Each arm alone: what it proposes, when it has nothing to say, and how far it believes peers."""

import random

import pytest
from proposer_requests import BASE, ME, OTHER_TRACK, PEER, SPACE, entry, request
from samples import TRACK

from node.proposers import study
from node.proposers.arms import ARMS, Ablate, Arm, Crossover, Random
from node.proposers.auto import make_proposer
from node.proposers.classic import propose_now
from node.proposers.cma_es import CmaEs
from node.proposers.draws import is_ordered
from node.proposers.feasibility import Feasibility
from node.proposers.moves import mutate
from node.proposers.observations import observations
from swarm.ledger import Entry
from swarm.space import ChoiceParameter, changes
from swarm.trial import Track
from swarm.words import Operator, Outcome, Standing, SwarmError


def history_of(length: int) -> list[Entry]:
    base = entry()
    deeper = [
        entry(n, 2.3 - 0.01 * n, base, depth=1 + n % 7, learning_rate=1e-3 + n / 1e4) for n in range(2, length + 1)
    ]
    return [base, *deeper]


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_gives_valid_configs_the_same_for_the_same_draw(arm: Arm):
    asked = request(history := history_of(30), parent=history[-1])
    drafts = [arm.draw(asked, random.Random(seed)) for seed in range(20)]
    assert drafts == [arm.draw(asked, random.Random(seed)) for seed in range(20)]
    assert any(draft is not None for draft in drafts) or arm.name == "crossover"  # nothing was left behind
    for draft in drafts:
        assert draft is None or SPACE.normalise(draft.config) == draft.config


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_can_be_had_alone_and_its_proposals_say_so(arm: Arm):
    proposals = [propose_now(request(history_of(30), seed=seed), (arm,)) for seed in range(4)]
    assert all(p.proposer in (f"classic/{arm.name}", "classic/local") for p in proposals)
    assert arm.name in ("crossover", "ablate") or any(p.proposer == f"classic/{arm.name}" for p in proposals)


@pytest.mark.parametrize("arm", [Crossover(), Ablate(), *[a for a in ARMS if a.name in ("tpe", "cmaes")]])
def test_arms_with_nothing_to_say_at_the_start_say_nothing(arm: Arm):
    assert arm.draw(request([entry()]), random.Random(0)) is None


def test_random_goes_everywhere():
    drawn = [Random().draw(request(), random.Random(seed)) for seed in range(60)]
    assert {draft.config["depth"] for draft in drawn} == set(range(1, 9))
    assert {draft.config["norm"] for draft in drawn} == {"layernorm", "rmsnorm"}


def test_ablate_takes_back_what_the_lineage_changed_and_doubts_what_brought_least():
    base = entry()
    large = entry(2, 2.0, base, depth=5)
    small = entry(3, 1.999, large, dropout=0.1)
    last = entry(4, 1.9, small, norm="rmsnorm")  # without it the config is that of `small`, which was run
    drafts = [Ablate().draw(request([base, large, small, last], parent=last), random.Random(s)) for s in range(60)]
    taken = [changes(last.finding.proposal.config, draft.config) for draft in drafts if draft is not None]
    assert all(draft is not None and draft.operator is Operator.ABLATE for draft in drafts)
    assert {tuple(t) for t in taken} == {("depth",), ("dropout",)}
    assert all(value == BASE[name] for t in taken for name, value in t.items())
    assert sum("dropout" in t for t in taken) > sum("depth" in t for t in taken)


def test_ablate_says_nothing_when_everything_was_taken_back_already():
    base = entry()
    best = entry(2, 2.0, base, depth=5)
    assert Ablate().draw(request([base, best], parent=best), random.Random(0)) is None  # without depth it is the base


def test_cma_es_moves_settings_with_a_scale_only_and_goes_where_it_was_good():
    base = entry()
    rng = random.Random(1)
    rates = [rng.uniform(1e-4, 3e-2) for _ in range(60)]
    history = [base, *(entry(n, 2.0 + 10 * abs(r - 8e-3), base, learning_rate=r) for n, r in enumerate(rates, 2))]
    drafts = [CmaEs().draw(request(history), random.Random(seed)) for seed in range(40)]
    moved = [changes(BASE, draft.config) for draft in drafts if draft is not None]
    scales = {n for n, p in SPACE.parameters.items() if not isinstance(p, ChoiceParameter) or is_ordered(p)}
    assert {name for one in moved for name in one} <= scales
    drawn = [float(one["learning_rate"]) for one in moved if "learning_rate" in one]
    assert len(drawn) > 10
    assert sum(3e-3 < rate < 2e-2 for rate in drawn) > 0.8 * len(drawn)


def test_without_its_package_cma_es_is_off_and_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study.importlib.util, "find_spec", lambda _: None)
    assert CmaEs().draw(request(history_of(30)), random.Random(0)) is None
    assert propose_now(request(history_of(30)), (CmaEs(),)).proposer == "classic/local"
    with pytest.raises(SwarmError, match="pip install cmaes"):
        make_proposer("cmaes", None, {}, print)


def test_a_peers_number_is_blurred_until_confirmed_and_left_out_when_refuted():
    base = entry()
    theirs = [entry(n, 1.9, base, PEER, depth=n) for n in (3, 4, 5, 6)]
    failed = entry(7, None, base, PEER, outcome=Outcome.DIVERGED, depth=7)
    standings = {
        theirs[1].id: Standing.CONFIRMED, theirs[2].id: Standing.DISPUTED, theirs[3].id: Standing.REFUTED
    }  # fmt: skip
    asked = request([base, *theirs, failed], standings=standings)
    seen = {one.entry.id: one.value for one in observations(asked)}
    assert seen[base.id] == 2.3
    assert seen[theirs[0].id] != 1.9
    assert abs(seen[theirs[0].id] - 1.9) < 10 * asked.noise_sd
    assert seen[theirs[1].id] == 1.9
    assert theirs[2].id not in seen
    assert theirs[3].id not in seen
    assert seen[failed.id] > 10
    assert seen == {one.entry.id: one.value for one in observations(asked)}


def test_what_was_stopped_early_is_the_median_for_a_sampler_and_no_failure():
    base = entry()
    numbers = [entry(n, bpb, base, depth=n) for n, bpb in ((3, 2.0), (4, 1.8), (5, 3.0), (6, 2.5))]
    stopped = [
        entry(n, None, base, author, outcome=Outcome.CENSORED, dropout=0.3, depth=n - 6)
        for n, author in ((7, ME), (8, PEER), (9, PEER))
    ]
    asked = request([base, *numbers, *stopped])
    seen = {one.entry.id: one.value for one in observations(asked)}
    assert {seen[one.id] for one in stopped} == {2.3}
    assert Feasibility(asked).p_fails({**BASE, "dropout": 0.3}) == 0.0, "nothing here has failed"
    crashed = [entry(n, None, base, outcome=Outcome.DIVERGED, learning_rate=2e-2, depth=n) for n in range(1, 7)]
    learned = Feasibility(request([base, *numbers, *stopped, *crashed]))
    assert learned.p_fails({**BASE, "learning_rate": 2e-2}) > 0.5
    assert learned.p_fails({**BASE, "dropout": 0.3}) < 0.2
    only = [one.entry.id for one in observations(request(stopped))]
    assert only == [], "there is nothing to be the median of"


def test_another_class_is_never_an_observation():
    base = entry()
    theirs = entry(2, 1.0, author=PEER, track=OTHER_TRACK, depth=7)
    assert [one.entry for one in observations(request([base], other_tracks=[theirs]))] == [base]


def test_a_cpu_moves_what_is_cheap_and_a_gpu_its_shape():
    shares = {}
    for hardware in ("cpu-x86_64-2", "cuda-h100"):
        asked = request(track=Track(hardware_class=hardware, budget_seconds=TRACK.budget_seconds))
        moved = [changes(BASE, mutate(asked, BASE, random.Random(seed), 1)) for seed in range(300)]
        shares[hardware] = sum("depth" in one or "width" in one for one in moved)
    assert shares["cuda-h100"] > 1.5 * shares["cpu-x86_64-2"]
    assert shares["cpu-x86_64-2"] > 20  # a preference, not a ban
