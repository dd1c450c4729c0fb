"""Noise of a track: what each author can know of it, and that many authors of one thing cost no more than each their
share."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import TRACK, make_brief, make_entry, make_finding, make_trial

import swarm.ledger
import swarm.track_noise
from swarm.brief import Acceptance
from swarm.ledger import Ledger
from swarm.track_noise import CLASS_NOISE_DOF, TrackSpreads
from swarm.verdict import Noise, pooled_spreads, prior_noise
from swarm.words import PeerId, Standing

RULE = Acceptance()
MANY = 120  # authors
squares = st.sampled_from([0.0, 1e-9, 1e-4, 2e-4, 5e-3, 1.0])
spreads = st.lists(st.tuples(squares, st.integers(1, 3)), min_size=1, max_size=4)


def by_definition(found, author):
    """Own repeats on top of the median of what others found, or of the brief's guess."""
    others = [pooled_spreads(one, Noise(RULE.noise_sd, 1e-9)) for who, one in found.items() if who != author]
    sds = [noise.sd for noise in others if noise.dof >= 2 and noise.sd > 0]
    prior = Noise(median(sds), CLASS_NOISE_DOF) if sds else prior_noise(RULE)
    return pooled_spreads(found.get(author, ()), prior)


@given(st.dictionaries(st.sampled_from([PeerId(f"peer{n}") for n in range(7)]), spreads))
def test_each_author_is_left_out_of_what_others_found(found):
    known = TrackSpreads(RULE)
    for author, one in found.items():
        for key, spread in enumerate(one):
            known.note(author, str(key), (9.0, 9))  # as it was, before more was found
            known.note(author, str(key), spread)
        known.noise()
    known.note(PeerId("once"), "thing", None)
    noise = known.noise()
    for author in (*found, PeerId("nobody")):
        assert noise.known_to(author) == by_definition(found, author)


@pytest.fixture
def counted(monkeypatch):
    """How often numbers are compared, and spreads put together."""
    calls = {"agree_on_means": 0, "pooled_spreads": 0}

    def count(module, name):
        real = getattr(module, name)

        def counting(*arguments):
            calls[name] += 1
            return real(*arguments)

        monkeypatch.setattr(module, name, counting)

    count(swarm.ledger, "agree_on_means")
    count(swarm.track_noise, "pooled_spreads")
    return calls


def test_hundreds_who_ran_the_same_start_cost_each_their_share(counted):
    brief, ledger = make_brief(), Ledger(RULE)
    entries = []
    for number in range(MANY):
        finding = make_finding(brief, 1, 2.0)
        thrice = (make_trial(2.0 + number * 1e-5), make_trial(2.001), make_trial(2.002))
        entries.append(make_entry(finding.model_copy(update={"trials": thrice}), f"12D3KooWAuthor{number:04}"))
    for entry in entries:
        ledger.apply(entry)
    assert {ledger.standing(entry) for entry in entries} == {Standing.CONFIRMED}
    assert all(ledger.noise(TRACK, entry.author).dof > CLASS_NOISE_DOF for entry in entries)
    assert counted["agree_on_means"] == MANY  # the first of the others settles it
    assert counted["pooled_spreads"] <= 2 * MANY
