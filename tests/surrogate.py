"""A made-up surface over the real search space of configs/gpt.toml, and a night of research on it. Nothing is
trained.

What the shape is taken from: rates have an optimum that moves with width, batch and optimizer; shapes cost steps;
some settings only matter beside another; large shapes run out of memory, hot rates diverge. The numbers are invented.
Whatever has `start`, `space`, `trial` and `truth` can take its place, a table of recorded trials too
(`RecordedTable`).
"""

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from samples import make_brief, make_entry

from node.proposers.port import Request
from node.proposers.unit_cube import coordinate, has_order
from node.topics.topic_file import read_space_file
from swarm.brief import Acceptance, Brief
from swarm.comparison import Comparison
from swarm.finding import Finding, Proposal
from swarm.ledger import Entry, Ledger
from swarm.space import SearchSpace
from swarm.trial import Track, Trial
from swarm.verdict import Side
from swarm.words import Config, Decision, Operator, Outcome, PeerId, Value

GPT = read_space_file(Path(__file__).resolve().parents[1] / "configs" / "gpt.toml")
SPACE = SearchSpace(parameters=GPT.space)
TRACK = Track(hardware_class="cpu-simulated-2", budget_seconds=60.0)
ME = PeerId("12D3KooWMeMeMeMe")
NOISE_SD = 0.01  # bits per byte; what trials of 60 s differ by is of this size (docs/log.md)
MEMORY = 4.2  # of the sum of the shapes' coordinates, at which memory ends; invented


class Surface(Protocol):
    """What a campaign needs of a problem."""

    space: SearchSpace
    start: Config

    def trial(self, config: Config, rng: random.Random) -> tuple[Outcome, float | None]: ...

    def truth(self, config: Config) -> float:
        """Bits per byte without noise."""
        ...


class MadeUp:
    """`variant` moves optima and weights, so that nothing is tuned to one surface."""

    space, start = SPACE, dict(GPT.base)

    def __init__(self, variant: int = 0) -> None:
        rng = random.Random(f"surface {variant}")
        self._at = {name: rng.uniform(0.25, 0.75) for name in self.space.parameters}
        self._at |= {name: rng.uniform(0.4, 0.7) for name in ("depth", "width", "learning_rate")}
        self._weight = {name: rng.uniform(0.5, 1.5) for name in self.space.parameters}
        self._favourite = {name: rng.random() for name in self.space.parameters}

    def trial(self, config: Config, rng: random.Random) -> tuple[Outcome, float | None]:
        noise = rng.gauss(0.0, NOISE_SD)
        if self.memory(config) > MEMORY:
            return Outcome.OUT_OF_MEMORY, None
        if self.heat(config) + rng.gauss(0.0, 0.03) > 0.9:
            return Outcome.DIVERGED, None
        return Outcome.MEASURED, self.truth(config) + noise

    def memory(self, config: Config) -> float:
        u = self._unit(config)
        return 1.6 * u["width"] + 1.4 * u["depth"] + 1.6 * u["context"] + 1.6 * u["batch_size"] + 0.8 * u["ngram_rows"]

    def heat(self, config: Config) -> float:
        """Above 1 a run diverges."""
        u = self._unit(config)
        cooled = 0.12 * (u["gradient_clip"] > 0) + 0.1 * u["warmup_fraction"] + 0.1 * (config["qk_norm"] is True)
        hot = 1.05 * u["learning_rate"] + 0.2 * u["embedding_lr_multiplier"] + 0.1 * u["width"]
        if config["optimizer"] == "muon":
            hot += 0.3 * u["muon_learning_rate"] - 0.2
        return hot + 0.1 * (config["init"] == "default") - cooled

    def truth(self, config: Config) -> float:
        u, at, w = self._unit(config), self._at, self._weight
        rate = at["learning_rate"] + 0.25 * (u["batch_size"] - u["width"]) + 0.1 * (config["optimizer"] == "muon")
        bpb = 1.5 + 1.0 * w["learning_rate"] * (u["learning_rate"] - rate) ** 2
        for name, scale in (("depth", 0.5), ("width", 0.5), ("context", 0.4), ("batch_size", 0.3), ("heads", 0.08)):
            bpb += scale * w[name] * (u[name] - at[name]) ** 2
        bpb += 0.6 * w["depth"] * max(0.0, u["depth"] + u["width"] + u["context"] - 1.8) ** 2  # too few steps are left
        if config["optimizer"] == "muon":
            bpb += 0.25 * w["muon_learning_rate"] * (u["muon_learning_rate"] - at["muon_learning_rate"]) ** 2 - 0.05
        for name in ("embedding_lr_multiplier", "head_lr_multiplier", "adam_beta1", "adam_beta2", "gradient_clip"):
            bpb += 0.06 * w[name] * (u[name] - at[name]) ** 2
        bpb += 0.1 * w["warmup_fraction"] * (u["warmup_fraction"] - 0.1) ** 2
        bpb += 0.1 * u["dropout"] + 0.04 * w["weight_decay"] * (u["weight_decay"] - at["weight_decay"]) ** 2
        wanted = 0.2 if config["tied_embeddings"] is True else at["embedding_std"]
        bpb += 0.35 * w["embedding_std"] * (u["embedding_std"] - wanted) ** 2
        if config["schedule"] == "trapezoid":
            bpb += 0.08 * (u["cooldown_fraction"] - at["cooldown_fraction"]) ** 2 - 0.03
        if (order := int(config["ngram_order"])) > 1:
            bpb += 0.15 * (u["ngram_learning_rate"] - at["ngram_learning_rate"]) ** 2
            bpb += -0.1 + 0.02 * abs(order - 3) - 0.03 * u["ngram_rows"]
        for name in ("schedule", "init", "norm", "activation", "positions", "logit_softcap"):
            bpb += 0.03 * w[name] * abs(u[name] - self._favourite[name])
        for name in ("qk_norm", "embedding_norm", "embedding_residual", "token_shift", "tied_embeddings"):
            bpb += 0.02 * w[name] * ((config[name] is True) != (self._favourite[name] > 0.4))
        bpb -= 0.03 * (config["norm"] == "rmsnorm" and config["qk_norm"] is True)
        return 1.4 + 2.0 * (bpb - 1.4)  # about as far from the start to the best as on real text

    def _unit(self, config: Mapping[str, Value]) -> dict[str, float]:
        return {name: coordinate(parameter, config[name]) for name, parameter in self.space.parameters.items()}


class RecordedTable:
    """Real trials as a surface: a config is worth what the recorded ones nearest to it came to.

    The file is JSON: {"trials": [{"config": {...}, "outcome": "measured", "val_bpb": 1.83}, ...], "noise_sd": 0.01};
    configs are of the space of configs/gpt.toml, the base config is among them.
    """

    space, start = SPACE, dict(GPT.base)
    NEIGHBOURS = 5

    def __init__(self, path: Path) -> None:
        recorded = json.loads(path.read_text())
        self._noise_sd = float(recorded["noise_sd"])
        self._rows = [
            (self._point(self.space.normalise(row["config"])), Outcome(row["outcome"]), row.get("val_bpb"))
            for row in recorded["trials"]
        ]

    def trial(self, config: Config, rng: random.Random) -> tuple[Outcome, float | None]:
        noise = rng.gauss(0.0, self._noise_sd)
        _, outcome, _ = min(self._rows, key=lambda row: math.dist(row[0], self._point(config)))
        return (outcome, self.truth(config) + noise) if outcome is Outcome.MEASURED else (outcome, None)

    def truth(self, config: Config) -> float:
        here = self._point(config)
        measured = [(math.dist(point, here), bpb) for point, _, bpb in self._rows if bpb is not None]
        near = sorted(measured)[: self.NEIGHBOURS]
        weights = [1.0 / (1e-3 + distance) ** 2 for distance, _ in near]
        return sum(w * bpb for w, (_, bpb) in zip(weights, near, strict=True)) / sum(weights)

    def _point(self, config: Mapping[str, Value]) -> list[float]:
        out: list[float] = []
        for name, parameter in self.space.parameters.items():
            if has_order(parameter):
                out.append(coordinate(parameter, config[name]))
            else:
                out += [0.7 * (value == config[name]) for value in getattr(parameter, "options", ())]
        return out


def surface_brief(surface: Surface) -> Brief:
    fields = make_brief().model_dump()
    return Brief.model_validate(
        fields
        | {"space": surface.space.model_dump(), "base_config": surface.start, "acceptance": Acceptance().model_dump()}
    )


@dataclass
class Campaign:
    """One node alone, judging as nodes judge: repeats where the rule asks for them, each of them a trial."""

    surface: Surface
    propose: Callable[[Request], Proposal]
    seed: int
    ledger: Ledger = field(init=False)
    best: list[float] = field(default_factory=list[float])  # truth of where the branch stands, after each trial
    endings: list[Outcome] = field(default_factory=list[Outcome])  # of each experiment's first trial
    tried: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.brief = surface_brief(self.surface)
        self.ledger = Ledger(self.brief.acceptance)
        self._rng = random.Random(f"campaign {self.seed}")

    def run(self, trials: int) -> "Campaign":
        self._experiment(self._baseline())
        self.endings.clear()
        while len(self.best) < trials:
            self._experiment(self.propose(self._request()))
        del self.best[trials:]
        return self

    def _baseline(self) -> Proposal:
        digest = self.brief.source_sha256
        return Proposal(
            operator=Operator.DRAFT, proposer="baseline", config=self.brief.base_config, source_sha256=digest, title="b"
        )

    def _request(self) -> Request:
        parent = self.ledger.branch_best(ME, TRACK)
        assert parent is not None, "the start of a surface is measured"
        number = len(self.ledger) + 1
        history = tuple(self.ledger.entries(track=TRACK))
        noise, tried = self.ledger.noise(TRACK, ME), frozenset(self.tried)
        return Request(self.brief, ME, TRACK, parent, history, (), (), tried, number, 1000 * self.seed + number, noise)

    def _experiment(self, proposal: Proposal) -> Entry:
        comparison = Comparison(proposal, self.brief, self.ledger, ME, TRACK)
        while (side := comparison.next_side()) is not None:
            what = proposal if side is Side.CANDIDATE or comparison.parent is None else comparison.parent
            comparison.add(side, self._trial(what.config))
        made = Finding(
            number=len(self.ledger) + 1,
            started_at="2026-01-01T00:00:00Z",
            proposal=proposal,
            trials=comparison.trials,
            parent_trials=comparison.parent_trials,
            verdict=comparison.verdict(),
        )
        entry = make_entry(made, ME)
        self.ledger.apply(entry)
        self.tried.add(proposal.key)
        self.endings.append(made.trials[0].outcome)
        head = self.ledger.branch_best(ME, TRACK)
        stands = self.surface.truth(head.finding.proposal.config) if head else math.inf
        before = self.best[-1] if self.best else self.surface.truth(self.surface.start)
        spent = len(made.trials) + len(made.parent_trials)
        self.best += [*[before] * (spent - 1), stands if made.verdict.decision is Decision.KEEP else before]
        return entry

    def _trial(self, config: Config) -> Trial:
        outcome, bpb = self.surface.trial(config, self._rng)
        return Trial(outcome=outcome, track=TRACK, seed=0, seconds=TRACK.budget_seconds, val_bpb=bpb)
