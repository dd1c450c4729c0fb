"""Every cheat in candidates.py, as a node would run it: refused for its own reason, or scored and no better for it.

All go through one LocalTrainer, one after the other, and each test looks at one of them: starting the warm process
costs seconds. Nothing confines them here: what is tested is the evaluator, which must hold without a sandbox. Cheats
that only a sandbox can stop are listed in docs/trust.md.
"""

import random
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent))

import candidates
import honest as honest_scripts

from node.sandbox.confinement import unconfined
from node.sandbox.spec import limits_for
from node.trials import trainer as trainer_module
from node.trials.hardware import Hardware
from node.trials.trainer import Job, LocalTrainer, Progress, TrialReport
from swarm.finding import Track
from swarm.words import Outcome

SETTINGS = tomllib.loads((candidates.ROOT / "configs/gpt.toml").read_text())
TINY = {**SETTINGS["base"], "depth": 1, "width": 32, "heads": 2, "context": 32, "batch_size": 4, "embedding_std": 0.1}
HARDWARE = Hardware("cpu", "cpu-test-1", "test", 1, "cpu")
BUDGET_SECONDS, SHIPPED_BUDGET_SECONDS = 0.5, 1.5  # the shipped script takes real steps
SAME = 1e-12
NOISE = 0.02  # bits per byte that an answer which was tampered with may be better by


def text(length: int, seed: int) -> bytes:
    """Words of one vocabulary in no order: one letter tells about the next, later text tells more."""
    draw = random.Random(0)
    words = ["".join(draw.choice("abcdefghijklmnoprstuvw") for _ in range(draw.randint(2, 8))) for _ in range(300)]
    draw.seed(seed)
    return " ".join(draw.choice(words) for _ in range(length // 3)).encode()[:length]


VALIDATION = text(70_000, 2)  # windows of 32: more than the 2,048 prefixes that are asked again


class Nobody:
    """Watches nothing."""

    def training(self) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def trained(self) -> None: ...


@dataclass
class Found:
    cheats: dict[str, TrialReport] = field(default_factory=dict)
    honest: dict[str, TrialReport] = field(default_factory=dict)
    options: dict[int, TrialReport] = field(default_factory=dict)


def option_configs() -> list[dict[str, object]]:
    """Few configs in which every option of every categorical parameter is taken once at least."""
    choices = {
        name: parameter["options"]
        for name, parameter in SETTINGS["space"].items()
        if parameter["kind"] == "choice" and name not in ("width", "context", "batch_size")
    }
    rows = max(map(len, choices.values()))
    return [{**TINY, **{name: options[row % len(options)] for name, options in choices.items()}} for row in range(rows)]


async def gather(folder: Path) -> Found:
    shards = folder / "shards"
    shards.mkdir()
    (shards / "train.bin").write_bytes(text(20_000, 1))
    (shards / "validation.bin").write_bytes(VALIDATION)
    confinement = unconfined(limits_for(HARDWARE), unsafe=True)
    size = len(VALIDATION)
    trainer = LocalTrainer(
        candidates.ROOT / "experiments", shards, size, 256, folder / "scratch", HARDWARE, confinement
    )

    async def run(source: str, config: dict[str, object], seconds: float) -> TrialReport:
        track = Track(hardware_class=HARDWARE.hardware_class, budget_seconds=seconds)
        return await trainer.train(Job(source, config, 1, track), Nobody())  # type: ignore[arg-type]

    found = Found()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        for name, source in honest_scripts.HONEST.items():
            config = {**TINY, "dropout": 0.3} if "dropout" in name else TINY
            seconds = SHIPPED_BUDGET_SECONDS if "shipped" in name else BUDGET_SECONDS
            found.honest[name] = await run(source, config, seconds)
        for number, config in enumerate(option_configs()):
            found.options[number] = await run(candidates.SHIPPED, config, SHIPPED_BUDGET_SECONDS)
        for name, cheat in candidates.CHEATS.items():
            limit = 1.5 if name == "hang" else 20.0
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trainer_module, "MEASURE_SECONDS", limit)
                found.cheats[name] = await run(cheat.source, TINY, BUDGET_SECONDS)
        nursery.cancel_scope.cancel()
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return trio.run(gather, tmp_path_factory.mktemp("redteam"))


@pytest.mark.parametrize("name", candidates.CHEATS)
def test_a_cheat_is_refused_or_gains_nothing(found, name):
    cheat, report, honest = candidates.CHEATS[name], found.cheats[name], found.honest["a table"].trial.val_bpb
    trial = report.trial
    if cheat.outcome != "any":
        assert trial.outcome == cheat.outcome, (trial.reason, report.log[-2000:])
    assert cheat.reason in trial.reason, report.log[-2000:]
    assert (trial.val_bpb is not None) == (trial.outcome is Outcome.MEASURED)
    if trial.val_bpb is not None:
        assert trial.val_bpb > honest - NOISE
    if cheat.same:
        assert trial.val_bpb == pytest.approx(honest, abs=SAME)


def test_there_are_enough_cheats_and_refused_ones_have_their_own_reasons(found):
    assert len(candidates.CHEATS) >= 25
    refused = [report.trial for report in found.cheats.values() if report.trial.outcome is not Outcome.MEASURED]
    assert all(trial.reason for trial in refused)


@pytest.mark.parametrize("name", honest_scripts.HONEST)
def test_an_honest_script_is_measured(found, name):
    report = found.honest[name]
    assert report.trial.outcome is Outcome.MEASURED, (report.trial.reason, report.log[-2000:])


def test_every_option_of_the_space_is_measured(found):
    outcomes = {number: report.trial for number, report in found.options.items()}
    assert all(trial.outcome is Outcome.MEASURED for trial in outcomes.values()), outcomes


def test_validation_text_that_a_model_prints_or_raises_reaches_nobody(found):
    report = found.cheats["says the validation text in an error"]
    begins = {VALIDATION[at : at + 12].decode() for at in range(0, len(VALIDATION), 4)}
    assert not [begin for begin in begins if begin in report.log + report.trial.reason]


def test_a_measurement_says_in_the_log_what_it_rests_on(found):
    line = found.honest["a table"].log.splitlines()[-1]
    assert line.startswith("measuring: measured after ")
    assert "2048 prefixes asked again: mean d " in line
    assert "weights 262" in line
