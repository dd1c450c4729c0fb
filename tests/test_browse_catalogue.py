"""The catalogue says what the ledger says, however records come; the table's questions are answered from its rows."""

import random

import pytest
from made_archive import make_archive
from small_lab import ALICE, BRIEF, BRIEF_ID, ME, PeerLog

from node.browse.catalogue import Catalogue, facet
from node.browse.column import COLUMNS, CONFIG, column, sort_rows
from node.browse.question import DEFAULT, Question, answer, read_question, select
from node.browse.reading import Reading
from node.journal import Journal
from node.views import open_archive
from swarm.words import PeerId, Standing

SETTINGS = tuple(BRIEF.space.parameters)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return make_archive(tmp_path_factory.mktemp("made") / "home", nodes=4, runs=25)


@pytest.fixture(scope="module")
def catalogue(home) -> Catalogue:
    return Reading(home).look(None, lambda sight: sight.catalogue)


def test_rows_say_what_the_ledger_says(home, catalogue):
    with open_archive(home) as archive:
        entries = archive.ledger.entries()
        assert [row.id for row in catalogue.rows()] == [entry.id for entry in entries]
        assert any(row.standing is not Standing.CLAIMED for row in catalogue.rows())
        for row, entry in zip(catalogue.rows(), entries, strict=True):
            score = None if entry.val_bpb is None else archive.ledger.score(entry)
            assert row.standing is archive.ledger.standing(entry)
            assert row.mean == (None if score is None else pytest.approx(score.mean))
            assert catalogue.interval(row) == (None if score is None else score.interval)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_same_whatever_the_order_and_however_often_it_was_looked_at(home, catalogue, seed):
    journal, rng = Journal(home.journal, readonly=True), random.Random(seed)
    records = list(journal.of(catalogue.brief_id).records())
    journal.close()
    rng.shuffle(records)
    other = Catalogue(catalogue.brief_id, catalogue.brief, catalogue.me)
    for number, record in enumerate(records + records[:20]):
        other.add(record)
        if number % 37 == 0:
            other.rows()
    assert other.rows() == catalogue.rows()
    assert other.facets() == catalogue.facets()


def test_an_author_that_contradicted_itself_leaves_nothing_behind():
    catalogue, alice = Catalogue(BRIEF_ID, BRIEF, PeerId(ME.peer_id)), PeerLog(ALICE)
    catalogue.add(alice.finding(1.9))
    catalogue.add(PeerLog(ME).finding(2.0))
    catalogue.forget(PeerId(ALICE.peer_id))
    assert [row.peer for row in catalogue.rows()] == [ME.peer_id]


def test_what_is_kept_has_no_curves_and_no_sources(catalogue):
    findings = [entry.finding for entry in catalogue.ledger.entries()]
    assert not [one for one in findings if one.proposal.source or any(trial.curve for trial in one.trials)]


def test_best_is_the_lowest_kept_score(catalogue):
    for track, _ in catalogue.tracks():
        best, rows = catalogue.best(catalogue.of_track(track)), catalogue.of_track(track)
        assert best.mean == min(row.mean for row in rows if row.kept and row.standing is not Standing.REFUTED)
    assert catalogue.best([]) is None


def test_a_path_begins_at_a_beginning_and_each_step_is_the_parent_of_the_next(catalogue):
    row = catalogue.best(catalogue.rows())
    path = catalogue.path(row)
    assert path[0].parent is None
    assert path[-1] == row
    assert [one.id for one in path[:-1]] == [one.parent for one in path[1:]]


# --- questions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["node", "arm", "status", "standing", "class", "budget"])
def test_a_filter_leaves_exactly_the_rows_with_one_of_its_words(catalogue, name):
    for value, number in catalogue.facets()[name].items():
        found = select(catalogue.rows(), read_question([(name, value)], SETTINGS))
        assert len(found) == number
        assert {facet(row, name) for row in found} == {value}


def test_every_word_of_a_search_has_to_be_there(catalogue):
    found = select(catalogue.rows(), read_question([("q", "  TPE   rope ")], SETTINGS))
    assert found
    assert len(found) < len(catalogue.rows())
    assert all("tpe" in row.text and "rope" in row.text for row in found)
    assert select(catalogue.rows(), read_question([("q", "no such words at all")], SETTINGS)) == []


@pytest.mark.parametrize("name", [*COLUMNS, f"{CONFIG}learning_rate", f"{CONFIG}norm", f"{CONFIG}rope"])
@pytest.mark.parametrize("descending", [False, True])
def test_every_column_sorts_and_rows_without_a_value_stand_last(catalogue, name, descending):
    by = column(name, catalogue.brief.space.parameters)
    keys = [by.key(row) for row in sort_rows(catalogue.rows(), by, descending=descending)]
    known = [key for key in keys if key is not None and key != ""]
    assert len(keys) == len(catalogue.rows())
    assert known == sorted(known, reverse=descending)
    assert keys[: len(known)] == known


def test_pages_hold_every_row_once(catalogue):
    question = read_question([("per", "7"), ("sort", "val_bpb")], SETTINGS)
    pages = [answer(catalogue.rows(), Question(**{**question.__dict__, "page": n}), SETTINGS)[0] for n in range(1, 16)]
    assert sorted(row.id for page in pages for row in page) == sorted(row.id for row in catalogue.rows())
    assert answer(catalogue.rows(), read_question([("page", "999999")], SETTINGS), SETTINGS)[2] == 2


def test_a_question_survives_its_own_address():
    rng = random.Random(4)
    for _ in range(300):
        pairs = [
            (rng.choice(["node", "arm", "status", "q", "sort", "cols", "col", "page", "per", "class", "x"]),
             rng.choice(["", "a", "-when", "run,id", "config.width", "7", "-1", "1e9", "²", "keep", "effect", "☃ x"]))
            for _ in range(rng.randrange(6))
        ]  # fmt: skip
        question = read_question(pairs, SETTINGS)
        assert read_question(question.pairs(), SETTINGS) == question


def test_what_cannot_be_understood_in_an_address_is_left_out():
    pairs = [("sort", "../x"), ("cols", "run,nope,config.nope"), ("page", "0"), ("per", "99999999999"), ("status", "")]
    question = read_question(pairs, SETTINGS)
    assert (question.sort, question.descending, question.columns) == ("when", True, ("run",))
    assert (question.page, question.per_page, question.chosen) == (1, 50, {})
    assert read_question([], SETTINGS) == Question(columns=DEFAULT)


def test_a_filter_can_be_taken_away_alone():
    question = read_question([("status", "keep"), ("status", "discard"), ("arm", "tpe"), ("page", "3")], SETTINGS)
    assert question.without("status", "keep") == [("arm", "tpe"), ("status", "discard")]
