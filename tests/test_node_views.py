"""What the looking commands answer, on a real home with two topics and a peer's findings; homes that lack things."""

import json
import re
import shutil
from pathlib import Path

import click
import pytest
from samples import TRACK
from small_home import GPU, OTHER_ID, furnish
from small_lab import ALICE, BRIEF_BYTES, BRIEF_ID

from gossip.identity import load_or_create
from node import views
from node.cli import findings, look, standings
from node.home import Home, NoHome
from node.journal import Journal, JournalError
from node.sealed import SealedScore
from node.views import NothingFound, open_archive
from swarm.ledger import Entry
from swarm.trial import Track
from swarm.words import FindingId


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return furnish(tmp_path_factory.mktemp("furnished") / "home")


@pytest.fixture
def archive(home):
    with open_archive(home) as archive:
        yield archive


def everything_in(path: Path) -> dict[str, bytes]:
    return {
        str(p): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file() and not p.name.endswith(("-wal", "-shm"))
    }


def test_status_of_the_topic_last_worked_on(archive, home):
    facts = views.status(archive)
    best = archive.ledger.branch_best(archive.me, TRACK)
    assert facts == {
        "peer_id": load_or_create(home.key).peer_id,
        "name": "tester",
        "topic": "small",
        "brief_id": BRIEF_ID,
        "hardware_class": TRACK.hardware_class,
        "budget_s": TRACK.budget_seconds,
        "sandbox": None,
        "proposer": "classic",
        "private": False,
        "home": str(home.path),
        "results_repository": str(home.path / "results"),
        "branch": f"nodes/{archive.me}/small",
        "running": False,
        "experiments": 3,
        "findings_known": 6,
        "best": {"id": best.id, "val_bpb": 2.0, "score": archive.score(best)},
        "noise": {"sd": 0.009, "dof": 100.0},
        "arms": [
            {
                "arm": "classic",
                "experiments": 3,
                "trials": 3,
                "kept": 2,
                "improvement_per_trial": pytest.approx(7.407, abs=1e-3),
            }
        ],
        "early_stop": {"stopped": 0, "saved_seconds": 0.0, "saved_share": 0.0},
        "steering": {"pin": {}, "ban": [], "ban_values": {}, "program_edited": False, "problem": None},
        "refused_proposals": {},
        "model": None,
        "drift": None,
        "peers": [],
        "addresses": ["/ip4/127.0.0.1/tcp/4001"],
        "training_share": 0.97,
        "current": None,
        "claims": None,
        "started_at": "2026-01-01T00:00:00Z",
    }


def test_status_while_the_node_runs_tells_its_peers_and_what_it_does(home):
    with home.lock(), open_archive(home) as archive:
        facts = views.status(archive)
        assert views.ticket(archive) == {"ticket": "swarm1abc", "running": True, "private": False}
    assert facts["running"]
    assert facts["peers"] == [ALICE.peer_id]
    assert facts["current"] == {"number": 4, "title": "next"}


@pytest.mark.parametrize("name", ["other", OTHER_ID])
def test_another_topic_of_the_home_is_not_mixed_up_with_the_one_that_runs(home, name):
    with home.lock(), open_archive(home, name) as archive:
        facts = views.status(archive)
        with pytest.raises(NothingFound, match=r"last worked on another topic.*swarm launch --topic other"):
            views.ticket(archive)
    assert (facts["topic"], facts["experiments"], facts["findings_known"]) == ("other", 1, 1)
    assert (facts["running"], facts["peers"], facts["current"], facts["addresses"]) == (False, [], None, [])
    assert (facts["training_share"], facts["started_at"]) == (None, None)
    assert (facts["hardware_class"], facts["budget_s"]) == (TRACK.hardware_class, TRACK.budget_seconds)
    assert facts["best"]["val_bpb"] == 2.2


def test_log_has_own_findings_by_number_or_everybodys(archive):
    own = views.log(archive)["findings"]
    assert [(f["number"], f["outcome"], f["verdict"]) for f in own] == [
        (1, "measured", "keep"),
        (2, "measured", "keep"),
        (3, "crashed", "discard"),
    ]
    assert all(re.fullmatch("[0-9a-f]{40}", finding["commit"]) for finding in own)
    assert own[1]["standing"] == "confirmed"
    everyone = views.log(archive, everyone=True)["findings"]
    assert len(everyone) == 6
    assert {finding["commit"] for finding in everyone if finding["peer"] == ALICE.peer_id} == {None}


def test_leaderboard_ranks_inside_one_track(archive):
    facts = views.leaderboard(archive)
    assert [(e["rank"], e["val_bpb"], e["node_name"]) for e in facts["entries"]] == [
        (1, 1.9, "eve"),
        (2, 2.0, "tester"),
        (3, 2.005, "tester"),
        (4, 2.2, "tester"),
    ]
    assert facts["other_tracks"] == 1
    whole = views.leaderboard(archive, all_tracks=True)
    assert [(e["rank"], e["hardware_class"]) for e in whole["entries"]][4:] == [(1, GPU.hardware_class)]
    assert whole["other_tracks"] == 0


def test_what_a_peer_wrote_is_printable_in_every_answer(archive, home):
    for facts in (views.leaderboard(archive), views.log(archive, everyone=True)):
        assert json.dumps(facts, ensure_ascii=False).isprintable()
    assert "[bold]wide" in [entry["description"] for entry in views.leaderboard(archive)["entries"]]


async def test_branches_names_those_here_and_authors_whose_branch_is_not(home):
    with open_archive(home) as archive:
        rows = {row["peer"]: row for row in (await views.branches(archive))["branches"]}
    mine, hers = rows[archive.me], rows[ALICE.peer_id]
    assert re.fullmatch("[0-9a-f]{40}", mine["head"])
    assert (mine["findings"], mine["best"]) == (3, 2.0)
    assert (hers["head"], hers["findings"], hers["name"]) == (None, 3, f"nodes/{ALICE.peer_id}/small")


@pytest.mark.parametrize("reference", ["2", "#2"])
def test_an_own_finding_is_found_by_number(archive, reference):
    assert views.find(archive, reference).finding.number == 2
    assert views.find(archive, reference).author == archive.me


@pytest.mark.parametrize("length", [8, 12, 64])
def test_a_finding_is_found_by_the_beginning_of_its_id_in_either_case(archive, length):
    for entry in archive.ledger.entries():
        if not entry.id[:length].isdigit():
            assert views.find(archive, entry.id[:length].upper()) == entry


def test_a_beginning_that_several_findings_share_is_refused_with_their_number(archive):
    known = archive.ledger.entries()[0]
    for tail in ("0", "1"):
        archive.ledger.apply(Entry("abcdef" + tail * 58, known.author, 90, 1, known.finding))
    with pytest.raises(NothingFound, match="'abcdef' is the beginning of 2 findings; give more characters"):
        views.find(archive, "abcdef")
    assert views.find(archive, "abcdef0").id == "abcdef" + "0" * 58


@pytest.mark.parametrize(
    "reference", ["", "#", "0", "4", "999999", "-1", "²", "٣", "abc", "zzzz", "%%%%", "f" * 65, "\x00" * 9]
)
def test_what_is_no_finding_is_said_in_one_sentence(archive, reference):
    with pytest.raises(NothingFound, match=r"^no finding '.*; own runs go by number, others by id: see swarm log"):
        views.find(archive, reference)


def test_show_adds_what_was_changed_and_the_curve(archive):
    first, second = views.show(archive, "1"), views.show(archive, "2")
    assert first["changes"] == {}
    assert second["changes"] == {"width": 128}
    assert second["curve"] == [[0.5, 5.5], [9.0, 2.5]]
    assert {key: second[key] for key in views.log(archive)["findings"][1]} == views.log(archive)["findings"][1]


@pytest.fixture
def scored(home, tmp_path):
    """A copy of the home in which the first finding and one of another track have sealed scores; and its findings."""
    copy = Home(shutil.copytree(home.path, tmp_path / "scored"))
    with open_archive(copy) as archive:
        own = archive.ledger.entries(author=archive.me)
    remember(copy, own[0].id, 2.2, 2.21)
    remember(copy, "9" * 64, 1.0, 1.5, GPU)
    return copy, own


def remember(home: Home, finding: str, val_bpb: float, sealed_bpb: float, track: Track = TRACK) -> None:
    journal = Journal(home.journal)
    journal.remember_sealed(SealedScore(FindingId(finding), BRIEF_ID, track, val_bpb, sealed_bpb, 1.0))
    journal.close()


def test_one_milestone_of_a_track_is_no_drift(scored):
    with open_archive(scored[0]) as archive:
        assert views.status(archive)["drift"] is None


def test_drift_of_two_milestones_and_what_show_says_of_each(scored):
    home, own = scored
    remember(home, own[1].id, 2.0, 2.0321)
    with open_archive(home) as archive:
        drift, shown = views.status(archive)["drift"], [views.show(archive, number)["sealed"] for number in "123"]
        findings = json.dumps(views.log(archive)["findings"])
    assert (drift["val_bpb"], drift["sealed_bpb"]) == (2.0, 2.0321)
    assert (drift["first_gap"], drift["gap"], drift["growth"]) == pytest.approx((0.01, 0.0321, 0.0221))
    assert drift["milestones"] == [{"id": own[n].id} | shown[n] for n in (0, 1)]
    assert shown[2] is None  # no milestone
    assert "sealed" not in findings
    assert "2.0321" not in findings


def test_a_terminal_shows_drift_in_one_line(scored, capsys):
    home, own = scored
    remember(home, own[1].id, 2.0, 2.0321)

    def shown(command: click.Command, *arguments: str) -> list[str]:
        command.main([*arguments, "--home", str(home.path)], standalone_mode=False)
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert "sealed 2.0321 (validation 2.0000; gap +0.0321, first milestone +0.0100)" in shown(look.status)
    assert "sealed 2.2100 (validation 2.2000; gap +0.0100)" in shown(findings.show, "1")
    assert not any(
        "sealed" in line for line in (*shown(findings.show, "3"), *shown(findings.log), *shown(standings.leaderboard))
    )


def test_diff_of_two_findings_and_of_one_with_itself(archive):
    gpu = archive.ledger.measured(track=GPU)[0]
    facts = views.diff(archive, "1", gpu.id)
    assert facts["config"] == {"width": [64, 256]}
    assert (facts["val_bpb"], facts["comparable"], facts["source"]) == ([2.2, 1.2], False, "")
    same = views.diff(archive, "1", "#1")
    assert (same["config"], same["comparable"], same["source"]) == ({}, True, "")


def test_looking_changes_nothing(home):
    before = everything_in(home.path)
    with open_archive(home) as archive:
        views.status(archive), views.log(archive), views.leaderboard(archive), views.show(archive, "1")
    assert everything_in(home.path) == before


def test_an_unknown_topic_names_those_there_are(home):
    with (
        pytest.raises(NothingFound, match=r"no topic 'pysource' in .*; it has other, small$"),
        open_archive(home, "pysource"),
    ):
        pass


def test_a_directory_without_a_node_is_no_home(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(NoHome, match="no node has run in"), open_archive(Home(path)):
            pass


@pytest.fixture
def bare(tmp_path) -> Home:
    """A node was started here and ended before it had a topic."""
    home = Home(tmp_path / "bare")
    home.create()
    load_or_create(home.key)
    return home


def test_a_home_without_a_journal_is_one_sentence(bare):
    with pytest.raises(JournalError, match="there is no journal at"), open_archive(bare):
        pass


def test_a_home_without_a_topic_is_one_sentence(bare):
    Journal(bare.journal).close()
    with pytest.raises(NothingFound, match="no topic has been worked on in"), open_archive(bare):
        pass
    with pytest.raises(NothingFound, match=r"no topic 'x' in .*; it has none"), open_archive(bare, "x"):
        pass


async def test_a_home_before_its_first_finding_has_empty_answers(bare):
    Journal(bare.journal).close()
    bare.save_brief(BRIEF_ID, BRIEF_BYTES)
    with open_archive(bare) as archive:
        facts = views.status(archive)
        assert (facts["experiments"], facts["best"], facts["hardware_class"], facts["name"]) == (0, None, None, "")
        assert views.log(archive) == {"findings": []}
        assert views.leaderboard(archive) == {"entries": [], "arms": [], "other_tracks": 0}
        assert [row["head"] for row in (await views.branches(archive))["branches"]] == [None]
        with pytest.raises(NothingFound, match="has not listened yet"):
            views.ticket(archive)
