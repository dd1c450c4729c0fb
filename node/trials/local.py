"""The trainer of this machine for one topic of one home: which folders, shards and limits it gets."""

from collections.abc import Callable
from pathlib import Path

from node import shipped
from node.sandbox.confinement import Confinement
from node.trials.hardware import Hardware
from node.trials.trainer import LocalTrainer
from swarm.brief import Corpus


def make_local_trainer(
    corpus: Corpus,
    shards: Path,
    scratch: Path,  # this trainer's own
    hardware: Hardware,
    confinement: Confinement,
    notice: Callable[[str], None] = lambda _: None,
) -> LocalTrainer:
    return LocalTrainer(
        shipped.experiments(),
        shards,
        corpus.validation.raw_bytes,
        corpus.vocab_size,
        scratch,
        hardware,
        confinement,
        sealed=corpus.sealed,
        notice=notice,
    )
