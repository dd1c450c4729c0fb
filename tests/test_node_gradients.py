"""Gradient norms from a script's progress lines to the prompt, and again after a restart; anything else is left out."""

import json
from dataclasses import replace

import pytest
from samples import PLENTY
from small_lab import ME, SurfaceTrainer, make_world

from node.proposers.diagnostics import diagnostics
from node.recording import Recorder
from node.research import research
from node.results.repository import open_results
from node.run_gradients import RunGradients
from node.trials.gradients import GradientNorms, gradient_norms, gradient_norms_of


def test_four_numbers_say_how_they_went():
    norms = gradient_norms([8.0, 2.0, 1.0, 0.5, 0.5], {"gradient_clip": 1.0})
    assert norms == GradientNorms(first=8.0, median=1.0, largest=8.0, last=0.5, spiked=False, clipped_share=0.4)


def test_a_large_start_is_no_spike_and_a_large_middle_is():
    assert not gradient_norms([50.0, 50.0, *[1.0] * 20], {}).spiked
    assert gradient_norms([*[1.0] * 10, 11.0, *[1.0] * 10], {}).spiked
    assert not gradient_norms([0.0] * 5, {}).spiked


@pytest.mark.parametrize("config", [{}, {"gradient_clip": 0.0}, {"gradient_clip": True}, {"gradient_clip": "1"}])
def test_without_a_clip_nothing_is_known_of_clipping(config):
    assert gradient_norms([3.0], config).clipped_share is None


def test_a_script_that_says_nothing_has_none():
    assert gradient_norms([], {"gradient_clip": 1.0}) is None


FINE = {"first": 1.0, "median": 1.0, "largest": 1.0, "last": 1.0, "spiked": False, "clipped_share": None}


def test_they_come_back_from_a_result():
    assert gradient_norms_of(json.dumps({"gradient_norm": FINE}).encode()) == GradientNorms(**FINE)


@pytest.mark.parametrize(
    "result",
    [
        b"", b"\xff\x00", b"[]", b"7", b"{", b"{}", b'{"gradient_norm": null}', b'{"gradient_norm": 3}', b"[" * 100_000,
        *(
            json.dumps({"gradient_norm": FINE | {"largest": bad}}).encode()
            for bad in (float("nan"), float("inf"), -1.0, 1e31, 10**400, "1", None, [])
        ),
        json.dumps({"gradient_norm": FINE | {"clipped_share": 1.5}}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_result_has_none(result):
    assert gradient_norms_of(result) is None


class Telling(SurfaceTrainer):
    """Reports gradient norms: the width of the config first, then ones."""

    async def train(self, job, watcher):
        report = await super().train(job, watcher)
        return replace(report, gradients=gradient_norms([float(job.config["width"]), 1.0, 1.0], job.config))


async def test_the_next_prompt_has_them_and_so_has_the_one_after_a_restart(tmp_path, mock_clock):
    mock_clock.rate = 100.0  # git is a real process
    results = open_results(tmp_path / "results", ME.peer_id, "small")
    await results.prepare()
    world = make_world(
        tmp_path,
        experiments=3,
        trainer=Telling(),
        recorder=lambda notebook, events: Recorder(notebook, results, PLENTY, events),
    )
    await research(world.lab, world.trainer)
    hypotheses = world.lab.hypotheses
    best = world.notebook.ledger.branch_best(world.notebook.me, world.lab.track)
    asked = hypotheses._request(best, ())
    lines = diagnostics(asked)
    assert len(lines) == 3
    assert all("gradient norm" in line for line in lines)
    assert f"gradient norm {best.finding.proposal.config['width']:.3g} at first" in lines[0]

    hypotheses.gradients = RunGradients()
    assert not any("gradient norm" in line for line in diagnostics(hypotheses._request(best, ())))
    await hypotheses.load(results)
    assert diagnostics(hypotheses._request(best, ())) == lines
    world.close()
