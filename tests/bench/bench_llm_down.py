"""Experiments per hour while the language model is down: the real loop, once with the classic proposer alone and once
for each way in which an endpoint can fail. `make bench-llm-down`

All loops run side by side for the same time, so that what the machine does besides is the same for all. A trial takes
one second instead of two minutes, and the pauses after a failure are shorter in the same ratio. `--proposer llm`: every
idea would be the model's, which is the worst case. Counts are compared, not times. Exits 0 when it ran.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_report import print_report
from openai_server import NeverListening, OpenAIServer
from small_lab import SurfaceTrainer, make_world

from node.hypothesis import Hypotheses
from node.proposers import Classic, Proposer, availability, make_proposer
from node.proposers.auto import Auto
from node.research import research
from swarm.trial import Track

TRIAL_SECONDS = 1.0
SCALE = TRIAL_SECONDS / 120.0  # of the usual trial on a CPU
GOAL_SHARE = 0.95
WAYS = ("unreachable", "hang", "401", "429", "500", "garbage", "babble", "cut")


async def count(folder: Path, proposer: Proposer, seconds: float) -> int:
    """Experiments of one loop in so many seconds."""
    folder.mkdir()
    world = make_world(folder, proposer, trainer=SurfaceTrainer(seconds=TRIAL_SECONDS), reason_to_stop=lambda _: None)
    track = Track(hardware_class="bench", budget_seconds=TRIAL_SECONDS)
    world.lab.track = track
    world.lab.hypotheses = Hypotheses(world.notebook, track, proposer, Classic())
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            if isinstance(proposer, Auto):
                nursery.start_soon(proposer.run)
            await research(world.lab, world.trainer)
    trials = len(world.trainer.ends)
    world.close()
    return trials


async def measure(seconds: float) -> tuple[dict[str, int], dict[str, int]]:
    """Trials by way to fail, and how often a model was said to be down or back."""
    trials: dict[str, int] = {}
    said: dict[str, int] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        async def run(name: str, proposer: Proposer) -> None:
            trials[name] = await count(folder / name, proposer, seconds)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "classic", Classic())
            for way in WAYS:
                server = stack.enter_context(NeverListening() if way == "unreachable" else OpenAIServer(way))
                heard: list[str] = []
                proposer = make_proposer("llm", "gone", {"OPENAI_BASE_URL": server.base_url}, heard.append)
                nursery.start_soon(run, way, proposer)
                said[way] = 0
                stack.callback(lambda way=way, heard=heard: said.__setitem__(way, len(heard)))
    return trials, said


def main() -> None:
    parser = argparse.ArgumentParser(description="Throughput of experiments with the language model down.")
    parser.add_argument("--seconds", type=float, default=90.0)
    arguments = parser.parse_args()
    availability.FIRST_PAUSE_SECONDS *= SCALE
    availability.LONGEST_PAUSE_SECONDS *= SCALE
    trials, said = trio.run(measure, arguments.seconds)
    figures: dict[str, float] = {"trials_classic": trials["classic"]}
    goals: dict[str, tuple[str, float]] = {}
    print(f"{'model':>14}{'trials':>10}{'share':>10}{'sentences':>12}")
    for name, number in trials.items():
        share = number / trials["classic"]
        print(f"{name:>14}{number:>10}{share:>10.3f}{said.get(name, 0):>12}")
        if name != "classic":
            figures[f"share_{name}"] = round(share, 4)
            goals[f"share_{name}"] = (">=", GOAL_SHARE)
    print_report("llm-down", figures, goals)


if __name__ == "__main__":
    main()
