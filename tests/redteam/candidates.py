"""What a cheat is, and the small script that most of them are a change of.

TABLE learns which byte follows which, in milliseconds. Owns the rules: everything that can become of a cheat.
"""

from dataclasses import dataclass, field
from enum import Enum

from swarm.words import Config, Outcome

TABLE = """
import json, os, signal, socket, struct, sys, threading, time
import numpy as np
import torch
from safetensors.torch import save_model
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(256, 256))
    def forward(self, tokens):  # (B, T) -> (B, T, 256)
        return self.table[tokens]
def honest(self, tokens):
    return self.table[tokens]
def one_hot(tokens):
    return torch.nn.functional.one_hot(tokens, 256).float()
def peek(logits, tokens, where):  # where: (B, T) of bool, True where the next token is looked up
    logits[:, :-1] += 20 * one_hot(tokens[:, 1:]) * where[:, :-1, None]
    return logits
def build_model(config, vocab_size):
    return Model()
def after(arguments):
    pass
def main():
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    tokens = np.fromfile(arguments["--train"], np.uint8).astype(np.int64)
    counts = np.full((256, 256), 0.01)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1.0)
    model = Model()
    model.table.data = torch.from_numpy(np.log(counts / counts.sum(1, keepdims=True))).float()
    save_model(model, arguments["--out"] + "/weights.safetensors")
    after(arguments)
"""
GO = "\nif __name__ == '__main__':\n    main()\n"


class Rule(Enum):
    """What catches a cheat: the outcome, the words of its reason, and what docs/redteam.md says of it."""

    POSITION = (
        Outcome.REJECTED,
        r"cannot be repeated without text that comes later or was seen elsewhere: [1-9]\d* of 2048 positions",
        "asked again by a fresh process with less text: far worse at some positions",
    )
    AVERAGE = (
        Outcome.REJECTED,
        r"cannot be repeated without text that comes later or was seen elsewhere: 0 of 2048 positions",
        "asked again by a fresh process with less text: a little worse everywhere, more than chance allows",
    )
    TICKET = (
        Outcome.REJECTED,
        "sent a reply to a request that was not made",
        "a reply must repeat the ticket of its request",
    )
    CLOSED = (
        Outcome.REJECTED,
        "closed the channel on which it is asked",
        "a measurement without all its answers is none",
    )
    LEFT = (
        Outcome.REJECTED,
        "left with exit status 0 instead of answering",
        "a measurement without all its answers is none",
    )
    FAILED = (
        Outcome.CRASHED,
        "measuring: ",
        "an exception or a signal ends the measurement; only a known type's name is kept",
    )
    FINITE = (Outcome.DIVERGED, "answers numbers that are not finite", "every number must be finite")
    RANGE = (Outcome.DIVERGED, "which no trained model has", "more than 64 bits per byte is no result")
    SHAPE = (Outcome.CRASHED, "measuring: WrongShape", "logits must have the shape (B, T, vocabulary)")
    LOADING = (
        Outcome.CRASHED,
        "measuring: ",
        "only a sandboxed process opens weights, as plain tensors of the model's shapes",
    )
    NO_WEIGHTS = (Outcome.CRASHED, "left no weights.safetensors", "weights are one plain file of this very trial")
    WEIGHTS_SIZE = (Outcome.REJECTED, "weights.safetensors has 65 MiB, at most 64", "weights have 64 MiB at most")
    SOURCE = (Outcome.REJECTED, r"its (literals|comments|names) hold \d+ bytes more", "a source may bring 4 KB of text")
    NEWS = (
        Outcome.REJECTED,
        r"it holds \d+ bytes of news next to the shipped script",
        "packed next to the shipped script, a source may bring 4 KB of news",
    )
    PARSING = (Outcome.REJECTED, "cannot be parsed within limits", "a source is parsed under limits before it runs")
    DEADLINE = (Outcome.TIMED_OUT, "still running 2 s after the budget", "the node's clock ends a training")
    PATIENCE = (Outcome.TIMED_OUT, "measuring took longer than", "the node's clock ends a measurement")
    CRASH = (Outcome.CRASHED, "", "a script that fails has no number")
    LIMIT = (Outcome.CRASHED, "stopped: more than", "a limit of the trial, watched by the node")
    LIMIT_MEASURED = (Outcome.REJECTED, "measuring: stopped: more than", "a limit of the trial, watched by the node")
    MEMORY = (Outcome.OUT_OF_MEMORY, "stopped: more than", "a limit of the trial, watched by the node")
    SAYS_MEMORY = (Outcome.OUT_OF_MEMORY, "measuring: out of memory", "whoever says it has no number")
    DIVERGED = (Outcome.DIVERGED, "numbers are not finite|^", "whoever says it has no number")
    SANDBOX = (
        Outcome.CRASHED,
        r"Permission|FileNotFound|NotFound|refused",
        "the sandbox shows no such file and lets nothing out",
    )
    SAME = (Outcome.MEASURED, "", "scored, exactly as without it")
    NO_BETTER = (Outcome.MEASURED, "", "scored, and no better than without it")

    def __init__(self, outcome: Outcome, words: str, meaning: str) -> None:
        self.outcome, self.words, self.meaning = outcome, words, meaning


@dataclass(frozen=True)
class Cheat:
    """A script, what it tries, and the rule that has to catch it."""

    does: str  # for people
    rule: Rule
    source: str
    words: str = ""  # more that its reason has to say
    why: str = ""  # of one that is scored: why that gains nothing
    or_rule: Rule | None = None  # of a race: what may catch it instead
    config: Config = field(default_factory=dict[str, object])

    @property
    def budget_seconds(self) -> float:
        """Short where it will be used up; else so long that a busy machine changes nothing."""
        return 0.5 if self.rule in (Rule.DEADLINE, Rule.PATIENCE) else 10.0

    def __post_init__(self) -> None:
        assert bool(self.why) == (self.rule in (Rule.SAME, Rule.NO_BETTER)), self.does


def table(change: str) -> str:
    return TABLE + change + GO


def _indented(body: str) -> str:
    return "".join(f"    {line}\n" for line in body.strip().splitlines())


def answers(body: str, before: str = "") -> str:
    """TABLE with another forward."""
    return table(f"{before}\ndef forward(self, tokens):\n{_indented(body)}Model.forward = forward\n")


def trains(body: str) -> str:
    """TABLE that does something more at the end of its training."""
    return table(f"def after(arguments):\n{_indented(body)}")
