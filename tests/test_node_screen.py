"""Three ways to watch a node: JSON lines, plain lines, a live view. None breaks on long, hostile or missing text."""

import dataclasses
import io
import json
import re

import pytest
from rich.cells import cell_len
from rich.console import Console
from samples import make_finding
from small_lab import BRIEF, PeerLog, notebook_at

from node import events as said
from node.events import Event, Events
from node.screen import JsonLines, LiveScreen, PlainLines, make_screen
from swarm.finding import encode_finding

AT = "2026-11-21T08:15:30.123Z"
PEERS = tuple(f"12D3KooW{letter * 44}" for letter in "ABCDEFGH")
TICKET = "swarm1" + "abcdefghijklmnopqrstuvwxyz234567" * 9
LONG = "width 64 → 128, norm layernorm → rmsnorm, learning_rate 0.001 → 0.00293, schedule constant → trapezoid, depth 4"

STARTED = said.NodeStarted(
    at=AT, name="quiet-otter", peer_id=PEERS[0], topic="pysource", brief_id="b" * 64, hardware_class="cpu-x86_64-2",
    hardware="AMD EPYC, 2 cores", sandbox="landlock", budget_s=120.0, proposer="llm:some-model", home="/home/me",
    results_repository="/home/me/a/long/way/down/to/results", branch=f"nodes/{PEERS[0]}/pysource", findings=3,
)  # fmt: skip
TRIAL = said.TrialStarted(
    at=AT, number=112, title=LONG, operator="combine", proposer="llm:some-model", parent="f" * 64,
    inspirations=("a" * 64,), budget_s=120.0,
)  # fmt: skip
PROGRESS = said.TrialProgress(
    at=AT, number=112, step=12_345, seconds=61.5, budget_s=120.0, tokens=9_999_999, train_loss=1.2345,
    tokens_per_second=1_234_567.8,
)  # fmt: skip
RECORDED = said.FindingRecorded(
    at=AT, id="f" * 64, number=112, title=LONG, outcome="measured", verdict="keep", val_bpb=1.9877, effect=0.0312,
    best_val_bpb=1.9877, is_best=True, seconds=120.0, commit="c" * 40, reason="",
)  # fmt: skip
CRASHED = dataclasses.replace(
    RECORDED, outcome="out_of_memory", verdict="discard", val_bpb=None, effect=None, is_best=False, reason="no memory"
)
RECEIVED = said.FindingReceived(
    at=AT, id="e" * 64, peer=PEERS[1], name="bold-crane", number=7, title=LONG, outcome="measured", val_bpb=1.9,
    hardware_class="cpu-x86_64-2",
)  # fmt: skip
STEERED = said.Steered(
    at=AT,
    pin={"depth": 4, "norm": "rmsnorm"},
    ban=("rope",),
    ban_values={"width": [64, 128]},
    program_edited=True,
    words="pinned depth = 4, norm = rmsnorm; banned rope, width = 64, width = 128",
)
EVENTS: list[Event] = [
    said.Preparing(at=AT, what="downloading", done=0, total=1000),
    said.Preparing(at=AT, what="downloading", done=500, total=1000),
    said.Preparing(at=AT, what="counting", done=5, total=None),
    said.Preparing(at=AT, what="downloading", done=1000, total=1000),
    STARTED,
    said.Listening(at=AT, addresses=(f"/ip4/192.0.2.7/tcp/4001/p2p/{PEERS[0]}",), ticket=TICKET, port=4001),
    said.Notice(at=AT, text="caught up"),
    said.Notice(at=AT, text="disk is nearly full", warning=True),
    said.PeersChanged(at=AT, peers=PEERS),
    TRIAL,
    PROGRESS,
    said.Evaluating(at=AT, number=112),
    RECORDED,
    CRASHED,
    RECEIVED,
    dataclasses.replace(RECEIVED, name="", val_bpb=None),
    said.ProposalRefused(at=AT, stage="smoke", proposer="llm:m", title="wider", reason="KeyError: 'x'", sent_back=True),
    said.ProposalRefused(at=AT, stage="command", proposer="command", title="", reason="it changed nothing"),
    said.ModelAsked(at=AT, by="llm:code", outcome="answered", calls=1, tokens_in=900, tokens_out=90, cost_usd=None),
    said.PeersChanged(at=AT, peers=PEERS[:2]),
    said.PeersChanged(at=AT, peers=()),
    said.ModelAsked(at=AT, by="llm:code", outcome="answered", calls=2, tokens_in=900, tokens_out=80, cost_usd=0.01),
    STEERED,
    dataclasses.replace(STEERED, pin={}, ban=(), ban_values={}, words="", program_edited=False),
    said.Stopped(at=AT, reason="12 experiments are done", experiments=12, best_val_bpb=1.9, training_share=0.9712),
    said.Stopped(at=AT, reason="asked to stop", experiments=0, best_val_bpb=None, training_share=None),
]
KINDS = [
    kind for kind in vars(said).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\u202e[bold red]eve[/] :bomb: <b>"


def lines(screen_of, *shown: Event) -> list[str]:
    out = io.StringIO()
    screen = screen_of(out)
    for event in shown:
        screen.show(event)
    screen.close()
    return out.getvalue().splitlines()


def test_these_are_all_events_there_are():
    assert {type(event) for event in EVENTS} == set(KINDS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_json_line_is_the_event_and_nothing_else(event):
    (line,) = lines(JsonLines, event)
    content = json.loads(line)
    kind = {json_name(cls): cls for cls in KINDS}[content.pop("event")]
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    assert kind(**tuples) == event


def json_name(kind: type[Event]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def test_an_event_is_stamped_with_the_time_it_happened():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said.Notice(text="x").at)


def test_plain_lines_say_each_thing_once():
    shown = [line.split("  ", 1)[1] for line in lines(PlainLines, *EVENTS)]
    assert shown == [
        "downloading ...",
        "downloading: done",
        f"node      quiet-otter  {PEERS[0]}",
        "topic     pysource  (brief bbbbbbbb, 3 findings so far)",
        "hardware  cpu-x86_64-2  AMD EPYC, 2 cores",
        "sandbox   landlock",
        "budget    120 s a trial",
        "proposer  llm:some-model",
        f"results   /home/me/a/long/way/down/to/results  branch nodes/{PEERS[0]}/pysource",
        f"listening /ip4/192.0.2.7/tcp/4001/p2p/{PEERS[0]}",
        f"ticket    {TICKET}",
        "caught up",
        "warning: disk is nearly full",
        ", ".join(f"peer {letter * 8} connected" for letter in "ABCDEFGH") + "; 8 connected",
        f"#112 {LONG} (combine by llm:some-model, inspired by 1 of peers), 120 s",
        "#112   58 s left, step 12345, loss 1.234, 1,234,568 tokens/s",
        "#112 keep 1.9877 (−0.0312) new best; best 1.9877 val_bpb",
        "#112 out_of_memory: no memory; best 1.9877 val_bpb",
        f"peer bold-crane #7 {LONG}: 1.9000 val_bpb",
        f"peer BBBBBBBB #7 {LONG}: no number",
        "not tried (smoke, llm:m: wider): KeyError: 'x'; it goes back once",
        "not tried (command, command): it changed nothing",
        ", ".join(f"peer {letter * 8} gone" for letter in "CDEFGH") + "; 2 connected",
        "peer AAAAAAAA gone, peer BBBBBBBB gone; 0 connected",
        f"steered from the next proposal on: {STEERED.words}; program.md edited",
        "steered from the next proposal on: nothing pinned or banned; program.md is the brief's goal",
        "stopped: 12 experiments are done; 12 experiments, best 1.9000 val_bpb, 97.1% of the time training",
        "stopped: asked to stop; 0 experiments",
    ]


def test_plain_progress_comes_every_half_minute():
    steps = [dataclasses.replace(PROGRESS, seconds=float(second)) for second in range(120)]
    assert len(lines(PlainLines, TRIAL, *steps)) == 4  # its start, and at 30, 60 and 90 s
    short = dataclasses.replace(TRIAL, budget_s=2.0)
    assert len(lines(PlainLines, short, *[dataclasses.replace(PROGRESS, seconds=s / 10) for s in range(20)])) == 2


class LiveInMemory(LiveScreen):
    def __init__(self, out: io.StringIO, width: int = 80) -> None:
        super().__init__(Console(file=out, width=width, height=24, force_terminal=True, color_system="truecolor"))


def bottom(screen: LiveScreen, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(screen.render())
    return out.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_live_view_keeps_its_shape_at_every_width_and_in_every_state(width):
    screen = LiveInMemory(io.StringIO(), width)
    try:
        for event in EVENTS:
            screen.show(event)
            shown = bottom(screen, width)
            assert all(cell_len(line) <= width for line in shown), shown
            assert len(shown) == (4 if screen._trial is not None else 1), shown
    finally:
        screen.close()


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("progress", [None, PROGRESS, dataclasses.replace(PROGRESS, seconds=125.0)])
def test_the_current_run_shows_what_a_watcher_wants(width, progress):
    screen = LiveInMemory(io.StringIO(), width)
    try:
        for event in (RECORDED, said.PeersChanged(peers=PEERS), TRIAL, progress):
            if event is not None:
                screen.show(event)
        _, title, bar, standing = bottom(screen, width)
    finally:
        screen.close()
    assert title.startswith("#112 width 64 → 128")
    assert " s left" in bar
    assert ("loss 1.234" if progress else "starting") in bar
    assert standing.startswith("best so far 1.9877 val_bpb   peers 8: AAAAAAAA")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_what_scrolls_by_is_whole_however_narrow_the_terminal(width):
    out = io.StringIO()
    screen = LiveInMemory(out, width)
    for event in EVENTS:
        screen.show(event)
    screen.close()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert TICKET in text
    assert f"nodes/{PEERS[0]}/pysource" in text
    for run in ("#112 keep", "#112 out_of_memory"):
        (line,) = [line for line in text.splitlines() if re.search(run.replace(" ", r"\s+"), line)]
        assert LONG in line
    assert "stopped: asked to stop" in text


def test_what_a_peer_wrote_is_inert_on_every_screen(tmp_path):
    """From the record off the wire to the terminal: no escape, no markup, no line of its own."""
    heard: list[Event] = []
    events = Events()
    events.listen(heard.append)
    notebook = notebook_at(tmp_path / "journal.sqlite", events)
    made = make_finding(BRIEF)
    hostile = made.proposal.model_copy(update={"title": HOSTILE})
    finding = made.model_copy(update={"node_name": HOSTILE[:40], "proposal": hostile})
    notebook.receive(PeerLog().sign(encode_finding(finding)))
    notebook.journal.journal.close()
    (plain,) = lines(PlainLines, *heard)
    assert plain.isprintable()
    assert "[bold red]eve[/] :bomb: <b>" in plain
    (line,) = lines(JsonLines, *heard)
    assert json.loads(line)["title"] == "[bold red]eve[/] :bomb: <b>"
    live = io.StringIO()
    screen = LiveInMemory(live, 140)
    screen.show(heard[0])
    screen.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", live.getvalue())  # rich's own colours and cursor
    assert "[bold red]eve[/] :bomb: <b>" in shown
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert "\x1b[2J" not in live.getvalue()


class GonePipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize("kind", ["json", "plain", "auto"])
def test_a_reader_that_has_gone_does_not_end_the_research(kind):
    screen = make_screen(kind, GonePipe())
    for event in EVENTS:
        screen.show(event)
    screen.close()


def test_without_a_terminal_lines_are_plain():
    assert isinstance(make_screen("auto", io.StringIO()), PlainLines)
    assert isinstance(make_screen("json", io.StringIO()), JsonLines)
