"""Pins, bans and program.md: what a person says while a node runs holds for every proposal, and all can see it."""

import json
import random
import sys
import tomllib

import pytest
import trio
from proposer_requests import BASE, SPACE, entry
from proposer_requests import request as make_request
from samples import PLENTY, make_finding, make_trial
from small_home import OTHER, OTHER_ID, furnish
from small_lab import BRIEF, BRIEF_ID, ME, Scripted, make_world, notebook_at

from node import views
from node.cli import main
from node.events import Events, FindingRecorded, Notice, Steered, TrialStarted, event_json
from node.home import Home
from node.proposers.arms import ARMS
from node.proposers.classic import propose_now
from node.proposers.port import build_proposal, is_new
from node.proposers.prompt import build_messages
from node.proposers.steering import Steering, SteeringError, read_value
from node.recording import Recorder
from node.research import research
from node.results.repository import open_results
from node.screen import describe
from node.steering import Helm, files_of, load_steering, read_program, save_steering, say, settle
from node.trials.trainer import TrialReport
from swarm.words import Operator

REPORT = [TrialReport(make_trial(2.0), (), "step 1\n", 9.5)]
STEERED = Steering({"depth": 4}, ("rope",), {"width": (64, 192), "norm": ("layernorm",)})


# --- the rule on a config ---


def test_a_pin_a_ban_and_a_banned_value_in_one_config():
    wanted = {**BASE, "depth": 7, "rope": True, "width": 192, "learning_rate": 2e-3}
    found = STEERED.config(wanted, {**BASE, "width": 128, "norm": "rmsnorm"}, SPACE)
    assert found == {**wanted, "depth": 4, "rope": False, "width": 128, "norm": "rmsnorm"}


def test_where_the_parent_has_a_banned_value_itself_another_one_is_taken():
    found = STEERED.config(BASE, BASE, SPACE)
    assert (found["width"], found["norm"]) == (32, "rmsnorm")
    SPACE.check(found)


def test_without_steering_nothing_changes():
    assert Steering().config(BASE, BASE, SPACE) == BASE
    assert not Steering()
    assert Steering().words() == ""


@pytest.mark.parametrize(
    ("steering", "sentence"),
    [
        (Steering({"dept": 4}), "there is no setting 'dept'; the search space has depth, dropout"),
        (Steering(bans=("colour",)), "there is no setting 'colour'"),
        (Steering({"depth": 9}), "depth = 9 is outside 1..8"),
        (Steering({"depth": True}), "depth = True is not a whole number"),
        (Steering({"dropout": float("nan")}), "dropout = nan is not a finite number"),
        (Steering({"depth": 4}, banned_values={"depth": (4,)}), "depth = 4 is pinned and banned at once"),
        (Steering(banned_values={"rope": (True, False)}), "every value of rope would be banned"),
        (Steering(BASE), "nothing would be left to try: every setting is pinned or banned"),
        (Steering({}, tuple(BASE)), "nothing would be left to try: every setting is pinned or banned"),
    ],
)
def test_what_does_not_fit_the_space_is_said_in_one_sentence(steering, sentence):
    assert steering.problem(SPACE).startswith(sentence)


def test_what_fits_has_no_problem_and_can_be_said():
    assert STEERED.problem(SPACE) is None
    assert STEERED.words() == "pinned depth = 4; banned rope, width = 64, width = 192, norm = layernorm"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("depth", "4", 4), ("dropout", "0", 0.0), ("learning_rate", "3e-3", 3e-3), ("norm", "rmsnorm", "rmsnorm"),
        ("rope", "true", True), ("rope", "True", True), ("odd", "1", 1), ("odd", "1.0", 1.0),
        ("odd", '"1"', "1"), ("odd", "0", 0),
    ],
)  # fmt: skip
def test_values_are_read_as_the_space_has_them(name, text, value):
    read = read_value(name, text, SPACE)
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize("text", ["", "x", "9", "4.5", "true", "NaN", "1e999", "[4]", "9" * 400, "[" * 5000, "\x1b[2J"])
def test_what_is_no_value_is_refused_with_the_range(text):
    with pytest.raises(SteeringError, match=r"^depth cannot be .{0,80}; it may be a whole number from 1 to 8$"):
        read_value("depth", text, SPACE)


# --- every arm ---


def history():
    rng, made = random.Random(5), [entry()]
    for number in range(2, 26):
        config = {"depth": rng.randint(1, 7), "width": rng.choice((32, 64, 96, 128)), "rope": rng.random() < 0.5}
        made.append(entry(number, 2.3 - 0.01 * number, made[0], proposer="classic/local", **config))
    return made


@pytest.mark.parametrize("arm", [*ARMS, None], ids=lambda arm: arm.name if arm else "portfolio")
def test_no_arm_proposes_what_is_steered_away(arm):
    made = history()
    asked = [make_request(made, parent=made[-1], number=26 + n, seed=n) for n in range(2)]
    for request in asked:
        object.__setattr__(request, "steering", STEERED)
        proposal = propose_now(request, (arm,) if arm else ARMS)
        config, parent = proposal.config, request.parent_config
        assert config["depth"] == 4
        assert config["rope"] == parent["rope"]
        assert config["width"] not in (64, 192)
        assert config["norm"] == "rmsnorm"
        assert is_new(request, config)


def test_a_language_models_change_is_steered_like_any_other():
    request = make_request(history())
    object.__setattr__(request, "steering", STEERED)
    asked = {**BASE, "depth": 8, "dropout": 0.1}
    proposal = build_proposal(request, proposer="llm:x", operator=Operator.IMPROVE, config=asked)
    assert (proposal.config["depth"], proposal.config["dropout"]) == (4, 0.1)
    same = STEERED.config(BASE, BASE, SPACE)
    object.__setattr__(request, "tried", frozenset({build_proposal(
        request, proposer="llm:x", operator=Operator.TUNE, config=same).key}))  # fmt: skip
    assert not is_new(request, {**BASE, "depth": 8}), "what is left after steering was tried already"


# --- the files ---


def test_steering_survives_being_written(tmp_path):
    brief = BRIEF.model_copy(update={"space": SPACE, "base_config": BASE})
    steering = Steering({"learning_rate": 1e-05 * 50, "odd": "1", "depth": 3}, ("rope",), {"dropout": (0.1, 0.4)})
    save_steering(tmp_path / "steering.toml", steering)
    assert load_steering(tmp_path / "steering.toml", brief) == steering
    save_steering(tmp_path / "steering.toml", Steering())
    assert load_steering(tmp_path / "steering.toml", brief) == Steering()


@pytest.mark.parametrize(
    "text",
    [
        "pin = 3", "ban = 'rope'", "[ban_values]\nwidth = 3", "[pin]\nwidth = [64]", "[pin]\nwidth = 1979-05-27",
        "[pin]\nwidth = 9999", "colour = 1", "not toml", "\x00", "ban = [[1]]", "[pin]\nwidth = nan", "a" * 300_000,
        "[pin]\nwidth = " + "9" * 5000,
    ],
)  # fmt: skip
def test_a_broken_file_is_one_sentence(tmp_path, text):
    (tmp_path / "steering.toml").write_text(text)
    with pytest.raises(SteeringError) as error:
        load_steering(tmp_path / "steering.toml", BRIEF)
    assert str(error.value).count("\n") == 0
    assert len(str(error.value)) < 600


def test_whole_numbers_written_by_hand_are_floats_where_the_space_has_floats(tmp_path):
    (tmp_path / "steering.toml").write_text("[ban_values]\nlearning_rate = [0.001]\n[pin]\nwidth = 64\n")
    assert load_steering(tmp_path / "steering.toml", BRIEF).pins == {"width": 64}


def test_each_topic_of_a_home_has_its_own_files(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    save_steering(settle(home, BRIEF_ID, None).steering, Steering({"width": 64}))
    settle(home, OTHER_ID, BRIEF_ID)
    assert not (home.path / "steering.toml").exists()
    assert load_steering(files_of(home, BRIEF_ID, OTHER_ID).steering, BRIEF).pins == {"width": 64}
    settle(home, BRIEF_ID, OTHER_ID)
    assert load_steering(home.path / "steering.toml", BRIEF).pins == {"width": 64}


def test_what_is_said_is_a_dated_line_of_the_program(tmp_path):
    path = tmp_path / "program.md"
    line = say(path, BRIEF, "try a smaller\n# vocab\x1b[31m", 1_800_000_000.0)
    assert line == "- 2027-01-15: try a smaller # vocab"
    assert read_program(path, BRIEF) == f"Lower is better.\n{line}"


# --- while the node runs ---


@pytest.fixture
def world_of(tmp_path):
    worlds = []

    def make(*arguments, **options):
        home = Home(tmp_path / "steered")
        home.create()
        worlds.append(make_world(tmp_path, *arguments, steered=home, **options))
        return worlds[-1], home

    yield make
    for world in worlds:
        world.close()


async def test_a_pin_counts_from_the_next_proposal_on_whoever_has_it(world_of, autojump_clock):
    proposer = Scripted([{"learning_rate": 1e-3 + n / 1e5, "width": 40 + n} for n in range(1, 20)])
    world, home = world_of(proposer, stand_in=Scripted([{"learning_rate": 7e-3}], 0.0), experiments=6)

    def steer_at(number: int) -> None:
        if number == 3:
            save_steering(home.path / "steering.toml", Steering({"norm": "rmsnorm"}, ("width",)))

    world.trainer.on_begin = steer_at
    await research(world.lab, world.trainer)
    assert [f.proposal.config["norm"] for f in world.findings] == ["layernorm"] * 3 + ["rmsnorm"] * 3
    widths = [f.proposal.config["width"] for f in world.findings[3:]]
    parents = [world.notebook.ledger.get(f.proposal.parent).finding.proposal for f in world.findings[3:]]
    assert widths == [parent.config["width"] for parent in parents]
    said = [f.proposal.rationale for f in world.findings]
    remark = "Steered by the node's owner: pinned norm = rmsnorm; banned width."
    assert [text.endswith(remark) for text in said] == [False] * 3 + [True] * 3
    assert "norm layernorm → rmsnorm" in world.findings[3].proposal.title
    (event,) = world.happened(Steered)
    assert event_json(event)["pin"] == {"norm": "rmsnorm"}
    assert "pinned norm = rmsnorm; banned width; program.md is the brief's goal" in describe(event)


async def test_the_baseline_is_never_steered(world_of, autojump_clock):
    world, home = world_of(experiments=2)
    save_steering(home.path / "steering.toml", Steering({"width": 200}))
    await research(world.lab, world.trainer)
    baseline, first = world.findings
    assert baseline.proposal.config == BRIEF.base_config
    assert baseline.proposal.rationale.startswith("The brief's own start")
    assert "Steered" not in baseline.proposal.rationale
    assert first.proposal.config["width"] == 200


async def test_an_edited_program_reaches_the_prompt_and_is_said_once(world_of, autojump_clock):
    proposer = Scripted([{"learning_rate": 1e-3 + n / 1e5} for n in range(1, 20)])
    world, home = world_of(proposer, experiments=5)
    assert (home.path / "program.md").read_text() == "Lower is better.\n"

    def edit_at(number: int) -> None:
        if number == 3:
            (home.path / "program.md").write_text("Lower is better.\nLook at the tokenizer.\n")

    world.trainer.on_begin = edit_at
    await research(world.lab, world.trainer)
    goals = [request.brief.goal for request in proposer.requests]
    assert goals[0] == "Lower is better."
    assert set(goals[1:]) == {"Lower is better.\nLook at the tokenizer."}
    assert "Look at the tokenizer." in build_messages(proposer.requests[-1])[1].content
    said = ["program.md was edited" in f.proposal.rationale for f in world.findings]
    assert sum(said) == 1
    assert [event.program_edited for event in world.happened(Steered)] == [True]
    assert world.notebook.brief.goal == "Lower is better.", "the brief itself is what it was"


async def test_a_model_is_told_what_would_be_overruled(world_of, autojump_clock):
    proposer = Scripted([{"learning_rate": 1e-3 + n / 1e5} for n in range(1, 20)])
    world, home = world_of(proposer, experiments=2)
    save_steering(home.path / "steering.toml", Steering({"norm": "rmsnorm"}))
    await research(world.lab, world.trainer)
    assert "The owner of this node has pinned norm = rmsnorm." in build_messages(proposer.requests[0])[1].content


async def test_a_broken_file_changes_nothing_and_is_complained_of_once(world_of, autojump_clock):
    world, home = world_of(experiments=6)
    save_steering(home.path / "steering.toml", Steering({"norm": "rmsnorm"}))

    def spoil_at(number: int) -> None:
        if number == 3:
            (home.path / "steering.toml").write_text("[pin]\ncolour = 1\n")

    world.trainer.on_begin = spoil_at
    await research(world.lab, world.trainer)
    assert {f.proposal.config["norm"] for f in world.findings[1:]} == {"rmsnorm"}
    (notice,) = (event for event in world.happened(Notice) if "colour" in event.text)
    assert notice.text.endswith("what was steered before stays")
    assert len(world.happened(FindingRecorded)) == 6


async def test_a_long_reason_leaves_room_for_the_remark(world_of, autojump_clock):
    class Talker(Scripted):
        async def propose(self, request):
            return (await super().propose(request)).model_copy(update={"rationale": "x" * 1000})

    world, home = world_of(Talker([{"learning_rate": 1e-3 + n / 1e5} for n in range(1, 20)]), experiments=3)
    save_steering(home.path / "steering.toml", Steering({"norm": "rmsnorm"}))
    await research(world.lab, world.trainer)
    said = world.findings[2].proposal.rationale
    assert len(said) == 1000
    assert said.endswith("x Steered by the node's owner: pinned norm = rmsnorm.")
    assert [e.title for e in world.happened(TrialStarted)][2] == world.findings[2].proposal.title


def test_the_branch_shows_program_and_steering(tmp_path):
    trio.run(_record_steered, tmp_path)


async def _record_steered(folder):
    home, events = Home(folder / "home"), Events()
    home.create()
    notebook, results = (
        notebook_at(folder / "journal.sqlite"),
        open_results(folder / "results", ME.peer_id, "small", "tester"),
    )
    await results.prepare()
    helm = Helm.take(home, BRIEF_ID, BRIEF, events)
    recorder = Recorder(notebook, results, PLENTY, events, helm)
    await recorder.record(make_finding(BRIEF, 1), REPORT)
    save_steering(home.path / "steering.toml", Steering({"width": 64}))
    say(home.path / "program.md", BRIEF, "try rope", 0.0)
    helm.look()
    _, commit = await recorder.record(make_finding(BRIEF, 2, width=100), REPORT)
    assert (await results.read("program.md", commit)).decode() == "Lower is better.\n- 1970-01-01: try rope\n"
    assert tomllib.loads((await results.read("steering.toml", commit)).decode())["pin"] == {"width": 64}
    before = (await results.history())[1].hash
    assert tomllib.loads((await results.read("steering.toml", before)).decode())["pin"] == {}
    notebook.journal.journal.close()


# --- the command ---


@pytest.fixture
def home(tmp_path) -> Home:
    return furnish(tmp_path / "home")


@pytest.fixture
def run(home, monkeypatch, capsys):
    def run(*arguments: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["swarm", "steer", "--home", str(home.path), *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        if status:
            with pytest.raises(SystemExit) as end:
                main()
            assert end.value.code == status
            return capsys.readouterr().err
        main()
        return capsys.readouterr().out

    return run


def test_pins_and_bans_are_written_shown_and_taken_back(home, run):
    facts = json.loads(run("--pin", "width=128", "--ban", "rope", "--ban", "norm=layernorm", "--json"))
    assert (facts["pin"], facts["ban"], facts["ban_values"]) == ({"width": 128}, ["rope"], {"norm": ["layernorm"]})
    assert "pinned width = 128; banned rope, norm = layernorm" in run()
    with views.open_archive(home) as archive:
        status = views.status(archive)["steering"]
    assert status == {**{k: facts[k] for k in ("pin", "ban", "ban_values", "program_edited")}, "problem": None}
    run("--unpin", "width", "--unban", "rope", "--unban", "norm=layernorm")
    assert "nothing pinned or banned" in run("--show")


def test_the_last_word_about_a_setting_counts(home, run):
    run("--ban", "width")
    assert json.loads(run("--pin", "width=128", "--json"))["ban"] == []
    assert json.loads(run("--ban", "width", "--json"))["pin"] == {}


def test_it_works_while_a_node_runs_and_says_what_to_try(home, run):
    with home.lock():
        facts = json.loads(run("--say", "try a smaller vocab", "--json"))
    assert facts["program_edited"]
    assert "try a smaller vocab" in (home.path / "program.md").read_text()


def test_another_topic_of_the_home_is_steered_beside(home, run):
    run("--topic", "other", "--pin", "width=64")
    assert not (home.path / "steering.toml").exists()
    assert load_steering(files_of(home, OTHER_ID, BRIEF_ID).steering, OTHER).pins == {"width": 64}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--pin", "colour=1"), "there is no setting 'colour'; the search space has learning_rate, norm, rope, width"),
        (("--pin", "width"), "--pin width says no value: write --pin width=VALUE"),
        (("--pin", "width=7"), "width cannot be '7'; it may be a whole number from 32 to 256"),
        (("--ban", "norm=groupnorm"), "norm cannot be 'groupnorm'; it may be layernorm, rmsnorm"),
        (("--unpin", "width"), "width is not pinned"),
        (("--unban", "width"), "width is not banned"),
        (("--unban", "width=64"), "width = 64 is not banned"),
        (("--ban", "rope=true", "--ban", "rope=false"), "every value of rope would be banned"),
        (("--pin", "width=64", "--ban", "width=64"), "width = 64 is pinned and banned at once"),
        (
            ("--ban", "rope", "--ban", "norm", "--ban", "width", "--ban", "learning_rate"),
            "nothing would be left to try: every setting is pinned or banned",
        ),
        (("--say", " \x1b[0m "), "--say needs some words"),
        (("--show", "--pin", "width=64"), "--show changes nothing"),
    ],
)
def test_wrong_steering_is_one_sentence_and_changes_nothing(home, run, arguments, sentence):
    assert sentence in run(*arguments, status=2)
    assert not (home.path / "steering.toml").exists()


def test_a_broken_file_is_said_by_command_and_status(home, run):
    (home.path / "steering.toml").write_text("pin = 3\n")
    assert "ban is a list of settings" in run("--pin", "width=64", status=2)
    with views.open_archive(home) as archive:
        assert "ban is a list of settings" in views.status(archive)["steering"]["problem"]
