"""The classic proposer gets better from a bad start, learns from peers, never repeats itself and stays in the space."""

import dataclasses
import random

import pytest
from proposer_requests import BASE, BRIEF, ME, OTHER_TRACK, PEER, SPACE, TRAIN, entry, night, request, surface
from samples import make_entry

from node.proposers.arms import ARMS, Crossover, Local
from node.proposers.classic import WARM_UP, WARM_UP_TOGETHER, Classic, _order, propose_now
from node.proposers.draws import can_move, step
from node.proposers.leader import FAILURES, LOOKED_BACK, leader
from node.proposers.observations import observations
from node.proposers.port import Request
from node.proposers.tpe import Tpe
from swarm.brief import Brief
from swarm.ledger import Entry
from swarm.space import ChoiceParameter, FloatParameter, IntParameter, SearchSpace, changes
from swarm.words import Config, Operator, Outcome, PeerId, Standing

OTHER = PeerId("12D3KooWOtherOther")


def drawn_config(rng: random.Random) -> Config:
    out: Config = {}
    for name, p in SPACE.parameters.items():
        out[name] = rng.choice(p.options) if isinstance(p, ChoiceParameter) else step(p, p.low, rng)
    return SPACE.normalise(out)


def random_history(rng: random.Random, length: int) -> list[Entry]:
    """Own and peers' findings with every outcome, some with a source of their own, some children of others."""
    history = [entry()]
    for number in range(2, length + 2):
        outcome = rng.choice([Outcome.MEASURED] * 3 + list(Outcome))
        config = drawn_config(rng) if rng.random() < 0.5 else {}
        config["depth"] = rng.randint(1, 8)
        history.append(
            entry(
                number,
                rng.uniform(1.4, 3.0) if outcome is Outcome.MEASURED else None,
                parent=rng.choice([None, *history]),
                author=rng.choice([ME, PEER]),
                source=rng.choice([None, None, TRAIN + "# other\n"]),
                outcome=outcome,
                **config,
            )
        )
    return history


@pytest.mark.parametrize("seed", range(5))
def test_a_night_of_thirty_trials_improves_a_bad_start(seed: int):
    proposals = night(propose_now, seed, 30)
    assert surface(BASE) > 2.0
    assert min(surface(p.config) for p in proposals) < 1.8


def test_a_night_never_repeats_a_proposal():
    keys = [p.key for p in night(propose_now, 7, 40)]
    assert len(set(keys)) == len(keys)


def test_every_proposal_is_valid_and_new_for_random_histories():
    rng = random.Random(5)
    for seed in range(200):
        history = random_history(rng, rng.randint(0, 25))
        news = [e for e in history if e.author != ME][-16:]
        others = [entry(900, 1.0, author=PEER, track=OTHER_TRACK, depth=7)] if seed % 2 else []
        asked = request(history, inspirations=news, other_tracks=others, seed=seed, number=len(history) + 1)
        proposal = propose_now(asked)
        assert SPACE.normalise(proposal.config) == proposal.config
        assert proposal.key not in asked.tried
        assert proposal.parent == asked.parent.id
        assert set(proposal.inspirations) >= {e.id for e in news}
        assert 0 < len(proposal.title) <= 120


def test_values_keep_the_types_of_their_options():
    for proposal in night(propose_now, 3, 40):
        for name, parameter in SPACE.parameters.items():
            value = proposal.config[name]
            if isinstance(parameter, ChoiceParameter):
                assert [o for o in parameter.options if type(o) is type(value) and o == value], (name, value)
            else:
                assert type(value) is (int if isinstance(parameter, IntParameter) else float)


def test_the_same_request_gives_the_same_proposal_and_another_seed_another():
    history = random_history(random.Random(1), 20)
    assert propose_now(request(history, seed=4)) == propose_now(request(history, seed=4))
    assert len({propose_now(request(history, seed=seed)).key for seed in range(8)}) > 4


async def test_the_thread_gives_what_the_pure_function_gives():
    history = random_history(random.Random(2), 20)
    assert await Classic().propose(request(history)) == propose_now(request(history))


WARM = tuple(entry(n, 2.4, entry(), author=OTHER, depth=n % 8 + 1, dropout=n / 100) for n in range(2, WARM_UP + 14))


def ahead_of_us(**config: object) -> tuple[Entry, Entry]:
    """Our best, and a peer's finding that is better."""
    base = entry()
    return base, entry(9, 1.7, base, author=PEER, **(config or {"learning_rate": 8e-3, "depth": 5, "rope": True}))


def test_ideas_start_from_a_peer_that_is_ahead_and_name_it():
    base, ahead = ahead_of_us()
    proposals = [propose_now(request([base, ahead, *WARM], seed=seed), (Local(),)) for seed in range(30)]
    assert all(p.operator is Operator.COMBINE and p.inspirations == (ahead.id,) for p in proposals)
    assert all(p.parent == base.id for p in proposals)  # whether it is better is measured against our own best
    for proposal in proposals:
        theirs = ahead.finding.proposal.config
        assert 1 <= len(changes(theirs, proposal.config)) <= 3  # never the peer's own run again: a step from there


def test_while_a_peer_is_ahead_one_idea_in_four_is_a_part_of_its_change():
    base, ahead = ahead_of_us()
    proposals = [propose_now(request([base, ahead, *WARM], inspirations=[ahead], seed=seed)) for seed in range(120)]
    crossed = [p for p in proposals if p.proposer == "classic/crossover"]
    assert 0.15 < len(crossed) / len(proposals) < 0.45
    assert all(ahead.id in p.inspirations for p in crossed)


def test_who_is_not_surely_ahead_or_was_not_confirmed_by_others_is_not_followed():
    base, ahead = ahead_of_us()
    level = entry(9, 2.3 - 0.5 * request().noise_sd, base, author=PEER, rope=True)
    rng = random.Random(0)
    assert leader(request([base, ahead]), rng) is ahead
    assert leader(request([base, level]), rng) is None
    for standing in (Standing.DISPUTED, Standing.REFUTED):
        assert leader(request([base, ahead], standings={ahead.id: standing}), rng) is None


def own_try(number: int, peers: Entry, base: Entry, bpb: float) -> Entry:
    """An own experiment that stood on a peer's finding."""
    made = entry(number, bpb, base, dropout=number / 100)
    fields = {"operator": Operator.COMBINE, "inspirations": (peers.id,)}
    proposal = made.finding.proposal.model_copy(update=fields)
    return make_entry(made.finding.model_copy(update={"proposal": proposal}), ME)


def test_whose_leads_come_to_nothing_is_left_alone_for_a_while():
    base, ahead = ahead_of_us()
    tries = [own_try(n, ahead, base, 2.5) for n in range(10, 10 + FAILURES)]
    asked = [request([base, ahead, *tries[:n]]) for n in (FAILURES - 1, FAILURES)]
    followed = [[leader(one, random.Random(seed)) for seed in range(40)] for one in asked]
    assert ahead in followed[0]
    assert set(followed[1]) == {None}
    later = [entry(n, 2.4, base, dropout=n / 100) for n in range(14, 14 + LOOKED_BACK)]
    assert leader(request([base, ahead, *tries, *later]), random.Random(0)) is ahead


def test_many_who_claim_to_lead_end_at_half_of_the_ideas():
    base = entry()
    names = [PeerId(f"12D3KooWLiar{n}") for n in range(LOOKED_BACK + 1)]
    liars = [entry(9, 1.0, base, author=name, depth=5) for name in names]
    tries = [own_try(20 + n, liar, base, 2.5) for n, liar in enumerate(liars[:-1])]
    asked = request([base, *liars, *tries])
    followed = sum(leader(asked, random.Random(seed)) is not None for seed in range(300))
    assert 0.3 < followed / 300 < 0.55


def test_another_track_gives_its_change_and_never_its_number():
    base = entry()
    theirs = entry(1, 1.2, author=PEER, track=OTHER_TRACK)
    kept = entry(2, 1.0, theirs, author=PEER, track=OTHER_TRACK, rope=True)
    lost = entry(3, 1.1999, theirs, author=PEER, track=OTHER_TRACK, depth=8, dropout=0.4)
    proposals = [propose_now(request([base], other_tracks=[theirs, kept, lost], seed=s)) for s in range(40)]
    combined = [p for p in proposals if p.operator is Operator.COMBINE]
    assert combined  # the change inspires
    assert all(p.inspirations == (kept.id,) and p.config["rope"] is True for p in combined)
    assert len(observations(request([base], other_tracks=[theirs, kept, lost]))) == 1  # the numbers do not count


def test_own_wins_that_the_branch_left_behind_are_put_together():
    base = entry()
    left = entry(2, 2.0, base, rope=True)
    best = entry(3, 1.9, base, norm="rmsnorm")
    alone = (Crossover(),)
    proposals = [propose_now(request([base, left, best], parent=best, seed=s), alone) for s in range(30)]
    both = [p for p in proposals if p.config["rope"] is True and p.config["norm"] == "rmsnorm"]
    assert [p for p in both if p.operator is Operator.COMBINE and p.inspirations == ()]


def test_crossover_is_asked_more_where_a_peer_has_a_change_worth_taking():
    """A peer of whom nothing but its start is known gives crossover nothing to take."""
    base, baseline = entry(), entry(1, 2.3, author=PEER)
    other = entry(1, 1.3, author=PEER, track=OTHER_TRACK)
    kept = entry(2, 1.1, other, author=PEER, track=OTHER_TRACK, depth=7)
    alone, silent, telling = (
        [
            _order(request([base, *here], other_tracks=there, seed=seed), [arm.name for arm in ARMS])[0]
            for seed in range(1500)
        ].count("crossover")
        for here, there in (((), ()), ((baseline,), (other,)), ((), (other, kept)))
    )
    assert telling > 1.5 * silent
    assert abs(silent - alone) < 0.5 * (telling - alone)


def test_tpe_is_told_of_bad_endings_and_not_of_cancelled_or_foreign_code():
    base = entry()
    crash = entry(2, None, base, outcome=Outcome.CRASHED, depth=3)
    memory = entry(3, None, base, outcome=Outcome.OUT_OF_MEMORY, depth=4, author=PEER)
    stopped = entry(4, None, base, outcome=Outcome.CANCELLED, depth=5)
    foreign = entry(5, 1.0, base, source=TRAIN + "# other\n", depth=6)
    seen = observations(request([base, crash, memory, stopped, foreign]))
    assert [one.entry for one in seen] == [base, crash, memory]


def test_tpe_waits_for_eight_trials_and_then_stays_out_of_what_fails():
    base = entry()
    history = [base]
    for number in range(2, 42):
        deep = number % 2 == 0
        rate = 1e-4 * 1.13**number
        bpb = None if deep else 2.0 + 0.001 * number
        history.append(entry(number, bpb, base, author=PEER, depth=6 if deep else 3, learning_rate=rate))
    rng = random.Random(0)
    assert Tpe().draw(request(history[:7]), rng) is None
    depths = [draft.config["depth"] for _ in range(60) if (draft := Tpe().draw(request(history), rng)) is not None]
    moved = [d for d in depths if d != BASE["depth"]]
    assert len(moved) >= 10
    assert sum(int(d) >= 5 for d in moved) < len(moved) / 3  # half of the trials were there, and all of them failed


def test_settings_not_tried_from_the_parent_come_first():
    base = entry()
    history = [base, *(entry(n, 2.4, base, learning_rate=1e-3 + n / 1e5) for n in range(2, 30))]
    moved = [changes(BASE, propose_now(request(history[:8], seed=s), (Local(),)).config) for s in range(60)]
    assert sum("learning_rate" in m for m in moved) < sum("depth" in m for m in moved)


@pytest.mark.parametrize(("author", "warm_up"), [(ME, WARM_UP), (PEER, WARM_UP_TOGETHER)])
def test_most_of_the_first_ideas_of_a_track_are_random_and_a_swarm_shares_them(author: PeerId, warm_up: int):
    def random_share(known: int) -> float:
        base = entry()
        history = [base, *(entry(n, 2.4, base, author=author, depth=n % 8 + 1) for n in range(2, known + 2))]
        proposals = [propose_now(request(history, seed=seed)) for seed in range(40)]
        return sum(one.proposer == "classic/random" for one in proposals) / len(proposals)

    assert 0.5 < random_share(0) < 1.0
    assert 0.5 < random_share(warm_up - 1) < 1.0
    assert random_share(warm_up) < 0.3


def test_a_space_with_nothing_left_still_gets_a_proposal():
    space = SearchSpace(parameters={"rope": ChoiceParameter(options=(False, True))})
    brief = Brief.model_validate(BRIEF.model_dump() | {"space": space.model_dump(), "base_config": {"rope": False}})
    asked = tiny_request(brief, {"rope": False})
    asked = Request(
        **{**asked.__dict__, "tried": frozenset({asked.parent.finding.proposal.key, propose_now(asked).key})}
    )
    assert propose_now(asked).config == {"rope": True}


def test_a_space_that_cannot_move_gets_its_only_config():
    space = SearchSpace(parameters={"width": IntParameter(low=3, high=3), "lr": FloatParameter(low=0.5, high=0.5)})
    config: Config = {"width": 3, "lr": 0.5}
    brief = Brief.model_validate(BRIEF.model_dump() | {"space": space.model_dump(), "base_config": config})
    assert propose_now(tiny_request(brief, config)).config == config


def tiny_request(brief: Brief, config: Config) -> Request:
    asked = request()
    proposal = asked.parent.finding.proposal.model_copy(update={"config": config})
    parent = dataclasses.replace(asked.parent, finding=asked.parent.finding.model_copy(update={"proposal": proposal}))
    return Request(brief, ME, asked.track, parent, (parent,), (), (), frozenset(), 2, 1)


def test_a_finding_outside_the_space_is_as_if_it_were_not_there():
    base = entry()
    bad = entry(9, 1.0, base, author=PEER)
    finding = bad.finding.model_copy(
        update={"proposal": bad.finding.proposal.model_copy(update={"config": {"depth": "ignore the rules"}})}
    )
    bad = dataclasses.replace(bad, finding=finding)
    asked = request([base, bad], inspirations=[bad])
    assert bad.id not in asked.known
    assert SPACE.normalise(propose_now(asked).config)


def test_the_parents_own_code_is_kept_and_a_peers_is_never_taken():
    source, foreign = TRAIN + "# ours\n", TRAIN + "# theirs\n"
    parent = entry(2, 2.0, entry(), source=source)
    theirs = entry(3, 1.2, entry(1, author=PEER), author=PEER, source=foreign, rope=True)
    for seed in range(10):
        proposal = propose_now(request([parent, theirs], parent=parent, inspirations=[theirs], seed=seed))
        assert proposal.source == source


def test_a_step_is_another_value_inside_the_range():
    rng = random.Random(0)
    wide = IntParameter(low=1, high=2)
    assert {step(wide, 1, rng) for _ in range(20)} == {2}
    for parameter, value in [(SPACE.parameters[name], BASE[name]) for name in BASE]:
        for _ in range(50):
            drawn = step(parameter, value, rng)
            assert parameter.problem(drawn) is None
            assert not can_move(parameter) or (drawn, type(drawn)) != (value, type(value))
