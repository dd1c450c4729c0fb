"""node/trials/output.py: whatever a script prints, little is kept and nothing is believed that is no number."""

import json

import pytest

from node.trials.output import LOG_BYTES, MAX_LINE_BYTES, TrialEvents, TrialLog, one_line, thin
from swarm.finding import CURVE_POINTS, CurvePoint


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def seen():
    return []


@pytest.fixture
def events(clock, seen):
    return TrialEvents(clock, 10.0, seen.append)


def progress(step, **fields):
    line = {"event": "progress", "step": step, "tokens": (step or 0) * 10, "train_loss": 2.5, "tokens_per_second": 5.0}
    return json.dumps({**line, **fields}).encode() + b"\n"


def test_progress_becomes_a_curve_on_the_nodes_clock(events, clock, seen):
    clock.now += 1
    events.feed(progress(1, seconds=999.0))
    clock.now += 1
    events.feed(progress(7, peak_memory_bytes=5))
    assert [(point.step, point.seconds) for point in events.curve()] == [(1, 1.0), (7, 2.0)]
    assert (events.steps, events.tokens, events.peak_memory_bytes) == (7, 70, 5)
    assert seen[1].step == 7
    assert seen[1].budget_seconds == 10.0


def test_points_of_wanted_steps_are_kept_however_close_and_once(clock, seen):
    events = TrialEvents(clock, 10.0, seen.append, frozenset({2, 5}))
    for step in (1, 2, 2, 3, 5, 5, 6):
        events.feed(progress(step))
    assert [point.step for point in events.curve()] == [1, 2, 5, 6], "the last word counts, as ever"
    assert [point.step for point in seen] == [1], "shown no more often for it"


def test_a_line_may_come_in_pieces(events, seen):
    line = progress(3)
    for i in range(len(line)):
        events.feed(line[i : i + 1])
    assert [point.step for point in seen] == [3]


@pytest.mark.parametrize(
    "line",
    [
        progress(1, train_loss=float("nan")),
        progress(1, train_loss=float("inf")),
        progress(1, train_loss=10**400),
        progress(1, train_loss="2.5"),
        progress(1, train_loss=True),
        progress(-1),
        progress(1.5),
        progress(2**60),
        progress(None),
        b'{"event": "progress"}\n',
        b'{"event": "progress", "step": 1,}\n',
        b'{"event": ' + b"[" * 3000 + b"}\n",
        b"\x00\xff\xfe\n",
        b'{"event": "progress", "x": "' + b"a" * (2 * MAX_LINE_BYTES) + b'", "step": 1, "train_loss": 1.0}\n',
    ],
)
def test_garbage_is_ignored_and_the_next_line_still_counts(events, seen, line):
    events.feed(line)
    assert seen == []
    events.feed(progress(4))
    assert [point.step for point in seen] == [4]


def test_a_step_never_goes_back(events, clock):
    events.feed(progress(9))
    clock.now += 1
    events.feed(progress(2))
    assert [point.step for point in events.curve()] == [9]


def test_a_flood_of_progress_is_thinned_and_the_last_word_counts(events, seen):
    for step in range(1000):
        events.feed(progress(step))
    assert len(seen) == 1
    assert [point.step for point in events.curve()] == [0, 999]


def test_gradient_norms_are_kept_with_the_points_of_the_curve(events, clock):
    for step, norm in enumerate((5.0, 0.5, None, 2, 0.25), start=1):
        clock.now += 1
        events.feed(progress(step, gradient_norm=norm))
    events.feed(progress(6, gradient_norm=9.0))
    assert events.gradient_norms == [5.0, 0.5, 2.0, 0.25], "the last came too soon to be a point"


@pytest.mark.parametrize("norm", [float("nan"), float("inf"), 1e31, 10**400, -1.0, True, "1", [1.0], {}])
def test_what_is_no_gradient_norm_is_left_out_and_the_point_counts(events, norm):
    events.feed(progress(1, gradient_norm=norm))
    assert (events.gradient_norms, len(events.curve())) == ([], 1)


def test_a_line_without_end_takes_no_memory(events):
    for _ in range(100):
        events.feed(b"x" * 65536)
    assert len(events._partial) <= MAX_LINE_BYTES


def test_a_log_keeps_both_ends_and_says_what_is_missing():
    log = TrialLog()
    log.feed(b"first\n")
    for _ in range(1000):
        log.feed(b"z" * 1000)
    log.feed(b"\nlast\n")
    text = log.text()
    assert text.startswith("first\n")
    assert text.endswith("\nlast\n")
    assert f"{6 + 1_000_000 + 6 - 2 * LOG_BYTES} bytes cut here" in text
    assert len(text) < 2 * LOG_BYTES + 100


@pytest.mark.parametrize("size", [0, 1, LOG_BYTES - 1, LOG_BYTES, LOG_BYTES + 1, 2 * LOG_BYTES])
def test_a_short_log_is_whole(size):
    log, text = TrialLog(), "".join(chr(97 + i % 26) for i in range(size))
    log.feed(text.encode())
    assert log.text() == text


def test_last_words_are_the_last_line_that_is_no_event():
    log = TrialLog()
    log.feed(b'ValueError: \x1b[31mno\x07\n{"event": "end"}\n\n')
    assert log.last_words() == "ValueError:  [31mno"


def test_thinning_keeps_first_and_last():
    curve = tuple(CurvePoint(step=i, seconds=float(i), train_loss=1.0) for i in range(1000))
    thinned = thin(curve)
    assert len(thinned) == CURVE_POINTS
    assert (thinned[0], thinned[-1]) == (curve[0], curve[-1])
    assert thin(curve[:5]) == curve[:5]


def test_one_line_has_no_control_characters():
    assert one_line("a\nb\x1b[0m\u202e" + "c" * 999, 20) == "a b [0m ccccccccccccc"[:20].strip()
