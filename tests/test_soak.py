"""The soak: what it says grew, and that it can be ended at any time and then says what it saw."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.growth import Sample, growth, late_growth
from tests.soak_samples import words

SOAK = Path(__file__).with_name("soak.py")


def life(number: int, begins: float, level: float, per_second: float) -> list[Sample]:
    """Half a gigabyte of imports in its first minute, then so much a second."""
    samples = [Sample(begins, number, level - 500, 10)]
    return samples + [Sample(begins + n, number, level + per_second * n, 20) for n in range(60, 600, 10)]


def test_growth_is_that_of_each_life_from_its_own_level_without_its_beginning():
    found = growth([*life(0, 0.0, 600.0, 0.01), *life(1, 700.0, 900.0, 0.01)], 60.0)
    assert found.memory_mb_per_hour == pytest.approx(36.0)
    assert found.files_per_hour == pytest.approx(0.0)
    assert found.watched_seconds == 2 * 530.0


def test_of_lives_that_end_in_their_beginning_nothing_is_said():
    assert growth([Sample(0.0, 0, 1.0, 1), Sample(50.0, 0, 900.0, 1)], 60.0).watched_seconds == 0.0


def test_growth_that_ends_is_none_in_the_second_half_of_each_life():
    fills = [*life(0, 0.0, 200.0, 0.1)[:25], *[Sample(300.0 + n, 0, 230.0, 20) for n in range(0, 300, 10)]]
    assert growth(fills, 60.0).memory_mb_per_hour > 100
    assert late_growth(fills, 60.0).memory_mb_per_hour == pytest.approx(0.0)
    assert late_growth(life(0, 0.0, 600.0, 0.01), 60.0).memory_mb_per_hour == pytest.approx(36.0)


def test_growth_is_said_as_a_share_of_what_there_is_too():
    steady = [Sample(float(n), 0, 100.0 + n / 3600, 20) for n in range(0, 7200, 60)]
    assert growth(steady, 0.0).memory_percent_per_hour == pytest.approx(0.99, abs=0.01)
    assert words(growth(steady, 0.0)) == "+1.0 MB/hour (+1.0 %/hour of 101 MB), +0.0 open files/hour, over 119 min"
    assert growth([], 0.0).memory_percent_per_hour == 0.0


@pytest.mark.long
@pytest.mark.end_to_end
def test_ctrl_c_ends_a_soak_with_a_report_of_what_was_so_far():
    command = [sys.executable, str(SOAK), "--hours", "1", "--nodes", "3", "--training", "1", "--every", "8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        try:
            for line in process.stderr:  # "63 s, 5 findings: kill 2"
                if line.split()[4] in ("kill", "leave", "pause"):
                    break
            process.send_signal(signal.SIGINT)
            said = process.stdout.read()
        finally:
            process.kill()
    document = json.loads(said.splitlines()[-1])
    assert process.returncode == 0, said
    assert document["met"]
    assert document["figures"]["hours"] < 1
    assert document["figures"]["done_start"] >= 3
