"""A made-up surface over the real search space of configs/gpt.toml.

What the shape is taken from: rates have an optimum that moves with width, batch and optimizer; shapes cost steps;
some settings only matter beside another; large shapes run out of memory, hot rates diverge. The numbers are invented.
Searches on it are node/simulation/campaign.py's; what real trials say is node/simulation/surrogate.py's.
"""

import random
from collections.abc import Mapping

from node.proposers.unit_cube import coordinate
from node.simulation.campaign import research_space, space_file
from swarm.words import Config, Outcome, Value

NOISE_SD = 0.01  # bits per byte; what trials of 60 s differ by is of this size (docs/log.md)
MEMORY = 4.2  # of the sum of the shapes' coordinates, at which memory ends; invented


class MadeUp:
    """`variant` moves optima and weights, so that nothing is tuned to one surface."""

    def __init__(self, variant: int = 0) -> None:
        self.space, self.start = research_space(), dict(space_file().base)
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
