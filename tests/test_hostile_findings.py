"""Well-signed findings and replays that say hostile things: they crash no view and reach no screen raw."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgpack
import pytest
from samples import TRACK, make_finding
from small_home import furnish
from small_lab import ALICE, BOB, BRIEF, BRIEF_BYTES, BRIEF_ID, PeerLog

from gossip.identity import load_or_create
from node.cli import findings, look, standings
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.notebook import Notebook, entry_of
from node.replays.agreement import agreement
from node.report.run_files import RunMaterial, commit_message, commit_trailers, run_files
from node.views import Archive, branches, open_archive
from swarm.brief import decode_brief, source_sha256
from swarm.finding import encode_finding
from swarm.ledger import Entry
from swarm.replay import Replay, encode_replay
from swarm.trial import CurvePoint
from swarm.words import BriefError, MalformedRecord, Outcome

Change = Callable[[dict[str, Any]], object]  # of a finding's fields, in place
ESCAPES = (
    "\x1b[2J\x1b]0;pwned\x07\x9b31m\x00\r\u202e\u2066\u200b<script>alert(1)</script>|`![x](http://evil.example)\n# big"
)
PROPOSAL, VERDICT = "proposal", "verdict"


def sound() -> dict[str, Any]:
    return msgpack.unpackb(encode_finding(make_finding(BRIEF, 2, 1.9, width=96)))


def verdict(**fields: object) -> Change:
    """Against a parent nobody knows: then the numbers are calculated with."""

    def change(made: dict[str, Any]) -> None:
        made[PROPOSAL]["parent"] = "e" * 64
        made[VERDICT] |= {"effect": 0.1, "interval": 0.1, "p_better": 0.5, "parent_scores": [2.0]} | fields

    return change


def trial(**fields: object) -> Change:
    return lambda made: made["trials"][0].update(fields)


def curve(*points: tuple[float, float]) -> Change:
    return trial(curve=[{"step": n, "seconds": s, "train_loss": loss} for n, (s, loss) in enumerate(points)])


TAKEN: dict[str, Change] = {
    "texts with escapes": lambda made: (
        made.update(node_name=ESCAPES[:40]),
        made[PROPOSAL].update(title=ESCAPES[:120], rationale=ESCAPES * 8),
    ),
    "only invisible characters": lambda made: (
        made.update(node_name="\u200b\u202e"),
        made[PROPOSAL].update(title="\x1b\x07", rationale="\0"),
    ),
    "a title of marks that pile up": lambda made: made[PROPOSAL].update(title="e" + "\u0301" * 119),
    "a crash whose reason has escapes": lambda made: made["trials"][0].update(
        outcome="crashed", val_bpb=None, reason=ESCAPES * 3
    ),
    "a source with escapes": lambda made: _carry(made, f"print('{ESCAPES}')\r\n" + "\x1b[31m\n" * 300),
    "an empty source": lambda made: _carry(made, ""),
    "64 scores of the parent, the largest there are": verdict(parent_scores=[63.9] * 64),
    "scores of the parent far apart": verdict(parent_scores=[5e-324, 63.9, 1e-300]),
    "no score of the parent": verdict(parent_scores=[]),
    "noise as small as it gets": verdict(noise_sd=1e-9),
    "noise as large as it gets": verdict(noise_sd=63.9, noise_dof=1e6),
    "noise that rests on next to nothing": verdict(noise_dof=0.1),
    "an effect as large as it gets": verdict(effect=-63.9, interval=1.7e308),
    "a curve that runs backwards": curve((9.0, 1.0), (5.0, 2.0), (0.0, 3.0)),
    "a curve of one moment": curve((1.0, 1.0), (1.0, 2.0), (1.0, 1.0)),
    "a curve from one end to the other": curve((0.0, -1.7e308), (1.0, 1.7e308), (1e308, -1.7e308)),
    "no steps at all": trial(curve=[], steps=0, tokens=0, seconds=0.0),
    "the largest counts": trial(steps=2**53 - 1, tokens=2**53 - 1, parameters=2**53 - 1, peak_memory_bytes=2**53 - 1),
    "the largest times": lambda made: made.update(
        trials=[made["trials"][0] | {"seconds": 1e9, "seed": -(2**53) + 1}] * 32
    ),
    "the largest run number": lambda made: made.update(number=2**53 - 1),
    "a score next to zero": trial(val_bpb=5e-324),
    "a score next to 64": trial(val_bpb=63.999999999999986),
    "its parent's trials on other tracks": lambda made: made.update(
        parent_trials=[
            made["trials"][0] | {"track": {"hardware_class": f"h{n}", "budget_seconds": 1e-300}} for n in range(32)
        ]
    ),
    "its own parent unknown, inspired by unknown ones": lambda made: made[PROPOSAL].update(
        parent="f" * 64, inspirations=["0" * 64] * 16
    ),
    "all trials contended": trial(condition="contended", foreign_cores=1e308),
    "another track": trial(track={"hardware_class": "z" * 64, "budget_seconds": 604800}),
}
REFUSED: dict[str, Change] = {
    "a parent with escapes": lambda made: made[PROPOSAL].update(parent=ESCAPES),
    "inspirations with escapes": lambda made: made[PROPOSAL].update(inspirations=[ESCAPES]),
    "a setting with escapes": lambda made: made[PROPOSAL]["config"].update(norm=ESCAPES),
    "a setting's name with escapes": lambda made: made[PROPOSAL]["config"].update({ESCAPES: 1}),
    "an infinite setting": lambda made: made[PROPOSAL]["config"].update(learning_rate=float("inf")),
    "an effect without its interval and chance": lambda made: made[VERDICT].update(effect=0.1),
    "a chance without its effect": lambda made: made[VERDICT].update(p_better=0.5),
    "trials on two tracks": lambda made: made["trials"].append(
        made["trials"][0] | {"track": {"hardware_class": "other", "budget_seconds": 1.0}}
    ),
    "times whose sum is infinite": trial(seconds=1.7e308),
    "no trials": lambda made: made.update(trials=[]),
    "a date with a screenful of digits": lambda made: made.update(started_at="2026-01-01T00:00:00." + "1" * 5000 + "Z"),
    "a proposer with escapes": lambda made: made[PROPOSAL].update(proposer="x" + ESCAPES),
}


def _carry(made: dict[str, Any], source: str) -> None:
    made[PROPOSAL].update(source=source, source_sha256=source_sha256(source))


def packed(change: Change) -> bytes:
    made = sound()
    change(made)
    return msgpack.packb(made)


def hostile_replays(known: Entry) -> list[bytes]:
    key, first = known.finding.proposal.key, known.finding.trials[0]
    wild = (CurvePoint(step=1, seconds=0.5, train_loss=-1.7e308), CurvePoint(step=9, seconds=9.0, train_loss=1.7e308))
    backwards = (wild[1], wild[0], wild[1])
    plain = Replay(of=known.id, key=key, started_at="2026-01-01T00:00:00Z", trial=first, node_name=ESCAPES[:40])
    changes: list[dict[str, Any]] = [
        {"of": "9" * 64},
        {"key": "9" * 64},
        {"of": "9" * 64, "key": "9" * 64, "steps": 1},
        {"trial": first.model_copy(update={"curve": wild})},
        {"trial": first.model_copy(update={"curve": backwards}), "steps": 2**53 - 1, "curve_deviation": 1.7e308},
        {"trial": first.model_copy(update={"outcome": Outcome.CRASHED, "val_bpb": None, "reason": ESCAPES})},
        {"trial": first.model_copy(update={"track": TRACK.model_copy(update={"hardware_class": "other"})})},
        {"trial": first.model_copy(update={"outcome": Outcome.MEASURED, "val_bpb": 5e-324})},
    ]
    return [encode_replay(plain.model_copy(update=change)) for change in changes]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose node has heard all of them."""
    home = furnish(tmp_path_factory.mktemp("hostile") / "home")
    journal = Journal(home.journal)
    notebook = Notebook(decode_brief(BRIEF_BYTES), journal.of(BRIEF_ID), load_or_create(home.key), Events())
    log = PeerLog(BOB)
    for change in TAKEN.values():
        assert notebook.receive(log.sign(packed(change))) is None
    for entry in notebook.ledger.entries():
        for payload in hostile_replays(entry):
            assert notebook.receive(log.sign(payload, "replay")) is None
    notebook.journal.validate()
    journal.close()
    return home


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED.keys())
def test_what_no_reader_could_use_is_refused_at_the_door(change: Change) -> None:
    with pytest.raises((MalformedRecord, BriefError)):
        entry_of(PeerLog(ALICE).sign(packed(change)), BRIEF)


def test_what_they_are_changes_of_is_sound() -> None:
    assert entry_of(PeerLog(ALICE).sign(packed(lambda made: None)), BRIEF).finding.val_bpb == 1.9


def unprintable(text: str) -> str:
    """What of a text would act on a terminal, or hide in it."""
    return "".join(sorted({c for c in text if unicodedata.category(c)[0] == "C" and c not in "\n\t"}))


def shown(capsys: pytest.CaptureFixture[str], home: Home, command: click.Command, *arguments: str) -> str:
    command.main([*arguments, "--home", str(home.path)], standalone_mode=False)
    out, err = capsys.readouterr()
    assert (unprintable(out), unprintable(err)) == ("", ""), f"{command.name} {arguments}"
    return out


def not_json(text: str) -> object:
    raise AssertionError(f"{text} is not JSON")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (look.status, ()),
        (findings.log, ()),
        (findings.log, ("--all",)),
        (standings.leaderboard, ()),
        (standings.leaderboard, ("--all-classes",)),
        (standings.branches, ()),
    ],
    ids=lambda value: value.name if isinstance(value, click.Command) else " ".join(value),
)
def test_every_list_is_shown_whole_and_clean(
    capsys: pytest.CaptureFixture[str], home: Home, command: click.Command, arguments: tuple[str, ...]
) -> None:
    assert "script>" not in shown(capsys, home, command, *arguments).replace("<script>", "")  # text stays, as text
    assert json.loads(shown(capsys, home, command, *arguments, "--json"), parse_constant=not_json)


def test_every_finding_can_be_shown_and_compared(capsys: pytest.CaptureFixture[str], home: Home) -> None:
    with open_archive(home) as archive:
        ids = [entry.id for entry in archive.ledger.entries()]
    assert len(ids) >= len(TAKEN)
    for number, id in enumerate(ids):
        for command, references in ((findings.show, (id,)), (findings.diff, (ids[number - 1], id))):
            shown(capsys, home, command, *references)
            assert json.loads(shown(capsys, home, command, *references, "--json"), parse_constant=not_json)


async def test_the_ledger_answers_every_question(home: Home) -> None:
    with open_archive(home) as archive:
        ledger = archive.ledger
        for entry in ledger.entries():
            ledger.standing(entry), ledger.follows(entry), ledger.score(entry), ledger.own_scores(entry)
            for one in ledger.replays(entry.id):
                found = agreement(ledger, archive.brief.acceptance, entry, one)
                json.dumps([found.difference, found.allowed, found.curve_deviation], allow_nan=False)
        for track in ledger.tracks():
            assert len(ledger.ranked(track)) <= len(ledger.measured(track=track))
        assert (await branches(archive))["branches"]


def material(archive: Archive, entry: Entry) -> RunMaterial:
    """As if it were our own, with a hostile parent and hostile inspirations."""
    entries = archive.ledger.entries()
    others = [one for one in entries if one.id != entry.id]
    return RunMaterial(
        entry, b"frame", archive.brief, archive.brief_id, others[0], others, {}, others[1:5], log=ESCAPES * 100
    )  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_a_run_folder_is_written_and_clean(home: Home, name: str) -> None:
    with open_archive(home) as archive:
        at = list(TAKEN).index(name)
        author = [entry for entry in archive.ledger.entries() if entry.author == BOB.peer_id]
        entry = next(one for one in author if one.seq == at + 1)
        made = material(archive, entry)
        files = run_files(made)
        texts = {
            path: data.decode()
            for path, data in files.items()
            if path.endswith((".md", ".tsv", ".csv", ".txt", ".diff"))
        }
        texts |= {"message": commit_message(made), "trailers": "".join(commit_trailers(made).values())}
        assert {path: unprintable(text) for path, text in texts.items() if unprintable(text)} == {}
        assert not [path for path, text in texts.items() if path.endswith(".md") and "<script" in text]
        assert not [path for path in files if ".." in path or not Path(path).as_posix().isascii()]
        result = next(data for path, data in files.items() if path.endswith("result.json"))
        assert json.loads(result, parse_constant=not_json)["id"] == entry.id
        assert all(data.startswith(b"\x89PNG") for path, data in files.items() if path.endswith(".png"))
